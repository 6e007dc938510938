"""Deliveries of finished generations: their claims, their ends, the current take, and the ends that Dagster has seen.

A paid output is always fetched: a failed delivery is repeated as a download, never as a generation.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from resources.errors import DailiesError
from resources.ledger import verdicts
from resources.ledger.current_takes import make_current
from resources.ledger.ends import LATE_SECONDS, NOTHING_SEEN, sighting
from resources.ledger.ledger import Ledger
from resources.ledger.notes import forget_repeated
from resources.ledger.records import KEPT_SECONDS, SPARE, Attempt
from resources.ledger.schema import IS_NEWEST, NOT_DELIVERED, attempts
from resources.ledger.states import OPEN, AttemptState
from resources.ledger.times import is_past
from resources.ledger.verdicts import Verdict
from resources.providers.base import FailureKind

LEASE_SECONDS = 60
"""The lease of a claimed delivery. After a worker dies, its delivery waits this long."""


@dataclass(frozen=True)
class DeliveryClaim:
    """A claimed delivery."""

    attempt: Attempt
    is_first: bool
    """Nobody has claimed it before, so no worker has stored anything of it."""


def claim(ledger: Ledger, attempt_id: str, *, token: str) -> DeliveryClaim | None:
    """Claim the delivery of a finished generation; None if another worker has claimed it or it is not to be delivered.

    Args:
        token: Names this claim; `renew` and `release` need the same one.
    """
    with ledger.transaction(who="engine", run_id=None) as tx:
        now = tx.now()
        to_deliver = (
            sa.update(attempts)
            .where(attempts.c.id == attempt_id, attempts.c.state == AttemptState.SUCCEEDED.value)
            .values(delivery_owner=token, delivery_until=now + LEASE_SECONDS)
        )
        # A worker that died has left its name, and one that failed its reason.
        never = to_deliver.where(attempts.c.delivery_owner.is_(None), attempts.c.reason.is_(None))
        is_free = sa.or_(
            attempts.c.delivery_until.is_(None),
            is_past(attempts.c.delivery_until, now, within=LEASE_SECONDS),
        )
        is_first = tx.connection.execute(never).rowcount == 1
        if not is_first and tx.connection.execute(to_deliver.where(is_free)).rowcount != 1:
            return None
        return DeliveryClaim(tx.attempt(attempt_id), is_first)


def renew(ledger: Ledger, attempt_id: str, *, token: str) -> bool:
    """Renew the lease of a claimed delivery; False when the claim is lost."""
    with ledger.write() as connection:
        renewed = connection.execute(
            sa.update(attempts)
            .where(
                attempts.c.id == attempt_id,
                attempts.c.delivery_owner == token,
                attempts.c.state == AttemptState.SUCCEEDED.value,
            )
            .values(delivery_until=ledger.clock() + LEASE_SECONDS)
        )
        return renewed.rowcount == 1


def release(ledger: Ledger, attempt_id: str, *, token: str, why: str) -> None:
    """Release a failed delivery, which can be claimed again at once, and keep the reason for a person."""
    with ledger.write() as connection:
        connection.execute(
            sa.update(attempts)
            .where(
                attempts.c.id == attempt_id,
                attempts.c.delivery_owner == token,
                attempts.c.state == AttemptState.SUCCEEDED.value,
            )
            .values(delivery_owner=None, delivery_until=None, reason=why)
        )


def failed_deliveries(ledger: Ledger) -> list[str]:
    """Why finished generations could not be fetched, oldest purchase first; those that a worker fetches now are left out."""
    with ledger.read() as connection:
        now = ledger.clock()
        return list(
            connection.execute(
                sa.select(attempts.c.reason)
                .where(
                    NOT_DELIVERED,
                    attempts.c.state == AttemptState.SUCCEEDED.value,
                    attempts.c.reason.is_not(None),
                    sa.or_(
                        attempts.c.delivery_until.is_(None),
                        is_past(attempts.c.delivery_until, now, within=LEASE_SECONDS),
                    ),
                )
                .order_by(attempts.c.seq)
            ).scalars()
        )


def record_delivered(
    ledger: Ledger, attempt_id: str, delivery: dict[str, Any], *, run_id: str | None = None
) -> Attempt:
    """Record that the video and its manifest are in the bucket, and choose the clip's current take again."""
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        attempt = tx.attempt_alone(attempt_id)
        if attempt.state is not AttemptState.SUCCEEDED:
            return attempt
        now = tx.now()
        attempt = tx.transition(
            attempt,
            AttemptState.DELIVERED,
            why="in the bucket",
            delivered_at=now,
            delivery=delivery,
            reason=None,
            reason_kind=None,
            delivery_owner=None,
            delivery_until=None,
        )
        forget_repeated(tx.connection, attempt_id, delivery)
        verdicts.pass_circle_on(tx, attempt)
        make_current(tx.connection, attempt, since=now)
        return attempt


