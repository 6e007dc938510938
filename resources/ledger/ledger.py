"""The ledger: transactions, the one way to change a state, and the records people and runs read.

Every change of an attempt goes through `Ledger.transition`, which compares the version the writer has read, writes the
journal in the same transaction, and refuses what `states.TRANSITIONS` does not allow. The verbs that use it are in
`decisions.py`, `queue.py`, `polls.py` and `deliveries.py`.
"""

import contextlib
import hashlib
import os
import secrets
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from resources.errors import DailiesError, UnavailableError
from resources.ledger import budget, locks, stops
from resources.ledger.budget import Budget
from resources.ledger.database import chunks, does_not_answer, insert_ignoring, open_database
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, current_takes, jobs, journal, meta
from resources.ledger.states import TRANSITIONS, AttemptState, MoneyState
from resources.ledger.times import DatabaseClock
from resources.money import show_usd

Clock = Callable[[], float]

_ATTEMPT = sa.select(attempts).where(attempts.c.id == sa.bindparam("attempt_id")).with_for_update()
_OF_IDS = (
    sa.select(attempts)
    .where(attempts.c.id.in_(sa.bindparam("keys", expanding=True)))
    .order_by(attempts.c.seq)
)
_OF_SUBJECTS = (
    sa.select(attempts)
    .where(
        attempts.c.subject_kind == sa.bindparam("kind"),
        attempts.c.subject_key.in_(sa.bindparam("keys", expanding=True)),
    )
    .order_by(attempts.c.seq)
)
_CURRENT = (
    sa.select(attempts)
    .join(current_takes, current_takes.c.attempt_id == attempts.c.id)
    .where(
        current_takes.c.subject_kind == sa.bindparam("kind"),
        current_takes.c.subject_key.in_(sa.bindparam("keys", expanding=True)),
    )
)
_FACT = sa.select(meta.c.value).where(meta.c.key == sa.bindparam("fact"))


def machine_name() -> str:
    """What process ids belong to: the host's name, and on Linux what tells its starts and its containers apart.

    Containers on the host's network bear its name, and a process of one has no id, or another program's, in the next.
    """
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        ids = Path("/proc/self/ns/pid").readlink()
        within = "-" + hashlib.sha256(f"{start} {ids}".encode()).hexdigest()[:8]
    except OSError:
        within = ""
    return f"{socket.gethostname()[:24]}{within}"


def process_name() -> str:
    """A new name of this process for leases and claims: machine, process id and a random part."""
    return f"{machine_name()}:{os.getpid()}:{secrets.token_hex(4)}"


class StaleAttemptError(DailiesError):
    """Somebody else changed the attempt since it was read. The writer must read it again; nothing was written."""


class ForbiddenTransitionError(DailiesError):
    """A state was asked to follow another that it may not follow. It is a bug, never the user's mistake."""


