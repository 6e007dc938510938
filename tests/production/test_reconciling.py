"""Lost answers, settled by the engine: on a listing that names our ids and on one that does not."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from fakes import LOSES_THE_ANSWER, NEVER, PRICE, SORA, Answer, World, a_request

from resources.errors import UnavailableError
from resources.ledger import lags, outcomes, resolving, submitting
from resources.ledger.apart import ACCEPTANCE_SECONDS
from resources.ledger.billing import BILL
from resources.ledger.deciding import decide
from resources.ledger.limits import LEASE_MARGIN_SECONDS, Limits
from resources.ledger.records import Submission
from resources.ledger.schema import jobs, submissions
from resources.ledger.schema import lags as lags_table
from resources.ledger.searching import HELD_PAUSE_SECONDS
from resources.ledger.states import AttemptState, MoneyState
from resources.production.engine import Engine
from resources.production.following import Stage
from resources.providers.base import Accepted, Charge, ClockOffset, NotSent, Unknown

S = AttemptState
QUICK = Answer(Unknown("HTTP 502", 502), after=0.3, creates=True)
"""A gateway's error after the job was taken."""
IN_VAIN = Answer(Unknown("HTTP 502", 502), after=0.3)
"""A gateway's error instead of a job."""
PRO = "openai/sora-2-pro/text-to-video"


