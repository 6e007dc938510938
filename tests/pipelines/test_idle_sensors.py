"""A sensor without work ticks every ten minutes; one with work at its own interval, so that no clip waits longer."""

import itertools
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import SensorInstigatorData
from dagster._daemon import controller
from dagster._daemon import sensor as sensor_daemon
from dagster._daemon.daemon import DagsterDaemon, IntervalDaemon, MonitoringDaemon
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon
from dagster._grpc import client, server, server_watcher
from grpc import _common as grpc_common  # type: ignore[import-untyped]
from pipelinekit import House, nothing_bought

from pipelines import code_server, code_watch, daemon, sensors
from pipelines.code_location import build_defs
from pipelines.sensors import COMPLETION_SECONDS, completion_name
from resources import dagster_resources
from resources.errors import UnavailableError
from resources.gallery.writer import newest_change
from resources.ledger import heartbeats
from resources.ledger.ledger import Ledger
from resources.settings import open_ledger

IsUnder = Callable[..., bool]


def answers(asked: list[str], has_work: bool) -> Callable[[Ledger, str], bool]:
    """Replace `has_work`; the accounts it is asked about are added to `asked`."""

    def answer(_ledger: Ledger, account: str) -> bool:
        asked.append(account)
        return has_work

    return answer


@pytest.fixture
def is_under(house: House, monkeypatch: pytest.MonkeyPatch) -> IsUnder:
    """Whether the daemon skips a sensor that ticked this many seconds ago."""
    monkeypatch.setattr(sensor_daemon, "is_under_min_interval", sensor_daemon.is_under_min_interval)
    # each query comes long after the one before
    clock = itertools.count(0, 60)
    daemon.stretch_idle_intervals(
        house.production, daemon.questions(house.instance, house.production), monotonic=lambda: next(clock)
    )

    def ask(name: str, seconds: float) -> bool:
        data = SensorInstigatorData(
            last_tick_start_timestamp=time.time() - seconds, cursor=house.cursors.get(name)
        )
        state: Any = SimpleNamespace(instigator_data=data)
        remote: Any = SimpleNamespace(name=name, min_interval_seconds=COMPLETION_SECONDS)
        return sensor_daemon.is_under_min_interval(state, remote)

    return ask


def test_each_sensor_has_its_query_for_work(house: House) -> None:
    sensors = build_defs(house.production).get_repository_def().sensor_defs
    assert {sensor.name for sensor in sensors} == set(daemon.questions(house.instance, house.production))


def test_dagster_calls_our_function(house: House) -> None:
    """Dagster looks the function up in its module each time; if the function is renamed or moved, ticks are only more frequent."""
    names = sensor_daemon.execute_sensor_iteration.__code__.co_names
    assert "is_under_min_interval" in names
    assert "is_under_min_interval" in sensor_daemon._process_tick_generator.__code__.co_names


def test_sensors_tick_at_their_interval_with_an_open_clip_and_every_ten_minutes_without(
    house: House, is_under: IsUnder
) -> None:
    name = completion_name("wavespeed")
    assert [is_under(name, seconds) for seconds in (5, 60, 599, 601)] == [True, True, True, False]

    keys = house.declare("bay", ["east"])
    house.add(keys)
    house.settings(job_seconds=3600)
    assert house.run("submit_clips", keys).green
    assert [is_under(name, seconds) for seconds in (5, 11)] == [True, False]
    assert is_under(completion_name("aimlapi"), 11)


