"""Which finished clips are collected by which runs: pure planning for the completion sensors.

Nothing here is remembered between ticks. What is to be collected is what the ledger says Dagster was not told; whether
a run collects it is what Dagster's runs and their signs of life say.
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
"""Tags of a run that collects: the sensor itself asks for the next one, and two would report the same clips."""
RUNS_PER_TICK = 4
FIRST_PAUSE_SECONDS = 30.0
LONGEST_PAUSE_SECONDS = 1800.0
HELD_TOLD = 3
"""How many runs at most tell Dagster that a clip is held."""


@dataclass(frozen=True)
class PastRun:
    """One run that collects a stretch of a batch, or did.

    Attributes:
        first: The first clip of its range.
        last: The last one.
        ended_at: Seconds since the epoch, None while it lives or waits for its turn.
        clips: The clips it was created for, which count where they are known: a range may have come to cover others.
    """

    first: str
    last: str
    ended_at: float | None
    clips: frozenset[str] = frozenset()

    def has_tried(self, clip: str, position: Mapping[str, int]) -> bool:
        """Whether a clip was among its own.

        Args:
            clip: Which.
            position: Of every key among the partitions.
        """
        if self.clips:
            return clip in self.clips
        return position.get(self.first, 0) <= position[clip] <= position.get(self.last, len(position))


@dataclass(frozen=True)
class Collection:
    """One run to ask for.

    Attributes:
        batch: Whose clips.
        keys: A contiguous stretch of clips.
        run_key: New for every try, since Dagster answers the same key only once, for ever.
    """

    batch: str
    keys: tuple[str, ...]
    run_key: str


def batches(unreported: Iterable[Attempt]) -> dict[str, list[Attempt]]:
    """Attempts by the batch they were bought in, those that are over and those on their way."""
    found: dict[str, list[Attempt]] = {}
    for attempt in unreported:
        found.setdefault(attempt.batch or attempt.decision, []).append(attempt)
    return found


@dataclass(frozen=True)
class WithoutPartition:
    """Ended attempts whose partition was deleted while they were on their way.

    Attributes:
        paid: Money was spent on them, or may have been: their partition is added again, so that they are fetched and shown.
        unpaid: Nothing came of them, so that there is nothing to fetch or to show.
    """

    paid: list[Attempt]
    unpaid: list[Attempt]


def without_partition(
    found: Mapping[str, Sequence[Attempt]], *, order: Sequence[str], watched: frozenset[str]
) -> WithoutPartition:
    """The ended attempts that no run can be asked for, since their clip is no partition any more."""
    there = set(order)
    ended = [
        a
        for attempts in found.values()
        for a in attempts
        if a.state.is_ended and a.clip not in there and a.watched_by not in watched
    ]
    free = {MoneyState.RELEASED, MoneyState.REFUNDED}
    return WithoutPartition(
        paid=[a for a in ended if a.money_state not in free or a.state is AttemptState.SUCCEEDED],
        unpaid=[a for a in ended if a.money_state in free and a.state is not AttemptState.SUCCEEDED],
    )


def plan(
    found: Mapping[str, Sequence[Attempt]],
    *,
    order: Sequence[str],
    past: Mapping[str, Sequence[PastRun]],
    watched: frozenset[str],
    now: float,
    linger: float,
) -> list[Collection]:
    """The runs to ask for now.

    Args:
        found: What Dagster was not told, by batch.
        order: All partitions in Dagster's order.
        past: The runs that collected each batch before.
        watched: Runs that are at work and will report what they watch.
        now: Seconds since the epoch.
        linger: Seconds a finished clip waits for the stragglers of its batch.
    """
    position = {key: index for index, key in enumerate(order)}
    collections: list[Collection] = []
    for batch, attempts in found.items():
        mine = [a for a in attempts if a.watched_by not in watched]
        ended = [a for a in mine if a.state.is_ended]
        runs = past.get(batch, ())
        if not ended or any(run.ended_at is None for run in runs):
            continue
        waiting = [a for a in mine if not a.state.is_ended and a.state is not AttemptState.UNKNOWN]
        oldest = min(a.finished_at or now for a in ended)
        if waiting and 0 <= now - oldest < linger:
            continue
        due = sorted(
            {
                a.clip
                for a in ended
                if (tries := _tries(a, runs, position, now)) is not None
                and has_passed(_due_at(tries), now, within=LONGEST_PAUSE_SECONDS)
            }
        )
        for stretch in stretches(order, due)[:RUNS_PER_TICK]:
            digest = hashlib.sha256(",".join(stretch).encode()).hexdigest()[:12]
            collections.append(Collection(batch, tuple(stretch), f"collect:{batch}:{digest}:{len(runs)}"))
    return collections


def _tries(
    attempt: Attempt, runs: Sequence[PastRun], position: Mapping[str, int], now: float
) -> list[float] | None:
    """When the runs ended that did not get a clip home since it has ended; None where it needs no more.

    A held clip has nothing to be fetched: runs only tell Dagster of it, and a few are enough for that.
    """
    if attempt.clip not in position:
        return []
    # a clock that was ahead must not make every try seem to be one of before
    since = attempt.finished_at if attempt.finished_at is not None and attempt.finished_at <= now else 0.0
    ended = [run.ended_at or 0.0 for run in runs if run.has_tried(attempt.clip, position)]
    tries = [at for at in ended if at >= since]
    return None if attempt.state is AttemptState.HELD and len(tries) >= HELD_TOLD else tries


def _due_at(tries: Sequence[float]) -> float:
    """When a clip is to be fetched: at once, then later after each try."""
    if not tries:
        return 0.0
    return max(tries) + min(FIRST_PAUSE_SECONDS * 2.0 ** min(len(tries) - 1, 10), LONGEST_PAUSE_SECONDS)
