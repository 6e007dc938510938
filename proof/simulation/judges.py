"""People who judge takes in a history: each verdict is a separate process, which may die at every point."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from proof.clock import Clock
from proof.simulation.actors import Surroundings
from proof.simulation.bucket import Store
from proof.simulation.database import HistoryDatabase
from proof.simulation.processes import ProcessLedger, SimulatedProcess
from proof.verdicts import GivenVerdicts
from resources.ledger import finishes
from resources.ledger.verdicts import Verdict, VerdictWay, Word, judge
from resources.production.verdict_objects import store_verdicts

VERDICTS = 6
ORDERS = 0.8
"""The share of circles of drafts from a person with the right to buy."""
AT_MOST_MICROS = 1_000_000_000
WITHIN_SECONDS = 600.0
"""Some verdicts are given while faults strike, and some after that."""
STORED_SECONDS = 20.0
"""Seconds between two passes that store missing verdicts in the bucket, as the room does."""


class Act(Protocol):
    """Runs one process, and returns how it ended."""

    def __call__(self, name: str, work: Callable[[SimulatedProcess], Awaitable[None]]) -> Awaitable[str]:
        """Run a process from its start to its end."""


class Judges:
    """The people of one history, their verdicts, and the acknowledgements that they got."""

    def __init__(self, seed: str, around: Surroundings, database: HistoryDatabase, clock: Clock) -> None:
        self.given: dict[str, str] = {}
        self.answered: set[str] = set()
        self.priced: dict[str, str] = {}
        """Drafts whose finish a person has ordered, with their clips."""
        self._around = around
        self._database = database
        self._clock = clock
        self._rng = random.Random(f"{seed}:judges")

    def visits(self) -> list[float]:
        """Seconds until a person gives a verdict."""
        return [self._rng.uniform(5, WITHIN_SECONDS) for _ in range(VERDICTS)]

    async def visit(self, act: Act) -> None:
        """One person looks at the takes and gives a verdict on one of them."""
        takes = self._database.rows(
            "SELECT id, state, subject_key, is_draft FROM attempts WHERE state IN ('delivered', 'quarantined')"
        )
        if not takes:
            return
        take = self._rng.choice(takes)
        words = [Word.REJECTED, Word.TAKEN_BACK]
        if take["state"] == "delivered":
            words += [Word.CIRCLED, Word.CIRCLED]
        name = f"verdict-{len(self.given)}"
        verdict = Verdict(
            id=name, take=take["id"], word=self._rng.choice(words), who="mara", way=VerdictWay.ROOM
        )
        self.given[name] = take["id"]
        if verdict.word is Word.CIRCLED and take["is_draft"] and self._rng.random() < ORDERS:
            self.priced[take["id"]] = take["subject_key"]
            await act(name, lambda process: order(process, self._around, verdict, self.answered.add))
            return
        await act(name, lambda process: give(process, self._around, verdict, self.answered.add))

    async def store(self, act: Act) -> None:
        """Store missing verdicts in the bucket, until none is missing."""
        while self._database.rows("SELECT 1 FROM unstored_verdicts LIMIT 1"):
            await act("keeper", lambda process: store(process, self._around))
            await asyncio.sleep(STORED_SECONDS)

    def words(self) -> GivenVerdicts:
        """The evidence for the laws of verdicts."""
        return GivenVerdicts(
            given=self.given,
            answered=self.answered,
            verdicts=self._database.rows("SELECT * FROM verdicts"),
            standing=self._database.rows("SELECT * FROM take_verdicts"),
            priced=self.priced,
            finishes=self._database.rows("SELECT * FROM attempts WHERE finishes IS NOT NULL"),
            waiting=self._database.rows("SELECT * FROM waiting_finishes"),
            objects=self._around.objects.of,
        )


async def give(
    process: SimulatedProcess, around: Surroundings, verdict: Verdict, answer: Callable[[str], None]
) -> None:
    """Record a verdict, acknowledge it, and store it in the bucket, as the room does."""
    ledger = ProcessLedger(process, budget=around.budget)
    judge(ledger, verdict)
    await process.at("verdict: answered")
    answer(verdict.id)
    await store(process, around)


async def order(
    process: SimulatedProcess, around: Surroundings, verdict: Verdict, answer: Callable[[str], None]
) -> None:
    """The same for a draft whose finish is ordered with it."""
    ledger = ProcessLedger(process, budget=around.budget)
    finishes.judge_and_finish(ledger, verdict, at_most_micros=AT_MOST_MICROS)
    await process.at("verdict: answered")
    answer(verdict.id)
    await store(process, around)


async def store(process: SimulatedProcess, around: Surroundings) -> None:
    """Store missing verdicts in the bucket."""
    ledger = ProcessLedger(process, budget=around.budget)
    store_verdicts(ledger, cast("Any", Store(around.objects, around.account.faults, process)))
