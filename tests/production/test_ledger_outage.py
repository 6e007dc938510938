"""The ledger's database goes away while a run works: the run continues, and every clip is bought once."""

import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from fakes import World, a_request
from sqlalchemy.engine import make_url

from resources.errors import UnavailableError
from resources.ledger import outage
from resources.ledger.decisions import Decision, decide
from resources.ledger.states import AttemptState
from resources.production.batch import Followed, Stage
from tests.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

CLIPS = ["clip-a", "clip-b"]
STEPS = 4
"""Number of parts of a batch's statements; the database goes away in each part."""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module alone, which tests may stop."""
    with PostgresServer() as own:
        yield own


class Outage:
    """Counts the statements of a world's ledger, and cuts the session at the n-th one or at the next one within a transaction."""

    def __init__(
        self, world: World, server: PostgresServer, *, at: int, whole: bool = False, within: bool = False
    ) -> None:
        self.said = 0
        self.happened = False
        self._at, self._whole, self._within, self._server = at, whole, within, server
        admin = make_url(server.url).set(drivername="postgresql+psycopg2")
        self._admin = sa.create_engine(admin, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
        sa.event.listen(world.ledger._engine, "before_cursor_execute", self._hear)

    def _hear(self, connection: sa.Connection, _cursor: object, statement: str, *_: object) -> None:
        self.said += 1
        if self._within and self.said == self._at and "set_config" in statement:
            # this statement begins a transaction, which waits for the server
            self._at += 1
        if self.said != self._at:
            return
        self.happened = True
        if self._whole:
            self._server.go_away()
            threading.Timer(0.1, self._server.come_back).start()
            return
        pid = connection.connection.dbapi_connection.info.backend_pid  # type: ignore[union-attr]
        with self._admin.connect() as admin:
            admin.execute(sa.text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": pid})


def carried(
    url: str, server: PostgresServer, *, at: int = 0, whole: bool = False, within: bool = False
) -> tuple[World, Outage, Followed]:
    world = World(url)
    world.ledger._patience = 60
    troubled = Outage(world, server, at=at, whole=whole, within=within)
    requests = [a_request(clip) for clip in CLIPS]

    async def run() -> Followed:
        engine = world.engine()
        follower = world.follower(Stage.DELIVERED, engine)
        return await follower.follow(await engine.ledger.run(decide, requests, Decision("monday")))

    return world, troubled, world.run(run())


def all_is_well(world: World, result: Followed) -> None:
    assert result.failed == {}
    assert sorted(world.deliverer.fetched) == CLIPS
    for clip in CLIPS:
        assert world.newest(clip).state is AttemptState.DELIVERED
        assert world.told(clip) == ["submitted", "generated", "delivered"]
    assert sorted(post.clip for post in world.provider.posts) == CLIPS


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PAUSE_SECONDS", 0.02)


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    made = server.ledger_database()
    yield made
    server.give_back(made)


@pytest.mark.usefixtures("quick")
def test_a_batch_continues_whenever_its_session_is_cut(server: PostgresServer) -> None:
    def once(at: int) -> int:
        url = server.ledger_database()
        world, cut, result = carried(url, server, at=at)
        assert cut.happened is (at > 0)
        all_is_well(world, result)
        world.ledger.close()
        server.give_back(url)
        return cut.said

    whole = once(0)
    for step in range(STEPS):
        once(1 + step * (whole - 1) // STEPS)


@pytest.mark.usefixtures("quick")
def test_a_batch_continues_when_the_server_is_back(server: PostgresServer, url: str) -> None:
    world, cut, result = carried(url, server, at=60, whole=True)
    assert cut.happened
    all_is_well(world, result)
    world.ledger.close()


@pytest.mark.usefixtures("quick")
def test_without_patience_the_run_fails(
    server: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the tests above."""
    monkeypatch.setattr(
        "resources.production.ledger_thread.repeat_unrecorded", lambda function, *a, **k: function(*a, **k)
    )
    with pytest.raises(UnavailableError, match="went away"):
        carried(url, server, at=60, within=True)
