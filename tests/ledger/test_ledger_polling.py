"""A poll has one claimer at a time, and the end of a job is written once, with its money."""

import pytest
from ledgerkit import (
    ACCOUNT,
    CHARGED_FIRST,
    NEVER_CHARGED,
    a_request,
    a_state,
    accepted,
    claimed,
    everything,
    put_into,
    queued,
    read,
    submitted,
    the_journal_is_whole,
)

from proof.clock import Clock
from resources.ledger import polls
from resources.ledger.ledger import Ledger
from resources.ledger.outcomes import record_outcome
from resources.ledger.polls import (
    CLAIM_SECONDS,
    claim_due,
    mark_overdue,
    next_poll_time,
    over_at_first_poll,
    record_end,
    reschedule,
    usual_seconds,
)
from resources.ledger.records import Attempt
from resources.ledger.states import AT_PROVIDER, AttemptState, MoneyState
from resources.providers.base import FailureKind, JobStatus
from resources.providers.provider import Capabilities

S = AttemptState


def several(ledger: Ledger, count: int, **changes: object) -> list[Attempt]:
    """Clips with jobs at the provider."""
    return [
        submitted(ledger, a_request(f"clip-{number:02}", **changes), job_id=f"job-{changes}-{number}")
        for number in range(count)
    ]


def ids(attempts: list[Attempt]) -> list[str]:
    return [attempt.id for attempt in attempts]


def test_a_claimed_poll_has_one_claimer(ledger: Ledger, clock: Clock) -> None:
    attempts = several(ledger, 5)
    first = claim_due(ledger, ACCOUNT, limit=3)
    second = claim_due(ledger, ACCOUNT, limit=10)
    assert len(first) == 3
    assert set(ids(first)) | set(ids(second)) == set(ids(attempts))
    assert claim_due(ledger, ACCOUNT, limit=10) == []
    assert {a.next_poll_at for a in first} == {clock.now + CLAIM_SECONDS}
    assert all(read(ledger, a) == a for a in first)


def test_a_dead_holders_claim_expires(ledger: Ledger, clock: Clock) -> None:
    several(ledger, 1)
    claim_due(ledger, ACCOUNT, limit=1)
    clock.forward(CLAIM_SECONDS - 0.001)
    assert claim_due(ledger, ACCOUNT, limit=1) == []
    clock.forward(0.001)
    assert len(claim_due(ledger, ACCOUNT, limit=1)) == 1


def test_the_poll_that_is_due_longest_comes_first(ledger: Ledger, clock: Clock) -> None:
    a, b, c = several(ledger, 3)
    reschedule(ledger, [(a, clock.now + 30), (b, clock.now + 10), (c, clock.now + 20)], polled=True)
    clock.forward(25)
    assert ids(claim_due(ledger, ACCOUNT, limit=9)) == ids([b, c])


def test_a_caller_can_claim_only_its_own_jobs(ledger: Ledger) -> None:
    a, b, _c = several(ledger, 3)
    assert claim_due(ledger, ACCOUNT, limit=9, only=[]) == []
    assert ids(claim_due(ledger, ACCOUNT, limit=9, only=[b.id, "never-heard-of"])) == [b.id]
    assert claim_due(ledger, "aimlapi", limit=9, only=[a.id]) == []


@pytest.mark.parametrize("state", sorted(set(S)))
def test_only_jobs_at_the_provider_are_polled(ledger: Ledger, clock: Clock, state: AttemptState) -> None:
    _, attempt = put_into(ledger, clock, state)
    clock.forward(100_000)
    assert ids(claim_due(ledger, ACCOUNT, limit=9)) == ([attempt.id] if state in AT_PROVIDER else [])
    assert (next_poll_time(ledger, ACCOUNT) is not None) is (state in AT_PROVIDER)


def test_a_running_job_is_polled_again_at_the_time_its_poller_sets(ledger: Ledger, clock: Clock) -> None:
    several(ledger, 1)
    (attempt,) = claim_due(ledger, ACCOUNT, limit=1)
    reschedule(ledger, [(attempt, clock.now + 12.5)], polled=True)
    again = read(ledger, attempt)
    assert (again.polls, again.next_poll_at) == (1, clock.now + 12.5)
    assert again.version == attempt.version
    reschedule(ledger, [(again, clock.now + 1)], polled=False)
    assert read(ledger, attempt).polls == 1


def test_a_slow_poller_does_not_reschedule_a_poll_that_another_has_claimed(
    ledger: Ledger, clock: Clock
) -> None:
    several(ledger, 1)
    (slow,) = claim_due(ledger, ACCOUNT, limit=1)
    clock.forward(CLAIM_SECONDS)
    (now_others,) = claim_due(ledger, ACCOUNT, limit=1)
    reschedule(ledger, [(slow, clock.now)], polled=True)
    assert read(ledger, slow) == now_others
    assert claim_due(ledger, ACCOUNT, limit=1) == []


