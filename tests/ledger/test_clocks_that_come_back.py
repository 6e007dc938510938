"""After a clock that was days ahead is right again, nothing waits for those days; on PostgreSQL only the database's clock counts."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from ledgerkit import (
    ACCOUNT,
    CHARGED_FIRST,
    a_request,
    a_state,
    accepted,
    claimed,
    decided,
    queued,
    read,
    rejected,
    submitted,
    succeeded,
)

from proof.clock import Clock
from resources.errors import UnavailableError
from resources.ledger import (
    bills,
    deliveries,
    heartbeats,
    late_jobs,
    locks,
    outcomes,
    pauses,
    polls,
    stops,
    uploads,
)
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.limits import LONGEST_PAUSE_SECONDS, Limits
from resources.ledger.lost import orphans, search_schedule
from resources.ledger.lost.posts import Contract, ListingView, find_undecided
from resources.ledger.outcomes import record_outcome
from resources.ledger.pauses import slow_down
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Submission
from resources.ledger.schema import submissions
from resources.ledger.states import AttemptState, SubmissionState
from resources.ledger.stops import StopKind
from resources.ledger.times import DatabaseClock
from resources.orders import Caps
from resources.providers.base import ClockOffset, FailureKind, JobStatus, Unknown

DAYS = [1.0, 2.0, 400.0]
S = AttemptState
CONTRACT = Contract(echoes=False, settle_seconds=60)


@pytest.fixture(params=DAYS, ids=lambda days: f"{days:.0f} days")
def ahead(request: pytest.FixtureRequest) -> float:
    return float(request.param) * 86_400


def comes_back(clock: Clock, ahead: float) -> None:
    """Set the clock right a minute later."""
    clock.forward(60 - ahead)


def test_a_poll_is_due(ledger: Ledger, clock: Clock, ahead: float) -> None:
    clock.forward(ahead)
    attempt = submitted(ledger)
    (attempt,) = polls.claim_due(ledger, ACCOUNT, limit=1)
    polls.reschedule(ledger, [(attempt, clock.now + 300)], polled=True)
    comes_back(clock, ahead)
    assert polls.next_poll_time(ledger, ACCOUNT) == clock.now
    assert [a.id for a in polls.claim_due(ledger, ACCOUNT, limit=9)] == [attempt.id]
    assert polls.claim_due(ledger, ACCOUNT, limit=9) == [], "now claimed"


def test_no_poll_is_due_later_than_the_bound_beyond_which_a_time_is_doubted(
    ledger: Ledger, clock: Clock
) -> None:
    submitted(ledger)
    (attempt,) = polls.claim_due(ledger, ACCOUNT, limit=1)
    polls.reschedule(ledger, [(attempt, clock.now + 86_400)], polled=True)
    assert read(ledger, attempt).next_poll_at == clock.now + polls.LONGEST_POLL_PAUSE_SECONDS
    assert polls.claim_due(ledger, ACCOUNT, limit=1) == []


def test_a_pause_of_polls_and_posts_is_over_and_a_new_one_counts(
    ledger: Ledger, clock: Clock, ahead: float
) -> None:
    submitted(ledger)
    queued(ledger, a_request("clip-b"))
    clock.forward(ahead)
    slow_down(ledger, ACCOUNT, 100, why="429")
    comes_back(clock, ahead)
    assert pauses.pauses(ledger) == []
    assert len(polls.claim_due(ledger, ACCOUNT, limit=9)) == 1
    slow_down(ledger, ACCOUNT, 20, why="429")
    later = claim_next(ledger, ACCOUNT, PostTerms(Limits(), 30))
    assert not isinstance(later, Submission)
    assert later is not None
    assert later.at == clock.now + 20
    clock.forward(21)
    assert isinstance(claim_next(ledger, ACCOUNT, PostTerms(Limits(), 30)), Submission)


def test_a_throttle_is_over(ledger: Ledger, clock: Clock, ahead: float) -> None:
    queued(ledger)
    clock.forward(ahead)
    record_outcome(ledger, claimed(ledger), rejected(FailureKind.THROTTLED, retry_after=600))
    comes_back(clock, ahead)
    assert claimed(ledger).attempt.state is S.SUBMITTING


def test_the_places_of_a_minute_are_free_again(ledger: Ledger, clock: Clock, ahead: float) -> None:
    clock.forward(ahead)
    submitted(ledger)
    comes_back(clock, ahead)
    queued(ledger, a_request("clip-b"))
    assert claimed(ledger, limits=Limits(per_minute=1)).attempt.state is S.SUBMITTING


def test_a_delivery_is_taken_over(ledger: Ledger, clock: Clock, ahead: float) -> None:
    attempt = succeeded(ledger)
    clock.forward(ahead)
    assert deliveries.claim(ledger, attempt.id, token="one") is not None
    comes_back(clock, ahead)
    assert deliveries.claim(ledger, attempt.id, token="another") is not None
    assert deliveries.claim(ledger, attempt.id, token="a third") is None


@pytest.mark.parametrize("behind", [0.01, 0.6, 4.0])
def test_a_lease_holds_for_a_process_whose_clock_is_a_moment_behind(
    ledger: Ledger, clock: Clock, behind: float
) -> None:
    attempt = succeeded(ledger)
    assert deliveries.claim(ledger, attempt.id, token="one") is not None
    assert heartbeats.lost(ledger, ["run-1"]) == {}
    with locks.hold(ledger, "partitions"):
        clock.forward(-behind)
        with pytest.raises(UnavailableError), locks.hold(ledger, "partitions", wait=0):
            pass
    assert deliveries.claim(ledger, attempt.id, token="another") is None
    assert heartbeats.lost(ledger, ["run-1"]) == {}
    clock.forward(heartbeats.GRACE_SECONDS - 1)
    assert heartbeats.lost(ledger, ["run-1"]) == {}, "the run has its full time for a first heartbeat"


def test_a_lock_is_taken_over(ledger: Ledger, clock: Clock, ahead: float) -> None:
    clock.forward(ahead)
    with locks.hold(ledger, "partitions"):
        comes_back(clock, ahead)
        with locks.hold(ledger, "partitions", wait=0):
            pass


def test_an_upload_is_taken_over(ledger: Ledger, clock: Clock, ahead: float) -> None:
    clock.forward(ahead)
    assert uploads.claim(ledger, ACCOUNT, "a" * 64).mine
    comes_back(clock, ahead)
    assert uploads.claim(ledger, ACCOUNT, "a" * 64).mine
    assert not uploads.claim(ledger, ACCOUNT, "a" * 64).mine


def test_a_stopped_account_is_asked_again(ledger: Ledger, clock: Clock, ahead: float) -> None:
    clock.forward(ahead)
    with ledger.write() as connection:
        stops.stop_account(connection, ACCOUNT, StopKind.INSUFFICIENT_FUNDS, "no credit", now=ledger.clock())
    assert stops.claim_probe(ledger, ACCOUNT) is not None
    comes_back(clock, ahead)
    assert stops.claim_probe(ledger, ACCOUNT) is not None
    assert stops.claim_probe(ledger, ACCOUNT) is None


def test_a_late_job_is_polled(ledger: Ledger, clock: Clock, ahead: float) -> None:
    attempt = polls.record_end(ledger, submitted(ledger), a_state(JobStatus.FAILED, error="x"), CHARGED_FIRST)
    clock.forward(max(ahead, 3 * 86_400))
    late_jobs.ask_later(ledger, attempt)
    clock.forward(60 - max(ahead, 3 * 86_400))
    assert [a.id for a in late_jobs.claim_late(ledger, ACCOUNT)] == [attempt.id]


def test_a_late_job_is_polled_although_a_clock_that_was_ahead_recorded_its_end(
    ledger: Ledger, clock: Clock, ahead: float
) -> None:
    attempt = submitted(ledger)
    clock.forward(ahead)
    polls.record_end(ledger, attempt, a_state(JobStatus.FAILED, error="x"), CHARGED_FIRST)
    comes_back(clock, ahead)
    assert [a.id for a in late_jobs.claim_late(ledger, ACCOUNT)] == [attempt.id]


def test_a_pause_that_a_right_clock_has_set_is_kept(ledger: Ledger, clock: Clock) -> None:
    attempt = polls.record_end(ledger, submitted(ledger), a_state(JobStatus.FAILED, error="x"), CHARGED_FIRST)
    for seconds in (61, 125, 500, 2000, 40_000):
        clock.forward(seconds)
        late_jobs.ask_later(ledger, attempt)
        assert not late_jobs.is_due(ledger, ACCOUNT)


def test_the_bill_is_read_over_a_window_that_has_the_charge(
    ledger: Ledger, clock: Clock, ahead: float
) -> None:
    really = clock.now
    clock.forward(ahead)
    polls.record_end(ledger, submitted(ledger), a_state(), CHARGED_FIRST)
    assert bills.claim(ledger, ACCOUNT) is not None
    comes_back(clock, ahead)
    window = bills.claim(ledger, ACCOUNT)
    assert window is not None
    assert window.after < really < window.before


def test_the_listing_is_swept_over_a_window_that_has_the_job(
    ledger: Ledger, clock: Clock, ahead: float
) -> None:
    really = clock.now
    clock.forward(ahead)
    submitted(ledger)
    clock.forward(orphans.SETTLED_SECONDS + 1)
    sweep = orphans.claim_sweep(ledger, ACCOUNT)
    assert sweep is not None
    orphans.finish_sweep(ledger, ACCOUNT, sweep)
    clock.forward(-ahead)
    swept_to = -math.inf
    while (again := orphans.claim_sweep(ledger, ACCOUNT)) is not None:
        if again.after <= really <= again.before:
            return
        assert again.before > swept_to
        swept_to = again.before
        orphans.finish_sweep(ledger, ACCOUNT, again)
    pytest.fail("no sweep covers the job")


@pytest.mark.parametrize("ahead_by", DAYS)
def test_a_living_run_is_not_declared_dead_and_a_dead_one_soon_is(
    ledger: Ledger, clock: Clock, ahead_by: float
) -> None:
    clock.forward(ahead_by * 86_400)
    for run_id in ("lives", "dead"):
        heartbeats.begin(ledger, run_id, "owner")
    clock.forward(60 - ahead_by * 86_400)
    assert heartbeats.lost(ledger, ["lives", "dead"]) == {}
    clock.forward(heartbeats.LEASE_SECONDS / 2)
    assert heartbeats.renew(ledger, "lives", "owner")
    clock.forward(heartbeats.LEASE_SECONDS / 2 + 1)
    assert heartbeats.lost(ledger, ["lives", "dead"]) == {}
    clock.forward(heartbeats.DOUBT_SECONDS)
    assert set(heartbeats.lost(ledger, ["lives", "dead"])) == {"dead"}


def test_a_job_that_seems_to_have_ended_before_its_submit_has_no_duration_and_is_not_young(
    ledger: Ledger, clock: Clock, ahead: float
) -> None:
    clock.forward(ahead)
    attempt = submitted(ledger)
    comes_back(clock, ahead)
    ended = polls.record_end(ledger, attempt, a_state(), CHARGED_FIRST)
    assert ended.waited_seconds is None, "a manifest allows no negative duration"
    assert ended.age(clock.now) == math.inf
    assert ended.age((ended.submitted_at or 0) + 7) == 7


# A POST that was sent while the clock was ahead


@pytest.mark.parametrize("measured", ["by that clock", "before it jumped", "never"])
def test_a_lost_post_is_searched_for_at_the_time_when_it_was_really_sent(
    ledger: Ledger, clock: Clock, ahead: float, measured: str
) -> None:
    really = clock.now
    offset = {
        "by that clock": ClockOffset(-ahead - 1, -ahead + 1),
        "before it jumped": ClockOffset(-1, 1),
        "never": None,
    }[measured]
    queued(ledger)
    clock.forward(ahead)
    post = claim_next(ledger, ACCOUNT, PostTerms(Limits(), 30, clock_offset=offset))
    assert isinstance(post, Submission)
    comes_back(clock, ahead)
    assert outcomes.expire_submissions(ledger, ACCOUNT) == [], "its poster has its full time"
    clock.forward(61)
    (attempt,) = outcomes.expire_submissions(ledger, ACCOUNT)
    assert attempt.state is S.UNKNOWN
    with ledger.read() as connection:
        (undecided,) = find_undecided(connection, ACCOUNT)
    window = undecided.post(ListingView(CONTRACT, ClockOffset(-1, 1), dedicated_since=0.0), frozenset())
    assert window.not_before <= really <= window.created_by
    if measured == "by that clock":
        assert really - 10 < window.not_before
        assert window.settled_from < really + 120 + 2 * 60
    else:
        assert really + 60 < window.settled_from < clock.now + 600, (
            "proved only after the window has ended, and soon after"
        )
    assert undecided.deadline_at < clock.now


def test_a_post_without_an_outcome_does_not_wait_for_days(ledger: Ledger, clock: Clock, ahead: float) -> None:
    queued(ledger)
    clock.forward(ahead)
    post = claimed(ledger)
    clock.forward(61)
    outcomes.expire_submissions(ledger, ACCOUNT)
    clock.forward(-ahead)
    outcomes.expire_submissions(ledger, ACCOUNT)
    with ledger.read() as connection:
        row = connection.execute(sa.select(submissions).where(submissions.c.id == post.id)).one()
    assert row.state == SubmissionState.UNKNOWN.value
    assert row.lease_until <= clock.now + 120
    assert row.ended_at <= clock.now + 120
    assert search_schedule.claim(ledger, ACCOUNT, CONTRACT) is not None


def test_an_unknown_post_frees_its_slot_when_its_endpoints_time_is_over(
    ledger: Ledger, clock: Clock, ahead: float
) -> None:
    queued(ledger, a_request("first-clip"))
    queued(ledger, a_request("second-clip", endpoint="another/model"))
    clock.forward(ahead)
    terms = PostTerms(Limits(in_flight=1), 30)
    post = claim_next(ledger, ACCOUNT, terms)
    assert isinstance(post, Submission)
    record_outcome(ledger, post, Unknown("the connection broke", 502))
    comes_back(clock, ahead)
    outcomes.expire_submissions(ledger, ACCOUNT)
    assert not isinstance(claim_next(ledger, ACCOUNT, terms), Submission)
    clock.forward(post.attempt.request.max_seconds + 60)
    assert isinstance(claim_next(ledger, ACCOUNT, terms), Submission)


def test_a_late_answer_still_finds_its_purchase(ledger: Ledger, clock: Clock, ahead: float) -> None:
    queued(ledger)
    clock.forward(ahead)
    post = claimed(ledger)
    comes_back(clock, ahead)
    outcomes.expire_submissions(ledger, ACCOUNT)
    clock.forward(100)
    outcomes.expire_submissions(ledger, ACCOUNT)
    assert record_outcome(ledger, post, accepted()).state is S.SUBMITTED


# Caps


def test_money_that_was_counted_on_a_future_day_counts_today(ledger_url: str, clock: Clock) -> None:
    budget = Budget(everything=Caps(per_day=500_000))
    with Ledger(ledger_url, clock=clock, budget=budget) as ledger:
        clock.forward(2 * 86_400)
        submitted(ledger)
        clock.forward(-2 * 86_400)
        refused = decided(ledger, a_request("clip-b"))
        assert "the cap" in (refused.reason or "")
        clock.forward(3 * 86_400)
        queued(ledger, a_request("clip-b"))


# The database's clock


@pytest.fixture
def shared(postgres_ledger_url: str) -> Iterator[Ledger]:
    with Ledger(postgres_ledger_url, budget=Budget()) as opened:
        yield opened


def database_time(ledger: Ledger) -> float:
    with ledger.read() as connection:
        said = connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
        return float(said)


def test_on_postgresql_the_time_is_the_databases(shared: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 4_000_000_000.0)
    assert abs(shared.clock() - database_time(shared)) < 60
    attempt = submitted(shared)
    assert abs((attempt.submitted_at or 0) - database_time(shared)) < 60


def test_time_continues_within_a_transaction(shared: Ledger) -> None:
    with shared.write() as connection:
        before = shared.clock()
        connection.execute(sa.text("SELECT pg_sleep(0.2)"))
        assert shared.clock() - before >= 0.19


def test_a_slow_answer_about_the_time_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("resources.ledger.times.steady", lambda: now[0])

    class Connection:
        def __init__(self, said: float, takes: float) -> None:
            self.said, self.takes = said, takes

        def execute(self, _query: object) -> "Connection":
            now[0] += self.takes
            return self

        def scalar_one(self) -> float:
            return self.said

    clock = DatabaseClock()
    clock.measure(Connection(5_000.0, 0.0))  # type: ignore[arg-type]
    assert clock() == 5_000.0
    now[0] += 60
    clock.measure(Connection(5_060.0, 50.0))  # type: ignore[arg-type]
    assert clock() == 5_110.0, "the database may have read its clock at any time in those 50 seconds"
    clock.measure(Connection(5_200.0, 0.0))  # type: ignore[arg-type]
    assert clock() == 5_200.0


def test_the_pause_that_a_provider_may_ask_for_is_minutes(ledger: Ledger, clock: Clock) -> None:
    queued(ledger)
    record_outcome(ledger, claimed(ledger), rejected(FailureKind.THROTTLED, retry_after=31_536_000))
    (pause,) = pauses.pauses(ledger)
    assert pause.until == clock.now + LONGEST_PAUSE_SECONDS
    assert f"{datetime.fromtimestamp(pause.until, UTC):%H:%M:%S} UTC" in str(pause)
    assert "429" in str(pause)
    assert f"dailies start --account {ACCOUNT}" in str(pause)
    clock.forward(LONGEST_PAUSE_SECONDS)
    assert pauses.pauses(ledger) == []
    assert claimed(ledger).attempt.state is S.SUBMITTING


def test_a_person_lifts_a_pause_and_is_named(ledger: Ledger, clock: Clock) -> None:
    queued(ledger)
    record_outcome(ledger, claimed(ledger), rejected(FailureKind.THROTTLED, retry_after=800))
    assert [p.account for p in pauses.lift(ledger, account="aimlapi", who="ada")] == []
    assert [p.account for p in pauses.lift(ledger, account=stops.ALL, who="ada")] == [ACCOUNT]
    assert pauses.pauses(ledger) == []
    assert claimed(ledger).attempt.state is S.SUBMITTING
    with ledger.read() as connection:
        row = connection.execute(
            sa.text("SELECT lifted_by, lifted_at, throttles FROM accounts WHERE account = 'wavespeed'")
        ).one()
    assert tuple(row) == ("ada", clock.now, 0)
