"""The schedules: one for each series that declares one. They spend money, so they are off until a person turns them on."""

import datetime as dt
from collections.abc import Collection, Iterator
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorStatus

from pipelines.clip_batch import DECISION_TAG
from pipelines.jobs import submit_clips
from pipelines.partitions import add_clips, range_tags, stretches
from pipelines.rendered_clips import render
from pipelines.run_labels import ceiling, run_labels
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.ledger import data_pushes
from resources.ledger.approvals import order_clips
from resources.ledger.purchases import purchases_of
from resources.series import Series
from resources.series.series import SCHEDULE_SUFFIX

SERIES_TAG = "dailies/series"


def series_schedule(series: Series) -> dg.ScheduleDefinition:
    """The schedule of one series. Each tick requests runs that buy the clips of that date."""
    name = series.name
    declared = series.schedule
    if declared is None:
        raise ValueError(f"the series {name} has no schedule")
    zone = ZoneInfo(declared.timezone)

    @dg.schedule(
        name=series.schedule_name,
        job=submit_clips,
        cron_schedule=declared.cron,
        execution_timezone=declared.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"{series.title}: buys the clips of the day. Spends money; off until you turn it on.",
    )
    def tick(
        context: dg.ScheduleEvaluationContext, production: Production
    ) -> dg.SkipReason | list[dg.RunRequest]:
        when = context.scheduled_execution_time.astimezone(zone)
        try:
            return list(_requests(context.instance, production, name, when)) or dg.SkipReason(
                f"the series {name} has no clips"
            )
        except DailiesError as error:
            return dg.SkipReason(f"{name}: {error}")

    return tick


def stop_removed(instance: dg.DagsterInstance, declared: Collection[str], location: str) -> list[str]:
    """Turn off schedules that are no longer declared.

    Dagster keeps the state of a removed schedule. If it were declared again, perhaps a year later, it would buy although nobody turned it
    on.

    Args:
        declared: The names of the declared schedules.
        location: The name of the code location.

    Returns:
        The names of the schedules that were on.
    """
    running = instance.all_instigator_state(
        instigator_type=InstigatorType.SCHEDULE, instigator_statuses={InstigatorStatus.RUNNING}
    )
    removed = [
        state
        for state in running
        if state.origin.location_name == location
        and state.instigator_name.endswith(SCHEDULE_SUFFIX)
        and state.instigator_name not in declared
    ]
    for state in removed:
        instance.stop_schedule(state.instigator_origin_id, state.selector_id)
    return [state.instigator_name for state in removed]


def _requests(
    instance: dg.DagsterInstance, production: Production, name: str, when: dt.datetime
) -> Iterator[dg.RunRequest]:
    tick = when.isoformat(timespec="minutes")
    decision = f"schedule:{name}:{tick}"
    data, digest = production.checked_data()
    declarations = production.declarations_in(data)
    series = declarations.series.get(name)
    if series is None:
        problems = "; ".join(str(problem) for problem in declarations.problems)
        with production.ledger() as ledger:
            bought = purchases_of(ledger, decision)
        words = "nothing was bought" if bought.is_nothing else str(bought)
        raise DailiesError(f"the series is no longer declared, or it is broken; {words}. {problems}")
    keys = [clip.key for clip in series.clips(when.date() if series.dated else None)]
    rendered = render(declarations, keys)
    if rendered.problems:
        raise DailiesError("; ".join(f"{clip}: {why}" for clip, why in rendered.problems.items()))
    with production.ledger() as ledger:
        order = add_clips(instance, ledger, keys)
        if digest is not None:
            data_pushes.name_for(ledger, decision, digest)
        order_clips(ledger, decision, rendered.requests.values())
    for stretch in stretches(order, keys):
        yield dg.RunRequest(
            run_key=f"{name}:{tick}:{stretch[0]}",
            tags={
                **range_tags(stretch),
                **run_labels(
                    f"schedule {name} {when:%Y-%m-%d %H:%M}",
                    stretch,
                    ceiling([rendered.requests[key] for key in stretch]),
                ),
                DECISION_TAG: decision,
                SERIES_TAG: name,
            },
        )
