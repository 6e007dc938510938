"""The engine: it drives the submitter, the poller, the reconciler and the bookkeeper of each account.

A waiting run and the completion sensor use the same engine; the ledger's claims keep them from doing the same work twice.
"""

import asyncio
import contextlib
import math
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from typing import Any

from resources.errors import DailiesError
from resources.ledger import outcomes, polls, queue, stops
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.log_lines import about
from resources.production.account import Account, StepResult, contract_in_force
from resources.production.bookkeeper import Bookkeeper
from resources.production.bucket_mark import BucketMark, MarkKeeper
from resources.production.ledger_thread import LedgerThread
from resources.production.orphan_sweep import sweep
from resources.production.poller import POLLS_AT_ONCE, Poller
from resources.production.reconciler import Reconciler
from resources.production.repeater import Repeater
from resources.production.request_files import RequestFiles
from resources.production.stop_watch import StopWatch
from resources.production.submitter import Submitter
from resources.production.uploader import Uploader
from resources.unforeseen import UnforeseenError, as_unforeseen

QUEUE_HOURS = 24.0
POLLS_SECONDS = 10.0
"""How long a step begins polls before it continues with its other parts."""
POLL_AGAIN_SECONDS = 1.0
"""How often due jobs are polled while the queue is sent, or a listing or bill is read."""
STEP_SECONDS = 35.0
"""The time after which a step begins nothing new. Dagster ends a sensor's tick after 60 s, which would lose POSTs in flight."""
LOST_PATIENCE_SECONDS = 10.0
"""How long a step searches for a lost answer that blocks its queue."""


