"""Negative controls: the product with one rule of money broken. The laws must catch each.

They are patches around the product, never in it. Each comes with the histories in which its mistake can show.
"""

# ruff: noqa: SLF001 - a control breaks the product from inside

import contextlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import sqlalchemy as sa

from proof.laws import KINDS_OF_VIOLATION
from proof.simulation import actors
from proof.simulation.actors import Run, decision_of
from proof.simulation.database import Database
from proof.simulation.faults import ABANDONED_RUN, OUTAGE
from proof.simulation.mutants import (
    a_hold_is_final,
    buys_what_cannot_be_fetched,
    dead_runs_are_believed,
    one_answer_is_an_end,
    times_are_believed,
)
from proof.simulation.plans import Plan, drawn
from proof.simulation.processes import PROCESS
from proof.simulation.provider import PRICE, SETTLE_SECONDS, Client
from proof.simulation.runner import Outcome, carry_out
from resources.ledger import budget, decisions, disputes, keys, limits, outcomes
from resources.ledger.decisions import Decided, Decision, Ruling
from resources.ledger.ledger import Ledger
from resources.ledger.lost import posts
from resources.ledger.lost.evidence import Post
from resources.ledger.lost.listing_trust import Lags
from resources.ledger.records import Attempt, Submission
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState
from resources.ledger.transaction import Transaction
from resources.orders import ClipRequest
from resources.production.account import Account
from resources.production.engine import Engine
from resources.production.submitter import Submitter
from resources.providers import wavespeed_rows
from resources.providers.base import Accepted, Candidate, FailureKind, Rejected, SubmitOutcome, Unknown

GAP_SECONDS = 2.0
"""Between a look and the write that relies on it, where a variant has two transactions."""


@dataclass(frozen=True)
class Control:
    """One broken variant."""

    name: str
    """As the issue names it."""
    patch: Callable[[], AbstractContextManager[object]]
    """Breaks the product while a history is carried out."""
    shows: Callable[[Plan], Plan]
    """Makes a drawn history one in which the mistake can show."""
    finds: frozenset[str]
    """The kinds of violation that are the mistake's own."""
    prepare: str | None = None
    """Breaks the database's schema before a history."""


def caught(control: Control, database: Database, *, histories: int) -> Outcome | None:
    """The first history of a control that has a violation of its kind, None when none of them has."""
    for seed in range(histories):
        plan = control.shows(
            replace(drawn(seed), kinds=(), crashes=(), pauses=(), cap=None, per_minute=None, ahead=0.0)
        )
        with control.patch():
            outcome = carry_out(plan, database, schema=control.prepare)
        if any(violation.kind in control.finds for violation in outcome.violations):
            return outcome
    return None


def _with(*kinds: str, **changes: Any) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, kinds=kinds, **changes)


# POST before commit


async def _post_first(self: Submitter, account: Account, **_: object) -> None:
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


# What an answer is taken for


def _answers(change: Callable[[Client, SubmitOutcome, Callable[[], Any]], Any]) -> Callable[[], Any]:
    submit = Client.submit

    async def changed(self: Client, endpoint: str, body: dict[str, Any], **options: Any) -> SubmitOutcome:
        outcome = await submit(self, endpoint, body, **options)
        answer: SubmitOutcome = await change(self, outcome, lambda: submit(self, endpoint, body, **options))
        return answer

    return lambda: mock.patch.object(Client, "submit", changed)


async def _once_more(_client: Client, outcome: SubmitOutcome, again: Callable[[], Any]) -> SubmitOutcome:
    return await again() if isinstance(outcome, Unknown) else outcome


async def _believed(_client: Client, outcome: SubmitOutcome, _again: Callable[[], Any]) -> SubmitOutcome:
    if isinstance(outcome, Unknown) and (outcome.http_status or 0) >= 500:
        return Rejected(FailureKind.PROVIDER, "the provider failed", outcome.http_status or 500)
    return outcome


# What is decided


