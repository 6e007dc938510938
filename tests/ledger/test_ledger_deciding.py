"""Rule 3 of the design, row by row: what a decision buys, adopts, reuses and refuses."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from ledgerkit import (
    ACCOUNT,
    NEVER_CHARGED,
    a_request,
    a_state,
    accepted,
    claimed,
    decided,
    everything,
    put_into,
    queued,
    read,
    rejected,
    submitted,
    succeeded,
    the_journal_is_whole,
    unknown,
)

from proof.clock import Clock
from resources.ledger import decisions, deliveries, polls, queue, stops
from resources.ledger.decisions import SUPERSEDED, Decided, Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.outcomes import record_outcome
from resources.ledger.records import Attempt
from resources.ledger.states import OPEN, AttemptState, MoneyState
from resources.providers.base import FailureKind, JobStatus, NotSent, SubmitOutcome

STORED = {"uri": "s3://bucket/videos/city-sunset/1.mp4", "size": 10}
CHANGED = "a city at dawn"


def delivered(ledger: Ledger, **how: object) -> Attempt:
    return deliveries.record_delivered(ledger, succeeded(ledger, **how).id, STORED)  # type: ignore[arg-type]


def failed(ledger: Ledger, kind: FailureKind = FailureKind.PROVIDER, **how: object) -> Attempt:
    attempt = submitted(ledger, **how)  # type: ignore[arg-type]
    return polls.record_end(ledger, attempt, a_state(JobStatus.FAILED, failure=kind), NEVER_CHARGED)


def test_a_clip_without_a_purchase_is_queued_with_its_money_reserved(ledger: Ledger, clock: Clock) -> None:
    request = a_request()
    ruling = decided(ledger, request, decision="tick-1", batch="run-1", watched_by="run-1", run_id="run-1")
    assert ruling.ruling is Ruling.NEW
    assert ruling.reason is None
    attempt = ruling.attempt
    assert attempt is not None
    assert attempt.state is AttemptState.QUEUED
    assert (attempt.money_state, attempt.quoted_micros) == (MoneyState.RESERVED, 400_000)
    assert (attempt.decision, attempt.batch, attempt.watched_by) == ("tick-1", "run-1", "run-1")
    assert (attempt.subject_kind, attempt.subject_key, attempt.series) == ("clip", request.clip, "city")
    assert attempt.fingerprint == request.fingerprint
    assert attempt.request == request
    assert attempt.created_at == clock.now
    (entry,) = ledger.history(attempt.id)
    assert (entry["from_state"], entry["to_state"], entry["run_id"]) == (None, "queued", "run-1")
    assert "tick-1" in entry["why"]
    assert ledger.owner in entry["who"]


def test_the_order_of_a_batch_is_the_order_of_its_verdicts_and_of_the_queue(ledger: Ledger) -> None:
    requests = [a_request(f"clip-{letter}") for letter in "dacb"]
    rulings = decide(ledger, requests, Decision("monday"))
    assert [v.request.clip for v in rulings] == [r.clip for r in requests]
    sent = [claimed(ledger).attempt.subject_key for _ in requests]
    assert sent == [r.clip for r in requests]


@pytest.mark.parametrize("decision", ["monday", "tuesday"])
@pytest.mark.parametrize("regenerate", [False, True])
@pytest.mark.parametrize("state", sorted(OPEN))
def test_an_open_purchase_of_the_same_request_is_adopted_by_any_decision(
    ledger: Ledger, clock: Clock, state: AttemptState, decision: str, regenerate: bool
) -> None:
    _, attempt = put_into(ledger, clock, state)
    ruling = decided(ledger, decision=decision, regenerate=regenerate)
    assert ruling.ruling is Ruling.ADOPTED
    assert ruling.attempt == attempt
    assert everything(ledger) == [attempt]


def test_a_run_that_adopts_a_purchase_and_waits_watches_it(ledger: Ledger) -> None:
    attempt = queued(ledger, watched_by="run-1")
    decided(ledger)
    assert read(ledger, attempt).watched_by == "run-1"
    decided(ledger, watched_by="run-2")
    assert read(ledger, attempt).watched_by == "run-2"


def test_a_changed_prompt_replaces_a_queued_purchase(ledger: Ledger) -> None:
    old = queued(ledger)
    ruling = decided(ledger, a_request(prompt=CHANGED))
    assert ruling.ruling is Ruling.NEW
    assert ruling.attempt is not None
    assert ruling.attempt.id != old.id
    old = read(ledger, old)
    assert (old.state, old.money_state) == (AttemptState.WITHDRAWN, MoneyState.RELEASED)
    assert old.reported_run_id == SUPERSEDED
    the_journal_is_whole(ledger, old)
    assert claimed(ledger).attempt.request.prompt == CHANGED


@pytest.mark.parametrize("state", sorted(OPEN - {AttemptState.QUEUED}))
def test_a_changed_prompt_waits_for_the_paid_job(ledger: Ledger, clock: Clock, state: AttemptState) -> None:
    _, attempt = put_into(ledger, clock, state)
    ruling = decided(ledger, a_request(prompt=CHANGED), decision="tuesday")
    assert ruling.ruling is Ruling.REFUSED
    assert ruling.attempt == attempt
    assert ruling.reason is not None
    assert state in ruling.reason
    assert attempt.id in ruling.reason
    assert read(ledger, attempt) == attempt
    assert len(everything(ledger)) == 1


def test_a_green_unchanged_clip_costs_nothing_for_any_decision(ledger: Ledger) -> None:
    attempt = delivered(ledger)
    for decision in ("monday", "tuesday"):
        ruling = decided(ledger, decision=decision)
        assert (ruling.ruling, ruling.attempt) == (Ruling.REUSED, attempt)


def test_regenerate_is_a_new_decision_for_another_take_and_only_once(ledger: Ledger) -> None:
    first = delivered(ledger)
    again = decided(ledger, decision="tuesday", regenerate=True)
    assert again.ruling is Ruling.NEW
    second = record_outcome(ledger, claimed(ledger), accepted("job-2"))
    second = polls.record_end(ledger, second, a_state(), NEVER_CHARGED)
    second = deliveries.record_delivered(ledger, second.id, STORED)
    retried = decided(ledger, decision="tuesday", regenerate=True)
    assert (retried.ruling, retried.attempt) == (Ruling.REUSED, second)
    assert ledger.current(["city-sunset"])["city-sunset"].id == second.id != first.id


@pytest.mark.parametrize("regenerate", [False, True])
def test_a_decision_that_has_delivered_never_buys_again(ledger: Ledger, regenerate: bool) -> None:
    attempt = delivered(ledger)
    for request in (a_request(), a_request(prompt=CHANGED), a_request(price_micros=None)):
        ruling = decided(ledger, request, regenerate=regenerate)
        assert (ruling.ruling, ruling.attempt) == (Ruling.REUSED, attempt)


def test_a_changed_prompt_of_a_delivered_clip_is_another_purchase(ledger: Ledger) -> None:
    delivered(ledger)
    assert decided(ledger, a_request(prompt=CHANGED), decision="tuesday").ruling is Ruling.NEW


def test_returning_to_an_earlier_prompt_is_a_purchase_since_another_take_is_current(ledger: Ledger) -> None:
    delivered(ledger)
    delivered(ledger, request=a_request(prompt=CHANGED), decision="tuesday", job_id="job-2")
    assert decided(ledger, decision="wednesday").ruling is Ruling.NEW


FINAL_FAILURES: dict[str, Callable[[Ledger, Clock], Attempt]] = {
    "rejected": lambda ledger, clock: put_into(ledger, clock, AttemptState.REJECTED)[1],
    "moderated job": lambda ledger, clock: failed(ledger, FailureKind.MODERATION),
    "failed job": lambda ledger, clock: failed(ledger),
    "vanished": lambda ledger, clock: put_into(ledger, clock, AttemptState.VANISHED)[1],
    "lost": lambda ledger, clock: deliveries.record_lost(ledger, succeeded(ledger).id, why="410"),
    "quarantined": lambda ledger, clock: deliveries.record_quarantined(
        ledger, succeeded(ledger).id, STORED, why="480 pixels instead of 720"
    ),
    "abandoned": lambda ledger, clock: put_into(ledger, clock, AttemptState.ABANDONED)[1],
}


@pytest.mark.parametrize("how", FINAL_FAILURES)
def test_a_failed_clip_is_refused_in_its_decision_and_bought_in_a_new_one(
    ledger: Ledger, clock: Clock, how: str
) -> None:
    attempt = FINAL_FAILURES[how](ledger, clock)
    ruling = decided(ledger)
    assert ruling.ruling is Ruling.REFUSED
    assert ruling.attempt is not None
    assert ruling.attempt.id == attempt.id
    assert ruling.reason is not None
    assert "tried 1 of 1" in ruling.reason
    assert "dailies retry city-sunset" in ruling.reason
    assert decided(ledger, decision="tuesday").ruling is Ruling.NEW


@pytest.mark.parametrize("kind", [FailureKind.PROVIDER, FailureKind.NO_OUTPUT])
def test_a_temporary_failure_is_bought_again_up_to_max_attempts(ledger: Ledger, kind: FailureKind) -> None:
    request = a_request(max_attempts=3)
    queued(ledger, request, batch="run-1", watched_by="run-1")
    for tried in range(1, 4):
        attempt = record_outcome(ledger, claimed(ledger), accepted(f"job-{tried}"))
        assert (attempt.decision, attempt.batch, attempt.watched_by) == ("monday", "run-1", "run-1")
        ended = polls.record_end(ledger, attempt, a_state(JobStatus.FAILED, failure=kind), NEVER_CHARGED)
        assert ended.state is AttemptState.FAILED
        newest = ledger.latest(["city-sunset"])["city-sunset"]
        if tried < 3:
            assert newest.state is AttemptState.QUEUED
            assert read(ledger, ended).reported_run_id == SUPERSEDED
            assert decided(ledger, request).ruling is Ruling.ADOPTED
    assert newest.id == ended.id
    assert newest.reported_run_id is None
    refused = decided(ledger, request)
    assert refused.ruling is Ruling.REFUSED
    assert refused.reason is not None
    assert "tried 3 of 3" in refused.reason
    assert len(everything(ledger)) == 3
    for attempt in everything(ledger):
        the_journal_is_whole(ledger, attempt)


@pytest.mark.parametrize("kind", sorted(set(FailureKind) - {FailureKind.PROVIDER, FailureKind.NO_OUTPUT}))
def test_a_permanent_failure_is_not_bought_again(ledger: Ledger, kind: FailureKind) -> None:
    ended = failed(ledger, kind, request=a_request(max_attempts=5))
    assert everything(ledger) == [ended]


def test_a_raised_max_attempts_counts_the_tries_so_far(ledger: Ledger) -> None:
    failed(ledger)
    assert decided(ledger, a_request(max_attempts=2)).ruling is Ruling.NEW
    assert decided(ledger, a_request(max_attempts=2)).ruling is Ruling.ADOPTED


@pytest.mark.parametrize("kind", [FailureKind.AUTH, FailureKind.INSUFFICIENT_FUNDS])
def test_a_purchase_withdrawn_for_its_account_is_repeated_in_its_decision(
    ledger: Ledger, kind: FailureKind
) -> None:
    for _ in range(3):
        assert queued(ledger).state is AttemptState.QUEUED
        attempt = record_outcome(ledger, claimed(ledger), rejected(kind))
        queue.withdraw(ledger, [attempt.id], why="the account is stopped", kind=kind)
        stops.start(ledger, account=ACCOUNT)
    assert len(everything(ledger)) == 3


def test_a_withdrawn_purchase_is_repeated_in_its_decision(ledger: Ledger) -> None:
    attempt = queued(ledger)
    queue.withdraw(ledger, [attempt.id], why="the run was terminated")
    assert decided(ledger).ruling is Ruling.NEW


def test_a_purchase_that_is_proved_absent_is_repeated_in_its_decision(ledger: Ledger, clock: Clock) -> None:
    put_into(ledger, clock, AttemptState.ABSENT)
    assert decided(ledger).ruling is Ruling.NEW


def test_a_late_refusal_is_as_final_as_one_in_time(ledger: Ledger) -> None:
    queued(ledger)
    submission = claimed(ledger)
    record_outcome(ledger, submission, unknown())
    record_outcome(ledger, submission, rejected(FailureKind.MODERATION))
    assert decided(ledger).ruling is Ruling.REFUSED


@pytest.mark.parametrize("late", [NotSent("connection refused"), rejected(FailureKind.THROTTLED)])
def test_a_purchase_that_is_proved_not_sent_late_is_repeated_in_its_decision(
    ledger: Ledger, late: SubmitOutcome
) -> None:
    queued(ledger)
    submission = claimed(ledger)
    record_outcome(ledger, submission, unknown())
    record_outcome(ledger, submission, late)
    assert decided(ledger).ruling is Ruling.NEW


def test_an_unknown_price_is_refused_and_not_read_as_zero(ledger: Ledger) -> None:
    ruling = decided(ledger, a_request(price_micros=None))
    assert ruling.ruling is Ruling.REFUSED
    assert ruling.attempt is None
    assert ruling.reason is not None
    assert "unknown price is not bought" in ruling.reason
    assert everything(ledger) == []


def test_a_price_of_zero_is_a_price(ledger: Ledger) -> None:
    assert decided(ledger, a_request(price_micros=0)).ruling is Ruling.NEW


def test_an_unknown_price_does_not_refuse_an_existing_purchase(ledger: Ledger) -> None:
    attempt = submitted(ledger)
    assert decided(ledger, a_request(price_micros=None)).attempt == attempt


def test_a_new_purchase_is_reported_instead_of_an_older_end(ledger: Ledger) -> None:
    old = failed(ledger)
    assert deliveries.unreported(ledger, ACCOUNT) == [old]
    new = queued(ledger, decision="tuesday")
    assert deliveries.unreported(ledger, ACCOUNT) == [new]
    assert read(ledger, old).reported_run_id == SUPERSEDED


def test_an_end_that_was_reported_keeps_its_run(ledger: Ledger) -> None:
    old = failed(ledger)
    deliveries.mark_reported(ledger, [old.id], "run-1")
    queued(ledger, decision="tuesday")
    assert read(ledger, old).reported_run_id == "run-1"


def test_the_loser_of_the_insert_adopts_the_winners_purchase(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    winner = queued(ledger)
    look = decisions._find
    looks: list[Decided] = []

    def too_early_once(*args: Any, **kwargs: Any) -> Decided:
        looks.append(look(*args, **kwargs) if looks else Decided(a_request(), Ruling.NEW, None))
        return looks[-1]

    monkeypatch.setattr(decisions, "_find", too_early_once)
    ruling = decided(ledger, decision="tuesday")
    assert (ruling.ruling, ruling.attempt) == (Ruling.ADOPTED, winner)
    assert len(looks) == 2
    assert everything(ledger) == [winner]


def test_a_decision_that_stalls_before_its_insert_does_not_buy_a_clip_delivered_meanwhile(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, go_on = threading.Event(), threading.Event()
    look = decisions._find
    rulings: list[Ruling] = []

    def stalls(*args: Any, **kwargs: Any) -> Decided:
        found = look(*args, **kwargs)
        if threading.current_thread() is stalled:
            looked.set()
            assert go_on.wait(60)
        return found

    def the_other_buys_it_and_gets_it() -> None:
        ruling = decided(ledger)
        rulings.append(ruling.ruling)
        if ruling.ruling is Ruling.NEW:
            attempt = record_outcome(ledger, claimed(ledger), accepted())
            polls.record_end(ledger, attempt, a_state(), NEVER_CHARGED)
            deliveries.record_delivered(ledger, attempt.id, STORED)

    monkeypatch.setattr(decisions, "_find", stalls)
    stalled = threading.Thread(target=lambda: rulings.append(decided(ledger).ruling))
    other = threading.Thread(target=the_other_buys_it_and_gets_it)
    stalled.start()
    assert looked.wait(60)
    other.start()
    other.join(0.1)
    go_on.set()
    stalled.join(60)
    other.join(60)
    assert sorted(rulings) == [Ruling.ADOPTED, Ruling.NEW]
    assert len(everything(ledger)) == 1


def test_the_overview_shows_the_newest_purchase_of_every_clip(ledger: Ledger) -> None:
    failed(ledger, request=a_request("clip-a"))
    submitted(ledger, a_request("clip-b", series="sea"), job_id="job-b")
    newest = queued(ledger, a_request("clip-a"), decision="tuesday")
    assert {a.subject_key: a.id for a in ledger.overview()} == {
        "clip-a": newest.id,
        "clip-b": ledger.latest(["clip-b"])["clip-b"].id,
    }
    assert [a.subject_key for a in ledger.overview(series="sea")] == ["clip-b"]
    assert ledger.latest(["clip-a", "never-bought"]).keys() == {"clip-a"}
    assert ledger.current(["clip-a", "clip-b"]) == {}


def test_more_keys_than_a_statement_takes_are_all_read(ledger: Ledger) -> None:
    keys = [f"clip-{number:04}" for number in range(1, 1203)]
    decide(ledger, [a_request(key) for key in keys[::100]], Decision("monday"))
    assert sorted(ledger.latest(keys)) == keys[::100]
    assert ledger.latest([]) == {}
