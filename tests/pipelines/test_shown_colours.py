"""Dagster's stored colours of a clip's columns, when clips are delivered and runs created while Dagster computes them."""

from collections.abc import Callable

import dagster as dg
import pytest
from dagster._core.storage import partition_status_cache
from dagster_ui import DagsterUi
from pipelinekit import House

from pipelines.partitions import range_tags
from pipelines.webserver import count_only_what_was_seen

GENERATIONS = dg.AssetKey("generations")


@pytest.fixture
def in_between(house: House, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Makes an event happen while Dagster computes colours: after it read the materializations, before it reads the plans."""
    storage = house.instance.event_log_storage
    ask = storage.get_latest_planned_materialization_info
    # a function that is patched here is restored after the test
    monkeypatch.setattr(
        partition_status_cache,
        "get_last_planned_storage_id",
        partition_status_cache.get_last_planned_storage_id,
    )

    def arrange(happens: Callable[[], object]) -> None:
        waiting = [happens]

        def asked(asset: dg.AssetKey, partition: str | None = None) -> object:
            if asset == GENERATIONS and waiting:
                waiting.pop()()
            return ask(asset, partition)

        monkeypatch.setattr(storage, "get_latest_planned_materialization_info", asked)

    return arrange


def comes_home(house: House, keys: list[str]) -> Callable[[], None]:
    """The first clip is delivered, and then a run over the second is created."""

    def happens() -> None:
        house.instance.report_runless_asset_event(dg.AssetMaterialization(GENERATIONS, partition=keys[0]))
        house.a_run_that("collect_clips", dg.DagsterRunStatus.STARTED, range_tags(keys[1:]))

    return happens


@pytest.fixture
def planned(house: House) -> list[str]:
    """Two clips; a working run is about the first."""
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    house.a_run_that("collect_clips", dg.DagsterRunStatus.STARTED, range_tags(keys[:1]))
    return keys


def test_a_clip_that_is_delivered_while_colours_are_computed_is_green(
    house: House, ui: DagsterUi, planned: list[str], in_between: Callable[[Callable[[], object]], None]
) -> None:
    count_only_what_was_seen()
    assert ui.bars()["generations"].materializing == {planned[0]}
    in_between(comes_home(house, planned))
    ui.bars()
    shown = ui.bars()["generations"]
    assert shown.green == {planned[0]}
    assert shown.materializing == {planned[1]}
    assert not shown.red


def test_dagster_alone_never_counts_such_a_clip(
    house: House, ui: DagsterUi, planned: list[str], in_between: Callable[[Callable[[], object]], None]
) -> None:
    """The negative control: when this fails, Dagster has fixed it, and `count_only_what_was_seen` can go."""
    ui.bars()
    in_between(comes_home(house, planned))
    for _ in range(3):
        assert ui.bars()["generations"].green == set()
