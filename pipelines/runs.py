"""Living and dead runs, by their heartbeats in the ledger instead of a status that only the run's own process changes.

A run whose process died stays `STARTED` in Dagster for ever, since the default launcher does not check. It would keep its place among
the active runs, and its clips would wait for it.
"""

import contextlib
from collections.abc import Collection, Iterable

import dagster as dg

from pipelines.collections import BATCH_TAG, FIRST_IN_QUEUE, PastRun
from pipelines.partitions import RANGE_END, RANGE_START
from pipelines.scope import keep_green, planned_clips
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.ledger import heartbeats
from resources.ledger.handover import handover_of
from resources.ledger.ledger import Ledger
from resources.unforeseen import as_unforeseen

SENSOR_SECONDS = 9
"""Seconds between two ticks: every second pass of Dagster's daemon, see `sensors.COMPLETION_SECONDS`."""
UNENDED_SECONDS = 120.0
"""How long a dead run may stay `STARTED` before an alarm: the sensor `dead_runs` should have ended it at its next tick."""
RETRY_SECONDS = 40.0
"""How long the clips of a dead run wait for its retry: the sensor `dead_runs` ends the run, and Dagster looks for failed runs every 15 s
at most."""
BEGIN_SECONDS = 600.0
"""How long clips wait for a run that was created and does not begin. Dagster ends it only where its run monitoring is on."""
RETRY_TAG = "dagster/auto_retry_run_id"
AT_WORK = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
"""The states of runs whose process should have a heartbeat. Dagster's daemon ends queued and starting runs itself."""


def living(instance: dg.DagsterInstance, ledger: Ledger, run_ids: Collection[str]) -> frozenset[str]:
    """Those of the given runs that still work, and the dead ones whose retry continues their clips.

    A retry and a collecting run for the same clips competed for the processor: on two busy cores the clips were there after 50 s
    instead of 10 s. A retry that does not come within `RETRY_SECONDS`, does not begin within `BEGIN_SECONDS`, or ends early, is not
    waited for.
    """
    if not run_ids:
        return frozenset()
    records = instance.get_run_records(dg.RunsFilter(run_ids=list(run_ids)))
    runs = [record.dagster_run for record in records]
    dead = heartbeats.lost(ledger, _at_work(runs))
    announced = [run for run in runs if run.status is dg.DagsterRunStatus.FAILURE and _will_be_retried(run)]
    retries = {run.tags[RETRY_TAG]: run.run_id for run in announced if RETRY_TAG in run.tags}
    over = heartbeats.ends(ledger, [run.run_id for run in announced if RETRY_TAG not in run.tags])
    given_up_at = dead | {run_id: end.at for run_id, end in over.items()}
    now = ledger.clock()
    waited_for = {run_id for run_id, at in given_up_at.items() if 0 <= now - at < RETRY_SECONDS}
    late = {r.dagster_run.run_id for r in records if now - r.create_timestamp.timestamp() >= BEGIN_SECONDS}
    begins = {run.run_id for run in runs if not run.is_finished and run.run_id not in late}
    showing_life = begins.union(_at_work(runs)) - dead.keys()
    return frozenset(
        showing_life | waited_for | {retries[retry] for retry in living(instance, ledger, retries)}
    )


def _will_be_retried(run: dg.DagsterRun) -> bool:
    return run.tags.get("dagster/will_retry") == "true"


def past_runs(instance: dg.DagsterInstance, ledger: Ledger, batch: str) -> list[PastRun]:
    """The past and present runs that collect a batch.

    A dead run ended when its last heartbeat expired; one that did not start within `BEGIN_SECONDS`, when Dagster launched it.
    """
    records = list(instance.get_run_records(dg.RunsFilter(tags={BATCH_TAG: batch})))
    dead = heartbeats.lost(ledger, _at_work(record.dagster_run for record in records))
    over = heartbeats.ends(ledger, [r.dagster_run.run_id for r in records if r.dagster_run.is_finished])
    past, now = [], ledger.clock()
    for record in records:
        run = record.dagster_run
        end = over.get(run.run_id)
        # a run that never began has only Dagster's times, and a run that was forced to end has no end time
        changed_at = record.update_timestamp.timestamp()
        ended = end.at if end else record.end_time or changed_at
        starts_late = run.status is dg.DagsterRunStatus.STARTING and now - changed_at >= BEGIN_SECONDS
        past.append(
            PastRun(
                run.tags.get(RANGE_START, ""),
                run.tags.get(RANGE_END, ""),
                ended if run.is_finished or starts_late else dead.get(run.run_id),
                planned_clips(instance, run.run_id),
                died=run.run_id in dead or (end is not None and end.is_lost),
            )
        )
    return past


