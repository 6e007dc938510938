"""Four real processes on one ledger: one purchase per clip, one POST per purchase, limits and order kept."""

import contextlib
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Barrier
from typing import TypeVar

import pytest
import sqlalchemy as sa
from ledgerkit import ACCOUNT, DEADLINE, NEVER_CHARGED, a_request, a_state, accepted, everything, process_pool

from resources.ledger import deliveries, polls
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Submission
from resources.ledger.schema import submissions
from resources.ledger.states import AttemptState, MoneyState

PROCESSES = 4
CLIPS = 20
IN_FLIGHT = 3
LIMITS = Limits(in_flight=IN_FLIGHT, per_minute=12)
JOB_SECONDS = 60.0
SCALE = 200.0
"""How many times as fast as real time the children's clocks run, so that minutes pass in a moment."""

T = TypeVar("T")

pytestmark = pytest.mark.slow


def keys() -> list[str]:
    return [f"clip-{number:02}" for number in range(CLIPS)]


def decides(url: str, together: Barrier, number: int) -> list[tuple[str, str]]:
    with Ledger(url, budget=Budget()) as ledger:
        together.wait(300)
        # each process starts elsewhere in the batch, so that every clip is contested
        order = keys()[number * 5 :] + keys()[: number * 5]
        rulings = decide(ledger, [a_request(key) for key in order], Decision(f"decision-{number}"))
        return [(ruling.ruling.value, ruling.attempt.id) for ruling in rulings if ruling.attempt]


def carries(url: str, together: Barrier, start: float) -> list[str]:
    """Claim, submit, poll and deliver until every purchase is delivered."""
    sent: list[str] = []
    with Ledger(url, clock=lambda: start + (time.time() - start) * SCALE, budget=Budget()) as ledger:
        together.wait(300)
        give_up = time.monotonic() + 300
        while time.monotonic() < give_up:
            claimed = claim_next(ledger, ACCOUNT, PostTerms(LIMITS, DEADLINE * SCALE))
            if isinstance(claimed, Submission):
                sent.append(claimed.attempt.id)
                record_outcome(ledger, claimed, accepted(f"job of {claimed.id}"))
            for attempt in polls.claim_due(ledger, ACCOUNT, limit=1):
                # no job ends before three are in flight at once, however slow the machine is
                started = sum(a.submitted_at is not None for a in ledger.latest(keys()).values())
                due = (attempt.submitted_at or 0) + JOB_SECONDS
                if started < IN_FLIGHT or ledger.clock() < due:
                    polls.reschedule(ledger, [(attempt, ledger.clock() + 1)], polled=False)
                    continue
                polls.record_end(ledger, attempt, a_state(), NEVER_CHARGED)
                if deliveries.claim(ledger, attempt.id, token=ledger.owner) is not None:
                    deliveries.record_delivered(ledger, attempt.id, {"uri": ledger.owner})
            if claimed is None and not polls.claim_due(ledger, ACCOUNT, limit=1):
                states = {a.state for a in ledger.latest(keys()).values()}
                if states == {AttemptState.DELIVERED}:
                    return sent
            time.sleep(0.002)
    raise TimeoutError("the batch was not carried to its end")


def at_once(work: Callable[..., list[T]], url: str, arguments: list[float]) -> list[list[T]]:
    with process_pool(PROCESSES) as (pool, together):
        running = [pool.submit(work, url, together, argument) for argument in arguments]
        return [answer.result(600) for answer in running]


def test_four_processes_with_the_same_clips_buy_each_once_and_in_order(ledger_url: str) -> None:
    start = time.time()
    with Ledger(ledger_url, budget=Budget()) as ledger:
        told = [
            {attempt_id: ruling for ruling, attempt_id in rulings}
            for rulings in at_once(decides, ledger_url, list(range(PROCESSES)))
        ]
        bought = everything(ledger)
        assert sorted(a.subject_key for a in bought) == keys()
        for attempt in bought:
            rulings = Counter(ruling[attempt.id] for ruling in told)
            assert rulings == {Ruling.NEW: 1, Ruling.ADOPTED: PROCESSES - 1}

        sent = [id_ for process in at_once(carries, ledger_url, [start] * PROCESSES) for id_ in process]
        assert Counter(sent) == Counter(a.id for a in bought), "every attempt is sent once"
        done = everything(ledger)
        assert {(a.state, a.money_state) for a in done} == {(AttemptState.DELIVERED, MoneyState.CONFIRMED)}
        assert all(a.polls == 1 for a in done)

        with ledger.read() as connection:
            starts = connection.execute(
                sa.select(submissions.c.attempt_id, submissions.c.started_at).order_by(
                    submissions.c.started_at
                )
            ).all()
        assert [row.attempt_id for row in starts] == [a.id for a in bought], "first in, first out"
        times = [row.started_at for row in starts]
        assert LIMITS.per_minute is not None
        for first, beyond in zip(times, times[LIMITS.per_minute :], strict=False):
            assert beyond - first >= 60
        flying = sorted([(t, 1) for t in times] + [(a.finished_at or 0, -1) for a in done], key=lambda e: e)
        count = highest = 0
        for _, change in flying:
            count += change
            highest = max(highest, count)
        assert highest == IN_FLIGHT


OPENERS = 8


def opens(url: str, together: Barrier) -> list[str]:
    together.wait(300)
    with Ledger(url, budget=Budget()) as ledger:
        return [ledger.id]


def test_eight_processes_that_open_an_empty_database_at_once_make_one_ledger(empty_url: str) -> None:
    with process_pool(OPENERS) as (pool, together):
        running = [pool.submit(opens, empty_url, together) for _ in range(OPENERS)]
        ids = [name for answer in running for name in answer.result(600)]
    assert len(ids) == OPENERS
    assert len(set(ids)) == 1
    with Ledger(empty_url, budget=Budget()) as ledger:
        assert {ledger.id} == set(ids)


def test_eight_processes_that_open_a_copy_without_a_write_ahead_log_create_one(tmp_path: Path) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", budget=Budget()) as ledger:
        original = ledger.id
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.execute("VACUUM INTO ?", (str(tmp_path / "copy.db"),))
    url = f"sqlite:///{tmp_path / 'copy.db'}"
    with process_pool(OPENERS) as (pool, together):
        running = [pool.submit(opens, url, together) for _ in range(OPENERS)]
        assert {name for answer in running for name in answer.result(600)} == {original}
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
