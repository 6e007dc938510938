"""The pictures of a clip in Dagster: poster, strip and contact sheet, and the event of a clip in quarantine."""

import base64

import dagster as dg

from pipelines.lineage import UPLOADED_VIDEOS
from resources.errors import DailiesError
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.production.series_sheets import Sheet
from resources.storage.layout import poster_key, quarantined, strip_key
from resources.storage.objects import ObjectStore

MAX_PICTURE_BYTES = 64_000
"""Larger pictures are left out of the event log, which keeps every event for ever."""
MAX_SHEET_BYTES = 256_000
"""The same limit for a contact sheet; a run writes one of them, and fifty posters."""
SHOWN = {AttemptState.DELIVERED, AttemptState.QUARANTINED}


class Pictures:
    """Reads pictures for events. After one failure it does not ask the bucket again, since each try takes a minute.

    Args:
        store: The bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._answers = True

    def of(self, attempt: Attempt) -> dict[str, dg.MetadataValue]:
        """Poster and strip of a stored clip, if they exist and are small enough for events."""
        if attempt.state not in SHOWN:
            return {}
        place = quarantined if attempt.state is AttemptState.QUARANTINED else str
        keys = {"poster": poster_key(attempt.clip, attempt.id), "strip": strip_key(attempt.clip, attempt.id)}
        found = {name: self._read(place(key)) for name, key in keys.items()}
        return {name: as_picture(name, data) for name, data in found.items() if data is not None}

    def _read(self, key: str) -> bytes | None:
        if not self._answers:
            return None
        try:
            data = self._store.get_bytes(key)
        except DailiesError:
            self._answers = False
            return None
        return None if data is None or len(data) > MAX_PICTURE_BYTES else data


def as_picture(name: str, data: bytes) -> dg.MetadataValue:
    """A WebP picture as metadata. Dagster sanitizes Markdown but shows images, data URIs too (dagster-io/dagster#13443)."""
    return dg.MetadataValue.md(f"![{name}](data:image/webp;base64,{base64.b64encode(data).decode()})")


def quarantine_event(attempt: Attempt, pictures: Pictures) -> dg.AssetObservation:
    """The event of a clip that failed a check. An observation changes no colour: the clip stays red."""
    delivery = attempt.delivery or {}
    checks = delivery.get("checks", {})
    return dg.AssetObservation(
        asset_key=UPLOADED_VIDEOS,
        partition=attempt.clip,
        description=f"kept in quarantine: {attempt.reason}",
        metadata={
            **pictures.of(attempt),
            "why": dg.MetadataValue.text(attempt.reason or ""),
            "failed_checks": ", ".join(name for name, outcome in checks.items() if outcome == "failed"),
            "s3": str(delivery.get("uri", "")),
            "manifest": str(delivery.get("manifest_uri", "")),
            "to_accept_it": f"dailies accept {attempt.clip}",
            "to_make_it_again": f"dailies retry {attempt.clip}",
        },
    )


CONTACT_SHEETS = dg.AssetKey("contact_sheets")
contact_sheets = dg.AssetSpec(
    CONTACT_SHEETS,
    deps=[UPLOADED_VIDEOS],
    description=(
        "The posters of one series and day as one picture. Every run that delivers clips makes it anew; clips that failed a "
        "check have a red frame. The history has a sheet for each series and day."
    ),
    group_name="dailies",
    kinds={"s3", "webp"},
    owners=["team:video"],
    code_version="1",
    tags={"dailies/stage": "show"},
)


def sheet_event(sheet: Sheet) -> dg.AssetMaterialization:
    """The event of a contact sheet."""
    metadata: dict[str, dg.MetadataValue | str | int] = {
        "series": sheet.series,
        "day": sheet.day,
        "s3": sheet.uri,
        "clips": dg.MetadataValue.text(", ".join(sheet.clips)),
        "failed": dg.MetadataValue.text(", ".join(sheet.failed) or "none"),
        "without_picture": dg.MetadataValue.text(", ".join(sheet.missing) or "none"),
    }
    if len(sheet.picture) <= MAX_SHEET_BYTES:
        metadata["sheet"] = as_picture("sheet", sheet.picture)
    return dg.AssetMaterialization(CONTACT_SHEETS, metadata=metadata)
