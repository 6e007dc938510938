"""Whether a clip is bought, adopted, reused or refused: the question that is asked before any money moves.

Every purchase belongs to a decision. What a decision already has is found here and never bought again, whoever asks:
a retry, a restarted worker, a second backfill, another machine.
"""

import uuid
from collections.abc import Iterable

import sqlalchemy as sa

from resources.ledger import budget, decision_clips, heartbeats, stops
from resources.ledger.database import lock_subject
from resources.ledger.ledger import Ledger, StaleAttemptError
from resources.ledger.records import Attempt
from resources.ledger.rules import Decided, Ruling, after, is_outdated, ruling_of, unknown_price
from resources.ledger.schema import attempts, current_takes
from resources.ledger.states import AttemptState, MoneyState
from resources.orders import ClipRequest

__all__ = ["SUPERSEDED", "Decided", "Ruling", "decide", "try_again"]

SUPERSEDED = "superseded"
"""Stands in `reported_run_id` of an attempt that a newer one has replaced before anybody reported it."""

TRIES = 3


def decide(
    ledger: Ledger,
    requests: Iterable[ClipRequest],
    *,
    decision: str,
    batch: str | None = None,
    watched_by: str | None = None,
    run_id: str | None = None,
    regenerate: bool = False,
) -> list[Decided]:
    """Find or queue the purchase of every clip, in one transaction each.

    Args:
        ledger: The record.
        requests: The clips to have.
        decision: A person's, schedule's or command's word to produce.
        batch: The run that asks; what is collected together.
        watched_by: The run that will wait and report, None when it will leave.
        run_id: For the journal.
        regenerate: Whether a delivered video of the same request is to be made again as another take.

    Raises:
        UnavailableError: The ledger cannot be written; what was decided before stands and will be adopted.
        RunLostError: The run was given up; it decides nothing more.
    """
    return [
        _decide_one(
            ledger,
            request,
            decision=decision,
            batch=batch,
            watched_by=watched_by,
            run_id=run_id,
            regenerate=regenerate,
        )
        for request in requests
    ]


_OF_SUBJECT = (
    sa.select(attempts)
    .where(attempts.c.subject_kind == sa.bindparam("kind"), attempts.c.subject_key == sa.bindparam("key"))
    .order_by(attempts.c.seq.desc())
)
_CURRENT = sa.select(current_takes.c.attempt_id).where(
    current_takes.c.subject_kind == sa.bindparam("kind"), current_takes.c.subject_key == sa.bindparam("key")
)


def _decide_one(
    ledger: Ledger,
    request: ClipRequest,
    *,
    decision: str,
    batch: str | None,
    watched_by: str | None,
    run_id: str | None,
    regenerate: bool,
) -> Decided:
    for tried in range(TRIES):
        try:
            with ledger.write() as connection:
                heartbeats.require(connection, run_id)
                lock_subject(connection, request.clip)
                foreign = decision_clips.refusal(connection, decision, request.clip)
                if foreign is not None:
                    return Decided(request, Ruling.REFUSED, None, foreign)
                settled = _find(
                    ledger, connection, request, decision=decision, run_id=run_id, regenerate=regenerate
                )
                if settled.ruling is Ruling.NEW:
                    queued = _queue(
                        ledger,
                        connection,
                        settled.request,
                        decision=decision,
                        batch=batch,
                        watched_by=watched_by,
                        run_id=run_id,
                    )
                    if isinstance(queued, str):
                        said = _of_money(connection, request, decision, queued)
                        return Decided(request, Ruling.REFUSED, None, said)
                    return Decided(request, Ruling.NEW, queued)
                if (
                    settled.ruling is Ruling.ADOPTED
                    and settled.attempt is not None
                    and watched_by is not None
                ):
                    connection.execute(
                        sa.update(attempts)
                        .where(attempts.c.id == settled.attempt.id)
                        .values(watched_by=watched_by)
                    )
                return settled
        except (sa.exc.IntegrityError, StaleAttemptError):
            # another process queued or sent the same clip between our look and our write; look again and adopt it
            if tried == TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _find(
    ledger: Ledger,
    connection: sa.Connection,
    request: ClipRequest,
    *,
    decision: str,
    run_id: str | None,
    regenerate: bool,
) -> Decided:
    """What the ledger already has for this clip, or what is to be bought."""
    rows = connection.execute(_OF_SUBJECT, {"kind": request.kind, "key": request.clip})
    known = [Attempt.from_row(row) for row in rows]
    outdated = next((a for a in known if is_outdated(request, a)), None)
    if outdated is not None:
        ledger.transition(
            connection,
            outdated,
            AttemptState.WITHDRAWN,
            money=MoneyState.RELEASED,
            who="engine",
            why="its request was changed before anything was sent",
            run_id=run_id,
            reported_run_id=SUPERSEDED,
        )
        known.remove(outdated)
    current = _current_take(connection, request)
    return ruling_of(request, known, current, decision=decision, regenerate=regenerate)


