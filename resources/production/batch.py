"""Following a batch of clips to the stage that its run waits for: submitted, generated or delivered.

One loop follows the whole batch. A callback reports each stage of each clip once, so that the caller (a Dagster step, a test) can
show it as it happens.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from resources.errors import DailiesError
from resources.ledger import heartbeats, outcomes, polls, queue
from resources.ledger.changes import ChangedClips
from resources.ledger.decisions import Decided, Ruling
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.ledger.stops import Stop
from resources.log_lines import about
from resources.orders import TakeSlot
from resources.production.delivery import Deliverer
from resources.production.engine import Engine
from resources.production.stages import ClipStages, Report, Stage
from resources.providers.base import FailureKind
from resources.unforeseen import UnforeseenError, as_unforeseen

__all__ = ["Followed", "Follower", "Report", "Stage"]

LOOK_SECONDS = 2.0
"""How often the ledger is read for changes by other processes, and for a search of the listing that is due."""
DELIVERIES = 4
QUEUE_PATIENCE_SECONDS = 20.0
"""How long a run that only submits waits for a free slot before it leaves its queue to the sensor."""


@dataclass
class Followed:
    """The result of a followed batch."""

    failed: dict[str, str] = field(default_factory=dict)
    """Why clips failed, by clip."""
    left: list[str] = field(default_factory=list)
    """Clips with open purchases, which were left to the sensor."""


_REACHED: dict[AttemptState, Stage] = {
    AttemptState.SUBMITTED: Stage.SUBMITTED,
    AttemptState.OVERDUE: Stage.SUBMITTED,
    AttemptState.FAILED: Stage.SUBMITTED,
    AttemptState.VANISHED: Stage.SUBMITTED,
    AttemptState.SUCCEEDED: Stage.GENERATED,
    AttemptState.QUARANTINED: Stage.GENERATED,
    AttemptState.LOST: Stage.GENERATED,
    AttemptState.DELIVERED: Stage.DELIVERED,
}
_GIVEN_UP = {
    AttemptState.HELD,
    AttemptState.REJECTED,
    AttemptState.WITHDRAWN,
    AttemptState.ABSENT,
    AttemptState.FAILED,
    AttemptState.VANISHED,
    AttemptState.ABANDONED,
    AttemptState.QUARANTINED,
    AttemptState.LOST,
}


class Follower:
    """Follows one batch of clips to a stage.

    Args:
        engine: Submits and polls.
        deliverer: Fetches and stores; needed for `Stage.DELIVERED`.
        until: The stage to wait for.
        report: Called once per take and stage, in the ledger's thread.
        run_id: The run that follows.
        leave_after: Seconds after which purchases that are still open are left to the sensor, with their queue; None waits for all.
        submits: Whether it sends the queues of its accounts.
    """

    def __init__(
        self,
        engine: Engine,
        deliverer: Deliverer | None,
        *,
        until: Stage,
        report: Callable[[Report], None],
        run_id: str,
        leave_after: float | None = None,
        submits: bool = True,
    ) -> None:
        self._leave_after = leave_after
        self._submits = submits
        self._unknown_since: dict[TakeSlot, float] = {}
        self._overdue_since: dict[TakeSlot, float] = {}
        self._engine = engine
        self._deliverer = deliverer
        self._until = until
        self._report = report
        self._run_id = run_id
        self._stages = ClipStages(until)
        self._pending: set[TakeSlot] = set()
        self._changes = ChangedClips()
        self._newest: dict[TakeSlot, Attempt] = {}
        self._considered_at = -math.inf
        self._ids: dict[TakeSlot, str] = {}
        self._deliveries: dict[TakeSlot, asyncio.Task[None]] = {}
        self._asked_at: dict[TakeSlot, float] = {}
        self._undelivered: dict[TakeSlot, str] = {}
        self._unpolled: dict[str, str] = {}
        self._unreported: list[Report] = []
        self._turns = asyncio.Semaphore(DELIVERIES)
        self._result = Followed()

    async def follow(self, decided: list[Decided]) -> Followed:
        """Follow the clips of these rulings."""
        for ruling in decided:
            # an adopted purchase may lie in another slot than the one that was asked for
            adopted = ruling.attempt if ruling.ruling is Ruling.ADOPTED else None
            self._stages.follow((adopted or ruling.request).take_slot)
        reused = [d for d in decided if d.ruling is Ruling.REUSED]
        await asyncio.gather(*(self._reuse(d.request.take_slot, d.attempt) for d in reused if d.attempt))
        for ruling in decided:
            if ruling.ruling is Ruling.REFUSED:
                stage, slot = self._refused_stage(ruling), ruling.request.take_slot
                self._report_up_to(slot, ruling.attempt, Stage(stage - 1))
                self._fail(slot, stage, ruling.attempt, ruling.reason or "refused")
        await self._show()
        await self.carry(
            [d.attempt for d in decided if d.attempt is not None and d.ruling in {Ruling.NEW, Ruling.ADOPTED}]
        )
        return self._result

    async def carry(self, attempts: list[Attempt]) -> Followed:
        """Follow attempts that are already in the ledger.

        Raises:
            ValueError: One is a spare take, which `fetch_spares` fetches instead.
        """
        if any(attempt.is_spare for attempt in attempts):
            raise ValueError("a spare take cannot be followed; `fetch_spares` fetches it")
        self._ids = {attempt.take_slot: attempt.id for attempt in attempts}
        self._pending = set(self._ids)
        patience = math.inf if self._leave_after is None else self._leave_after
        self._leave_at = self._engine.ledger.clock() + patience
        for slot in self._pending:
            self._stages.follow(slot)
        # all accounts of the engine, since a clip may fall back to another account
        accounts = sorted(self._engine.accounts) if attempts else []
        workers: list[asyncio.Task[None]] = []
        reconcilers: list[asyncio.Task[None]] = []
        try:
            await self._refresh()
            reconcilers = [asyncio.create_task(self._work(self._reconcile, name)) for name in accounts]
            workers = [asyncio.create_task(self._work(self._submit, n)) for n in accounts if self._submits]
            if self._until > Stage.SUBMITTED:
                workers += [asyncio.create_task(self._work(self._poll, name)) for name in accounts]
            while self._pending:
                self._engine.ledger.changed.clear()
                await self._refresh()
                for task in (*workers, *reconcilers, *self._deliveries.values()):
                    if task.done():
                        task.result()
                if self._until is Stage.SUBMITTED and all(worker.done() for worker in workers):
                    await self._refresh()
                    self._leave()
                elif self._pending and self._engine.ledger.clock() >= self._leave_at and not self._delivers():
                    self._leave()
                elif self._pending:
                    await self._wait_for_change()
        finally:
            tasks = (*workers, *reconcilers, *self._deliveries.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # POSTs of other runs' clips may be in flight; only an interrupted run does not wait for their answers
            await self._engine.submitter.finish(interrupted=bool(self._pending))
        return self._result

    async def _wait_for_change(self) -> None:
        changed = asyncio.ensure_future(self._engine.ledger.changed.wait())
        nap = asyncio.ensure_future(self._engine.sleep(LOOK_SECONDS))
        try:
            await asyncio.wait({changed, nap}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            nap.cancel()

    def _delivers(self) -> bool:
        """Whether a clip that is followed has ended at its provider and is not delivered yet."""
        newest = (self._newest.get(slot) for slot in self._pending)
        return any(attempt is not None and attempt.state is AttemptState.SUCCEEDED for attempt in newest)

    def _leave(self) -> None:
        self._result.left = sorted({slot.clip for slot in self._pending})
        self._pending.clear()

    # The loops of each account

    async def _work(self, loop: Callable[[str], Awaitable[None]], name: str) -> None:
        """Run one loop of an account. An unforeseen error fails only the clips that wait for this loop."""
        try:
            with about(account=name, run_id=self._run_id), as_unforeseen(f"{name} could not be worked with"):
                await loop(name)
        except UnforeseenError as error:
            if loop == self._poll:
                self._unpolled[name] = str(error)
            elif loop == self._submit and self._until > Stage.SUBMITTED:
                await self._withdraw_queue(name, why=f"not sent: {error}")
            self._engine.ledger.changed.set()

    async def _submit(self, name: str) -> None:
        engine, account = self._engine, self._engine.accounts[name]
        patience = engine.ledger.clock() + QUEUE_PATIENCE_SECONDS
        while self._pending:
            later = await engine.submitter.submit_queue(
                account, run_id=self._run_id, ours=list(self._ids.values())
            )
            now = engine.ledger.clock()
            if later is not None and later.stop is not None:
                if await engine.watch.reopen(account.provider):
                    continue
                if self._until is Stage.SUBMITTED:
                    return
                if self._leave_after is None:
                    await self._give_up_queue(name, later.stop)
            if later is None and self._until is Stage.SUBMITTED:
                return
            if later is not None and self._until is Stage.SUBMITTED and max(later.at, now) > patience:
                return
            await engine.sleep(LOOK_SECONDS if later is None else min(max(later.at - now, 0.2), LOOK_SECONDS))

    async def _give_up_queue(self, name: str, stop: Stop) -> None:
        """Withdraw the queued clips of a run that waits, since a stop would block it for ever. A run that leaves keeps its queue."""
        kind = FailureKind(stop.kind.value) if stop.kind.reopens else None
        await self._withdraw_queue(name, why=f"not sent: {stop}", kind=kind)
        self._engine.ledger.changed.set()

    async def _withdraw_queue(self, name: str, *, why: str, kind: FailureKind | None = None) -> None:
        ids = list(self._ids.values())
        await self._engine.ledger.run(
            queue.withdraw, ids, why=why, account=name, kind=kind, run_id=self._run_id
        )

    async def _poll(self, name: str) -> None:
        engine = self._engine
        while self._pending:
            ours = [self._ids[slot] for slot in self._pending]
            at = await engine.ledger.run(polls.next_poll_time, name, only=ours)
            # claiming takes the database's write lock, even if nothing is due
            if at is not None and at <= engine.ledger.clock():
                await engine.poll_due(name, only=ours, run_id=self._run_id)
                at = await engine.ledger.run(polls.next_poll_time, name, only=ours)
            await engine.ledger.run(polls.mark_overdue, name)
            now = engine.ledger.clock()
            await engine.sleep(LOOK_SECONDS if at is None else min(max(at - now, 0.1), LOOK_SECONDS))

    async def _reconcile(self, name: str) -> None:
        """Search for lost answers, which may concern this run's clips or block them in the queue."""
        engine = self._engine
        while self._pending:
            await engine.ledger.run(outcomes.expire_submissions, name)
            await engine.reconcile(name, run_id=self._run_id)
            await engine.sleep(LOOK_SECONDS)

    # Reading the ledger

    async def _refresh(self) -> None:
        # raises if the run was lost while its process was frozen: other runs have taken over its clips
        await self._engine.ledger.run(heartbeats.check, self._run_id)
        changed = await self._engine.ledger.run(self._read_changes)
        self._newest.update(changed)
        self._ids.update({slot: attempt.id for slot, attempt in changed.items()})
        now = self._engine.ledger.clock()
        # without a change in the ledger too, patience may run out and a delivery may be due again
        if not 0 <= now - self._considered_at < LOOK_SECONDS:
            self._considered_at = now
            changed = {slot: self._newest[slot] for slot in self._pending if slot in self._newest}
        for slot, attempt in changed.items():
            self._consider(slot, attempt)
        await self._show()

    def _read_changes(self, ledger: Ledger) -> dict[TakeSlot, Attempt]:
        return self._changes.read(ledger, self._pending)

    def _consider(self, slot: TakeSlot, attempt: Attempt) -> None:
        reached = _REACHED.get(attempt.state, Stage.DECIDED)
        usable = attempt.account in self._engine.accounts
        if attempt.state is AttemptState.QUEUED and attempt.reason is None and usable:
            return
        self._report_up_to(slot, attempt, min(reached, self._until))
        if attempt.state in _GIVEN_UP:
            self._fail(slot, self._failed_stage(attempt), attempt, attempt.reason or f"ended {attempt.state}")
        elif attempt.state is AttemptState.UNKNOWN and usable:
            self._give_up_unknown(slot, attempt)
        elif reached >= self._until:
            self._pending.discard(slot)
        elif attempt.state is AttemptState.SUCCEEDED and self._until is Stage.DELIVERED:
            self._deliver(slot, attempt)
        elif not usable:
            self._fail(slot, self._failed_stage(attempt), attempt, f"{attempt.account} cannot be used here")
        elif attempt.state is AttemptState.OVERDUE and self._waited_long_enough(slot, attempt):
            late = f"{attempt.reason}. This run waits no longer; the completion sensor fetches it when it has ended"
            self._fail(slot, Stage.GENERATED, attempt, late)
        elif reached is Stage.SUBMITTED and (why := self._cannot_be_polled(attempt)):
            self._fail(slot, Stage.GENERATED, attempt, why)

    def _waited_long_enough(self, slot: TakeSlot, attempt: Attempt) -> bool:
        """Whether the run has waited for an overdue job twice the longest time of its endpoint: an endless job must not block a run."""
        now = self._engine.ledger.clock()
        return now - self._overdue_since.setdefault(slot, now) > attempt.request.max_seconds

    def _cannot_be_polled(self, attempt: Attempt) -> str | None:
        """The unforeseen error that keeps this run from polling a job; the sensor continues with the job."""
        return self._unpolled.get(attempt.account) or self._engine.unforeseen(attempt)

    def _give_up_unknown(self, slot: TakeSlot, attempt: Attempt) -> None:
        """Fail a clip whose lost answer was not settled in time; the sensor continues with it."""
        now = self._engine.ledger.clock()
        patience = self._engine.accounts[attempt.account].patience(attempt.request)
        if now - self._unknown_since.setdefault(slot, now) > patience:
            self._fail(slot, Stage.SUBMITTED, attempt, attempt.reason or "its outcome is not known")

    @staticmethod
    def _failed_stage(attempt: Attempt) -> Stage:
        reached = _REACHED.get(attempt.state, Stage.DECIDED)
        return Stage(min(reached + 1, Stage.DELIVERED))

    def _refused_stage(self, refused: Decided) -> Stage:
        """The first stage that a refused clip has not reached; a purchase of another request does not count."""
        attempt = refused.attempt
        if attempt is None or attempt.fingerprint != refused.request.fingerprint:
            return Stage.SUBMITTED
        return self._failed_stage(attempt)

    def _report_up_to(
        self, slot: TakeSlot, attempt: Attempt | None, stage: Stage, *, reused: bool = False
    ) -> None:
        self._unreported += self._stages.reach(slot, attempt, stage, reused=reused)

    def _fail(self, slot: TakeSlot, stage: Stage, attempt: Attempt | None, error: str) -> None:
        self._pending.discard(slot)
        reports = list(self._stages.fail(slot, stage, attempt, error))
        self._unreported += reports
        if reports:
            why = reports[0].error or error
            failed = self._result.failed
            failed[slot.clip] = f"{failed[slot.clip]}; {why}" if slot.clip in failed else why

    async def _show(self) -> None:
        """Report the stages that were reached. An unforeseen error in a report fails only its clip.

        Reports run outside the event loop, because they read the ledger, whose database may be away for a minute.
        """
        while self._unreported:
            report = self._unreported.pop(0)
            try:
                with as_unforeseen(f"{report.clip} could not be shown"):
                    await self._engine.ledger.run(lambda _ledger, one: self._report(one), report)
            except UnforeseenError as error:
                self._result.failed.setdefault(report.clip, str(error))

    # Delivering

    def _deliver(self, slot: TakeSlot, attempt: Attempt) -> None:
        if slot in self._undelivered:
            self._fail(slot, Stage.DELIVERED, attempt, self._undelivered[slot])
            return
        now = self._engine.ledger.clock()
        task = self._deliveries.get(slot)
        # a task without a result found another worker's claim, but that worker may have died since
        if task is None or (task.done() and not 0 <= now - self._asked_at[slot] < LOOK_SECONDS):
            self._asked_at[slot] = now
            self._deliveries[slot] = asyncio.create_task(self._deliver_one(slot, attempt))

    async def _deliver_one(self, slot: TakeSlot, attempt: Attempt) -> None:
        if self._deliverer is None:
            raise RuntimeError("following a batch until it is delivered needs a deliverer")
        async with self._turns:
            try:
                with as_unforeseen(f"{slot} could not be delivered"):
                    await self._deliverer.deliver(attempt, run_id=self._run_id)
            except DailiesError as error:
                self._undelivered[slot] = str(error)
                self._considered_at = -math.inf
        self._engine.ledger.changed.set()

    async def _reuse(self, slot: TakeSlot, attempt: Attempt) -> None:
        """Check that a delivered video is still in the bucket before it is reported as reused."""
        if self._until is Stage.DELIVERED and self._deliverer is not None:
            async with self._turns:
                try:
                    with as_unforeseen(f"the video of {slot} could not be looked for"):
                        await self._deliverer.verify(attempt)
                except DailiesError as error:
                    self._report_up_to(slot, attempt, Stage.GENERATED, reused=True)
                    self._fail(slot, Stage.DELIVERED, attempt, str(error))
                    return
        self._report_up_to(slot, attempt, self._until, reused=True)
