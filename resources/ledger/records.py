"""Immutable records of the ledger's rows."""

import math
import secrets
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from resources.ledger.states import AttemptState, MoneyState
from resources.ledger.stored_forms import StoredTake, order_columns, whole_delivery, whole_order
from resources.orders import ClipRequest, TakeSlot
from resources.providers.base import FailureKind

CLIP, SPARE = "clip", "spare"
"""Kinds of subjects: a clip, and a spare take of a clip, which is its own subject (see `spare_takes.py`)."""


KEPT_SECONDS = 7 * 86_400.0
"""How long a provider is assumed to keep an output if it does not say: the shortest time that another provider states."""


ATTEMPT_ID_LENGTH = 10
"""Characters of an attempt's id, which stands in twenty places of the ledger and in every key of the bucket. Ten have 50 random
bits: of a million attempts, one in two thousand ledgers draws an id twice. The database refuses it, and the purchase is decided
again."""
_ID_CHARACTERS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Digits and letters without those that look like another one, so that a person can type an id."""


def new_attempt_id() -> str:
    """A random id of an attempt."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(ATTEMPT_ID_LENGTH))


def clip_of(subject_key: str) -> str:
    """The clip of a subject. The key of a spare take is its clip's key, `~` and a part of the attempt's id."""
    return subject_key.partition("~")[0]


