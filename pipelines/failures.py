"""How failures reach a person in Dagster: one `Failure` per batch with a table of clips, and never a bare traceback.

Dagster's own retries are told that repeating the step is no help: what may be tried again is decided in the ledger, per
clip, and a step that is repeated adopts what it finds there.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping

import dagster as dg

from pipelines.clip_batch import decision_of
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.ledger.purchases import purchases_of

SHOWN = 20


def bought_by(production: Production, run: dg.DagsterRun) -> str:
    """What the decision of a run has bought so far, as the ledger knows it: a re-executed run has bought before it failed."""
    try:
        with production.ledger() as ledger:
            return str(purchases_of(ledger, decision_of(run)))
    except DailiesError:
        return "What was bought so far is not known, since the ledger cannot be read."


def clips_failed(reasons: Mapping[str, str], total: int, what: str, *, bought: str = "") -> dg.Failure:
    """The one failure of a batch.

    Args:
        reasons: Why, by clip.
        total: How many clips the batch has.
        what: What they failed to do, e.g. `failed`.
        bought: What was bought all the same, from `bought_by`; for a batch that failed before it could buy.
    """
    first = "\n".join(f"- {clip}: {reason}" for clip, reason in list(reasons.items())[:SHOWN])
    more = f"\n- and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
    table = dg.MetadataValue.table(
        records=[dg.TableRecord({"clip": clip, "reason": reason}) for clip, reason in reasons.items()],
        schema=dg.TableSchema([dg.TableColumn("clip"), dg.TableColumn("reason")]),
    )
    return dg.Failure(
        description=f"{len(reasons)} of {total} clips {what}:\n{first}{more}\n{bought}".rstrip(),
        metadata={"failed_clips": table},
        allow_retries=False,
    )


@contextlib.contextmanager
def explained(
    before_failing: Callable[[], None] = lambda: None, *, bought: Callable[[], str] = lambda: ""
) -> Iterator[None]:
    """Turn an error that is meant for people into a Failure that shows its sentence.

    Args:
        before_failing: Called before an error leaves the block, whoever raises it: the last moment to say what is well.
        bought: Says what was bought by then, for a block that may buy; see `bought_by`.
    """
    try:
        yield
    except DailiesError as error:
        before_failing()
        raise dg.Failure(description=f"{error} {bought()}".rstrip(), allow_retries=False) from None
    except Exception:
        # also an error nobody foresaw must not turn red what is green
        before_failing()
        raise
