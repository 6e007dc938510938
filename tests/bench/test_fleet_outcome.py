"""Findings that make a proof on several hosts fail: each of them alone must do so."""

import pytest

from proof.faults.judge import StormJudgement
from proof.fleet.dagster_scenes import expect_in_time
from proof.fleet.scenes import TWO_MINUTES, FleetOutcome
from proof.laws import Violation

GOOD = {"a file": ["lost: it"], "a POST": ["duplicate: it"]}


def test_a_proof_without_problems_passes() -> None:
    assert FleetOutcome(broken_on_purpose=GOOD).problems == []


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (FleetOutcome(StormJudgement([Violation("duplicate", "two jobs")])), "duplicate: two jobs"),
        (
            FleetOutcome(StormJudgement(held={"pier": "another may have made it"})),
            "held: pier: another may have made it",
        ),
        (FleetOutcome(missed=["killed: jobs: not within 900 s"]), "killed: jobs: not within 900 s"),
        (FleetOutcome(broken_on_purpose=GOOD | {"a POST": []}), "the judge did not see a POST"),
    ],
)
def test_each_of_these_is_a_problem(outcome: FleetOutcome, problem: str) -> None:
    assert outcome.problems == [problem]


@pytest.mark.parametrize(("seconds", "problems"), [(TWO_MINUTES - 1, 0), (TWO_MINUTES + 1, 1)])
def test_a_dead_hosts_clips_are_collected_within_two_minutes_or_the_proof_fails(
    seconds: float, problems: int
) -> None:
    outcome = FleetOutcome()
    expect_in_time(outcome, "killed: all its clips delivered after", 1_000.0, now=1_000.0 + seconds)
    assert outcome.seconds == {"killed: all its clips delivered after": seconds}
    assert len(outcome.problems) == problems
