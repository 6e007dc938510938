"""How the ledger stores orders and deliveries: without what nearly every purchase says alike.

In full, an order and a delivery were 3.1 of the 7.4 kB that a purchase took: the usual settings of a series, addresses that follow
from another one, checks that passed. The form in the database holds what differs and stays JSON that a person can read and SQL
can search. What it leaves out stands here, apart from the defaults of the program: rows rely on it for ever, so nothing here is
ever changed. A form is used only if it reads back as what was stored.
"""

import json
from collections.abc import Mapping
from typing import Any

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
"""What a stored order leaves out. A program from before this form reads it too: these were its defaults."""

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
_FORM, _SHORT = "form", "short"
"""Marks a short delivery, so that what an earlier dailies did not record is never filled in."""


def json_text(value: object) -> str:
    """The JSON that is stored: without spaces, and in UTF-8 if the text allows it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # half of a character, in a provider's answer: no database stores it, its escape every one
        return json.dumps(value, separators=(",", ":"))
    return text


def short_order(order: Json) -> Json:
    """What is stored of an order."""
    # an order always has its expected facts, even empty ones: programs from before this form require the field
    short = {"expected": {}, **_without(order, ORDER)}
    return short if _with(short, ORDER) == order else order


def whole_order(stored: Json) -> Json:
    """An order from what is stored of it."""
    return _with(stored, ORDER)


def whole_review(stored: object) -> object:
    """The review of an order, from the stored `review`, which is None if the review is the usual one."""
    if stored is None or isinstance(stored, dict):
        return _with(stored or {}, ORDER["review"])
    return stored


def short_delivery(delivery: Json) -> Json:
    """What is stored of a delivery."""
    short = {**_without(delivery, _usual(delivery)), _FORM: _SHORT}
    return short if whole_delivery(short) == delivery else delivery


def whole_delivery(stored: Json) -> Json:
    """A delivery from what is stored of it."""
    if stored.get(_FORM) != _SHORT:
        return stored
    whole = _with(stored, _usual(stored))
    del whole[_FORM]
    return whole


def _usual(delivery: Json) -> Json:
    """What follows from the address and the size of a video, and the rest that a delivery leaves out."""
    uri = str(delivery.get("uri"))
    take = uri.removesuffix(".mp4")
    return {
        "key": uri.removeprefix("s3://").partition("/")[2],
        "manifest_uri": f"{take}.json",
        "poster_uri": f"{take}.webp",
        "strip_uri": f"{take}.strip.webp",
        **DELIVERY,
        "video": {**DELIVERY["video"], "size_bytes": delivery.get("size")},
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
