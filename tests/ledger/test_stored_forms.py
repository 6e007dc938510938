"""Orders and deliveries are stored without their usual values, and read back unchanged."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from explained import HISTORY
from ledgerkit import a_request, queued, read, succeeded

from resources.checks import Checks
from resources.choices import Choice, FinishedDraft, FinishOrder
from resources.ledger.deliveries import record_delivered, record_quarantined
from resources.ledger.ledger import Ledger
from resources.ledger.notes import note_look
from resources.ledger.schema import attempts, notes
from resources.ledger.states import AttemptState
from resources.ledger.stored_forms import (
    DELIVERY,
    ORDER,
    StoredTake,
    json_text,
    order_columns,
    short_delivery,
    short_order,
    whole_delivery,
    whole_order,
)
from resources.orders import Caps, ClipRequest, Expected, Review
from resources.video.credentials import ABSENT
from resources.video.facts import PlayedTrack, VideoFacts

MOST_BYTES = 3_550
"""Bytes of a SQLite file for each purchase of the tests' history; with complete orders and deliveries they were 7,400."""
USUAL = a_request()
CHOICE = Choice(**{name: getattr(USUAL, name) for name in Choice.model_fields})
ODD = a_request(
    account="wavespeed-2",
    takes=3,
    slot=2,
    caps=Caps(per_day=1),
    checks=Checks(audio="off", video_codecs=["h264"]),
    review=Review(by="person"),
    expected=Expected(width=1280, height=720, fps=24.0),
    fallbacks=(CHOICE,),
    tags={"campaign": "x"},
    cast={"mira": "id-1"},
    owner="team:content",
    finish=FinishOrder(choice=CHOICE),
    finishes=FinishedDraft(attempt="1", fingerprint="f"),
)
TAKE = StoredTake("city-sunset", "70eb9a0a96")
COLUMNS = order_columns(USUAL.clip, USUAL.series, USUAL.provider, USUAL.endpoint)
FACTS = VideoFacts(
    width=1280,
    height=720,
    duration=5.04,
    fps=24.0,
    video_codec="h264",
    audio_codec="aac",
    has_audio=True,
    size_bytes=2_928_925,
    truncated=False,
    faststart=True,
    c2pa=False,
    picture=PlayedTrack(start=0.0, end=5.04),
    sound=PlayedTrack(start=0.0, end=4.99),
)


def a_delivery(folder: str = "videos/city-sunset", **changes: Any) -> dict[str, Any]:
    """A delivery in the form of `resources.production.manifests.delivery_of`."""
    take = f"{folder}/{TAKE.attempt}"
    whole = {
        "key": f"{take}.mp4",
        "uri": f"s3://dailies/{take}.mp4",
        "manifest_uri": f"s3://dailies/{take}.json",
        "poster_uri": f"s3://dailies/{take}.webp",
        "strip_uri": f"s3://dailies/{take}.strip.webp",
        "size": 2_928_925,
        "sha256": "af" * 32,
        "video": FACTS.model_dump(mode="json"),
        "look": "ad" * 84,
        "credentials": ABSENT.model_dump(mode="json"),
        "checks": {**DELIVERY["checks"], "frame_rate": "skipped"},
        "accepted": None,
        "warnings": [],
    }
    return whole | changes


def stored(ledger: Ledger, column: sa.Column[Any], attempt: str) -> Any:
    with ledger.read() as connection:
        return connection.execute(sa.select(column).where(attempts.c.id == attempt)).scalar_one()


@pytest.mark.parametrize("request_", [USUAL, ODD], ids=["usual", "odd"])
def test_an_order_is_read_back_unchanged(ledger: Ledger, request_: ClipRequest) -> None:
    attempt = queued(ledger, USUAL) if request_ is USUAL else None
    whole = request_.model_dump(mode="json")
    short = json.loads(json_text(short_order(whole, COLUMNS)))
    assert whole_order(short, COLUMNS) == whole
    assert not short.keys() & COLUMNS.keys()
    assert len(json_text(short)) < len(json_text(whole))
    if attempt is not None:
        assert stored(ledger, attempts.c.request, attempt.id) == short
        assert read(ledger, attempt).request == request_


@pytest.mark.parametrize("name", COLUMNS)
def test_an_order_that_differs_from_its_columns_says_so(name: str) -> None:
    whole = USUAL.model_dump(mode="json")
    columns = {**COLUMNS, name: "another"}
    short = short_order(whole, columns)
    assert short[name] == whole[name]
    assert whole_order(short, columns) == whole


