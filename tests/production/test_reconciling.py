"""Lost answers that the engine settles, with a listing that names our ids and with one that does not."""

import asyncio
import itertools
from dataclasses import replace

import pytest
import sqlalchemy as sa
from fakes import LOSES_THE_ANSWER, NEVER, SORA, Answer, World, a_request, submit_queue
from linekit import lines_of_dailies
from losskit import (
    IN_VAIN,
    PRO,
    QUICK,
    S,
    claim,
    ended,
    enqueue,
    everything_is_accounted_for,
    known_lags,
    sensor,
)

from resources.ledger import outcomes
from resources.ledger.decisions import Decision, decide
from resources.ledger.limits import ACCEPTANCE_SECONDS, LEASE_MARGIN_SECONDS
from resources.ledger.lost import listing_trust
from resources.ledger.lost.search_schedule import HELD_PAUSE_SECONDS
from resources.ledger.schema import lags as lags_table
from resources.ledger.schema import submissions
from resources.ledger.states import MoneyState
from resources.production.batch import Stage
from resources.providers.base import Accepted, Unknown

# Adopting


@pytest.mark.parametrize("answer", [LOSES_THE_ANSWER, QUICK])
@pytest.mark.parametrize("lag", [0, 5, 40])
def test_a_lost_answer_is_found_when_the_listing_shows_its_job(
    either: World, answer: Answer, lag: float
) -> None:
    either.provider.answers["clip-a"] = [replace(answer, listed_after=lag)]
    enqueue(either, "clip-a")
    sensor(either, until=ended(either, "clip-a"))
    attempt = either.newest("clip-a")
    assert (attempt.state, attempt.money_state) == (S.SUCCEEDED, MoneyState.CONFIRMED)
    everything_is_accounted_for(either, "clip-a")


def test_the_log_line_of_a_lost_answer_names_its_clip(either: World) -> None:
    either.provider.answers["clip-a"] = [QUICK]
    enqueue(either, "clip-a")
    with lines_of_dailies() as lines:
        sensor(either, until=ended(either, "clip-a"))
    attempt = either.newest("clip-a")
    (settled,) = [line for line in lines if line["message"].endswith("clip-a is submitted")]
    named = {name: settled[name] for name in ("clip", "series", "account", "attempt", "job_id")}
    assert named == attempt.named


@pytest.mark.slow
def test_with_one_answer_in_ten_lost_nothing_is_held_and_nothing_bought_twice(either: World) -> None:
    clips = [f"clip-{number:03}" for number in range(20)]
    for clip in clips[::10]:
        either.provider.answers[clip] = [QUICK]
    either.provider.answers["clip-005"] = [LOSES_THE_ANSWER]
    verdicts = decide(either.ledger, [a_request(clip) for clip in clips], Decision("monday"))
    result = either.run(either.follower(Stage.DELIVERED).follow(verdicts))
    assert (result.failed, result.left) == ({}, [])
    everything_is_accounted_for(either, *clips)


def test_a_job_that_is_created_after_our_deadline_is_found(either: World) -> None:
    late = Answer(Unknown("no answer within 30 s"), after=30, creates=True, creates_after=50)
    either.provider.answers["clip-a"] = [late]
    enqueue(either, "clip-a")
    sensor(either, until=ended(either, "clip-a"))
    everything_is_accounted_for(either, "clip-a")


@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_a_clock_that_is_ten_minutes_off_hides_no_job(either: World, ahead: float) -> None:
    either.provider.ahead = ahead
    either.provider.answers["clip-a"] = [QUICK]
    enqueue(either, "clip-a")
    sensor(either, until=ended(either, "clip-a"))
    everything_is_accounted_for(either, "clip-a")


@pytest.mark.parametrize("dated", [600.0, 45.0, -600.0])
def test_jobs_that_another_clock_dates_are_found_with_the_offset_of_our_own_jobs(
    either: World, dated: float
) -> None:
    either.provider.dated = dated
    enqueue(either, "clip-a", "clip-b")
    sensor(either, until=ended(either, "clip-a", "clip-b"))
    either.provider.answers["clip-c"] = [QUICK]
    enqueue(either, "clip-c")
    sensor(either, until=ended(either, "clip-c"))
    everything_is_accounted_for(either, "clip-a", "clip-b", "clip-c")


