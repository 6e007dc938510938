"""Rebuilding a lost ledger, from every state of an old copy."""

from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from ledgerkit import (
    ACCOUNT,
    NEVER_CHARGED,
    a_request,
    a_state,
    accepted,
    claimed,
    everything,
    put_into,
    queued,
    read,
    submission_state,
    submitted,
    succeeded,
    the_journal_is_whole,
)

from proof.clock import Clock
from resources.ledger import counters, polls
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.outcomes import record_outcome
from resources.ledger.records import Attempt
from resources.ledger.recovery.mark import OnItsWay
from resources.ledger.recovery.rebuild import ManifestTake, Taken, record_take, take_back, withdraw_queued
from resources.ledger.schema import submissions
from resources.ledger.selects import selects_of
from resources.ledger.states import AttemptState, MoneyState, SubmissionState
from resources.orders import Caps
from resources.providers.base import FailureKind, JobStatus
from tests.ledger.test_finishes import PRICE, a_draft, bought, carried, circled, waits

S = AttemptState
OPEN_AFTER_A_CLAIM = [S.QUEUED, S.SUBMITTING, S.UNKNOWN, S.HELD, S.SUBMITTED, S.OVERDUE, S.SUCCEEDED]


def a_take(attempt: str = "lost", clip: str = "city-sunset", **changes: Any) -> ManifestTake:
    request = a_request(clip)
    take = ManifestTake(
        attempt=attempt,
        request=request,
        fingerprint=request.fingerprint,
        account=ACCOUNT,
        decision="monday",
        submission="submission-of-it",
        job="job-of-it",
        money=MoneyState.CONFIRMED,
        charged_micros=400_000,
        charge_source="answer",
        submitted_at=1_800_000_100.0,
        finished_at=1_800_000_160.0,
        delivered_at=1_800_000_170.0,
        served_model=None,
        inference_seconds=41.5,
        delivery={"uri": "s3://bucket/videos/clip.mp4", "size": 10},
        quarantined=None,
        run_id="run-9",
    )
    return replace(take, **changes)


def on_its_way(attempt: str = "lost", clip: str = "city-sunset", **changes: Any) -> OnItsWay:
    request = a_request(clip)
    values: dict[str, Any] = {
        "clip": clip,
        "series": request.series,
        "fingerprint": request.fingerprint,
        "provider": request.provider,
        "account": ACCOUNT,
        "endpoint": request.endpoint,
        "attempt": attempt,
        "decision": "monday",
        "submission": "submission-of-it",
        "job": "job-of-it",
        "sent_at": 1_800_000_100.0,
        "quoted_micros": 400_000,
    }
    return OnItsWay(**(values | changes))


@pytest.fixture(autouse=True)
def _the_books_agree(ledger: Ledger) -> Any:
    yield
    with ledger.read() as connection:
        counted = {scope: n for scope, n in counters.counted(connection).items() if n}
        assert counted == {scope: n for scope, n in counters.recounted(connection).items() if n}
    for attempt in everything(ledger):
        the_journal_is_whole(ledger, attempt)


# What is in the bucket


def test_a_rebuilt_take_is_delivered_and_never_bought_again(ledger: Ledger) -> None:
    take = a_take()
    assert record_take(ledger, take) is Taken.ADOPTED
    (attempt,) = everything(ledger)
    assert (attempt.id, attempt.state, attempt.money_state) == ("lost", S.DELIVERED, MoneyState.CONFIRMED)
    assert (attempt.job_id, attempt.charged_micros, attempt.delivery) == ("job-of-it", 400_000, take.delivery)
    assert ledger.current(["city-sunset"]) == {"city-sunset": attempt}
    assert ledger.submission_of(ACCOUNT, "job-of-it") == "submission-of-it"
    for decision in ("monday", "tuesday"):
        (ruling,) = decide(ledger, [take.request], Decision(decision))
        assert ruling.ruling is Ruling.REUSED
    assert record_take(ledger, take) is Taken.KNOWN
    assert everything(ledger) == [attempt]


