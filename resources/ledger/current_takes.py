"""The current take of a clip: the circled one, else the newest that was not rejected; never a draft.

In a series with review, only a circled take is current; until there is one, the clip waits for a person. In a series without
review, a take that is delivered after the circle replaces the circled one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import sqlalchemy as sa

from resources.ledger import waiting_clips
from resources.ledger.records import CLIP, Attempt
from resources.ledger.schema import attempts, current_takes, take_verdicts
from resources.ledger.states import AttemptState
from resources.ledger.stored_forms import whole_review
from resources.orders import Review

CIRCLED, REJECTED = "circled", "rejected"
Order = Literal["seq", "delivered_at"]
"""How two takes are ordered: by their decisions, or by their times of delivery where the order of decisions is lost."""


@dataclass(frozen=True)
class DeliveredTake:
    """The facts of a delivered take that decide which take is current."""

    id: str
    delivered_at: float
    """Seconds since the epoch."""
    review: Review
    """Who judges it, as its order says."""
    verdict: str | None
    """`circled` or `rejected`; None without a verdict."""
    judged_at: float
    """When that verdict was given, seconds since the epoch."""
    is_draft: bool = False
    """Whether it is a draft, which is never current."""


def choose(takes: Sequence[DeliveredTake], shown: str | None = None) -> str | None:
    """The take that is current, None without one.

    Args:
        takes: The delivered takes of one clip, oldest first.
        shown: The take that is current now. It stays while a circled draft has no finish yet.
    """
    circled = next((place for place, take in enumerate(takes) if take.verdict == CIRCLED), None)
    if circled is None:
        free = [take for take in takes if not take.review.asks and not take.is_draft]
        kept = [take for take in free if take.verdict != REJECTED] or free
        return kept[-1].id if kept else None
    if takes[circled].is_draft:
        kept = [take for take in takes if not take.is_draft and take.verdict != REJECTED]
        return next((take.id for take in kept if take.id == shown), None)
    judged_at = takes[circled].judged_at
    later = [
        take
        for take in takes[circled + 1 :]
        if take.verdict != REJECTED
        and not take.review.asks
        and not take.is_draft
        and take.delivered_at > judged_at
    ]
    return (later or [takes[circled]])[-1].id


def waiting(takes: Sequence[DeliveredTake]) -> list[DeliveredTake]:
    """The takes that wait for a person: those without a verdict, if no take of the clip is circled. Arguments as of `choose`."""
    if any(take.verdict == CIRCLED for take in takes):
        return []
    return [take for take in takes if take.review.asks and take.verdict is None]


def make_current(
    connection: sa.Connection, attempt: Attempt, *, since: float, later_by: Order = "seq"
) -> None:
    """Choose the current take again after a delivery, and record whether the clip waits for a person.

    A spare take never becomes current.

    Args:
        connection: A transaction that has the lock of the take's subject.
        since: Seconds since the epoch.
    """
    if attempt.is_spare:
        return
    mine = (
        current_takes.c.subject_kind == attempt.subject_kind,
        current_takes.c.subject_key == attempt.subject_key,
    )
    takes = delivered_takes(connection, attempt, later_by)
    if attempt.subject_kind == CLIP:
        newest = next(reversed(waiting(takes)), None)
        waiting_clips.note(
            connection,
            attempt.clip,
            None
            if newest is None
            else waiting_clips.WaitingTake(newest.id, newest.delivered_at, newest.review.within_seconds),
        )
    shown = connection.execute(sa.select(current_takes.c.attempt_id).where(*mine)).scalar()
    chosen = choose(takes, shown)
    if chosen == shown:
        return
    if chosen is None:
        connection.execute(sa.delete(current_takes).where(*mine))
    elif shown is None:
        insert = sa.insert(current_takes).values(
            subject_kind=attempt.subject_kind,
            subject_key=attempt.subject_key,
            attempt_id=chosen,
            since=since,
        )
        connection.execute(insert)
    else:
        connection.execute(sa.update(current_takes).where(*mine).values(attempt_id=chosen, since=since))


def delivered_takes(
    connection: sa.Connection, attempt: Attempt, later_by: Order = "seq"
) -> list[DeliveredTake]:
    """The delivered takes of an attempt's subject, oldest first."""
    order = sa.func.coalesce(attempts.c[later_by], 0)
    query = (
        sa.select(
            attempts.c.id,
            attempts.c.delivered_at,
            attempts.c.request["review"],
            take_verdicts.c.word,
            take_verdicts.c.at,
            attempts.c.is_draft,
        )
        .outerjoin(take_verdicts, take_verdicts.c.attempt_id == attempts.c.id)
        .where(
            attempts.c.subject_kind == attempt.subject_kind,
            attempts.c.subject_key == attempt.subject_key,
            attempts.c.state == AttemptState.DELIVERED.value,
        )
        .order_by(order, attempts.c.seq)
    )
    return [
        DeliveredTake(
            take, delivered_at or 0.0, Review.model_validate(whole_review(review)), word, at or 0.0, draft
        )
        for take, delivered_at, review, word, at, draft in connection.execute(query)
    ]
