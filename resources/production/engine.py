"""One bounded step of an account's work: send what is queued, ask for what is due.

A run that waits and the completion sensor both drive the same steps; the ledger's claims keep them from doing the same
work twice.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from resources.ledger import polling, submitting
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt, Submission
from resources.ledger.states import AttemptState
from resources.ledger.submitting import Later, Limits
from resources.production.schedule import next_poll_after_failure, next_poll_in
from resources.providers.base import FailureKind, NotSent, PollFailed, Provider, Rejected, SubmitOutcome

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger("dailies")

PARALLEL_REQUESTS = 16
POSTS_GRACE_SECONDS = 10.0
"""How long an interrupted engine waits for answers to POSTs that are on the wire."""
NOT_SENT_TRIES = 4
QUEUE_HOURS = 24.0
STOPS_THE_ACCOUNT = {FailureKind.AUTH, FailureKind.INSUFFICIENT_FUNDS}


@dataclass(frozen=True)
class Account:
    """An account at a provider, ready to be used.

    Attributes:
        provider: The client.
        limits: What the account allows across processes.
        submit_deadline_seconds: Hard total deadline of one POST.
    """

    provider: Provider
    limits: Limits = field(default_factory=Limits)
    submit_deadline_seconds: float = 30.0

    @property
    def name(self) -> str:
        """The account's name in the ledger."""
        return self.provider.name


@dataclass
class StepResult:
    """What a step did, for the sensor's tick message."""

    submitted: list[Attempt] = field(default_factory=list)
    ended: list[Attempt] = field(default_factory=list)
    polled: int = 0
    queued: int = 0


