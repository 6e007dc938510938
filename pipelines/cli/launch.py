"""Launching runs for a command: it adds partitions, requests one run for each stretch of clips, and waits for them.

Dagster is imported only when something is launched: it takes longer than everything that a command does before its question.
"""

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pipelines.cli.bought import bought_so_far, reported_on_interrupt
from pipelines.cli.clip_table import as_document, show_clips
from pipelines.cli.dagster_api import DagsterApi, RunState
from pipelines.cli.declared import declarations_of
from pipelines.cli.progress import ClipProgress
from pipelines.cli.signals import end_on_signals
from pipelines.cli.stack_state import running_stack, why_no_stack
from pipelines.cli.terminal import complain, counted, errors, print_json, tell
from pipelines.rendered_clips import render
from pipelines.run_labels import run_labels
from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.ledger import data_pushes, policy_history
from resources.ledger.approvals import Approval, approve_clips
from resources.ledger.records import Attempt
from resources.ledger.rules import leading_purchase
from resources.ledger.states import AttemptState
from resources.orders import TakeSlot
from resources.planning import AS_DECLARED, TakesAsked
from resources.settings import Settings, open_ledger
from resources.shared_data.source import bring, checked_digest

if TYPE_CHECKING:
    import dagster as dg

    from pipelines.partitions import PartitionStore

LOOK_SECONDS = 1.0
EDITS_NAMED = 3
SILENCE_SECONDS = 15.0
"""How long to wait for a Dagster that does not answer: its webserver may be restarting."""
RETRY_SECONDS = 120.0
"""How long to wait for a retry that Dagster has announced; its daemon looks every few seconds."""
ANNOUNCED_SECONDS = 5.0
"""How long after a failure Dagster may announce the retry: it writes the failure first. Without this wait, a command once ended
after the run of a dead host, before the retry had collected the clips."""


@dataclass(frozen=True)
class Launch:
    """How a command launches the runs of its clips. Its plan and its approval are made for the same takes."""

    command: str
    """The command's name, the first part of a new decision's name."""
    job: str
    """The job for contiguous clips."""
    asked: TakesAsked = AS_DECLARED
    series: str | None = None
    """The series, for the run's tags."""
    scattered: bool = False
    """Whether one run over a list of keys produces clips that are not contiguous."""
    decision: str | None = None
    """The decision's name, if a request that is sent twice must be one decision; None makes a new one."""


RETRY = Launch("retry", "produce_clips", scattered=True)
"""Failed clips lie anywhere among the partitions."""


@dataclass
class Launched:
    """The runs that a command requested."""

    decision: str
    """The decision of their purchases."""
    keys: list[str]
    runs: list[str] = field(default_factory=list)
    """Ids of the runs."""


def check_dagster(settings: Settings, api: DagsterApi) -> None:
    """Check that runs can be requested.

    Raises:
        ConfigurationError: No `dailies up` of this home runs, and no setting says where Dagster is.
        UnavailableError: Dagster does not answer. Nothing was bought.
    """
    if "dagster_url" not in settings.model_fields_set:
        # the Dagster of another home may listen at the default port
        _dagster_home(settings)
    api.query("query Answers { version }", buys=True)


def dagster_instance(settings: Settings) -> "dg.DagsterInstance":
    """The Dagster instance whose daemon starts the runs.

    Raises:
        ConfigurationError: None was found.
    """
    import dagster as dg

    # Dagster refuses a relative path
    os.environ["DAGSTER_HOME"] = str(_dagster_home(settings).absolute())
    return dg.DagsterInstance.get()


def is_here(settings: Settings) -> bool:
    """Whether this machine can open Dagster's storage."""
    return bool(running_stack(settings.home) or os.environ.get("DAGSTER_HOME"))


def _dagster_home(settings: Settings) -> Path:
    state = running_stack(settings.home)
    home = os.environ.get("DAGSTER_HOME") or (state or {}).get("dagster_home")
    if not home or not Path(home).is_dir():
        raise ConfigurationError(
            f"{why_no_stack(settings.home)}, or set DAILIES_DAGSTER_URL to where it runs."
        )
    return Path(home)


@contextlib.contextmanager
def partition_store(settings: Settings, api: DagsterApi) -> Iterator["PartitionStore"]:
    """Where partitions are added: Dagster's storage if `dailies up` runs in this home, else its webserver.

    The storage reads 100,000 keys in 0.3 s.
    """
    if running_stack(settings.home) or "dagster_url" not in settings.model_fields_set:
        with dagster_instance(settings) as instance:
            yield instance
    else:
        yield api


