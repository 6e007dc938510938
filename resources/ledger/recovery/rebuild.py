"""The rebuild of a lost ledger: delivered takes, and purchases whose output was not fetched yet.

The rebuild only records purchases that were made. It queues nothing, and it withdraws the queue of a restored copy, whose clips
may have been bought after the copy was made. A rebuild may be repeated: what the ledger knows stays unchanged.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from resources.ledger import verdicts
from resources.ledger.current_takes import make_current
from resources.ledger.database import insert_ignoring, lock_subject
from resources.ledger.jobs import NamedJob, book_job
from resources.ledger.ledger import Ledger
from resources.ledger.notes import note_draft_id
from resources.ledger.queue import withdraw
from resources.ledger.records import CLIP, SPARE, Attempt, new_attempt_id
from resources.ledger.recovery.mark import OnItsWay
from resources.ledger.review_tables import waiting_finishes as ordered_finishes
from resources.ledger.schema import attempts, submissions, take_verdicts
from resources.ledger.states import AttemptState, MoneyState, SubmissionState
from resources.ledger.transaction import Transaction
from resources.ledger.waiting_finishes import finish_of
from resources.orders import ClipRequest
from resources.providers.base import FailureKind

_S = AttemptState
WHO = "rebuild"
FOUND = "found outside the ledger, which had lost it"
FETCHED = frozenset({_S.DELIVERED, _S.QUARANTINED})
NO_JOB = frozenset({_S.WITHDRAWN, _S.REJECTED, _S.ABSENT, _S.ABANDONED})
_ONWARD = {
    _S.QUEUED: _S.SUBMITTING,
    _S.SUBMITTING: _S.SUBMITTED,
    _S.UNKNOWN: _S.SUBMITTED,
    _S.HELD: _S.SUBMITTED,
    _S.SUBMITTED: _S.SUCCEEDED,
    _S.OVERDUE: _S.SUCCEEDED,
}
"""The next state of an attempt that an old copy has in an earlier state."""


@dataclass(frozen=True)
class ManifestTake:
    """A take in the bucket, as its manifest describes it. Times are seconds since the epoch."""

    attempt: str
    """Id of the attempt."""
    request: ClipRequest
    fingerprint: str
    account: str
    decision: str
    """Id of the decision."""
    submission: str | None
    """Id of the POST, if the manifest names it."""
    job: str | None
    """The provider's id of the job, if the manifest names it."""
    money: MoneyState
    charged_micros: int | None
    """What it cost, in micro-USD."""
    charge_source: str | None
    """The source of `charged_micros`."""
    submitted_at: float
    finished_at: float
    """When its job was seen finished."""
    delivered_at: float
    served_model: str | None
    inference_seconds: float | None
    """The provider's own statement of its working time, in seconds."""
    delivery: dict[str, Any]
    """The facts of the manifest that the ledger keeps."""
    quarantined: str | None
    """Why it is in quarantine; None if it is delivered."""
    run_id: str | None
    """The run that stored it."""
    draft_id: str | None = None
    """The provider's id of a draft."""
    draft: bool = False
    """Whether it is a draft, which is never its clip's current take."""
    spare: bool = False
    """Whether it is a spare take, which is never its clip's current take."""


class Taken(StrEnum):
    """The result of recording a take or a purchase that a rebuild found."""

    KNOWN = "known"
    """The ledger had it already; nothing was changed."""
    LED_ON = "led_on"
    """The ledger had it in an earlier state, and now has the later state."""
    ADOPTED = "adopted"
    """The ledger did not have it before."""
    BLOCKED = "blocked"
    """Another purchase of the same clip must end before the rebuild is repeated."""


