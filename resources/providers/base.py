"""What a provider's answers mean: four outcomes of a submit, one normalized state of a job, rows of listings and bills.

The four outcomes exist because providers have no idempotency key: the difference between "surely not sent" and
"perhaps sent" is the difference between a free retry and a clip paid twice.

What the outcomes carry are a stranger's words: each cleans its names and sentences itself, whichever client made it.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from resources.plain import clean_fields


class FailureKind(StrEnum):
    """Why something failed, once and for all; decided where the answer is read, never by matching text later."""

    MODERATION = "moderation"
    """The provider refuses the content. Final for this prompt."""
    INVALID = "invalid"
    """The request is wrong, or the model is unknown. Final until it is changed."""
    AUTH = "auth"
    """The key is missing, wrong or not allowed. Final until a person acts; stops the account."""
    INSUFFICIENT_FUNDS = "insufficient_funds"
    """The account cannot pay. Final until it is topped up; stops the account."""
    THROTTLED = "throttled"
    """Refused before anything was created because there was too much; may be sent again later."""
    PROVIDER = "provider"
    """The provider failed in passing; another purchase may succeed."""
    NO_OUTPUT = "no_output"
    """The job says completed and delivers nothing."""
    GONE = "gone"
    """The provider no longer knows the job (deleted or expired)."""
    CHECK = "check"
    """The file that was delivered is not what was asked for."""

    @property
    def may_pass(self) -> bool:
        """Whether another purchase of the same request may succeed."""
        return self in {FailureKind.PROVIDER, FailureKind.NO_OUTPUT}


@dataclass(frozen=True)
class Accepted:
    """The provider has the job.

    Attributes:
        job_id: The provider's id, opaque.
        model: The model the answer names, None where it names none; compared with the one asked for.
        raw: The answer as received.
    """

    job_id: str
    model: str | None
    raw: dict[str, Any]

    def __post_init__(self) -> None:
        clean_fields(self, names=("model",))


@dataclass(frozen=True)
class Rejected:
    """The provider definitely did not create a job.

    Attributes:
        kind: Why.
        message: One sentence for a person, without secrets.
        http_status: Status of the answer.
        retry_after: Seconds the provider asks to wait, where it says so.
        raw: The answer as received, where it was readable.
    """

    kind: FailureKind
    message: str
    http_status: int
    retry_after: float | None = None
    raw: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        clean_fields(self, sentences=("message",))


@dataclass(frozen=True)
class NotSent:
    """Nothing left this machine (connect, pool or proxy error); sending again is safe.

    Attributes:
        cause: One sentence for a person, without secrets.
    """

    cause: str

    def __post_init__(self) -> None:
        clean_fields(self, sentences=("cause",))


@dataclass(frozen=True)
class Unknown:
    """The request may have been accepted: sent but no readable answer, a 5xx, a 408. Never to be repeated blindly.

    Attributes:
        cause: One sentence for a person, without secrets.
        http_status: Status of the answer, where there was one.
    """

    cause: str
    http_status: int | None = None

    def __post_init__(self) -> None:
        clean_fields(self, sentences=("cause",))


SubmitOutcome = Accepted | Rejected | NotSent | Unknown


class JobStatus(StrEnum):
    """A job's state in one vocabulary. Only SUCCEEDED, FAILED and GONE are final; anything unheard-of is RUNNING."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"

    @property
    def final(self) -> bool:
        """Whether the provider will not change its mind. Providers do go backwards between the others."""
        return self in {JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.GONE}


@dataclass(frozen=True)
class JobState:
    """What one poll saw.

    Attributes:
        status: Normalized.
        raw_status: The provider's own word, kept because it may be new.
        outputs: URLs of the finished media, in the provider's order; of what is no media (a character), its id.
        model: The model the provider says it used, None where it names none.
        error: The provider's reason, for a person.
        failure: Why, when the status is FAILED or GONE.
        cost_micros: The charge in micro-dollars where the answer carries one.
        inference_seconds: How long the provider says it worked.
        nsfw: Per output, None where the provider does not say (which is not the same as no).
        raw: The answer as received.
    """

    status: JobStatus
    raw_status: str
    outputs: tuple[str, ...] = ()
    model: str | None = None
    error: str | None = None
    failure: FailureKind | None = None
    cost_micros: int | None = None
    inference_seconds: float | None = None
    nsfw: tuple[bool | None, ...] = ()
    raw: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        clean_fields(self, names=("raw_status", "model"), sentences=("error",))


@dataclass(frozen=True)
class PollFailed:
    """A poll that says nothing about the job: network, 429, 5xx, 401. The job goes on.

    Attributes:
        cause: One sentence for a person, without secrets.
        retry_after: Seconds the provider asks to wait, where it says so.
        kind: AUTH when the key is refused, THROTTLED on 429, else PROVIDER.
    """

    cause: str
    retry_after: float | None = None
    kind: FailureKind = FailureKind.PROVIDER

    def __post_init__(self) -> None:
        clean_fields(self, sentences=("cause",))


@dataclass(frozen=True)
class Candidate:
    """A job the provider lists that may be the one we lost sight of.

    Attributes:
        job_id: The provider's id.
        model: The model it names.
        created_at: When the provider says it was created (aware, UTC).
        status: Normalized.
        submission_id: Our own id where the provider echoes it: proof, not a guess.
        body: The request where the provider echoes it.
        charged_micros: What the bill says it cost, in micro-dollars, None where that was not read or shows nothing.
    """

    job_id: str
    model: str | None
    created_at: datetime
    status: JobStatus
    submission_id: str | None = None
    body: dict[str, Any] | None = None
    charged_micros: int | None = None

    def __post_init__(self) -> None:
        clean_fields(self, names=("model", "submission_id"))


@dataclass(frozen=True)
class Charge:
    """One row of a provider's bill.

    Attributes:
        job_id: What it is for.
        micros: The amount in micro-dollars, never negative.
        kind: `charge` or `refund`.
        at: When it was booked, seconds since the epoch by the provider's clock.
        model: The model it names, None where it names none.
        submission_id: Ours, where the bill echoes it.
        row_id: The row's own id, None where it has none: two equal charges of a job are two.
    """

    job_id: str
    micros: int
    kind: Literal["charge", "refund"]
    at: float
    model: str | None = None
    submission_id: str | None = None
    row_id: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        clean_fields(self, names=("model", "submission_id"))


@dataclass(frozen=True)
class ClockOffset:
    """How far a provider's clock is ahead of ours in seconds, as its `Date` headers show: between `low` and `high`."""

    low: float
    high: float


@dataclass(frozen=True)
class Uploaded:
    """A file is at the provider's storage.

    Attributes:
        url: What a request says instead of the file. It may be read by whoever knows it, so it is shown nowhere.
    """

    url: str = field(repr=False)


@dataclass(frozen=True)
class UploadFailed:
    """A file could not be handed in. Nothing was bought.

    Attributes:
        cause: One sentence for a person, without secrets.
        kind: INVALID when the file is refused, AUTH when the key is, else THROTTLED or PROVIDER, which may pass.
        retry_after: Seconds the provider asks to wait, where it says so.
    """

    cause: str
    kind: FailureKind
    retry_after: float | None = None

    def __post_init__(self) -> None:
        clean_fields(self, sentences=("cause",))
