"""The meaning of providers' answers: four outcomes of a submit, one normalized state of a job, rows of listings and bills.

There are four outcomes because providers have no idempotency key: after "surely not sent" a retry is free, after "perhaps sent" it
may pay for a clip twice.

The texts come from outside, so each class cleans its own names and sentences.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from resources.plain import clean_fields


class FailureKind(StrEnum):
    """Why something failed. The reader of the answer decides; no later code searches the text."""

    MODERATION = "moderation"
    """The provider refuses the content. Final for this prompt."""
    INVALID = "invalid"
    """The request is wrong, or the model is unknown. Final until it is changed."""
    AUTH = "auth"
    """The key is missing, wrong or not allowed. Final until a person acts; stops the account."""
    INSUFFICIENT_FUNDS = "insufficient_funds"
    """The account cannot pay. Final until it is topped up; stops the account."""
    THROTTLED = "throttled"
    """The provider refuses more requests for now, before it created anything. The request may be sent again later."""
    PROVIDER = "provider"
    """The provider has failed; another purchase may succeed."""
    NO_OUTPUT = "no_output"
    """The job is completed and has no output."""
    GONE = "gone"
    """The provider no longer knows the job (deleted or expired)."""
    CHECK = "check"
    """The delivered file is not what was ordered."""

    @property
    def may_pass(self) -> bool:
        """Whether another purchase of the same request may succeed."""
        return self in {FailureKind.PROVIDER, FailureKind.NO_OUTPUT}


@dataclass(frozen=True)
class Accepted:
    """The provider has the job."""

    job_id: str
    """The provider's id, opaque."""
    model: str | None
    """The model that the answer names; None if it names none. It is compared with the requested model."""
    raw: dict[str, Any]
    """The answer as received."""

    def __post_init__(self) -> None:
        clean_fields(self, names=("model",))


@dataclass(frozen=True)
class Rejected:
    """The provider definitely did not create a job."""

    kind: FailureKind
    """Why."""
    message: str
    """One sentence for a person, without secrets."""
    http_status: int
    """Status of the answer."""
    retry_after: float | None = None
    """Seconds that the provider asks to wait, if it says so."""
    raw: dict[str, Any] | None = None
    """The answer as received, if it was readable."""

    def __post_init__(self) -> None:
        clean_fields(self, sentences=("message",))


@dataclass(frozen=True)
class NotSent:
    """The provider cannot have read the request (connect, pool or proxy error), so sending it again is safe."""

    cause: str
    """One sentence for a person, without secrets."""

    def __post_init__(self) -> None:
        clean_fields(self, sentences=("cause",))


@dataclass(frozen=True)
class Unknown:
    """The request may have been accepted: there is no readable answer, a 5xx or a 408. It must not be repeated blindly."""

    cause: str
    """One sentence for a person, without secrets."""
    http_status: int | None = None
    """Status of the answer, if there was one."""

    def __post_init__(self) -> None:
        clean_fields(self, sentences=("cause",))


SubmitOutcome = Accepted | Rejected | NotSent | Unknown


class JobStatus(StrEnum):
    """A job's state in one vocabulary. Only SUCCEEDED, FAILED and GONE are final. A new word of a provider means RUNNING."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"

    @property
    def final(self) -> bool:
        """Whether the state is final. Providers do go backwards between the other states."""
        return self in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.GONE}


@dataclass(frozen=True)
class JobState:
    """The state of a job as one poll shows it."""

    status: JobStatus
    """The state in our vocabulary."""
    raw_status: str
    """The provider's word for the state, kept because it may be new."""
    outputs: tuple[str, ...] = ()
    """URLs of the finished media in the provider's order; for a character, its id."""
    model: str | None = None
    """The model that the provider used; None if the answer names none."""
    error: str | None = None
    """The provider's reason, for a person."""
    failure: FailureKind | None = None
    """Why, when the status is FAILED or GONE."""
    cost_micros: int | None = None
    """The charge in micro-dollars, if the answer has one."""
    may_be_charged: bool = False
    """Whether a failed job may still be charged; then it counts as spent until a bill says otherwise."""
    inference_seconds: float | None = None
    """The provider's statement of its working time, in seconds."""
    nsfw: tuple[bool | None, ...] = ()
    """For each output whether it is NSFW; None if the provider does not say, which is not the same as no."""
    draft_id: str | None = None
    """The provider's id of a finished draft, by which it can be finished; None if the answer names none."""
    raw: dict[str, Any] = field(default_factory=dict)
    """The answer as received."""

    def __post_init__(self) -> None:
        clean_fields(self, names=("raw_status", "model", "draft_id"), sentences=("error",))


@dataclass(frozen=True)
class PollFailed:
    """A poll that says nothing about the job: a network error, 429, 5xx or 401. The job continues."""

    cause: str
    """One sentence for a person, without secrets."""
    retry_after: float | None = None
    """Seconds that the provider asks to wait, if it says so."""
    kind: FailureKind = FailureKind.PROVIDER
    """AUTH when the key is refused, THROTTLED on 429, else PROVIDER."""

    def __post_init__(self) -> None:
        clean_fields(self, sentences=("cause",))


@dataclass(frozen=True)
class Candidate:
    """A listed job that may belong to a POST whose answer was lost."""

    job_id: str
    """The provider's id."""
    model: str | None
    """The model it names."""
    created_at: datetime
    """When the provider says it was created (aware, UTC)."""
    status: JobStatus
    """The state in our vocabulary."""
    submission_id: str | None = None
    """Our own id, if the provider echoes it, which proves the POST of the job."""
    body: dict[str, Any] | None = None
    """The request, if the provider echoes it."""
    charged_micros: int | None = None
    """Its cost on the bill, in micro-dollars; None if the bill was not read or does not show it."""

    def __post_init__(self) -> None:
        clean_fields(self, names=("model", "submission_id"))


@dataclass(frozen=True)
class Charge:
    """One row of a provider's bill."""

    job_id: str
    """The job of the row."""
    micros: int
    """The amount in micro-dollars, never negative."""
    kind: Literal["charge", "refund"]
    """`charge` or `refund`."""
    at: float
    """When it was booked, seconds since the epoch by the provider's clock."""
    model: str | None = None
    """The model it names; None if it names none."""
    submission_id: str | None = None
    """Our own id, if the bill echoes it."""
    row_id: str | None = field(default=None, compare=False)
    """The row's own id; None if it has none: two equal charges of a job are two."""

    def __post_init__(self) -> None:
        clean_fields(self, names=("model", "submission_id"))


@dataclass(frozen=True)
class ClockOffset:
    """How far a provider's clock is ahead of ours in seconds, as its `Date` headers show: between `low` and `high`."""

    low: float
    high: float


@dataclass(frozen=True)
class Uploaded:
    """A file that was uploaded to the provider's storage."""

    url: str = field(repr=False)
    """The address of the file, for the request. Everybody who knows the address can read the file, so it is shown nowhere."""


@dataclass(frozen=True)
class UploadFailed:
    """A file could not be uploaded. Nothing was bought."""

    cause: str
    """One sentence for a person, without secrets."""
    kind: FailureKind
    """INVALID when the file is refused, AUTH when the key is, else THROTTLED or PROVIDER, which may pass."""
    retry_after: float | None = None
    """Seconds that the provider asks to wait, if it says so."""

    def __post_init__(self) -> None:
        clean_fields(self, sentences=("cause",))
