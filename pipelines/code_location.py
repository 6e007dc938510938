"""Builds everything that Dagster loads of dailies; tests call it with their own resources. Reads nothing when it is imported."""

import logging

import dagster as dg

from pipelines.alarm_sensor import alarms
from pipelines.asset_checks import checks_after_clips, hourly_inventory, inventory, take_inventory
from pipelines.assets.characters import make_characters
from pipelines.assets.clips import produce
from pipelines.assets.gallery import gallery
from pipelines.assets.prompts import prompts
from pipelines.assets.selects import choose
from pipelines.clip_pictures import contact_sheets
from pipelines.declared_clips import declared_clips
from pipelines.gallery_sensor import gallery_pages
from pipelines.jobs import ALL_JOBS
from pipelines.ledger_backup import daily_ledger_backup, ledger_backup
from pipelines.retention import daily_retention, retention
from pipelines.runs import dead_runs_sensor
from pipelines.schedules import series_schedule
from pipelines.sensors import account_names, completion_sensor
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.series import Series

logger = logging.getLogger("dailies")


def build_defs(
    production: Production | None = None, *, executor: dg.ExecutorDefinition | None = dg.in_process_executor
) -> dg.Definitions:
    """Build everything that Dagster loads.

    Args:
        production: The resource of all runs; tests pass their own.
        executor: The executor of all our runs; None to merge these definitions into a location with its own executor.
    """
    production = production or Production()
    return dg.Definitions(
        assets=[make_characters, prompts, produce, choose, contact_sheets, gallery],
        asset_checks=[take_inventory],
        jobs=[*ALL_JOBS, inventory, retention, ledger_backup],
        schedules=[
            hourly_inventory,
            daily_retention,
            daily_ledger_backup,
            *(series_schedule(series) for series in _declared(production) if series.schedule),
        ],
        sensors=[
            *map(completion_sensor, account_names(production)),
            declared_clips,
            dead_runs_sensor,
            gallery_pages,
            checks_after_clips,
            alarms,
        ],
        resources={"production": production},
        executor=executor,
    )


def _declared(production: Production) -> list[Series]:
    """The valid series. A mistake in one series must not break the code location for the others."""
    try:
        declarations = production.declarations()
    except DailiesError as error:
        logger.warning("no series could be read, so there are no schedules: %s", error)
        return []
    for problem in declarations.problems:
        logger.error("%s", problem)
    return list(declarations.series.values())
