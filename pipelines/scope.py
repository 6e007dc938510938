"""The scope of a run: its clips, by name.

Dagster stores a run's range as two keys and looks up the keys between them each time. Keys that are deleted and added again, or added
by another series, change the range while a run waits in the queue, and again when it is re-executed. So a run's clips are those that
Dagster planned when it created the first run, and of those only the clips of its decision.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import dagster as dg

from pipelines.clip_batch import APPROVED_TAG, BACKFILL_TAG, DECISION_TAG, decision_of
from pipelines.lineage import CHARACTERS, EVENTS_LOOKED_AT, SUBMISSIONS, latest
from pipelines.partitions import PARTITION, RANGE_END, RANGE_START, clips
from resources.dagster_resources import Production
from resources.errors import ConfigurationError
from resources.ledger.decision_clips import fix_clips, fixed_clips
from resources.ledger.outage import RIDE_OUT_SECONDS, repeat_unrecorded

NO_RUN = "dailies-planned-by-nobody"
"""A run id that Dagster does not know: its events plan a key for no run."""
SHOWN = 20
LEFT_ALONE = "left_alone"

Step = dg.AssetExecutionContext | dg.OpExecutionContext


@dataclass(frozen=True)
class RunScope:
    """The scope of one run."""

    keys: list[str]
    """Its clips, in the partitions' order."""
    strangers: tuple[str, ...] = ()
    """Keys in its range that are not its clips."""
    gone: tuple[str, ...] = ()
    """Its clips whose partition was deleted."""
    lost_end: str | None = None
    """An end of its range whose partition was deleted; None if both exist."""


def scope_of(
    context: dg.AssetExecutionContext, production: Production, of: dg.DynamicPartitionsDefinition = clips
) -> RunScope:
    """Find the clips (or characters) of a run.

    Args:
        production: Opens the ledger, which knows the clips of the run's decision.
        of: The partitions.

    Raises:
        ConfigurationError: The run names no clips.
        UnavailableError: The ledger does not answer.
    """
    run, instance = context.run, context.instance
    if not {RANGE_START, PARTITION} & run.tags.keys():
        raise ConfigurationError(
            "this run names no clips, so there is nothing to do. Choose partitions under Materialize, or run "
            "`dailies produce`."
        )
    order = list(instance.get_dynamic_partitions(of.name or ""))
    covered, lost_end = _covered(run, order)
    planned = planned_keys(instance, run.run_id)
    now = dict.fromkeys([*covered, *_all_of(planned)])
    named = _named(instance, run, covered) or list(now)
    buys = not planned or bool({SUBMISSIONS, CHARACTERS} & planned.keys())
    own = repeat_unrecorded(_keys_of_decision, instance, production, run, named, buys=buys)
    position = {key: index for index, key in enumerate(order)}
    return RunScope(
        keys=sorted((key for key in own if key in position), key=position.__getitem__),
        strangers=tuple(key for key in now if key not in own),
        gone=tuple(key for key in own if key not in position),
        lost_end=lost_end,
    )


def scope_of_list(
    context: dg.OpExecutionContext, production: Production, keys_listed: Iterable[str]
) -> RunScope:
    """The scope of a run with a list of keys: the keys that belong to its decision."""
    keys = list(dict.fromkeys(keys_listed))
    with production.ledger() as ledger:
        if not repeat_unrecorded(fixed_clips, ledger, decision_of(context.run)):
            _refuse_unknown_approval(context.run)
        own = repeat_unrecorded(fix_clips, ledger, decision_of(context.run), keys)
    return RunScope([key for key in keys if key in own], tuple(key for key in keys if key not in own))


def leave_alone(context: Step, scope: RunScope) -> None:
    """Log the keys that the run leaves alone, and make Dagster show them as before the run was created.

    A failing run turns red every key that was planned for it. A new plan event that assigns such a key to its earlier run takes the key
    out of this one.
    """
    if scope.gone:
        context.log.warning(
            "the partitions of %d clips of this run were deleted, so they are left alone: %s. The completion sensor "
            "fetches those that are paid for",
            len(scope.gone),
            _listed(scope.gone),
        )
    if not scope.strangers:
        return
    context.log.warning(
        "this run covers %d keys that do not belong to its decision: %s. They are left alone: it neither buys, fetches nor "
        "shows them",
        len(scope.strangers),
        _listed(scope.strangers),
    )
    show_as_before(context, scope.strangers)


