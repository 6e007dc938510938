"""Dagster's SQLite storage with connections that stay open and each event once; `dagster.yaml` names it.

Dagster makes an engine and a connection for every call, so that it compiles every statement and opens every file again. It writes
each event of an asset twice, into a file of its run and into the index. Here all events are in the index, packed
(`packed_events.py`). A run that has a file, written before, keeps using it. Dagster's own class opens each file first, and creates
or checks its tables.
"""

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Self

import dagster as dg
import sqlalchemy as sa
from dagster._config.config_schema import UserConfigSchema
from dagster._core.event_api import EventHandlerFn, EventLogRecord, EventRecordsFilter
from dagster._core.storage import sql
from dagster._core.storage.event_log import SqlPollingEventWatcher
from dagster._core.storage.event_log.schema import AssetKeyTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
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

from pipelines.event_storage import RUNLESS
from pipelines.packed_events import DRIVER, pack
from resources.variables import TEMPORARY_STORAGE

BUSY_SECONDS = 30
"""How long a write waits for other processes, as in Dagster's own event log."""
MOST_FILES = 8
"""The most run files that stay open in a process. Only older runs have one."""
MOST_THREADS = 4
"""The most connections to one file that stay open in a process, if so many threads use it at once."""
BATCH_VARIABLE = "DAGSTER_EVENT_BATCH_SIZE"
"""How many events Dagster stores in one transaction when it has many at once, as the plan events of a run."""
BATCH_SIZE = "100"

Opened = Callable[[], AbstractContextManager[sa.Connection]]


class KnownScripts:
    """Stands in for alembic's `ScriptDirectory`: the scripts of Dagster's migrations, read once in a process.

    Dagster reads them for each of its three files whenever it opens its storage, as each tick and each run does: 90 of 130 ms of CPU.
    """

    read = vars(sql)["ScriptDirectory"].from_config
    known: ClassVar[dict[str, Any]] = {}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        """The scripts of a configuration."""
        place = config.get_main_option("script_location")
        if place not in cls.known:
            cls.known[place] = cls.read(config)
        return cls.known[place]


