"""The ledger: its transactions, and the reads that several rooms share."""

import contextlib
import hashlib
import os
import secrets
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from resources.ledger import outage, tallies
from resources.ledger.actors import Actor, number_of
from resources.ledger.budget import Budget
from resources.ledger.database import chunks, insert_ignoring, open_database, whereabouts
from resources.ledger.policy import PolicyReader
from resources.ledger.policy_settings import Policy
from resources.ledger.records import CLIP, Attempt
from resources.ledger.rules import leading_purchase
from resources.ledger.schema import (
    IS_NEWEST,
    actors,
    attempts,
    current_takes,
    jobs,
    journal,
    meta,
    submissions,
)
from resources.ledger.states import AttemptState
from resources.ledger.times import DatabaseClock
from resources.ledger.transaction import Transaction, trace_life
from resources.orders import TakeSlot

Clock = Callable[[], float]

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
_HISTORY = (
    sa.select(
        *(column for column in journal.c if column.name not in {"who", "run_id", "actor"}),
        sa.func.coalesce(actors.c.who, journal.c.who).label("who"),
        sa.func.coalesce(sa.func.nullif(actors.c.run_id, ""), journal.c.run_id).label("run_id"),
    )
    .outerjoin(actors, actors.c.id == journal.c.actor)
    .where(journal.c.attempt_id == sa.bindparam("attempt"))
    .order_by(journal.c.version)
)
_FACT = sa.select(meta.c.value).where(meta.c.key == sa.bindparam("fact"))


def machine_name() -> str:
    """The name of the scope in which a process id is unique: the host, and on Linux also its boot and its PID namespace.

    Containers on the host's network all have the host's name, but each counts its own process ids.
    """
    try:
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        ids = Path("/proc/self/ns/pid").readlink()
        within = "-" + hashlib.sha256(f"{start} {ids}".encode()).hexdigest()[:8]
    except OSError:
        within = ""
    return f"{socket.gethostname()[:24]}{within}"


def process_name() -> str:
    """Make a new name of this process for leases and claims: the machine, the process id and a random part."""
    return f"{machine_name()}:{os.getpid()}:{secrets.token_hex(4)}"


