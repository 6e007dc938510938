"""A decision is about the clips that it had when it was first seen, whatever its runs' range covers later."""

from collections.abc import Sequence
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.api import execute_run
from dagster_ui import DagsterUi
from pipelinekit import QUIET, House, Ran, again, character, nothing_bought, produce_clips, subject

from pipelines import scope
from pipelines.clip_batch import DECISION_TAG
from pipelines.partitions import range_tags
from resources.ledger import decision_clips
from resources.ledger.decision_clips import fixed_clips

THREE = ["copper", "gold", "steel"]
ALL = ("prompts", "submissions", "generations", "uploaded_videos")
MADE = ALL[1:]


LATEST_RUN = """
query Latest($clip: String!) {
  assetNodes(assetKeys: [{ path: ["generations"] }]) { latestRunForPartition(partition: $clip) { runId } }
}
"""


def let_a_stranger_in(house: House, keys: Sequence[str], *others: str) -> str:
    """Delete the last key, add one of another series (and `others`), and add the last key again: the same range then covers all."""
    (stranger,) = house.declare("harbor", ["inner"])
    house.forget(keys[-1])
    house.add([stranger, *others])
    house.add([keys[-1]])
    return stranger


def queued(house: House, keys: Sequence[str], **tags: str) -> dg.DagsterRun:
    """A run that was created and waits for a free slot."""
    return house.instance.create_run_for_job(
        house.definitions().resolve_job_def("produce_clips"),
        tags={**range_tags(keys), **tags},
        run_config=QUIET,
    )


def start(house: House, run: dg.DagsterRun) -> Ran:
    execute_run(dg.reconstructable(produce_clips), run, house.instance, raise_on_error=False)
    return house.ran(run.run_id)