def dagster_url(settings: Settings) -> str:
    """The webserver's address."""
    state = running_stack(settings.home)
    return str(state["dagster_url"]) if state else settings.dagster_url


def launch(settings: Settings, api: DagsterApi, approvals: Sequence[Approval], how: Launch) -> Launched:
    """Request the runs that produce these clips.

    Args:
        approvals: The clips, with the order and price approved for each. The runs buy nothing else.

    Raises:
        DailiesError: A clip was edited after its plan was shown (then nothing is requested), or Dagster does not accept the run.
        resources.errors.ConfigurationError: This host's settings are not the policy in force, or its data folder is not the
            current one.
    """
    from pipelines.clip_batch import APPROVED_TAG, DECISION_TAG
    from pipelines.partitions import add_clips, range_tags, stretches
    from pipelines.schedules import SERIES_TAG

    # the settings may name the folder of an earlier push
    settings = bring(settings)
    keys = [approval.clip for approval in approvals]
    _check_unedited(settings, [approval for approval in approvals if approval.at_most_micros])
    with open_ledger(settings) as ledger, partition_store(settings, api) as store:
        policy_history.check(ledger)
        digest = checked_digest(settings, ledger)
        partitions = add_clips(store, ledger, keys)
        launched = Launched(how.decision or f"{how.command}:{uuid.uuid4().hex[:12]}", list(keys))
        # fixed before any run exists, so that a run in Dagster's queue cannot buy clips that are added later
        if digest is not None:
            data_pushes.name_for(ledger, launched.decision, digest)
        approve_clips(ledger, launched.decision, approvals)
    tags = {DECISION_TAG: launched.decision, APPROVED_TAG: "true"}
    if how.series:
        tags[SERIES_TAG] = how.series
    most = {approval.clip: approval.total_micros for approval in approvals}

    def labels(clips: Sequence[str]) -> dict[str, str]:
        return run_labels(
            " ".join(filter(None, (how.command, how.series))), clips, sum(map(most.__getitem__, clips))
        )

    lists = stretches(partitions, keys)
    options: dict[str, object] = {}
    if how.asked.regenerate:
        options["regenerate"] = True
    if how.asked.number:
        options["takes"] = how.asked.number
    if how.scattered and len(lists) > 1:
        config = {"ops": {"produce_scattered": {"config": {"keys": list(keys), **options}}}}
        with reported_on_interrupt(settings, launched.decision):
            launched.runs.append(
                api.launch("produce_scattered_clips", tags={**tags, **labels(keys)}, config=config)
            )
        return launched
    config = {"ops": {"produce": {"config": options}}} if options else {}
    with reported_on_interrupt(settings, launched.decision):
        for stretch in lists:
            try:
                labelled = {**tags, **labels(stretch), **range_tags(stretch)}
                launched.runs.append(api.launch(how.job, tags=labelled, config=config))
            except DailiesError as error:
                if not launched.runs:
                    raise
                raise type(error)(
                    f"only {len(launched.runs)} of {counted(len(lists), 'run')} were started "
                    f"({', '.join(launched.runs)}); the next one: {error}\n"
                    f"{bought_so_far(settings, launched.decision)}\n"
                    "Run the command again for the rest: clips that were bought are not bought again."
                ) from None
    return launched


def _check_unedited(settings: Settings, approvals: Sequence[Approval]) -> None:
    """Refuse edited clips at once; the run would refuse them one by one (`resources.ledger.approvals`).

    Raises:
        ConfigurationError: A clip may not be bought as it is declared now.
    """
    now = {a.clip: a for a in approve_as_declared(settings, [approval.clip for approval in approvals])}
    if edited := [f"{a.clip}: {why}" for a in approvals if (why := a.difference(now[a.clip])) is not None]:
        more = f"\nand {len(edited) - EDITS_NAMED} more" if len(edited) > EDITS_NAMED else ""
        named = "\n".join(edited[:EDITS_NAMED])
        raise ConfigurationError(
            "the data folder was edited after the plan was made. Nothing was bought; run the command again to see the new "
            f"plan.\n{named}{more}"
        )


def approve_as_declared(settings: Settings, keys: Sequence[str]) -> list[Approval]:
    """Approve clips at their catalogue prices without a question, for the demo and benchmarks.

    Raises:
        ConfigurationError: A clip cannot be produced.
    """
    rendered = render(declarations_of(settings), keys)
    if rendered.problems:
        listed = "\n".join(f"{clip}: {why}" for clip, why in rendered.problems.items())
        raise ConfigurationError(
            f"{len(rendered.problems)} of {len(keys)} clips cannot be produced; nothing was bought.\n{listed}"
        )
    return [Approval.of(request) for request in rendered.requests.values()]


