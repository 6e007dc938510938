"""The short form of the simulation: a crash at each kind of point of one clip, pairs and random histories by sample.

`make prove` runs the long form, with a crash at every single point; `python -m proof.simulation --replay NAME` shows one history again.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from proof.simulation.campaign import (
    PAIR,
    RANDOM,
    SINGLE,
    CampaignTally,
    least,
    name_of,
    pairs,
    plan_of,
    singles,
)
from proof.simulation.database import HistoryDatabase
from proof.simulation.plans import FURTHER_PROVIDERS, PROVIDERS, WAYS, drawn, drawn_at, quiet, with_drafts
from proof.simulation.runner import carry_out

ROOT = Path(__file__).parents[2]
RANDOMS = 8
POINTS_OF_ONE_CLIP = 40
"""Number of distinct points of a quiet history with one clip: fewer would mean that the models no longer replace a part of the product."""


@pytest.fixture(scope="module")
def database() -> Iterator[HistoryDatabase]:
    with HistoryDatabase() as opened:
        yield opened


def nothing_is_wrong(tally: CampaignTally) -> None:
    assert tally.violations == {}, f"python -m proof.simulation --replay {next(iter(tally.violations))}"


@pytest.mark.slow
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("way", WAYS)
def test_a_quiet_history_buys_and_delivers_every_clip_once(
    database: HistoryDatabase, provider: str, way: str
) -> None:
    outcome = carry_out(quiet(provider, way, 3), database)
    assert outcome.violations == []
    assert outcome.states == {"delivered": 3}
    assert outcome.jobs == 3


@pytest.mark.slow
def test_a_crash_at_every_kind_of_point_is_survived(database: HistoryDatabase) -> None:
    tally, kinds = CampaignTally(), set[str]()
    for provider, way in (("aimlapi", "wait"), ("wavespeed", "leave")):
        base = quiet(provider, way, 1)
        points = carry_out(base, database).points
        assert points.first.keys() == points.passed.keys()
        new = [number for kind, number in points.first.items() if kind not in kinds]
        tally.merge(singles(base, new, database))
        kinds |= points.first.keys()
    nothing_is_wrong(tally)
    assert tally.histories[SINGLE] == len(kinds)
    assert set(tally.crashed) == kinds, "a process has died at every point"
    assert len(kinds) >= POINTS_OF_ONE_CLIP


@pytest.mark.slow
def test_pairs_of_crashes_are_survived(database: HistoryDatabase) -> None:
    tally = CampaignTally()
    for provider, way, first in (("wavespeed", "leave", 5), ("aimlapi", "wait", 7)):
        tally.merge(pairs(quiet(provider, way, 1), first, database, step=12))
    nothing_is_wrong(tally)
    assert tally.histories[PAIR] > 8


@pytest.mark.slow
def test_random_histories_end_with_equal_books(database: HistoryDatabase) -> None:
    tally = CampaignTally()
    for seed in range(RANDOMS):
        tally.add(RANDOM, str(seed), carry_out(drawn(seed), database))
    nothing_is_wrong(tally)
    assert tally.states["delivered"] > RANDOMS / 2
    assert sum(tally.crashed.values()) > RANDOMS / 4
    assert len(tally.struck) > 20, "most kinds of faults occurred"


@pytest.mark.slow
def test_drafts_are_finished_once_whatever_happens(database: HistoryDatabase) -> None:
    finishes: Counter[str] = Counter()
    tally = CampaignTally()
    for seed in range(6):
        plan = with_drafts(drawn(seed))
        tally.add(RANDOM, plan.seed, carry_out(plan, database))
        rows = database.rows("SELECT state FROM attempts WHERE finishes IS NOT NULL")
        finishes.update(row["state"] for row in rows)
    nothing_is_wrong(tally)
    assert finishes["delivered"] >= 3, "people circled drafts, and their finishes were delivered"
    assert plan_of("3+drafts").drafts


@pytest.mark.slow
@pytest.mark.parametrize("provider", FURTHER_PROVIDERS)
def test_random_histories_where_the_list_shows_requests_end_with_equal_books(
    database: HistoryDatabase, provider: str
) -> None:
    tally = CampaignTally()
    for seed in range(RANDOMS // 4):
        tally.add(RANDOM, f"{seed}@{provider}", carry_out(drawn_at(seed, provider), database))
    nothing_is_wrong(tally)
    assert tally.states["delivered"] > RANDOMS / 8
    assert plan_of(f"8@{provider}") == drawn_at(8, provider)


@pytest.mark.slow
def test_a_history_is_the_same_in_every_process(database: HistoryDatabase) -> None:
    seed = 8
    here = carry_out(drawn(seed), database, trace=True).points.trace
    program = (
        "import json; from proof.simulation.database import HistoryDatabase; from proof.simulation.runner import carry_out;"
        "from proof.simulation.plans import drawn; database = HistoryDatabase();"
        f"print(json.dumps(carry_out(drawn({seed}), database, trace=True).points.trace)); database.close()"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONHASHSEED": "7"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert json.loads(told.stdout) == here


def test_a_history_is_found_again_by_its_name() -> None:
    crashed = replace(quiet("aimlapi", "leave", 2), crashes=(3, 14))
    assert plan_of(name_of(crashed)) == crashed
    assert plan_of("1234") == drawn(1234)
    with pytest.raises(ValueError, match="allowed"):
        plan_of("wavespeed-swim-1")


@pytest.mark.slow
def test_a_failing_history_is_reduced_to_the_parts_it_needs_to_fail(
    database: HistoryDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket that forgets every clip is sufficient, whatever else fails."""
    monkeypatch.setattr(
        "proof.simulation.bucket.Store.put_file", lambda self, key, path, **_: self._put_nothing(key, path)
    )
    monkeypatch.setattr(
        "proof.simulation.bucket.Store._put_nothing",
        lambda self, key, path: type("Info", (), {"size": path.stat().st_size}),
        raising=False,
    )
    plan = replace(drawn(3), kinds=("odd status", "failed poll", "crash"), crashes=(4, 9), clips=2)
    smallest = least(plan, database)
    assert (smallest.kinds, smallest.crashes, smallest.clips, smallest.machines) == ((), (), 1, 1)
