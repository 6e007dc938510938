"""Transactions that change attempts: the state, its journal entry and the counters of money change together or not at all.

`Ledger.transaction` opens one for an actor and a run. The functions that use it are in `decisions.py`, `queue.py`, `outcomes.py`,
`polls.py`, `deliveries.py`, `bills.py` and `lost/`.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, ParamSpec, TypeVar

import sqlalchemy as sa

from resources.errors import DailiesError
from resources.ledger import counters, stops, waiting_finishes
from resources.ledger.database import lock_subject
from resources.ledger.policy import PolicyReader
from resources.ledger.records import Attempt, clip_of
from resources.ledger.schema import attempts, journal
from resources.ledger.states import FINISHED_BY, TRANSITIONS, AttemptState, MoneyState
from resources.ledger.stored_forms import StoredTake, order_columns, short_delivery, short_order
from resources.money import show_usd, to_usd
from resources.orders import ClipRequest
from resources.traces import spans

_ATTEMPT = sa.select(attempts).where(attempts.c.id == sa.bindparam("attempt_id")).with_for_update()

_CHANGE = sa.update(attempts).where(
    attempts.c.id == sa.bindparam("attempt_id"), attempts.c.version == sa.bindparam("version_read")
)
_ENTER = sa.insert(journal)
_ORDER = sa.insert(attempts)
"""Built once; the names of the columns are the names of the parameters."""


TRIES = 3

P = ParamSpec("P")
T = TypeVar("T")


class StaleAttemptError(DailiesError):
    """Another process changed the attempt after it was read. Nothing was written; read it again."""


CONTESTED = (sa.exc.IntegrityError, StaleAttemptError)
"""The errors of a transaction whose rows another process changed between its read and its write."""


def repeat_contested(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a function of one transaction, and run it again when another process came between its read and its write.

    Raises:
        sqlalchemy.exc.IntegrityError: That happened three times.
        StaleAttemptError: That happened three times.
    """
    for _ in range(TRIES - 1):
        with contextlib.suppress(*CONTESTED):
            return function(*args, **kwargs)
    return function(*args, **kwargs)


class ForbiddenTransitionError(DailiesError):
    """`states.TRANSITIONS` does not allow this transition. This is a bug in dailies."""


class Booked(NamedTuple):
    """The booked cost of an attempt."""

    micros: int | None
    """In micro-USD; None while the amount is not known."""
    source: str | None
    """The source of the amount: `quote`, `answer` or `bill`."""


