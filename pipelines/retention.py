"""The retention of Dagster's storage: it removes old runs, and later the partitions of their clips.

The ledger and the bucket keep everything; `dailies partitions restore` shows a clip again. Only settled clips are touched: those that
were delivered long ago, and have nothing open, held or failed. Dagster itself removes only ticks, and supports at most 100,000
partitions an asset.
"""

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg

from pipelines.declared_clips import date_of
from pipelines.event_storage import forget_checks, forget_partitions, forget_run
from pipelines.failures import explained
from pipelines.lineage import GENERATIONS, PROMPTS, SELECTS, SUBMISSIONS, UPLOADED_VIDEOS, carried_tags
from pipelines.partitions import PARTITION, clips
from pipelines.scope import planned_keys
from resources.dagster_resources import Production
from resources.ledger import locks
from resources.ledger.ledger import Ledger
from resources.ledger.settled import never_bought, settled_clips

DAY = 86_400.0
INVENTORY_DAYS = 7
"""The age in days at which runs without clips are removed; the inventory alone has 24 a day."""
INVENTORY_JOBS = frozenset({"inventory", "retention", "ledger_backup"})
CLIP_JOBS = frozenset(
    {"render_prompts", "submit_clips", "collect_clips", "produce_clips", "produce_scattered_clips"}
)
IMPLICIT_JOB = "__ASSET_JOB"
"""Dagster's name for the job of a Materialize click."""
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
ACTIVE = [status for status in dg.DagsterRunStatus if status not in ENDED]
RUNS_A_PAGE = 200
RUNS_A_DAY = 3_000
"""The most runs that are removed in one day; a storage of years is cleared in a few days."""
KEYS_A_PAGE = 500
PARTITIONS_A_DAY = 10_000
STAGES = (PROMPTS, SUBMISSIONS, GENERATIONS, UPLOADED_VIDEOS, SELECTS)
"""The clips' assets, each after its input, so that a carried event can point to the carried event of its input."""
CRON = "43 4 * * *"


@dataclass(frozen=True)
class Retention:
    """How long Dagster's storage keeps what, and what in it is ours."""

    runs_days: int | None
    """The age in days at which runs are removed; None for never."""
    partitions_days: int | None
    """The age in days at which partitions are removed, if runs are; None for never."""
    location: str | None
    """Our code location, since other runs must stay; None for all runs."""
    declared: Collection[str] | None
    """The declared clips without dates, which keep their partitions; None if not all could be read."""


@dataclass
class Removed:
    """The numbers of removed runs and partitions, and of old ones that were kept."""

    runs: int = 0
    inventories: int = 0
    """Runs without clips."""
    partitions: int = 0
    kept_runs: int = 0
    waiting: Counter[str] = field(default_factory=Counter)
    """Clips for which old runs are kept, with the number of runs."""
    more: bool = False
    """Whether the next day continues."""

    def __str__(self) -> str:
        """One sentence for the run's page."""
        text = (
            f"removed {self.runs} runs of delivered clips, {self.inventories} runs of the inventory and "
            f"{self.partitions} partitions"
        )
        if self.kept_runs:
            named = ", ".join(key for key, _ in self.waiting.most_common(5))
            text += f"; kept {self.kept_runs} old runs, because of clips that are not settled: {named}"
        return f"{text}; the next day continues" if self.more else text


def remove_old(instance: dg.DagsterInstance, ledger: Ledger, rules: Retention) -> Removed:
    """Remove old runs, then old partitions.

    Args:
        ledger: The ledger, for settled clips and the time.
    """
    removed, now = Removed(), ledger.clock()
    _remove_inventories(instance, now, rules.location, removed)
    _remove_runs(instance, ledger, rules, now, removed)
    _remove_partitions(instance, ledger, rules, now, removed)
    return removed


