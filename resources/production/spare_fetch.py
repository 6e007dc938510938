"""Fetching spare takes, which are paid for although nobody ordered them; see `resources.ledger.spare_takes`."""

import logging
from collections.abc import Collection

from resources.errors import DailiesError
from resources.ledger import deliveries
from resources.log_lines import about
from resources.production.delivery import Deliverer
from resources.production.engine import Engine
from resources.unforeseen import as_unforeseen

logger = logging.getLogger("dailies")


async def fetch_spares(engine: Engine, deliverer: Deliverer, clips: Collection[str], *, run_id: str) -> None:
    """Deliver the finished spare takes of some clips; a later run tries failed deliveries again.

    Args:
        engine: The engine; takes of accounts that it does not have are left out.
        deliverer: Stores the takes.
        clips: The keys of the clips.
    """
    for spare in await engine.ledger.run(deliveries.spares_to_fetch, clips):
        if spare.account not in engine.accounts:
            continue
        try:
            with as_unforeseen("it could not be delivered"):
                await deliverer.deliver(spare, run_id=run_id)
        except DailiesError as error:
            with about(**spare.named, run_id=run_id):
                logger.warning("%s: a spare take (%s) was not fetched: %s", spare.clip, spare.id, error)
