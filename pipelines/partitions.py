"""The partitions: one key per clip, and the conversion of keys into runs.

A run covers a contiguous range of keys in Dagster's order. So the keys of a batch are added together, under a lock of the ledger, and
the order is read back.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

import dagster as dg

from resources.dagster_names import dagster_names
from resources.ledger import locks
from resources.ledger.ledger import Ledger

clips = dg.DynamicPartitionsDefinition(name=dagster_names().partitions_name("clips"))
"""All clips that were ever requested, in that order."""

characters = dg.DynamicPartitionsDefinition(name=dagster_names().partitions_name("characters"))
"""All characters that were ever declared."""

CLIPS_PER_RUN = 100
"""The most clips in a run. A worker takes about 165 MB for 50 clips or for 400, and up to two CPU seconds to start.

After a worker's death, the retry repeats no purchase but reads the state of its clips again.
"""

RANGE_START = "dagster/asset_partition_range_start"
RANGE_END = "dagster/asset_partition_range_end"
PARTITION = "dagster/partition"


class PartitionStore(Protocol):
    """A store of dynamic partitions: Dagster's storage (`DagsterInstance`), or its webserver if Dagster is elsewhere."""

    def get_dynamic_partitions(self, partitions_def_name: str) -> Sequence[str]:
        """All keys of a set, in their order."""

    def add_dynamic_partitions(self, partitions_def_name: str, partition_keys: Sequence[str]) -> None:
        """Add keys at the end; existing ones keep their place."""


def add_clips(instance: PartitionStore, ledger: Ledger, keys: Iterable[str]) -> list[str]:
    """Add keys to the partitions together, and return all keys in Dagster's order.

    Args:
        instance: Dagster's partitions.
        ledger: The ledger, whose lock prevents two batches from interleaving.
        keys: The clips' keys; existing ones keep their place.

    Raises:
        resources.errors.UnavailableError: Another process holds the lock, or the ledger does not answer.
    """
    name = clips.name or "clips"
    with locks.hold(ledger, "partitions"):
        order = instance.get_dynamic_partitions(name)
        existing = set(order)
        new = [key for key in dict.fromkeys(keys) if key not in existing]
        if not new:
            # 100,000 keys take 0.3 s to read, so they are read once
            return list(order)
        instance.add_dynamic_partitions(name, new)
        return list(instance.get_dynamic_partitions(name))


def add_characters(instance: PartitionStore, names: Iterable[str]) -> None:
    """Add characters to the partitions; existing ones keep their place."""
    kept = characters.name or "characters"
    existing = set(instance.get_dynamic_partitions(kept))
    new = [name for name in names if name not in existing]
    if new:
        instance.add_dynamic_partitions(kept, new)


def stretches(order: Sequence[str], keys: Iterable[str], *, longest: int = CLIPS_PER_RUN) -> list[list[str]]:
    """Cut keys into contiguous stretches of the partitions' order.

    Args:
        order: All keys, as Dagster orders them.
        keys: The keys to cut; keys without a partition are left out.
        longest: The most keys in a stretch.
    """
    position = {key: index for index, key in enumerate(order)}
    lists: list[list[str]] = []
    last = -2
    for index in sorted(position[key] for key in set(keys) if key in position):
        if index != last + 1 or len(lists[-1]) >= longest:
            lists.append([])
        lists[-1].append(order[index])
        last = index
    return lists


def range_tags(stretch: Sequence[str]) -> dict[str, str]:
    """The tags that make a run cover a contiguous stretch."""
    return {RANGE_START: stretch[0], RANGE_END: stretch[-1]}
