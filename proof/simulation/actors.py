"""The actors of a history: runs that wait, runs that leave, completion sensors, and the runs that these start.

Each does what its counterpart in `pipelines` does with the same resources, without Dagster.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pipelines.collections import Collection, DagsterView, PastRun, batches, plan, takes_to_collect
from proof.simulation.books import SoldJob
from proof.simulation.bucket import Fetching, Objects, Store
from proof.simulation.processes import ProcessLedger, SimulatedProcess
from proof.simulation.provider import Client, ProviderAccount
from resources.ledger import bills, decisions, deliveries, finishes, late_jobs, stops
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decided, Decision, Ruling
from resources.ledger.limits import Limits
from resources.ledger.lost import closures, orphans
from resources.ledger.states import AttemptState
from resources.orders import ClipRequest
from resources.production.account import Account
from resources.production.batch import Follower, Report, Stage
from resources.production.bucket_mark import BucketMark
from resources.production.delivery import Deliverer
from resources.production.engine import Engine
from resources.production.spare_fetch import fetch_spares

SUBMIT_DEADLINE_SECONDS = 30.0
LINGER_SECONDS = 60.0


@dataclass(frozen=True)
class Surroundings:
    """The surroundings of every process: the provider, the bucket and the settings."""

    account: ProviderAccount
    objects: Objects
    limits: Limits
    budget: Budget
    scratch: Path


@dataclass
class Run:
    """One run in Dagster."""

    id: str
    """Its id."""
    kind: str
    """`wait`, `leave` or `collect`."""
    keys: tuple[str, ...]
    """Its clips."""
    decision: str
    """The decision of its purchases; the batch for a run that collects."""
    regenerate: bool = False
    """Whether it orders another take of delivered clips."""
    ended_at: float | None = None
    """None while it is running."""
    tries: int = 0
    """The number of earlier executions."""


class Equipment:
    """One process' ledger, engine and deliverer."""

    def __init__(self, process: SimulatedProcess, around: Surroundings) -> None:
        self.ledger = ProcessLedger(process, budget=around.budget)
        client = Client(around.account, process)
        store = cast("Any", Store(around.objects, around.account.faults, process))
        self.mark = BucketMark(self.ledger, store)
        account = Account(cast("Any", client), around.limits, SUBMIT_DEADLINE_SECONDS)
        self.engine = Engine(
            self.ledger, {client.name: account}, sleep=process.nap, rng=process.rng, mark=self.mark
        )
        policy = Fetching(around.account.books, around.account.faults, process)
        self.deliverer = Deliverer(
            self.engine,
            store,
            policy=cast("Any", policy),
            scratch=around.scratch,
        )

    def follower(self, run: Run, until: Stage) -> Follower:
        """Follow a batch for a run, and record in the ledger the ends that were reported to Dagster."""

        def tell(report: Report) -> None:
            if report.attempt is None:
                return
            shown = report.error is None and report.stage is Stage.DELIVERED
            if shown or (report.error is not None and not report.attempt.state.is_open):
                deliveries.mark_reported(self.ledger, [report.attempt.id], run.id)

        return Follower(self.engine, self.deliverer, until=until, report=tell, run_id=run.id)


def decision_of(run: Run, *, waits: bool) -> Decision:
    """The decision of a run's purchases."""
    watched_by = run.id if waits else None
    return Decision(run.decision, batch=run.id, watched_by=watched_by, regenerate=run.regenerate)


async def decide(engine: Engine, run: Run, requests: list[ClipRequest], *, waits: bool) -> list[Decided]:
    """Decide about each clip of a run; a negative control replaces this."""
    return await engine.ledger.run(
        decisions.decide,
        requests,
        decision_of(run, waits=waits),
        run_id=run.id,
    )


async def buy(process: SimulatedProcess, around: Surroundings, run: Run, requests: list[ClipRequest]) -> None:
    """A run that decides about clips and waits for them, or leaves them."""
    equipment = Equipment(process, around)
    until = Stage.DELIVERED if run.kind == "wait" else Stage.SUBMITTED
    try:
        equipment.mark.bind(buying=True)
        decided = await decide(equipment.engine, run, requests, waits=until > Stage.SUBMITTED)
        await equipment.follower(run, until).follow(decided)
        if until is Stage.DELIVERED:
            await fetch_spares(equipment.engine, equipment.deliverer, run.keys, run_id=run.id)
    finally:
        await equipment.engine.aclose()


async def collect(process: SimulatedProcess, around: Surroundings, run: Run) -> None:
    """A run that a sensor requested: it fetches the ended clips."""
    equipment = Equipment(process, around)
    try:
        equipment.mark.bind(buying=False)
        takes, current = equipment.ledger.latest_takes(run.keys), equipment.ledger.shown(run.keys)
        unsent, attempts = takes_to_collect(list(takes.values()), current, ended=True)
        decided = [
            Decided(a.request, Ruling.REUSED if a.state is AttemptState.DELIVERED else Ruling.ADOPTED, a)
            for a in attempts
        ]
        await equipment.follower(run, Stage.DELIVERED).follow(decided)
        deliveries.mark_reported(equipment.ledger, [a.id for a in unsent], run.id)
        await fetch_spares(equipment.engine, equipment.deliverer, run.keys, run_id=run.id)
    finally:
        await equipment.engine.aclose()


async def take_callback(process: SimulatedProcess, around: Surroundings, job: SoldJob) -> None:
    """Process a verified callback as the receiver does."""
    ledger = ProcessLedger(process, budget=around.budget)
    account = around.account.books.rules.name
    closures.match_callback(ledger, account, job.tag or "", job.id, model=job.model)


async def start(process: SimulatedProcess, around: Surroundings) -> None:
    """Start a stopped account again, as a person does who has looked at the bill."""
    stops.start(ProcessLedger(process, budget=around.budget), account=around.account.books.rules.name)


async def tick(
    process: SimulatedProcess,
    around: Surroundings,
    runs: list[Run],
    order: list[str],
) -> list[Collection]:
    """One tick of a completion sensor: one step of the engine, then requests for runs that collect the ended clips."""
    equipment = Equipment(process, around)
    account = around.account.books.rules.name
    ledger = equipment.ledger
    finishes.buy_ordered(ledger)
    idle = not deliveries.unreported(ledger, account) and not bills.is_due(ledger, account)
    if idle and not orphans.is_due(ledger, account) and not late_jobs.is_due(ledger, account):
        return []
    try:
        await equipment.engine.step(account)
    finally:
        await equipment.engine.aclose()
    past: dict[str, list[PastRun]] = {}
    for run in runs:
        if run.kind == "collect":
            past.setdefault(run.decision, []).append(PastRun(run.keys[0], run.keys[-1], run.ended_at))
    watched = frozenset(run.id for run in runs if run.ended_at is None)
    return plan(
        batches(deliveries.unreported(equipment.ledger, account)),
        DagsterView(order, past, watched, may_wait=True),
        now=process.clock(),
        linger=LINGER_SECONDS,
    )
