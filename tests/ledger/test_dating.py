"""Which clock dates a provider's jobs: if our own jobs agree on another clock than the answers', that clock counts."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledgerkit import ACCOUNT, DEADLINE, NO_LIMITS, a_request, accepted, queued

from proof.clock import Clock
from resources.ledger.ledger import Ledger
from resources.ledger.lost import job_times
from resources.ledger.lost.job_times import Dating
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Submission
from resources.providers.base import Candidate, Charge, ClockOffset, JobStatus

DOUBTFUL = Dating(reliable=False)


def bought(ledger: Ledger, clock: Clock, number: int, *, dated: float, takes: float = 0.5) -> Candidate:
    """A job of ours as listed by a clock that is `dated` seconds ahead of the clock of the answers."""
    queued(ledger, a_request(f"clip-{number}"))
    submission = claim_next(ledger, ACCOUNT, PostTerms(NO_LIMITS, DEADLINE, clock_offset=ClockOffset(-1, 1)))
    assert isinstance(submission, Submission)
    created = clock.now + takes / 2
    clock.forward(takes)
    record_outcome(ledger, submission, accepted(f"job-{number}"))
    clock.forward(10)
    return listed(f"job-{number}", created + dated)


def listed(job_id: str, at: float) -> Candidate:
    return Candidate(
        job_id, "openai/sora-2/text-to-video", datetime.fromtimestamp(at, UTC), JobStatus.RUNNING
    )


def told(ledger: Ledger, *jobs: Candidate) -> Dating:
    with ledger.read() as connection:
        return job_times.dating(connection, ACCOUNT, jobs)


@pytest.mark.parametrize("dated", [600.0, 30.0, -600.0])
def test_two_jobs_of_ours_show_how_far_the_clock_is_ahead(ledger: Ledger, clock: Clock, dated: float) -> None:
    told_by_two = told(ledger, *(bought(ledger, clock, n, dated=dated) for n in range(2)))
    found = told_by_two.ahead
    assert told_by_two.reliable
    assert found is not None
    assert found.low <= dated <= found.high
    assert found.high - found.low < 5


def test_one_job_that_contradicts_the_headers_only_raises_a_doubt(ledger: Ledger, clock: Clock) -> None:
    assert told(ledger, bought(ledger, clock, 1, dated=600)) == DOUBTFUL


@pytest.mark.parametrize("dated", [0.0, 4.0, -4.0])
def test_offsets_below_the_bound_count_as_the_same_clock(ledger: Ledger, clock: Clock, dated: float) -> None:
    assert told(ledger, *(bought(ledger, clock, n, dated=dated) for n in range(3))) == Dating()
    assert told(ledger, bought(ledger, clock, 3, dated=dated)) == Dating()


def test_jobs_that_contradict_each_other_prove_nothing(ledger: Ledger, clock: Clock) -> None:
    """Some services date jobs when they begin, after a wait of their own."""
    assert told(ledger, *(bought(ledger, clock, n, dated=40.0 * n) for n in range(1, 4))) == DOUBTFUL


def test_strangers_jobs_prove_nothing(ledger: Ledger, clock: Clock) -> None:
    theirs = (listed(f"theirs-{n}", clock.now + 600) for n in range(2))
    assert told(ledger, *theirs) == Dating()


@given(st.floats(-3600, 3600), st.floats(0, 5))
def test_times_are_corrected_by_the_middle_of_the_known_range(low: float, wide: float) -> None:
    at = 1_800_000_000.0
    job, charge = listed("job-1", at), Charge("job-1", 1, "charge", at)
    (moved,), charges = job_times.by_date_header([job], [charge], ClockOffset(low, low + wide))
    assert abs((job.created_at - moved.created_at) - timedelta(seconds=low + wide / 2)) < timedelta(
        seconds=1e-3
    )
    assert charges is not None
    assert abs(charges[0].at - moved.created_at.timestamp()) < 1e-3
    assert job_times.by_date_header([job], None, ClockOffset(low, low + wide))[1] is None
