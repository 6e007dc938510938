"""The tags that make a hand-logged materialization part of Dagster's lineage.

A batch logs one event per clip by itself, since a framework result would mark the whole range. Such an event carries no
code version and no input provenance unless it is given both, and without them Dagster can tell nobody what is stale.
The tags' names are constants of a private Dagster module; they are written out here once and a test holds them to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

DATA_VERSION = "dagster/data_version"
CODE_VERSION = "dagster/code_version"
INPUT_DATA_VERSION = "dagster/input_data_version"
INPUT_EVENT_POINTER = "dagster/input_event_pointer"

PROMPTS = dg.AssetKey("prompts")
SUBMISSIONS = dg.AssetKey("submissions")
GENERATIONS = dg.AssetKey("generations")
UPLOADED_VIDEOS = dg.AssetKey("uploaded_videos")

CODE_VERSIONS = {PROMPTS: "1", SUBMISSIONS: "1", GENERATIONS: "1", UPLOADED_VIDEOS: "1"}
"""Raised when the code of an asset changes what it makes."""


@dataclass(frozen=True)
class Latest:
    """The newest materialization of one asset for one clip.

    Attributes:
        data_version: As its event says, None where it says nothing.
        storage_id: Dagster's number of the event.
    """

    data_version: str | None
    storage_id: int


def latest(instance: dg.DagsterInstance, asset: dg.AssetKey, clip: str) -> Latest | None:
    """The newest materialization of an asset for a clip, None where there is none."""
    found = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[clip]), limit=1
    )
    for record in found.records:
        materialization = record.asset_materialization
        tags = (materialization.tags or {}) if materialization else {}
        return Latest(tags.get(DATA_VERSION), record.storage_id)
    return None


def version_tags(
    instance: dg.DagsterInstance,
    asset: dg.AssetKey,
    clip: str,
    *,
    data_version: str,
    inputs: Mapping[dg.AssetKey, str],
) -> dict[str, str]:
    """The tags of one clip's event.

    Args:
        instance: Where the inputs' newest events are looked up.
        asset: Whose event it is.
        clip: The partition.
        data_version: Changes exactly when what was made changes.
        inputs: Data version of each input as it was used, by asset.
    """
    tags = {DATA_VERSION: data_version, CODE_VERSION: CODE_VERSIONS[asset]}
    for parent, version in inputs.items():
        name = parent.to_user_string()
        tags[f"{INPUT_DATA_VERSION}/{name}"] = version
        event = latest(instance, parent, clip)
        tags[f"{INPUT_EVENT_POINTER}/{name}"] = "NULL" if event is None else str(event.storage_id)
    return tags
