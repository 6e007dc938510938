"""WaveSpeed's signatures, tested with our own vectors: the vector in its documentation does not verify."""

import base64
import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from resources.errors import UnavailableError
from resources.providers.callbacks import UnverifiedWebhookError
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from resources.providers.wavespeed.signatures import SignedCallbacks, signature, verified_job

SECRET = "whsec_Zm9vYmFyYmF6cXV1eA=="
NOW = 1_800_000_000
BODY = b'{"id":"a1b2c3","status":"completed","outputs":["https://cdn.example/1.mp4"]}'
# computed with: printf '%s' "msg_1.1800000000.$BODY" | openssl dgst -sha256 -hmac 'Zm9vYmFyYmF6cXV1eA=='
SIGNED = "v3,56f57848f277040b24bcfcb461063d07f5b8b96a664b9f9c479a69e57fe3accc"


def headers(**changes: str) -> dict[str, str]:
    given = {"webhook-id": "msg_1", "webhook-timestamp": str(NOW), "webhook-signature": SIGNED}
    return given | {name.replace("_", "-"): value for name, value in changes.items()}


def test_a_vector_made_with_another_program_verifies() -> None:
    assert signature(SECRET, "msg_1", str(NOW), BODY) == SIGNED
    assert verified_job(headers(), BODY, secret=SECRET, now=NOW) == "a1b2c3"


def test_the_secret_counts_with_or_without_its_prefix_and_is_not_base64() -> None:
    bare = SECRET.removeprefix("whsec_")
    assert verified_job(headers(), BODY, secret=bare, now=NOW) == "a1b2c3"
    decoded = hmac.new(base64.b64decode(bare), b"msg_1.1800000000." + BODY, hashlib.sha256)
    for standard in (f"v3,{decoded.hexdigest()}", f"v1,{base64.b64encode(decoded.digest()).decode()}"):
        with pytest.raises(UnverifiedWebhookError, match="not signed"):
            verified_job(headers(webhook_signature=standard), BODY, secret=SECRET, now=NOW)


def test_one_of_several_signatures_is_enough() -> None:
    both = headers(webhook_signature=f"v3,{'0' * 64} {SIGNED}")
    assert verified_job(both, BODY, secret=SECRET, now=NOW) == "a1b2c3"


@pytest.mark.parametrize(
    ("changes", "body", "now"),
    [
        ({}, BODY + b" ", NOW),
        ({"webhook_id": "msg_2"}, BODY, NOW),
        ({"webhook_timestamp": str(NOW + 1)}, BODY, NOW),
        ({"webhook_signature": SIGNED.upper()}, BODY, NOW),
        ({"webhook_signature": SIGNED.removeprefix("v3,")}, BODY, NOW),
        ({"webhook_signature": ""}, BODY, NOW),
        ({"webhook_signature": "v3,\udcff"}, BODY, NOW),
        ({"webhook_id": ""}, BODY, NOW),
        ({"webhook_timestamp": "soon"}, BODY, NOW),
        ({}, BODY, NOW + 301),
        ({}, BODY, NOW - 301),
    ],
)
def test_a_changed_or_old_callback_is_refused(changes: dict[str, str], body: bytes, now: int) -> None:
    with pytest.raises(UnverifiedWebhookError):
        verified_job(headers(**changes), body, secret=SECRET, now=now)


@pytest.mark.parametrize("now", [NOW + 300, NOW - 300])
def test_a_callback_of_five_minutes_is_still_accepted(now: int) -> None:
    assert verified_job(headers(), BODY, secret=SECRET, now=now) == "a1b2c3"


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"{", b'{"id": ".."}', b'{"id": 1.5}', b"\xff" * 100])
def test_a_signed_body_that_names_no_job_is_refused(body: bytes) -> None:
    signed = headers(webhook_signature=signature(SECRET, "msg_1", str(NOW), body))
    with pytest.raises(UnverifiedWebhookError, match="names no job"):
        verified_job(signed, body, secret=SECRET, now=NOW)


async def test_the_secret_is_fetched_from_the_provider(tmp_path: Any) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/api/v3/webhook/secret"
        return httpx.Response(200, content=json.dumps({"code": 200, "data": {"secret": SECRET}}))

    client = WaveSpeed(
        Connection("wavespeed", "https://ws.test", "key-of-wavespeed", transport=httpx.MockTransport(answer))
    )
    assert await client.webhook_secret() == SECRET
    empty = httpx.MockTransport(lambda _: httpx.Response(200, json={"code": 200, "data": {}}))
    with pytest.raises(UnavailableError, match="no webhook secret"):
        await WaveSpeed(
            Connection("wavespeed", "https://ws.test", "key-of-wavespeed", transport=empty)
        ).webhook_secret()


async def test_a_changed_secret_is_fetched_again_but_not_for_every_forgery() -> None:
    secrets, asked = ["whsec_the-one-before"], 0

    async def ask() -> str:
        nonlocal asked
        asked += 1
        return secrets[-1]

    reader = SignedCallbacks(ask)
    for _ in range(3):
        with pytest.raises(UnverifiedWebhookError):
            await reader.read(headers(), BODY, endpoint=None, now=NOW)
    assert asked == 1
    secrets.append(SECRET)
    callback = await reader.read(headers(), BODY, endpoint=None, now=NOW + 300)
    assert (callback.job_id, asked) == ("a1b2c3", 2)
