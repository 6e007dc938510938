"""When an end is believed that leaves a paid job without its output.

Providers take ends back: a job that was "completed" without an output had one two polls later, one that was "failed" was
completed after all, and one 404 was a gateway's. What is bought in a job's place costs money, so its end is seen again
before it counts: twice where the provider itself says that the job failed and why, and over minutes where it says no more
than that there is nothing (no output, gone, cancelled without a reason).

What was seen is kept with the attempt in the ledger, so that other processes and a restart go on from it. Any other
answer clears it. A webhook only brings the next poll forward.
"""

from dataclasses import dataclass
from typing import Any

from resources.ledger.records import Attempt
from resources.providers.base import FailureKind, JobState, JobStatus

SOON_SECONDS = 5.0
"""After how long a failure that its provider explains is asked about again."""
APART_SECONDS = 3.0
"""Two answers that are no further apart count as one: a webhook may have brought the second forward."""
SILENT_SECONDS = 180.0
"""Over how long an end without an explanation has to be seen."""
SILENT_TIMES = 3
"""How often at least."""
SILENT_PAUSE_SECONDS = 15.0
"""The first pause between two looks at such an end; each further one is three times as long."""


@dataclass(frozen=True)
class Sighting:
    """An end that was seen, together with what was seen of it before.

    Attributes:
        kind: Why there is no output.
        said: In the provider's words, where it has any.
        since: When an end was first seen, seconds since the epoch.
        times: How often one was seen since, without another answer in between.
        believed: Whether it counts now.
        again_in: Seconds until it is asked about again, where it does not.
    """

    kind: FailureKind
    said: str
    since: float
    times: int
    believed: bool
    again_in: float

    @property
    def columns(self) -> dict[str, Any]:
        """What the attempt keeps of it."""
        return {
            "end_kind": self.kind.value,
            "end_said": self.said,
            "end_since": self.since,
            "end_times": self.times,
        }


LATE_SECONDS = 60.0
"""How long after it ended a job without an output is asked for once more; then ever more rarely, see `late_jobs.py`."""

NOTHING_SEEN: dict[str, Any] = {"end_kind": None, "end_said": None, "end_since": None, "end_times": 0}
"""The columns of an attempt of which no end is in doubt."""


def kind_of(state: JobState) -> FailureKind:
    """Why a job that has ended leaves no output."""
    if state.status is JobStatus.GONE:
        return state.failure or FailureKind.GONE
    return state.failure or FailureKind.PROVIDER


def is_explained(state: JobState) -> bool:
    """Whether the provider itself says that the job failed, and why."""
    silent = state.failure in {FailureKind.NO_OUTPUT, FailureKind.GONE}
    return state.status is JobStatus.FAILED and bool(state.error) and not silent


def sighting(attempt: Attempt, kind: FailureKind, said: str, *, explained: bool, now: float) -> Sighting:
    """Add what was seen now to what was seen before.

    Args:
        attempt: With what was seen of its end before.
        kind: Why there is no output.
        said: In the provider's words.
        explained: See `is_explained`.
        now: Seconds since the epoch.
    """
    since, times, same = now, 1, False
    # one that a clock dated ahead of now says nothing about how long it has lasted
    if attempt.end_since is not None and attempt.end_since <= now:
        since, times, same = attempt.end_since, attempt.end_times + 1, attempt.end_kind is kind
    lasted = now - since
    believed = times >= SILENT_TIMES and lasted >= SILENT_SECONDS
    if explained:
        believed = believed or (same and lasted >= APART_SECONDS)
        again_in = SOON_SECONDS
    else:
        pause = SILENT_PAUSE_SECONDS * 3.0 ** min(times - 1, 4)
        again_in = min(pause, max(SILENT_SECONDS - lasted, SOON_SECONDS))
    return Sighting(kind, said, since, times, believed, again_in)