def _old_runs(instance: dg.DagsterInstance, before: float, location: str | None) -> Iterator[dg.DagsterRun]:
    """The ended runs of a location that were last changed before a time, oldest first."""
    old = dg.RunsFilter(statuses=ENDED, updated_before=dt.datetime.fromtimestamp(before, dt.UTC))
    ids = list(reversed(instance.get_run_ids(old)))
    for start in range(0, len(ids), RUNS_A_PAGE):
        page = instance.get_runs(dg.RunsFilter(run_ids=ids[start : start + RUNS_A_PAGE]))
        for run in page:
            origin = run.remote_job_origin
            if location is None or (origin is not None and origin.location_name == location):
                yield run


def _remove_inventories(
    instance: dg.DagsterInstance, now: float, location: str | None, removed: Removed
) -> None:
    newest = {
        run.run_id
        for job in INVENTORY_JOBS
        for run in instance.get_runs(dg.RunsFilter(job_name=job), limit=1)
    }
    for run in _old_runs(instance, now - INVENTORY_DAYS * DAY, location):
        # the newest run of each job shows the checks' results
        if run.job_name in INVENTORY_JOBS and run.run_id not in newest:
            forget_run(instance, run.run_id)
            removed.inventories += 1
    forget_checks(
        instance, dt.datetime.fromtimestamp(now - INVENTORY_DAYS * DAY, dt.UTC).replace(tzinfo=None)
    )


def _remove_runs(
    instance: dg.DagsterInstance, ledger: Ledger, rules: Retention, now: float, removed: Removed
) -> None:
    if rules.runs_days is None:
        return
    before = now - rules.runs_days * DAY
    for run in _old_runs(instance, before, rules.location):
        if run.job_name not in {*CLIP_JOBS, IMPLICIT_JOB}:
            continue
        planned = planned_keys(instance, run.run_id)
        keys = clips_of_run(run, planned)
        if not keys or (planned and not planned.keys() <= {*STAGES}):
            # a run of characters or pages, or a run with unknown clips
            continue
        waiting = keys - settled_clips(ledger, keys, before=before)
        if planned.keys() == {PROMPTS} and run.status is dg.DagsterRunStatus.SUCCESS:
            # a run that only rendered clips which were never bought is settled
            waiting -= never_bought(ledger, waiting)
        if waiting:
            removed.kept_runs += 1
            removed.waiting.update(waiting)
            continue
        if removed.runs >= RUNS_A_DAY:
            removed.more = True
            return
        carry_over(instance, run.run_id, sorted(keys))
        forget_run(instance, run.run_id)
        removed.runs += 1


def clips_of_run(run: dg.DagsterRun, planned: Mapping[dg.AssetKey, Collection[str]]) -> set[str]:
    """The clips of a run: those that Dagster planned for it, or the list in its configuration."""
    keys = {key for asset, some in planned.items() if asset in STAGES for key in some}
    ops = run.run_config.get("ops", {}) if isinstance(run.run_config, Mapping) else {}
    config = ops.get("produce_scattered", {}).get("config", {}) if isinstance(ops, Mapping) else {}
    keys |= set(config.get("keys", ()))
    return keys | ({run.tags[PARTITION]} if PARTITION in run.tags and not planned else set())


def carry_over(instance: dg.DagsterInstance, run_id: str, keys: Collection[str]) -> None:
    """Log the newest events of clips again without a run if they belong to this run, which is about to be removed.

    So the clips stay green, and keep the versions by which Dagster sees whether they are stale. The ledger has all other facts.
    """
    carried: set[str] = set()
    for asset in STAGES:
        for key in keys:
            query = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[key])
            for record in instance.fetch_materializations(query, limit=1).records:
                shown = record.asset_materialization
                # a select has no run, but points to an event that is removed
                is_select = asset == SELECTS and key in carried
                if shown is None or (record.run_id != run_id and not is_select):
                    continue
                carried.add(key)
                kept = {
                    name: value
                    for name, value in shown.metadata.items()
                    if asset == SELECTS or name in ("poster", "s3")
                }
                instance.report_runless_asset_event(
                    dg.AssetMaterialization(
                        asset,
                        partition=key,
                        metadata={
                            **kept,
                            "kept": "its run was removed; the ledger and the manifest have the rest",
                        },
                        tags=carried_tags(instance, key, shown.tags or {}),
                    )
                )


