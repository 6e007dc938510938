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

CHARACTERS = dg.AssetKey("characters")
PROMPTS = dg.AssetKey("prompts")
SUBMISSIONS = dg.AssetKey("submissions")
GENERATIONS = dg.AssetKey("generations")
UPLOADED_VIDEOS = dg.AssetKey("uploaded_videos")

NO_EVENT = "NULL"
NO_LATER_EVENT = 2**53
"""Behind every event of an instance, and exact wherever JSON is read."""
EVENTS_LOOKED_AT = 50

CODE_VERSIONS = {CHARACTERS: "1", PROMPTS: "1", SUBMISSIONS: "1", GENERATIONS: "1", UPLOADED_VIDEOS: "1"}
"""Raised when the code of an asset changes what it makes."""


@dataclass(frozen=True)
class Shown:
    """One materialization of an asset for a clip.

    Attributes:
        data_version: As its event says, None where it says nothing.
        storage_id: Dagster's number of the event.
    """

    data_version: str | None
    storage_id: int


def latest(instance: dg.DagsterInstance, asset: dg.AssetKey, clip: str) -> Shown | None:
    """The newest materialization of an asset for a clip, None where there is none."""
    return next(iter(_newest(instance, asset, clip, 1)), None)


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
        instance: Where the inputs' events are looked up.
        asset: Whose event it is.
        clip: The partition.
        data_version: Changes exactly when what was made changes.
        inputs: Data version of each input as it was used, by asset.
    """
    tags = {DATA_VERSION: data_version, CODE_VERSION: CODE_VERSIONS[asset]}
    for parent, version in inputs.items():
        name = parent.to_user_string()
        tags[f"{INPUT_DATA_VERSION}/{name}"] = version
        tags[f"{INPUT_EVENT_POINTER}/{name}"] = _pointer(instance, parent, clip, version)
    return tags


def cast_tags(instance: dg.DagsterInstance, cast: Mapping[str, str]) -> dict[str, str]:
    """The tags that say which characters a clip's prompt was made with.

    Dagster knows one version and one event an input, and compares the event with every newer one of each partition. A clip
    without a cast therefore points behind every event there will be.

    Args:
        instance: Where the characters' events are looked up.
        cast: The provider's id by the character's name.
    """
    events = [event for name in cast if (event := latest(instance, CHARACTERS, name)) is not None]
    pointer = max((event.storage_id for event in events), default=NO_LATER_EVENT)
    name = CHARACTERS.to_user_string()
    return {
        f"{INPUT_DATA_VERSION}/{name}": ",".join(sorted(cast.values())) or "nobody",
        f"{INPUT_EVENT_POINTER}/{name}": str(pointer),
    }


def _pointer(instance: dg.DagsterInstance, parent: dg.AssetKey, clip: str, version: str) -> str:
    """The number of the input's event that holds the version that was used.

    Dagster compares that event with the input's newest. Pointing at the newest would call fresh what was made of an
    older one.
    """
    event = latest(instance, parent, clip)
    if event is None:
        return NO_EVENT
    if event.data_version == version:
        return str(event.storage_id)
    events = _newest(instance, parent, clip, EVENTS_LOOKED_AT)
    used = next((event for event in events if event.data_version == version), None)
    # the number before an event of another version makes Dagster see that the input has changed
    return str(events[-1].storage_id - 1 if used is None else used.storage_id)


def _newest(instance: dg.DagsterInstance, asset: dg.AssetKey, clip: str, limit: int) -> list[Shown]:
    wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[clip])
    found = []
    for record in instance.fetch_materializations(wanted, limit=limit).records:
        materialization = record.asset_materialization
        tags = (materialization.tags or {}) if materialization else {}
        found.append(Shown(tags.get(DATA_VERSION), record.storage_id))
    return found
