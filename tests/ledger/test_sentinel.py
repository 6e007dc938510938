"""The sentinel stops an account that is charged more than was ordered: for one request, or within an hour."""

import dataclasses

import pytest
from ledgerkit import (
    ACCOUNT,
    NEVER_CHARGED,
    a_request,
    a_state,
    accepted,
    claimed,
    put_into,
    queued,
    submitted,
    succeeded,
    unknown,
)

from proof.clock import Clock
from resources.ledger import bills, disputes, keys, polls, sentinel, stops
from resources.ledger.bills import MARGIN_SECONDS, Billed
from resources.ledger.ledger import Ledger
from resources.ledger.lost import closures
from resources.ledger.outcomes import record_outcome
from resources.ledger.sentinel import HOUR_SECONDS, SMALL_MICROS
from resources.ledger.states import AttemptState
from resources.ledger.stops import StopKind
from resources.money import usd
from resources.providers.base import Charge

QUOTE = usd("0.40")


@pytest.fixture
def bought(ledger: Ledger, clock: Clock) -> str:
    """The job of a purchase on a dedicated key, a minute ago."""
    keys.decide(ledger, ACCOUNT, dedicated=True, who="test")
    job_id = succeeded(ledger).job_id
    assert job_id is not None
    clock.now += 60
    return job_id


def charge(job_id: str, dollars: str, at: float, kind: str = "charge") -> Charge:
    return Charge(job_id, usd(dollars), "refund" if kind == "refund" else "charge", at)


def watched(ledger: Ledger, *charges: Charge, ahead: float = 0.0) -> list[StopKind]:
    sentinel.watch_hours(ledger, ACCOUNT, charges, ahead_seconds=ahead)
    return [stop.kind for stop in stops.stops(ledger)]


def test_charges_without_an_order_stop_a_dedicated_key(ledger: Ledger, clock: Clock, bought: str) -> None:
    assert watched(ledger, charge(bought, "0.40", clock.now), charge("stranger", "40500", clock.now)) == [
        StopKind.OVERCHARGED
    ]
    (stop,) = stops.stops(ledger)
    assert "wavespeed was charged $40500.40 within an hour, and $0.40 was ordered" in stop.reason
    assert "not ordered here: 1, stranger" in stop.reason
    assert "`dailies ledger --check`" in str(stop)
    assert f"`dailies start --account {ACCOUNT}`" in str(stop)


def test_charges_of_ordered_jobs_stop_nothing(ledger: Ledger, clock: Clock, bought: str) -> None:
    """The control: the same rows, each of them ordered."""
    assert watched(ledger, charge(bought, "0.40", clock.now)) == []


def test_strangers_jobs_on_a_shared_key_stop_nothing(ledger: Ledger, clock: Clock, bought: str) -> None:
    keys.decide(ledger, ACCOUNT, dedicated=False, who="test")
    assert watched(ledger, charge("stranger", "40500", clock.now)) == []


@pytest.mark.parametrize(("by_hand", "stopped"), [("5", False), ("5.01", True)])
def test_a_small_excess_stops_nothing(
    ledger: Ledger, clock: Clock, bought: str, by_hand: str, stopped: bool
) -> None:
    assert usd("5") == SMALL_MICROS
    rows = charge(bought, "0.40", clock.now), charge("by-hand", by_hand, clock.now)
    assert bool(watched(ledger, *rows)) is stopped


@pytest.mark.parametrize(("factor", "stopped"), [(2.0, True), (100.0, False)])
def test_the_factor_is_the_budgets(
    ledger: Ledger, clock: Clock, bought: str, factor: float, stopped: bool
) -> None:
    ledger.budget = dataclasses.replace(ledger.budget, hour_factor=factor)
    rows = charge(bought, "0.40", clock.now), charge("stranger", "20", clock.now)
    assert bool(watched(ledger, *rows)) is stopped


def test_charges_of_different_hours_are_not_added_up(ledger: Ledger, clock: Clock, bought: str) -> None:
    first = clock.now
    clock.now += 3 * HOUR_SECONDS
    rows = [charge(f"by-hand-{n}", "4", first + n * (HOUR_SECONDS + 1)) for n in range(3)]
    assert watched(ledger, *rows) == []
    within = [charge(f"by-hand-{n}", "4", first + n * HOUR_SECONDS / 3) for n in range(3)]
    assert watched(ledger, *within) == [StopKind.OVERCHARGED]


