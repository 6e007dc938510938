"""Others buy with the same key: none of their jobs is taken for ours."""

import pytest
from fakes import PRICE, SORA, Answer, World
from losskit import IN_VAIN, QUICK, S, booked, ended, enqueue, everything_is_accounted_for, sensor

from resources.errors import UnavailableError
from resources.ledger.apart import ACCEPTANCE_SECONDS
from resources.ledger.bills import BILL
from resources.ledger.states import MoneyState
from resources.providers.base import Charge, Unknown


def test_a_stranger_in_the_window_is_never_adopted(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [QUICK]
    enqueue(anonymous, "clip-a")
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
    enqueue(anonymous, "clip-a")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    anonymous.provider.stranger("meanwhile")
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").state is S.HELD


def charge(world: World, job_id: str, micros: int) -> Charge:
    return Charge(job_id, micros, "charge", world.clock(), SORA)


def test_a_strangers_job_of_another_price_is_not_taken_for_ours(anonymous: World) -> None:
    """Our POST came to nothing, and the only job in its window cost somebody else three times as much."""
    anonymous.provider.answers["clip-a"] = [IN_VAIN]
    enqueue(anonymous, "clip-a")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    stranger = anonymous.provider.stranger()
    anonymous.provider.bill = [charge(anonymous, stranger.id, 3 * PRICE)]
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").state is S.HELD
    assert booked(anonymous).get(stranger.id) is None


@pytest.mark.parametrize(
    "late",
    [
        Answer(Unknown("read timed out"), after=30, creates=True, creates_after=45),
        Answer(Unknown("connection reset"), after=1, creates=True, creates_after=20),
    ],
)
def test_a_strangers_job_is_not_taken_by_a_post_that_is_carried_out_only_after_we_gave_it_up(
    anonymous: World, late: Answer
) -> None:
    anonymous.provider.answers["clip-a"] = [late]
    enqueue(anonymous, "clip-a")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    stranger = anonymous.provider.stranger()
    stranger.created_at -= 1
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").state is S.HELD
    assert booked(anonymous).get(stranger.id) is None


def test_where_the_bill_cannot_be_read_a_lonely_job_is_adopted_once_its_post_can_create_no_more(
    anonymous: World,
) -> None:
    anonymous.provider.answers["clip-a"] = [QUICK]
    anonymous.provider.bill = UnavailableError("the bill cannot be read")
    enqueue(anonymous, "clip-a")
    began = anonymous.clock()
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    sensor(anonymous, until=lambda: anonymous.newest("clip-a").state is not S.UNKNOWN, every=1.0)
    assert anonymous.newest("clip-a").state is S.SUBMITTED
    assert ACCEPTANCE_SECONDS <= anonymous.clock() - began < ACCEPTANCE_SECONDS + 10


def test_a_discount_that_the_bill_has_shown_before_is_no_contradiction(anonymous: World) -> None:
    enqueue(anonymous, "clip-a")
    anonymous.provider.bill = [charge(anonymous, "job-0-clip-a", PRICE * 9 // 10)]
    sensor(anonymous, until=lambda: anonymous.newest("clip-a").charge_source == BILL)
    anonymous.provider.answers["clip-b"] = [QUICK]
    enqueue(anonymous, "clip-b")
    anonymous.provider.bill.append(charge(anonymous, "job-1-clip-b", PRICE * 9 // 10))
    sensor(anonymous, until=ended(anonymous, "clip-b"))
    everything_is_accounted_for(anonymous, "clip-a", "clip-b")


def test_a_cheaper_job_than_any_of_ours_is_not_taken_for_ours(anonymous: World) -> None:
    anonymous.provider.answers["clip-a"] = [IN_VAIN]
    enqueue(anonymous, "clip-a")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    stranger = anonymous.provider.stranger()
    anonymous.provider.bill = [charge(anonymous, stranger.id, PRICE // 2)]
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").state is S.HELD


def test_a_discount_that_the_same_bill_shows_on_a_job_of_ours_is_no_contradiction(anonymous: World) -> None:
    enqueue(anonymous, "clip-a")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    anonymous.provider.answers["clip-b"] = [QUICK]
    enqueue(anonymous, "clip-b")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    anonymous.provider.bill = [charge(anonymous, name, PRICE // 2) for name in anonymous.provider.jobs]
    sensor(anonymous, until=ended(anonymous, "clip-a", "clip-b"))
    everything_is_accounted_for(anonymous, "clip-a", "clip-b")


def test_what_a_job_cost_that_was_told_by_its_price_teaches_nothing(anonymous: World) -> None:
    """A stranger's job that was taken where the bill could not be read, and is charged half: the next one is not ours for it."""
    anonymous.provider.answers["clip-a"] = [IN_VAIN]
    anonymous.provider.bill = UnavailableError("the bill cannot be read")
    enqueue(anonymous, "clip-a")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    theirs = anonymous.provider.stranger()
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").job_id == theirs.id  # the declared window
    anonymous.provider.bill = [charge(anonymous, theirs.id, PRICE // 2)]
    anonymous.provider.answers["clip-b"] = [IN_VAIN]
    enqueue(anonymous, "clip-b")
    anonymous.run(anonymous.engine().submit_queue("wavespeed"))
    another = anonymous.provider.stranger()
    anonymous.provider.bill.append(charge(anonymous, another.id, PRICE // 2))
    sensor(anonymous, until=ended(anonymous, "clip-b"))
    assert anonymous.newest("clip-b").state is S.HELD


def test_strangers_do_not_disturb_a_listing_that_names_our_ids(world: World) -> None:
    world.provider.answers["clip-a"] = [QUICK]
    enqueue(world, "clip-a")
    world.run(world.engine().submit_queue("wavespeed"))
    for _ in range(5):
        world.provider.stranger()
    sensor(world, until=ended(world, "clip-a"))
    assert world.provider.jobs[world.newest("clip-a").job_id or ""].clip == "clip-a"
