"""The asset `prompts`: every clip's request, rendered and validated before any money moves."""

from collections.abc import Iterator

import dagster as dg

from pipelines.failing import clips_failed, explained
from pipelines.lineage import CHARACTERS, CODE_VERSIONS, PROMPTS
from pipelines.partitions import CLIPS_PER_RUN, clips, clips_of_run
from pipelines.rendering import Rendered, prompt_event, render, show_prompts_again, write_prompt
from pipelines.reporting import show_again
from resources.dagster_resources import Production

DESCRIPTION = """
The request of each clip as it will be sent: the rendered prompt and every parameter, checked against the endpoint's
rules, with its price. Written to the bucket as `prompts/{clip}/{fingerprint}.json`. Costs nothing.

A batch with one bad prompt is refused as a whole, so that a mistake shows before the first dollar is spent.
"""


# a multi_asset of one, because the backfill policy of @asset is still beta
@dg.multi_asset(
    name="prompts",
    specs=[
        dg.AssetSpec(
            PROMPTS,
            # which characters a clip shows, its own event says (see `lineage.cast_tags`)
            deps=[dg.AssetDep(CHARACTERS, partition_mapping=dg.AllPartitionMapping())],
            description=DESCRIPTION,
            partitions_def=clips,
            group_name="dailies",
            kinds={"yaml", "s3"},
            owners=["team:video"],
            code_version=CODE_VERSIONS[PROMPTS],
            tags={"dailies/stage": "declare"},
        )
    ],
    backfill_policy=dg.BackfillPolicy.multi_run(CLIPS_PER_RUN),
)
def prompts(
    context: dg.AssetExecutionContext, production: Production
) -> Iterator[dg.MaterializeResult[None]]:
    """Render the prompts of the run's clips."""
    with explained():
        keys = clips_of_run(context)
    rendered = Rendered()

    def before_failing() -> None:
        show_prompts_again(context, production, rendered.requests.values())
        show_again(context, production, keys)

    with explained(before_failing), production.at_work(context.run.run_id):
        rendered = render(production.declarations(), keys)
        if rendered.problems:
            raise clips_failed(rendered.problems, len(keys), "could not be rendered; nothing was bought")
        with production.ledger() as ledger:
            store = production.bound_store(ledger)
        addresses = {clip: write_prompt(store, request) for clip, request in rendered.requests.items()}
    # A step that only logs events is taken for skipped, and then so is what depends on it. This result stands for the
    # whole range; the events after it give each clip the version of its own prompt.
    yield dg.MaterializeResult(asset_key=PROMPTS)
    for clip, request in rendered.requests.items():
        context.log_event(prompt_event(context.instance, request, addresses[clip]))
