"""The tags that make a hand-logged materialization part of Dagster's lineage.

A batch logs one event per clip, since a step result would mark the whole range. Such an event has a code version and input versions
only as tags, and without them Dagster cannot see which clips are stale. The tags' names are constants of a private Dagster module;
they are repeated here, and a test compares them with that module.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from resources.dagster_names import dagster_names

DATA_VERSION = "dagster/data_version"
CODE_VERSION = "dagster/code_version"
INPUT_DATA_VERSION = "dagster/input_data_version"
INPUT_EVENT_POINTER = "dagster/input_event_pointer"


def our_asset(name: str) -> dg.AssetKey:
    """The key of one of our assets, with the prefix of the settings."""
    return dg.AssetKey(dagster_names().asset_path(name))


CHARACTERS = our_asset("characters")
PROMPTS = our_asset("prompts")
SUBMISSIONS = our_asset("submissions")
GENERATIONS = our_asset("generations")
UPLOADED_VIDEOS = our_asset("uploaded_videos")
SELECTS = our_asset("selects")

NO_EVENT = "NULL"
NO_LATER_EVENT = 2**53
"""A number above that of every event, and exact in every JSON reader."""
EVENTS_LOOKED_AT = 50

CODE_VERSIONS = dict.fromkeys((CHARACTERS, PROMPTS, SUBMISSIONS, GENERATIONS, UPLOADED_VIDEOS, SELECTS), "1")
"""Raise an asset's version when its code changes the result."""


@dataclass(frozen=True)
class Shown:
    """One materialization of an asset for a clip."""

    data_version: str | None
    """The version in its event; None without one."""
    storage_id: int
    """Dagster's number of the event."""


def latest(instance: dg.DagsterInstance, asset: dg.AssetKey, clip: str) -> Shown | None:
    """The newest materialization of an asset for a clip; None if there is none."""
    return next(iter(_newest(instance, asset, clip, 1)), None)


def data_versions(instance: dg.DagsterInstance, asset: dg.AssetKey, clips: Sequence[str]) -> dict[str, str]:
    """The data version of each clip's newest materialization, in one query; a clip without one is left out.

    Args:
        asset: The asset.
        clips: At most some thousands, since SQLite limits the variables of a query.
    """
    if not clips:
        return {}
    tags_of = instance.event_log_storage.get_latest_tags_by_partition(
        asset, dg.DagsterEventType.ASSET_MATERIALIZATION, [DATA_VERSION], asset_partitions=clips
    )
    return {clip: tags[DATA_VERSION] for clip, tags in tags_of.items()}


def storage_ids(instance: dg.DagsterInstance, asset: dg.AssetKey, clips: Sequence[str]) -> dict[str, int]:
    """The number of each clip's newest materialization, in one query; see `data_versions`."""
    if not clips:
        return {}
    ids = instance.event_log_storage.get_latest_storage_id_by_partition(
        asset, dg.DagsterEventType.ASSET_MATERIALIZATION, set(clips)
    )
    return dict(ids)


class ShownEvents:
    """The newest materialization of each clip of a batch, read in one query. For one thread.

    Single queries were seven a clip in a waiting run, a tenth of its CPU time.

    Args:
        clips: The batch; other clips are looked up one by one.
    """

    def __init__(self, instance: dg.DagsterInstance, clips: Iterable[str] = ()) -> None:
        self.instance = instance
        self._clips = list(clips)
        self._known: dict[dg.AssetKey, dict[str, Shown | None]] = {}

    def latest(self, asset: dg.AssetKey, clip: str) -> Shown | None:
        """The newest materialization of an asset for a clip; None if there is none."""
        known = self._known.setdefault(asset, {})
        if clip not in known:
            known |= self._read(
                asset, [clip, *(one for one in self._clips if one != clip and one not in known)]
            )
        return known[clip]

    def logged(self, asset: dg.AssetKey, clip: str) -> None:
        """Note that the batch has logged another materialization, so that the next look reads it."""
        self._known.get(asset, {}).pop(clip, None)

    def _read(self, asset: dg.AssetKey, clips: Sequence[str]) -> dict[str, Shown | None]:
        if len(clips) == 1:
            return {clip: latest(self.instance, asset, clip) for clip in clips}
        numbers = storage_ids(self.instance, asset, clips)
        versions = data_versions(self.instance, asset, clips)
        shown = {one: Shown(versions.get(one), numbers[one]) if one in numbers else None for one in clips}
        # number and version belong to the same event, unless another event was logged between the two queries
        later = storage_ids(self.instance, asset, clips)
        return shown | {
            one: latest(self.instance, asset, one) for one in clips if later.get(one) != numbers.get(one)
        }