@dataclass(frozen=True)
class Transaction:
    """One transaction that changes attempts, with its actor and its run."""

    connection: sa.Connection
    now: Callable[[], float]
    """The clock, in seconds since the epoch. Read it after the last lock: a time read before a wait would antedate rows."""
    policy: PolicyReader
    """Reads the policy in force."""
    actor: int
    """The number of the actor and its run, for the journal; see `actors.py`."""
    ended: list[Attempt]
    """The attempts that it closes. They are tallied at its end, and their traces completed after the commit."""

    def attempt(self, attempt_id: str) -> Attempt:
        """The attempt with this id, locked until the transaction ends.

        Raises:
            DailiesError: There is none.
        """
        row = self.connection.execute(_ATTEMPT, {"attempt_id": attempt_id}).first()
        if row is None:
            raise DailiesError(
                f"the ledger knows no attempt {attempt_id!r}; `dailies status --json` lists them"
            )
        return Attempt.from_row(row)

    def attempt_alone(self, attempt_id: str) -> Attempt:
        """Read an attempt under the lock of its subject, for changes that read the subject's other attempts.

        Raises:
            DailiesError: There is none.
        """
        if self.connection.dialect.name == "postgresql":
            key = sa.select(attempts.c.subject_key).where(attempts.c.id == attempt_id)
            lock_subject(self.connection, clip_of(self.connection.execute(key).scalar() or ""))
        return self.attempt(attempt_id)

    def transition(
        self,
        attempt: Attempt,
        to: AttemptState,
        *,
        money: MoneyState | None = None,
        why: str | None = None,
        **values: Any,
    ) -> Attempt:
        """Move an attempt to another state.

        Args:
            attempt: As it was read; the row must still have its version.
            to: The new state.
            money: The new state of its money; None leaves it unchanged.
            why: One sentence for a person.
            values: Further columns to set.

        Raises:
            StaleAttemptError: The row has another version.
            ForbiddenTransitionError: `to` may not follow the attempt's state.
        """
        if to not in TRANSITIONS.get(attempt.state, frozenset()):
            raise ForbiddenTransitionError(
                f"attempt {attempt.id} of {attempt.subject_key}: {to} may not follow {attempt.state}"
            )
        return self._change(attempt, to, money or attempt.money_state, why, values)

    def settle(
        self,
        attempt: Attempt,
        money: MoneyState,
        booked: Booked,
        *,
        why: str,
        served_model: str | None = None,
    ) -> Attempt:
        """Book the cost of an attempt; its state stays.

        Args:
            attempt: As it was read; the row must still have its version.
            money: The new state of its money.
            booked: The cost and its source.
            why: One sentence for a person.
            served_model: The model that the bill names; None leaves it unchanged.

        Raises:
            StaleAttemptError: The row has another version.
        """
        values: dict[str, Any] = {"charged_micros": booked.micros, "charge_source": booked.source}
        if served_model is not None:
            values["served_model"] = served_model
        return self._change(attempt, attempt.state, money, why, values)

    def note(self, attempt: Attempt, why: str) -> Attempt:
        """Write a person's statement about an attempt into the journal; its state and money stay.

        Raises:
            StaleAttemptError: The row has another version.
        """
        return self._change(attempt, attempt.state, attempt.money_state, why, {})

    def add_queued(self, request: ClipRequest, *, why: str, **values: Any) -> Attempt:
        """Queue a purchase whose price `counters.reserve` has counted in this transaction.

        Args:
            why: One sentence for a person.
            values: Further columns; `decision`, `quoted_micros`, `counted_on` and `created_at` among them.
        """
        return self._add(request, AttemptState.QUEUED, MoneyState.RESERVED, why, values)

    def add_found(
        self, request: ClipRequest, state: AttemptState, money: MoneyState, *, why: str, **values: Any
    ) -> Attempt:
        """Record a purchase that was made before: found in the bucket, in the bucket's mark, or by a late job.

        Its money counts from now on. Caps give way, because the money is spent.

        Args:
            state: The purchase's state.
            money: The state of its money.
            why: One sentence for a person.
            values: Further columns; `id`, `decision`, `quoted_micros`, `counted_on` and `created_at` among them.
        """
        attempt = self._add(request, state, money, why, values)
        counters.count(self.connection, attempt)
        return attempt

    def _add(
        self,
        request: ClipRequest,
        state: AttemptState,
        money: MoneyState,
        why: str,
        values: dict[str, Any],
    ) -> Attempt:
        columns = {
            **ordered(request),
            "state": state.value,
            "version": 1,
            "money_state": money.value,
            **values,
        }
        self.connection.execute(_ORDER, stored_row(columns))
        attempt = self.attempt(columns["id"])
        waiting_finishes.follow(self.connection, attempt, now=self.now())
        self._journalize(None, attempt, why)
        return attempt

    def _change(
        self, before: Attempt, to: AttemptState, money: MoneyState, why: str | None, values: dict[str, Any]
    ) -> Attempt:
        columns = {
            "state": to.value,
            "version": before.version + 1,
            "money_state": money.value,
            **values,
        }
        if values.get("delivery") is not None:
            columns["delivery"] = short_delivery(values["delivery"], StoredTake(before.clip, before.id))
        which = {"attempt_id": before.id, "version_read": before.version}
        changed = self.connection.execute(_CHANGE, {**which, **columns})
        if changed.rowcount != 1:
            raise StaleAttemptError(f"attempt {before.id} of {before.subject_key} changed since it was read")
        after = self.attempt(before.id)
        # a change between two of these states changes nothing for the draft, and some of its transactions have no lock of the clip
        if (after.state in FINISHED_BY) is not (before.state in FINISHED_BY):
            waiting_finishes.follow(self.connection, after, now=self.now())
        if before.state.is_open and not after.state.is_open:
            self.ended.append(after)
        self._journalize(before, after, why)
        counters.follow(self.connection, before, after)
        if after.overcharged_micros > before.overcharged_micros and (
            (after.charged_micros or 0)
            > after.quoted_micros * self.policy.read(self.connection).budget.request_factor
        ):
            reason = (
                f"{after.provider} charged {show_usd(after.charged_micros)} for job {after.job_id} of {after.subject_key}, "
                f"{show_usd(after.overcharged_micros)} more than {after.endpoint} was to cost"
            )
            stops.stop_account(
                self.connection, after.account, stops.StopKind.OVERCHARGED, reason, now=self.now()
            )
        return after

    def _journalize(self, before: Attempt | None, after: Attempt, why: str | None) -> None:
        entry = {
            "attempt_id": after.id,
            "version": after.version,
            "from_state": None if before is None else before.state.value,
            "to_state": after.state.value,
            "money_state": after.money_state.value,
            "at": self.now(),
            "who": "",
            "actor": self.actor,
            "why": why,
        }
        self.connection.execute(_ENTER, entry)


def trace_life(attempt: Attempt, now: float) -> None:
    """Complete the trace of an attempt that a committed transaction has closed, at `now`."""
    delivered = attempt.state is AttemptState.DELIVERED
    kind = attempt.reason_kind
    spans.ended(
        attempt.traced,
        attempt.created_at,
        now,
        failed=None if delivered else attempt.state.value,
        state=attempt.state.value,
        reason=None if delivered or kind is None else kind.value,
        money=attempt.money_state.value,
        cost_usd=float(to_usd(attempt.cost_micros)),
    )


def ordered(request: ClipRequest) -> dict[str, Any]:
    """The columns of an attempt that describe its order, the order itself in full."""
    return {
        "subject_kind": request.kind,
        "subject_key": request.clip,
        "slot": request.slot,
        "is_draft": request.is_draft,
        "finishes": request.finishes.attempt if request.finishes is not None else None,
        "series": request.series,
        "fingerprint": request.fingerprint,
        "provider": request.provider,
        "account": request.account_name,
        "endpoint": request.endpoint,
        "request": request.model_dump(mode="json"),
    }


def stored_row(columns: dict[str, Any]) -> dict[str, Any]:
    """A new row of `attempts` as it is stored: its order and its delivery in their short forms."""
    clip, delivery = clip_of(columns["subject_key"]), columns.get("delivery")
    known = order_columns(clip, columns["series"], columns["provider"], columns["endpoint"])
    row = {**columns, "request": short_order(columns["request"], known)}
    if delivery is not None:
        row["delivery"] = short_delivery(delivery, StoredTake(clip, columns["id"]))
    return row