def test_a_poster_does_not_reschedule_the_first_poll_that_a_sensor_has_claimed(
    ledger: Ledger, clock: Clock
) -> None:
    (fresh,) = several(ledger, 1)
    (now_the_sensors,) = claim_due(ledger, ACCOUNT, limit=1)
    reschedule(ledger, [(fresh, clock.now + 5)], polled=False)
    assert read(ledger, fresh) == now_the_sensors


def test_an_ended_job_is_not_polled_again(ledger: Ledger, clock: Clock) -> None:
    (attempt,) = several(ledger, 1)
    ended = record_end(ledger, attempt, a_state(), NEVER_CHARGED)
    reschedule(ledger, [(attempt, clock.now)], polled=True)
    assert read(ledger, attempt) == ended


def test_when_the_next_poll_is_due(ledger: Ledger, clock: Clock) -> None:
    a, b = several(ledger, 2)
    reschedule(ledger, [(a, clock.now + 30), (b, clock.now + 10)], polled=False)
    assert next_poll_time(ledger, ACCOUNT) == clock.now + 10
    assert next_poll_time(ledger, ACCOUNT, only=[a.id]) == clock.now + 30
    assert next_poll_time(ledger, ACCOUNT, only=[]) is None
    assert next_poll_time(ledger, "aimlapi") is None


# The end of a job


def test_a_success_is_charged_and_waits_to_be_fetched(ledger: Ledger, clock: Clock) -> None:
    (attempt,) = several(ledger, 1)
    clock.forward(90)
    seen = a_state(model="openai/sora-2-pro", inference_seconds=71.5, cost_micros=380_000)
    ended = record_end(ledger, attempt, seen, CHARGED_FIRST, run_id="run-1")
    assert (ended.state, ended.money_state) == (S.SUCCEEDED, MoneyState.CONFIRMED)
    assert (ended.charged_micros, ended.charge_source, ended.cost_micros) == (380_000, "answer", 380_000)
    assert ended.outputs == ["https://cdn.example/clip.mp4"]
    assert (ended.served_model, ended.inference_seconds) == ("openai/sora-2-pro", 71.5)
    assert (ended.finished_at, ended.waited_seconds, ended.polls) == (clock.now, 90, 1)
    assert ended.next_poll_at is None
    assert ended.copy_deadline == clock.now + 7 * 86_400
    assert ended.reason is None
    entry = ledger.history(ended.id)[-1]
    assert (entry["run_id"], entry["to_state"], entry["money_state"]) == ("run-1", "succeeded", "confirmed")
    assert "90 s" in entry["why"]


def test_a_success_without_a_stated_cost_is_charged_at_its_quote(ledger: Ledger) -> None:
    (attempt,) = several(ledger, 1)
    ended = record_end(ledger, attempt, a_state(), NEVER_CHARGED)
    assert (ended.charged_micros, ended.charge_source) == (attempt.quoted_micros, "quote")
    assert ended.copy_deadline is None


def test_a_free_success_is_charged_nothing(ledger: Ledger) -> None:
    (attempt,) = several(ledger, 1)
    ended = record_end(ledger, attempt, a_state(cost_micros=0), NEVER_CHARGED)
    assert (ended.charged_micros, ended.charge_source, ended.cost_micros) == (0, "answer", 0)


def test_a_model_named_at_the_submit_is_kept_when_the_poll_names_none(ledger: Ledger) -> None:
    queued(ledger)
    attempt = record_outcome(ledger, claimed(ledger), accepted(model="openai/sora-2"))
    assert record_end(ledger, attempt, a_state(), NEVER_CHARGED).served_model == "openai/sora-2"


@pytest.mark.parametrize(
    ("capabilities", "status", "state", "money"),
    [
        (NEVER_CHARGED, JobStatus.FAILED, S.FAILED, MoneyState.RELEASED),
        (CHARGED_FIRST, JobStatus.FAILED, S.FAILED, MoneyState.REFUND_EXPECTED),
        (NEVER_CHARGED, JobStatus.GONE, S.VANISHED, MoneyState.INDETERMINATE),
        (CHARGED_FIRST, JobStatus.GONE, S.VANISHED, MoneyState.INDETERMINATE),
    ],
)
def test_the_money_of_a_failed_job_follows_from_the_providers_billing(
    ledger: Ledger,
    clock: Clock,
    capabilities: Capabilities,
    status: JobStatus,
    state: AttemptState,
    money: MoneyState,
) -> None:
    (attempt,) = several(ledger, 1)
    clock.forward(5)
    ended = record_end(ledger, attempt, a_state(status, error="the sky fell"), capabilities)
    assert (ended.state, ended.money_state, ended.reason) == (state, money, "the sky fell")
    assert ended.reason_kind is (FailureKind.GONE if status is JobStatus.GONE else FailureKind.PROVIDER)
    assert (ended.finished_at, ended.next_poll_at) == (clock.now, None)
    assert ended.cost_micros == (0 if money is MoneyState.RELEASED else attempt.quoted_micros)
    the_journal_is_whole(ledger, ended)


def test_a_failure_without_a_reason_is_reported_with_the_providers_status(ledger: Ledger) -> None:
    (attempt,) = several(ledger, 1)
    ended = record_end(ledger, attempt, a_state(JobStatus.FAILED), NEVER_CHARGED)
    assert ended.reason is not None
    assert ACCOUNT in ended.reason
    assert "failed" in ended.reason


