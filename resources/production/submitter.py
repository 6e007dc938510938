"""The submitter: it sends the queue of an account and records every answer.

A POST is claimed in the ledger, sent, and recorded. On an interruption, an unsent claim is released, and an answer that was read
is still recorded.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from resources.errors import UnavailableError
from resources.ledger import outcomes, queue
from resources.ledger.limits import Later
from resources.ledger.outcomes import NOT_SENT_SECONDS
from resources.ledger.queue import PostTerms
from resources.ledger.records import Attempt, Submission
from resources.ledger.states import AttemptState
from resources.ledger.times import has_passed
from resources.production.account import Account, StepResult
from resources.production.bucket_mark import CHECK_SECONDS, MarkKeeper
from resources.production.clip_steps import clip_step, note_outcome
from resources.production.ledger_thread import LedgerThread
from resources.production.poller import Poller
from resources.production.reconciler import measure_clock
from resources.production.stop_watch import StopWatch
from resources.production.uploader import CLIPS_AHEAD, Uploader
from resources.providers.base import Accepted, FailureKind, NotSent, Rejected, SubmitOutcome, Unknown
from resources.unforeseen import UnforeseenError, as_unforeseen

T = TypeVar("T")

logger = logging.getLogger("dailies")

PARALLEL_POSTS = 16
POSTS_GRACE_SECONDS = 10.0
"""How long an interrupted engine waits for the answers to POSTs in flight."""
NOT_SENT_TRIES = 4
RECORD_TRIES = 20
RECORD_AGAIN_SECONDS = 3.0
STOPS_THE_ACCOUNT = {FailureKind.AUTH, FailureKind.INSUFFICIENT_FUNDS}


class Submitter:
    """Sends the queues of one engine's accounts.

    Args:
        ledger: The ledger; its event `changed` is set after every answer.
        poller: Schedules the first poll of each job.
        uploader: Uploads local files before their clips are claimed.
        mark: Tells whether the ledger may buy.
        sleep: `asyncio.sleep`, or a test's fake.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        poller: Poller,
        uploader: Uploader,
        mark: MarkKeeper,
        *,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._poller = poller
        self._uploader = uploader
        self._mark = mark
        self._sleep = sleep
        self._watch = StopWatch(ledger)
        self._posts: set[asyncio.Task[Attempt | None]] = set()
        self._not_sent: dict[str, tuple[int, float]] = {}

    async def submit_queue(
        self,
        account: Account,
        *,
        run_id: str | None = None,
        ours: Collection[str] = (),
        result: StepResult | None = None,
        until: float = math.inf,
    ) -> Later | None:
        """Send all queued attempts of an account that may be sent now.

        Interrupted, it leaves POSTs in flight to `finish`.

        Args:
            ours: Ids of the caller's attempts. Those of this account are withdrawn if the account cannot be reached.
            result: Collects the submitted attempts.
            until: When to claim nothing more, in seconds since the epoch.

        Returns:
            When and why to call again; None if nothing is queued.

        Raises:
            UnavailableError: The ledger cannot be read or written. An answer that was not recorded is in the log.
        """
        if not await self._ledger.run(queue.queue_length, account.name):
            return None
        refusal = await self._mark.refusal()
        if refusal is not None:
            if result is not None:
                result.refused = str(refusal)
            return Later(self._ledger.clock() + CHECK_SECONDS, str(refusal))
        await measure_clock(account.provider)
        while True:
            tasks, later = await self._claim_and_post(account, run_id=run_id, ours=ours, until=until)
            if tasks:
                await asyncio.wait(tasks)
            sent = [attempt for task in tasks if (attempt := task.result()) is not None]
            if result is not None:
                result.submitted.extend(
                    attempt for attempt in sent if attempt.state is AttemptState.SUBMITTED
                )
            # throttled and unsent clips are queued again, and clips that waited for our own POSTs may go now
            again = any(attempt.state is AttemptState.QUEUED for attempt in sent)
            if self._ledger.clock() >= until and (again or later is not None):
                return later or _next_time(self._ledger.clock())
            if not tasks or (later is None and not again):
                if later is not None and later.refused and result is not None:
                    result.refused = later.why
                if later is not None and later.stop is not None:
                    await self._watch.alarm(account.name)
                return later

    async def _claim_and_post(
        self, account: Account, *, run_id: str | None, ours: Collection[str], until: float
    ) -> tuple[list[asyncio.Task[Attempt | None]], Later | None]:
        """Send the POSTs that may go now, each in a task; also returns when and why to call again, None if the queue is empty."""
        tasks: list[asyncio.Task[Attempt | None]] = []
        while self._ledger.clock() < until:
            if len(tasks) % CLIPS_AHEAD == 0:
                await self._uploader.upload_files(account.provider)
            claimed = await self._claim(account, run_id)
            if not isinstance(claimed, Submission):
                return tasks, claimed
            task = asyncio.create_task(self._post(account, claimed, run_id=run_id, ours=ours))
            tasks.append(task)
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)
            if len(self._posts) >= PARALLEL_POSTS:
                await asyncio.wait(self._posts, return_when=asyncio.FIRST_COMPLETED)
        return tasks, _next_time(self._ledger.clock())

    async def _claim(self, account: Account, run_id: str | None) -> Submission | Later | None:
        """Claim the next submission. A claim that is interrupted is released, since it was surely not sent."""
        claiming = asyncio.ensure_future(
            self._ledger.run(
                queue.claim_next,
                account.name,
                PostTerms(
                    account.limits,
                    account.submit_deadline_seconds,
                    traceable=account.provider.capabilities.is_traceable,
                    seeds_tell=account.provider.capabilities.echoes_input,
                    clock_offset=account.provider.clock_offset,
                ),
                run_id=run_id,
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
    ) -> Attempt | None:
        """Send one submission and record its outcome; None after an unforeseen error.

        An outcome that was not recorded becomes unknown when its lease expires, as after the death of a process.
        """
        try:
            with (
                clip_step("POST", submission.attempt, run_id=run_id, submission=submission.id),
                as_unforeseen(f"{submission.attempt.subject_key} could not be dealt with after its POST"),
            ):
                return await self._post_and_record(account, submission, run_id=run_id, ours=ours)
        except UnforeseenError:
            self._ledger.changed.set()
            return None

    async def _post_and_record(
        self, account: Account, submission: Submission, *, run_id: str | None, ours: Collection[str]
    ) -> Attempt:
        outcome = await self._send(account, submission)
        note_outcome(outcome)
        attempt = await _uninterrupted(asyncio.ensure_future(self._record(submission, outcome, run_id)))
        if attempt.state is AttemptState.SUBMITTED:
            await self._poller.schedule([attempt], polled=False)
        await self._stop_if_hopeless(account, outcome, run_id=run_id, ours=ours)
        if isinstance(outcome, Rejected) and outcome.kind is FailureKind.INVALID:
            await self._uploader.forget_uploads(account.name, attempt.request)
        self._mark.progressed()
        self._ledger.changed.set()
        return attempt

    async def _send(self, account: Account, submission: Submission) -> SubmitOutcome:
        """POST within the rest of the deadline: a process that slept since the claim may count as dead by now.

        A deadline that is too far ahead was set by a clock that was ahead, and another process may have expired its lease.
        """
        request = submission.attempt.request
        if (retired := request.retired_at(self._ledger.clock())) is not None:
            return Rejected(FailureKind.INVALID, f"{retired}; nothing was sent", 0)
        clip = submission.attempt.subject_key
        try:
            with as_unforeseen(f"the request for {clip} could not be made"):
                body = await self._uploader.resolve_body(account.provider, submission.body)
        except UnforeseenError as error:
            return Rejected(FailureKind.INVALID, f"{error}. Nothing was sent", 0)
        if isinstance(body, NotSent | Rejected):
            return body
        left = submission.deadline - self._ledger.clock()
        if has_passed(left, 0.0, within=account.submit_deadline_seconds):
            return NotSent(
                "its deadline had passed before it could be sent, or the clock was set back; nothing left this machine"
            )
        try:
            with as_unforeseen(f"{clip} was being sent"):
                return await account.provider.submit(
                    request.endpoint,
                    body,
                    submission_id=submission.id,
                    deadline_seconds=min(left, account.submit_deadline_seconds),
                )
        except UnforeseenError as error:
            return Unknown(f"{error}. The request may have been received")

    async def _record(self, submission: Submission, outcome: SubmitOutcome, run_id: str | None) -> Attempt:
        """Record an answer, even if the ledger is locked for minutes: nothing else may know about the paid job.

        An answer that cannot be recorded in full is recorded without the provider's own words.
        """
        clip = submission.attempt.subject_key
        tried = 1
        while True:
            try:
                with as_unforeseen(f"{clip}: an answer could not be recorded as it came"):
                    recorded = await self._ledger.run(
                        outcomes.record_outcome, submission, outcome, run_id=run_id
                    )
            except UnforeseenError:
                if outcome == (bare := _bare(outcome)):
                    raise
                outcome = bare
                continue
            except UnavailableError as error:
                logger.warning(
                    "%s: the answer (%s) is not in the ledger yet: %s", clip, _outcome_text(outcome), error
                )
                if tried == RECORD_TRIES:
                    raise
            else:
                return recorded
            tried += 1
            await self._sleep(RECORD_AGAIN_SECONDS)

    async def _stop_if_hopeless(
        self, account: Account, outcome: SubmitOutcome, *, run_id: str | None, ours: Collection[str]
    ) -> None:
        """Raise the alarm of a stopped account; withdraw the caller's queue if the account cannot be reached."""
        name = account.name
        tries, since = self._not_sent.get(name, (0, 0.0))
        if not isinstance(outcome, NotSent):
            self._not_sent.pop(name, None)
        elif not 0 <= self._ledger.clock() - since < NOT_SENT_SECONDS / 2:
            # POSTs that fail in parallel count as one try, so that a short network failure does not end a batch
            tries += 1
            self._not_sent[name] = (tries, self._ledger.clock())
        if isinstance(outcome, Rejected) and outcome.kind in STOPS_THE_ACCOUNT:
            await self._watch.alarm(name)
        elif isinstance(outcome, NotSent) and tries >= NOT_SENT_TRIES:
            why = f"{name} cannot be reached ({outcome.cause}); nothing was sent. Try again when it answers."
            await self._ledger.run(queue.withdraw, list(ours), why=why, account=name, run_id=run_id)

    async def finish(self, *, interrupted: bool = True) -> None:
        """Wait for the answers to POSTs in flight.

        Args:
            interrupted: Wait only for `POSTS_GRACE_SECONDS`. A POST without an answer then becomes unknown when its lease expires;
                an answer that was read is still recorded.
        """
        if self._posts:
            grace = POSTS_GRACE_SECONDS if interrupted else None
            _done, pending = await asyncio.wait(self._posts, timeout=grace)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)


async def _uninterrupted(work: "asyncio.Future[T]") -> T:
    """Wait for the end of some work even if interrupted; the interruption takes effect afterwards."""
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


def _outcome_text(outcome: SubmitOutcome) -> str:
    """An answer for the log, without the provider's own words."""
    return f"job {outcome.job_id}" if isinstance(outcome, Accepted) else type(outcome).__name__


def _bare(outcome: SubmitOutcome) -> SubmitOutcome:
    """An answer reduced to its kind and the job's id, without the provider's own words."""
    match outcome:
        case Accepted():
            return Accepted(outcome.job_id, None, {})
        case Rejected():
            return Rejected(outcome.kind, "the provider refuses it in words that cannot be kept", 0)
        case NotSent():
            return NotSent("nothing was sent")
        case Unknown():
            return Unknown("its answer cannot be kept")


def _next_time(now: float) -> Later:
    return Later(now, "the rest is sent in the next step")
