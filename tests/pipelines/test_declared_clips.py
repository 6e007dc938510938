"""The sensor that takes in what is declared: keys of new clips, and prompts that were changed."""

import pytest
from dagster_ui import DagsterUi
from pipelinekit import House, nothing_bought

from pipelines import sensors

SENSOR = "declared_clips"


def test_new_clips_without_dates_are_added_and_rendered_and_nothing_is_bought(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.declare("daily", ["north"], dated=True)
    with nothing_bought(house):
        ran, _ = house.tick(SENSOR)
    assert [run.green for run in ran] == [True]
    assert house.instance.get_dynamic_partitions("clips") == keys
    assert ui.bars()["prompts"].green == set(keys)

    assert house.tick(SENSOR) == ([], "nothing in the data folder has changed")

    more = house.declare("bay", ["east", "south", "west"])
    ran, _ = house.tick(SENSOR)
    assert [run.green for run in ran] == [True]
    assert house.instance.get_dynamic_partitions("clips") == [*keys, "bay-south"]
    assert ui.bars()["prompts"].green == set(more)


def test_an_edited_prompt_is_rendered_again_and_one_that_is_edited_back_too(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("bay", ["east", "west", "north"])
    house.tick(SENSOR)
    for old, new in (
        ("the west", "the far west"),
        ("the far west", "the west"),
        ("the west", "the far west"),
    ):
        house.edit("bay", old, new)
        ran, _ = house.tick(SENSOR)
        assert [run.green for run in ran] == [True]
        assert house.shown("prompts", "bay-west")["prompt"] == f"A quiet view of {new}."
    assert house.tick(SENSOR)[0] == []
    assert ui.bars()["prompts"].green == set(keys)


def test_a_dated_clip_that_was_produced_is_rendered_again_when_its_series_is_edited(
    house: House, ui: DagsterUi
) -> None:
    house.declare("daily", ["north"], dated=True)
    key = "daily-2026-11-20-north"
    house.add([key])
    assert house.produce([key]).green
    house.tick(SENSOR)
    house.edit("daily", "quiet", "loud")
    ran, _ = house.tick(SENSOR)
    assert [run.green for run in ran] == [True]
    assert ui.stale([key])["submissions"] == {key: ["has a new data version"]}
    assert len(house.bought()) == 1


def test_a_change_that_changes_no_prompt_asks_for_no_run(house: House) -> None:
    house.declare("bay", ["east", "west"])
    house.tick(SENSOR)
    house.declare("bay", ["east", "west"], tags={"channel": "shop"})
    ran, message = house.tick(SENSOR)
    assert not ran
    assert "no prompt has" in (message or "")


def test_a_broken_series_does_not_keep_the_others_out(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["east"])
    house.declare("cape", ["north"], endpoint="no/such/model")
    ran, _ = house.tick(SENSOR)
    assert [run.green for run in ran] == [True]
    assert ui.bars()["prompts"].green == set(keys)


def test_a_tick_whose_time_is_up_goes_on_in_the_next_one(
    house: House, ui: DagsterUi, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.declare("bay", ["east", "west", "north"])
    monkeypatch.setattr(sensors, "DECLARED_BUDGET_SECONDS", -1)
    for seen in range(1, 4):
        ran, _ = house.tick(SENSOR)
        assert [run.green for run in ran] == [True]
        assert ui.bars()["prompts"].green == set(keys[:seen])
    assert house.tick(SENSOR) == ([], "nothing in the data folder has changed")

    house.edit("bay", "quiet", "loud")
    house.tick(SENSOR)
    house.edit("bay", "loud", "very loud")
    for _ in keys:
        house.tick(SENSOR)
    assert {house.shown("prompts", key)["prompt"].split(" of ")[0] for key in keys} == {"A very loud view"}


@pytest.mark.parametrize(
    "cursor", ["", "{}", "[]", "nonsense", '{"series/bay.yaml": "0123"}', '{"files": 3, "upto": 1}']
)
def test_a_cursor_that_cannot_be_read_means_that_nothing_was_seen(house: House, cursor: str) -> None:
    house.declare("bay", ["east"])
    house.cursors[SENSOR] = cursor
    assert [run.green for run in house.tick(SENSOR)[0]] == [True]
    assert house.tick(SENSOR)[0] == []
