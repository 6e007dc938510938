"""A listing that shows requests identifies the job of a lost POST by its seed, even if strangers order the same."""

from typing import Any

import pytest
import sqlalchemy as sa
from fakes import Answer, World, submit_queue
from losskit import QUICK, S, ended, enqueue, everything_is_accounted_for, sensor

from resources.ledger.schema import submissions
from resources.orders import Seed
from resources.providers.base import Unknown

ORDER = {"prompt": "clip-a", "seconds": 4}
OWN = Seed(name="seed")


@pytest.fixture
def shows_requests(shared: World) -> World:
    """An account on a shared key whose listing shows each job's request, but none of our ids."""
    shared.provider.echoes_bodies = True
    return shared


def seeds(world: World) -> list[int | None]:
    with world.ledger.read() as connection:
        return list(connection.execute(sa.select(submissions.c.seed)).scalars())


def lose_among_strangers(world: World, *, seed: Seed | None) -> None:
    world.provider.answers["clip-a"] = [QUICK]
    enqueue(world, "clip-a", body=ORDER, seed=seed)
    world.provider.stranger("before", body={**ORDER, "seed": 7})
    world.run(submit_queue(world.engine()))
    for number in range(3):
        world.provider.stranger(f"twin-{number}", body={**ORDER, "seed": number + 1})
    sensor(world, until=ended(world, "clip-a"))


def test_strangers_equal_orders_at_the_same_second_differ_by_the_seed(
    shows_requests: World,
) -> None:
    lose_among_strangers(shows_requests, seed=OWN)
    attempt = shows_requests.newest("clip-a")
    assert attempt.state is S.SUCCEEDED
    assert shows_requests.provider.jobs[attempt.job_id or ""].clip == "clip-a"
    (mine,) = (job for job in shows_requests.provider.jobs.values() if job.clip == "clip-a")
    assert seeds(shows_requests) == [(mine.body or {})["seed"]]


@pytest.mark.slow
def test_the_same_post_without_its_own_seed_is_held(shows_requests: World) -> None:
    lose_among_strangers(shows_requests, seed=None)
    attempt = shows_requests.newest("clip-a")
    assert (attempt.state, attempt.job_id) == (S.HELD, None)
    assert seeds(shows_requests) == [None]


def test_a_post_without_a_job_does_not_get_a_strangers_job(shows_requests: World) -> None:
    world = shows_requests
    world.provider.answers["clip-a"] = [Answer(Unknown("HTTP 502", 502), after=0.3)]
    enqueue(world, "clip-a", body=ORDER, seed=OWN)
    world.run(submit_queue(world.engine()))
    world.provider.stranger("twin", body={**ORDER, "seed": 1})
    sensor(world, until=lambda: world.newest("clip-a").state is not S.UNKNOWN)
    (stranger,) = (job for job in world.provider.jobs.values() if job.clip == "twin")
    assert world.newest("clip-a").job_id != stranger.id


def test_two_lost_posts_of_equal_orders_each_get_their_own_job(shows_requests: World) -> None:
    world = shows_requests
    # the fake provider identifies clips by their prompt, so another parameter makes both orders equal for the listing
    for clip in ("clip-a", "clip-b"):
        world.provider.answers[clip] = [QUICK]
        enqueue(world, clip, seed=OWN)
    sensor(world, until=ended(world, "clip-a", "clip-b"))
    everything_is_accounted_for(world, "clip-a", "clip-b")
    assert len(set(seeds(world))) == 2


def test_the_seed_is_committed_before_the_post(world: World) -> None:
    enqueue(world, "clip-a", body=ORDER, seed=Seed(name="seed", least=5, most=5))
    seen: list[Any] = []
    submit = world.provider.submit

    async def looking(endpoint: str, body: dict[str, Any], **how: Any) -> Any:
        seen.append((seeds(world), body["seed"]))
        return await submit(endpoint, body, **how)

    world.provider.submit = looking  # type: ignore[method-assign]
    world.run(submit_queue(world.engine()))
    assert seen == [([5], 5)]
    assert world.newest("clip-a").request.body == ORDER


def test_without_a_seed_a_post_without_a_job_is_held_because_of_a_strangers_equal_order(
    shows_requests: World,
) -> None:
    """Another installation with the same series on the same key orders the same in the same second."""
    world = shows_requests
    world.provider.answers["clip-a"] = [Answer(Unknown("HTTP 502", 502), after=0.3)]
    enqueue(world, "clip-a", body=ORDER)
    world.run(submit_queue(world.engine()))
    world.provider.stranger("twin", body=ORDER)
    sensor(world, until=ended(world, "clip-a"))
    assert (world.newest("clip-a").state, world.newest("clip-a").job_id) == (S.HELD, None)
