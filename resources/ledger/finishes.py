"""Finishes: the one purchase that follows a circled draft, at the series' own endpoint.

One transaction circles the draft and orders its finish. If the finish cannot be bought yet (a cap, a stop, another purchase in its
slot), some process buys it later. The unique index `one_finish_per_draft` allows one purchase.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from resources.errors import DailiesError, UnavailableError
from resources.file_references import FileReference
from resources.ledger import notes, waiting_finishes
from resources.ledger.database import lock_subject
from resources.ledger.decisions import Decision, queue_purchase
from resources.ledger.ledger import Ledger
from resources.ledger.outage import repeat_unrecorded
from resources.ledger.records import CLIP, Attempt
from resources.ledger.review_tables import waiting_finishes as table
from resources.ledger.schema import attempts, jobs, submissions
from resources.ledger.states import OPEN
from resources.ledger.transaction import CONTESTED, Transaction, repeat_contested
from resources.ledger.verdicts import Judged, Verdict, is_present, is_recorded, record
from resources.ledger.waiting_finishes import WaitingFinish
from resources.money import show_usd
from resources.orders import ClipRequest

PREFIX = "finish:"
"""The prefix of the decision of every finish."""
LONGEST_DECISION = 128

logger = logging.getLogger("dailies")

Limits = Callable[[ClipRequest], ClipRequest]
"""Updates a draft's request with the series' present caps and tries, and its finish with the catalogue's present price."""


@dataclass(frozen=True)
class FinishOrdered:
    """The result of ordering the finish of a circled draft."""

    draft: Attempt
    finish: Attempt | None
    """The purchase; None while the order waits."""
    why: str | None = None
    """Why it waits."""


def as_stored(request: ClipRequest) -> ClipRequest:
    """Keep the caps and prices that were declared when the draft was bought."""
    return request


def judge_and_finish(
    ledger: Ledger,
    verdict: Verdict,
    *,
    at_most_micros: int,
    seen: int | None = None,
    limits: Limits = as_stored,
) -> tuple[Judged, FinishOrdered | None]:
    """Circle a take and, where it is a draft, order its finish, in one transaction.

    Args:
        verdict: `Word.CIRCLED`.
        at_most_micros: The price that the person agreed to, in micro-dollars, with every try and fallback. A dearer finish waits.
        seen: See `resources.ledger.verdicts.judge`.

    Raises:
        DailiesError: The take cannot be circled. Nothing was changed.
    """
    return repeat_unrecorded(
        repeat_contested, _judge_and_finish, ledger, verdict, at_most_micros, seen, limits
    )


def _judge_and_finish(
    ledger: Ledger, verdict: Verdict, at_most_micros: int, seen: int | None, limits: Limits
) -> tuple[Judged, FinishOrdered | None]:
    with ledger.transaction(who=f"person {verdict.who}"[:40], run_id=None) as tx:
        draft = tx.attempt_alone(verdict.take)
        is_known = is_recorded(tx.connection, verdict.id)
        judged = record(tx, draft, verdict, seen=seen)
        if is_known:
            # a repeated request is no new order, unless the process died between acceptance and order
            waits = _waits(tx, draft.clip)
            if (
                waits is None
                or not is_present(tx.connection, verdict.id)
                or _was_bought(tx.connection, draft.id)
            ):
                return judged, None
            if waits.decision is not None:
                return judged, FinishOrdered(draft, None, waits.reason)
        return judged, order(tx, draft.clip, at_most_micros=at_most_micros, who=verdict.who, limits=limits)


def order_finish(
    ledger: Ledger, clip: str, *, decision: str, at_most_micros: int, who: str, limits: Limits = as_stored
) -> FinishOrdered:
    """Order the finish of a draft that is circled already.

    Args:
        decision: What `next_decision` was when the person saw the price. So nothing is bought by an order that is sent twice, nor by
            one from before another draft was circled or a late finish turned up.

    Raises:
        DailiesError: No circled draft of the clip lacks a finish, or the decision is no longer the next one. Nothing was bought.
    """
    ordered = repeat_unrecorded(
        repeat_contested, _order_alone, ledger, clip, decision, at_most_micros, who, limits
    )
    if ordered is None:
        raise DailiesError(f"{clip} has no circled draft that lacks a finish. Nothing was bought.")
    return ordered


