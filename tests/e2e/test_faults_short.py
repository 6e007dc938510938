"""The short form of the storms: real workers are killed while providers return wrong answers; an independent judge must find nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from proof.faults.round import run_round
from proof.faults.stack import KINDS, StackScale, run_stack
from proof.faults.storm import StormScale
from proof.stand_in.mischief import Mischief

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_the_judge_imports_nothing_of_dailies() -> None:
    program = (
        "import sys, proof.stand_in.books, proof.faults.judge, proof.faults.evidence\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'resources', 'pipelines', 'dagster'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.strip() == "[]"


def test_sixteen_clips_survive_six_kills_and_the_faults_of_four_providers(tmp_path: Path) -> None:
    scale = StormScale(
        16,
        kills=6,
        pace=24,
        workers=2,
        seed=11,
        mischief=Mischief(11),
        troubles=2,
        minutes=5,
        settle={"aimlapi": 240.0, "fal": 240.0},
    )
    outcome = run_round(scale, tmp_path)
    verdict = outcome.verdict
    # with a clock this fast, a busy machine makes more cases ambiguous; the long form is strict
    assert [problem for problem in outcome.problems if not problem.startswith("held: ")] == []
    # Only a lost answer holds a clip. How many kills lose one depends on the machine.
    assert verdict.ends.get("held", 0) == len(verdict.held)
    assert verdict.ends["delivered"] >= 12
    assert sum(verdict.ends.values()) == 24
    assert verdict.jobs >= 18
    assert verdict.providers == {"wavespeed", "aimlapi", "fal", "replicate"}
    assert sum(outcome.kills.values()) >= 6
    assert outcome.troubles
    assert sum(outcome.faults.values()) >= 10


@pytest.mark.night
def test_every_kind_of_process_of_a_stack_is_killed_and_every_clip_is_still_delivered(
    tmp_path: Path,
) -> None:
    outcome = run_stack(tmp_path, StackScale(3, kills=6, pace=5.0, seed=5))
    assert outcome.problems == []
    assert sum(outcome.verdict.ends.values()) == 6
    assert sum(outcome.kills.values()) >= 6
    struck = {kind for kind in KINDS if any(f" {kind}, at" in done for done in outcome.kills)}
    assert len(struck) >= 3, outcome.kills
