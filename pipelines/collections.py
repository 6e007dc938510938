"""Collections: the runs that collect finished clips. Pure planning for the completion sensors.

A tick remembers nothing. The ledger shows the clips whose end Dagster does not know; Dagster's runs and their heartbeats show
whether a run already collects them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pipelines.partitions import stretches
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState, MoneyState
from resources.ledger.times import has_passed

BATCH_TAG = "dailies/collects"
NOT_RETRIED = {"dagster/max_retries": "0"}
"""Tags of a collecting run, which has no retries: the sensor requests the next run, and a retry would report the same clips twice."""
FIRST_IN_QUEUE = {"dagster/priority": "10"}
"""Tags of runs that fetch what is paid for: they start before runs that wait to buy."""
RUNS_PER_TICK = 4
FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 1800.0
SHORT_JOB_SECONDS = 60.0
"""A batch counts as short if its finished jobs took no longer."""
WAIT_SECONDS = 30.0
"""How long a collecting run waits for the other half of a short batch."""
HELD_REPORTS = 3
"""The most runs that report to Dagster that a clip is held."""


@dataclass(frozen=True)
class PastRun:
    """A past or present run that collects a stretch of a batch."""

    first: str
    """The first clip of its range."""
    last: str
    """The last clip of its range."""
    ended_at: float | None
    """Seconds since the epoch; None while it runs or waits in the queue."""
    clips: frozenset[str] = frozenset()
    """The clips it was created for; empty if unknown. If known, they count instead of the range, which may now cover others."""
    died: bool = False
    """Whether its process died."""

    def has_tried(self, clip: str, position: Mapping[str, int]) -> bool:
        """Whether the run has tried to collect a clip.

        Args:
            position: The position of every key among the partitions.
        """
        if self.clips:
            return clip in self.clips
        return position.get(self.first, 0) <= position[clip] <= position.get(self.last, len(position))


@dataclass(frozen=True)
class Collection:
    """One run to request."""

    batch: str
    """The batch whose clips it collects."""
    keys: tuple[str, ...]
    """A contiguous stretch of clips."""
    run_key: str
    """New for every try, since Dagster never accepts a key twice."""


def batches(unreported: Iterable[Attempt]) -> dict[str, list[Attempt]]:
    """Group attempts, ended or not, by the batch they were bought in."""
    by_batch: dict[str, list[Attempt]] = {}
    for attempt in unreported:
        by_batch.setdefault(attempt.batch or attempt.decision, []).append(attempt)
    return by_batch


@dataclass(frozen=True)
class WithoutPartition:
    """Ended attempts whose partition was deleted while they were open."""

    paid: list[Attempt]
    """Those for which money was or may have been spent. Their partitions are added again, so that the clips are fetched."""
    unpaid: list[Attempt]
    """Those that bought nothing, so that there is nothing to fetch or show."""


def without_partition(
    by_batch: Mapping[str, Sequence[Attempt]], *, order: Sequence[str], watched: frozenset[str]
) -> WithoutPartition:
    """The ended attempts whose clip is no longer a partition, so that no run can be requested for them."""
    partitions = set(order)
    ended = [
        a
        for attempts in by_batch.values()
        for a in attempts
        if a.state.is_ended and a.clip not in partitions and a.watched_by not in watched
    ]
    free = {MoneyState.RELEASED, MoneyState.REFUNDED}
    return WithoutPartition(
        paid=[a for a in ended if a.money_state not in free or a.state is AttemptState.SUCCEEDED],
        unpaid=[a for a in ended if a.money_state in free and a.state is not AttemptState.SUCCEEDED],
    )


@dataclass(frozen=True)
class DagsterView:
    """What Dagster shows at the moment of a tick."""

    order: Sequence[str]
    """All partitions in Dagster's order."""
    past: Mapping[str, Sequence[PastRun]]
    """The runs that collected each batch before."""
    watched: frozenset[str]
    """Living runs, which report the clips they watch themselves."""
    may_wait: bool = False
    """Whether a run may be requested that waits for the rest of a short batch, since no other run waits for its place."""


