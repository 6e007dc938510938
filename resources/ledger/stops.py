"""Stopping what is sent: everything by a person's word, one account when it cannot pay, refuses the key or bills too much.

A stop is looked at in the transaction that reserves and in the one that claims a submit. What is at the provider is
asked for and fetched all the same, and what is queued stays queued.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from resources.ledger.database import insert_ignoring
from resources.ledger.schema import accounts
from resources.ledger.times import is_past

if TYPE_CHECKING:
    from resources.ledger.ledger import Ledger

ALL = "*"
"""The row of `accounts` that stands for all of them."""

PROBE_SECONDS = 180.0
"""How often a stopped account is asked whether it may be used again."""
QUIET_SECONDS = 900.0
"""An account that is stopped again so soon after it was reopened is not asked at once."""


_ROW = sa.select(accounts).where(accounts.c.account == sa.bindparam("whose"))
_ROW_OF_ALL = _ROW.with_for_update(read=True)


class StopKind(StrEnum):
    """Why something is stopped, which decides what starts it again."""

    PERSON = "person"
    """`dailies stop`. Until `dailies start`."""
    OVERCHARGED = "overcharged"
    """A bill was higher than the quote. Until `dailies start`."""
    UNBELIEVABLE = "unbelievable"
    """A bill or an answer says an amount that cannot be what was ordered. Until that is settled, or `dailies start`."""
    INSUFFICIENT_FUNDS = "insufficient_funds"
    """The account cannot pay. Until its balance is enough again."""
    AUTH = "auth"
    """The key is refused. Until it is accepted again."""

    @property
    def reopens(self) -> bool:
        """Whether the provider, when asked, can end it."""
        return self in {StopKind.INSUFFICIENT_FUNDS, StopKind.AUTH}

    @property
    def gives_way_to(self) -> frozenset["StopKind"]:
        """The kinds that replace it: what ends by itself gives way to what needs a person, who may have stopped for longer."""
        persons = frozenset({StopKind.PERSON, StopKind.OVERCHARGED})
        if self in persons:
            return frozenset()
        return persons | {StopKind.UNBELIEVABLE} if self.reopens else persons


@dataclass(frozen=True)
class Stop:
    """A stop."""

    account: str
    """What is stopped; `*` is everything."""
    kind: StopKind
    """Why."""
    reason: str
    """One sentence for a person."""
    at: float
    """Since when, seconds since the epoch."""

    def __str__(self) -> str:
        """What is stopped, why, and what starts it again."""
        whose = "all buying is" if self.account == ALL else f"the account {self.account} is"
        again = {
            StopKind.PERSON: f"`{self.command}` starts it again",
            StopKind.OVERCHARGED: (
                f"compare `dailies ledger --check` with the provider's bill, correct the price in data/models, then `{self.command}`"
            ),
            StopKind.UNBELIEVABLE: (
                f"it starts again by itself when a later bill is right; look at the provider's own bill, then `{self.command}`"
            ),
            StopKind.INSUFFICIENT_FUNDS: (
                f"it starts again by itself when its balance is enough: top it up. `{self.command}` does not wait for that"
            ),
            StopKind.AUTH: (
                f"it starts again by itself when its key is accepted: set the right one. `{self.command}` does not wait for that"
            ),
        }[self.kind]
        return f"{whose} stopped: {self.reason}. {again[0].upper()}{again[1:]}."

    @property
    def command(self) -> str:
        """The command that ends it."""
        return "dailies start" if self.account == ALL else f"dailies start --account {self.account}"


def standing(connection: sa.Connection, account: str) -> Stop | None:
    """What keeps an account from being used in this transaction; `dailies stop` waits for it to end."""
    for query, whose in ((_ROW_OF_ALL, ALL), (_ROW, account)):
        row = connection.execute(query, {"whose": whose}).first()
        if row is not None and row.stopped_kind is not None:
            return _stop_of(row)
    return None


def stop_account(connection: sa.Connection, account: str, kind: StopKind, reason: str, *, now: float) -> None:
    """Stop something. An earlier stop stays unless its kind gives way to this one."""
    connection.execute(insert_ignoring(connection, accounts).values(account=account))
    weaker = [other.value for other in StopKind if kind in other.gives_way_to]
    outranked = [accounts.c.stopped_kind.is_(None), accounts.c.stopped_kind.in_(weaker)]
    probe_at = sa.case(
        (accounts.c.reopened_at.between(now - QUIET_SECONDS, now), now + PROBE_SECONDS), else_=sa.literal(now)
    )
    connection.execute(
        sa.update(accounts)
        .where(accounts.c.account == account, sa.or_(*outranked))
        .values(stopped_kind=kind.value, stopped_reason=reason, stopped_at=now, probe_at=probe_at)
    )


def end_stop(connection: sa.Connection, account: str, kind: StopKind, *, now: float) -> None:
    """End an account's stop if it is of this kind."""
    row = connection.execute(_ROW.with_for_update(), {"whose": account}).first()
    if row is not None and row.stopped_kind == kind.value:
        _clear(connection, account, now)


