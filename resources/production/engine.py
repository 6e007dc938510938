"""One bounded step of an account's work: send what is queued, ask for what is due.

A run that waits and the completion sensor both drive the same steps; the ledger's claims keep them from doing the same
work twice.
"""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from resources.catalogue.files import DataFolder
from resources.errors import UnavailableError
from resources.ledger import halting, limits, outcomes, polling, submitting
from resources.ledger.billing import Confirmed
from resources.ledger.halting import Stop
from resources.ledger.ledger import Ledger
from resources.ledger.limits import LEASE_MARGIN_SECONDS, THROTTLE_SECONDS, Later, Limits
from resources.ledger.outcomes import NOT_SENT_SECONDS
from resources.ledger.reconciling import LONGEST_PAUSE_SECONDS, Contract
from resources.ledger.records import Attempt, Submission
from resources.ledger.states import AttemptState
from resources.production.attachments import CLIPS_AHEAD, Attachments
from resources.production.billing import Bookkeeper
from resources.production.marking import CHECK_SECONDS, BucketMark, MarkKeeper
from resources.production.orphans import sweep
from resources.production.reconciling import Reconciler, measure_clock
from resources.production.schedule import next_poll_after_failure, next_poll_in
from resources.production.stopping import Watch
from resources.providers.base import (
    Accepted,
    FailureKind,
    JobState,
    JobStatus,
    NotSent,
    PollFailed,
    Provider,
    Rejected,
    SubmitOutcome,
)
from resources.requests import ClipRequest

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("dailies")

PARALLEL_REQUESTS = 16
POSTS_GRACE_SECONDS = 10.0
"""How long an interrupted engine waits for answers to POSTs that are on the wire."""
NOT_SENT_TRIES = 4
POLLS_AT_ONCE = 2 * PARALLEL_REQUESTS
"""How many polls are claimed together: two rounds of requests fit into `polling.CLAIM_SECONDS`."""
RECORD_TRIES = 20
RECORD_AGAIN_SECONDS = 3.0
QUEUE_HOURS = 24.0
STEP_SECONDS = 35.0
"""When a step begins nothing new: a sensor's tick is ended by Dagster after 60 s, and what is on the wire then is lost."""
LOST_PATIENCE_SECONDS = 10.0
"""How long a step looks for a lost answer that keeps its queue waiting."""
STOPS_THE_ACCOUNT = {FailureKind.AUTH, FailureKind.INSUFFICIENT_FUNDS}


@dataclass(frozen=True)
class Account:
    """An account at a provider, ready to be used.

    Attributes:
        provider: The client.
        limits: What the account allows across processes.
        submit_deadline_seconds: Hard total deadline of one POST.
        settle_seconds: How long after that a miss in the provider's listing starts to prove something, None for what the
            provider's contract says.
        dedicated: Whether nobody but this ledger uses the account's key.
    """

    provider: Provider
    limits: Limits = field(default_factory=Limits)
    submit_deadline_seconds: float = 30.0
    settle_seconds: float | None = None
    dedicated: bool = False

    @property
    def name(self) -> str:
        """The account's name in the ledger."""
        return self.provider.name

    @property
    def contract(self) -> Contract:
        """What its listing can prove."""
        offers = self.provider.capabilities
        if self.settle_seconds is not None:
            return Contract(offers.echoes_submission_id, self.settle_seconds)
        return Contract(offers.echoes_submission_id, offers.settle_seconds, offers.lists_running)

    def patience(self, request: ClipRequest) -> float:
        """Seconds after which a submit with a lost answer has been settled or held, while the listing can be read."""
        unheard = self.submit_deadline_seconds + LEASE_MARGIN_SECONDS
        return unheard + 2 * self.contract.settle(request) + 2 * LONGEST_PAUSE_SECONDS


@dataclass
class StepResult:
    """What a step did, for the sensor's tick message."""

    submitted: list[Attempt] = field(default_factory=list)
    reconciled: list[Attempt] = field(default_factory=list)
    ended: list[Attempt] = field(default_factory=list)
    confirmed: list[Confirmed] = field(default_factory=list)
    stop: Stop | None = None
    polled: int = 0
    queued: int = 0
    orphans: list[str] = field(default_factory=list)
    """Ids of jobs at the provider that are new and that nobody here has ordered."""
    refused: str | None = None
    """Why the queue may not be sent: the ledger is older than its bucket, or the bucket cannot be asked."""


