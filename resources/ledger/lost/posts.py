"""POSTs that may have created a job that this ledger does not know, and from when on a listing proves something about them."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from resources.file_references import FileReference
from resources.ledger.database import chunks
from resources.ledger.limits import ACCEPTANCE_SECONDS, LEASE_MARGIN_SECONDS
from resources.ledger.lost.evidence import Lack, Post
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, is_any_of, submissions
from resources.ledger.states import AttemptState, SubmissionState
from resources.orders import ClipRequest
from resources.providers.base import ClockOffset

CLOCK_SLACK_SECONDS = 1.0
GIVE_UP_SETTLES = 4
"""After this many settle times, an unknown POST is held, whether or not its listing could be read."""
UNMEASURED_SECONDS = 120.0
"""The assumed offset of a provider's clock from ours where no `Date` header shows it."""

_WITHOUT_AN_ANSWER = sa.select(submissions).where(
    submissions.c.account == sa.bindparam("account"),
    is_any_of(submissions.c.state, [SubmissionState.OPEN, SubmissionState.UNKNOWN]),
)
_THEIRS = sa.select(attempts).where(
    attempts.c.id.in_(sa.bindparam("ids", expanding=True)),
    is_any_of(attempts.c.state, [AttemptState.SUBMITTING, AttemptState.UNKNOWN, AttemptState.HELD]),
)


@dataclass(frozen=True)
class Contract:
    """What an account's listing can prove, and when."""

    echoes: bool
    """Whether it names our submission ids."""
    settle_seconds: float
    """How long after the hard deadline of a POST a miss starts to prove something."""
    lists_running: bool = True
    """Whether it shows running jobs. If not, a miss proves nothing before the longest job has ended."""
    start_seconds: float = 0.0
    """How long a job may wait for its start before the provider ends it."""

    def settle(self, request: ClipRequest) -> float:
        """The settle time for a request, in seconds."""
        if self.lists_running:
            return self.settle_seconds
        longest = self.start_seconds + request.max_seconds
        # the listing's own delay comes after the end of a job whose start is bounded
        return max(self.settle_seconds, longest) + (self.settle_seconds if self.start_seconds else 0.0)


@dataclass(frozen=True)
class Undecided:
    """One POST without an outcome, and its attempt. Times are by its sender's clock."""

    submission_id: str
    attempt: Attempt
    started_at: float
    lease_until: float
    ended_at: float | None
    clock_low: float | None
    clock_high: float | None
    candidates: list[dict[str, Any]]
    lack: Lack | None = None
    judged_at: float | None = None
    seed: int | None = None

    @property
    def body(self) -> dict[str, Any]:
        """The request of this POST, with its own seed."""
        return self.attempt.request.body_of_post(self.seed)

    @property
    def broke_off(self) -> float:
        """The latest moment at which its sender stopped waiting for the answer."""
        return self.lease_until if self.ended_at is None else min(self.ended_at, self.lease_until)

    @property
    def deadline_at(self) -> float:
        """The hard deadline of the POST."""
        return self.lease_until - LEASE_MARGIN_SECONDS

    @property
    def clock_spread(self) -> float:
        """The largest difference, in seconds, between the provider's and our time of one moment."""
        if self.clock_low is None or self.clock_high is None:
            return 2 * UNMEASURED_SECONDS
        return self.clock_high - self.clock_low + CLOCK_SLACK_SECONDS

    def give_up_at(self, contract: Contract) -> float:
        """The latest time to hold it. A reading that begins then proves everything that can be proved."""
        settled_at = max(
            self.deadline_at + contract.settle(self.attempt.request), self.broke_off + ACCEPTANCE_SECONDS
        )
        return settled_at + (GIVE_UP_SETTLES - 1) * contract.settle(self.attempt.request)

    def post(
        self,
        view: "ListingView",
        models: frozenset[str],
        *,
        again: bool = False,
    ) -> Post:
        """The POST by the provider's clock.

        Args:
            view: How the listing is judged.
            models: See `Post.models`.
            again: Whether to judge it also if it is held.
        """
        reader, dedicated_since = view.offset, view.dedicated_since
        low = reader.low - UNMEASURED_SECONDS if self.clock_low is None else self.clock_low
        high = reader.high + UNMEASURED_SECONDS if self.clock_high is None else self.clock_high
        settle = view.contract.settle(self.attempt.request)
        created_by = self.broke_off + ACCEPTANCE_SECONDS + high + CLOCK_SLACK_SECONDS
        settled_from = max(self.deadline_at + settle + high, created_by)
        return Post(
            submission_id=self.submission_id,
            models=models | {self.attempt.endpoint},
            body=_comparable(self.body),
            in_question=self.attempt.state is AttemptState.UNKNOWN
            or (again and self.attempt.state is AttemptState.HELD),
            held=self.attempt.state is AttemptState.HELD,
            not_before=self.started_at + low - CLOCK_SLACK_SECONDS - view.misdated_by,
            broke_off=self.broke_off + high,
            created_by=created_by + view.misdated_by,
            settled_from=settled_from,
            give_up_from=settled_from + settle,
            shared=self.started_at - (self.clock_spread if dedicated_since else 0.0) < dedicated_since,
            seeded=self.seed is not None,
            other_key=self.started_at < view.key_since,
            seen=frozenset(candidate["job"] for candidate in self.candidates),
        )


@dataclass(frozen=True)
class ListingView:
    """How the listing of an account is judged."""

    contract: Contract
    offset: ClockOffset
    """The offset of the provider's clock from the reader's."""
    dedicated_since: float
    """The time from which nobody else uses the key, in seconds since the epoch. The clocks' difference is added, since a stranger's
    last job before that time may be dated later than our first POST after it."""
    key_since: float = 0.0
    """Since when the account uses its present key, in seconds since the epoch."""
    misdated_by: float = 0.0
    """The error of the listing's times, in seconds."""


def _comparable(body: dict[str, Any]) -> dict[str, Any]:
    """The fields of a request that a listing can show unchanged. Local files are left out, since they were sent as addresses."""
    return {name: value for name, value in body.items() if not FileReference.of({name: value})}


def find_undecided(connection: sa.Connection, account: str) -> list[Undecided]:
    """The POSTs that may own a job without an owner: unknown, held, and in flight."""
    rows = connection.execute(_WITHOUT_AN_ANSWER, {"account": account}).all()
    undecided = {}
    for ids in chunks([row.attempt_id for row in rows]):
        undecided.update({row.id: Attempt.from_row(row) for row in connection.execute(_THEIRS, {"ids": ids})})
    return [
        Undecided(
            row.id,
            undecided[row.attempt_id],
            row.started_at,
            row.lease_until,
            row.ended_at,
            row.clock_low,
            row.clock_high,
            row.candidates or [],
            Lack(row.lack) if row.lack else None,
            row.judged_at,
            row.seed,
        )
        for row in rows
        if row.attempt_id in undecided
    ]
