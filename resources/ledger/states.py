"""The states of an attempt and of its money, and which may follow which.

An attempt is one intended purchase. It is *open* while anything can still come of it; a subject (a clip) has at most
one open attempt, which is what keeps two runs, two sensors or two machines from buying the same clip.
"""

from enum import StrEnum


class AttemptState(StrEnum):
    """Where a purchase stands."""

    QUEUED = "queued"
    """Decided and paid for in the budget; nothing has been sent."""
    SUBMITTING = "submitting"
    """A POST is committed and may be on the wire."""
    UNKNOWN = "unknown"
    """The POST may or may not have created a job; never repeated without proof of absence."""
    HELD = "held"
    """Unknown, and it could not be proved either way; a person settles it."""
    SUBMITTED = "submitted"
    """The provider has the job."""
    OVERDUE = "overdue"
    """The job runs longer than its endpoint should; still polled, slowly."""
    SUCCEEDED = "succeeded"
    """The generation is finished and waits at the provider to be fetched."""
    DELIVERED = "delivered"
    """The verified video and its manifest are in the bucket."""
    QUARANTINED = "quarantined"
    """Fetched, but a check failed; kept apart until a person decides."""
    WITHDRAWN = "withdrawn"
    """Given up before anything was sent."""
    REJECTED = "rejected"
    """The provider refused the request; no job exists."""
    ABSENT = "absent"
    """Was unknown; proved that no job exists."""
    FAILED = "failed"
    """The provider's job failed."""
    VANISHED = "vanished"
    """The provider no longer knows the job."""
    LOST = "lost"
    """Finished, but its output could not be fetched before it was gone."""
    ABANDONED = "abandoned"
    """A person gave it up."""

    @property
    def is_open(self) -> bool:
        """Whether something may still come of it, so that its subject must not be bought again."""
        return self in OPEN

    @property
    def is_ended(self) -> bool:
        """Whether polling is over: it either failed for good or has something to deliver or delivered it."""
        return self not in {
            AttemptState.QUEUED,
            AttemptState.SUBMITTING,
            AttemptState.UNKNOWN,
            AttemptState.SUBMITTED,
            AttemptState.OVERDUE,
        }


_S = AttemptState

OPEN = frozenset(
    {_S.QUEUED, _S.SUBMITTING, _S.UNKNOWN, _S.HELD, _S.SUBMITTED, _S.OVERDUE, _S.SUCCEEDED},
)
"""States in which a subject's one open attempt can be."""

IN_FLIGHT = frozenset({_S.SUBMITTING, _S.UNKNOWN, _S.HELD, _S.SUBMITTED, _S.OVERDUE})
"""States that may fill a slot at the provider."""

WITHOUT_OUTPUT = frozenset({_S.FAILED, _S.VANISHED, _S.LOST, _S.ABANDONED})
"""States of a job that has ended, or seems to have, and left nothing to keep."""

AT_PROVIDER = frozenset({_S.SUBMITTED, _S.OVERDUE})
"""States that are polled."""

PAID_FOR = frozenset({_S.SUCCEEDED, _S.DELIVERED, _S.QUARANTINED, _S.LOST})
"""States of a job that finished."""
MADE = PAID_FOR - {_S.LOST}
"""States of a job that did what it was paid for, as far as is known."""

TRANSITIONS: dict[AttemptState, frozenset[AttemptState]] = {
    _S.QUEUED: frozenset({_S.SUBMITTING, _S.WITHDRAWN}),
    _S.SUBMITTING: frozenset({_S.QUEUED, _S.SUBMITTED, _S.REJECTED, _S.UNKNOWN}),
    _S.UNKNOWN: frozenset({_S.SUBMITTED, _S.ABSENT, _S.HELD}),
    _S.HELD: frozenset({_S.SUBMITTED, _S.ABSENT, _S.ABANDONED}),
    _S.SUBMITTED: frozenset({_S.SUCCEEDED, _S.FAILED, _S.VANISHED, _S.OVERDUE}),
    _S.OVERDUE: frozenset({_S.SUCCEEDED, _S.FAILED, _S.VANISHED, _S.ABANDONED}),
    _S.SUCCEEDED: frozenset({_S.DELIVERED, _S.QUARANTINED, _S.LOST}),
    _S.QUARANTINED: frozenset({_S.DELIVERED}),
}
"""What may follow what; a state that is not a key is final."""


class MoneyState(StrEnum):
    """Where the money of an attempt stands."""

    RESERVED = "reserved"
    """Set aside at the quoted price."""
    CONFIRMED = "confirmed"
    """Charged."""
    RELEASED = "released"
    """Never charged."""
    REFUND_EXPECTED = "refund_expected"
    """Charged for a job that failed; the provider gives it back later."""
    REFUNDED = "refunded"
    """Given back."""
    INDETERMINATE = "indeterminate"
    """May have been charged; nobody can say yet."""


class SubmissionState(StrEnum):
    """What became of one POST."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    THROTTLED = "throttled"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    ABSENT = "absent"
