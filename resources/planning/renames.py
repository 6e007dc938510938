"""Clips that would be bought again only because their series was renamed."""

from collections import Counter

import sqlalchemy as sa

from resources.ledger.database import chunks
from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts
from resources.ledger.states import AttemptState
from resources.planning.plan import Plan, Verb
from resources.series import Declarations


def renamed(ledger: Ledger, plan: Plan, declarations: Declarations) -> list[str]:
    """A sentence for each series whose clips were delivered under the name of a series that is no longer declared.

    Raises:
        resources.errors.UnavailableError: The ledger does not answer.
    """
    new_series = {
        one.request.fingerprint: one.series for one in plan.clips if one.verb is Verb.BUY and one.request
    }
    matches: Counter[tuple[str, str]] = Counter()
    with ledger.read() as connection:
        for some in chunks(list(new_series)):
            query = (
                sa.select(attempts.c.fingerprint, attempts.c.series)
                .where(
                    attempts.c.fingerprint.in_(some),
                    attempts.c.subject_kind == "clip",
                    attempts.c.state == AttemptState.DELIVERED.value,
                )
                .distinct()
            )
            for fingerprint, series in connection.execute(query):
                if series not in declarations.series:
                    matches[new_series[fingerprint], series] += 1
    return [
        f"{number} of the clips of {new} were delivered as clips of {old}, which is no longer declared. If it was renamed, write "
        f"`keys: {old}` into {declarations.series[new].document.file}: then nothing is bought again (`dailies rename` does so)"
        for (new, old), number in matches.items()
    ]