@dataclass(frozen=True)
class Attempt:
    """One intended purchase, as read from the ledger. Times are seconds since the epoch, money is micro-USD."""

    seq: int
    """Order of creation, which is the order of the queue."""
    id: str
    """Part of the keys of its objects in the bucket."""
    subject_kind: str
    """What is bought: a clip, a spare take of a clip, a character."""
    subject_key: str
    """See `clip_of`."""
    series: str
    fingerprint: str
    provider: str
    account: str
    endpoint: str
    stored_request: dict[str, Any]
    """See `request`."""
    decision: str
    """Id of the decision it belongs to: a root run, a schedule's tick, a command."""
    batch: str | None
    """The run that ordered it. The purchases of one batch are collected together."""
    watched_by: str | None
    """The run that waits for it and will report its end; None if no run does."""
    reported_run_id: str | None
    """The run that reported its end to Dagster; None before that."""
    reported_at: float | None
    state: AttemptState
    version: int
    """Grows with every transition; a writer must name the version it read."""
    reason_kind: FailureKind | None
    reason: str | None
    money_state: MoneyState
    quoted_micros: int
    """Its price in the catalogue, or the provider's quote."""
    charged_micros: int | None
    """What it cost; None until that is known."""
    charge_source: str | None
    """What states `charged_micros`: `answer`, `quote` or `bill`."""
    counted_on: str
    """The day on which it was queued and for which it counts (YYYY-MM-DD, in the budget's time zone)."""
    created_at: float
    submitted_at: float | None
    finished_at: float | None
    delivered_at: float | None
    next_poll_at: float | None
    polls: int
    overdue_at: float | None
    """When the job becomes overdue."""
    copy_deadline: float | None
    """When the provider may delete the output."""
    job_id: str | None
    served_model: str | None
    outputs: list[str] | None
    inference_seconds: float | None
    delivery_owner: str | None
    delivery_until: float | None
    stored_delivery: dict[str, Any] | None
    """See `delivery`."""
    end_kind: FailureKind | None = None
    """Why its job seems to have ended without an output, while that end is doubtful; see `ends.py`."""
    end_said: str | None = None
    """That end in the provider's words."""
    end_since: float | None = None
    """When that end was first seen."""
    end_times: int = 0
    """How often that end was seen."""
    late_at: float | None = None
    """When a job that ended without an output is polled again; see `late_jobs.py`."""
    slot: int = 1
    """Its number among the takes that its decision buys of the clip, from 1."""
    is_draft: bool = False
    """Whether it is a draft: a cheap take to judge, whose circle buys a finish."""
    finishes: str | None = None
    """Id of the draft that it finishes; None if it finishes none."""

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> "Attempt":
        """Read a row of the `attempts` table."""
        values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a mapping, named like a private one
        values["stored_request"] = values.pop("request")
        values["stored_delivery"] = values.pop("delivery")
        values["state"] = AttemptState(values["state"])
        values["money_state"] = MoneyState(values["money_state"])
        values["reason_kind"] = FailureKind(values["reason_kind"]) if values["reason_kind"] else None
        values["end_kind"] = FailureKind(values["end_kind"]) if values["end_kind"] else None
        return cls(**values)

    @cached_property
    def request(self) -> ClipRequest:
        """The order. It is parsed at the first access, since most readers of an attempt never need it."""
        columns = order_columns(self.clip, self.series, self.provider, self.endpoint)
        return ClipRequest.model_validate(whole_order(self.stored_request, columns))

    @cached_property
    def delivery(self) -> dict[str, Any] | None:
        """The facts of its manifest; None until it is delivered or in quarantine."""
        if self.stored_delivery is None:
            return None
        return whole_delivery(self.stored_delivery, StoredTake(self.clip, self.id))

    @property
    def named(self) -> dict[str, str | None]:
        """The fields that log lines about it contain."""
        return {
            "clip": self.clip,
            "series": self.series,
            "account": self.account,
            "attempt": self.id,
            "job_id": self.job_id,
        }

    @property
    def traced(self) -> dict[str, str | int | None]:
        """The fields that spans about it contain; none can hold a prompt or a key."""
        return {**self.named, "provider": self.provider, "endpoint": self.endpoint, "take": self.slot}

    @property
    def take_slot(self) -> TakeSlot:
        """Its subject and slot, which have at most one open purchase."""
        return TakeSlot(self.subject_key, self.slot)

    @property
    def clip(self) -> str:
        """The clip's key, also of a spare take."""
        return clip_of(self.subject_key)

    @property
    def is_spare(self) -> bool:
        """Whether it is a spare take, which nobody ordered; see `spare_takes.py`."""
        return self.subject_kind == SPARE

    @property
    def confirming(self) -> str | None:
        """The doubtful end of its job, in a sentence for a person; None if there is none."""
        if self.end_kind is None or not self.state.is_open:
            return None
        times = "once" if self.end_times == 1 else f"{self.end_times} times"
        return (
            f"{self.account} has said {times} that it ended without an output ({self.end_said or self.end_kind.value}); "
            "nothing is bought in its place until the end is confirmed"
        )

    @property
    def waited_seconds(self) -> float | None:
        """Seconds from the submit to the poll that saw the end; None before the end, or if a clock was set back meanwhile."""
        if self.submitted_at is None or self.finished_at is None or self.finished_at < self.submitted_at:
            return None
        return self.finished_at - self.submitted_at

    def age(self, now: float) -> float:
        """Seconds since its submit; infinite if it was dated by a clock that was ahead, since it may be of any age."""
        sent_at = self.submitted_at or self.created_at
        return now - sent_at if sent_at <= now else math.inf

    @property
    def kept_until(self) -> float:
        """The time until which its provider is assumed to keep the output, in seconds since the epoch."""
        if self.copy_deadline is not None:
            return self.copy_deadline
        return (self.finished_at or self.created_at) + KEPT_SECONDS

    @property
    def cost_micros(self) -> int:
        """Its cost as far as known: zero if released or refunded, else the charge, else the quote."""
        if self.money_state in {MoneyState.RELEASED, MoneyState.REFUNDED}:
            return 0
        return self.quoted_micros if self.charged_micros is None else self.charged_micros

    @property
    def overcharged_micros(self) -> int:
        """The charge above the quote."""
        return max(0, (self.charged_micros or 0) - self.quoted_micros)


@dataclass(frozen=True)
class Submission:
    """A POST that is committed and may now be sent."""

    id: str
    """The id that is sent with the POST, so that a late answer names it."""
    attempt: Attempt
    """The attempt in state `submitting`."""
    deadline: float
    """When the POST must be over, seconds since the epoch. After that it must not be sent."""
    seed: int | None = None
    """Its own seed, by which a listing that shows requests names its job; None if the order fixes the seed or the model takes none."""

    @property
    def body(self) -> dict[str, Any]:
        """The request of this POST, with its own seed."""
        return self.attempt.request.body_of_post(self.seed)
