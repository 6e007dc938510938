"""The manifest: canonical, read back unchanged, free of signatures, and described by its published schema."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from resources.storage.manifest import (
    SCHEMA_FILE,
    TRAINED_ALGORITHMIC_MEDIA,
    Acceptance,
    Cost,
    Disclosure,
    Manifest,
    ManifestError,
    StoredObject,
    Times,
    manifest_schema,
    utc,
)
from resources.video.facts import VideoFacts
from resources.video.judge import Check


def a_manifest(**changes: object) -> Manifest:
    values = {
        "clip": "city-sunset-2026-11-20-hero",
        "series": "city-sunset",
        "prompt": "Sonnenuntergang über der Stadt",
        "fingerprint": "f" * 64,
        "body": {"prompt": "Sonnenuntergang über der Stadt", "duration": 4},
        "provider": "wavespeed",
        "account": "wavespeed",
        "endpoint": "openai/sora-2/text-to-video",
        "endpoint_served": None,
        "attempt": "a1",
        "decision": "run:1",
        "submission": "s1",
        "job": "j1",
        "run_id": None,
        "times": Times(
            submitted=datetime(2026, 11, 20, 10, 0, tzinfo=timezone(timedelta(hours=1))),
            finished=datetime(2026, 11, 20, 9, 2, tzinfo=UTC),
            delivered=datetime(2026, 11, 20, 9, 2, 3, tzinfo=UTC),
            waited_seconds=120.0,
        ),
        "cost": Cost.of(400_000, state="confirmed", source="quote"),
        "object": StoredObject(
            key="videos/c/a1.mp4",
            uri="s3://b/videos/c/a1.mp4",
            size=10,
            sha256="0" * 64,
            content_type="video/mp4",
        ),
        "poster": None,
        "video": VideoFacts(
            width=720,
            height=1280,
            duration=4.0,
            fps=24.0,
            video_codec="h264",
            audio_codec=None,
            has_audio=False,
            size_bytes=10,
            truncated=False,
            faststart=True,
            c2pa=False,
        ),
        "disclosure": Disclosure(c2pa=False),
    }
    return Manifest.model_validate(values | changes)


def test_a_manifest_is_read_back_unchanged_and_equal_ones_have_equal_bytes() -> None:
    manifest = a_manifest()
    data = manifest.to_json_bytes()
    assert Manifest.from_json_bytes(data, where="s3://b/k") == manifest
    assert Manifest.from_json_bytes(data, where="s3://b/k").to_json_bytes() == data
    turned = a_manifest(body={"duration": 4, "prompt": "Sonnenuntergang über der Stadt"})
    assert turned.to_json_bytes() == data


def test_times_are_utc_and_money_is_exact() -> None:
    plain = json.loads(a_manifest().to_json_bytes())
    assert plain["times"]["submitted"] == "2026-11-20T09:00:00Z"
    assert (plain["cost"]["micros"], plain["cost"]["usd"]) == (400_000, "0.4")
    assert Cost.of(1, state="confirmed").usd == "0.000001"
    assert Cost.of(None, state="indeterminate").usd is None
    assert utc(0) == datetime(1970, 1, 1, tzinfo=UTC)
    with pytest.raises(ValidationError, match="same amount"):
        Cost(micros=400_000, usd="4", state="confirmed")


def test_a_manifest_declares_its_clip_as_made_by_ai() -> None:
    plain = json.loads(a_manifest().to_json_bytes())
    assert plain["disclosure"]["digital_source_type"].endswith("/digitalsourcetype/trainedAlgorithmicMedia")


def test_signed_addresses_lose_their_signature() -> None:
    body = {
        "prompt": "see https://example.com/?q=1 for the mood",
        "image": "https://user:pw@bucket.example.com/a.png?X-Amz-Signature=canary#f",
        "images": [{"url": "http://cdn.example.com/b.png?token=canary"}],
        "broken": "https://[canary?token=canary",
    }
    text = a_manifest(body=body).to_json_bytes().decode()
    assert "canary" not in text
    assert "user:pw" not in text
    assert "https://bucket.example.com/a.png" in text
    assert "https://example.com/?q=1 for the mood" in text, "a prompt is stored as it was sent"


@pytest.mark.slow
def test_every_manifest_fits_the_published_schema() -> None:
    schema = manifest_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    plain = json.loads(a_manifest().to_json_bytes())
    jsonschema.validate(plain, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain | {"surprise": 1}, schema)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"{}", "clip"),
        (b"not json", "JSON"),
        (
            a_manifest().to_json_bytes().replace(b'"manifest_version": 2', b'"manifest_version": 3'),
            "manifest_version",
        ),
    ],
)
def test_an_invalid_manifest_is_an_error_with_its_address(data: bytes, sentence: str) -> None:
    with pytest.raises(
        ManifestError, match=rf"s3://b/k is not a manifest of version 2 or older: .*{sentence}"
    ):
        Manifest.from_json_bytes(data, where="s3://b/k")


def test_the_published_schema_is_the_one_of_this_version() -> None:
    published = json.loads((Path(__file__).parents[2] / SCHEMA_FILE).read_text(encoding="utf-8"))
    assert published == manifest_schema(), "run `python -m resources.storage.manifest`"


def test_a_manifest_of_the_first_version_is_still_read() -> None:
    old = json.loads(a_manifest().to_json_bytes())
    for name in ("strip", "look", "accepted", "spare"):
        del old[name]
    old |= {"manifest_version": 1, "differences": ["it lasts 10.00 s, asked for were 5 s"]}
    old["disclosure"] = {"digital_source_type": TRAINED_ALGORITHMIC_MEDIA, "c2pa": False}
    manifest = Manifest.from_json_bytes(json.dumps(old).encode(), where="s3://b/k")
    assert manifest.quarantined_for == "it lasts 10.00 s, asked for were 5 s"
    assert manifest.manifest_version == 2


def test_a_failed_check_quarantines_a_clip_until_a_person_accepts_it() -> None:
    failed = Check(name="black", outcome="failed", detail="the picture is black for 3.0 s")
    warned = Check(name="duplicate", outcome="warned", detail="it looks like clip-b")
    assert a_manifest(checks=[warned]).quarantined_for is None
    apart = a_manifest(checks=[failed, warned])
    assert apart.quarantined_for == "the picture is black for 3.0 s"
    word = Acceptance(by="mira", at=datetime(2026, 11, 20, tzinfo=UTC))
    accepted = apart.model_copy(update={"accepted": word})
    assert (accepted.quarantined_for, accepted.failures) == (None, ["the picture is black for 3.0 s"])
    assert Manifest.from_json_bytes(accepted.to_json_bytes(), where="s3://b/k") == accepted
