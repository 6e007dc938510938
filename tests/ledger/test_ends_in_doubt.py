"""A paid job's end without output must be seen twice before a replacement is bought."""

import pytest
from ledgerkit import (
    ACCOUNT,
    CHARGED_FIRST,
    a_request,
    a_state,
    everything,
    read,
    submitted,
    succeeded,
    the_journal_is_whole,
)

from proof.clock import Clock
from resources.ledger import budget, counters, deliveries, late_jobs, polls
from resources.ledger.budget import Budget
from resources.ledger.ends import APART_SECONDS, SILENT_SECONDS, SILENT_TIMES, SOON_SECONDS
from resources.ledger.late_jobs import ask_later, claim_late, keep_late
from resources.ledger.ledger import Ledger
from resources.ledger.lost.closures import match_callback
from resources.ledger.polls import claim_due, reschedule, see_end
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState, MoneyState
from resources.ledger.transaction import Booked
from resources.providers.base import FailureKind, JobState, JobStatus

S = AttemptState
FAILED = a_state(JobStatus.FAILED, failure=FailureKind.PROVIDER, error="the worker restarted")
CANCELLED = a_state(JobStatus.FAILED, failure=FailureKind.PROVIDER)
EMPTY = a_state(JobStatus.FAILED, failure=FailureKind.NO_OUTPUT, error="completed, and gives no output")
GONE = a_state(JobStatus.GONE, failure=FailureKind.GONE, error="HTTP 404")
ENDS = {"failed": FAILED, "cancelled": CANCELLED, "no output": EMPTY, "gone": GONE}
SILENT = {name: state for name, state in ENDS.items() if name != "failed"}


def at_a_provider(ledger: Ledger) -> Attempt:
    return submitted(ledger, a_request(max_attempts=2))


def look(ledger: Ledger, attempt: Attempt, state: JobState) -> Attempt:
    """One poll, whether it is due or not."""
    return see_end(ledger, read(ledger, attempt), state, CHARGED_FIRST)


def ended(ledger: Ledger, clock: Clock, state: JobState, attempt: Attempt | None = None) -> Attempt:
    """A job whose end was polled when due until it was accepted."""
    attempt = attempt or at_a_provider(ledger)
    while (attempt := look(ledger, attempt, state)).state is S.SUBMITTED:
        assert attempt.next_poll_at is not None
        clock.now = attempt.next_poll_at
    return attempt


@pytest.mark.parametrize("name", ENDS)
def test_one_answer_ends_no_job_and_buys_nothing(ledger: Ledger, name: str) -> None:
    attempt = look(ledger, at_a_provider(ledger), ENDS[name])
    assert attempt.state is S.SUBMITTED
    assert attempt.money_state is MoneyState.RESERVED
    assert attempt.confirming is not None
    assert "until the end is confirmed" in attempt.confirming
    assert len(everything(ledger)) == 1


def test_a_failure_with_a_reason_is_accepted_when_it_is_seen_again_after_some_seconds(
    ledger: Ledger, clock: Clock
) -> None:
    attempt = look(ledger, at_a_provider(ledger), FAILED)
    assert attempt.next_poll_at == clock.now + SOON_SECONDS
    clock.forward(SOON_SECONDS)
    attempt = look(ledger, attempt, FAILED)
    assert (attempt.state, attempt.reason, attempt.confirming) == (S.FAILED, "the worker restarted", None)
    first, second = everything(ledger)
    assert (first.id, second.state) == (attempt.id, S.QUEUED), "the decision's next purchase"


def test_two_answers_at_the_same_time_count_as_one(ledger: Ledger, clock: Clock) -> None:
    attempt = look(ledger, at_a_provider(ledger), FAILED)
    clock.forward(APART_SECONDS - 0.1)
    assert look(ledger, attempt, FAILED).state is S.SUBMITTED
    clock.forward(0.1)
    assert look(ledger, attempt, FAILED).state is S.FAILED


@pytest.mark.parametrize("name", SILENT)
def test_an_end_without_a_reason_must_last_for_minutes(ledger: Ledger, clock: Clock, name: str) -> None:
    began = clock.now
    attempt = ended(ledger, clock, SILENT[name])
    assert attempt.state is (S.VANISHED if name == "gone" else S.FAILED)
    assert clock.now - began >= SILENT_SECONDS
    assert clock.now - began < 2 * SILENT_SECONDS
    assert attempt.polls >= SILENT_TIMES


