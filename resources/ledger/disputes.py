"""Disputes: statements of a provider about money that count only once a person, or a later bill, has settled them.

There are two kinds: an amount outside the band around the quote, and a refund of a job that made its clip. A disputed amount
is not booked, and a disputed refund frees no cap. `dailies ledger disputed` shows and settles them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from resources.errors import DailiesError
from resources.ledger import stops
from resources.ledger.budget import BAND
from resources.ledger.database import insert_ignoring, lock_money, lock_subject
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import disputes, unread_rows
from resources.ledger.states import MADE, MoneyState
from resources.ledger.stops import StopKind
from resources.ledger.transaction import Booked, Transaction
from resources.money import show_usd
from resources.providers.rows import SetAside, in_words


class DisputeKind(StrEnum):
    """The kind of a disputed statement."""

    AMOUNT = "amount"
    """A charge outside the band around the quote. It stops the account."""
    REFUND = "refund"
    """A refund of a job that made its clip."""


class StatedAmount(NamedTuple):
    """A provider's statement about a purchase's money, in micro-USD."""

    charged: int
    refunded: int
    source: str
    """Where the provider states it: `bill` or `answer`."""


@dataclass(frozen=True)
class Dispute:
    """A statement about a purchase's money that waits for a person or a later bill."""

    attempt: Attempt
    """The purchase as it is now."""
    kind: DisputeKind
    """The kind of a disputed statement."""
    charged_micros: int
    """The stated charge in micro-USD."""
    refunded_micros: int
    """The stated refund in micro-USD."""
    source: str
    """Where the provider states it: `bill` or `answer`."""
    at: float
    """Since when it is disputed, seconds since the epoch."""

    def __str__(self) -> str:
        """The stated amounts, the ordered amount, and the command that settles the dispute."""
        attempt = self.attempt
        job = f"job {attempt.job_id} of {attempt.subject_key}"
        settle = f"`dailies ledger disputed {attempt.id[:8]} --accept` takes it as true"
        if self.kind is DisputeKind.REFUND:
            return (
                f"the {self.source} of {attempt.account} refunds {show_usd(self.refunded_micros)} of {job}, which is "
                f"{attempt.state} and was charged {show_usd(self.charged_micros)}; the charge counts as spent until you accept the refund: {settle}"
            )
        back = f", and {show_usd(self.refunded_micros)} of it refunded" if self.refunded_micros else ""
        return (
            f"the {self.source} of {attempt.account} says {show_usd(self.charged_micros)} for {job}{back}, which was ordered for "
            f"{show_usd(attempt.quoted_micros)}; more than {BAND} times as much or as little is not believed, and was not "
            f"booked: {settle}"
        )


def is_believable(quoted: int, micros: int) -> bool:
    """Whether an amount fits its quote, both in micro-USD. Without a quote, every amount does."""
    return quoted == 0 or quoted <= micros * BAND <= quoted * BAND**2


def objection(attempt: Attempt, stated: StatedAmount) -> DisputeKind | None:
    """Why a provider's statement about an ended purchase is disputed; None if it is believed."""
    if stated.charged and not is_believable(attempt.quoted_micros, stated.charged):
        return DisputeKind.AMOUNT
    return DisputeKind.REFUND if stated.refunded and attempt.state in MADE else None


def raise_dispute(tx: Transaction, attempt: Attempt, kind: DisputeKind, stated: StatedAmount) -> None:
    """Record a dispute. A disputed amount stops the account. The same figures are recorded, and stop the account, only once."""
    mine = disputes.c.attempt_id == attempt.id
    row = tx.connection.execute(sa.select(disputes).where(mine)).first()
    figures = (kind.value, stated.charged, stated.refunded)
    if row is not None and (row.kind, row.charged_micros, row.refunded_micros) == figures:
        return
    now = tx.now()
    values = {
        "account": attempt.account,
        "kind": kind.value,
        "charged_micros": stated.charged,
        "refunded_micros": stated.refunded,
        "source": stated.source,
        "at": now,
        "told_at": None,
        "accepted_at": None,
    }
    tx.connection.execute(insert_ignoring(tx.connection, disputes).values(attempt_id=attempt.id, **values))
    tx.connection.execute(sa.update(disputes).where(mine).values(**values))
    if kind is DisputeKind.AMOUNT:
        # the same transaction may book money next, and the lock of money comes before the account's
        lock_money(tx.connection)
        reason = str(Dispute(attempt, kind, *stated, now))
        stops.stop_account(tx.connection, attempt.account, StopKind.UNBELIEVABLE, reason, now=now)


def is_accepted(connection: sa.Connection, attempt: Attempt, stated: StatedAmount) -> bool:
    """Whether a person has accepted exactly these figures."""
    row = connection.execute(sa.select(disputes).where(disputes.c.attempt_id == attempt.id)).first()
    return (
        row is not None
        and row.accepted_at is not None
        and (row.charged_micros, row.refunded_micros) == (stated.charged, stated.refunded)
    )


def hand_over(connection: sa.Connection, ended: Attempt, heir: Attempt) -> None:
    """Move a dispute to the purchase that has taken over the job and its money."""
    connection.execute(
        sa.update(disputes).where(disputes.c.attempt_id == ended.id).values(attempt_id=heir.id)
    )


def withdraw(tx: Transaction, attempt: Attempt) -> None:
    """End a dispute, because a later statement of the provider is believed, and lift the stop of the account that it caused."""
    mine = sa.and_(disputes.c.attempt_id == attempt.id, disputes.c.accepted_at.is_(None))
    if tx.connection.execute(sa.delete(disputes).where(mine)).rowcount:
        _use_again(tx, attempt.account)


