"""How the ledger stores orders and deliveries: without what nearly every purchase says alike.

In full, an order and a delivery were 3.1 of the 7.4 kB that a purchase took: the usual settings of a series, addresses that follow
from another one, checks that passed, names that the row has in its columns. The form in the database holds what differs and
stays JSON that a person can read and SQL can search. What it leaves out stands here, apart from the defaults of the program: rows
rely on it for ever, so nothing here is ever changed. A form is used only if it reads back as what was stored.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

Json = dict[str, Any]

ORDER: Json = {
    "account": None,
    "expected": dict.fromkeys(("width", "height", "shape", "duration", "audio", "fps")),
    "usual_seconds": None,
    "max_seconds": 1800.0,
    "sunset_at": None,
    "cast": {},
    "seed": None,
    "kind": "clip",
    "keys": None,
    "takes": 1,
    "slot": 1,
    "take_seed": None,
    "declared_fingerprint": None,
    "max_attempts": 1,
    "caps": dict.fromkeys(("per_run", "per_day", "per_month", "total")),
    "checks": {
        "size": "fail",
        "duration": "fail",
        "duration_seconds": 0.2,
        "frame_rate": "warn",
        "fps": None,
        "codecs": "warn",
        "video_codecs": ["h264", "hevc", "av1", "vp9"],
        "audio_codecs": ["aac", "mp3", "opus"],
        "audio": "fail",
        "coverage": "fail",
        "coverage_seconds": 1.0,
        "silence": "fail",
        "silence_seconds": 5.0,
        "black": "fail",
        "black_seconds": 2.0,
        "frozen": "fail",
        "frozen_seconds": 3.0,
        "model": "fail",
        "nsfw": "fail",
        "credentials": "warn",
        "duplicate": "warn",
        "duplicate_bits": 6,
    },
    "review": {"by": "none", "within_seconds": None, "otherwise": "hold"},
    "fallbacks": [],
    "asked": None,
    "owner": None,
    "tags": {},
    "edited": None,
    "finish": None,
    "finishes": None,
}
"""What a stored order leaves out, besides the values of its row's columns (`order_columns`)."""

_TRACK: Json = {"start": 0.0, "gap": None, "missing_seconds": 0.0}
DELIVERY: Json = {
    "video": {
        "video_codec": "h264",
        "audio_codec": "aac",
        "has_audio": True,
        "truncated": False,
        "faststart": True,
        "c2pa": False,
        "trailing_bytes": 0,
        "speeds": False,
        "picture": _TRACK,
        "sound": _TRACK,
        "pixel_aspect": 1.0,
        "rotation": 0,
    },
    "credentials": {
        "state": "absent",
        "problems": [],
        "signed_by": None,
        "signed_at": None,
        "made_with": None,
        "source_types": [],
    },
    "checks": {
        "whole": "passed",
        "size": "passed",
        "duration": "passed",
        "frame_rate": "passed",
        "codecs": "passed",
        "audio": "passed",
        "coverage": "passed",
        "black": "passed",
        "frozen": "passed",
        "silence": "passed",
        "model": "passed",
        "nsfw": "passed",
        "credentials": "skipped",
        "duplicate": "passed",
    },
    "accepted": None,
    "warnings": [],
}
"""What a stored delivery leaves out, besides what follows from its `uri` and `size`."""
_FORM, _SHORT, _SHORTER = "form", "short", 2
"""Marks a short delivery, so that what an earlier dailies did not record is never filled in. `_SHORTER` is a short delivery with
`folder` instead of `uri`, digests in base64, and tracks that end with the video."""
_FOLDER = "folder"
_BASE64 = "="
"""How a digest in base64 begins. In hex, the digests of a delivery took 232 bytes instead of 158."""
_DIGESTS = ("sha256", "look")


class StoredTake(NamedTuple):
    """The columns of a purchase's row that name its objects in the bucket."""

    clip: str
    attempt: str

    @property
    def video(self) -> str:
        """How the address of its video ends."""
        return f"/{self.clip}/{self.attempt}.mp4"


def order_columns(clip: str, series: str, provider: str, endpoint: str) -> Json:
    """The columns of a purchase's row that its stored order leaves out, by the order's names."""
    return {"clip": clip, "series": series, "provider": provider, "endpoint": endpoint}


