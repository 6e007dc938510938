"""POSTs that may have created a job nobody knows of, and when a provider's listing can prove something about them."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from resources.ledger.apart import ACCEPTANCE_SECONDS
from resources.ledger.database import chunks
from resources.ledger.limits import LEASE_MARGIN_SECONDS
from resources.ledger.lost.evidence import Lack, Post
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, submissions
from resources.ledger.states import AttemptState, SubmissionState
from resources.orders import ClipRequest, FileReference
from resources.providers.base import ClockOffset

CLOCK_SLACK_SECONDS = 1.0
GIVE_UP_SETTLES = 4
"""After so many settle times what is unknown is held, whether or not its listing could be read."""
UNMEASURED_SECONDS = 120.0
"""How far apart our clock and a provider's are taken to be where no `Date` header tells."""

_WITHOUT_AN_ANSWER = sa.select(submissions).where(
    submissions.c.account == sa.bindparam("account"),
    submissions.c.state.in_([SubmissionState.OPEN.value, SubmissionState.UNKNOWN.value]),
)
_THEIRS = sa.select(attempts).where(
    attempts.c.id.in_(sa.bindparam("ids", expanding=True)),
    attempts.c.state.in_(
        [state.value for state in (AttemptState.SUBMITTING, AttemptState.UNKNOWN, AttemptState.HELD)]
    ),
)


@dataclass(frozen=True)
class Contract:
    """What an account's listing can prove, and when.

    Attributes:
        echoes: It names our submission ids.
        settle_seconds: How long after the hard deadline of a POST a miss starts to mean something.
        lists_running: It shows jobs that still run; otherwise a miss means nothing before the longest has ended.
    """

    echoes: bool
    settle_seconds: float
    lists_running: bool = True

    def settle(self, request: ClipRequest) -> float:
        """The settle time for a request, in seconds."""
        return self.settle_seconds if self.lists_running else max(self.settle_seconds, request.max_seconds)


@dataclass(frozen=True)
class Undecided:
    """One POST without an outcome, with the attempt it belongs to."""

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

    @property
    def broke_off(self) -> float:
        """When we stopped waiting for its answer at the latest, by its poster's clock."""
        return self.lease_until if self.ended_at is None else min(self.ended_at, self.lease_until)

    @property
    def deadline_at(self) -> float:
        """When its POST was given up for good, by its poster's clock."""
        return self.lease_until - LEASE_MARGIN_SECONDS

    @property
    def clock_spread(self) -> float:
        """How far apart two times may lie that the provider's clock and ours give one moment, in seconds."""
        if self.clock_low is None or self.clock_high is None:
            return 2 * UNMEASURED_SECONDS
        return self.clock_high - self.clock_low + CLOCK_SLACK_SECONDS

    def give_up_at(self, contract: Contract) -> float:
        """When it is held at the latest: a look that begins then finds everything proved that ever will be, if it can be read."""
        settled_at = max(
            self.deadline_at + contract.settle(self.attempt.request), self.broke_off + ACCEPTANCE_SECONDS
        )
        return settled_at + (GIVE_UP_SETTLES - 1) * contract.settle(self.attempt.request)

    def post(
        self,
        reader: ClockOffset,
        contract: Contract,
        models: frozenset[str],
        *,
        dedicated_since: float,
        again: bool = False,
        misdated_by: float = 0.0,
    ) -> Post:
        """The POST in the provider's time.

        Args:
            reader: How far the provider's clock is ahead of the reader's.
            contract: What the listing can prove.
            models: See `Post.models`.
            dedicated_since: From when on nobody else uses the key, in seconds since the epoch. A stranger's last job before that
                may be dated later than a POST after it, by as much as the clocks differ.
            again: Whether it is in question also if it is held.
            misdated_by: By how many seconds the listing may give its jobs wrong times.
        """
        low = reader.low - UNMEASURED_SECONDS if self.clock_low is None else self.clock_low
        high = reader.high + UNMEASURED_SECONDS if self.clock_high is None else self.clock_high
        settle = contract.settle(self.attempt.request)
        created_by = self.broke_off + ACCEPTANCE_SECONDS + high + CLOCK_SLACK_SECONDS
        settled_from = max(self.deadline_at + settle + high, created_by)
        return Post(
            submission_id=self.submission_id,
            models=models | {self.attempt.endpoint},
            body=_comparable(self.attempt.request.body),
            in_question=self.attempt.state is AttemptState.UNKNOWN
            or (again and self.attempt.state is AttemptState.HELD),
            held=self.attempt.state is AttemptState.HELD,
            not_before=self.started_at + low - CLOCK_SLACK_SECONDS - misdated_by,
            broke_off=self.broke_off + high,
            created_by=created_by + misdated_by,
            settled_from=settled_from,
            give_up_from=settled_from + settle,
            shared=self.started_at - (self.clock_spread if dedicated_since else 0.0) < dedicated_since,
            seen=frozenset(candidate["job"] for candidate in self.candidates),
        )


def _comparable(body: dict[str, Any]) -> dict[str, Any]:
    """What of a request the provider can show as we know it: a local file was sent as an address."""
    return {name: value for name, value in body.items() if not FileReference.of({name: value})}


def find_undecided(connection: sa.Connection, account: str) -> list[Undecided]:
    """POSTs that may own a job nobody knows of: unknown, held, and on the wire."""
    rows = connection.execute(_WITHOUT_AN_ANSWER, {"account": account}).all()
    found = {}
    for ids in chunks([row.attempt_id for row in rows]):
        found.update({row.id: Attempt.from_row(row) for row in connection.execute(_THEIRS, {"ids": ids})})
    return [
        Undecided(
            row.id,
            found[row.attempt_id],
            row.started_at,
            row.lease_until,
            row.ended_at,
            row.clock_low,
            row.clock_high,
            row.candidates or [],
            Lack(row.lack) if row.lack else None,
            row.judged_at,
        )
        for row in rows
        if row.attempt_id in found
    ]
