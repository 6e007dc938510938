"""The jobs: the runs that people, schedules and sensors request, one for each purpose."""

from typing import Any

import dagster as dg
from pydantic import Field

from pipelines.assets.clips import say
from pipelines.clip_batch import Batch, buy, decision_of
from pipelines.failures import bought_by, clips_failed, explained
from pipelines.inventory import show_delivered
from pipelines.lineage import CHARACTERS, GENERATIONS, PROMPTS, SUBMISSIONS, UPLOADED_VIDEOS
from pipelines.partitions import add_clips
from pipelines.prompt_batch import prompt_event, write_prompt
from pipelines.rendered_clips import render
from pipelines.scope import leave_alone, scope_of_list
from resources.dagster_resources import Production
from resources.ledger.outage import repeat_unrecorded
from resources.production.batch import Stage


def _assets(*keys: dg.AssetKey) -> dg.AssetSelection:
    """Assets without the inventory's checks, which list the whole bucket and run every hour anyway."""
    return dg.AssetSelection.assets(*keys).without_checks()


render_prompts = dg.define_asset_job(
    "render_prompts",
    selection=_assets(PROMPTS),
    description="Render and check prompts. Costs nothing.",
)
submit_clips = dg.define_asset_job(
    "submit_clips",
    selection=_assets(PROMPTS, SUBMISSIONS),
    description="Buy clips and leave; the completion sensor collects them. Schedules run this job.",
)
collect_clips = dg.define_asset_job(
    "collect_clips",
    selection=_assets(GENERATIONS, UPLOADED_VIDEOS),
    description="Fetch, check and store clips that were bought before. The completion sensors run this job.",
)
make_characters = dg.define_asset_job(
    "make_characters",
    selection=[CHARACTERS],
    description="Buy characters, each once. `dailies characters make` runs this job.",
)
produce_clips = dg.define_asset_job(
    "produce_clips",
    selection=_assets(PROMPTS, SUBMISSIONS, GENERATIONS, UPLOADED_VIDEOS),
    description="Buy clips, wait for them and store them.",
)


class ScatteredConfig(dg.Config):
    """The clips to produce."""

    keys: list[str] = Field(description="The clips' keys, in any order and with any gaps; at least one.")
    regenerate: bool = Field(default=False, description="Buy another take of delivered, unchanged clips.")
    takes: int | None = Field(
        default=None,
        description="How many takes to buy of each; by default as declared.",
    )


@dg.op(description="Produce clips from a list of keys, and show each in the four assets.")
def produce_scattered(
    context: dg.OpExecutionContext, production: Production, config: ScatteredConfig
) -> None:
    """Produce clips that are not contiguous among the partitions, in one run.

    Dagster plans no assets for an op, so a clip that fails here keeps its colour.
    """
    show = frozenset({Stage.SUBMITTED, Stage.GENERATED, Stage.DELIVERED})
    batch = Batch(context, production, Stage.DELIVERED, decision_of(context.run), show)

    def bought() -> str:
        return bought_by(production, context.run)

    if not config.keys:
        raise dg.Failure(
            "`keys` is empty: list the clips' keys in the launchpad, e.g. [city-sunset-2026-11-20-hero]. Nothing was bought.",
            allow_retries=False,
        )
    with explained(bought=bought), production.showing_life(context.run.run_id):
        scope = scope_of_list(context, production, config.keys)
        leave_alone(context, scope)
        keys = scope.keys
        production.follow_data(batch.decision)
        rendered = render(production.declarations(), keys)
        if rendered.problems:
            raise clips_failed(rendered.problems, len(keys), "could not be rendered", bought=bought())
        with production.ledger() as ledger:
            store = production.bound_store(ledger)
            repeat_unrecorded(add_clips, context.instance, ledger, keys)
        for request in rendered.requests.values():
            context.log_event(prompt_event(context.instance, request, write_prompt(store, request)))
        requests = {key: request.with_takes(config.takes) for key, request in rendered.requests.items()}
        reasons = say(batch, buy(batch, requests, regenerate=config.regenerate))
    if reasons:
        raise clips_failed(reasons, len(keys), "failed")


@dg.job(
    description="Produce a list of clips, wherever they are among the partitions. `dailies retry` runs this job."
)
def produce_scattered_clips() -> None:
    """One run for scattered clips; a range run would be needed for each contiguous stretch."""
    produce_scattered()


class ShownConfig(dg.Config):
    """The clips to show."""

    keys: list[str] = Field(description="Keys of delivered clips.")


@dg.op(description="Show delivered clips in the four assets again, as the ledger knows them. Buys nothing.")
def show_delivered_takes(context: dg.OpExecutionContext, production: Production, config: ShownConfig) -> None:
    """Add the partitions of delivered clips, and log each clip's current take."""
    with explained(), production.showing_life(context.run.run_id), production.ledger() as ledger:
        show_delivered(context.instance, ledger, ledger.shown(config.keys).values())


@dg.job(
    description="Show delivered clips again. `dailies partitions restore` runs this job if Dagster is on another machine."
)
def show_delivered_clips() -> None:
    """One run that shows all of the clips."""
    show_delivered_takes()


ALL_JOBS: list[Any] = [
    show_delivered_clips,
    make_characters,
    render_prompts,
    submit_clips,
    collect_clips,
    produce_clips,
    produce_scattered_clips,
]
