"""Mutants: patches that break the product for a negative control."""

# ruff: noqa: SLF001 - a control patches private parts of the product

import contextlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest import mock

import sqlalchemy as sa

from pipelines.collections import Collection, DagsterView, plan
from proof.simulation import actors, judges
from proof.simulation.actors import Run, Surroundings, decision_of
from proof.simulation.history import SimulatedHistory
from proof.simulation.processes import PROCESS, ProcessLedger, SimulatedProcess
from proof.simulation.provider import PRICE, SETTLE_SECONDS, Client
from resources.ledger import (
    budget,
    counters,
    decisions,
    deliveries,
    disputes,
    limits,
    outcomes,
    polls,
    verdicts,
    waiting_finishes,
)
from resources.ledger.decisions import Decided, Decision, Ruling
from resources.ledger.ledger import Ledger
from resources.ledger.lost import posts, search_schedule
from resources.ledger.lost.evidence import Post
from resources.ledger.lost.listing_trust import Lags
from resources.ledger.records import Attempt, Submission
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState
from resources.ledger.transaction import Transaction
from resources.ledger.verdicts import RecordedVerdict, Verdict
from resources.orders import ClipRequest
from resources.production.account import Account
from resources.production.delivery import Deliverer, DeliveryError
from resources.production.engine import Engine
from resources.production.submitter import Submitter
from resources.providers.base import Accepted, Candidate, FailureKind, Rejected, SubmitOutcome, Unknown
from resources.providers.wavespeed import rows as wavespeed_rows

GAP_SECONDS = 2.0
"""Seconds between a read and the write that relies on it, if a variant uses two transactions."""


# POST before commit


async def post_first(self: Submitter, account: Account, **_: object) -> None:
    while True:
        query = sa.select(attempts).where(attempts.c.state == "queued").order_by(attempts.c.seq).limit(1)
        with self._ledger.blocking.read() as connection:
            row = connection.execute(query).first()
        if row is None:
            return
        attempt, planned = Attempt.from_row(row), uuid.uuid4()
        outcome = await account.provider.submit(
            attempt.endpoint, attempt.request.body, submission_id=planned.hex, deadline_seconds=30
        )
        with mock.patch.object(uuid, "uuid4", lambda planned=planned: planned):
            claimed = await self._claim(account, None)
        if not isinstance(claimed, Submission):
            return
        await self._record(claimed, outcome, None)


# Outcomes of answers


def answers(change: Callable[[Client, SubmitOutcome, Callable[[], Any]], Any]) -> Callable[[], Any]:
    submit = Client.submit

    async def changed(self: Client, endpoint: str, body: dict[str, Any], **options: Any) -> SubmitOutcome:
        outcome = await submit(self, endpoint, body, **options)
        answer: SubmitOutcome = await change(self, outcome, lambda: submit(self, endpoint, body, **options))
        return answer

    return lambda: mock.patch.object(Client, "submit", changed)


async def once_more(_client: Client, outcome: SubmitOutcome, again: Callable[[], Any]) -> SubmitOutcome:
    return await again() if isinstance(outcome, Unknown) else outcome


async def believed(_client: Client, outcome: SubmitOutcome, _again: Callable[[], Any]) -> SubmitOutcome:
    if isinstance(outcome, Unknown) and (outcome.http_status or 0) >= 500:
        return Rejected(FailureKind.PROVIDER, "the provider failed", outcome.http_status or 500)
    return outcome


# Decisions


async def look_then_write(
    engine: Engine, run: Run, requests: list[ClipRequest], *, waits: bool
) -> list[Decided]:
    """Two transactions instead of the product's one, as without `BEGIN IMMEDIATE` and advisory locks."""
    decided = list[Decided]()
    decision = decision_of(run, waits=waits)
    each = [
        take for request in requests for take in request.each_take(run.decision, regenerate=run.regenerate)
    ]
    for request in each:
        for _ in range(3):
            found: Any = await engine.ledger.run(_look, request, decision, run.id)
            await _gap()
            try:
                if found.ruling is Ruling.NEW:
                    found = await engine.ledger.run(_write, found.request, decision, run.id)
                decided.append(found)
                break
            except sa.exc.IntegrityError:
                continue
    return decided


