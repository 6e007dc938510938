"""The endpoints that were ordered at an account, and the models that served them instead: few names in a long history.

Each name is found by searching an index for the next one, since a DISTINCT would read every purchase.
"""

from typing import Any

import sqlalchemy as sa

from resources.ledger.schema import SERVED_OTHERWISE, attempts

_ACCOUNT = attempts.c.account == sa.bindparam("account")
_NEXT_ENDPOINT = sa.select(sa.func.min(attempts.c.endpoint)).where(
    _ACCOUNT, attempts.c.endpoint > sa.bindparam("after")
)
_NEXT_MODEL = sa.select(sa.func.min(attempts.c.served_model)).where(
    _ACCOUNT,
    attempts.c.endpoint == sa.bindparam("endpoint"),
    SERVED_OTHERWISE,
    attempts.c.served_model > sa.bindparam("after"),
)


def endpoints_of(connection: sa.Connection, account: str) -> frozenset[str]:
    """The endpoints that were ordered at an account."""
    return _distinct(connection, _NEXT_ENDPOINT, account=account)


def models_of(connection: sa.Connection, account: str, endpoint: str) -> frozenset[str]:
    """The models that served jobs of an endpoint, other than the ordered one."""
    return _distinct(connection, _NEXT_MODEL, account=account, endpoint=endpoint)


def _distinct(connection: sa.Connection, query: sa.Select[Any], **known: str) -> frozenset[str]:
    models: list[str] = []
    while (
        name := connection.execute(query, {**known, "after": models[-1] if models else ""}).scalar()
    ) is not None:
        models.append(name)
    return frozenset(models)
