"""Dagster's webserver behind the guard: `python -m pipelines.webserver WORKSPACE PORT [HOST]`.

Dagster's own server executes mutations that arrive by GET or in a query, and checks neither Host nor Origin, so any web page
could buy (tried with 1.13.27). This module builds the server from Dagster's parts. Five of them are private:
`WorkspaceProcessContext` and `WorkspaceFileTarget`, which `dagster_webserver.cli` uses too, the cache of the partitions' colours, `code_watch`,
and the engines of Dagster's PostgreSQL storage.
"""

import functools
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dagster import AssetKey, AssetRecordsFilter, DagsterInstance
from dagster._core.storage import partition_status_cache
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__

from pipelines.code_watch import watch_calmly
from pipelines.picture_server import PictureServer
from pipelines.tick_times import tick_times
from resources.authorities import Authority
from resources.dagster_names import dagster_names
from resources.guard import SERVER, Guard, Guarded, check_listening
from resources.health import WithMetrics, WithProbes
from resources.ledger.ledger import Ledger
from resources.log_lines import use_setting
from resources.server_thread import calm_server
from resources.settings import load_settings, open_ledger
from resources.storage.objects import ObjectStore

HOST = "127.0.0.1"
STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, POOL_OVERFLOW = 15_000, 3600, 20
"""For the connections to Dagster's storage, as `dagster-webserver` sets them (dagster_webserver.cli)."""
LIVE_DATA_MS = 2000
"""How often the UI polls for changes."""
LEAVE_SECONDS = 5
PROBE_SECONDS = 2.0
"""How long a probe or a scrape waits for a database that does not answer."""
PICTURE_SECONDS = 5.0
"""How long a request waits for a picture."""


def guard_of(names: frozenset[Authority], users: frozenset[int] = frozenset()) -> Guard:
    """The guard for Dagster, whose UI adds the operation's name to the address of its POSTs and needs a WebSocket.

    Args:
        names: Host names of the proxy.
        users: Ids of other users of this machine who may connect.
    """
    return Guard(
        names=names,
        users=users,
        websockets=True,
        query_of_change=re.compile(r"(op=[A-Za-z0-9_]{1,200})?"),
        operations=frozenset({"graphql"}),
    )


def count_only_what_was_seen() -> None:
    """Prevent Dagster's cache of colours from missing a clip that is materialized while the cache is computed.

    Dagster reads an asset's last materialization and, a moment later, its last planned one, and marks everything up to the later of both
    as counted. A clip that was materialized in between was never counted: it was delivered, but its column stayed grey or red (seen once
    on a busy machine; tried with 1.13.27).
    """
    ask = partition_status_cache.get_last_planned_storage_id

    def last_planned(instance: DagsterInstance, asset_key: AssetKey, asset_record: Any) -> int:
        planned = ask(instance, asset_key, asset_record)
        seen = asset_record.asset_entry.last_materialization_storage_id if asset_record is not None else None
        unseen = instance.fetch_materializations(
            AssetRecordsFilter(asset_key, after_storage_id=seen or 0), limit=1, ascending=True
        ).records
        return min(planned, unseen[0].storage_id - 1) if unseen else planned

    partition_status_cache.get_last_planned_storage_id = last_planned


def ping_before_use(instance: DagsterInstance) -> None:
    """Ping each kept connection to Dagster's PostgreSQL before use, and replace a connection that the server has closed.

    Dagster never checks the webserver's kept connections (1.13.27). After a restart of PostgreSQL, one query of each failed with "server
    closed the connection unexpectedly", and with it a `dailies produce`.

    Args:
        instance: The instance, after its optimization for the webserver, which replaces its engines.
    """
    for storage in (instance.run_storage, instance.event_log_storage, instance.schedule_storage):
        engine = getattr(storage, "_engine", None)
        if isinstance(engine, sa.Engine):
            sa.event.listen(engine, "checkout", _ping_of(engine.dialect))


def _ping_of(dialect: sa.Dialect) -> Callable[[Any, Any, Any], None]:
    def ping(connection: Any, _record: Any, _proxy: Any) -> None:
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise sa.exc.InvalidatePoolError from error

    return ping


def _store() -> ObjectStore:
    settings = load_settings().s3()
    patience = min(PICTURE_SECONDS, settings.ride_out_seconds)
    return ObjectStore(settings.model_copy(update={"ride_out_seconds": patience}))


def _open_ledger() -> Ledger:
    return open_ledger(load_settings(), patience=PROBE_SECONDS)


def serve(workspace: Path, port: int, host: str = HOST) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        workspace: The workspace file with the code location.
        port: The port.
        host: The address to listen at. At any address, the guard serves only requests whose Host is this machine's own or in
            `DAILIES_ALLOWED_HOSTS`.

    Raises:
        resources.errors.ConfigurationError: Invalid setting.
    """
    import uvicorn

    settings = load_settings()
    count_only_what_was_seen()
    watch_calmly()
    check_listening(host, settings.allowed_hosts)
    guard = guard_of(settings.allowed_hosts, settings.allowed_users)
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, POOL_OVERFLOW)
        ping_before_use(instance)
        target = WorkspaceFileTarget([str(workspace)])
        with WorkspaceProcessContext(instance, target, version=__version__) as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=LIVE_DATA_MS)
            ticks = functools.partial(tick_times, instance, dagster_names().location)
            guarded = Guarded(WithMetrics(PictureServer(app, _store), _open_ledger, ticks), guard)
            served: Any = WithProbes(guarded, _open_ledger)
            options = {"host": host, "port": port, "timeout_graceful_shutdown": LEAVE_SECONDS, **SERVER}
            calm_server(uvicorn.Config(served, **options)).run()


if __name__ == "__main__":
    use_setting()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    serve(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4])
