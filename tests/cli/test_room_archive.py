"""The room's archive: the circled takes of a filter, complete, one video at a time; omitted takes are named."""

import hashlib
import io
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from deliverykit import Depot
from verdictkit import a_verdict

from resources.export.archive import LEFT_OUT
from resources.ledger.records import Attempt
from resources.ledger.verdicts import Word, judge
from resources.room.clip_filter import ClipFilter
from resources.room.page_requests import RoomHouse
from resources.room.selects import FilteredSelects
from resources.room.server import RoomServer
from resources.series.review_rules import ReviewRules
from resources.storage.reader import BucketReader

pytestmark = pytest.mark.slow


def a_take(depot: Depot, clip: str, *, series: str = "bay", circled: bool = True) -> Attempt:
    (made,) = depot.deliver(depot.finished(clip, series=series))
    judge(depot.ledger, a_verdict(made, Word.CIRCLED if circled else Word.REJECTED))
    return made


def a_room(depot: Depot, folder: Path) -> RoomServer:
    house = RoomHouse(depot.ledger, depot.store, ReviewRules, dict, None, folder)
    return RoomServer(house, user_header="X-Forwarded-User")


def test_the_circled_takes_of_the_filter_are_one_complete_archive(depot: Depot, tmp_path: Path) -> None:
    dawn, dusk = a_take(depot, "bay-dawn"), a_take(depot, "bay-2026-11-20-dusk")
    a_take(depot, "bay-night", circled=False)
    a_take(depot, "cape-noon", series="cape")
    with (
        a_room(depot, tmp_path) as room,
        httpx.Client(base_url=room.url, trust_env=False, timeout=120) as client,
    ):
        assert client.get("selects.zip?series=bay").status_code == 403, "no user is named"
        client.headers["X-Forwarded-User"] = "eve"
        told = client.get("api/selects?series=bay&show=waiting").json()
        assert (told["takes"], told["left_out"]) == (2, 0)
        answer = client.get("selects.zip?series=bay&show=waiting")
        assert client.get("api/selects?q=noon").json()["takes"] == 1
        assert client.get("api/selects?series=nowhere").json()["takes"] == 0
        named = client.get('selects.zip?series=../"x').headers["content-disposition"]
        dated = client.get("selects.zip?day=2026-11-20%0d%0aX-Y: z/\u00e9").headers
    assert named == 'attachment; filename="x.zip"'
    assert dated["content-disposition"] == 'attachment; filename="selects-2026-11-20.zip"'
    assert answer.headers["content-disposition"] == 'attachment; filename="bay.zip"'
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    assert archive.testzip() is None
    stems = ["bay/2026-11-20/bay-2026-11-20-dusk-take1", "bay/undated/bay-dawn-take1"]
    there = [f"{stem}{end}" for stem in sorted(stems, reverse=True) for end in (".mp4", ".json")]
    assert sorted(archive.namelist()) == sorted([*there, "contact-sheet.webp", "SHA256SUMS"])
    for attempt, stem in zip((dusk, dawn), stems, strict=True):
        manifest = depot.manifest(attempt)
        assert hashlib.sha256(archive.read(f"{stem}.mp4")).hexdigest() == manifest.object.sha256
        assert archive.read(f"{stem}.json") == manifest.to_json_bytes()
    if shutil.which("sha256sum"):
        archive.extractall(tmp_path / "out")
        subprocess.run(
            ["sha256sum", "--strict", "-c", "SHA256SUMS"],
            cwd=tmp_path / "out",
            check=True,
            capture_output=True,
        )
    assert list((tmp_path / "archives").iterdir()) == [], "no video is left on the disk"


def test_an_unavailable_take_is_named_and_the_others_are_in_the_archive(depot: Depot, tmp_path: Path) -> None:
    bad, gone = a_take(depot, "bay-bad"), a_take(depot, "bay-gone")
    a_take(depot, "bay-good")
    key = depot.manifest(bad).object.key
    whole = depot.store.get_bytes(key) or b""
    depot.store.put_bytes(key, whole[:-1] + b"?", content_type="video/mp4", overwrite=True)
    assert depot.store.discard(f"videos/bay-gone/{gone.id}.json")
    found = FilteredSelects.of(depot.ledger, ClipFilter(series="bay"))
    archive = zipfile.ZipFile(io.BytesIO(b"".join(found.pieces(depot.store, tmp_path))))
    assert [name for name in archive.namelist() if name.endswith(".mp4")] == [
        "bay/undated/bay-good-take1.mp4"
    ]
    told = archive.read(LEFT_OUT).decode()
    assert "bay-bad, take 1: s3://" in told
    assert "has other bytes than its manifest says" in told
    assert "bay-gone, take 1: s3://" in told
    assert LEFT_OUT in archive.read("SHA256SUMS").decode()


def test_a_video_is_fetched_only_after_the_previous_one_was_sent(
    depot: Depot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        a_take(depot, f"bay-{name}")
    asked: list[str] = []
    real = BucketReader.get_file

    def get_file(self: BucketReader, key: str, path: Path) -> Any:
        asked.append(key)
        return real(self, key, path)

    monkeypatch.setattr(BucketReader, "get_file", get_file)
    found = FilteredSelects.of(depot.ledger, ClipFilter(series="bay"))
    pieces = found.pieces(depot.store, tmp_path)
    assert asked == []
    assert len(next(pieces)) < 1_000_000
    assert len(asked) == 1
    (folder,) = (tmp_path / "archives").iterdir()
    pieces.close()  # type: ignore[attr-defined]
    assert not folder.exists(), "a client that disconnects leaves nothing on the disk"
    assert len(asked) == 1