class Engine:
    """Drives the accounts: claims in the ledger, speaks to the providers, records what they say.

    Args:
        ledger: The record; its clock is the engine's.
        accounts: By the name the ledger knows them by.
        sleep: `asyncio.sleep`, or a test's fake.
        rng: For jitter.
        mark: Of the ledger in its bucket; without one a ledger that is older than its bucket is not noticed.
        files: Where the local files of requests are; without it a clip that names one is refused.
    """

    def __init__(
        self,
        ledger: Ledger,
        accounts: Mapping[str, Account],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
        mark: BucketMark | None = None,
        files: DataFolder | None = None,
    ) -> None:
        self.ledger = ledger
        self.accounts = accounts
        self.sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not secrecy
        # one thread for the ledger: a lock in the database must not keep the loop from reading an answer in time
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._requests = asyncio.Semaphore(PARALLEL_REQUESTS)
        self._posts: set[asyncio.Task[Attempt]] = set()
        self._not_sent: dict[str, tuple[int, float]] = {}
        self._poll_failures: dict[str, int] = {}
        self._reconciler = Reconciler(ledger, self.call)
        self._bookkeeper = Bookkeeper(ledger, self.call)
        self._watch = Watch(ledger, self.call)
        self._mark = MarkKeeper(mark)
        self._attachments = Attachments(ledger, files, call=self.call, sleep=sleep)
        self.changed = asyncio.Event()

    async def aclose(self) -> None:
        """Wait for POSTs on the wire, then close the providers' connections."""
        await self.finish_posts()
        await self._mark.aclose()
        for account in self.accounts.values():
            await account.provider.aclose()
        self._thread.shutdown(wait=True)

    async def finish_posts(self, *, interrupted: bool = True) -> None:
        """Wait for the answers to POSTs that are on the wire.

        Args:
            interrupted: Wait for a moment only; what is still open then becomes unknown by its lease. An answer that was
                read is written down all the same.
        """
        if self._posts:
            grace = POSTS_GRACE_SECONDS if interrupted else None
            _done, pending = await asyncio.wait(self._posts, timeout=grace)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a ledger function off the loop."""
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, lambda: function(*args, **kwargs)
        )

    # Submitting

    async def submit_queue(
        self,
        name: str,
        *,
        run_id: str | None = None,
        ours: Collection[str] = (),
        result: StepResult | None = None,
        until: float = math.inf,
    ) -> Later | None:
        """Send everything that is queued at an account and may go now.

        Args:
            name: The account.
            run_id: For the journal.
            ours: Ids of the caller's attempts, withdrawn when the account cannot be reached.
            result: Collects what was submitted.
            until: When to claim nothing more, seconds since the epoch.

        Interrupted, it leaves POSTs on the wire to `finish_posts`.

        Returns:
            When and why to come again, None when nothing is queued.

        Raises:
            UnavailableError: The ledger cannot be read or written. An answer it did not take is in the log.
        """
        account = self.accounts[name]
        if not await self.call(submitting.queue_length, self.ledger, name):
            return None
        refusal = await self._mark.refusal()
        if refusal is not None:
            if result is not None:
                result.refused = refusal
            return Later(self.ledger.clock() + CHECK_SECONDS, refusal)
        await measure_clock(account.provider)
        while True:
            tasks, later = await self._claim_and_post(account, run_id=run_id, ours=ours, until=until)
            if tasks:
                await asyncio.wait(tasks)
            sent = [task.result() for task in tasks]
            if result is not None:
                result.submitted.extend(
                    attempt for attempt in sent if attempt.state is AttemptState.SUBMITTED
                )
            # what was throttled or not sent is in the queue again, and what waited for our own POSTs need not wait longer
            again = any(attempt.state is AttemptState.QUEUED for attempt in sent)
            if self.ledger.clock() >= until and (again or later is not None):
                return later or _next_time(self.ledger.clock())
            if not tasks or (later is None and not again):
                if later is not None and later.stop is not None:
                    await self._watch.alarm(name)
                return later

    async def _claim_and_post(
        self, account: Account, *, run_id: str | None, ours: Collection[str], until: float
    ) -> tuple[list[asyncio.Task[Attempt]], Later | None]:
        """Send what may go now, each in a task; and when and why to come again, None when the queue is empty."""
        tasks: list[asyncio.Task[Attempt]] = []
        while self.ledger.clock() < until:
            if len(tasks) % CLIPS_AHEAD == 0:
                await self._attachments.hand_in(account.provider)
            claimed = await self._claim(account, run_id)
            if not isinstance(claimed, Submission):
                return tasks, claimed
            task = asyncio.create_task(self._post(account, claimed, run_id=run_id, ours=ours))
            tasks.append(task)
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)
            if len(self._posts) >= PARALLEL_REQUESTS:
                await asyncio.wait(self._posts, return_when=asyncio.FIRST_COMPLETED)
        return tasks, _next_time(self.ledger.clock())

    async def reopen(self, name: str) -> bool:
        """Use an account again that was stopped, if it can pay and its key is accepted; asked every few minutes at most."""
        return await self._watch.reopen(self.accounts[name].provider)

    async def _claim(self, account: Account, run_id: str | None) -> Submission | Later | None:
        """The next submission; what is claimed while we are interrupted is given back, since it surely was not sent."""
        claiming = asyncio.ensure_future(
            self.call(
                submitting.claim_next,
                self.ledger,
                account.name,
                limits=account.limits,
                deadline_seconds=account.submit_deadline_seconds,
                run_id=run_id,
                traceable=account.provider.capabilities.echoes_submission_id,
                clock_offset=account.provider.clock_offset,
            )
        )
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            claimed = await _uninterrupted(claiming)
            if isinstance(claimed, Submission):
                given_back = self._record(claimed, NotSent("interrupted before it was sent"), run_id)
                await _uninterrupted(asyncio.ensure_future(given_back))
            raise

    async def _post(
        self, account: Account, submission: Submission, *, run_id: str | None, ours: Collection[str]
    ) -> Attempt:
        outcome = await self._send(account, submission)
        attempt = await _uninterrupted(asyncio.ensure_future(self._record(submission, outcome, run_id)))
        if attempt.state is AttemptState.SUBMITTED:
            await self._schedule([attempt], polled=False)
        await self._stop_if_hopeless(account, outcome, run_id=run_id, ours=ours)
        if isinstance(outcome, Rejected) and outcome.kind is FailureKind.INVALID:
            await self._attachments.doubt(account.name, attempt.request)
        self._mark.progressed()
        self.changed.set()
        return attempt

    async def _send(self, account: Account, submission: Submission) -> SubmitOutcome:
        """POST, within what is left of the deadline: whoever slept since the claim may have been given up for dead."""
        request = submission.attempt.request
        if (retired := request.retired_at(self.ledger.clock())) is not None:
            return Rejected(FailureKind.INVALID, f"{retired}; nothing was sent", 0)
        body = await self._attachments.filled(account.provider, request)
        if isinstance(body, NotSent | Rejected):
            return body
        left = submission.deadline - self.ledger.clock()
        if left <= 0:
            return NotSent("its deadline had passed before it could be sent; nothing left this machine")
        return await account.provider.submit(
            request.endpoint,
            body,
            submission_id=submission.id,
            deadline_seconds=min(left, account.submit_deadline_seconds),
        )

    async def _record(self, submission: Submission, outcome: SubmitOutcome, run_id: str | None) -> Attempt:
        """Write an answer down, even if the ledger is locked for minutes: it may be all that is known of a paid job."""
        tried = 1
        while True:
            try:
                return await self.call(
                    outcomes.record_outcome, self.ledger, submission, outcome, run_id=run_id
                )
            except UnavailableError as error:
                clip = submission.attempt.subject_key
                logger.warning(
                    "%s: the answer (%s) is not in the ledger yet: %s", clip, _in_short(outcome), error
                )
                if tried == RECORD_TRIES:
                    raise
            tried += 1
            await self.sleep(RECORD_AGAIN_SECONDS)

    async def _stop_if_hopeless(
        self, account: Account, outcome: SubmitOutcome, *, run_id: str | None, ours: Collection[str]
    ) -> None:
        """Say that the account is stopped; withdraw the caller's queue when nobody is there to take it."""
        name = account.name
        tries, since = self._not_sent.get(name, (0, 0.0))
        if not isinstance(outcome, NotSent):
            self._not_sent.pop(name, None)
        elif not 0 <= self.ledger.clock() - since < NOT_SENT_SECONDS / 2:
            # POSTs that fail side by side are one try: a network that blinks is no reason to give up a batch
            tries += 1
            self._not_sent[name] = (tries, self.ledger.clock())
        if isinstance(outcome, Rejected) and outcome.kind in STOPS_THE_ACCOUNT:
            await self._watch.alarm(name)
        elif isinstance(outcome, NotSent) and tries >= NOT_SENT_TRIES:
            why = f"{name} cannot be reached ({outcome.cause}); nothing was sent. Try again when it answers."
            await self.call(submitting.withdraw, self.ledger, list(ours), why=why, run_id=run_id)

    # Polling

    async def poll_due(
        self,
        name: str,
        *,
        limit: int = 500,
        only: Collection[str] | None = None,
        run_id: str | None = None,
        result: StepResult | None = None,
        until: float = math.inf,
    ) -> int:
        """Ask once for every job that is due; returns how many were asked for.

        Args:
            name: The account.
            limit: At most so many.
            only: Ids of attempts to choose from, None for all.
            run_id: For the journal.
            result: Collects what ended.
            until: When to ask for nothing more, seconds since the epoch.
        """
        polled = 0
        while polled < limit and self.ledger.clock() < until:
            at_once = min(POLLS_AT_ONCE, limit - polled)
            due = await self.call(polling.claim_due, self.ledger, name, limit=at_once, only=only)
            if not due:
                break
            ended = await self._poll_all(self.accounts[name], due, run_id)
            polled += len(due)
            if result is not None:
                result.polled += len(due)
                result.ended.extend(ended)
            if ended:
                self.changed.set()
        return polled

    async def _poll_all(self, account: Account, due: list[Attempt], run_id: str | None) -> list[Attempt]:
        """Poll what was claimed; one that breaks does not keep the others from being asked for again."""
        seen = await asyncio.gather(
            *(self._poll(account, attempt, run_id) for attempt in due), return_exceptions=True
        )
        running = [
            attempt
            for attempt, end in zip(due, seen, strict=True)
            if end is None and attempt.id not in self._poll_failures
        ]
        await self._schedule(running, polled=True)
        for end in seen:
            if isinstance(end, BaseException):
                raise end
        return [end for end in seen if isinstance(end, Attempt)]

    async def _poll(self, account: Account, attempt: Attempt, run_id: str | None) -> Attempt | None:
        """Poll one job; the attempt when it ended, None while it runs or when the poll said nothing."""
        age = self.ledger.clock() - (attempt.submitted_at or attempt.created_at)
        async with self._requests:
            seen = await account.provider.poll(attempt.job_id or "", age_seconds=age)
            if not isinstance(seen, PollFailed) and seen.status is JobStatus.GONE:
                seen = await self._ask_again_if_young(account, attempt, seen)
        if isinstance(seen, PollFailed):
            failures = self._poll_failures.get(attempt.id, 0)
            self._poll_failures[attempt.id] = failures + 1
            delay = next_poll_after_failure(failures=failures, retry_after=seen.retry_after, rng=self._rng)
            logger.warning("%s: %s; asking again in %.0f s", attempt.subject_key, seen.cause, delay)
            if seen.kind is FailureKind.THROTTLED:
                wait = THROTTLE_SECONDS if seen.retry_after is None else delay
                await self.call(limits.slow_down, self.ledger, account.name, self.ledger.clock() + wait)
            await self.call(
                polling.reschedule, self.ledger, [(attempt, self.ledger.clock() + delay)], polled=False
            )
            return None
        self._poll_failures.pop(attempt.id, None)
        if not seen.status.final:
            return None
        if seen.failure is FailureKind.INVALID:
            await self._attachments.doubt(account.name, attempt.request)
        return await self.call(
            polling.record_end, self.ledger, attempt, seen, account.provider.capabilities, run_id=run_id
        )

    async def _ask_again_if_young(
        self, account: Account, attempt: Attempt, gone: JobState
    ) -> JobState | PollFailed:
        """Doubt that a job is gone which is new by the provider's own clock: the one that dated its submit is not ours."""
        posted_at = await self.call(polling.posted_at_provider, self.ledger, attempt)
        offset = account.provider.clock_offset
        if posted_at is None or offset is None:
            return gone
        age = self.ledger.clock() + offset.low - posted_at
        if age >= account.provider.capabilities.propagation_seconds:
            return gone
        return await account.provider.poll(attempt.job_id or "", age_seconds=age)

    async def _schedule(self, running: list[Attempt], *, polled: bool) -> None:
        if not running:
            return
        name = running[0].account
        usual = await self.call(
            polling.usual_seconds, self.ledger, name, {attempt.endpoint for attempt in running}
        )
        now = self.ledger.clock()
        times = [
            (
                attempt,
                now
                + next_poll_in(
                    elapsed=now - (attempt.submitted_at or now),
                    polls=attempt.polls + (1 if polled else 0),
                    usual=usual.get(attempt.endpoint),
                    overdue=attempt.state is AttemptState.OVERDUE,
                    rng=self._rng,
                ),
            )
            for attempt in running
        ]
        await self.call(polling.reschedule, self.ledger, times, polled=polled)

    # Reconciling

    async def reconcile(
        self, name: str, *, run_id: str | None = None, result: StepResult | None = None
    ) -> list[Attempt]:
        """Take a look for jobs whose answer was lost, if it is time for one; returns the attempts that changed.

        Args:
            name: The account.
            run_id: For the journal.
            result: Collects what was settled.
        """
        account = self.accounts[name]
        settled = await self._reconciler.reconcile(account.provider, account.contract, run_id=run_id)
        if result is not None:
            result.reconciled.extend(settled)
            result.submitted.extend(a for a in settled if a.state is AttemptState.SUBMITTED)
        if settled:
            self.changed.set()
        return settled

    # One bounded step, for the completion sensor

    async def step(self, name: str, *, submit: bool = True) -> StepResult:
        """Do what is due at an account now: dead and lost submits, late jobs, stale queue, polls, free places.

        It begins nothing new after `STEP_SECONDS`; the next step goes on.
        """
        result = StepResult()
        until = self.ledger.clock() + STEP_SECONDS
        await self.call(outcomes.expire_submissions, self.ledger, name)
        await self.call(polling.mark_overdue, self.ledger, name)
        await self.call(submitting.withdraw_stale, self.ledger, name, older_than_seconds=QUEUE_HOURS * 3600)
        await self.reconcile(name, result=result)
        await self.poll_due(name, result=result, until=until)
        result.confirmed.extend(await self._bookkeeper.confirm(self.accounts[name].provider))
        await self.reopen(name)
        await self._watch.alarm(name)
        result.orphans.extend(await self._sweep(name))
        if submit:
            await self._submit_all(name, result, until)
        result.queued = await self.call(submitting.queue_length, self.ledger, name)
        result.stop = await self.call(halting.stop_of, self.ledger, name)
        return result

    async def _sweep(self, name: str) -> list[str]:
        account = self.accounts[name]
        return await sweep(self.ledger, account.provider, self.call, dedicated=account.dedicated)

    async def _submit_all(self, name: str, result: StepResult, until: float) -> None:
        """Send the queue, and look for answers that are lost meanwhile, since the rest of it waits for them."""
        give_up = min(self.ledger.clock() + LOST_PATIENCE_SECONDS, until)
        while True:
            later = await self.submit_queue(name, result=result, until=until)
            now = self.ledger.clock()
            if later is None or not later.lost or now > give_up:
                return
            await self.sleep(max(later.at - now, 0.2))
            await self.reconcile(name, result=result)


async def _uninterrupted(work: "asyncio.Future[T]") -> T:
    """Wait for some work to its end, even when interrupted meanwhile; the interruption takes effect afterwards."""
    interrupted: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError as error:
            interrupted = error
    result = work.result()
    if interrupted is not None:
        raise interrupted
    return result


def _in_short(outcome: SubmitOutcome) -> str:
    """An answer for the log, without what the provider said besides."""
    return f"job {outcome.job_id}" if isinstance(outcome, Accepted) else type(outcome).__name__


def _next_time(now: float) -> Later:
    return Later(now, "the rest is sent in the next step")
