"""People who judge takes in a history: each verdict is a separate process, which may die at every point."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from proof.clock import Clock
from proof.simulation.actors import Surroundings
from proof.simulation.bucket import Store
from proof.simulation.database import Database
from proof.simulation.processes import Process, ProcessLedger
from proof.verdicts import Words
from resources.ledger import finishes
from resources.ledger.verdicts import Verdict, VerdictWay, Word, judge
from resources.production.verdict_objects import store_verdicts

VERDICTS = 6
ORDERS = 0.8
"""How many circles of drafts come from somebody who may buy."""
AT_MOST_MICROS = 1_000_000_000
WITHIN_SECONDS = 600.0
"""Some verdicts are given while faults strike, and some after that."""
STORED_SECONDS = 20.0
"""How often the bucket is given what it lacks, as the room does."""


class Act(Protocol):
    """Carries out the work of one process, and says how it ended."""

    def __call__(self, name: str, work: Callable[[Process], Awaitable[None]]) -> Awaitable[str]:
        """From its start to its end."""


class Judges:
    """The people of one history, what they said, and what they were told."""

    def __init__(self, seed: str, around: Surroundings, database: Database, clock: Clock) -> None:
        self.given: dict[str, str] = {}
        self.answered: set[str] = set()
        self.priced: dict[str, str] = {}
        """Drafts whose finish somebody has ordered, with their clips."""
        self._around = around
        self._database = database
        self._clock = clock
        self._rng = random.Random(f"{seed}:judges")

    def visits(self) -> list[float]:
        """When a person gives a verdict, in seconds from now."""
        return [self._rng.uniform(5, WITHIN_SECONDS) for _ in range(VERDICTS)]

    async def visit(self, act: Act) -> None:
        """One person looks at the takes and says a word about one of them."""
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
        """Give the bucket what it lacks, until it has everything."""
        while self._database.rows("SELECT 1 FROM unstored_verdicts LIMIT 1"):
            await act("keeper", lambda process: store(process, self._around))
            await asyncio.sleep(STORED_SECONDS)

    def words(self) -> Words:
        """Everything there is to judge them by."""
        return Words(
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
    process: Process, around: Surroundings, verdict: Verdict, answer: Callable[[str], None]
) -> None:
    """Record a verdict, tell the person, and bring it to the bucket, as the room does."""
    ledger = ProcessLedger(process, budget=around.budget)
    judge(ledger, verdict)
    await process.at("verdict: answered")
    answer(verdict.id)
    await store(process, around)


async def order(
    process: Process, around: Surroundings, verdict: Verdict, answer: Callable[[str], None]
) -> None:
    """The same for a draft whose finish is ordered with it."""
    ledger = ProcessLedger(process, budget=around.budget)
    finishes.judge_and_finish(ledger, verdict, at_most_micros=AT_MOST_MICROS)
    await process.at("verdict: answered")
    answer(verdict.id)
    await store(process, around)


async def store(process: Process, around: Surroundings) -> None:
    """Bring to the bucket what it lacks."""
    ledger = ProcessLedger(process, budget=around.budget)
    store_verdicts(ledger, cast("Any", Store(around.objects, around.account.faults, process)))