class Ledger:
    """The durable record of every attempt and every dollar.

    Args:
        url: See `resources.ledger.database.open_database`.
        budget: The default caps, for what neither the ledger's policy nor this host sets.
        policy: This host's policy settings; without any, the host follows the ledger. See `resources.ledger.policy`.
        clock: Seconds since the epoch, for tests. The default is PostgreSQL's clock, or this machine's on SQLite.
        patience: How long to wait for a PostgreSQL server that does not answer, in seconds; see `resources.ledger.outage`.
    """

    def __init__(
        self,
        url: str,
        *,
        budget: Budget,
        policy: Policy | None = None,
        clock: Clock | None = None,
        patience: float = 0,
    ) -> None:
        self._patience = patience
        self._engine = open_database(url, patience=patience)
        shared = clock is None and self._engine.dialect.name == "postgresql"
        self._database_clock = DatabaseClock() if shared else None
        self.clock: Clock = self._database_clock or clock or time.time
        self.policy = PolicyReader(policy or {}, budget)
        """Reads the policy in force."""
        self.owner = process_name()
        """Names this process in leases and in the journal."""
        self._actors: dict[Actor, int] = {}
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
        """One transaction that may write; on SQLite it holds the write lock from the start.

        To change the state or the money of an attempt, use `transaction`.

        Raises:
            UnavailableError: The database is full, gone or locked for too long; see `outage.transaction`.
        """
        with self._transaction(writing=True) as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent view that blocks no writer.

        Raises:
            UnavailableError: The database does not answer.
        """
        with self._transaction(writing=False) as connection:
            yield connection

    def _transaction(self, *, writing: bool) -> contextlib.AbstractContextManager[sa.Connection]:
        return outage.transaction(
            self._engine, writing=writing, patience=self._patience, begun=self._measure_clock
        )

    def _measure_clock(self, connection: sa.Connection) -> None:
        if self._database_clock is not None:
            self._database_clock.measure(connection)

    @contextlib.contextmanager
    def transaction(self, *, who: str, run_id: str | None) -> Iterator[Transaction]:
        """One transaction that changes attempts; see `resources.ledger.transaction`.

        Args:
            who: The actor: a part of dailies, e.g. `engine`, or `person` and a name.
            run_id: The acting Dagster run; None outside of runs.

        Raises:
            UnavailableError: See `write`.
        """
        ended: list[Attempt] = []
        actor = Actor(f"{who} {self.owner}"[:64], run_id or "")
        with self.write() as connection:
            number = self._actors.get(actor) or number_of(connection, actor)
            yield Transaction(connection, self.clock, self.policy, number, ended)
            tallies.add(connection, ended)
        # only now: a number of a transaction that was rolled back may become another actor's
        self._actors[actor] = number
        for attempt in ended:
            trace_life(attempt, self.clock())

    # Reading

    @property
    def budget(self) -> Budget:
        """The caps in force and their time zone, read in their own transaction."""
        with self.read() as connection:
            return self.policy.read(connection).budget

    @budget.setter
    def budget(self, budget: Budget) -> None:
        self.policy = PolicyReader(self.policy.of_host, budget)

    def attempts(self, ids: Iterable[str]) -> dict[str, Attempt]:
        """The attempts with these ids, by id; unknown ids are left out."""
        return {a.id: a for a in self._select(_OF_IDS, list(ids))}

    def latest(self, keys: Collection[str], *, kind: str = "clip") -> dict[str, Attempt]:
        """The leading purchase of each subject (see `rules.leading_purchase`), by its key, without subjects that were never bought."""
        by_key: dict[str, list[Attempt]] = {}
        for attempt in self._select(_OF_SUBJECTS, list(keys), kind=kind):
            by_key.setdefault(attempt.subject_key, []).append(attempt)
        return {key: leading_purchase(purchases) for key, purchases in by_key.items()}

    def latest_takes(self, keys: Collection[str]) -> dict[TakeSlot, Attempt]:
        """The newest attempt in each slot of these clips; clips never bought are left out."""
        return {a.take_slot: a for a in self._select(_OF_SUBJECTS, list(keys), kind=CLIP)}

    def current(self, keys: Collection[str], *, kind: str = "clip") -> dict[str, Attempt]:
        """The current take of each subject, by the subject's key."""
        by_key: dict[str, Attempt] = {}
        listed = list(keys)
        with self.read() as connection:
            for some in chunks(listed):
                rows = connection.execute(_CURRENT, {"keys": some, "kind": kind})
                by_key.update({a.subject_key: a for a in map(Attempt.from_row, rows)})
        return by_key

    def shown(self, keys: Collection[str]) -> dict[str, Attempt]:
        """The current take of each clip, or its newest delivered take if none is chosen yet."""
        by_key = self.current(keys)
        for attempt in self._select(_OF_SUBJECTS, [key for key in keys if key not in by_key], kind="clip"):
            if attempt.state is AttemptState.DELIVERED:
                by_key[attempt.subject_key] = attempt
        return by_key

    def overview(self, *, series: str | None = None, kind: str = "clip") -> list[Attempt]:
        """The leading purchase of every subject (see `rules.leading_purchase`), oldest first."""
        query = sa.select(attempts).where(attempts.c.subject_kind == kind, IS_NEWEST).order_by(attempts.c.seq)
        if series is not None:
            query = query.where(attempts.c.series == series)
        by_key: dict[str, list[Attempt]] = {}
        with self.read() as connection:
            for attempt in map(Attempt.from_row, connection.execute(query)):
                by_key.setdefault(attempt.subject_key, []).append(attempt)
        return sorted(map(leading_purchase, by_key.values()), key=lambda attempt: attempt.seq)

    def ordered_by(self, account: str, submission_id: str) -> Attempt | None:
        """The attempt of a POST; None if the account has no such POST."""
        with self.read() as connection:
            row = connection.execute(
                sa.select(attempts)
                .join(submissions, submissions.c.attempt_id == attempts.c.id)
                .where(submissions.c.id == submission_id, submissions.c.account == account)
            ).first()
        return None if row is None else Attempt.from_row(row)

    def submission_of(self, account: str, job_id: str) -> str | None:
        """The id of the POST that created a job; None if the ledger does not know it."""
        with self.read() as connection:
            row = connection.execute(
                sa.select(jobs.c.submission_id).where(jobs.c.account == account, jobs.c.job_id == job_id)
            ).scalar()
        return None if row is None else str(row)

    def seed_of(self, submission_id: str | None) -> int | None:
        """The POST's own seed; None if it has none or is unknown."""
        with self.read() as connection:
            query = sa.select(submissions.c.seed).where(submissions.c.id == submission_id)
            return connection.execute(query).scalar()

    def history(self, attempt_id: str) -> list[dict[str, Any]]:
        """The journal of one attempt, oldest entry first."""
        with self.read() as connection:
            rows = connection.execute(_HISTORY, {"attempt": attempt_id})
            return [dict(row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public way to a mapping

    def _select(self, query: sa.Select[Any], keys: list[str], **known: str) -> list[Attempt]:
        selected: list[Attempt] = []
        with self.read() as connection:
            for some in chunks(keys):
                rows = connection.execute(query, {"keys": some, **known})
                selected.extend(Attempt.from_row(row) for row in rows)
        return selected

    def whereabouts(self) -> str:
        """Describe the database and how it is reached, without user and password."""
        with self.read() as connection:
            return whereabouts(connection)

    @property
    def is_of_one_machine(self) -> bool:
        """Whether only this machine can open it, as with SQLite, which is refused on a network filesystem."""
        return self._engine.dialect.name == "sqlite"

    # Facts about the ledger itself

    def fact(self, key: str) -> str | None:
        """Read a fact about the ledger itself, such as its bucket; None if the ledger keeps none."""
        with self.read() as connection:
            return connection.execute(_FACT, {"fact": key}).scalar()

    def remember(self, key: str, value: str) -> str:
        """Keep a fact unless the ledger has one under this key already; returns the kept one."""
        with self.write() as connection:
            return self._remember(connection, key, value)

    @staticmethod
    def _remember(connection: sa.Connection, key: str, value: str) -> str:
        connection.execute(insert_ignoring(connection, meta).values(key=key, value=value))
        return str(connection.execute(_FACT, {"fact": key}).scalar_one())
