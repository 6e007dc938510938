"""The poller: it polls jobs that are due, records their states, and schedules the next polls."""

import asyncio
import logging
import random
from dataclasses import dataclass

from resources.ledger import late_jobs, polls
from resources.ledger.limits import THROTTLE_SECONDS
from resources.ledger.pauses import slow_down
from resources.ledger.records import Attempt
from resources.ledger.states import AT_PROVIDER, AttemptState
from resources.log_lines import about
from resources.production.clip_steps import clip_step, note_poll
from resources.production.ledger_thread import LedgerThread
from resources.production.poll_times import next_poll_after_failure, next_poll_in
from resources.production.uploader import Uploader
from resources.providers.base import FailureKind, JobState, JobStatus, PollFailed
from resources.providers.provider import Provider
from resources.unforeseen import UnforeseenError, as_unforeseen

logger = logging.getLogger("dailies")

PARALLEL_REQUESTS = 32
"""The most polls at one time. With answers after 0.3 s they are a hundred a second, as many as one process can record."""
UNFORESEEN_POLLS = 3
"""After how many polls with an unforeseen error a waiting run gives up the clip."""
POLLS_AT_ONCE = 2 * PARALLEL_REQUESTS
"""How many polls are claimed together: two rounds of requests fit into `resources.ledger.polls.CLAIM_SECONDS`."""

USUAL_FOR_SECONDS = 10.0
"""How long the usual times of an account's endpoints are kept, in seconds: about one step. They come from twenty jobs."""
SOONER = 0.7
"""The factor by which the first poll comes sooner if most jobs of an endpoint were over at their first poll."""
FIRST_POLL_SECONDS = 120.0
"""The latest time of a first poll. Without it, after a time without polls, jobs of 7 s were first polled after 85 s."""


