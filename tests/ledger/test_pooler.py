"""The ledger behind a pooler in transaction mode, where every transaction may have another session.

A part of the ledger's tests, on a pgbouncer with four connections; `make test-pooler` runs all of them.
"""

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import make_url

from resources.errors import UnavailableError
from resources.ledger.database import open_database
from resources.ledger.ledger import Ledger
from tests.ledger.test_decisions import *  # noqa: F403
from tests.ledger.test_frozen_processes import *  # noqa: F403
from tests.ledger.test_heartbeats import *  # noqa: F403
from tests.ledger.test_ledger_contention import *  # noqa: F403
from tests.ledger.test_ledger_deciding import *  # noqa: F403
from tests.postgres_server import PostgresServer


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer(pooler="transaction") as server:
        yield server


@pytest.fixture(params=["postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_poolers_refusal_of_settings_in_the_address_is_a_clear_error(postgres_url: str) -> None:
    address = make_url(postgres_url).update_query_dict({"options": "-c lock_timeout=1000"})
    with pytest.raises(UnavailableError, match=r"unsupported startup parameter.*take `options` out"):
        open_database(address.render_as_string(hide_password=False))


def test_a_pooler_is_recognized(postgres: PostgresServer, ledger: Ledger, ledger_url: str) -> None:
    name = make_url(ledger_url).database
    assert ledger.whereabouts().endswith("behind a pooler or a proxy (any mode will do)")
    with Ledger(make_url(postgres.url).set(database=name).render_as_string(), budget=ledger.budget) as direct:
        assert direct.whereabouts().startswith("PostgreSQL ")
        assert direct.whereabouts().endswith("reached directly")
