"""What Dagster is told about each clip: one materialization per asset and clip, with what a person wants to see.

Events are logged one by one, so that each clip's colour is its own; see `lineage.py` for the tags they need.
"""

import base64
from collections.abc import Iterable
from typing import Any

import dagster as dg

from pipelines.lineage import GENERATIONS, PROMPTS, SUBMISSIONS, UPLOADED_VIDEOS, version_tags
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.money import to_usd
from resources.production.following import Stage
from resources.storage.layout import poster_key
from resources.storage.objects import ObjectStore

ASSET_OF_STAGE = {
    Stage.SUBMITTED: SUBMISSIONS,
    Stage.GENERATED: GENERATIONS,
    Stage.DELIVERED: UPLOADED_VIDEOS,
}

MAX_POSTER_BYTES = 64_000
"""A larger poster is left out of the event log, which keeps every event for ever."""


class Posters:
    """Reads the posters that events show. A bucket that did not answer once is not asked again: each time costs a minute.

    Args:
        store: The bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._answers = True

    def of(self, attempt: Attempt) -> dg.MetadataValue | None:
        """The poster of a delivered clip; None where there is none, or it is too large to be kept in events."""
        if not self._answers or attempt.state is not AttemptState.DELIVERED:
            return None
        try:
            data = self._store.get_bytes(poster_key(attempt.subject_key, attempt.id))
        except DailiesError:
            self._answers = False
            return None
        if data is None or len(data) > MAX_POSTER_BYTES:
            return None
        # Dagster sanitizes Markdown but shows images, data URIs too (dagster-io/dagster#13443)
        return dg.MetadataValue.md(f"![poster](data:image/webp;base64,{base64.b64encode(data).decode()})")


def stage_event(
    instance: dg.DagsterInstance, stage: Stage, attempt: Attempt, *, posters: Posters | None = None
) -> dg.AssetMaterialization:
    """The materialization that says a clip has reached a stage.

    Args:
        instance: For the lineage.
        stage: What was reached.
        attempt: By which purchase.
        posters: Where the poster is read from, None to leave it out.
    """
    asset, version = ASSET_OF_STAGE[stage], data_version(stage, attempt)
    match stage:
        case Stage.SUBMITTED:
            inputs, metadata = {PROMPTS: attempt.fingerprint}, _of_submission(attempt)
        case Stage.GENERATED:
            inputs = {SUBMISSIONS: data_version(Stage.SUBMITTED, attempt)}
            metadata = _of_generation(attempt)
        case _:
            inputs = {GENERATIONS: data_version(Stage.GENERATED, attempt)}
            metadata = _of_video(attempt, attempt.delivery or {}, posters)
    return dg.AssetMaterialization(
        asset_key=asset,
        partition=attempt.subject_key,
        metadata={name: value for name, value in metadata.items() if value is not None},
        tags=version_tags(instance, asset, attempt.subject_key, data_version=version, inputs=inputs),
    )


def data_version(stage: Stage, attempt: Attempt) -> str:
    """What changes exactly when what a stage made of a clip changes: the purchase, the job, the bytes."""
    match stage:
        case Stage.SUBMITTED:
            return attempt.id
        case Stage.GENERATED:
            return attempt.job_id or attempt.id
        case Stage.DELIVERED:
            return str((attempt.delivery or {}).get("sha256", attempt.id))
        case Stage.DECIDED:
            raise ValueError("nothing is shown of a decision")


def show_again(context: dg.AssetExecutionContext, production: Production, keys: Iterable[str]) -> None:
    """Log the green clips of a range once more before its run fails.

    A failing run turns red every key of its range that it does not log, and what was reached stays reached.
    """
    selected = context.run.asset_selection
    posters = _posters_or_none(production)
    wanted = list(keys)
    try:
        with production.ledger() as ledger:
            newest, current = ledger.latest(wanted), ledger.current(wanted)
    except DailiesError as error:
        context.log.warning("what is green cannot be shown again: %s", error)
        return
    for clip, attempt in newest.items():
        for stage, asset in ASSET_OF_STAGE.items():
            shown = _green(stage, attempt, current.get(clip))
            if shown is not None and (not selected or asset in selected):
                context.log_event(stage_event(context.instance, stage, shown, posters=posters))


def _green(stage: Stage, newest: Attempt, current: Attempt | None) -> Attempt | None:
    """By which purchase a clip is green at a stage; None where it is not."""
    if stage <= _reached(newest):
        return newest
    # a new take that failed is red although an older one is there; one under way, or never sent, changes nothing yet
    undecided = newest.state.is_open or newest.state is AttemptState.WITHDRAWN
    return current if undecided else None


def _reached(attempt: Attempt) -> Stage:
    match attempt.state:
        case AttemptState.DELIVERED:
            return Stage.DELIVERED
        case AttemptState.SUCCEEDED | AttemptState.QUARANTINED | AttemptState.LOST:
            return Stage.GENERATED
        case AttemptState.SUBMITTED | AttemptState.OVERDUE | AttemptState.FAILED | AttemptState.VANISHED:
            return Stage.SUBMITTED
        case _:
            return Stage.DECIDED


def _posters_or_none(production: Production) -> Posters | None:
    try:
        return Posters(production.store())
    except DailiesError:
        return None


def _of_submission(attempt: Attempt) -> dict[str, Any]:
    return {
        "prompt": dg.MetadataValue.text(attempt.request.prompt),
        "endpoint": attempt.endpoint,
        "provider": attempt.provider,
        "job_id": attempt.job_id,
        "attempt": attempt.id,
        "decision": attempt.decision,
        "price_usd": float(to_usd(attempt.quoted_micros)),
        "submitted_at": None
        if attempt.submitted_at is None
        else dg.MetadataValue.timestamp(attempt.submitted_at),
    }


def _of_generation(attempt: Attempt) -> dict[str, Any]:
    return {
        "prompt": dg.MetadataValue.text(attempt.request.prompt),
        "endpoint": attempt.endpoint,
        "model_served": attempt.served_model,
        "provider": attempt.provider,
        "job_id": attempt.job_id,
        "attempt": attempt.id,
        "cost_usd": float(to_usd(attempt.cost_micros)),
        "cost_known_from": attempt.charge_source,
        "seconds_waited": None if attempt.waited_seconds is None else round(attempt.waited_seconds, 1),
        "inference_seconds": attempt.inference_seconds,
    }


def _of_video(attempt: Attempt, delivery: dict[str, Any], posters: Posters | None) -> dict[str, Any]:
    facts = delivery.get("video", {})
    width, height = facts.get("width"), facts.get("height")
    return {
        "poster": None if posters is None else posters.of(attempt),
        "prompt": dg.MetadataValue.text(attempt.request.prompt),
        "endpoint": attempt.endpoint,
        "model_served": attempt.served_model,
        "job_id": attempt.job_id,
        "cost_usd": float(to_usd(attempt.cost_micros)),
        "seconds_waited": None if attempt.waited_seconds is None else round(attempt.waited_seconds, 1),
        "s3": delivery.get("uri"),
        "manifest": delivery.get("manifest_uri"),
        "size_bytes": delivery.get("size"),
        "sha256": delivery.get("sha256"),
        "duration_seconds": facts.get("duration"),
        "resolution": f"{width}x{height}" if width and height else None,
        "width": width,
        "height": height,
        "frames_per_second": facts.get("fps"),
        "video_codec": facts.get("video_codec"),
        "audio_codec": facts.get("audio_codec"),
    }
