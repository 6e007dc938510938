"""Carrying a batch of clips through the engine inside a Dagster step, and logging each stage in Dagster.

The step's own thread runs one asyncio loop for the whole batch. An interruption cancels every task, but gives POSTs in flight
a moment to be answered.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

import dagster as dg

from pipelines.clip_pictures import quarantine_event, sheet_event
from pipelines.events import ASSET_OF_STAGE, data_version, stage_event
from pipelines.lineage import ShownEvents
from pipelines.run_labels import ASKED_BY, ceiling, run_labels
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
from resources.traces import spans
from resources.unforeseen import as_unforeseen
from resources.variables import STACK

DECISION_TAG = "dailies/decision"
APPROVED_TAG = "dailies/approved"
"""Marks runs whose decision a person approved. A ledger that does not know the approval may not buy for them."""
BACKFILL_TAG = "dagster/backfill"


@dataclass(frozen=True)
class Batch:
    """One batch in one run."""

    context: dg.OpExecutionContext | dg.AssetExecutionContext
    """The step, for its log and its instance."""
    production: Production
    """Opens ledger, bucket and engine."""
    until: Stage
    """The stage to wait for."""
    decision: str
    """The decision of its purchases."""
    show: frozenset[Stage]
    """The stages to log as materializations, which are the run's selection."""
    leave_after: float | None = None
    """See `Follower`."""
    submits: bool = True
    """Whether it sends the queues of its accounts while it works."""

    @property
    def run_id(self) -> str:
        """The id of the run that carries the batch."""
        return self.context.run.run_id


def decision_of(run: dg.DagsterRun) -> str:
    """The decision of a run's purchases: the command or tick that started it, its backfill, or its first run.

    Re-executions and Dagster's own retries have the same tags and root, so they find the earlier purchases.
    """
    return run.tags.get(DECISION_TAG) or run.tags.get(BACKFILL_TAG) or run.root_run_id or run.run_id


def buy(batch: Batch, requests: Mapping[str, ClipRequest], *, regenerate: bool) -> Followed:
    """Find or buy each clip, and follow the batch to the stage it waits for.

    Raises:
        DailiesError: The batch cannot run (no key, no bucket, a provider that does not answer). Its queued purchases were
            withdrawn, and none was sent.
    """
    _label(batch, requests)

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

    # a fallback may be sold by another provider
    accounts = {account for request in requests.values() for account in request.accounts}
    return _carry(batch, requests, accounts, work, buying=True)


def _label(batch: Batch, requests: Mapping[str, ClipRequest]) -> None:
    """Give a run that a person started in Dagster's pages the tags that commands and schedules give theirs."""
    run = batch.context.run
    if not {ASKED_BY, DECISION_TAG}.isdisjoint(run.tags):
        return
    backfill = run.tags.get(BACKFILL_TAG)
    asked_by = "a person in Dagster" if backfill is None else f"backfill {backfill}"
    batch.context.instance.add_run_tags(
        run.run_id, run_labels(asked_by, requests, ceiling(list(requests.values())))
    )


def collect(batch: Batch, attempts: Collection[Attempt]) -> Followed:
    """Follow earlier purchases to the stage that the batch waits for; nothing is bought.

    Args:
        batch: The batch.
        attempts: The purchases.
    """

    async def work(_engine: Engine, follower: Follower) -> Followed:
        decided = [
            Decided(a.request, Ruling.REUSED if a.state is AttemptState.DELIVERED else Ruling.ADOPTED, a)
            for a in attempts
        ]
        return await follower.follow(decided)

    accounts = {account for a in attempts for account in {a.account, *a.request.accounts}}
    return _carry(batch, list(dict.fromkeys(a.clip for a in attempts)), accounts, work, buying=False)


def _carry(
    batch: Batch,
    clips: Collection[str],
    accounts: set[str],
    work: Callable[[Engine, Follower], Awaitable[Followed]],
    *,
    buying: bool,
) -> Followed:
    """Do a batch's work with an engine for its accounts; returns its result.

    Args:
        buying: Whether the work may buy. If so, accounts, outputs, bucket and policy are checked first.
    """
    production = batch.production
    with production.ledger() as ledger:
        store = production.bound_store(ledger, buying=buying)
        if buying:
            production.check_outputs(accounts)
        reporter = _Reporter(batch, ledger, clips)

        async def run() -> Followed:
            async with production.engine(ledger, accounts, buying=buying) as engine:
                with production.deliverer(engine, store) as deliverer:
                    follower = Follower(
                        engine,
                        deliverer,
                        until=batch.until,
                        report=reporter.tell,
                        run_id=batch.run_id,
                        leave_after=batch.leave_after,
                        submits=batch.submits,
                    )
                    followed = await work(engine, follower)
                    if batch.until is Stage.DELIVERED:
                        await fetch_spares(engine, deliverer, clips, run_id=batch.run_id)
                    for sheet in await deliverer.write_sheets():
                        batch.context.log_event(sheet_event(sheet))
                    return followed

        try:
            with spans.run(batch.run_id):
                return asyncio.run(run())
        except Exception:
            raise
        except BaseException:
            # a person terminated the run, or its process ends
            _leave(batch, ledger, list(clips))
            raise


