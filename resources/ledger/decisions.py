"""Decisions: whether each clip is bought, adopted, reused or refused, before any money moves.

Every purchase belongs to a decision. A decision never buys a clip again that it already has, whether a retry, a restarted worker,
a second backfill or another machine asks.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from resources.ledger import (
    approvals,
    budget,
    counters,
    decision_clips,
    heartbeats,
    stops,
    waiting_finishes,
)
from resources.ledger.database import chunks, lock_money, lock_subject
from resources.ledger.ledger import Ledger
from resources.ledger.outage import repeat_unrecorded
from resources.ledger.records import Attempt, new_attempt_id
from resources.ledger.review_tables import waiting_clips
from resources.ledger.rules import Decided, Ruling, after, is_outdated, ruling_of, unknown_price
from resources.ledger.schema import attempts, current_takes, take_verdicts
from resources.ledger.states import OPEN, AttemptState, MoneyState
from resources.ledger.transaction import Transaction, repeat_contested
from resources.money import to_usd
from resources.orders import ClipRequest
from resources.traces import spans

__all__ = [
    "SUPERSEDED",
    "Decided",
    "Decision",
    "KnownPurchases",
    "Ruling",
    "decide",
    "known_purchases",
    "queue_purchase",
    "try_again",
]

SUPERSEDED = "superseded"
"""The `reported_run_id` of an attempt that a newer one has replaced before any run reported it."""


@dataclass(frozen=True)
class Decision:
    """The order of a person, a schedule or a command to produce, to which every purchase belongs."""

    id: str
    """The root run, the schedule's tick or the command."""
    batch: str | None = None
    """The run that makes the decision. The purchases of one batch are collected together."""
    watched_by: str | None = None
    """The run that waits for the purchases and reports them; None if no run waits."""
    regenerate: bool = False
    """Whether to buy another take of a delivered, unchanged request."""


def decide(
    ledger: Ledger, requests: Iterable[ClipRequest], decision: Decision, *, run_id: str | None = None
) -> list[Decided]:
    """Find or queue the purchase of every take of every clip, in one transaction each.

    Raises:
        UnavailableError: The ledger cannot be written. Earlier decisions are kept, and will be adopted.
        RunLostError: The run was lost; it decides nothing more.
    """
    # another installation may have the same series, decisions and key, yet its seeds must differ from ours
    drawn_from = f"{decision.id} of {ledger.id}"
    return [
        repeat_unrecorded(_decide_traced, ledger, take, decision, run_id)
        for request in requests
        for take in request.each_take(drawn_from, regenerate=decision.regenerate)
    ]


_OF_SUBJECT = (
    sa.select(attempts)
    .where(attempts.c.subject_kind == sa.bindparam("kind"), attempts.c.subject_key == sa.bindparam("key"))
    .order_by(attempts.c.seq.desc())
)
_CURRENT = sa.select(current_takes.c.attempt_id).where(
    current_takes.c.subject_kind == sa.bindparam("kind"), current_takes.c.subject_key == sa.bindparam("key")
)


def _decide_traced(ledger: Ledger, request: ClipRequest, decision: Decision, run_id: str | None) -> Decided:
    began = time.time_ns()
    decided = repeat_contested(_decide_one, ledger, request, decision, run_id)
    attempt = decided.attempt
    if attempt is not None and decided.ruling in {Ruling.NEW, Ruling.ADOPTED}:
        quoted_usd = float(to_usd(attempt.quoted_micros))
        spans.decided(attempt.traced, began, ruling=decided.ruling.value, quoted_usd=quoted_usd)
    return decided


def _decide_one(ledger: Ledger, request: ClipRequest, decision: Decision, run_id: str | None) -> Decided:
    # if another process queued or sent the same clip meanwhile, the clip is read again and that purchase adopted
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        heartbeats.require(tx.connection, run_id)
        lock_subject(tx.connection, request.clip)
        foreign = decision_clips.refusal(tx.connection, decision.id, request.clip)
        if foreign is not None:
            return Decided(request, Ruling.REFUSED, None, foreign)
        settled = _find(tx, request, decision)
        if settled.ruling is Ruling.NEW:
            queued = queue_purchase(tx, settled.request, decision, again=False)
            if isinstance(queued, str):
                refusal = _name_purchases(tx.connection, request, decision.id, queued)
                return Decided(request, Ruling.REFUSED, None, refusal)
            return Decided(request, Ruling.NEW, queued)
        if (
            settled.ruling is Ruling.ADOPTED
            and settled.attempt is not None
            and decision.watched_by is not None
        ):
            tx.connection.execute(
                sa.update(attempts)
                .where(attempts.c.id == settled.attempt.id)
                .values(watched_by=decision.watched_by)
            )
        return settled


