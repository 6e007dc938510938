"""What Dagster knows of what was made from what: one edited prompt makes exactly its clip stale."""

from dagster_ui import DagsterUi
from pipelinekit import House

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