def plan(
    by_batch: Mapping[str, Sequence[Attempt]], dagster: DagsterView, *, now: float, linger: float
) -> list[Collection]:
    """Plan the runs to request now.

    Args:
        by_batch: Attempts whose end Dagster does not know, by batch.
        now: Seconds since the epoch.
        linger: How long a finished clip waits for the rest of its batch, in seconds.
    """
    order = dagster.order
    position = {key: index for index, key in enumerate(order)}
    collections: list[Collection] = []
    for batch, attempts in by_batch.items():
        mine = [a for a in attempts if a.watched_by not in dagster.watched]
        ended = [a for a in mine if a.state.is_ended]
        runs = dagster.past.get(batch, ())
        if not ended or any(run.ended_at is None for run in runs):
            continue
        waiting = [a for a in mine if not a.state.is_ended and a.state is not AttemptState.UNKNOWN]
        oldest = min(a.finished_at or now for a in ended)
        if waiting and 0 <= now - oldest < linger:
            # one run waits for a batch, once
            if dagster.may_wait and not runs and _ends_soon(ended, waiting):
                whole = [a.clip for a in (*ended, *waiting)]
                pieces = stretches(order, whole)
                # it covers every clip of the batch, each with one take
                if [len(piece) for piece in pieces] == [len(whole)]:
                    collections.append(_collection(batch, pieces[0], runs))
            continue
        due = sorted(
            {
                a.clip
                for a in ended
                if (tries := _tries(a, runs, position, now)) is not None
                and has_passed(_due_at(tries), now, within=LONGEST_PAUSE_SECONDS)
            }
        )
        collections += [
            _collection(batch, stretch, runs) for stretch in stretches(order, due)[:RUNS_PER_TICK]
        ]
    return collections


def _collection(batch: str, stretch: Sequence[str], runs: Sequence[PastRun]) -> Collection:
    digest = hashlib.sha256(",".join(stretch).encode()).hexdigest()[:12]
    return Collection(batch, tuple(stretch), f"collect:{batch}:{digest}:{len(runs)}")


def _ends_soon(ended: Sequence[Attempt], waiting: Sequence[Attempt]) -> bool:
    """Whether at least half of a batch has ended after a short time, and its provider works at the rest."""
    return (
        len(ended) >= len(waiting)
        and all(a.state is AttemptState.SUBMITTED for a in waiting)
        and all((a.finished_at or 0.0) - (a.submitted_at or 0.0) <= SHORT_JOB_SECONDS for a in ended)
    )


def _tries(
    attempt: Attempt, runs: Sequence[PastRun], position: Mapping[str, int], now: float
) -> list[PastRun] | None:
    """The runs that failed to collect a clip since it ended; None if no more runs are needed.

    A held clip has nothing to fetch: runs only report it to Dagster, and a few of them are enough.
    """
    if attempt.clip not in position:
        return []
    # if the clock was ahead when the clip ended, every try would seem to come before the end
    since = attempt.finished_at if attempt.finished_at is not None and attempt.finished_at <= now else 0.0
    tries = [run for run in runs if (run.ended_at or 0.0) >= since and run.has_tried(attempt.clip, position)]
    return None if attempt.state is AttemptState.HELD and len(tries) >= HELD_REPORTS else tries


def _due_at(tries: Sequence[PastRun]) -> float:
    """When to collect a clip: at once, then with back-off after each try.

    One dead run does not count as a try, since its host failed; further ones do.
    """
    pauses = len(tries) - any(run.died for run in tries)
    if not pauses:
        return 0.0
    newest = max(run.ended_at or 0.0 for run in tries)
    return newest + min(FIRST_PAUSE_SECONDS * 2.0 ** min(pauses - 1, 10), LONGEST_PAUSE_SECONDS)


def takes_to_collect(
    takes: Sequence[Attempt], current: Mapping[str, Attempt], *, ended: bool
) -> tuple[list[Attempt], list[Attempt]]:
    """The takes that were never sent, and those that a run follows.

    Args:
        takes: The newest take of each slot of the run's clips.
        current: The current take of each clip, which still counts if another take was never sent.
        ended: Whether a clip's ended takes are followed without its open ones, as for the completion sensor.
    """
    unsent = [a for a in takes if a.state is AttemptState.WITHDRAWN and a.clip in current]
    sent = [a for a in takes if a not in unsent]
    finished = {a.clip for a in sent if a.state.is_ended}
    kept = [a for a in sent if not ended or a.state.is_ended or a.clip not in finished]
    followed = {a.clip for a in kept}
    instead = {a.clip: current[a.clip] for a in unsent if a.clip not in followed}
    return unsent, [*kept, *instead.values()]
