"""What a provider's callback says once its signature is verified. It is a hint: a poll confirms it before anything is believed."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from resources.errors import DailiesError

BODY_LIMIT = 1_000_000
"""Bytes; a callback carries the request and the addresses of its outputs."""
ASK_AGAIN_SECONDS = 300.0
"""How soon a provider is asked again for what verifies its callbacks, which a forger could otherwise provoke."""


class UnverifiedWebhookError(DailiesError):
    """A webhook is not the provider's, too old, or unreadable. Nothing of it was believed."""


@dataclass(frozen=True)
class VerifiedCallback:
    """A callback that its provider has signed."""

    id: str
    """The provider's id of the callback: a repetition has the same one."""
    job_id: str
    """The job that it is about."""


class CallbackSecret:
    """The secret that signs an account's callbacks. A receiver runs for months, and the secret may be changed meanwhile.

    Args:
        ask: Asks the provider for the secret.
    """

    def __init__(self, ask: Callable[[], Awaitable[str]]) -> None:
        self._ask = ask
        self._secret: str | None = None
        self._asked_at = 0.0

    async def verified(self, check: Callable[[str], VerifiedCallback], now: float) -> VerifiedCallback:
        """What `check` reads with the secret. A refusal asks for the secret once more, at most every `ASK_AGAIN_SECONDS`.

        Raises:
            DailiesError: `check` refuses the newest secret, or the secret cannot be had now.
        """
        if self._secret is not None:
            try:
                return check(self._secret)
            except DailiesError:
                if 0 <= now - self._asked_at < ASK_AGAIN_SECONDS:
                    raise
        self._asked_at = now
        self._secret = await self._ask()
        return check(self._secret)


class CallbackReader(Protocol):
    """Verifies the callbacks of one account."""

    async def read(
        self, headers: Mapping[str, str], body: bytes, *, endpoint: str | None, now: float
    ) -> VerifiedCallback:
        """The callback, if the provider signed it and it is recent.

        Args:
            headers: With lower-case names.
            body: As received, before any parsing.
            endpoint: What the POST ordered whose address was called, None where the ledger does not know the POST. A provider whose
                callbacks name only a part of the job's id completes it from this.
            now: Seconds since the epoch.

        Raises:
            UnverifiedWebhookError: It is not signed, too old, or names no job.
            DailiesError: What is needed to verify it cannot be had now.
        """
        ...