class Poller:
    """Polls the jobs of one engine's accounts.

    Args:
        uploader: Forgets the uploads of a job that failed for its files.
        rng: The source of jitter.
    """

    def __init__(self, ledger: LedgerThread, uploader: Uploader, *, rng: random.Random) -> None:
        self._ledger = ledger
        self._uploader = uploader
        self._rng = rng
        self._requests = asyncio.Semaphore(PARALLEL_REQUESTS)
        self._failures: dict[str, int] = {}
        self._usual: dict[tuple[str, str], _Usual] = {}
        self._unforeseen_times: dict[str, int] = {}
        self.unforeseen: dict[str, str] = {}
        """The unforeseen error of each attempt whose polls fail repeatedly with one."""
        self.refuse_the_key: set[str] = set()
        """Accounts whose last answered poll refused the key."""

    async def poll(self, provider: Provider, due: list[Attempt], *, run_id: str | None) -> list[Attempt]:
        """Poll claimed jobs. An error of one job does not prevent scheduling the others.

        Args:
            provider: The provider of the jobs.
            due: The attempts that `resources.ledger.polls.claim_due` returned.

        Returns:
            The attempts whose jobs have ended.
        """
        answers = await asyncio.gather(
            *(self._poll(provider, attempt, run_id) for attempt in due), return_exceptions=True
        )
        running = [
            attempt
            for attempt, end in zip(due, answers, strict=True)
            if end is None and attempt.id not in self._failures
        ]
        await self.schedule(running, polled=True)
        for end in answers:
            if isinstance(end, BaseException):
                raise end
        ends = [end for end in answers if isinstance(end, Attempt)]
        for doubtful in (end for end in ends if end.state in AT_PROVIDER):
            with about(**doubtful.named, run_id=run_id):
                logger.warning("%s: %s", doubtful.subject_key, doubtful.confirming)
        return [end for end in ends if end.state not in AT_PROVIDER]

    async def poll_late(self, provider: Provider) -> list[Attempt]:
        """Poll late jobs that are due; returns the spare takes that they became."""
        due = await self._ledger.run(late_jobs.claim_late, provider.name)
        # in parallel, because eight timeouts one after the other would outlast a sensor's tick
        answers = await asyncio.gather(
            *(self._poll_late_one(provider, attempt) for attempt in due), return_exceptions=True
        )
        for kept in answers:
            if isinstance(kept, BaseException):
                raise kept
        return [kept for kept in answers if isinstance(kept, Attempt)]

    async def _poll_late_one(self, provider: Provider, attempt: Attempt) -> Attempt | None:
        try:
            with clip_step("poll", attempt), as_unforeseen(f"{attempt.subject_key} could not be polled"):
                return await self._ask_late(provider, attempt)
        except UnforeseenError:
            await self._ledger.run(late_jobs.ask_later, attempt)
            return None

    async def _ask_late(self, provider: Provider, attempt: Attempt) -> Attempt | None:
        age = attempt.age(self._ledger.clock())
        async with self._requests:
            answer = await provider.poll(attempt.job_id or "", age_seconds=age)
        note_poll(answer)
        if isinstance(answer, PollFailed) and answer.kind is FailureKind.THROTTLED:
            await self._slow_down(
                provider, THROTTLE_SECONDS if answer.retry_after is None else answer.retry_after
            )
        if isinstance(answer, PollFailed) or answer.status is not JobStatus.SUCCEEDED:
            await self._ledger.run(late_jobs.ask_later, attempt)
            return None
        return await self._ledger.run(late_jobs.keep_late, attempt, answer, provider.capabilities)

    async def _poll(self, provider: Provider, attempt: Attempt, run_id: str | None) -> Attempt | None:
        """Poll one job; returns the attempt if the job has or seems to have ended, None if it runs or the poll failed."""
        try:
            with (
                clip_step("poll", attempt, run_id=run_id),
                as_unforeseen(f"{attempt.subject_key} could not be polled"),
            ):
                ended = await self._ask(provider, attempt, run_id)
        except UnforeseenError as error:
            times = self._unforeseen_times.get(attempt.id, 0)
            self._unforeseen_times[attempt.id] = self._failures[attempt.id] = times + 1
            if times + 1 >= UNFORESEEN_POLLS:
                self.unforeseen[attempt.id] = str(error)
            await self._ask_later(provider, attempt, PollFailed(str(error)))
            return None
        self._unforeseen_times.pop(attempt.id, None)
        self.unforeseen.pop(attempt.id, None)
        return ended

    async def _ask(self, provider: Provider, attempt: Attempt, run_id: str | None) -> Attempt | None:
        age = attempt.age(self._ledger.clock())
        async with self._requests:
            answer = await provider.poll(attempt.job_id or "", age_seconds=age)
            if not isinstance(answer, PollFailed) and answer.status is JobStatus.GONE:
                answer = await self._ask_again_if_young(provider, attempt, answer)
        note_poll(answer)
        if isinstance(answer, PollFailed):
            await self._ask_later(provider, attempt, answer)
            return None
        self._failures.pop(attempt.id, None)
        self.refuse_the_key.discard(provider.name)
        if not answer.status.final:
            return None
        if answer.failure is FailureKind.INVALID:
            await self._uploader.forget_uploads(provider.name, attempt.request)
        return await self._ledger.run(polls.see_end, attempt, answer, provider.capabilities, run_id=run_id)

    async def _ask_later(self, provider: Provider, attempt: Attempt, failed: PollFailed) -> None:
        """Schedule the next poll of a job after a failed poll."""
        failures = self._failures.get(attempt.id, 0)
        self._failures[attempt.id] = failures + 1
        delay = next_poll_after_failure(failures=failures, retry_after=failed.retry_after, rng=self._rng)
        logger.warning("%s: %s; asking again in %.0f s", attempt.subject_key, failed.cause, delay)
        if failed.kind is FailureKind.THROTTLED:
            await self._slow_down(provider, THROTTLE_SECONDS if failed.retry_after is None else delay)
        if failed.kind is FailureKind.AUTH:
            self.refuse_the_key.add(provider.name)
        await self._ledger.run(polls.reschedule, [(attempt, self._ledger.clock() + delay)], polled=False)

    async def _slow_down(self, provider: Provider, seconds: float) -> None:
        await self._ledger.run(slow_down, provider.name, seconds, why="it answered a poll with 429")

    async def _ask_again_if_young(
        self, provider: Provider, attempt: Attempt, gone: JobState
    ) -> JobState | PollFailed:
        """Poll a job that seems gone once more if it is new by the provider's clock, since another host dated its submit."""
        posted_at = await self._ledger.run(polls.posted_at_provider, attempt)
        offset = provider.clock_offset
        if posted_at is None or offset is None:
            return gone
        age = self._ledger.clock() + offset.low - posted_at
        if age >= provider.capabilities.propagation_seconds:
            return gone
        return await provider.poll(attempt.job_id or "", age_seconds=age)

    async def schedule(self, running: list[Attempt], *, polled: bool) -> None:
        """Schedule the next polls of one account's jobs.

        Args:
            running: Attempts as they were claimed or submitted.
            polled: Whether a poll has just seen their jobs running.
        """
        if not running:
            return
        name = running[0].account
        usual = await self._usual_seconds(name, {attempt.endpoint for attempt in running}, polled=polled)
        now = self._ledger.clock()
        times = []
        for attempt in running:
            delay = next_poll_in(
                elapsed=now - (attempt.submitted_at or now),
                usual=usual.get(attempt.endpoint),
                overdue=attempt.state is AttemptState.OVERDUE,
                rng=self._rng,
            )
            times.append((attempt, now + (delay if polled else min(delay, FIRST_POLL_SECONDS))))
        await self._ledger.run(polls.reschedule, times, polled=polled)

    async def _usual_seconds(
        self, name: str, endpoints: set[str], *, polled: bool
    ) -> dict[str, float | None]:
        """By endpoint: seconds until the poll that sees the end of its jobs; None if that is not known."""
        now = self._ledger.clock()
        unread = {
            endpoint
            for endpoint in endpoints
            if (kept := self._usual.get((name, endpoint))) is None
            or not 0 <= now - kept.read_at < USUAL_FOR_SECONDS
        }
        if unread:
            seconds = await self._ledger.run(polls.usual_seconds, name, unread)
            late = await self._ledger.run(polls.over_at_first_poll, name, seconds.keys())
            for endpoint in unread:
                self._usual[name, endpoint] = _Usual(seconds.get(endpoint), endpoint in late, now)
        usual = {endpoint: self._usual[name, endpoint] for endpoint in endpoints}
        return {endpoint: one.seconds if polled else one.first_poll for endpoint, one in usual.items()}


@dataclass(frozen=True)
class _Usual:
    """The usual time of one endpoint's jobs."""

    seconds: float | None
    late: bool
    """Whether most of them were over at their first poll."""
    read_at: float

    @property
    def first_poll(self) -> float | None:
        return self.seconds if self.seconds is None or not self.late else self.seconds * SOONER
