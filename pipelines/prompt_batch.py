"""Prompts of rendered clips in the bucket and in Dagster, for the asset `prompts` and for the run over scattered clips.

All prompts of a batch are rendered and validated before any is written, and all are written before anything is bought.
"""

from collections.abc import Iterable, Sequence

import dagster as dg
from pydantic import ValidationError

from pipelines.lineage import DATA_VERSION, PROMPTS, ShownEvents, cast_tags, data_versions, version_tags
from pipelines.rendered_clips import Rendered
from resources.dagster_resources import Production
from resources.errors import DailiesError
from resources.money import to_usd
from resources.orders import ClipRequest, shown_body
from resources.storage.layout import prompt_key
from resources.storage.objects import ObjectStore

_written: tuple[str, dict[str, bytes]] = ("", {})
"""What the newest run of this process has written, by key, until its next step reads it."""


def write_prompts(store: ObjectStore, requests: Iterable[ClipRequest], run_id: str) -> dict[str, str]:
    """Store a run's prompts, which the next step of the same run need not read back; returns the address of each clip's."""
    global _written  # noqa: PLW0603 - Dagster's steps share only the process
    addresses, written = {}, {}
    for request in requests:
        addresses[request.clip] = write_prompt(store, request)
        written[store.uri(prompt_key(request.clip, request.fingerprint))] = _as_json(request)
    _written = run_id, written
    return addresses


def _as_json(request: ClipRequest) -> bytes:
    return request.model_dump_json(indent=2).encode()


def write_prompt(store: ObjectStore, request: ClipRequest) -> str:
    """Store a prompt in the bucket under its fingerprint; returns its `s3://` address."""
    key = prompt_key(request.clip, request.fingerprint)
    data = _as_json(request)
    # two machines may render one prompt with different prices or owners: the fingerprint is the same, and the later write wins
    store.put_bytes(key, data, content_type="application/json", overwrite=True)
    return store.uri(key)


def prompt_event(
    instance: dg.DagsterInstance, request: ClipRequest, address: str | None
) -> dg.AssetMaterialization:
    """The materialization of one clip's prompt, with its metadata."""
    metadata: dict[str, dg.MetadataValue] = {
        "prompt": dg.MetadataValue.text(request.prompt),
        "endpoint": dg.MetadataValue.text(request.endpoint),
        "provider": dg.MetadataValue.text(request.provider),
        "request": dg.MetadataValue.json(
            {name: value for name, value in shown_body(request.body).items() if value != request.prompt}
        ),
    }
    if request.edited is not None:
        metadata["edited"] = dg.MetadataValue.text(str(request.edited))
    if request.cast:
        metadata["cast"] = dg.MetadataValue.json(dict(request.cast))
    if request.fallbacks:
        fallbacks = [f"{choice.endpoint} ({choice.provider})" for choice in request.fallbacks]
        metadata["fallbacks"] = dg.MetadataValue.text(", ".join(fallbacks))
    if address is not None:
        metadata["s3"] = dg.MetadataValue.text(address)
    if request.price_micros is not None:
        metadata["price_usd"] = dg.MetadataValue.float(float(to_usd(request.price_micros)))
    return dg.AssetMaterialization(
        asset_key=PROMPTS,
        partition=request.clip,
        metadata=metadata,
        tags=version_tags(
            ShownEvents(instance), PROMPTS, request.clip, data_version=request.fingerprint, inputs={}
        )
        | cast_tags(instance, request.cast),
    )


def show_prompts_again(
    context: dg.AssetExecutionContext, production: Production, requests: Iterable[ClipRequest]
) -> None:
    """Log unchanged prompts again before their run fails because of other clips, so that they stay green."""
    wanted = list(requests)
    shown = data_versions(context.instance, PROMPTS, [request.clip for request in wanted])
    for request in wanted:
        if shown.get(request.clip) == request.fingerprint:
            context.log_event(prompt_event(context.instance, request, _address(production, request)))


def shown_prompts(instance: dg.DagsterInstance, keys: Iterable[str]) -> dict[str, dg.AssetMaterialization]:
    """The newest event of each clip's prompt, by clip, to be logged again; a clip without one is left out."""
    shown = {}
    for key in keys:
        query = dg.AssetRecordsFilter(asset_key=PROMPTS, asset_partitions=[key])
        for record in instance.fetch_materializations(query, limit=1).records:
            if record.asset_materialization is not None:
                shown[key] = record.asset_materialization
    return shown


def _address(production: Production, request: ClipRequest) -> str | None:
    try:
        return production.store().uri(prompt_key(request.clip, request.fingerprint))
    except DailiesError:
        return None


def read_prompts(
    instance: dg.DagsterInstance, store: ObjectStore, keys: Sequence[str], run_id: str
) -> Rendered:
    """Read each clip's newest prompt in Dagster back from the bucket, so that the purchase is the one that Dagster shows.

    What the same run has written a moment ago is read once from memory.
    """
    global _written
    (of_run, written), _written = _written, ("", {})
    read, known = Rendered(), written if of_run == run_id else {}
    shown = data_versions(instance, PROMPTS, keys)
    for key in keys:
        fingerprint = shown.get(key)
        data = None
        if fingerprint is not None:
            place = prompt_key(key, fingerprint)
            data = known.get(store.uri(place)) or store.get_bytes(place)
        if data is None:
            read.problems[key] = (
                "its prompt was not rendered yet: materialize `prompts` too, or run `dailies produce`"
            )
            continue
        request = _request_in(data)
        if request is None or request.clip != key or request.fingerprint != fingerprint:
            read.problems[key] = (
                f"the prompt in the bucket is not the one Dagster shows ({DATA_VERSION} {fingerprint}): "
                "materialize `prompts` again"
            )
            continue
        read.requests[key] = request
    return read


def _request_in(data: bytes) -> ClipRequest | None:
    try:
        return ClipRequest.model_validate_json(data)
    except ValidationError:
        return None
