"""The ledger's database, opened and migrated once, and emptied for each history."""

import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from resources.ledger.database import open_database


class HistoryDatabase:
    """A SQLite file as the product opens it, except that the machine never loses its power: `synchronous` is off.

    Attributes:
        engine: The engine of all processes' ledgers.
    """

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        self._folder = Path(
            tempfile.mkdtemp(prefix="dailies-histories-", dir=memory if memory.is_dir() else None)
        )
        self.engine = open_database(f"sqlite:///{self._folder}/ledger.db")
        self.scratch = self._folder / "tmp"
        self.scratch.mkdir()

        @sa.event.listens_for(self.engine, "connect")
        def _fast(connection: Any, _record: object) -> None:
            connection.execute("PRAGMA synchronous=OFF")

        self.engine.dispose()
        self._empty = sqlite3.connect(":memory:")
        with closing(self.engine.raw_connection()) as raw:
            _sqlite(raw).backup(self._empty)

    def empty(self) -> None:
        """Forget everything."""
        with closing(self.engine.raw_connection()) as raw:
            self._empty.backup(_sqlite(raw))

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query, read without the product's code."""
        with closing(self.engine.raw_connection()) as raw:
            cursor = _sqlite(raw).execute(query)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def execute(self, statement: str) -> None:
        """Change the schema, for a negative control."""
        with closing(self.engine.raw_connection()) as raw:
            _sqlite(raw).execute(statement)

    def close(self) -> None:
        """Remove it."""
        self.engine.dispose()
        self._empty.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _sqlite(raw: Any) -> sqlite3.Connection:
    connection: sqlite3.Connection = raw.driver_connection
    return connection
