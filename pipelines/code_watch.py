"""How often webserver and daemon check whether the code server was replaced: a private constant of Dagster.

Checks once a second from each took a fifth of an idle stack's CPU.
"""

from dagster._grpc import server_watcher

WATCH_SECONDS = 15
"""How long a reload of the code location may go unnoticed."""


def watch_calmly() -> None:
    """Check every `WATCH_SECONDS`. Call this before the workspace is loaded."""
    server_watcher.WATCH_INTERVAL = WATCH_SECONDS
