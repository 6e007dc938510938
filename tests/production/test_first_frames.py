"""A finish that begins with its draft's first frame: the frame is stored with the draft, uploaded like any file, and part of request and manifest."""

# ruff: noqa: F811 - the fixtures of the test of every endpoint

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from pictures import put
from verdictkit import a_verdict

from resources.catalogue import DataFolder
from resources.catalogue.file_types import sniff
from resources.declared.problems import ProblemsError
from resources.file_references import FIRST_FRAME, FileReference
from resources.inventory import bucket_audit
from resources.inventory.bucket_audit import take_stock
from resources.inventory.repairs import Repair, Repairer
from resources.ledger import queue
from resources.ledger.finishes import finish_request, judge_and_finish
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.schema import uploads
from resources.ledger.states import AttemptState
from resources.money import show_usd
from resources.orders import ClipRequest
from resources.planning import offer_finish
from resources.production.delivery import Deliverer
from resources.production.engine import Engine
from resources.production.ledger_rebuild import _request_in_bucket
from resources.production.request_files import RequestFiles
from resources.sandbox import RunningSandbox
from resources.series import load_series
from resources.storage.download import DownloadPolicy
from resources.storage.layout import frame_key, manifest_key, prompt_key
from resources.storage.manifest import Manifest
from resources.storage.objects import ObjectStore
from tests.production.test_every_endpoint import (  # noqa: F401
    CATALOGUE,
    _in_a_hurry,
    data,
    ledger,
    produce,
    sandbox,
    store,
    with_engine,
)

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("lent_inspector")]

SERIES = """\
name: SERIES
endpoint: bytedance/seedance-2.0/image-to-video
provider: wavespeed
parameters: {duration: 5, resolution: 720p}
prompt: A boat on calm water.
review: person
clips: [{name: hero}]
draft:
  endpoint: alibaba/wan-2.5/text-to-video
  provider: wavespeed
  parameters: {resolution: 480p}
  first_frame: image
"""


def draft_of(
    sandbox: RunningSandbox,
    ledger: Ledger,
    store: ObjectStore,
    data: Path,
    series: str,
) -> tuple[ClipRequest, Attempt]:
    """A delivered draft, and its request."""
    put(data, "series/one.yaml", SERIES.replace("SERIES", series).encode())
    declarations = load_series(data, CATALOGUE)
    assert declarations.problems == []
    request = declarations.render(declarations.series[series].clip("hero"))
    store.put_bytes(
        prompt_key(request.clip, request.fingerprint),
        request.model_dump_json().encode(),
        content_type="application/json",
    )
    return request, produce(sandbox, ledger, store, data, request)


def carry(
    sandbox: RunningSandbox,
    ledger: Ledger,
    store: ObjectStore,
    data: Path,
    finish: Attempt,
) -> Attempt:
    """Buy and deliver a queued finish, as the completion sensor does."""

    async def work(engine: Engine) -> None:
        policy = DownloadPolicy(allowed_origins=frozenset({sandbox.url}))
        with Deliverer(engine, store, policy=policy, scratch=data) as deliverer:
            for _ in range(600):
                await engine.step("wavespeed")
                now = ledger.attempts([finish.id])[finish.id]
                if now.state is AttemptState.SUCCEEDED:
                    await deliverer.deliver(now, run_id="run-2")
                    return
                assert now.state in {AttemptState.QUEUED, AttemptState.SUBMITTED}, now.reason
                await asyncio.sleep(0.1)

    with_engine(sandbox, ledger, data, "wavespeed", work, store=store)
    return ledger.attempts([finish.id])[finish.id]


def circled(ledger: Ledger, draft: Attempt) -> Attempt:
    offer = offer_finish(ledger, draft)
    _, ordered = judge_and_finish(ledger, a_verdict(draft), at_most_micros=offer.ceiling)
    assert ordered is not None
    assert ordered.finish is not None
    return ordered.finish


def manifest_in(store: ObjectStore, attempt: Attempt) -> Manifest:
    kept = store.get_bytes(manifest_key(attempt.clip, attempt.id))
    assert kept is not None
    return Manifest.from_json_bytes(kept, where="here")


