"""Runs one plan, from its start to the judgement."""

import asyncio
import contextlib
import logging
import random
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any
from unittest import mock

from proof.clock import START, NothingDueError, VirtualLoop
from proof.laws import Violation, judge
from proof.simulation import bucket
from proof.simulation.database import HistoryDatabase
from proof.simulation.evidence import outlasted
from proof.simulation.history import SimulatedHistory
from proof.simulation.plans import FAULT_SECONDS, HistoryPlan
from proof.simulation.processes import Crash, Points, started, thread
from proof.verdicts import judge_verdicts
from resources.errors import DailiesError
from resources.ledger import deliveries, polls
from resources.ledger import ledger as ledger_module
from resources.production import bucket_mark, delivery, output

LEASE_SECONDS = 40.0
"""Of a delivery and of a poll; shorter than the product's, so that processes sleep beyond these too."""


@dataclass
class HistoryOutcome:
    """The result of a history."""

    plan: HistoryPlan
    """The plan that was run."""
    violations: list[Violation]
    """The broken laws."""
    points: Points
    """The points that processes passed, and their deaths."""
    struck: Counter[str]
    """The number of faults of each kind."""
    outlasted: int = 0
    """The number of jobs that ran on unseen after their purchase was given up: a declared window."""
    jobs: int = 0
    """The number of jobs that our POSTs made."""
    ended_after: float = 0.0
    """Virtual seconds from the end of the faults to the end of the last clip."""
    states: Counter[str] = field(default_factory=Counter)
    """The number of purchases by final state."""


def carry_out(
    plan: HistoryPlan, database: HistoryDatabase, *, trace: bool = False, schema: str | None = None
) -> HistoryOutcome:
    """Run one plan and judge its result.

    Args:
        plan: The plan.
        database: The ledger's database, which is emptied first.
        trace: Whether to record a trace.
        schema: A change to the schema, for a negative control.
    """
    history = SimulatedHistory(plan, database, trace=trace)
    history.prepare()
    if schema is not None:
        database.execute(schema)
    loop = VirtualLoop(history.clock, threads=thread, started=started)
    loop.set_exception_handler(lambda _loop, context: _unheard(history, context))
    with interposed(history):
        try:
            loop.run_until_complete(history.live())
        except NothingDueError as error:
            history.broken.append(str(error))
        finally:
            history.end(loop)
    return _judged(history)


def _judged(history: SimulatedHistory) -> HistoryOutcome:
    evidence = history.evidence()
    violations = [
        *(Violation("broken", text) for text in history.broken),
        *judge(evidence),
        *judge_verdicts(history.judges.words()),
        *(Violation("unaccounted", text) for text in history.unbooked),
    ]
    points, struck = history.points, history.faults.struck.copy()
    struck["crash"] += sum(points.crashed.values())
    struck["pause"] += sum(points.paused.values())
    struck["clock off"] += bool(history.plan.skew)
    return HistoryOutcome(
        history.plan,
        violations,
        points,
        +struck,
        outlasted=outlasted(evidence),
        jobs=sum(job.ours for job in evidence.jobs.values()),
        ended_after=max(0.0, evidence.now - START - FAULT_SECONDS),
        states=Counter(str(row["state"]) for row in evidence.attempts),
    )


def _unheard(history: SimulatedHistory, context: dict[str, Any]) -> None:
    """Note an error that no task waited for, unless its process is dead."""
    error = context.get("exception")
    if not isinstance(error, Crash | asyncio.CancelledError | DailiesError | None):
        history.broken.append("".join(traceback.format_exception(error)))


@contextlib.contextmanager
def interposed(history: SimulatedHistory) -> Iterator[None]:
    """Patch the product to use the models: of the database's file, of downloads, of a file's inspection, and of ids."""
    ids = random.Random(f"{history.plan.seed}:ids")
    log = logging.getLogger("dailies")
    disabled, log.disabled = log.disabled, True
    try:
        with (
            mock.patch.object(ledger_module, "open_database", return_value=history.database.engine),
            mock.patch.object(deliveries, "LEASE_SECONDS", LEASE_SECONDS),
            mock.patch.object(polls, "CLAIM_SECONDS", LEASE_SECONDS),
            mock.patch.object(bucket_mark, "ObjectStore", side_effect=lambda settings: settings.store),
            mock.patch.object(bucket_mark, "time", SimpleNamespace(monotonic=history.clock)),
            mock.patch.object(output, "transfer", bucket.transfer),
            mock.patch.object(delivery, "VideoInspector", bucket.Inspector),
            mock.patch.object(
                uuid, "uuid4", side_effect=lambda: uuid.UUID(int=ids.getrandbits(128), version=4)
            ),
        ):
            yield
    finally:
        log.disabled = disabled
