"""The thread that renews a run's claim: it continues while the loop is busy, and stops for a loop that hangs for ever."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resources.errors import UnavailableError
from resources.ledger import heartbeats, schema
from resources.ledger.budget import Budget
from resources.ledger.heartbeats import RunLostError
from resources.ledger.ledger import Ledger
from resources.production import heartbeat as heartbeat_module
from resources.production.engine import Engine
from resources.production.heartbeat import STALL_SECONDS, Heartbeat

RUN = "a-run"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "RENEW_SECONDS", 0.02)
    monkeypatch.setattr(heartbeat_module, "RETRY_SECONDS", 0.02)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget()) as opened:
        yield opened


def opening(ledger: Ledger) -> Callable[[], contextlib.AbstractContextManager[Ledger]]:
    return lambda: contextlib.nullcontext(ledger)


def until(done: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not done():
        assert time.monotonic() < give_up, "the condition did not hold in time"
        time.sleep(0.01)


def claimed_until(ledger: Ledger) -> float:
    with ledger.read() as connection:
        table = schema.heartbeats
        return float(connection.execute(table.select().where(table.c.run_id == RUN)).one().until)


def test_the_heartbeat_claims_renews_and_releases(ledger: Ledger) -> None:
    beating = Heartbeat(opening(ledger), RUN)
    beating.start()
    assert heartbeats.owners(ledger) == {RUN: beating.owner}
    first = claimed_until(ledger)
    until(lambda: claimed_until(ledger) > first)
    beating.stop()
    assert heartbeats.owners(ledger) == {}


def test_the_heartbeat_continues_while_the_loop_is_busy_and_stops_when_it_hangs(ledger: Ledger) -> None:
    now, looks = 1000.0, 0

    def monotonic() -> float:
        nonlocal looks
        looks += 1
        return now

    def beats(times: int) -> None:
        """Set how often the thread reads the clock."""
        enough = looks + times
        until(lambda: looks >= enough)

    beating = Heartbeat(opening(ledger), RUN, monotonic=monotonic)

    async def work() -> None:
        nonlocal now
        async with beating.vouched_for(Engine(ledger, {})):
            now += STALL_SECONDS - 1
            first = claimed_until(ledger)
            until(lambda: claimed_until(ledger) > first)
            # still blocked, and the claim is no longer renewed
            now += 2
            assert beating.is_stalled
            # the second check comes after a renewal that may have been in progress
            beats(2)
            before = claimed_until(ledger)
            beats(5)
            assert claimed_until(ledger) == before
            async with asyncio.timeout(60):
                while beating.is_stalled:  # noqa: ASYNC110 - the heartbeat has no event for it
                    await asyncio.sleep(0.01)

    beating.start()
    asyncio.run(work())
    assert not beating.is_stalled
    beating.stop()


def test_a_claim_is_retried_when_the_ledger_does_not_answer(ledger: Ledger) -> None:
    failures = iter([UnavailableError("locked"), UnavailableError("locked"), ValueError("odd")])

    @contextlib.contextmanager
    def opened() -> Iterator[Ledger]:
        for error in failures:
            raise error
        yield ledger

    beating = Heartbeat(opened, RUN)
    beating.start()
    until(lambda: heartbeats.owners(ledger) == {RUN: beating.owner})
    beating.stop()


def test_a_run_that_was_declared_dead_before_it_began_does_not_begin(ledger: Ledger) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    heartbeats.take(ledger, RUN, "w1:7:a")
    with pytest.raises(RunLostError):
        Heartbeat(opening(ledger), RUN).start()
