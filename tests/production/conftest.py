"""A world per test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(f"sqlite:///{tmp_path}/ledger.db")
    yield made
    made.ledger.close()
