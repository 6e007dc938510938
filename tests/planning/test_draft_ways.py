"""Both ways to a clip in a plan: drafts of which a share is finished, and direct purchases."""

import datetime as dt
from pathlib import Path

import pytest

from pipelines.cli.plan_table import way_in_words
from resources.catalogue import Catalogue
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.money import usd
from resources.planning import DraftWay, DueClip, Planning
from resources.series import load_series

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
CITY = """\
name: city
endpoint: bytedance/seedance-2.0/text-to-video
provider: fal
parameters: {duration: 10, resolution: 720p, aspect_ratio: "16:9"}
prompt: A street.
review: person
takes: 3
clips: [{name: hero}, {name: wide}]
draft:
  endpoint: wan/v2.6/text-to-video
  provider: fal
  parameters: {resolution: 720p, duration: 5, aspect_ratio: "16:9"}
"""


def test_a_plan_compares_drafts_with_the_straight_way(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "city.yaml").write_text(CITY)
    declarations = load_series(tmp_path, CATALOGUE)
    assert declarations.problems == []
    with Ledger(f"sqlite:///{tmp_path}/ledger.sqlite", budget=Budget()) as ledger:
        day = dt.date(2026, 11, 20)
        clips = [DueClip(clip, day, "plan:city") for clip in declarations.series["city"].clips()]
        plan = Planning(declarations, ledger).plan(clips)
    (way,) = plan.ways
    assert (plan.ceiling, plan.takes) == (usd("3"), 6)
    assert (way.clips, way.drafts, way.finishes, way.straight) == (2, usd("3"), usd("6.068"), usd("18.204"))
    assert (way.drafted, way.share, way.expected) == (0, 1.0, usd("9.068"))
    assert "the drafts are cheaper even if every clip is finished" in way_in_words(way)


@pytest.mark.parametrize(
    ("straight", "share", "said"),
    [
        (10, "40%", "cheaper while less than 80% of the clips are finished"),
        (2, "40%", "the drafts are never cheaper"),
        (None, "40%", "cannot be bought without drafts"),
    ],
)
def test_the_share_at_which_both_ways_cost_the_same(straight: int | None, share: str, said: str) -> None:
    whole = None if straight is None else straight * 1_000_000
    way = DraftWay("city", 2, 2_000_000, 2_000_000, 10_000_000, 20_000_000, whole, 4, 10)
    assert (way.expected, way.floor, way.ceiling) == (6_000_000, 2_000_000, 22_000_000)
    assert said in way_in_words(way)
    assert f"{share} of its clips are finished so far (4 of 10)" in way_in_words(way)
