"""What Dagster forgets of runs that delivered no dated clip."""

import dagster as dg
from dagster_ui import DagsterUi
from pipelinekit import House

from tests.pipelines.test_retention import tidied


def test_a_clip_declared_without_a_date_keeps_its_partition(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["east"])
    house.tick("declared_clips")
    assert house.produce(keys).green
    removed = tidied(house, 1000)
    assert (removed.runs, removed.partitions) == (2, 0)
    assert ui.bars()["uploaded_videos"].green == set(keys)

    (house.data / "series" / "bay.yaml").unlink()
    assert tidied(house, 2000).partitions == 1


def test_a_run_that_only_rendered_is_removed_and_its_prompt_stays_green(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["east"])
    house.tick("declared_clips")
    assert tidied(house, 91).runs == 1
    assert ui.bars()["prompts"].green == set(keys)
    assert house.tick("declared_clips")[0] == []


def test_check_results_without_a_run_are_removed_after_a_week_except_the_newest(house: House) -> None:
    for _ in range(2):
        house.cursors.pop("checks_after_clips", None)
        house.tick("checks_after_clips")
    key = dg.AssetCheckKey(dg.AssetKey("submissions"), "nothing_unclear")

    def kept() -> int:
        return len(house.instance.event_log_storage.get_asset_check_execution_history(key, limit=9))

    tidied(house, 6)
    assert kept() == 2
    tidied(house, 8)
    assert kept() == 1
    assert house.instance.get_latest_asset_check_evaluation_record(key) is not None


def test_the_inventory_keeps_a_week_and_its_newest_run(house: House) -> None:
    for _ in range(3):
        assert house.run("inventory").green
    removed = tidied(house, 6)
    assert removed.inventories == 0
    removed = tidied(house, 8)
    assert (removed.inventories, removed.runs) == (2, 0)
    assert len(house.instance.get_runs()) == 1
