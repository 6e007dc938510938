"""Rules of every transaction that changes attempts: it names its actor, and reads the clock after its locks."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from ledgerkit import ACCOUNT, accepted, claimed, put_into, queued, read, rejected

from proof.clock import Clock
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits, lock_account
from resources.ledger.lost.closures import close_absent, match_callback
from resources.ledger.outage import READING
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Submission
from resources.ledger.schema import accounts, submissions
from resources.ledger.states import AttemptState
from resources.ledger.transaction import Transaction
from resources.providers.base import FailureKind, Unknown

T = TypeVar("T")

WAITED_SECONDS = 60.0
DEADLINE_SECONDS = 30.0


@pytest.fixture
def other(ledger_url: str, clock: Clock) -> Iterator[Ledger]:
    """The same ledger in another process."""
    with Ledger(ledger_url, clock=clock, budget=Budget()) as opened:
        yield opened


def after_a_wait(ledger: Ledger, other: Ledger, clock: Clock, act: Callable[[], T]) -> T:
    """Make `act` wait for the account's lock, which `ledger` holds while the clock moves."""
    waits = threading.Event()

    @sa.event.listens_for(other._engine, "before_cursor_execute")
    def _look(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if "not_before" in statement and "FOR UPDATE" in statement:
            waits.set()

    @sa.event.listens_for(other._engine, "begin")
    def _begins(connection: sa.Connection) -> None:
        if connection.dialect.name == "sqlite" and not connection.info[READING]:
            waits.set()

    with ThreadPoolExecutor(1) as pool:
        with ledger.transaction(who="test", run_id=None) as tx:
            lock_account(tx.connection, ACCOUNT)
            acting = pool.submit(act)
            assert waits.wait(60)
            clock.forward(WAITED_SECONDS)
        return acting.result(60)


def value(ledger: Ledger, query: sa.Select[Any]) -> Any:
    with ledger.read() as connection:
        return connection.execute(query).scalar_one()


def sent_at(ledger: Ledger) -> Any:
    return value(ledger, sa.select(submissions.c.started_at))


def claims(other: Ledger) -> Submission:
    found = claim_next(other, ACCOUNT, PostTerms(Limits(), DEADLINE_SECONDS))
    assert isinstance(found, Submission)
    return found


def test_a_claim_that_waits_for_the_account_is_dated_after_the_wait(
    ledger: Ledger, other: Ledger, clock: Clock
) -> None:
    queued(ledger)
    began = clock.now
    submission = after_a_wait(ledger, other, clock, lambda: claims(other))
    assert sent_at(ledger) == began + WAITED_SECONDS
    assert submission.deadline == began + WAITED_SECONDS + DEADLINE_SECONDS
    assert ledger.history(submission.attempt.id)[-1]["at"] == began + WAITED_SECONDS


def test_a_transaction_with_a_frozen_clock_would_be_noticed(
    ledger: Ledger, other: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: the transaction's start time dates the POST before the wait."""
    queued(ledger)
    began, transaction = clock.now, Ledger.transaction

    @contextlib.contextmanager
    def frozen(self: Ledger, *, who: str, run_id: str | None) -> Iterator[Transaction]:
        at = self.clock()
        with transaction(self, who=who, run_id=run_id) as tx:
            yield replace(tx, now=lambda: at)

    monkeypatch.setattr(Ledger, "transaction", frozen)
    after_a_wait(ledger, other, clock, lambda: claims(other))
    assert sent_at(ledger) == began


def test_a_pause_that_waits_for_the_account_begins_after_the_wait(
    ledger: Ledger, other: Ledger, clock: Clock
) -> None:
    queued(ledger)
    submission = claimed(ledger)
    began, throttled = clock.now, rejected(FailureKind.THROTTLED, retry_after=40)
    after_a_wait(ledger, other, clock, lambda: record_outcome(other, submission, throttled))
    assert (
        value(ledger, sa.select(accounts.c.not_before).where(accounts.c.account == ACCOUNT))
        == began + WAITED_SECONDS + 40
    )


_BLOCKED = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


def is_blocked(other: Ledger) -> bool:
    """Whether a transaction waits for another one; SQLite, which does not say so, is not asked."""
    if other._engine.dialect.name == "sqlite":
        return True
    with other.read() as connection:
        return bool(connection.execute(_BLOCKED).scalar())


@pytest.mark.postgresql
@pytest.mark.parametrize("state", [AttemptState.SUBMITTING, AttemptState.UNKNOWN])
@pytest.mark.parametrize("begun", ["INSERT INTO jobs", "UPDATE submissions"])
def test_an_answer_and_a_callback_about_one_job_are_recorded_at_the_same_time(
    ledger: Ledger, other: Ledger, ledger_url: str, clock: Clock, state: AttemptState, begun: str
) -> None:
    submission, _ = put_into(ledger, clock, state)
    calls_back = threading.Event()

    @sa.event.listens_for(ledger._engine, "after_cursor_execute")
    def _look(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(begun) and not calls_back.is_set():
            calls_back.set()
            with Ledger(ledger_url, clock=clock, budget=Budget()) as third:
                while not is_blocked(third):
                    time.sleep(0.01)

    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(record_outcome, ledger, submission, accepted())
        assert calls_back.wait(60)
        callback = pool.submit(match_callback, other, ACCOUNT, submission.id, "job-1", model=None)
        assert answer.result(60).state is AttemptState.SUBMITTED
        assert callback.result(60) is not None
    attempt = read(ledger, submission.attempt)
    assert (attempt.state, attempt.job_id) == (AttemptState.SUBMITTED, "job-1")


def test_every_entry_of_a_transaction_names_who_acts_and_in_which_run(ledger: Ledger) -> None:
    queued(ledger)
    submission = claimed(ledger)
    unknown = record_outcome(ledger, submission, Unknown("read timed out"), run_id="run-1")
    with ledger.transaction(who="person ann", run_id="run-2") as tx:
        absent, again = close_absent(tx, unknown, submission.id, why="nothing is listed", again=1)
    assert (absent.state, again.state) == (AttemptState.ABSENT, AttemptState.QUEUED)
    entries = [ledger.history(absent.id)[-1], *ledger.history(again.id)]
    assert [entry["run_id"] for entry in entries] == ["run-2", "run-2"]
    assert all(entry["who"].startswith(f"person ann {ledger.owner[:20]}") for entry in entries)
    assert ledger.history(absent.id)[-2]["run_id"] == "run-1"


def test_a_failed_transaction_changes_nothing(ledger: Ledger) -> None:
    attempt = queued(ledger)
    with pytest.raises(ZeroDivisionError), ledger.transaction(who="test", run_id=None) as tx:  # noqa: PT012 - the last statement raises
        assert tx.transition(attempt, AttemptState.WITHDRAWN).state is AttemptState.WITHDRAWN
        raise ZeroDivisionError
    assert read(ledger, attempt) == attempt
    assert len(ledger.history(attempt.id)) == 1
