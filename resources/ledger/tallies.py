"""Tallies of ended purchases by state, counted when they end, so that metrics do not read the history."""

from collections import Counter
from collections.abc import Iterable

import sqlalchemy as sa

from resources.ledger.database import insert_into
from resources.ledger.records import Attempt
from resources.ledger.shared_tables import tallies

_ALL = sa.select(tallies.c.account, tallies.c.state, tallies.c.purchases).order_by(
    tallies.c.account, tallies.c.state
)


def add(connection: sa.Connection, ended: Iterable[Attempt]) -> None:
    """Count attempts that this transaction has ended.

    A transaction locks these rows last, which prevents deadlocks.
    """
    for (account, state), purchases in sorted(Counter((a.account, a.state.value) for a in ended).items()):
        insert = insert_into(connection.dialect.name, tallies).values(
            account=account, state=state, purchases=purchases
        )
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=[tallies.c.account, tallies.c.state],
                set_={"purchases": tallies.c.purchases + purchases},
            )
        )


def read(connection: sa.Connection) -> list[tuple[str, str, int]]:
    """Each account and state, with the number of purchases that have ended in it."""
    return [(row.account, row.state, row.purchases) for row in connection.execute(_ALL)]
