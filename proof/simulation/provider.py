"""The adapter between the provider's books and the product's interface of providers: one client in one process.

It decides what an answer proves, as the clients of `resources.providers` do; the books and the faults decide what
happened at the provider.
"""

import asyncio
import itertools
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from proof.jobs import End
from proof.simulation.books import Course, ProviderBooks, Rules, SoldJob
from proof.simulation.faults import CREATES_NOTHING, OUTAGE, POST, HistoryFaults
from proof.simulation.processes import SimulatedProcess
from resources.errors import UnavailableError
from resources.money import to_usd
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
from resources.providers.rows import Rows, SetAside
from resources.providers.wavespeed import rows as wavespeed_rows

if TYPE_CHECKING:
    from collections.abc import Callable

PRICE = 400_000
SETTLE_SECONDS = 60.0
LATEST_ACCEPTANCE_SECONDS = 20.0
"""Seconds after our deadline in which a POST may still be accepted, and seconds that a job may stay off the list: the contract's
bounds, well within the settle time."""
LONGEST_LAG_SECONDS = 40.0
STUCK_SECONDS = 900.0
BROKE_SECONDS = 90.0

ENDS: dict[str | None, End] = {
    "failed job": "failed",
    "moderated job": "moderated",
    "vanished job": "vanished",
}

WAVESPEED = Rules(
    "wavespeed",
    charges_first=True,
    refund_seconds=300.0,
    lists_running=True,
    echoes_tags=False,
    tells_cost=False,
)
AIMLAPI = Rules(
    "aimlapi",
    charges_first=False,
    refund_seconds=0.0,
    lists_running=False,
    echoes_tags=True,
    tells_cost=True,
)
FAL = Rules(
    "fal",
    charges_first=False,
    refund_seconds=0.0,
    lists_running=False,
    echoes_tags=False,
    tells_cost=False,
    echoes_input=True,
)
REPLICATE = Rules(
    "replicate",
    charges_first=False,
    refund_seconds=0.0,
    lists_running=True,
    echoes_tags=False,
    tells_cost=False,
    echoes_input=True,
    bills=False,
)


