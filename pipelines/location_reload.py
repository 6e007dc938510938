"""The request to Dagster's webserver to reload a code location, and the meaning of its answer."""

from collections.abc import Mapping
from typing import Any

RELOAD = """
mutation Reload($location: String!) {
  reloadRepositoryLocation(repositoryLocationName: $location) {
    __typename
    ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
    ... on ReloadNotSupported { message }
    ... on RepositoryLocationNotFound { message }
  }
}
"""


def why_not_loaded(data: Mapping[str, Any]) -> str | None:
    """Why the location could not be loaded, in one line; None if it was.

    Args:
        data: The `data` of the answer to `RELOAD`.
    """
    entry = data["reloadRepositoryLocation"]
    message = entry.get("message") or (entry.get("locationOrLoadError") or {}).get("message")
    # a reload also tries to end the dead process, and reports that this failed
    if not message or "DagsterUserCodeUnreachableError" in message:
        return None
    return str(message).strip().splitlines()[-1]
