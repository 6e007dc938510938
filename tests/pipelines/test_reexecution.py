"""Runs that a person or Dagster starts again belong to the same decision and buy nothing new."""

import contextlib
import itertools
from typing import Any

import dagster as dg
import pytest
from dagster_ui import DagsterUi
from pipelinekit import House, again, nothing_bought, subject

from pipelines.clip_batch import decision_of
from resources.ledger import queue


def test_a_run_that_is_re_executed_inherits_the_decision_and_buys_nothing(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("bay", ["east", "west", "north"])
    house.add(keys)
    house.fault({"do": "fail"}, prompt_contains="west")
    failed = house.produce(keys)
    assert set(failed.failed_clips) == {"bay-west"}
    house.heal()

    with nothing_bought(house):
        second = again(house, failed.run)
        third = again(house, second.run)

    for ran in (second, third):
        assert decision_of(ran.run) == decision_of(failed.run) == failed.run.run_id
        assert set(ran.failed_clips) == {"bay-west"}, ran.failure
        assert "already tried 1 of 1" in ran.failed_clips["bay-west"]
        assert "dailies retry" in ran.failed_clips["bay-west"]
    bars = ui.bars()
    assert bars["submissions"].green == set(keys)
    assert (bars["uploaded_videos"].green, bars["uploaded_videos"].red) == (
        {"bay-east", "bay-north"},
        {"bay-west"},
    )

    assert house.produce(["bay-west"]).green, "a person's new order is a new decision"
    assert house.bought() == sorted(subject(key) for key in [*keys, "bay-west"])


def test_all_runs_of_a_backfill_are_one_decision(house: House) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    house.fault({"do": "fail"}, prompt_contains="west")
    for _ in range(2):
        ran = house.produce(keys, tags={"dagster/backfill": "abcdef"})
        assert set(ran.failed_clips) == {"bay-west"}
    assert len(house.bought()) == 2


def test_a_worker_that_dies_after_the_post_is_followed_by_a_run_that_adopts_its_job(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    dead = house.run("submit_clips", keys)
    house.watched_by(dead.run.run_id, keys)
    with nothing_bought(house):
        assert house.produce(keys).green
    assert ui.bars()["uploaded_videos"].green == set(keys)


def test_an_edited_prompt_waits_until_the_paid_clip_is_delivered(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    house.settings(job_seconds=3600)
    assert house.run("submit_clips", keys).green
    house.edit("bay", "the west", "the far west")
    with nothing_bought(house):
        ran = house.run("submit_clips", keys)
    assert set(ran.failed_clips) == {"bay-west"}
    assert "Its paid output is fetched first" in ran.failed_clips["bay-west"]
    bars = ui.bars()
    assert (bars["submissions"].green, bars["submissions"].red) == ({"bay-east"}, {"bay-west"})


def test_a_terminated_run_withdraws_its_unsent_clips_and_names_its_paid_jobs(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.declare("quiet", ["a", "b", "c"])
    house.add(keys)
    claim, claims = queue.claim_next, itertools.count()

    def then_somebody_clicks_terminate(*args: Any, **how: Any) -> object:
        if next(claims):
            raise dg.DagsterExecutionInterruptedError
        return claim(*args, **how)

    with monkeypatch.context() as patched:
        patched.setattr(queue, "claim_next", then_somebody_clicks_terminate)
        with contextlib.suppress(dg.DagsterExecutionInterruptedError):
            house.produce(keys)
    (run,) = house.instance.get_runs()
    said = [entry.user_message for entry in house.instance.all_logs(run.run_id)]
    (words,) = [text for text in said if "this run was terminated" in text]
    assert "1 of its paid jobs" in words
    assert "2 clips were not sent and are withdrawn" in words
    states = sorted(attempt.state.value for attempt in house.attempts(keys).values())
    assert states[1:] == ["withdrawn", "withdrawn"]
    assert house.produce(keys).green  # another order of a person
    assert len(house.bought()) == 3