def _use_again(tx: Transaction, account: str) -> None:
    lock_money(tx.connection)
    left = sa.exists().where(
        disputes.c.account == account,
        disputes.c.kind == DisputeKind.AMOUNT.value,
        disputes.c.accepted_at.is_(None),
    )
    if not tx.connection.execute(sa.select(left)).scalar():
        stops.end_stop(tx.connection, account, StopKind.UNBELIEVABLE, now=tx.now())


def believed_cost(tx: Transaction, attempt: Attempt, answered: int | None) -> Booked:
    """The amount to book for a finished job: the amount of its answer (micro-USD) if that is believable, else the quote.

    Zero is always believed, because zero is zero in any unit.
    """
    if answered is None:
        return Booked(attempt.quoted_micros, "quote")
    if not answered or is_believable(attempt.quoted_micros, answered):
        return Booked(answered, "answer")
    raise_dispute(tx, attempt, DisputeKind.AMOUNT, StatedAmount(answered, 0, "answer"))
    return Booked(attempt.quoted_micros, "quote")


_OPEN = (
    sa.select(disputes).where(disputes.c.accepted_at.is_(None)).order_by(disputes.c.at, disputes.c.attempt_id)
)


def open_disputes(ledger: Ledger, *, account: str | None = None) -> list[Dispute]:
    """All open disputes, oldest first."""
    query = _OPEN if account is None else _OPEN.where(disputes.c.account == account)
    with ledger.read() as connection:
        return _with_attempts(ledger, connection.execute(query).all())


def take_unreported(ledger: Ledger, account: str) -> list[Dispute]:
    """Claim an account's new disputes, so that one process alarms once about each."""
    unreported = _OPEN.where(disputes.c.account == account, disputes.c.told_at.is_(None))
    with ledger.read() as connection:
        if connection.execute(unreported.limit(1)).first() is None:
            return []
    with ledger.write() as connection:
        rows = connection.execute(unreported).all()
        connection.execute(
            sa.update(disputes)
            .where(disputes.c.attempt_id.in_([row.attempt_id for row in rows]))
            .values(told_at=ledger.clock())
        )
    return _with_attempts(ledger, rows)


def _with_attempts(ledger: Ledger, rows: Sequence[sa.Row[tuple[object, ...]]]) -> list[Dispute]:
    known = ledger.attempts([str(row.attempt_id) for row in rows])
    return [
        Dispute(
            known[row.attempt_id],
            DisputeKind(row.kind),
            row.charged_micros,
            row.refunded_micros,
            row.source,
            row.at,
        )
        for row in rows
    ]


def accept(ledger: Ledger, attempt_id: str, *, who: str, why: str) -> Attempt:
    """Book a disputed statement, because a person accepts it.

    Raises:
        DailiesError: Nothing about this purchase is disputed. Nothing was changed.
    """
    disputed = ledger.attempts([attempt_id]).get(attempt_id)
    with ledger.transaction(who=who, run_id=None) as tx:
        lock_subject(tx.connection, "" if disputed is None else disputed.subject_key)
        attempt = tx.attempt(attempt_id)
        mine = disputes.c.attempt_id == attempt_id
        row = tx.connection.execute(sa.select(disputes).where(mine, disputes.c.accepted_at.is_(None))).first()
        if row is None:
            raise DailiesError(
                f"nothing about {attempt.subject_key} is disputed now; nothing was changed. `dailies ledger disputed` lists all disputes."
            )
        values = {"accepted_at": tx.now(), "who": who, "why": why}
        tx.connection.execute(sa.update(disputes).where(mine).values(**values))
        _use_again(tx, attempt.account)
        refunded = row.refunded_micros if attempt.state.is_ended else 0
        money, charged = attempt.money_state, max(0, row.charged_micros - refunded)
        if refunded and not charged:
            money, charged = MoneyState.REFUNDED, row.charged_micros
        elif money in {MoneyState.RELEASED, MoneyState.REFUNDED, MoneyState.INDETERMINATE}:
            money = MoneyState.CONFIRMED
        return tx.settle(attempt, money, Booked(charged, row.source), why=why)


@dataclass(frozen=True)
class Unread:
    """Rows that the last reading of an account's listing or bill set aside."""

    account: str
    """The account that was read."""
    source: str
    """`listing` or `bill`."""
    text: str
    """The number of rows, and the first of them."""
    at: float
    """When they were read, seconds since the epoch."""


def note_unread(ledger: Ledger, account: str, source: str, aside: Sequence[SetAside]) -> None:
    """Keep the rows that the last reading of a listing or bill has set aside, for a person."""
    mine = sa.and_(unread_rows.c.account == account, unread_rows.c.source == source)
    with ledger.read() as connection:
        known = connection.execute(sa.select(unread_rows).where(mine)).first()
    if known is None and not aside:
        return
    with ledger.write() as connection:
        connection.execute(sa.delete(unread_rows).where(mine))
        if aside:
            values = {"account": account, "source": source, "words": in_words(aside), "at": ledger.clock()}
            connection.execute(insert_ignoring(connection, unread_rows).values(**values))


def unread(ledger: Ledger) -> list[Unread]:
    """The rows that the last reading of each listing and bill has set aside."""
    query = sa.select(unread_rows).order_by(unread_rows.c.account, unread_rows.c.source)
    with ledger.read() as connection:
        return [Unread(row.account, row.source, row.words, row.at) for row in connection.execute(query)]
