"""A process that is frozen while it holds the ledger's lock must not stop the others for as long as it sleeps."""

import threading

import pytest
import sqlalchemy as sa

from resources.errors import UnavailableError
from resources.ledger import database
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.schema import meta


def touch(connection: sa.Connection, value: str) -> None:
    connection.execute(sa.update(meta).where(meta.c.key == "contended").values(value=value))


@pytest.fixture
def two(ledger_url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Ledger, Ledger]:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 1000)
    first, second = Ledger(ledger_url, budget=Budget()), Ledger(ledger_url, budget=Budget())
    first.remember("contended", "-")
    return first, second


def test_waiting_for_a_lock_ends_with_an_error(two: tuple[Ledger, Ledger]) -> None:
    sleeper, other = two
    with sleeper.write() as connection:
        touch(connection, "sleeper")
        with pytest.raises(UnavailableError, match="could not be written"), other.write() as waiting:
            touch(waiting, "other")


def test_a_frozen_transaction_is_rolled_back_so_that_others_continue(
    two: tuple[Ledger, Ledger], ledger_url: str
) -> None:
    if not ledger_url.startswith("postgresql"):
        pytest.skip("SQLite has no server that could roll it back; a waiting process gets an error")
    sleeper, other = two
    done = threading.Event()

    def tries_until_it_may() -> None:
        for _ in range(20):
            try:
                with other.write() as waiting:
                    touch(waiting, "other")
            except UnavailableError:
                continue
            done.set()
            return

    with pytest.raises(UnavailableError), sleeper.write() as connection:  # noqa: PT012 - the last statement raises
        touch(connection, "sleeper")
        threading.Thread(target=tries_until_it_may, daemon=True).start()
        assert done.wait(60)
        touch(connection, "too late")
    assert other.fact("contended") == "other"
    assert sleeper.fact("contended") == "other"  # a new session, as if nothing had been
