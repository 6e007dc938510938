"""Dagster's SQLite storage with kept connections and each event packed and stored once: the same answers as Dagster's own."""

import hashlib
import inspect
import json
import os
import sqlite3
import sqlite3.dbapi2
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster import _check as check
from dagster._core.instance.methods.event_methods import EventMethods
from dagster._core.storage.event_log.base import EventLogStorage
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster_shared.serdes.errors import SerializationError

from pipelines.dagster_storage import (
    MOST_FILES,
    MOST_THREADS,
    KeptConnections,
    KeptEventLog,
    KeptSqliteStorage,
    KnownScripts,
)
from pipelines.event_storage import forget_run
from pipelines.packed_events import DRIVER, Dialect, pack, unpack, words
from pipelines.storage_export import write_back
from resources.ledger.database import LedgerDialect
from resources.variables import TEMPORARY_STORAGE

OURS = yaml.safe_load((Path(__file__).parents[2] / "dagster.yaml").read_text())["storage"]
CLIP = dg.AssetKey("clip")


@contextmanager
def instance_in(
    home: Path, monkeypatch: pytest.MonkeyPatch, storage: Any = None
) -> Iterator[dg.DagsterInstance]:
    home.mkdir(exist_ok=True)
    named = {} if storage is None else {"storage": storage}
    (home / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}, **named}))
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    with dg.DagsterInstance.get() as instance:
        yield instance


@dg.asset
def clip(context: dg.AssetExecutionContext) -> None:
    """Log one clip, as a batch does."""
    context.log_event(dg.AssetMaterialization(CLIP, partition="logged", tags={"dagster/data_version": "1"}))


KEYS = ("east", "north", "south")
DAYS = dg.StaticPartitionsDefinition(KEYS)


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def ranged() -> None:
    """One run for all its keys."""


GRAPH = dg.Definitions([clip, ranged]).resolve_asset_graph()


def ranged_run(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run over a range of partitions."""
    tags = {"dagster/asset_partition_range_start": KEYS[0], "dagster/asset_partition_range_end": KEYS[-1]}
    return dg.materialize([ranged], instance=instance, tags=tags).dagster_run


def engine_events(instance: dg.DagsterInstance, run_id: str) -> list[dg.DagsterEvent]:
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    return [entry.dagster_event for entry in entries if entry.dagster_event is not None]


def told(instance: dg.DagsterInstance, key: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(CLIP, partition=key))


def partitions(instance: dg.DagsterInstance) -> list[str]:
    records = instance.fetch_materializations(CLIP, limit=1000).records
    return sorted(str(record.partition_key) for record in records)


def a_life(instance: dg.DagsterInstance) -> list[Any]:
    """What an instance shows during a life with runs, events, partitions, deletion and a wipe."""
    said: list[Any] = []
    runs = [dg.materialize([clip], instance=instance).run_id for _ in range(2)]
    told(instance, "reported")
    instance.add_dynamic_partitions("clips", ["a", "b"])
    said.append([str(entry.dagster_event_type) for entry in instance.all_logs(runs[0])])
    said.append([str(record.dagster_run.status) for record in instance.get_run_records()])
    said.append([partitions(instance), instance.get_dynamic_partitions("clips")])
    newest = instance.get_latest_materialization_event(CLIP)
    said.append(newest is not None and newest.run_id in runs)
    instance.delete_run(runs[0])
    said.append([len(instance.all_logs(runs[0])), len(instance.get_run_records()), partitions(instance)])
    instance.wipe()
    said.append([len(instance.get_run_records()), partitions(instance)])
    again = dg.materialize([clip], instance=instance).run_id
    said.append([len(instance.all_logs(again)) > 5, partitions(instance)])
    return said


@pytest.mark.slow
def test_our_storage_answers_as_dagsters_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with instance_in(tmp_path / "theirs", monkeypatch) as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage
        theirs = a_life(instance)
    with instance_in(tmp_path / "ours", monkeypatch, OURS) as instance:
        assert type(instance.event_log_storage) is KeptEventLog
        assert a_life(instance) == theirs


@pytest.mark.slow
def test_planned_partitions_are_stored_as_by_dagsters_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plans fix the clips of a decision, and our storage stores the plans of a run as one batch."""
    found = []
    for name, storage in (("theirs", None), ("ours", OURS)):
        with instance_in(tmp_path / name, monkeypatch, storage) as instance:
            run = ranged_run(instance)
            entries = [entry.dagster_event for entry in instance.all_logs(run.run_id)]
            shown = [
                (event.event_type_value, event.partition, event.step_key, event.message)
                for event in entries
                if event is not None and event.partition
            ]
            stats = instance.get_run_stats(run.run_id)
            found.append((shown, stats.materializations, stats.steps_succeeded, partitions(instance)))
            assert len({entry for entry in shown if entry[1] in KEYS}) == 2 * len(KEYS)
    assert found[0] == found[1]


@pytest.mark.slow
def test_events_are_read_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        "dawn over the sea, \u6d77\u4e0a\u65e5\u51fa" * 100,
        "half of a pair: \ud800",
        "\\u00e9 \\\\ \x00",
        "",
    ]
    for name, storage in (("theirs", None), ("ours", OURS)):
        with instance_in(tmp_path / name, monkeypatch, storage) as instance:
            for number, prompt in enumerate(said):
                event = dg.AssetMaterialization(CLIP, partition=f"{number}", metadata={"prompt": prompt})
                instance.report_runless_asset_event(event)
            records = instance.fetch_materializations(CLIP, limit=9, ascending=True).records
            found = [one.asset_materialization for one in records]
            assert [one and one.metadata["prompt"].value for one in found] == said


