"""Strangers buy with the same key: none of their jobs is taken for ours, at any price and time."""

import pytest
from fakes import PRICE, SORA, Answer, World, submit_queue
from losskit import IN_VAIN, QUICK, S, booked, ended, enqueue, everything_is_accounted_for, known_lags, sensor

from resources.errors import UnavailableError
from resources.ledger import keys
from resources.ledger.lost.closures import match_callback
from resources.ledger.states import MoneyState
from resources.providers.base import Charge, Unknown

ANSWERS = [
    IN_VAIN,
    QUICK,
    Answer(Unknown("read timed out"), after=30, creates=True, creates_after=45),
    Answer(Unknown("connection reset"), after=1, creates=True, creates_after=20),
]
BILLS = ["the price of the order", "half of it", "three times as much", "nothing", "unreadable"]


def test_a_stranger_in_the_window_is_never_adopted(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [QUICK]
    enqueue(anonymous, "clip-a")
    anonymous.run(submit_queue(anonymous.engine()))
    stranger = anonymous.provider.stranger()
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    attempt = anonymous.newest("clip-a")
    assert (attempt.state, attempt.money_state) == (S.HELD, MoneyState.INDETERMINATE)
    assert attempt.job_id is None
    assert stranger.id in (attempt.reason or "")
    assert "$0.40 may have been charged" in (attempt.reason or "")
    assert "dailies resolve clip-a" in (attempt.reason or "")


def test_strangers_before_and_after_prevent_adopting_the_only_job_in_the_window(anonymous: World) -> None:
    """Our POST created no job, and the only job in its window is a stranger's."""
    anonymous.provider.stranger("before")
    anonymous.clock.now += 60
    anonymous.provider.answers["clip-a"] = [IN_VAIN]
    enqueue(anonymous, "clip-a")
    anonymous.run(submit_queue(anonymous.engine()))
    anonymous.provider.stranger("meanwhile")
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").state is S.HELD


def charge(world: World, job_id: str, micros: int) -> Charge:
    return Charge(job_id, micros, "charge", world.clock(), SORA)


@pytest.mark.slow
@pytest.mark.parametrize("bill", BILLS)
@pytest.mark.parametrize("answer", ANSWERS)
def test_on_a_shared_key_no_price_makes_a_strangers_job_ours(
    shared: World, answer: Answer, bill: str
) -> None:
    shared.provider.answers["clip-a"] = [answer]
    enqueue(shared, "clip-a")
    shared.run(submit_queue(shared.engine()))
    stranger = shared.provider.stranger()
    stranger.created_at -= 0.2
    micros = {"the price of the order": PRICE, "half of it": PRICE // 2, "three times as much": 3 * PRICE}
    shared.provider.bill = [charge(shared, stranger.id, micros[bill])] if bill in micros else []
    if bill == "unreadable":
        shared.provider.bill = UnavailableError("the bill cannot be read")
    sensor(shared, until=ended(shared, "clip-a"))
    attempt = shared.newest("clip-a")
    assert (attempt.state, attempt.money_state, attempt.job_id) == (S.HELD, MoneyState.INDETERMINATE, None)
    assert stranger.id in (attempt.reason or "")
    shared.clock.now += 86_400
    shared.run(shared.engine().step("wavespeed"))
    assert shared.newest("clip-a").state is S.HELD
    assert booked(shared).get(stranger.id) is None


def test_on_a_shared_key_even_the_only_job_waits_for_a_person(shared: World) -> None:
    shared.provider.answers["clip-a"] = [QUICK]
    enqueue(shared, "clip-a")
    sensor(shared, until=ended(shared, "clip-a"))
    (job,) = shared.provider.jobs
    held = shared.newest("clip-a")
    assert held.state is S.HELD
    assert "others may use this key" in (held.reason or "")
    assert job in (held.reason or "")


@pytest.mark.slow
@pytest.mark.parametrize("held", [False, True])
def test_on_a_shared_key_a_callback_that_names_the_post_settles_it(shared: World, held: bool) -> None:
    shared.provider.answers["clip-a"] = [QUICK]
    enqueue(shared, "clip-a")
    shared.run(submit_queue(shared.engine()))
    shared.provider.stranger()
    if held:
        sensor(shared, until=ended(shared, "clip-a"))
    assert shared.newest("clip-a").state is (S.HELD if held else S.UNKNOWN)
    (job,) = (job for job in shared.provider.jobs.values() if job.clip == "clip-a")
    assert job.submission_id is not None
    match_callback(shared.ledger, "wavespeed", job.submission_id, job.id, model=SORA)
    assert shared.newest("clip-a").job_id == job.id
    sensor(shared, until=lambda: shared.newest("clip-a").state is S.SUCCEEDED)


@pytest.mark.slow
def test_on_a_shared_key_a_post_without_any_candidate_is_proved_absent_and_bought_again(
    shared: World,
) -> None:
    """The listing and the bill show everybody's jobs: without an unowned one, our POST made none."""
    known_lags(shared)
    shared.provider.answers["clip-a"] = [IN_VAIN]
    enqueue(shared, "clip-a")
    shared.run(submit_queue(shared.engine()))
    shared.clock.now += 60
    enqueue(shared, "clip-b")
    sensor(shared, until=ended(shared, "clip-a", "clip-b"))
    everything_is_accounted_for(shared, "clip-a", "clip-b")


@pytest.mark.slow
def test_a_candidate_that_is_no_longer_listed_keeps_its_post_held(shared: World) -> None:
    """Any user of the key can delete our job from the listing."""
    known_lags(shared)
    shared.provider.answers["clip-a"] = [QUICK]
    enqueue(shared, "clip-a")
    shared.run(submit_queue(shared.engine()))
    shared.clock.now += 5
    shared.run(shared.engine().step("wavespeed"))
    (job,) = shared.provider.jobs
    deleted = shared.provider.jobs.pop(job)
    shared.provider.bill = []
    shared.clock.now += 60
    enqueue(shared, "clip-b")
    sensor(shared, until=ended(shared, "clip-a", "clip-b"))
    for _ in range(3):
        assert shared.newest("clip-a").state is S.HELD
        assert deleted.id in (shared.newest("clip-a").reason or "")
        shared.clock.now += 3_600
        shared.run(shared.engine().step("wavespeed"))


@pytest.mark.slow
def test_a_post_that_was_lost_on_a_shared_key_stays_held_when_the_key_becomes_dedicated(
    shared: World,
) -> None:
    known_lags(shared)
    shared.provider.answers["clip-a"] = [IN_VAIN]
    enqueue(shared, "clip-a")
    shared.run(submit_queue(shared.engine()))
    shared.provider.stranger()
    sensor(shared, until=ended(shared, "clip-a"))
    keys.decide(shared.ledger, "wavespeed", dedicated=True, who="ann")
    shared.clock.now += 3_600
    shared.provider.answers["clip-b"] = [QUICK]
    enqueue(shared, "clip-b")
    sensor(shared, until=ended(shared, "clip-b"))
    assert shared.newest("clip-a").state is S.HELD
    assert shared.provider.jobs[shared.newest("clip-b").job_id or ""].clip == "clip-b"


def test_strangers_do_not_disturb_a_listing_that_names_our_ids(world: World) -> None:
    world.provider.answers["clip-a"] = [QUICK]
    enqueue(world, "clip-a")
    world.run(submit_queue(world.engine()))
    for _ in range(5):
        world.provider.stranger()
    sensor(world, until=ended(world, "clip-a"))
    assert world.provider.jobs[world.newest("clip-a").job_id or ""].clip == "clip-a"