@pytest.mark.parametrize("dated", [600.0, -600.0])
def test_jobs_that_another_clock_dates_are_never_taken_for_absent_without_a_known_offset(
    anonymous: World, dated: float
) -> None:
    known_lags(anonymous)
    anonymous.provider.dated = dated
    anonymous.provider.answers["clip-a"] = [QUICK]
    enqueue(anonymous, "clip-a")
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").state is S.HELD
    assert len(anonymous.provider.posts) == 1


@pytest.mark.slow
def test_one_job_of_ours_that_another_clock_has_dated_ends_all_matching_by_time(
    anonymous: World,
) -> None:
    """History 3001682: one POST created no job, and the next POST's job seemed to be in its window."""
    known_lags(anonymous)
    anonymous.provider.dated = 50.0
    anonymous.provider.answers |= {"clip-b": [IN_VAIN], "clip-c": [QUICK]}
    enqueue(anonymous, "clip-a", "clip-b")
    anonymous.run(submit_queue(anonymous.engine()))
    anonymous.clock.now += 40
    enqueue(anonymous, "clip-c")
    sensor(anonymous, until=ended(anonymous, "clip-a", "clip-b", "clip-c"))
    assert [anonymous.newest(f"clip-{name}").state for name in "abc"] == [S.SUCCEEDED, S.HELD, S.HELD]
    assert "another clock" in (anonymous.newest("clip-c").reason or "")
    assert len(anonymous.provider.posts) == 3


@pytest.mark.slow
def test_a_job_that_is_listed_before_its_own_time_is_not_matched_by_time(
    anonymous: World,
) -> None:
    """History 4001015: both answers were lost, and the first job seemed to be in the window of the second POST."""
    anonymous.provider.dated = 50.0
    anonymous.provider.answers |= {
        "clip-a": [replace(QUICK, listed_after=8)],
        "clip-b": [replace(QUICK, listed_after=20)],
    }
    enqueue(anonymous, "clip-a", "clip-b")
    sensor(anonymous, until=ended(anonymous, "clip-a", "clip-b"))
    assert [anonymous.newest(f"clip-{name}").state for name in "ab"] == [S.HELD, S.HELD]
    assert len(anonymous.provider.posts) == 2


def test_the_job_of_a_poster_that_died_after_sending_is_adopted(either: World) -> None:
    enqueue(either, "clip-a")
    claimed = claim(either)
    either.provider._create("clip-a", claimed.id, Answer())
    sensor(either, until=ended(either, "clip-a"))
    everything_is_accounted_for(either, "clip-a")


def test_an_adopted_job_is_reported_to_the_sensor_like_a_submitted_one(either: World) -> None:
    either.provider.answers["clip-a"] = [QUICK]
    enqueue(either, "clip-a")
    engine = either.engine()
    either.run(submit_queue(engine))
    result = either.run(engine.step("wavespeed"))
    assert [attempt.subject_key for attempt in result.submitted] == ["clip-a"]


def test_a_late_answer_after_the_adoption_changes_nothing(either: World) -> None:
    enqueue(either, "clip-a")
    claimed = claim(either)
    job = either.provider._create("clip-a", claimed.id, Answer())
    either.clock.now += 30 + LEASE_MARGIN_SECONDS + 1
    sensor(either, until=lambda: either.newest("clip-a").job_id == job.id)
    before = either.newest("clip-a")
    outcomes.record_outcome(either.ledger, claimed, Accepted(job.id, None, {}))
    assert either.newest("clip-a") == before


# Lags


@pytest.mark.slow
def test_lags_are_measured_on_ordinary_work_until_enough_are_known(either: World) -> None:
    clips = [f"clip-{number:03}" for number in range(30)]
    for clip in clips:
        either.provider.answers[clip] = [Answer(listed_after=12)]
    enqueue(either, *clips)
    sensor(either, until=ended(either, *clips), every=10.0)
    with either.ledger.read() as connection:
        seen = [s for s in connection.execute(sa.select(lags_table.c.seconds)).scalars() if s is not None]
    assert listing_trust.ENOUGH <= len(seen) <= 30
    assert 12 <= max(seen) <= 12 + 10 + 2
    looks = either.provider.listed
    enqueue(either, "later")
    sensor(either, until=ended(either, "later"))
    assert either.provider.listed == looks


@pytest.mark.slow
def test_a_job_of_ours_that_is_not_listed_yet_counts_as_a_lag_of_its_age(either: World) -> None:
    known_lags(either)
    either.provider.answers["clip-a"] = [IN_VAIN]
    either.provider.answers["clip-b"] = [Answer(listed_after=NEVER)]
    enqueue(either, "clip-a", "clip-b", "clip-c", "clip-d")
    sensor(either, until=ended(either, "clip-a"))
    assert either.newest("clip-a").state is S.HELD
    assert len(either.provider.posts_of("clip-a")) == 1