async def _look_then_write(
    engine: Engine, run: Run, requests: list[ClipRequest], *, waits: bool
) -> list[Decided]:
    """Two transactions where the product has one, as it would be without `BEGIN IMMEDIATE` and advisory locks."""
    decided = list[Decided]()
    decision = decision_of(run, waits=waits)
    for request in requests:
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
    """Between two transactions others act."""
    process = PROCESS.get()
    if process is not None:
        await process.sleep(GAP_SECONDS)


def _look(ledger: Ledger, request: ClipRequest, decision: Decision, run_id: str) -> Decided:
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        return decisions._find(tx, request, decision)


def _write(ledger: Ledger, request: ClipRequest, decision: Decision, run_id: str) -> Decided:
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        queued = decisions._queue(tx, request, decision)
        return (
            Decided(request, Ruling.NEW, queued)
            if isinstance(queued, Attempt)
            else Decided(request, Ruling.REFUSED, None, queued)
        )


_decide = actors.decide


async def _count_then_reserve(
    engine: Engine, run: Run, requests: list[ClipRequest], *, waits: bool
) -> list[Decided]:
    """Check the cap in another transaction than the one that reserves the money."""
    decided: list[Decided] = []
    for request in requests:
        if await engine.ledger.run(_affordable, request, run.decision):
            await _gap()
            decided += await _decide(engine, run, [request], waits=waits)
    return decided


def _reserve_unchecked(connection: sa.Connection, wanted: list[Any], amount: int, **_: object) -> None:
    budget._add(connection, dict.fromkeys(wanted), amount, holding=True)


@contextlib.contextmanager
def _caps_beside_the_transaction() -> Iterator[None]:
    with (
        mock.patch.object(actors, "decide", _count_then_reserve),
        mock.patch.object(budget, "reserve", _reserve_unchecked),
    ):
        yield


def _affordable(ledger: Ledger, request: ClipRequest, decision: str) -> bool:
    day = ledger.budget.day(ledger.clock())
    wanted = budget.scopes(account=request.provider, series=request.series, decision=decision, day=day)
    with ledger.read() as connection:
        spent = budget.spent(connection, wanted)
    caps = {scope: ledger.budget.cap(scope, request.caps) for scope in wanted}
    return all(
        cap is None or spent[scope] + (request.price_micros or 0) <= cap for scope, cap in caps.items()
    )


def _ignores_decisions() -> AbstractContextManager[object]:
    find = decisions._find

    def ignoring(tx: Transaction, request: ClipRequest, decision: Decision) -> Decided:
        found = find(tx, request, decision)
        if found.attempt is None or found.attempt.state.is_open or found.attempt.decision != decision.id:
            return found
        return Decided(found.request, Ruling.NEW, None)

    return mock.patch.object(decisions, "_find", ignoring)


# What becomes of the unknown


def _expired_is_sent_again() -> AbstractContextManager[object]:
    unknown = outcomes._unknown

    def again(tx: Transaction, attempt: Attempt, cause: str) -> Attempt:
        if "died" not in cause or attempt.state is not AttemptState.SUBMITTING:
            return unknown(tx, attempt, cause)
        return tx.transition(attempt, AttemptState.QUEUED, why=cause, overdue_at=None)

    return mock.patch.object(outcomes, "_unknown", again)


@contextlib.contextmanager
def _nothing_settles() -> Iterator[None]:
    """A miss is believed at once, however late a job may be created or listed."""
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


def _drops_late_answers() -> AbstractContextManager[object]:
    record = outcomes.record_outcome

    def dropping(ledger: Ledger, submission: Submission, outcome: SubmitOutcome, **options: Any) -> Attempt:
        now = ledger.attempts([submission.attempt.id])[submission.attempt.id]
        if isinstance(outcome, Accepted) and now.state is not AttemptState.SUBMITTING:
            return now
        return record(ledger, submission, outcome, **options)

    return mock.patch.object(outcomes, "record_outcome", dropping)


# Whose a job is


def _goes_by_the_price(post: Post, job: Candidate) -> bool:
    return not post.shared or job.charged_micros == PRICE


DUPLICATE = frozenset({"duplicate"})
UNACCOUNTED = frozenset({"unaccounted"})
STRANGER = frozenset({"stranger"})
ANY = frozenset(KINDS_OF_VIOLATION)


