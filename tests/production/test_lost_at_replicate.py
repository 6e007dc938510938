"""Lost answers at Replicate: adopted exactly, although strangers on the same account order the same at the same second."""

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


@pytest.mark.slow
def test_a_lost_answer_without_its_own_seed_is_held(rig: Rig) -> None:
    rig.fault({"do": "lose_answer"}, times=1)
    rig.decide("clip-a", seed=None)
    attempt = rig.until_ended("clip-a", also=rig.twins(None, None, None))["clip-a"]
    assert (attempt.state, attempt.job_id) == (S.HELD, None)
    assert "dailies resolve clip-a" in (attempt.reason or "")
    assert len(rig.jobs) == 4


@pytest.mark.slow
def test_a_post_without_a_job_is_not_bought_again_because_no_bill_proves_it(rig: Rig) -> None:
    rig.fault({"do": "drop"}, times=1)
    rig.decide("clip-a", seed=OWN)
    attempt = rig.until_ended("clip-a", also=rig.twins(1))["clip-a"]
    # the stranger's job is not adopted, and our POST made none
    assert (attempt.state, attempt.job_id) == (S.HELD, None)
    assert len(rig.jobs) == 1
