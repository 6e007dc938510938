"""How often webserver and daemon ask the code server whether it is still the same: one constant of Dagster, which is private.

Once a second from each took a fifth of an idle stack's CPU.
"""

from dagster._grpc import server_watcher

WATCH_SECONDS = 5
"""How long a reloaded code location may stay unnoticed."""


def watch_calmly() -> None:
    """Ask every `WATCH_SECONDS`; call it before the workspace is loaded."""
    server_watcher.WATCH_INTERVAL = WATCH_SECONDS
