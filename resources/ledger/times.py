"""Times in the ledger, and the clock that sets them.

A clock that was ahead may have written a time that lies further ahead than its writer ever sets one. Such a time is ignored, and
what waits for it is due now. So every query about a due time, a pause or a lease calls `is_past` or `has_passed` with the longest
interval that the writer sets.

On PostgreSQL the database's clock counts, so that hosts whose clocks differ or jump agree on leases and due times. SQLite
has one machine, whose clock counts.
"""

import time

import sqlalchemy as sa

MEASURE_SECONDS = 15.0
"""How often the database is asked for its time."""
SLOW_SECONDS = 1.0
"""A measurement that took longer than this is too imprecise to replace the last one."""

CLOCKS_SECONDS = 5.0
"""How far apart two readings of one clock may lie: processes measure the database's time to half a second, and NTP may set a
machine's clock back slightly. Without this margin, a reader took a fresh lease for one dated by a clock that was ahead."""

_DATABASE_TIME = sa.text("SELECT extract(epoch FROM clock_timestamp())")


def is_past(
    at: sa.ColumnElement[float], now: float | sa.BindParameter[float], *, within: float
) -> sa.ColumnElement[bool]:
    """Whether a time in the database has passed, or lies further ahead than its writer ever sets one.

    Args:
        at: Seconds since the epoch.
        now: Seconds since the epoch, or a parameter for them.
        within: The longest interval that the writer of `at` sets, in seconds.
    """
    return sa.or_(at <= now, is_misdated(at, now, within=within))


def is_misdated(
    at: sa.ColumnElement[float], now: float | sa.BindParameter[float], *, within: float
) -> sa.ColumnElement[bool]:
    """Whether a time in the database lies further ahead than its writer ever sets one; arguments as of `is_past`."""
    return at > now + (within + CLOCKS_SECONDS)


def has_passed(at: float, now: float, *, within: float) -> bool:
    """`is_past` for a time that was read from the database."""
    return at <= now or at > now + within + CLOCKS_SECONDS


def steady() -> float:
    """Seconds of a monotonic clock, which also counts while the machine sleeps if the system has such a clock."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class DatabaseClock:
    """Seconds since the epoch by the database's clock, measured on connections that are open anyway.

    Between two measurements, this machine's steady clock counts. The query reads `clock_timestamp()`, because `now()` is the time at
    which the transaction began, before it waited for a lock.
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
        """Ask the database for its time if the last measurement is old."""
        before = steady()
        if self._ahead is not None and before - self._measured_at < MEASURE_SECONDS:
            return
        database_time = float(connection.execute(_DATABASE_TIME).scalar_one())
        after = steady()
        if self._ahead is None or after - before < SLOW_SECONDS:
            self._ahead, self._measured_at = database_time - (before + after) / 2, after
