"""The probe buys one job and watches it: the service's answers, the delays of its list and its bill, and the output.

The purchase goes through the ledger, so it is capped, recorded and reconciled like every other.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.ledger import deliveries, polls, queue
from resources.ledger.bills import MARGIN_SECONDS, Window
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AT_PROVIDER, AttemptState
from resources.production.account import Account
from resources.production.bookkeeper import Bookkeeper
from resources.production.bucket_mark import BucketMark
from resources.production.engine import Engine
from resources.providers.base import Charge, JobState, PollFailed
from resources.verification.offers import Offer
from resources.verification.recorder import Recorder

FIRST_LOOK_SECONDS = 0.5
LONGEST_LOOK_SECONDS = 10.0
UNKNOWN_SECONDS = 120.0
"""Seconds to search for a lost answer before the probe leaves it to the completion sensor."""
WINDOW_SECONDS = 600.0


@dataclass
class Watched:
    """All observations of the job."""

    attempt: Attempt | None = None
    """The purchase in its present state, None if nothing was bought."""
    words: list[tuple[str, float]] = field(default_factory=list)
    """The provider's words for its state in the order they were first seen, with the seconds after the submit."""
    state: JobState | None = None
    """Its end, None while it runs."""
    listed_after: float | None = None
    """Seconds from the submit until the listing showed it, None if it did not."""
    listed_running: bool | None = None
    """Whether the listing showed it before its end."""
    billed_after: float | None = None
    """Seconds from the submit until the bill showed a charge, None if it did not."""
    charge: Charge | None = None
    """That charge."""
    echoes: tuple[bool, bool] | None = None
    """Whether the listing names our id of the submit, and whether it shows the request."""
    notes: list[str] = field(default_factory=list)
    """Facts that could not be observed, and why."""


