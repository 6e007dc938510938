"""Dagster's SQLite storage over kept connections: the same answers as Dagster's own, from the same files."""

import hashlib
import inspect
import os
import sqlite3
import sqlite3.dbapi2
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage
from dagster._core.storage.runs.sqlite.sqlite_run_storage import SqliteRunStorage
from dagster._core.storage.schedules.sqlite.sqlite_schedule_storage import SqliteScheduleStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage

from pipelines.dagster_storage import MOST_FILES, KeptConnections, KeptEventLog, KeptSqliteStorage
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


def told(instance: dg.DagsterInstance, key: str) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization(CLIP, partition=key))


def partitions(instance: dg.DagsterInstance) -> list[str | None]:
    records = instance.fetch_materializations(CLIP, limit=1000).records
    return sorted(str(record.partition_key) for record in records)


def a_life(instance: dg.DagsterInstance) -> list[Any]:
    """What an instance says through a life with runs, events, partitions, deletion and a wipe."""
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


def test_it_says_what_dagster_s_own_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with instance_in(tmp_path / "theirs", monkeypatch) as instance:
        assert type(instance.event_log_storage) is SqliteEventLogStorage
        theirs = a_life(instance)
    with instance_in(tmp_path / "ours", monkeypatch, OURS) as instance:
        assert type(instance.event_log_storage) is KeptEventLog
        assert a_life(instance) == theirs


def test_events_have_no_spaces_and_their_own_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "dawn over the sea, \u6d77\u4e0a\u65e5\u51fa"
    half = "half of a pair: \ud800"
    sizes = {}
    for name, storage in (("theirs", None), ("ours", OURS)):
        with instance_in(tmp_path / name, monkeypatch, storage) as instance:
            for number in range(40):
                event = dg.AssetMaterialization(
                    CLIP, partition=f"clip-{number}", metadata={"prompt": said * 100}
                )
                instance.report_runless_asset_event(event)
            odd = dg.AssetMaterialization(CLIP, partition="odd", metadata={"prompt": half})
            instance.report_runless_asset_event(odd)
            records = instance.fetch_materializations(CLIP, limit=2).records
            found = [one.asset_materialization for one in records]
            assert [one and one.metadata["prompt"].value for one in found] == [half, said * 100]
        (index,) = (tmp_path / name).rglob("index.db")
        with sqlite3.connect(index) as connection:
            (sizes[name],) = connection.execute(
                "SELECT sum(length(CAST(event AS BLOB))) FROM event_logs"
            ).fetchone()
    assert sizes["ours"] < 0.8 * sizes["theirs"], sizes


def test_both_read_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person may name it, or take it out again, at any time."""
    for number, storage in enumerate((None, OURS, None, OURS)):
        with instance_in(tmp_path / "home", monkeypatch, storage) as instance:
            told(instance, f"clip-{number}")
            assert partitions(instance) == [f"clip-{n}" for n in range(number + 1)]


def test_files_are_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    connect = sqlite3.dbapi2.connect

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
        assert opened, "what was disposed of is opened again"
    assert not list((tmp_path / "home" / "history").rglob("*-wal")), (
        "SQLite's own files are gone with the last connection"
    )


def test_threads_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [f"clip-{number:02}" for number in range(40)]
    with instance_in(tmp_path / "home", monkeypatch, OURS) as instance, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: told(instance, key), keys))
        assert partitions(instance) == keys


def test_a_file_that_was_replaced_is_opened_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a restored backup: what is written must not go into a file that is gone."""
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


def test_files_of_runs_do_not_stay_open_for_ever(tmp_path: Path) -> None:
    made = KeptConnections(MOST_FILES)
    theirs = KeptSqliteStorage.from_local(str(tmp_path)).event_log_storage
    assert isinstance(theirs, SqliteEventLogStorage)
    for number in range(MOST_FILES + 3):
        path = theirs.path_for_shard(f"run-{number}")
        with made.begin(path, lambda run=number: SqliteEventLogStorage.run_connection(theirs, f"run-{run}")):
            pass
    held = [str(one.readlink()) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    assert sum(path.endswith(".db") and "run-" in path for path in held) == MOST_FILES
    made.close()
    theirs.dispose()


def test_a_forked_process_opens_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with instance_in(tmp_path / "home", monkeypatch, OURS) as instance:
        storage = instance.event_log_storage
        with storage.index_connection() as connection:  # type: ignore[attr-defined]
            of_parent = connection.connection.dbapi_connection
        with monkeypatch.context() as child:
            child.setattr(os, "getpid", lambda: -1)
            with storage.index_connection() as connection:  # type: ignore[attr-defined]
                assert connection.connection.dbapi_connection is not of_parent
        assert of_parent.execute("SELECT 1").fetchone() == (1,), "SQLite forbids that the child closes it"


@pytest.mark.slow
def test_processes_that_start_at_once_create_the_tables_once(tmp_path: Path) -> None:
    """As the webserver and the daemon of a new folder do."""
    start = tmp_path / "start"
    script = (
        "import os, sys, time\n"
        "from pipelines.dagster_storage import KeptSqliteStorage\n"
        "print('ready', flush=True)\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.001)\n"
        "KeptSqliteStorage.from_local(sys.argv[2])\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(start), str(tmp_path / "home")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    start.touch()
    assert [process.communicate()[1] for process in processes] == ["", "", ""]


READ = {
    DagsterSqliteStorage.__init__: "bcf5aa27a5dd",
    DagsterSqliteStorage.from_config_value: "7330f7b17b21",
    SqliteEventLogStorage.__init__: "264c15baa761",
    SqliteEventLogStorage._connect: "b8435f266568",
    SqliteEventLogStorage.run_connection: "54e64bd6f8b7",
    SqliteEventLogStorage.index_connection: "8caf95ebe806",
    SqliteEventLogStorage.dispose: "df16dafbfa84",
    SqlEventLogStorage.index_transaction: "00b2488c8cdf",
    SqliteRunStorage.__init__: "391592fd1e58",
    SqliteRunStorage.connect: "d343abae6e9b",
    SqliteScheduleStorage.__init__: "6752d929360f",
    SqliteScheduleStorage.connect: "d343abae6e9b",
}


@pytest.mark.parametrize("method", READ, ids=lambda method: method.__qualname__)
def test_dagster_s_own_code_is_the_code_that_was_read(method: Any) -> None:
    """If this fails after an upgrade: compare with pipelines/dagster_storage.py, and note the new digest here."""
    assert hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:12] == READ[method]


def test_without_a_home_the_files_lie_in_one_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `dg check defs` of a fresh clone, whose children read the same files."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setenv(TEMPORARY_STORAGE, "")
    monkeypatch.delenv(TEMPORARY_STORAGE)
    made = [KeptSqliteStorage.from_config_value(None, {}) for _ in range(2)]
    assert {one.base_dir for one in made} == {os.environ[TEMPORARY_STORAGE]}
    for one in made:
        one.dispose()
