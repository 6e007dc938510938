"""One ledger, one bucket and one browser for the tests of the room; each test has its own clips."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browserkit import Browser, browser
from roomkit import FakeShop, Studio, films

from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.room.server import RoomServer
from resources.storage.embedded import EmbeddedS3
from resources.storage.objects import ObjectStore


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("room")


@pytest.fixture(scope="module")
def studio(place: Path) -> Iterator[Studio]:
    with (
        EmbeddedS3(place / "s3") as s3,
        Ledger(f"sqlite:///{place}/ledger.db", budget=Budget()) as ledger,
    ):
        yield Studio(ledger, ObjectStore(s3.settings), films(place))


@pytest.fixture(scope="module")
def shop() -> FakeShop:
    return FakeShop()


@pytest.fixture(scope="module")
def server(studio: Studio, place: Path, shop: FakeShop) -> Iterator[RoomServer]:
    with RoomServer(studio.house(place, shop=shop)) as running:
        yield running


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser(width=1440, height=900) as found:
        yield found


@pytest.fixture
def tab(window: Browser, server: RoomServer) -> Iterator[Browser]:
    """The browser's tab; an earlier test must have left no unsent verdict in it."""
    window.complaints.clear()
    yield window
    waiting = window.page.evaluate("() => JSON.stringify(Object.keys(localStorage))")
    assert json.loads(waiting) == [], "verdicts that were not sent to the server"
