"""A PostgreSQL server that goes away: what waits, what is repeated, and the fate of a COMMIT whose answer was lost."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from resources.errors import ConfigurationError, UnavailableError
from resources.ledger import database, outage
from resources.ledger.address import KEEP_ALIVE, for_psycopg, parsed_address, shown_address
from resources.ledger.budget import Budget
from resources.ledger.database import open_database
from resources.ledger.ledger import Ledger
from resources.ledger.outage import CommitUnknownError, LedgerAwayError, is_away, repeat_unrecorded
from resources.ledger.schema import meta
from tests.postgres_server import PostgresServer

LINE_PORT = 5433


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of this module alone, which tests may stop."""
    with PostgresServer() as own:
        yield own


@pytest.fixture
def url(server: PostgresServer) -> Iterator[str]:
    made = server.ledger_database()
    yield made
    server.drop(made)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outage, "PAUSE_SECONDS", 0.02)


def opened(url: str, *, patience: float = 60) -> Ledger:
    return Ledger(url, budget=Budget(), patience=patience)


class Line:
    """A connection to a server that breaks once at a COMMIT: before it arrives, after it was executed, or half.

    Attributes:
        breaks: `before`, `after`, `held` (the server does not notice that its client has gone), or None.
        first: The first message of each connection.
    """

    def __init__(self, server: str, folder: Path) -> None:
        self._server = str(make_url(server).query["host"])
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{folder}/.s.PGSQL.{LINE_PORT}")
        self._listener.listen(16)
        self.breaks: str | None = None
        self.broken = threading.Event()
        self.first: list[bytes] = []
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.hang_up()
        self._listener.close()

    def hang_up(self) -> None:
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            self._sockets += [client, server]
            try:
                server.connect(f"{self._server}/.s.PGSQL.5432")
            except OSError:
                client.close()
                continue
            lost = threading.Event()
            threading.Thread(target=self._ask, args=(client, server, lost), daemon=True).start()
            threading.Thread(target=self._answer, args=(client, server, lost), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        first = True
        try:
            while data := client.recv(65536):
                if first:
                    self.first.append(data)
                    first = False
                if b"COMMIT" in data and (how := self.breaks) is not None:
                    self.breaks = None
                    if how == "after":
                        lost.set()
                        server.sendall(data)
                        continue
                    if how == "before":
                        server.shutdown(socket.SHUT_RDWR)
                    client.shutdown(socket.SHUT_RDWR)
                    self.broken.set()
                    return
                server.sendall(data)
            server.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _answer(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        try:
            while data := server.recv(65536):
                if lost.is_set():
                    break
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)
            if lost.is_set():
                server.shutdown(socket.SHUT_RDWR)
                self.broken.set()
        except OSError:
            pass


@pytest.fixture
def line(server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("l")
    made = Line(server.url, folder)
    made.url = lambda url: make_url(url).update_query_dict({"host": str(folder), "port": str(LINE_PORT)})  # type: ignore[attr-defined]
    yield made
    made.close()


@pytest.fixture
def through(line: Line, url: str) -> str:
    return str(line.url(url).render_as_string(hide_password=False))  # type: ignore[attr-defined]


def adds(ledger: Ledger, runs: list[int]) -> Callable[[], None]:
    """A function of the ledger that may not run twice: it adds a row with a new name each time."""

    def add() -> None:
        runs.append(len(runs))
        with ledger.write() as connection:
            connection.execute(sa.insert(meta).values(key=f"bought {len(runs)}", value="-"))

    return add


def rows(url: str) -> list[str]:
    """The rows in a fresh connection."""
    with opened(url) as ledger, ledger.read() as connection:
        found = connection.execute(sa.select(meta.c.key).where(meta.c.key.like("bought%")))
        return [str(key) for key in found.scalars()]


# Waiting


@pytest.mark.slow
def test_a_transaction_that_begins_during_an_outage_continues_after_it(
    server: PostgresServer, url: str
) -> None:
    ledger = opened(url)
    server.go_away()
    done: list[str] = []

    def work() -> None:
        done.append(ledger.remember("bought 1", "yes"))
        done.append(opened(url).fact("bought 1") or "nothing")

    waiting = threading.Thread(target=work, daemon=True)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    assert done == []
    server.come_back()
    waiting.join(60)
    assert done == ["yes", "yes"]


@pytest.mark.slow
def test_a_server_that_stays_away_is_an_error_after_the_patience(server: PostgresServer, url: str) -> None:
    ledger = opened(url, patience=0.1)
    server.go_away()
    try:
        for act in (
            lambda: ledger.fact("x"),
            lambda: ledger.remember("x", "y"),
            lambda: opened(url, patience=0.1),
        ):
            with pytest.raises(
                UnavailableError, match=r"does not answer.*(run it again|then try again)"
            ) as told:
                act()
            assert not isinstance(told.value, LedgerAwayError)
    finally:
        server.come_back()


@pytest.mark.slow
def test_a_connection_that_died_unused_is_no_outage(server: PostgresServer, url: str) -> None:
    ledger = opened(url, patience=0)
    ledger.fact("x")
    server.go_away()
    server.come_back()
    assert ledger.remember("bought 1", "yes") == "yes"


# broken transactions


@pytest.mark.slow
def test_a_broken_transaction_records_nothing_and_is_repeated(server: PostgresServer, url: str) -> None:
    ledger, runs = opened(url), []

    def add() -> None:
        runs.append(1)
        with ledger.write() as connection:
            connection.execute(sa.insert(meta).values(key=f"bought {len(runs)}", value="-"))
            if len(runs) == 1:
                server.go_away()
                threading.Timer(0.1, server.come_back).start()
            connection.execute(sa.insert(meta).values(key=f"bought {len(runs)} too", value="-"))

    repeat_unrecorded(add)
    assert len(runs) == 2
    assert rows(url) == ["bought 2", "bought 2 too"]


@pytest.mark.slow
def test_an_error_of_the_function_itself_is_not_repeated(url: str) -> None:
    ledger, runs = opened(url), []

    def fails() -> None:
        runs.append(1)
        with ledger.write() as connection:
            connection.execute(sa.text("SELECT 1 / 0"))

    with pytest.raises(sa.exc.DataError):
        repeat_unrecorded(fails)
    assert len(runs) == 1


# A COMMIT whose answer is lost


@pytest.mark.slow
def test_an_executed_commit_is_not_repeated_when_its_answer_is_lost(
    line: Line, through: str, url: str
) -> None:
    ledger = opened(through)
    runs: list[int] = []
    line.breaks = "after"
    repeat_unrecorded(adds(ledger, runs))
    assert line.broken.wait(10)
    assert (len(runs), rows(url)) == (1, ["bought 1"])


@pytest.mark.slow
def test_a_commit_that_never_arrived_is_repeated(line: Line, through: str, url: str) -> None:
    ledger = opened(through)
    runs: list[int] = []
    line.breaks = "before"
    repeat_unrecorded(adds(ledger, runs))
    assert line.broken.wait(10)
    assert (len(runs), rows(url)) == (2, ["bought 2"])


@pytest.mark.slow
def test_an_open_transaction_of_a_lost_client_is_waited_for(
    line: Line, through: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 300)
    ledger = opened(through)
    runs: list[int] = []
    line.breaks = "held"
    repeat_unrecorded(adds(ledger, runs))
    assert line.broken.wait(10)
    assert (len(runs), rows(url)) == (2, ["bought 2"])


@pytest.mark.slow
@pytest.mark.parametrize("how", ["before", "after"])
def test_a_commit_with_an_unknown_status_is_not_repeated(
    line: Line, through: str, url: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = opened(through, patience=0)
    runs: list[int] = []
    monkeypatch.setattr(outage, "_STATUS", sa.text("SELECT txid_status(:id + 1000000)"))
    line.breaks = how
    with pytest.raises(CommitUnknownError, match="is not repeated") as told:
        repeat_unrecorded(adds(ledger, runs))
    assert not isinstance(told.value, LedgerAwayError)
    assert len(runs) == 1
    assert rows(url) == (["bought 1"] if how == "after" else [])


@pytest.mark.slow
def test_repeating_without_the_status_query_records_twice(
    line: Line, through: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the tests above: without the status query, the lost answer costs a second row."""
    monkeypatch.setattr(outage, "_was_committed", lambda *_, **__: False)
    ledger = opened(through)
    runs: list[int] = []
    line.breaks = "after"
    repeat_unrecorded(adds(ledger, runs))
    assert (len(runs), rows(url)) == (2, ["bought 1", "bought 2"])


# settings and errors of servers


@pytest.fixture
def engine() -> sa.Engine:
    """An engine that has not connected to its server."""
    return sa.create_engine(for_psycopg(parsed_address("postgresql://h/db")))


@pytest.mark.slow
def test_nothing_is_set_for_a_session_and_everything_in_each_transaction(line: Line, through: str) -> None:
    ledger = opened(through)
    ledger.remember("x", "y")
    assert line.first
    assert not any(b"options" in first for first in line.first)
    shown = sa.text(
        "SELECT current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout')"
    )
    for transaction in (ledger.read, ledger.write):
        with transaction() as connection:
            assert tuple(connection.execute(shown).one()) == ("30s", "1min")
    with ledger._engine.connect() as connection:
        raw = connection.connection.cursor()
        raw.execute("ROLLBACK; SHOW lock_timeout")
        assert raw.fetchone() == ("0",)


@pytest.mark.parametrize(
    "said",
    [
        'FATAL:  password authentication failed for user "me"',
        'FATAL:  role "me" does not exist',
        'FATAL:  database "ledger" does not exist',
        'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "me", database "ledger", no encryption',
        "FATAL:  Tenant or user not found",
        "FATAL:  unsupported startup parameter: options",
        "ERROR:  Endpoint ID is not specified. Either please upgrade the postgres client library (libpq) for SNI support",
        "server does not support SSL, but SSL was required",
        "SSL error: certificate verify failed",
    ],
)
def test_a_server_that_refuses_is_not_waited_for(said: str, engine: sa.Engine) -> None:
    assert not is_away(engine, sa.exc.OperationalError("", {}, Exception(said)))


@pytest.mark.parametrize(
    "said",
    [
        "connection refused",
        'could not translate host name "db.example.com" to address: Temporary failure in name resolution',
        "FATAL:  the database system is starting up",
        "FATAL:  sorry, too many clients already",
        "FATAL:  pgbouncer cannot connect to server",
        "FATAL:  query_wait_timeout",
        "timeout expired",
    ],
)
def test_a_server_that_may_come_back_is_waited_for(said: str, engine: sa.Engine) -> None:
    assert is_away(engine, sa.exc.OperationalError("", {}, Exception(said)))


@pytest.mark.slow
def test_a_password_is_not_shown_by_an_outage(server: PostgresServer, url: str) -> None:
    secret = "hunter2tail99"
    address = make_url(url).set(username="postgres", password=secret).render_as_string(hide_password=False)
    ledger = opened(address, patience=0)
    server.go_away()
    try:
        with pytest.raises(UnavailableError) as told:
            ledger.fact("x")
    finally:
        server.come_back()
    assert secret not in str(told.value)


# Addresses


NEON = "ep-cool-darkness-123456-pooler.us-east-2.aws.neon.tech"
SUPABASE = "aws-0-eu-central-1.pooler.supabase.com"


@pytest.mark.parametrize(
    ("url", "query"),
    [
        (f"postgres://me:secret123@{NEON}/neondb?sslmode=require&channel_binding=require", {"sslmode", "channel_binding"}),
        (f"postgresql://me:secret123@{NEON}/neondb?sslmode=require&options=endpoint%3Dep-cool-darkness-123456", {"sslmode", "options"}),
        (f"postgresql://postgres.abcdefghij:secret123@{SUPABASE}:6543/postgres?pgbouncer=true&connection_limit=1", set()),
        (f"postgresql+psycopg://me:secret123@{SUPABASE}:5432/postgres", set()),
    ],
)  # fmt: skip
def test_the_addresses_that_hosting_services_show_are_accepted(url: str, query: set[str]) -> None:
    parsed = parsed_address(url)
    used = for_psycopg(parsed)
    assert used.drivername == "postgresql+psycopg2"
    assert set(used.query) == query | set(KEEP_ALIVE)
    assert used.query.get("options", "endpoint=ep-cool-darkness-123456") == "endpoint=ep-cool-darkness-123456"
    assert "secret123" not in shown_address(parsed)
    assert shown_address(parsed).startswith("postgresql://")
    sa.create_engine(used).dialect.create_connect_args(used)


def test_timeouts_in_the_address_are_used() -> None:
    used = for_psycopg(parsed_address("postgresql://h/db?connect_timeout=3&keepalives_idle=60"))
    assert (used.query["connect_timeout"], used.query["keepalives_idle"]) == ("3", "60")


def test_a_schema_in_the_address_is_refused_with_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match=r"names a schema.*search_path"):
        open_database("postgresql://me:secret123@h/db?schema=ledger")