def record_take(ledger: Ledger, take: ManifestTake) -> Taken:
    """Record a take that is in the bucket."""
    with ledger.transaction(who=WHO, run_id=None) as tx:
        lock_subject(tx.connection, take.request.clip)
        known = _same(tx, take.attempt, take.account, take.job)
        if any(attempt.state in FETCHED for attempt in known):
            return Taken.KNOWN
        behind = next((attempt for attempt in known if attempt.state.is_open), None)
        to = _S.DELIVERED if take.quarantined is None else _S.QUARANTINED
        other = None if take.spare else _other_finish(tx, take.request, behind)
        if other is not None and other.state.is_open:
            return Taken.BLOCKED
        if behind is not None:
            if take.submission is not None:
                _submission(
                    tx.connection, take.submission, behind, take.submitted_at, SubmissionState.ACCEPTED
                )
            attempt = _lead_on(tx, behind, to, _facts(take), take.money)
        else:
            used = {attempt.id for attempt in known}
            values = _facts(take) | {
                "id": new_attempt_id() if take.attempt in used else take.attempt,
                "created_at": take.submitted_at,
                "counted_on": tx.policy.read(tx.connection).budget.day(take.submitted_at),
                "reported_run_id": take.run_id or WHO,
                "account": take.account,
                "fingerprint": take.fingerprint,
                "decision": take.decision,
                "quoted_micros": _quoted(take.request, take.charged_micros),
                "is_draft": take.draft or take.request.is_draft,
                **_subject(take.request.clip, take.attempt, spare=take.spare or other is not None),
            }
            attempt = tx.add_found(take.request, to, take.money, why=FOUND, **values)
            if take.submission is not None:
                _submission(
                    tx.connection, take.submission, attempt, take.submitted_at, SubmissionState.ACCEPTED
                )
        if take.job is not None:
            book_job(tx, attempt, take.submission, NamedJob(take.job, take.served_model, "manifest"))
        note_draft_id(tx.connection, attempt.id, take.draft_id)
        if to is _S.DELIVERED:
            make_current(
                tx.connection, attempt, since=attempt.delivered_at or tx.now(), later_by="delivered_at"
            )
        return Taken.ADOPTED if behind is None else Taken.LED_ON


def take_back(ledger: Ledger, item: OnItsWay, request: ClipRequest) -> Taken:
    """Continue a purchase that was open when the lost ledger last wrote its mark."""
    with ledger.transaction(who=WHO, run_id=None) as tx:
        lock_subject(tx.connection, item.clip)
        known = _same(tx, item.attempt, item.account, item.job)
        if any(attempt.state not in NO_JOB and not attempt.state.is_open for attempt in known):
            return Taken.KNOWN
        mine = next((attempt for attempt in known if attempt.state.is_open), None)
        if mine is not None:
            return _go_on(tx, mine, item)
        if known and item.job is None:
            return Taken.KNOWN
        if _is_slot_taken(tx, item):
            return Taken.BLOCKED
        other = _other_finish(tx, request, None)
        if other is not None and other.state.is_open:
            return Taken.BLOCKED
        state = _S.UNKNOWN if item.job is None else _S.SUBMITTED
        money = MoneyState.INDETERMINATE if item.job is None else MoneyState.RESERVED
        values = _on_its_way(item, request, tx.now()) | {
            "id": new_attempt_id() if known else item.attempt,
            "created_at": item.sent_at,
            "counted_on": tx.policy.read(tx.connection).budget.day(item.sent_at),
            "batch": WHO,
            "account": item.account,
            "fingerprint": item.fingerprint,
            "decision": item.decision,
            "quoted_micros": item.quoted_micros,
            "is_draft": item.draft or request.is_draft,
            **_subject(item.clip, item.attempt, spare=other is not None),
        }
        attempt = tx.add_found(request, state, money, why=FOUND, **values)
        _book_submission(tx, item, attempt)
        return Taken.ADOPTED


def withdraw_queued(ledger: Ledger) -> list[Attempt]:
    """Withdraw all queued purchases, since they may have been bought after the copy was made."""
    with ledger.read() as connection:
        ids = connection.execute(
            sa.select(attempts.c.id).where(attempts.c.state == _S.QUEUED.value)
        ).scalars()
        queued = list(ids)
    why = "the ledger was rebuilt, and this may have been bought since its copy was made; nothing was sent. Ask for it again."
    return withdraw(ledger, queued, why=why)