@pytest.mark.parametrize("state", OPEN_AFTER_A_CLAIM)
@pytest.mark.parametrize("quarantined", [None, "480 pixels instead of 720"])
def test_a_purchase_in_an_earlier_state_of_an_old_copy_is_advanced(
    ledger: Ledger, clock: Clock, state: AttemptState, quarantined: str | None
) -> None:
    submission, attempt = put_into(ledger, clock, state)
    take = a_take(attempt.id, submission=submission.id, quarantined=quarantined)
    assert record_take(ledger, take) is Taken.LED_ON
    after = read(ledger, attempt)
    assert after.state is (S.DELIVERED if quarantined is None else S.QUARANTINED)
    assert (after.money_state, after.job_id, after.next_poll_at) == (
        MoneyState.CONFIRMED,
        "job-of-it",
        None,
    )
    assert after.reason_kind is (None if quarantined is None else FailureKind.CHECK)
    assert (ledger.current(["city-sunset"]) == {}) is (quarantined is not None)
    assert submission_state(ledger, submission) not in {SubmissionState.OPEN, SubmissionState.UNKNOWN}
    assert record_take(ledger, take) is Taken.KNOWN


@pytest.mark.parametrize(
    "state", [S.WITHDRAWN, S.REJECTED, S.ABSENT, S.FAILED, S.VANISHED, S.LOST, S.ABANDONED]
)
def test_a_take_of_a_purchase_that_a_copy_has_closed_is_a_spare_take(
    ledger: Ledger, clock: Clock, state: AttemptState
) -> None:
    _, attempt = put_into(ledger, clock, state)
    take = a_take(attempt.id)
    assert record_take(ledger, take) is Taken.ADOPTED
    assert read(ledger, attempt) == attempt
    (shown,) = ledger.current(["city-sunset"]).values()
    assert shown.delivery == take.delivery
    assert record_take(ledger, take) is Taken.KNOWN
    assert len(everything(ledger)) == 2


def test_the_take_that_was_stored_last_is_current_in_whatever_order_takes_are_found(ledger: Ledger) -> None:
    old = a_take("old", job="job-1", submission="s-1", delivered_at=1_800_000_100.0)
    new = a_take("new", job="job-2", submission="s-2", delivered_at=1_800_000_200.0)
    for take in (new, old):
        record_take(ledger, take)
    assert ledger.current(["city-sunset"])["city-sunset"].id == "new"


def test_spent_money_is_counted_even_beyond_a_cap(ledger: Ledger) -> None:
    ledger.budget = Budget(everything=Caps(total=500_000))
    for number in range(3):
        take = a_take(f"take-{number}", f"clip-{number}", job=f"job-{number}", submission=f"s-{number}")
        assert record_take(ledger, take) is Taken.ADOPTED
    (ruling,) = decide(ledger, [a_request("clip-new")], Decision("tuesday"))
    assert ruling.ruling is Ruling.REFUSED
    assert "cap" in (ruling.reason or "")


# open purchases


def test_an_open_job_is_polled_again(ledger: Ledger, clock: Clock) -> None:
    item = on_its_way()
    assert take_back(ledger, item, a_request()) is Taken.ADOPTED
    (attempt,) = polls.claim_due(ledger, ACCOUNT, limit=5)
    assert (attempt.id, attempt.job_id, attempt.state) == ("lost", "job-of-it", S.SUBMITTED)
    assert take_back(ledger, item, a_request()) is Taken.KNOWN
    polls.record_end(ledger, attempt, a_state(), NEVER_CHARGED)
    assert take_back(ledger, item, a_request()) is Taken.KNOWN
    assert len(everything(ledger)) == 1


def test_an_order_without_a_known_job_is_unknown_and_not_sent_again(ledger: Ledger) -> None:
    assert take_back(ledger, on_its_way(job=None), a_request()) is Taken.ADOPTED
    (attempt,) = everything(ledger)
    assert (attempt.state, attempt.money_state) == (S.UNKNOWN, MoneyState.INDETERMINATE)
    with ledger.read() as connection:
        (post,) = connection.execute(sa.select(submissions))
    assert (post.id, post.state) == ("submission-of-it", SubmissionState.UNKNOWN)
    (ruling,) = decide(ledger, [a_request()], Decision("tuesday"))
    assert ruling.ruling is Ruling.ADOPTED
    assert take_back(ledger, on_its_way(job=None), a_request()) is Taken.KNOWN


@pytest.mark.parametrize("state", [S.QUEUED, S.SUBMITTING, S.UNKNOWN, S.HELD])
def test_an_old_copys_purchase_gets_the_job_it_did_not_know(
    ledger: Ledger, clock: Clock, state: AttemptState
) -> None:
    submission, attempt = put_into(ledger, clock, state)
    item = on_its_way(attempt.id, submission=submission.id)
    assert take_back(ledger, item, attempt.request) is Taken.LED_ON
    after = read(ledger, attempt)
    assert (after.state, after.job_id, after.money_state) == (S.SUBMITTED, "job-of-it", MoneyState.RESERVED)


