"""Two machines whose clocks differ by ten minutes, and one provider."""

import asyncio
from collections.abc import Callable, Collection
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from fakes import Answer, FakeProvider, World, a_request, submit_queue

from resources.ledger.decisions import Decision, decide
from resources.ledger.lost.listing_trust import ENOUGH
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, lags
from resources.ledger.states import AttemptState, MoneyState
from resources.providers.base import Candidate, FailureKind, JobState, JobStatus, PollFailed, Unknown
from resources.providers.rows import Rows

OFF = 600.0


class NotYetKnown(FakeProvider):
    """Answers 404 as the real clients read it: no result while the job is young, the job's end later."""

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        if age_seconds > self.capabilities.propagation_seconds:
            return JobState(JobStatus.GONE, "HTTP 404", failure=FailureKind.GONE)
        return PollFailed("HTTP 404")


class Ahead(FakeProvider):
    """The same provider as a client sees it whose clock is ahead."""

    def __init__(self, world: World) -> None:
        super().__init__(world.clock)
        self.jobs = world.provider.jobs

    async def list_jobs(
        self, *, after: datetime, before: datetime, endpoints: Collection[str]
    ) -> Rows[Candidate]:
        """The jobs as the provider dates them."""
        self.listed += 1
        return Rows(
            Candidate(job.id, job.model, datetime.fromtimestamp(job.created_at, UTC), JobStatus.RUNNING)
            for job in self.jobs.values()
            if self.clock() >= job.listed_from
        )


def machine_ahead(world: World, url: str, provider: FakeProvider) -> World:
    """Another machine on the same ledger, whose clock is ahead."""
    elsewhere = World(url)
    elsewhere.ledger.clock = lambda: world.clock() + OFF
    elsewhere.provider = provider
    elsewhere.provider.ahead = -OFF
    return elsewhere


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("age", "polls", "state", "money"),
    [
        (10.0, 1, AttemptState.SUBMITTED, MoneyState.RESERVED),
        # an end of a paid job is accepted after three polls over minutes
        (90.0, 3, AttemptState.VANISHED, MoneyState.INDETERMINATE),
    ],
)
def test_a_machine_whose_clock_is_ahead_does_not_give_up_a_new_job_that_answers_404(
    new_ledger_url: Callable[[], str], age: float, polls: int, state: AttemptState, money: MoneyState
) -> None:
    url = new_ledger_url()
    world = World(url)
    decide(world.ledger, [a_request("pier")], Decision("monday"))
    engine = world.engine()
    world.run(submit_queue(engine))
    world.clock.now += age
    elsewhere = machine_ahead(world, url, NotYetKnown(world.clock))
    for _ in range(polls):
        world.run(elsewhere.engine().poll_due("wavespeed"))
        world.clock.now += 100
    elsewhere.ledger.close()
    after = world.newest("pier")
    assert (after.state, after.money_state) == (state, money)
    world.ledger.close()


@pytest.mark.postgresql
def test_a_machine_whose_clock_is_ahead_measures_no_long_lag_for_a_new_unlisted_job(
    new_ledger_url: Callable[[], str],
) -> None:
    url = new_ledger_url()
    world = World(url)
    elsewhere = machine_ahead(world, url, Ahead(world))
    with world.ledger.write() as connection:
        for number in range(ENOUGH):
            known = {"account": "wavespeed", "job_id": f"old-{number}", "seconds": 1.0, "seen_at": 0.0}
            connection.execute(sa.insert(lags).values(known))
    world.provider.answers["in-vain"] = [Answer(Unknown("HTTP 502", 502), after=0.3)]
    world.provider.answers["new"] = [Answer(listed_after=20)]

    async def work() -> None:
        engine = world.engine()
        for clip in ("in-vain", "after-it", "new"):
            decide(world.ledger, [a_request(clip)], Decision("monday"))
            await submit_queue(engine)
            await asyncio.sleep(200 if clip == "after-it" else 8)
        await elsewhere.engine().reconcile("wavespeed")

    world.run(work())
    history = [attempt.state for attempt in attempts_of(world, "in-vain")]
    assert history == [AttemptState.ABSENT, AttemptState.QUEUED]
    for one in (world, elsewhere):
        one.ledger.close()


def attempts_of(world: World, clip: str) -> list[Attempt]:
    with world.ledger.read() as connection:
        rows = connection.execute(
            sa.select(attempts).where(attempts.c.subject_key == clip).order_by(attempts.c.seq)
        )
        return [Attempt.from_row(row) for row in rows]
