"""The repeater: it sends a POST with a lost answer again, if the provider supports an idempotency key.

The key is the submission's id. The same POST creates no second job, so the answer to a repetition names the first one's job.
Nothing else is concluded from a repetition: a refusal, or a request that was not sent, says nothing about the first POST.
"""

import logging
from dataclasses import dataclass, field

from resources.file_references import FileReference
from resources.ledger import keys, outcomes, stops
from resources.ledger.ledger import Ledger
from resources.ledger.lost.posts import Undecided, find_undecided
from resources.ledger.records import Attempt, Submission
from resources.ledger.states import AttemptState
from resources.production.account import Account
from resources.production.bucket_mark import MarkKeeper
from resources.production.clip_steps import clip_step, note_outcome
from resources.production.ledger_thread import LedgerThread
from resources.providers.base import Accepted
from resources.unforeseen import UnforeseenError, as_unforeseen

logger = logging.getLogger("dailies")

FIRST_PAUSE_SECONDS = 5.0
"""Seconds between the first two repetitions; each later pause is twice as long."""
LONGEST_PAUSE_SECONDS = 300.0


@dataclass
class Repeater:
    """Repeats the unknown POSTs of accounts whose provider supports an idempotency key."""

    ledger: LedgerThread
    mark: MarkKeeper
    _due: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By submission: the time of the next repetition (seconds since the epoch), and the pause after it."""

    async def repeat(self, account: Account, *, run_id: str | None = None) -> list[Attempt]:
        """Send each unknown POST again that is due and whose key is still valid.

        Returns:
            The attempts that became submitted.
        """
        seconds = account.provider.capabilities.idempotency_seconds
        if seconds is None:
            return []
        lost = await self.ledger.run(_repeatable, account.name, seconds - account.submit_deadline_seconds)
        self._due = {
            one.submission_id: self._due[one.submission_id] for one in lost if one.submission_id in self._due
        }
        now = self.ledger.clock()
        repeated: list[Attempt] = []
        for one in lost:
            at, pause = self._due.get(one.submission_id, (now, FIRST_PAUSE_SECONDS))
            if now < at:
                continue
            if await self.mark.refusal() is not None:
                return repeated
            self._due[one.submission_id] = now + pause, min(2 * pause, LONGEST_PAUSE_SECONDS)
            with clip_step("POST", one.attempt, run_id=run_id, submission=one.submission_id):
                after = await self._send(account, one, run_id)
            if after is not None and after.state is AttemptState.SUBMITTED:
                repeated.append(after)
        return repeated

    async def _send(self, account: Account, one: Undecided, run_id: str | None) -> Attempt | None:
        request = one.attempt.request
        deadline = self.ledger.clock() + account.submit_deadline_seconds
        try:
            with as_unforeseen(f"{one.attempt.subject_key} was being sent again"):
                outcome = await account.provider.submit(
                    request.endpoint,
                    one.body,
                    submission_id=one.submission_id,
                    deadline_seconds=account.submit_deadline_seconds,
                )
        except UnforeseenError:
            return None
        note_outcome(outcome)
        if not isinstance(outcome, Accepted):
            logger.info(
                "%s: %s was sent again, without an answer that names its job",
                account.name,
                one.attempt.subject_key,
            )
            return None
        submission = Submission(one.submission_id, one.attempt, deadline, one.seed)
        return await self.ledger.run(outcomes.record_outcome, submission, outcome, run_id=run_id)


def _repeatable(ledger: Ledger, account: str, seconds: float) -> list[Undecided]:
    """The unknown POSTs of an account that are younger than some seconds; none while the account is stopped.

    A request with a local file is left out, because the file's address may have changed and the idempotency key belongs to one body.
    A POST that was sent with another API key is left out, because it would be a new order at another account.
    """
    if stops.stop_of(ledger, account) is not None:
        return []
    with ledger.read() as connection:
        now, same_account_since = ledger.clock(), keys.key_since(connection, account)
        return [
            one
            for one in find_undecided(connection, account)
            if one.attempt.state is AttemptState.UNKNOWN
            and 0 <= now - one.started_at < seconds
            and one.started_at >= same_account_since
            and not FileReference.of(one.attempt.request.body)
        ]
