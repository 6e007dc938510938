"""The sensors that complete purchases, one per account, and the list of all sensors that buy nothing by themselves.

A tick has 60 seconds. Each tick does one bounded step, and the next one continues.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import dagster as dg

from pipelines.assets.characters import character_event
from pipelines.collections import (
    BATCH_TAG,
    FIRST_IN_QUEUE,
    NOT_RETRIED,
    DagsterView,
    batches,
    plan,
    without_partition,
)
from pipelines.events import stage_event
from pipelines.jobs import collect_clips
from pipelines.lineage import ShownEvents
from pipelines.partitions import add_clips, clips, range_tags
from pipelines.runs import living, past_runs
from resources.characters.made import KIND as CHARACTER
from resources.characters.maker import finish_left
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.ledger import bills, deliveries, keys, late_jobs
from resources.ledger.ledger import Ledger
from resources.ledger.lost import orphans
from resources.ledger.records import Attempt
from resources.production.account import StepResult
from resources.production.batch import Stage
from resources.providers.registry import provider_names

logger = logging.getLogger("dailies")

COMPLETION_SECONDS = 9
"""The minimum interval of ticks. Dagster's daemon checks every 5 s, so ticks come every 10 s. With 10 here, the second check was often
slightly too early, and the tick came after 15 s."""
QUEUED = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])
NO_PARTITION = "no partition"
"""The run id in the ledger for an unpaid clip whose partition was deleted, so that there is nothing to show."""


def completion_name(account: str) -> str:
    """The name of an account's completion sensor; Dagster's names have no hyphens."""
    return f"{account.replace('-', '_')}_completion"


def has_work(ledger: Ledger, account: str) -> bool:
    """Whether an account has open or unreported purchases, or a due bill, sweep or late job.

    Raises:
        DailiesError: The ledger does not answer.
    """
    return deliveries.has_unreported(ledger, account) or _is_due(ledger, account)


def completion_sensor(account: str) -> dg.SensorDefinition:
    """The sensor that completes the purchases of one account.

    It is on by default, because it decides nothing, and paid clips are lost unless they are fetched.
    """

    @dg.sensor(
        name=completion_name(account),
        job=collect_clips,
        minimum_interval_seconds=COMPLETION_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=(
            f"Polls the due jobs of {account}, sends queued clips when a place is free, and requests one run per "
            "finished batch that fetches and stores its clips. It never decides to buy."
        ),
    )
    def complete(
        context: dg.SensorEvaluationContext, production: Production
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            with production.ledger() as ledger:
                if not has_work(ledger, account):
                    return dg.SkipReason(f"{account} has no open clip")
                step = asyncio.run(_step(production, ledger, account))
                return _ask_for_runs(context, production, ledger, account, step)
        except DailiesError as error:
            return dg.SkipReason(str(error))

    return complete


def _is_due(ledger: Ledger, account: str) -> bool:
    """Whether a bill, a sweep or a late job of an account is due, even without open clips."""
    return any(part.is_due(ledger, account) for part in (bills, orphans, late_jobs))


async def _step(production: Production, ledger: Ledger, account: str) -> StepResult:
    async with production.engine(ledger, [account]) as engine:
        return await engine.step(account, submit=production.allow_submits)


def _ask_for_runs(
    context: dg.SensorEvaluationContext,
    production: Production,
    ledger: Ledger,
    account: str,
    step: StepResult,
) -> dg.SensorResult:
    instance = context.instance
    unreported = deliveries.unreported(ledger, account)
    to_collect = batches(a for a in unreported if a.subject_kind != CHARACTER)
    characters = _characters_left(instance, ledger, account, unreported)
    past = {
        batch: past_runs(instance, ledger, batch)
        for batch, attempts in to_collect.items()
        if any(a.state.is_ended for a in attempts)
    }
    watchers = {
        a.watched_by for attempts in to_collect.values() for a in attempts if a.watched_by is not None
    }
    watched = living(instance, ledger, watchers)
    order, added = _order_with_paid_clips(instance, ledger, to_collect, watched)
    may_wait = bool(past) and not instance.get_run_ids(QUEUED, limit=1)
    collections = plan(
        to_collect,
        DagsterView(order, past, watched, may_wait=may_wait),
        now=ledger.clock(),
        linger=production.settings().linger_seconds,
    )
    going = sum(not a.state.is_ended for attempts in to_collect.values() for a in attempts)
    message = f"{account}: {going} clips on their way, {step.polled} polled, {len(step.ended)} ended, {step.queued} queued"
    if step.orphans:
        message = f"{message}; {orphans.in_words(account, step.orphans, dedicated=keys.look_up(ledger, account).dedicated)}"
    if added:
        context.log.warning("%s", added)
        message = f"{message}; {added}"
    if step.refused is not None:
        message = f"{message}; nothing is sent: {step.refused}"
    if step.stop is not None:
        message = f"{message}; STOPPED: {step.stop}"
    context.log.info(message)
    shown = ShownEvents(instance, [attempt.subject_key for attempt in step.submitted])
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(
                run_key=c.run_key,
                tags={**range_tags(c.keys), BATCH_TAG: c.batch, **NOT_RETRIED, **FIRST_IN_QUEUE},
            )
            for c in collections
        ],
        asset_events=[
            stage_event(shown, Stage.SUBMITTED, attempt)
            for attempt in step.submitted
            if attempt.subject_kind != CHARACTER
        ]
        + [character_event(instance, attempt.subject_key, attempt) for attempt in characters],
        skip_reason=None if collections else dg.SkipReason(message),
    )


def _order_with_paid_clips(
    instance: dg.DagsterInstance,
    ledger: Ledger,
    paid: Mapping[str, Sequence[Attempt]],
    watched: frozenset[str],
) -> tuple[list[str], str]:
    """All partitions, after adding those again that were deleted while their paid clips were open, and a text about that.

    A run can only be requested for existing partitions, so a clip without one would never be fetched.
    """
    order = list(instance.get_dynamic_partitions(clips.name or "clips"))
    gone = without_partition(paid, order=order, watched=watched)
    if gone.unpaid:
        deliveries.mark_reported(ledger, [a.id for a in gone.unpaid], NO_PARTITION)
    if not gone.paid:
        return order, ""
    keys = sorted({a.clip for a in gone.paid})
    order = add_clips(instance, ledger, keys)
    return order, (
        f"the partitions {', '.join(keys)} were deleted while their paid clips were on their way; they were added again, so "
        "that the clips are fetched and shown"
    )


def _characters_left(
    instance: dg.DagsterInstance, ledger: Ledger, account: str, unreported: list[Attempt]
) -> list[Attempt]:
    """Record finished characters whose run has died; a living run records its own."""
    watchers = {a.watched_by for a in unreported if a.subject_kind == CHARACTER and a.watched_by is not None}
    if not any(a.subject_kind == CHARACTER for a in unreported):
        return []
    return finish_left(ledger, account, watched=living(instance, ledger, watchers), by="sensor")


def account_names(production: Production) -> tuple[str, ...]:
    """The accounts with a completion sensor. An account's file is read when the code location loads, like a schedule."""
    try:
        return production.settings().account_names
    except DailiesError as error:
        logger.warning(
            "only the providers' own accounts are completed, because the settings could not be read: %s",
            error,
        )
        return provider_names()