class Ledger:
    """The durable record of every attempt and every dollar.

    Args:
        url: The database; see `resources.ledger.database.open_database`.
        budget: What may be spent and where a day begins; `resources.settings.open_ledger` passes the settings' one.
        clock: Seconds since the epoch; tests pass a fake one. Without one it is the database's, or this machine's on SQLite.

    Attributes:
        clock: Seconds since the epoch.
        budget: As given.
        owner: Names this process in leases and the journal: host, process id and a random part.
    """

    def __init__(self, url: str, *, budget: Budget, clock: Clock | None = None) -> None:
        self._engine = open_database(url)
        shared = clock is None and self._engine.dialect.name == "postgresql"
        self._database_clock = DatabaseClock() if shared else None
        self.clock: Clock = self._database_clock or clock or time.time
        self.budget = budget
        self.owner = process_name()
        self.id = self.fact("ledger_id") or self.remember("ledger_id", uuid.uuid4().hex)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Transactions

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction that may write. On SQLite it holds the write lock from the start.

        Raises:
            UnavailableError: The database is locked for too long, full or gone; nothing of the transaction remains.
        """
        try:
            with self._engine.begin() as connection:
                self._look_at_the_time(connection)
                yield connection
        except sa.exc.DBAPIError as error:
            if not does_not_answer(error):
                raise
            raise UnavailableError(
                f"the ledger could not be written: {error.orig}. Nothing of this step was recorded. "
                "Free the disk or the lock, then run it again."
            ) from error

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view that blocks no writer.

        Raises:
            UnavailableError: The database does not answer.
        """
        try:
            with self._engine.connect().execution_options(reading=True) as connection, connection.begin():
                self._look_at_the_time(connection)
                yield connection
        except sa.exc.DBAPIError as error:
            if not does_not_answer(error):
                raise
            raise UnavailableError(
                f"the ledger could not be read: {error.orig}. Check that its database runs."
            ) from error

    def _look_at_the_time(self, connection: sa.Connection) -> None:
        if self._database_clock is not None:
            self._database_clock.measure(connection)

    # The one way to change a state

    def transition(
        self,
        connection: sa.Connection,
        attempt: Attempt,
        to: AttemptState,
        *,
        money: MoneyState | None = None,
        who: str,
        why: str | None = None,
        run_id: str | None = None,
        **values: Any,
    ) -> Attempt:
        """Move an attempt to another state, together with its journal entry.

        Args:
            connection: The transaction to do it in.
            attempt: As it was read; its version must still be the row's.
            to: The new state.
            money: The new state of its money, None to leave it.
            who: The part of dailies that does it, e.g. `engine`.
            why: One sentence for a person.
            run_id: The Dagster run it happens in, if any.
            values: Further columns to set.

        Raises:
            StaleAttemptError: The row has another version by now.
            ForbiddenTransitionError: `to` may not follow the attempt's state.
        """
        if to not in TRANSITIONS.get(attempt.state, frozenset()):
            raise ForbiddenTransitionError(
                f"attempt {attempt.id} of {attempt.subject_key}: {to} may not follow {attempt.state}"
            )
        return self._change(
            connection, attempt, to, money=money, who=who, why=why, run_id=run_id, values=values
        )

    def settle(
        self,
        connection: sa.Connection,
        attempt: Attempt,
        money: MoneyState,
        *,
        charged_micros: int | None,
        charge_source: str | None,
        who: str,
        why: str,
        served_model: str | None = None,
    ) -> Attempt:
        """Write what an attempt did cost, together with its journal entry; its state stays.

        Args:
            connection: The transaction to do it in.
            attempt: As it was read; its version must still be the row's.
            money: The new state of its money.
            charged_micros: What it did cost in micro-dollars, None while that is not known.
            charge_source: Who says so.
            who: The part of dailies that does it.
            why: One sentence for a person.
            served_model: The model that its bill names; None leaves what is known of it.

        Raises:
            StaleAttemptError: The row has another version by now.
        """
        values: dict[str, Any] = {"charged_micros": charged_micros, "charge_source": charge_source}
        if served_model is not None:
            values["served_model"] = served_model
        return self._change(
            connection, attempt, attempt.state, money=money, who=who, why=why, run_id=None, values=values
        )

    def _change(
        self,
        connection: sa.Connection,
        attempt: Attempt,
        to: AttemptState,
        *,
        money: MoneyState | None,
        who: str,
        why: str | None,
        run_id: str | None,
        values: Mapping[str, Any],
    ) -> Attempt:
        version = attempt.version + 1
        changed = connection.execute(
            sa.update(attempts)
            .where(attempts.c.id == attempt.id, attempts.c.version == attempt.version)
            .values(
                state=to.value, version=version, money_state=(money or attempt.money_state).value, **values
            )
        )
        if changed.rowcount != 1:
            raise StaleAttemptError(
                f"attempt {attempt.id} of {attempt.subject_key} changed since it was read"
            )
        self.journalize(
            connection, attempt, version=version, to=to, money=money, who=who, why=why, run_id=run_id
        )
        after = self.require(connection, attempt.id)
        budget.follow(connection, attempt, after)
        if after.overcharged_micros > attempt.overcharged_micros:
            reason = (
                f"{after.provider} charged {show_usd(after.charged_micros)} for job {after.job_id} of {after.subject_key}, "
                f"{show_usd(after.overcharged_micros)} more than {after.endpoint} was to cost"
            )
            stops.stop_account(
                connection, after.account, stops.StopKind.OVERCHARGED, reason, now=self.clock()
            )
        return after

    def journalize(
        self,
        connection: sa.Connection,
        attempt: Attempt,
        *,
        version: int,
        to: AttemptState,
        money: MoneyState | None,
        who: str,
        why: str | None,
        run_id: str | None,
        created: bool = False,
    ) -> None:
        """Append one entry; `transition`, `settle` and the creation of an attempt are its only callers."""
        connection.execute(
            sa.insert(journal).values(
                attempt_id=attempt.id,
                version=version,
                from_state=None if created else attempt.state.value,
                to_state=to.value,
                money_state=(money or attempt.money_state).value,
                at=self.clock(),
                who=f"{who} {self.owner}"[:64],
                run_id=run_id,
                why=why,
            )
        )

    # Reading

    def require(self, connection: sa.Connection, attempt_id: str) -> Attempt:
        """The attempt with this id, kept from changing until the transaction ends.

        Raises:
            DailiesError: There is none.
        """
        row = connection.execute(_ATTEMPT, {"attempt_id": attempt_id}).first()
        if row is None:
            raise DailiesError(
                f"the ledger knows no attempt {attempt_id!r}; `dailies status --json` lists them"
            )
        return Attempt.from_row(row)

    def attempts(self, ids: Iterable[str]) -> dict[str, Attempt]:
        """The attempts with these ids, by id; unknown ids are left out."""
        return {a.id: a for a in self._select(_OF_IDS, list(ids))}

    def latest(self, keys: Collection[str], *, kind: str = "clip") -> dict[str, Attempt]:
        """The newest attempt of each subject, by its key; subjects never bought are left out."""
        newest: dict[str, Attempt] = {}
        for attempt in self._select(_OF_SUBJECTS, list(keys), kind=kind):
            newest[attempt.subject_key] = attempt
        return newest

    def current(self, keys: Collection[str], *, kind: str = "clip") -> dict[str, Attempt]:
        """The delivered attempt that is shown for each subject, by its key."""
        found: dict[str, Attempt] = {}
        wanted = list(keys)
        with self.read() as connection:
            for some in chunks(wanted):
                rows = connection.execute(_CURRENT, {"keys": some, "kind": kind})
                found.update({a.subject_key: a for a in map(Attempt.from_row, rows)})
        return found

    def overview(self, *, series: str | None = None, kind: str = "clip") -> list[Attempt]:
        """The newest attempt of every subject, oldest subject first."""
        newest = (
            sa.select(sa.func.max(attempts.c.seq))
            .where(attempts.c.subject_kind == kind)
            .group_by(attempts.c.subject_key)
        )
        query = sa.select(attempts).where(attempts.c.seq.in_(newest)).order_by(attempts.c.seq)
        if series is not None:
            query = query.where(attempts.c.series == series)
        with self.read() as connection:
            return [Attempt.from_row(row) for row in connection.execute(query)]

    def submission_of(self, account: str, job_id: str) -> str | None:
        """The id of the POST that a job answered, None where that is not known."""
        with self.read() as connection:
            found = connection.execute(
                sa.select(jobs.c.submission_id).where(jobs.c.account == account, jobs.c.job_id == job_id)
            ).scalar()
        return None if found is None else str(found)

    def history(self, attempt_id: str) -> list[dict[str, Any]]:
        """The journal of one attempt, oldest entry first."""
        with self.read() as connection:
            rows = connection.execute(
                sa.select(journal).where(journal.c.attempt_id == attempt_id).order_by(journal.c.version)
            )
            return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public way to a mapping

    def _select(self, query: sa.Select[Any], keys: list[str], **known: str) -> list[Attempt]:
        found: list[Attempt] = []
        with self.read() as connection:
            for some in chunks(keys):
                rows = connection.execute(query, {"keys": some, **known})
                found.extend(Attempt.from_row(row) for row in rows)
        return found

    # Facts of the ledger itself, and locks for work outside it

    def fact(self, key: str) -> str | None:
        """A fact the ledger keeps about itself, such as the bucket it belongs to."""
        with self.read() as connection:
            return connection.execute(_FACT, {"fact": key}).scalar()

    def remember(self, key: str, value: str) -> str:
        """Keep a fact unless one is kept already; returns what is kept."""
        with self.write() as connection:
            return self._remember(connection, key, value)

    @staticmethod
    def _remember(connection: sa.Connection, key: str, value: str) -> str:
        connection.execute(insert_ignoring(connection, meta).values(key=key, value=value))
        return str(connection.execute(_FACT, {"fact": key}).scalar_one())

    def lock(
        self, name: str, *, seconds: float = 60, wait: float = 30
    ) -> contextlib.AbstractContextManager[None]:
        """Hold a named lease; see `locks.hold`."""
        return locks.hold(self, name, seconds=seconds, wait=wait)