def test_an_excess_stops_the_account_once(ledger: Ledger, clock: Clock, bought: str) -> None:
    rows = [charge("stranger", "40", clock.now)]
    assert watched(ledger, *rows)
    clock.now += 10
    stops.start(ledger, account=ACCOUNT)
    assert watched(ledger, *rows) == [], "a person has seen the excess"
    day = 86_400.0
    assert watched(ledger, charge("stranger", "40", rows[0].at + day), ahead=day) == [], "a clock a day ahead"
    clock.now += 10
    assert watched(ledger, *rows, charge("another", "40", clock.now)) == [StopKind.OVERCHARGED]


def test_a_refunded_charge_does_not_count(ledger: Ledger, clock: Clock, bought: str) -> None:
    rows = charge("stranger", "40", clock.now), charge("stranger", "40", clock.now + 5, "refund")
    assert watched(ledger, *rows) == []


def test_a_lost_answer_may_have_made_the_job(ledger: Ledger, clock: Clock, bought: str) -> None:
    dear = usd("40")
    queued(ledger, a_request("clip-lost", price_micros=dear))
    record_outcome(ledger, claimed(ledger), unknown())
    assert watched(ledger, charge("whose", "40", clock.now)) == []


@pytest.mark.parametrize(("jobs_of_one_post", "stopped"), [(1, False), (2, True)])
def test_a_late_job_was_ordered_and_a_second_job_of_its_post_was_not(
    ledger: Ledger, clock: Clock, bought: str, jobs_of_one_post: int, stopped: bool
) -> None:
    queued(ledger, a_request("clip-late", price_micros=usd("40")))
    submission = claimed(ledger)
    attempt = record_outcome(ledger, submission, unknown())
    with ledger.transaction(who="test", run_id=None) as tx:
        closures.close_absent(tx, attempt, submission.id, why="nothing is listed", again=0)
    names = [f"late-{number}" for number in range(jobs_of_one_post)]
    for name in names:
        record_outcome(ledger, submission, accepted(name))
    assert bool(watched(ledger, *(charge(name, "40", clock.now) for name in names))) is stopped


def test_a_charge_before_the_first_order_is_not_ours(ledger: Ledger, clock: Clock, bought: str) -> None:
    assert watched(ledger, charge("before", "40", clock.now - 61)) == []
    assert watched(ledger, charge("after", "40", clock.now - 59)) == [StopKind.OVERCHARGED]


def test_an_ordered_job_in_another_unit_is_disputed_and_not_counted(
    ledger: Ledger, clock: Clock, bought: str
) -> None:
    """A dispute ends when a later bill is right; this stop would not."""
    assert watched(ledger, charge(bought, "40", clock.now)) == []


@pytest.mark.parametrize(("factor", "stopped"), [(1.0, True), (1.2, True), (1.25, False)])
def test_one_request_stops_the_account_above_its_factor(ledger: Ledger, factor: float, stopped: bool) -> None:
    ledger.budget = dataclasses.replace(ledger.budget, request_factor=factor)
    polls.record_end(ledger, submitted(ledger), a_state(cost_micros=usd("0.50")), NEVER_CHARGED)
    assert bool(stops.stops(ledger)) is stopped


def test_a_running_job_that_is_charged_far_too_much_stops_the_account_at_once(
    ledger: Ledger, clock: Clock
) -> None:
    attempt = submitted(ledger)
    bill = {bills.core(attempt.job_id or ""): Billed(usd("40500"), 0)}
    since = (attempt.submitted_at or 0) - MARGIN_SECONDS
    for _ in range(2):
        bills.record(ledger, ACCOUNT, bill, since=since, refunds_failures=True)
    (stop,) = stops.stops(ledger)
    assert stop.kind is StopKind.UNBELIEVABLE
    assert "$40500.00 for job job-1" in stop.reason
    assert ledger.attempts([attempt.id])[attempt.id] == attempt, "nothing is booked while the job runs"
    assert len(disputes.open_disputes(ledger)) == 1


def test_every_state_with_a_job_counts_as_an_order(ledger: Ledger, clock: Clock) -> None:
    keys.decide(ledger, ACCOUNT, dedicated=True, who="test")
    ended = put_into(ledger, clock, AttemptState.DELIVERED)[1]
    assert watched(ledger, charge(ended.job_id or "", "0.40", clock.now)) == []
