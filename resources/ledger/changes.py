"""Changes in the ledger since the last reading, so that a batch reads only the clips that changed."""

import math
from collections.abc import Collection, Iterable

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, journal
from resources.orders import TakeSlot

EVERYTHING_SECONDS = 10.0
"""How often every clip is read again, in seconds: PostgreSQL may commit a journal entry after a later one was read."""
MOST_ENTRIES = 500
"""After more changes than this, every clip is read again."""

_NEWEST_ENTRY = sa.select(sa.func.max(journal.c.seq))
_ENTRIES_SINCE = (
    sa.select(journal.c.seq, attempts.c.subject_key)
    .join(attempts, attempts.c.id == journal.c.attempt_id)
    .where(journal.c.seq > sa.bindparam("since"))
    .order_by(journal.c.seq)
    .limit(MOST_ENTRIES)
)


class ChangedClips:
    """Reads a batch's newest attempts: all at first and every `EVERYTHING_SECONDS`, otherwise only the changed ones."""

    def __init__(self) -> None:
        self._entry = 0
        self._read_all_at = -math.inf

    def read(self, ledger: Ledger, slots: Collection[TakeSlot]) -> dict[TakeSlot, Attempt]:
        """Read the newest attempt of each slot that may have changed since the last call."""
        clips = {slot.clip for slot in slots}
        now = ledger.clock()
        if 0 <= now - self._read_all_at < EVERYTHING_SECONDS:
            with ledger.read() as connection:
                entries = connection.execute(_ENTRIES_SINCE, {"since": self._entry}).all()
            if len(entries) < MOST_ENTRIES:
                if entries:
                    self._entry = entries[-1].seq
                changed = {entry.subject_key for entry in entries}.intersection(clips)
                return _newest_of(ledger, changed, slots) if changed else {}
        # the journal is read first, so that a later change is read again rather than missed
        with ledger.read() as connection:
            self._entry = connection.execute(_NEWEST_ENTRY).scalar() or 0
        self._read_all_at = now
        return _newest_of(ledger, clips, slots)


def _newest_of(ledger: Ledger, clips: Iterable[str], slots: Collection[TakeSlot]) -> dict[TakeSlot, Attempt]:
    return {slot: attempt for slot, attempt in ledger.latest_takes(list(clips)).items() if slot in slots}
