"""Keeps schedules and accounts in line with their files, in any Dagster.

Dagster creates schedules and sensors only when it loads the definitions, and a code location cannot reload itself. `dailies up`
reloads its own; elsewhere the sensor `declared_clips` asks the webserver once for each edit, and reports the result.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass, field

import dagster as dg

from pipelines.location_reload import RELOAD, why_not_loaded
from pipelines.schedules import stop_removed
from pipelines.sensors import completion_name
from resources.dagster_resources import Production
from resources.network.transports import client
from resources.series import Declarations
from resources.series.series import SCHEDULE_SUFFIX
from resources.settings import Settings
from resources.variables import STACK

RELOAD_SECONDS = 25.0
"""How long a tick waits for a reload; Dagster ends a tick after 60 s."""


@dataclass
class FollowedFiles:
    """The state of the data folder that this process knows; empty after a reload."""

    files: dict[str, str] | None = None
    """Digest by file, when the declarations were last compared."""
    declared: frozenset[str] | None = None
    """The declared schedules; None while a file is broken, since its schedule would seem to be removed."""
    outdated: tuple[str, ...] = ()
    """The schedules and sensors whose declaration differs from the loaded one."""
    asked: set[tuple[str, ...]] = field(default_factory=set)
    """The reloads that the webserver was asked for."""
    problem: str = ""
    """The result of the last one, for a person."""

    def follow(
        self,
        context: dg.SensorEvaluationContext,
        production: Production,
        files: dict[str, str],
        declarations: Declarations | None,
    ) -> str:
        """Turn off schedules that no series declares, and let Dagster load changed schedules and accounts.

        Args:
            files: The digest of each file of the data folder.
            declarations: The declarations; None if `files` has not changed since the last call.

        Returns:
            A text for a person; empty if everything is loaded as declared.
        """
        if declarations is not None:
            self.files = files
            declared = {one.schedule_name for one in declarations.series.values() if one.schedule}
            self.declared = None if declarations.problems else frozenset(declared)
            if context.repository_def is not None:
                accounts = production.settings().account_names
                self.outdated = tuple(outdated(context.repository_def, declarations, accounts))
        origin = context.code_location_origin
        if origin is None:
            return ""
        if self.declared is not None:
            for name in stop_removed(context.instance, self.declared, origin.location_name):
                context.log.warning("%s was on, and no series declares it any more: it is off now", name)
        if not self.outdated:
            return ""
        if self.outdated not in self.asked:
            self.asked.add(self.outdated)
            self.problem = _load_anew(production.settings(), origin.location_name, self.outdated)
            context.log.warning("%s", self.problem)
        return self.problem


def outdated(
    repository: dg.RepositoryDefinition, declarations: Declarations, accounts: Collection[str]
) -> list[str]:
    """The schedules and completion sensors whose declaration differs from the loaded one, each with its declaration."""
    loaded = {
        schedule.name: (schedule.cron_schedule, schedule.execution_timezone)
        for schedule in repository.schedule_defs
        if schedule.name.endswith(SCHEDULE_SUFFIX)
    }
    declared = {
        one.schedule_name: (one.schedule.cron, one.schedule.timezone)
        for one in declarations.series.values()
        if one.schedule is not None
    }
    names = [
        f"{name} ({' '.join(filter(None, when))})"
        for name, when in declared.items()
        if loaded.get(name) != when
    ]
    if not declarations.problems:
        names += [f"{name} (removed)" for name in loaded.keys() - declared.keys()]
    sensors = {sensor.name for sensor in repository.sensor_defs}
    return sorted([*names, *({completion_name(name) for name in accounts} - sensors)])


def _load_anew(settings: Settings, location: str, names: Collection[str]) -> str:
    """Ask the webserver to reload the code location; returns the result, for a person."""
    reason = f"{', '.join(names)}: the declaration differs from what Dagster has loaded"
    if STACK in os.environ:
        return f"{reason}; `dailies up` loads it within a minute"
    url = settings.dagster_url.rstrip("/")
    try:
        with client(settings.network, url, timeout_seconds=RELOAD_SECONDS) as http:
            http.headers.update(settings.dagster_headers)
            answer = http.post(
                f"{url}/graphql", json={"query": RELOAD, "variables": {"location": location}}
            ).json()
        why = why_not_loaded(answer["data"])
    except Exception as error:  # noqa: BLE001 - any answer is possible there; the tick goes on and reports it
        why = (
            f"{url} did not answer ({type(error).__name__}); DAILIES_DAGSTER_URL says where the webserver is"
        )
    if not why:
        return f"{reason}; {url} was asked once to reload the code location {location}. If this message stays, restart its code server"
    return f"{reason}, and it could not be loaded: {why}. Reload the code location {location} (Deployment, Code locations)"
