"""Jobs without a purchase, found by a sensor's sweep of listing and bill."""

import asyncio
import math
from collections.abc import Collection
from datetime import datetime, timedelta

import pytest
from fakes import PRICE, SORA, Ends, World, a_request

from resources.errors import UnavailableError
from resources.ledger import keys
from resources.ledger.decisions import Decision, decide
from resources.ledger.lost.orphans import (
    BILL,
    LISTING,
    LONGEST_WINDOW_SECONDS,
    SETTLED_SECONDS,
    SWEEP_SECONDS,
    orphans,
)
from resources.ledger.statement import statement
from resources.ledger.states import AttemptState, MoneyState
from resources.providers.base import Candidate, Charge, FailureKind, JobStatus
from resources.providers.rows import Rows


@pytest.fixture
def ordered(world: World) -> World:
    """An account on which one clip was ordered and has ended."""
    decide(world.ledger, [a_request("clip-a")], Decision("monday"))
    world.run(world.engine().step("wavespeed"))
    world.clock.now += 100
    world.run(world.engine().step("wavespeed"))
    assert world.newest("clip-a").state is AttemptState.SUCCEEDED
    return world


def swept(world: World) -> list[str]:
    """The findings of the next sweep."""
    world.clock.now += SETTLED_SECONDS + 1
    return world.run(world.engine().step("wavespeed")).orphans


def sources(world: World) -> dict[str, str]:
    return {orphan.job_id: orphan.source for orphan in orphans(world.ledger)}


def test_a_job_that_only_the_bill_shows_is_found_by_its_charge(ordered: World) -> None:
    listed, deleted = ordered.provider.stranger(), ordered.provider.stranger()
    deleted.listed_from = math.inf
    assert set(swept(ordered)) == {listed.id, deleted.id}
    assert sources(ordered) == {listed.id: LISTING, deleted.id: BILL}


def test_a_refund_of_a_job_we_never_saw_is_no_job(ordered: World) -> None:
    at = ordered.clock()
    ordered.provider.bill = [Charge("long-ago", 400_000, "refund", at, SORA)]
    assert swept(ordered) == []


async def hangs(**_: object) -> list[Charge]:
    await asyncio.sleep(3_600)
    return []


def test_a_hanging_bill_does_not_hide_listed_jobs(ordered: World, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ordered.provider.stranger()
    monkeypatch.setattr(ordered.provider, "charges", hangs)
    assert swept(ordered) == [listed.id]


@pytest.mark.slow
def test_a_bill_that_could_not_be_read_for_hours_is_read_from_its_last_reading_on(ordered: World) -> None:
    charged = ordered.provider.stranger()
    charged.listed_from = math.inf
    ordered.provider.bill = UnavailableError("the bill cannot be read")
    for _ in range(5):
        assert swept(ordered) == []
        ordered.clock.now += SWEEP_SECONDS
    ordered.provider.bill = None
    assert swept(ordered) == [charged.id]


@pytest.mark.slow
def test_a_bill_that_never_answers_is_requested_for_six_hours_at_most(
    ordered: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    async def refused(*, after: datetime, before: datetime) -> list[Charge]:
        asked.append((before - after).total_seconds())
        raise UnavailableError("there is no such page")

    monkeypatch.setattr(ordered.provider, "charges", refused)
    for _ in range(40):
        ordered.clock.now += SWEEP_SECONDS
        swept(ordered)
    assert max(asked) == LONGEST_WINDOW_SECONDS


def test_after_days_without_a_sweep_jobs_are_found_although_a_long_window_cannot_be_read_in_time(
    ordered: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, clock = ordered.provider, ordered.clock
    list_jobs, read_bill = provider.list_jobs, provider.charges
    listed_to: list[datetime] = []

    def check(after: datetime, before: datetime) -> None:
        if before - after > timedelta(hours=12):
            raise UnavailableError("it was not read to its end within 15 s")

    async def lists(*, after: datetime, before: datetime, endpoints: Collection[str]) -> Rows[Candidate]:
        check(after, before)
        listed_to.append(before)
        return await list_jobs(after=after, before=before, endpoints=endpoints)

    async def bills(*, after: datetime, before: datetime) -> Rows[Charge]:
        check(after, before)
        assert before <= listed_to[-1], "the listing may name the POST of a charged job"
        return await read_bill(after=after, before=before)

    monkeypatch.setattr(provider, "list_jobs", lists)
    monkeypatch.setattr(provider, "charges", bills)
    found, strangers = set(swept(ordered)), set()
    for _ in range(4):
        clock.now += 15 * SWEEP_SECONDS
        strangers.add(provider.stranger().id)
    clock.now += SETTLED_SECONDS + 1
    for _ in range(20):
        clock.now += 10
        found.update(ordered.run(ordered.engine().step("wavespeed")).orphans)
    assert found == strangers
    readings = provider.listed
    ordered.run(ordered.engine().step("wavespeed"))
    assert provider.listed == readings, "the sweep has caught up"


@pytest.mark.postgresql
def test_a_failed_job_that_its_provider_charges_against_its_contract_counts_after_the_sweep(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    failure = Ends(JobStatus.FAILED, failure=FailureKind.PROVIDER, error="out of GPUs")
    world.provider.jobs_go["clip-a"] = [failure]
    decide(world.ledger, [a_request("clip-a")], Decision("monday"))
    for _ in range(3):
        world.run(world.engine().step("wavespeed"))
        world.clock.now += 100
    failed = world.newest("clip-a")
    assert (failed.state, failed.money_state) == (AttemptState.FAILED, MoneyState.RELEASED)
    swept(world)
    assert world.newest("clip-a").version == failed.version, "its refund may follow"
    world.clock.now += SWEEP_SECONDS
    swept(world)
    after = world.newest("clip-a")
    assert (after.money_state, after.charge_source, after.cost_micros) == (
        MoneyState.CONFIRMED,
        "bill",
        PRICE,
    )
    assert "the bill says $0.40 instead of $0.00" in caplog.text
    assert statement(world.ledger).miscounted == []


def test_on_a_shared_key_a_charge_without_a_model_is_not_recorded(
    ordered: World,
) -> None:
    keys.declare(ordered.ledger, "wavespeed", dedicated=False)
    other = ordered.provider.stranger(model="somebody/elses-model")
    at = ordered.clock()
    ordered.provider.bill = [Charge(other.id, 400_000, "charge", at, None)]
    assert swept(ordered) == []


def test_an_unreadable_bill_does_not_hide_listed_jobs(ordered: World) -> None:
    listed = ordered.provider.stranger()
    ordered.provider.bill = UnavailableError("the bill cannot be read")
    assert swept(ordered) == [listed.id]
