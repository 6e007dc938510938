"""The events of each clip in Dagster: one materialization per asset and clip, with the metadata that people look for.

Each clip's event is logged separately, so that each clip has its own colour; `lineage.py` has the tags that the events need. Dagster
keeps each event twice and for months, so only the event of `prompts` has the prompt, and pictures are addresses.
"""

from collections.abc import Iterable
from typing import Any

import dagster as dg

from pipelines.clip_pictures import pictures_of
from pipelines.lineage import (
    GENERATIONS,
    PROMPTS,
    SELECTS,
    SUBMISSIONS,
    UPLOADED_VIDEOS,
    ShownEvents,
    version_tags,
)
from pipelines.select_events import select_event
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.ledger import heartbeats
from resources.ledger.outage import RIDE_OUT_SECONDS, repeat_unrecorded
from resources.ledger.records import Attempt
from resources.ledger.selects import selects_of
from resources.ledger.states import AttemptState
from resources.money import to_usd
from resources.production.batch import Stage
from resources.video.credentials import stored_credentials

ASSET_OF_STAGE = {
    Stage.SUBMITTED: SUBMISSIONS,
    Stage.GENERATED: GENERATIONS,
    Stage.DELIVERED: UPLOADED_VIDEOS,
}


def stage_event(shown: ShownEvents, stage: Stage, attempt: Attempt) -> dg.AssetMaterialization:
    """The materialization of a clip that has reached a stage.

    Args:
        shown: The events of the inputs.
        stage: The stage that was reached.
        attempt: The purchase that reached it.
    """
    asset, version = ASSET_OF_STAGE[stage], data_version(stage, attempt)
    match stage:
        case Stage.SUBMITTED:
            inputs, metadata = {PROMPTS: attempt.fingerprint}, _submission_metadata(attempt)
        case Stage.GENERATED:
            inputs = {SUBMISSIONS: data_version(Stage.SUBMITTED, attempt)}
            metadata = _generation_metadata(attempt)
        case _:
            inputs = {GENERATIONS: data_version(Stage.GENERATED, attempt)}
            metadata = _video_metadata(attempt, attempt.delivery or {})
    return dg.AssetMaterialization(
        asset_key=asset,
        partition=attempt.subject_key,
        metadata={name: value for name, value in metadata.items() if value is not None},
        tags=version_tags(shown, asset, attempt.subject_key, data_version=version, inputs=inputs),
    )


def data_version(stage: Stage, attempt: Attempt) -> str:
    """The data version of a stage: it changes exactly when the purchase, the job or the bytes change."""
    match stage:
        case Stage.SUBMITTED:
            return attempt.id
        case Stage.GENERATED:
            return attempt.job_id or attempt.id
        case Stage.DELIVERED:
            return str((attempt.delivery or {}).get("sha256", attempt.id))
        case Stage.DECIDED:
            raise ValueError("a decision has no event")


def show_again(context: dg.AssetExecutionContext, production: Production, keys: Iterable[str]) -> None:
    """Log the green clips of a range again before its run fails.

    A failing run turns red every key of its range that it does not log.
    """
    selected = context.run.asset_selection
    clips_to_show = list(keys)
    try:
        with production.ledger(patience=RIDE_OUT_SECONDS) as ledger:
            repeat_unrecorded(heartbeats.check, ledger, context.run.run_id)
            # if one take of several has failed, a delivered one keeps its clip green
            newest, current = (
                repeat_unrecorded(ledger.latest, clips_to_show),
                repeat_unrecorded(ledger.shown, clips_to_show),
            )
    except DailiesError as error:
        context.log.warning("the green clips cannot be logged again and turn red: %s", error)
        return
    shown = ShownEvents(context.instance, newest)
    for clip, attempt in newest.items():
        for stage, asset in ASSET_OF_STAGE.items():
            green = _green(stage, attempt, current.get(clip))
            if green is not None and (not selected or asset in selected):
                context.log_event(stage_event(shown, stage, green))
                shown.logged(asset, clip)


def show_selects_again(
    context: dg.AssetExecutionContext, production: Production, keys: Iterable[str]
) -> None:
    """Log the selects of a range again before its run fails, since their own step will not run."""
    if SELECTS not in (context.run.asset_selection or ()):
        return
    wanted = list(keys)
    with production.ledger(patience=RIDE_OUT_SECONDS) as ledger:
        chosen = repeat_unrecorded(selects_of, ledger, wanted)
    shown = ShownEvents(context.instance, chosen)
    for select in chosen.values():
        context.instance.report_runless_asset_event(select_event(shown, select))


def _green(stage: Stage, newest: Attempt, current: Attempt | None) -> Attempt | None:
    """The purchase that makes a clip green at a stage; None if the clip is not green."""
    if stage <= _reached(newest):
        return newest
    # a failed new take turns the clip red although an older one is delivered; an open or unsent take changes nothing
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


def _asked_for(attempt: Attempt) -> str | None:
    """The endpoint that was ordered, if a fallback was bought instead."""
    asked = attempt.request.asked
    return f"{asked.endpoint} ({asked.provider})" if asked is not None else None


def _submission_metadata(attempt: Attempt) -> dict[str, Any]:
    return {
        "asked_for": _asked_for(attempt),
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


def _generation_metadata(attempt: Attempt) -> dict[str, Any]:
    return {
        "asked_for": _asked_for(attempt),
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


def _video_metadata(attempt: Attempt, delivery: dict[str, Any]) -> dict[str, Any]:
    facts = delivery.get("video", {})
    width, height = facts.get("width"), facts.get("height")
    return {
        **pictures_of(attempt),
        "asked_for": _asked_for(attempt),
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
        "frames_per_second": facts.get("fps"),
        "video_codec": facts.get("video_codec"),
        "audio_codec": facts.get("audio_codec"),
        "content_credentials": str(stored_credentials(delivery) or "not verified"),
        "warnings": "; ".join(delivery.get("warnings", ())) or None,
        "accepted": delivery.get("accepted"),
    }
