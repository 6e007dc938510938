"""Pauses of accounts: for a time, nothing is sent to an account or polled from it.

A `Retry-After` is obeyed for `limits.LONGEST_PAUSE_SECONDS` at most: one 429 with a `Retry-After` of a year must not stop all
buying. A pause ends by itself; `dailies start` ends it earlier.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from resources.ledger import stops
from resources.ledger.ledger import Ledger
from resources.ledger.limits import (
    LONGEST_PAUSE_SECONDS,
    LONGEST_THROTTLE_SECONDS,
    THROTTLE_SECONDS,
    lock_account,
)
from resources.ledger.records import Submission
from resources.ledger.schema import accounts, submissions
from resources.ledger.times import has_passed
from resources.ledger.transaction import Transaction

WORTH_TELLING_SECONDS = 60.0
"""Shorter pauses are normal and not shown."""


@dataclass(frozen=True)
class Pause:
    """A pause that has not ended."""

    account: str
    until: float
    """Seconds since the epoch."""
    left: float
    """Seconds from now."""
    why: str
    """One sentence for a person, without its full stop."""

    def __str__(self) -> str:
        """The end of the pause, its reason, and the command that lifts it."""
        at = datetime.fromtimestamp(self.until, UTC)
        return (
            f"nothing is sent to {self.account} until {at:%H:%M:%S} UTC ({self.left:.0f} s): {self.why}. "
            f"Then buying goes on by itself; `dailies start --account {self.account}` lifts the pause now."
        )


def pause(tx: Transaction, account: str, seconds: float, *, why: str) -> None:
    """Send nothing to an account for a while; a longer pause stays.

    Args:
        seconds: From now on, `LONGEST_PAUSE_SECONDS` at most.
        why: One sentence for a person, without its full stop.
    """
    lock_account(tx.connection, account)
    _put_off(tx, account, [accounts.c.not_before], seconds, why)


def throttle(tx: Transaction, submission: Submission, retry_after: float | None) -> None:
    """Pause the account after a 429. The pause doubles when a POST that was sent after the last one is throttled again."""
    account = submission.attempt.account
    lock_account(tx.connection, account)
    row = tx.connection.execute(sa.select(accounts).where(accounts.c.account == account)).one()
    started_at = tx.connection.execute(
        sa.select(submissions.c.started_at).where(submissions.c.id == submission.id)
    ).scalar_one()
    # several 429 answers to POSTs that were in flight together count as one
    now = tx.now()
    again = row.throttled_at is None or started_at > row.throttled_at or row.throttled_at > now
    throttles = row.throttles + 1 if again else max(row.throttles, 1)
    seconds = THROTTLE_SECONDS if retry_after is None else min(max(0.0, retry_after), LONGEST_PAUSE_SECONDS)
    grown = max(seconds, 1.0) * 2.0 ** min(throttles - 1, 20) if throttles > 1 else 0.0
    wait = max(seconds, min(grown, LONGEST_THROTTLE_SECONDS))
    if again:
        tx.connection.execute(
            sa.update(accounts)
            .where(accounts.c.account == account)
            .values(throttles=throttles, throttled_at=now)
        )
    why = "it answered a submit with 429" + (
        "" if retry_after is None else f" and asked for a pause of {retry_after:.0f} s"
    )
    pause(tx, account, wait, why=why)


def slow_down(ledger: Ledger, account: str, seconds: float, *, why: str) -> None:
    """Neither send to an account nor poll it for a while, after it throttled any of our requests."""
    with ledger.transaction(who="engine", run_id=None) as tx:
        lock_account(tx.connection, account)
        _put_off(tx, account, [accounts.c.not_before, accounts.c.polls_not_before], seconds, why)


def _put_off(
    tx: Transaction, account: str, columns: Sequence[sa.Column[float]], seconds: float, why: str
) -> None:
    now = tx.now()
    until = now + min(seconds, LONGEST_PAUSE_SECONDS)
    for column in columns:
        shorter = sa.or_(column < until, column > now + LONGEST_PAUSE_SECONDS)
        tx.connection.execute(
            sa.update(accounts)
            .where(accounts.c.account == account, shorter)
            .values({column: until, accounts.c.pause_reason: why})
        )


def pauses(ledger: Ledger) -> list[Pause]:
    """The pauses that have not ended, by account."""
    with ledger.read() as connection:
        rows = connection.execute(sa.select(accounts).order_by(accounts.c.account)).all()
    now = ledger.clock()
    lasting = []
    for row in rows:
        ends = [
            at
            for at in (row.not_before, row.polls_not_before)
            if not has_passed(at, now, within=LONGEST_PAUSE_SECONDS)
        ]
        if ends:
            why = row.pause_reason or "it asked for a pause"
            lasting.append(Pause(row.account, max(ends), max(ends) - now, why))
    return lasting


def lift(ledger: Ledger, *, account: str, who: str) -> list[Pause]:
    """End the pauses of one account or of all, on a person's order; returns the pauses that it ended.

    Args:
        account: The account, or `stops.ALL`.
        who: The person, for the account's row.
    """
    ended = [one for one in pauses(ledger) if account in {stops.ALL, one.account}]
    with ledger.write() as connection:
        for one in ended:
            connection.execute(
                sa.update(accounts)
                .where(accounts.c.account == one.account)
                .values(
                    not_before=0.0,
                    polls_not_before=0.0,
                    throttles=0,
                    pause_reason=None,
                    lifted_by=who,
                    lifted_at=ledger.clock(),
                )
            )
    return ended
