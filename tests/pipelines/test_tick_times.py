"""The ticks of our sensors in `/metrics`, from Dagster's storage."""

import time

import pytest
from dagster import DagsterInstance
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from pipelinekit import House
from prometheus_client.parser import text_string_to_metric_families

from pipelines.tick_times import tick_times
from resources.metrics import exposition


def a_sensor(
    instance: DagsterInstance,
    name: str,
    ticks: list[tuple[float, float | None]],
    *,
    location: str = "dailies",
    status: InstigatorStatus = InstigatorStatus.DECLARED_IN_CODE,
) -> None:
    """Record a sensor and its ticks as Dagster does: how long ago each began, and how long it took."""
    target = LoadableTargetOrigin(module_name="pipelines.definitions", attribute="defs")
    place = InProcessCodeLocationOrigin(target, location_name=location)
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(place, "__repository__"), name)
    state = InstigatorState(origin, InstigatorType.SENSOR, status, SensorInstigatorData())
    instance.add_instigator_state(state)
    for ago, took in ticks:
        began = time.time() - ago
        ended = took is not None
        instance.create_tick(
            TickData(
                instigator_origin_id=state.instigator_origin_id,
                instigator_name=name,
                instigator_type=InstigatorType.SENSOR,
                status=TickStatus.SKIPPED if ended else TickStatus.STARTED,
                timestamp=began,
                end_timestamp=began + took if took is not None else None,
                selector_id=state.selector_id,
            )
        )


def test_each_sensor_of_ours_shows_its_last_tick(house: House) -> None:
    instance = house.instance
    a_sensor(instance, "wavespeed_completion", [(9000, 50.0), (5000, 2.0), (1000, None)])
    a_sensor(instance, "alarms", [(500, 0.25)])
    a_sensor(instance, "gallery_pages", [])
    a_sensor(instance, "theirs", [(500, 9.0)], location="other")
    a_sensor(instance, "off", [(500, 9.0)], status=InstigatorStatus.STOPPED)
    with house.production.ledger() as ledger:
        text = exposition(ledger, tick_times(instance, "dailies")).decode()
    found = {
        (sample.name, sample.labels["sensor"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "sensor" in sample.labels
    }
    ages = {
        sensor: found.pop(("dailies_tick_age_seconds", sensor))
        for sensor in ("wavespeed_completion", "alarms")
    }
    assert 1000 <= ages["wavespeed_completion"] < 5000, "a tick in progress counts"
    assert 500 <= ages["alarms"] < 1000 + 4000
    assert found == {
        ("dailies_tick_seconds", "wavespeed_completion"): pytest.approx(2.0, abs=0.01),
        ("dailies_tick_seconds", "alarms"): pytest.approx(0.25, abs=0.01),
    }


def test_when_dagster_does_not_answer_the_ledgers_metrics_are_still_shown(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("password=canary")

    monkeypatch.setattr(DagsterInstance, "all_instigator_state", away)
    assert tick_times(house.instance, "dailies") == []
    assert "could not be read from Dagster: ConnectionError" in caplog.text
    assert "canary" not in caplog.text
