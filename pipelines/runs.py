"""Which runs live, by the signs of life in the ledger and not by a status that only the run's own process would change.

A run whose process died stays `STARTED` in Dagster for ever, since the default launcher does not check. It would keep its
place among the active runs, and its clips would wait for it.
"""

import contextlib
from collections.abc import Collection, Iterable

import dagster as dg

from pipelines.collections import BATCH_TAG, PastRun
from pipelines.partitions import RANGE_END, RANGE_START
from pipelines.scope import keep_green, planned_clips
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.ledger import heartbeats
from resources.ledger.handover import handover_of
from resources.ledger.ledger import Ledger
from resources.unforeseen import in_our_words

SENSOR_SECONDS = 9
"""Every second look of Dagster's daemon, see `sensors.COMPLETION_SECONDS`."""
UNENDED_SECONDS = 120.0
"""How long a dead run may stay `STARTED` before an alarm: the sensor `dead_runs` should have ended it at its next tick."""
AT_WORK = (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
"""The states of runs whose process should show signs of life. Dagster's daemon ends queued and starting runs itself."""


def living(instance: dg.DagsterInstance, ledger: Ledger, run_ids: Collection[str]) -> frozenset[str]:
    """Those of the given runs that are not over and still work."""
    if not run_ids:
        return frozenset()
    runs = [r for r in instance.get_runs(dg.RunsFilter(run_ids=list(run_ids))) if not r.is_finished]
    dead = heartbeats.lost(ledger, _at_work(runs))
    return frozenset(run.run_id for run in runs if run.run_id not in dead)


def past_runs(instance: dg.DagsterInstance, ledger: Ledger, batch: str) -> list[PastRun]:
    """The past and present runs that collect a batch; a dead one ended when its last sign of life expired."""
    records = list(instance.get_run_records(dg.RunsFilter(tags={BATCH_TAG: batch})))
    dead = heartbeats.lost(ledger, _at_work(record.dagster_run for record in records))
    over = heartbeats.ends(ledger, [r.dagster_run.run_id for r in records if r.dagster_run.is_finished])
    past = []
    for record in records:
        run = record.dagster_run
        # a run that never began has only Dagster's times, and one that was forced to end has no end time
        ended = over.get(run.run_id) or record.end_time or record.update_timestamp.timestamp()
        first, last = run.tags.get(RANGE_START, ""), run.tags.get(RANGE_END, "")
        ended_at = ended if run.is_finished else dead.get(run.run_id)
        past.append(PastRun(first, last, ended_at, planned_clips(instance, run.run_id)))
    return past


def _at_work(runs: Iterable[dg.DagsterRun]) -> list[str]:
    return [run.run_id for run in runs if run.status in AT_WORK]


def has_work(instance: dg.DagsterInstance) -> bool:
    """Whether any run should show signs of life."""
    return bool(instance.get_run_ids(dg.RunsFilter(statuses=list(AT_WORK)), limit=1))


def dead_runs(instance: dg.DagsterInstance, ledger: Ledger, location: str | None) -> list[dg.DagsterRun]:
    """The dead runs of a code location that Dagster believes to be active.

    Args:
        instance: Dagster.
        ledger: Holds the signs of life.
        location: The name of our code location, since runs of others give no sign of life here; None for all runs.
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
    said = []
    for run in dead_runs(instance, ledger, location):
        try:
            # a run that cannot be ended must not keep the others from being ended
            with in_our_words(f"the run {run.run_id}, whose process has died, could not be ended"):
                said.append(f"{run.job_name} {run.run_id}: {_end(instance, ledger, run)}")
        except DailiesError as error:
            said.append(str(error))
    return said


def _end(instance: dg.DagsterInstance, ledger: Ledger, run: dg.DagsterRun) -> str:
    """End a dead run in Dagster; returns the reason."""
    reason = (
        "The process of this run has died: it gives no sign of life any more. Of its clips: "
        f"{handover_of(ledger, [run.run_id])}."
    )
    if run.status is dg.DagsterRunStatus.CANCELING:
        instance.report_run_canceled(run, reason)
        return reason
    # clips that cannot be kept green are logged again by the run's retry
    with (
        contextlib.suppress(DailiesError),
        in_our_words(f"{run.run_id}: its green clips could not be kept green"),
    ):
        keep_green(instance, run.run_id)
    instance.report_run_failed(run, reason)
    return reason


def not_ended(instance: dg.DagsterInstance, ledger: Ledger, location: str | None) -> list[tuple[str, str]]:
    """The dead runs that nobody has ended in Dagster in time, each with a text about its clips."""
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
            said = end_dead_runs(context.instance, ledger, origin.location_name if origin else None)
    except DailiesError as error:
        return dg.SkipReason(str(error))
    for line in said:
        context.log.warning("%s", line)
    return dg.SkipReason("; ".join(said) or "every active run shows signs of life")
