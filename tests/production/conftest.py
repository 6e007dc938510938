"""A world per test, on SQLite and on PostgreSQL."""

from collections.abc import Iterator

import pytest
from fakes import World
from losskit import listing_only

from resources.ledger import keys


@pytest.fixture
def world(ledger_url: str) -> Iterator[World]:
    made = World(ledger_url)
    yield made
    made.ledger.close()


@pytest.fixture(params=["echoes", "lists only"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def either(world: World, kind: str) -> World:
    """An account of either kind."""
    return world if kind == "echoes" else listing_only(world)


@pytest.fixture
def anonymous(world: World) -> World:
    """An account whose listing does not name our ids; its key is said to be ours alone."""
    return listing_only(world)


@pytest.fixture
def shared(anonymous: World) -> World:
    """An account whose listing does not name our ids, and whose key others may use."""
    keys.declare(anonymous.ledger, "wavespeed", False)
    return anonymous