class Engine:
    """Drives the accounts: claims in the ledger, speaks to the providers, records what they say.

    Args:
        ledger: The record; its clock is the engine's.
        accounts: By the name the ledger knows them by.
        sleep: `asyncio.sleep`, or a test's fake.
        rng: For jitter.
    """

    def __init__(
        self,
        ledger: Ledger,
        accounts: Mapping[str, Account],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
    ) -> None:
        self.ledger = ledger
        self.accounts = accounts
        self.sleep = sleep
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not secrecy
        # one thread for the ledger: a lock in the database must not keep the loop from reading an answer in time
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._requests = asyncio.Semaphore(PARALLEL_REQUESTS)
        self._posts: set[asyncio.Task[Attempt]] = set()
        self._not_sent: dict[str, int] = {}
        self._poll_failures: dict[str, int] = {}
        self.changed = asyncio.Event()

    async def aclose(self) -> None:
        """Wait for POSTs on the wire, then close the providers' connections."""
        await self.finish_posts()
        for account in self.accounts.values():
            await account.provider.aclose()
        self._thread.shutdown(wait=True)

    async def finish_posts(self) -> None:
        """Give POSTs on the wire a moment to be answered; what is still open then becomes unknown by its lease."""
        if self._posts:
            _done, pending = await asyncio.wait(self._posts, timeout=POSTS_GRACE_SECONDS)
            for task in pending:
                task.cancel()

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
    ) -> Later | None:
        """Send everything that is queued at an account and may go now.

        Args:
            name: The account.
            run_id: For the journal.
            ours: Ids of the caller's attempts, withdrawn when the account refuses the key, cannot pay or is not there.
            result: Collects what was submitted.

        Returns:
            When and why to come again, None when nothing is queued.
        """
        account = self.accounts[name]
        tasks: list[asyncio.Task[Attempt]] = []
        try:
            while True:
                claimed = await self.call(
                    submitting.claim_next,
                    self.ledger,
                    name,
                    limits=account.limits,
                    deadline_seconds=account.submit_deadline_seconds,
                    run_id=run_id,
                )
                if not isinstance(claimed, Submission):
                    return claimed
                task = asyncio.create_task(self._post(account, claimed, run_id=run_id, ours=ours))
                tasks.append(task)
                self._posts.add(task)
                task.add_done_callback(self._posts.discard)
                if len(self._posts) >= PARALLEL_REQUESTS:
                    await asyncio.wait(self._posts, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if tasks:
                await asyncio.wait(tasks)
                if result is not None:
                    sent = [
                        task.result() for task in tasks if not task.cancelled() and task.exception() is None
                    ]
                    result.submitted.extend(a for a in sent if a.state is AttemptState.SUBMITTED)

    async def _post(
        self, account: Account, submission: Submission, *, run_id: str | None, ours: Collection[str]
    ) -> Attempt:
        request = submission.attempt.request
        outcome = await account.provider.submit(
            request.endpoint,
            request.body,
            submission_id=submission.id,
            deadline_seconds=account.submit_deadline_seconds,
        )
        attempt = await self.call(submitting.record_outcome, self.ledger, submission, outcome, run_id=run_id)
        if attempt.state is AttemptState.SUBMITTED:
            await self._schedule([attempt], polled=False)
        await self._stop_if_hopeless(account, outcome, run_id=run_id, ours=ours)
        self.changed.set()
        return attempt

    async def _stop_if_hopeless(
        self, account: Account, outcome: SubmitOutcome, *, run_id: str | None, ours: Collection[str]
    ) -> None:
        """Withdraw the caller's queue when sending more of it cannot help."""
        name = account.name
        if not isinstance(outcome, NotSent):
            self._not_sent[name] = 0
        else:
            self._not_sent[name] = self._not_sent.get(name, 0) + 1
        if isinstance(outcome, Rejected) and outcome.kind in STOPS_THE_ACCOUNT:
            await self.call(
                submitting.withdraw,
                self.ledger,
                list(ours),
                why=f"not sent: {outcome.message}",
                kind=outcome.kind,
                run_id=run_id,
            )
        elif isinstance(outcome, NotSent) and self._not_sent[name] >= NOT_SENT_TRIES:
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
    ) -> int:
        """Ask once for every job that is due; returns how many were asked for.

        Args:
            name: The account.
            limit: At most so many.
            only: Ids of attempts to choose from, None for all.
            run_id: For the journal.
            result: Collects what ended.
        """
        due = await self.call(polling.claim_due, self.ledger, name, limit=limit, only=only)
        if not due:
            return 0
        account = self.accounts[name]
        ended = await asyncio.gather(*(self._poll(account, attempt, run_id) for attempt in due))
        running = [
            attempt
            for attempt, end in zip(due, ended, strict=True)
            if end is None and attempt.id not in self._poll_failures
        ]
        await self._schedule(running, polled=True)
        if result is not None:
            result.polled += len(due)
            result.ended.extend(attempt for attempt in ended if attempt is not None)
        if any(ended):
            self.changed.set()
        return len(due)

    async def _poll(self, account: Account, attempt: Attempt, run_id: str | None) -> Attempt | None:
        """Poll one job; the attempt when it ended, None while it runs or when the poll said nothing."""
        age = self.ledger.clock() - (attempt.submitted_at or attempt.created_at)
        async with self._requests:
            seen = await account.provider.poll(attempt.job_id or "", age_seconds=age)
        if isinstance(seen, PollFailed):
            failures = self._poll_failures.get(attempt.id, 0)
            self._poll_failures[attempt.id] = failures + 1
            delay = next_poll_after_failure(failures=failures, retry_after=seen.retry_after, rng=self._rng)
            logger.warning("%s: %s; asking again in %.0f s", attempt.subject_key, seen.cause, delay)
            await self.call(
                polling.reschedule, self.ledger, {attempt.id: self.ledger.clock() + delay}, polled=False
            )
            return None
        self._poll_failures.pop(attempt.id, None)
        if not seen.status.final:
            return None
        return await self.call(
            polling.record_end, self.ledger, attempt, seen, account.provider.capabilities, run_id=run_id
        )

    async def _schedule(self, running: list[Attempt], *, polled: bool) -> None:
        if not running:
            return
        name = running[0].account
        usual = await self.call(
            polling.usual_seconds, self.ledger, name, {attempt.endpoint for attempt in running}
        )
        now = self.ledger.clock()
        times = {
            attempt.id: now
            + next_poll_in(
                elapsed=now - (attempt.submitted_at or now),
                polls=attempt.polls + (1 if polled else 0),
                usual=usual.get(attempt.endpoint),
                overdue=attempt.state is AttemptState.OVERDUE,
                rng=self._rng,
            )
            for attempt in running
        }
        await self.call(polling.reschedule, self.ledger, times, polled=polled)

    # One bounded step, for the completion sensor

    async def step(self, name: str, *, submit: bool = True) -> StepResult:
        """Do what is due at an account now: dead submits, late jobs, stale queue, polls, free places."""
        result = StepResult()
        await self.call(submitting.expire_submissions, self.ledger, name)
        await self.call(polling.mark_overdue, self.ledger, name)
        await self.call(submitting.withdraw_stale, self.ledger, name, older_than_seconds=QUEUE_HOURS * 3600)
        await self.poll_due(name, result=result)
        if submit:
            await self.submit_queue(name, result=result)
        result.queued = await self.call(submitting.queue_length, self.ledger, name)
        return result
