"""An account's limits, measured at the provider: many clips, several processes, a slow network."""

import asyncio
import itertools
import random
from typing import Any

import pytest
from fakes import FakeProvider, World, a_request, rejects, submit_queue

from resources.ledger.decisions import Decision, decide
from resources.ledger.limits import Limits
from resources.ledger.states import AttemptState
from resources.providers.base import FailureKind, JobState, JobStatus, PollFailed, SubmitOutcome

S = AttemptState
CLIPS = [f"clip-{number:03}" for number in range(20)]


class Faraway(FakeProvider):
    """A provider whose requests take different times to arrive."""

    rng = random.Random(7)
    slowest = 4.0

    async def submit(self, *args: Any, **how: Any) -> SubmitOutcome:
        await asyncio.sleep(self.rng.uniform(0, self.slowest))
        return await super().submit(*args, **how)


async def several(world: World, limits: Limits, *, processes: int, every: float) -> None:
    """Several processes at once, each with a step every few seconds, until every clip has ended."""

    async def one(delay: float) -> None:
        engine = world.engine(limits)
        await asyncio.sleep(delay)
        while len(world.provider.jobs) < len(CLIPS) or world.provider.flying(world.clock() - 60):
            await engine.poll_due("wavespeed")
            await submit_queue(engine)
            await asyncio.sleep(every)

    await asyncio.gather(*(one(number * every / processes) for number in range(processes)))


@pytest.mark.slow
def test_twenty_clips_on_two_places_and_two_submits_a_minute(world: World) -> None:
    world.provider = Faraway(world.clock)
    limits = Limits(in_flight=2, per_minute=2)
    decide(world.ledger, [a_request(clip) for clip in CLIPS], Decision("monday"))
    started = world.clock()
    world.run(several(world, limits, processes=3, every=15.0), at_most=30_000)
    posts = world.provider.posts
    assert [post.clip for post in posts] == CLIPS, "order kept, each sent once"
    assert all(later.at - first.at >= 60 for first, later in zip(posts, posts[2:], strict=False))
    assert max(world.provider.flying(post.at) for post in posts) <= 2
    assert {attempt.state for attempt in world.ledger.latest(CLIPS).values()} == {S.SUCCEEDED}
    least = len(CLIPS) / 2 * 60
    assert world.clock() - started <= 1.5 * least, "the limits are fully used, not only obeyed"


def test_a_large_account_gets_parallel_posts(world: World) -> None:
    world.provider = Faraway(world.clock)
    decide(world.ledger, [a_request(clip) for clip in CLIPS], Decision("monday"))
    started = world.clock()
    world.run(submit_queue(world.engine(Limits(in_flight=300, per_minute=500))))
    assert len(world.provider.jobs) == len(CLIPS)
    assert world.clock() - started < 24


@pytest.mark.slow
def test_a_429_slows_the_account_and_the_order_is_kept(world: World) -> None:
    decide(world.ledger, [a_request(clip) for clip in CLIPS[:6]], Decision("monday"))
    world.provider.answers["clip-001"] = [rejects(FailureKind.THROTTLED)] * 3
    limits = Limits(in_flight=4)

    async def work() -> None:
        engine = world.engine(limits)
        for _ in range(60):
            await engine.step("wavespeed")
            await asyncio.sleep(10)

    world.run(work())
    posts = [post for post in world.provider.posts if post.clip != "clip-001"]
    assert [post.clip for post in posts] == [clip for clip in CLIPS[:6] if clip != "clip-001"]
    throttled = [post.at for post in world.provider.posts_of("clip-001")]
    assert len(throttled) == 4
    gaps = [later - first for first, later in itertools.pairwise(throttled)]
    assert gaps[0] >= 30
    assert gaps[1] >= 60
    assert gaps[2] >= 120
    assert all(post.at > throttled[-1] for post in posts[1:]), "no POST overtakes the throttled one"


@pytest.mark.slow
def test_a_throttled_poll_slows_every_poll_and_post_of_the_account(world: World) -> None:
    decide(world.ledger, [a_request(clip) for clip in CLIPS[:5]], Decision("monday"))
    engine = world.engine()
    world.run(submit_queue(engine))
    world.provider.polls["clip-000"] = [PollFailed("HTTP 429", 90.0, FailureKind.THROTTLED)]
    world.clock.now += 6
    world.run(engine.poll_due("wavespeed"))
    throttled_at = world.clock()
    decide(world.ledger, [a_request("clip-005")], Decision("monday"))
    before = {job.id: len(job.polled_at) for job in world.provider.jobs.values()}

    async def work(seconds: float) -> None:
        for _ in range(int(seconds / 5)):
            await engine.step("wavespeed")
            await asyncio.sleep(5)

    world.run(work(80))
    assert {job.id: len(job.polled_at) for job in world.provider.jobs.values()} == before
    world.run(work(60))
    assert all(world.provider.jobs[job_id].polled_at[-1] >= throttled_at + 80 for job_id in before)
    assert len(world.provider.posts_of("clip-005")) == 1
    assert world.provider.posts_of("clip-005")[0].at >= throttled_at + 80


def test_another_failure_of_a_poll_slows_only_its_job(world: World) -> None:
    decide(world.ledger, [a_request(clip) for clip in CLIPS[:2]], Decision("monday"))
    engine = world.engine()
    world.run(submit_queue(engine))
    world.provider.polls["clip-000"] = [PollFailed("HTTP 502"), JobState(JobStatus.RUNNING, "processing")]
    world.clock.now += 6
    world.run(engine.poll_due("wavespeed"))
    world.clock.now += 30
    assert world.run(engine.poll_due("wavespeed")) == 2
