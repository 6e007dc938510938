"""The guarded process that reads and writes content credentials: `python -m resources.video.credentials_worker`.

It answers each `{"verify": true}` with a file by what its credentials say, `{"mark": "<xmp>"}` with a file and an empty one by a
copy with that XMP, and `{"sign": {...}}` with a file and an empty one by a signed copy. It has no private key: it asks the
parent for the signature (`resources.video.guarded_process`).
"""

import base64
import json
import os
import shutil
import struct
from typing import Any, BinaryIO

import c2pa

from resources.video.boxes import XMP, BoxError, walk
from resources.video.guarded_process import Ask, serve

WRITTEN_BYTES = 6 << 30
"""A copy is hardly larger than the largest clip that is fetched (5 GB, `DAILIES_MAX_DOWNLOAD_MB`)."""
_MP4 = "video/mp4"
_OFFLINE = {
    "verify": {
        "verify_trust": False,
        "verify_timestamp_trust": False,
        "remote_manifest_fetch": False,
        "ocsp_fetch": False,
    }
}
_CONTEXT = c2pa.Context(c2pa.Settings.from_dict(_OFFLINE))


class MarkError(Exception):
    """The file cannot be marked or signed."""


def verify(file: BinaryIO) -> dict[str, Any]:
    """What the credentials of a file say, as the fields of `resources.video.credentials.ContentCredentials`."""
    if not walk(file).c2pa:
        return {"state": "absent"}
    file.seek(0)
    try:
        with c2pa.Reader(_MP4, file, context=_CONTEXT) as reader:
            report = json.loads(reader.json())
    except c2pa.C2paError as error:
        return {"state": "invalid", "problems": [f"they cannot be read: {_short(error)}"]}
    manifests = report.get("manifests") or {}
    active = manifests.get(report.get("active_manifest")) or {}
    signature = active.get("signature_info") or {}
    generators = active.get("claim_generator_info") or [{}]
    problems = [_text(status.get("code")) for status in report.get("validation_status") or []]
    valid = report.get("validation_state") in {"Valid", "Trusted"}
    return {
        "state": "valid" if valid else "invalid",
        "problems": _first([problem for problem in problems if problem] if not valid else []),
        "signed_by": _text(signature.get("issuer") or signature.get("common_name")),
        "signed_at": _text(signature.get("time")),
        "made_with": _text(generators[0].get("name") or active.get("claim_generator")),
        "source_types": _first(_source_types(manifests)),
    }


def _source_types(manifests: dict[str, Any]) -> list[str]:
    """The digital source types of all actions in all manifests."""
    return [
        text
        for manifest in manifests.values()
        for assertion in manifest.get("assertions") or []
        if str(assertion.get("label", "")).startswith("c2pa.actions")
        for action in (assertion.get("data") or {}).get("actions") or []
        if (text := _text(action.get("digitalSourceType")))
    ]


def mark(source: BinaryIO, copy: BinaryIO, xmp: str) -> None:
    """Write a copy with an XMP box after its last box, so that no offset in its index changes.

    Raises:
        MarkError: It has XMP or content credentials already, or does not end with a whole box.
    """
    movie = walk(source)
    if movie.c2pa:
        raise MarkError("it carries content credentials, which other bytes would break")
    if movie.xmp:
        raise MarkError("it carries XMP of its own, which stays as it is")
    if movie.truncated or movie.trailing_bytes or movie.open_ended:
        raise MarkError("nothing can be added at its end")
    source.seek(0)
    shutil.copyfileobj(source, copy, 1 << 20)
    packet = xmp.encode()
    copy.write(struct.pack(">I4s", 24 + len(packet), b"uuid") + XMP + packet)
    copy.flush()


def sign(source: BinaryIO, copy: BinaryIO, ingredient: BinaryIO, request: dict[str, Any], ask: Ask) -> None:
    """Write a copy with a new manifest; a manifest of the ingredient stays in the copy as it is.

    Raises:
        MarkError: The certificate is not one for content credentials, or the file cannot be signed.
    """

    def signature(data: bytes) -> bytes:
        return base64.b64decode(ask({"to_sign": base64.b64encode(data).decode()})["signature"])

    algorithm = c2pa.C2paSigningAlg[request["algorithm"].upper()]
    try:
        with (
            c2pa.Signer.from_callback(signature, algorithm, request["certificates"]) as signer,
            c2pa.Builder(request["manifest"], context=_CONTEXT) as builder,
        ):
            builder.add_ingredient(request["ingredient"], _MP4, ingredient)
            builder.sign(signer, _MP4, source, copy)
    except c2pa.C2paError as error:
        raise MarkError(f"it cannot be signed: {_short(error)}") from None
    copy.flush()


def answer(request: dict[str, Any], files: list[BinaryIO], ask: Ask) -> dict[str, Any]:
    """The answer to one request."""
    # the parent shares the open files and may have read them
    for file in files:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
    if "mark" in request:
        mark(files[0], files[1], request["mark"])
        return {}
    if "sign" in request:
        sign(files[0], files[1], files[2], request["sign"], ask)
        return {}
    return {"credentials": verify(files[0])}


def _first(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))[:10]


def _text(value: object) -> str | None:
    return str(value)[:200] if value else None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:150]


if __name__ == "__main__":
    serve(answer, (BoxError, MarkError), written_bytes=WRITTEN_BYTES)
