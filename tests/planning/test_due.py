"""The clips that a plan is about."""

import datetime as dt
from pathlib import Path

import pytest

from resources.catalogue import Catalogue
from resources.errors import ConfigurationError
from resources.planning import Selection, due_clips
from resources.planning.selectors import MAX_DAYS
from resources.series import Declarations, load_series

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
HEAD = (
    "endpoint: openai/sora-2/text-to-video\nallow_retired: true\nprompt: x\nclips: [{name: a}, {name: b}]\n"
)
SERIES = {
    "daily": "schedule: {cron: 0 6 * * *, timezone: Pacific/Kiritimati}\n",
    "weekly": "schedule: {cron: 0 6 * * FRI}\n",
    "loop": "schedule: {cron: 0 6 1 * *}\ndated: false\n",
    "asked": "dated: true\n",
    "still": "",
}
# a Thursday; in Kiritimati it is Friday already
NOW = dt.datetime(2026, 11, 19, 12, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def declarations(tmp_path_factory) -> Declarations:
    folder = tmp_path_factory.mktemp("data")
    (folder / "series").mkdir()
    for name, more in SERIES.items():
        (folder / "series" / f"{name}.yaml").write_text(f"name: {name}\n{HEAD}{more}")
    found = load_series(folder, CATALOGUE)
    assert found.problems == []
    return found


def keys(
    declarations: Declarations,
    *,
    since: str | None = None,
    until: str | None = None,
    clips: tuple[str, ...] = ("a",),
) -> list[str]:
    first, last = (dt.date.fromisoformat(date) if date else None for date in (since, until))
    found = due_clips(declarations, Selection(first, last, clips), now=NOW)
    return [one.clip.key for one in found]


def test_todays_clips_follow_from_schedules_in_their_own_time_zones(declarations):
    assert keys(declarations) == ["daily-2026-11-20-a"]


def test_a_range_covers_every_tick_in_it(declarations):
    assert keys(declarations, since="2026-11-26", until="2026-12-04") == [
        *(f"daily-2026-11-{day}-a" for day in range(26, 31)),
        *(f"daily-2026-12-0{day}-a" for day in range(1, 5)),
        "loop-a",
        "weekly-2026-11-27-a",
        "weekly-2026-12-04-a",
    ]


def test_a_schedule_that_is_not_due_has_no_clips(declarations):
    assert keys(declarations, since="2026-11-21", clips=()) == ["daily-2026-11-21-a", "daily-2026-11-21-b"]
    assert keys(declarations, since="2026-11-27") == ["daily-2026-11-27-a", "weekly-2026-11-27-a"]


def test_clips_are_chosen_by_name_or_key(declarations):
    assert keys(declarations, clips=()) == ["daily-2026-11-20-a", "daily-2026-11-20-b"]
    assert keys(declarations, clips=("daily-2026-11-20-b",)) == ["daily-2026-11-20-b"]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"clips": ("c",)}, "no clip of these series and dates is called 'c'"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, "the range ends on 2026-01-01, before it begins"),
        ({"since": "0001-01-01", "until": "9999-12-31"}, f"longer than {MAX_DAYS:,} days"),
        ({"until": "9999-12-31"}, f"longer than {MAX_DAYS:,} days"),
    ],
)  # fmt: skip
def test_an_impossible_plan_gives_the_reason(declarations, how, says):
    with pytest.raises(ConfigurationError) as refused:
        keys(declarations, **how)
    assert says in str(refused.value)


def test_too_many_clips_are_refused_before_they_are_expanded(declarations, monkeypatch):
    monkeypatch.setattr("resources.planning.due.MAX_CLIPS", 100)
    with pytest.raises(ConfigurationError, match="more than 100 clips"):
        keys(declarations, since="2026-01-01", until="2026-12-31")


def test_the_last_possible_day_raises_no_error(declarations):
    assert keys(declarations, since="9999-12-31") == ["daily-9999-12-31-a", "weekly-9999-12-31-a"]
