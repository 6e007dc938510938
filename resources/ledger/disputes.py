"""What a provider says of a purchase's money and is not believed until a person, or a later bill, has settled it.

Two kinds: an amount outside of the band around what was ordered, and a refund of a job that did what it was paid for. A
disputed amount is not booked, and a disputed refund frees no cap. `dailies ledger disputed` shows and settles them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from resources.errors import DailiesError
from resources.ledger import stops
from resources.ledger.database import insert_ignoring, lock_money, lock_subject
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import disputes, unread_rows
from resources.ledger.states import MADE, MoneyState
from resources.ledger.stops import StopKind
from resources.money import show_usd
from resources.providers.rows import SetAside, in_words

BAND = 5
"""So many times what was ordered, or so small a part of it, is still believed. The pages know discounts of a tenth and prices
that differ by two between their versions; cents (100), yuan (7), micro-dollars and credits (a million) are outside."""


class DisputeKind(StrEnum):
    """What is not believed."""

    AMOUNT = "amount"
    """A charge outside of the band around what was ordered. It stops the account."""
    REFUND = "refund"
    """A refund of a job that did what it was paid for."""


@dataclass(frozen=True)
class Dispute:
    """Something that a provider says of a purchase's money and that is not believed.

    Attributes:
        attempt: The purchase as it stands.
        kind: What is not believed.
        charged_micros: What the provider says it charged, in micro-dollars.
        refunded_micros: What it says it gave back.
        source: Where it says so: `bill` or `answer`.
        at: Since when, seconds since the epoch.
    """

    attempt: Attempt
    kind: DisputeKind
    charged_micros: int
    refunded_micros: int
    source: str
    at: float

    def __str__(self) -> str:
        """What is said, what was ordered, and what settles it, for a person."""
        attempt = self.attempt
        job = f"job {attempt.job_id} of {attempt.subject_key}"
        settle = f"`dailies ledger disputed {attempt.id[:8]} --accept` takes it as true"
        if self.kind is DisputeKind.REFUND:
            return (
                f"the {self.source} of {attempt.account} refunds {show_usd(self.refunded_micros)} of {job}, which is "
                f"{attempt.state} and was charged {show_usd(self.charged_micros)}; it counts as spent until you have seen it: {settle}"
            )
        back = f", and {show_usd(self.refunded_micros)} of it refunded" if self.refunded_micros else ""
        return (
            f"the {self.source} of {attempt.account} says {show_usd(self.charged_micros)} for {job}{back}, which was ordered for "
            f"{show_usd(attempt.quoted_micros)}; more than {BAND} times as much or as little is not believed, and was not "
            f"booked: {settle}"
        )


def is_believable(quoted: int, micros: int) -> bool:
    """Whether an amount can be what was ordered, both in micro-dollars. Nothing can be said where no price was known."""
    return quoted == 0 or quoted <= micros * BAND <= quoted * BAND**2


def objection(attempt: Attempt, charged: int, refunded: int) -> DisputeKind | None:
    """Why what a provider says of an ended purchase is not believed, None when it is."""
    if charged and not is_believable(attempt.quoted_micros, charged):
        return DisputeKind.AMOUNT
    return DisputeKind.REFUND if refunded and attempt.state in MADE else None


def raise_dispute(
    ledger: Ledger,
    connection: sa.Connection,
    attempt: Attempt,
    kind: DisputeKind,
    *,
    charged: int,
    refunded: int,
    source: str,
) -> None:
    """Write down that something is not believed; an amount stops the account, once for the same figures.

    Args:
        ledger: The record.
        connection: The transaction.
        attempt: The purchase.
        kind: What is not believed.
        charged: What is said to be charged, in micro-dollars.
        refunded: What is said to be given back.
        source: `bill` or `answer`.
    """
    mine = disputes.c.attempt_id == attempt.id
    row = connection.execute(sa.select(disputes).where(mine)).first()
    figures = (kind.value, charged, refunded)
    if row is not None and (row.kind, row.charged_micros, row.refunded_micros) == figures:
        return
    now = ledger.clock()
    values = {
        "account": attempt.account,
        "kind": kind.value,
        "charged_micros": charged,
        "refunded_micros": refunded,
        "source": source,
        "at": now,
        "told_at": None,
        "accepted_at": None,
    }
    connection.execute(insert_ignoring(connection, disputes).values(attempt_id=attempt.id, **values))
    connection.execute(sa.update(disputes).where(mine).values(**values))
    if kind is DisputeKind.AMOUNT:
        # the same transaction may book money next, and the order of locks is money, then account
        lock_money(connection)
        reason = str(Dispute(attempt, kind, charged, refunded, source, now))
        stops.stop_account(connection, attempt.account, StopKind.UNBELIEVABLE, reason, now=now)


def is_accepted(connection: sa.Connection, attempt: Attempt, charged: int, refunded: int) -> bool:
    """Whether a person has taken these very figures as true."""
    row = connection.execute(sa.select(disputes).where(disputes.c.attempt_id == attempt.id)).first()
    return (
        row is not None
        and row.accepted_at is not None
        and (row.charged_micros, row.refunded_micros) == (charged, refunded)
    )


def hand_over(connection: sa.Connection, ended: Attempt, heir: Attempt) -> None:
    """Move what is disputed to the purchase that has the job and its money now."""
    connection.execute(
        sa.update(disputes).where(disputes.c.attempt_id == ended.id).values(attempt_id=heir.id)
    )


def withdraw(ledger: Ledger, connection: sa.Connection, attempt: Attempt) -> None:
    """End a dispute, since what the provider says by now is believed; an account that it stopped is used again."""
    mine = sa.and_(disputes.c.attempt_id == attempt.id, disputes.c.accepted_at.is_(None))
    if connection.execute(sa.delete(disputes).where(mine)).rowcount:
        _use_again(ledger, connection, attempt.account)


def _use_again(ledger: Ledger, connection: sa.Connection, account: str) -> None:
    lock_money(connection)
    left = sa.exists().where(
        disputes.c.account == account,
        disputes.c.kind == DisputeKind.AMOUNT.value,
        disputes.c.accepted_at.is_(None),
    )
    if not connection.execute(sa.select(left)).scalar():
        stops.end_stop(connection, account, StopKind.UNBELIEVABLE, now=ledger.clock())


def believed_cost(
    ledger: Ledger, connection: sa.Connection, attempt: Attempt, told: int | None
) -> tuple[int, str]:
    """What a finished job is booked at, in micro-dollars, and who says so: its answer where that can be believed, or the quote.

    Nothing is nothing in any unit: such a job was free.
    """
    if told is None:
        return attempt.quoted_micros, "quote"
    if not told or is_believable(attempt.quoted_micros, told):
        return told, "answer"
    raise_dispute(ledger, connection, attempt, DisputeKind.AMOUNT, charged=told, refunded=0, source="answer")
    return attempt.quoted_micros, "quote"


_OPEN = (
    sa.select(disputes).where(disputes.c.accepted_at.is_(None)).order_by(disputes.c.at, disputes.c.attempt_id)
)


def open_disputes(ledger: Ledger, *, account: str | None = None) -> list[Dispute]:
    """Everything that is not believed and that nobody has settled, oldest first."""
    query = _OPEN if account is None else _OPEN.where(disputes.c.account == account)
    with ledger.read() as connection:
        return _with_attempts(ledger, connection.execute(query).all())


def take_untold(ledger: Ledger, account: str) -> list[Dispute]:
    """Disputes that nobody was told of yet; who takes them tells them, once."""
    untold = _OPEN.where(disputes.c.account == account, disputes.c.told_at.is_(None))
    with ledger.read() as connection:
        if connection.execute(untold.limit(1)).first() is None:
            return []
    with ledger.write() as connection:
        rows = connection.execute(untold).all()
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
    """Take a person's word that what the provider says is true, and book it.

    Raises:
        DailiesError: Nothing about this purchase is disputed. Nothing was changed.
    """
    disputed = ledger.attempts([attempt_id]).get(attempt_id)
    with ledger.write() as connection:
        lock_subject(connection, "" if disputed is None else disputed.subject_key)
        attempt = ledger.require(connection, attempt_id)
        mine = disputes.c.attempt_id == attempt_id
        row = connection.execute(sa.select(disputes).where(mine, disputes.c.accepted_at.is_(None))).first()
        if row is None:
            raise DailiesError(
                f"nothing about {attempt.subject_key} is disputed by now; nothing was changed. `dailies ledger disputed` lists what is."
            )
        values = {"accepted_at": ledger.clock(), "who": who, "why": why}
        connection.execute(sa.update(disputes).where(mine).values(**values))
        _use_again(ledger, connection, attempt.account)
        money, charged = attempt.money_state, row.charged_micros
        if row.kind == DisputeKind.REFUND.value:
            left = max(0, row.charged_micros - row.refunded_micros)
            money, charged = (MoneyState.CONFIRMED, left) if left else (MoneyState.REFUNDED, charged)
        elif money is MoneyState.RELEASED:
            money = MoneyState.CONFIRMED
        return ledger.settle(
            connection, attempt, money, charged_micros=charged, charge_source=row.source, who=who, why=why
        )


@dataclass(frozen=True)
class Unread:
    """Rows that were set aside when an account's listing or bill was last read.

    Attributes:
        account: Whose.
        source: `listing` or `bill`.
        text: How many they were, and the first of them.
        at: When, seconds since the epoch.
    """

    account: str
    source: str
    text: str
    at: float


def note_unread(ledger: Ledger, account: str, source: str, aside: Sequence[SetAside]) -> None:
    """Keep what was set aside in the last reading of a listing or bill, for a person; nothing where all could be read."""
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
    """What could not be read of the accounts' listings and bills the last time."""
    query = sa.select(unread_rows).order_by(unread_rows.c.account, unread_rows.c.source)
    with ledger.read() as connection:
        return [Unread(row.account, row.source, row.words, row.at) for row in connection.execute(query)]
