"""Dagster's code server with calmer threads: `python -m pipelines.code_server code-server start ...`, as `dagster` takes it.

It sent the process that holds the code a sign of life each second, over a new connection, and its main thread woke ten times a second:
half of what an idle code server cost. Two constants are replaced: one of Dagster, one of grpc, both private.
"""

import os

from dagster._cli import main
from dagster._grpc import client
from grpc import _common  # type: ignore[import-untyped]

from resources.log_lines import use_setting, writes_json

HEARTBEAT_SECONDS = 5
"""How often the process that holds the code hears from the code server; it ends after 30 s of silence."""
WAKE_SECONDS = 0.5
"""How long the main thread may take to notice a signal."""


def run() -> None:
    """Run the `dagster` command of this process's arguments."""
    use_setting()
    if writes_json():
        # the process that holds the code writes its first lines before it loads ours; Dagster passes this option on to nobody
        os.environ.setdefault("DAGSTER_CLI_API_GRPC_LOG_FORMAT", "json")
    client.CLIENT_HEARTBEAT_INTERVAL = HEARTBEAT_SECONDS
    _common.MAXIMUM_WAIT_TIMEOUT = WAKE_SECONDS
    main()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    run()