def _order_alone(
    ledger: Ledger, clip: str, decision: str, at_most_micros: int, who: str, limits: Limits
) -> FinishOrdered | None:
    with ledger.transaction(who=f"person {who}"[:40], run_id=None) as tx:
        lock_subject(tx.connection, clip)
        return order(tx, clip, at_most_micros=at_most_micros, who=who, limits=limits, decision=decision)


def order(
    tx: Transaction,
    clip: str,
    *,
    at_most_micros: int,
    who: str,
    limits: Limits = as_stored,
    decision: str | None = None,
) -> FinishOrdered | None:
    """Order the finish of a clip's circled draft, and buy it if nothing prevents that; None if no finish is missing.

    Arguments and errors as of `note_order`.
    """
    waits = note_order(tx, clip, at_most_micros=at_most_micros, who=who, decision=decision)
    return None if waits is None else _buy(tx, waits, limits)


def note_order(
    tx: Transaction, clip: str, *, at_most_micros: int, who: str, decision: str | None = None
) -> WaitingFinish | None:
    """Order the finish of a clip's circled draft, for `buy_ordered` to buy; None if no finish is missing.

    Args:
        tx: A transaction that has the lock of the clip.
        decision: What `next_decision` was when the price was shown; None if the transaction itself circles the draft.

    Raises:
        DailiesError: The decision is no longer the next one.
    """
    waits = _waits(tx, clip)
    if waits is None:
        return None
    following = next_decision(tx.connection, waits.draft.id)
    if decision not in {None, following}:
        raise DailiesError(
            f"{clip} has changed since the price of its finish was shown: another draft is circled, or a finish was bought meanwhile. "
            f"Nothing was bought. `dailies finish --show {clip}` shows the present price."
        )
    tx.connection.execute(
        sa.update(table)
        .where(table.c.clip == clip)
        .values(decision=following, at_most_micros=at_most_micros, ordered_by=who, reason=None)
    )
    (waits,) = waiting_finishes.waiting(tx.connection, clip=clip)
    return waits


def next_decision(connection: sa.Connection, draft: str) -> str:
    """The decision of a draft's next finish. It names the draft, and how many purchases and late jobs of its finishes there were before."""
    query = sa.select(sa.func.count()).where(attempts.c.finishes == draft)
    before = connection.execute(query).scalar_one()
    return f"{PREFIX}{draft}" + (f":{before + 1}" if before else "")


def has_ordered(ledger: Ledger) -> bool:
    """Whether an ordered finish was not bought yet."""
    with ledger.read() as connection:
        return (
            connection.execute(sa.select(table.c.clip).where(table.c.decision.is_not(None)).limit(1)).first()
            is not None
        )


def buy_ordered(ledger: Ledger, *, limits: Limits = as_stored, most: int = 200) -> list[FinishOrdered]:
    """Buy the ordered finishes that wait, one transaction each; safe in several processes at once.

    Args:
        most: The most finishes to buy in one call.

    Returns:
        The finishes that were bought, and those that now wait for another reason.

    Raises:
        UnavailableError: The ledger does not answer. What was bought before is kept.
    """
    with ledger.read() as connection:
        waits = [one for one in waiting_finishes.waiting(connection) if one.decision is not None]
    changed: list[FinishOrdered] = []
    finishes = 0
    for one in waits:
        # orders that cannot be bought do not count, or they would keep later orders back
        if finishes == most:
            break
        try:
            with ledger.transaction(who="engine", run_id=None) as tx:
                lock_subject(tx.connection, one.clip)
                now = _waits(tx, one.clip)
                if now is None or now.decision != one.decision:
                    continue
                bought = _buy(tx, now, limits)
        except CONTESTED:
            continue  # another process buys it
        except UnavailableError:
            raise
        except DailiesError as error:
            logger.warning("%s: its draft could not be finished: %s", one.clip, error)
            continue
        finishes += bought.finish is not None
        if bought.finish is not None or bought.why != one.reason:
            changed.append(bought)
    return changed


