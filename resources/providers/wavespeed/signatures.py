"""Verifies WaveSpeed's webhooks and reads which job each is about.

It looks like Standard Webhooks and is not: the signature is hex with the prefix `v3,`, and the secret is used without
its `whsec_` and not base64-decoded (WaveSpeed contract, section 1.7; the vector in its documentation does
not verify). What a webhook says is a hint: a GET confirms it before anything is believed.
"""

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable, Mapping

from resources.providers import answers
from resources.providers.callbacks import CallbackSecret, UnverifiedWebhookError, VerifiedCallback

MAX_AGE_SECONDS = 300
"""How old a webhook may be, by its own timestamp."""

_PREFIX = "v3,"


class SignedCallbacks:
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

        def check(secret: str) -> VerifiedCallback:
            job_id = verified_job(headers, body, secret=secret, now=now)
            return VerifiedCallback(headers["webhook-id"], job_id)

        return await self._secret.verified(check, now)


def signature(secret: str, webhook_id: str, timestamp: str, body: bytes) -> str:
    """The signature that WaveSpeed sends in `webhook-signature`."""
    key = secret.removeprefix("whsec_").encode()
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return _PREFIX + hmac.new(key, signed, hashlib.sha256).hexdigest()


def verified_job(headers: Mapping[str, str], body: bytes, *, secret: str, now: float) -> str:
    """The id of the job that a webhook is about, if the webhook is WaveSpeed's and recent.

    Args:
        headers: With lower-case names.
        body: As received, before any parsing.
        secret: The account's, as `GET /api/v3/webhook/secret` gives it.
        now: Seconds since the epoch.

    Raises:
        UnverifiedWebhookError: It is not signed with the secret, older or newer than five minutes, or names no job.
    """
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not webhook_id or not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise UnverifiedWebhookError("the webhook has no id or no timestamp")
    expected = signature(secret, webhook_id, timestamp, body).encode()
    # there are several signatures while a secret is being changed
    signatures = headers.get("webhook-signature", "").encode("utf-8", "replace").split()
    if not any([hmac.compare_digest(one, expected) for one in signatures[:5]]):  # noqa: C419 - all are compared
        raise UnverifiedWebhookError("the webhook is not signed with the account's secret")
    if abs(now - int(timestamp)) > MAX_AGE_SECONDS:
        raise UnverifiedWebhookError(f"the webhook is older than {MAX_AGE_SECONDS} s, or a clock is wrong")
    document = answers.Scrubber(secret).document(body)
    job_id = answers.job_id(document.get("id")) if isinstance(document, dict) else None
    if job_id is None:
        raise UnverifiedWebhookError("the webhook names no job")
    return job_id
