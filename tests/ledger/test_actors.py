"""The journal names every actor, its process and its run by one number, and shows them in full."""

import contextlib

import pytest
import sqlalchemy as sa
from ledgerkit import claimed, queued

from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.schema import actors, journal


def numbers(ledger: Ledger) -> list[tuple[str, str]]:
    with ledger.read() as connection:
        rows = connection.execute(sa.select(actors.c.who, actors.c.run_id).order_by(actors.c.id))
        return [(who, run) for who, run in rows]


def said(ledger: Ledger, attempt_id: str) -> list[tuple[str, str | None]]:
    return [(entry["who"], entry["run_id"]) for entry in ledger.history(attempt_id)]


def test_an_actor_has_one_number_in_each_run(ledger: Ledger) -> None:
    attempt = queued(ledger)
    claimed(ledger)
    for run in (None, "run-1", "run-1"):
        with ledger.transaction(who="person ann", run_id=run) as tx:
            tx.note(tx.attempt(attempt.id), "seen")
    engine, ann = f"engine {ledger.owner}", f"person ann {ledger.owner}"
    assert numbers(ledger) == [(engine, ""), (ann, ""), (ann, "run-1")]
    assert said(ledger, attempt.id) == [(engine, None)] * 2 + [(ann, None), (ann, "run-1"), (ann, "run-1")]


def test_a_number_of_a_transaction_that_was_rolled_back_is_not_used(ledger: Ledger, ledger_url: str) -> None:
    attempt = queued(ledger)
    with contextlib.suppress(ZeroDivisionError), ledger.transaction(who="person ann", run_id=None) as tx:
        raise ZeroDivisionError(tx.note(tx.attempt(attempt.id), "seen"))
    with Ledger(ledger_url, budget=Budget()) as other:
        with other.transaction(who="person bob", run_id=None) as tx:
            tx.note(tx.attempt(attempt.id), "seen by bob")
        with ledger.transaction(who="person ann", run_id=None) as tx:
            tx.note(tx.attempt(attempt.id), "seen by ann")
        who = [entry["who"] for entry in other.history(attempt.id)[1:]]
        assert who == [f"person bob {other.owner}", f"person ann {ledger.owner}"]


def test_an_entry_of_an_older_program_has_its_own_names(ledger: Ledger) -> None:
    attempt = queued(ledger)
    old = {"to_state": "queued", "money_state": "reserved", "at": 1.0, "who": "engine old", "run_id": "run-0"}
    with ledger.write() as connection:
        connection.execute(sa.insert(journal).values(attempt_id=attempt.id, version=2, **old))
    assert said(ledger, attempt.id)[1:] == [("engine old", "run-0")]


@pytest.mark.postgresql
@pytest.mark.parametrize("statement", ["UPDATE actors SET who = 'nobody'", "DELETE FROM actors"])
def test_who_the_journal_names_cannot_be_changed(ledger: Ledger, statement: str) -> None:
    attempt = queued(ledger)
    before = said(ledger, attempt.id)
    with pytest.raises(sa.exc.DatabaseError, match="append-only"), ledger.write() as connection:
        connection.execute(sa.text(statement))
    assert said(ledger, attempt.id) == before == [(f"engine {ledger.owner}", None)]
