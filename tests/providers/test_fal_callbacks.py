"""fal's callbacks count only with an Ed25519 signature by one of its keys; another library makes the signatures here."""

import hashlib
import json
from collections.abc import Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.providers.callbacks import UnverifiedWebhookError
from resources.providers.ed25519 import is_signed
from resources.providers.fal.signatures import Ed25519Callbacks

NOW = 1_795_000_000.0
MODEL = "bytedance/seedance-2.0/text-to-video"
BODY = json.dumps({"request_id": "r-1", "gateway_request_id": "g-9", "status": "OK"}).encode()
KEY, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def headers(body: bytes = BODY, *, key: Ed25519PrivateKey = KEY, at: float = NOW) -> dict[str, str]:
    lines = ["g-9", "user-1", str(int(at)), hashlib.sha256(body).hexdigest()]
    signature = key.sign("\n".join(lines).encode()).hex()
    return {
        "x-fal-webhook-request-id": lines[0],
        "x-fal-webhook-user-id": lines[1],
        "x-fal-webhook-timestamp": lines[2],
        "x-fal-webhook-signature": signature,
    }


class Keys:
    def __init__(self, *keys: Ed25519PrivateKey) -> None:
        self.keys = [public(key) for key in keys]
        self.asked = 0

    async def __call__(self) -> Sequence[bytes]:
        self.asked += 1
        return self.keys


async def test_a_signed_callback_names_its_job_by_the_endpoint_of_its_post() -> None:
    callback = await Ed25519Callbacks(Keys(OTHER, KEY)).read(headers(), BODY, endpoint=MODEL, now=NOW)
    assert (callback.id, callback.job_id) == ("g-9", "bytedance/seedance-2.0/requests/r-1")


FORGED = {
    "another key": (headers(key=OTHER), BODY),
    "another body": (headers(), BODY.replace(b"r-1", b"r-2")),
    "another user": ({**headers(), "x-fal-webhook-user-id": "user-2"}, BODY),
    "older": (headers(at=NOW - 301), BODY),
    "from the future": (headers(at=NOW + 301), BODY),
    "no signature": ({**headers(), "x-fal-webhook-signature": ""}, BODY),
    "no hex": ({**headers(), "x-fal-webhook-signature": "z" * 128}, BODY),
    "no time": ({**headers(), "x-fal-webhook-timestamp": "now"}, BODY),
    "nothing": ({}, BODY),
    "no job": (headers(b"{}"), b"{}"),
}


@pytest.mark.parametrize(("sent", "body"), FORGED.values(), ids=FORGED.keys())
async def test_an_unsigned_callback_is_refused(sent: dict[str, str], body: bytes) -> None:
    with pytest.raises(UnverifiedWebhookError):
        await Ed25519Callbacks(Keys(KEY)).read(sent, body, endpoint=MODEL, now=NOW)


async def test_a_callback_of_no_known_post_has_no_job() -> None:
    with pytest.raises(UnverifiedWebhookError):
        await Ed25519Callbacks(Keys(KEY)).read(headers(), BODY, endpoint=None, now=NOW)


async def test_the_keys_are_kept_and_fetched_again_after_a_change_but_not_for_every_forgery() -> None:
    keys = Keys(OTHER)
    reader = Ed25519Callbacks(keys)
    for _ in range(3):
        with pytest.raises(UnverifiedWebhookError):
            await reader.read(headers(), BODY, endpoint=MODEL, now=NOW)
    assert keys.asked == 1
    keys.keys = [public(KEY)]
    later = NOW + 301
    await reader.read(headers(at=later), BODY, endpoint=MODEL, now=later)
    await reader.read(headers(at=later), BODY, endpoint=MODEL, now=later)
    assert keys.asked == 2


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=64), st.integers(0, 511))
def test_our_verification_agrees_with_the_librarys(seed: bytes, message: bytes, bit: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    signature = key.sign(message)
    assert is_signed(public(key), message, signature)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not is_signed(public(key), message, bytes(flipped))
    assert not is_signed(public(key), message + b"x", signature)


@pytest.mark.parametrize(
    ("key", "signature"), [(b"", b"x" * 64), (b"x" * 32, b""), (b"\xff" * 32, b"\xff" * 64)]
)
def test_malformed_keys_and_signatures_are_refused(key: bytes, signature: bytes) -> None:
    assert not is_signed(key, b"message", signature)
