"""A world per test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from deliverykit import empty_bucket
from fakes import World
from losskit import listing_only

from resources.ledger import keys
from resources.storage.embedded import EmbeddedS3
from resources.storage.objects import ObjectStore


@pytest.fixture
def world(tmp_path: Path, sqlite_template: Path) -> Iterator[World]:
    """A world on SQLite.

    Virtual time has one thread, so no two transactions ever meet: PostgreSQL would only repeat the same statements. tests/ledger runs
    them on both databases, and test_engine.py the engine.
    """
    made = World(f"sqlite:///{shutil.copyfile(sqlite_template, tmp_path / 'ledger.db')}")
    yield made
    made.ledger.close()


@pytest.fixture(params=["echoes", "lists only"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def either(world: World, kind: str) -> World:
    """An account of either kind: its listing names our ids, or does not."""
    return world if kind == "echoes" else listing_only(world)


@pytest.fixture
def anonymous(world: World) -> World:
    """An account whose listing does not name our ids; its key is declared as dedicated."""
    return listing_only(world)


@pytest.fixture
def shared(anonymous: World) -> World:
    """An account whose listing does not name our ids, and whose key others may use."""
    keys.declare(anonymous.ledger, "wavespeed", dedicated=False)
    return anonymous


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    """The S3 server of a worker's tests; each test, or module, has its own bucket."""
    with EmbeddedS3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def store(s3: EmbeddedS3) -> ObjectStore:
    """A bucket of this test alone."""
    return empty_bucket(s3)
