"""Failures in Dagster: one `Failure` per batch with a table of clips, and never a bare traceback.

The `Failure` allows no retry of the step, since the ledger decides for each clip whether it may be tried again.
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
    """Describe what the decision of a run has bought so far by the ledger, including earlier runs of the decision."""
    try:
        with production.ledger() as ledger:
            return str(purchases_of(ledger, decision_of(run)))
    except DailiesError:
        return "What was bought so far is not known, because the ledger cannot be read."


def clips_failed(reasons: Mapping[str, str], total: int, nouns: str, *, bought: str = "") -> dg.Failure:
    """The one failure of a batch.

    Args:
        reasons: The reason for each failed clip.
        total: How many clips the batch has.
        nouns: The verb, e.g. `failed`.
        bought: From `bought_by`, for a batch that failed before it could buy.
    """
    first = "\n".join(f"- {clip}: {reason}" for clip, reason in list(reasons.items())[:SHOWN])
    more = f"\n- and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
    table = dg.MetadataValue.table(
        records=[dg.TableRecord({"clip": clip, "reason": reason}) for clip, reason in reasons.items()],
        schema=dg.TableSchema([dg.TableColumn("clip"), dg.TableColumn("reason")]),
    )
    return dg.Failure(
        description=f"{len(reasons)} of {total} clips {nouns}:\n{first}{more}\n{bought}".rstrip(),
        metadata={"failed_clips": table},
        allow_retries=False,
    )


@contextlib.contextmanager
def explained(
    before_failing: Callable[[], None] = lambda: None, *, bought: Callable[[], str] = lambda: ""
) -> Iterator[None]:
    """Turn a `DailiesError` into a Failure that shows its text.

    Args:
        before_failing: Called before any error leaves the block, e.g. to log the green clips.
        bought: Describes what was bought so far, for a block that may buy; see `bought_by`.
    """
    try:
        yield
    except DailiesError as error:
        before_failing()
        sentence, money = str(error), bought()
        # the text of a refused purchase contains it already
        description = sentence if money in sentence else f"{sentence} {money}"
        raise dg.Failure(description=description, allow_retries=False) from None
    except Exception:
        # an unforeseen error must not turn green clips red either
        before_failing()
        raise
