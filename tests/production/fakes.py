"""A provider and a deliverer that follow a test's script, on a clock that jumps to the next event.

Time is virtual: the event loop moves its clock to the next due timer instead of waiting. A day takes a moment, and two runs of a
test do the same in the same order.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast

from providerkit import BareProvider

from proof.clock import Clock, VirtualLoop
from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.ledger import deliveries, keys
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Later, Limits
from resources.ledger.outage import repeat_unrecorded
from resources.ledger.records import Attempt
from resources.orders import ClipRequest, Expected
from resources.production.account import Account
from resources.production.batch import Follower, Report, Stage
from resources.production.engine import Engine
from resources.providers.base import (
    Accepted,
    Candidate,
    Charge,
    ClockOffset,
    FailureKind,
    JobState,
    JobStatus,
    NotSent,
    PollFailed,
    Rejected,
    SubmitOutcome,
    Unknown,
)
from resources.providers.provider import Capabilities
from resources.providers.rows import Rows

if TYPE_CHECKING:
    from resources.production.delivery import Deliverer

T = TypeVar("T")

NEVER = 1e9
SORA = "openai/sora-2/text-to-video"
STORED = {"uri": "s3://bucket/videos/clip.mp4", "key": "videos/clip.mp4", "size": 10}


def at_once(loop: VirtualLoop, work: Callable[[], Any]) -> "asyncio.Future[Any]":
    """Run a thread's work at once, as a ledger that takes no time. Other tasks run before the caller gets the result."""
    done, seen = Future[Any](), loop.create_future()
    try:
        done.set_result(work())
    except Exception as error:  # noqa: BLE001 - the caller gets the error
        done.set_exception(error)

    def show() -> None:
        if not seen.cancelled():
            error = done.exception()
            seen.set_result(done.result()) if error is None else seen.set_exception(error)

    loop.call_soon(show)
    return seen


def run(clock: Clock, work: Coroutine[Any, Any, T], *, at_most: float = 100_000.0) -> T:
    """Run a coroutine in virtual time; it must end within `at_most` seconds of that time."""

    async def bounded() -> T:
        async with asyncio.timeout(at_most):
            return await work

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock, threads=at_once)) as runner:
        return runner.run(bounded())


# A provider

PRICE = 400_000
CAPABILITIES = Capabilities(echoes_submission_id=True, output_seconds=7 * 86_400, settle_seconds=60)


@dataclass(frozen=True)
class Answer:
    """How the provider treats one POST."""

    outcome: SubmitOutcome | None = None
    """The answer; None accepts the POST as a new job."""
    after: float = 0.2
    """Seconds until the answer."""
    creates: bool = False
    """Whether a job is created although the answer does not say so."""
    creates_after: float = 0.0
    """Seconds until that job is created."""
    listed_after: float = 0.0
    """Seconds from its creation until the listing and the bill show it."""
    model: str = SORA
    """The model that the answer names."""


ACCEPTS = Answer()
HANGS = Answer(after=NEVER, creates=True)
LOSES_THE_ANSWER = Answer(Unknown("read timed out"), after=30, creates=True)
CANNOT_BE_REACHED = Answer(NotSent("connection refused"), after=0.01)


def rejects(kind: FailureKind, *, retry_after: float | None = None, http_status: int = 400) -> Answer:
    return Answer(Rejected(kind, f"the provider says {kind}", http_status, retry_after=retry_after))


@dataclass(frozen=True)
class Ends:
    """The course of a job."""

    status: JobStatus = JobStatus.SUCCEEDED
    """Its final status."""
    after: float = 60.0
    """Seconds from the POST to the end."""
    failure: FailureKind | None = None
    """Kind of the failure."""
    error: str | None = None
    """The provider's error text."""


@dataclass(frozen=True)
class Post:
    """One POST in the provider's record."""

    clip: str
    submission_id: str
    at: float


@dataclass
class Job:
    """A job in the provider's record."""

    id: str
    clip: str
    created_at: float
    goes: Ends
    submission_id: str | None = None
    listed_from: float = 0.0
    billed_from: float = 0.0
    model: str | None = SORA
    body: dict[str, Any] | None = None
    polled_at: list[float] = field(default_factory=list)
    being_polled: int = 0


