"""The review policy of a series: it gives a verdict on takes that nobody judges in time, once after each delivery."""

import logging
from collections.abc import Sequence

import sqlalchemy as sa

from resources.errors import DailiesError, UnavailableError
from resources.ledger import finishes, waiting_clips
from resources.ledger.current_takes import DeliveredTake, delivered_takes, waiting
from resources.ledger.database import lock_subject
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.review_tables import waiting_clips as table
from resources.ledger.schema import verdicts
from resources.ledger.transaction import Transaction
from resources.ledger.verdicts import RecordedVerdict, Verdict, VerdictWay, Word, record, stored_finish
from resources.orders import Otherwise

WHO = "review policy"

logger = logging.getLogger("dailies")


def decide_due(ledger: Ledger) -> list[RecordedVerdict]:
    """Decide the clips that nobody judged in time, one transaction each; safe in several processes at once.

    A clip that cannot be decided is logged, and does not stop the others. A finish is only ordered; `finishes.buy_ordered` buys it.

    Raises:
        UnavailableError: The ledger does not answer. Earlier verdicts are kept.
    """
    decided: list[RecordedVerdict] = []
    for clip in waiting_clips.due(ledger):
        try:
            one = _decide(ledger, clip)
        except UnavailableError:
            raise
        except DailiesError as error:
            logger.warning("%s: its series' review policy could not decide: %s", clip, error)
        else:
            decided += [] if one is None else [one]
    return decided


def _decide(ledger: Ledger, clip: str) -> RecordedVerdict | None:
    """Decide one clip; None if a person or another process was faster."""
    with ledger.transaction(who=WHO, run_id=None) as tx:
        lock_subject(tx.connection, clip)
        due = sa.select(table.c.attempt_id).where(table.c.clip == clip, table.c.decide_at <= tx.now())
        newest = tx.connection.execute(due).scalar()
        if newest is None:
            return None
        attempt = tx.attempt(newest)
        takes = waiting(delivered_takes(tx.connection, attempt))
        policy = attempt.request.review
        chosen = _choose(tx, policy.otherwise, _not_taken_back(tx.connection, clip, takes))
        hours = (policy.within_seconds or 0) / 3_600
        verdict = Verdict(
            # made of the newest take, so that a rebuilt ledger recognises it
            id=f"policy-{newest}",
            take=(chosen or attempt).id,
            word=Word.CIRCLED if chosen is not None else Word.NOTED,
            who=WHO,
            way=VerdictWay.POLICY,
            note=f"nobody judged it within {hours:g} hours; otherwise: {policy.otherwise}",
        )
        recorded = record(tx, chosen or attempt, verdict).recorded
        if chosen is not None and (finish := chosen.request.planned_finish) is not None:
            # the series agreed to this price by declaring its policy; the present price may differ
            finishes.note_order(tx, clip, at_most_micros=finish.ceiling_micros, who=WHO)
        return recorded


def _choose(tx: Transaction, otherwise: Otherwise, takes: Sequence[DeliveredTake]) -> Attempt | None:
    found = [tx.attempt(take.id) for take in takes]
    candidates = [take for take in found if stored_finish(tx.connection, take) is None]
    match otherwise:
        case Otherwise.NEWEST if candidates:
            return candidates[-1]
        case Otherwise.BEST_CHECKS if candidates:
            return min(reversed(candidates), key=_faults)
        case _:
            return None


def _faults(take: Attempt) -> tuple[int, int]:
    """The numbers of failed checks and of warnings."""
    outcomes = list(((take.delivery or {}).get("checks") or {}).values())
    return outcomes.count("failed"), outcomes.count("warned")


def _not_taken_back(
    connection: sa.Connection, clip: str, takes: Sequence[DeliveredTake]
) -> list[DeliveredTake]:
    """The takes without those that the policy circled before, since a person took them back."""
    query = sa.select(verdicts.c.attempt_id).where(
        verdicts.c.clip == clip,
        verdicts.c.way == waiting_clips.POLICY_WAY,
        verdicts.c.word == Word.CIRCLED.value,
    )
    circled = set(connection.execute(query).scalars())
    return [take for take in takes if take.id not in circled]
