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
    """A batch or a finding whose message is not sent yet.

    Attributes:
        first_at: When it was first seen, seconds since the epoch.
        next_at: When to check it next, seconds since the epoch.
        tries: How many tries to send the message failed.
        runs: Ids of the runs that failed.
        finding: The finding; not stored in the cursor, since every tick makes the checks again.
    """

    first_at: float
    next_at: float
    tries: int = 0
    runs: list[str] = field(default_factory=list)
    finding: Finding | None = None


@dataclass(frozen=True)
class SentMessage:
    """A message that was sent.

    Attributes:
        at: When, seconds since the epoch.
        ids: The attempts, runs or keys that it named.
    """

    at: float
    ids: list[str]


@dataclass
class State:
    """The whole memory, as the sensor's cursor holds it.

    Attributes:
        since: Runs updated after this are examined, seconds since the epoch.
        pending: By batch.
        sent: By batch.
        runs: When each failed run was noted, by run id.
    """

    since: float
    pending: dict[str, Pending] = field(default_factory=dict)
    sent: dict[str, SentMessage] = field(default_factory=dict)
    runs: dict[str, float] = field(default_factory=dict)

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