@pytest.fixture(params=["echoes", "lists only"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def either(world: World, kind: str) -> World:
    """An account of either kind."""
    return world if kind == "echoes" else listing_only(world)


@pytest.fixture
def anonymous(world: World) -> World:
    """An account whose listing does not name our ids."""
    return listing_only(world)


def listing_only(world: World) -> World:
    world.provider.capabilities = replace(world.provider.capabilities, echoes_submission_id=False)
    return world


def queue(world: World, *clips: str, **changes: object) -> None:
    decide(world.ledger, [a_request(clip, **changes) for clip in clips], decision="monday")


def sensor(
    world: World, *, until: Callable[[], bool], every: float = 10.0, engine: Engine | None = None
) -> None:
    """Ticks until something is so."""
    used = engine or world.engine()

    async def ticks() -> None:
        while not until():
            await used.step("wavespeed")
            await asyncio.sleep(every)

    world.run(ticks())


def ended(world: World, *clips: str) -> Callable[[], bool]:
    going = {S.QUEUED, S.SUBMITTING, S.UNKNOWN, S.SUBMITTED, S.OVERDUE}
    return lambda: all(world.newest(clip).state not in going for clip in clips)


def claim(world: World) -> Submission:
    """A POST by a process that will not be heard of again."""
    claimed = submitting.claim_next(
        world.ledger, "wavespeed", limits=Limits(), deadline_seconds=30, clock_offset=ClockOffset(-1, 1)
    )
    assert isinstance(claimed, Submission)
    return claimed


def known_lags(world: World, count: int = lags.ENOUGH, seconds: float = 1.0) -> None:
    """The account's listing was seen to show so many jobs."""
    with world.ledger.write() as connection:
        for number in range(count):
            connection.execute(
                sa.insert(lags_table).values(
                    account="wavespeed",
                    job_id=f"old-{number}",
                    seconds=seconds,
                    seen_at=world.clock() - 9_999,
                )
            )


def booked(world: World) -> dict[str, str | None]:
    """Whose each job is, by the ledger."""
    with world.ledger.read() as connection:
        return {row.job_id: row.attempt_id for row in connection.execute(sa.select(jobs))}


def everything_is_accounted_for(world: World, *clips: str) -> None:
    """Every clip has one job, its own, and the ledger knows whose each is."""
    assert len(world.provider.jobs) == len(clips)
    for clip in clips:
        attempt = world.newest(clip)
        assert world.provider.jobs[attempt.job_id or ""].clip == clip
        assert booked(world)[attempt.job_id or ""] == attempt.id


# Adopting


@pytest.mark.parametrize("answer", [LOSES_THE_ANSWER, QUICK])
@pytest.mark.parametrize("lag", [0, 5, 40])
def test_a_lost_answer_is_found_when_the_listing_shows_its_job(
    either: World, answer: Answer, lag: float
) -> None:
    either.provider.answers["clip-a"] = [replace(answer, listed_after=lag)]
    queue(either, "clip-a")
    sensor(either, until=ended(either, "clip-a"))
    attempt = either.newest("clip-a")
    assert (attempt.state, attempt.money_state) == (S.SUCCEEDED, MoneyState.CONFIRMED)
    everything_is_accounted_for(either, "clip-a")


def test_with_one_answer_in_ten_lost_nothing_is_held_and_nothing_bought_twice(either: World) -> None:
    clips = [f"clip-{number:03}" for number in range(100)]
    for clip in clips[::10]:
        either.provider.answers[clip] = [QUICK]
    either.provider.answers["clip-055"] = [LOSES_THE_ANSWER]
    verdicts = decide(either.ledger, [a_request(clip) for clip in clips], decision="monday")
    result = either.run(either.follower(Stage.DELIVERED).follow(verdicts))
    assert (result.failed, result.left) == ({}, [])
    everything_is_accounted_for(either, *clips)


def test_a_job_that_is_created_after_our_deadline_is_found(either: World) -> None:
    late = Answer(Unknown("no answer within 30 s"), after=30, creates=True, creates_after=50)
    either.provider.answers["clip-a"] = [late]
    queue(either, "clip-a")
    sensor(either, until=ended(either, "clip-a"))
    everything_is_accounted_for(either, "clip-a")


@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_a_clock_that_is_ten_minutes_off_hides_nothing(either: World, ahead: float) -> None:
    either.provider.ahead = ahead
    either.provider.answers["clip-a"] = [QUICK]
    queue(either, "clip-a")
    sensor(either, until=ended(either, "clip-a"))
    everything_is_accounted_for(either, "clip-a")


@pytest.mark.parametrize("dated", [600.0, 45.0, -600.0])
def test_jobs_that_another_clock_dates_than_the_answers_are_found_by_what_our_own_jobs_tell(
    either: World, dated: float
) -> None:
    either.provider.dated = dated
    queue(either, "clip-a", "clip-b")
    sensor(either, until=ended(either, "clip-a", "clip-b"))
    either.provider.answers["clip-c"] = [QUICK]
    queue(either, "clip-c")
    sensor(either, until=ended(either, "clip-c"))
    everything_is_accounted_for(either, "clip-a", "clip-b", "clip-c")


@pytest.mark.parametrize("dated", [600.0, -600.0])
def test_jobs_that_another_clock_dates_are_never_taken_for_absent_where_nothing_tells(
    anonymous: World, dated: float
) -> None:
    known_lags(anonymous)
    anonymous.provider.dated = dated
    anonymous.provider.answers["clip-a"] = [QUICK]
    queue(anonymous, "clip-a")
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").state is S.HELD
    assert len(anonymous.provider.posts) == 1


def test_one_job_of_ours_that_another_clock_has_dated_is_reason_enough_to_tell_no_job_by_its_time(
    anonymous: World,
) -> None:
    """History 3001682: one POST came to nothing, the job of the next seemed to be in its window."""
    known_lags(anonymous)
    anonymous.provider.dated = 50.0
    anonymous.provider.answers |= {"clip-b": [IN_VAIN], "clip-c": [QUICK]}
    queue(anonymous, "clip-a", "clip-b")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    anonymous.clock.now += 40
    queue(anonymous, "clip-c")
    sensor(anonymous, until=ended(anonymous, "clip-a", "clip-b", "clip-c"))
    assert [anonymous.newest(f"clip-{name}").state for name in "abc"] == [S.SUCCEEDED, S.HELD, S.HELD]
    assert "another clock" in (anonymous.newest("clip-c").reason or "")
    assert len(anonymous.provider.posts) == 3


def test_a_job_that_is_listed_before_the_time_it_is_given_is_told_from_no_other_by_time(
    anonymous: World,
) -> None:
    """History 4001015: both answers were lost, and the first job seemed to be in the window of the second POST."""
    anonymous.provider.dated = 50.0
    anonymous.provider.answers |= {
        "clip-a": [replace(QUICK, listed_after=8)],
        "clip-b": [replace(QUICK, listed_after=20)],
    }
    queue(anonymous, "clip-a", "clip-b")
    sensor(anonymous, until=ended(anonymous, "clip-a", "clip-b"))
    assert [anonymous.newest(f"clip-{name}").state for name in "ab"] == [S.HELD, S.HELD]
    assert len(anonymous.provider.posts) == 2


def test_a_poster_that_died_after_sending_is_made_good(either: World) -> None:
    queue(either, "clip-a")
    claimed = claim(either)
    either.provider._create("clip-a", claimed.id, Answer())
    sensor(either, until=ended(either, "clip-a"))
    everything_is_accounted_for(either, "clip-a")


def test_an_adopted_job_is_told_to_the_sensor_like_a_submitted_one(either: World) -> None:
    either.provider.answers["clip-a"] = [QUICK]
    queue(either, "clip-a")
    engine = either.engine()
    either.run(engine.submit_queue("wavespeed"))
    result = either.run(engine.step("wavespeed"))
    assert [attempt.subject_key for attempt in result.submitted] == ["clip-a"]


def test_a_late_answer_after_the_adoption_changes_nothing(either: World) -> None:
    queue(either, "clip-a")
    claimed = claim(either)
    job = either.provider._create("clip-a", claimed.id, Answer())
    either.clock.now += 30 + LEASE_MARGIN_SECONDS + 1
    sensor(either, until=lambda: either.newest("clip-a").job_id == job.id)
    before = either.newest("clip-a")
    outcomes.record_outcome(either.ledger, claimed, Accepted(job.id, None, {}))
    assert either.newest("clip-a") == before


# Strangers


def test_a_stranger_in_the_window_is_never_adopted(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [QUICK]
    queue(anonymous, "clip-a")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    stranger = anonymous.provider.stranger()
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    attempt = anonymous.newest("clip-a")
    assert (attempt.state, attempt.money_state) == (S.HELD, MoneyState.INDETERMINATE)
    assert attempt.job_id is None
    assert stranger.id in (attempt.reason or "")
    assert "$0.40 may have been charged" in (attempt.reason or "")
    assert "dailies resolve clip-a" in (attempt.reason or "")


def test_a_stranger_before_and_after_keeps_a_lonely_job_from_being_taken_for_ours(anonymous: World) -> None:
    """Our POST came to nothing, and the one job in its window is somebody else's."""
    anonymous.provider.stranger("before")
    anonymous.clock.now += 60
    anonymous.provider.answers["clip-a"] = [IN_VAIN]
    queue(anonymous, "clip-a")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    anonymous.provider.stranger("meanwhile")
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").state is S.HELD


def charge(world: World, job_id: str, micros: int) -> Charge:
    return Charge(job_id, micros, "charge", world.clock(), SORA)


def test_a_strangers_job_of_another_price_is_not_taken_for_ours(anonymous: World) -> None:
    """Our POST came to nothing, and the only job in its window cost somebody else three times as much."""
    anonymous.provider.answers["clip-a"] = [IN_VAIN]
    queue(anonymous, "clip-a")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    stranger = anonymous.provider.stranger()
    anonymous.provider.bill = [charge(anonymous, stranger.id, 3 * PRICE)]
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").state is S.HELD
    assert booked(anonymous).get(stranger.id) is None


def test_a_strangers_job_is_not_taken_by_a_post_that_is_carried_out_only_after_we_gave_it_up(
    anonymous: World,
) -> None:
    late = Answer(Unknown("read timed out"), after=30, creates=True, creates_after=45)
    anonymous.provider.answers["clip-a"] = [late]
    queue(anonymous, "clip-a")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    stranger = anonymous.provider.stranger()
    stranger.created_at -= 10
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").state is S.HELD
    assert booked(anonymous).get(stranger.id) is None


def test_where_the_bill_cannot_be_read_a_lonely_job_is_adopted_once_its_post_can_create_no_more(
    anonymous: World,
) -> None:
    anonymous.provider.answers["clip-a"] = [QUICK]
    anonymous.provider.bill = UnavailableError("the bill cannot be read")
    queue(anonymous, "clip-a")
    began = anonymous.clock()
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    sensor(anonymous, until=lambda: anonymous.newest("clip-a").state is not S.UNKNOWN, every=1.0)
    assert anonymous.newest("clip-a").state is S.SUBMITTED
    assert ACCEPTANCE_SECONDS <= anonymous.clock() - began < ACCEPTANCE_SECONDS + 10


def test_a_discount_that_the_bill_has_shown_before_is_no_contradiction(anonymous: World) -> None:
    queue(anonymous, "clip-a")
    anonymous.provider.bill = [charge(anonymous, "job-0-clip-a", PRICE * 9 // 10)]
    sensor(anonymous, until=lambda: anonymous.newest("clip-a").charge_source == BILL)
    anonymous.provider.answers["clip-b"] = [QUICK]
    queue(anonymous, "clip-b")
    anonymous.provider.bill.append(charge(anonymous, "job-1-clip-b", PRICE * 9 // 10))
    sensor(anonymous, until=ended(anonymous, "clip-b"))
    everything_is_accounted_for(anonymous, "clip-a", "clip-b")


def test_strangers_do_not_disturb_a_listing_that_names_our_ids(world: World) -> None:
    world.provider.answers["clip-a"] = [QUICK]
    queue(world, "clip-a")
    world.run(world.engine().submit_queue("wavespeed"))
    for _ in range(5):
        world.provider.stranger()
    sensor(world, until=ended(world, "clip-a"))
    assert world.provider.jobs[world.newest("clip-a").job_id or ""].clip == "clip-a"


# Absence


def in_vain_and_then_another(world: World, answer: Answer = IN_VAIN) -> None:
    """One POST is lost, and a minute later another clip is bought: the listing shows a later job of ours."""
    world.provider.answers["clip-a"] = [answer]
    queue(world, "clip-a")
    world.run(world.engine().step("wavespeed"))
    world.clock.now += 40
    queue(world, "clip-b")
    sensor(world, until=ended(world, "clip-a", "clip-b"))


def test_a_post_that_came_to_nothing_is_proved_absent_and_bought_again_in_the_same_decision(
    either: World,
) -> None:
    known_lags(either)
    in_vain_and_then_another(either)
    assert either.newest("clip-a").state is S.SUCCEEDED
    first, second = either.provider.posts_of("clip-a")
    assert second.at - first.at >= 30 + either.provider.capabilities.settle_seconds
    everything_is_accounted_for(either, "clip-a", "clip-b")
    decisions = {a.decision for a in either.ledger.attempts(booked(either).values()).values()}  # type: ignore[arg-type]
    assert decisions == {"monday"}


def test_without_known_lags_a_miss_is_held_and_not_bought_again(either: World) -> None:
    in_vain_and_then_another(either)
    assert either.newest("clip-a").state is S.HELD
    assert "seen to appear" in (either.newest("clip-a").reason or "")
    assert len(either.provider.posts_of("clip-a")) == 1


def test_a_listing_that_has_lagged_for_long_before_proves_no_absence(either: World) -> None:
    known_lags(either, seconds=21)
    in_vain_and_then_another(either)
    assert either.newest("clip-a").state is S.HELD
    assert "a third of the settle time" in (either.newest("clip-a").reason or "")


def test_without_a_later_job_of_ours_a_miss_proves_nothing(either: World) -> None:
    known_lags(either)
    either.provider.answers["clip-a"] = [IN_VAIN]
    queue(either, "clip-a")
    sensor(either, until=ended(either, "clip-a"))
    assert either.newest("clip-a").state is S.HELD
    assert len(either.provider.posts) == 1


def found_though_never_listed(world: World) -> None:
    """The answer to one of two POSTs is lost, and the listing never shows its job."""
    known_lags(world)
    world.provider.answers["clip-a"] = [QUICK]
    queue(world, "clip-a", "clip-b")
    engine = world.engine()
    world.run(engine.submit_queue("wavespeed"))
    next(job for job in world.provider.jobs.values() if job.clip == "clip-a").listed_from = NEVER + 2e9
    sensor(world, until=ended(world, "clip-a", "clip-b"), engine=engine)
    everything_is_accounted_for(world, "clip-a", "clip-b")


def test_a_job_on_the_bill_that_the_listing_hides_is_found(anonymous: World) -> None:
    found_though_never_listed(anonymous)


def test_a_charge_that_names_our_post_is_its_job_whenever_it_was_booked(world: World) -> None:
    world.provider.charged_after = 300
    found_though_never_listed(world)


def test_an_outage_that_takes_orders_and_loses_them_is_not_fed_for_ever(either: World) -> None:
    known_lags(either)
    either.provider.answers["clip-a"] = [IN_VAIN] * 99
    queue(either, "clip-a")
    engine, others = either.engine(), itertools.count()

    async def meanwhile_others_are_bought() -> None:
        while not ended(either, "clip-a")():
            queue(either, f"clip-{next(others)}")
            await engine.step("wavespeed")
            await asyncio.sleep(15)

    either.run(meanwhile_others_are_bought())
    assert either.newest("clip-a").state is S.ABSENT
    assert len(either.provider.posts_of("clip-a")) == 1 + resolving.RESUBMISSIONS


def test_a_listing_that_cannot_be_read_proves_nothing_however_long_it_takes(either: World) -> None:
    known_lags(either)
    either.provider.answers["clip-a"] = [IN_VAIN]
    either.provider.listing_fails = True
    queue(either, "clip-a", "clip-b")
    engine = either.engine()

    async def a_day() -> None:
        for _ in range(100):
            await engine.step("wavespeed")
            await asyncio.sleep(864)

    either.run(a_day())
    assert either.newest("clip-a").state is S.UNKNOWN
    assert len(either.provider.posts_of("clip-a")) == 1


def test_a_late_no_after_the_absence_changes_nothing(either: World) -> None:
    known_lags(either)
    queue(either, "clip-a")
    claimed = claim(either)
    either.clock.now += 30 + LEASE_MARGIN_SECONDS + 10
    queue(either, "clip-b")
    sensor(either, until=ended(either, "clip-a", "clip-b"))
    posts = len(either.provider.posts_of("clip-a"))
    outcomes.record_outcome(either.ledger, claimed, NotSent("connection refused"))
    assert len(either.provider.posts_of("clip-a")) == posts == 1
    assert either.newest("clip-a").state is S.SUCCEEDED


def test_a_job_that_turns_up_after_its_post_was_proved_absent_is_booked(world: World) -> None:
    known_lags(world)
    in_vain_and_then_another(world, replace(QUICK, listed_after=400))
    assert len(world.provider.jobs) == 3  # the promise was broken by a listing that lags for minutes
    world.clock.now += 400
    world.provider.answers["clip-c"] = [QUICK]
    queue(world, "clip-c")
    sensor(world, until=ended(world, "clip-c"))
    assert booked(world).keys() == world.provider.jobs.keys()
    assert None not in booked(world).values()


# Lags


def test_lags_are_measured_on_ordinary_work_until_enough_are_known(either: World) -> None:
    clips = [f"clip-{number:03}" for number in range(30)]
    for clip in clips:
        either.provider.answers[clip] = [Answer(listed_after=12)]
    queue(either, *clips)
    sensor(either, until=ended(either, *clips))
    with either.ledger.read() as connection:
        seen = [s for s in connection.execute(sa.select(lags_table.c.seconds)).scalars() if s is not None]
    assert lags.ENOUGH <= len(seen) <= 30
    assert 12 <= max(seen) <= 12 + 10 + 2
    looks = either.provider.listed
    queue(either, "later")
    sensor(either, until=ended(either, "later"))
    assert either.provider.listed == looks


def test_a_job_of_ours_that_is_not_listed_yet_counts_as_a_lag_of_its_age(either: World) -> None:
    known_lags(either)
    either.provider.answers["clip-a"] = [IN_VAIN]
    either.provider.answers["clip-b"] = [Answer(listed_after=NEVER)]
    queue(either, "clip-a", "clip-b", "clip-c", "clip-d")
    sensor(either, until=ended(either, "clip-a"))
    assert either.newest("clip-a").state is S.HELD
    assert len(either.provider.posts_of("clip-a")) == 1


# Keeping POSTs apart


def test_posts_of_an_endpoint_that_cannot_be_traced_go_one_after_the_other(anonymous: World) -> None:
    queue(anonymous, *(f"clip-{n}" for n in range(5)))
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    starts = [post.at for post in anonymous.provider.posts]
    assert all(later - sooner >= 0.2 for sooner, later in itertools.pairwise(starts))
    assert len(starts) == 5


def test_another_endpoint_does_not_wait_for_it(anonymous: World) -> None:
    queue(anonymous, "clip-a", "clip-b")
    queue(anonymous, "clip-p", endpoint=PRO)
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    a, b, p = (anonymous.provider.posts_of(clip)[0].at for clip in ("clip-a", "clip-b", "clip-p"))
    assert p - a < 0.1 < b - a


def test_while_a_lost_job_may_still_be_created_its_endpoint_waits_until_it_is_found(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [replace(QUICK, listed_after=6)]
    queue(anonymous, "clip-a", "clip-b")
    sensor(anonymous, until=lambda: bool(anonymous.provider.posts_of("clip-b")))
    first, second = anonymous.provider.posts
    assert 6 <= second.at - first.at <= 12


def test_it_waits_no_longer_than_a_job_can_be_created(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [IN_VAIN]
    queue(anonymous, "clip-a", "clip-b")
    sensor(anonymous, until=lambda: bool(anonymous.provider.posts_of("clip-b")))
    first, second = anonymous.provider.posts
    assert ACCEPTANCE_SECONDS <= second.at - first.at <= ACCEPTANCE_SECONDS + 12


def test_a_lost_job_is_told_from_the_post_before_it_that_came_to_nothing(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [IN_VAIN]
    anonymous.provider.answers["clip-b"] = [replace(QUICK, listed_after=3)]
    queue(anonymous, "clip-a", "clip-b")
    sensor(
        anonymous,
        every=0.5,
        until=lambda: anonymous.newest("clip-b").state not in {S.QUEUED, S.SUBMITTING, S.UNKNOWN},
    )
    assert (anonymous.newest("clip-a").state, anonymous.newest("clip-b").state) == (S.UNKNOWN, S.SUBMITTED)


# Several at work


def test_a_listing_is_read_by_one_at_a_time(either: World) -> None:
    either.provider.answers["clip-a"] = [replace(QUICK, listed_after=NEVER)]
    queue(either, "clip-a")
    engines = [either.engine() for _ in range(5)]

    async def all_at_once() -> None:
        await engines[0].submit_queue("wavespeed")
        await asyncio.gather(*(engine.reconcile("wavespeed") for engine in engines))

    either.run(all_at_once())
    assert either.provider.listed == 1


def test_a_held_submit_is_still_looked_for_where_ids_are_echoed(world: World) -> None:
    world.provider.answers["clip-a"] = [replace(QUICK, listed_after=3_000)]
    queue(world, "clip-a")
    sensor(world, until=ended(world, "clip-a"))
    assert world.newest("clip-a").state is S.HELD
    looks = world.provider.listed
    sensor(world, until=lambda: world.newest("clip-a").state is S.SUCCEEDED)
    assert world.provider.listed - looks <= 3_000 / HELD_PAUSE_SECONDS + 3
    everything_is_accounted_for(world, "clip-a")


def test_candidates_are_kept_for_whoever_settles_it(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [QUICK]
    queue(anonymous, "clip-a")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    anonymous.provider.stranger()
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    with anonymous.ledger.read() as connection:
        (kept,) = connection.execute(sa.select(submissions.c.candidates)).scalars()
    assert {candidate["job"] for candidate in kept} == set(anonymous.provider.jobs)
    assert {candidate["model"] for candidate in kept} == {SORA}
    assert {candidate["charged_usd"] for candidate in kept} == {"0.4"}