@pytest.mark.parametrize("name", SILENT)
def test_an_end_is_not_accepted_within_a_minute_however_many_polls_see_it(
    ledger: Ledger, clock: Clock, name: str
) -> None:
    attempt = at_a_provider(ledger)
    for _ in range(12):
        attempt = look(ledger, attempt, SILENT[name])
        clock.forward(5)
    assert attempt.state is S.SUBMITTED


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize("then", ["running", "completed"])
def test_another_answer_resets_the_seen_end(ledger: Ledger, clock: Clock, name: str, then: str) -> None:
    attempt = look(ledger, at_a_provider(ledger), ENDS[name])
    clock.forward(20)
    (attempt,) = claim_due(ledger, ACCOUNT, limit=1)
    if then == "completed":
        attempt = look(ledger, attempt, a_state())
        assert (attempt.state, attempt.confirming) == (S.SUCCEEDED, None)
        assert len(everything(ledger)) == 1
        return
    reschedule(ledger, [(attempt, clock.now + 5)], polled=True)
    assert read(ledger, attempt).confirming is None
    clock.forward(SILENT_SECONDS)
    assert look(ledger, attempt, ENDS[name]).state is S.SUBMITTED, "the count starts again"


def test_a_failed_poll_does_not_reset_the_seen_end(ledger: Ledger, clock: Clock) -> None:
    attempt = look(ledger, at_a_provider(ledger), FAILED)
    clock.forward(SOON_SECONDS)
    (attempt,) = claim_due(ledger, ACCOUNT, limit=1)
    reschedule(ledger, [(attempt, clock.now)], polled=False)
    assert look(ledger, attempt, FAILED).state is S.FAILED


def test_ends_that_change_their_reason_must_last_as_long_as_one_without_a_reason(
    ledger: Ledger, clock: Clock
) -> None:
    began, attempt = clock.now, at_a_provider(ledger)
    names = [FAILED, GONE] * 100
    while (attempt := look(ledger, attempt, names.pop())).state is S.SUBMITTED:
        clock.forward(10)
    assert SILENT_SECONDS <= clock.now - began < 2 * SILENT_SECONDS


def test_an_end_that_was_dated_by_a_clock_ahead_is_counted_from_now(ledger: Ledger, clock: Clock) -> None:
    attempt = look(ledger, at_a_provider(ledger), GONE)
    clock.forward(-2 * 86_400)
    began = clock.now
    assert ended(ledger, clock, GONE, attempt).state is S.VANISHED
    assert clock.now - began >= SILENT_SECONDS


def test_a_seen_end_survives_a_restart(ledger: Ledger, ledger_url: str, clock: Clock) -> None:
    attempt = look(ledger, at_a_provider(ledger), FAILED)
    clock.forward(SOON_SECONDS)
    with Ledger(ledger_url, clock=clock, budget=Budget()) as another:
        assert look(another, attempt, FAILED).state is S.FAILED


# A finished generation whose output seems to be gone


def test_an_output_is_lost_only_when_it_was_gone_for_minutes(ledger: Ledger, clock: Clock) -> None:
    attempt = succeeded(ledger)
    began = clock.now
    while deliveries.record_missing_output(ledger, attempt.id, why="HTTP 404").state is S.SUCCEEDED:
        clock.forward(30)
    assert clock.now - began >= SILENT_SECONDS
    assert read(ledger, attempt).state is S.LOST


def test_a_fresh_address_resets_that_an_output_seemed_gone(ledger: Ledger, clock: Clock) -> None:
    attempt = succeeded(ledger)
    deliveries.record_missing_output(ledger, attempt.id, why="HTTP 404")
    clock.forward(SILENT_SECONDS)
    deliveries.update_outputs(ledger, attempt.id, ["https://cdn.example/fresh.mp4"])
    for _ in range(SILENT_TIMES):
        assert deliveries.record_missing_output(ledger, attempt.id, why="HTTP 404").state is S.SUCCEEDED


# Afterwards


def spent(ledger: Ledger) -> dict[budget.Scope, int]:
    with ledger.read() as connection:
        counted = counters.counted(connection)
        assert {s: n for s, n in counted.items() if n} == {
            s: n for s, n in counters.recounted(connection).items() if n
        }
    return counted


