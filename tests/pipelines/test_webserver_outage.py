"""The webserver's connections to Dagster's PostgreSQL after the server has closed them."""

from collections.abc import Callable, Iterator

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster_postgres.utils import DagsterPostgresException

from pipelines.webserver import POOL_OVERFLOW, POOL_RECYCLE_SECONDS, STATEMENT_TIMEOUT_MS, ping_before_use
from tests.postgres_server import PostgresServer


@pytest.fixture
def instance(postgres_url: str) -> Iterator[dg.DagsterInstance]:
    """Dagster as the webserver opens it, with one kept connection for each storage."""
    url = postgres_url.replace("postgresql://", "postgresql+psycopg2://")
    with dg.instance_for_test(overrides={"storage": {"postgres": {"postgres_url": url}}}) as made:
        made.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, POOL_OVERFLOW)
        yield made


def test_a_server_that_closed_every_connection_gets_new_ones(
    instance: dg.DagsterInstance, postgres: PostgresServer, postgres_url: str
) -> None:
    ping_before_use(instance)
    assert _ask(instance) == []
    _end_connections(postgres, postgres_url)
    assert _ask(instance) == []
    # and again: the ping is not only for the first connection
    _end_connections(postgres, postgres_url)
    assert _ask(instance) == []


def test_without_the_ping_each_storage_fails_once(
    instance: dg.DagsterInstance, postgres: PostgresServer, postgres_url: str
) -> None:
    assert _ask(instance) == []
    _end_connections(postgres, postgres_url)
    assert _ask(instance) == ["runs", "events", "schedules"]


def test_a_server_that_is_away_is_an_error_and_not_an_endless_wait(
    instance: dg.DagsterInstance, postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dagster_postgres.utils.time.sleep", lambda _: None)
    ping_before_use(instance)
    assert _ask(instance) == []
    postgres.drop(postgres_url)
    with pytest.raises(DagsterPostgresException):
        instance.get_runs()


def _ask(instance: dg.DagsterInstance) -> list[str]:
    """Query each storage once, as a page does; returns the storages that failed."""
    failed = []
    questions: dict[str, Callable[[], object]] = {
        "runs": instance.get_runs_count,
        "events": instance.get_asset_keys,
        "schedules": instance.all_instigator_state,
    }
    for name, question in questions.items():
        try:
            question()
        except sa.exc.OperationalError:
            failed.append(name)
    return failed


def _end_connections(postgres: PostgresServer, url: str) -> None:
    """End every connection, as a restart of the server does."""
    name = sa.make_url(url).database
    engine = sa.create_engine(postgres.url.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.connect() as connection:
        ended = sa.text(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity WHERE datname = :name"
        )
        assert connection.execute(ended, {"name": name}).scalar() == 3
    engine.dispose()