def test_a_purchase_that_a_copy_has_queued_and_that_was_sent_since_is_unknown(ledger: Ledger) -> None:
    attempt = queued(ledger)
    assert take_back(ledger, on_its_way(attempt.id, job=None), attempt.request) is Taken.LED_ON
    assert read(ledger, attempt).state is S.UNKNOWN


def test_an_earlier_purchase_that_is_only_queued_is_replaced(ledger: Ledger) -> None:
    attempt = queued(ledger)
    assert take_back(ledger, on_its_way("later"), a_request()) is Taken.ADOPTED
    assert read(ledger, attempt).state is S.WITHDRAWN


def test_an_earlier_purchase_that_was_sent_must_end_first(ledger: Ledger) -> None:
    attempt = submitted(ledger, job_id="job-of-the-earlier")
    item = on_its_way("later")
    assert take_back(ledger, item, a_request()) is Taken.BLOCKED
    assert everything(ledger) == [attempt]
    polls.record_end(ledger, attempt, a_state(JobStatus.FAILED), NEVER_CHARGED)
    assert take_back(ledger, item, a_request()) is Taken.ADOPTED


def test_a_job_of_a_purchase_that_a_copy_has_closed_is_still_fetched(ledger: Ledger, clock: Clock) -> None:
    _, attempt = put_into(ledger, clock, S.WITHDRAWN)
    item = on_its_way(attempt.id)
    assert take_back(ledger, item, attempt.request) is Taken.ADOPTED
    assert read(ledger, attempt) == attempt
    assert take_back(ledger, item, attempt.request) is Taken.KNOWN
    assert ledger.latest(["city-sunset"])["city-sunset"].job_id == "job-of-it"


# queued purchases


def test_only_queued_purchases_are_withdrawn(ledger: Ledger) -> None:
    sent = succeeded(ledger, a_request("clip-a"))
    waits = queued(ledger, a_request("clip-b"))
    assert [attempt.id for attempt in withdraw_queued(ledger)] == [waits.id]
    assert read(ledger, sent) == sent
    assert (read(ledger, waits).state, read(ledger, waits).money_state) == (S.WITHDRAWN, MoneyState.RELEASED)
    (ruling,) = decide(ledger, [a_request("clip-b")], Decision("monday"))
    assert ruling.ruling is Ruling.NEW


def the_finish_of_another_ledger(draft: Attempt, attempt: str = "later") -> ManifestTake:
    """A finish of a draft that the bucket holds and that this copy of the ledger does not know."""
    request = draft.request.finishing(draft.id, draft_id=None, seed=7)
    assert request is not None
    return ManifestTake(
        attempt=attempt,
        request=request,
        fingerprint=request.fingerprint,
        account=ACCOUNT,
        decision=f"finish:{draft.id}:2",
        submission="submission-of-it",
        job="job-of-it",
        money=MoneyState.CONFIRMED,
        charged_micros=PRICE,
        charge_source="answer",
        submitted_at=1_800_000_100.0,
        finished_at=1_800_000_160.0,
        delivered_at=1_800_000_170.0,
        served_model=None,
        inference_seconds=None,
        delivery={"uri": "s3://bucket/videos/clip.mp4"},
        quarantined=None,
        run_id="run-9",
    )


def test_a_copy_with_a_queued_finish_gets_the_finish_that_was_bought_since(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    circled(ledger, draft)
    taken = record_take(ledger, the_finish_of_another_ledger(draft))

    assert taken is Taken.ADOPTED
    assert [a.state for a in everything(ledger) if a.finishes == draft.id] == [S.WITHDRAWN, S.DELIVERED]
    assert waits(ledger) == []


def test_a_copy_whose_finish_was_sent_gets_the_next_one_after_its_end(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    circled(ledger, draft)
    submission = claimed(ledger)
    sent = record_outcome(ledger, submission, accepted("job-1"))

    assert record_take(ledger, the_finish_of_another_ledger(draft)) is Taken.BLOCKED
    polls.record_end(ledger, sent, a_state(JobStatus.FAILED), NEVER_CHARGED)
    assert record_take(ledger, the_finish_of_another_ledger(draft)) is Taken.ADOPTED
    assert waits(ledger) == []


def test_two_finishes_of_a_draft_in_the_bucket_are_one_finish_and_a_spare_take(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    circled(ledger, draft)
    (finish,) = carried(ledger)

    assert record_take(ledger, the_finish_of_another_ledger(draft)) is Taken.ADOPTED
    (other,) = [a for a in everything(ledger) if a.id == "later"]
    assert (other.is_spare, other.state) == (True, S.DELIVERED)
    assert selects_of(ledger, ["city-sunset"])["city-sunset"].take.attempt.id == finish.id
