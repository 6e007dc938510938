"""The sensor that follows the declarations: keys of new clips, and changed prompts."""

import contextlib
import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster_ui import DagsterUi
from pipelinekit import House, nothing_bought

from pipelines import declared_clips
from pipelines.cli import declare
from pipelines.cli.dagster_api import DagsterApi
from pipelines.jobs import render_prompts
from pipelines.lineage import CODE_VERSION, DATA_VERSION, PROMPTS
from pipelines.rendered_clips import render
from resources.errors import ConfigurationError

SENSOR = "declared_clips"
DAGSTER_YAML = Path(__file__).parents[2] / "dagster.yaml"
TODAY, YESTERDAY = (dt.datetime.now(dt.UTC).date() - dt.timedelta(days) for days in (0, 1))
TOMORROW = TODAY + dt.timedelta(1)


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


def test_edited_words_of_one_clip_are_rendered_and_dagster_shows_who_edited_them(house: House) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.declare("cape", ["north"])
    house.tick(SENSOR)
    file = house.data / "edits" / "bay.yaml"
    file.parent.mkdir()
    file.write_text("clips:\n  bay-west: {prompt: Fog., by: mara, at: 2026-11-20T08:00:00Z}\n")
    ran, _ = house.tick(SENSOR)
    assert [run.green for run in ran] == [True]
    shown = house.shown("prompts", "bay-west")
    assert shown["prompt"] == "Fog."
    assert shown["edited"] == "the whole text by mara on 2026-11-20 at 08:00 UTC"
    assert "edited" not in house.shown("prompts", keys[0])
    file.unlink()
    assert [run.green for run in house.tick(SENSOR)[0]] == [True]
    assert house.shown("prompts", "bay-west")["prompt"] == "A quiet view of the west."


def test_a_dated_clip_that_was_produced_is_rendered_again_when_its_series_is_edited(
    house: House, ui: DagsterUi
) -> None:
    house.declare("daily", ["north"], dated=True)
    key = f"daily-{TODAY}-north"
    house.add([key])
    assert house.produce([key]).green
    house.tick(SENSOR)
    house.edit("daily", "quiet", "loud")
    ran, _ = house.tick(SENSOR)
    assert [run.green for run in ran] == [True]
    assert ui.stale([key])["submissions"] == {key: ["has a new data version"]}
    assert len(house.bought()) == 1


def test_a_change_that_changes_no_prompt_requests_no_run(house: House) -> None:
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