@dataclass
class Waited:
    """The result of runs that a command waited for."""

    newest: dict[TakeSlot, Attempt]
    """The newest attempt of each take."""
    runs: list[RunState]
    """The last state of each run, or of its last re-execution."""

    @property
    def by_clip(self) -> dict[str, Attempt]:
        """The leading purchase of each clip."""
        clips = dict.fromkeys(attempt.clip for attempt in self.newest.values())
        return {clip: leading_purchase(a for a in self.newest.values() if a.clip == clip) for clip in clips}

    @property
    def broken(self) -> list[str]:
        """Ids of the runs that did not succeed, even after retries."""
        return [run.run_id for run in self.runs if run.status != "SUCCESS"]


def wait_for(api: DagsterApi, settings: Settings, launched: Launched, *, quiet: bool) -> Waited:
    """Wait until the runs are over, and show their progress; see `wait_for_runs`."""
    progress = ClipProgress(launched.keys, errors, quiet=quiet)
    with progress, open_ledger(settings) as ledger:
        runs = wait_for_runs(
            api, settings, launched.decision, launched.runs, look=lambda: progress.look(ledger)
        )
        return Waited(ledger.latest_takes(launched.keys), runs)


def wait_for_runs(
    api: DagsterApi, settings: Settings, decision: str, roots: Sequence[str], *, look: Callable[[], object]
) -> list[RunState]:
    """Wait until runs and their re-executions (Dagster's retry, or a person's) are over.

    Args:
        decision: The decision of the runs' purchases.
        roots: The requested runs.
        look: Called every second.

    Returns:
        The last run of each chain of re-executions.

    Raises:
        UnavailableError: Dagster or the ledger does not answer for `SILENCE_SECONDS`; the text says what was bought.
        typer.Exit: Ctrl-C was pressed, after a message about what was bought.
    """
    end_on_signals()
    with reported_on_interrupt(settings, decision):
        answered_at = over_since = time.monotonic()
        while True:
            try:
                look()
                runs = [api.newest_run(run) for run in roots]
            except UnavailableError as error:
                if time.monotonic() - answered_at > SILENCE_SECONDS:
                    raise UnavailableError(
                        f"{error} The state of the runs of {decision} is not known. {bought_so_far(settings, decision)}"
                    ) from None
                time.sleep(LOOK_SECONDS)
                continue
            answered_at = time.monotonic()
            if not all(run.is_over for run in runs):
                over_since = answered_at
            elif answered_at - over_since >= _retry_seconds(runs):
                return runs
            time.sleep(LOOK_SECONDS)


def _retry_seconds(ended: Sequence[RunState]) -> float:
    """How long a retry of ended runs may still begin, in seconds."""
    if any(run.will_retry for run in ended):
        return RETRY_SECONDS
    return ANNOUNCED_SECONDS if any(run.status == "FAILURE" for run in ended) else 0.0


def finish(
    settings: Settings,
    api: DagsterApi,
    launched: Launched,
    *,
    wait: bool,
    as_json: bool,
    refused: Mapping[str, str] | None = None,
) -> None:
    """Print the requested runs; with `wait`, also their result. Exit with 1 if clips failed or were refused."""
    urls = [f"{api.url}/runs/{run}" for run in launched.runs]
    document = {
        "decision": launched.decision,
        "runs": launched.runs,
        "urls": urls,
        "clips": launched.keys,
        "refused": dict(refused or {}),
    }
    if not as_json:
        left_out = f", {len(refused)} refused" if refused else ""
        tell(f"requested {counted(len(launched.keys), 'clip')}{left_out}, in {counted(len(urls), 'run')}:")
        tell("\n".join(urls))
    if not wait:
        if as_json:
            print_json(document)
        if refused:
            raise typer.Exit(1)
        return
    waited = wait_for(api, settings, launched, quiet=as_json)
    newest, broken = waited.newest, waited.broken
    delivered = [a for a in newest.values() if a.state is AttemptState.DELIVERED]
    if as_json:
        print_json(
            {
                **document,
                "results": [as_document(a) for a in newest.values()],
                "failed_runs": {run: api.why_failed(run) for run in broken},
            }
        )
    else:
        if newest:
            show_clips(newest.values())
        for run in broken:
            complain(f"{api.why_failed(run)}\n(run {api.url}/runs/{run})")
        if any(not a.state.is_ended or a.state is AttemptState.SUCCEEDED for a in newest.values()):
            complain(bought_so_far(settings, launched.decision))
    if broken or refused or len({a.clip for a in delivered}) < len(launched.keys):
        raise typer.Exit(1)
