"""Doubtful ends: when a paid job counts as ended without an output.

Providers take ends back: a job that was "completed" without an output had one two polls later, one that was "failed" was
completed after all, and one 404 came from a gateway. A replacement costs money, so an end must be seen again before it
counts: twice where the provider states that the job failed and why, and over minutes where it only states that there is
nothing (no output, gone, cancelled without a reason).

The attempt keeps these sightings, so that other processes continue from them, also after a restart. Any other answer clears
them. A webhook only brings the next poll forward.
"""

from dataclasses import dataclass
from typing import Any

from resources.ledger.records import Attempt
from resources.providers.base import FailureKind, JobState, JobStatus

SOON_SECONDS = 5.0
"""The pause before a job is polled again whose failure the provider explains."""
APART_SECONDS = 3.0
"""Answers that are no further apart than this count as one: a webhook may have brought the second forward."""
SILENT_SECONDS = 180.0
"""How long an unexplained end must be seen before it counts."""
SILENT_TIMES = 3
"""How often it must be seen at least before it counts."""
SILENT_PAUSE_SECONDS = 15.0
"""The first pause between two polls of such an end; each further pause is three times as long."""


@dataclass(frozen=True)
class Sighting:
    """A job's end as seen by this poll and earlier ones."""

    kind: FailureKind
    """Why there is no output."""
    message: str
    """The provider's own words, where it has any."""
    since: float
    """When an end was first seen, seconds since the epoch."""
    times: int
    """How often an end was seen since, without another answer in between."""
    believed: bool
    """Whether the end counts now."""
    again_in: float
    """Seconds until the next poll, where the end does not count yet."""

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of the attempt that keep it."""
        return {
            "end_kind": self.kind.value,
            "end_said": self.message,
            "end_since": self.since,
            "end_times": self.times,
        }


LATE_SECONDS = 60.0
"""How long after its end a job without an output is polled again; later polls follow ever more rarely, see `late_jobs.py`."""

NOTHING_SEEN: dict[str, Any] = {"end_kind": None, "end_said": None, "end_since": None, "end_times": 0}
"""The columns of an attempt whose end is not in doubt."""


def kind_of(state: JobState) -> FailureKind:
    """Why a job that has ended leaves no output."""
    if state.status is JobStatus.GONE:
        return state.failure or FailureKind.GONE
    return state.failure or FailureKind.PROVIDER


def is_explained(state: JobState) -> bool:
    """Whether the provider states that the job failed, and why."""
    silent = state.failure in {FailureKind.NO_OUTPUT, FailureKind.GONE}
    return state.status is JobStatus.FAILED and bool(state.error) and not silent


def sighting(attempt: Attempt, kind: FailureKind, message: str, *, explained: bool, now: float) -> Sighting:
    """Add this poll's sighting to those of earlier polls.

    Args:
        attempt: The attempt, with the sightings of earlier polls.
        kind: Why there is no output.
        message: The provider's own words.
        explained: See `is_explained`.
        now: Seconds since the epoch.
    """
    since, times, same = now, 1, False
    # a time ahead of now says nothing about how long the end has lasted
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
    return Sighting(kind, message, since, times, believed, again_in)
