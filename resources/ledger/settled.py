"""Settled clips: those that were delivered long ago and for which nothing is pending."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from resources.ledger.database import chunks
from resources.ledger.ledger import Ledger
from resources.ledger.records import CLIP, SPARE, clip_of
from resources.ledger.review_tables import waiting_clips
from resources.ledger.schema import NOT_DELIVERED, attempts
from resources.ledger.states import OPEN, AttemptState, MoneyState

_A = attempts.c
_OF_CLIPS = (
    sa.select(
        _A.subject_key, _A.slot, _A.state, _A.money_state, _A.created_at, _A.delivered_at, _A.reported_run_id
    )
    .where(_A.subject_kind == CLIP, _A.subject_key.in_(sa.bindparam("keys", expanding=True)))
    .order_by(_A.seq)
)
_OPEN_SPARES = sa.select(_A.subject_key).where(
    _A.subject_kind == SPARE, _A.state.in_([state.value for state in OPEN]), NOT_DELIVERED
)
_OPEN = {state.value for state in OPEN}
_UNSETTLED_MONEY = {MoneyState.RESERVED.value, MoneyState.REFUND_EXPECTED.value}
_DELIVERED, _WITHDRAWN = AttemptState.DELIVERED.value, AttemptState.WITHDRAWN.value


def settled_clips(ledger: Ledger, keys: Collection[str], *, before: float) -> set[str]:
    """Select the clips that were delivered before a time and for which nothing is pending.

    A clip is settled if the newest purchase of each slot is delivered (or was withdrawn after an earlier delivery), no purchase of it
    is open, no refund is expected, and every end was reported to Dagster. Clips that failed, are held, are in quarantine or have a take
    to judge wait for a person.

    Args:
        before: Seconds since the epoch; a clip with a later purchase is not settled.
    """
    settled: set[str] = set()
    with ledger.read() as connection:
        waiting = {clip_of(str(key)) for key in connection.execute(_OPEN_SPARES).scalars()}
        waiting |= set(connection.execute(sa.select(waiting_clips.c.clip)).scalars())
        for some in chunks([key for key in keys if key not in waiting]):
            rows: dict[str, list[Any]] = {}
            for row in connection.execute(_OF_CLIPS, {"keys": some}):
                rows.setdefault(row.subject_key, []).append(row)
            settled |= {key for key, found in rows.items() if _is_settled(found, before)}
    return settled


def never_bought(ledger: Ledger, keys: Collection[str]) -> set[str]:
    """Select the clips without a purchase in the ledger."""
    known: set[str] = set()
    with ledger.read() as connection:
        for some in chunks(list(keys)):
            known |= {row.subject_key for row in connection.execute(_OF_CLIPS, {"keys": some})}
    return set(keys) - known


def _is_settled(rows: list[Any], before: float) -> bool:
    """Judge a clip by its purchases, oldest first."""
    newest = {row.slot: row for row in rows}.values()
    deliveries = [row for row in rows if row.state == _DELIVERED and row.delivered_at is not None]
    return (
        bool(deliveries)
        and all(row.state in {_DELIVERED, _WITHDRAWN} for row in newest)
        and all(row.delivered_at < before for row in deliveries)
        and all(row.created_at < before for row in newest)
        and not any(row.state in _OPEN or row.money_state in _UNSETTLED_MONEY for row in rows)
        and all(row.reported_run_id is not None for row in rows if row.state != _WITHDRAWN)
    )
