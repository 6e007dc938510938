"""Answers that are lost at Replicate: adopted exactly, with strangers on the same account ordering the same at the same second."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inputkit import LOSSES, OWN, Rig, S

MODEL = "bytedance/seedance-2.0"
BODY = {"prompt": "a boat", "resolution": "720p", "duration": 5, "aspect_ratio": "16:9"}


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path, "replicate", MODEL, BODY)
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


def test_without_a_seed_of_its_own_it_is_held(rig: Rig) -> None:
    rig.fault({"do": "lose_answer"}, times=1)
    rig.decide("clip-a", seed=None)
    attempt = rig.until_ended("clip-a", also=rig.twins(None, None, None))["clip-a"]
    assert (attempt.state, attempt.job_id) == (S.HELD, None)
    assert "dailies resolve clip-a" in (attempt.reason or "")
    assert len(rig.jobs) == 4


def test_a_post_that_came_to_nothing_is_not_bought_again_without_a_bill_that_proves_it(rig: Rig) -> None:
    rig.fault({"do": "drop"}, times=1)
    rig.decide("clip-a", seed=OWN)
    attempt = rig.until_ended("clip-a", also=rig.twins(1))["clip-a"]
    # the stranger's job is not taken for ours, and none of ours was made
    assert (attempt.state, attempt.job_id) == (S.HELD, None)
    assert len(rig.jobs) == 1
