"""The characters that exist, by the ledger."""

import sqlalchemy as sa

from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, current_takes
from resources.series.characters import Made

KIND = "character"
ID = "character"
"""The field of a delivery with the provider's id."""


def made_characters(ledger: Ledger) -> dict[str, Made]:
    """Every made character by its name; if it was made twice, the newer."""
    query = (
        sa.select(attempts)
        .join(current_takes, current_takes.c.attempt_id == attempts.c.id)
        .where(current_takes.c.subject_kind == KIND)
    )
    with ledger.read() as connection:
        takes = [Attempt.from_row(row) for row in connection.execute(query)]
    return {
        attempt.subject_key: Made(str(attempt.delivery[ID]), attempt.fingerprint)
        for attempt in takes
        if attempt.delivery is not None and ID in attempt.delivery
    }
