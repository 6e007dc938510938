"""The asset `characters`: a provider makes each character once from a reference video, for clips to show."""

import asyncio
from collections.abc import Iterator

import dagster as dg
from pydantic import Field

from pipelines.clip_batch import decision_of
from pipelines.failures import bought_by, clips_failed, explained
from pipelines.lineage import CHARACTERS, CODE_VERSIONS, ShownEvents, version_tags
from pipelines.partitions import CLIPS_PER_RUN, characters
from pipelines.prompt_batch import write_prompt
from pipelines.scope import leave_alone, scope_of
from resources.characters.made import ID
from resources.characters.maker import Maker, Making
from resources.dagster_names import dagster_names
from resources.dagster_resources import Production
from resources.declared.problems import ProblemsError
from resources.ledger.records import Attempt
from resources.money import to_usd
from resources.orders import ClipRequest
from resources.retry import retry_free_call

DESCRIPTION = """
The characters that clips show. The provider makes each once from a reference video (`data/characters/`) and returns a
reusable id. A character that exists for the same video is not bought again.
"""


class CharactersConfig(dg.Config):
    """How a run makes characters."""

    regenerate: bool = Field(
        default=False,
        description="Make characters again although their video is unchanged. Costs the price of each, and gives new ids.",
    )


@dg.multi_asset(
    name="characters",
    specs=[
        dg.AssetSpec(
            CHARACTERS,
            description=DESCRIPTION,
            partitions_def=characters,
            skippable=True,
            group_name=dagster_names().asset_group,
            kinds={"yaml"},
            owners=["team:video"],
            code_version=CODE_VERSIONS[CHARACTERS],
            tags={"dailies/stage": "declare"},
        )
    ],
    backfill_policy=dg.BackfillPolicy.multi_run(CLIPS_PER_RUN),
)
def make_characters(
    context: dg.AssetExecutionContext, production: Production, config: CharactersConfig
) -> Iterator[dg.MaterializeResult[None]]:
    """Make the run's characters."""

    def bought() -> str:
        return bought_by(production, context.run)

    with explained(bought=bought), production.showing_life(context.run.run_id):
        scope = scope_of(context, production, characters)
        leave_alone(context, scope)
        names = scope.keys
        production.follow_data(decision_of(context.run))
        requests, failed = _requests(production, names)
        if failed:
            raise clips_failed(failed, len(names), "cannot be made", bought=bought())
        making = _make(context, production, requests, config)
    for name, attempt in making.made.items():
        context.log_event(character_event(context.instance, name, attempt))
    if making.failed:
        raise clips_failed(making.failed, len(names), "failed")
    # a result would turn the whole range green in Dagster, so the step only logs events
    yield from ()


def _requests(production: Production, names: list[str]) -> tuple[list[ClipRequest], dict[str, str]]:
    declared = production.declarations().characters
    requests, failed = [], {}
    for name in names:
        try:
            requests.append(declared.get(name).request)
        except ProblemsError as error:
            failed[name] = str(error)
    return requests, failed


def _make(
    context: dg.AssetExecutionContext,
    production: Production,
    requests: list[ClipRequest],
    config: CharactersConfig,
) -> Making:
    async def work() -> Making:
        with production.ledger() as ledger:
            store = production.bound_store(ledger, buying=True)
            for request in requests:
                # a rebuild of the ledger finds the pending purchase here
                write_prompt(store, request)
            accounts = {request.account_name for request in requests}
            async with production.engine(ledger, accounts) as engine:
                for name in sorted(accounts):
                    await retry_free_call(engine.accounts[name].provider.check)
                maker = Maker(engine, run_id=context.run.run_id)
                return await maker.make(
                    requests, decision=decision_of(context.run), regenerate=config.regenerate
                )

    return asyncio.run(work())


def character_event(instance: dg.DagsterInstance, name: str, attempt: Attempt) -> dg.AssetMaterialization:
    """The materialization with a character's id."""
    made = str((attempt.delivery or {})[ID])
    metadata = {
        "id": made,
        "name": str(attempt.request.body.get("name", name)),
        "endpoint": attempt.endpoint,
        "provider": attempt.provider,
        "job_id": attempt.job_id,
        "attempt": attempt.id,
        "cost_usd": float(to_usd(attempt.cost_micros)),
    }
    return dg.AssetMaterialization(
        asset_key=CHARACTERS,
        partition=name,
        metadata={key: value for key, value in metadata.items() if value is not None},
        tags=version_tags(ShownEvents(instance), CHARACTERS, name, data_version=made, inputs={}),
    )
