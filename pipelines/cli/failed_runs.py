"""Runs that bought nothing, so that no clip shows them: failed runs, and runs that have not bought yet.

`dailies status` shows them, so this module must not import Dagster, which takes longer than the whole command.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.cli.stack_state import running_stack
from resources.errors import DailiesError
from resources.ledger.decision_clips import fixed_clips
from resources.ledger.ledger import Ledger
from resources.ledger.purchases import purchases_of
from resources.settings import Settings

SHOWN_SECONDS = 86_400.0
"""How long `dailies status` shows such a run."""
BUYING_JOBS = {"submit_clips", "produce_clips", "produce_scattered_clips", "__ASSET_JOB"}
DECISION_TAGS = ("dailies/decision", "dagster/backfill")
"""The tags that `pipelines.clip_batch.decision_of` reads, in the same order."""

_RUNS = """
query Runs($after: Float!) {
  failed: runsOrError(filter: { statuses: [FAILURE], updatedAfter: $after }, limit: 50) { ...Found }
  waiting: runsOrError(filter: { statuses: [QUEUED, NOT_STARTED, STARTING, STARTED] }, limit: 50) { ...Found }
}
fragment Found on Runs { results { runId rootRunId jobName startTime creationTime tags { key value } } }
"""


@dataclass(frozen=True)
class BarrenRun:
    """A run that has bought nothing."""

    url: str
    """Its page."""
    clips: list[str]
    """The clips that it should buy."""
    why: str | None = None
    """Its error; None while it has not ended."""

    def __str__(self) -> str:
        more = f" and {len(self.clips) - 3} more" if len(self.clips) > 3 else ""
        named = f"the run for {', '.join(self.clips[:3])}{more}"
        if self.why is None:
            return f"{named} has bought nothing yet\n({self.url})"
        return f"{named} failed and bought nothing: {self.why}\n({self.url})"


def barren_runs(settings: Settings, ledger: Ledger) -> list[BarrenRun]:
    """The runs that bought nothing; empty if no Dagster is known.

    They are the failed runs of the last day whose clips were not bought since, and the runs of commands and schedules that have not
    bought yet.
    """
    barren: list[BarrenRun] = []
    if running_stack(settings.home) is None and "dagster_url" not in settings.model_fields_set:
        return barren
    from pipelines.cli.dagster_api import DagsterApi

    with DagsterApi.of(settings) as api:
        try:
            answer = api.query(_RUNS, after=time.time() - SHOWN_SECONDS)
            for run_id, decision, started_at in _newest_runs(answer["failed"]):
                clips = sorted(fixed_clips(ledger, decision))
                newest = ledger.latest(clips)
                waiting = [key for key in clips if key not in newest or newest[key].created_at < started_at]
                if waiting and purchases_of(ledger, decision).is_nothing:
                    barren.append(
                        BarrenRun(f"{api.url}/runs/{run_id}", waiting, api.why_failed(run_id).strip())
                    )
            for run_id, decision, _started_at in _newest_runs(answer["waiting"], only=DECISION_TAGS[0]):
                clips = sorted(fixed_clips(ledger, decision))
                if clips and purchases_of(ledger, decision).is_nothing:
                    barren.append(BarrenRun(f"{api.url}/runs/{run_id}", clips))
        except DailiesError:
            # the command still shows the clips if Dagster does not answer
            return barren
    return barren


def _newest_runs(runs: dict[str, Any], *, only: str | None = None) -> Iterator[tuple[str, str, float]]:
    """Id, decision and start (seconds since the epoch) of the newest run of each decision.

    Args:
        runs: Dagster's answer.
        only: A tag; runs without it are left out.
    """
    roots = set()
    for run in runs.get("results", []):
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        decision = next((tags[tag] for tag in DECISION_TAGS if tag in tags), run["rootRunId"] or run["runId"])
        if (
            run["jobName"] in BUYING_JOBS
            and tags.get("dagster/will_retry") != "true"
            and decision not in roots
            and (only is None or only in tags)
        ):
            roots.add(decision)
            yield run["runId"], decision, float(run["startTime"] or run["creationTime"])