def test_an_order_of_an_older_program_is_read(ledger: Ledger) -> None:
    attempt = queued(ledger, USUAL)
    with ledger.write() as connection:
        old = sa.update(attempts).values(request=USUAL.model_dump(mode="json"))
        connection.execute(old.where(attempts.c.id == attempt.id))
    assert read(ledger, attempt).request == USUAL


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"folder": "quarantine/city-sunset"},
        {"poster_uri": None, "strip_uri": None},
        {"manifest_uri": "s3://elsewhere/x.json"},
        {"video": {}, "credentials": None, "checks": {"whole": "failed"}},
        {"video": FACTS.model_copy(update={"sound": None, "has_audio": False}).model_dump(mode="json")},
        {"sha256": "AF" * 32, "look": None},
        {"folder": "videos/another-clip"},
        {"first_frame": {"key": "frames/x.png", "size": 1, "sha256": "b"}, "accepted": "by mira"},
        {"warnings": ["it looks like clip-a"], "size": 7},
    ],
    ids=json.dumps,
)
def test_a_delivery_is_read_back_unchanged(changes: dict[str, Any]) -> None:
    whole = a_delivery(**changes)
    back = whole_delivery(json.loads(json_text(short_delivery(whole, TAKE))), TAKE)
    assert back == whole
    assert list(back["checks"]) == list(whole["checks"]), "checks are shown in their order"


def test_a_usual_delivery_says_only_what_differs() -> None:
    short = short_delivery(a_delivery(), TAKE)
    assert short == {
        "folder": "s3://dailies/videos",
        "size": 2_928_925,
        "sha256": "=r6+vr6+vr6+vr6+vr6+vr6+vr6+vr6+vr6+vr6+vr68=",
        "video": {
            "width": 1280,
            "height": 720,
            "duration": 5.04,
            "fps": 24.0,
            "sound": {"end": 4.99},
        },
        "look": "=" + base64.b64encode(b"\xad" * 84).decode(),
        "checks": {"frame_rate": "skipped"},
        "form": 2,
    }


def test_a_delivery_of_an_older_program_is_read() -> None:
    old = short_delivery(a_delivery(), TAKE) | {
        "uri": a_delivery()["uri"],
        "sha256": "af" * 32,
        "look": "ad" * 84,
        "form": "short",
    }
    del old["folder"]
    old["video"]["picture"] = {"end": 5.04}
    assert whole_delivery(old, TAKE) == a_delivery()


@pytest.mark.parametrize("missing", ["credentials", "poster_uri", "warnings"])
def test_values_that_an_earlier_dailies_did_not_record_stay_missing(missing: str) -> None:
    old = a_delivery()
    del old[missing]
    assert whole_delivery(old, TAKE) == old
    assert whole_delivery(short_delivery(old, TAKE), TAKE) == old


def test_who_is_given_a_form_may_change_it() -> None:
    whole_delivery(short_delivery(a_delivery(), TAKE), TAKE)["warnings"].append("mine")
    whole_order({}, COLUMNS)["checks"]["video_codecs"].append("mine")
    assert DELIVERY["warnings"] == []
    assert "mine" not in ORDER["checks"]["video_codecs"]


def test_the_omitted_values_never_change() -> None:
    # rows of many years rely on every word; a new field of an order is stored in full
    words = json.dumps([ORDER, DELIVERY], sort_keys=True)
    assert hashlib.sha256(words.encode()).hexdigest()[:16] == "4a0ffd1291c80cf6"


@pytest.mark.parametrize(
    "text", ["朝の港、霧が晴れる", "a NUL \0", "half of \ud83d a character", "\U0001f3ac"]
)
def test_any_text_is_stored_and_read(ledger: Ledger, text: str) -> None:
    attempt = succeeded(ledger)
    record_delivered(ledger, attempt.id, a_delivery(warnings=[text]))
    assert (read(ledger, attempt).delivery or {})["warnings"] == [text]


def test_text_is_stored_in_its_own_bytes() -> None:
    assert json_text({"prompt": "朝"}) == '{"prompt":"朝"}'


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        (lambda ledger, id_: record_delivered(ledger, id_, a_delivery()), 0),
        (lambda ledger, id_: record_delivered(ledger, id_, a_delivery(look=None)), 1),
        (lambda ledger, id_: record_quarantined(ledger, id_, a_delivery(), why="black"), 1),
    ],
    ids=["delivered", "delivered without it", "quarantined"],
)
def test_a_hash_is_stored_once(ledger: Ledger, record: Callable[[Ledger, str], object], kept: int) -> None:
    attempt = succeeded(ledger)
    note_look(ledger, attempt, "ad" * 84)
    record(ledger, attempt.id)
    with ledger.read() as connection:
        assert len(connection.execute(sa.select(notes)).all()) == kept
    other = succeeded(ledger, a_request("clip-b"), job_id="b")
    seen = note_look(ledger, other, "aa")
    delivered = read(ledger, attempt).state is AttemptState.DELIVERED
    assert [one.look for one in seen] == (["ad" * 84] if delivered else [])


@pytest.mark.slow
def test_a_purchase_takes_few_bytes(sqlite_history: Path) -> None:
    assert sqlite_history.stat().st_size / HISTORY < MOST_BYTES
