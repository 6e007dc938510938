"""fal's own Python client works with the sandbox unchanged, except for the addresses."""

import io
from collections.abc import Iterator
from typing import Any

import fal_client
import httpx
import pytest
from fal_client import client as fal_module
from pictures import png

from resources.sandbox import RunningSandbox, SandboxSettings, running_sandbox

MODEL = "bytedance/seedance-2.0/text-to-video"
BODY = {"prompt": "a boat", "duration": "5", "resolution": "720p", "aspect_ratio": "16:9", "seed": 7}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox(SandboxSettings(job_seconds=0.3, spread=0)) as running:
        yield running


@pytest.fixture
def official(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> fal_client.SyncClient:
    addresses: dict[str, str] = {
        name: f"{sandbox.url}/fal/" if name == "QUEUE_URL_FORMAT" else f"{sandbox.url}/fal"
        for name in ("QUEUE_URL_FORMAT", "REST_URL")
        if hasattr(fal_module, name)
    }
    for name, address in addresses.items():
        monkeypatch.setattr(fal_module, name, address)
    return fal_client.SyncClient(key="sandbox")


@pytest.mark.slow
def test_the_official_client_submits_and_fetches(
    official: fal_client.SyncClient, sandbox: RunningSandbox
) -> None:
    handle = official.submit(MODEL, arguments=BODY)
    # the client's own object needs the addresses of the answer, which lack the rest of the model's id
    assert "/bytedance/seedance-2.0/requests/" in handle.status_url
    result: dict[str, Any] = handle.get()
    assert result["video"]["url"].startswith(f"{sandbox.url}/cdn/")
    assert httpx.get(result["video"]["url"]).content[4:8] == b"ftyp"
    assert isinstance(handle.status(), fal_client.Completed)


def test_the_official_client_subscribes_to_progress(official: fal_client.SyncClient) -> None:
    seen: list[str] = []
    result = official.subscribe(
        MODEL, arguments=BODY, on_queue_update=lambda update: seen.append(type(update).__name__)
    )
    assert result["video"]["url"]
    assert seen[-1] == "Completed"


def test_the_official_client_reads_a_refusal(official: fal_client.SyncClient) -> None:
    with pytest.raises(fal_client.FalClientHTTPError) as refused:
        official.submit(MODEL, arguments={**BODY, "duration": 5})
    assert refused.value.response.status_code == 422


def test_an_uploaded_file_is_served_unchanged(sandbox: RunningSandbox) -> None:
    key = {"Authorization": "Key sandbox"}
    asked = {"content_type": "image/png", "file_name": "boat.png"}
    place = f"{sandbox.url}/fal/storage/upload/initiate?storage_type=gcs"
    ticket = httpx.post(place, json=asked, headers=key).json()
    data = io.BytesIO(png(64, 64)).getvalue()
    put = httpx.put(ticket["upload_url"], content=data, headers={"Content-Type": "image/png"})
    assert put.status_code == 200
    assert httpx.get(ticket["file_url"]).content == data
    # a ticket is for one file, and its host receives no key
    again = httpx.put(ticket["upload_url"], content=data, headers={"Content-Type": "image/png", **key})
    assert again.status_code == 403


def test_the_bill_requires_an_admin_key(sandbox: RunningSandbox) -> None:
    place = f"{sandbox.url}/fal/v1/models/billing-events"
    assert httpx.get(place, headers={"Authorization": "Key sandbox"}).status_code == 403
    assert httpx.get(place, headers={"Authorization": "Key sandbox:admin"}).status_code == 200


def test_the_listing_requires_endpoints_and_shows_ended_requests_only() -> None:
    key = {"Authorization": "Key sandbox"}
    with running_sandbox(SandboxSettings(job_seconds=3600)) as sandbox:
        place = f"{sandbox.url}/fal/v1/models/requests/by-endpoint"
        assert httpx.get(place, headers=key).status_code == 422
        httpx.post(f"{sandbox.url}/fal/{MODEL}", json=BODY, headers=key).raise_for_status()
        shown = httpx.get(place, params={"endpoint_id": MODEL}, headers=key).json()
    assert shown == {"items": [], "next_cursor": None, "has_more": False}


@pytest.mark.parametrize("key", ["Bearer sandbox", "Key wrong", ""])
def test_another_key_is_refused(sandbox: RunningSandbox, key: str) -> None:
    answer = httpx.post(f"{sandbox.url}/fal/{MODEL}", json=BODY, headers={"Authorization": key})
    assert answer.status_code == 401


DRAFTED = "bytedance/seedance-2.5/text-to-video"
FINISHED = "bytedance/seedance-2.5/draft/complete"


@pytest.mark.slow
def test_a_draft_is_finished_as_the_same_shot_by_its_own_account_only(
    official: fal_client.SyncClient, sandbox: RunningSandbox
) -> None:
    wanted = {
        "prompt": "a lamp",
        "draft": True,
        "resolution": "480p",
        "duration": "4",
        "aspect_ratio": "9:16",
    }
    draft = official.subscribe(DRAFTED, wanted)
    finish = official.subscribe(FINISHED, {"draft_id": draft["draft_id"]})
    assert "draft_id" not in finish
    films = [httpx.get(one["video"]["url"]).content for one in (draft, finish)]
    assert all(len(film) > 1_000 for film in films)
    for wrong in ({"draft_id": "unknown"}, {}):
        with pytest.raises(fal_client.FalClientHTTPError):
            official.submit(FINISHED, wrong)
    whole = official.subscribe(DRAFTED, {**wanted, "draft": False})
    assert "draft_id" not in whole
    other = {"Authorization": "Key sandbox.second"}
    answer = httpx.post(f"{sandbox.url}/fal/{FINISHED}", headers=other, json={"draft_id": draft["draft_id"]})
    assert answer.status_code == 422
    assert "not found or expired" in answer.text
