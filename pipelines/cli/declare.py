"""`dailies declare`: request the runs that render changed prompts, for the past too if asked."""

from collections.abc import Collection, Sequence

from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.declared import declarations_of
from pipelines.cli.launch import dagster_instance, is_here
from pipelines.declared_clips import RENDER_TAGS, RENDERED_PER_RUN, clips_to_compare, find_edited_clips
from pipelines.partitions import clips, range_tags, stretches
from resources.declared.problems import suggestion
from resources.errors import ConfigurationError
from resources.settings import Settings


def changed_stretches(settings: Settings, names: Sequence[str], *, past: bool) -> list[list[str]]:
    """The clips whose declared prompt Dagster does not show, in stretches of the partitions' order.

    Args:
        names: The series; empty for all.
        past: Whether to include clips from before today.

    Raises:
        ConfigurationError: There is no such series, or it has mistakes.
        UnavailableError: Dagster does not answer.
    """
    declarations = declarations_of(settings)
    unknown = [name for name in names if name not in declarations.series]
    if unknown:
        broken = "".join(f"\n{problem}" for problem in declarations.problems)
        known = ", ".join(sorted(declarations.series)) or "none"
        hint = suggestion(unknown[0], declarations.series)
        raise ConfigurationError(f"there is no series {', '.join(unknown)}; there are: {known}{hint}{broken}")
    series = [one for one in declarations.series.values() if not names or one.name in names]
    name = clips.name or "clips"
    if not is_here(settings):
        # another machine cannot see what Dagster shows, so the runs render unchanged prompts too, which is free
        with DagsterApi.of(settings) as api:
            order: Sequence[str] = api.get_dynamic_partitions(name)
        changed: Collection[str] = clips_to_compare(order, series, past=past)
    else:
        with dagster_instance(settings) as instance:
            order = instance.get_dynamic_partitions(name)
            keys = clips_to_compare(order, series, past=past)
            changed = find_edited_clips(instance, declarations, keys).changed
    return stretches(order, changed, longest=RENDERED_PER_RUN)


def request_renders(api: DagsterApi, changed: Sequence[Sequence[str]]) -> list[str]:
    """Request one run for each stretch; returns the runs' ids. The runs wait behind all runs that buy.

    Raises:
        DailiesError: Dagster does not accept a run.
    """
    return [
        api.launch("render_prompts", tags={**range_tags(keys), **RENDER_TAGS}, config={}) for keys in changed
    ]
