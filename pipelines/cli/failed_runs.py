"""Runs that failed before they bought: no clip shows them, because none was bought.

`dailies status` asks for them, so nothing here may import Dagster: that takes longer than the whole command.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.cli.stack_state import running_stack
from resources.errors import DailiesError
from resources.ledger.decision_clips import fixed_clips
from resources.ledger.ledger import Ledger
from resources.ledger.purchases import purchases_of
from resources.settings import Settings

if TYPE_CHECKING:
    from pipelines.cli.dagster_api import DagsterApi

SHOWN_SECONDS = 86_400.0
"""For how long `dailies status` shows such a run."""
BUYING_JOBS = {"submit_clips", "produce_clips", "produce_scattered_clips", "__ASSET_JOB"}
DECISION_TAGS = ("dailies/decision", "dagster/backfill")
"""The tags that `pipelines.clip_batch.decision_of` reads, in its order."""

_FAILED = """
query Failed($after: Float!) {
  runsOrError(filter: { statuses: [FAILURE], updatedAfter: $after }, limit: 50) {
    ... on Runs { results { runId rootRunId jobName startTime creationTime tags { key value } } }
  }
}
"""


@dataclass(frozen=True)
class BarrenRun:
    """A run that failed and bought nothing."""

    url: str
    """Its page."""
    clips: list[str]
    """The clips that it should have bought."""
    why: str
    """Its error."""

    def __str__(self) -> str:
        more = f" and {len(self.clips) - 3} more" if len(self.clips) > 3 else ""
        return f"the run for {', '.join(self.clips[:3])}{more} failed and bought nothing: {self.why}\n({self.url})"


def barren_runs(settings: Settings, ledger: Ledger) -> list[BarrenRun]:
    """The failed runs of the last day that bought nothing, unless their clips were bought since. None if no Dagster is known."""
    found: list[BarrenRun] = []
    if running_stack(settings.home) is None and "dagster_url" not in settings.model_fields_set:
        return found
    from pipelines.cli.dagster_api import DagsterApi

    with DagsterApi.of(settings) as api:
        try:
            for run_id, decision, started_at in _failed_runs(api):
                clips = sorted(fixed_clips(ledger, decision))
                newest = ledger.latest(clips)
                waiting = [key for key in clips if key not in newest or newest[key].created_at < started_at]
                if waiting and purchases_of(ledger, decision).is_nothing:
                    found.append(
                        BarrenRun(f"{api.url}/runs/{run_id}", waiting, api.why_failed(run_id).strip())
                    )
        except DailiesError:
            # the clips are shown although Dagster does not answer
            return found
    return found


def _failed_runs(api: "DagsterApi") -> Iterator[tuple[str, str, float]]:
    """Id, decision and start (seconds since the epoch) of the newest failed run of each decision."""
    seen = set()
    for run in api.query(_FAILED, after=time.time() - SHOWN_SECONDS)["runsOrError"].get("results", []):
        tags = {tag["key"]: tag["value"] for tag in run["tags"]}
        decision = next((tags[tag] for tag in DECISION_TAGS if tag in tags), run["rootRunId"] or run["runId"])
        if (
            run["jobName"] in BUYING_JOBS
            and tags.get("dagster/will_retry") != "true"
            and decision not in seen
        ):
            seen.add(decision)
            yield run["runId"], decision, float(run["startTime"] or run["creationTime"])
