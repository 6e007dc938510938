"""One `dailies up` per home: its lock, and taking over the processes, runs and claims that an earlier one left."""

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipelines.cli.stack_state import LOCK_FILE, STATE_FILE
from resources.errors import ConfigurationError, DailiesError
from resources.file_lock import FileLockedError, lock_file
from resources.ledger import heartbeats
from resources.ledger.handover import handover_of
from resources.ledger.ledger import Ledger, machine_name
from resources.processes import RUN_WORKER_TITLE, Process, end, is_living, of_home, started_at
from resources.program_files import program_file
from resources.settings import Settings, open_ledger

LOCK_PATIENCE_SECONDS = 2.0
"""How long to retry the lock, since another command may be probing it."""
LEFT_SECONDS = 15.0
"""How long left processes may take to end."""
HANDOVER_SECONDS = 45.0
"""How long runs may take to hand over; longer than their POSTs in flight may take."""


@contextlib.contextmanager
def only_stack(home: Path, dagster_url: str) -> Iterator[None]:
    """Hold a home for one `dailies up`. The kernel ends the lock with the process, even after a kill.

    Raises:
        ConfigurationError: Another one holds the home; the text names its process.
    """
    with (home / LOCK_FILE).open("a+") as file:
        try:
            lock_file(file, patience_seconds=LOCK_PATIENCE_SECONDS)
        except FileLockedError as error:
            first: dict[str, Any] = {}
            with contextlib.suppress(ValueError):
                first = json.loads(error.holder)
            if not first:
                raise ConfigurationError(
                    f"another dailies starts or ends in {home} at this moment. Nothing was started; try again in a minute."
                ) from None
            raise ConfigurationError(
                f"dailies is already running here (process {first['pid']}, Dagster at "
                f"{first['dagster_url']}). Use it, or end it with Ctrl-C where it runs."
            ) from None
        file.truncate(0)
        own = os.getpid()
        file.write(json.dumps({"pid": own, "started_at": started_at(own), "dagster_url": dagster_url}))
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def take_over(settings: Settings, home: Path, dagster_home: Path, *, log: Callable[[str], None]) -> None:
    """End the processes that an earlier stack of this home left, and runs whose process has died.

    Args:
        home: The home, whose lock the caller holds.
        dagster_home: The folder of Dagster's storage.
        log: Prints progress.
    """
    (home / STATE_FILE).unlink(missing_ok=True)
    left = end(of_home(home), home, seconds=LEFT_SECONDS)
    if left:
        named = ", ".join(f"{name_of(process)} ({process.pid})" for process in left)
        log(f"ended processes that an earlier dailies of this home had left: {named}")
    if not (dagster_home / "storage").is_dir() and not (dagster_home / "dagster.yaml").is_file():
        return
    try:
        with open_ledger(settings) as ledger:
            take_claims(ledger)
            if not heartbeats.any_lost(ledger):
                return
            from dagster import DagsterInstance

            from pipelines.runs import end_dead_runs

            with DagsterInstance.from_config(str(dagster_home)) as instance:
                for line in end_dead_runs(instance, ledger, settings.location):
                    log(f"ended a run whose process has died: {line}")
    except DailiesError as error:
        log(f"runs of an earlier dailies are not ended yet; the sensor dead_runs will end them: {error}")


def take_claims(ledger: Ledger) -> None:
    """Take the claims of dead processes of this machine without waiting until they expire."""
    for run_id, owner in heartbeats.owners(ledger).items():
        pid = pid_of(owner)
        if pid is not None and not is_living(pid):
            heartbeats.take(ledger, run_id, owner)


def pid_of(owner: str) -> int | None:
    """The process id in the name of a claim's owner; None for another machine."""
    machine, _, rest = owner.partition(":")
    pid = rest.partition(":")[0]
    return int(pid) if machine == machine_name() and pid.isdigit() else None


def name_of(process: Process) -> str:
    """The name of a process of a stack, for a person."""
    if process.title == RUN_WORKER_TITLE:
        return "run worker"
    command = " ".join(process.command)
    for words, name in (
        ("code-server start", "code server"),
        ("api grpc", "process that holds the code"),
        ("spawn_main", "run worker"),
        ("multiprocessing.forkserver", "fork server"),
        ("pipelines.webserver", "webserver"),
        ("pipelines.daemon", "daemon"),
        ("resources.sandbox", "sandbox"),
        ("serve s3", "embedded S3"),
        ("resources.keeper", "keeper"),
    ):
        if words in command:
            return name
    return process.command[0] if process.command else "a process"


def hand_over(settings: Settings, home: Path, stack: str, *, log: Callable[[str], None]) -> None:
    """Let the runs of an ending stack hand over their clips, and print these from the ledger.

    Each run sends nothing more and waits a moment for the answers to its POSTs. The queue is kept for the next `dailies up`.
    """
    workers = {process.pid: process for process in of_home(home) if process.stack == stack}
    if not workers:
        return
    try:
        with open_ledger(settings) as ledger:
            active_runs = {
                run_id: workers[pid]
                for run_id, owner in heartbeats.owners(ledger).items()
                if (pid := pid_of(owner)) in workers and pid is not None
            }
            if not active_runs:
                return
            log(
                f"waiting up to {HANDOVER_SECONDS:.0f} s until active runs hand over: {', '.join(active_runs)}"
            )
            end(set(active_runs.values()), home, seconds=HANDOVER_SECONDS)
            for run_id in active_runs:
                log(f"run {run_id} has handed over. Of its clips: {handover_of(ledger, [run_id])}")
            log(
                "the next `dailies up` continues with these clips; run `dailies stop` first if nothing more may be sent"
            )
            take_claims(ledger)
    except DailiesError as error:
        log(f"what happens to the clips of active runs is not known: {error}")


def link_dagster_yaml(dagster_home: Path) -> None:
    """Let the project's dagster.yaml, or else the program's, configure Dagster, unless a person put another file there."""
    own, link = Path("dagster.yaml").absolute(), dagster_home / "dagster.yaml"
    target = own if own.exists() else program_file("dagster.yaml")
    if link.exists() and not link.is_symlink():
        return
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(target)
    except OSError:
        shutil.copyfile(target, link)
