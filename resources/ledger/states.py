"""The states of an attempt and of its money, and the allowed transitions.

An attempt is one intended purchase. It is *open* while it can still produce a clip. A subject (a clip) has at most one open
attempt, so that two runs, two sensors or two machines never buy the same clip.
"""

from enum import StrEnum


class AttemptState(StrEnum):
    """The progress of a purchase."""

    QUEUED = "queued"
    """Its money is reserved; nothing was sent."""
    SUBMITTING = "submitting"
    """A POST is committed and may be in flight."""
    UNKNOWN = "unknown"
    """The POST may or may not have created a job. It is never repeated without proof of absence."""
    HELD = "held"
    """Unknown, and nothing could be proved. A person settles it, unless evidence turns up before."""
    SUBMITTED = "submitted"
    """The provider has the job."""
    OVERDUE = "overdue"
    """The job runs longer than its endpoint should take; it is polled slowly."""
    SUCCEEDED = "succeeded"
    """The generation is finished; its output is still at the provider."""
    DELIVERED = "delivered"
    """The verified video and its manifest are in the bucket."""
    QUARANTINED = "quarantined"
    """A check of the fetched file failed; a person decides whether to accept it."""
    WITHDRAWN = "withdrawn"
    """Withdrawn before anything was sent."""
    REJECTED = "rejected"
    """The provider refused the request; no job exists."""
    ABSENT = "absent"
    """The outcome was unknown, and it is proved that no job exists."""
    FAILED = "failed"
    """The provider's job failed."""
    VANISHED = "vanished"
    """The provider no longer knows the job."""
    LOST = "lost"
    """The generation finished, but its output was gone before it was fetched."""
    ABANDONED = "abandoned"
    """A person has written the purchase off."""

    @property
    def is_open(self) -> bool:
        """Whether the purchase may still produce a clip, so that its subject must not be bought again."""
        return self in OPEN

    @property
    def is_ended(self) -> bool:
        """Whether polling is over: the job has failed, or its output is to be delivered or is delivered."""
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

UNDELIVERED = frozenset(AttemptState) - OPEN - {_S.DELIVERED}
"""States of a purchase that has ended without a delivery."""

FINISHED_BY = OPEN | {_S.DELIVERED, _S.QUARANTINED}
"""States of the one finish of a draft: it is or may be bought, and its video is or will be there."""

IN_FLIGHT = frozenset({_S.SUBMITTING, _S.UNKNOWN, _S.HELD, _S.SUBMITTED, _S.OVERDUE})
"""States that may fill a slot at the provider."""

WITHOUT_OUTPUT = frozenset({_S.FAILED, _S.VANISHED, _S.LOST, _S.ABANDONED})
"""States of a job that has ended, as far as is known, without an output."""

AT_PROVIDER = frozenset({_S.SUBMITTED, _S.OVERDUE})
"""States that are polled."""

PAID_FOR = frozenset({_S.SUCCEEDED, _S.DELIVERED, _S.QUARANTINED, _S.LOST})
"""States of a job that finished."""
MADE = PAID_FOR - {_S.LOST}
"""States of a job that made its clip, as far as is known."""

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
"""Which states may follow a state; a state that is not a key is final."""


class MoneyState(StrEnum):
    """The state of an attempt's money."""

    RESERVED = "reserved"
    """Reserved at the quoted price."""
    CONFIRMED = "confirmed"
    """Charged."""
    RELEASED = "released"
    """Never charged."""
    REFUND_EXPECTED = "refund_expected"
    """Charged for a job that failed; the provider gives it back later."""
    REFUNDED = "refunded"
    """The provider has given it back."""
    INDETERMINATE = "indeterminate"
    """It may have been charged; it is not known yet."""


class SubmissionState(StrEnum):
    """The outcome of one POST."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    THROTTLED = "throttled"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    ABSENT = "absent"
