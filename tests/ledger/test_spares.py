"""Jobs that appear after their purchase was closed: counted, polled, fetched, and never an obstacle to a clip."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from ledgerkit import (
    ACCOUNT,
    DEADLINE,
    NEVER_CHARGED,
    a_request,
    a_state,
    accepted,
    claimed,
    decided,
    put_into,
    queued,
    read,
    submitted,
    the_journal_is_whole,
)

from proof.clock import Clock
from resources.ledger import budget, deliveries, outcomes, polls
from resources.ledger.decisions import Ruling
from resources.ledger.ledger import Ledger
from resources.ledger.limits import LEASE_MARGIN_SECONDS
from resources.ledger.lost import closures, orphans
from resources.ledger.lost.settle import write_off
from resources.ledger.records import SPARE, Attempt, Submission
from resources.ledger.schema import attempts, jobs
from resources.ledger.statement import in_doubt, statement
from resources.ledger.states import AttemptState, MoneyState
from resources.orders import Caps
from resources.providers.base import Candidate, FailureKind, JobStatus, NotSent, Rejected, Unknown

S = AttemptState
CLIP = "city-sunset"


def spares(ledger: Ledger) -> list[Attempt]:
    with ledger.read() as connection:
        rows = connection.execute(sa.select(attempts).where(attempts.c.subject_kind == SPARE))
        return [Attempt.from_row(row) for row in rows]


def by_the_answer(ledger: Ledger, submission: Submission) -> None:
    outcomes.record_outcome(ledger, submission, accepted("late", "sora-2"))


def by_a_callback(ledger: Ledger, submission: Submission) -> None:
    closures.match_callback(ledger, ACCOUNT, submission.id, "late", model="sora-2")


def by_the_sweep(ledger: Ledger, submission: Submission) -> None:
    at = providers_time(ledger)
    named = Candidate("late", "sora-2", at, JobStatus.RUNNING, submission_id=submission.id)
    assert orphans.book(ledger, ACCOUNT, [named]) == []


def providers_time(ledger: Ledger) -> datetime:
    return datetime.fromtimestamp(ledger.clock(), UTC)


WAYS = [by_the_answer, by_a_callback, by_the_sweep]


def closed(ledger: Ledger, clock: Clock) -> tuple[Submission, Attempt]:
    """A closed purchase without a job, which is not bought again."""
    submission, attempt = put_into(ledger, clock, S.UNKNOWN)
    with ledger.transaction(who="test", run_id=None) as tx:
        absent, *_ = closures.close_absent(tx, attempt, submission.id, why="nothing is listed", again=0)
    return submission, absent


@pytest.mark.parametrize("hear", WAYS)
def test_a_late_job_is_a_purchase_of_its_own_that_counts(
    ledger: Ledger, clock: Clock, hear: Callable[[Ledger, Submission], None]
) -> None:
    submission, absent = closed(ledger, clock)
    before = statement(ledger).total.micros
    for _ in range(2):  # reported twice, kept once
        hear(ledger, submission)
    (spare,) = spares(ledger)
    assert (spare.clip, spare.state, spare.money_state) == (CLIP, S.SUBMITTED, MoneyState.RESERVED)
    assert (spare.job_id, spare.served_model, spare.decision) == ("late", "sora-2", absent.decision)
    assert statement(ledger).total.micros - before == absent.quoted_micros
    assert statement(ledger).miscounted == []
    assert read(ledger, absent).state is S.ABSENT
    assert ledger.submission_of(ACCOUNT, "late") == submission.id
    the_journal_is_whole(ledger, spare)


@pytest.mark.parametrize("hear", WAYS)
def test_a_held_clip_continues_with_its_job_whatever_source_names_it(
    ledger: Ledger, clock: Clock, hear: Callable[[Ledger, Submission], None]
) -> None:
    """An hourly sweep once booked the job of a held clip, and the reconciler then took the clip for settled."""
    submission, attempt = put_into(ledger, clock, S.HELD)
    hear(ledger, submission)
    after = read(ledger, attempt)
    assert (after.state, after.job_id, spares(ledger)) == (S.SUBMITTED, "late", [])


def test_a_spare_take_is_polled_confirmed_and_fetched_and_never_current(ledger: Ledger, clock: Clock) -> None:
    submission, _absent = closed(ledger, clock)
    by_the_answer(ledger, submission)
    (due,) = polls.claim_due(ledger, ACCOUNT, limit=10)
    ended = polls.record_end(ledger, due, a_state(), NEVER_CHARGED)
    assert (ended.is_spare, ended.state, ended.money_state) == (True, S.SUCCEEDED, MoneyState.CONFIRMED)
    (waiting,) = deliveries.unreported(ledger, ACCOUNT)[-1:]
    assert waiting.id == ended.id
    assert [a.id for a in deliveries.spares_to_fetch(ledger, [CLIP, "other"])] == [ended.id]
    assert deliveries.spares_to_fetch(ledger, ["other"]) == []
    assert deliveries.claim(ledger, ended.id, token="t") is not None
    deliveries.record_delivered(ledger, ended.id, {"key": "videos/x.mp4"})
    assert ledger.current([CLIP]) == {}
    assert ended.id not in {a.id for a in deliveries.unreported(ledger, ACCOUNT)}


def test_a_spare_take_neither_blocks_its_clip_nor_represents_it(ledger: Ledger, clock: Clock) -> None:
    submission, absent = closed(ledger, clock)
    by_the_answer(ledger, submission)
    assert ledger.latest([CLIP])[CLIP].id == absent.id
    assert decided(ledger, decision="tuesday").ruling is Ruling.NEW


def test_a_failed_spare_take_is_not_bought_again(ledger: Ledger, clock: Clock) -> None:
    request = a_request(max_attempts=5)
    queued(ledger, request)
    submission = claimed(ledger)
    outcomes.record_outcome(ledger, submission, NotSent("connection refused"))
    by_the_answer(ledger, submission)  # the proof of absence was wrong
    (spare,) = spares(ledger)
    failed = a_state(JobStatus.FAILED, failure=FailureKind.PROVIDER, error="upstream")
    ended = polls.record_end(ledger, spare, failed, NEVER_CHARGED)
    assert (ended.state, ended.money_state) == (S.FAILED, MoneyState.RELEASED)
    assert len(spares(ledger)) == 1
    assert ledger.latest([CLIP])[CLIP].state is S.QUEUED


def test_a_second_job_of_a_purchase_is_a_spare_take(ledger: Ledger) -> None:
    queued(ledger)
    first = claimed(ledger)
    outcomes.record_outcome(ledger, first, Rejected(FailureKind.THROTTLED, "slow down", 429, retry_after=0))
    again = claimed(ledger)
    mine = outcomes.record_outcome(ledger, again, accepted("mine"))
    by_the_answer(ledger, first)
    assert read(ledger, mine).job_id == "mine"
    assert [s.job_id for s in spares(ledger)] == ["late"]


def written_off(ledger: Ledger, clock: Clock) -> Attempt:
    clock.forward(DEADLINE + LEASE_MARGIN_SECONDS + 1)
    outcomes.expire_submissions(ledger, ACCOUNT)
    return write_off(ledger, CLIP, who="person ann", why="nobody knows", anyway=True)


@pytest.mark.parametrize("hear", WAYS)
def test_the_late_job_of_a_written_off_purchase_counts_once(
    ledger: Ledger, clock: Clock, hear: Callable[[Ledger, Submission], None]
) -> None:
    queued(ledger)
    submission = claimed(ledger)
    abandoned = written_off(ledger, clock)
    assert statement(ledger).total.micros == abandoned.quoted_micros
    for _ in range(2):
        hear(ledger, submission)
    (spare,) = spares(ledger)
    after = read(ledger, abandoned)
    assert (after.state, after.money_state, after.cost_micros) == (S.ABANDONED, MoneyState.RELEASED, 0)
    assert f"job late turned up and is spare take {spare.id}" in ledger.history(after.id)[-1]["why"]
    assert statement(ledger).total.micros == spare.cost_micros == abandoned.quoted_micros
    assert statement(ledger).miscounted == []
    assert in_doubt(ledger) == []
    the_journal_is_whole(ledger, after)


def test_the_late_job_of_another_post_leaves_the_money_of_a_written_off_one_counted(
    ledger: Ledger, clock: Clock
) -> None:
    queued(ledger)
    first = claimed(ledger)
    outcomes.record_outcome(ledger, first, Rejected(FailureKind.THROTTLED, "slow down", 429, retry_after=0))
    claimed(ledger)
    abandoned = written_off(ledger, clock)
    by_the_answer(ledger, first)
    assert read(ledger, abandoned).money_state is MoneyState.INDETERMINATE
    assert statement(ledger).total.micros == 2 * abandoned.quoted_micros


def test_one_job_never_belongs_to_two_purchases(ledger: Ledger) -> None:
    """A provider answers two POSTs with one job: the outcome of the second POST stays unknown."""
    submitted(ledger, a_request("first"), job_id="same")
    queued(ledger, a_request("second"))
    attempt = outcomes.record_outcome(ledger, claimed(ledger), accepted("same"))
    assert attempt.state is S.UNKNOWN
    assert "belongs to another purchase" in (attempt.reason or "")
    with ledger.read() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(jobs)).scalar() == 1


def test_a_spare_take_counts_beyond_the_cap_and_the_next_purchase_is_refused(
    ledger: Ledger, clock: Clock
) -> None:
    submission, _absent = closed(ledger, clock)
    ledger.budget = budget.Budget(everything=Caps(total=400_000))
    by_the_answer(ledger, submission)
    refused = decided(ledger, a_request("another"), decision="tuesday")
    assert refused.ruling is Ruling.REFUSED
    assert "cap" in (refused.reason or "")


def test_a_lost_answer_after_the_job_is_known_changes_nothing(ledger: Ledger, clock: Clock) -> None:
    submission, _absent = closed(ledger, clock)
    by_the_answer(ledger, submission)
    outcomes.record_outcome(ledger, submission, Unknown("read timed out"))
    assert len(spares(ledger)) == 1
