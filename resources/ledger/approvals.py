"""What a decision may buy: each clip's request, its number of takes and, if a person approved it, its highest price.

A command shows the plan and asks. Between the answer and the run, somebody may edit a series or the catalogue, and the run's
host may have another data folder. The decision buys only what is recorded here. A schedule's tick records what it has rendered
on its host, without a price. Dagster's own pages record nothing; their runs buy what is declared.
"""

import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import sqlalchemy as sa

from resources.ledger.decision_clips import fix_rows
from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts, decision_clips
from resources.money import show_usd
from resources.orders import ClipRequest

SHOWN_DIGITS = 12

_APPROVED = sa.select(
    decision_clips.c.order_fingerprint,
    decision_clips.c.at_most_micros,
    sa.func.coalesce(decision_clips.c.takes, 1),
).where(decision_clips.c.decision == sa.bindparam("decision"), decision_clips.c.clip == sa.bindparam("clip"))
_OTHER_SLOTS = sa.select(sa.func.count(attempts.c.slot.distinct())).where(
    # the expression keeps the database from choosing the index of decisions, which would read every clip of the decision
    attempts.c.decision.concat("") == sa.bindparam("decision"),
    attempts.c.subject_kind == sa.bindparam("kind"),
    attempts.c.subject_key == sa.bindparam("clip"),
    attempts.c.slot != sa.bindparam("slot"),
)


@dataclass(frozen=True)
class Approval:
    """What may be bought for one clip."""

    clip: str
    """Its key."""
    order_fingerprint: str
    """See `ClipRequest.order_fingerprint`."""
    at_most_micros: int
    """The highest cost of one take in micro-dollars, with every try and fallback; 0 where the plan bought nothing."""
    takes: int = 1
    """How many takes may be bought."""

    @classmethod
    def of(cls, request: ClipRequest) -> "Approval":
        """The approval of a request with all its takes, at its own highest cost."""
        return cls(request.clip, request.order_fingerprint, request.ceiling_micros, request.takes)

    @property
    def total_micros(self) -> int:
        """The highest cost of all takes in micro-dollars."""
        return self.at_most_micros * self.takes

    def __str__(self) -> str:
        if not self.at_most_micros:
            return "no purchase"
        each = "" if self.takes == 1 else f", {self.takes} takes"
        return f"request {self.order_fingerprint[:SHOWN_DIGITS]} for at most {show_usd(self.at_most_micros)}{each}"

    def difference(self, now: "Approval") -> str | None:
        """Why the clip as declared now may not be bought under this approval; None if it may. A lower price is no reason."""
        changed = []
        if now.order_fingerprint != self.order_fingerprint:
            changed.append("request or account")
        if now.at_most_micros > self.at_most_micros:
            changed.append("price")
        if not changed:
            return None
        return f"its {', and its '.join(changed)} changed after the approval: {self} was approved, {now} is declared now"


def approve_clips(ledger: Ledger, decision: str, approvals: Iterable[Approval]) -> None:
    """Fix the clips of a decision with their approvals, unless they are fixed already.

    Raises:
        UnavailableError: The ledger cannot be written.
    """
    fix_rows(ledger, decision, [asdict(approval) for approval in approvals])


def order_clips(ledger: Ledger, decision: str, requests: Iterable[ClipRequest]) -> None:
    """Fix the clips of a decision with their requests as declared on this host, unless they are fixed already.

    Raises:
        UnavailableError: The ledger cannot be written.
    """
    fix_rows(
        ledger,
        decision,
        [
            {"clip": request.clip, "order_fingerprint": request.order_fingerprint, "takes": request.takes}
            for request in requests
        ],
    )


def refusal(
    connection: sa.Connection, decision: str, request: ClipRequest, *, regenerate: bool
) -> str | None:
    """Why a decision may not buy a take; None if it was approved, or if no approval was recorded."""
    row = connection.execute(_APPROVED, {"decision": decision, "clip": request.clip}).first()
    if row is None or row.order_fingerprint is None:
        return None
    fingerprint, most, takes = row
    if most is None:
        difference = _ordered_otherwise(fingerprint, request)
    else:
        difference = Approval(request.clip, fingerprint, most, takes).difference(Approval.of(request))
    if difference is None:
        # one query for the usual case: a decision may have 2,000 clips
        if request.takes <= takes:
            return None
        slot = {"decision": decision, "kind": request.kind, "clip": request.clip, "slot": request.slot}
        if connection.execute(_OTHER_SLOTS, slot).scalar_one() < takes:
            return None
        difference = f"{takes} of its takes were approved, and not one more"
    again = f"`dailies retake {request.clip}`" if regenerate else f"`dailies produce {request.clip}`"
    return f"{difference}. Nothing was bought. {again} shows the price and asks again."


def _ordered_otherwise(fingerprint: str, request: ClipRequest) -> str | None:
    """Why a request differs from the one that was ordered; None if it does not."""
    if request.order_fingerprint == fingerprint:
        return None
    return (
        f"its schedule has ordered request {fingerprint[:SHOWN_DIGITS]}, and here ({socket.gethostname()}) its request is "
        f"{request.order_fingerprint[:SHOWN_DIGITS]}: the data folders of two hosts differ, or it was edited since the tick"
    )