def test_the_provider_gets_the_first_frame_of_the_circled_draft(
    sandbox: RunningSandbox,
    ledger: Ledger,
    store: ObjectStore,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request, draft = draft_of(sandbox, ledger, store, data, "frames")
    planned = request.planned_finish
    assert planned is not None
    assert planned.body["image"] == str(FIRST_FRAME)
    offer = offer_finish(ledger, draft)
    assert (show_usd(planned.price_micros), offer.price) == ("$1.20", "$1.20"), "image to video"

    # the frame of the stored video is in the bucket, under its digest
    kept = manifest_in(store, draft).first_frame
    assert kept is not None
    picture = store.get_bytes(kept.key)
    assert picture is not None
    assert kept.key == frame_key(draft.clip, hashlib.sha256(picture).hexdigest())
    seen = sniff(picture)
    assert seen is not None
    shown = (draft.delivery or {})["video"]
    assert (seen.extension, seen.width, seen.height) == (".png", shown["width"], shown["height"])

    finish = circled(ledger, draft)
    frame = FileReference(kept.key, kept.sha256, is_in_bucket=True)
    assert finish.request.body["image"] == str(frame)
    assert finish.request.finishes is not None
    assert finish.request.finishes.first_frame == str(frame)

    # the process dies after the upload and before it claims the POST
    with monkeypatch.context() as dying:
        dying.setattr(queue, "claim_next", _dies)
        with_engine(sandbox, ledger, data, "wavespeed", lambda engine: engine.step("wavespeed"), store=store)
    with ledger.read() as connection:
        (address,) = connection.execute(
            sa.select(uploads.c.url).where(uploads.c.sha256 == kept.sha256)
        ).scalars()
    assert ledger.attempts([finish.id])[finish.id].state is AttemptState.QUEUED
    delivered = carry(sandbox, ledger, store, data, finish)
    assert delivered.state is AttemptState.DELIVERED, delivered.reason
    jobs = httpx.get(f"{sandbox.url}/admin/books").json()["jobs"]
    (job,) = [job for job in jobs if job["body"].get("image") == address]
    assert (job["id"], job["endpoint"]) == (delivered.job_id, "bytedance/seedance-2.0/image-to-video")
    assert httpx.get(address, trust_env=False).content == picture

    manifest = manifest_in(store, delivered)
    assert manifest.body["image"] == str(frame), "the manifest names the frame, not a provider's address"
    assert manifest.finishes is not None
    assert manifest.finishes.first_frame == str(frame)
    again = _request_in_bucket(store, manifest)
    assert again is not None
    assert (again.body, again.fingerprint) == (finish.request.body, finish.fingerprint), (
        "the form that a rebuild reads"
    )


def _dies(*_: Any, **__: Any) -> Any:
    raise RuntimeError("killed")


def _changed(store: ObjectStore, key: str) -> None:
    store.put_bytes(key, b"\x89PNG\r\n\x1a\nanother", content_type="image/png", overwrite=True)


def _gone(store: ObjectStore, key: str) -> None:
    store.discard(key)


@pytest.mark.parametrize(
    ("lost", "why"), [(_gone, "is gone from the bucket"), (_changed, "is not what was stored")]
)
def test_a_frame_that_differs_from_the_stored_one_is_not_sent(
    sandbox: RunningSandbox,
    ledger: Ledger,
    store: ObjectStore,
    data: Path,
    lost: Callable[[ObjectStore, str], None],
    why: str,
) -> None:
    _, draft = draft_of(sandbox, ledger, store, data, f"frames{lost.__name__.replace('_', '-')}")
    key = (draft.delivery or {})["first_frame"]["key"]
    before = len(httpx.get(f"{sandbox.url}/admin/books").json()["jobs"])
    with ledger.read() as connection:
        without = replace(draft, stored_delivery={**(draft.delivery or {}), "first_frame": None})
        refused = finish_request(connection, without)
    assert (
        refused
        == "the finish begins with the first frame of this draft, which is not stored; circle another take"
    )
    finish = circled(ledger, draft)
    lost(store, key)
    with_engine(sandbox, ledger, data, "wavespeed", lambda engine: engine.step("wavespeed"), store=store)
    now = ledger.attempts([finish.id])[finish.id]
    assert now.state is AttemptState.REJECTED
    assert why in str(now.reason)
    assert len(httpx.get(f"{sandbox.url}/admin/books").json()["jobs"]) == before


def test_a_request_reads_no_other_object_of_the_bucket(store: ObjectStore, data: Path) -> None:
    store.put_bytes("ledger.json", b"{}", content_type="application/json", overwrite=True)
    secret = FileReference("ledger.json", hashlib.sha256(b"{}").hexdigest(), is_in_bucket=True)
    with pytest.raises(ProblemsError, match="not a file that a request may name"):
        RequestFiles(DataFolder(data), store).read(secret)


def test_the_audit_finds_a_missing_first_frame_and_makes_it_again(
    sandbox: RunningSandbox, ledger: Ledger, store: ObjectStore, data: Path
) -> None:
    _, draft = draft_of(sandbox, ledger, store, data, "frames-again")
    kept = (draft.delivery or {})["first_frame"]
    picture = store.get_bytes(kept["key"])

    def missing() -> list[str]:
        # the audit runs by a clock that is ahead: a listing may be late, so the audit leaves newer takes out
        with pytest.MonkeyPatch.context() as later:
            later.setattr(bucket_audit, "RECENT_SECONDS", -60.0)
            stock = take_stock(ledger, store)
        assert kept["key"] not in [key for key, _ in stock.stray]
        repairer = Repairer(ledger, store, policy=DownloadPolicy(), scratch=data)
        mended.extend(repairer.repair(stock))
        return [one.key for one in stock.missing if one.take.attempt == draft.id]

    mended: list[Repair] = []
    assert missing() == []
    store.discard(kept["key"])
    assert missing() == [kept["key"]]
    assert [(one.key, one.done) for one in mended if one.key == kept["key"]] == [(kept["key"], True)]
    assert store.get_bytes(kept["key"]) == picture
    assert missing() == []
