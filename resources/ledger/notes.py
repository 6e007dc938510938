"""Notes about an attempt's output: the provider's NSFW flags, its id of a draft, and the clip's perceptual hash.

A hash is written before it is compared, under a lock of the series. So of two clips that are checked at the same moment, the
second one sees the first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from resources.ledger.database import insert_ignoring, lock_subject
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt, clip_of
from resources.ledger.schema import NOT_DELIVERED, attempts, journal, notes
from resources.ledger.states import AttemptState
from resources.ledger.stored_forms import whole_look

NSFW = "nsfw"
DRAFT_ID = "draft_id"
LOOK = "look"
_NO = "no"
SIBLINGS = 2000
"""The number of takes of its series, newest first, with which a new take is compared."""


_CHANGE = (
    sa.update(notes)
    .where(notes.c.attempt_id == sa.bindparam("note_of"), notes.c.name == sa.bindparam("note_name"))
    .values(value=sa.bindparam("note_value"))
)
_FORGET = sa.delete(notes).where(
    notes.c.attempt_id == sa.bindparam("note_of"),
    sa.or_(
        sa.and_(notes.c.name == LOOK, notes.c.value == sa.bindparam("look")),
        sa.and_(notes.c.name == NSFW, notes.c.value == _NO),
    ),
)


def note_nsfw(connection: sa.Connection, attempt_id: str, flags: Sequence[bool | None]) -> None:
    """Record the provider's NSFW flags of a job: one flagged output flags the whole job.

    Args:
        connection: The transaction that records the job's end.
        flags: One for each output; None if the provider does not say.
    """
    named = [flag for flag in flags if flag is not None]
    if named:
        _note(connection, attempt_id, NSFW, "yes" if any(named) else _NO)


def nsfw(ledger: Ledger, attempt_id: str) -> bool | None:
    """Whether the provider has flagged an output as not safe for work; None if it does not say."""
    with ledger.read() as connection:
        value = connection.execute(
            sa.select(notes.c.value).where(notes.c.attempt_id == attempt_id, notes.c.name == NSFW)
        ).scalar()
    return None if value is None else value == "yes"


def note_draft_id(connection: sa.Connection, attempt_id: str, draft_id: str | None) -> None:
    """Record the provider's id of a draft; None records nothing. For the arguments see `note_nsfw`."""
    if draft_id is not None:
        _note(connection, attempt_id, DRAFT_ID, draft_id)


def draft_id(connection: sa.Connection, attempt_id: str) -> str | None:
    """The provider's id of a draft, None if its answer had no id."""
    named = (notes.c.attempt_id == attempt_id, notes.c.name == DRAFT_ID)
    return connection.execute(sa.select(notes.c.value).where(*named)).scalar()


def draft_id_of(ledger: Ledger, attempt_id: str) -> str | None:
    """The provider's id of a draft, read in its own transaction."""
    with ledger.read() as connection:
        return draft_id(connection, attempt_id)


def forget_repeated(connection: sa.Connection, attempt_id: str, delivery: Mapping[str, Any]) -> None:
    """Remove the notes that a delivery makes redundant: the hash, which `delivery` has, and the note that no flag is set."""
    connection.execute(_FORGET, {"note_of": attempt_id, "look": delivery.get("look")})


class SiblingLook(NamedTuple):
    """The perceptual hash of another take of a series."""

    clip: str
    """Its clip's key."""
    seq: int
    """Its place in the ledger's order."""
    look: str
    """Its perceptual hash."""


# notes end with the delivery, which has the hash
_HASH = sa.func.coalesce(notes.c.value, attempts.c.delivery["look"].as_string())
_LOOKS = (
    sa.select(attempts.c.subject_key, attempts.c.seq, _HASH.label("look"))
    .join(notes, sa.and_(notes.c.attempt_id == attempts.c.id, notes.c.name == LOOK), isouter=True)
    .where(
        attempts.c.id != sa.bindparam("mine"),
        attempts.c.state.in_([AttemptState.SUCCEEDED.value, AttemptState.DELIVERED.value]),
    )
)
# in the order of a series' index (days, then clips), so that the index is read only up to the limit
_NEWEST = (
    _LOOKS.where(attempts.c.series == sa.bindparam("series"))
    .order_by(attempts.c.counted_on.desc(), attempts.c.subject_kind.desc(), attempts.c.subject_key.desc())
    .limit(SIBLINGS)
)
# an expression that no index covers, so that no database reads the whole series
_in_series = attempts.c.series.concat("") == sa.bindparam("series")
_FINISHED = _LOOKS.where(NOT_DELIVERED, attempts.c.state == AttemptState.SUCCEEDED.value, _in_series)
_CHANGED = _LOOKS.where(
    attempts.c.id.in_(sa.select(journal.c.attempt_id).where(journal.c.seq > sa.bindparam("since"))),
    _in_series,
)
_NEWEST_ENTRY = sa.select(sa.func.max(journal.c.seq))


def note_look(ledger: Ledger, attempt: Attempt, look: str) -> list[SiblingLook]:
    """Record the perceptual hash of a clip, and read those of its series.

    The series is read before the lock. Under the lock, only takes that may have been noted meanwhile are read: those whose check runs
    now, and those with a later journal entry.

    Returns:
        Other takes of the series, newest first: delivered takes, and takes whose check runs now.
    """
    which = {"series": attempt.series, "mine": attempt.id}
    since, rows = _newest_looks(ledger, which)
    with ledger.write() as connection:
        lock_subject(connection, f"looks of {attempt.series}")
        _note(connection, attempt.id, LOOK, look)
        rows += connection.execute(_FINISHED, which)
        rows += connection.execute(_CHANGED, {**which, "since": since})
    looks = {
        row.seq: SiblingLook(clip_of(row.subject_key), row.seq, whole_look(row.look))
        for row in rows
        if row.look
    }
    return [looks[seq] for seq in sorted(looks, reverse=True)[:SIBLINGS]]


def _newest_looks(ledger: Ledger, which: Mapping[str, str]) -> tuple[int, list[sa.Row[Any]]]:
    """The newest looks of a series, and the journal's newest entry before they were read."""
    with ledger.read() as connection:
        since = connection.execute(_NEWEST_ENTRY).scalar() or 0
        return since, list(connection.execute(_NEWEST, which))


def _note(connection: sa.Connection, attempt_id: str, name: str, value: str) -> None:
    known = {"note_of": attempt_id, "note_name": name, "note_value": value}
    if connection.execute(_CHANGE, known).rowcount == 0:
        insert = insert_ignoring(connection, notes)
        connection.execute(insert, {"attempt_id": attempt_id, "name": name, "value": value})
