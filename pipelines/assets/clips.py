"""The assets `submissions`, `generations` and `uploaded_videos`: one step that buys, waits and stores.

They are keys of one multi_asset, because in a chain of steps ten failed clips would stop the other ninety. A run waits for the stages
that it selects.
"""

from collections.abc import Iterator
from dataclasses import replace

import dagster as dg
from pydantic import Field

from pipelines.clip_batch import Batch, buy, collect, decision_of
from pipelines.collections import BATCH_TAG, WAIT_SECONDS, takes_to_collect
from pipelines.events import ASSET_OF_STAGE, show_again, show_selects_again
from pipelines.failures import bought_by, clips_failed, explained
from pipelines.lineage import CODE_VERSIONS, GENERATIONS, PROMPTS, SUBMISSIONS, UPLOADED_VIDEOS
from pipelines.partitions import CLIPS_PER_RUN, clips
from pipelines.prompt_batch import read_prompts
from pipelines.scope import RunScope, leave_alone, log_left_alone, scope_of, show_as_before
from resources.dagster_names import dagster_names
from resources.dagster_resources import Production
from resources.ledger import deliveries
from resources.ledger.outage import repeat_unrecorded
from resources.production.batch import Followed, Stage

DESCRIPTIONS = {
    SUBMISSIONS: (
        "The purchase of each clip at its provider. Green means that the provider has the job; the ledger makes sure "
        "that there is only one. A delivered, unchanged clip is not bought again."
    ),
    GENERATIONS: (
        "The finished job of each clip at its provider: its cost, its time, and the model that served it. "
        "If it failed, the provider's reason."
    ),
    UPLOADED_VIDEOS: (
        "The video of each clip: fetched, checked against the request, and stored in the bucket with its poster and its "
        "manifest."
    ),
}
KINDS = {SUBMISSIONS: {"python"}, GENERATIONS: {"python"}, UPLOADED_VIDEOS: {"s3", "mp4"}}
DEPENDS_ON = {SUBMISSIONS: PROMPTS, GENERATIONS: SUBMISSIONS, UPLOADED_VIDEOS: GENERATIONS}
STAGE_TAGS = {SUBMISSIONS: "buy", GENERATIONS: "wait", UPLOADED_VIDEOS: "keep"}


class ProduceConfig(dg.Config):
    """How a run produces its clips."""

    regenerate: bool = Field(
        default=False,
        description="Buy another take of delivered, unchanged clips. Costs the full price of each.",
    )
    takes: int | None = Field(
        default=None,
        description="How many takes to buy of each clip; by default as many as its series declares.",
    )


def _spec(key: dg.AssetKey) -> dg.AssetSpec:
    return dg.AssetSpec(
        key,
        deps=[DEPENDS_ON[key]],
        description=DESCRIPTIONS[key],
        partitions_def=clips,
        skippable=True,
        group_name=dagster_names().asset_group,
        kinds=KINDS[key],
        owners=["team:video"],
        code_version=CODE_VERSIONS[key],
        tags={"dailies/stage": STAGE_TAGS[key]},
    )


@dg.multi_asset(
    name="produce",
    specs=[_spec(SUBMISSIONS), _spec(GENERATIONS), _spec(UPLOADED_VIDEOS)],
    can_subset=True,
    backfill_policy=dg.BackfillPolicy.multi_run(CLIPS_PER_RUN),
)
def produce(
    context: dg.AssetExecutionContext, production: Production, config: ProduceConfig
) -> Iterator[dg.MaterializeResult[None]]:
    """Buy, wait for and store the run's clips, up to the last stage that the run selects."""

    def bought() -> str:
        return bought_by(production, context.run)

    with explained(bought=bought):
        scope = scope_of(context, production)
        keys = scope.keys
        leave_alone(context, scope)
        log_left_alone(context, SUBMISSIONS, scope)
    selected = context.selected_asset_keys
    show = frozenset(stage for stage, asset in ASSET_OF_STAGE.items() if asset in selected)
    batch = Batch(context, production, max(show), decision_of(context.run), show)
    showing = explained(lambda: show_again(context, production, keys), bought=bought)
    with showing, production.showing_life(context.run.run_id):
        reasons = _buy(batch, keys, config) if Stage.SUBMITTED in show else _collect(batch, keys)
    if reasons:
        show_selects_again(context, production, keys)
        raise clips_failed(reasons, len(keys), "failed")
    # a result would turn the whole range green in Dagster, so the step only logs events
    yield from ()


def _buy(batch: Batch, keys: list[str], config: ProduceConfig) -> dict[str, str]:
    context, production = batch.context, batch.production
    production.follow_data(batch.decision)
    prompts = read_prompts(context.instance, production.store(), keys, batch.run_id)
    if prompts.problems:
        bought = bought_by(production, context.run)
        raise clips_failed(prompts.problems, len(keys), "cannot be bought", bought=bought)
    # a prompt may be older than the declared caps and prices
    declarations = production.declarations()
    requests = {
        key: declarations.renewed(request).with_takes(config.takes)
        for key, request in prompts.requests.items()
    }
    return say(batch, buy(batch, requests, regenerate=config.regenerate))


def _collect(batch: Batch, keys: list[str]) -> dict[str, str]:
    with batch.production.ledger() as ledger:
        takes = list(repeat_unrecorded(ledger.latest_takes, keys).values())
        current = repeat_unrecorded(ledger.shown, keys)
    by_sensor = BATCH_TAG in batch.context.run.tags
    unsent, followed_takes = takes_to_collect(takes, current, ended=by_sensor)
    waits = by_sensor and not all(attempt.state.is_ended for attempt in followed_takes)
    # a sensor that may send nothing requests no run that does
    submits = batch.production.allow_submits or not by_sensor
    leaving = replace(batch, leave_after=WAIT_SECONDS if waits else None, submits=submits)
    followed = collect(leaving, followed_takes)
    if unsent:
        for attempt in unsent:
            batch.context.log.warning("%s: another take was not sent: %s", attempt.clip, attempt.reason)
        with batch.production.ledger() as ledger:
            # otherwise the sensor would request this run repeatedly
            repeat_unrecorded(
                deliveries.mark_reported, ledger, [attempt.id for attempt in unsent], batch.run_id
            )
    bought = {attempt.clip for attempt in takes}
    never = {key: "it was never bought; materialize `submissions` too" for key in keys if key not in bought}
    if never and by_sensor:
        # the sensor requests only clips of the ledger; these were added to the range before the run was created
        leave_alone(batch.context, RunScope([], strangers=tuple(never)))
        never = {}
    if followed.left:
        batch.context.log.info(
            "%d clips are not finished yet; the completion sensor collects them with another run: %s",
            len(followed.left),
            ", ".join(followed.left),
        )
        show_as_before(batch.context, followed.left)
    return never | followed.failed


def say(batch: Batch, followed: Followed) -> dict[str, str]:
    """Log how many clips were left to the completion sensor; returns the reasons of the failed clips."""
    if followed.left:
        batch.context.log.info(
            "%d clips wait for a free place at their provider; the completion sensor sends them",
            len(followed.left),
        )
    return followed.failed
