"""What the alarms' sensor remembers between its ticks: which batches are to be told of, and what was told."""

import json
from dataclasses import dataclass, field
from typing import Any

from resources.inventory.findings import Finding

KEPT_SECONDS = 7 * 86_400.0
MOST = 300
"""So many batches, runs and messages are remembered; the oldest are forgotten first."""
MOST_IDS = 500


@dataclass
class Pending:
    """A batch, or a finding, of which a message is to be sent.

    Attributes:
        first_at: When it was first seen, seconds since the epoch.
        next_at: When it is looked at next.
        tries: How often its message did not arrive.
        runs: Ids of the runs that failed.
        finding: What was found, for a finding; never remembered, since every tick looks anew.
    """

    first_at: float
    next_at: float
    tries: int = 0
    runs: list[str] = field(default_factory=list)
    finding: Finding | None = None


@dataclass(frozen=True)
class Told:
    """A message that was sent.

    Attributes:
        at: When, seconds since the epoch.
        ids: The attempts, runs or keys that it told of.
    """

    at: float
    ids: list[str]


@dataclass
class State:
    """All of it.

    Attributes:
        since: Runs that were updated later are looked at.
        pending: By batch.
        told: By batch.
        runs: When each failed run was taken in, by its id.
    """

    since: float
    pending: dict[str, Pending] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    runs: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, cursor: str | None, *, now: float) -> "State":
        """From a cursor; without one, or with one that cannot be read, what failed before now is not told of."""
        try:
            document = json.loads(cursor or "")
            return cls(
                float(document["since"]),
                {key: Pending(**value) for key, value in document["pending"].items()},
                {key: Told(**value) for key, value in document["told"].items()},
                {key: float(value) for key, value in document["runs"].items()},
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            return cls(now)

    def written(self) -> str:
        """As a cursor."""
        return json.dumps(
            {
                "since": self.since,
                "pending": {key: _plain(pending) for key, pending in self.pending.items()},
                "told": {
                    key: {"at": told.at, "ids": told.ids[-MOST_IDS:]} for key, told in self.told.items()
                },
                "runs": self.runs,
            }
        )

    def forget(self, now: float) -> None:
        """Drop what is a week old, and the oldest of what is too much."""
        self.runs = _newest(
            {key: at for key, at in self.runs.items() if now - at < KEPT_SECONDS}, lambda at: at
        )
        self.told = _newest(
            {key: told for key, told in self.told.items() if now - told.at < KEPT_SECONDS},
            lambda told: told.at,
        )
        self.pending = _newest(self.pending, lambda pending: pending.first_at)


def _plain(pending: Pending) -> dict[str, Any]:
    return {
        "first_at": pending.first_at,
        "next_at": pending.next_at,
        "tries": pending.tries,
        "runs": pending.runs[-MOST:],
    }


def _newest(found: dict[str, Any], at: Any) -> dict[str, Any]:
    return dict(sorted(found.items(), key=lambda item: at(item[1]))[-MOST:])