def test_an_old_run_that_is_re_executed_buys_no_clip_that_moved_into_its_range_and_leaves_its_prompt(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("loop", THREE)
    house.add(keys)
    old = house.produce(keys)
    assert old.green
    stranger = let_a_stranger_in(house, keys, "nobody-declares-me")

    with nothing_bought(house):
        repeated = again(house, old.run)

    assert repeated.green, repeated.failure
    bars = ui.bars()
    for asset in MADE:
        assert (bars[asset].green, bars[asset].red) == (set(keys), set()), asset
    assert any(stranger in words and "left alone" in words for words in house.said(repeated.run.run_id))
    assert house.observed("submissions", stranger)["left_alone"]
    assert house.attempts([stranger]) == {}
    # a clip that cannot be rendered does not fail the run
    assert "no prompt" in house.shown("prompts", "nobody-declares-me")["left_alone"]
    assert house.produce([stranger]).green, "its own decision buys it"
    assert house.bought() == sorted([*map(subject, keys), subject(stranger)])

    shown = house.shown("prompts", stranger)
    house.edit("harbor", "the inner", "the outer")
    assert again(house, old.run).green
    assert house.shown("prompts", stranger) == shown
    assert not any(ui.stale([stranger]).values())


def test_without_its_list_of_clips_a_re_executed_run_buys_the_new_clip(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above: the effect of a range alone."""
    keys = house.declare("loop", THREE)
    house.add(keys)
    old = house.produce(keys)
    stranger = let_a_stranger_in(house, keys)

    def range_alone(*_: Any) -> list[str]:
        return list(house.instance.get_dynamic_partitions("clips"))

    monkeypatch.setattr(scope, "_named", range_alone)
    monkeypatch.setattr(scope, "fixed_clips", lambda *_: frozenset())
    monkeypatch.setattr(scope, "fix_clips", lambda *_: frozenset())
    with nothing_bought(house):
        again(house, old.run)  # the ledger's own guard, in the transaction that reserves
    monkeypatch.setattr(decision_clips, "refusal", lambda *_: None)
    again(house, old.run)
    assert subject(stranger) in house.bought()


def test_a_run_that_waits_in_the_queue_keeps_the_clips_it_was_created_for(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("loop", THREE)
    house.add(keys)
    run = queued(house, keys)
    stranger = let_a_stranger_in(house, keys)

    assert start(house, run).green

    assert house.bought() == sorted(map(subject, keys))
    for asset in MADE:
        assert ui.bars()[asset].green == set(keys), asset
    assert house.attempts([stranger]) == {}


def test_a_failing_run_does_not_change_the_colours_of_other_clips(house: House, ui: DagsterUi) -> None:
    keys = house.declare("loop", THREE)
    house.add(keys)
    for word in ("gold", "outer"):
        house.fault({"do": "fail"}, prompt_contains=word)
    old = house.produce(keys)
    assert set(old.failed_clips) == {"loop-gold"}
    strangers = green, red, never_produced = house.declare("harbor", ["inner", "outer", "upper"])
    house.forget(keys[-1])
    house.add([*strangers, keys[-1]])
    assert set(house.produce([green, red]).failed_clips) == {red}
    before = {asset: bar for asset, bar in ui.bars().items() if asset in MADE}
    assert green in before["uploaded_videos"].green
    assert red in before["uploaded_videos"].red

    with nothing_bought(house):
        repeated = again(house, old.run)
    again(house, repeated.run)

    assert set(repeated.failed_clips) == {"loop-gold"}
    after = ui.bars()
    for asset in MADE:
        assert (after[asset].green, after[asset].red) == (before[asset].green, before[asset].red), asset
        assert not after[asset].materializing & set(strangers)
    assert never_produced not in after["submissions"].green | after["submissions"].red
    for stranger in strangers:
        (page,) = ui.ask(LATEST_RUN, clip=stranger)["assetNodes"]
        latest = page["latestRunForPartition"]
        assert latest is None or latest["runId"] not in {repeated.run.run_id, old.run.run_id}, (
            "the link on its page"
        )


def test_a_clip_that_moved_out_of_the_range_still_belongs_to_the_run_and_a_deleted_one_is_named(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("loop", [*THREE, "zinc"])
    house.add(keys)
    run = queued(house, keys)
    for moved in keys[1:3]:
        house.forget(moved)
    house.add([keys[1]])

    ran = start(house, run)

    assert ran.green, ran.failure
    there = [keys[0], keys[1], keys[3]]
    assert house.bought() == sorted(map(subject, there))
    for asset in ALL:
        assert ui.bars()[asset].green == set(there), asset
    assert any(keys[2] in words and "partitions of 1 clips" in words for words in house.said(run.run_id))
    assert house.observed("submissions", keys[2])["left_alone"] == "its partition was deleted"


def test_a_run_whose_range_has_lost_an_end_says_so_and_buys_nothing(house: House) -> None:
    keys = house.declare("loop", THREE)
    house.add(keys)
    run = queued(house, keys)
    house.forget(keys[-1])
    with nothing_bought(house):
        ran = start(house, run)
    assert f"{keys[-1]}, an end of this run's range" in (ran.failure or "")


def test_a_decision_in_the_ledger_overrides_the_range_of_a_run(
    house: House,
) -> None:
    keys = house.declare("loop", THREE)
    house.add(keys)
    with house.production.ledger() as ledger:
        decision_clips.fix_clips(ledger, "produce:1", keys[:2])
    ran = house.produce(keys, tags={DECISION_TAG: "produce:1"})
    assert ran.green, ran.failure
    assert house.bought() == sorted(map(subject, keys[:2]))


def test_each_run_of_a_decision_that_the_ledger_has_lost_keeps_its_own_clips(
    house: House,
) -> None:
    keys = house.declare("loop", THREE)
    house.add(keys)
    first, second = (queued(house, some, **{DECISION_TAG: "produce:2"}) for some in (keys[:2], keys[2:]))
    assert start(house, first).green
    assert start(house, second).green
    assert house.bought() == sorted(map(subject, keys))
    with house.production.ledger() as ledger:
        assert fixed_clips(ledger, first.run_id) == set(keys[:2])
        assert fixed_clips(ledger, second.run_id) == set(keys[2:])


def test_a_run_over_a_list_keeps_its_first_list_of_clips(house: House) -> None:
    keys = house.declare("loop", THREE)
    house.add(keys)
    config = {"ops": {"produce_scattered": {"config": {"keys": keys[:2]}}}}
    tags = {DECISION_TAG: "retry:1"}
    assert house.run("produce_scattered_clips", config=config, tags=tags).green
    config["ops"]["produce_scattered"]["config"]["keys"] = keys[1:]
    more = house.run("produce_scattered_clips", config=config, tags=tags)
    assert more.green, more.failure
    assert house.bought() == sorted(map(subject, keys[:2]))
    assert any(keys[2] in words and "left alone" in words for words in house.said(more.run.run_id))


BACKFILL = """
mutation Backfill($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) { ... on LaunchBackfillSuccess { backfillId } }
}
"""


def test_a_backfill_is_about_the_clips_that_were_chosen_for_it(house: House, ui: DagsterUi) -> None:
    keys = house.declare("loop", THREE)
    house.declare("harbor", ["inner"])
    house.add([*keys[:2], "harbor-inner", keys[2]])
    chosen = {"assetSelection": [{"path": [asset]} for asset in ALL], "partitionNames": keys}
    launched = ui.ask(BACKFILL, params=chosen)["launchPartitionBackfill"]
    tags = {"dagster/backfill": launched["backfillId"]}

    # as if the backfill daemon had taken the two ends for one stretch, and again for another of its runs
    assert house.produce(keys[1:], tags=tags).green
    assert house.produce(keys[:2], tags=tags).green

    assert house.bought() == sorted(map(subject, keys))
    with house.production.ledger() as ledger:
        assert fixed_clips(ledger, launched["backfillId"]) == set(keys)


def test_a_character_that_moved_into_a_range_is_not_made(house: House) -> None:
    for name in ("mara", "noa", "otto"):
        character(house, name)
    with house.production.ledger() as ledger:
        decision_clips.fix_clips(ledger, "characters:1", ["mara", "otto"])
    house.instance.add_dynamic_partitions("characters", ["mara", "noa", "otto"])
    ran = house.run("make_characters", ["mara", "otto"], tags={DECISION_TAG: "characters:1"})
    assert ran.green, ran.failure
    assert sorted(str(job["body"]["name"]) for job in house.books()["jobs"]) == ["Mara", "Otto"]