# one POST at a time


def test_posts_of_an_endpoint_that_cannot_be_traced_go_one_after_the_other(anonymous: World) -> None:
    enqueue(anonymous, *(f"clip-{n}" for n in range(5)))
    anonymous.run(submit_queue(anonymous.engine()))
    starts = [post.at for post in anonymous.provider.posts]
    assert all(later - sooner >= 0.2 for sooner, later in itertools.pairwise(starts))
    assert len(starts) == 5


def test_another_endpoint_does_not_wait_for_a_lost_post(anonymous: World) -> None:
    enqueue(anonymous, "clip-a", "clip-b")
    enqueue(anonymous, "clip-p", endpoint=PRO)
    anonymous.run(submit_queue(anonymous.engine()))
    a, b, p = (anonymous.provider.posts_of(clip)[0].at for clip in ("clip-a", "clip-b", "clip-p"))
    assert p - a < 0.1 < b - a


def test_while_a_lost_job_may_still_be_created_its_endpoint_waits_until_it_is_found(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [replace(QUICK, listed_after=6)]
    enqueue(anonymous, "clip-a", "clip-b")
    sensor(anonymous, until=lambda: bool(anonymous.provider.posts_of("clip-b")))
    first, second = anonymous.provider.posts
    assert 6 <= second.at - first.at <= 12


@pytest.mark.slow
def test_an_endpoint_waits_no_longer_than_a_lost_job_can_be_created(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [IN_VAIN]
    enqueue(anonymous, "clip-a", "clip-b")
    sensor(anonymous, until=lambda: bool(anonymous.provider.posts_of("clip-b")))
    first, second = anonymous.provider.posts
    assert ACCEPTANCE_SECONDS <= second.at - first.at <= ACCEPTANCE_SECONDS + 12


@pytest.mark.slow
def test_a_lost_job_is_not_assigned_to_an_earlier_post_without_a_job(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [IN_VAIN]
    anonymous.provider.answers["clip-b"] = [replace(QUICK, listed_after=3)]
    enqueue(anonymous, "clip-a", "clip-b")
    sensor(
        anonymous,
        every=0.5,
        until=lambda: anonymous.newest("clip-b").state not in {S.QUEUED, S.SUBMITTING, S.UNKNOWN},
    )
    assert (anonymous.newest("clip-a").state, anonymous.newest("clip-b").state) == (S.UNKNOWN, S.SUBMITTED)


# several processes at work


def test_one_process_at_a_time_reads_a_listing(either: World) -> None:
    either.provider.answers["clip-a"] = [replace(QUICK, listed_after=NEVER)]
    enqueue(either, "clip-a")
    engines = [either.engine() for _ in range(5)]

    async def all_at_once() -> None:
        await submit_queue(engines[0])
        await asyncio.gather(*(engine.reconcile("wavespeed") for engine in engines))

    either.run(all_at_once())
    assert either.provider.listed == 1


@pytest.mark.slow
def test_a_held_post_is_still_searched_for_where_ids_are_echoed(world: World) -> None:
    world.provider.answers["clip-a"] = [replace(QUICK, listed_after=1_500)]
    enqueue(world, "clip-a")
    sensor(world, until=ended(world, "clip-a"))
    assert world.newest("clip-a").state is S.HELD
    looks = world.provider.listed
    sensor(world, until=lambda: world.newest("clip-a").state is S.SUCCEEDED)
    assert world.provider.listed - looks <= 1_500 / HELD_PAUSE_SECONDS + 3
    everything_is_accounted_for(world, "clip-a")


@pytest.mark.slow
def test_candidates_are_stored_for_the_person_who_settles_it(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [QUICK]
    enqueue(anonymous, "clip-a")
    anonymous.run(submit_queue(anonymous.engine()))
    anonymous.provider.stranger()
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    with anonymous.ledger.read() as connection:
        (kept,) = connection.execute(sa.select(submissions.c.candidates)).scalars()
    assert {candidate["job"] for candidate in kept} == set(anonymous.provider.jobs)
    assert {candidate["model"] for candidate in kept} == {SORA}
    assert {candidate["charged_usd"] for candidate in kept} == {"0.4"}
