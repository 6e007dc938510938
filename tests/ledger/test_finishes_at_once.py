"""On PostgreSQL, a change of one draft's finish and the circle of another draft of the clip happen at the same moment."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from ledgerkit import NEVER_CHARGED, a_state, accepted, claimed, everything, rejected

from resources.ledger import deliveries, polls, queue, waiting_finishes
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.outcomes import record_outcome
from resources.ledger.records import Attempt
from resources.providers.base import FailureKind, JobStatus
from tests.ledger.test_finishes import a_draft, carried, circled, waits

pytestmark = pytest.mark.slow
PATIENCE_SECONDS = 120.0
WAITING = sa.text("SELECT 1 FROM pg_locks WHERE NOT granted LIMIT 1")


@pytest.fixture
def ledger(postgres_ledger_url: str) -> Iterator[Ledger]:
    with Ledger(postgres_ledger_url, budget=Budget()) as opened:
        yield opened


def waits_for_a_lock(ledger: Ledger) -> bool:
    with ledger.read() as connection:
        return connection.execute(WAITING).first() is not None


def withdrawn(ledger: Ledger) -> Callable[[], object]:
    (finish,) = (one for one in everything(ledger) if one.finishes)
    return lambda: queue.withdraw(ledger, [finish.id], why="it was queued for too long")


def refused(ledger: Ledger) -> Callable[[], object]:
    submission = claimed(ledger)
    return lambda: record_outcome(ledger, submission, rejected(FailureKind.MODERATION))


def lost(ledger: Ledger) -> Callable[[], object]:
    job = record_outcome(ledger, claimed(ledger), accepted("job-finish"))
    finish = polls.record_end(ledger, job, a_state(), NEVER_CHARGED)
    return lambda: deliveries.record_lost(ledger, finish.id, why="its output is gone")


def failed(ledger: Ledger) -> Callable[[], object]:
    job = record_outcome(ledger, claimed(ledger), accepted("job-finish"))
    return lambda: polls.record_end(ledger, job, a_state(JobStatus.FAILED), NEVER_CHARGED)


def sent(ledger: Ledger) -> Callable[[], object]:
    return lambda: claimed(ledger)


def fetched(ledger: Ledger) -> Callable[[], object]:
    job = record_outcome(ledger, claimed(ledger), accepted("job-finish"))
    finish = polls.record_end(ledger, job, a_state(), NEVER_CHARGED)
    return lambda: deliveries.record_quarantined(ledger, finish.id, {}, why="it is black")


@pytest.mark.parametrize("change", [sent, fetched, withdrawn, refused, lost, failed])
def test_a_change_of_a_finish_leaves_the_order_of_a_draft_that_is_circled_at_the_same_moment(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, change: Callable[[Ledger], Callable[[], object]]
) -> None:
    decide(ledger, [a_draft()], Decision("monday"))
    (first,) = carried(ledger)
    decide(ledger, [a_draft()], Decision("retake", regenerate=True))
    (second,) = carried(ledger)
    circled(ledger, first)
    work = change(ledger)
    read, is_read, is_over = waiting_finishes.circled_draft, threading.Event(), threading.Event()
    person = threading.get_ident()

    def read_early(connection: sa.Connection, clip: str) -> Attempt | None:
        draft = read(connection, clip)
        if threading.get_ident() != person:
            is_read.set()
            until = time.monotonic() + PATIENCE_SECONDS
            while not (is_over.is_set() or waits_for_a_lock(ledger)) and time.monotonic() < until:
                time.sleep(0.01)
        return draft

    def work_beside() -> None:
        work()
        is_read.set()

    monkeypatch.setattr(waiting_finishes, "circled_draft", read_early)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(work_beside)
        assert is_read.wait(PATIENCE_SECONDS)
        circled(ledger, second)
        is_over.set()
        working.result()

    ordered = [wait.draft.id for wait in waits(ledger) if wait.ordered_by == "mira"]
    assert [second.id] == ordered or second.id in {one.finishes for one in everything(ledger)}
