"""The manifest of a take, what the ledger keeps of it, and the object that shows which take is current."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from resources.errors import DailiesError
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.providers.registry import title_of
from resources.storage.layout import current_key, manifest_key, quarantined
from resources.storage.manifest import Cost, Disclosure, Manifest, StoredObject, Times, utc
from resources.storage.objects import ObjectStore
from resources.video.facts import Inspection
from resources.video.judge import Check

logger = logging.getLogger("dailies")

TRIES = 5


@dataclass(frozen=True)
class TakeFiles:
    """The stored objects of a take, with the facts and checks of its video."""

    video: StoredObject
    poster: StoredObject | None
    strip: StoredObject | None
    inspection: Inspection | None
    """None if the video cannot be read."""
    checks: Sequence[Check]
    first_frame: StoredObject | None = None
    """The draft's first frame, if its finish begins with that frame."""


def describe(
    attempt: Attempt,
    files: TakeFiles,
    *,
    submission: str | None,
    seed: int | None,
    draft_id: str | None,
    run_id: str,
    now: float,
) -> Manifest:
    """Build the manifest of a stored take.

    Args:
        files: The take's stored objects.
        submission: Id of the accepted POST; None if it is not known.
        seed: The POST's own seed; None if the request sets the seed or the model takes none.
        draft_id: The provider's id of a draft; None if the provider named none.
        run_id: The run that stores the take.
        now: When the take is delivered, in seconds since the epoch.
    """
    inspection = files.inspection
    facts = inspection.video if inspection else None
    model = attempt.served_model or attempt.endpoint
    return Manifest(
        clip=attempt.clip,
        series=attempt.series,
        prompt=attempt.request.prompt,
        edited=attempt.request.edited,
        fingerprint=attempt.fingerprint,
        body=attempt.request.body,
        provider=attempt.provider,
        account=attempt.account,
        endpoint=attempt.endpoint,
        asked=attempt.request.asked,
        endpoint_served=attempt.served_model,
        attempt=attempt.id,
        decision=attempt.decision,
        submission=submission,
        seed=attempt.request.sent_seed if seed is None else seed,
        job=attempt.job_id,
        run_id=run_id,
        times=Times(
            submitted=utc(attempt.submitted_at),
            finished=utc(attempt.finished_at),
            delivered=datetime.fromtimestamp(now, UTC),
            waited_seconds=attempt.waited_seconds,
            inference_seconds=attempt.inference_seconds,
        ),
        cost=Cost.of(attempt.cost_micros, state=attempt.money_state.value, source=attempt.charge_source),
        object=files.video,
        poster=files.poster,
        strip=files.strip,
        video=facts,
        look=inspection.looked.look if inspection and inspection.looked else None,
        slot=attempt.slot,
        spare=attempt.is_spare,
        draft=attempt.is_draft,
        draft_id=draft_id,
        finishes=attempt.request.finishes,
        first_frame=files.first_frame,
        checks=list(files.checks),
        disclosure=Disclosure(
            ai_system_used=f"{title_of(attempt.provider)} {model}",
            c2pa=facts is not None and facts.c2pa,
            credentials=inspection.credentials if inspection else None,
        ),
    )


def delivery_of(manifest: Manifest, store: ObjectStore) -> dict[str, Any]:
    """Select the facts that the ledger keeps of a manifest: enough to show the clip without reading the bucket."""
    key = manifest_key(manifest.clip, manifest.attempt)
    apart, said = manifest.quarantined_for is not None, manifest.accepted
    credentials = manifest.disclosure.credentials
    return {
        "key": manifest.object.key,
        "uri": manifest.object.uri,
        "manifest_uri": store.uri(quarantined(key) if apart else key),
        "poster_uri": manifest.poster.uri if manifest.poster else None,
        "strip_uri": manifest.strip.uri if manifest.strip else None,
        **frame_facts(manifest.first_frame),
        "size": manifest.object.size,
        "sha256": manifest.object.sha256,
        "video": manifest.video.model_dump(mode="json") if manifest.video else {},
        "look": manifest.look,
        "credentials": None if credentials is None else credentials.model_dump(mode="json"),
        "checks": {check.name: check.outcome for check in manifest.checks},
        "accepted": None if said is None else f"by {said.by}" + (f": {said.why}" if said.why else ""),
        "warnings": [check.detail for check in manifest.checks if check.outcome == "warned"],
    }


def frame_facts(frame: StoredObject | None) -> dict[str, Any]:
    """Describe a draft's first frame as the ledger keeps it for the draft's finish; empty without a frame."""
    if frame is None:
        return {}
    return {"first_frame": {"key": frame.key, "size": frame.size, "sha256": frame.sha256}}


def show_current(ledger: Ledger, store: ObjectStore, attempt: Attempt) -> bool:
    """Write `current.json`, which shows the clip's current take. The ledger decides, so a failure here is only logged.

    Args:
        attempt: A take of the clip. Nothing is written for a spare take, or one that is not delivered.

    Returns:
        Whether the bucket agrees with the ledger.
    """
    if attempt.state is not AttemptState.DELIVERED or attempt.is_spare:
        return True
    shown = ledger.current([attempt.clip]).get(attempt.clip)
    for _ in range(TRIES):
        key = current_key(attempt.clip)
        if shown is None:
            # in a series with review, no take is circled yet, or the circle was taken back
            if store.head(key) is not None and not store.discard(key):
                return False
        else:
            document = {"clip": shown.clip, "attempt": shown.id, **(shown.delivery or {})}
            data = json.dumps(document, indent=2, sort_keys=True).encode()
            try:
                store.put_bytes(key, data, content_type="application/json", overwrite=True)
            except DailiesError as error:
                logger.warning("%s is delivered, but %s was not updated: %s", attempt.clip, key, error)
                return False
        # another process may have changed the current take and written it before this write
        now = ledger.current([attempt.clip]).get(attempt.clip)
        if (now and now.id) == (shown and shown.id):
            return True
        shown = now
    return False