def test_a_sensor_without_work_is_checked_at_its_own_interval(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster's daemon evaluates every sensor every five seconds."""
    monkeypatch.setattr(sensor_daemon, "is_under_min_interval", lambda *_: False)
    monkeypatch.setattr(sensor_daemon, "get_elapsed", lambda _: 100.0)
    now, checks, work = [0.0], [], [False]

    def question(*_: object) -> bool:
        checks.append(now[0])
        return work[0]

    daemon.stretch_idle_intervals(house.production, {"one": question}, monotonic=lambda: now[0])
    remote: Any = SimpleNamespace(name="one", min_interval_seconds=30)
    state: Any = SimpleNamespace(instigator_data=None)
    for now[0] in (0.0, 5.0, 25.0, 30.0, 35.0):
        assert sensor_daemon.is_under_min_interval(state, remote)
    assert checks == [0.0, 30.0]

    # a sensor with work ticks: Dagster queries once more before the tick
    now[0], work[0] = 60.0, True
    assert not sensor_daemon.is_under_min_interval(state, remote)
    assert not sensor_daemon.is_under_min_interval(state, remote)


def test_a_delivered_and_shown_clip_is_no_work(house: House, is_under: IsUnder) -> None:
    keys = house.declare("bay", ["east"])
    house.add(keys)
    name = completion_name("wavespeed")
    assert house.produce(keys).green
    # a bill and a sweep may be due; one step does them
    house.tick(name)
    with nothing_bought(house):
        assert is_under(name, 11)


def test_an_unchanged_ledger_is_queried_every_minute(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    now = [0.0]
    question = daemon.AccountQuestion("wavespeed", lambda: now[0])
    monkeypatch.setattr(sensors, "has_work", answers(asked, False))
    for now[0] in (0, 10, 59, 61, 70):
        assert not question(house.production, None)
    assert asked == ["wavespeed"] * 2

    keys = house.declare("bay", ["east"])
    house.add(keys)
    house.settings(job_seconds=3600)
    assert house.run("submit_clips", keys).green
    assert not question(house.production, None)
    assert len(asked) == 3, "a purchase is a change"
    # the answer that there is work is never remembered
    monkeypatch.setattr(sensors, "has_work", answers(asked, True))
    now[0] = 200
    assert [question(house.production, None) for _ in range(3)] == [True] * 3


def test_an_edit_a_change_and_a_run_wake_their_sensors(house: House, is_under: IsUnder) -> None:
    keys = house.declare("bay", ["east"])
    assert not is_under("declared_clips", 11)
    house.tick("declared_clips")
    assert is_under("declared_clips", 11)
    house.edit("bay", "quiet", "loud")
    assert not is_under("declared_clips", 11)
    house.tick("declared_clips")

    assert is_under("gallery_pages", 11)
    assert house.produce(keys).green
    assert not is_under("gallery_pages", 11)
    house.tick("gallery_pages")
    assert is_under("gallery_pages", 11)


def test_a_working_run_wakes_no_sensor_and_a_dead_one_wakes_the_sensor_that_ends_it(
    house: House, is_under: IsUnder
) -> None:
    """The daemon reads the heartbeats itself; a sensor would need two processes for that."""
    assert is_under("dead_runs", 11)
    ours, others = (
        with_origin(house, house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED), location)
        for location in ("dailies", "films")
    )
    assert is_under("dead_runs", 11)
    with house.production.ledger() as ledger:
        for run in (ours, others):
            heartbeats.begin(ledger, run, "host:1:a")
        assert is_under("dead_runs", 11)
        heartbeats.take(ledger, others, "host:1:a")
        assert is_under("dead_runs", 11)
        heartbeats.take(ledger, ours, "host:1:a")
        assert [is_under("dead_runs", seconds) for seconds in (5, 11)] == [True, False]


def with_origin(house: House, run_id: str, location: str) -> str:
    """Assign a run to a code location, as Dagster's daemon and webserver record it."""
    run = house.instance.get_run_by_id(run_id)
    assert run is not None
    host = GrpcServerCodeLocationOrigin(host="w1", port=4000, location_name=location)
    origin = RemoteJobOrigin(RemoteRepositoryOrigin(host, "__repository__"), run.job_name)
    house.instance.delete_run(run_id)
    house.instance.add_run(run.with_job_origin(origin))
    return run_id


def test_the_alarm_sensor_looks_for_work_only_with_an_alarm_address(
    house: House, is_under: IsUnder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_under("alarms", 31)
    monkeypatch.setenv("DAILIES_ALARM_URL", "https://hooks.example.com/x")
    assert not is_under("alarms", 31)


def test_a_failed_query_and_a_sensor_without_one_tick_normally(
    house: House, is_under: IsUnder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not is_under("somebody_elses", 11)

    def away(*_: object) -> bool:
        raise UnavailableError("the ledger does not answer")

    monkeypatch.setattr(sensors, "has_work", away)
    assert not is_under(completion_name("wavespeed"), 11)


def test_dagster_reads_the_interval_for_watching_the_code_at_its_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server_watcher, "WATCH_INTERVAL", server_watcher.WATCH_INTERVAL)
    code_watch.watch_calmly()
    assert server_watcher.WATCH_INTERVAL == code_watch.WATCH_SECONDS
    assert "WATCH_INTERVAL" in server_watcher.watch_grpc_server_thread.__code__.co_names


def test_the_daemon_reads_how_often_it_refreshes_the_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    constants = {
        "RELOAD_WORKSPACE_INTERVAL": daemon.REFRESH_SECONDS,
        "DEFAULT_WORKSPACE_FRESHNESS_TOLERANCE": daemon.TOLERATED_SECONDS,
    }
    for name in constants:
        monkeypatch.setattr(controller, name, getattr(controller, name))
    daemon.refresh_calmly()
    assert {name: getattr(controller, name) for name in constants} == constants
    # one failed refresh does not end the daemon
    assert daemon.REFRESH_SECONDS < daemon.TOLERATED_SECONDS
    assert constants.keys() <= set(
        controller.DagsterDaemonController.check_workspace_freshness.__code__.co_names
    )


def test_the_run_queue_is_read_only_while_a_run_waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    found = [dg.DagsterRun(job_name="submit_clips")]

    def look(*arguments: Any, **options: Any) -> list[dg.DagsterRun]:
        looked.append((arguments[1:], options))
        return found

    monkeypatch.setattr(QueuedRunCoordinatorDaemon, "_get_runs_to_dequeue", look)
    daemon.ask_first_whether_runs_wait()
    queue: Any = QueuedRunCoordinatorDaemon(interval_seconds=1)
    house.instance.add_run(dg.DagsterRun(job_name="submit_clips", status=dg.DagsterRunStatus.STARTED))
    assert queue._get_runs_to_dequeue(house.instance, "limits", fixed_iteration_time=None) == []
    assert not looked

    origin = RemoteJobOrigin(
        RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin(host="w1", port=4000), "__repository__"),
        "submit_clips",
    )
    house.instance.add_run(
        dg.DagsterRun(job_name="submit_clips", status=dg.DagsterRunStatus.QUEUED, remote_job_origin=origin)
    )
    assert queue._get_runs_to_dequeue(house.instance, "limits", fixed_iteration_time=None) is found
    assert looked == [((house.instance, "limits"), {"fixed_iteration_time": None})]


def test_dagster_reads_its_run_queue_with_the_replaced_function() -> None:
    assert "_get_runs_to_dequeue" in QueuedRunCoordinatorDaemon.run_iteration.__code__.co_names


def test_dagster_and_grpc_read_how_often_the_code_server_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, constant in ((client, "CLIENT_HEARTBEAT_INTERVAL"), (grpc_common, "MAXIMUM_WAIT_TIMEOUT")):
        monkeypatch.setattr(module, constant, getattr(module, constant))
    monkeypatch.setattr(code_server, "main", lambda: None)
    # how it starts run workers: test_run_workers.py
    monkeypatch.setattr(code_server, "fork_run_workers", lambda: None)
    monkeypatch.setattr(server, "get_python_environment_entry_point", None)
    code_server.run()
    assert client.CLIENT_HEARTBEAT_INTERVAL == code_server.HEARTBEAT_SECONDS
    assert grpc_common.MAXIMUM_WAIT_TIMEOUT == code_server.WAKE_SECONDS
    assert "CLIENT_HEARTBEAT_INTERVAL" in client.client_heartbeat_thread.__code__.co_names
    assert "MAXIMUM_WAIT_TIMEOUT" in grpc_common.wait.__code__.co_names


def test_queries_share_a_ledger_until_its_file_is_replaced(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []

    def open_and_count(*arguments: Any, **options: Any) -> Ledger:
        opened.append(arguments)
        return open_ledger(*arguments, **options)

    monkeypatch.setattr(dagster_resources, "open_ledger", open_and_count)
    asked = daemon.AskedProduction()
    for _ in range(3):
        with asked.ledger() as ledger:
            newest_change(ledger)
    assert len(opened) == 1

    place = Path(str(sa.make_url(asked.settings().ledger_url).database))
    shutil.copy(place, place.with_suffix(".copy"))
    place.with_suffix(".copy").replace(place)
    with asked.ledger() as ledger:
        newest_change(ledger)
    assert len(opened) == 2, "a restored ledger is another file"

    with pytest.raises(UnavailableError), asked.ledger():
        raise UnavailableError("the ledger does not answer")
    with asked.ledger():
        assert len(opened) == 3, "a ledger that did not answer is opened again"
    asked.close()


def test_queries_of_one_moment_share_the_settings(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(daemon, "time", SimpleNamespace(monotonic=lambda: now[0]))
    asked = daemon.AskedProduction()
    assert asked.settings().alarm_url is None
    monkeypatch.setenv("DAILIES_ALARM_URL", "https://alarms.example.com/dailies")
    assert asked.settings().alarm_url is None
    now[0] = daemon.SETTINGS_SECONDS
    assert asked.settings().alarm_url is not None


def test_a_loop_of_the_daemon_wakes_seldom_and_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    over = threading.Event()

    def wait(timeout: float) -> bool:
        waits.append(timeout)
        over.set()
        return True

    monkeypatch.setattr(IntervalDaemon, "core_loop", IntervalDaemon.core_loop)
    daemon.wake_seldom()
    monkeypatch.setattr(over, "wait", wait)
    loop = MonitoringDaemon(interval_seconds=30)
    monkeypatch.setattr(loop, "run_iteration", lambda _: iter(()))
    steps = loop.core_loop(Mock(), over)
    while not waits:
        next(steps)
    assert waits == [daemon.WAKE_SECONDS]
    assert (
        yaml.safe_load((Path(__file__).parents[2] / "dagster.yaml").read_text())["run_queue"][
            "dequeue_interval_seconds"
        ]
        == daemon.WAKE_SECONDS
    )

    ended = threading.Event()
    ended.set()
    assert daemon.PatientEvent(ended).wait(0.5)
    assert "core_loop" in DagsterDaemon.run_daemon_loop.__code__.co_names
