"""The message that clips wait for a verdict: one for each batch, then at most one a day while they wait."""

import datetime as dt
from collections.abc import Collection

from pipelines.alarm_memory import Pending, State
from resources.alarms import Alarm, Kind
from resources.ledger.budget import Budget
from resources.ledger.waiting_clips import WaitingClip
from resources.money import MICROS_PER_USD

REVIEW = "review"
"""The key of this message in the memory of the sensor `alarms`."""
REPEAT_SECONDS = 86_400.0


def note_waiting(clips: Collection[WaitingClip], state: State, now: float) -> None:
    """Note that a message is due: about batches without a message yet, or about all after a day."""
    last = state.sent.get(REVIEW)
    if not clips:
        state.sent.pop(REVIEW, None)
        state.pending.pop(REVIEW, None)
    elif last is None or not _batches(clips) <= set(last.ids) or now - last.at >= REPEAT_SECONDS:
        state.pending.setdefault(REVIEW, Pending(now, now))


def clips_to_name(clips: Collection[WaitingClip], state: State, now: float) -> list[WaitingClip]:
    """The clips of the message: those of new batches, or all if the last message is a day old."""
    last = state.sent.get(REVIEW)
    if last is None or now - last.at >= REPEAT_SECONDS:
        return list(clips)
    return [clip for clip in clips if clip.decision not in last.ids]


def reminder(clips: Collection[WaitingClip], *, room: str, budget: Budget, now: float) -> Alarm:
    """The message about clips that wait.

    Args:
        room: The room's address.
        budget: The budget, whose time zone is used for the days in the text.
    """
    number = f"{len(clips)} clips wait" if len(clips) != 1 else "1 clip waits"
    spent = sum(clip.spent_micros for clip in clips) / MICROS_PER_USD
    decided = min((clip.decide_at for clip in clips if clip.decide_at is not None), default=None)
    drafts = [(clip.draft_ends_at, clip.drafts_micros) for clip in clips if clip.draft_ends_at is not None]
    title = f"{number} for a verdict, ${spent:.2f}"
    if drafts:
        # the price of a draft is lost when its provider deletes the draft, so that day comes first
        first = min(at for at, _ in drafts)
        end = _when(first, budget, now)
        ending = sum(cost for at, cost in drafts if _when(at, budget, now) == end) / MICROS_PER_USD
        title += f"; ${ending:.2f} of drafts end {end}"
    if decided is not None:
        title += f"; the policy decides the first {_when(decided, budget, now)}"
    by_series = {
        name: sum(clip.series == name for clip in clips) for name in sorted({c.series for c in clips})
    }
    return Alarm(
        id=f"{REVIEW}:{max(clip.take for clip in clips)}:{budget.day(now)}",
        kind=Kind.REVIEW,
        title=title,
        details=[", ".join(f"{name}: {count}" for name, count in by_series.items())],
        todo=f"Judge them in the room: {room} (or with `dailies takes CLIP`).",
    )


def _batches(clips: Collection[WaitingClip]) -> set[str]:
    return {clip.decision for clip in clips}


def _when(at: float, budget: Budget, now: float) -> str:
    """A day as people say it: `today`, `on Friday`, or its date if it is a week away."""
    day, today = (dt.date.fromisoformat(budget.day(moment)) for moment in (at, now))
    if day <= today:
        return "today"
    return f"on {day:%A}" if (day - today).days < 7 else f"on {day}"
