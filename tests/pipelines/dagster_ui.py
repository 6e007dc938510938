"""Dagster's answers to the queries of its UI, through its GraphQL schema in this process.

The workspace classes are private to Dagster: only this module of the tests imports them.
"""

import asyncio
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import dagster as dg
from dagster._core.remote_origin import CodeLocationOrigin, InProcessCodeLocationOrigin
from dagster._core.storage.defs_state.base import set_defs_state_storage
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import CodeLocationEntry, WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_graphql.schema import create_schema

# loaded here, so that the definitions have the project's series and not those of the test that asks first
from pipelines import definitions

SCHEMA = create_schema()
COLOURS = """
query Colours {
  assetNodes {
    assetKey { path }
    partitionStats { numPartitions numMaterialized numFailed numMaterializing }
    assetPartitionStatuses {
      ... on DefaultPartitionStatuses {
        materializedPartitions failedPartitions unmaterializedPartitions materializingPartitions
      }
    }
  }
}
"""
STALE = """
query Stale($clips: [String!], $assets: [AssetKeyInput!]) {
  assetNodes(assetKeys: $assets) {
    assetKey { path }
    staleStatusByPartition(partitions: $clips)
    staleCausesByPartition(partitions: $clips) { reason }
  }
}
"""

CHECKS = """
query Checks {
  assetNodes {
    assetChecksOrError {
      ... on AssetChecks { checks { name executionForLatestMaterialization { status } } }
    }
  }
}
"""


@dataclass(frozen=True)
class Bar:
    """One asset's partition bar: the green and the red clips, and the UI's counts."""

    green: AbstractSet[str]
    red: AbstractSet[str]
    materializing: AbstractSet[str]
    counted: tuple[int, int]


class DagsterUi:
    """The queries of the asset pages."""

    def __init__(self, context: WorkspaceProcessContext) -> None:
        self._context = context
        self._partitioned: list[str] = []

    def ask(self, document: str, **variables: Any) -> dict[str, Any]:
        context = self._context.create_request_context()
        result = asyncio.run(SCHEMA.execute_async(document, variable_values=variables, context_value=context))
        assert not result.errors, result.errors
        return dict(result.data)

    def bars(self) -> dict[str, Bar]:
        """Every asset's bar by its name."""
        found = {}
        for node in self.ask(COLOURS)["assetNodes"]:
            shown, stats = node["assetPartitionStatuses"], node["partitionStats"]
            if stats is None:
                continue  # the asset has no partitions
            found[node["assetKey"]["path"][-1]] = Bar(
                frozenset(shown["materializedPartitions"]),
                frozenset(shown["failedPartitions"]),
                frozenset(shown["materializingPartitions"]),
                (stats["numMaterialized"], stats["numFailed"]),
            )
        return found

    def checks(self) -> dict[str, str | None]:
        """The status of each check; None where the UI shows "Not evaluated"."""
        found: dict[str, str | None] = {}
        for node in self.ask(CHECKS)["assetNodes"]:
            for check in node["assetChecksOrError"].get("checks", ()):
                shown = check["executionForLatestMaterialization"]
                found[check["name"]] = shown and shown["status"]
        return found

    def stale(self, clips: list[str]) -> dict[str, dict[str, list[str]]]:
        """By asset: the stale clips, each with Dagster's reasons."""
        found: dict[str, dict[str, list[str]]] = {}
        self._partitioned = self._partitioned or list(self.bars())
        assets = [{"path": [name]} for name in self._partitioned]
        for node in self.ask(STALE, clips=clips, assets=assets)["assetNodes"]:
            statuses = zip(clips, node["staleStatusByPartition"], node["staleCausesByPartition"], strict=True)
            found[node["assetKey"]["path"][-1]] = {
                clip: [cause["reason"] for cause in causes]
                for clip, status, causes in statuses
                if status == "STALE"
            }
        return found


class Workspace(WorkspaceProcessContext):
    """A workspace of the project's definitions, whose snapshot is made once in a process; it does not depend on the instance."""

    _loaded: ClassVar[CodeLocationEntry | None] = None

    def _load_location(self, origin: CodeLocationOrigin, reload: bool) -> CodeLocationEntry:
        if Workspace._loaded is None:
            Workspace._loaded = super()._load_location(origin, reload)
        return Workspace._loaded


@contextmanager
def opened(instance: dg.DagsterInstance) -> Iterator[DagsterUi]:
    """The UI's view of an instance, with the project's definitions loaded."""
    target = LoadableTargetOrigin(
        executable_path=sys.executable, module_name=definitions.__name__, attribute="defs"
    )
    origin = InProcessCodeLocationOrigin(target, location_name="dailies")
    # Dagster uses the instance that was entered last in this process, which may be another test's
    # that is gone; an instance that is entered twice stays the last one for good.
    with (
        set_defs_state_storage(instance.defs_state_storage),
        Workspace(instance, InProcessWorkspaceLoadTarget(origin)) as context,
    ):
        (location,) = context.create_request_context().get_code_location_entries().values()
        # without this the pages are empty, and nothing on them is stale or red
        assert location.load_error is None, location.load_error
        yield DagsterUi(context)
