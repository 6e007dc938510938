"""A schedule's tick: the day's clips in the series' own timezone, one run per stretch, one decision."""

import datetime as dt
import json
import logging
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import httpx
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from pipelinekit import House, nothing_bought

from pipelines import followed_schedules
from pipelines.schedules import series_schedule, stop_removed
from resources.ledger.decision_clips import fixed_clips

CLIPS = ["east", "west"]


def tick(house: House, name: str, when: str, zone: str) -> list[dg.RunRequest] | str:
    """Evaluate the schedule as the daemon does; returns its run requests, or its reason for none."""
    definitions = house.definitions()
    schedule = definitions.resolve_schedule_def(f"{name}_schedule")
    at = dt.datetime.fromisoformat(when).replace(tzinfo=ZoneInfo(zone))
    with dg.build_schedule_context(
        instance=house.instance, scheduled_execution_time=at, resources={"production": house.production}
    ) as context:
        outcome = schedule.evaluate_tick(context)
    return list(outcome.run_requests or ()) or (outcome.skip_message or "")


def requested(house: House, name: str, when: str, zone: str) -> list[dg.RunRequest]:
    """The run requests of a tick that has some."""
    requests = tick(house, name, when, zone)
    assert not isinstance(requests, str), requests
    return requests


def test_a_tick_requests_one_run_over_the_clips_of_the_day(house: House) -> None:
    house.declare("bay", CLIPS, schedule={"cron": "0 16 * * *", "timezone": "Europe/Lisbon"})
    with nothing_bought(house):
        (request,) = requested(house, "bay", "2026-11-20T16:00", "Europe/Lisbon")
    keys = ["bay-2026-11-20-east", "bay-2026-11-20-west"]
    assert house.instance.get_dynamic_partitions("clips") == keys
    assert request.tags["dagster/asset_partition_range_start"] == keys[0]
    assert request.tags["dagster/asset_partition_range_end"] == keys[1]
    assert request.tags["dailies/series"] == "bay"
    assert request.tags["dailies/asked_by"] == "schedule bay 2026-11-20 16:00"
    assert request.tags["dailies/clips"] == "2"
    assert request.tags["dailies/price"] == "at most $1.92"
    decision = request.tags["dailies/decision"]
    assert decision == "schedule:bay:2026-11-20T16:00+00:00"
    with house.production.ledger() as ledger:
        assert fixed_clips(ledger, decision) == set(keys), (
            "the clips are fixed before the run waits in the queue"
        )

    (again,) = requested(house, "bay", "2026-11-20T16:00", "Europe/Lisbon")
    assert again.run_key == request.run_key, "a tick that is evaluated twice is one decision"


def test_the_date_is_that_of_the_series_timezone(house: House) -> None:
    house.declare("night", CLIPS, schedule={"cron": "30 0 * * *", "timezone": "Pacific/Auckland"})
    (request,) = requested(house, "night", "2026-11-20T11:30", "UTC")
    assert request.tags["dagster/asset_partition_range_start"] == "night-2026-11-21-east"
    (before,) = requested(house, "night", "2026-11-20T10:59", "UTC")
    assert before.tags["dagster/asset_partition_range_start"] == "night-2026-11-20-east"


def test_scattered_clips_are_requested_by_stretch_under_one_decision(house: House) -> None:
    house.declare("bay", ["east", "west", "north"], schedule={"cron": "0 16 * * *", "timezone": "UTC"})
    house.add(["bay-2026-11-20-east", "other-clip", "bay-2026-11-20-west"])
    requests = requested(house, "bay", "2026-11-20T16:00", "UTC")
    assert len(requests) == 2
    assert len({request.run_key for request in requests}) == 2
    assert len({request.tags["dailies/decision"] for request in requests}) == 1


def test_two_runs_of_one_tick_buy_its_clips_once(house: House) -> None:
    house.declare("bay", CLIPS, schedule={"cron": "0 16 * * *", "timezone": "UTC"})
    (request,) = requested(house, "bay", "2026-11-20T16:00", "UTC")
    assert house.run("submit_clips", tags=request.tags).green
    house.fault({"do": "fail"})
    assert house.run("submit_clips", tags=request.tags).green
    assert len(house.bought()) == 2


def test_a_broken_prompt_skips_the_tick_with_its_reason(house: House) -> None:
    house.declare("bay", CLIPS, schedule={"cron": "0 16 * * *", "timezone": "UTC"})
    schedule = house.definitions().resolve_schedule_def("bay_schedule")
    house.edit("bay", "{{ subject }}", "{{ nobody }}")
    with dg.build_schedule_context(
        instance=house.instance,
        scheduled_execution_time=dt.datetime(2026, 11, 20, 16, tzinfo=dt.UTC),
        resources={"production": house.production},
    ) as context:
        outcome = schedule.evaluate_tick(context)
    assert not outcome.run_requests
    assert "nobody" in (outcome.skip_message or "")
    assert "nothing was bought" in (outcome.skip_message or "")
    assert not house.instance.get_dynamic_partitions("clips")


def test_a_schedule_is_named_after_its_series_and_off_at_first(house: House) -> None:
    house.declare("far-bay", CLIPS, schedule={"cron": "0 16 * * FRI", "timezone": "Europe/Lisbon"})
    schedule = series_schedule(house.production.declarations().series["far-bay"])
    assert (schedule.name, schedule.cron_schedule) == ("far_bay_schedule", "0 16 * * FRI")
    assert schedule.execution_timezone == "Europe/Lisbon"
    assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED


