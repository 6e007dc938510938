"""The pictures of a clip in Dagster: poster, strip and contact sheet, and the event of a clip in quarantine."""

import dagster as dg

from pipelines.lineage import UPLOADED_VIDEOS, our_asset
from pipelines.picture_server import PICTURES
from resources.dagster_names import dagster_names
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.production.series_sheets import Sheet
from resources.storage.layout import poster_key, quarantined, sheet_key, strip_key

SHOWN = {AttemptState.DELIVERED, AttemptState.QUARANTINED}


def pictures_of(attempt: Attempt) -> dict[str, dg.MetadataValue]:
    """Poster and strip of a stored clip, by their addresses at Dagster's webserver."""
    if attempt.state not in SHOWN:
        return {}
    place = quarantined if attempt.state is AttemptState.QUARANTINED else str
    keys = {"poster": poster_key(attempt.clip, attempt.id), "strip": strip_key(attempt.clip, attempt.id)}
    stored = attempt.delivery or {}
    return {name: as_picture(name, place(key)) for name, key in keys.items() if stored.get(f"{name}_uri")}


def as_picture(name: str, key: str) -> dg.MetadataValue:
    """An object of the bucket as a picture on Dagster's page; see `picture_server`."""
    return dg.MetadataValue.md(f"![{name}]({PICTURES}{key})")


def quarantine_event(attempt: Attempt) -> dg.AssetObservation:
    """The event of a clip that failed a check. An observation changes no colour: the clip stays red."""
    delivery = attempt.delivery or {}
    checks = delivery.get("checks", {})
    return dg.AssetObservation(
        asset_key=UPLOADED_VIDEOS,
        partition=attempt.clip,
        description=f"kept in quarantine: {attempt.reason}",
        metadata={
            **pictures_of(attempt),
            "why": dg.MetadataValue.text(attempt.reason or ""),
            "failed_checks": ", ".join(name for name, outcome in checks.items() if outcome == "failed"),
            "s3": str(delivery.get("uri", "")),
            "manifest": str(delivery.get("manifest_uri", "")),
            "to_accept_it": f"dailies accept {attempt.clip}",
            "to_make_it_again": f"dailies retry {attempt.clip}",
        },
    )


CONTACT_SHEETS = our_asset("contact_sheets")
contact_sheets = dg.AssetSpec(
    CONTACT_SHEETS,
    deps=[UPLOADED_VIDEOS],
    description=(
        "The posters of one series and day as one picture. Every run that delivers clips makes it again; clips that failed a "
        "check have a red frame. The history has a sheet for each series and day."
    ),
    group_name=dagster_names().asset_group,
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
        "sheet": as_picture("sheet", sheet_key(sheet.series, sheet.day)),
        "clips": dg.MetadataValue.text(", ".join(sheet.clips)),
        "failed": dg.MetadataValue.text(", ".join(sheet.failed) or "none"),
        "without_picture": dg.MetadataValue.text(", ".join(sheet.missing) or "none"),
    }
    return dg.AssetMaterialization(CONTACT_SHEETS, metadata=metadata)
