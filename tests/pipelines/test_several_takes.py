"""Several takes of a clip in Dagster: bought in one run, shown once per clip, and only the failed one is bought again."""

import json
from collections import Counter

import dagster as dg
from dagster_ui import DagsterUi
from pipelinekit import House

from pipelines.clip_batch import DECISION_TAG


def slots(house: House, keys: list[str]) -> dict[int, str]:
    with house.production.ledger() as ledger:
        return {slot.number: a.state.value for slot, a in sorted(ledger.latest_takes(keys).items())}


def events(house: House, asset: str, clip: str) -> int:
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[clip])
    return len(house.instance.fetch_materializations(wanted, limit=100).records)


def test_a_run_buys_every_take_and_shows_the_clip_once(house: House):
    keys = house.declare("hill", ["dawn", "dusk"], takes=3)
    house.add(keys)
    ran = house.produce(keys)
    assert ran.green, ran.failure
    assert Counter(house.bought()) == {f"A quiet view of the {one}.": 3 for one in ("dawn", "dusk")}
    for asset in ("submissions", "generations", "uploaded_videos"):
        assert events(house, asset, "hill-dawn") == 1
    with house.production.ledger() as ledger:
        current = ledger.current(keys)["hill-dawn"]
    assert current.slot == 3
    assert house.shown("generations", "hill-dawn")["attempt"] == current.id
    assert json.loads(house.get(f"videos/hill-dawn/{current.id}.json"))["slot"] == 3
    # the same again, and with fewer takes: nothing is bought
    assert house.produce(keys).green
    house.declare("hill", ["dawn", "dusk"], takes=1)
    assert house.produce(keys).green
    assert len(house.bought()) == 6
    # this job only
    four = {"ops": {"produce": {"config": {"takes": 4}}}}
    assert house.produce(keys[:1], config=four).green
    assert slots(house, keys[:1]) == dict.fromkeys((1, 2, 3, 4), "delivered")
    assert len(house.bought()) == 7


def test_a_wrong_number_of_takes_is_refused_in_words_and_leaves_green_clips_green(
    house: House, ui: DagsterUi
):
    """pydantic's own error in the launchpad's config came before our step: it turned a whole range red."""
    keys = house.declare("hill", ["dawn", "dusk"])
    house.add(keys)
    assert house.produce(keys).green
    ran = house.produce(keys, config={"ops": {"produce": {"config": {"takes": 99}}}})
    assert not ran.green
    assert "takes: found 99, allowed: 1 to 9" in (ran.failure or "")
    assert "This decision has bought nothing" in (ran.failure or "")
    assert "pydantic" not in (ran.failure or "")
    assert ui.bars()["uploaded_videos"].green == set(keys)
    assert "takes: found 0, allowed: 1 to 9" in (house.scattered(keys, takes=0).failure or "")
    assert len(house.bought()) == 2


def test_a_failed_take_leaves_its_clip_green_and_is_bought_again_alone(house: House):
    house.fault({"do": "fail"}, number=2)
    keys = house.declare("hill", ["dawn"], takes=3)
    house.add(keys)
    ran = house.produce(keys)
    assert not ran.green
    assert "take in slot 2 of 3" in ran.failed_clips["hill-dawn"]
    assert slots(house, keys) == {1: "delivered", 2: "failed", 3: "delivered"}
    assert events(house, "uploaded_videos", "hill-dawn") == 1
    house.heal()
    assert house.scattered(keys).green
    assert slots(house, keys) == {1: "delivered", 2: "delivered", 3: "delivered"}
    assert len(house.bought()) == 4


def test_the_sensor_delivers_every_take(house: House):
    keys = house.declare("hill", ["dawn", "dusk"], takes=2)
    house.add(keys)
    assert house.run("submit_clips", keys, tags={DECISION_TAG: "schedule:hill"}).green

    def delivered() -> bool:
        house.tick("wavespeed_completion")
        return all(slots(house, [key]) == {1: "delivered", 2: "delivered"} for key in keys)

    house.until(delivered)
    assert len(house.bought()) == 4
    with house.production.ledger() as ledger:
        assert {a.reported_run_id is None for a in ledger.latest_takes(keys).values()} == {False}


def test_an_older_prompt_is_bought_within_the_present_limits(house: House):
    """A prompt has no limits in it, so last week's prompt is bought within the present limits."""
    keys = house.declare("hill", ["dawn", "dusk"], takes=3)
    house.add(keys)
    assert house.materialize(["prompts"], keys).green
    house.declare("hill", ["dawn", "dusk"], takes=1, budget={"total": 0.01})
    ran = house.materialize(["submissions"], keys)
    assert "the cap of the series hill" in ran.failed_clips["hill-dawn"]
    assert house.bought() == []
    house.declare("hill", ["dawn", "dusk"], takes=1)
    assert house.materialize(["submissions"], keys).green
    assert len(house.bought()) == 2