def version_tags(
    shown: ShownEvents,
    asset: dg.AssetKey,
    clip: str,
    *,
    data_version: str,
    inputs: Mapping[dg.AssetKey, str],
) -> dict[str, str]:
    """The tags of one clip's event.

    Args:
        shown: The inputs' events.
        asset: The asset of the event.
        clip: The partition.
        data_version: The version of the result, which changes exactly when the result changes.
        inputs: The data version of each input that was used, by asset.
    """
    tags = {DATA_VERSION: data_version, CODE_VERSION: CODE_VERSIONS[asset]}
    for parent, version in inputs.items():
        name = parent.to_user_string()
        tags[f"{INPUT_DATA_VERSION}/{name}"] = version
        tags[f"{INPUT_EVENT_POINTER}/{name}"] = _pointer(shown, parent, clip, version)
    return tags


def carried_tags(instance: dg.DagsterInstance, clip: str, tags: Mapping[str, str]) -> dict[str, str]:
    """The tags of an event that is logged again, with pointers to the present events of its inputs.

    Args:
        instance: Dagster, for the inputs' events.
        clip: The partition.
        tags: The tags of the event.
    """
    carried = {name: value for name, value in tags.items() if name.startswith("dagster/")}
    for parent in (PROMPTS, SUBMISSIONS, GENERATIONS, UPLOADED_VIDEOS):
        name = parent.to_user_string()
        version = carried.get(f"{INPUT_DATA_VERSION}/{name}")
        if version is not None:
            carried[f"{INPUT_EVENT_POINTER}/{name}"] = _pointer(ShownEvents(instance), parent, clip, version)
    return carried


def cast_tags(instance: dg.DagsterInstance, cast: Mapping[str, str]) -> dict[str, str]:
    """The tags for the characters in a clip's prompt.

    Dagster keeps one version and one event for each input, and compares that event with every newer one of each partition. A
    clip without a cast therefore points to a number above all events.

    Args:
        instance: Dagster, for the characters' events.
        cast: The provider's id by the character's name.
    """
    events = [event for name in cast if (event := latest(instance, CHARACTERS, name)) is not None]
    pointer = max((event.storage_id for event in events), default=NO_LATER_EVENT)
    name = CHARACTERS.to_user_string()
    return {
        f"{INPUT_DATA_VERSION}/{name}": ",".join(sorted(cast.values())) or "nobody",
        f"{INPUT_EVENT_POINTER}/{name}": str(pointer),
    }


def input_pointer(
    instance: dg.DagsterInstance, asset: dg.AssetKey, clip: str, parent: dg.AssetKey
) -> str | None:
    """The number of the input's event that an asset's newest materialization was made from; None if it records no input."""
    query = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[clip])
    for record in instance.fetch_materializations(query, limit=1).records:
        materialization = record.asset_materialization
        return ((materialization and materialization.tags) or {}).get(
            f"{INPUT_EVENT_POINTER}/{parent.to_user_string()}"
        )
    return None


def _pointer(shown: ShownEvents, parent: dg.AssetKey, clip: str, version: str) -> str:
    """The number of the input's event with the version that was used.

    Dagster compares that event with the input's newest one. A pointer to the newest event would make a clip look fresh that was made
    from an older one.
    """
    event = shown.latest(parent, clip)
    if event is None:
        return NO_EVENT
    if event.data_version == version:
        return str(event.storage_id)
    events = _newest(shown.instance, parent, clip, EVENTS_LOOKED_AT)
    used = next((event for event in events if event.data_version == version), None)
    # a number just before an event of another version shows Dagster that the input has changed
    return str(events[-1].storage_id - 1 if used is None else used.storage_id)


def _newest(instance: dg.DagsterInstance, asset: dg.AssetKey, clip: str, limit: int) -> list[Shown]:
    query = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[clip])
    records = []
    for record in instance.fetch_materializations(query, limit=limit).records:
        materialization = record.asset_materialization
        tags = (materialization.tags or {}) if materialization else {}
        records.append(Shown(tags.get(DATA_VERSION), record.storage_id))
    return records
