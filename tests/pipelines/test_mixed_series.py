"""A series whose clips name different endpoints: one batch and one run, each clip at its own price and account."""

from typing import Any

import pytest
from pipelinekit import House, nothing_bought, subject
from tiers import one_of_each

from resources.catalogue import Catalogue
from resources.money import usd

SEEDANCE, SORA = "bytedance/seedance-2.0/text-to-video", "openai/sora-2/text-to-video"
ELSEWHERE = "openai/sora-2-t2v"
CLIPS = ["plain", "fine", "away"]
OWN: dict[str, dict[str, Any]] = {
    "fine": {"endpoint": SORA, "parameters": {"duration": 8}},
    "away": {"endpoint": ELSEWHERE, "parameters": {"aspect_ratio": "16:9"}},
}
SHARED: dict[str, Any] = {
    "parameters": {"duration": 4, "resolution": "720p", "aspect_ratio": "9:16"},
    "allow_retired": True,
}


def mixed(house: House, **changes: Any) -> list[str]:
    """Three clips: at the series' endpoint, at another one, and at another provider."""
    keys = house.declare("day", CLIPS, own=OWN, **SHARED, **changes)
    house.add(keys)
    return keys


def test_a_mixed_day_is_bought_as_declared_in_one_run_and_only_once(house: House) -> None:
    keys = mixed(house)
    ran = house.produce(keys)
    assert ran.green, ran.failure
    assert {job["body"]["prompt"]: (job["provider"], job["model"]) for job in house.books()["jobs"]} == {
        subject("day-plain"): ("wavespeed", SEEDANCE),
        subject("day-fine"): ("wavespeed", SORA),
        subject("day-away"): ("aimlapi", ELSEWHERE),
    }
    attempts = house.attempts(keys)
    assert {key: one.account for key, one in attempts.items()} == {
        "day-plain": "wavespeed",
        "day-fine": "wavespeed",
        "day-away": "aimlapi",
    }
    assert (attempts["day-plain"].quoted_micros, attempts["day-fine"].quoted_micros) == (
        usd("0.96"),
        usd("0.80"),
    )
    for asset in ("prompts", "submissions", "uploaded_videos"):
        assert [house.shown(asset, key)["endpoint"] for key in keys] == [SEEDANCE, SORA, ELSEWHERE]
    with nothing_bought(house):
        assert house.produce(keys).green


def test_a_clip_that_moves_to_another_endpoint_is_the_only_one_bought_again(house: House) -> None:
    keys = house.declare("day", CLIPS, **SHARED)
    house.add(keys)
    assert house.produce(keys).green
    house.declare("day", CLIPS, own={"fine": OWN["fine"]}, **SHARED)
    assert house.produce(keys).green
    assert house.bought() == sorted(map(subject, [*keys, "day-fine"]))


WRONG: list[dict[str, object]] = [
    {"endpoint": "openai/sora-9"},
    {"endpoint": "openai/sora-2/characters"},
    {"endpoint": SORA, "parameters": {"duration": 7}},
    {"endpoint": SORA, "parameters": {"resolution": "4k"}},
    {"account": "nobody"},
    {"fallback": [{"endpoint": "openai/sora-9"}]},
    {"fallback": [{"endpoint": SEEDANCE}]},
]


@pytest.mark.parametrize(
    "wrong",
    one_of_each(WRONG, kind=frozenset),
    ids=str,
)
def test_a_wrong_endpoint_of_one_clip_costs_nothing(house: House, wrong: dict[str, Any]) -> None:
    keys = mixed(house)
    house.declare("day", CLIPS, own={"plain": wrong}, **SHARED)
    with nothing_bought(house):
        assert not house.produce(keys).green
    assert house.attempts(keys) == {}, "no clip of the series is bought"


def test_a_clip_that_is_checked_against_the_series_endpoint_costs_money(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above: the same setting is valid for the series' endpoint."""
    keys = mixed(house)
    house.declare("day", CLIPS, own={"plain": {"endpoint": SORA, "parameters": {"duration": 7}}}, **SHARED)
    with nothing_bought(house):
        assert not house.produce(keys).green
    find = Catalogue.get
    monkeypatch.setattr(Catalogue, "get", lambda self, _endpoint, _provider=None: find(self, SEEDANCE))
    assert house.produce(keys).green
    assert house.bought() == sorted(map(subject, keys))


def test_caps_count_each_clip_at_its_own_price(house: House) -> None:
    keys = mixed(house, budget={"per_run": 1})
    ran = house.produce(keys)
    assert set(ran.failed_clips) == {"day-fine", "day-away"}
    assert house.bought() == [subject("day-plain")]
