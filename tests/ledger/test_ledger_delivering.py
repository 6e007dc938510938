"""One holder delivers a take, the current take only moves forward, and each end is reported to Dagster once."""

import pytest
from ledgerkit import (
    ACCOUNT,
    NEVER_CHARGED,
    a_request,
    a_state,
    put_into,
    queued,
    read,
    submitted,
    succeeded,
    the_journal_is_whole,
)

from proof.clock import Clock
from resources.errors import DailiesError, UnavailableError
from resources.ledger import locks, polls
from resources.ledger.current_takes import make_current
from resources.ledger.deliveries import (
    LEASE_SECONDS,
    claim,
    mark_reported,
    record_delivered,
    record_lost,
    record_quarantined,
    release,
    unreported,
    update_outputs,
)
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import current_takes
from resources.ledger.states import AttemptState, MoneyState
from resources.providers.base import FailureKind

S = AttemptState
STORED = {"uri": "s3://bucket/videos/city-sunset/1.mp4", "size": 10}


def test_a_delivery_has_one_claimer(ledger: Ledger, clock: Clock) -> None:
    attempt = succeeded(ledger)
    mine = claim(ledger, attempt.id, token="me")
    assert mine is not None
    assert mine.is_first
    assert (mine.attempt.delivery_owner, mine.attempt.delivery_until) == ("me", clock.now + LEASE_SECONDS)
    assert claim(ledger, attempt.id, token="you") is None
    assert claim(ledger, attempt.id, token="me") is None


def test_a_delivery_whose_holder_died_can_be_taken_over(ledger: Ledger, clock: Clock) -> None:
    attempt = succeeded(ledger)
    claim(ledger, attempt.id, token="dead")
    clock.forward(LEASE_SECONDS - 0.001)
    assert claim(ledger, attempt.id, token="you") is None
    clock.forward(0.001)
    taken = claim(ledger, attempt.id, token="you")
    assert taken is not None
    assert taken.attempt.delivery_owner == "you"
    # the dead holder may have stored the video
    assert not taken.is_first


def test_a_failed_delivery_is_free_at_once_with_its_reason(ledger: Ledger) -> None:
    attempt = succeeded(ledger)
    claim(ledger, attempt.id, token="me")
    release(ledger, attempt.id, token="me", why="the bucket is full")
    free = read(ledger, attempt)
    assert (free.delivery_owner, free.delivery_until, free.reason) == (None, None, "the bucket is full")
    assert (free.state, free.version) == (S.SUCCEEDED, attempt.version)
    second = claim(ledger, attempt.id, token="you")
    assert second is not None
    assert not second.is_first


def test_only_the_holder_releases_a_delivery(ledger: Ledger) -> None:
    attempt = succeeded(ledger)
    held = claim(ledger, attempt.id, token="me")
    assert held is not None
    release(ledger, attempt.id, token="you", why="mine failed")
    assert read(ledger, attempt) == held.attempt


@pytest.mark.parametrize("state", sorted(set(S) - {S.SUCCEEDED}))
def test_only_a_finished_generation_is_delivered(ledger: Ledger, clock: Clock, state: AttemptState) -> None:
    _, before = put_into(ledger, clock, state)
    assert claim(ledger, before.id, token="me") is None
    assert record_delivered(ledger, before.id, STORED) == before
    assert record_quarantined(ledger, before.id, STORED, why="too small") == before
    assert record_lost(ledger, before.id, why="410") == before
    release(ledger, before.id, token="me", why="interrupted")
    update_outputs(ledger, before.id, ["https://elsewhere.example"])
    assert read(ledger, before) == before
    assert ledger.current([before.subject_key]) == {}


def test_a_delivered_take_is_current_and_stays_paid(ledger: Ledger, clock: Clock) -> None:
    attempt = succeeded(ledger)
    claim(ledger, attempt.id, token="me")
    release(ledger, attempt.id, token="me", why="the bucket is full")
    claim(ledger, attempt.id, token="me")
    clock.forward(9)
    done = record_delivered(ledger, attempt.id, STORED, run_id="run-1")
    assert (done.state, done.money_state) == (S.DELIVERED, MoneyState.CONFIRMED)
    assert (done.delivered_at, done.delivery, done.reason) == (clock.now, STORED, None)
    assert (done.delivery_owner, done.delivery_until) == (None, None)
    assert ledger.current(["city-sunset", "another"]) == {"city-sunset": done}
    assert record_delivered(ledger, attempt.id, {"uri": "again"}) == done
    assert ledger.history(done.id)[-1]["why"] == "in the bucket"
    the_journal_is_whole(ledger, done)


