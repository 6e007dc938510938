"""Which data folder is current, and which folder a decision was made of."""

import pytest
import sqlalchemy as sa
from ledgerkit import a_request, accepted, claimed

from proof.clock import Clock
from resources.ledger import data_pushes
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.outcomes import record_outcome
from resources.ledger.shared_tables import data_pushes as table


def push(ledger: Ledger, digest: str, note: str = "") -> data_pushes.DataPush:
    return data_pushes.push(ledger, digest, files=3, size=900, who="ann on her laptop", note=note)


def test_the_last_push_is_current_and_every_push_is_kept(ledger: Ledger, clock: Clock) -> None:
    assert data_pushes.current(ledger) is None
    first = push(ledger, "a" * 64, "the spring campaign")
    assert (first.files, first.bytes, first.who, first.at) == (3, 900, "ann on her laptop", clock())
    push(ledger, "b" * 64)
    assert push(ledger, "b" * 64, "again") == data_pushes.current(ledger)
    push(ledger, "a" * 64, "back")
    assert [one.digest[0] for one in data_pushes.pushes(ledger)] == ["a", "b", "a"]


def test_a_push_cannot_be_changed_or_deleted(ledger: Ledger) -> None:
    push(ledger, "a" * 64)
    for change in (sa.update(table).values(digest="c" * 64), sa.delete(table)):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), ledger.write() as connection:
            connection.execute(change)


def test_the_folder_of_a_decision_is_the_first_that_was_named(ledger: Ledger) -> None:
    assert data_pushes.of_decision(ledger, "tick-1") is None
    assert data_pushes.name_for(ledger, "tick-1", "a" * 64) == "a" * 64
    assert data_pushes.name_for(ledger, "tick-1", "b" * 64) == "a" * 64
    assert data_pushes.of_decision(ledger, "tick-1") == "a" * 64


def test_the_folder_of_a_purchase_is_known_until_its_post_was_answered(ledger: Ledger) -> None:
    """A picture that is sent within the request is read after its purchase was claimed."""
    push(ledger, "a" * 64)
    data_pushes.name_for(ledger, "tick-1", "a" * 64)
    data_pushes.name_for(ledger, "tick-2", "b" * 64)
    decide(ledger, [a_request(clip="city-sunset")], Decision("tick-1"))
    decide(ledger, [a_request(clip="city-dawn")], Decision("tick-2"))
    assert data_pushes.of_unsent(ledger) == ["a" * 64], "the other folder was not pushed"
    submission = claimed(ledger)
    assert submission.attempt.decision == "tick-1"
    assert data_pushes.of_unsent(ledger) == ["a" * 64]
    record_outcome(ledger, submission, accepted("job-1"))
    assert data_pushes.of_unsent(ledger) == []
