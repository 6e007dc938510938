"""The events of selects, by which Dagster shows the clips with a circled take in the asset `selects`."""

from collections.abc import Collection

import dagster as dg

from pipelines.clip_pictures import pictures_of
from pipelines.event_storage import forget_partitions
from pipelines.lineage import (
    PROMPTS,
    SELECTS,
    UPLOADED_VIDEOS,
    ShownEvents,
    input_pointer,
    latest,
    version_tags,
)
from pipelines.partitions import clips
from resources.ledger.ledger import Ledger
from resources.ledger.selects import Select, mark_shown, selects_of, unshown
from resources.money import to_usd


def select_event(shown: ShownEvents, select: Select) -> dg.AssetMaterialization:
    """The materialization of a select."""
    attempt, verdict = select.take.attempt, select.circle.verdict
    delivery = attempt.delivery or {}
    video = shown.latest(UPLOADED_VIDEOS, attempt.clip)
    metadata = {
        **pictures_of(attempt),
        "take": select.take.number,
        "attempt": attempt.id,
        "circled_by": verdict.who,
        "circled_at": dg.MetadataValue.timestamp(select.circle.at),
        "why": verdict.note or None,
        "cost_usd": float(to_usd(attempt.cost_micros)),
        "clip_cost_usd": float(to_usd(select.spent_micros)),
        "endpoint": attempt.endpoint,
        "s3": delivery.get("uri"),
        "manifest": delivery.get("manifest_uri"),
    }
    # stale if Dagster shows a newer take than the newest one at the time of the circle
    inputs = {PROMPTS: attempt.fingerprint, UPLOADED_VIDEOS: (video and video.data_version) or attempt.id}
    return dg.AssetMaterialization(
        SELECTS,
        partition=attempt.clip,
        metadata={name: value for name, value in metadata.items() if value is not None},
        tags=version_tags(shown, SELECTS, attempt.clip, data_version=_version(select), inputs=inputs),
    )


def show_selects(instance: dg.DagsterInstance, ledger: Ledger) -> list[str]:
    """Make Dagster show the verdicts that it does not show yet; returns the changed clips.

    If the process dies, this is repeated, and changes nothing twice.
    """
    unshown_selects = unshown(ledger)
    if not unshown_selects:
        return []
    partitions = set(instance.get_dynamic_partitions(clips.name or "clips"))
    known = [clip for clip in unshown_selects if clip in partitions]
    selects = selects_of(ledger, known)
    # the event of its video comes first, since the select refers to it
    early = {clip for clip, select in selects.items() if select.take.attempt.reported_run_id is None}
    changed = report_selects(instance, ledger, [clip for clip in known if clip not in early])
    changed += _take_away(instance, [clip for clip in known if clip not in selects])
    mark_shown(
        ledger, [verdict for clip, given in unshown_selects.items() if clip not in early for verdict in given]
    )
    return changed


def report_selects(instance: dg.DagsterInstance, ledger: Ledger, keys: Collection[str]) -> list[str]:
    """Log the selects among these clips that Dagster does not show yet; returns their clips."""
    selects = selects_of(ledger, keys)
    shown = ShownEvents(instance, selects)
    # downstream assets react to events, so an unchanged select is not logged again
    new = {clip: select for clip, select in selects.items() if not _is_shown(shown, clip, select)}
    for select in new.values():
        instance.report_runless_asset_event(select_event(shown, select))
    return list(new)


def _is_shown(shown: ShownEvents, clip: str, select: Select) -> bool:
    before, video = shown.latest(SELECTS, clip), shown.latest(UPLOADED_VIDEOS, clip)
    if before is None or before.data_version != _version(select):
        return False
    pointer = input_pointer(shown.instance, SELECTS, clip, UPLOADED_VIDEOS)
    return video is None or pointer == str(video.storage_id)


def _take_away(instance: dg.DagsterInstance, keys: Collection[str]) -> list[str]:
    gone = [clip for clip in keys if latest(instance, SELECTS, clip) is not None]
    if gone:
        forget_partitions(instance, [SELECTS], gone)
        instance.wipe_asset_cached_status([SELECTS])
    return gone


def _version(select: Select) -> str:
    attempt = select.take.attempt
    return str((attempt.delivery or {}).get("sha256", attempt.id))
