"""Shortcuts to lose answers on purpose, and to see how the ledger settles them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa
from fakes import Answer, World, a_request

from resources.ledger import queue
from resources.ledger.decisions import Decision, decide
from resources.ledger.limits import Limits
from resources.ledger.lost import listing_trust
from resources.ledger.queue import PostTerms
from resources.ledger.records import Submission
from resources.ledger.schema import jobs
from resources.ledger.schema import lags as lags_table
from resources.ledger.states import AttemptState
from resources.production.engine import Engine
from resources.providers.base import ClockOffset, Unknown

S = AttemptState
QUICK = Answer(Unknown("HTTP 502", 502), after=0.3, creates=True)
"""A gateway's error after the provider has created the job."""
IN_VAIN = Answer(Unknown("HTTP 502", 502), after=0.3)
"""A gateway's error instead of a job."""
PRO = "openai/sora-2-pro/text-to-video"


def listing_only(world: World) -> World:
    world.provider.capabilities = replace(world.provider.capabilities, echoes_submission_id=False)
    return world


def enqueue(world: World, *clips: str, **changes: object) -> None:
    decide(world.ledger, [a_request(clip, **changes) for clip in clips], Decision("monday"))


def sensor(
    world: World, *, until: Callable[[], bool], every: float = 20.0, engine: Engine | None = None
) -> None:
    """Tick the sensor until a condition holds.

    Args:
        every: Seconds between two ticks. Lags are measured only with the ten seconds of the real sensor; all else needs fewer ticks.
    """
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
    """A POST by a process that dies."""
    claimed = queue.claim_next(
        world.ledger, "wavespeed", PostTerms(Limits(), 30, clock_offset=ClockOffset(-1, 1))
    )
    assert isinstance(claimed, Submission)
    return claimed


def known_lags(world: World, count: int = listing_trust.ENOUGH, seconds: float = 1.0) -> None:
    """Record that the account's listing has shown this many jobs."""
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
    """The ledger's attempt of each job."""
    with world.ledger.read() as connection:
        return {row.job_id: row.attempt_id for row in connection.execute(sa.select(jobs))}


def everything_is_accounted_for(world: World, *clips: str) -> None:
    """Check that every clip has exactly its own job, and that the ledger assigns each job so."""
    assert len(world.provider.jobs) == len(clips)
    for clip in clips:
        attempt = world.newest(clip)
        assert world.provider.jobs[attempt.job_id or ""].clip == clip
        assert booked(world)[attempt.job_id or ""] == attempt.id
