"""Removes data from Dagster's storage that its public API cannot remove; the tables and files here are private to Dagster.

`delete_run` leaves the run's captured output, its asset checks, and its SQLite file where it has one; the open-source storage
cannot remove the events of one partition (`wipe_asset_partitions` raises NotImplementedError). A test holds this against Dagster.
"""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa

RUNLESS = ""
"""The run id of events outside of runs."""
AT_ONCE = 500
"""The most keys in one statement."""

_EVENTS = sa.table(
    "event_logs",
    *map(sa.column, ("id", "run_id", "asset_key", "partition", "dagster_event_type", "timestamp")),
)
_IS_PLAN = _EVENTS.c.dagster_event_type == dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED.value
_TAGS = sa.table("asset_event_tags", sa.column("event_id"))
_CHECKS = sa.table(
    "asset_check_executions",
    *map(sa.column, ("id", "run_id", "asset_key", "check_name", "evaluation_event_timestamp")),
)


def stored_together(instance: dg.DagsterInstance) -> AbstractContextManager[None]:
    """Store the events of a block in one transaction, if the storage is ours. Nothing slow belongs in the block."""
    together = getattr(instance.event_log_storage, "together", None)
    return contextlib.nullcontext() if together is None else together()


def forget_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Remove a run with all of its data. Removing it again does nothing.

    Its events are removed first, so that an interrupted removal leaves the run listed, to be removed the next time.
    """
    storage = instance.event_log_storage
    storage.delete_events(run_id)
    with storage.index_connection() as connection:  # type: ignore[attr-defined]
        connection.execute(sa.delete(_CHECKS).where(_CHECKS.c.run_id == run_id))
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.delete_run(run_id)
    if (shard := _file_of(instance, run_id)) is not None:
        for name in (shard, f"{shard}-wal", f"{shard}-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()


def forget_partitions(
    instance: dg.DagsterInstance, assets: Iterable[dg.AssetKey], keys: Sequence[str]
) -> None:
    """Remove the events of partitions of assets, except for the plans of runs that are still there.

    A run's plans fix its clips; `forget_run` removes them.
    """
    names = [asset.to_string() for asset in assets]
    for connect in _runless_connections(instance):
        for start in range(0, len(keys), AT_ONCE):
            some = keys[start : start + AT_ONCE]
            which = sa.and_(_EVENTS.c.asset_key.in_(names), _EVENTS.c.partition.in_(some))
            with connect() as connection:
                of_runs = sa.select(_EVENTS.c.run_id).where(which, _IS_PLAN).distinct()
                planned_by = connection.execute(of_runs).scalars().all()
            planned = instance.get_run_ids(dg.RunsFilter(run_ids=planned_by)) if planned_by else []
            which = sa.and_(which, sa.or_(~_IS_PLAN, _EVENTS.c.run_id.not_in(planned)))
            with connect() as connection:
                ids = sa.select(_EVENTS.c.id).where(which)
                connection.execute(sa.delete(_TAGS).where(_TAGS.c.event_id.in_(ids)))
                connection.execute(sa.delete(_EVENTS).where(which))


def forget_checks(instance: dg.DagsterInstance, before: dt.datetime) -> None:
    """Remove old results of checks that have no run; the newest result of each check stays."""
    storage = instance.event_log_storage
    newest = sa.select(sa.func.max(_CHECKS.c.id)).group_by(_CHECKS.c.asset_key, _CHECKS.c.check_name)
    with storage.index_connection() as connection:  # type: ignore[attr-defined]
        old = sa.and_(_CHECKS.c.run_id == RUNLESS, _CHECKS.c.evaluation_event_timestamp < before)
        connection.execute(sa.delete(_CHECKS).where(old, _CHECKS.c.id.not_in(newest)))
    for connect in _runless_connections(instance):
        with connect() as connection:
            is_check = _EVENTS.c.dagster_event_type == dg.DagsterEventType.ASSET_CHECK_EVALUATION.value
            connection.execute(
                sa.delete(_EVENTS).where(_EVENTS.c.run_id == RUNLESS, is_check, _EVENTS.c.timestamp < before)
            )


def _runless_connections(instance: dg.DagsterInstance) -> list[Callable[[], Any]]:
    """Where events without a run lie: Dagster's own SQLite storage has them in a file of their own, too."""
    storage = instance.event_log_storage
    connections = [storage.index_connection]  # type: ignore[attr-defined]
    if _file_of(instance, RUNLESS) is not None:
        connections.append(lambda: storage.run_connection(RUNLESS))  # type: ignore[attr-defined]
    return connections


def _file_of(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """The SQLite file of a run's events; None if the storage has one database for all."""
    path_of = getattr(instance.event_log_storage, "path_for_shard", None)
    return None if path_of is None else str(path_of(run_id))
