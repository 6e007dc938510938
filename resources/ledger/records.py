"""What the ledger hands out: plain, immutable records of its rows."""

import math
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from resources.ledger.states import AttemptState, MoneyState
from resources.orders import ClipRequest
from resources.providers.base import FailureKind

CLIP, SPARE = "clip", "spare"
"""Kinds of subjects: a clip, and a take to spare of one, which is a subject of its own (see `spare_takes.py`)."""


KEPT_SECONDS = 7 * 86_400.0
"""How long an output is taken to be kept where its provider does not say: as long as the shortest that another one states."""


def clip_of(subject_key: str) -> str:
    """The clip of an attempt's subject, also of a take to spare, whose key goes on after a `~`."""
    return subject_key.partition("~")[0]


@dataclass(frozen=True)
class Attempt:
    """One intended purchase as it stood when it was read. Times are seconds since the epoch, money is micro-dollars."""

    seq: int
    """Order of creation, which is the order of the queue."""
    id: str
    """The attempt's id; part of the keys of its objects."""
    subject_kind: str
    """What is bought: a clip, a take to spare of one, a character."""
    subject_key: str
    """Its key; of a spare the clip's, `~` and a part of its id."""
    series: str
    fingerprint: str
    provider: str
    account: str
    endpoint: str
    request: ClipRequest
    decision: str
    """What the purchase belongs to: a root run, a schedule's tick, a command."""
    batch: str | None
    """The run that asked for it; what is collected together."""
    watched_by: str | None
    """The run that waits for it and will report it, None when nobody does."""
    reported_run_id: str | None
    """The run that told Dagster how it ended, None while nobody has."""
    reported_at: float | None
    state: AttemptState
    version: int
    """Grows with every transition; a writer must name the version it read."""
    reason_kind: FailureKind | None
    reason: str | None
    money_state: MoneyState
    quoted_micros: int
    """What the catalogue said it costs."""
    charged_micros: int | None
    """What it did cost, None until that is known."""
    charge_source: str | None
    """Who said so: `answer`, `quote` or `bill`."""
    counted_on: str
    """The day (YYYY-MM-DD, in the budget's time zone) it counts for, which is the day it was queued."""
    created_at: float
    submitted_at: float | None
    finished_at: float | None
    delivered_at: float | None
    next_poll_at: float | None
    polls: int
    overdue_at: float | None
    """When the job has taken longer than it should."""
    copy_deadline: float | None
    """When the provider may delete the output."""
    job_id: str | None
    served_model: str | None
    outputs: list[str] | None
    inference_seconds: float | None
    delivery_owner: str | None
    delivery_until: float | None
    delivery: dict[str, Any] | None
    """What was stored (a manifest's facts), None until it was."""
    end_kind: FailureKind | None = None
    """Why its job seems to have ended without an output, while that is not believed yet; see `ends.py`."""
    end_said: str | None = None
    """The same in the provider's words."""
    end_since: float | None = None
    """When such an end was first seen."""
    end_times: int = 0
    """How often it was seen since."""
    late_at: float | None = None
    """When a job that left no output is asked for once more; see `late_jobs.py`."""

    @classmethod
    def from_row(cls, row: sa.Row[Any]) -> "Attempt":
        """Read a row of the `attempts` table."""
        values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a mapping, named like a private one
        values["request"] = ClipRequest.model_validate(values["request"])
        values["state"] = AttemptState(values["state"])
        values["money_state"] = MoneyState(values["money_state"])
        values["reason_kind"] = FailureKind(values["reason_kind"]) if values["reason_kind"] else None
        values["end_kind"] = FailureKind(values["end_kind"]) if values["end_kind"] else None
        return cls(**values)

    @property
    def clip(self) -> str:
        """The clip's key, also of a take to spare."""
        return clip_of(self.subject_key)

    @property
    def is_spare(self) -> bool:
        """Whether it is a take that nobody asked for; see `spare_takes.py`."""
        return self.subject_kind == SPARE

    @property
    def confirming(self) -> str | None:
        """What seems to have ended its job and is being confirmed, for a person; None where nothing is."""
        if self.end_kind is None or not self.state.is_open:
            return None
        times = "once" if self.end_times == 1 else f"{self.end_times} times"
        return (
            f"{self.account} has said {times} that it ended without an output ({self.end_said or self.end_kind.value}); "
            "it is being confirmed, and nothing is bought in its place before"
        )

    @property
    def waited_seconds(self) -> float | None:
        """Seconds from the submit to the poll that saw the end; None while it is not over, or where a clock was set back between."""
        if self.submitted_at is None or self.finished_at is None or self.finished_at < self.submitted_at:
            return None
        return self.finished_at - self.submitted_at

    def age(self, now: float) -> float:
        """Seconds since its submit; of one that a clock which was ahead has dated it is only known that it is no longer young."""
        sent_at = self.submitted_at or self.created_at
        return now - sent_at if sent_at <= now else math.inf

    @property
    def kept_until(self) -> float:
        """Until when its output is taken to be at its provider, seconds since the epoch."""
        if self.copy_deadline is not None:
            return self.copy_deadline
        return (self.finished_at or self.created_at) + KEPT_SECONDS

    @property
    def cost_micros(self) -> int:
        """What it costs as far as is known: the charge, nothing when released, else the quote."""
        if self.money_state in {MoneyState.RELEASED, MoneyState.REFUNDED}:
            return 0
        return self.quoted_micros if self.charged_micros is None else self.charged_micros

    @property
    def overcharged_micros(self) -> int:
        """How much more it did cost than was quoted."""
        return max(0, (self.charged_micros or 0) - self.quoted_micros)


@dataclass(frozen=True)
class Submission:
    """One POST that was committed and may now be sent."""

    id: str
    """Goes out with the POST, so that a late answer names it."""
    attempt: Attempt
    """The attempt in state `submitting`."""
    deadline: float
    """When its POST must be over, seconds since the epoch; it must not be sent any more afterwards."""
