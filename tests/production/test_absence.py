"""Lost answers whose POST created no job: when absence is proved, and the clip bought again."""

import asyncio
import itertools
from dataclasses import replace

import pytest
from fakes import NEVER, Answer, World, submit_queue
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

from resources.ledger import keys, outcomes
from resources.ledger.limits import LEASE_MARGIN_SECONDS
from resources.ledger.lost import closures
from resources.providers.base import NotSent


def in_vain_and_then_another(world: World, answer: Answer = IN_VAIN) -> None:
    """Lose one POST, and buy another clip a minute later: the listing shows a later job of ours."""
    world.provider.answers["clip-a"] = [answer]
    enqueue(world, "clip-a")
    world.run(world.engine().step("wavespeed"))
    world.clock.now += 40
    enqueue(world, "clip-b")
    sensor(world, until=ended(world, "clip-a", "clip-b"))


@pytest.mark.slow
def test_a_post_without_a_job_is_proved_absent_and_bought_again_in_the_same_decision(
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


def test_a_post_of_an_earlier_key_is_held_and_never_bought_again(either: World) -> None:
    """The job may be on the account of the earlier key, whose listing this key does not show."""
    known_lags(either)
    keys.see_key(either.ledger, "wavespeed", "first")
    either.provider.answers["clip-a"] = [IN_VAIN]
    enqueue(either, "clip-a")
    either.run(either.engine().step("wavespeed"))
    either.clock.now += 40
    assert keys.see_key(either.ledger, "wavespeed", "second")
    keys.declare(either.ledger, "wavespeed", dedicated=True)
    enqueue(either, "clip-b")
    sensor(either, until=ended(either, "clip-a", "clip-b"))
    assert either.newest("clip-a").state is S.HELD
    assert "key was changed" in (either.newest("clip-a").reason or "")
    assert len(either.provider.posts_of("clip-a")) == 1
    assert either.newest("clip-b").state is S.SUCCEEDED


def test_without_known_lags_a_miss_is_held_and_not_bought_again(either: World) -> None:
    in_vain_and_then_another(either)
    assert either.newest("clip-a").state is S.HELD
    assert "seen to appear" in (either.newest("clip-a").reason or "")
    assert len(either.provider.posts_of("clip-a")) == 1


def test_a_listing_that_lagged_for_long_before_proves_no_absence(either: World) -> None:
    known_lags(either, seconds=21)
    in_vain_and_then_another(either)
    assert either.newest("clip-a").state is S.HELD
    assert "a third of the settle time" in (either.newest("clip-a").reason or "")


def test_without_a_later_job_of_ours_a_miss_proves_nothing(either: World) -> None:
    known_lags(either)
    either.provider.answers["clip-a"] = [IN_VAIN]
    enqueue(either, "clip-a")
    sensor(either, until=ended(either, "clip-a"))
    assert either.newest("clip-a").state is S.HELD
    assert len(either.provider.posts) == 1


def found_though_never_listed(world: World) -> None:
    """The answer to one of two POSTs is lost, and the listing never shows its job."""
    known_lags(world)
    world.provider.answers["clip-a"] = [QUICK]
    enqueue(world, "clip-a", "clip-b")
    engine = world.engine()
    world.run(submit_queue(engine))
    next(job for job in world.provider.jobs.values() if job.clip == "clip-a").listed_from = NEVER + 2e9
    sensor(world, until=ended(world, "clip-a", "clip-b"), engine=engine)
    everything_is_accounted_for(world, "clip-a", "clip-b")


@pytest.mark.slow
def test_a_job_on_the_bill_that_the_listing_hides_is_found(anonymous: World) -> None:
    found_though_never_listed(anonymous)


@pytest.mark.slow
def test_a_charge_that_names_our_post_is_its_job_whenever_it_was_booked(world: World) -> None:
    world.provider.charged_after = 300
    found_though_never_listed(world)


@pytest.mark.slow
def test_an_outage_that_loses_orders_does_not_get_new_ones_for_ever(either: World) -> None:
    known_lags(either)
    either.provider.answers["clip-a"] = [IN_VAIN] * 99
    enqueue(either, "clip-a")
    engine, others = either.engine(), itertools.count()

    async def meanwhile_others_are_bought() -> None:
        while not ended(either, "clip-a")():
            enqueue(either, f"clip-{next(others)}")
            await engine.step("wavespeed")
            await asyncio.sleep(15)

    either.run(meanwhile_others_are_bought())
    assert either.newest("clip-a").state is S.ABSENT
    assert len(either.provider.posts_of("clip-a")) == 1 + closures.RESUBMISSIONS


@pytest.mark.slow
def test_a_listing_that_cannot_be_read_proves_nothing_however_long_it_takes(either: World) -> None:
    known_lags(either)
    either.provider.answers["clip-a"] = [IN_VAIN]
    either.provider.listing_fails = True
    enqueue(either, "clip-a", "clip-b")
    engine = either.engine()

    async def a_day() -> None:
        for _ in range(40):
            await engine.step("wavespeed")
            await asyncio.sleep(2160)

    either.run(a_day())
    assert either.newest("clip-a").state is S.HELD
    assert len(either.provider.posts_of("clip-a")) == 1


@pytest.mark.slow
def test_a_late_refusal_after_the_absence_changes_nothing(either: World) -> None:
    known_lags(either)
    enqueue(either, "clip-a")
    claimed = claim(either)
    either.clock.now += 30 + LEASE_MARGIN_SECONDS + 10
    enqueue(either, "clip-b")
    sensor(either, until=ended(either, "clip-a", "clip-b"))
    posts = len(either.provider.posts_of("clip-a"))
    outcomes.record_outcome(either.ledger, claimed, NotSent("connection refused"))
    assert len(either.provider.posts_of("clip-a")) == posts == 1
    assert either.newest("clip-a").state is S.SUCCEEDED


@pytest.mark.slow
def test_a_job_that_appears_after_its_post_was_proved_absent_is_booked(world: World) -> None:
    known_lags(world)
    in_vain_and_then_another(world, replace(QUICK, listed_after=400))
    assert len(world.provider.jobs) == 3  # a listing that lags for minutes broke the provider's contract
    world.clock.now += 400
    world.provider.answers["clip-c"] = [QUICK]
    enqueue(world, "clip-c")
    sensor(world, until=ended(world, "clip-c"))
    assert booked(world).keys() == world.provider.jobs.keys()
    assert None not in booked(world).values()
