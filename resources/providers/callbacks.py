"""What a provider's callback says once its signature is verified. It is a hint: a poll confirms it before anything is believed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from resources.errors import DailiesError

BODY_LIMIT = 1_000_000
"""Bytes; a callback carries the request and the addresses of its outputs."""


class UnverifiedWebhookError(DailiesError):
    """A webhook is not the provider's, too old, or unreadable. Nothing of it was believed."""


@dataclass(frozen=True)
class VerifiedCallback:
    """A callback that its provider has signed."""

    id: str
    """The provider's id of the callback: a repetition has the same one."""
    job_id: str
    """The job that it is about."""


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
