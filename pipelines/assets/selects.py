"""The asset `selects`: the clips with a circled take, for downstream assets that use chosen clips only.

The sensor `gallery_pages` logs a clip here when its take is circled, and removes it when the circle is taken back. No run is
needed; a run logs the selects of its clips again.
"""

from collections.abc import Iterator

import dagster as dg

from pipelines.failures import explained
from pipelines.lineage import CODE_VERSIONS, PROMPTS, SELECTS, UPLOADED_VIDEOS, ShownEvents
from pipelines.partitions import CLIPS_PER_RUN, clips
from pipelines.select_events import select_event
from resources.dagster_names import dagster_names
from resources.dagster_resources import Production
from resources.ledger.selects import selects_of

DESCRIPTION = """
The clips whose take somebody has circled, with the take, who, why and cost. A clip appears here when its take is circled, and is
taken away when the circle is taken back. It is stale if the clip's prompt has changed, or if there is a newer take.
"""


@dg.multi_asset(
    name="choose",
    specs=[
        dg.AssetSpec(
            SELECTS,
            deps=[PROMPTS, UPLOADED_VIDEOS],
            description=DESCRIPTION,
            partitions_def=clips,
            skippable=True,
            group_name=dagster_names().asset_group,
            kinds={"s3", "mp4"},
            owners=["team:video"],
            code_version=CODE_VERSIONS[SELECTS],
            tags={"dailies/stage": "choose"},
        )
    ],
    backfill_policy=dg.BackfillPolicy.multi_run(CLIPS_PER_RUN),
)
def choose(context: dg.AssetExecutionContext, production: Production) -> Iterator[dg.MaterializeResult[None]]:
    """Log the selects of the run's clips. It circles nothing and costs nothing."""
    keys = context.partition_keys
    with explained(), production.showing_life(context.run.run_id), production.ledger() as ledger:
        shown = ShownEvents(context.instance, keys)
        for select in selects_of(ledger, keys).values():
            context.log_event(select_event(shown, select))
    # a result would turn every clip of the range green in Dagster
    yield from ()
