"""A private bucket is shown to people who know the address, and nothing of it but the gallery."""

import asyncio
import contextlib
import io
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from botocore.response import StreamingBody
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from resources.gallery import server
from resources.gallery.server import GalleryServer, fetch_object
from resources.room.server import _archive
from resources.storage.embedded import EmbeddedS3
from resources.storage.objects import ObjectStore

pytestmark = pytest.mark.slow

VIDEO = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    with EmbeddedS3(tmp_path_factory.mktemp("s3"), bucket=f"test-{uuid.uuid4().hex[:8]}") as server:
        made = ObjectStore(server.settings)
        made.put_bytes("gallery/index.html", b"<p>pages</p>", content_type="text/html")
        made.put_bytes("videos/bay-dawn/one.mp4", VIDEO, content_type="video/mp4")
        made.put_bytes("videos/bay-dawn/one.json", b"{}", content_type="application/json")
        made.put_bytes("ledger.json", b"{}", content_type="application/json")
        yield made


@pytest.fixture(scope="module")
def url(store: ObjectStore) -> Iterator[str]:
    with GalleryServer(store) as server:
        yield server.url


def get(url: str, **headers: str) -> httpx.Response:
    with httpx.Client(trust_env=False, timeout=60) as client:
        return client.get(url, headers=headers)


def test_pages_and_videos_are_shown(url: str) -> None:
    page = get(url)
    assert (page.status_code, page.text) == (200, "<p>pages</p>")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    video = get(url.replace("gallery/index.html", "videos/bay-dawn/one.mp4"))
    assert (video.content, video.headers["content-type"]) == (VIDEO, "video/mp4")
    assert video.headers["cache-control"] == "no-store"


def test_a_browser_may_seek(url: str) -> None:
    at = url.replace("gallery/index.html", "videos/bay-dawn/one.mp4")
    part = get(at, Range="bytes=100-199")
    assert (part.status_code, part.content) == (206, VIDEO[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(VIDEO)}"
    assert get(at, Range=f"bytes={len(VIDEO) + 5}-").status_code == 416


@pytest.mark.parametrize(
    "key",
    [
        "ledger.json",
        "videos/bay-dawn/one.json",
        "videos/nowhere/one.mp4",
        "gallery/../ledger.json",
        "prompts/x.json",
        "",
    ],
)
def test_nothing_else_of_the_bucket_is_shown(url: str, key: str) -> None:
    assert get(url.replace("gallery/index.html", key.replace("..", "%2e%2e"))).status_code == 404


def test_without_the_token_nothing_is_shown(url: str) -> None:
    token = url.split("/")[3]
    assert get(url.replace(token, "a" * len(token))).status_code == 404
    assert get(url.replace(f"/{token}", "")).status_code == 404


def test_a_foreign_page_cannot_reach_it_by_another_name(url: str) -> None:
    assert get(url, Host="evil.test").status_code == 404
    assert get(url, Origin="http://127.0.0.1:1").status_code == 404
    assert get(url, **{"Sec-Fetch-Site": "same-site"}).status_code == 404
    assert get(url, **{"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_no_other_page_can_show_it_in_a_frame(url: str) -> None:
    shown = get(url).headers
    assert shown["content-security-policy"] == "frame-ancestors 'none'"
    assert shown["x-frame-options"] == "DENY"


def left(response: Response, spec: str) -> None:
    """Make a browser close the connection after the first piece, as servers of two versions of ASGI report it."""
    is_left = asyncio.Event()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            is_left.set()
            if spec == "2.4":
                raise OSError("the browser has closed the connection")
            await asyncio.Event().wait()

    async def receive() -> Any:
        await is_left.wait()
        return {"type": "http.disconnect"}

    with contextlib.suppress(ClientDisconnect):
        asyncio.run(response({"type": "http", "asgi": {"spec_version": spec}}, receive, send))


SPECS = pytest.mark.parametrize("spec", ["2.3", "2.4"], ids="ASGI {}".format)


@SPECS
def test_a_page_that_leaves_a_video_ends_the_connection_to_the_bucket(
    monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    """Each seek leaves one connection. They once stayed open until Python's next garbage collection, after hundreds of seeks."""
    content = io.BytesIO(bytes(4 << 20))
    found = {"Body": StreamingBody(content, 4 << 20), "ContentLength": 4 << 20}
    monkeypatch.setattr(server, "client_for", lambda _: SimpleNamespace(get_object=lambda **_: found))
    store: Any = SimpleNamespace(settings=None, bucket="clips")
    left(fetch_object(store, "videos/bay/take.mp4", None), spec)
    assert content.closed


@SPECS
def test_a_page_that_leaves_an_archive_ends_its_work(spec: str) -> None:
    """It once kept a video on the disk, and a process that inspects pictures."""
    ended: list[str] = []

    def pieces() -> Iterator[bytes]:
        try:
            yield from [b"piece"] * 3
        finally:
            ended.append("ended")

    content = pieces()
    room: Any = SimpleNamespace(person_of=lambda _: None, archive=lambda *_: ("bay.zip", content))
    asked = Request({"type": "http", "method": "GET", "headers": [], "query_string": b"", "path": "/"})

    async def answered() -> Response:
        return await _archive(room)(asked)

    left(asyncio.run(answered()), spec)
    assert ended == ["ended"]