@pytest.mark.parametrize("status", [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.GONE])
@pytest.mark.parametrize("state", sorted(set(S) - AT_PROVIDER))
def test_the_first_recorded_end_stays(
    ledger: Ledger, clock: Clock, state: AttemptState, status: JobStatus
) -> None:
    _, before = put_into(ledger, clock, state)
    count = len(everything(ledger))
    assert record_end(ledger, before, a_state(status), NEVER_CHARGED) == before
    assert len(everything(ledger)) == count


@pytest.mark.parametrize("words", ["nul \0 here", "half a pair \ud83d", "x" * 100_000])
def test_no_text_of_a_provider_prevents_recording_an_end(ledger: Ledger, words: str) -> None:
    (attempt,) = several(ledger, 1)
    odd = a_state(JobStatus.FAILED, error=words, model=words, raw={"error": words})
    assert record_end(ledger, attempt, odd, NEVER_CHARGED).state is S.FAILED


# Overdue


def test_an_overdue_job_is_still_polled_and_may_still_succeed(ledger: Ledger, clock: Clock) -> None:
    (attempt,) = several(ledger, 1)
    clock.forward(attempt.request.max_seconds)
    assert mark_overdue(ledger, ACCOUNT) == []
    clock.forward(1)
    assert mark_overdue(ledger, "aimlapi") == []
    (overdue,) = mark_overdue(ledger, ACCOUNT)
    assert (overdue.state, overdue.money_state) == (S.OVERDUE, MoneyState.RESERVED)
    assert overdue.reason is not None
    assert "job-" in overdue.reason
    assert mark_overdue(ledger, ACCOUNT) == []
    (claim,) = claim_due(ledger, ACCOUNT, limit=1)
    ended = record_end(ledger, claim, a_state(), NEVER_CHARGED)
    assert (ended.state, ended.reason) == (S.SUCCEEDED, None)
    the_journal_is_whole(ledger, ended)


# usual durations


def took(
    ledger: Ledger, clock: Clock, seconds: float, clip: str, status: JobStatus = JobStatus.SUCCEEDED
) -> None:
    attempt = submitted(ledger, a_request(clip), job_id=f"job-{clip}")
    clock.forward(seconds)
    record_end(ledger, attempt, a_state(status), NEVER_CHARGED)


def test_one_or_two_jobs_give_no_usual_duration(ledger: Ledger, clock: Clock) -> None:
    endpoint = a_request().endpoint
    assert usual_seconds(ledger, ACCOUNT, [endpoint]) == {}
    for number, seconds in enumerate((60, 80)):
        took(ledger, clock, seconds, f"clip-{number}")
    assert usual_seconds(ledger, ACCOUNT, [endpoint]) == {}
    took(ledger, clock, 100, "clip-9")
    assert usual_seconds(ledger, ACCOUNT, [endpoint, "another"]) == {endpoint: 70}
    assert usual_seconds(ledger, "aimlapi", [endpoint]) == {}


@pytest.mark.slow
def test_failed_and_old_jobs_do_not_count_for_the_usual_duration(ledger: Ledger, clock: Clock) -> None:
    endpoint = a_request().endpoint
    for number in range(polls.OBSERVATIONS):
        took(ledger, clock, 500, f"old-{number}")
    for number in range(polls.OBSERVATIONS):
        took(ledger, clock, 40, f"new-{number}")
        took(ledger, clock, 1, f"bad-{number}", JobStatus.FAILED)
    assert usual_seconds(ledger, ACCOUNT, [endpoint]) == {endpoint: 40}


def test_a_late_poll_does_not_lengthen_a_jobs_duration(ledger: Ledger, clock: Clock) -> None:
    endpoint = a_request().endpoint
    for number in range(3):
        attempt = submitted(ledger, a_request(f"clip-{number}"), job_id=f"job-{number}")
        clock.forward(3600)
        record_end(ledger, attempt, a_state(inference_seconds=7.0), NEVER_CHARGED)
    assert usual_seconds(ledger, ACCOUNT, [endpoint]) == {endpoint: 7.0 + polls.NOTICED_SECONDS}


def test_jobs_that_had_ended_at_their_first_poll_show_that_it_was_too_late(
    ledger: Ledger, clock: Clock
) -> None:
    endpoint = a_request().endpoint
    assert over_at_first_poll(ledger, ACCOUNT, [endpoint]) == frozenset()
    for number in range(3):
        took(ledger, clock, 80, f"clip-{number}")
    assert over_at_first_poll(ledger, ACCOUNT, [endpoint, "another"]) == {endpoint}
    for number in range(4):
        attempt = submitted(ledger, a_request(f"more-{number}"), job_id=f"more-{number}")
        reschedule(ledger, [(attempt, clock() + 5)], polled=True)
        seen = read(ledger, attempt)
        clock.forward(80)
        record_end(ledger, seen, a_state(), NEVER_CHARGED)
    assert over_at_first_poll(ledger, ACCOUNT, [endpoint]) == frozenset()