def show_as_before(context: Step, keys: Iterable[str]) -> None:
    """Make Dagster show keys that were planned for this run as before the run was created."""
    found = set(keys)
    for event in _plans(context.instance, context.run.run_id):
        if event.partition in found:
            _show_as_before(context.instance, event, context.run.run_id)


def keep_green(instance: dg.DagsterInstance, run_id: str) -> None:
    """Keep those clips green that were green before the run, which is about to be marked as failed, was created.

    The retry of a dead run covers clips that other runs delivered meanwhile. When such a retry died too, before it had logged them again,
    all of them turned red.
    """
    for event in _plans(instance, run_id):
        _show_as_before(instance, event, run_id, unless_red=True)


def log_left_alone(context: Step, asset: dg.AssetKey, scope: RunScope) -> None:
    """Log on the page of each clip that a run left alone the reason for it."""
    why = dict.fromkeys(scope.strangers, "it does not belong to the run's decision")
    why |= dict.fromkeys(scope.gone, "its partition was deleted")
    for key, reason in why.items():
        context.log_event(
            dg.AssetObservation(
                asset, partition=key, metadata={LEFT_ALONE: reason, "decision": decision_of(context.run)}
            )
        )


def planned_clips(instance: dg.DagsterInstance, run_id: str) -> frozenset[str]:
    """The keys that a run was created for."""
    return frozenset(_all_of(planned_keys(instance, run_id)))


def _listed(keys: Collection[str]) -> str:
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return f"{', '.join(list(keys)[:SHOWN])}{more}"


def _covered(run: dg.DagsterRun, order: list[str]) -> tuple[list[str], str | None]:
    """The present keys in the run's range, or an end of the range whose partition was deleted."""
    start = run.tags.get(PARTITION) or run.tags[RANGE_START]
    end = run.tags.get(PARTITION) or run.tags[RANGE_END]
    for key in (start, end):
        if key not in order:
            return [], key
    return order[order.index(start) : order.index(end) + 1], None


def planned_keys(instance: dg.DagsterInstance, run_id: str) -> dict[dg.AssetKey, list[str]]:
    """The keys that Dagster planned when it created a run, by asset."""
    keys: dict[dg.AssetKey, list[str]] = {}
    for event in _plans(instance, run_id):
        if event.asset_key is not None and event.partition is not None:
            keys.setdefault(event.asset_key, []).append(event.partition)
    return keys


def _plans(instance: dg.DagsterInstance, run_id: str) -> list[dg.DagsterEvent]:
    """The events with which Dagster planned a run: one for each asset and key."""
    entries = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    return [entry.dagster_event for entry in entries if entry.dagster_event is not None]


def _all_of(planned: Mapping[dg.AssetKey, list[str]]) -> list[str]:
    return list(dict.fromkeys(key for keys in planned.values() for key in keys))


def _named(instance: dg.DagsterInstance, run: dg.DagsterRun, covered: list[str]) -> list[str]:
    """The keys that the first run of a chain of re-executions was created for."""
    root = run if run.root_run_id is None else instance.get_run_by_id(run.root_run_id)
    if root is None:
        # the first run was deleted, so the plan of its re-execution is used
        return _all_of(planned_keys(instance, run.run_id))
    named = _all_of(planned_keys(instance, root.run_id))
    if any(root.tags.get(tag) != run.tags.get(tag) for tag in (PARTITION, RANGE_START, RANGE_END)):
        # a person changed the range of the re-execution, which may cover fewer keys but never more
        return [key for key in named if key in set(covered)]
    return named


