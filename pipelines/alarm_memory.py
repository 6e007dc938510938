"""The memory of the sensor `alarms` between its ticks: pending and sent messages."""

import json
from dataclasses import dataclass, field
from typing import Any

from resources.inventory.findings import Finding

KEPT_SECONDS = 7 * 86_400.0
MOST = 300
"""How many batches, runs and messages are remembered; the oldest are forgotten first."""
MOST_IDS = 500


@dataclass
class Pending:
    """A batch or a finding whose message is not sent yet."""

    first_at: float
    """When it was first seen, seconds since the epoch."""
    next_at: float
    """When to check it next, seconds since the epoch."""
    tries: int = 0
    """How many tries to send the message failed."""
    runs: list[str] = field(default_factory=list)
    """Ids of the runs that failed."""
    finding: Finding | None = None
    """The finding; not stored in the cursor, since every tick makes the checks again."""


@dataclass(frozen=True)
class SentMessage:
    """A message that was sent."""

    at: float
    """When, seconds since the epoch."""
    ids: list[str]
    """The attempts, runs or keys that it named."""


@dataclass
class State:
    """The whole memory, as the sensor's cursor holds it."""

    since: float
    """Runs updated after this are examined, seconds since the epoch."""
    pending: dict[str, Pending] = field(default_factory=dict)
    """By batch."""
    sent: dict[str, SentMessage] = field(default_factory=dict)
    """By batch."""
    runs: dict[str, float] = field(default_factory=dict)
    """When each failed run was noted, by run id."""

    @classmethod
    def read(cls, cursor: str | None, *, now: float) -> "State":
        """Read a cursor. If it is missing or unreadable, failures before `now` cause no message."""
        try:
            document = json.loads(cursor or "")
            return cls(
                float(document["since"]),
                {key: Pending(**value) for key, value in document["pending"].items()},
                {key: SentMessage(**value) for key, value in document["told"].items()},
                {key: float(value) for key, value in document["runs"].items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls(now)

    def written(self) -> str:
        """The text of the cursor."""
        return json.dumps(
            {
                "since": self.since,
                "pending": {key: _plain(pending) for key, pending in self.pending.items()},
                "told": {
                    key: {"at": message.at, "ids": message.ids[-MOST_IDS:]}
                    for key, message in self.sent.items()
                },
                "runs": self.runs,
            }
        )

    def forget(self, now: float) -> None:
        """Drop entries that are a week old, and the oldest beyond `MOST`."""
        self.runs = _newest(
            {key: at for key, at in self.runs.items() if now - at < KEPT_SECONDS}, lambda at: at
        )
        self.sent = _newest(
            {key: message for key, message in self.sent.items() if now - message.at < KEPT_SECONDS},
            lambda message: message.at,
        )
        self.pending = _newest(self.pending, lambda pending: pending.first_at)


def _plain(pending: Pending) -> dict[str, Any]:
    return {
        "first_at": pending.first_at,
        "next_at": pending.next_at,
        "tries": pending.tries,
        "runs": pending.runs[-MOST:],
    }


def _newest(entries: dict[str, Any], at: Any) -> dict[str, Any]:
    return dict(sorted(entries.items(), key=lambda item: at(item[1]))[-MOST:])
