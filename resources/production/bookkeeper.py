"""The bookkeeper: it reads a provider's bill when amounts are unconfirmed, and reports the changes."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from resources.errors import DailiesError
from resources.ledger import bills, disputes, sentinel
from resources.ledger.bills import Billed, Confirmed, Window
from resources.ledger.lost import orphans
from resources.ledger.states import MoneyState
from resources.log_lines import about
from resources.money import show_usd
from resources.production.ledger_thread import LedgerThread
from resources.production.timed_reading import timed_reading
from resources.providers.base import Charge
from resources.providers.provider import Provider
from resources.providers.rows import in_words, set_aside

logger = logging.getLogger("dailies")

READ_SECONDS = 15.0
"""How long a bill may take, since a sensor's tick has other work. A part that takes longer is read again when the bill is due."""


async def watch_hours(ledger: LedgerThread, provider: Provider, charges: Sequence[Charge]) -> None:
    """Stop the account if the charges of an hour on its bill exceed the orders."""
    offset = provider.clock_offset
    ahead = 0.0 if offset is None else offset.high
    await ledger.run(sentinel.watch_hours, provider.name, charges, ahead_seconds=ahead)


class Bookkeeper:
    """Confirms the ledger's amounts by the bills."""

    def __init__(self, ledger: LedgerThread) -> None:
        self._ledger = ledger

    async def confirm(self, provider: Provider) -> list[Confirmed]:
        """Read the account's bill if it is due; a failed reading is repeated next time.

        Returns:
            The attempts whose money the bill has changed or confirmed.
        """
        window = await self._ledger.run(bills.claim, provider.name)
        confirmed: list[Confirmed] = []
        if window is None or not provider.capabilities.bills_jobs:
            return confirmed
        give_up = asyncio.get_running_loop().time() + READ_SECONDS
        # an amount that its bill never names makes the readings of two weeks long; new amounts must not wait for their ends
        for part in window.newest_first():
            try:
                async with timed_reading("it", give_up - asyncio.get_running_loop().time()):
                    bill = await self.read(provider, part)
            except DailiesError as error:
                logger.warning("%s: its bill could not be read: %s", provider.name, error)
                break
            confirmed += await self.book(provider, part, bill)
        return confirmed

    async def read(self, provider: Provider, window: Window) -> dict[str, Billed]:
        """Read the account's bill, by the core of the job's id; rows that were set aside are counted and kept for a person.

        Raises:
            DailiesError: The bill could not be read to its end.
        """
        charges = await provider.charges(
            after=datetime.fromtimestamp(window.after, UTC), before=datetime.fromtimestamp(window.before, UTC)
        )
        aside = set_aside(charges)
        if aside:
            logger.warning("%s: on its bill, %s", provider.name, in_words(aside))
        await self._ledger.run(disputes.note_unread, provider.name, orphans.BILL, aside)
        await watch_hours(self._ledger, provider, charges)
        return bills.by_job(charges)

    async def book(self, provider: Provider, window: Window, bill: Mapping[str, Billed]) -> list[Confirmed]:
        """Record a bill's amounts; returns the changes."""
        confirmed = await self._ledger.run(
            bills.record,
            provider.name,
            bill,
            since=window.after,
            refunds_failures=provider.capabilities.refunds_failures,
        )
        for dispute in await self._ledger.run(disputes.take_unreported, provider.name):
            logger.error("ALARM: %s", dispute)
        for change in confirmed:
            with about(**change.after.named):
                _say(change)
        return confirmed


def _say(change: Confirmed) -> None:
    """Log a difference between a bill and the ledger."""
    after = change.after
    if change.swapped is not None:
        logger.warning(
            "%s: the bill says that %s made it, and %s was bought (job %s)",
            after.subject_key,
            change.swapped,
            after.endpoint,
            after.job_id,
        )
    # an expected refund is not worth a warning
    if change.difference_micros > 0 or (
        change.difference_micros < 0 and after.money_state is MoneyState.CONFIRMED
    ):
        logger.warning(
            "%s: the bill says %s instead of %s (job %s)",
            after.subject_key,
            show_usd(after.cost_micros),
            show_usd(change.before.cost_micros),
            after.job_id,
        )
