"""Characters are bought and waited for, because they take seconds and cost less than a cent.

A character is bought like a clip, through the ledger: one lost answer does not become two purchases, and a character from an
unchanged video is made again only if a person asks for it.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa

from resources.characters.made import ID, KIND
from resources.ledger import decisions, deliveries, heartbeats, queue
from resources.ledger.decisions import Decided, Decision, Ruling
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState
from resources.orders import ClipRequest
from resources.production.engine import Engine

NOBODY = "nobody"
"""The run id of a command."""
LOOK_SECONDS = 2.0
PATIENCE_SECONDS = 600.0
"""Seconds to wait for a character; the next request finds one that takes longer."""

_ID = re.compile(r"char_[A-Za-z0-9_-]{1,200}", re.ASCII)
_DOUBTFUL = {AttemptState.UNKNOWN, AttemptState.HELD, AttemptState.OVERDUE}


@dataclass
class Making:
    """The result of a request for characters."""

    made: dict[str, Attempt] = field(default_factory=dict)
    """Finished purchases, by name."""
    failed: dict[str, str] = field(default_factory=dict)
    """Reasons of the others, by name."""


class Maker:
    """Makes characters.

    Args:
        engine: With the accounts of the characters' endpoints.
        run_id: The run that asks, for the journal.
        patience: Most seconds to wait.
    """

    def __init__(self, engine: Engine, *, run_id: str | None, patience: float = PATIENCE_SECONDS) -> None:
        self._engine = engine
        self._ledger = engine.ledger
        self._run_id = run_id
        self._patience = patience

    async def make(
        self, requests: Collection[ClipRequest], *, decision: str, regenerate: bool = False
    ) -> Making:
        """Make characters, except those that exist.

        Args:
            decision: The decision that the purchases belong to.
            regenerate: Whether to make a character again although its video is unchanged.

        Raises:
            resources.errors.UnavailableError: The ledger does not answer.
        """
        engine = self._engine
        decided: list[Decided] = await self._ledger.run(
            decisions.decide,
            list(requests),
            Decision(decision, batch=self._run_id, watched_by=self._run_id, regenerate=regenerate),
            run_id=self._run_id,
        )
        making = Making()
        waiting: set[str] = set()
        for ruling in decided:
            name = ruling.request.clip
            if ruling.ruling is Ruling.REUSED and ruling.attempt is not None:
                making.made[name] = ruling.attempt
            elif ruling.ruling is Ruling.REFUSED:
                making.failed[name] = ruling.reason or "refused"
            else:
                waiting.add(name)
        try:
            await self._wait(waiting, {request.account_name for request in requests}, making)
        finally:
            await engine.submitter.finish(interrupted=bool(waiting))
        return making

    async def _wait(self, waiting: set[str], accounts: Collection[str], making: Making) -> None:
        engine = self._engine
        give_up = self._ledger.clock() + self._patience
        while waiting:
            await self._ledger.run(heartbeats.check, self._run_id)
            stops = {name: (await engine.step(name)).stop for name in sorted(accounts)}
            newest: Mapping[str, Attempt] = await self._ledger.run(Ledger.latest, sorted(waiting), kind=KIND)
            for name, attempt in newest.items():
                if attempt.state is AttemptState.QUEUED and stops.get(attempt.account) is not None:
                    why = f"not sent: {stops[attempt.account]}"
                    await self._ledger.run(queue.withdraw, [attempt.id], why=why, run_id=self._run_id)
                    making.failed[name] = why
                else:
                    await self._consider(name, attempt, making)
            waiting -= making.made.keys() | making.failed.keys()
            if waiting and self._ledger.clock() > give_up:
                making.failed |= dict.fromkeys(
                    waiting, "it is not ready yet; ask again later, which costs nothing"
                )
                waiting.clear()
            elif waiting:
                await engine.sleep(LOOK_SECONDS)

    async def _consider(self, name: str, attempt: Attempt, making: Making) -> None:
        """Record the result of one character once it has ended."""
        if attempt.state is AttemptState.SUCCEEDED:
            attempt = await self._ledger.run(_finish, attempt, run_id=self._run_id)
        if attempt.state is AttemptState.DELIVERED:
            making.made[name] = attempt
        elif attempt.state in _DOUBTFUL or not attempt.state.is_open:
            making.failed[name] = attempt.reason or f"ended {attempt.state}"
        if not attempt.state.is_open:
            await self._ledger.run(deliveries.mark_reported, [attempt.id], self._run_id or NOBODY)


def finish_left(ledger: Ledger, account: str, *, watched: Collection[str], by: str) -> list[Attempt]:
    """Record the ids of finished characters whose run has ended; returns those characters.

    Args:
        watched: Runs that are alive and record their own characters.
        by: Who does it instead, for the journal.
    """
    query = sa.select(attempts).where(
        attempts.c.account == account,
        attempts.c.subject_kind == KIND,
        attempts.c.reported_run_id.is_(None),
    )
    with ledger.read() as connection:
        left = [Attempt.from_row(row) for row in connection.execute(query)]
    finished = []
    for attempt in left:
        if attempt.watched_by in watched or not attempt.state.is_ended:
            continue
        ended = _finish(ledger, attempt, run_id=None) if attempt.state is AttemptState.SUCCEEDED else attempt
        if not ended.state.is_open:
            deliveries.mark_reported(ledger, [ended.id], by)
        if ended.state is AttemptState.DELIVERED:
            finished.append(ended)
    return finished


def _finish(ledger: Ledger, attempt: Attempt, *, run_id: str | None) -> Attempt:
    """Record the id that a finished job names."""
    ids = [output for output in attempt.outputs or () if _ID.fullmatch(output)]
    if len(ids) != 1:
        why = f"the job {attempt.job_id} is finished and names {len(ids) or 'no'} characters; look at it at the provider"
        deliveries.record_lost(ledger, attempt.id, why=why, run_id=run_id)
        return ledger.attempts([attempt.id])[attempt.id]
    return deliveries.record_delivered(ledger, attempt.id, {ID: ids[0]}, run_id=run_id)