@contextlib.contextmanager
def _believes_the_question() -> Iterator[None]:
    """A row of the bill is what was asked for, and a refund is one whatever became of its job."""
    read = wavespeed_rows.charge

    def as_asked(row: dict[str, Any], asked: str) -> object:
        return read({**row, "billing_type": asked}, asked)

    with (
        mock.patch.object(wavespeed_rows, "charge", as_asked),
        mock.patch.object(disputes, "objection", return_value=None),
    ):
        yield


CONTROLS = (
    Control(
        "POST before commit",
        lambda: mock.patch.object(Submitter, "submit_queue", _post_first),
        _with("crash", at=(("POST: accepted", 0.0),)),
        UNACCOUNTED,
    ),
    Control("retry on a read time-out", _answers(_once_more), _with("lost answer"), DUPLICATE),
    Control("5xx taken as rejected", _answers(_believed), _with("error after acceptance"), UNACCOUNTED),
    Control(
        "the unique index dropped",
        lambda: mock.patch.object(actors, "decide", _look_then_write),
        _with("second run"),
        DUPLICATE,
        prepare="DROP INDEX one_open_attempt_per_subject",
    ),
    Control(
        "an expired lease resubmits",
        _expired_is_sent_again,
        _with("crash", at=(("POST: accepted", 0.0),)),
        DUPLICATE,
    ),
    Control(
        "settle time zero",
        _nothing_settles,
        _with("acceptance after our time-out", clips=3, in_flight=2, experienced=True),
        DUPLICATE,
    ),
    Control(
        "the cap checked outside the transaction",
        _caps_beside_the_transaction,
        _with("second run", clips=3, cap=1),
        frozenset({"over the cap"}),
    ),
    Control(
        "a late answer dropped",
        _drops_late_answers,
        _with("pause", "list down", at=(("POST: accepted", 66.0),)),
        UNACCOUNTED,
    ),
    Control(
        "the decision ignored",
        _ignores_decisions,
        _with("failed job", "run again at the end", "terminated run", max_attempts=1),
        DUPLICATE,
    ),
    Control(
        "the bill believed for what was asked",
        _believes_the_question,
        _with("heedless bill", to_the_bill=True, provider="wavespeed"),
        UNACCOUNTED,
    ),
    Control(
        "an amount booked in whatever unit",
        lambda: mock.patch.object(disputes, "is_believable", return_value=True),
        _with("bill in cents", to_the_bill=True),
        UNACCOUNTED,
    ),
    Control(
        "a download error that regenerates",
        buys_what_cannot_be_fetched,
        _with("cut download", "no video"),
        DUPLICATE,
    ),
    Control(
        "one answer ends a paid job",
        one_answer_is_an_end,
        _with("end taken back", max_attempts=2),
        DUPLICATE,
    ),
    Control(
        "a time counts however far ahead it lies",
        times_are_believed,
        _with(ahead=2 * 86_400.0, right_after=4.0, clips=2),
        frozenset({"unended"}),
    ),
    Control(
        "a dead run that keeps its clips",
        dead_runs_are_believed,
        _with("crash", ABANDONED_RUN, way="wait", at=(("poll: after", 0.0),)),
        frozenset({"unended"}),
    ),
    Control(
        "a hold that is final though its job is shown",
        a_hold_is_final,
        _with("lost answer", OUTAGE, provider="wavespeed", clips=1, dedicated=True),
        frozenset({"held"}),
    ),
    Control(
        "a job on a shared key told by its price",
        lambda: mock.patch.object(Post, "may_be_given", _goes_by_the_price),
        _with("stranger's job", "error without acceptance", provider="wavespeed", clips=3, dedicated=False),
        STRANGER,
    ),
    Control(
        "a shared key taken for a dedicated one",
        lambda: mock.patch.object(keys, "use_of", return_value=keys.KeyUse(keys.DEDICATED)),
        _with("stranger's job", "error without acceptance", provider="wavespeed", clips=3, dedicated=False),
        STRANGER,
    ),
)

SPLIT = Control(
    "look and write in two transactions, the index in place",
    lambda: mock.patch.object(actors, "decide", _look_then_write),
    _with("second run"),
    ANY,
)
"""The counter-check of the dropped index: the same race, which the index must win."""
