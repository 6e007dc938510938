"""The time of the next poll: bounds for every input, and sensible times."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.production.poll_times import (
    JITTER,
    LONGEST_SECONDS,
    OVERDUE_SECONDS,
    SCOUT_SECONDS,
    next_poll_after_failure,
    next_poll_in,
)

SEEDS = st.integers(0, 1000).map(random.Random)
TIMES = st.floats(-1e6, 1e6, allow_nan=False)
USUAL = st.one_of(st.none(), st.floats(0, 1e5))
COUNTS = st.integers(0, 1_000_000)


class Still(random.Random):
    """No jitter."""

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def still(*, elapsed: float, usual: float | None, overdue: bool = False) -> float:
    return next_poll_in(elapsed=elapsed, usual=usual, overdue=overdue, rng=Still())


@given(elapsed=TIMES, usual=USUAL, overdue=st.booleans(), rng=SEEDS)
def test_the_next_poll_is_never_at_once_and_never_beyond_the_bounds(
    elapsed: float, usual: float | None, overdue: bool, rng: random.Random
) -> None:
    delay = next_poll_in(elapsed=elapsed, usual=usual, overdue=overdue, rng=rng)
    assert delay >= 1.0 * (1 - JITTER)
    longest = OVERDUE_SECONDS if overdue else max(LONGEST_SECONDS, 0.95 * (usual or 0))
    assert delay <= longest * (1 + JITTER)


@given(elapsed=st.floats(0, 1e5), usual=USUAL, overdue=st.booleans(), rng=SEEDS)
def test_jitter_is_ten_percent_and_no_more(
    elapsed: float, usual: float | None, overdue: bool, rng: random.Random
) -> None:
    exact = still(elapsed=elapsed, usual=usual, overdue=overdue)
    jittered = next_poll_in(elapsed=elapsed, usual=usual, overdue=overdue, rng=rng)
    assert exact * (1 - JITTER) * 0.999 <= jittered <= exact * (1 + JITTER) * 1.001


@given(elapsed=st.floats(0, 1e4), more=st.floats(0, 1e4))
def test_pauses_without_a_known_duration_start_short_and_only_grow(elapsed: float, more: float) -> None:
    assert still(elapsed=0, usual=None) == SCOUT_SECONDS
    assert still(elapsed=elapsed, usual=None) <= still(elapsed=elapsed + more, usual=None) <= LONGEST_SECONDS


@given(took=st.floats(6, 50))
def test_without_a_known_duration_an_end_is_seen_within_a_third_of_the_time(took: float) -> None:
    now = 0.0
    while now < took:
        now += still(elapsed=now, usual=None)
    assert now - took <= max(SCOUT_SECONDS, 0.3 * took)


@given(usual=st.floats(30, 1e4), share=st.floats(0, 0.89))
def test_a_job_is_first_polled_at_its_usual_duration(usual: float, share: float) -> None:
    elapsed = share * usual
    assert elapsed + still(elapsed=elapsed, usual=usual) == pytest.approx(0.95 * usual)


@given(usual=st.floats(1, 1e4), late=st.floats(0, 1e4), more=st.floats(0, 1e4))
def test_the_later_a_job_is_the_longer_the_pauses(usual: float, late: float, more: float) -> None:
    sooner, later = still(elapsed=usual + late, usual=usual), still(elapsed=usual + late + more, usual=usual)
    assert sooner <= later <= LONGEST_SECONDS


@given(usual=st.floats(1, 1000), took=st.floats(0.3, 3.0), seed=st.integers(0, 100))
def test_the_end_of_a_job_is_seen_soon_with_few_polls(usual: float, took: float, seed: int) -> None:
    rng = random.Random(seed)
    ends, now, polls = usual * took, 0.0, 0
    while True:
        now += next_poll_in(elapsed=now, usual=usual, overdue=False, rng=rng)
        polls += 1
        if now >= ends:
            break
    # an early end is seen at the usual duration, a late one within a pause
    assert now - ends <= max(1.1 * usual - ends, 1.1 * LONGEST_SECONDS)
    assert polls <= 12 + ends / 5


@given(failures=COUNTS, rng=SEEDS)
def test_failed_polls_are_tried_again_ever_later_and_within_a_minute(
    failures: int, rng: random.Random
) -> None:
    delay = next_poll_after_failure(failures=failures, retry_after=None, rng=rng)
    assert 4 <= delay <= 66
    exact = next_poll_after_failure(failures=failures, retry_after=None, rng=Still())
    assert exact <= next_poll_after_failure(failures=failures + 1, retry_after=None, rng=Still())


@given(failures=COUNTS, retry_after=st.floats(), rng=SEEDS)
def test_a_retry_after_overrides_the_schedule_within_bounds(
    failures: int, retry_after: float, rng: random.Random
) -> None:
    delay = next_poll_after_failure(failures=failures, retry_after=retry_after, rng=rng)
    assert 1 <= delay <= OVERDUE_SECONDS
    if 1 <= retry_after <= OVERDUE_SECONDS:
        assert delay == retry_after