def _at_work(runs: Iterable[dg.DagsterRun]) -> list[str]:
    return [run.run_id for run in runs if run.status in AT_WORK]


def has_dead(instance: dg.DagsterInstance, production: Production) -> bool:
    """Whether a run of ours is dead and not ended in Dagster. Doubts and takes expired claims, so that no tick is needed for that.

    Raises:
        DailiesError: The ledger does not answer.
    """
    if not instance.get_run_ids(dg.RunsFilter(statuses=list(AT_WORK)), limit=1):
        return False
    with production.ledger() as ledger:
        return bool(dead_runs(instance, ledger, production.settings().location))


def dead_runs(instance: dg.DagsterInstance, ledger: Ledger, location: str | None) -> list[dg.DagsterRun]:
    """The dead runs of a code location that Dagster believes to be active.

    Args:
        ledger: The ledger with the heartbeats.
        location: The name of our code location, since other runs have no heartbeat here; None for all runs.
    """
    ours = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=list(AT_WORK)))
        if location is None
        or (run.remote_job_origin is not None and run.remote_job_origin.location_name == location)
    ]
    dead = heartbeats.lost(ledger, _at_work(ours))
    return [run for run in ours if run.run_id in dead]


def end_dead_runs(instance: dg.DagsterInstance, ledger: Ledger, location: str | None) -> list[str]:
    """End dead runs in Dagster with a reason, so that their places are free and their retries begin; returns the reasons."""
    ended = []
    for run in dead_runs(instance, ledger, location):
        try:
            # a run that cannot be ended must not block the others
            with as_unforeseen(f"the run {run.run_id}, whose process has died, could not be ended"):
                ended.append(f"{run.job_name} {run.run_id}: {_end(instance, ledger, run)}")
        except DailiesError as error:
            ended.append(str(error))
    return ended


def _end(instance: dg.DagsterInstance, ledger: Ledger, run: dg.DagsterRun) -> str:
    """End a dead run in Dagster; returns the reason."""
    reason = (
        "The process of this run has died: it has no heartbeat any more. Of its clips: "
        f"{handover_of(ledger, [run.run_id])}."
    )
    if run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, reason)
        return reason
    # clips that cannot be kept green are logged again by the run's retry
    with (
        contextlib.suppress(DailiesError),
        as_unforeseen(f"{run.run_id}: its green clips could not be kept green"),
    ):
        keep_green(instance, run.run_id)
    # its retry has the same tags
    instance.add_run_tags(run.run_id, FIRST_IN_QUEUE)
    instance.report_run_failed(run, reason)
    return reason


def not_ended(instance: dg.DagsterInstance, ledger: Ledger, location: str | None) -> list[tuple[str, str]]:
    """The dead runs that were not ended in Dagster in time, each with a text about its clips."""
    named = []
    runs = {run.run_id: run for run in dead_runs(instance, ledger, location)}
    for run_id, at in heartbeats.lost(ledger, list(runs)).items():
        if ledger.clock() - at > UNENDED_SECONDS:
            left = handover_of(ledger, [run_id])
            why = "its process has died, and the sensor dead_runs has not ended it"
            named.append((run_id, f"{runs[run_id].job_name}: {why}. Of its clips: {left}"))
    return named


@dg.sensor(
    name="dead_runs",
    minimum_interval_seconds=SENSOR_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Ends runs whose process has died, with the reason, so that other runs can start. Their bought clips are collected, and "
        "their retries request the rest. Buys nothing."
    ),
)
def dead_runs_sensor(context: dg.SensorEvaluationContext, production: Production) -> dg.SkipReason:
    """End the runs whose process has died."""
    origin = context.code_location_origin
    try:
        with production.ledger() as ledger:
            ended = end_dead_runs(context.instance, ledger, origin.location_name if origin else None)
    except DailiesError as error:
        return dg.SkipReason(str(error))
    for line in ended:
        context.log.warning("%s", line)
    return dg.SkipReason("; ".join(ended) or "every active run has a heartbeat")
