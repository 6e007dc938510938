"""Dead processes: of runs, and of a running `dailies up`."""

import dagster as dg

from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.stack_state import running_stack
from pipelines.runs import not_ended
from resources.errors import DailiesError
from resources.inventory.findings import EVERYTHING_LIVES, Finding, found
from resources.ledger.ledger import Ledger
from resources.processes import is_living
from resources.settings import Settings


def vitals(settings: Settings, ledger: Ledger, instance: dg.DagsterInstance | None) -> Finding | None:
    """Find the dead processes of runs and of the stack; None if there is neither Dagster nor a stack.

    Args:
        ledger: The ledger, with the runs' heartbeats.
        instance: Dagster's storage; None if Dagster was never started.
    """
    stack = running_stack(settings.home)
    dead: list[tuple[str, str]] = []
    if instance is not None:
        dead += not_ended(instance, ledger, settings.location)
    if stack is not None:
        dead += [
            (name, f"its process {pid} has ended; see {settings.home / 'logs' / f'{name}.log'}")
            for name, pid in stack.get("processes", {}).items()
            if not is_living(pid)
        ]
        with DagsterApi(str(stack["dagster_url"])) as api:
            try:
                dead += api.not_alive()
            except DailiesError as error:
                dead.append(("webserver", str(error)))
    return found(EVERYTHING_LIVES, dead) if dead or stack is not None else None