def _keys_of_decision(
    instance: dg.DagsterInstance, production: Production, run: dg.DagsterRun, named: list[str], *, buys: bool
) -> list[str]:
    """The keys that belong to the run's decision; with `buys`, they are fixed in the ledger if they were not before."""
    decision = decision_of(run)
    with production.ledger(patience=RIDE_OUT_SECONDS) as ledger:
        known = fixed_clips(ledger, decision)
        if not known and buys:
            _refuse_unknown_approval(run)
            decision, first_seen = _first_seen(instance, run, named)
            known = fix_clips(ledger, decision, first_seen)
    return [key for key in named if not known or key in known]


def _refuse_unknown_approval(run: dg.DagsterRun) -> None:
    """Refuse to buy clips that a person approved in another ledger, or in one that was lost since.

    Raises:
        ConfigurationError: The run carries an approval.
    """
    if APPROVED_TAG in run.tags:
        raise ConfigurationError(
            f"this ledger does not know what was approved for {decision_of(run)}, so nothing was bought: it was rebuilt since, or "
            "it is not the ledger of the command. Run `dailies produce` again; paid clips are still fetched."
        )


def _first_seen(instance: dg.DagsterInstance, run: dg.DagsterRun, named: list[str]) -> tuple[str, list[str]]:
    """The clips of a decision that the ledger does not know yet, and the name under which they are recorded.

    For a backfill, its own list of keys counts, since it creates further runs. For any other decision with several runs (a person tagged
    them, or the ledger was lost), each first run is recorded separately.
    """
    if BACKFILL_TAG in run.tags and DECISION_TAG not in run.tags:
        targets = _backfill_targets(instance, run.tags[BACKFILL_TAG])
        if targets:
            return decision_of(run), targets
    return run.root_run_id or run.run_id, named


def _backfill_targets(instance: dg.DagsterInstance, backfill_id: str) -> list[str]:
    backfill = instance.get_backfill(backfill_id)
    if backfill is None:
        return []
    data = backfill.asset_backfill_data
    if data is None:
        return list(backfill.partition_names or ())
    subsets = data.target_subset.partitions_subsets_by_asset_key.values()
    return list(dict.fromkeys(key for subset in subsets for key in subset.get_partition_keys()))


def _show_as_before(
    instance: dg.DagsterInstance, plan: dg.DagsterEvent, run_id: str, *, unless_red: bool = False
) -> None:
    """Plan a key for its earlier run again, so that Dagster keeps showing that run's outcome instead of this run's.

    If no run's outcome counted (the key was never planned, or was materialized since), the run is `NO_RUN`.

    Args:
        plan: The event that planned the key for this run.
        run_id: This run.
        unless_red: Whether to do this only if the key was green or another run works on it.
    """
    asset, key = plan.asset_key, plan.partition
    if asset is None or key is None:
        return
    query = dg.EventRecordsFilter(
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, asset_key=asset, asset_partitions=[key]
    )
    plans = instance.event_log_storage.get_event_records(query, limit=EVENTS_LOOKED_AT)
    if (
        not plans
        or plans[0].event_log_entry.run_id != run_id
        or _newest_materialization(instance, asset, key) > plans[0].storage_id
    ):
        return
    before = next((record for record in plans if record.event_log_entry.run_id != run_id), None)
    shown = NO_RUN if before is None else before.event_log_entry.run_id
    since = 0 if before is None else before.storage_id
    made = _newest_materialization(instance, asset, key)
    if unless_red and made <= since and _is_grey_or_red(instance, shown, made):
        return
    if made > since:
        shown = NO_RUN
    instance.report_dagster_event(plan, shown)
    if shown != NO_RUN and _newest_materialization(instance, asset, key) > since:
        # that run has just materialized the key, so the plan event after it would show the run's outcome instead
        instance.report_dagster_event(plan, NO_RUN)


def _newest_materialization(instance: dg.DagsterInstance, asset: dg.AssetKey, key: str) -> int:
    """The number of the newest materialization, 0 without one."""
    made = latest(instance, asset, key)
    return 0 if made is None else made.storage_id


def _is_grey_or_red(instance: dg.DagsterInstance, run_id: str, made: int) -> bool:
    """Whether a key that a run planned and did not materialize is neither green nor in progress."""
    run = instance.get_run_by_id(run_id)
    if run is not None and not run.is_finished:
        return False
    return not made or (run is not None and run.status is dg.DagsterRunStatus.FAILURE)
