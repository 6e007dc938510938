"""What Dagster's storage holds of a delivered clip, and the pictures that its page shows instead."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from pipelinekit import House

from pipelines.picture_server import PictureServer
from resources.errors import UnavailableError
from resources.storage.objects import ObjectStore

CLIPS = 5
BYTES_A_CLIP = 18_000
"""In one copy; fourteen events have envelopes of 8 kB that are Dagster's own."""


def rows(storage: Path) -> dict[str, list[str]]:
    """The events in every file of Dagster's storage: SQLite has an asset's event in the run's file and in the index."""
    found = {}
    for file in storage.rglob("history/runs/*.db"):
        with sqlite3.connect(file) as connection:
            found[file.stem] = [event for (event,) in connection.execute("SELECT event FROM event_logs")]
    return found


def test_a_delivered_clip_takes_some_kilobytes_of_dagsters_storage_and_has_its_prompt_once(
    house: House,
) -> None:
    prompt = "A quiet view of {{ subject }}, at dawn, from the water, with gulls. " * 8
    keys = house.declare("bay", [f"c{number}" for number in range(CLIPS)], prompt=prompt)
    house.add(keys)
    assert house.produce(keys).green
    for events in rows(house.data.parent / "dagster").values():
        about = [event for event in events if any(key in event for key in keys)]
        size = sum(map(len, about))
        assert size / CLIPS < BYTES_A_CLIP, [(len(event), event[:300]) for event in sorted(about, key=len)]
        assert not any("base64" in event for event in events)
        text = "A quiet view of the c1, at dawn"
        assert [event.count(text) for event in about if text in event] == [8]


async def answer(app: PictureServer, method: str, path: str) -> tuple[int, dict[bytes, bytes], bytes]:
    """What a page gets."""
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
