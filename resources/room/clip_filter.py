"""Selecting the clips that the room shows, newest first."""

from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.records import CLIP
from resources.ledger.review_tables import waiting_clips
from resources.ledger.schema import attempts, journal, take_verdicts, verdicts
from resources.ledger.states import AttemptState

MOST = 300
"""Most clips on one page."""
MOST_CHANGED = 100
_WITH_VIDEO = [AttemptState.DELIVERED.value, AttemptState.QUARANTINED.value]


class Show(StrEnum):
    """A selection of clips by their verdicts."""

    WAITING = "waiting"
    """No take is circled, and a take has no verdict."""
    ENDS = "ends"
    """Nobody has judged them, and their series' policy will decide; the earliest first."""
    CIRCLED = "circled"
    REJECTED = "rejected"
    """Every take is rejected."""
    ALL = "all"
    UNMADE = "unmade"
    """Declared, without a take; see `unmade_clips`."""


@dataclass(frozen=True)
class ClipFilter:
    """The filter of the page."""

    show: Show = Show.WAITING
    series: str | None = None
    day: str | None = None
    """The day for which its newest take counts (YYYY-MM-DD)."""
    text: str = ""
    """A part of the clip's key."""
    judged_by: str | None = None
    """Only clips with a verdict of this person."""


def select_clips(ledger: Ledger, clip_filter: ClipFilter, *, most: int = MOST) -> list[str]:
    """The keys of clips with a video, ordered by their newest take, newest first."""
    word = take_verdicts.c.word
    circled = sa.func.sum(sa.case((word == "circled", 1), else_=0))
    unjudged = sa.func.sum(sa.case((word.is_(None), 1), else_=0))
    query = (
        sa.select(attempts.c.subject_key)
        .outerjoin(take_verdicts, take_verdicts.c.attempt_id == attempts.c.id)
        .where(attempts.c.subject_kind == CLIP, attempts.c.state.in_(_WITH_VIDEO))
        .group_by(attempts.c.subject_key)
        .order_by(sa.func.max(attempts.c.seq).desc())
        .limit(most)
    )
    if clip_filter.series is not None:
        query = query.where(attempts.c.series == clip_filter.series)
    if clip_filter.text:
        query = query.where(attempts.c.subject_key.contains(clip_filter.text.lower(), autoescape=True))
    if clip_filter.day is not None:
        query = query.having(sa.func.max(attempts.c.counted_on) == clip_filter.day)
    if clip_filter.judged_by is not None:
        mine = sa.select(verdicts.c.clip).where(verdicts.c.who == clip_filter.judged_by)
        query = query.where(attempts.c.subject_key.in_(mine))
    match clip_filter.show:
        case Show.WAITING:
            query = query.having(sa.and_(circled == 0, unjudged > 0))
        case Show.ENDS:
            query = (
                query.join(waiting_clips, waiting_clips.c.clip == attempts.c.subject_key)
                .where(waiting_clips.c.decide_at.is_not(None))
                .order_by(None)
                .order_by(sa.func.min(waiting_clips.c.decide_at), attempts.c.subject_key)
            )
        case Show.CIRCLED:
            query = query.having(circled > 0)
        case Show.REJECTED:
            query = query.having(sa.and_(circled == 0, unjudged == 0))
        case Show.ALL | Show.UNMADE:
            pass
    with ledger.read() as connection:
        return list(connection.execute(query).scalars())


def newest_entry(ledger: Ledger) -> int:
    """Number of the newest entry of the journal."""
    with ledger.read() as connection:
        return int(connection.execute(sa.select(sa.func.max(journal.c.seq))).scalar() or 0)


def changed_clips(ledger: Ledger, after: int) -> tuple[int, list[str]]:
    """The newest entry of the journal, and the clips that changed after an entry; at most `MOST_CHANGED`, the newest."""
    query = (
        sa.select(attempts.c.subject_key, sa.func.max(journal.c.seq))
        .join(journal, journal.c.attempt_id == attempts.c.id)
        .where(journal.c.seq > after, attempts.c.subject_kind == CLIP)
        .group_by(attempts.c.subject_key)
        .order_by(sa.func.max(journal.c.seq).desc())
        .limit(MOST_CHANGED)
    )
    with ledger.read() as connection:
        newest = int(connection.execute(sa.select(sa.func.max(journal.c.seq))).scalar() or 0)
        return newest, list(connection.execute(query).scalars()) if newest > after else []