def record_quarantined(
    ledger: Ledger, attempt_id: str, delivery: dict[str, Any], *, why: str, run_id: str | None = None
) -> Attempt:
    """Record that the fetched file failed a check and is in quarantine."""
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        attempt = tx.attempt(attempt_id)
        if attempt.state is not AttemptState.SUCCEEDED:
            return attempt
        return tx.transition(
            attempt,
            AttemptState.QUARANTINED,
            why=why,
            delivery=delivery,
            reason=why,
            reason_kind=FailureKind.CHECK.value,
            delivery_owner=None,
            delivery_until=None,
        )


def record_accepted(ledger: Ledger, attempt_id: str, delivery: dict[str, Any], verdict: Verdict) -> Attempt:
    """Record that a person accepts a take that failed a check, and that the bucket holds it as a video.

    The take is circled unless it is spare. It is reported to Dagster again if it is the newest of its slot.

    Args:
        delivery: The stored objects, as in `record_delivered`.
        verdict: The person's verdict; its note is the reason.

    Raises:
        DailiesError: The take is not in quarantine.
    """
    with ledger.transaction(who=f"person {verdict.who}"[:40], run_id=None) as tx:
        attempt = tx.attempt_alone(attempt_id)
        if attempt.state is AttemptState.DELIVERED:
            return attempt
        if attempt.state is not AttemptState.QUARANTINED:
            raise DailiesError(
                f"{attempt.clip} is {attempt.state}: only a take in quarantine can be accepted"
            )
        newest = tx.connection.execute(
            sa.select(sa.func.max(attempts.c.seq)).where(
                attempts.c.subject_kind == attempt.subject_kind,
                attempts.c.subject_key == attempt.subject_key,
                attempts.c.slot == attempt.slot,
            )
        ).scalar()
        unreported_again = {"reported_run_id": None, "watched_by": None} if newest == attempt.seq else {}
        attempt = tx.transition(
            attempt,
            AttemptState.DELIVERED,
            why=f"accepted by {verdict.who}" + (f": {verdict.note}" if verdict.note else ""),
            delivered_at=tx.now(),
            delivery=delivery,
            reason=None,
            reason_kind=None,
            **unreported_again,
        )
        forget_repeated(tx.connection, attempt_id, delivery)
        if not attempt.is_spare:
            verdicts.record(tx, attempt, verdict)
        return tx.attempt(attempt_id)


def in_quarantine(ledger: Ledger, *, clip: str | None = None) -> list[Attempt]:
    """The takes that failed a check and wait for a person, oldest first.

    Args:
        clip: Selects all takes of this clip, also replaced and spare ones; None selects the newest takes of all clips.
    """
    query = sa.select(attempts).where(attempts.c.state == AttemptState.QUARANTINED.value, NOT_DELIVERED)
    if clip is not None:
        of_the_clip = sa.or_(attempts.c.subject_key == clip, attempts.c.subject_key.startswith(f"{clip}~"))
        query = query.where(of_the_clip)
    else:
        query = query.where(IS_NEWEST)
    with ledger.read() as connection:
        return [Attempt.from_row(row) for row in connection.execute(query.order_by(attempts.c.seq))]


def record_missing_output(ledger: Ledger, attempt_id: str, *, why: str, run_id: str | None = None) -> Attempt:
    """Record that the output of a finished generation seems to be gone. After minutes of such sightings, it counts as lost.

    Args:
        why: The provider's answer, for a person.

    Returns:
        The attempt afterwards; still `succeeded` if it is to be fetched again.
    """
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        attempt = tx.attempt(attempt_id)
        if attempt.state is not AttemptState.SUCCEEDED:
            return attempt
        sighted = sighting(attempt, FailureKind.GONE, why, explained=False, now=tx.now())
        if not sighted.believed:
            tx.connection.execute(
                sa.update(attempts).where(attempts.c.id == attempt_id).values(**sighted.columns)
            )
            return tx.attempt(attempt_id)
    return record_lost(ledger, attempt_id, why=why, run_id=run_id)


