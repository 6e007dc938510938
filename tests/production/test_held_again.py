"""A held purchase is judged again when the missing fact arrives; an unknown one ends as held even if no listing can be read."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from fakes import PRICE, World, submit_queue
from losskit import (
    IN_VAIN,
    QUICK,
    S,
    booked,
    claim,
    ended,
    enqueue,
    everything_is_accounted_for,
    known_lags,
    sensor,
)

from resources.errors import UnavailableError
from resources.ledger.limits import FRESH_SECONDS
from resources.ledger.lost import listing_trust, search_schedule, settle
from resources.ledger.lost.posts import GIVE_UP_SETTLES
from resources.ledger.states import MoneyState
from resources.providers.base import Candidate, Charge
from resources.providers.rows import Rows

SETTLE_SECONDS = 60.0
POST_DEADLINE_SECONDS = 30.0
AT_MOST_SECONDS = search_schedule.HELD_PAUSE_SECONDS + 60.0
"""Seconds after the reason's end within which a held purchase is settled."""
UNREADABLE = pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("echoes", "bill"),
        ("lists only", "listing"),
        pytest.param("echoes", "listing", marks=pytest.mark.night),
        pytest.param("lists only", "bill", marks=pytest.mark.night),
    ],
)


def lose(world: World, clip: str = "clip-a", **changes: Any) -> None:
    """Lose an order that creates no job, until it is held."""
    world.provider.answers[clip] = [IN_VAIN]
    enqueue(world, clip, **changes)
    sensor(world, until=ended(world, clip))
    assert world.newest(clip).state is S.HELD


def soon(world: World, so: Callable[[], bool], *, within: float = AT_MOST_SECONDS) -> None:
    """Tick until a condition holds, for a bounded time."""
    give_up = world.clock() + within
    sensor(world, until=lambda: so() or world.clock() > give_up)
    assert so()


def is_made(world: World, *clips: str) -> Callable[[], bool]:
    return lambda: all(world.newest(clip).state is S.SUCCEEDED for clip in clips)


def others(count: int) -> list[str]:
    return [f"other-{number:03}" for number in range(count)]


# the listing's lag becomes known


@pytest.mark.slow
def test_a_miss_counts_when_enough_jobs_were_seen_in_the_listing(either: World) -> None:
    lose(either)
    enqueue(either, *others(15))
    sensor(either, until=ended(either, *others(15)), every=10.0)
    either.clock.now += AT_MOST_SECONDS
    either.run(either.engine().step("wavespeed"))
    # the reason names what is missing now
    assert either.newest("clip-a").state is S.HELD
    assert "so far 15 were" in (either.newest("clip-a").reason or "")
    enqueue(either, *others(listing_trust.ENOUGH))
    sensor(either, until=ended(either, *others(listing_trust.ENOUGH)), every=10.0)
    soon(either, is_made(either, "clip-a"))
    first, second = either.provider.posts_of("clip-a")
    assert second.at > first.at
    everything_is_accounted_for(either, "clip-a", *others(listing_trust.ENOUGH))
    (absent,) = (a for a in either.ledger.overview() if a.subject_key == "clip-a")
    assert absent.decision == "monday"


@pytest.mark.slow
def test_a_miss_counts_when_a_later_job_of_ours_is_listed(either: World) -> None:
    known_lags(either)
    lose(either)
    assert "no job of ours that was accepted later" in (either.newest("clip-a").reason or "")
    either.clock.now += 5 * 3600
    enqueue(either, "clip-b")
    soon(either, is_made(either, "clip-a", "clip-b"), within=AT_MOST_SECONDS + 120)
    everything_is_accounted_for(either, "clip-a", "clip-b")


@pytest.mark.slow
def test_a_purchase_of_an_old_decision_is_released_and_not_bought_by_itself(either: World) -> None:
    known_lags(either)
    lose(either)
    either.clock.now += 86_400
    enqueue(either, "clip-b")
    soon(either, lambda: either.newest("clip-a").state is S.ABSENT)
    attempt = either.newest("clip-a")
    assert attempt.money_state is MoneyState.RELEASED
    assert "`dailies retry`" in (attempt.reason or "")
    assert len(either.provider.posts_of("clip-a")) == 1


# assignment of jobs


@pytest.mark.slow
def test_a_purchase_that_was_held_because_of_another_is_settled_with_it(anonymous: World) -> None:
    """Two posters die, and only one of their orders has made a job: its POST stays uncertain until a person names it."""
    known_lags(anonymous)
    enqueue(anonymous, "clip-a", "clip-b")
    claim(anonymous)
    anonymous.clock.now += FRESH_SECONDS + 1
    claim(anonymous)
    job = anonymous.provider.stranger("clip-a").id
    sensor(anonymous, until=ended(anonymous, "clip-a", "clip-b"))
    assert [anonymous.newest(f"clip-{name}").state for name in "ab"] == [S.HELD, S.HELD]
    enqueue(anonymous, "clip-c")
    sensor(anonymous, until=ended(anonymous, "clip-c"))
    anonymous.clock.now += 3600
    anonymous.run(anonymous.engine().step("wavespeed"))
    assert anonymous.newest("clip-b").state is S.HELD
    assert job in (anonymous.newest("clip-b").reason or "")
    settle.adopt_named_job(anonymous.ledger, "clip-a", job, who="person ann", why="it is mine")
    soon(anonymous, is_made(anonymous, "clip-a", "clip-b"), within=120)
    everything_is_accounted_for(anonymous, "clip-a", "clip-b", "clip-c")


