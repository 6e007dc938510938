"""Notes about an attempt's output before its delivery: the provider's NSFW flags, and the clip's perceptual hash.

A hash is written before it is compared, under a lock of the series: of two clips that are checked at the same moment, the
second one sees the first.
"""

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from resources.ledger.database import insert_ignoring, lock_subject
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt, clip_of
from resources.ledger.schema import attempts, notes
from resources.ledger.states import AttemptState

NSFW = "nsfw"
LOOK = "look"
SIBLINGS = 2000
"""How many takes of a series a new one is compared with: the newest ones."""


_CHANGE = (
    sa.update(notes)
    .where(notes.c.attempt_id == sa.bindparam("note_of"), notes.c.name == sa.bindparam("note_name"))
    .values(value=sa.bindparam("note_value"))
)


def note_nsfw(connection: sa.Connection, attempt_id: str, flags: Sequence[bool | None]) -> None:
    """Record the provider's NSFW flags of a job: one flagged output flags the whole job.

    Args:
        connection: The transaction that records the job's end.
        flags: One for each output, None where it does not say.
    """
    said = [flag for flag in flags if flag is not None]
    if said:
        _note(connection, attempt_id, NSFW, "yes" if any(said) else "no")


def nsfw(ledger: Ledger, attempt_id: str) -> bool | None:
    """Whether the provider has flagged an output as not safe for work, None where it does not say."""
    with ledger.read() as connection:
        value = connection.execute(
            sa.select(notes.c.value).where(notes.c.attempt_id == attempt_id, notes.c.name == NSFW)
        ).scalar()
    return None if value is None else value == "yes"


class SiblingLook(NamedTuple):
    """The perceptual hash of another take of a series."""

    clip: str
    """Its clip's key."""
    seq: int
    """Its place in the ledger's order."""
    look: str
    """Its perceptual hash."""


def note_look(ledger: Ledger, attempt: Attempt, look: str) -> list[SiblingLook]:
    """Record the perceptual hash of a clip, and read those of its series.

    Returns:
        Other takes of the series, newest first: delivered ones, and those whose check runs now.
    """
    columns = (attempts.c.subject_key, attempts.c.seq, attempts.c.delivery, notes.c.value)
    with ledger.write() as connection:
        lock_subject(connection, f"looks of {attempt.series}")
        _note(connection, attempt.id, LOOK, look)
        rows = connection.execute(
            sa.select(*columns)
            .join(notes, sa.and_(notes.c.attempt_id == attempts.c.id, notes.c.name == LOOK), isouter=True)
            .where(
                attempts.c.series == attempt.series,
                attempts.c.id != attempt.id,
                attempts.c.state.in_([AttemptState.SUCCEEDED.value, AttemptState.DELIVERED.value]),
            )
            .order_by(attempts.c.seq.desc())
            .limit(SIBLINGS)
        ).all()
    # a rebuilt ledger has no notes; it has the hashes from the manifests
    found = ((key, seq, noted or (delivery or {}).get("look")) for key, seq, delivery, noted in rows)
    return [SiblingLook(clip_of(key), seq, str(look)) for key, seq, look in found if look]


def _note(connection: sa.Connection, attempt_id: str, name: str, value: str) -> None:
    known = {"note_of": attempt_id, "note_name": name, "note_value": value}
    if connection.execute(_CHANGE, known).rowcount == 0:
        insert = insert_ignoring(connection, notes)
        connection.execute(insert, {"attempt_id": attempt_id, "name": name, "value": value})