@pytest.mark.parametrize("name", ENDS)
def test_a_job_that_completes_after_its_purchase_was_closed_is_a_spare_take_with_its_money(
    ledger: Ledger, clock: Clock, name: str
) -> None:
    attempt = ended(ledger, clock, ENDS[name])
    before = spent(ledger)
    clock.forward(120)
    (due,) = claim_late(ledger, ACCOUNT)
    assert (due.id, claim_late(ledger, ACCOUNT)) == (attempt.id, []), "one poller claims it"
    spare = keep_late(ledger, due, a_state(), CHARGED_FIRST)
    assert spare is not None
    assert (spare.is_spare, spare.clip, spare.job_id) == (True, attempt.clip, attempt.job_id)
    assert (spare.state, spare.money_state) == (S.SUCCEEDED, MoneyState.CONFIRMED)
    closed = read(ledger, attempt)
    assert (closed.state, closed.money_state, closed.job_id) == (attempt.state, MoneyState.RELEASED, None)
    assert "after all" in (closed.reason or "")
    assert spent(ledger) == before, "the same money, counted once"
    the_journal_is_whole(ledger, closed)
    assert claim_late(ledger, ACCOUNT) == []
    deliveries.record_delivered(ledger, spare.id, {"uri": "s3://b/k"})
    assert ledger.current([attempt.clip]) == {}


def test_a_lost_output_is_polled_again_too(ledger: Ledger, clock: Clock) -> None:
    attempt = succeeded(ledger)
    deliveries.record_lost(ledger, attempt.id, why="gone")
    clock.forward(60)
    (due,) = claim_late(ledger, ACCOUNT)
    spare = keep_late(ledger, due, a_state(), CHARGED_FIRST)
    assert spare is not None
    deliveries.record_lost(ledger, spare.id, why="gone again")
    clock.forward(86_400)
    assert claim_late(ledger, ACCOUNT) == [], "a lost spare take is not polled again"


def test_a_late_job_is_polled_ever_more_rarely_until_outputs_expire(ledger: Ledger, clock: Clock) -> None:
    attempt = ended(ledger, clock, FAILED)
    asked = []
    for pause in [60] * 10 + [7200] * (8 * 12):
        clock.forward(pause)
        assert late_jobs.is_due(ledger, ACCOUNT) or claim_late(ledger, ACCOUNT) == []
        for due in claim_late(ledger, ACCOUNT):
            asked.append(clock.now - (attempt.finished_at or 0))
            ask_later(ledger, due)
    assert asked[:3] == [60, 180, 540]
    assert 10 <= len(asked) <= 20
    assert asked[-1] <= 7 * 86_400
    assert not late_jobs.is_due(ledger, ACCOUNT)


def test_a_refunded_job_is_not_polled(ledger: Ledger, clock: Clock) -> None:
    attempt = ended(ledger, clock, FAILED)
    with ledger.transaction(who="test", run_id=None) as tx:
        tx.settle(attempt, MoneyState.REFUNDED, Booked(400_000, "bill"), why="refunded")
    clock.forward(3600)
    assert claim_late(ledger, ACCOUNT) == []


def test_one_step_polls_only_a_few_late_jobs(ledger: Ledger, clock: Clock) -> None:
    for number in range(late_jobs.AT_ONCE + 3):
        one = submitted(ledger, a_request(f"clip-{number:02}"), job_id=f"job-{number}")
        polls.record_end(ledger, one, FAILED, CHARGED_FIRST)
    clock.forward(60)
    assert [len(claim_late(ledger, ACCOUNT)) for _ in range(3)] == [late_jobs.AT_ONCE, 3, 0]


def test_a_callback_makes_the_next_poll_due_and_ends_no_job(ledger: Ledger, clock: Clock) -> None:
    attempt = ended(ledger, clock, FAILED)
    assert claim_late(ledger, ACCOUNT) == []
    post = ledger.submission_of(ACCOUNT, attempt.job_id or "")
    match_callback(ledger, ACCOUNT, post or "", attempt.job_id or "", model=None)
    assert [due.id for due in claim_late(ledger, ACCOUNT)] == [attempt.id]