def test_a_held_purchase_takes_no_strangers_job_whatever_the_bill_shows_later(shared: World) -> None:
    """A stranger's job made it held; a bill that no longer shows the charge must not make the job ours."""
    anonymous = shared
    anonymous.provider.answers["clip-a"] = [IN_VAIN]
    enqueue(anonymous, "clip-a")
    anonymous.run(submit_queue(anonymous.engine()))
    stranger = anonymous.provider.stranger()
    anonymous.provider.bill = [Charge(stranger.id, 3 * PRICE, "charge", anonymous.clock(), stranger.model)]
    sensor(anonymous, until=ended(anonymous, "clip-a"))
    assert anonymous.newest("clip-a").state is S.HELD
    silent: list[Charge] | Exception
    for silent in ([], UnavailableError("the bill cannot be read")):
        anonymous.provider.bill = silent
        anonymous.clock.now += AT_MOST_SECONDS
        anonymous.run(anonymous.engine().step("wavespeed"))
        assert anonymous.newest("clip-a").state is S.HELD
    assert booked(anonymous).get(stranger.id) is None


def test_a_job_that_is_listed_hours_late_is_found(either: World) -> None:
    late = QUICK.__class__(QUICK.outcome, after=QUICK.after, creates=True, listed_after=3 * 3600)
    either.provider.answers["clip-a"] = [late]
    enqueue(either, "clip-a")
    sensor(either, until=ended(either, "clip-a"))
    assert either.newest("clip-a").state is S.HELD
    either.clock.now += 3 * 3600
    soon(either, is_made(either, "clip-a"))
    everything_is_accounted_for(either, "clip-a")


# unreadable listings


@pytest.mark.slow
@UNREADABLE
def test_an_unknown_purchase_is_held_after_the_stated_time_and_settled_when_the_listing_can_be_read(
    either: World, what: str
) -> None:
    known_lags(either)
    fail(either, what)
    either.provider.answers["clip-a"] = [IN_VAIN]
    enqueue(either, "clip-a", "clip-b")
    began = either.clock()
    sensor(either, until=ended(either, "clip-a"))
    stated = POST_DEADLINE_SECONDS + GIVE_UP_SETTLES * SETTLE_SECONDS
    assert stated <= either.clock() - began <= stated + 90
    attempt = either.newest("clip-a")
    assert (attempt.state, attempt.money_state) == (S.HELD, MoneyState.INDETERMINATE)
    assert "could not be read" in (attempt.reason or "")
    assert f"{what} broke off" in (attempt.reason or "")
    either.clock.now += 2 * 3600
    either.run(either.engine().step("wavespeed"))
    assert either.newest("clip-a").state is S.HELD
    assert len(either.provider.posts_of("clip-a")) == 1
    either.provider.listing_fails = False
    either.provider.bill = None
    enqueue(either, "clip-c")
    soon(either, is_made(either, "clip-a", "clip-b", "clip-c"), within=AT_MOST_SECONDS + 120)
    everything_is_accounted_for(either, "clip-a", "clip-b", "clip-c")


@pytest.mark.slow
@UNREADABLE
def test_a_job_that_was_made_while_nothing_could_be_read_is_found_afterwards(
    either: World, what: str
) -> None:
    fail(either, what)
    either.provider.answers["clip-a"] = [QUICK]
    either.provider.stranger("somebody", model="another-model")
    enqueue(either, "clip-a")
    sensor(either, until=ended(either, "clip-a"))
    either.provider.listing_fails = False
    either.provider.bill = None
    soon(either, is_made(either, "clip-a"))
    assert either.provider.jobs[either.newest("clip-a").job_id or ""].clip == "clip-a"
    assert len(either.provider.posts_of("clip-a")) == 1


@pytest.mark.slow
def test_a_listing_that_never_answers_does_not_prevent_other_parts_of_a_step(either: World) -> None:
    known_lags(either)
    either.provider.answers["clip-a"] = [IN_VAIN]
    enqueue(either, "clip-a", "clip-b")

    async def never(**_: object) -> Rows[Candidate]:
        await asyncio.sleep(10**6)
        return Rows()

    either.provider.list_jobs = never  # type: ignore[method-assign]
    sensor(either, until=ended(either, "clip-a", "clip-b"))
    assert either.newest("clip-a").state is S.HELD
    assert either.newest("clip-b").state is S.SUCCEEDED
    assert "within 25 s" in (either.newest("clip-a").reason or "")


def fail(world: World, what: str) -> None:
    if what == "listing":
        world.provider.listing_fails = True
    else:
        world.provider.bill = UnavailableError("the provider's bill broke off")


# amount of reading


@pytest.mark.slow
def test_searches_for_held_purchases_are_rare_read_no_history_and_end(anonymous: World) -> None:
    known_lags(anonymous)
    lose(anonymous)
    read: list[float] = []
    list_jobs = anonymous.provider.list_jobs

    async def counted(*, after: datetime, before: datetime, endpoints: Any) -> Any:
        read.append((before - after).total_seconds())
        return await list_jobs(after=after, before=before, endpoints=endpoints)

    anonymous.provider.list_jobs = counted  # type: ignore[method-assign]
    engine = anonymous.engine()
    # the sweeps of a whole step read the listing for other reasons
    reconciler, contract = engine._reconciler, engine.accounts["wavespeed"].contract

    async def a_day(*, ticks: int) -> None:
        for _ in range(ticks):
            await reconciler.reconcile(anonymous.provider, contract)
            await asyncio.sleep(86_400 / ticks)

    anonymous.run(a_day(ticks=288))
    looks = 86_400 / search_schedule.HELD_PAUSE_SECONDS
    assert looks / 2 < len(read) < looks + 20
    assert max(read) < 3 * 3600
    anonymous.clock.now += search_schedule.HELD_FOR_SECONDS
    read.clear()
    anonymous.run(a_day(ticks=20))
    assert read == []
    assert anonymous.newest("clip-a").state is S.HELD