def _remove_partitions(
    instance: dg.DagsterInstance, ledger: Ledger, rules: Retention, now: float, removed: Removed
) -> None:
    if rules.runs_days is None or rules.partitions_days is None:
        return
    before = now - rules.partitions_days * DAY
    shown_again = now - max(rules.partitions_days - rules.runs_days, 1) * DAY
    name, declared = clips.name or "clips", rules.declared
    day = dt.datetime.fromtimestamp(before, dt.UTC).date().isoformat()
    old = [
        key
        for key in instance.get_dynamic_partitions(name)
        if ((date := date_of(key)) is not None and date <= day)
        or (date is None and declared is not None and key not in declared)
    ]
    for start in range(0, len(old), KEYS_A_PAGE):
        candidates = settled_clips(ledger, old[start : start + KEYS_A_PAGE], before=before)
        candidates -= _shown_since(instance, candidates, shown_again)
        if removed.partitions + len(candidates) > PARTITIONS_A_DAY:
            removed.more = True
            return
        if not candidates:
            continue
        # no clip may be added between the last check and the removal of its partition
        with locks.hold(ledger, "partitions"):
            gone = sorted(settled_clips(ledger, candidates - _keys_of_active_runs(instance), before=before))
            for key in gone:
                instance.delete_dynamic_partition(name, key)
        forget_partitions(instance, STAGES, gone)
        removed.partitions += len(gone)


def _shown_since(instance: dg.DagsterInstance, keys: Collection[str], since: float) -> set[str]:
    """The clips whose video was logged after `since`, as by `dailies partitions restore`."""
    shown = set()
    for key in keys:
        query = dg.AssetRecordsFilter(asset_key=UPLOADED_VIDEOS, asset_partitions=[key])
        for record in instance.fetch_materializations(query, limit=1).records:
            if record.timestamp > since:
                shown.add(key)
    return shown


def _keys_of_active_runs(instance: dg.DagsterInstance) -> set[str]:
    """The clips of queued and running runs."""
    runs = instance.get_runs(dg.RunsFilter(statuses=ACTIVE))
    return {key for run in runs for key in clips_of_run(run, planned_keys(instance, run.run_id))}


@dg.op(name="remove_old", description="Remove old runs and partitions of delivered clips. Costs nothing.")
def remove_old_op(context: dg.OpExecutionContext, production: Production) -> None:
    """Remove runs and partitions that are older than the settings allow, and log what was removed."""
    settings = production.settings()
    origin = context.run.remote_job_origin
    declarations = production.declarations()
    # a file with a mistake declares nothing, but its clips must keep their partitions
    declared = (
        None
        if declarations.problems
        else {
            clip.key for series in declarations.series.values() if not series.dated for clip in series.clips()
        }
    )
    rules = Retention(
        runs_days=settings.keep_runs_days,
        partitions_days=settings.keep_partitions_days,
        location=origin.location_name if origin else None,
        declared=declared,
    )
    with explained(), production.showing_life(context.run.run_id), production.ledger() as ledger:
        removed = remove_old(context.instance, ledger, rules)
    context.log.info("%s", removed)


@dg.job(
    name="retention",
    description="Removes old runs and partitions of delivered clips from Dagster. Costs nothing.",
)
def retention() -> None:
    """Remove old runs and partitions."""
    remove_old_op()


daily_retention = dg.ScheduleDefinition(
    name="daily_retention",
    job=retention,
    cron_schedule=CRON,
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "Removes runs of delivered clips after DAILIES_KEEP_RUNS_DAYS (90) and their partitions after "
        "DAILIES_KEEP_PARTITIONS_DAYS (180) from Dagster. Ledger and bucket keep everything. It buys nothing, so it is on from the start."
    ),
)