async def _gap() -> None:
    """Lets other processes act between two transactions."""
    process = PROCESS.get()
    if process is not None:
        await process.sleep(GAP_SECONDS)


def _look(ledger: Ledger, request: ClipRequest, decision: Decision, run_id: str) -> Decided:
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        return decisions._find(tx, request, decision)


def _write(ledger: Ledger, request: ClipRequest, decision: Decision, run_id: str) -> Decided:
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        queued = decisions.queue_purchase(tx, request, decision, again=False)
        return (
            Decided(request, Ruling.NEW, queued)
            if isinstance(queued, Attempt)
            else Decided(request, Ruling.REFUSED, None, queued)
        )


_decide = actors.decide


async def _count_then_reserve(
    engine: Engine, run: Run, requests: list[ClipRequest], *, waits: bool
) -> list[Decided]:
    """Check the cap in a separate transaction before the one that reserves the money."""
    decided: list[Decided] = []
    for request in requests:
        if await engine.ledger.run(_affordable, request, run.decision):
            await _gap()
            decided += await _decide(engine, run, [request], waits=waits)
    return decided


def _reserve_unchecked(connection: sa.Connection, wanted: list[Any], amount: int, **_: object) -> None:
    counters._add(connection, dict.fromkeys(wanted), amount, holding=True)


@contextlib.contextmanager
def caps_beside_the_transaction() -> Iterator[None]:
    with (
        mock.patch.object(actors, "decide", _count_then_reserve),
        mock.patch.object(counters, "reserve", _reserve_unchecked),
    ):
        yield


def _affordable(ledger: Ledger, request: ClipRequest, decision: str) -> bool:
    day = ledger.budget.day(ledger.clock())
    wanted = budget.scopes(account=request.provider, series=request.series, decision=decision, day=day)
    with ledger.read() as connection:
        spent = counters.spent(connection, wanted, {request.series: request.keys})
    caps = {scope: ledger.budget.cap(scope, request.caps) for scope in wanted}
    return all(
        cap is None or spent[scope] + (request.price_micros or 0) <= cap for scope, cap in caps.items()
    )


def ignores_decisions() -> AbstractContextManager[object]:
    find = decisions._find

    def ignoring(tx: Transaction, request: ClipRequest, decision: Decision) -> Decided:
        found = find(tx, request, decision)
        if found.attempt is None or found.attempt.state.is_open or found.attempt.decision != decision.id:
            return found
        return Decided(found.request, Ruling.NEW, None)

    return mock.patch.object(decisions, "_find", ignoring)


# Verdicts


def answers_before_it_writes() -> AbstractContextManager[object]:
    """A verdict is acknowledged before it is stored."""

    async def answering(
        process: SimulatedProcess, around: Surroundings, verdict: Verdict, answer: Callable[[str], None]
    ) -> None:
        answer(verdict.id)
        await process.at("verdict: answered")
        verdicts.judge(ProcessLedger(process, budget=around.budget), verdict)
        await judges.store(process, around)

    return mock.patch.object(judges, "give", answering)


def circles_beside_the_others() -> AbstractContextManager[object]:
    """A circle does not replace the earlier one."""

    def beside(given: Iterable[RecordedVerdict]) -> dict[str, RecordedVerdict]:
        return {one.verdict.take: one for one in given}

    return mock.patch.object(verdicts, "present_verdicts", beside)


def forgets_finishes() -> AbstractContextManager[object]:
    """A circled draft counts as one without a finish, even if one was bought."""
    return mock.patch.object(waiting_finishes, "finish_of", return_value=None)


# Unknown outcomes


def expired_is_sent_again() -> AbstractContextManager[object]:
    unknown = outcomes._unknown

    def again(tx: Transaction, attempt: Attempt, cause: str) -> Attempt:
        if "died" not in cause or attempt.state is not AttemptState.SUBMITTING:
            return unknown(tx, attempt, cause)
        return tx.transition(attempt, AttemptState.QUEUED, why=cause, overdue_at=None)

    return mock.patch.object(outcomes, "_unknown", again)


