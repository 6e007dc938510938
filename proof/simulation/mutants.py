"""How some of the negative controls break the product: what is fetched, what ends a job, what a time means."""

# ruff: noqa: SLF001 - a control breaks the product from inside

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from unittest import mock

import sqlalchemy as sa

from resources.ledger import decisions, deliveries, polls
from resources.ledger.decisions import Decision
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts
from resources.production.delivery import Deliverer, DeliveryError


def buys_what_cannot_be_fetched() -> AbstractContextManager[object]:
    deliver = Deliverer.deliver

    async def regenerating(self: Deliverer, attempt: Attempt, *, run_id: str) -> None:
        try:
            await deliver(self, attempt, run_id=run_id)
        except DeliveryError as error:
            ledger = self._engine.ledger.blocking
            deliveries.record_lost(ledger, attempt.id, why=str(error))
            with ledger.transaction(who="engine", run_id=run_id) as tx:
                decisions._queue(tx, attempt.request, Decision(attempt.decision, attempt.batch))

    return mock.patch.object(Deliverer, "deliver", regenerating)


def one_answer_is_an_end() -> AbstractContextManager[object]:
    return mock.patch.object(polls, "see_end", polls.record_end)


@contextlib.contextmanager
def times_are_believed() -> Iterator[None]:
    """A due time, a pause or a lease counts however far ahead it lies."""
    limited: sa.BindParameter[int] = sa.bindparam("limit")
    due = (
        sa.select(attempts)
        .where(polls._POLLED, attempts.c.next_poll_at <= sa.bindparam("now"))
        .order_by(attempts.c.next_poll_at)
        .limit(limited)
    )
    with (
        mock.patch.object(polls, "_DUE", due),
        mock.patch.object(polls, "_DUE_OF_THESE", due.where(polls._THESE)),
        mock.patch.object(polls, "has_passed", lambda at, now, **_: at <= now),
    ):
        yield
