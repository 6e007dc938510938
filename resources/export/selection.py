"""Which takes of a clip are fetched, and why the others are not."""

from dataclasses import dataclass

from resources.ledger.states import AttemptState
from resources.ledger.takes import ClipTakes, Take


@dataclass(frozen=True)
class WantedTakes:
    """The takes of a clip to fetch."""

    takes: tuple[Take, ...]
    """Oldest first."""
    select: Take | None
    """The one for the timeline; None if a person has to choose one and has not."""
    left_out: str
    """Why takes are left out; empty if none is."""


def wanted_takes(takes: ClipTakes, *, every: bool) -> WantedTakes:
    """The circled take of a clip; without one, the current take if its series asks for no review.

    Args:
        every: Whether to fetch every delivered take, also rejected and spare ones.
    """
    delivered = tuple(take for take in takes.takes if take.attempt.state is AttemptState.DELIVERED)
    select = _select(delivered)
    if every and delivered:
        apart = [str(take.number) for take in takes.takes if take not in delivered]
        named = f"take {', '.join(apart)} failed a check; `dailies accept` delivers it" if apart else ""
        return WantedTakes(delivered, select, named)
    if select is not None:
        return WantedTakes((select,), select, "")
    return WantedTakes((), None, _why_none(takes, delivered))


def _select(delivered: tuple[Take, ...]) -> Take | None:
    circled = next((take for take in delivered if take.is_circled), None)
    if circled is not None:
        return None if circled.attempt.is_draft else circled
    current = next((take for take in delivered if take.is_current), None)
    if current is None or current.is_rejected or current.attempt.request.review.asks:
        return None
    return current


def _why_none(takes: ClipTakes, delivered: tuple[Take, ...]) -> str:
    if delivered:
        if any(take.is_circled for take in delivered):
            return f"its circled take is a draft without a finish; `dailies finish {takes.clip}` buys it"
        if all(take.is_rejected for take in delivered):
            return "every take is rejected"
        return f"no take is circled; `dailies takes {takes.clip}` shows them"
    if takes.takes:
        return "it failed a check; `dailies accept` delivers it anyway"
    return "its take is on its way" if takes.open is not None else "no take was delivered"
