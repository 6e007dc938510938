"""The stop watch: it raises one alarm for each stop, and ends a stop that has cleared."""

import logging

from resources.errors import ConfigurationError, DailiesError
from resources.ledger import queue, stops
from resources.ledger.stops import Stop, StopKind
from resources.money import show_usd
from resources.production.ledger_thread import LedgerThread
from resources.providers.provider import Provider
from resources.retry import retry_free_call
from resources.unforeseen import as_unforeseen

logger = logging.getLogger("dailies")


class StopWatch:
    """Watches the stops of accounts."""

    def __init__(self, ledger: LedgerThread) -> None:
        self._ledger = ledger

    async def alarm(self, name: str) -> Stop | None:
        """Raise the alarm of a stopped account, once for each stop."""
        stop = await self._ledger.run(stops.take_alarm, name)
        if stop is not None:
            logger.error("ALARM: %s", stop)
        return stop

    async def check_key(self, provider: Provider) -> None:
        """Stop an account whose key a poll was refused with, once the provider refuses it again: its paid jobs wait for a person."""
        if await self._ledger.run(stops.stop_of, provider.name) is not None:
            return
        try:
            with as_unforeseen("checking the key"):
                await retry_free_call(provider.check)
        except ConfigurationError as error:
            reason = f"jobs cannot be asked for, because {error}".removesuffix(".")
            await self._ledger.run(stops.stop_for_key, provider.name, reason)
        except DailiesError as error:
            logger.info("%s: whether its key is refused is not known: %s", provider.name, error)

    async def reopen(self, provider: Provider) -> bool:
        """End the stop of an account if it can pay or its key is accepted again; asks the provider every few minutes."""
        stop = await self._ledger.run(stops.claim_probe, provider.name)
        if stop is None:
            return False
        try:
            with as_unforeseen("asking it"):
                ready = await self._ready(provider, stop)
        except ConfigurationError:
            ready = False
        except DailiesError as error:
            logger.info("%s: whether it can be used again is not known: %s", provider.name, error)
            ready = False
        if not ready or not await self._ledger.run(stops.reopen, stop):
            return False
        logger.info("%s is used again", provider.name)
        return True

    async def _ready(self, provider: Provider, stop: Stop) -> bool:
        if stop.kind is StopKind.AUTH:
            await retry_free_call(provider.check)
            return True
        balance = await retry_free_call(provider.balance)
        if balance is None:
            # the provider shows no balance, so the next clip tries; a refusal costs nothing
            return True
        needed = await self._ledger.run(queue.next_price, provider.name)
        if balance < (needed or 1):
            logger.info(
                "%s has %s, and the next clip needs %s", provider.name, show_usd(balance), show_usd(needed)
            )
            return False
        return True
