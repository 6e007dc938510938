"""Times in the ledger, and whose clock they are by.

A time that lies further ahead than its writer ever sets one was written by a clock that was ahead. It means nothing: what
waits for it is due now. Every query about a due time, a pause or a lease asks `is_past` or `has_passed`, with the longest
interval that the writer sets.

On PostgreSQL the time is the database's, so that hosts whose clocks differ or jump agree on leases and due times. SQLite
has one machine, and its clock.
"""

import time

import sqlalchemy as sa

MEASURE_SECONDS = 15.0
"""How often the database is asked for its time."""
SLOW_SECONDS = 1.0
"""An answer that took longer says too little about when it was given."""

CLOCKS_SECONDS = 5.0
"""How far apart two readings of one clock may lie: processes measure the database's time to half a second, and a machine's
clock is set back by moments. Without it a lease looked as if a clock that was ahead had dated it, to whoever read it at once."""

_DATABASE_TIME = sa.text("SELECT extract(epoch FROM clock_timestamp())")


def is_past(
    at: sa.ColumnElement[float], now: float | sa.BindParameter[float], *, within: float
) -> sa.ColumnElement[bool]:
    """Whether a time in the database has come, or lies further ahead than its writer sets one.

    Args:
        at: Seconds since the epoch.
        now: The same, or a parameter for it.
        within: The longest interval that the writer of `at` sets, in seconds.
    """
    return sa.or_(at <= now, at > now + (within + CLOCKS_SECONDS))


def has_passed(at: float, now: float, *, within: float) -> bool:
    """The same for a time that was read."""
    return at <= now or at > now + within + CLOCKS_SECONDS


def steady() -> float:
    """Seconds that no setting of a clock changes, and that go on while the machine sleeps where the system counts them."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class DatabaseClock:
    """Seconds since the epoch by the database's clock, measured on connections that are in use anyway.

    It goes on between two measurements by the steady clock of this machine. `clock_timestamp()` is the time of the
    question; `now()` would be that of the transaction's begin, before it waited for a lock.
    """

    def __init__(self) -> None:
        self._ahead: float | None = None
        self._measured_at = 0.0

    def __call__(self) -> float:
        """The time."""
        if self._ahead is None:
            raise AssertionError("the database was not asked for its time yet")
        return steady() + self._ahead

    def measure(self, connection: sa.Connection) -> None:
        """Ask for the time, if the last answer is old."""
        before = steady()
        if self._ahead is not None and before - self._measured_at < MEASURE_SECONDS:
            return
        said = float(connection.execute(_DATABASE_TIME).scalar_one())
        after = steady()
        if self._ahead is None or after - before < SLOW_SECONDS:
            self._ahead, self._measured_at = said - (before + after) / 2, after
