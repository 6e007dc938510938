"""Tags by which a person recognises a run in Dagster's lists: its origin, its number of clips, and their highest price."""

from collections.abc import Collection

from resources.money import show_usd
from resources.orders import ClipRequest

ASKED_BY = "dailies/asked_by"
CLIPS = "dailies/clips"
PRICE = "dailies/price"


def run_labels(asked_by: str, clips: Collection[str], at_most_micros: int | None) -> dict[str, str]:
    """The tags of a run.

    Args:
        asked_by: The origin of the run, e.g. `schedule harbor-weather 2026-11-29`.
        clips: The keys of its clips.
        at_most_micros: The most that they may cost, in micro-dollars; None if a price is unknown.
    """
    price = "unknown" if at_most_micros is None else f"at most {show_usd(at_most_micros)}"
    return {ASKED_BY: asked_by, CLIPS: str(len(clips)), PRICE: price}


def ceiling(requests: Collection[ClipRequest]) -> int | None:
    """The most that clips may cost, in micro-dollars; None if a price is unknown."""
    return sum(r.takes * r.ceiling_micros for r in requests) if all(r.is_priced for r in requests) else None
