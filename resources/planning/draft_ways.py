"""The two ways to the clips of a plan, with their costs: drafts with finishes, or takes straight from the series' own endpoint."""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts, take_verdicts
from resources.ledger.states import FINISHED_BY, AttemptState
from resources.orders import ClipRequest


@dataclass(frozen=True)
class DraftWay:
    """The cost of a series' drafts and finishes; money in micro-dollars."""

    series: str
    clips: int
    """The clips whose drafts would be bought."""
    drafts: int
    """The cost of all these drafts."""
    drafts_ceiling: int
    """The cost of the drafts with every try that the series allows."""
    finishes: int
    """The cost of a finish of every clip."""
    finishes_ceiling: int
    """The cost of the finishes with every try and fallback."""
    straight: int | None
    """The cost of as many takes from the series' own endpoint; None if that endpoint finishes only drafts."""
    finished: int
    """Earlier clips of the series whose draft was finished."""
    drafted: int
    """Earlier clips of the series with a delivered draft that a person or the policy has judged."""

    @property
    def share(self) -> float:
        """The expected share of finished clips: the series' share so far, or 1 without a history."""
        return self.finished / self.drafted if self.drafted else 1.0

    @property
    def expected(self) -> int:
        """The cost of the drafts with the expected share of finishes."""
        return self.drafts + round(self.share * self.finishes)

    @property
    def floor(self) -> int:
        """The cost if no draft is circled."""
        return self.drafts

    @property
    def ceiling(self) -> int:
        """The highest cost: every clip is finished, with every try and fallback."""
        return self.drafts_ceiling + self.finishes_ceiling

    @property
    def crossing(self) -> float | None:
        """The share of finished clips at which both ways cost the same; above 1, drafts are always cheaper, below 0 never."""
        if self.straight is None or not self.finishes:
            return None
        return (self.straight - self.drafts) / self.finishes


def draft_ways(ledger: Ledger, bought: Iterable[tuple[ClipRequest, int, int, int]]) -> list[DraftWay]:
    """Both ways, for each series with drafts among these purchases.

    Args:
        bought: Each clip's request, the number of its takes, and their cost and highest cost in micro-dollars.
    """
    of_series: dict[str, list[tuple[ClipRequest, ClipRequest, int, int, int]]] = {}
    for request, takes, floor, ceiling in bought:
        finish = request.planned_finish
        if finish is not None:
            of_series.setdefault(request.series, []).append((request, finish, takes, floor, ceiling))
    ways = []
    for series, clips in of_series.items():
        finished, drafted = _history(ledger, series)
        is_alone = all(request.finish is None or not request.finish.is_same_shot for request, *_ in clips)
        straight = sum((finish.price_micros or 0) * takes for _, finish, takes, _, _ in clips)
        ways.append(
            DraftWay(
                series,
                len(clips),
                drafts=sum(floor for *_, floor, _ in clips),
                drafts_ceiling=sum(ceiling for *_, ceiling in clips),
                finishes=sum(finish.price_micros or 0 for _, finish, *_ in clips),
                finishes_ceiling=sum(finish.ceiling_micros for _, finish, *_ in clips),
                straight=straight if is_alone else None,
                finished=finished,
                drafted=drafted,
            )
        )
    return ways


def _history(ledger: Ledger, series: str) -> tuple[int, int]:
    """How many clips of a series were finished, and how many clips with a delivered draft were judged or finished."""
    clips = sa.select(sa.func.count(attempts.c.subject_key.distinct())).where(
        attempts.c.series == series, attempts.c.subject_kind == "clip"
    )
    is_finish = sa.and_(
        attempts.c.finishes.is_not(None), attempts.c.state.in_([state.value for state in FINISHED_BY])
    )
    # a clip that nobody has judged yet says nothing about the share
    is_judged = sa.and_(
        attempts.c.is_draft,
        attempts.c.state == AttemptState.DELIVERED.value,
        attempts.c.subject_key.in_(sa.select(take_verdicts.c.clip)),
    )
    with ledger.read() as connection:
        finished = connection.execute(clips.where(is_finish)).scalar_one()
        return int(finished), int(connection.execute(clips.where(sa.or_(is_finish, is_judged))).scalar_one())
