"""`dailies fetch`: copies equal the bucket's manifests, and no file of a person is overwritten."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from deliverykit import Depot
from hostile import File
from makers import make_mp4
from typer.testing import CliRunner, Result

from pipelines.cli.app import app
from resources.errors import ConfigurationError
from resources.ledger.records import Attempt
from resources.orders import Expected, Review
from resources.storage.reader import BucketReader

pytestmark = pytest.mark.slow


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def fetched(*words: str) -> dict[str, Any]:
    ran = run("fetch", *words, "--json")
    assert ran.exit_code == 0, ran.output
    document: dict[str, Any] = json.loads(ran.stdout)
    return document


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the downloaded videos."""
    asked: list[str] = []
    real = BucketReader.get_file

    def get_file(self: BucketReader, key: str, path: Path) -> object:
        asked.append(key)
        return real(self, key, path)

    monkeypatch.setattr(BucketReader, "get_file", get_file)
    return asked


def a_take(depot: Depot, clip: str, decision: str = "monday", **changes: Any) -> Attempt:
    (made,) = depot.deliver(depot.finished(clip, decision=decision, series="bay", **changes))
    return made


def files_in(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_circled_takes_are_fetched_once_and_omitted_clips_are_named(
    depot: Depot, tmp_path: Path, downloads: list[str]
) -> None:
    first, second = a_take(depot, "bay-dawn"), a_take(depot, "bay-dawn", "tuesday")
    assert run("circle", "bay-dawn", "1").exit_code == 0
    noon = a_take(depot, "bay-noon")
    a_take(depot, "bay-2026-11-20-dusk", review=Review(by="person"))
    a_take(depot, "bay-night")
    assert run("reject", "bay-night", "--reason", "look").exit_code == 0
    to = tmp_path / "out"
    shown = run("fetch", "bay", "--to", str(to))
    assert shown.exit_code == 0, shown.output
    assert "2 takes in" in shown.stdout
    assert "2 fetched, 0 there before, contact-sheet.webp" in shown.stdout
    assert "bay-2026-11-20-dusk: no take is circled; `dailies takes" in shown.stderr
    assert "bay-night: every take is rejected" in shown.stderr
    stems = ["bay/undated/bay-dawn-take1", "bay/undated/bay-noon-take1"]
    there = ["SHA256SUMS", *(f"{stem}{end}" for stem in stems for end in (".json", ".mp4"))]
    assert files_in(to) == sorted([*there, "contact-sheet.webp"])
    for attempt, stem in zip((first, noon), stems, strict=True):
        manifest = depot.manifest(attempt)
        assert (to / f"{stem}.json").read_bytes() == manifest.to_json_bytes()
        assert hashlib.sha256((to / f"{stem}.mp4").read_bytes()).hexdigest() == manifest.object.sha256
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=to, check=True, capture_output=True)
    assert len(downloads) == 2

    again = fetched("bay", "--to", str(to))
    assert [take["was_there"] for take in again["takes"]] == [True, True]
    assert len(downloads) == 2, "a file with the right bytes is not fetched again"
    everything = fetched("bay", "--to", str(to), "--all-takes")
    assert [(take["clip"], take["take"]) for take in everything["takes"]] == [
        ("bay-dawn", 1),
        ("bay-dawn", 2),
        ("bay-noon", 1),
        ("bay-night", 1),
        ("bay-2026-11-20-dusk", 1),
    ]
    assert (to / "bay" / "2026-11-20" / "bay-2026-11-20-dusk-take1.mp4").is_file()
    assert second.id in (to / "bay" / "undated" / "bay-dawn-take2.json").read_text()
    assert depot.ledger.current(["bay-dawn"])["bay-dawn"].id == first.id, "the current take stays"


def test_a_video_that_differs_from_its_manifest_is_not_written(depot: Depot, tmp_path: Path) -> None:
    dawn, to = a_take(depot, "bay-dawn"), tmp_path / "out"
    a_take(depot, "bay-noon")
    key = depot.manifest(dawn).object.key
    whole = depot.store.get_bytes(key) or b""
    depot.store.put_bytes(key, whole[:-1] + b"?", content_type="video/mp4", overwrite=True)
    shown = run("fetch", "bay", "--to", str(to))
    assert shown.exit_code == 1
    assert "take 1 of bay-dawn: s3://" in shown.stderr
    assert "has other bytes than its manifest says" in shown.stderr
    assert [name for name in files_in(to) if "bay-" in name] == [
        "bay/undated/bay-noon-take1.json",
        "bay/undated/bay-noon-take1.mp4",
    ]
    # a manifest that was replaced together with the video does not match the ledger
    manifest = depot.manifest(dawn)
    other = manifest.model_copy(
        update={"object": manifest.object.model_copy(update={"sha256": "0" * 64})}
    ).to_json_bytes()
    where = f"videos/bay-dawn/{dawn.id}.json"
    depot.store.put_bytes(where, other, content_type="application/json", overwrite=True)
    exchanged = run("fetch", "bay-dawn", "--to", str(to))
    assert (exchanged.exit_code, "not the manifest in the ledger" in exchanged.stderr) == (1, True)
    depot.store.put_bytes(where, manifest.to_json_bytes(), content_type="application/json", overwrite=True)
    depot.store.put_bytes(key, whole, content_type="video/mp4", overwrite=True)
    assert fetched("bay", "--to", str(to))["failed"] == []
    assert (to / "bay" / "undated" / "bay-dawn-take1.mp4").read_bytes() == whole