def try_again(
    ledger: Ledger, connection: sa.Connection, failed: Attempt, *, run_id: str | None
) -> Attempt | None:
    """Queue the next purchase of a clip that was refused or whose job failed, if its decision may still make one.

    The same once more where the failure may pass, or else the next fallback of its series. It happens in the
    transaction that records the failure, so that nobody sees a clip given up that is not.

    Returns:
        The new attempt, None when the failure stands; where money is what it wants for, its reason says so.
    """
    request = failed.request
    rows = connection.execute(
        sa.select(attempts)
        .where(
            attempts.c.subject_kind == failed.subject_kind,
            attempts.c.subject_key == failed.subject_key,
            attempts.c.decision == failed.decision,
        )
        .order_by(attempts.c.seq.desc())
    )
    following = after(failed, [Attempt.from_row(row) for row in rows], request)
    if following is None:
        return None
    queued = _queue(
        ledger,
        connection,
        following,
        decision=failed.decision,
        batch=failed.batch,
        watched_by=failed.watched_by,
        run_id=run_id,
    )
    if isinstance(queued, Attempt):
        return queued
    said = _of_money(connection, request, failed.decision, queued)
    reason = f"{failed.reason} (not tried again: {said})"
    connection.execute(sa.update(attempts).where(attempts.c.id == failed.id).values(reason=reason))
    return None


def _of_money(connection: sa.Connection, request: ClipRequest, decision: str, refusal: str) -> str:
    """A refusal whose sentence about money holds: a clip that failed before has been bought before by the same decision."""
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


def _queue(
    ledger: Ledger,
    connection: sa.Connection,
    request: ClipRequest,
    *,
    decision: str,
    batch: str | None,
    watched_by: str | None,
    run_id: str | None,
) -> Attempt | str:
    """Queue a purchase and reserve its money; or say why not."""
    price = request.price_micros
    if price is None:
        return unknown_price(request)
    if (retired := request.retired_at(ledger.clock())) is not None:
        return f"{retired}. Nothing was bought."
    stop = stops.standing(connection, request.provider)
    # what reopens by itself only has the clip wait in the queue
    if stop is not None and not stop.kind.reopens:
        return f"{stop} Nothing was bought."
    day = ledger.budget.day(ledger.clock())
    refusal = budget.reserve(
        connection,
        budget.scopes(account=request.provider, series=request.series, decision=decision, day=day),
        price,
        budget=ledger.budget,
        series=request.caps,
    )
    if refusal is not None:
        return refusal
    connection.execute(
        sa.update(attempts)
        .where(
            attempts.c.subject_kind == request.kind,
            attempts.c.subject_key == request.clip,
            attempts.c.reported_run_id.is_(None),
        )
        .values(reported_run_id=SUPERSEDED)
    )
    attempt_id = uuid.uuid4().hex
    connection.execute(
        sa.insert(attempts).values(
            id=attempt_id,
            subject_kind=request.kind,
            subject_key=request.clip,
            series=request.series,
            fingerprint=request.fingerprint,
            provider=request.provider,
            account=request.provider,
            endpoint=request.endpoint,
            request=request.model_dump(mode="json"),
            decision=decision,
            batch=batch,
            watched_by=watched_by,
            state=AttemptState.QUEUED.value,
            version=1,
            money_state=MoneyState.RESERVED.value,
            quoted_micros=price,
            counted_on=day,
            created_at=ledger.clock(),
        )
    )
    attempt = ledger.require(connection, attempt_id)
    ledger.journalize(
        connection,
        attempt,
        version=1,
        to=AttemptState.QUEUED,
        money=None,
        who="engine",
        why=f"decision {decision}{_instead_of(request)}",
        run_id=run_id,
        created=True,
    )
    return attempt
