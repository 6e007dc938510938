"""Spare takes are fetched because they were paid for, although nobody asked for them; see `resources.ledger.spare_takes`."""

import logging
from collections.abc import Collection

from resources.errors import DailiesError
from resources.ledger import deliveries
from resources.log_lines import about
from resources.production.delivery import Deliverer
from resources.production.engine import Engine
from resources.unforeseen import in_our_words

logger = logging.getLogger("dailies")


async def fetch_spares(engine: Engine, deliverer: Deliverer, clips: Collection[str], *, run_id: str) -> None:
    """Deliver the finished spare takes of some clips; a later run tries again what fails.

    Args:
        engine: Takes of accounts that this engine does not have are left alone.
        deliverer: Stores them.
        clips: Keys of clips.
    """
    for spare in await engine.ledger.run(deliveries.spares_to_fetch, clips):
        if spare.account not in engine.accounts:
            continue
        try:
            with in_our_words("it could not be delivered"):
                await deliverer.deliver(spare, run_id=run_id)
        except DailiesError as error:
            with about(**spare.named, run_id=run_id):
                logger.warning("%s: a spare take (%s) was not fetched: %s", spare.clip, spare.id, error)
