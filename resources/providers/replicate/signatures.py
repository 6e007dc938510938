"""Verifies Replicate's webhooks and reads which prediction each is about (Replicate docs: webhooks; the Standard Webhooks specification).

The signature is HMAC-SHA256 over id, timestamp and raw body, in base64; the secret is base64 behind `whsec_`. What a webhook says is a
hint: a GET confirms it before anything is believed.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping

from resources.errors import UnavailableError
from resources.providers import answers
from resources.providers.callbacks import CallbackSecret, UnverifiedWebhookError, VerifiedCallback

MAX_AGE_SECONDS = 300
"""How old a webhook may be, by its own timestamp."""
MOST_SIGNATURES = 5

_PREFIX = "v1,"


class StandardWebhooks:
    """Verifies one account's webhooks; implements `resources.providers.callbacks.CallbackReader`.

    Args:
        secret: Asks for the secret that signs them.
    """

    def __init__(self, secret: Callable[[], Awaitable[str]]) -> None:
        self._secret = CallbackSecret(secret)

    async def read(
        self,
        headers: Mapping[str, str],
        body: bytes,
        *,
        endpoint: str | None,  # noqa: ARG002 - its callbacks name the whole id
        now: float,
    ) -> VerifiedCallback:
        """See `CallbackReader.read`."""
        return await self._secret.verified(lambda secret: _verified(headers, body, secret, now), now)


def _verified(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> VerifiedCallback:
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not webhook_id or not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise UnverifiedWebhookError("the webhook has no id or no timestamp")
    expected = signature(secret, webhook_id, timestamp, body).encode()
    # there are several signatures while a secret is being changed
    signatures = headers.get("webhook-signature", "").encode("utf-8", "replace").split()[:MOST_SIGNATURES]
    if not any([hmac.compare_digest(one, expected) for one in signatures]):  # noqa: C419 - all are compared
        raise UnverifiedWebhookError("the webhook is not signed with the account's secret")
    if abs(now - int(timestamp)) > MAX_AGE_SECONDS:
        raise UnverifiedWebhookError(f"the webhook is older than {MAX_AGE_SECONDS} s, or a clock is wrong")
    document = answers.Scrubber(secret).document(body)
    job_id = answers.job_id(document.get("id")) if isinstance(document, dict) else None
    if job_id is None:
        raise UnverifiedWebhookError("the webhook names no prediction")
    return VerifiedCallback(webhook_id, job_id)


def signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """The signature of a webhook, as its header `webhook-signature` has it.

    Raises:
        UnavailableError: The secret is not base64; its format may have changed.
    """
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        raise UnavailableError(
            "Replicate's webhook secret is no base64; its format may have changed"
        ) from None
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return _PREFIX + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