def test_a_tick_whose_time_is_up_continues_in_the_next_one(
    house: House, ui: DagsterUi, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.declare("bay", ["east", "west", "north"])
    monkeypatch.setattr(declared_clips, "BUDGET_SECONDS", -1)
    for seen in range(1, 4):
        ran, _ = house.tick(SENSOR)
        assert [run.green for run in ran] == [True]
        assert ui.bars()["prompts"].green == set(keys[-seen:])
    assert house.tick(SENSOR) == ([], "nothing in the data folder has changed")

    house.edit("bay", "quiet", "loud")
    house.tick(SENSOR)
    house.edit("bay", "loud", "very loud")
    for _ in keys:
        house.tick(SENSOR)
    assert {house.shown("prompts", key)["prompt"].split(" of ")[0] for key in keys} == {"A very loud view"}


def test_an_unreadable_cursor_starts_from_the_beginning(house: House) -> None:
    keys = house.declare("bay", ["east"])
    assert [run.green for run in house.tick(SENSOR)[0]] == [True]
    seen = house.cursors[SENSOR]
    for cursor, sees_it in {
        seen: False,
        "": True,
        "{}": True,
        "[]": True,
        "nonsense": True,
        '{"series/bay.yaml": "0123"}': True,
        '{"files": 3, "upto": 1}': True,
        '{"files": {}, "upto": "bay-east"}': True,
    }.items():
        house.forget(keys[0])
        house.cursors[SENSOR] = cursor
        house.tick(SENSOR)
        assert (house.instance.get_dynamic_partitions("clips") == keys) is sees_it, cursor
    assert house.tick(SENSOR) == ([], "nothing in the data folder has changed")


@contextmanager
def counted_queries() -> Iterator[list[str]]:
    """The event queries of this thread."""
    seen: list[str] = []
    thread = threading.get_ident()

    def note(_connection: object, _cursor: object, text: str, *_: object) -> None:
        if threading.get_ident() == thread and "event_logs" in text:
            seen.append(text)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


@contextmanager
def counted_renders(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The clips that a comparison renders."""
    seen: list[str] = []

    def counted(declarations: Any, keys: list[str]) -> object:
        seen.extend(keys)
        return render(declarations, keys)

    with monkeypatch.context() as patch:
        patch.setattr(declared_clips, "render", counted)
        yield seen


def show(house: House, keys: list[str], version: str = "old") -> None:
    """Show a prompt for each clip in Dagster, as of years ago."""
    house.add(keys)
    tags = {DATA_VERSION: version, CODE_VERSION: "1"}
    for key in keys:
        house.instance.report_runless_asset_event(dg.AssetMaterialization(PROMPTS, partition=key, tags=tags))


def past(days: int) -> list[str]:
    """The keys of a daily series' clips before today."""
    return [f"daily-{TODAY - dt.timedelta(day)}-north" for day in range(days, 0, -1)]


def test_an_edit_renders_only_coming_clips_newest_first(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.declare("daily", ["north"], dated=True)
    bay = house.declare("bay", ["east", "west"])
    coming = [f"daily-{TODAY}-north", f"daily-{TOMORROW}-north"]
    show(house, [*past(200), *bay, *coming])
    with counted_renders(monkeypatch) as rendered:
        ran, _ = house.tick(SENSOR)
    assert rendered == [*reversed(coming), *reversed(bay)]
    assert [run.green for run in ran] == [True]
    assert house.shown("prompts", coming[0])["prompt"] == "A quiet view of the north."

    # the clips of other series cannot have changed, so they are not rendered
    house.edit("daily", "quiet", "loud")
    with counted_renders(monkeypatch) as rendered:
        ran, _ = house.tick(SENSOR)
    assert rendered == [*reversed(coming)]
    assert len(ran) == 1


def test_the_queries_of_an_edit_do_not_grow_with_its_clips(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = []
    for clips in (3, 60):
        names = [f"c{number}" for number in range(clips)]
        show(house, house.declare("bay", names))
        with counted_queries() as seen, counted_renders(monkeypatch) as rendered:
            definitions = house.definitions()
            context = dg.build_sensor_context(
                house.instance,
                definitions=definitions,
                sensor_name=SENSOR,
                resources={"production": house.production},
            )
            asked = definitions.resolve_sensor_def(SENSOR).evaluate_tick(context)
        assert len(rendered) == clips
        assert [request.tags["dagster/priority"] for request in asked.run_requests or ()] == ["-10"]
        queries.append(len(seen))
    assert queries[0] == queries[1]


def test_rendering_runs_wait_behind_buying_runs_and_take_one_place(house: House) -> None:
    renders = {"dagster/priority": -10, "dailies/renders": "declared"}
    assert {name: str(value) for name, value in renders.items()} == declared_clips.RENDER_TAGS
    limits = yaml.safe_load(DAGSTER_YAML.read_text())["concurrency"]["runs"]["tag_concurrency_limits"]
    assert {"key": "dailies/renders", "limit": 1} in limits


def test_an_edit_during_a_comparison_is_not_forgotten(
    house: House, ui: DagsterUi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tick compares one clip; the series are edited in turn, and one edit is undone."""
    bay, cape = house.declare("bay", ["east", "west"]), house.declare("cape", ["north", "south"])
    monkeypatch.setattr(declared_clips, "BUDGET_SECONDS", -1)
    for _ in range(6):
        house.tick(SENSOR)
    assert ui.bars()["prompts"].green == {*bay, *cape}
    house.edit("bay", "quiet", "loud")
    house.tick(SENSOR)
    house.edit("cape", "quiet", "loud")
    house.tick(SENSOR)
    house.edit("cape", "loud", "quiet")
    for _ in range(6):
        house.tick(SENSOR)
    assert {house.shown("prompts", key)["prompt"][:6] for key in bay} == {"A loud"}
    assert {house.shown("prompts", key)["prompt"][:7] for key in cape} == {"A quiet"}
    assert house.tick(SENSOR) == ([], "nothing in the data folder has changed")


def test_a_series_that_an_edit_of_another_file_repairs_is_compared(house: House) -> None:
    house.declare("bay", ["east"])
    house.declare("cape", ["north"], name="bay")
    assert len(house.tick(SENSOR)[0]) == 1
    # the second file called `bay` becomes valid when the first changes its name
    house.declare("bay", ["west"], name="sea")
    house.tick(SENSOR)
    assert house.shown("prompts", "bay-north")["prompt"] == "A quiet view of the north."
    assert house.shown("prompts", "sea-west")["prompt"] == "A quiet view of the west."


class Launches(DagsterApi):
    """Records the requested runs."""

    def __init__(self) -> None:
        self.tags: list[dict[str, str]] = []

    def launch(self, job: str, *, tags: dict[str, str], config: dict[str, object]) -> str:  # type: ignore[override]
        assert (job, config) == (render_prompts.name, {})
        self.tags.append(tags)
        return str(len(self.tags))


def test_the_past_is_rendered_on_request(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declare, "dagster_instance", lambda _settings: contextlib.nullcontext(house.instance))
    house.declare("daily", ["north"], dated=True)
    house.declare("other", ["north"], dated=True)
    show(house, [*past(3), "other-2026-01-01-north"])
    settings = house.production.settings()

    assert declare.changed_stretches(settings, [], past=False) == []
    assert declare.changed_stretches(settings, ["daily"], past=True) == [past(3)]
    with pytest.raises(ConfigurationError, match="no series cape"):
        declare.changed_stretches(settings, ["cape"], past=True)

    api = Launches()
    assert declare.request_renders(api, [past(3)]) == ["1"]
    assert house.run("render_prompts", tags=api.tags[0]).green
    assert declare.changed_stretches(settings, ["daily"], past=True) == []
