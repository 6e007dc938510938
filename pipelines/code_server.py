"""Dagster's code server with cheap run workers and less frequent heartbeats: `python -m pipelines.code_server code-server start ...`.

The arguments are those of `dagster`. Dagster's own sends a heartbeat to the process that holds the code each second, over a new
connection, and its main thread wakes ten times a second, which was half the cost of an idle code server. Two private constants are
replaced: one of Dagster, one of grpc. The process that holds the code is this module, too, and forks its run workers
(`pipelines.run_workers`); for that, two private names of Dagster's are replaced.
"""

import os
from collections.abc import Sequence

from dagster._cli import main
from dagster._grpc import client, server
from grpc import _common  # type: ignore[import-untyped]

from pipelines.run_workers import fork_run_workers
from resources.log_lines import use_setting, writes_json

HEARTBEAT_SECONDS = 10
"""How often the code server sends a heartbeat to the process that holds the code, which ends after 30 s without one."""
WAKE_SECONDS = 1.0
"""How long the main thread may take to react to a signal."""


def run() -> None:
    """Run the `dagster` command of this process's arguments."""
    use_setting()
    if writes_json():
        # the process that holds the code writes its first lines before it loads our code, and Dagster does not pass this option on
        os.environ.setdefault("DAGSTER_CLI_API_GRPC_LOG_FORMAT", "json")
    server.get_python_environment_entry_point = _this_module  # type: ignore[attr-defined]
    fork_run_workers()
    client.CLIENT_HEARTBEAT_INTERVAL = HEARTBEAT_SECONDS
    _common.MAXIMUM_WAIT_TIMEOUT = WAKE_SECONDS
    main()  # type: ignore[no-untyped-call]


def _this_module(executable_path: str) -> Sequence[str]:
    """The command with which the process that holds the code starts, before its arguments."""
    return [executable_path, "-m", "pipelines.code_server"]


if __name__ == "__main__":
    run()