def _waits(tx: Transaction, clip: str) -> WaitingFinish | None:
    """The circled draft of a clip whose finish is missing.

    The list is compared with the verdicts and the finishes again: a purchase must not depend on a list that only follows them.
    """
    waiting_finishes.note(tx.connection, clip, now=tx.now())
    (waits,) = waiting_finishes.waiting(tx.connection, clip=clip) or (None,)
    return waits


def _buy(tx: Transaction, waits: WaitingFinish, limits: Limits) -> FinishOrdered:
    """Queue an ordered finish; if that is refused, the order keeps the reason."""
    draft = waits.draft
    request = finish_request(tx.connection, draft, limits)
    if isinstance(request, str):
        queued: Attempt | str = request
    elif request.ceiling_micros > (waits.at_most_micros or 0):
        queued = f"the finish costs up to {show_usd(request.ceiling_micros)} now, and {show_usd(waits.at_most_micros or 0)} was agreed to"
    elif (other := _in_the_slot(tx.connection, draft)) is not None:
        queued = f"another purchase of {draft.clip} is {other.state.value} in its slot; the finish follows it"
    elif waits.ends_at is not None and tx.now() >= waits.ends_at:
        queued = (
            f"its provider no longer keeps the draft; circle another take or `dailies retake {draft.clip}`"
        )
    else:
        batch = f"{PREFIX}{draft.batch or draft.decision}"[:LONGEST_DECISION]
        queued = queue_purchase(tx, request, Decision(waits.decision or "", batch), again=False)
    if isinstance(queued, Attempt):
        return FinishOrdered(draft, queued)
    why = queued.replace(" Nothing was bought.", "")
    if why != waits.reason:
        tx.connection.execute(sa.update(table).where(table.c.clip == waits.clip).values(reason=why))
    return FinishOrdered(draft, None, why)


def finish_request(
    connection: sa.Connection, draft: Attempt, limits: Limits = as_stored
) -> ClipRequest | str:
    """The request that finishes a draft, or the reason why it cannot be finished."""
    frame = _first_frame(draft)
    request = limits(draft.request).finishing(
        draft.id,
        draft_id=notes.draft_id(connection, draft.id),
        seed=_sent_seed(connection, draft),
        first_frame=frame,
    )
    if (
        request is None
        and frame is None
        and draft.request.finish is not None
        and draft.request.finish.first_frame
    ):
        return (
            "the finish begins with the first frame of this draft, which is not stored; circle another take"
        )
    if request is None:
        return f"{draft.account} gave this draft no id, so it cannot finish it; circle another take"
    # a finish is one take, whatever its series declares
    return request.with_takes(1)


def _first_frame(draft: Attempt) -> FileReference | None:
    """The stored first frame of a draft; None if none is stored."""
    kept = (draft.delivery or {}).get("first_frame")
    return None if kept is None else FileReference(str(kept["key"]), str(kept["sha256"]), is_in_bucket=True)


def _sent_seed(connection: sa.Connection, draft: Attempt) -> int | None:
    """The seed that was sent for a draft: its POST's own seed, or the seed of its request."""
    query = (
        sa.select(submissions.c.seed)
        .join(jobs, jobs.c.submission_id == submissions.c.id)
        .where(jobs.c.account == draft.account, jobs.c.job_id == draft.job_id)
    )
    own = connection.execute(query).scalar()
    return draft.request.sent_seed if own is None else int(own)


def _in_the_slot(connection: sa.Connection, draft: Attempt) -> Attempt | None:
    query = sa.select(attempts).where(
        attempts.c.subject_kind == CLIP,
        attempts.c.subject_key == draft.clip,
        attempts.c.slot == draft.slot,
        attempts.c.state.in_([state.value for state in OPEN]),
    )
    row = connection.execute(query).first()
    return None if row is None else Attempt.from_row(row)


def _was_bought(connection: sa.Connection, draft: str) -> bool:
    """Whether a finish of a draft was ever bought, even one that failed."""
    return (
        connection.execute(sa.select(attempts.c.id).where(attempts.c.finishes == draft).limit(1)).first()
        is not None
    )
