"""The interface every provider speaks, and what its contract offers."""

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
    """What comes of a POST whose answer was lost."""

    KEYED = "keyed"
    """The same POST is sent again with its idempotency key, and names the job."""
    NAMED = "named"
    """The listing shows our submission's id beside the job."""
    MATCHED = "matched"
    """Evidence decides on a key of our own; on a shared key a request with its own seed or a callback names the job, or the clip is held."""
    HELD = "held"
    """Only a callback or a person can name the job."""


@dataclass(frozen=True)
class Capabilities:
    """What a provider's contract offers. The source is in the contract of each provider."""

    echoes_submission_id: bool
    """A listing names our submission id, so that a lost answer can be matched exactly."""
    output_seconds: float | None
    """Seconds until a finished output is deleted, None where the provider does not say. An alarm comes at half of that, at the latest."""
    settle_seconds: float
    """How long after a submit its absence from the listing starts to mean something."""
    propagation_seconds: float = 60
    """How long after a submit a 404 on its id still means "not known yet"."""
    refunds_failures: bool = False
    """A failed job is charged first and refunded later (WaveSpeed); otherwise it is never charged."""
    echoes_input: bool = False
    """The listing shows each job's request. A POST with a seed of its own is told apart by it, whoever uses the key."""
    lists_jobs: bool = True
    """It has a listing of jobs. Without one, a lost answer is held at once: only a callback or a person can name its job."""
    lists_running: bool = True
    """The listing shows jobs that still run; otherwise a miss proves nothing while one may."""
    start_seconds: float = 0
    """How long a job may wait for its start before the provider ends it, where `Provider.submit` sets such a limit. A listing without
    running jobs shows a job so much later."""
    bills_jobs: bool = True
    """It has a bill that names jobs. Without one, what a job costs is our estimate, and nothing confirms it."""
    idempotency_seconds: float | None = None
    """How long the provider remembers a submission's id as the key of its POST, None where it takes no such key. Within that time the
    same POST creates no second job, so a lost answer is asked for by sending it again."""
    upload_seconds: float | None = None
    """How long an uploaded file may be used, None where the provider takes none."""

    def without_bill(self) -> "Capabilities":
        """The same of an account whose bill cannot be read."""
        return replace(self, bills_jobs=False)

    @property
    def lost_answer(self) -> LostAnswer:
        """What comes of a POST whose answer was lost."""
        if self.idempotency_seconds is not None:
            return LostAnswer.KEYED
        if not self.lists_jobs:
            return LostAnswer.HELD
        return LostAnswer.NAMED if self.echoes_submission_id else LostAnswer.MATCHED

    @property
    def is_traceable(self) -> bool:
        """Whether the job of each POST can be named without guessing, so that POSTs need not wait for one another."""
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
            submission_id: Our id of this POST, sent along where the provider has a place for it; the idempotency key, where there is
                one. The same id and body may come again within `capabilities.idempotency_seconds`.
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
        """Every job of the account created in a window (aware datetimes) whatever its model, all pages.

        A row that cannot be read is set aside and spoils no other.

        Args:
            endpoints: What was ordered from this account. A listing that must be asked by endpoint is read for these; others show all.

        Raises:
            resources.errors.UnavailableError: The listing could not be read to its end.
        """
        ...

    async def charges(self, *, after: datetime, before: datetime) -> Rows[Charge]:
        """Every charge and refund booked in a window (aware datetimes), all pages, each by its own label.

        A row that cannot be read, or has no label or another one than was asked for, is set aside and spoils no other.

        Raises:
            resources.errors.UnavailableError: The bill could not be read to its end.
        """
        ...

    async def check(self) -> None:
        """Ask something free that needs the key, so that a wrong key or address is found before anything is bought.

        Raises:
            resources.errors.ConfigurationError: The key is missing or refused.
            resources.errors.UnavailableError: The provider does not answer.
        """
        ...

    async def balance(self) -> int | None:
        """What the account can spend, in micro-dollars; None if the answer has no readable amount.

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
            name: What it is called there.
            content_type: What it is, e.g. `image/png`.
            data: Its bytes.

        Never raises for anything the network or the provider does.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...
