"""A world per test, on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest
from fakes import World


@pytest.fixture
def world(ledger_url: str) -> Iterator[World]:
    made = World(ledger_url)
    yield made
    made.ledger.close()
