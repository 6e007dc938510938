"""Verifies fal's webhooks and reads which job each is about (fal docs: webhooks, signature verification).

The signature is Ed25519 over four lines: request id, user id, timestamp, and the SHA-256 of the raw body in hex. The keys are public. What a
webhook says is a hint: a GET confirms it before anything is believed.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from resources.providers import answers
from resources.providers.callbacks import ASK_AGAIN_SECONDS, UnverifiedWebhookError, VerifiedCallback
from resources.providers.ed25519 import is_signed
from resources.providers.fal.rows import job_of

MAX_AGE_SECONDS = 300
"""How old a webhook may be, by its own timestamp."""
KEYS_SECONDS = 86_400.0
"""How long the keys may be kept (fal docs: webhooks)."""
MOST_KEYS = 10

_PREFIX = "x-fal-webhook-"


class Ed25519Callbacks:
    """Verifies one account's webhooks; implements `resources.providers.callbacks.CallbackReader`.

    Args:
        keys: Asks for the public keys.
    """

    def __init__(self, keys: Callable[[], Awaitable[Sequence[bytes]]]) -> None:
        self._ask = keys
        self._keys: Sequence[bytes] = ()
        self._asked_at: float | None = None

    async def read(
        self, headers: Mapping[str, str], body: bytes, *, endpoint: str | None, now: float
    ) -> VerifiedCallback:
        """See `CallbackReader.read`."""
        if endpoint is None:
            raise UnverifiedWebhookError("no POST is known whose address this is, so its job has no name")
        message, signature = _signed_part(headers, body, now)
        if self._is_older_than(KEYS_SECONDS, now) or not any(
            is_signed(key, message, signature) for key in self._keys
        ):
            if self._is_older_than(ASK_AGAIN_SECONDS, now):
                self._keys, self._asked_at = (await self._ask())[:MOST_KEYS], now
            if not any(is_signed(key, message, signature) for key in self._keys):
                raise UnverifiedWebhookError("the webhook is not signed with a key of the provider")
        document = answers.Scrubber("no key").document(body)
        request_id = document.get("request_id") if isinstance(document, dict) else None
        job_id = job_of(endpoint, request_id)
        if job_id is None:
            raise UnverifiedWebhookError("the webhook names no job")
        return VerifiedCallback(headers[f"{_PREFIX}request-id"], job_id)

    def _is_older_than(self, seconds: float, now: float) -> bool:
        return self._asked_at is None or not 0 <= now - self._asked_at < seconds


def _signed_part(headers: Mapping[str, str], body: bytes, now: float) -> tuple[bytes, bytes]:
    """What is signed, and the signature.

    Raises:
        UnverifiedWebhookError: A header is missing, or the webhook is older or newer than five minutes.
    """
    request_id, user_id, timestamp, signature = (
        headers.get(_PREFIX + name, "") for name in ("request-id", "user-id", "timestamp", "signature")
    )
    if not request_id or not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise UnverifiedWebhookError("the webhook has no id or no timestamp")
    if not re.fullmatch(r"[0-9a-fA-F]{128}", signature):
        raise UnverifiedWebhookError("the webhook has no signature")
    if abs(now - int(timestamp)) > MAX_AGE_SECONDS:
        raise UnverifiedWebhookError(f"the webhook is older than {MAX_AGE_SECONDS} s, or a clock is wrong")
    lines = [request_id, user_id, timestamp, hashlib.sha256(body).hexdigest()]
    return "\n".join(lines).encode("utf-8", "replace"), bytes.fromhex(signature)
