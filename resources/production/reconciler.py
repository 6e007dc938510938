"""The reconciler: it searches accounts for jobs whose answer was lost. It reads claimed listings, which `ledger.lost` judges."""

import asyncio
import logging
from datetime import UTC, datetime

from resources.errors import ConfigurationError, DailiesError
from resources.ledger.lost import orphans, reconcile, search_schedule
from resources.ledger.lost.evidence import LOOK_BACK_SECONDS
from resources.ledger.lost.posts import UNMEASURED_SECONDS, Contract
from resources.ledger.lost.readings import Reading, Search
from resources.ledger.records import Attempt
from resources.production.bucket_mark import CHECK_SECONDS, MarkKeeper
from resources.production.clip_steps import clip_step, note_state
from resources.production.ledger_thread import LedgerThread
from resources.production.timed_reading import timed_reading
from resources.providers.base import Candidate, Charge, ClockOffset
from resources.providers.provider import Provider
from resources.providers.rows import in_words, set_aside
from resources.unforeseen import UnforeseenError, as_unforeseen

logger = logging.getLogger("dailies")

BILL_SECONDS = 12.0
READ_SECONDS = 25.0
"""How long a listing and a bill may take together, since a sensor's step also polls and submits."""
AGAIN_SECONDS = 10.0
"""The pause after a failed reading of a listing."""


async def measure_clock(provider: Provider) -> ClockOffset | None:
    """The offset of a provider's clock from ours. If no answer has shown it yet, a free request measures it."""
    if provider.clock_offset is None:
        try:
            with as_unforeseen("asking it"):
                await provider.check()
        except DailiesError as error:
            logger.info("%s: its clock could not be compared with ours: %s", provider.name, error)
    return provider.clock_offset


class Reconciler:
    """Settles the unknown POSTs of accounts."""

    def __init__(self, ledger: LedgerThread, mark: MarkKeeper) -> None:
        self._ledger = ledger
        self._mark = mark

    async def reconcile(
        self, provider: Provider, contract: Contract, *, run_id: str | None = None
    ) -> list[Attempt]:
        """Read an account's listing once, if there is a reason and no other reader has claimed it.

        Returns:
            The attempts that changed: adopted, absent, queued again, held.
        """
        name = provider.name
        if not provider.capabilities.lists_jobs:
            kept = provider.capabilities.idempotency_seconds or 0.0
            return self._logged(
                run_id, await self._ledger.run(reconcile.hold_unlisted, name, kept, run_id=run_id)
            )
        search = await self._claim(name, contract)
        if search is None:
            return []
        refusal = await self._mark.refusal()
        if isinstance(refusal, ConfigurationError):
            # an outdated ledger would find jobs that belong to POSTs it does not know
            await self._ledger.run(
                search_schedule.release, name, again_in=CHECK_SECONDS, why=f"nothing is settled: {refusal}"
            )
            return []
        held = await self._ledger.run(reconcile.give_up, name, search, run_id=run_id)
        try:
            async with timed_reading("its listing or bill", READ_SECONDS):
                reading = await self._read(provider, search)
        except DailiesError as error:
            logger.warning("%s: what is unknown could not be looked up: %s", name, error)
            await self._ledger.run(search_schedule.release, name, again_in=AGAIN_SECONDS, why=str(error))
            return self._logged(run_id, held)
        except BaseException:
            await self._ledger.run(search_schedule.release, name, again_in=0.0)
            raise
        try:
            with as_unforeseen(f"{name}: judging what is unknown"):
                changed = await self._ledger.run(reconcile.record, name, contract, reading, run_id=run_id)
        except UnforeseenError as error:
            await self._ledger.run(search_schedule.release, name, again_in=AGAIN_SECONDS, why=str(error))
            return self._logged(run_id, held)
        return self._logged(run_id, [*held, *changed])

    @staticmethod
    def _logged(run_id: str | None, changed: list[Attempt]) -> list[Attempt]:
        for attempt in changed:
            with clip_step("reconcile", attempt, run_id=run_id):
                note_state(attempt)
                logger.info("%s: %s is %s", attempt.account, attempt.subject_key, attempt.state)
        return changed

    async def _claim(self, name: str, contract: Contract) -> Search | None:
        """Claim the reading that is due. If an interruption comes first, the claim is released at once."""
        claiming = asyncio.ensure_future(self._ledger.run(search_schedule.claim, name, contract))
        try:
            claimed: Search | None = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            await asyncio.wait({claiming})
            if claiming.result() is not None:
                await self._ledger.run(search_schedule.release, name, again_in=0.0)
            raise
        return claimed

    async def _read(self, provider: Provider, search: Search) -> Reading:
        await measure_clock(provider)
        began_at = self._ledger.clock()
        offset = provider.clock_offset or ClockOffset(-UNMEASURED_SECONDS, UNMEASURED_SECONDS)
        after, before = _window(search.since, search.until or began_at, offset)
        ordered = await self._ledger.run(orphans.models_of, provider.name)
        listed: list[Candidate] = await provider.list_jobs(after=after, before=before, endpoints=ordered)
        aside = list(set_aside(listed))
        if search.later is not None:
            later, until = _window(search.later, search.later, offset)
            listed = [
                *listed,
                *await provider.list_jobs(after=max(later, before), before=until, endpoints=ordered),
            ]
        charges, unread = await self._bill(provider, search, after, before)
        # these answers have measured the offset again, in case the clock was set meanwhile
        ended_at = self._ledger.clock()
        aside = [*aside, *set_aside(charges or ())]
        if aside:
            logger.warning("%s: %s", provider.name, in_words(aside))
        return Reading(
            search, began_at, ended_at, provider.clock_offset or offset, listed, charges, unread, aside
        )

    async def _bill(
        self, provider: Provider, search: Search, after: datetime, before: datetime
    ) -> tuple[list[Charge] | None, str | None]:
        """The bill if it is needed, or the reason why it could not be read."""
        if not search.bill:
            return None, None
        if not provider.capabilities.bills_jobs:
            return None, "it has no bill that names jobs"
        try:
            async with asyncio.timeout(BILL_SECONDS):
                return await provider.charges(after=after, before=before), None
        except (DailiesError, TimeoutError) as error:
            why = str(error) or "its bill was not read to its end in time"
            logger.info("%s: what jobs cost could not be looked up: %s", provider.name, why)
            return None, why


def _window(since: float, until: float, offset: ClockOffset) -> tuple[datetime, datetime]:
    """The window to read, by the provider's clock, widened because the sender's clock may differ from ours."""
    return (
        datetime.fromtimestamp(since + offset.low - LOOK_BACK_SECONDS, UTC),
        datetime.fromtimestamp(until + offset.high + LOOK_BACK_SECONDS, UTC),
    )
