"""Every test of the ledger runs on SQLite, and on PostgreSQL too when DAILIES_TEST_POSTGRES_URL names a server."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from ledgerkit import Clock
from sqlalchemy.engine import make_url

from resources.ledger.ledger import Ledger

POSTGRES_URL = os.environ.get("DAILIES_TEST_POSTGRES_URL")


@pytest.fixture(params=["sqlite", "postgresql"] if POSTGRES_URL else ["sqlite"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ledger_url(backend: str, tmp_path: Path) -> Iterator[str]:
    """The address of an empty database: a new file, or a schema of its own on the server."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    assert POSTGRES_URL is not None
    schema = f"test_{uuid.uuid4().hex}"
    server = sa.create_engine(make_url(POSTGRES_URL).set(drivername="postgresql+psycopg2"))
    with server.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    url = make_url(POSTGRES_URL).update_query_dict({"options": f"-csearch_path={schema}"})
    yield url.render_as_string(hide_password=False)
    with server.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True))
    server.dispose()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(ledger_url: str, clock: Clock) -> Iterator[Ledger]:
    with Ledger(ledger_url, clock=clock) as opened:
        yield opened