def test_damaged_events_are_not_read_as_shorter_ones() -> None:
    packed = pack("A quiet view of the bay. " * 20)
    assert unpack(packed) == "A quiet view of the bay. " * 20
    assert unpack("text of before") == "text of before"
    for damaged in (packed[:-1], packed[:20], b"", packed[:-1] + bytes([packed[-1] ^ 1])):
        with pytest.raises(zlib.error):
            unpack(damaged)


def test_the_dictionary_of_packed_events_never_changes() -> None:
    """If this fails, restore the old words, or no stored event can be read."""
    assert hashlib.sha256(words()).hexdigest()[:16] == "1592721d7cc949d3"


def files_of_runs(home: Path) -> set[str]:
    return {file.name for file in (home / "history" / "runs").glob("*.db")} - {"index.db"}


@pytest.mark.slow
def test_a_home_with_one_file_per_run_is_read_and_used_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update in the middle of a run."""
    home = tmp_path / "home"
    with instance_in(home, monkeypatch) as instance:
        ended = dg.materialize([clip], instance=instance).run_id
        began = instance.create_run_for_job(
            dg.define_asset_job("job", [CLIP]).resolve(asset_graph=GRAPH)
        ).run_id
        instance.report_engine_event("began", job_name="job", run_id=began)
        told(instance, "reported")
        before = [entry.to_json() for entry in instance.all_logs(ended)]
    assert files_of_runs(home) == {f"{ended}.db", f"{began}.db", ".db"}
    with instance_in(home, monkeypatch, OURS) as instance:
        assert [entry.to_json() for entry in instance.all_logs(ended)] == before
        instance.report_engine_event("went on", job_name="job", run_id=began)
        assert [entry.message for entry in engine_events(instance, began)] == ["began", "went on"]
        new = dg.materialize([clip], instance=instance).run_id
        told(instance, "reported too")
        assert files_of_runs(home) == {f"{ended}.db", f"{began}.db"}
        assert len(instance.all_logs(new)) == len(before)
        assert partitions(instance) == ["None", "None", "logged", "logged", "reported", "reported too"]
        forget_run(instance, ended)
        assert files_of_runs(home) == {f"{began}.db"}
        assert partitions(instance) == ["None", "logged", "reported", "reported too"]


@pytest.mark.slow
def test_events_can_be_written_back_to_dagsters_own_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    with instance_in(home, monkeypatch) as instance:
        first = dg.materialize([clip], instance=instance).run_id
    with instance_in(home, monkeypatch, OURS) as instance:
        second = ranged_run(instance).run_id
        told(instance, "reported")
        logs = {run: [entry.to_json() for entry in instance.all_logs(run)] for run in (first, second)}
        green = partitions(instance)
    with instance_in(home, monkeypatch) as instance, pytest.raises(check.CheckError, match="not a str"):
        partitions(instance)
    assert write_back(home) == 2, "the second run, and the events outside of runs"
    assert write_back(home) == 0
    with instance_in(home, monkeypatch) as instance:
        assert {run: [entry.to_json() for entry in instance.all_logs(run)] for run in logs} == logs
        assert partitions(instance) == green
        told(instance, "again")
    with instance_in(home, monkeypatch, OURS) as instance:
        assert partitions(instance) == sorted([*green, "again"])


@pytest.mark.slow
def test_writing_back_loses_no_events_when_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It once left an empty file, which was then taken for the run's."""
    home = tmp_path / "home"
    with instance_in(home, monkeypatch, OURS) as instance:
        runs = [dg.materialize([clip], instance=instance).run_id for _ in range(2)]
        logs = {run: [entry.to_json() for entry in instance.all_logs(run)] for run in runs}
    insert, tables = sa.insert, []

    def killed(table: Any) -> Any:
        tables.append(table)
        if len(tables) == 2:
            raise KeyboardInterrupt
        return insert(table)

    with monkeypatch.context() as during:
        during.setattr(sa, "insert", killed)
        with pytest.raises(KeyboardInterrupt):
            write_back(home)
    with instance_in(home, monkeypatch, OURS) as instance:
        assert {run: [entry.to_json() for entry in instance.all_logs(run)] for run in runs} == logs
    assert write_back(home) == 1
    with instance_in(home, monkeypatch) as instance:
        assert {run: [entry.to_json() for entry in instance.all_logs(run)] for run in runs} == logs


