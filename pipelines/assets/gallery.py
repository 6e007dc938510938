"""The asset `gallery`: static pages in the bucket that show every clip. It has no partitions."""

from typing import Any

import dagster as dg

from pipelines.failures import explained
from pipelines.lineage import UPLOADED_VIDEOS, our_asset
from resources.dagster_names import dagster_names
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.gallery.pages import look
from resources.gallery.writer import Written, write_gallery
from resources.ledger.ledger import Ledger
from resources.production.verdict_objects import store_verdicts
from resources.storage.objects import ObjectStore

GALLERY = our_asset("gallery")

DESCRIPTION = """
Static pages in the bucket, one for all clips and one for each series. They show each clip's poster (click to play), state,
prompt, requested and served model, cost and checks, and plots of money, time and failures. A sensor keeps them up to date;
materialize this asset to write all of them again. `dailies gallery --open` shows them.
"""


@dg.asset(
    key=GALLERY,
    deps=[UPLOADED_VIDEOS],
    description=DESCRIPTION,
    group_name=dagster_names().asset_group,
    kinds={"s3", "html"},
    owners=["team:video"],
    code_version="1",
    tags={"dailies/stage": "show"},
)
def gallery(context: dg.AssetExecutionContext, production: Production) -> dg.MaterializeResult[None]:
    """Write every page."""
    with explained(), production.showing_life(context.run.run_id), production.ledger() as ledger:
        store = production.bound_store(ledger)
        written = write_pages(production, ledger, store)
        context.log.info("%d pages in %s", len(written.changed), store.uri(written.index))
        return dg.MaterializeResult(metadata=metadata_of(written, store))


def write_pages(
    production: Production, ledger: Ledger, store: ObjectStore, known: dict[str, str] | None = None
) -> Written:
    """Write the pages that differ from the known ones, and the verdicts that the bucket does not hold yet.

    Raises:
        DailiesError: The ledger or the bucket does not answer.
    """
    store_verdicts(ledger, store)
    dagster = production.settings().dagster_url
    return write_gallery(ledger, store, dagster=dagster, titles=titles_of(production), known=known)


def titles_of(production: Production) -> dict[str, str]:
    """The titles of the series. A mistake in the data folder costs only the titles."""
    try:
        return {name: series.title for name, series in production.declarations().series.items()}
    except DailiesError:
        return {}


def metadata_of(written: Written, store: ObjectStore) -> dict[str, Any]:
    """The gallery's metadata in Dagster."""
    return {
        "index": store.uri(written.index),
        "clips": written.clips,
        "pages": len(written.digests),
        "pages_written": len(written.changed),
        "size_bytes": written.size,
        "look": look(),
        "open": dg.MetadataValue.md("`dailies gallery --open`"),
    }
