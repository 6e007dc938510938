"""Queries for the newest purchase of each subject, by state, series and age."""

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.records import CLIP, Attempt
from resources.ledger.schema import IS_NEWEST, NOT_DELIVERED, attempts
from resources.ledger.states import AttemptState
from resources.ledger.unindexed import Unindexed

PAGE = 500
"""The most attempts in memory at once."""
ALIKE_START = 4
"""Characters that a misspelt key shares with the one that was meant."""
COMPARED = 2000
"""Most keys that a misspelt one is compared with, of those that begin alike; the latest dates come first."""
_EVERY_STATE = frozenset(AttemptState)
_kind, _series = Unindexed(attempts.c.subject_kind), attempts.c.series.concat("")
"""SQLite would prefer the indexes of subjects and series, with the whole history, to the index of undelivered attempts; PostgreSQL would
read the index of a series beside it."""


@dataclass(frozen=True)
class Newest:
    """The facts of a subject's newest purchase by which clips are selected."""

    id: str
    subject_key: str
    series: str
    endpoint: str
    state: AttemptState
    finishes: str | None = None
    """The id of the draft that it finishes."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """The request's tags; empty if the query left them out."""
    owner: str | None = None
    """The request's owner; None if the query left it out."""


def newest(
    ledger: Ledger,
    states: Collection[AttemptState] = _EVERY_STATE,
    *,
    series: str | None = None,
    where: sa.ColumnElement[bool] | None = None,
    labels: bool = False,
    last: int | None = None,
    kind: str = "clip",
) -> list[Newest]:
    """The newest purchases that are in some states, oldest first.

    If no asked state is a delivered one, the query reads only undelivered purchases, which are few.

    Args:
        where: Another condition, on columns of `attempts`.
        labels: Whether to read tags and owner.
        last: The most purchases to return, the newest ones.
    """
    columns: list[sa.ColumnElement[Any]] = [
        attempts.c.id,
        attempts.c.subject_key,
        attempts.c.series,
        attempts.c.endpoint,
        attempts.c.state,
        attempts.c.finishes,
    ]
    if labels:
        columns += [attempts.c.request["tags"], attempts.c.request["owner"].as_string()]
    query = sa.select(*columns).where(_kind == kind, IS_NEWEST)
    if AttemptState.DELIVERED not in states:
        query = query.where(NOT_DELIVERED)
    if set(states) != _EVERY_STATE:
        query = query.where(attempts.c.state.in_(sorted(state.value for state in states)))
    if series is not None:
        query = query.where((attempts.c.series if AttemptState.DELIVERED in states else _series) == series)
    if where is not None:
        query = query.where(where)
    order: list[sa.ColumnElement[Any]] = [attempts.c.seq]
    if last is not None:
        # a series' index is ordered by day, and unordered within a day
        order = [attempts.c.seq] if series is None else [attempts.c.counted_on, attempts.c.seq]
        query = query.limit(last)
    query = query.order_by(*(column.desc() if last is not None else column for column in order))
    with ledger.read() as connection:
        newest_ones = [_read(row) for row in connection.execute(query)]
    return newest_ones[::-1] if last is not None else newest_ones


_REPORTED = (
    sa.select(
        attempts.c.seq,
        attempts.c.subject_key,
        attempts.c.id,
        attempts.c.delivered_at,
    )
    .where(
        attempts.c.seq > sa.bindparam("after"),
        _kind == "clip",
        attempts.c.state == AttemptState.DELIVERED.value,
        attempts.c.reported_run_id.is_not(None),
        IS_NEWEST,
    )
    .order_by(attempts.c.seq)
    .limit(PAGE)
)


def reported_deliveries(ledger: Ledger) -> Iterator[tuple[str, str, float]]:
    """Delivered clips that a run reported, oldest first, `PAGE` at a time: clip, attempt id, and time of delivery."""
    after = 0
    while True:
        with ledger.read() as connection:
            rows = connection.execute(_REPORTED, {"after": after}).all()
        for row in rows:
            yield row.subject_key, row.id, row.delivered_at or 0.0
        if len(rows) < PAGE:
            return
        after = rows[-1].seq


def _read(row: Sequence[Any]) -> Newest:
    key, subject, series, endpoint, state, finishes = row[:6]
    tags, owner = row[6:] or (None, None)
    return Newest(
        str(key),
        str(subject),
        str(series),
        str(endpoint),
        AttemptState(state),
        finishes,
        tags if isinstance(tags, dict) else {},
        None if owner is None else str(owner),
    )


def clips_bought(ledger: Ledger, *, series: str | None = None) -> int:
    """How many clips were ever bought or queued; reads only an index."""
    keys = sa.select(attempts.c.subject_key).distinct()
    if series is None:
        keys = keys.where(attempts.c.subject_kind == "clip")
    else:
        keys = keys.where(attempts.c.series == series, _kind == "clip")
    with ledger.read() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(keys.subquery())).scalar_one()


def has_bought(ledger: Ledger, series: str) -> bool:
    """Whether a clip of a series was ever bought or queued."""
    one = sa.select(attempts.c.seq).where(attempts.c.series == series).limit(1)
    with ledger.read() as connection:
        return connection.execute(one).scalar() is not None


def similar_clip(ledger: Ledger, key: str) -> str | None:
    """The clip that was asked for whose key is most like another one, None if none is. It reads no more than `COMPARED` keys."""
    start = key[:ALIKE_START]
    mine = (
        attempts.c.subject_kind == CLIP,
        attempts.c.subject_key >= start,
        attempts.c.subject_key < f"{start}\U0010ffff",
    )
    keys = sa.select(attempts.c.subject_key).where(*mine).distinct().order_by(attempts.c.subject_key.desc())
    with ledger.read() as connection:
        candidates = connection.execute(keys.limit(COMPARED)).scalars().all()
    near = difflib.get_close_matches(key, candidates, n=1, cutoff=0.8)
    return near[0] if near else None


def pages(ledger: Ledger, ids: Sequence[str]) -> Iterator[list[Attempt]]:
    """The attempts with these ids, in the order of their purchases, `PAGE` at a time."""
    for start in range(0, len(ids), PAGE):
        yield list(ledger.attempts(ids[start : start + PAGE]).values())
