"""`dailies doctor --bucket`: the features of S3 that the bucket's server supports, tried on small objects."""

from typing import Any

from rich.text import Text

from pipelines.cli.bucket import bucket_of
from pipelines.cli.terminal import complain, counted, print_table, table_of, tell
from resources.production.bucket_mark import try_and_keep
from resources.settings import Settings, open_ledger
from resources.storage.trial import BucketTrial, Support

STYLES = {Support.SUPPORTED: "green", Support.WITHOUT: "yellow", Support.MISSING: "red"}


def examine_bucket(settings: Settings) -> tuple[str, BucketTrial]:
    """Try the bucket as the first purchase would, and record the result.

    Returns:
        The bucket and its address, for a person; the result of the trial.

    Raises:
        DailiesError: No bucket is set, it does not answer, or the ledger does not.
    """
    with open_ledger(settings) as ledger, bucket_of(settings) as bucket:
        store = bucket.store
        return store.place, try_and_keep(ledger, store)


def show_bucket(place: str, trial: BucketTrial) -> None:
    """Print the result of a trial for a person."""
    tell(place)
    table = table_of("feature", "result", "how, or why", wraps={"feature", "how, or why"})
    for row in trial.features:
        table.add_row(row.name, Text(row.support.value, style=STYLES[row.support]), Text(row.note))
    print_table(table)
    if trial.missing:
        complain(f"{counted(len(trial.missing), 'feature')} missing; nothing is bought. See docs/storage.md")


def bucket_document(place: str, trial: BucketTrial) -> dict[str, Any]:
    """The result of a trial as JSON."""
    return {
        "bucket": place,
        "fits": not trial.missing,
        "features": [
            {"feature": row.name, "result": row.support.value, "note": row.note} for row in trial.features
        ],
    }
