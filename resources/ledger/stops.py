"""Stops of buying: of everything by a person, or of an account that cannot pay, refuses its key or charges too much.

The transaction that reserves money and the one that claims a POST both check for stops. Jobs at the provider are still polled
and fetched, and queued attempts stay queued.
"""

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Protocol

import sqlalchemy as sa

from resources.ledger.database import insert_ignoring
from resources.ledger.schema import accounts, disputes, is_any_of
from resources.ledger.times import is_past

ALL = "*"
"""The row of `accounts` for a stop of all accounts."""

PROBE_SECONDS = 180.0
"""How often a stopped account is probed, to reopen it."""
QUIET_SECONDS = 900.0
"""An account that is stopped again within this time after it was reopened is not probed at once."""


class LedgerAccess(Protocol):
    """The part of a `Ledger` that stops need: `Ledger` itself checks stops, so they cannot import it."""

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since the epoch."""
        ...

    def read(self) -> AbstractContextManager[sa.Connection]:
        """One consistent view."""
        ...

    def write(self) -> AbstractContextManager[sa.Connection]:
        """One transaction that may write."""
        ...


_ROW = sa.select(accounts).where(accounts.c.account == sa.bindparam("whose"))
_ROW_OF_ALL = _ROW.with_for_update(read=True)


_UNSEEN_AMOUNTS = (
    sa.select(sa.func.count())
    .select_from(disputes)
    .where(
        disputes.c.account == sa.bindparam("whose"),
        disputes.c.kind == "amount",
        disputes.c.accepted_at.is_(None),
        disputes.c.at >= sa.bindparam("since"),
    )
)
"""The disputed amounts of an account that are newer than the end of its last stop."""


class StopKind(StrEnum):
    """Why something is stopped, which decides what ends the stop."""

    PERSON = "person"
    """`dailies stop`. Until `dailies start`."""
    OVERCHARGED = "overcharged"
    """The charge exceeds the order, for one request or within an hour. Until `dailies start`."""
    UNBELIEVABLE = "unbelievable"
    """A bill or an answer states an amount that cannot be the price. Until that is settled, or `dailies start`."""
    INSUFFICIENT_FUNDS = "insufficient_funds"
    """The account cannot pay. Until its balance suffices again."""
    AUTH = "auth"
    """The key is refused. Until it is accepted again."""

    @property
    def reopens(self) -> bool:
        """Whether the stop clears by itself once the provider accepts the key or the balance suffices."""
        return self in {StopKind.INSUFFICIENT_FUNDS, StopKind.AUTH}

    @property
    def gives_way_to(self) -> frozenset["StopKind"]:
        """The kinds that replace this one: a stop that clears by itself gives way to one that needs a person.

        A charge above the order also replaces a person's stop: it is seen only once, and the person who ends the stop must learn of it.
        """
        persons = frozenset({StopKind.PERSON, StopKind.OVERCHARGED})
        if self in persons:
            return frozenset({StopKind.OVERCHARGED}) - {self}
        return persons | {StopKind.UNBELIEVABLE} if self.reopens else persons


REBUILDING = "the ledger is being rebuilt"
"""The beginning of the reason of a rebuild's stop."""


