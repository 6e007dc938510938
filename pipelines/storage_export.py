"""`python -m pipelines.storage_export`: what Dagster's own SQLite storage expects, to go back to it.

Events are written back as text, and those of each run also into a file of its run. Nothing else may use the files meanwhile. A
second call changes nothing.
"""

import os
import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sqlite_storage import _event_logs_directory

from pipelines.packed_events import unpack

EVENTS = SqlEventLogStorageTable.c


def write_back(home: Path) -> int:
    """Give Dagster's own storage its text and its files; returns how many runs got a file.

    Args:
        home: DAGSTER_HOME.
    """
    storage = SqliteEventLogStorage(_event_logs_directory(str(home)))
    for run_id in (INDEX_SHARD_NAME, *storage.get_all_run_ids()):
        with storage.run_connection(run_id) as file:
            packed = sa.select(EVENTS.id, EVENTS.event).where(sa.func.typeof(EVENTS.event) == "blob")
            for number, event in file.execute(packed).all():
                text = {EVENTS.event: unpack(event)}
                file.execute(sa.update(SqlEventLogStorageTable).where(EVENTS.id == number).values(text))
    with storage.index_connection() as index:
        known = index.execute(sa.select(EVENTS.run_id).distinct()).scalars().all()
    missing = [run_id for run_id in known if not Path(storage.path_for_shard(run_id)).exists()]
    # a file is made apart, since both storages believe one that is there, also an empty one of an export that was killed
    with tempfile.TemporaryDirectory(dir=_event_logs_directory(str(home))) as folder:
        apart = SqliteEventLogStorage(folder)
        for run_id in missing:
            with storage.index_connection() as index:
                of_run = sa.select(SqlEventLogStorageTable).where(EVENTS.run_id == run_id).order_by(EVENTS.id)
                rows = [dict(row) for row in index.execute(of_run).mappings()]
            with apart.run_connection(run_id) as file:
                # a file numbers its own events
                file.execute(sa.insert(SqlEventLogStorageTable), [{**row, "id": None} for row in rows])
            Path(apart.path_for_shard(run_id)).rename(storage.path_for_shard(run_id))
    storage.dispose()
    return len(missing)


if __name__ == "__main__":
    count = write_back(Path(sys.argv[1] if len(sys.argv) > 1 else os.environ["DAGSTER_HOME"]))
    sys.stdout.write(
        f"wrote the events of {count} runs into files of their own. Now take `storage` out of dagster.yaml.\n"
    )