def test_a_take_that_differs_from_its_order_is_quarantined_and_stays_paid(ledger: Ledger) -> None:
    kept = record_quarantined(ledger, succeeded(ledger).id, STORED, why="480 pixels instead of 720")
    assert (kept.state, kept.money_state, kept.reason_kind) == (
        S.QUARANTINED,
        MoneyState.CONFIRMED,
        FailureKind.CHECK,
    )
    assert (kept.reason, kept.delivery) == ("480 pixels instead of 720", STORED)
    assert ledger.current(["city-sunset"]) == {}
    the_journal_is_whole(ledger, kept)


def test_a_lost_output_stays_paid(ledger: Ledger) -> None:
    lost = record_lost(ledger, succeeded(ledger).id, why="the address answers 410")
    assert (lost.state, lost.money_state, lost.cost_micros) == (S.LOST, MoneyState.CONFIRMED, 400_000)
    the_journal_is_whole(ledger, lost)


def test_fresh_addresses_are_kept(ledger: Ledger) -> None:
    attempt = succeeded(ledger)
    update_outputs(ledger, attempt.id, ["https://fresh.example/clip.mp4"])
    assert read(ledger, attempt).outputs == ["https://fresh.example/clip.mp4"]


def another_take(ledger: Ledger, decision: str) -> Attempt:
    attempt = submitted(ledger, decision=decision, regenerate=True, job_id=f"job-{decision}")
    return polls.record_end(ledger, attempt, a_state(), NEVER_CHARGED)


def test_a_newer_take_becomes_current(ledger: Ledger, clock: Clock) -> None:
    record_delivered(ledger, succeeded(ledger).id, STORED)
    clock.forward(60)
    second = record_delivered(ledger, another_take(ledger, "tuesday").id, STORED)
    assert ledger.current(["city-sunset"]) == {"city-sunset": second}


def test_the_current_take_never_goes_back_to_an_older_one(ledger: Ledger) -> None:
    """An older take that is accepted late (from quarantine, or found again) is kept and does not become current."""
    old = record_quarantined(ledger, succeeded(ledger).id, STORED, why="too small")
    new = record_delivered(ledger, another_take(ledger, "tuesday").id, STORED)
    with ledger.transaction(who="person", run_id=None) as tx:
        accepted = tx.transition(old, S.DELIVERED)
        make_current(tx.connection, accepted, since=ledger.clock())
    assert ledger.current(["city-sunset"]) == {"city-sunset": new}
    with ledger.read() as connection:
        assert len(connection.execute(current_takes.select()).all()) == 1


def test_an_unreported_end_is_listed_until_it_is_reported_to_dagster(ledger: Ledger, clock: Clock) -> None:
    first = succeeded(ledger, a_request("clip-a"), job_id="job-a")
    second = queued(ledger, a_request("clip-b"))
    queued(ledger, a_request("clip-c", provider="aimlapi"))
    assert unreported(ledger, ACCOUNT) == [first, second]
    mark_reported(ledger, [first.id], "run-1")
    assert unreported(ledger, ACCOUNT) == [second]
    told = read(ledger, first)
    assert (told.reported_run_id, told.reported_at) == ("run-1", clock.now)
    mark_reported(ledger, [], "run-2")
    assert read(ledger, first) == told


def test_the_error_of_an_unknown_attempt_names_it(ledger: Ledger) -> None:
    with pytest.raises(DailiesError, match="knows no attempt 'nobody'"):
        record_delivered(ledger, "nobody", STORED)
    assert ledger.attempts(["nobody"]) == {}


# facts and locks


def test_a_fact_keeps_its_first_value(ledger: Ledger) -> None:
    assert ledger.fact("bucket") is None
    assert ledger.remember("bucket", "s3://mine") == "s3://mine"
    assert ledger.remember("bucket", "s3://other") == "s3://mine"
    assert ledger.fact("bucket") == "s3://mine"


def test_a_lock_has_one_holder_until_it_is_released(ledger: Ledger) -> None:
    with locks.hold(ledger, "partitions"):
        with pytest.raises(UnavailableError, match="another process holds the lock 'partitions'"):
            locks.hold(ledger, "partitions", wait=0).__enter__()
        with locks.hold(ledger, "something else", wait=0):
            pass
    with locks.hold(ledger, "partitions", wait=0):
        pass


def test_a_lock_is_released_when_the_work_fails(ledger: Ledger) -> None:
    with pytest.raises(ZeroDivisionError), locks.hold(ledger, "partitions"):
        raise ZeroDivisionError
    with locks.hold(ledger, "partitions", wait=0):
        pass


def test_a_dead_holders_lock_expires_and_does_not_release_the_next_holders_lock(
    ledger: Ledger, clock: Clock
) -> None:
    dead = locks.hold(ledger, "partitions", seconds=60)
    dead.__enter__()
    clock.forward(60.001)
    with locks.hold(ledger, "partitions", wait=0):
        dead.__exit__(None, None, None)
        with pytest.raises(UnavailableError):
            locks.hold(ledger, "partitions", wait=0).__enter__()