class Probe:
    """One job, from its purchase to its bill.

    Args:
        recorder: The transport of the account's client.
        wait_seconds: Most seconds to wait for the job's end.
        settle_seconds: Most seconds after it to wait for the listing and the bill.
        say: Called with progress, for a person who waits.
        mark: The ledger's mark in its bucket, if there is a bucket.
    """

    def __init__(
        self,
        ledger: Ledger,
        account: Account,
        recorder: Recorder,
        *,
        wait_seconds: float,
        settle_seconds: float,
        say: Callable[[str], None],
        mark: BucketMark | None = None,
    ) -> None:
        self._ledger = ledger
        self._account = account
        self._recorder = recorder
        self._wait = wait_seconds
        self._settle = settle_seconds
        self._say = say
        self._mark = mark
        self._bought_at = 0.0
        self.seen = Watched()

    async def run(self, offer: Offer) -> Watched:
        """Buy the offer and watch it to its end.

        Raises:
            ConfigurationError: Nothing may be bought now, because of a cap, a stop or a waiting queue.
        """
        engine = Engine(self._ledger, {self._account.name: self._account}, mark=self._mark)
        try:
            attempt = await self._buy(engine, offer)
            if attempt.job_id is not None:
                await self._watch(attempt)
                await self._book(engine, attempt)
            return self.seen
        finally:
            await engine.aclose()

    async def _buy(self, engine: Engine, offer: Offer) -> Attempt:
        name = self._account.name
        waiting = await engine.ledger.run(queue.queue_length, name)
        if waiting:
            raise ConfigurationError(
                f"{waiting} clips wait in the queue of {name}, and the next request would be for one of them; verify the provider "
                "when the queue is empty. Nothing was bought."
            )
        key = f"verify-{name}-{datetime.fromtimestamp(self._ledger.clock(), UTC):%Y%m%d-%H%M%S}"
        (decided,) = await engine.ledger.run(
            decide, [offer.request(key, self._account.name)], Decision(key, batch=key, watched_by=key)
        )
        if decided.ruling is not Ruling.NEW or decided.attempt is None:
            raise ConfigurationError(
                f"{decided.reason or 'the job may not be bought now'} Nothing was bought."
            )
        await engine.ledger.run(deliveries.mark_reported, [decided.attempt.id], key)
        self._bought_at = time.monotonic()
        await engine.submitter.submit_queue(self._account, ours=[decided.attempt.id])
        attempt = await self._current(engine, decided.attempt)
        give_up = time.monotonic() + UNKNOWN_SECONDS
        while attempt.state is AttemptState.UNKNOWN and time.monotonic() < give_up:
            self._say(f"the answer was lost ({attempt.reason}); looking for the job")
            await asyncio.sleep(LONGEST_LOOK_SECONDS / 4)
            await engine.reconcile(name)
            attempt = await self._current(engine, attempt)
        if attempt.state is AttemptState.QUEUED:
            why = attempt.reason or "the account takes no orders now"
            await engine.ledger.run(queue.withdraw, [attempt.id], why=f"not sent: {why}")
            attempt = await self._current(engine, attempt)
        self.seen.attempt = attempt
        if (word := self._first_word()) is not None:
            self.seen.words.append((word, 0.0))
        return attempt

    def _first_word(self) -> str | None:
        """The state in the answer to the submit."""
        answered = [exchange.document for exchange in self._recorder.of("submit")]
        document = answered[-1] if answered and isinstance(answered[-1], dict) else {}
        inner = document.get("data")
        word = (inner if isinstance(inner, dict) else document).get("status")
        return word if isinstance(word, str) else None

    async def _current(self, engine: Engine, attempt: Attempt) -> Attempt:
        current: dict[str, Attempt] = await engine.ledger.run(Ledger.attempts, [attempt.id])
        return current[attempt.id]

    async def _watch(self, attempt: Attempt) -> None:
        self._say(f"job {attempt.job_id}")
        pause, ended_at = FIRST_LOOK_SECONDS, None
        while True:
            passed = time.monotonic() - self._bought_at
            if ended_at is None:
                await self._poll_once(attempt, passed)
                if self.seen.state is not None:
                    ended_at = time.monotonic()
                    pause = FIRST_LOOK_SECONDS
                elif passed > self._wait:
                    self.seen.notes.append(
                        f"the job has not ended after {passed:.0f} s; `dailies ledger` keeps it"
                    )
                    return
            await self._note_listing(attempt)
            await self._note_bill(attempt)
            if ended_at is not None and (
                (self.seen.listed_after is not None and self.seen.charge is not None)
                or time.monotonic() - ended_at > self._settle
            ):
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.4, LONGEST_LOOK_SECONDS)

    async def _poll_once(self, attempt: Attempt, passed: float) -> None:
        answer = await self._account.provider.poll(attempt.job_id or "", age_seconds=passed)
        if isinstance(answer, PollFailed):
            self._note(f"a poll failed: {answer.cause}")
            return
        if not self.seen.words or self.seen.words[-1][0] != answer.raw_status:
            self.seen.words.append((answer.raw_status, passed))
            self._say(f"{passed:6.1f} s  {answer.raw_status}")
        if answer.status.final:
            ended = await asyncio.to_thread(
                polls.see_end, self._ledger, attempt, answer, self._account.provider.capabilities
            )
            if ended.state not in AT_PROVIDER:
                self.seen.state, self.seen.attempt = answer, ended

    async def _note_listing(self, attempt: Attempt) -> None:
        if self.seen.listed_after is not None:
            return
        try:
            after, before = self._window()
            jobs = await self._account.provider.list_jobs(
                after=after, before=before, endpoints=[attempt.endpoint]
            )
        except UnavailableError as error:
            self._note(f"its listing: {error}")
            return
        mine = next((job for job in jobs if job.job_id == attempt.job_id), None)
        if mine is not None:
            self.seen.listed_after = time.monotonic() - self._bought_at
            self.seen.listed_running = self.seen.state is None
            self.seen.echoes = (mine.submission_id is not None, mine.body is not None)

    async def _note_bill(self, attempt: Attempt) -> None:
        if self.seen.charge is not None:
            return
        try:
            after, before = self._window()
            rows = await self._account.provider.charges(after=after, before=before)
        except UnavailableError as error:
            self._note(f"its bill: {error}")
            return
        mine = next((row for row in rows if row.job_id == attempt.job_id and row.kind == "charge"), None)
        if mine is not None:
            self.seen.charge = mine
            self.seen.billed_after = time.monotonic() - self._bought_at

    async def _book(self, engine: Engine, attempt: Attempt) -> None:
        """Record the bill, so that the ledger has the charge and not only the quote."""
        if self.seen.charge is None:
            return
        books = Bookkeeper(engine.ledger)
        now = self._ledger.clock()
        window = Window(attempt.created_at - MARGIN_SECONDS, now + MARGIN_SECONDS)
        try:
            await books.book(self._account.provider, window, await books.read(self._account.provider, window))
        except UnavailableError as error:
            self._note(f"its bill: {error}")
        self.seen.attempt = await self._current(engine, attempt)

    def _window(self) -> tuple[datetime, datetime]:
        now = self._ledger.clock()
        return (
            datetime.fromtimestamp(now - self._wait - self._settle - WINDOW_SECONDS, UTC),
            datetime.fromtimestamp(now + WINDOW_SECONDS, UTC),
        )

    def _note(self, text: str) -> None:
        if text not in self.seen.notes:
            self.seen.notes.append(text)


def close(ledger: Ledger, attempt: Attempt, *, why: str) -> Attempt:
    """Close a successful probe: its video is not kept, and it is not polled again."""
    delivery = {"uri": f"not kept: {why}"}
    try:
        return deliveries.record_delivered(ledger, attempt.id, delivery, run_id=attempt.decision)
    except DailiesError as error:
        raise UnavailableError(
            f"the probe was bought, but its end could not be recorded: {error}. `dailies ledger` shows it"
        ) from None
