"""Size of a delivered clip in Dagster's storage, and the bucket's pictures on its page."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from botocore.httpsession import URLLib3Session
from pipelinekit import House

from pipelines.packed_events import unpack
from pipelines.picture_server import PictureServer
from resources.errors import UnavailableError
from resources.storage.objects import ObjectStore

CLIPS = 10
TEXT_A_CLIP = 18_000
"""Bytes of the events as Dagster writes them; their envelopes are 8 kB."""
BYTES_A_CLIP = 10_000
"""Bytes of the files, with indexes and tags."""
EVENTS_A_CLIP = 9


def events_of(storage: Path, keys: Collection[str]) -> list[str]:
    """The events of some clips in all files of Dagster's storage, unpacked."""
    found: list[str] = []
    for file in storage.rglob("history/runs/*.db"):
        with sqlite3.connect(file) as connection:
            rows = connection.execute("SELECT partition, event FROM event_logs").fetchall()
        found += [unpack(event) or "" for key, event in rows if key in keys]
    return found


def stored(storage: Path) -> int:
    """Bytes of the pages of all files that hold Dagster's runs and events."""
    total = 0
    for file in storage.rglob("history/**/*.db"):
        with sqlite3.connect(file) as connection:
            connection.execute("PRAGMA wal_checkpoint")
            total += connection.execute("SELECT sum(pgsize) FROM dbstat").fetchone()[0]
    return total


def test_a_delivered_clip_takes_some_kilobytes_of_dagsters_storage_and_has_its_prompt_once(
    house: House,
) -> None:
    prompt = "A quiet view of {{ subject }}, at dawn, from the water, with gulls. " * 8
    (first,) = house.declare("creek", ["c0"])
    keys = house.declare("bay", [f"c{number}" for number in range(CLIPS)], prompt=prompt)
    house.add([first, *keys])
    assert house.produce([first]).green
    storage = house.data.parent / "dagster"
    before = stored(storage)
    assert house.produce(keys).green
    # a run has about thirty events of its own
    assert (stored(storage) - before) / CLIPS < BYTES_A_CLIP
    about = events_of(storage, keys)
    assert len(about) == EVENTS_A_CLIP * CLIPS, "each event is stored once"
    size = sum(map(len, about))
    assert size / CLIPS < TEXT_A_CLIP, [(len(event), event[:300]) for event in sorted(about, key=len)]
    assert not any("base64" in event for event in about)
    text = "A quiet view of the c1, at dawn"
    assert [event.count(text) for event in about if text in event] == [8]


def test_a_clip_takes_eight_requests_to_the_bucket(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six objects are stored; two that nothing may overwrite are read first, since S3 servers may ignore conditions."""
    asked: Counter[str] = Counter()
    send = URLLib3Session.send

    def counted(session: URLLib3Session, request: Any) -> Any:
        path = request.url.partition("?")[0].partition("//")[2].split("/", 2)[2]
        if path.startswith(("videos/", "prompts/", "quarantine/")):
            asked[f"{request.method} {path.split('/')[0]} {path.rpartition('.')[2]}"] += 1
        return send(session, request)

    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    monkeypatch.setattr(URLLib3Session, "send", counted)
    assert house.produce(keys).green
    assert {what: number / len(keys) for what, number in asked.items()} == {
        "PUT prompts json": 1,
        "PUT videos mp4": 1,
        "PUT videos webp": 2,
        "PUT videos json": 2,
        "HEAD videos mp4": 1,
        "HEAD videos json": 1,
    }


async def answer(app: PictureServer, method: str, path: str) -> tuple[int, dict[bytes, bytes], bytes]:
    """The answer that a page gets."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("a picture needs no body")

    await app({"type": "http", "method": method, "path": path}, receive, send)
    start, *bodies = sent
    return start["status"], dict(start["headers"]), b"".join(body["body"] for body in bodies)


async def dagster(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"Dagster"})


def test_the_webserver_shows_the_pictures_of_the_bucket_and_nothing_else_of_it(house: House) -> None:
    (key,) = house.declare("bay", ["east"])
    house.add([key])
    assert house.produce([key]).green
    video = house.shown("uploaded_videos", key)
    app = PictureServer(dagster, house.production.store)

    def get(path: str, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes]:
        return asyncio.run(answer(app, method, path))

    for name in ("poster", "strip"):
        path = str(video[name]).removeprefix(f"![{name}](").removesuffix(")")
        status, headers, body = get(path)
        assert (status, headers[b"content-type"], body[8:12]) == (200, b"image/webp", b"WEBP")
        assert body == house.get(path.removeprefix("/pictures/"))
        assert get(path, "HEAD")[2] == b""
        assert get(path, "POST")[0] == 404
    assert get("/assets")[2] == b"Dagster"

    house.put("ledger.webp", b"a secret")
    take = str(video["s3"]).split("/", 3)[3].removesuffix(".mp4")
    for other in (
        f"{take}.mp4",
        f"{take}.json",
        "ledger.json",
        "ledger.webp",
        f"videos/{key}/../../ledger.webp",
        f"videos/{key}/nobody.webp",
        "",
    ):
        assert get(f"/pictures/{other}")[0] == 404, other


def test_a_bucket_that_does_not_answer_costs_only_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def store() -> ObjectStore:
        raise UnavailableError("the bucket does not answer")

    app = PictureServer(dagster, store)
    assert asyncio.run(answer(app, "GET", "/pictures/videos/bay-east/a1.webp"))[0] == 404
