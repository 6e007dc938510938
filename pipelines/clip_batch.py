"""Carrying a batch of clips through the engine inside a Dagster step, and telling Dagster what each clip reached.

The step's own thread runs one asyncio loop for the whole batch: interrupted, every task of it is cancelled and POSTs on
the wire get a moment to be answered.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import dagster as dg

from pipelines.clip_pictures import Pictures, quarantine_event, sheet_event
from pipelines.events import ASSET_OF_STAGE, data_version, stage_event
from pipelines.lineage import latest
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.ledger import decisions, deliveries, heartbeats, queue
from resources.ledger.decisions import Decided, Decision, Ruling
from resources.ledger.handover import handover_of
from resources.ledger.ledger import Ledger
from resources.ledger.outage import repeat_unrecorded
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.money import show_usd
from resources.orders import ClipRequest
from resources.production.batch import Followed, Follower, Report, Stage
from resources.production.engine import Engine
from resources.production.quotes import quoted
from resources.production.spare_fetch import fetch_spares
from resources.retry import retry_free_call
from resources.storage.objects import ObjectStore
from resources.unforeseen import in_our_words
from resources.variables import STACK

DECISION_TAG = "dailies/decision"
BACKFILL_TAG = "dagster/backfill"


@dataclass(frozen=True)
class Batch:
    """One batch in one run.

    Attributes:
        context: The step, for its log and its instance.
        production: What it works with.
        until: How far the batch is followed.
        decision: What its purchases belong to.
        show: Which stages are shown as materializations; the run's selection.
    """

    context: dg.OpExecutionContext | dg.AssetExecutionContext
    production: Production
    until: Stage
    decision: str
    show: frozenset[Stage]

    @property
    def run_id(self) -> str:
        """The run the batch is carried by."""
        return self.context.run.run_id


def decision_of(run: dg.DagsterRun) -> str:
    """What the purchases of a run belong to: the command or tick that started it, its backfill, or its first run.

    Re-executions and Dagster's own retries carry the same tags and root, so they find what was bought before.
    """
    return run.tags.get(DECISION_TAG) or run.tags.get(BACKFILL_TAG) or run.root_run_id or run.run_id


def buy(batch: Batch, requests: Mapping[str, ClipRequest], *, regenerate: bool) -> Followed:
    """Find or buy each clip, and follow the batch as far as it wants.

    Raises:
        DailiesError: The batch cannot be carried out (no key, no bucket, a provider that does not answer); what was
            queued by it was withdrawn and nothing of it was sent.
    """
    with batch.production.ledger() as ledger:
        store = batch.production.bound_store(ledger, buying=True)
        # a fallback may be sold by somebody else
        accounts = {account for request in requests.values() for account in request.accounts}
        batch.production.check_outputs(accounts)

        async def work(engine: Engine, follower: Follower) -> Followed:
            providers = {name: account.provider for name, account in engine.accounts.items()}
            decided = await engine.ledger.run(
                decisions.decide,
                await quoted(requests.values(), providers),
                Decision(
                    batch.decision,
                    batch=batch.run_id,
                    watched_by=batch.run_id if batch.until > Stage.SUBMITTED else None,
                    regenerate=regenerate,
                ),
                run_id=batch.run_id,
            )
            await _check_accounts(engine, decided, batch)
            return await follower.follow(decided)

        return _carry(batch, ledger, store, accounts, requests, work)


def collect(batch: Batch, attempts: Mapping[str, Attempt]) -> Followed:
    """Follow what was bought before as far as the batch wants; nothing is bought."""
    with batch.production.ledger() as ledger:
        store = batch.production.bound_store(ledger)
        accounts = {account for a in attempts.values() for account in {a.account, *a.request.accounts}}

        async def work(_engine: Engine, follower: Follower) -> Followed:
            decided = [
                Decided(a.request, Ruling.REUSED if a.state is AttemptState.DELIVERED else Ruling.ADOPTED, a)
                for a in attempts.values()
            ]
            return await follower.follow(decided)

        return _carry(batch, ledger, store, accounts, attempts, work)


def _carry(
    batch: Batch,
    ledger: Ledger,
    store: ObjectStore,
    accounts: set[str],
    clips: Collection[str],
    work: Callable[[Engine, Follower], Awaitable[Followed]],
) -> Followed:
    told = _Told(batch, ledger, store)

    async def run() -> Followed:
        async with batch.production.engine(ledger, accounts) as engine:
            with batch.production.deliverer(engine, store) as deliverer:
                follower = Follower(
                    engine, deliverer, until=batch.until, report=told.tell, run_id=batch.run_id
                )
                followed = await work(engine, follower)
                if batch.until is Stage.DELIVERED:
                    await fetch_spares(engine, deliverer, clips, run_id=batch.run_id)
                for sheet in await deliverer.write_sheets():
                    batch.context.log_event(sheet_event(sheet))
                return followed

    try:
        return asyncio.run(run())
    except Exception:
        raise
    except BaseException:
        # terminated: a person's click, or the machine's end
        _leave(batch, ledger, list(clips))
        raise


def _leave(batch: Batch, ledger: Ledger, clips: list[str]) -> None:
    """Withdraw what a terminated run has not sent, and say what goes on without it.

    When `dailies up` ends and not a person's click ends the run, the decision to produce stands: the queue is kept, and the run's
    retry asks for what was not decided yet.
    """
    try:
        heartbeats.check(ledger, batch.run_id)
        run = batch.context.instance.get_run_by_id(batch.run_id)
        # what ends with its stack is a process, and no decision of a person's
        if STACK in os.environ and run is not None and run.status is not dg.DagsterRunStatus.CANCELING:
            batch.context.log.warning(
                "this run was interrupted. Of its clips: %s", handover_of(ledger, [batch.run_id])
            )
            return
        newest = [a for a in ledger.latest(clips).values() if batch.run_id in {a.batch, a.watched_by}]
        withdrawn = queue.withdraw(
            ledger,
            [attempt.id for attempt in newest],
            why="not sent: its run was terminated. `dailies retry` or Materialize asks for it again.",
            run_id=batch.run_id,
        )
    except DailiesError as error:
        batch.context.log.warning("this run was terminated; what it has bought goes on. %s", error)
        return
    gone = {attempt.id for attempt in withdrawn}
    going = [a for a in newest if a.id not in gone and a.state.is_open and a.state is not AttemptState.HELD]
    batch.context.log.warning(
        "this run was terminated. %d of its paid jobs (%s) go on at their providers, and the completion sensor fetches "
        "what they make; %d clips were not sent and are withdrawn",
        len(going),
        show_usd(sum(attempt.cost_micros for attempt in going)),
        len(withdrawn),
    )


async def _check_accounts(engine: Engine, decided: list[Decided], batch: Batch) -> None:
    """Ask each account that is about to be bought from something free first.

    A wrong key or a provider that is down is then found once, and not once per clip; one answer that fails is asked for
    again, since a schedule's whole batch hangs on it.
    """
    new = [d.attempt for d in decided if d.ruling is Ruling.NEW and d.attempt is not None]
    for name in sorted({attempt.account for attempt in new}):
        try:
            with in_our_words(f"{name} could not be asked"):
                await retry_free_call(engine.accounts[name].provider.check)
        except DailiesError as error:
            ids = [attempt.id for attempt in new]
            why = f"not sent: {error}"
            withdrawn = await engine.ledger.run(queue.withdraw, ids, why=why, run_id=batch.run_id)
            await engine.ledger.run(deliveries.mark_reported, [a.id for a in withdrawn], batch.run_id)
            raise


class _Told:
    """Logs what each clip reached, and notes in the ledger what Dagster has been told."""

    def __init__(self, batch: Batch, ledger: Ledger, store: ObjectStore) -> None:
        self._batch = batch
        self._ledger = ledger
        self._pictures = Pictures(store)

    def tell(self, report: Report) -> None:
        """Show one report in Dagster, unless the run was given up: then others show it.

        Raises:
            RunLostError: The run was given up.
        """
        context = self._batch.context
        repeat_unrecorded(heartbeats.check, self._ledger, self._batch.run_id)
        if report.error is not None:
            context.log.error("%s: %s", report.clip, report.error)
            if report.attempt is not None and self._is_kept_apart(report, report.attempt):
                context.log_event(quarantine_event(report.attempt, self._pictures))
        elif report.attempt is not None and report.stage in self._batch.show:
            for stage in (*self._unshown_before(report.stage, report.attempt), report.stage):
                context.log_event(
                    stage_event(context.instance, stage, report.attempt, pictures=self._pictures)
                )
        if report.attempt is not None and self._is_last_word(report, report.attempt):
            repeat_unrecorded(deliveries.mark_reported, self._ledger, [report.attempt.id], self._batch.run_id)

    def _unshown_before(self, stage: Stage, attempt: Attempt) -> list[Stage]:
        """Earlier stages that Dagster shows of another purchase, or not at all: a second try, one the sensor sent."""
        instance, missing = self._batch.context.instance, []
        for earlier in (Stage.SUBMITTED, Stage.GENERATED):
            if earlier < stage:
                shown = latest(instance, ASSET_OF_STAGE[earlier], attempt.subject_key)
                if shown is None or shown.data_version != data_version(earlier, attempt):
                    missing.append(earlier)
        return missing

    def _is_kept_apart(self, report: Report, attempt: Attempt) -> bool:
        shown = Stage.DELIVERED in self._batch.show
        return shown and report.stage is Stage.DELIVERED and attempt.state is AttemptState.QUARANTINED

    def _is_last_word(self, report: Report, attempt: Attempt) -> bool:
        if report.error is None:
            return report.stage is Stage.DELIVERED and Stage.DELIVERED in self._batch.show
        # a finished generation that could not be stored is asked for again; whatever is still open, too
        return not attempt.state.is_open