def _find(tx: Transaction, request: ClipRequest, decision: Decision) -> Decided:
    """Find this take in the ledger, or queue its purchase."""
    rows = tx.connection.execute(_OF_SUBJECT, {"kind": request.kind, "key": request.clip})
    known = [Attempt.from_row(row) for row in rows]
    outdated = [a for a in known if is_outdated(request, a)]
    current = _current_take(tx.connection, request)
    settled = ruling_of(
        request,
        [attempt for attempt in known if attempt not in outdated],
        current,
        decision=decision.id,
        regenerate=decision.regenerate,
    )
    if settled.ruling is Ruling.NEW:
        unapproved = approvals.refusal(tx.connection, decision.id, request, regenerate=decision.regenerate)
        if unapproved is not None:
            refusal = _name_purchases(tx.connection, request, decision.id, unapproved)
            return Decided(request, Ruling.REFUSED, None, refusal)
    for attempt in outdated:
        tx.transition(
            attempt,
            AttemptState.WITHDRAWN,
            money=MoneyState.RELEASED,
            why="its request was changed before anything was sent",
            reported_run_id=SUPERSEDED,
        )
    return settled


def try_again(tx: Transaction, failed: Attempt) -> Attempt | None:
    """Queue the next purchase of a clip that was refused or whose job failed, if the decision may still buy one.

    The same request is queued again where the failure may pass, else the next fallback of the series. The transaction that
    records the failure does this, so that no reader sees the clip as failed in between.

    Returns:
        The new attempt; None if the clip has failed. If a cap or a verdict refuses the next purchase, the failed attempt's reason says so.
    """
    request = failed.request
    rows = tx.connection.execute(
        sa.select(attempts)
        .where(
            attempts.c.subject_kind == failed.subject_kind,
            attempts.c.subject_key == failed.subject_key,
            attempts.c.slot == failed.slot,
            attempts.c.decision == failed.decision,
        )
        .order_by(attempts.c.seq.desc())
    )
    following = after(failed, [Attempt.from_row(row) for row in rows], request)
    if following is None:
        return None
    if failed.finishes is not None and not waiting_finishes.is_circled(tx.connection, failed):
        refusal = "its draft is no longer circled"
    else:
        again = Decision(failed.decision, failed.batch, failed.watched_by)
        queued = queue_purchase(tx, following, again, again=True)
        if isinstance(queued, Attempt):
            return queued
        refusal = _name_purchases(tx.connection, request, failed.decision, queued)
    reason = f"{failed.reason} (not tried again: {refusal})"
    tx.connection.execute(sa.update(attempts).where(attempts.c.id == failed.id).values(reason=reason))
    return None


def _name_purchases(connection: sa.Connection, request: ClipRequest, decision: str, refusal: str) -> str:
    """Replace "Nothing was bought" in a refusal if the same decision has bought the clip before."""
    bought = connection.execute(
        sa.select(attempts.c.id)
        .where(
            attempts.c.subject_kind == request.kind,
            attempts.c.subject_key == request.clip,
            attempts.c.decision == decision,
        )
        .limit(1)
    ).first()
    return refusal if bought is None else refusal.replace("Nothing was bought", "Nothing more was bought")


def _current_take(connection: sa.Connection, request: ClipRequest) -> str | None:
    return connection.execute(_CURRENT, {"kind": request.kind, "key": request.clip}).scalar()


def _instead_of(request: ClipRequest) -> str:
    asked = request.asked
    return f", in place of {asked.endpoint} of {asked.provider}" if asked is not None else ""


