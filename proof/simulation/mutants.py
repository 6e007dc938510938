"""Mutants: patches that break the product for a negative control."""

# ruff: noqa: SLF001 - a control breaks the product from inside

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import sqlalchemy as sa

from pipelines.collections import Collection, plan
from proof.simulation import actors
from resources.ledger import decisions, deliveries, polls
from resources.ledger.decisions import Decision
from resources.ledger.lost import search_schedule
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


def a_hold_is_final() -> AbstractContextManager[object]:
    """What is held is never searched for again."""
    return mock.patch.object(search_schedule, "_is_due", return_value=False)


def dead_runs_are_believed() -> AbstractContextManager[object]:
    """A run that died counts as living, as its status in Dagster says, and keeps its clips from all others."""

    def as_started(found: Mapping[str, Sequence[Attempt]], **options: Any) -> list[Collection]:
        watchers = {a.watched_by for attempts in found.values() for a in attempts if a.watched_by is not None}
        return plan(found, **(options | {"watched": frozenset(watchers)}))

    return mock.patch.object(actors, "plan", as_started)