@dataclass(frozen=True)
class Stop:
    """A stop of one account or of everything."""

    account: str
    """The stopped account; `*` is all accounts."""
    kind: StopKind
    """Why."""
    reason: str
    """One sentence for a person."""
    at: float
    """Since when, seconds since the epoch."""

    def __str__(self) -> str:
        """The stopped account, the reason, and what ends the stop."""
        whose = "all buying is" if self.account == ALL else f"the account {self.account} is"
        if self.is_of_rebuild:
            return (
                f"{whose} stopped: {self.reason}. The rebuild ends this stop. If it was killed, run `dailies ledger rebuild` again (with "
                "--take-over, if that was said): it goes on and ends the stop."
            )
        again = {
            StopKind.PERSON: f"`{self.command}` starts it again",
            StopKind.OVERCHARGED: (
                "compare `dailies ledger --check` with the provider's bill; correct the price in data/models, or make a new key if others "
                f"use this one; then `{self.command}`"
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
    def is_of_rebuild(self) -> bool:
        """Whether `dailies ledger rebuild` made the stop. A rebuild ends its stop, unless it is killed."""
        return self.kind is StopKind.PERSON and self.reason.startswith(REBUILDING)

    @property
    def command(self) -> str:
        """The command that ends the stop."""
        return "dailies start" if self.account == ALL else f"dailies start --account {self.account}"


def stop_for(connection: sa.Connection, account: str) -> Stop | None:
    """The stop of an account, or of all accounts, in this transaction; `dailies stop` waits until the transaction ends."""
    for query, whose in ((_ROW_OF_ALL, ALL), (_ROW, account)):
        row = connection.execute(query, {"whose": whose}).first()
        if row is not None and row.stopped_kind is not None:
            return _stop_of(row)
    return None


def stop_account(connection: sa.Connection, account: str, kind: StopKind, reason: str, *, now: float) -> None:
    """Stop an account, or `ALL`. An earlier stop stays unless its kind gives way to this one."""
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
    """End the stop of an account if it is of this kind."""
    row = connection.execute(_ROW.with_for_update(), {"whose": account}).first()
    if row is not None and row.stopped_kind == kind.value:
        _clear(connection, account, now)


def stop(ledger: LedgerAccess, *, reason: str, account: str = ALL) -> Stop:
    """Stop everything, or one account, on a person's order. After it returns, nothing more is reserved or sent.

    A rebuild ends its own stop, so a person's stop replaces that one.
    """
    with ledger.write() as connection:
        now = ledger.clock()
        stop_account(connection, account, StopKind.PERSON, reason, now=now)
        mine = accounts.c.account == account
        stopped = _stop_of(connection.execute(sa.select(accounts).where(mine)).one())
        if stopped.is_of_rebuild and not reason.startswith(REBUILDING):
            stopped = replace(stopped, reason=reason, at=now)
            connection.execute(sa.update(accounts).where(mine).values(stopped_reason=reason, stopped_at=now))
        return stopped


def stop_for_key(ledger: LedgerAccess, account: str, reason: str) -> None:
    """Stop an account whose key is refused, until it is accepted again."""
    with ledger.write() as connection:
        stop_account(connection, account, StopKind.AUTH, reason, now=ledger.clock())


def start(ledger: LedgerAccess, *, account: str = ALL) -> Stop | None:
    """End a stop of any kind; returns it, or None if there was none.

    If another stop has hidden that an amount is not believed, the account stays stopped for that amount: the person who ends the stop
    must learn of it.
    """
    with ledger.write() as connection:
        row = connection.execute(
            sa.select(accounts).where(accounts.c.account == account).with_for_update()
        ).first()
        if row is None or row.stopped_kind is None:
            return None
        now = ledger.clock()
        _clear(connection, account, now)
        unseen = 0
        if row.stopped_kind != StopKind.UNBELIEVABLE.value:
            known = {"whose": account, "since": row.reopened_at or 0.0}
            unseen = connection.execute(_UNSEEN_AMOUNTS, known).scalar_one()
        if unseen:
            reason = f"its answers or its bill state amounts that are not believed: `dailies ledger disputed` shows {unseen}"
            stop_account(connection, account, StopKind.UNBELIEVABLE, reason, now=now)
        return _stop_of(row)


def stops(ledger: LedgerAccess) -> list[Stop]:
    """All present stops."""
    with ledger.read() as connection:
        rows = connection.execute(
            sa.select(accounts).where(accounts.c.stopped_kind.is_not(None)).order_by(accounts.c.account)
        )
        return [_stop_of(row) for row in rows]


def stop_of(ledger: LedgerAccess, account: str) -> Stop | None:
    """The present stop of an account, or of all accounts; None if there is none."""
    with ledger.read() as connection:
        return stop_for(connection, account)


def take_alarm(ledger: LedgerAccess, account: str) -> Stop | None:
    """Claim the alarm about an account's stop, so that one process raises it once; None if there is no alarm to raise."""
    return _take(ledger, _UNALARMED, {"alarmed_at": accounts.c.stopped_at}, whose=account)


def claim_probe(ledger: LedgerAccess, account: str) -> Stop | None:
    """Claim the probe of a stopped account, for one process every few minutes; None if no probe is due."""
    now = ledger.clock()
    return _take(ledger, _MAY_HAVE_ENDED, {"probe_at": now + PROBE_SECONDS}, whose=account, now=now)


_UNALARMED = sa.and_(
    accounts.c.account == sa.bindparam("whose"),
    accounts.c.stopped_kind.is_not(None),
    sa.or_(accounts.c.alarmed_at.is_(None), accounts.c.alarmed_at < accounts.c.stopped_at),
)
_MAY_HAVE_ENDED = sa.and_(
    accounts.c.account == sa.bindparam("whose"),
    is_any_of(accounts.c.stopped_kind, [kind for kind in StopKind if kind.reopens]),
    is_past(accounts.c.probe_at, sa.bindparam("now", type_=sa.Double), within=PROBE_SECONDS),
)


def _take(
    ledger: LedgerAccess, mine: sa.ColumnElement[bool], values: Mapping[str, Any], **known: str | float
) -> Stop | None:
    """Claim a task about a stop once. A read comes first, because usually there is no stop and no reason to take the write lock."""
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


def reopen(ledger: LedgerAccess, stopped: Stop) -> bool:
    """End exactly this stop; False if it has ended already or another stop has replaced it."""
    with ledger.write() as connection:
        row = connection.execute(
            sa.select(accounts).where(accounts.c.account == stopped.account).with_for_update()
        ).first()
        if row is None or row.stopped_kind is None or _stop_of(row) != stopped:
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
