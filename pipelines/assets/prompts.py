"""The asset `prompts`: every clip's request, rendered and validated before any money moves."""

from collections.abc import Iterable, Iterator

import dagster as dg

from pipelines.clip_batch import decision_of
from pipelines.event_storage import stored_together
from pipelines.events import show_again
from pipelines.failures import bought_by, clips_failed, explained
from pipelines.lineage import CHARACTERS, CODE_VERSIONS, PROMPTS
from pipelines.partitions import CLIPS_PER_RUN, clips
from pipelines.prompt_batch import (
    prompt_event,
    show_prompts_again,
    shown_prompts,
    write_prompt,
    write_prompts,
)
from pipelines.rendered_clips import Rendered, render
from pipelines.scope import LEFT_ALONE, leave_alone, scope_of
from resources.dagster_names import dagster_names
from resources.dagster_resources import Production
from resources.errors import ConfigurationError
from resources.storage.objects import ObjectStore

DESCRIPTION = """
The request of each clip as it will be sent: the rendered prompt and every parameter, checked against the endpoint's
rules, with its price. It is written to the bucket as `prompts/{clip}/{fingerprint}.json`. Costs nothing.

One bad prompt refuses the whole batch, so that a mistake shows before the first dollar is spent.
"""


# a multi_asset of one, because the backfill policy of @asset is still beta
@dg.multi_asset(
    name="prompts",
    specs=[
        dg.AssetSpec(
            PROMPTS,
            # the event of each clip names its characters (see `lineage.cast_tags`)
            deps=[dg.AssetDep(CHARACTERS, partition_mapping=dg.AllPartitionMapping())],
            description=DESCRIPTION,
            partitions_def=clips,
            group_name=dagster_names().asset_group,
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

    def bought() -> str:
        return bought_by(production, context.run)

    with explained(bought=bought):
        scope = scope_of(context, production)
        keys = scope.keys
        leave_alone(context, scope)
    rendered = Rendered()

    def before_failing() -> None:
        show_prompts_again(context, production, rendered.requests.values())
        show_again(context, production, keys)

    with explained(before_failing, bought=bought), production.showing_life(context.run.run_id):
        if scope.lost_end is not None:
            raise ConfigurationError(
                f"the partition {scope.lost_end}, an end of this run's range, does not exist or was deleted, so Dagster cannot execute this run. "
                "Request its clips again with `dailies produce`."
            )
        production.follow_data(decision_of(context.run))
        rendered = render(production.declarations(), keys)
        if rendered.problems:
            raise clips_failed(rendered.problems, len(keys), "could not be rendered", bought=bought())
        with production.ledger() as ledger:
            store = production.bound_store(ledger)
        addresses = write_prompts(store, rendered.requests.values(), context.run.run_id)
        events = [*_events_of(context, production, store, scope.strangers)]
    # Dagster treats a step that only logs events as skipped, and skips the assets that depend on it. This result covers the
    # whole range; the events after it give each clip the version of its own prompt.
    yield dg.MaterializeResult(asset_key=PROMPTS)
    with stored_together(context.instance):
        for event in events:
            context.log_event(event)
        for clip, request in rendered.requests.items():
            context.log_event(prompt_event(context.instance, request, addresses[clip]))


def _events_of(
    context: dg.AssetExecutionContext, production: Production, store: ObjectStore, strangers: Iterable[str]
) -> Iterator[dg.AssetMaterialization]:
    """Events for keys in the range that do not belong to this run, since the result of the whole range covers them too.

    Each event shows the prompt that Dagster shows already, or else the declared one, which is free.
    """
    shown = shown_prompts(context.instance, strangers)
    declared = render(production.declarations(), [key for key in strangers if key not in shown])
    for request in declared.requests.values():
        yield prompt_event(context.instance, request, write_prompt(store, request))
    for key, problem in declared.problems.items():
        yield dg.AssetMaterialization(PROMPTS, partition=key, metadata={LEFT_ALONE: f"no prompt: {problem}"})
    yield from shown.values()
