"""A run may buy only what a person approved, whatever was edited between the approval and the run."""

import shutil
from collections.abc import Sequence
from typing import Any

import pytest
from pipelinekit import MODELS, House, again, nothing_bought, subject

from pipelines.clip_batch import APPROVED_TAG, DECISION_TAG
from pipelines.run_labels import ASKED_BY, CLIPS, PRICE
from resources.ledger import approvals
from resources.ledger.approvals import Approval, approve_clips

DECISION = "produce:1"
MODEL = "wavespeed-sora-2-text-to-video.yaml"
EDITED = {
    "harbor-inner": "its request or account changed",
    "harbor-outer": "its request or account changed",
    "pier-low": "its request or account, and its price changed",
    "cape-north": "its price changed",
}
"""The reason for each clip after `edit`, by clip."""


def edit(house: House) -> None:
    """Change a prompt, the parameters of another series, and the price of a third."""
    house.edit("harbor", "quiet", "stormy")
    house.edit("pier", "duration: 4", "duration: 5")
    set_price(house, 'usd: "0.10"', 'usd: "0.11"')


def undo(house: House) -> None:
    house.edit("harbor", "stormy", "quiet")
    house.edit("pier", "duration: 5", "duration: 4")
    set_price(house, 'usd: "0.11"', 'usd: "0.10"')


def set_price(house: House, before: str, now: str) -> None:
    models = house.data / "models"
    if models.is_symlink():
        models.unlink()
        shutil.copytree(MODELS, models)
    text = (models / MODEL).read_text()
    assert before in text
    (models / MODEL).write_text(text.replace(before, now))


def declare(house: House) -> tuple[list[str], list[str]]:
    """Four series in one batch: three that are edited, and one that is not. Returns their clips."""
    sora: dict[str, Any] = {"endpoint": "openai/sora-2/text-to-video", "allow_retired": True}
    edited = [
        *house.declare("harbor", ["inner", "outer"], parameters={"duration": 4, "aspect_ratio": "1:1"}),
        *house.declare("pier", ["low"], parameters={"duration": 4, "aspect_ratio": "1:1"}),
        *house.declare("cape", ["north"], parameters={"duration": 4}, **sora),
    ]
    rest = house.declare("loop", ["gold"])
    house.add([*edited, *rest])
    return edited, rest


def approve(house: House, keys: Sequence[str]) -> None:
    """Record what a command records when a person approves."""
    declarations = house.production.declarations()
    requests = [declarations.render(declarations.find(key)) for key in keys]
    with house.production.ledger() as ledger:
        approve_clips(ledger, DECISION, map(Approval.of, requests))


def test_clips_edited_after_the_approval_are_not_bought_and_the_others_are(house: House) -> None:
    edited, rest = declare(house)
    approve(house, [*edited, *rest])
    edit(house)

    ran = house.produce([*edited, *rest], tags={DECISION_TAG: DECISION})

    assert set(ran.failed_clips) == set(edited) == set(EDITED)
    for clip, reason in ran.failed_clips.items():
        assert EDITED[clip] in reason
        assert "changed after the approval: request " in reason
        assert " was approved, request " in reason
        assert f"Nothing was bought. `dailies produce {clip}` shows the price and asks again." in reason
    assert house.bought() == [subject(key) for key in rest]
    with nothing_bought(house):
        repeated = again(house, ran.run)
    assert set(repeated.failed_clips) == set(edited)

    undo(house)
    assert again(house, repeated.run).green, "a re-execution keeps the approval"
    assert house.bought() == sorted(map(subject, [*edited, *rest]))


def test_without_the_comparison_edited_clips_are_bought(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control of the test above."""
    edited = declare(house)[0][:2]
    approve(house, edited)
    edit(house)
    monkeypatch.setattr(approvals, "refusal", lambda *_, **__: None)
    assert house.produce(edited, tags={DECISION_TAG: DECISION}).green
    assert len(house.bought()) == 2


def test_a_run_without_an_approval_buys_what_is_declared(house: House) -> None:
    edited = declare(house)[0][:2]
    approve(house, edited)
    edit(house)
    assert house.produce(edited).green
    assert house.produce(edited, tags={DECISION_TAG: "series/harbor:tick"}).green
    assert len(house.bought()) == 2


def test_a_ledger_that_has_lost_the_approval_does_not_buy(house: House) -> None:
    keys = declare(house)[0][:2]
    tags = {DECISION_TAG: DECISION, APPROVED_TAG: "true"}
    config: dict[str, Any] = {"ops": {"produce_scattered": {"config": {"keys": keys}}}}
    with nothing_bought(house):
        whole = house.produce(keys, tags=tags)
        scattered = house.run("produce_scattered_clips", tags=tags, config=config)
    for ran in (whole, scattered):
        assert "does not know what was approved for produce:1" in (ran.failure or "")
    approve(house, keys)
    assert house.produce(keys, tags=tags).green


def test_an_empty_list_of_the_launchpad_is_refused(house: House) -> None:
    declare(house)
    config: dict[str, Any] = {"ops": {"produce_scattered": {"config": {"keys": []}}}}
    with nothing_bought(house):
        ran = house.run("produce_scattered_clips", config=config)
    assert not ran.green
    assert "`keys` is empty" in (ran.failure or "")


def test_a_run_from_the_launchpad_has_the_labels_of_a_commands_run(house: House) -> None:
    """It once had only Dagster's own tags: the list of runs showed neither its price nor its clips."""
    edited, rest = declare(house)
    keys = [*edited, *rest]
    ran = house.run(
        "produce_scattered_clips", config={"ops": {"produce_scattered": {"config": {"keys": keys}}}}
    )
    run = ran.run
    assert run.tags[ASKED_BY] == "a person in Dagster"
    assert run.tags[CLIPS] == str(len(keys))
    assert run.tags[PRICE].startswith("at most $")
