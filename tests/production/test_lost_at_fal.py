"""Lost answers at fal: adopted exactly, although strangers on the same key order the same at the same second. Time is virtual."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import run
from inputkit import LOSSES, OWN, Rig, S

MODEL = "bytedance/seedance-2.0/text-to-video"
BODY = {"prompt": "a boat", "resolution": "720p", "duration": "5", "aspect_ratio": "16:9"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, "fal", MODEL, BODY, admin_key="sandbox:admin")
    yield made
    made.close()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss["do"])
def test_a_lost_answer_is_adopted_exactly_among_strangers(rig: Rig, loss: dict[str, Any]) -> None:
    rig.fault(loss, times=1)
    rig.decide("clip-a", seed=OWN)
    attempt = rig.until_ended("clip-a", also=rig.twins(1, 2, 3))["clip-a"]
    assert attempt.state is S.SUCCEEDED
    (mine,) = (job for job in rig.jobs if job.body["seed"] not in {1, 2, 3})
    assert attempt.job_id == mine.id
    assert len(rig.jobs) == 4


@pytest.mark.slow
def test_a_lost_answer_without_its_own_seed_is_held(rig: Rig) -> None:
    rig.fault({"do": "lose_answer"}, times=1)
    rig.decide("clip-a", seed=None)
    attempt = rig.until_ended("clip-a", also=rig.twins(None, None, None))["clip-a"]
    assert (attempt.state, attempt.job_id) == (S.HELD, None)
    assert "dailies resolve clip-a" in (attempt.reason or "")
    assert len(rig.jobs) == 4


def test_two_lost_answers_of_equal_orders_each_get_their_own_job(rig: Rig) -> None:
    rig.fault({"do": "lose_answer"}, times=2)
    rig.decide("clip-a", "clip-b", seed=OWN)
    found = rig.until_ended("clip-a", "clip-b")
    assert {attempt.state for attempt in found.values()} == {S.SUCCEEDED}
    assert {attempt.job_id for attempt in found.values()} == {job.id for job in rig.jobs}
    assert len(rig.jobs) == 2


@pytest.mark.slow
def test_a_running_job_is_not_listed_and_not_taken_for_absent(rig: Rig) -> None:
    rig.fault({"do": "lose_answer"}, times=1)
    rig.fault({"do": "take", "seconds": 3_000}, times=1)
    rig.decide("clip-a", seed=OWN)
    attempt = rig.until_ended("clip-a")["clip-a"]
    assert attempt.state is S.SUCCEEDED
    assert len(rig.jobs) == 1


@pytest.mark.slow
def test_the_bill_is_booked_to_the_cent(rig: Rig) -> None:
    rig.decide("clip-a", seed=OWN)
    attempt = rig.until_ended("clip-a")["clip-a"]
    assert attempt.quoted_micros == 2_000_000

    async def read_the_bill() -> None:
        engine = rig.engine()
        for _ in range(20):
            await engine.step("fal")
            await asyncio.sleep(600)
        await engine.aclose()

    run(rig.clock, read_the_bill(), at_most=86_400)
    billed = rig.ledger.latest(["clip-a"])["clip-a"]
    assert (billed.cost_micros, billed.charge_source) == (1_517_000, "bill")


def test_a_refusal_that_may_be_charged_counts_until_the_bill_shows_that_it_was_free(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "fal", MODEL, BODY)
    try:
        rig.fault({"do": "fail", "error": "violates the content policy"}, times=1)
        rig.decide("clip-a", seed=OWN)
        attempt = rig.until_ended("clip-a")["clip-a"]
        assert attempt.state is S.FAILED
        assert (attempt.cost_micros, attempt.charge_source) == (2_000_000, "quote")
    finally:
        rig.close()