def queue_purchase(
    tx: Transaction, request: ClipRequest, decision: Decision, *, again: bool
) -> Attempt | str:
    """Queue a purchase and reserve its money; returns the reason if it is refused.

    Args:
        tx: A transaction that has the lock of the request's subject.
        again: Whether it follows a failed purchase of the decision. If so, a host whose settings differ may queue it: the caps are
            the ledger's, and another host sends it.
    """
    price = request.price_micros
    if price is None:
        return unknown_price(request)
    if (retired := request.retired_at(tx.now())) is not None:
        return f"{retired}. Nothing was bought."
    stop = stops.stop_for(tx.connection, request.account_name)
    # a stop that clears by itself leaves the clip queued
    if stop is not None and not stop.kind.reopens:
        return f"{stop} Nothing was bought."
    # locked before the policy is read, so that a cap lowered meanwhile holds for this purchase or comes after it
    lock_money(tx.connection)
    policy = tx.policy.read(tx.connection)
    if policy.refusal is not None and not again:
        return policy.refusal
    day = policy.budget.day(tx.now())
    refusal = counters.reserve(
        tx.connection,
        budget.scopes(account=request.account_name, series=request.series, decision=decision.id, day=day),
        price,
        budget=policy.budget,
        request=request,
    )
    if refusal is not None:
        return refusal
    tx.connection.execute(
        sa.update(attempts)
        .where(
            attempts.c.subject_kind == request.kind,
            attempts.c.subject_key == request.clip,
            attempts.c.slot == request.slot,
            attempts.c.reported_run_id.is_(None),
        )
        .values(reported_run_id=SUPERSEDED)
    )
    return tx.add_queued(
        request,
        why=f"decision {decision.id}{_instead_of(request)}",
        id=new_attempt_id(),
        decision=decision.id,
        batch=decision.batch,
        watched_by=decision.watched_by,
        quoted_micros=price,
        counted_on=day,
        created_at=tx.now(),
    )


# What a plan reads


@dataclass(frozen=True)
class KnownPurchases:
    """The purchases of one clip that a plan reads."""

    open: tuple[Attempt, ...] = ()
    """Its open purchases, at most one in a slot."""
    current: Attempt | None = None
    """Its current take."""
    newest: Attempt | None = None
    """Its newest delivered take, if another one or none is current."""
    others: tuple[Attempt, ...] = ()
    """Every other purchase, if several takes of the clip are asked for."""

    @property
    def known(self) -> list[Attempt]:
        """All of them, newest first."""
        by_id = {a.id: a for a in (*self.open, *self.others, self.newest, self.current) if a is not None}
        return sorted(by_id.values(), key=lambda attempt: -attempt.seq)


def known_purchases(
    ledger: Ledger, keys: Sequence[str], *, several: Collection[str] = (), kind: str = "clip"
) -> dict[str, KnownPurchases]:
    """Read the purchases of each subject, by its key; subjects that were never bought are left out.

    Args:
        several: The subjects with several takes, whose purchases are all read.
    """
    opened: dict[str, list[Attempt]] = {}
    others: dict[str, list[Attempt]] = {}
    newest: dict[str, Attempt] = {}
    current: dict[str, Attempt] = {}
    states = [state.value for state in OPEN]
    with ledger.read() as connection:
        for some in chunks(keys):
            of_subjects = (attempts.c.subject_kind == kind, attempts.c.subject_key.in_(some))
            rows = connection.execute(sa.select(attempts).where(*of_subjects, attempts.c.state.in_(states)))
            for attempt in map(Attempt.from_row, rows):
                opened.setdefault(attempt.subject_key, []).append(attempt)
            rows = connection.execute(
                sa.select(attempts)
                .join(current_takes, current_takes.c.attempt_id == attempts.c.id)
                .where(current_takes.c.subject_kind == kind, current_takes.c.subject_key.in_(some))
            )
            current |= {a.subject_key: a for a in map(Attempt.from_row, rows)}
            judged = sa.union(
                sa.select(take_verdicts.c.clip).where(take_verdicts.c.clip.in_(some)),
                sa.select(waiting_clips.c.clip).where(waiting_clips.c.clip.in_(some)),
            )
            rows = connection.execute(
                sa.select(attempts)
                .where(
                    attempts.c.subject_kind == kind,
                    attempts.c.subject_key.in_(judged),
                    attempts.c.state == AttemptState.DELIVERED.value,
                )
                .order_by(attempts.c.seq)
            )
            newest |= {a.subject_key: a for a in map(Attempt.from_row, rows)}
        for some in chunks(list(several)):
            rows = connection.execute(
                sa.select(attempts).where(attempts.c.subject_kind == kind, attempts.c.subject_key.in_(some))
            )
            for attempt in map(Attempt.from_row, rows):
                others.setdefault(attempt.subject_key, []).append(attempt)
    return {
        key: KnownPurchases(
            tuple(opened.get(key, ())), current.get(key), newest.get(key), tuple(others.get(key, ()))
        )
        for key in keys
        if key in opened or key in current or key in newest or key in others
    }