class Engine:
    """Drives the accounts: claims work in the ledger, calls the providers, records their answers.

    Args:
        ledger: The ledger, whose clock the engine uses.
        accounts: The accounts by their names in the ledger.
        sleep: `asyncio.sleep`, or a test's fake.
        rng: The source of jitter.
        mark: The ledger's mark in its bucket; without one, an outdated ledger is not noticed.
        files: Reads the files that requests name; without it, a clip that names a file is refused.
    """

    def __init__(
        self,
        ledger: Ledger,
        accounts: Mapping[str, Account],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        rng: random.Random | None = None,
        mark: BucketMark | None = None,
        files: RequestFiles | None = None,
    ) -> None:
        self.ledger = thread = LedgerThread(ledger)
        self.accounts = accounts
        self.sleep = sleep
        self.watch = StopWatch(thread)
        self._bookkeeper = Bookkeeper(thread)
        self._mark = MarkKeeper(mark)
        self._reconciler = Reconciler(thread, self._mark)
        self._repeater = Repeater(thread, self._mark)
        uploader = Uploader(thread, files, sleep=sleep)
        # jitter, not secrecy
        self._poller = Poller(thread, uploader, rng=rng or random.Random())  # noqa: S311
        self.submitter = Submitter(thread, self._poller, uploader, self._mark, sleep=sleep)

    async def aclose(self) -> None:
        """Wait for POSTs in flight, then close the providers' connections."""
        await self.submitter.finish()
        await self._mark.aclose()
        for account in self.accounts.values():
            await account.provider.aclose()
        self.ledger.close()

    # Polling

    async def poll_due(
        self,
        name: str,
        *,
        only: Collection[str] | None = None,
        run_id: str | None = None,
        result: StepResult | None = None,
        until: float = math.inf,
    ) -> int:
        """Poll the jobs that are due, for `POLLS_SECONDS` at most; returns how many were polled.

        Args:
            only: Ids of the attempts to choose from; None for all.
            result: Collects the attempts that ended.
            until: When to begin no more polls, in seconds since the epoch.
        """
        polled = 0
        until = min(until, self.ledger.clock() + POLLS_SECONDS)
        while self.ledger.clock() < until:
            due = await self.ledger.run(polls.claim_due, name, limit=POLLS_AT_ONCE, only=only)
            if not due:
                break
            ended = await self._poller.poll(self.accounts[name].provider, due, run_id=run_id)
            polled += len(due)
            if result is not None:
                result.polled += len(due)
                result.ended.extend(ended)
            if ended:
                self.ledger.changed.set()
            if name in self._poller.refuse_the_key:
                await self.watch.check_key(self.accounts[name].provider)
        return polled

    def unforeseen(self, attempt: Attempt) -> str | None:
        """The unforeseen error with which the polls of a job fail repeatedly; None if they do not."""
        return self._poller.unforeseen.get(attempt.id)

    # Reconciling

    async def reconcile(
        self, name: str, *, run_id: str | None = None, result: StepResult | None = None
    ) -> list[Attempt]:
        """Search for jobs whose answer was lost, if a search is due; returns the attempts that changed.

        Args:
            result: Collects the attempts that were settled.
        """
        account = self.accounts[name]
        repeated = await self._repeater.repeat(account, run_id=run_id)
        contract = await self.ledger.run(contract_in_force, account)
        settled = repeated + await self._reconciler.reconcile(account.provider, contract, run_id=run_id)
        if result is not None:
            result.reconciled.extend(settled)
            result.submitted.extend(a for a in settled if a.state is AttemptState.SUBMITTED)
        if settled:
            self.ledger.changed.set()
        return settled

    # One bounded step, for the completion sensor

    async def step(self, name: str, *, submit: bool = True) -> StepResult:
        """Do the due work of an account: expired and lost POSTs, polls, late jobs, the bill, stops, the sweep, the queue.

        A step begins nothing new after `STEP_SECONDS`; the next step continues.
        """
        with about(account=name):
            return await self._step(name, submit=submit)

    async def _step(self, name: str, *, submit: bool) -> StepResult:
        result = StepResult()
        until = self.ledger.clock() + STEP_SECONDS
        await self.ledger.run(outcomes.expire_submissions, name)
        await self.ledger.run(polls.mark_overdue, name)
        await self.ledger.run(queue.withdraw_stale, name, older_than_seconds=QUEUE_HOURS * 3600)
        await self._poll_meanwhile(
            name, "searching for lost answers", self.reconcile(name, result=result), result, until
        )
        await self._part(name, "polling jobs", self._poll_and_confirm(name, result, until))
        await self._part(name, "polling late jobs", self._poll_late(name, result, until))
        await self._poll_meanwhile(name, "booking the bill", self._confirm(name, result), result, until)
        await self.watch.reopen(self.accounts[name].provider)
        await self.watch.alarm(name)
        await self._poll_meanwhile(name, "recording orphans", self._sweep(name, result, until), result, until)
        if submit:
            sending = self._submit_all(name, result, until)
            await self._poll_meanwhile(name, "sending the queue", sending, result, until)
        result.queued = await self.ledger.run(queue.queue_length, name)
        result.stop = await self.ledger.run(stops.stop_of, name)
        return result

    @staticmethod
    async def _part(name: str, part: str, work: Awaitable[object]) -> None:
        """Do one part of a step. An unforeseen error in it is logged, and the other parts still run."""
        with contextlib.suppress(UnforeseenError), as_unforeseen(f"{name}: {part}"):
            await work

    async def _poll_late(self, name: str, result: StepResult, until: float) -> None:
        if self.ledger.clock() >= until:
            return
        result.ended.extend(await self._poller.poll_late(self.accounts[name].provider))

    async def _confirm(self, name: str, result: StepResult) -> None:
        result.confirmed.extend(await self._bookkeeper.confirm(self.accounts[name].provider))

    async def _poll_and_confirm(self, name: str, result: StepResult, until: float) -> None:
        """Poll the due jobs, and poll those again within the step whose failure was seen once.

        Without the second poll, they would wait for the next step. It waits for the last such job, so that one slow answer does not split
        a batch into several collecting runs.
        """
        await self.poll_due(name, result=result, until=until)
        at = await self.ledger.run(polls.last_confirmation, name)
        if at is not None and at < until:
            await self.sleep(max(at - self.ledger.clock(), 0.0))
            await self.poll_due(name, result=result, until=until)

    async def _sweep(self, name: str, result: StepResult, until: float) -> None:
        if self.ledger.clock() >= until:
            return
        orphans = await sweep(self.ledger, self.accounts[name].provider)
        result.orphans.extend(orphans)

    async def _poll_meanwhile(
        self,
        name: str,
        what: str,
        work: Coroutine[Any, Any, object],
        result: StepResult,
        until: float,
    ) -> None:
        """Do one part of a step, and poll meanwhile, because a queue of slow POSTs or a long listing takes most of a step."""
        doing = asyncio.create_task(self._part(name, what, work))
        try:
            while not await self._ends_within(doing, POLL_AGAIN_SECONDS):
                await self._part(name, "polling jobs", self.poll_due(name, result=result, until=until))
        except DailiesError:
            # a poll that could not be recorded must not cut off a POST, whose answer would be lost
            await asyncio.wait({doing})
            raise
        finally:
            doing.cancel()
            await asyncio.wait({doing})
        doing.result()

    async def _ends_within(self, work: "asyncio.Task[None]", seconds: float) -> bool:
        nap = asyncio.ensure_future(self.sleep(seconds))
        try:
            await asyncio.wait({work, nap}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
        return work.done()

    async def _submit_all(self, name: str, result: StepResult, until: float) -> None:
        """Send the queue, and search for answers that get lost meanwhile, since they block the rest of the queue."""
        account = self.accounts[name]
        give_up = min(self.ledger.clock() + LOST_PATIENCE_SECONDS, until)
        while True:
            later = await self.submitter.submit_queue(account, result=result, until=until)
            now = self.ledger.clock()
            if later is None or not later.lost or now > give_up:
                return
            await self.sleep(max(later.at - now, 0.2))
            await self.reconcile(name, result=result)
