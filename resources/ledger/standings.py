"""Standings: the open purchase and the current take of many clips at once, for a plan. Nothing is changed."""

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger.database import chunks
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, current_takes
from resources.ledger.states import OPEN


@dataclass(frozen=True)
class Standing:
    """What the ledger has of one clip."""

    open: Attempt | None = None
    """Its open purchase."""
    current: Attempt | None = None
    """Its current take."""

    @property
    def known(self) -> list[Attempt]:
        """Both, newest first."""
        return [attempt for attempt in (self.open, self.current) if attempt is not None]


def standings(ledger: Ledger, keys: Sequence[str], *, kind: str = "clip") -> dict[str, Standing]:
    """What the ledger has of each subject, by the subject's key; subjects without either are left out."""
    opened: dict[str, Attempt] = {}
    current: dict[str, Attempt] = {}
    states = [state.value for state in OPEN]
    with ledger.read() as connection:
        for some in chunks(keys):
            of_subjects = (attempts.c.subject_kind == kind, attempts.c.subject_key.in_(some))
            rows = connection.execute(sa.select(attempts).where(*of_subjects, attempts.c.state.in_(states)))
            opened |= {a.subject_key: a for a in map(Attempt.from_row, rows)}
            rows = connection.execute(
                sa.select(attempts)
                .join(current_takes, current_takes.c.attempt_id == attempts.c.id)
                .where(current_takes.c.subject_kind == kind, current_takes.c.subject_key.in_(some))
            )
            current |= {a.subject_key: a for a in map(Attempt.from_row, rows)}
    return {
        key: Standing(opened.get(key), current.get(key)) for key in keys if key in opened or key in current
    }