@contextlib.contextmanager
def nothing_settles() -> Iterator[None]:
    """A miss counts at once, although a job may be created or listed later."""
    window = posts.Undecided.post

    def at_once(*args: Any, **options: Any) -> Post:
        post = window(*args, **options)
        sent = post.not_before
        return replace(post, broke_off=sent, settled_from=sent, give_up_from=sent + 2 * SETTLE_SECONDS)

    with (
        mock.patch.object(posts.Contract, "settle", return_value=0.0),
        mock.patch.object(posts.Undecided, "post", at_once),
        mock.patch.object(limits, "ACCEPTANCE_SECONDS", 0.0),
        mock.patch.object(Lags, "doubt", return_value=None),
    ):
        yield


def drops_late_answers() -> AbstractContextManager[object]:
    record = outcomes.record_outcome

    def dropping(ledger: Ledger, submission: Submission, outcome: SubmitOutcome, **options: Any) -> Attempt:
        now = ledger.attempts([submission.attempt.id])[submission.attempt.id]
        if isinstance(outcome, Accepted) and now.state is not AttemptState.SUBMITTING:
            return now
        return record(ledger, submission, outcome, **options)

    return mock.patch.object(outcomes, "record_outcome", dropping)


# Assignment of jobs


def goes_by_the_price(post: Post, job: Candidate) -> bool:
    return not post.shared or job.charged_micros == PRICE


@contextlib.contextmanager
def equal_requests_are_ours() -> Iterator[None]:
    """A model takes no seed, and a listed job with an equal request counts as a POST's job, even on a shared key."""
    with (
        mock.patch.object(SimulatedHistory, "_seed", None),
        mock.patch.object(Post, "may_be_given", lambda _post, job: job.body is not None),
    ):
        yield


@contextlib.contextmanager
def believes_the_question() -> Iterator[None]:
    """The label of a bill's row is not checked, and a refund counts for a job in any state."""
    read = wavespeed_rows.charge

    def as_asked(row: dict[str, Any], asked: str) -> object:
        return read({**row, "billing_type": asked}, asked)

    with (
        mock.patch.object(wavespeed_rows, "charge", as_asked),
        mock.patch.object(disputes, "objection", return_value=None),
    ):
        yield


def buys_what_cannot_be_fetched() -> AbstractContextManager[object]:
    deliver = Deliverer.deliver

    async def regenerating(self: Deliverer, attempt: Attempt, *, run_id: str) -> None:
        try:
            await deliver(self, attempt, run_id=run_id)
        except DeliveryError as error:
            ledger = self._engine.ledger.blocking
            deliveries.record_lost(ledger, attempt.id, why=str(error))
            with ledger.transaction(who="engine", run_id=run_id) as tx:
                decisions.queue_purchase(
                    tx, attempt.request, Decision(attempt.decision, attempt.batch), again=True
                )

    return mock.patch.object(Deliverer, "deliver", regenerating)


def one_answer_is_an_end() -> AbstractContextManager[object]:
    return mock.patch.object(polls, "see_end", polls.record_end)


@contextlib.contextmanager
def times_are_believed() -> Iterator[None]:
    """A due time, a pause or a lease counts however far ahead it is."""
    nothing = polls._MISDATED.where(sa.false())
    with (
        mock.patch.object(polls, "_MISDATED", nothing),
        mock.patch.object(polls, "_MISDATED_OF_THESE", nothing),
        mock.patch.object(polls, "has_passed", lambda at, now, **_: at <= now),
    ):
        yield


def a_hold_is_final() -> AbstractContextManager[object]:
    """A held POST is never searched for again."""
    return mock.patch.object(search_schedule, "_is_due", return_value=False)


def dead_runs_are_believed() -> AbstractContextManager[object]:
    """A dead run counts as alive, as its status in Dagster does, and keeps its clips from all others."""

    def as_started(
        found: Mapping[str, Sequence[Attempt]], dagster: DagsterView, **times: float
    ) -> list[Collection]:
        watchers = {a.watched_by for attempts in found.values() for a in attempts if a.watched_by is not None}
        return plan(found, replace(dagster, watched=frozenset(watchers)), **times)

    return mock.patch.object(actors, "plan", as_started)