@pytest.mark.slow
def test_plans_of_a_run_are_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with instance_in(tmp_path / "home", monkeypatch, OURS) as instance:
        told(instance, "first")
        inserted: list[str] = []
        written: list[int] = []

        def before(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith("INSERT INTO event_logs"):
                inserted.append(statement)

        def committed(_connection: Any) -> None:
            if inserted:
                written.append(len(inserted))
                inserted.clear()

        sa.event.listen(sa.Engine, "before_cursor_execute", before)
        sa.event.listen(sa.Engine, "commit", committed)
        try:
            ranged_run(instance)
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", before)
            sa.event.remove(sa.Engine, "commit", committed)
    assert written.count(len(KEYS)) == 2, "one transaction for the plans and one for the results of the range"


@pytest.mark.slow
def test_a_batch_is_stored_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with instance_in(tmp_path / "home", monkeypatch, OURS) as instance:
        run = dg.materialize([clip], instance=instance).run_id
        storage = instance.event_log_storage
        (event, *_) = instance.all_logs(run)
        before = len(instance.all_logs(run))
        no_id: Any = object()
        odd = event._replace(run_id=no_id)
        with pytest.raises(SerializationError):
            storage.store_event_batch([event, event, odd])
        assert len(instance.all_logs(run)) == before
        storage.store_event_batch([event, event])
        assert len(instance.all_logs(run)) == before + 2


FORKS = """
import json, os, sys
import alembic.command
import dagster as dg
import dagster._core.storage.alembic
from pipelines.dagster_storage import KeptSqliteStorage

for line in sys.stdin:
    code, home, arguments = json.loads(line)
    os.environ["DAGSTER_HOME"] = home
    reading, writing = os.pipe()
    children = []
    for argument in arguments:
        if (child := os.fork()) == 0:
            os.close(writing)
            os.read(reading, 1)
            exec(code)
            os._exit(0)
        children.append(child)
    os.close(reading)
    os.close(writing)
    print(json.dumps([os.waitpid(child, 0)[1] for child in children]), flush=True)
"""


class Forks:
    """Processes that start at once: forks of one that has imported Dagster, which takes two seconds of CPU.

    They end with `os._exit`, as run workers do: Python's own end frees every object, which takes another second for each of them.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, code: str, home: Path, *arguments: str) -> None:
        """Start a process for each argument; the code finds its own in `argument`."""
        assert self._process.stdin is not None
        print(json.dumps([code, str(home), arguments]), file=self._process.stdin, flush=True)

    def ends(self) -> list[int]:
        """The exit statuses of these processes, when all have ended."""
        assert self._process.stdout is not None
        return list(json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    made = Forks()
    yield made
    made.close()


@pytest.mark.slow
def test_a_page_sees_what_another_process_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: Forks
) -> None:
    """While its connection stays open, SQLite writes beside the file that Dagster watches."""
    seen: list[str] = []
    script = (
        "with dg.DagsterInstance.get() as instance:\n"
        "    for number in range(3):\n"
        "        instance.report_engine_event(str(number), job_name='job', run_id='run')\n"
        "    os.read(os.open(argument, os.O_RDONLY), 1)\n"
    )
    os.mkfifo(tmp_path / "gate")
    # opened for both directions, so that no process waits for the other to open it
    gate = os.open(tmp_path / "gate", os.O_RDWR)
    with instance_in(tmp_path / "home", monkeypatch, OURS) as instance:
        enough = threading.Event()

        def handler(entry: dg.EventLogEntry, _cursor: str) -> None:
            seen.append((entry.dagster_event.message if entry.dagster_event else None) or "")
            if len(seen) == 3:
                enough.set()

        instance.watch_event_logs("run", None, handler)
        forks.start(script, tmp_path / "home", str(tmp_path / "gate"))
        logged_in_time = enough.wait(60)
        os.write(gate, b"\n")
        assert forks.ends() == [0]
        os.close(gate)
        assert logged_in_time, seen
        instance.end_watch_event_logs("run", handler)
    assert seen == ["0", "1", "2"]


def test_files_are_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    connect: Callable[..., sqlite3.Connection] = sqlite3.dbapi2.connect

    def counted(path: str, **options: Any) -> sqlite3.Connection:
        opened.append(path)
        return connect(path, **options)

    with instance_in(tmp_path / "home", monkeypatch, OURS) as instance:
        told(instance, "first")
        instance.get_run_records()
        monkeypatch.setattr(sqlite3.dbapi2, "connect", counted)
        for number in range(20):
            told(instance, f"clip-{number}")
            instance.get_run_records()
        assert opened == []
        instance.dispose()
        told(instance, "last")
        assert opened, "a disposed connection is opened again"
    assert not list((tmp_path / "home" / "history").rglob("*-wal")), (
        "SQLite removes its own files with the last connection"
    )


def test_threads_share_one_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"clip-{number:02}" for number in range(40)]
    with instance_in(tmp_path / "home", monkeypatch, OURS) as instance, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: told(instance, key), keys))
        assert partitions(instance) == keys


def test_threads_that_meet_close_no_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing a connection needs the lock of all logging, and events are stored within the lock of a log handler."""
    closed: list[Any] = []
    with instance_in(tmp_path / "home", monkeypatch, OURS) as instance:
        storage = instance.event_log_storage
        told(instance, "first")

        def close(*_: Any) -> None:
            closed.append(1)

        met = threading.Barrier(MOST_THREADS)

        def meet(_number: int) -> None:
            with storage.index_connection() as connection:  # type: ignore[attr-defined]
                connection.execute(sa.text("SELECT 1"))
                met.wait(60)

        sa.event.listen(sa.pool.Pool, "close", close)
        try:
            with ThreadPoolExecutor(MOST_THREADS) as pool:
                list(pool.map(meet, range(MOST_THREADS)))
            assert closed == []
            instance.dispose()
        finally:
            sa.event.remove(sa.pool.Pool, "close", close)
        assert len(closed) >= MOST_THREADS


def test_a_file_that_was_replaced_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restored backup: nothing may be written to the removed file."""
    with instance_in(tmp_path / "copy", monkeypatch, OURS) as instance:
        told(instance, "restored")
    with instance_in(tmp_path / "home", monkeypatch, OURS) as instance:
        told(instance, "lost")
        index = Path("history") / "runs" / "index.db"
        for name in ("index.db-wal", "index.db-shm"):
            (tmp_path / "home" / index).with_name(name).unlink(missing_ok=True)
        (tmp_path / "copy" / index).replace(tmp_path / "home" / index)
        told(instance, "new")
        assert partitions(instance) == ["new", "restored"]


@pytest.mark.slow
def test_files_of_runs_are_closed_after_a_while(tmp_path: Path) -> None:
    made = KeptConnections(MOST_FILES)
    theirs = KeptSqliteStorage.from_local(str(tmp_path)).event_log_storage
    assert isinstance(theirs, SqliteEventLogStorage)
    for number in range(MOST_FILES + 3):
        run = f"run-{number}"
        with made.begin(
            theirs.path_for_shard(run), partial(SqliteEventLogStorage.run_connection, theirs, run)
        ):
            pass
    held = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    assert sum(path.endswith(".db") and "run-" in path for path in held) == MOST_FILES
    made.close()
    theirs.dispose()


def test_a_forked_process_opens_its_own_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with instance_in(tmp_path / "home", monkeypatch, OURS) as instance:
        storage = instance.event_log_storage
        with storage.index_connection() as connection:  # type: ignore[attr-defined]
            of_parent = connection.connection.dbapi_connection
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: -1)
            with storage.index_connection() as connection:  # type: ignore[attr-defined]
                assert connection.connection.dbapi_connection is not of_parent
        assert of_parent.execute("SELECT 1").fetchone() == (1,), (
            "the child must not close it (a rule of SQLite)"
        )


@pytest.mark.slow
def test_processes_that_start_at_once_create_the_tables_once(tmp_path: Path, forks: Forks) -> None:
    """As the webserver and the daemon do in a new folder."""
    home = tmp_path / "home"
    forks.start("KeptSqliteStorage.from_local(os.environ['DAGSTER_HOME'])", home, *"abc")
    assert forks.ends() == [0, 0, 0]
    assert list(home.rglob("index.db"))


@pytest.mark.slow
def test_processes_write_concurrently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forks: Forks) -> None:
    """All runs write to one file."""
    script = (
        "with dg.DagsterInstance.get() as instance:\n"
        "    for number in range(20):\n"
        "        made = dg.AssetMaterialization('clip', partition=f'{argument}-{number:02}')\n"
        "        instance.report_runless_asset_event(made)\n"
        "        instance.report_engine_event(str(number), job_name='job', run_id=argument)\n"
    )
    with instance_in(tmp_path / "home", monkeypatch, OURS) as instance:
        forks.start(script, tmp_path / "home", *"abc")
        assert forks.ends() == [0, 0, 0]
        assert partitions(instance) == [f"{name}-{number:02}" for name in "abc" for number in range(20)]
        for name in "abc":
            assert [event.message for event in engine_events(instance, name)] == list(map(str, range(20)))


READ = {
    DagsterSqliteStorage.__init__: "bcf5aa27a5dd",
    DagsterSqliteStorage.from_config_value: "7330f7b17b21",
    SqliteEventLogStorage.__init__: "264c15baa761",
    SqliteEventLogStorage._connect: "b8435f266568",
    SqliteEventLogStorage.run_connection: "54e64bd6f8b7",
    SqliteEventLogStorage.index_connection: "8caf95ebe806",
    SqliteEventLogStorage.dispose: "df16dafbfa84",
    SqliteEventLogStorage.store_event: "f89aed406024",
    SqliteEventLogStorage.get_event_records: "d8db84411642",
    SqliteEventLogStorage.fetch_run_status_changes: "19998c411175",
    SqliteEventLogStorage.has_table: "577d801c70b2",
    SqliteEventLogStorage.upgrade: "56bbafdf7098",
    SqliteEventLogStorage.wipe: "de02c63676e7",
    SqlEventLogStorage.index_transaction: "00b2488c8cdf",
    SqlEventLogStorage.store_event: "391ced414e9b",
    SqlEventLogStorage._event_to_row: "93d47fbe7edc",
    SqlEventLogStorage._store_asset_event: "fdb9340b9eef",
    SqlEventLogStorage.delete_events: "a14c58828a90",
    EventLogStorage.store_event_batch: "d710189545db",
    EventMethods.handle_new_event: "db900859da5b",
    SqliteRunStorage.__init__: "391592fd1e58",
    SqliteRunStorage.connect: "d343abae6e9b",
    SqliteScheduleStorage.__init__: "6752d929360f",
    SqliteScheduleStorage.connect: "d343abae6e9b",
}


@pytest.mark.parametrize("method", READ, ids=lambda method: method.__qualname__)
def test_dagsters_code_is_the_version_that_ours_was_compared_with(method: Any) -> None:
    """If this fails after an upgrade: compare the code with pipelines/dagster_storage.py, and store the new digest here."""
    assert hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:12] == READ[method]


def test_without_a_home_the_files_are_in_one_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `dg check defs` of a fresh clone, whose child processes read the same files."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv(TEMPORARY_STORAGE, "")
    monkeypatch.delenv(TEMPORARY_STORAGE)
    made = [KeptSqliteStorage.from_config_value(None, {}) for _ in range(2)]
    assert {one.base_dir for one in made} == {os.environ[TEMPORARY_STORAGE]}
    for one in made:
        one.dispose()


def test_the_ledger_and_dagster_have_separate_dialects_in_one_process() -> None:
    """With one name for both, the ledger would write without its lock, or Dagster would lock for its reads."""
    urls = (f"{DRIVER}://", "sqlite+dailies://")
    found = [sa.make_url(url).get_dialect() for url in urls]
    assert found == [Dialect, LedgerDialect]


def test_the_scripts_of_dagsters_migrations_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    read = KnownScripts.read

    def counted(config: object) -> object:
        asked.append(config)
        return read(config)

    monkeypatch.setattr(KnownScripts, "read", counted)
    monkeypatch.setattr(KnownScripts, "known", {})
    for _ in range(2):
        with instance_in(tmp_path, monkeypatch, OURS) as instance:
            assert instance.get_runs_count() == 0
    assert len(asked) == 1