class FakeProvider(BareProvider):
    """An account that follows a test's script, and records all requests.

    Attributes:
        answers: How the next POSTs of a clip are treated, in order; later ones are accepted.
        jobs_go: The courses of a clip's next jobs, in order; later ones succeed after a minute.
        polls: Answers to the next polls of a clip, instead of the true ones.
        posts: Every POST.
        jobs: Every job by id.
        overlapping: Jobs that received two polls at the same time.
        balance_micros: The account's balance in micro-USD.
        refuses_the_key: Whether free requests are refused because of the key.
        bill: The bill's rows instead of a charge for every job.
        bill_seconds: Seconds that reading the bill takes.
        ahead: Seconds by which its clock is ahead.
        dated: Seconds by which the clock of its job times is ahead of that clock.
        charged_after: Seconds from a job's creation to its charge.
        listed: Number of times that its listing was read; `billed` the same for its bill.
        listing_fails: Whether reading the listing fails.
        echoes_bodies: Whether the listing shows each job's request.
    """

    def __init__(self, clock: Clock, *, name: str = "wavespeed", poll_seconds: float = 0.3) -> None:
        self.name = name
        self.capabilities = CAPABILITIES
        self.clock = clock
        self.poll_seconds = poll_seconds
        self.answers: dict[str, list[Answer]] = defaultdict(list)
        self.jobs_go: dict[str, list[Ends]] = defaultdict(list)
        self.polls: dict[str, list[JobState | PollFailed | Exception]] = defaultdict(list)
        self.posts: list[Post] = []
        self.jobs: dict[str, Job] = {}
        self.balance_micros: int | None = 10**12
        self.refuses_the_key = False
        self.checked = 0
        self.bill: list[Charge] | Exception | None = None
        self.bill_seconds = 0.0
        self.overlapping: list[str] = []
        self.requests_at_once = 0
        self.most_requests_at_once = 0
        self.ahead = 0.0
        self.dated = 0.0
        self.charged_after = 0.0
        self.listed = 0
        self.billed = 0
        self.listing_fails = False
        self.echoes_bodies = False
        self.closed = False

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        clip = str(body["prompt"])
        self.posts.append(Post(clip, submission_id, self.clock()))
        answer = self.answers[clip].pop(0) if self.answers[clip] else ACCEPTS
        if self.refuses_the_key:
            answer = rejects(FailureKind.AUTH, http_status=401)
        elif self.balance_micros is not None and self.balance_micros < PRICE:
            answer = rejects(FailureKind.INSUFFICIENT_FUNDS)
        job = None
        if answer.outcome is None or answer.creates:
            job = self._create(clip, submission_id, answer, body)
        await asyncio.sleep(answer.after)
        if answer.outcome is not None:
            return answer.outcome
        assert job is not None
        return Accepted(job.id, None, {})

    def _create(
        self, clip: str, submission_id: str | None, answer: Answer, body: dict[str, Any] | None = None
    ) -> Job:
        goes = self.jobs_go[clip].pop(0) if self.jobs_go[clip] else Ends()
        at = self.clock() + answer.creates_after
        job = Job(
            f"job-{len(self.jobs)}-{clip}", clip, at, goes, submission_id, model=answer.model, body=body
        )
        job.listed_from = job.billed_from = at + answer.listed_after
        self.jobs[job.id] = job
        if self.balance_micros is not None:
            self.balance_micros -= PRICE
        return job

    def stranger(
        self, clip: str = "a-stranger", *, model: str = SORA, body: dict[str, Any] | None = None
    ) -> Job:
        """A stranger buys with the same key."""
        return self._create(clip, None, Answer(model=model), body)

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        job = self.jobs[job_id]
        assert abs(age_seconds - (self.clock() - job.created_at)) < 60
        job.polled_at.append(self.clock())
        job.being_polled += 1
        self.requests_at_once += 1
        self.most_requests_at_once = max(self.most_requests_at_once, self.requests_at_once)
        if job.being_polled > 1:
            self.overlapping.append(job_id)
        try:
            await asyncio.sleep(self.poll_seconds)
        finally:
            job.being_polled -= 1
            self.requests_at_once -= 1
        if self.refuses_the_key:
            return PollFailed("the key is refused", kind=FailureKind.AUTH)
        if self.polls[job.clip]:
            said = self.polls[job.clip].pop(0)
            if isinstance(said, Exception):
                raise said
            return said
        if self.clock() < job.created_at + job.goes.after:
            return JobState(JobStatus.RUNNING, "processing")
        goes = job.goes
        outputs = (f"https://cdn.example/{job_id}.mp4",) if goes.status is JobStatus.SUCCEEDED else ()
        return JobState(
            goes.status, goes.status.value, outputs=outputs, failure=goes.failure, error=goes.error
        )

    @property
    def clock_offset(self) -> ClockOffset | None:
        return ClockOffset(self.ahead - 1, self.ahead + 1)

    async def list_jobs(
        self, *, after: datetime, before: datetime, endpoints: Collection[str]
    ) -> Rows[Candidate]:
        self.listed += 1
        if self.listing_fails:
            raise UnavailableError("the provider's listing broke off")
        low, high = after.timestamp(), before.timestamp()
        return Rows(
            Candidate(
                job.id,
                job.model,
                datetime.fromtimestamp(job.created_at + self.ahead + self.dated, UTC),
                JobStatus.RUNNING,
                submission_id=job.submission_id if self.capabilities.echoes_submission_id else None,
                body=job.body if self.echoes_bodies else None,
            )
            for job in self.jobs.values()
            if self.clock() >= job.listed_from and low <= job.created_at + self.ahead + self.dated <= high
        )

    async def charges(self, *, after: datetime, before: datetime) -> Rows[Charge]:
        self.billed += 1
        await asyncio.sleep(self.bill_seconds)
        if isinstance(self.bill, Exception):
            raise self.bill
        if self.bill is not None:
            return Rows(self.bill)
        return Rows(
            Charge(
                job.id,
                PRICE,
                "charge",
                job.created_at + self.ahead + self.dated + self.charged_after,
                job.model,
                submission_id=job.submission_id if self.capabilities.echoes_submission_id else None,
            )
            for job in self.jobs.values()
            if self.clock() >= job.billed_from
        )

    async def check(self) -> None:
        self.checked += 1
        if self.refuses_the_key:
            raise ConfigurationError("the key is refused")

    async def balance(self) -> int | None:
        await self.check()
        return self.balance_micros

    async def aclose(self) -> None:
        self.closed = True

    def posts_of(self, clip: str) -> list[Post]:
        return [post for post in self.posts if post.clip == clip]

    def flying(self, at: float) -> int:
        """Number of jobs that run at a time."""
        return sum(job.created_at <= at < job.created_at + job.goes.after for job in self.jobs.values())


