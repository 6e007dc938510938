"""The sensors: one per account that completes its purchases, and one that watches the declarations.

A tick has 60 seconds; each does one bounded step, and the next tick continues.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from pipelines.assets.characters import character_event
from pipelines.collections import BATCH_TAG, NOT_RETRIED, batches, plan, without_partition
from pipelines.events import stage_event
from pipelines.jobs import collect_clips, render_prompts
from pipelines.lineage import PROMPTS, latest
from pipelines.partitions import (
    add_characters,
    add_clips,
    clips,
    range_tags,
    stretches,
)
from pipelines.prompt_batch import render
from pipelines.runs import dead_runs_sensor, living, past_runs
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
from resources.production.orphan_sweep import in_words
from resources.series import Declarations
from resources.settings import ACCOUNTS

COMPLETION_SECONDS = 10
DECLARED_SECONDS = 15
DECLARED_BUDGET_SECONDS = 30.0
NO_PARTITION = "no partition"
"""Stands in the ledger for a run, for an unpaid clip whose partition was deleted: there is nothing to show."""


def completion_sensor(account: str) -> dg.SensorDefinition:
    """The sensor that completes the purchases of one account.

    It is on by default: it decides nothing, and paid clips are lost if nobody fetches them.
    """

    @dg.sensor(
        name=f"{account}_completion",
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
                unreported = deliveries.unreported(ledger, account)
                due = _is_due(ledger, account)
                if not unreported and not due:
                    return dg.SkipReason(f"no clip of {account} is on its way")
                step = asyncio.run(_step(production, ledger, account))
                return _ask_for_runs(context, production, ledger, account, step)
        except DailiesError as error:
            return dg.SkipReason(str(error))

    return complete


def _is_due(ledger: Ledger, account: str) -> bool:
    """Whether a bill, a sweep or a late job of an account is due although no clip is on its way."""
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
    found = batches(a for a in unreported if a.subject_kind != CHARACTER)
    made = _characters_left(instance, ledger, account, unreported)
    past = {
        batch: past_runs(instance, ledger, batch)
        for batch, attempts in found.items()
        if any(a.state.is_ended for a in attempts)
    }
    watchers = {a.watched_by for attempts in found.values() for a in attempts if a.watched_by is not None}
    watched = living(instance, ledger, watchers)
    order, added = _order_with_all_that_is_paid(instance, ledger, found, watched)
    collections = plan(
        found,
        order=order,
        past=past,
        watched=watched,
        now=ledger.clock(),
        linger=production.settings().linger_seconds,
    )
    going = sum(not a.state.is_ended for attempts in found.values() for a in attempts)
    message = f"{account}: {going} clips on their way, {step.polled} polled, {len(step.ended)} ended, {step.queued} queued"
    if step.orphans:
        message = (
            f"{message}; {in_words(account, step.orphans, dedicated=keys.look_up(ledger, account).dedicated)}"
        )
    if added:
        context.log.warning("%s", added)
        message = f"{message}; {added}"
    if step.refused is not None:
        message = f"{message}; nothing is sent: {step.refused}"
    if step.stop is not None:
        message = f"{message}; STOPPED: {step.stop}"
    context.log.info(message)
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(run_key=c.run_key, tags={**range_tags(c.keys), BATCH_TAG: c.batch, **NOT_RETRIED})
            for c in collections
        ],
        asset_events=[
            stage_event(instance, Stage.SUBMITTED, attempt)
            for attempt in step.submitted
            if attempt.subject_kind != CHARACTER
        ]
        + [character_event(instance, attempt.subject_key, attempt) for attempt in made],
        skip_reason=None if collections else dg.SkipReason(message),
    )


def _order_with_all_that_is_paid(
    instance: dg.DagsterInstance,
    ledger: Ledger,
    found: Mapping[str, Sequence[Attempt]],
    watched: frozenset[str],
) -> tuple[list[str], str]:
    """All partitions, after adding those again that were deleted while a paid clip was on its way; and a text about that.

    A run can only be requested for partitions that exist, so a clip without one would never be fetched.
    """
    order = list(instance.get_dynamic_partitions(clips.name or "clips"))
    gone = without_partition(found, order=order, watched=watched)
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
    """Record finished characters whose run has died; a living run does it itself."""
    watchers = {a.watched_by for a in unreported if a.subject_kind == CHARACTER and a.watched_by is not None}
    if not any(a.subject_kind == CHARACTER for a in unreported):
        return []
    return finish_left(ledger, account, watched=living(instance, ledger, watchers), by="sensor")


@dg.sensor(
    name="declared_clips",
    job=render_prompts,
    minimum_interval_seconds=DECLARED_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Watches the data folder: adds the clips of new undated series to the partitions, and renders changed prompts, so that "
        "Dagster shows which clips are stale. Costs nothing."
    ),
)
def declared_clips(
    context: dg.SensorEvaluationContext, production: Production
) -> dg.SensorResult | dg.SkipReason:
    """Add new clips, and request runs that render changed prompts."""
    try:
        files = _digests(production.settings().data)
        if any(file.startswith("characters/") for file in files):
            # a new version of a character changes the prompts that show it
            files |= {f"character {name}": made.id for name, made in production.characters().items()}
        seen = DataCursor.read(context.cursor)
        if files == seen.files and seen.upto is None:
            return dg.SkipReason("nothing in the data folder has changed")
        declarations = production.declarations()
        for problem in declarations.problems:
            context.log.error(str(problem))
        with production.ledger() as ledger:
            add_characters(context.instance, declarations.characters.found)
            undated = [c.key for s in declarations.series.values() if not s.dated for c in s.clips()]
            order = add_clips(context.instance, ledger, undated)
    except DailiesError as error:
        return dg.SkipReason(str(error))
    upto = seen.upto if files == seen.files else None
    looked = _look(context.instance, declarations, order, set(undated), after=upto)
    requests = [
        dg.RunRequest(run_key=_run_key(files, stretch, looked.changed), tags=range_tags(stretch))
        for stretch in stretches(order, looked.changed)
    ]
    missing = "" if looked.upto is None else f"; clips up to {looked.upto} are done, the next tick continues"
    reason = (
        f"the data folder has changed, but no prompt has ({len(declarations.problems)} problems){missing}"
    )
    return dg.SensorResult(
        run_requests=requests,
        cursor=DataCursor(files, looked.upto).written(),
        skip_reason=None if requests else dg.SkipReason(reason),
    )


@dataclass(frozen=True)
class DataCursor:
    """How far the data folder was processed.

    Attributes:
        files: Digest by file.
        upto: The last clip that was compared, None when all were.
    """

    files: dict[str, str] = field(default_factory=dict)
    upto: str | None = None

    @classmethod
    def read(cls, cursor: str | None) -> "DataCursor":
        """Read a cursor; an unreadable one counts as if nothing was seen yet."""
        try:
            document = json.loads(cursor or "{}")
            return cls(dict(document["files"]), document["upto"])
        except (ValueError, TypeError, KeyError):
            return cls()

    def written(self) -> str:
        """The text of the cursor."""
        return json.dumps({"files": self.files, "upto": self.upto})


@dataclass
class _EditedClips:
    """Clips to render anew, each with the storage id of the event that shows it now, and the clip that was looked at last."""

    changed: dict[str, int] = field(default_factory=dict)
    upto: str | None = None


def _look(
    instance: dg.DagsterInstance,
    declarations: Declarations,
    order: list[str],
    new: set[str],
    *,
    after: str | None,
) -> _EditedClips:
    """Find the clips whose prompt Dagster does not show: edited ones, and new ones of undated series.

    Stops early when its time is up.
    """
    looked = _EditedClips()
    give_up = time.monotonic() + DECLARED_BUDGET_SECONDS
    rest = order[order.index(after) + 1 :] if after in order else order
    for key in rest:
        for request in render(declarations, [key]).requests.values():
            shown = latest(instance, PROMPTS, key)
            if shown is None and key in new:
                looked.changed[key] = 0
            elif shown is not None and shown.data_version != request.fingerprint:
                looked.changed[key] = shown.storage_id
        if time.monotonic() > give_up and key != rest[-1]:
            looked.upto = key
            break
    return looked


def _run_key(files: dict[str, str], stretch: list[str], shown: dict[str, int]) -> str:
    """A key that is new for every change, also for one that undoes another, since Dagster accepts a key only once, for ever."""
    what = json.dumps([files, [(key, shown[key]) for key in stretch]], sort_keys=True)
    return f"prompts:{stretch[0]}:{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def _digests(data: Path) -> dict[str, str]:
    folders = ("series", "prompts", "characters", "models")
    files = sorted(file for folder in folders for file in data.glob(f"{folder}/*.y*ml"))
    return {str(file.relative_to(data)): hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in files}


ALL_SENSORS = [*(completion_sensor(account) for account in ACCOUNTS), declared_clips, dead_runs_sensor]