def json_text(value: object) -> str:
    """The JSON that is stored: without spaces, and in UTF-8 if the text allows it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # half of a character, in a provider's answer: no database stores it, its escape every one
        return json.dumps(value, separators=(",", ":"))
    return text


def short_order(order: Json, columns: Json) -> Json:
    """What is stored of an order.

    Args:
        columns: `order_columns` of its row.
    """
    usual = {**ORDER, **columns}
    short = _without(order, usual)
    return short if _with(short, usual) == order else order


def whole_order(stored: Json, columns: Json) -> Json:
    """An order from what is stored of it.

    Args:
        columns: `order_columns` of its row.
    """
    return _with(stored, {**ORDER, **columns})


def whole_review(stored: object) -> object:
    """The review of an order, from the stored `review`, which is None if the review is the usual one."""
    if stored is None or isinstance(stored, dict):
        return _with(stored or {}, ORDER["review"])
    return stored


def short_delivery(delivery: Json, take: StoredTake) -> Json:
    """What is stored of a delivery."""
    short = _packed(_without(delivery, _usual(delivery, _SHORTER)), take) | {_FORM: _SHORTER}
    return short if whole_delivery(short, take) == delivery else delivery


def whole_delivery(stored: Json, take: StoredTake) -> Json:
    """A delivery from what is stored of it."""
    form = stored.get(_FORM)
    if form not in {_SHORT, _SHORTER}:
        return stored
    short = _unpacked(stored, take)
    whole = _with(short, _usual(short, form))
    del whole[_FORM]
    return whole


def whole_look(stored: str) -> str:
    """The perceptual hash of a video in hex, from the stored `look` of a delivery."""
    return str(_in_hex(stored))


def _packed(short: Json, take: StoredTake) -> Json:
    packed = {name: _in_base64(value) if name in _DIGESTS else value for name, value in short.items()}
    uri = short.get("uri")
    if isinstance(uri, str) and uri.endswith(take.video):
        del packed["uri"]
        packed[_FOLDER] = uri.removesuffix(take.video)
    return packed


def _unpacked(stored: Json, take: StoredTake) -> Json:
    short = {name: _in_hex(value) if name in _DIGESTS else value for name, value in stored.items()}
    if _FOLDER in short:
        short["uri"] = f"{short.pop(_FOLDER)}{take.video}"
    return short


def _in_base64(digest: object) -> object:
    try:
        octets = bytes.fromhex(digest) if isinstance(digest, str) else b""
    except ValueError:
        return digest
    return f"{_BASE64}{base64.b64encode(octets).decode()}" if octets.hex() == digest else digest


def _in_hex(digest: object) -> object:
    if isinstance(digest, str) and digest.startswith(_BASE64):
        return base64.b64decode(digest.removeprefix(_BASE64)).hex()
    return digest


def _usual(delivery: Json, form: object) -> Json:
    """What follows from the address, size and duration of a video, and the rest that a delivery leaves out."""
    uri, video = str(delivery.get("uri")), delivery.get("video")
    take = uri.removesuffix(".mp4")
    usual = {**DELIVERY["video"], "size_bytes": delivery.get("size")}
    if form == _SHORTER:
        ends = {**_TRACK, "end": video.get("duration") if isinstance(video, dict) else None}
        usual |= {"picture": ends, "sound": ends}
    return {
        "key": uri.removeprefix("s3://").partition("/")[2],
        "manifest_uri": f"{take}.json",
        "poster_uri": f"{take}.webp",
        "strip_uri": f"{take}.strip.webp",
        **DELIVERY,
        "video": usual,
    }


def _without(whole: Mapping[str, Any], usual: Mapping[str, Any]) -> Json:
    short: Json = {}
    for name, value in whole.items():
        if name not in usual:
            short[name] = value
        elif value != usual[name]:
            nested = isinstance(value, dict) and isinstance(usual[name], dict)
            short[name] = _without(value, usual[name]) if nested else value
    return short


def _with(short: Mapping[str, Any], usual: Mapping[str, Any]) -> Json:
    whole: Json = {}
    for name, value in usual.items():
        given = short.get(name, {} if isinstance(value, dict) else value)
        if isinstance(value, dict) and isinstance(given, dict):
            given = _with(given, value)
        # a copy, because callers may change it
        whole[name] = list(given) if given is value and isinstance(value, list) else given
    whole.update((name, value) for name, value in short.items() if name not in usual)
    return whole
