"""Callbacks of providers, with their signature verified. A callback is only a hint: a poll confirms it before it counts."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from resources.errors import DailiesError

BODY_LIMIT = 1_000_000
"""Bytes; a callback carries the request and the addresses of its outputs."""
ASK_AGAIN_SECONDS = 300.0
"""The shortest time between two requests for the secret or keys that verify callbacks, so that forgeries cannot cause many."""


class UnverifiedWebhookError(DailiesError):
    """A webhook is not the provider's, too old, or unreadable. It was ignored."""


@dataclass(frozen=True)
class VerifiedCallback:
    """A callback that its provider has signed."""

    id: str
    """The provider's id of the callback: a repetition has the same one."""
    job_id: str
    """The job that it is about."""


class CallbackSecret:
    """The secret that signs an account's callbacks. It is fetched again after a change, since a receiver runs for months.

    Args:
        ask: Asks the provider for the secret.
    """

    def __init__(self, ask: Callable[[], Awaitable[str]]) -> None:
        self._ask = ask
        self._secret: str | None = None
        self._asked_at = 0.0

    async def verified(self, check: Callable[[str], VerifiedCallback], now: float) -> VerifiedCallback:
        """Call `check` with the secret. If it refuses, fetch the secret again, at most every `ASK_AGAIN_SECONDS`.

        Raises:
            DailiesError: `check` refuses the newest secret, or the secret cannot be fetched now.
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
        """Verify that the provider signed the callback and that it is recent.

        Args:
            headers: With lower-case names.
            body: As received, before any parsing.
            endpoint: What the POST ordered whose address was called; None if the ledger does not know the POST. A provider whose
                callbacks name only a part of the job's id completes it from this.
            now: Seconds since the epoch.

        Raises:
            UnverifiedWebhookError: It is not signed, too old, or names no job.
            DailiesError: The secret or the keys cannot be fetched now.
        """
        ...
