"""Writing down a purchase that was made already, whatever the caps say: found in the bucket, in the bucket's mark, or late."""

from typing import Any

import sqlalchemy as sa

from resources.ledger import budget
from resources.ledger.ledger import Ledger
from resources.ledger.records import CLIP, Attempt
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState, MoneyState
from resources.orders import ClipRequest


def write_down(
    ledger: Ledger,
    connection: sa.Connection,
    request: ClipRequest,
    *,
    state: AttemptState,
    money: MoneyState,
    who: str,
    why: str,
    values: dict[str, Any],
    kind: str = CLIP,
    subject: str | None = None,
    run_id: str | None = None,
) -> Attempt:
    """Add an attempt in the state it is found in. Its money counts from now on; caps give way, since it is spent.

    Args:
        ledger: The record.
        connection: The transaction, which has locked the subject.
        request: What was ordered.
        state: Where it stands.
        money: Where its money stands.
        who: The part of dailies that found it.
        why: One sentence for a person.
        values: Further columns; `id`, `account`, `fingerprint`, `decision`, `quoted_micros`, `counted_on` and `created_at`
            among them.
        kind: Of the subject.
        subject: The subject's key, None for the request's clip.
        run_id: For the journal.
    """
    connection.execute(
        sa.insert(attempts).values(
            subject_kind=kind,
            subject_key=subject or request.clip,
            series=request.series,
            provider=request.provider,
            endpoint=request.endpoint,
            request=request.model_dump(mode="json"),
            state=state.value,
            version=1,
            money_state=money.value,
            **values,
        )
    )
    attempt = ledger.require(connection, values["id"])
    budget.count(connection, attempt)
    ledger.journalize(
        connection,
        attempt,
        version=1,
        to=state,
        money=None,
        who=who,
        why=why,
        run_id=run_id,
        created=True,
    )
    return attempt
