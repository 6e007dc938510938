"""Years of clips in Dagster's storage: partitions, runs and each clip's events, written in bulk.

The product makes the events of one clip; the other clips get copies with their own key, run and time.
"""

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from pipelines.events import ASSET_OF_STAGE, stage_event
from pipelines.lineage import ShownEvents
from pipelines.packed_events import pack, unpack
from pipelines.partitions import CLIPS_PER_RUN, PARTITION
from pipelines.prompt_batch import prompt_event
from resources.ledger.records import Attempt

BATCH = 2_000
EVENT_COLUMNS = "run_id, event, dagster_event_type, timestamp, step_key, asset_key, partition"


def write_dagster_history(
    instance: dg.DagsterInstance, folder: Path, keys: Sequence[str], take: Attempt, job: dg.JobDefinition
) -> int:
    """Write the partitions, runs and events of delivered clips.

    Args:
        instance: The Dagster instance, whose storage is SQLite files in `folder`.
        folder: The instance's home.
        keys: The clips, oldest first.
        take: A delivered take; its events are copied.
        job: The job of its run; the run is copied once for every 50 clips.

    Returns:
        Bytes of events a clip.
    """
    instance.add_dynamic_partitions("clips", list(keys))
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.SUCCESS, tags={PARTITION: take.clip})
    _copy_run(folder, run.run_id, -(-len(keys) // CLIPS_PER_RUN))
    instance.report_runless_asset_event(prompt_event(instance, take.request, None))
    for stage in ASSET_OF_STAGE:
        instance.report_runless_asset_event(stage_event(ShownEvents(instance), stage, take))
    (file,) = folder.rglob("history/runs/index.db")
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        columns = EVENT_COLUMNS.split(", ")
        made = connection.execute(
            f"SELECT id, {EVENT_COLUMNS} FROM event_logs WHERE partition = ? ORDER BY id",
            [take.clip],
        ).fetchall()
        tags = {
            row[0]: connection.execute(
                "SELECT asset_key, key, value FROM asset_event_tags WHERE event_id = ?", [row[0]]
            ).fetchall()
            for row in made
        }
        connection.execute("DELETE FROM event_logs")
        connection.execute("DELETE FROM asset_event_tags")
        events = (
            f"INSERT INTO event_logs (id, {EVENT_COLUMNS}) VALUES ({', '.join('?' * (len(columns) + 1))})"
        )
        for some in _batches(list(enumerate(keys))):
            rows: list[tuple[Any, ...]] = []
            tagged: list[tuple[Any, ...]] = []
            for number, key in some:
                run_id = run_id_of(number // CLIPS_PER_RUN)
                for place, (event_id, _, event, *rest) in enumerate(made):
                    new_id = number * len(made) + place + 1
                    text = (unpack(event) or "").replace(take.clip, key)
                    rows.append((new_id, run_id, pack(text), *rest[:-1], key))
                    tagged += [(new_id, *tag) for tag in tags[event_id]]
            connection.executemany(events, rows)
            connection.executemany(
                "INSERT INTO asset_event_tags (event_id, asset_key, key, value) VALUES (?, ?, ?, ?)", tagged
            )
            connection.commit()
    return sum(len(row[2]) for row in made)


def run_id_of(number: int) -> str:
    """The id of a run, by its number in the history."""
    return str(uuid.UUID(int=number + 1))


def _copy_run(folder: Path, run_id: str, times: int) -> None:
    (file,) = folder.rglob("history/runs.db")
    with sqlite3.connect(file) as connection:
        names = [row[1] for row in connection.execute("PRAGMA table_info(runs)") if row[1] != "id"]
        listed = ", ".join(names)
        row = connection.execute(f"SELECT {listed} FROM runs WHERE run_id = ?", [run_id]).fetchone()
        copies = (
            [value.replace(run_id, run_id_of(number)) if isinstance(value, str) else value for value in row]
            for number in range(times)
        )
        places = ", ".join("?" * len(names))
        connection.executemany(f"INSERT INTO runs ({listed}) VALUES ({places})", copies)
        connection.execute("DELETE FROM runs WHERE run_id = ?", [run_id])


def _batches(values: list[tuple[int, str]]) -> Iterator[list[tuple[int, str]]]:
    return (values[start : start + BATCH] for start in range(0, len(values), BATCH))
