"""Findings from the ledger alone: exact numbers, at the moment they become true."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.providers.base import JobStatus

sys.path.append(str(Path(__file__).parents[1] / "ledger"))

from ledgerkit import ACCOUNT, CHARGED_FIRST, a_request, a_state, put_into, submitted

from proof.clock import Clock
from resources.inventory.findings import Finding
from resources.inventory.ledger_audit import (
    UNREPORTED_SECONDS,
    check_ledger,
    is_near_its_end,
    undeclared,
    unreported,
)
from resources.ledger import deliveries, polls, stops
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.queue import withdraw
from resources.ledger.states import AttemptState

DAY = 86_400.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(ledger_url: str, clock: Clock) -> Iterator[Ledger]:
    with Ledger(ledger_url, clock=clock, budget=Budget()) as made:
        yield made


def wrong(ledger: Ledger) -> dict[str, int]:
    """The number in every check with findings."""
    return {f.check.name: f.number for f in check_ledger(ledger) if not f.is_fine}


def finding(ledger: Ledger, name: str) -> Finding:
    return next(f for f in check_ledger(ledger) if f.check.name == name)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (AttemptState.QUEUED, {}),
        (AttemptState.WITHDRAWN, {}),
        (AttemptState.SUBMITTED, {}),
        (AttemptState.SUCCEEDED, {}),
        (AttemptState.DELIVERED, {}),
        (AttemptState.UNKNOWN, {"nothing_unclear": 1}),
        (AttemptState.HELD, {"nothing_unclear": 1}),
        (AttemptState.OVERDUE, {"no_job_is_overdue": 1}),
        (AttemptState.REJECTED, {"no_failed_clips": 1}),
        (AttemptState.FAILED, {"no_failed_clips": 1}),
        (AttemptState.VANISHED, {"no_failed_clips": 1}),
        (AttemptState.LOST, {"no_failed_clips": 1}),
        (AttemptState.QUARANTINED, {"no_failed_clips": 1}),
        (AttemptState.ABANDONED, {"no_failed_clips": 1}),
    ],
)
def test_each_state_is_counted_where_it_belongs(
    ledger: Ledger, clock: Clock, state: AttemptState, expected: dict[str, int]
) -> None:
    put_into(ledger, clock, state)
    assert wrong(ledger) == expected


def test_a_stopped_account_is_named_with_its_reason(ledger: Ledger) -> None:
    stops.stop(ledger, account=ACCOUNT, reason="the balance is low")
    found = finding(ledger, "nothing_is_stopped")
    assert found.keys == [ACCOUNT]
    assert "the balance is low" in found.sample[0]


def test_an_output_is_near_its_end_on_its_last_day(ledger: Ledger, clock: Clock) -> None:
    attempt = polls.record_end(ledger, submitted(ledger), a_state(), CHARGED_FIRST)
    end = attempt.copy_deadline
    assert end is not None
    assert not is_near_its_end(attempt, end - DAY - 1)
    assert is_near_its_end(attempt, end - DAY + 1)
    clock.now = end - 3 * 3600
    found = finding(ledger, "no_output_near_its_end")
    assert found.keys == [attempt.subject_key]
    assert "3 more hours" in found.sample[0]
    clock.now = end + 1
    assert "past its time" in finding(ledger, "no_output_near_its_end").sample[0]


def test_an_output_with_an_unknown_lifetime_must_not_wait_for_long(ledger: Ledger, clock: Clock) -> None:
    _, attempt = put_into(ledger, clock, AttemptState.SUCCEEDED)
    assert attempt.copy_deadline is None
    assert wrong(ledger) == {}
    clock.forward(7 * 3600)
    assert wrong(ledger) == {"no_output_near_its_end": 1}


@pytest.mark.postgresql
def test_an_unreported_end_is_a_finding_once_a_sensor_should_have_reported_it(
    ledger: Ledger, clock: Clock
) -> None:
    _, attempt = put_into(ledger, clock, AttemptState.FAILED)
    assert unreported(ledger) == []
    clock.forward(UNREPORTED_SECONDS + 1)
    assert [a.id for a in unreported(ledger)] == [attempt.id]
    deliveries.mark_reported(ledger, [attempt.id], "run")
    assert unreported(ledger) == []


@pytest.mark.slow
def test_the_sample_is_short_and_the_number_exact(ledger: Ledger) -> None:
    for number in range(23):
        attempt = submitted(ledger, a_request(f"clip-{number:02}"), job_id=f"job-{number}")
        polls.record_end(ledger, attempt, a_state(status=JobStatus.FAILED, error="x" * 999), CHARGED_FIRST)
    found = finding(ledger, "no_failed_clips")
    assert (found.number, len(found.sample)) == (23, 20)
    assert all(len(line) < 300 for line in found.sample)
    assert "23" in str(found)
    assert "dailies retry" in str(found)


@pytest.mark.postgresql
def test_an_open_purchase_of_an_undeclared_account_is_named(ledger: Ledger) -> None:
    assert undeclared(ledger, ["wavespeed"]).is_fine
    decide(ledger, [a_request("clip-a", account="team-b"), a_request("clip-b")], Decision("monday"))
    missing = undeclared(ledger, ["wavespeed"])
    assert missing.sample == ["team-b: 1 purchase on the way"]
    assert "data/accounts" in str(missing)
    assert undeclared(ledger, ["wavespeed", "team-b"]).is_fine
    withdraw(ledger, [ledger.latest(["clip-a"])["clip-a"].id], why="no")
    assert undeclared(ledger, ["wavespeed"]).is_fine
