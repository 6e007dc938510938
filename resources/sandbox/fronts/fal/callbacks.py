"""fal's webhooks as its page describes them: four signed lines, a public Ed25519 key (RFC 8032, section 5.1.6)."""

import base64
import hashlib
import json

from resources.sandbox.books import Job
from resources.sandbox.front_registry import CallbackReport
from resources.sandbox.fronts.fal.wire import request_id, result

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_BASE = (
    15112221349535400772501151409588531511454012693041857206046113283949847762202,
    46316835694926478169428394003475163141307993866256225615783033603165251855960,
)
SEED = hashlib.sha256(b"the sandbox's key of fal's webhooks").digest()
USER = "user-sandbox"


def key_set() -> dict[str, object]:
    """The public key, as `/.well-known/jwks.json` shows it."""
    encoded = base64.urlsafe_b64encode(_public(SEED)).decode().rstrip("=")
    return {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "sandbox", "x": encoded}]}


def report(job: Job, now: float, _key: str) -> CallbackReport:
    """The webhook about an ended request."""
    status, payload = result(job, job.phase(now))
    failed = status >= 400
    fields = {
        "request_id": request_id(job),
        "gateway_request_id": request_id(job),
        "status": "ERROR" if failed else "OK",
        "payload": payload,
        **({"error": job.fate.error or f"HTTP {status}"} if failed else {}),
    }
    body = json.dumps(fields).encode()
    lines = [request_id(job), USER, str(int(now)), hashlib.sha256(body).hexdigest()]
    names = ("request-id", "user-id", "timestamp")
    headers = {f"x-fal-webhook-{name}": line for name, line in zip(names, lines, strict=False)}
    headers["x-fal-webhook-signature"] = sign(SEED, "\n".join(lines).encode()).hex()
    return CallbackReport(body, {"Content-Type": "application/json", **headers})


def sign(seed: bytes, message: bytes) -> bytes:
    """The signature of a message. Slow, and its duration reveals the key, but a sandbox has no secrets."""
    digest = hashlib.sha512(seed).digest()
    nonce = _number(hashlib.sha512(digest[32:] + message).digest()) % _L
    commitment = _encoded(_times(nonce, _BASE))
    challenge = _number(hashlib.sha512(commitment + _public(seed) + message).digest())
    return commitment + ((nonce + challenge * _scalar(digest)) % _L).to_bytes(32, "little")


def _public(seed: bytes) -> bytes:
    return _encoded(_times(_scalar(hashlib.sha512(seed).digest()), _BASE))


def _scalar(digest: bytes) -> int:
    return (_number(digest[:32]) & ((1 << 254) - 8)) | (1 << 254)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _encoded(point: tuple[int, int]) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def _added(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = one, other
    cross = _D * x1 * x2 * y1 * y2 % _P
    x = (x1 * y2 + x2 * y1) * pow(1 + cross, _P - 2, _P)
    y = (y1 * y2 + x1 * x2) * pow(1 - cross, _P - 2, _P)
    return x % _P, y % _P


def _times(factor: int, point: tuple[int, int]) -> tuple[int, int]:
    total = (0, 1)
    while factor:
        if factor & 1:
            total = _added(total, point)
        point = _added(point, point)
        factor >>= 1
    return total