def test_a_foreign_file_is_never_overwritten(depot: Depot, tmp_path: Path) -> None:
    a_take(depot, "bay-dawn")
    to = tmp_path / "out"
    mine = to / "bay" / "undated" / "bay-dawn-take1.mp4"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"my own cut")
    shown = run("fetch", "bay", "--to", str(to))
    assert (shown.exit_code, mine.read_bytes()) == (1, b"my own cut")
    assert f"{mine} exists with other bytes, and is not overwritten" in shown.stderr
    mine.unlink()
    (to / "contact-sheet.webp").write_bytes(b"my own picture")
    changed = run("fetch", "bay", "--to", str(to))
    assert (changed.exit_code, (to / "contact-sheet.webp").read_bytes()) == (1, b"my own picture")
    assert mine.is_file()
    with pytest.raises(ConfigurationError, match="is not a folder"):
        raise run("fetch", "bay", "--to", str(mine)).exception or AssertionError
    with pytest.raises(ConfigurationError, match="no clip that was bought fits 'bai'"):
        raise run("fetch", "bai", "--to", str(to)).exception or AssertionError


def test_the_timelines_are_read_back_with_lengths_and_links(depot: Depot, tmp_path: Path) -> None:
    otio = pytest.importorskip("opentimelineio")
    for name, seconds, audio in (("long", 3, "aac"), ("mute", 2, None)):
        film = make_mp4(tmp_path / f"{name}.mp4", seconds=seconds, audio=audio)
        depot.server.files[f"/{name}.mp4"] = File(data=film.read_bytes())
    # the file declares dawn before noon; noon was bought first
    a_take(depot, "bay-noon", url=depot.server.url("/mute.mp4"), expected=Expected())
    a_take(depot, "bay-dawn", url=depot.server.url("/long.mp4"), expected=Expected())
    for clip in ("bay-noon", "bay-dawn"):
        assert run("circle", clip).exit_code == 0
    to = tmp_path / "the selects"
    made = fetched("bay", "--to", str(to), "--otio", "--all-takes")
    names = ["timeline.otio", "timeline.edl", "timeline.xml"]
    assert (made["extras"], made["notes"]) == (["contact-sheet.webp", *names], [])

    timeline = otio.adapters.read_from_file(str(to / "timeline.otio"))
    pictures, sounds = timeline.tracks
    assert [clip.name for clip in pictures] == ["bay-dawn-take1", "bay-noon-take1"]
    assert [clip.duration() for clip in pictures] == [
        otio.opentime.RationalTime(72, 24),
        otio.opentime.RationalTime(48, 24),
    ]
    assert all((to / clip.media_reference.target_url).is_file() for clip in pictures)
    assert [type(item).__name__ for item in sounds] == ["Clip", "Gap"]
    digests = [clip.metadata["dailies"]["sha256"] for clip in pictures]
    assert digests == [take["sha256"] for take in made["takes"]]

    edl = otio.adapters.read_from_file(str(to / "timeline.edl"), rate=24)
    (cut,) = edl.tracks
    assert [clip.duration().to_frames() for clip in cut] == [72, 48]
    reels = [clip.metadata["cmx_3600"]["reel"] for clip in cut]
    assert reels == [take["attempt"][:8] for take in made["takes"]], "editors find a file by its reel"
    xml = otio.adapters.read_from_file(str(to / "timeline.xml"))
    links = [clip.media_reference.target_url for clip in xml.tracks[0]]
    expected = [(to / clip.media_reference.target_url).as_uri() for clip in pictures]
    assert links == expected == [clip.media_reference.target_url for clip in cut]
    assert [clip.duration().to_seconds() for clip in xml.tracks[0]] == [3, 2]

    # the next fetch replaces timelines that no person has changed
    assert run("reject", "bay-noon", "--note", "too dark").exit_code == 0
    fetched("bay", "--to", str(to), "--otio")
    (alone, _) = otio.adapters.read_from_file(str(to / "timeline.otio")).tracks
    assert [clip.name for clip in alone] == ["bay-dawn-take1"]
