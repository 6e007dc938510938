"""The handover of a run that ends early: its open purchases, which other processes continue, and their money."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState, MoneyState
from resources.money import show_usd

_PAID = {AttemptState.SUBMITTED, AttemptState.OVERDUE, AttemptState.SUCCEEDED}
_DOUBTFUL = {AttemptState.SUBMITTING, AttemptState.UNKNOWN, AttemptState.HELD}


@dataclass(frozen=True)
class Handover:
    """The purchases that some runs made or watch."""

    open: list[Attempt]
    """The open ones, oldest first; other processes continue them."""
    ended: Counter[str]
    """How many have ended, by state."""

    def __str__(self) -> str:
        """The ended and the open purchases, in a sentence for a person."""
        paid = [a for a in self.open if a.state in _PAID]
        doubtful = [a for a in self.open if a.state in _DOUBTFUL]
        queued = [a for a in self.open if a.state is AttemptState.QUEUED]
        parts = [f"{number} {state}" for state, number in sorted(self.ended.items())]
        if paid:
            parts.append(
                f"{len(paid)} bought and not fetched yet ({_usd(paid)}): the completion sensor fetches them"
            )
        if doubtful:
            parts.append(
                f"{len(doubtful)} sent, and their answers are not known yet ({_usd(doubtful)}): they are looked for"
            )
        if queued:
            parts.append(
                f"{len(queued)} queued and not sent ({_usd(queued)}): the completion sensor sends them"
            )
        return "; ".join(parts) or "nothing was bought by it"


def handover_of(ledger: Ledger, run_ids: Collection[str]) -> Handover:
    """The purchases that some runs leave to other processes when they end now."""
    ids = list(run_ids)
    query = (
        sa.select(attempts)
        .where(sa.or_(attempts.c.batch.in_(ids), attempts.c.watched_by.in_(ids)))
        .order_by(attempts.c.seq)
    )
    with ledger.read() as connection:
        watched = [Attempt.from_row(row) for row in connection.execute(query)]
    going = [a for a in watched if a.state.is_open and a.money_state is not MoneyState.RELEASED]
    return Handover(going, Counter(a.state.value for a in watched if not a.state.is_open))


def _usd(some: list[Attempt]) -> str:
    return show_usd(sum(attempt.cost_micros for attempt in some))
