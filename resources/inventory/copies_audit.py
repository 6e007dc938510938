"""The audit of the ledger's copies in the bucket."""

from datetime import UTC, datetime

import sqlalchemy as sa

from resources.inventory.findings import LEDGER_IS_COPIED, Finding, found
from resources.ledger.ledger import Ledger
from resources.ledger.schema import journal
from resources.production.ledger_copies import copies
from resources.storage.objects import ObjectStore

OLD_SECONDS = 2 * 86_400.0
_FIRST_ENTRY = sa.select(journal.c.at).order_by(journal.c.seq).limit(1)


def check_copies(ledger: Ledger, store: ObjectStore) -> Finding:
    """Whether the newest verified copy is recent; a ledger that is younger than two days needs none yet.

    Raises:
        resources.errors.DailiesError: The bucket or the ledger does not answer.
    """
    with ledger.read() as connection:
        began = connection.execute(_FIRST_ENTRY).scalar()
    verified = [copy.at for copy in copies(store) if copy.is_verified]
    newest = max(verified, default=None)
    since = began if newest is None else newest
    if began is None or since is None or ledger.clock() - since <= OLD_SECONDS:
        return found(LEDGER_IS_COPIED, [])
    word = (
        "there is none"
        if newest is None
        else f"the newest is of {datetime.fromtimestamp(newest, UTC):%Y-%m-%d %H:%M} UTC"
    )
    return found(LEDGER_IS_COPIED, [("ledger", word)])
