"""Events as they lie in SQLite: Dagster's own JSON, compressed. Nine tenths of it are words that each event repeats.

Deflate finds these words in a dictionary that is known before. `storage_export.py` writes the events back as text.
"""

import functools
import json
import zlib
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

DRIVER = "sqlite+packed"
"""SQLite, where a text that lies there as bytes is a packed one."""
LEVEL = 6


def _entry(data: str, label: str = "", value: str = '"text": "') -> str:
    return (
        f'{{"__class__": "EventMetadataEntry", "description": null, "entry_data": {{"__class__": "{data}", {value}'
        f'"}}, "label": "{label}"}}, '
    )


def _envelope(event_type: str, step: str, data: str) -> str:
    """An event of a step, without what differs."""
    handle = f'{{"__class__": "SolidHandle", "name": "{step}", "parent": null}}'
    return (
        f'{{"__class__": "EventLogEntry", "dagster_event": {{"__class__": "DagsterEvent", "event_specific_data": {data}, '
        f'"event_type_value": "{event_type}", "logging_tags": {{"job_name": "produce_clips", "op_name": "{step}", '
        f'"resource_fn_name": "None", "resource_name": "None", "run_id": "", "step_key": "{step}"}}, '
        f'"message": "Materialized value uploaded_videos.", "pid": 1, "pipeline_name": "produce_clips", '
        f'"solid_handle": {handle}, "step_handle": {{"__class__": "StepHandle", "key": "{step}", "solid_handle": {handle}}}, '
        f'"step_key": "{step}", "step_kind_value": "COMPUTE"}}, "error_info": null, "level": 10, "message": "", '
        f'"pipeline_name": "produce_clips", "run_id": "", "step_key": "{step}", "timestamp": 17960379, '
        '"user_message": "Materialized value uploaded_videos."}'
    )


@functools.cache
def words() -> bytes:
    """The dictionary. **Never to be changed**: what was packed with it is not read without it. A test holds its digest."""
    text, number, markdown = "TextMetadataEntryData", "FloatMetadataEntryData", "MarkdownMetadataEntryData"
    picture = '"md_str": "![{0}](/pictures/videos/'
    entries = "".join(
        (
            _entry(markdown, "poster", picture.format("poster")),
            _entry(markdown, "strip", picture.format("strip") + ".strip.webp)"),
            *(
                _entry(number, label, '"value": 0.')
                for label in ("price_usd", "duration_seconds", "frames_per_second", "cost_usd", "seconds_waited")
            ),
            _entry("IntMetadataEntryData", "size_bytes", '"value": 1'),
            _entry("TimestampMetadataValue", "submitted_at", '"value": 17960379'),
            _entry("JsonMetadataEntryData", "request", '"data": {"aspect_ratio": "16:9", "duration": 5, "generate_audio": true, "resolution": "720p"'),
            _entry(text, "prompt"),
            _entry(text, "asked_for"),
            _entry(text, "warnings", '"text": "it looks like , an earlier clip of the series'),
            _entry(text, "content_credentials", '"text": "absent'),
            _entry(text, "audio_codec", '"text": "aac'),
            _entry(text, "video_codec", '"text": "h264'),
            _entry(text, "resolution", '"text": "1280x720'),
            _entry(text, "cost_known_from", '"text": "quote'),
            *(_entry(text, label) for label in ("decision", "provider", "attempt", "sha256", "model_served", "endpoint")),
            _entry(text, "s3", '"text": "s3://prompts/.json'),
            _entry(text, "s3", '"text": "s3://videos/.mp4'),
            _entry(text, "manifest", '"text": "s3://videos/.json'),
            _entry(text, "job_id"),
        )
    )  # fmt: skip
    tags = "".join(
        f'"dagster/input_data_version/{name}": "", "dagster/input_event_pointer/{name}": "'
        for name in ("characters", "prompts", "submissions", "generations")
    )
    made = (
        '{"__class__": "StepMaterializationData", "asset_lineage": [], "materialization": {"__class__": "AssetMaterialization", '
        '"asset_key": {"__class__": "AssetKey", "path": ["uploaded_videos"]}, "description": null, "metadata_entries": ['
        f'{entries}], "partition": "", "tags": {{"dagster/code_version": "1", "dagster/data_version": "", {tags}"}}}}}}'
    )
    plan = (
        '{"__class__": "EventLogEntry", "dagster_event": {"__class__": "DagsterEvent", "event_specific_data": {"__class__": '
        '"AssetMaterializationPlannedData", "asset_key": {"__class__": "AssetKey", "path": ["generations"]}, "partition": "", '
        '"partitions_subset": null}, "event_type_value": "ASSET_MATERIALIZATION_PLANNED", "logging_tags": {}, '
        '"message": "produce_clips intends to materialize asset [\\"generations\\"]", "pid": null, "pipeline_name": '
        '"produce_clips", "solid_handle": null, "step_handle": null, "step_key": "produce", "step_kind_value": null}, '
        '"error_info": null, "level": 10, "message": "", "pipeline_name": "produce_clips", "run_id": "", "step_key": "produce", '
        '"timestamp": 17960379, "user_message": ""}'
    )
    return "".join(
        (
            plan.replace("generations", "prompts").replace('"produce"', '"prompts"'),
            plan,
            _envelope("ASSET_MATERIALIZATION", "prompts", made.replace(entries, "").replace("uploaded_videos", "prompts")),
            _envelope("ASSET_MATERIALIZATION", "produce", made),
        )
    ).encode()  # fmt: skip


@functools.cache
def _packer() -> Any:
    return zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS, 9, zlib.Z_DEFAULT_STRATEGY, words())


def pack(event: str) -> bytes:
    """An event's JSON, compressed, with a checksum and with the name of its dictionary."""
    packer = _packer().copy()  # to read the dictionary anew would take longer than the event
    return bytes(packer.compress(_in_utf8(event)) + packer.flush())


def unpack(stored: str | bytes | None) -> str | None:
    """An event's JSON, however it lies there.

    Raises:
        zlib.error: The bytes are damaged, or packed with other words.
    """
    if not isinstance(stored, bytes):
        return stored
    unpacker = zlib.decompressobj(zlib.MAX_WBITS, words())
    event = unpacker.decompress(stored)
    if not unpacker.eof:
        raise zlib.error("the event is cut off")
    return event.decode()


def _in_utf8(event: str) -> bytes:
    """The letters of other scripts as such, and not as six signs each."""
    if "\\u" in event:
        try:
            return json.dumps(json.loads(event), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            pass  # half of a pair, which strangers' text may contain
    return event.encode()


class _PackedText(sa.Text):
    """A text column that may hold packed events."""

    def result_processor(self, dialect: Any, coltype: Any) -> Any:  # noqa: ARG002 - SQLAlchemy's own form
        """How a value is read."""
        return unpack


class Dialect(SQLiteDialect_pysqlite):
    """SQLite's, whose texts may be packed."""

    driver = "packed"
    supports_statement_cache = True
    colspecs = {**SQLiteDialect_pysqlite.colspecs, sa.Text: _PackedText}  # noqa: RUF012 - SQLAlchemy's own form


registry.register("sqlite.packed", __name__, "Dialect")