def turn_on(instance: dg.DagsterInstance, name: str) -> None:
    """Record what Dagster records when a person turns a schedule on."""
    target = LoadableTargetOrigin(module_name="pipelines.definitions", attribute="defs")
    place = InProcessCodeLocationOrigin(target, location_name="dailies")
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(place, "__repository__"), name)
    data = ScheduleInstigatorData("0 16 * * *", start_timestamp=0.0)
    state = InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, data)
    known = instance.get_instigator_state(state.instigator_origin_id, state.selector_id)
    (instance.add_instigator_state if known is None else instance.update_instigator_state)(state)


def running(house: House) -> set[str]:
    """The schedules that are on."""
    states = house.instance.all_instigator_state(instigator_statuses={InstigatorStatus.RUNNING})
    return {state.instigator_name for state in states}


def test_a_series_that_is_removed_and_declared_again_is_off_until_a_person_turns_it_on(house: House) -> None:
    cron = {"cron": "0 16 * * *", "timezone": "Europe/Lisbon"}
    for name in ("bay", "city"):
        house.declare(name, CLIPS, schedule=cron)
    everything = {"bay_schedule", "city_schedule", "hourly_inventory"}
    for name in everything:
        turn_on(house.instance, name)
    assert running(house) == everything

    def removed(location: str = "dailies") -> list[str]:
        declared = [one.schedule_name for one in house.production.declarations().series.values()]
        return stop_removed(house.instance, declared, location)

    assert removed() == []
    bay = house.production.settings().data / "series" / "bay.yaml"
    whole = bay.read_text()
    bay.unlink()
    assert removed("elsewhere") == [], "another code location's schedules are not ours"
    assert running(house) == everything
    assert removed() == ["bay_schedule"]
    bay.write_text(whole)
    assert running(house) == {"city_schedule", "hourly_inventory"}, "declared again, it stays off"


@dataclass
class Tick:
    """What one tick of `declared_clips` did."""

    repository_def: dg.RepositoryDefinition
    instance: dg.DagsterInstance
    log: logging.Logger = field(default_factory=lambda: logging.getLogger("tick"))
    code_location_origin: object = field(default_factory=lambda: SimpleNamespace(location_name="dailies"))


@pytest.fixture
def webserver(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A webserver that reloads code locations; returns the locations that it was asked to reload."""
    asked: list[str] = []

    def answers(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == "http://127.0.0.1:3000/graphql"
        asked.append(json.loads(request.content)["variables"]["location"])
        entry = {
            "__typename": "WorkspaceLocationEntry",
            "locationOrLoadError": {"__typename": "RepositoryLocation"},
        }
        return httpx.Response(200, json={"data": {"reloadRepositoryLocation": entry}})

    def client(*_: object, **__: object) -> httpx.Client:
        return httpx.Client(transport=httpx.MockTransport(answers))

    monkeypatch.setattr(followed_schedules, "client", client)
    monkeypatch.delenv("DAILIES_STACK", raising=False)
    return asked


def test_an_edited_schedule_is_loaded_once_and_a_broken_file_changes_nothing(
    house: House, webserver: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cron = {"cron": "0 16 * * *", "timezone": "Europe/Lisbon"}
    house.declare("bay", CLIPS, schedule=cron)
    house.declare("city", CLIPS, schedule=cron)
    production, followed = house.production, followed_schedules.FollowedFiles()
    loaded = house.definitions().get_repository_def()

    def ticked(digest: str | None) -> str:
        declarations = None if digest is None else production.declarations()
        context: Any = Tick(loaded, house.instance)
        return followed.follow(context, production, {"series": digest or "seen"}, declarations)

    assert (ticked("first"), webserver) == ("", [])
    house.declare("bay", CLIPS, schedule=cron | {"cron": "0 17 * * *"})
    said = ticked("edited")
    assert (
        "bay_schedule (0 17 * * * Europe/Lisbon): the declaration differs from what Dagster has loaded"
        in said
    )
    assert "was asked once to reload the code location dailies" in said
    # the code server could not be replaced: the sensor says so again, and does not ask again
    assert (ticked(None), webserver) == (said, ["dailies"])

    # a process that was just loaded has nothing to ask for
    loaded, followed = house.definitions().get_repository_def(), followed_schedules.FollowedFiles()
    assert (ticked("edited"), webserver) == ("", ["dailies"])

    turn_on(house.instance, "city_schedule")
    city = production.settings().data / "series" / "city.yaml"
    whole = city.read_text()
    city.write_text("name: [")
    assert (ticked("broken"), running(house)) == ("", {"city_schedule"})
    city.unlink()
    assert "city_schedule (removed)" in ticked("removed")
    assert running(house) == set()
    # a person turns it on although no series declares it any more
    turn_on(house.instance, "city_schedule")
    ticked(None)
    assert running(house) == set()

    city.write_text(whole)
    monkeypatch.setenv("DAILIES_STACK", "id:home")
    house.declare("city", CLIPS, schedule=cron | {"cron": "0 3 * * *"})
    assert "`dailies up` loads it within a minute" in ticked("mended")
    assert webserver == ["dailies"] * 2


def test_when_a_webserver_cannot_reload_the_log_says_what_to_do(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAILIES_STACK", raising=False)
    monkeypatch.setenv("DAILIES_DAGSTER_URL", "http://127.0.0.1:9")
    said = followed_schedules._load_anew(house.production.settings(), "dailies", ["bay_schedule"])
    assert "http://127.0.0.1:9 did not answer" in said
    assert "DAILIES_DAGSTER_URL" in said
    assert "Reload the code location dailies" in said
