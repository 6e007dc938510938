"""Dagster's SQLite storage with connections that stay open; `dagster.yaml` names it.

Dagster makes an engine and a connection for every call, so that it compiles every statement and opens every file again, and SQLite
checkpoints a run's file after each of its events. The content and the places of the files stay Dagster's: its own class opens each
file first, and creates or checks its tables.
"""

import atexit
import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Self

import dagster as dg
import sqlalchemy as sa
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import (
    DagsterSqliteStorage,
    _event_logs_directory,
    _runs_directory,
    _schedule_directory,
)
from dagster._serdes import ConfigurableClassData

from resources.variables import TEMPORARY_STORAGE

BUSY_SECONDS = 30
"""How long a write waits for other processes, as in Dagster's own event log."""
MOST_FILES = 8
"""The most run files that stay open in a process. A run worker needs one; the webserver reads many."""

Opened = Callable[[], AbstractContextManager[sa.Connection]]


class KeptConnections:
    """The most recently used engines, by their file. Threads may share it.

    A file that was replaced or removed is opened again, and a forked process opens its own.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._reset()

    def _reset(self) -> None:
        self._pid, self._lock = os.getpid(), threading.Lock()
        self._engines: OrderedDict[str, tuple[sa.Engine, tuple[int, int]]] = OrderedDict()

    @contextlib.contextmanager
    def begin(self, path: str, opened: Opened) -> Iterator[sa.Connection]:
        """A connection in a transaction.

        Args:
            path: The SQLite file.
            opened: Dagster's own function that opens the file for the first time.
        """
        engine = self._kept(path)
        if engine is None:
            with opened():
                pass
            engine = self._keep(path)
        with engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection; the next call opens its file again."""
        with self._lock:
            engines = list(self._engines.values())
            self._engines.clear()
        for engine, _ in engines:
            engine.dispose()

    def _kept(self, path: str) -> sa.Engine | None:
        if self._pid != os.getpid():
            # SQLite forbids a child even to close its parent's connections
            _INHERITED.append(self._engines)
            self._reset()
        with self._lock:
            engine, file = self._engines.get(path, (None, None))
            if engine is None:
                return None
            if file == _identity(path):
                self._engines.move_to_end(path)
                return engine
            del self._engines[path]
        engine.dispose()
        return None

    def _keep(self, path: str) -> sa.Engine:
        url = sa.URL.create("sqlite", database=path)
        # a thread that finds the kept connection in use gets another one, which is closed afterwards
        engine = sa.create_engine(
            url,
            pool_size=1,
            max_overflow=-1,
            connect_args={"timeout": BUSY_SECONDS, "check_same_thread": False},
        )
        with self._lock:
            file = _identity(path)
            if file is not None:
                self._engines[path] = engine, file
            left = [self._engines.popitem(last=False)[1] for _ in range(len(self._engines) - self._most)]
        for old, _ in left:
            old.dispose()
        return engine


_INHERITED: list[Any] = []
"""Engines of the parent process, kept so that no garbage collection closes them."""


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a thousand times a run
    except OSError:
        return None
    return found.st_dev, found.st_ino


class KeptEventLog(SqliteEventLogStorage):
    """Dagster's event log: a file for each run, and an index of all.

    Events are written in UTF-8 and without the spaces of Dagster's JSON. Plan events are kept for ever, since they fix the clips of a
    decision (`scope.py`) and of a removed run (`retention.py`).
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._index, self._runs = KeptConnections(1), KeptConnections(MOST_FILES)
        self._has_index_columns = False
        super().__init__(base_dir, inst_data)

    def _event_to_row(self, event: dg.EventLogEntry) -> dict[str, Any]:
        row = super()._event_to_row(event)
        return {**row, "event": _shortened(row["event"])}

    def _has_asset_key_index_cols_on_connection(self, conn: sa.Connection) -> bool:
        # Dagster reads the columns of a table at each event, although they are never removed
        self._has_index_columns = self._has_index_columns or super()._has_asset_key_index_cols_on_connection(
            conn
        )
        return self._has_index_columns

    def run_connection(self, run_id: str | None = None) -> Any:
        """A connection to the file of a run."""
        if run_id == INDEX_SHARD_NAME:
            return self.index_connection()
        return self._runs.begin(
            self.path_for_shard(str(run_id)), lambda: super(KeptEventLog, self).run_connection(run_id)
        )

    def index_connection(self) -> AbstractContextManager[sa.Connection]:
        """A connection to the index."""
        return self._index.begin(self.path_for_shard(INDEX_SHARD_NAME), super().index_connection)

    def dispose(self) -> None:
        """Close every connection."""
        super().dispose()
        self._index.close()
        self._runs.close()


def _shortened(event: str) -> str:
    """The same JSON without spaces, in UTF-8 if possible."""
    read = json.loads(event)
    short = json.dumps(read, ensure_ascii=False, separators=(",", ":"))
    try:
        short.encode()
    except UnicodeEncodeError:
        # a lone surrogate, which text from outside may contain
        return json.dumps(read, separators=(",", ":"))
    return short


class _OneFile:
    """A base for Dagster's storages with one file: `connect` uses a kept connection."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._kept, self._path = KeptConnections(1), str(sa.make_url(conn_string).database)
        super().__init__(conn_string, inst_data)  # type: ignore[call-arg]

    @contextlib.contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """A connection."""
        with self._kept.begin(self._path, super().connect) as connection:  # type: ignore[misc]
            yield connection

    def dispose(self) -> None:
        """Close every connection."""
        super().dispose()  # type: ignore[misc]
        self._kept.close()


class KeptRuns(_OneFile, SqliteRunStorage):
    """Dagster's table of runs."""


class KeptSchedules(_OneFile, SqliteScheduleStorage):
    """Dagster's table of schedules, sensors and their ticks."""


class KeptSqliteStorage(DagsterSqliteStorage):
    """Dagster's SQLite storage in the same files, over kept connections."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Dagster's own __init__ would open and check every file again, 50 ms of CPU in each process
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir, self._inst_data = base_dir, inst_data
        with _alone(base_dir):
            self._run_storage = KeptRuns.from_local(_runs_directory(base_dir))
            self._event_log_storage = KeptEventLog(_event_logs_directory(base_dir))
            self._schedule_storage = KeptSchedules.from_local(_schedule_directory(base_dir))

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """No options: the files are in DAGSTER_HOME, as with Dagster's own storage."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> Self:
        """The storage that `dagster.yaml` describes."""
        folder = os.environ.get("DAGSTER_HOME") or _temporary_folder()
        return cls.from_local(folder, inst_data=inst_data, **config_value)


@contextlib.contextmanager
def _alone(folder: str) -> Iterator[None]:
    """Let one process at a time create Dagster's tables: a second one would fail because they exist."""
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - Dagster's paths are texts
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _temporary_folder() -> str:
    """A folder for an instance without DAGSTER_HOME, e.g. of `dg check defs`; this process's children use the same one."""
    known = os.environ.get(TEMPORARY_STORAGE)
    if known is None:
        known = os.environ[TEMPORARY_STORAGE] = tempfile.mkdtemp(prefix="dailies-dagster-")
        atexit.register(shutil.rmtree, known, ignore_errors=True)
    return known
