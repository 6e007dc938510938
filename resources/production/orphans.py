"""Reading an account's listing and bill once an hour for jobs that nobody here knows of."""

import asyncio
import logging
from datetime import UTC, datetime

from resources.errors import DailiesError
from resources.ledger import orphans
from resources.ledger.ledger import Ledger
from resources.ledger.orphans import Sweep
from resources.production.calling import Call
from resources.providers.base import Candidate, Provider
from resources.providers.listing import charged_jobs

logger = logging.getLogger("dailies")

PATIENCE_SECONDS = 15.0
"""How long a sweep may take, since a sensor's tick does other things too; one that takes longer is tried again."""


async def sweep(ledger: Ledger, provider: Provider, call: Call, *, dedicated: bool) -> list[str]:
    """Take the account's sweep if it is due; returns the ids of jobs that are new and nobody's.

    Args:
        ledger: The record.
        provider: The account.
        call: Runs a ledger function off the loop.
        dedicated: Whether nobody else uses the account's key. Where others do, only jobs of models that were ordered here
            are written down.
    """
    claimed = await call(orphans.claim_sweep, ledger, provider.name)
    if claimed is None:
        return []
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            listed, charged = await _read(provider, claimed)
    except (DailiesError, TimeoutError) as error:
        logger.warning("%s: its listing could not be swept for jobs nobody knows: %s", provider.name, error)
        return []
    models = None if dedicated else await call(orphans.models_of, ledger, provider.name)
    found = await call(orphans.book, ledger, provider.name, listed, models=models)
    found += await call(orphans.book, ledger, provider.name, charged, source=orphans.BILL, models=models)
    await call(orphans.finish_sweep, ledger, provider.name, claimed)
    if found:
        logger.warning("%s", in_words(provider.name, found, dedicated=dedicated))
    return found


def in_words(account: str, jobs: list[str], *, dedicated: bool) -> str:
    """What a person is told about jobs that nobody knows."""
    sample = ", ".join(jobs[:3]) + (", ..." if len(jobs) > 3 else "")
    what = "1 job" if len(jobs) == 1 else f"{len(jobs)} jobs"
    if dedicated:
        return (
            f"{account} lists {what} that this ledger has not ordered ({sample}), although its key is said to be used by "
            "nobody else: look at them at the provider, and change the key if they are not yours"
        )
    return f"{account} lists {what} that this ledger has not ordered ({sample}); others seem to use its key"


async def _read(provider: Provider, window: Sweep) -> tuple[list[Candidate], list[Candidate]]:
    """What is listed, and what is charged: the bill still shows a job that was deleted, or that was never listed."""
    after, before = (datetime.fromtimestamp(at, UTC) for at in (window.after, window.before))
    listed = await provider.list_jobs(after=after, before=before)
    try:
        return listed, charged_jobs(await provider.charges(after=after, before=before))
    except DailiesError as error:
        logger.info("%s: its bill could not be swept for jobs nobody knows: %s", provider.name, error)
        return listed, []