def _leave(batch: Batch, ledger: Ledger, clips: list[str]) -> None:
    """Withdraw the unsent purchases of a terminated run, and log those that continue without it.

    If the run ends with `dailies up`, and not because a person terminated it, its decision is still valid: the queue is kept, and the
    run's retry decides about the remaining clips.
    """
    try:
        heartbeats.check(ledger, batch.run_id)
        run = batch.context.instance.get_run_by_id(batch.run_id)
        # a run that ends with its stack was not terminated by a person
        if STACK in os.environ and run is not None and run.status is not dg.DagsterRunStatus.CANCELING:
            batch.context.log.warning(
                "this run was interrupted. Of its clips: %s", handover_of(ledger, [batch.run_id])
            )
            return
        newest = [a for a in ledger.latest_takes(clips).values() if batch.run_id in {a.batch, a.watched_by}]
        withdrawn = queue.withdraw(
            ledger,
            [attempt.id for attempt in newest],
            why="not sent: its run was terminated. `dailies retry` or Materialize requests it again.",
            run_id=batch.run_id,
        )
    except DailiesError as error:
        batch.context.log.warning(
            "this run was terminated; its bought clips are collected all the same. %s", error
        )
        return
    gone = {attempt.id for attempt in withdrawn}
    going = [a for a in newest if a.id not in gone and a.state.is_open and a.state is not AttemptState.HELD]
    batch.context.log.warning(
        "this run was terminated. %d of its paid jobs (%s) go on at their providers, and the completion sensor fetches "
        "their clips; %d clips were not sent and are withdrawn",
        len(going),
        show_usd(sum(attempt.cost_micros for attempt in going)),
        len(withdrawn),
    )


async def _check_accounts(engine: Engine, decided: list[Decided], batch: Batch) -> None:
    """Make a free request to each account before buying from it, and withdraw the purchases of an account that fails.

    A failed request is repeated, since a schedule's whole batch depends on it.

    Raises:
        DailiesError: Every account fails, e.g. the only one. It is reported once, not once for each clip.
    """
    new = [d.attempt for d in decided if d.ruling is Ruling.NEW and d.attempt is not None]
    accounts = sorted({attempt.account for attempt in new})
    errors: list[DailiesError] = []
    withdrawn: list[Attempt] = []
    for name in accounts:
        try:
            with as_unforeseen(f"{name} could not be checked"):
                await retry_free_call(engine.accounts[name].provider.check)
        except DailiesError as error:
            errors.append(error)
            ids = [attempt.id for attempt in new]
            why = f"not sent to {name}: {error}"
            withdrawn += await engine.ledger.run(
                queue.withdraw, ids, why=why, account=name, run_id=batch.run_id
            )
    if errors and len(errors) == len(accounts):
        await engine.ledger.run(deliveries.mark_reported, [a.id for a in withdrawn], batch.run_id)
        raise errors[0]


class _Reporter:
    """Logs each report in Dagster, and records in the ledger that Dagster knows the clip's end."""

    def __init__(self, batch: Batch, ledger: Ledger, clips: Collection[str]) -> None:
        self._batch = batch
        self._ledger = ledger
        self._shown = ShownEvents(batch.context.instance, clips)

    def tell(self, report: Report) -> None:
        """Log one report in Dagster, unless the run was lost, because another run then logs it.

        Raises:
            RunLostError: The run was lost.
        """
        context = self._batch.context
        repeat_unrecorded(heartbeats.check, self._ledger, self._batch.run_id)
        if report.error is not None:
            context.log.error("%s: %s", report.clip, report.error)
            if report.attempt is not None and self._is_kept_apart(report, report.attempt):
                context.log_event(quarantine_event(report.attempt))
        elif report.shown is not None and report.stage in self._batch.show:
            for stage in (*self._unshown_before(report.stage, report.shown), report.stage):
                context.log_event(stage_event(self._shown, stage, report.shown))
                self._shown.logged(ASSET_OF_STAGE[stage], report.clip)
        if report.attempt is not None and self._is_final(report, report.attempt):
            repeat_unrecorded(deliveries.mark_reported, self._ledger, [report.attempt.id], self._batch.run_id)

    def _unshown_before(self, stage: Stage, attempt: Attempt) -> list[Stage]:
        """Earlier stages that Dagster does not show for this purchase, as after a second try or a submit by the sensor."""
        missing = []
        for earlier in (Stage.SUBMITTED, Stage.GENERATED):
            if earlier < stage:
                shown = self._shown.latest(ASSET_OF_STAGE[earlier], attempt.subject_key)
                if shown is None or shown.data_version != data_version(earlier, attempt):
                    missing.append(earlier)
        return missing

    def _is_kept_apart(self, report: Report, attempt: Attempt) -> bool:
        shown = Stage.DELIVERED in self._batch.show
        return shown and report.stage is Stage.DELIVERED and attempt.state is AttemptState.QUARANTINED

    def _is_final(self, report: Report, attempt: Attempt) -> bool:
        if report.error is None:
            return report.stage is Stage.DELIVERED and Stage.DELIVERED in self._batch.show
        # open attempts, such as a generation that could not be stored, are collected again
        return not attempt.state.is_open
