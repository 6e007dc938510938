"""The interface of a provider's client, and the capabilities of its contract."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from resources.providers.base import (
    Candidate,
    Charge,
    ClockOffset,
    JobState,
    PollFailed,
    SubmitOutcome,
    Uploaded,
    UploadFailed,
)
from resources.providers.live_models import LiveModel
from resources.providers.rows import Rows


class LostAnswer(StrEnum):
    """How a POST with a lost answer is settled."""

    KEYED = "keyed"
    """The same POST is sent again with its idempotency key, and its answer names the job."""
    NAMED = "named"
    """The listing shows our submission's id beside the job."""
    MATCHED = "matched"
    """On a dedicated key, evidence decides. On a shared key, a request with its own seed or a callback names the job, or the clip is held."""
    HELD = "held"
    """Only a callback or a person can name the job."""


@dataclass(frozen=True)
class Capabilities:
    """The capabilities of a provider's contract. The sources are in the contract of each provider."""

    echoes_submission_id: bool
    """A listing names our submission id, so that a lost answer can be matched exactly."""
    output_seconds: float | None
    """Seconds until a finished output is deleted; None if the provider does not say. An alarm is raised after half of that at the latest."""
    settle_seconds: float
    """How long after a submit its absence from the listing starts to mean something."""
    propagation_seconds: float = 60
    """How long after a submit a 404 on its id still means "not known yet"."""
    refunds_failures: bool = False
    """A failed job is charged first and refunded later (WaveSpeed); otherwise it is never charged."""
    echoes_input: bool = False
    """The listing shows each job's request, so that the job of a POST with its own seed is recognised, also on a shared key."""
    lists_jobs: bool = True
    """It has a listing of jobs. Without one, a lost answer is held at once: only a callback or a person can name its job."""
    lists_running: bool = True
    """The listing shows running jobs. Otherwise a miss proves nothing while the job may be running."""
    start_seconds: float = 0
    """How long a job may wait for its start before the provider ends it, if `Provider.submit` sets such a limit, in seconds. A listing
    without running jobs shows a job later by this time."""
    bills_jobs: bool = True
    """It has a bill that names jobs. Without one, the cost of a job is our estimate, which nothing confirms."""
    idempotency_seconds: float | None = None
    """How long the provider remembers a submission's id as its idempotency key, in seconds; None if it supports none. Within that time,
    the same POST creates no second job, so sending it again retrieves a lost answer."""
    upload_seconds: float | None = None
    """How long an uploaded file may be used, in seconds; None if the provider accepts no files."""

    def without_bill(self) -> "Capabilities":
        """The capabilities of an account whose bill cannot be read."""
        return replace(self, bills_jobs=False)

    @property
    def lost_answer(self) -> LostAnswer:
        """How a POST with a lost answer is settled."""
        if self.idempotency_seconds is not None:
            return LostAnswer.KEYED
        if not self.lists_jobs:
            return LostAnswer.HELD
        return LostAnswer.NAMED if self.echoes_submission_id else LostAnswer.MATCHED

    @property
    def is_traceable(self) -> bool:
        """Whether each job names its POST, so that POSTs need not wait for one another."""
        return self.echoes_submission_id or self.idempotency_seconds is not None


class Provider(Protocol):
    """A client of one account at one provider. Implementations are in this package, one module each."""

    name: str
    """The account's name in the ledger: `wavespeed`, `wavespeed-team-b`."""
    capabilities: Capabilities
    """What the provider's contract offers."""

    @property
    def clock_offset(self) -> ClockOffset | None:
        """How far the provider's clock is ahead of ours, None before its first answer."""
        ...

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        """POST one generation on a fresh connection, without redirects or retries, within a hard total deadline.

        Args:
            endpoint: The provider's model id.
            body: The request as it is to be sent.
            submission_id: Our id of this POST, sent along if the provider has a field for it, and its idempotency key if it has one.
                The same id and body may be sent again within `capabilities.idempotency_seconds`.
            deadline_seconds: Total seconds for connecting, sending and reading; after it the outcome is `Unknown`
                unless it is certain that nothing was sent.

        Never raises for anything the network or the provider does.
        """
        ...

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        """Ask once for a job's state.

        Args:
            job_id: As `Accepted.job_id`.
            age_seconds: Seconds since the submit; a 404 within `capabilities.propagation_seconds` is no answer.

        Never raises for anything the network or the provider does.
        """
        ...

    async def list_jobs(
        self, *, after: datetime, before: datetime, endpoints: Collection[str]
    ) -> Rows[Candidate]:
        """Read all pages of the account's jobs of any model that were created in a window (aware datetimes).

        A row that cannot be read is set aside; the others still count.

        Args:
            endpoints: The endpoints ordered from this account. A listing by endpoint is read for these; other listings show all.

        Raises:
            resources.errors.UnavailableError: The listing could not be read to its end.
        """
        ...

    async def charges(self, *, after: datetime, before: datetime) -> Rows[Charge]:
        """Read all pages of charges and refunds booked in a window (aware datetimes), each by its own label.

        A row that cannot be read, or has no label or an unexpected one, is set aside; the others still count.

        Raises:
            resources.errors.UnavailableError: The bill could not be read to its end.
        """
        ...

    async def check(self) -> None:
        """Send a free request that needs the key, so that a wrong key or address is found before a purchase.

        Raises:
            resources.errors.ConfigurationError: The key is missing or refused.
            resources.errors.UnavailableError: The provider does not answer.
        """
        ...

    async def balance(self) -> int | None:
        """Read the account's balance in micro-dollars; None if the answer has no readable amount.

        Raises:
            resources.errors.ConfigurationError: The key is missing or refused.
            resources.errors.UnavailableError: The provider does not answer.
        """
        ...

    async def quote(self, endpoint: str, body: dict[str, Any]) -> int | None:
        """The current price of a request in micro-dollars; None if the provider does not say. Free, and buys nothing.

        Args:
            endpoint: The provider's model id.
            body: The whole request: a part of it would get the base price (WaveSpeed docs: model price).

        Raises:
            resources.errors.ConfigurationError: The key is missing or refused.
            resources.errors.UnavailableError: The provider does not answer.
        """
        ...

    async def models(self) -> list[LiveModel]:
        """All models that the provider sells now, as it describes them.

        Raises:
            resources.errors.ConfigurationError: The key is missing or refused.
            resources.errors.UnavailableError: The provider does not answer, or not readably.
        """
        ...

    async def upload(self, name: str, content_type: str, data: bytes) -> Uploaded | UploadFailed:
        """Upload a file that a request refers to. Costs nothing.

        Args:
            name: The file's name at the provider.
            content_type: The media type, e.g. `image/png`.
            data: The file's bytes.

        Never raises for anything the network or the provider does.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
