"""Jobs that no purchase owns: when they are searched for, and which are recorded."""

from datetime import UTC, datetime

import pytest
from ledgerkit import (
    ACCOUNT,
    DEADLINE,
    NO_LIMITS,
    a_request,
    accepted,
    claimed,
    put_into,
    queued,
    read,
    submitted,
    unknown,
)

from proof.clock import Clock
from resources.ledger.budget import Budget
from resources.ledger.jobs import NamedJob, book_job
from resources.ledger.ledger import Ledger
from resources.ledger.lost import orphans
from resources.ledger.lost.orphans import (
    SETTLED_SECONDS,
    SHOWN_WITHIN_SECONDS,
    SWEEP_SECONDS,
    book,
    claim_sweep,
    finish_sweep,
)
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.states import AttemptState
from resources.providers.base import Candidate, ClockOffset, JobStatus

SORA = "openai/sora-2/text-to-video"


def listed(job_id: str, *, model: str | None = SORA, submission_id: str | None = None) -> Candidate:
    return Candidate(job_id, model, datetime.now(UTC), JobStatus.SUCCEEDED, submission_id)


def nobodys(ledger: Ledger) -> set[str]:
    return {orphan.job_id for orphan in orphans.orphans(ledger)}


def test_our_jobs_are_known_and_others_are_recorded_once(ledger: Ledger) -> None:
    attempt = submitted(ledger, job_id="job-1")
    assert book(ledger, ACCOUNT, [listed("job-1"), listed("job-x")]) == ["job-x"]
    assert book(ledger, ACCOUNT, [listed("job-1"), listed("job-x")]) == []
    assert nobodys(ledger) == {"job-x"}
    assert read(ledger, attempt) == attempt


def test_the_same_id_at_another_account_is_another_job(ledger: Ledger) -> None:
    submitted(ledger, job_id="job-1")
    assert book(ledger, "aimlapi", [listed("job-1")]) == ["job-1"]


def test_a_job_that_names_our_post_belongs_to_the_posts_attempt(ledger: Ledger) -> None:
    queued(ledger)
    submission = claimed(ledger)
    record_outcome(ledger, submission, unknown())
    assert book(ledger, ACCOUNT, [listed("job-late", submission_id=submission.id)]) == []
    assert nobodys(ledger) == set()
    assert ledger.submission_of(ACCOUNT, "job-late") == submission.id


def test_on_a_shared_key_only_jobs_of_models_ordered_here_are_recorded(ledger: Ledger) -> None:
    submitted(ledger)
    models = orphans.models_of(ledger, ACCOUNT)
    seen = [listed("a-chat", model="gpt"), listed("a-video"), listed("unnamed", model=None)]
    assert book(ledger, ACCOUNT, seen, models=models) == ["a-video", "unnamed"]


def test_a_job_whose_purchase_is_found_later_is_no_longer_an_orphan(ledger: Ledger, clock: Clock) -> None:
    submission, attempt = put_into(ledger, clock, AttemptState.UNKNOWN)
    book(ledger, ACCOUNT, [listed("job-x")])
    with ledger.transaction(who="test", run_id=None) as tx:
        assert book_job(tx, attempt, submission.id, NamedJob("job-x", None, "list"))
    assert nobodys(ledger) == set()


def test_an_answer_after_the_sweep_assigns_the_job(ledger: Ledger) -> None:
    queued(ledger)
    submission = claimed(ledger)
    book(ledger, ACCOUNT, [listed("job-1")])
    assert record_outcome(ledger, submission, accepted("job-1")).job_id == "job-1"
    assert nobodys(ledger) == set()


@pytest.mark.slow
def test_many_jobs_are_recorded_in_short_transactions(ledger: Ledger) -> None:
    assert len(book(ledger, ACCOUNT, [listed(f"job-{n}") for n in range(1200)])) == 1200
    assert len(nobodys(ledger)) == 1200


def test_no_sweep_runs_before_an_order_has_settled(ledger: Ledger, clock: Clock) -> None:
    clock.forward(10 * SWEEP_SECONDS)
    assert claim_sweep(ledger, ACCOUNT) is None
    queued(ledger)
    clock.forward(SETTLED_SECONDS - 1)
    assert claim_sweep(ledger, ACCOUNT) is None


def test_a_sweep_reads_the_last_hours_again_since_a_job_may_show_only_when_it_has_ended(
    ledger: Ledger, clock: Clock
) -> None:
    queued(ledger)
    clock.forward(5 * SWEEP_SECONDS)
    first = claim_sweep(ledger, ACCOUNT)
    assert first is not None
    finish_sweep(ledger, ACCOUNT, first)
    clock.forward(SWEEP_SECONDS)
    second = claim_sweep(ledger, ACCOUNT)
    assert second is not None
    assert second.after == first.before - SHOWN_WITHIN_SECONDS


def test_the_first_sweep_begins_at_the_first_order_as_the_providers_clock_dates_it(
    ledger: Ledger, clock: Clock
) -> None:
    ordered_at = clock.now
    queued(ledger)
    behind = ClockOffset(-601, -599)
    claim_next(ledger, ACCOUNT, PostTerms(NO_LIMITS, DEADLINE, clock_offset=behind))
    clock.forward(SWEEP_SECONDS)
    sweep = claim_sweep(ledger, ACCOUNT)
    assert sweep is not None
    assert sweep.after == ordered_at - 601


def test_sweeps_come_once_an_hour_and_leave_no_gap(ledger: Ledger, clock: Clock) -> None:
    ordered_at = clock.now
    queued(ledger)
    clock.forward(SWEEP_SECONDS)
    first = claim_sweep(ledger, ACCOUNT)
    assert first is not None
    assert (first.after, first.before) == (ordered_at, clock.now - SETTLED_SECONDS)
    assert claim_sweep(ledger, ACCOUNT) is None
    finish_sweep(ledger, ACCOUNT, first)
    clock.forward(SWEEP_SECONDS - 1)
    assert claim_sweep(ledger, ACCOUNT) is None
    clock.forward(1)
    second = claim_sweep(ledger, ACCOUNT)
    assert second is not None
    assert second.after <= first.before


def test_the_next_sweep_covers_an_unfinished_one(ledger: Ledger, clock: Clock) -> None:
    queued(ledger)
    clock.forward(SWEEP_SECONDS)
    first = claim_sweep(ledger, ACCOUNT)
    clock.forward(SWEEP_SECONDS)
    second = claim_sweep(ledger, ACCOUNT)
    assert first is not None
    assert second is not None
    assert second.after == first.after
    assert second.before > first.before


def test_two_simultaneous_sweeps_are_one(ledger_url: str, clock: Clock) -> None:
    with (
        Ledger(ledger_url, clock=clock, budget=Budget()) as one,
        Ledger(ledger_url, clock=clock, budget=Budget()) as two,
    ):
        queued(one, a_request())
        clock.forward(SWEEP_SECONDS)
        assert [claim_sweep(each, ACCOUNT) is None for each in (one, two)] == [False, True]


def test_each_account_has_its_own_sweeps(ledger: Ledger, clock: Clock) -> None:
    queued(ledger, a_request("clip-a", provider="wavespeed"))
    queued(ledger, a_request("clip-b", provider="aimlapi"))
    clock.forward(SWEEP_SECONDS)
    assert claim_sweep(ledger, "wavespeed") is not None
    assert claim_sweep(ledger, "aimlapi") is not None