def withdraw_orders(ledger: Ledger) -> list[str]:
    """Withdraw every order to finish a draft, since the finish may have been bought after the copy was made; returns the clips."""
    with ledger.write() as connection:
        is_ordered = ordered_finishes.c.decision.is_not(None)
        changed = connection.execute(
            sa.update(ordered_finishes)
            .where(is_ordered)
            .values(
                decision=None,
                at_most_micros=None,
                ordered_by=None,
                reason="the ledger was rebuilt, and the finish may have been bought since its copy was made",
            )
            .returning(ordered_finishes.c.clip)
        )
        return sorted(changed.scalars())


def pass_circles_on(ledger: Ledger) -> list[str]:
    """Circle every delivered finish whose draft is still circled, which `record_delivered` did in the lost ledger.

    Call this after the bucket's verdicts were recorded.

    Returns:
        The clips.
    """
    query = (
        sa.select(attempts.c.id)
        .join(take_verdicts, take_verdicts.c.attempt_id == attempts.c.finishes)
        .where(
            take_verdicts.c.word == verdicts.Word.CIRCLED.value,
            attempts.c.subject_kind == CLIP,
            attempts.c.state == _S.DELIVERED.value,
        )
    )
    with ledger.read() as connection:
        finishes = list(connection.execute(query).scalars())
    clips = []
    for finish in finishes:
        with ledger.transaction(who=WHO, run_id=None) as tx:
            attempt = tx.attempt_alone(finish)
            if not verdicts.is_recorded(tx.connection, verdicts.passed_circle(finish)):
                verdicts.pass_circle_on(tx, attempt)
                clips.append(attempt.clip)
    return clips


def _subject(clip: str, attempt: str, *, spare: bool) -> dict[str, str]:
    """The columns that make a purchase a spare take; empty for another purchase, whose request has them."""
    return {"subject_kind": SPARE, "subject_key": f"{clip}~{attempt[:12]}"} if spare else {}


def _same(tx: Transaction, attempt_id: str, account: str, job: str | None) -> list[Attempt]:
    """The ledger's attempts with this id or this job."""
    same = attempts.c.id == attempt_id
    if job is not None:
        same = sa.or_(same, sa.and_(attempts.c.account == account, attempts.c.job_id == job))
    ids = tx.connection.execute(sa.select(attempts.c.id).where(same).order_by(attempts.c.seq)).scalars().all()
    return [tx.attempt(found) for found in ids]


def _go_on(tx: Transaction, mine: Attempt, item: OnItsWay) -> Taken:
    unsent = mine.state is _S.QUEUED
    if item.job is None and not unsent:
        return Taken.KNOWN
    if item.job is not None and mine.state not in {_S.QUEUED, _S.SUBMITTING, _S.UNKNOWN, _S.HELD}:
        return Taken.KNOWN
    _book_submission(tx, item, mine)
    values = _on_its_way(item, mine.request, tx.now())
    if item.job is not None:
        _lead_on(tx, mine, _S.SUBMITTED, values, MoneyState.RESERVED)
        return Taken.LED_ON
    sent = tx.transition(mine, _S.SUBMITTING, why="it was sent")
    tx.transition(
        sent,
        _S.UNKNOWN,
        money=MoneyState.INDETERMINATE,
        why="its answer was not known when the lost ledger last wrote its mark",
        **values,
    )
    return Taken.LED_ON


def _is_slot_taken(tx: Transaction, item: OnItsWay) -> bool:
    """Whether another purchase in the slot is open; withdraws it if it is only queued."""
    rows = tx.connection.execute(
        sa.select(attempts).where(
            attempts.c.subject_kind == "clip",
            attempts.c.subject_key == item.clip,
            attempts.c.slot == item.slot,
            attempts.c.state.in_([state.value for state in _S if state.is_open]),
        )
    )
    others = [Attempt.from_row(row) for row in rows]
    for other in others:
        if other.state is _S.QUEUED:
            _make_way(tx, other, "a later purchase of the clip is on its way")
    return any(other.state is not _S.QUEUED for other in others)


