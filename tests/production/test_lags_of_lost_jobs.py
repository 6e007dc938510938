"""The listing's lag is measured on the first listing of a job, whether or not the job was known to be ours by then."""

import asyncio

import pytest
import sqlalchemy as sa
from fakes import SORA, Answer, World, a_request

from resources.ledger import queue
from resources.ledger.decisions import Decision, decide
from resources.ledger.limits import Limits
from resources.ledger.queue import PostTerms
from resources.ledger.records import Submission
from resources.ledger.schema import lags
from resources.ledger.states import AttemptState
from resources.providers.base import ClockOffset, Unknown

PRO = "openai/sora-2-pro/text-to-video"
BROKEN = Unknown("HTTP 502", 502)


def enqueue(world: World, clip: str, endpoint: str = SORA) -> None:
    decide(world.ledger, [a_request(clip, endpoint=endpoint)], Decision("monday"))


def seen(world: World) -> dict[str, float]:
    with world.ledger.read() as connection:
        rows = connection.execute(sa.select(lags).where(lags.c.seconds.is_not(None)))
        return {row.job_id: row.seconds for row in rows}


def tick(world: World, seconds: float) -> None:
    engine = world.engine()

    async def ticks() -> None:
        end = world.clock() + seconds
        while world.clock() < end:
            await engine.step("wavespeed")
            await asyncio.sleep(5)

    world.run(ticks())


@pytest.mark.slow
@pytest.mark.parametrize("listed_after", [0.0, 45.0])
def test_a_job_that_was_listed_before_its_posters_lease_ended_has_no_long_lag(
    world: World, listed_after: float
) -> None:
    """While its lease lasts, the dead poster's job is unowned, and other lost POSTs make the engine read the listing."""
    enqueue(world, "dead")
    claimed = queue.claim_next(
        world.ledger, "wavespeed", PostTerms(Limits(), 30, clock_offset=ClockOffset(-1, 1))
    )
    assert isinstance(claimed, Submission)
    job = world.provider._create("dead", claimed.id, Answer(listed_after=listed_after))
    world.provider.answers["in-vain"] = [Answer(BROKEN, after=0.3)] * 3
    enqueue(world, "in-vain", PRO)
    tick(world, 300)
    assert world.newest("dead").state is AttemptState.SUCCEEDED
    measured = seen(world)[job.id] if listed_after else max(seen(world).values(), default=0.0)
    assert listed_after <= measured <= listed_after + 20


def test_a_job_that_was_too_old_for_the_earlier_reading_has_no_lag(world: World) -> None:
    """A reading that goes further back than the one before lists jobs that the earlier one left out."""
    old = world.provider.stranger()
    world.clock.now += 3_000
    world.provider.answers["in-vain"] = [Answer(BROKEN, after=0.3)] * 3
    enqueue(world, "in-vain")
    tick(world, 20)
    with world.ledger.write() as connection:
        # the fake lists the requested window; an older unknown POST widens it
        connection.execute(sa.text("UPDATE submissions SET started_at = started_at - 3000"))
    tick(world, 40)
    assert old.id not in seen(world)