vars(sql)["ScriptDirectory"] = KnownScripts


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
            opened: Dagster's own function that opens the file for the first time.
        """
        engine = self._kept_engine(path)
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

    def _kept_engine(self, path: str) -> sa.Engine | None:
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
        url = sa.URL.create(DRIVER, database=path)
        # Each thread gets a connection, which stays open. SQLAlchemy takes the lock of all logging to close one, and Dagster stores
        # an event inside a log handler's lock: two runs in one process waited for each other for ever.
        engine = sa.create_engine(
            url,
            pool_size=MOST_THREADS,
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
        status = os.stat(path)  # noqa: PTH116 - a thousand times a run
    except OSError:
        return None
    return status.st_dev, status.st_ino


class KeptEventLog(SqliteEventLogStorage):
    """Dagster's event log in one file, the index. A run that has its own file keeps using it.

    Plan events are kept for ever, since they fix the clips of a decision (`scope.py`) and of a removed run (`retention.py`).
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._index, self._runs = KeptConnections(1), KeptConnections(MOST_FILES)
        self._held = threading.local()
        self._tables: set[str] = set()
        self._known_assets: set[str] = set()
        self._columns: set[str] = set()
        super().__init__(base_dir, inst_data)
        self._watcher: SqlPollingEventWatcher | None = None
        # The index has the events without a run too, so this second copy is not read.
        for ending in ("", "-wal", "-shm"):
            Path(self.path_for_shard(RUNLESS) + ending).unlink(missing_ok=True)

    def _event_to_row(self, event: dg.EventLogEntry) -> dict[str, Any]:
        row = super()._event_to_row(event)
        return {**row, "event": pack(row["event"])}

    def has_table(self, table_name: str) -> bool:
        """Whether a table exists. Dagster asks at each event, with a new engine, although tables are never removed."""
        if table_name not in self._tables and super().has_table(table_name):
            self._tables.add(table_name)
        return table_name in self._tables

    def _has_asset_key_col_on_connection(self, conn: sa.Connection, column_name: str) -> bool:
        # Dagster reads the columns of a table at each event and query, although they are never removed
        if column_name not in self._columns and super()._has_asset_key_col_on_connection(conn, column_name):
            self._columns.add(column_name)
        return column_name in self._columns

    def store_event(self, event: dg.EventLogEntry) -> None:
        """Store one event, in one transaction."""
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        """Store events in one transaction: all or none."""
        with self.together():
            for event in events:
                # Dagster's class for one file a run, or its base class for one database
                kind = SqliteEventLogStorage if self._has_file(event.run_id) else SqlEventLogStorage
                kind.store_event(self, event)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Put everything that this thread stores or reads inside the block into one transaction."""
        if getattr(self._held, "connection", None) is not None:
            yield
            return
        with self.index_connection() as connection:
            self._held.connection, self._held.newest = connection, {}
            try:
                yield
                for event, event_id in self._held.newest.values():
                    self._update_asset(connection, event, event_id)
            finally:
                self._held.connection, self._held.newest = None, {}

    def _store_asset_event(self, conn: sa.Connection, event: dg.EventLogEntry, event_id: int) -> None:
        if getattr(self._held, "connection", None) is None:
            self._update_asset(conn, event, event_id)
        elif event.dagster_event is not None:
            # An asset's row keeps its newest event of each type, so the last one of the block is enough.
            kind = event.dagster_event.asset_key, event.dagster_event.event_type_value
            self._held.newest.pop(kind, None)  # the row keeps what is written last
            self._held.newest[kind] = event, event_id

    def _update_asset(self, conn: sa.Connection, event: dg.EventLogEntry, event_id: int) -> None:
        # Dagster inserts a known asset, which fails, and then updates it.
        asset = event.dagster_event.asset_key if event.dagster_event else None
        name = None if asset is None else asset.to_string()
        columns = self._has_asset_key_index_cols_on_connection(conn)
        values = self._get_asset_entry_values(event, event_id, columns) if name in self._known_assets else {}
        if values:
            row = sa.update(AssetKeyTable).where(AssetKeyTable.c.asset_key == name)
            if conn.execute(row.values(**values)).rowcount:
                return
        super()._store_asset_event(conn, event, event_id)
        if name is not None:
            self._known_assets.add(name)

    def _has_file(self, run_id: str | None) -> bool:
        return run_id not in {None, RUNLESS, INDEX_SHARD_NAME} and os.path.exists(  # noqa: PTH110 - at each event
            self.path_for_shard(str(run_id))
        )

    def run_connection(self, run_id: str | None = None) -> Any:
        """A connection to the events of a run."""
        if not self._has_file(run_id):
            return self.index_connection()
        return self._runs.begin(
            self.path_for_shard(str(run_id)), lambda: super(KeptEventLog, self).run_connection(run_id)
        )

    def index_connection(self) -> AbstractContextManager[sa.Connection]:
        """A connection to the index; inside `together`, always the same one."""
        held = getattr(self._held, "connection", None)
        if held is not None:
            return contextlib.nullcontext(held)
        return self._index.begin(self.path_for_shard(INDEX_SHARD_NAME), super().index_connection)

    @property
    def is_run_sharded(self) -> bool:
        """Events are numbered across runs."""
        return False

    def get_event_records(
        self, event_records_filter: EventRecordsFilter, limit: int | None = None, ascending: bool = False
    ) -> Sequence[EventLogRecord]:
        """Events of all runs."""
        return SqlEventLogStorage.get_event_records(self, event_records_filter, limit, ascending)

    def watch(self, run_id: str, cursor: str | None, callback: EventHandlerFn) -> None:
        """Call back for each event of a run after the cursor.

        Dagster's SQLite storage waits for a change of the run's file. SQLite rarely writes it while a connection stays open, so the
        run's page stood still. Polling is what Dagster does with its other databases.
        """
        self._watcher = self._watcher or SqlPollingEventWatcher(self)
        self._watcher.watch_run(run_id, cursor, callback)

    def end_watch(self, run_id: str, handler: EventHandlerFn) -> None:
        """Stop calling a handler."""
        if self._watcher is not None:
            self._watcher.unwatch_run(run_id, handler)

    def dispose(self) -> None:
        """Close every connection."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        super().dispose()
        self._index.close()
        self._runs.close()


class _OneFile:
    """A base for Dagster's storages with one file: `connect` uses a kept connection."""

    def __init__(self, conn_string: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._connections, self._path = KeptConnections(1), str(sa.make_url(conn_string).database)
        super().__init__(conn_string, inst_data)  # type: ignore[call-arg]

    @contextlib.contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """A connection."""
        with self._connections.begin(self._path, super().connect) as connection:  # type: ignore[misc]
            yield connection

    def dispose(self) -> None:
        """Close every connection."""
        super().dispose()  # type: ignore[misc]
        self._connections.close()


class KeptRuns(_OneFile, SqliteRunStorage):
    """Dagster's table of runs."""

    _has_times = False

    def has_run_stats_index_cols(self) -> bool:
        """Whether a run's row has its times. Dagster asks at each read of a run, although the columns are never removed."""
        self._has_times = self._has_times or super().has_run_stats_index_cols()
        return self._has_times


class KeptSchedules(_OneFile, SqliteScheduleStorage):
    """Dagster's table of schedules, sensors and their ticks."""


class KeptSqliteStorage(DagsterSqliteStorage):
    """Dagster's SQLite storage over kept connections, each event once."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Dagster's own __init__ would open and check every file again, 50 ms of CPU in each process
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call]
        self.base_dir, self._inst_data = base_dir, inst_data
        os.environ.setdefault(BATCH_VARIABLE, BATCH_SIZE)
        with _folder_lock(base_dir):
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
def _folder_lock(folder: str) -> Iterator[None]:
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