# A deliverer


class FakeDeliverer:
    """A deliverer that claims and records like the real one; the test decides what happens in between.

    Attributes:
        goes_wrong: Errors of a clip's next deliveries, in order.
        missing: Clips whose stored video is gone.
        quarantines: Clips that differ from their order.
    """

    def __init__(self, ledger: Ledger, *, seconds: float = 3.0) -> None:
        self.ledger = ledger
        self.seconds = seconds
        self.goes_wrong: dict[str, list[BaseException]] = defaultdict(list)
        self.missing: set[str] = set()
        self.quarantines: set[str] = set()
        self.fetched: list[str] = []
        self.verified: list[str] = []
        self.at_once = 0
        self.most_at_once = 0

    async def deliver(self, attempt: Attempt, *, run_id: str) -> None:
        clip = attempt.subject_key
        token = f"{run_id}:{random.random()}"
        if repeat_unrecorded(deliveries.claim, self.ledger, attempt.id, token=token) is None:
            return
        self.fetched.append(clip)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self._fetch(clip)
        except BaseException as error:
            repeat_unrecorded(deliveries.release, self.ledger, attempt.id, token=token, why=str(error))
            raise
        finally:
            self.at_once -= 1
        if clip in self.quarantines:
            repeat_unrecorded(
                deliveries.record_quarantined,
                self.ledger,
                attempt.id,
                STORED,
                why="480 pixels instead of 720",
            )
        else:
            repeat_unrecorded(deliveries.record_delivered, self.ledger, attempt.id, STORED, run_id=run_id)

    async def _fetch(self, clip: str) -> None:
        await asyncio.sleep(self.seconds)
        if self.goes_wrong[clip]:
            raise self.goes_wrong[clip].pop(0)

    async def verify(self, attempt: Attempt) -> None:
        self.verified.append(attempt.subject_key)
        if attempt.subject_key in self.missing:
            raise DailiesError("the delivered video is missing")


# All together


def a_request(clip: str, **changes: Any) -> ClipRequest:
    """A valid request whose prompt is the clip's key, by which the fake provider identifies it."""
    values: dict[str, Any] = {
        "clip": clip,
        "series": "city",
        "provider": "wavespeed",
        "endpoint": SORA,
        "body": {"prompt": clip, "seconds": changes.pop("seconds", 4)},
        "price_micros": PRICE,
        "expected": Expected(),
    }
    return ClipRequest(**(values | changes))


def submit_queue(engine: Engine, **how: Any) -> Coroutine[Any, Any, Later | None]:
    """Submit every queued purchase to the fake provider."""
    return engine.submitter.submit_queue(engine.accounts["wavespeed"], **how)


class World:
    """A ledger, a provider, and the engines and followers that work with them, on one clock."""

    def __init__(self, url: str) -> None:
        self.clock = Clock()
        self.ledger = Ledger(url, clock=self.clock, budget=Budget())
        keys.declare(self.ledger, "wavespeed", dedicated=True)
        self.provider = FakeProvider(self.clock)
        self.deliverer = FakeDeliverer(self.ledger)
        self.reports: list[Report] = []

    def engine(self, limits: Limits | None = None) -> Engine:
        """One process: a separate engine on the shared ledger."""
        account = Account(self.provider, limits or Limits())
        return Engine(self.ledger, {"wavespeed": account}, rng=random.Random(1))

    def follower(
        self,
        until: Stage,
        engine: Engine | None = None,
        *,
        run_id: str = "run-1",
        leave_after: float | None = None,
    ) -> Follower:
        return Follower(
            engine or self.engine(),
            cast("Deliverer", self.deliverer),
            until=until,
            report=self.reports.append,
            run_id=run_id,
            leave_after=leave_after,
        )

    def run(self, work: Coroutine[Any, Any, T], *, at_most: float = 100_000.0) -> T:
        return run(self.clock, work, at_most=at_most)

    def told(self, clip: str) -> list[str]:
        """All reports of a clip, in order: `submitted`, `generated!` for a failure, `delivered=` for a reuse."""
        return [
            f"{report.stage.name.lower()}{'!' if report.error else ''}{'=' if report.reused else ''}"
            for report in self.reports
            if report.clip == clip
        ]

    def newest(self, clip: str) -> Attempt:
        return self.ledger.latest([clip])[clip]
