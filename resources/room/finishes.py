"""Finishes in the room: their documents, and the order of a finish."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from resources.ledger.finishes import FinishOrdered
from resources.ledger.waiting_finishes import WaitingFinish
from resources.plain import shown


class AskedFinish(BaseModel):
    """The order of a finish as the page sends it, for a draft that is circled already."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    clip: str = Field(max_length=128)
    decision: str = Field(max_length=128)
    """The decision that the offer named; see `resources.ledger.finishes.order_finish`."""
    at_most_micros: int = Field(ge=0)
    """The price that the person saw."""


def ordered_document(ordered: FinishOrdered | None) -> dict[str, Any] | None:
    """The result of an order, for the page; None if no finish was missing."""
    if ordered is None:
        return None
    return {
        "finish": None if ordered.finish is None else ordered.finish.id,
        "waits": None if ordered.why is None else shown(ordered.why, longest=600),
    }


def waiting_document(waits: WaitingFinish | None) -> dict[str, Any] | None:
    """A circled draft without a finish, for the page."""
    if waits is None:
        return None
    return {
        "ordered_by": None if waits.decision is None else shown(waits.ordered_by, longest=200),
        "why": shown(waits.reason, longest=600) or None,
        "ends_at": waits.ends_at,
    }
