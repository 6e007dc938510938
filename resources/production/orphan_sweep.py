"""The orphan sweep: once an hour an account's listing and bill are read for jobs that the ledger does not know."""

import logging
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from resources.errors import DailiesError
from resources.ledger import bills, disputes, keys
from resources.ledger.bills import MARGIN_SECONDS, Window
from resources.ledger.lost import orphans
from resources.ledger.lost.orphans import Sweep
from resources.production.bookkeeper import Bookkeeper, watch_hours
from resources.production.ledger_thread import LedgerThread
from resources.production.timed_reading import timed_reading
from resources.providers.listing import charged_jobs
from resources.providers.provider import Provider
from resources.providers.rows import Rows, set_aside

if TYPE_CHECKING:
    from resources.providers.base import Candidate, Charge

logger = logging.getLogger("dailies")

T = TypeVar("T")

PATIENCE_SECONDS = 15.0
"""How long each reading of a sweep may take, since a sensor's tick has other work. A reading that takes longer is tried again."""


async def sweep(ledger: LedgerThread, provider: Provider) -> list[str]:
    """Sweep an account if its sweep is due.

    On a shared key, only jobs of models that were ordered here are recorded. A job of ours that is charged although its money was
    released is booked.

    Returns:
        Ids of the new jobs without an owner.
    """
    claimed = await ledger.run(orphans.claim_sweep, provider.name)
    if claimed is None:
        return []
    after, before = datetime.fromtimestamp(claimed.after, UTC), datetime.fromtimestamp(claimed.before, UTC)
    offers, ordered = provider.capabilities, await ledger.run(orphans.models_of, provider.name)
    listed: Rows[Candidate] = Rows([])
    if offers.lists_jobs:
        listing = provider.list_jobs(after=after, before=before, endpoints=ordered)
        read = await _read_in_time(listing, "listing", provider.name)
        if read is None:
            return []
        listed = read
    await ledger.run(disputes.note_unread, provider.name, orphans.LISTING, set_aside(listed))
    key = await ledger.run(keys.look_up, provider.name)
    models = None if key.dedicated else ordered
    orphans_found = await ledger.run(orphans.book, provider.name, listed, models=models)
    bill: Rows[Charge] | None = Rows([])
    if offers.bills_jobs:
        bill = await _read_bill(provider, claimed)
    if bill is not None:
        await watch_hours(ledger, provider, bill)
        # without the margin, no job of the account's first half hour would ever be booked; later windows overlap
        window = Window(claimed.billed_after - MARGIN_SECONDS, claimed.billed_before)
        by_job = bills.by_job(bill)
        charged = await ledger.run(bills.charged_nevertheless, provider.name, by_job, window)
        if charged:
            await Bookkeeper(ledger).book(provider, window, charged)
        listed_ids = {job.job_id for job in listed}
        # the bill still shows a job that was deleted, or that was never listed
        unlisted = [job for job in charged_jobs(bill) if job.job_id not in listed_ids]
        orphans_found += await ledger.run(
            orphans.book, provider.name, unlisted, source=orphans.BILL, models=models
        )
    await ledger.run(orphans.finish_sweep, provider.name, claimed, billed=bill is not None)
    if orphans_found:
        logger.warning("%s", orphans.in_words(provider.name, orphans_found, dedicated=key.dedicated))
    return orphans_found


async def _read_bill(provider: Provider, claimed: Sweep) -> "Rows[Charge] | None":
    if claimed.billed_before <= claimed.billed_after:
        return None
    after, before = (datetime.fromtimestamp(at, UTC) for at in (claimed.billed_after, claimed.billed_before))
    return await _read_in_time(provider.charges(after=after, before=before), "bill", provider.name)


async def _read_in_time(reading: Awaitable[T], name: str, account: str) -> T | None:
    """The result of a reading; None if it fails or takes too long."""
    try:
        async with timed_reading("it", PATIENCE_SECONDS):
            return await reading
    except DailiesError as error:
        logger.warning("%s: its %s could not be swept for orphans: %s", account, name, error)
        return None
