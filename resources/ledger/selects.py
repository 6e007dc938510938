"""Selects: clips with a circled, finished take. The ledger keeps a list of the verdicts that Dagster does not show yet."""

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.review_tables import unshown_verdicts
from resources.ledger.schema import verdicts
from resources.ledger.takes import Take, takes_of
from resources.ledger.verdicts import RecordedVerdict


@dataclass(frozen=True)
class Select:
    """A clip with a circled take that is not a draft."""

    take: Take
    circle: RecordedVerdict
    spent_micros: int
    """The cost of all purchases of the clip, in micro-USD."""


def selects_of(ledger: Ledger, clips: Collection[str]) -> dict[str, Select]:
    """The selects among these clips, by clip."""
    return {
        clip: Select(take, take.verdict, found.spent)
        for clip, found in takes_of(ledger, clips).items()
        for take in found.takes
        if take.is_circled and take.verdict is not None and not take.attempt.is_draft
    }


def unshown(ledger: Ledger, *, most: int = 500) -> dict[str, list[str]]:
    """The ids of the verdicts that Dagster does not show yet, by clip, oldest first."""
    query = (
        sa.select(verdicts.c.clip, verdicts.c.id)
        .join(unshown_verdicts, unshown_verdicts.c.verdict_id == verdicts.c.id)
        .order_by(verdicts.c.seq)
        .limit(most)
    )
    selects: dict[str, list[str]] = {}
    with ledger.read() as connection:
        for clip, verdict in connection.execute(query):
            selects.setdefault(clip, []).append(verdict)
    return selects


def mark_shown(ledger: Ledger, verdict_ids: Collection[str]) -> None:
    """Record that Dagster shows these verdicts."""
    with ledger.write() as connection:
        connection.execute(
            sa.delete(unshown_verdicts).where(unshown_verdicts.c.verdict_id.in_(list(verdict_ids)))
        )
