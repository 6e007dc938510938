"""The queries of Dagster's pages, answered in this process; the workspace's classes are private to Dagster."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster_graphql.schema import create_schema

Ask = Callable[..., dict[str, Any]]


@contextmanager
def asking(instance: dg.DagsterInstance) -> Iterator[Ask]:
    """A function that answers a GraphQL document with its variables as this project's webserver would."""
    target = LoadableTargetOrigin(
        executable_path=sys.executable, module_name="pipelines.definitions", attribute="defs"
    )
    origin = InProcessCodeLocationOrigin(target, location_name="dailies")
    schema = create_schema()
    with WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as context:

        def ask(document: str, **variables: Any) -> dict[str, Any]:
            request = context.create_request_context()
            result = asyncio.run(
                schema.execute_async(document, variable_values=variables, context_value=request)
            )
            if result.errors:
                raise RuntimeError(str(result.errors[0]))
            return dict(result.data)

        yield ask