def stop(ledger: "Ledger", *, reason: str, account: str = ALL) -> Stop:
    """Stop everything, or one account, by a person's word. When it returns, nothing more is reserved or sent."""
    with ledger.write() as connection:
        stop_account(connection, account, StopKind.PERSON, reason, now=ledger.clock())
        row = connection.execute(sa.select(accounts).where(accounts.c.account == account)).one()
        return _stop_of(row)


def start(ledger: "Ledger", *, account: str = ALL) -> Stop | None:
    """End a stop, whatever its kind; returns the one that was ended, None when there was none."""
    with ledger.write() as connection:
        row = connection.execute(
            sa.select(accounts).where(accounts.c.account == account).with_for_update()
        ).first()
        if row is None or row.stopped_kind is None:
            return None
        _clear(connection, account, ledger.clock())
        return _stop_of(row)


def stops(ledger: "Ledger") -> list[Stop]:
    """Everything that is stopped now."""
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(accounts).where(accounts.c.stopped_kind.is_not(None)).order_by(accounts.c.account)
        )
        return [_stop_of(row) for row in rows]


def stop_of(ledger: "Ledger", account: str) -> Stop | None:
    """What keeps an account from being used now."""
    with ledger.read() as connection:
        return standing(connection, account)


def take_alarm(ledger: "Ledger", account: str) -> Stop | None:
    """The stop of an account that nobody has been told yet; who takes it tells it, once."""
    return _take(ledger, _UNTOLD, {"alarmed_at": accounts.c.stopped_at}, whose=account)


def claim_probe(ledger: "Ledger", account: str) -> Stop | None:
    """The stop of an account that may have ended by itself, for one process every few minutes to find out."""
    now = ledger.clock()
    return _take(ledger, _MAY_HAVE_ENDED, {"probe_at": now + PROBE_SECONDS}, whose=account, now=now)


_UNTOLD = sa.and_(
    accounts.c.account == sa.bindparam("whose"),
    accounts.c.stopped_kind.is_not(None),
    sa.or_(accounts.c.alarmed_at.is_(None), accounts.c.alarmed_at < accounts.c.stopped_at),
)
_MAY_HAVE_ENDED = sa.and_(
    accounts.c.account == sa.bindparam("whose"),
    accounts.c.stopped_kind.in_([k.value for k in StopKind if k.reopens]),
    is_past(accounts.c.probe_at, sa.bindparam("now", type_=sa.Double), within=PROBE_SECONDS),
)


def _take(
    ledger: "Ledger", mine: sa.ColumnElement[bool], values: Mapping[str, Any], **known: str | float
) -> Stop | None:
    """Claim something about a stop, once; hardly ever there is anything, so nobody waits for the write lock to find out."""
    with ledger.read() as connection:
        if not connection.execute(_is_any(mine), known).scalar():
            return None
    with ledger.write() as connection:
        if connection.execute(sa.update(accounts).where(mine).values(**values), known).rowcount != 1:
            return None
        return _stop_of(connection.execute(_ROW, {"whose": known["whose"]}).one())


@functools.cache
def _is_any(where: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(sa.exists().where(where))


def reopen(ledger: "Ledger", stopped: Stop) -> bool:
    """End exactly this stop; False when it has ended or another has taken its place."""
    with ledger.write() as connection:
        row = connection.execute(
            sa.select(accounts).where(accounts.c.account == stopped.account).with_for_update()
        ).first()
        if row is None or (row.stopped_kind, row.stopped_at) != (stopped.kind.value, stopped.at):
            return False
        _clear(connection, stopped.account, ledger.clock())
        return True


def _clear(connection: sa.Connection, account: str, now: float) -> None:
    connection.execute(
        sa.update(accounts)
        .where(accounts.c.account == account)
        .values(stopped_kind=None, stopped_reason=None, stopped_at=None, probe_at=None, reopened_at=now)
    )


def _stop_of(row: sa.Row[tuple[object, ...]]) -> Stop:
    values = row._mapping  # noqa: SLF001 - SQLAlchemy's public way to a mapping, named like a private one
    return Stop(
        str(values["account"]),
        StopKind(values["stopped_kind"]),
        str(values["stopped_reason"]),
        float(values["stopped_at"]),
    )