def _other_finish(tx: Transaction, request: ClipRequest, behind: Attempt | None) -> Attempt | None:
    """Another finish of the same draft in the ledger, so that the found one cannot be recorded as its finish; None if there is none.

    A queued finish is withdrawn. If the found finish is in the bucket beside this one, it becomes a spare take.
    """
    if request.finishes is None:
        return None
    other = finish_of(tx.connection, request.finishes.attempt)
    if other is None or (behind is not None and other.id == behind.id):
        return None
    if other.state is _S.QUEUED:
        _make_way(tx, other, "a later finish of its draft is in the bucket")
        return None
    return other


def _make_way(tx: Transaction, queued: Attempt, why: str) -> None:
    tx.transition(queued, _S.WITHDRAWN, money=MoneyState.RELEASED, why=why, finished_at=tx.now())


def _facts(take: ManifestTake) -> dict[str, Any]:
    return {
        "job_id": take.job,
        "submitted_at": take.submitted_at,
        "finished_at": take.finished_at,
        "delivered_at": take.delivered_at if take.quarantined is None else None,
        "next_poll_at": None,
        "served_model": take.served_model,
        "inference_seconds": take.inference_seconds,
        "charged_micros": take.charged_micros,
        "charge_source": take.charge_source,
        "delivery": take.delivery,
        "reason": take.quarantined,
        "reason_kind": None if take.quarantined is None else FailureKind.CHECK.value,
        "delivery_owner": None,
        "delivery_until": None,
    }


def _on_its_way(item: OnItsWay, request: ClipRequest, now: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"overdue_at": item.sent_at + request.max_seconds}
    if item.job is not None:
        return facts | {"job_id": item.job, "submitted_at": item.sent_at, "next_poll_at": now, "reason": None}
    reason = f"it is not known whether {item.account} took the order; it is not sent again, so that nothing is paid twice"
    return facts | {"reason": reason}


def _lead_on(
    tx: Transaction,
    attempt: Attempt,
    to: AttemptState,
    values: dict[str, Any],
    money: MoneyState,
) -> Attempt:
    """Move an attempt to its known state by allowed transitions, each with its journal entry."""
    while attempt.state is not to:
        following = _ONWARD.get(attempt.state, to)
        last = following is to
        attempt = tx.transition(
            attempt,
            following,
            money=money if last else _money_on_the_way(following),
            why=f"it is {to}, as was found after the copy was restored" if last else "on its way there",
            **(values if last else {}),
        )
    return attempt


def _money_on_the_way(state: AttemptState) -> MoneyState:
    return MoneyState.CONFIRMED if state is _S.SUCCEEDED else MoneyState.RESERVED


def _book_submission(tx: Transaction, item: OnItsWay, attempt: Attempt) -> None:
    state = SubmissionState.UNKNOWN if item.job is None else SubmissionState.ACCEPTED
    # a request without its own seed was sent with one that only the mark knows
    seed = None if attempt.request.has_seed else item.seed
    _submission(tx.connection, item.submission, attempt, item.sent_at, state, seed)
    if item.job is not None:
        book_job(tx, attempt, item.submission, NamedJob(item.job, None, "mark"))


def _submission(
    connection: sa.Connection,
    name: str,
    attempt: Attempt,
    sent_at: float,
    state: SubmissionState,
    seed: int | None = None,
) -> None:
    """Record a POST that was sent, or the state of a POST that the ledger knows."""
    connection.execute(
        insert_ignoring(connection, submissions).values(
            id=name,
            attempt_id=attempt.id,
            account=attempt.account,
            state=state.value,
            owner=WHO,
            started_at=sent_at,
            lease_until=sent_at,
            ended_at=sent_at,
            seed=seed,
        )
    )
    connection.execute(
        sa.update(submissions)
        .where(
            submissions.c.attempt_id == attempt.id,
            submissions.c.id == name,
            submissions.c.state.in_([SubmissionState.OPEN.value, SubmissionState.UNKNOWN.value]),
        )
        .values(state=state.value, ended_at=sa.func.coalesce(submissions.c.ended_at, sent_at))
    )


def _quoted(request: ClipRequest, charged: int | None) -> int:
    return request.price_micros if request.price_micros is not None else charged or 0
