"""An invented provider in another package, written by docs/adding-a-provider.md: it accepts an idempotency key."""

import hashlib
import hmac
from collections.abc import Mapping

from resources.providers.answers import Scrubber, job_id
from resources.providers.callbacks import UnverifiedWebhookError, VerifiedCallback
from resources.providers.provider import Capabilities, Provider
from resources.providers.spec import Connection, DocumentedWire, ProviderSpec
from resources.providers.wire_fields import LIST, TEXT

CAPABILITIES = Capabilities(
    echoes_submission_id=True,
    output_seconds=3 * 86_400,
    settle_seconds=60,
    idempotency_seconds=86_400,
)
DOCUMENTED = DocumentedWire(
    calls=(
        (r"POST /acme/videos", "submit"),
        (r"GET /acme/videos/[^/]+", "result"),
        (r"GET /acme/videos", "list"),
        (r"GET /acme/charges", "bill"),
        (r"GET /acme/account", "balance"),
        (r"POST /acme/prices", "price"),
        (r"GET /acme/models", "models"),
    ),
    fields={"submit": {"id": TEXT, "state": TEXT}, "list": {"videos": LIST}},
    statuses=frozenset({"queued", "running", "succeeded", "failed"}),
)
MAX_AGE_SECONDS = 300


class AcmeCallbacks:
    """Verifies callbacks, which are signed with the account's key."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def read(
        self, headers: Mapping[str, str], body: bytes, *, endpoint: str | None, now: float
    ) -> VerifiedCallback:
        """See `CallbackReader.read`."""
        at, given = headers.get("acme-time", ""), headers.get("acme-signature", "")
        if not hmac.compare_digest(given.encode(), signature(self._key, at, body).encode()):
            raise UnverifiedWebhookError("the callback is not signed with the account's key")
        if not at.isdigit() or abs(now - int(at)) > MAX_AGE_SECONDS:
            raise UnverifiedWebhookError("the callback is old, or a clock is wrong")
        document = Scrubber(self._key).document(body)
        named = job_id(document.get("id")) if isinstance(document, dict) else None
        if named is None:
            raise UnverifiedWebhookError("the callback names no job")
        return VerifiedCallback(headers.get("acme-delivery", ""), named)


def signature(key: str, at: str, body: bytes) -> str:
    return hmac.new(key.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


def _client(connection: Connection) -> Provider:
    from acme_video.client import Acme

    return Acme(connection)


def spec_with(build: object = _client, **changes: object) -> ProviderSpec:
    """The provider, or a variant of it."""
    fields: dict[str, object] = {
        "name": "acme",
        "title": "Acme Video",
        "url": "https://api.acme.test",
        "key_variable": "ACME_KEY",
        "build": build,
        "capabilities": CAPABILITIES,
        "documented": DOCUMENTED,
        "callbacks": lambda client: AcmeCallbacks(client.key),
    }
    return ProviderSpec(**{**fields, **changes})  # type: ignore[arg-type]


PROVIDER = spec_with()
