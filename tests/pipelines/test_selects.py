"""A circled take becomes a select in Dagster once, without a run; the select is removed with its circle, and other assets build on it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster_ui import DagsterUi
from pipelinekit import QUIET, House
from verdictkit import a_verdict

from pipelines import select_events
from pipelines.lineage import SELECTS
from pipelines.partitions import range_tags
from resources.ledger.review_tables import waiting_clips
from resources.ledger.selects import mark_shown, unshown
from resources.ledger.verdicts import Word, judge

EAST, WEST = "bay-east", "bay-west"
EVERYTHING = ("prompts", "submissions", "generations", "uploaded_videos", "selects")
ROOM = Path(__file__).parents[2] / "docs" / "room.md"


@pytest.fixture(scope="module")
def delivered(house_to_look_at: House) -> House:
    """A house with two delivered clips that wait for a verdict."""
    keys = house_to_look_at.declare("bay", ["east", "west"], review="person")
    house_to_look_at.add(keys)
    assert house_to_look_at.produce(keys).green
    return house_to_look_at


@pytest.fixture
def house(delivered: House, copy_of: Callable[[House], House]) -> House:
    """A copy of that house."""
    return copy_of(delivered)


def say(house: House, key: str, word: Word = Word.CIRCLED, **how: Any) -> None:
    attempt = house.attempts([key])[key]
    with house.production.ledger() as ledger:
        judge(ledger, a_verdict(attempt, word, **how))


def events(house: House, key: str | None = None) -> int:
    wanted = dg.AssetRecordsFilter(SELECTS, asset_partitions=[key] if key else None)
    return len(house.instance.fetch_materializations(wanted, limit=50).records)


def told(house: House) -> list[str]:
    with house.production.ledger() as ledger:
        return [one for given in unshown(ledger).values() for one in given]


def test_a_circled_take_becomes_a_select_without_a_run_until_its_circle_is_taken_back(
    house: House, ui: DagsterUi
) -> None:
    house.tick("gallery_pages")
    assert events(house) == 0
    say(house, EAST, note="the light")
    ran, _ = house.tick("gallery_pages")
    assert not ran
    shown, attempt = house.shown("selects", EAST), house.attempts([EAST])[EAST]
    assert (shown["take"], shown["circled_by"], shown["why"]) == (1, "mira", "the light")
    assert (shown["attempt"], shown["s3"]) == (attempt.id, (attempt.delivery or {})["uri"])
    assert shown["cost_usd"] == shown["clip_cost_usd"] == attempt.cost_micros / 1e6
    assert (ui.bars()["selects"].green, told(house)) == ({EAST}, [])
    assert not any(ui.stale([EAST, WEST]).values())
    assert house.bucket_file(f"videos/{EAST}/current.json").exists()

    say(house, EAST, Word.TAKEN_BACK)
    house.tick("gallery_pages")
    assert (events(house), ui.bars()["selects"].green, told(house)) == (0, set(), [])
    assert not house.bucket_file(f"videos/{EAST}/current.json").exists(), "nothing is current"

    say(house, EAST)
    house.tick("gallery_pages")
    assert ui.bars()["selects"].green == {EAST}


def test_a_select_is_stale_when_its_clip_is(house: House, ui: DagsterUi) -> None:
    say(house, EAST)
    say(house, WEST)
    house.tick("gallery_pages")
    house.edit("bay", "the east", "the far east")
    assert house.run("render_prompts", [EAST, WEST]).green
    assert ui.stale([EAST, WEST])["selects"] == {EAST: ["has a new data version"]}
    assert house.produce([EAST, WEST]).green
    assert set(ui.stale([EAST, WEST])["selects"]) == {EAST}, "a newer take waits for a verdict"
    say(house, EAST)
    house.tick("gallery_pages")
    assert not ui.stale([EAST, WEST])["selects"]


def test_a_reported_select_is_reported_again_only_if_it_has_changed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(house, EAST)
    with monkeypatch.context() as patch:
        patch.setattr(select_events, "mark_shown", _dies)
        with pytest.raises(RuntimeError):
            house.tick("gallery_pages")
    assert (events(house), len(told(house))) == (1, 1), "the select was reported, and that was not recorded"
    house.tick("gallery_pages")
    assert (events(house), told(house)) == (1, [])
    say(house, EAST, who="tom")
    house.tick("gallery_pages")
    assert (events(house), told(house)) == (1, []), "the same take"


def _dies(*_arguments: object) -> None:
    raise RuntimeError("the process was killed")


def test_without_the_list_a_circle_is_never_shown(house: House) -> None:
    """The negative control."""
    say(house, EAST)
    with house.production.ledger() as ledger:
        mark_shown(ledger, told(house))
    house.tick("gallery_pages")
    assert events(house) == 0


def test_a_select_stays_green_when_a_run_over_everything_fails(house: House, ui: DagsterUi) -> None:
    say(house, EAST)
    house.tick("gallery_pages")
    house.edit("bay", "the west", "the far west")
    house.fault({"do": "fail"}, prompt_contains="far west")
    everything = house.definitions().resolve_implicit_global_asset_job_def()
    result = everything.execute_in_process(
        asset_selection=[dg.AssetKey(name) for name in EVERYTHING],
        instance=house.instance,
        tags=range_tags([EAST, WEST]),
        run_config=QUIET,
        raise_on_error=False,
    )
    assert not result.success
    assert ui.bars()["selects"].green == {EAST}


def test_a_policy_of_a_ledger_that_is_older_than_its_bucket_decides_nothing(house: House) -> None:
    (east,) = house.declare("cape", ["east"], review={"by": "person", "within": "12h", "otherwise": "newest"})
    house.add([east])
    assert house.produce([east]).green
    with house.production.ledger() as ledger, ledger.write() as connection:
        connection.execute(sa.update(waiting_clips).where(waiting_clips.c.clip == east).values(decide_at=0.0))
    # the bucket has seen entries that this copy lost, and perhaps a person's verdict among them
    mark = house.bucket_file("ledger.json")
    text = mark.read_text()
    document = json.loads(text)
    mark.write_text(json.dumps({**document, "seq": document["seq"] + 5, "entry": "another:1:1.000000"}))
    house.tick("gallery_pages")
    assert events(house, east) == 0
    mark.write_text(text)
    house.tick("gallery_pages")
    assert events(house, east) == 1


def test_a_policy_decides_in_the_sensor(house: House) -> None:
    house.declare("bay", ["east"], review={"by": "person", "within": "12h", "otherwise": "newest"})
    assert house.produce([EAST], config={"ops": {"produce": {"config": {"regenerate": True}}}}).green
    house.tick("gallery_pages")
    assert events(house) == 0
    with house.production.ledger() as ledger:
        later = ledger.clock() + 12 * 3_600
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("resources.ledger.ledger.time.time", lambda: later)
        house.tick("gallery_pages")
        house.tick("gallery_pages")
    assert house.shown("selects", EAST)["circled_by"] == "review policy"
    assert house.shown("selects", EAST)["take"] == 2


def test_a_foreign_asset_can_be_made_of_selects(house: House) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", ROOM.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)
    say(house, WEST)
    house.tick("gallery_pages")
    made = dg.materialize([names["newsletter"]], instance=house.instance)
    assert made.success
    (event,) = made.asset_materializations_for_node("newsletter")
    assert event.metadata["videos"].value == [house.shown("selects", WEST)["s3"]]