class ProviderAccount:
    """The provider's side of the wire, shared by all its clients.

    Args:
        books: The provider's books.
        faults: The history's faults.
        skew: Seconds by which its clock is ahead of ours.
        dated: Seconds by which the clock of its job times is ahead of that clock.
    """

    def __init__(
        self, books: ProviderBooks, faults: HistoryFaults, *, skew: float, dated: float = 0.0
    ) -> None:
        self.books = books
        self.faults = faults
        self.skew = skew
        self.dated = skew + dated
        self.broke_until = 0.0
        self.heard: Callable[[str, SimulatedProcess], None] = lambda _job, _process: None
        """Called with every job whose id has reached a process."""
        self.made: Callable[[SoldJob], None] = lambda _job: None
        """Called with every job that a POST of ours has made."""

    def create(
        self,
        clip: str | None,
        tag: str | None,
        model: str,
        *,
        price: int = PRICE,
        body: dict[str, Any] | None = None,
    ) -> SoldJob:
        """Accept an order. A stranger may place the same one at the same time, with another seed."""
        faults, rng = self.faults, self.faults.stream("jobs")
        seconds = rng.uniform(3.0, 14.0)
        lag = self.faults.stream("lag").uniform(0, LONGEST_LAG_SECONDS) if faults.strikes("list lag") else 0.2
        end: End = "succeeded"
        file = "good"
        kind = faults.first(("failed job", "moderated job", "vanished job", "small file", "broken file"))
        if kind in ENDS:
            end = ENDS[kind]
        elif kind is not None:
            file = kind.removesuffix(" file")
        shows, taken_back = None, 0.0
        if end == "succeeded" and faults.strikes("end taken back"):
            stream = faults.stream("taken back")
            shows, taken_back = stream.choice(["failed", "empty", "gone"]), stream.choice([4.0, 60.0, 250.0])
        if faults.strikes("stuck job", chance=0.2):
            seconds = rng.uniform(STUCK_SECONDS / 4, STUCK_SECONDS)
        job = self.books.create(
            clip=clip,
            tag=tag,
            model=model,
            price=price,
            fate=Course(end, seconds, lag, file, shows, taken_back),
            body=body,
        )
        if clip is not None:
            self.made(job)
        if clip is not None and faults.strikes("stranger's job"):
            stranger = faults.stream("strangers")
            price = stranger.choice([PRICE, PRICE, PRICE // 2, 3 * PRICE])
            theirs = None if body is None else {**body, "seed": stranger.randrange(1, 2**31)}
            asyncio.get_running_loop().call_later(
                stranger.uniform(0, 20), lambda: self.create(None, None, model, price=price, body=theirs)
            )
        return job


class Client:
    """One account in one process, with the interface of `resources.providers.provider.Provider`."""

    def __init__(self, account: ProviderAccount, process: SimulatedProcess) -> None:
        rules = account.books.rules
        self.name = rules.name
        self.capabilities = Capabilities(
            echoes_submission_id=rules.echoes_tags,
            echoes_input=rules.echoes_input,
            output_seconds=7 * 86_400,
            settle_seconds=SETTLE_SECONDS,
            propagation_seconds=30,
            refunds_failures=rules.charges_first,
            lists_running=rules.lists_running,
            bills_jobs=rules.bills,
        )
        self._account = account
        self._books = account.books
        self._faults = account.faults
        self._process = process
        self._answered = False
        self._rng = account.faults.stream("network")

    @property
    def clock_offset(self) -> ClockOffset | None:
        """The time of a `Date` header, in whole seconds."""
        return self._offset() if self._answered else None

    def _offset(self) -> ClockOffset:
        ahead = self._account.skew - self._process.ahead()
        return ClockOffset(ahead - 1, ahead + 1)

    async def _wait(self, most: float = 1.0) -> None:
        await self._process.sleep(self._rng.uniform(0.05, most))

    # Buying

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        """POST once."""
        process, account = self._process, self._account
        began = process.clock()
        await process.at("POST: before")
        if process.clock() - began >= deadline_seconds:
            return NotSent("the deadline had passed before the request was sent; nothing left this machine")
        fault = self._faults.first(POST)
        if (
            fault in {"not sent", "throttled", "refused", "out of credit"}
            or process.clock() < account.broke_until
        ):
            return await self._refuse(fault)
        return await self._take(fault, body, endpoint, submission_id, deadline_seconds, began)

    async def _refuse(self, fault: str | None) -> SubmitOutcome:
        if fault == "not sent":
            await self._process.at("POST: after")
            return NotSent("connection refused")
        await self._wait()
        await self._process.at("POST: after")
        self._answered = True
        if fault == "throttled":
            pause = self._rng.choice([None, 3.0])
            return Rejected(FailureKind.THROTTLED, "too many requests", 429, retry_after=pause)
        if fault == "refused":
            return Rejected(FailureKind.MODERATION, "the prompt is not allowed", 400)
        account = self._account
        account.broke_until = max(account.broke_until, self._process.clock() + BROKE_SECONDS)
        return Rejected(FailureKind.INSUFFICIENT_FUNDS, "insufficient credits", 402)

    async def _take(
        self, fault: str | None, body: dict[str, Any], model: str, tag: str, deadline: float, began: float
    ) -> SubmitOutcome:
        process, account = self._process, self._account
        clip = str(body["prompt"])
        if fault == "acceptance after our time-out":
            late = deadline + self._rng.uniform(0, LATEST_ACCEPTANCE_SECONDS)
            asyncio.get_running_loop().call_later(late, lambda: account.create(clip, tag, model, body=body))
            await process.sleep(deadline)
            await process.at("POST: after")
            return Unknown("no complete answer within the deadline")
        job = None if fault in CREATES_NOTHING else account.create(clip, tag, model, body=body)
        await process.at("POST: accepted" if job else "POST: taken")
        await self._wait(deadline if fault == "lost answer" else 1.0)
        await process.at("POST: after")
        too_late = process.clock() - began > deadline and self._rng.random() < 0.5
        if job is None or fault is not None or too_late:
            status = {"garbage as answer": 200, "throttled without proof": 429}.get(fault or "", 502)
            return Unknown(fault or "read timed out", status)
        self._answered = True
        account.heard(job.id, process)
        return Accepted(job.id, model, {})

    # Reading

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        """Read a job's state once."""
        await self._process.at("poll: before")
        await self._wait()
        word = self._books.shown(job_id)
        await self._process.at("poll: after")
        if self._faults.strikes("failed poll"):
            return PollFailed("502", retry_after=self._rng.choice([None, 2.0]))
        if self._faults.strikes("garbage as poll"):
            return PollFailed("the answer is not readable JSON")
        self._answered = True
        return self._said(job_id, word, age_seconds)

    def _said(self, job_id: str, word: str, age_seconds: float) -> JobState | PollFailed:
        faults = self._faults
        young = age_seconds < self.capabilities.propagation_seconds
        if word == "gone" or (young and faults.strikes("not known yet")):
            if young:
                return PollFailed("not known yet")
            return JobState(JobStatus.GONE, "404", error="the job is not known", failure=FailureKind.GONE)
        if word in {"created", "processing"}:
            if faults.strikes("odd status"):
                return JobState(JobStatus.RUNNING, "warming-up")
            if word == "created" or faults.strikes("backward status"):
                return JobState(JobStatus.QUEUED, "created")
            return JobState(JobStatus.RUNNING, word)
        return self._ended(self._books.jobs[job_id], word)

    def _ended(self, job: SoldJob, word: str) -> JobState:
        if word == "empty":
            return JobState(
                JobStatus.FAILED, "completed", error="it gives no output", failure=FailureKind.NO_OUTPUT
            )
        if word == "failed":
            kind = FailureKind.MODERATION if job.fate.end == "moderated" else FailureKind.PROVIDER
            return JobState(JobStatus.FAILED, word, error="it failed", failure=kind)
        if job.expired >= job.address:
            job.address += 1
        cost = self._books.costs(job) if self._books.rules.tells_cost else None
        address = f"https://cdn.example/{job.id}/{job.address}.mp4"
        return JobState(JobStatus.SUCCEEDED, word, outputs=(address,), model=job.model, cost_micros=cost)

    async def list_jobs(
        self,
        *,
        after: datetime,
        before: datetime,
        endpoints: Collection[str],  # noqa: ARG002 - it lists all
    ) -> list[Candidate]:
        """The jobs in a window."""
        await self._ask("list")
        skew, rules = self._account.dated, self._books.rules
        found = []
        for job in self._books.listed(after.timestamp() - skew, before.timestamp() - skew):
            status = {
                "created": JobStatus.QUEUED,
                "processing": JobStatus.RUNNING,
                "completed": JobStatus.SUCCEEDED,
                "failed": JobStatus.FAILED,
            }[self._books.word(job.id)]
            at = datetime.fromtimestamp(job.at + skew, UTC)
            tag = job.tag if rules.echoes_tags else None
            shown = job.body if rules.echoes_input else None
            found.append(Candidate(job.id, job.model, at, status, submission_id=tag, body=shown))
        await self._process.at("list: after")
        return found

    async def charges(self, *, after: datetime, before: datetime) -> Rows[Charge]:
        """The bill of a window, each row by its own label, as the product's client reads WaveSpeed's."""
        await self._ask("bill")
        skew = self._account.dated
        lines = self._books.bill(after.timestamp() - skew, before.timestamp() - skew)
        await self._process.at("bill: after")
        faults = self._faults
        heedless, cents = faults.strikes("heedless bill"), faults.strikes("bill in cents")
        read: Rows[Charge] = Rows()
        for asked, line in itertools.product(wavespeed_rows.KINDS, lines):
            if not heedless and line.refund != (asked == "refund"):
                continue
            price = str(to_usd(line.amount * (100 if cents else 1)))
            row = {
                "billing_type": "refund" if line.refund else "deduct",
                "price": f"${price}" if faults.strikes("unreadable row") else price,
                "created_at": datetime.fromtimestamp(line.at + skew, UTC).isoformat(),
                "prediction": {"uuid": line.job, "model_uuid": line.model},
            }
            parsed = wavespeed_rows.charge(row, asked)
            if isinstance(parsed, SetAside):
                read.aside = (*read.aside, replace(parsed, submission_id=line.tag))
            else:
                read.append(replace(parsed, submission_id=line.tag))
        return read

    async def _ask(self, what: str) -> None:
        await self._process.at(f"{what}: before")
        await self._wait()
        if self._faults.strikes(f"{what} down") or (what == "list" and self._faults.strikes(OUTAGE)):
            raise UnavailableError(f"the {what} could not be read completely")
        self._answered = True

    async def check(self) -> None:
        """Make a free request."""
        await self._wait(0.2)
        self._answered = True

    async def balance(self) -> int | None:
        """The account's balance, in micro-dollars."""
        await self._wait(0.2)
        self._answered = True
        return 0 if self._process.clock() < self._account.broke_until else 1_000 * PRICE

    async def aclose(self) -> None:
        """Does nothing: no connection is open."""