def record_lost(ledger: Ledger, attempt_id: str, *, why: str, run_id: str | None = None) -> Attempt:
    """Record that a finished generation can no longer be fetched. It was charged, so its money stays confirmed.

    Its job is still polled, ever more rarely; see `late_jobs.py`.
    """
    with ledger.transaction(who="engine", run_id=run_id) as tx:
        attempt = tx.attempt_alone(attempt_id)
        if attempt.state is not AttemptState.SUCCEEDED:
            return attempt
        return tx.transition(
            attempt,
            AttemptState.LOST,
            why=why,
            reason=why,
            reason_kind=FailureKind.GONE.value,
            late_at=tx.now() + LATE_SECONDS,
            delivery_owner=None,
            delivery_until=None,
            **NOTHING_SEEN,
        )


def update_outputs(ledger: Ledger, attempt_id: str, outputs: list[str]) -> None:
    """Keep fresh addresses of a finished generation whose old ones have expired.

    A fresh address also proves that the output is not gone, unless the provider's retention time is over; after that, only the file
    itself proves it.
    """
    mine = (attempts.c.id == attempt_id, attempts.c.state == AttemptState.SUCCEEDED.value)
    kept_until = sa.func.coalesce(
        attempts.c.copy_deadline,
        sa.func.coalesce(attempts.c.finished_at, attempts.c.created_at) + KEPT_SECONDS,
    )
    with ledger.write() as connection:
        connection.execute(sa.update(attempts).where(*mine).values(outputs=outputs))
        connection.execute(
            sa.update(attempts).where(*mine, kept_until > ledger.clock()).values(**NOTHING_SEEN)
        )


def mark_reported(ledger: Ledger, attempt_ids: Collection[str], run_id: str) -> None:
    """Record that a run has reported to Dagster how these attempts ended."""
    with ledger.write() as connection:
        mine = sa.select(attempts.c.id).where(attempts.c.id.in_(list(attempt_ids)))
        # every writer locks rows in one order, which prevents deadlocks
        connection.execute(mine.order_by(attempts.c.id).with_for_update()).all()
        connection.execute(
            sa.update(attempts)
            .where(attempts.c.id.in_(list(attempt_ids)))
            .values(reported_run_id=run_id, reported_at=ledger.clock())
        )


_UNREPORTED = (
    sa.select(attempts)
    .where(
        attempts.c.account == sa.bindparam("account"),
        attempts.c.reported_run_id.is_(None),
        sa.or_(attempts.c.subject_kind != SPARE, attempts.c.state.in_([state.value for state in OPEN])),
    )
    .order_by(attempts.c.seq)
)


def unreported(ledger: Ledger, account: str) -> list[Attempt]:
    """Attempts of an account whose end was not reported to Dagster, and open ones, oldest first.

    Spare takes are never reported to Dagster; of them, only open ones are here.
    """
    with ledger.read() as connection:
        return [Attempt.from_row(row) for row in connection.execute(_UNREPORTED, {"account": account})]


def has_unreported(ledger: Ledger, account: str) -> bool:
    """Whether `unreported` has any."""
    with ledger.read() as connection:
        query = _UNREPORTED.with_only_columns(attempts.c.id).order_by(None).limit(1)
        return connection.execute(query, {"account": account}).first() is not None


_FINISHED_SPARES = (
    sa.select(attempts)
    .where(attempts.c.subject_kind == SPARE, attempts.c.state == AttemptState.SUCCEEDED.value, NOT_DELIVERED)
    .order_by(attempts.c.seq)
)


def spares_to_fetch(ledger: Ledger, clips: Collection[str]) -> list[Attempt]:
    """The finished spare takes of some clips that are not in the bucket yet, oldest first."""
    keys = set(clips)
    with ledger.read() as connection:
        rows = connection.execute(_FINISHED_SPARES)
        return [attempt for attempt in map(Attempt.from_row, rows) if attempt.clip in keys]
