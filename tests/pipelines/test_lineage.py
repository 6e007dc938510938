"""Dagster's lineage: one edited prompt makes exactly its clip stale."""

from collections import Counter
from typing import Any

import dagster as dg
import pytest
from dagster_ui import DagsterUi
from pipelinekit import House

from pipelines.lineage import DATA_VERSION, PROMPTS, ShownEvents, latest

CLIPS = ["east", "north", "west", "south"]


def test_editing_one_prompt_makes_exactly_its_submission_stale(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", CLIPS)
    house.add(keys)
    assert house.produce(keys).green
    assert not any(ui.stale(keys).values())

    assert house.run("render_prompts", keys).green
    assert not any(ui.stale(keys).values()), "the same text again changes nothing"

    house.edit("bay", "the north", "the far north")
    assert house.run("render_prompts", keys).green
    stale = ui.stale(keys)
    assert stale["submissions"] == {"bay-north": ["has a new data version"]}
    assert not stale["prompts"] | stale["generations"] | stale["uploaded_videos"]

    assert house.produce(keys).green
    assert not any(ui.stale(keys).values())
    assert house.bought() == sorted(f"A quiet view of the {clip}." for clip in [*CLIPS, "far north"])


def test_a_clip_that_was_bought_twice_in_one_run_is_fresh(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", CLIPS, max_attempts=2)
    house.add(keys)
    house.fault({"do": "fail"}, prompt_contains="west", times=1)

    assert house.produce(keys).green

    assert len(house.bought()) == 5
    assert not any(ui.stale(keys).values())
    assert (
        house.shown("submissions", "bay-west")["job_id"] == house.shown("generations", "bay-west")["job_id"]
    )


def test_a_clip_is_not_shown_as_a_video_without_the_generation_it_came_from(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("bay", CLIPS)
    house.add(keys)
    assert house.run("submit_clips", keys).green
    assert ui.bars()["submissions"].green == set(keys)
    assert not ui.bars()["generations"].green

    videos = house.materialize(["uploaded_videos"], keys)

    assert videos.green, videos.failure
    assert ui.bars()["generations"].green == set(keys)
    assert not any(ui.stale(keys).values())


def test_showing_a_clip_again_does_not_make_it_fresh(house: House, ui: DagsterUi) -> None:
    bay, cape = house.declare("bay", CLIPS[:2]), house.declare("cape", CLIPS[2:])
    house.add([*bay, *cape])
    assert house.produce([*bay, *cape]).green
    house.edit("bay", "the north", "the far north")
    assert house.run("render_prompts", bay).green
    house.edit("cape", "{{ subject }}", "{{ nobody }}")

    assert not house.produce([*bay, *cape]).green

    assert ui.bars()["submissions"].green == {*bay, *cape}
    stale = ui.stale([*bay, *cape])
    assert stale["submissions"] == {"bay-north": ["has a new data version"]}
    assert not stale["generations"] | stale["uploaded_videos"]


def test_a_prompt_that_was_edited_while_its_job_ran_makes_the_clip_stale(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", CLIPS[:2])
    house.add(keys)
    assert house.run("submit_clips", keys).green
    house.edit("bay", "the north", "the far north")
    assert house.run("render_prompts", keys).green
    assert house.collected("wavespeed_completion").green
    stale = ui.stale(keys)
    assert stale["submissions"] == {"bay-north": ["has a new data version"]}
    assert not stale["generations"] | stale["uploaded_videos"]


def logged(instance: dg.DagsterInstance, clip: str, version: str) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(PROMPTS, partition=clip, tags={DATA_VERSION: version})
    )


@pytest.mark.slow
def test_the_events_of_a_batch_are_read_in_a_few_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    keys, asked = [f"clip-{number:02}" for number in range(30)], Counter[str]()
    with dg.DagsterInstance.ephemeral() as instance:
        for key in keys[1:]:
            logged(instance, key, f"old of {key}")
            logged(instance, key, f"version of {key}")
        one_by_one = {key: latest(instance, PROMPTS, key) for key in keys}
        storage = instance.event_log_storage
        for name in (
            "fetch_materializations",
            "get_latest_tags_by_partition",
            "get_latest_storage_id_by_partition",
        ):
            monkeypatch.setattr(storage, name, counted(asked, name, getattr(storage, name)))
        shown = ShownEvents(instance, keys)
        assert {key: shown.latest(PROMPTS, key) for key in keys} == one_by_one
        assert one_by_one[keys[0]] is None
        assert asked.total() <= 3

        for key in keys:
            logged(instance, key, "new")
            shown.logged(PROMPTS, key)
        asked.clear()
        assert {getattr(shown.latest(PROMPTS, key), "data_version", None) for key in keys} == {"new"}
        assert asked.total() <= 3
        logged(instance, "elsewhere", "new")
        assert shown.latest(PROMPTS, "elsewhere") == latest(instance, PROMPTS, "elsewhere")


def test_an_event_that_is_logged_between_two_queries_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of one event with the version of another would show a stale clip as fresh."""
    with dg.DagsterInstance.ephemeral() as instance:
        logged(instance, "clip-a", "old")
        logged(instance, "clip-b", "old")
        storage = instance.event_log_storage
        tags = storage.get_latest_tags_by_partition

        def overtaken(*arguments: Any, **named: Any) -> Any:
            found = tags(*arguments, **named)
            logged(instance, "clip-a", "new")
            return found

        monkeypatch.setattr(storage, "get_latest_tags_by_partition", overtaken)
        shown = ShownEvents(instance, ["clip-a", "clip-b"])
        assert shown.latest(PROMPTS, "clip-a") == latest(instance, PROMPTS, "clip-a")
        assert getattr(shown.latest(PROMPTS, "clip-a"), "data_version", None) == "new"


def counted(asked: Counter[str], name: str, method: Any) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        asked[name] += 1
        return method(*arguments, **named)

    return call
