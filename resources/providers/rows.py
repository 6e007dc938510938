"""What was read of a listing, a log or a bill: its rows, and beside them those that were set aside, one by one.

A row that cannot be read, or whose own label says something else than was asked for, proves nothing. It spoils no other row.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

Row = TypeVar("Row")

SHOWN = 3


@dataclass(frozen=True)
class SetAside:
    """A row that proves nothing, and what of it can be read.

    Attributes:
        why: What is wrong with it, for a person.
        job_id: What it is about.
        submission_id: The POST of ours it names.
        at: When it is dated, seconds since the epoch by the provider's clock.
        digest: Tells it from other rows.
    """

    why: str
    job_id: str | None = None
    submission_id: str | None = None
    at: float | None = None
    digest: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.why if self.job_id is None else f"{self.why} (job {self.job_id})"


class Rows(list[Row]):
    """Rows of a listing, a log or a bill.

    Args:
        rows: Those that can be read and are what was asked for.
        aside: The others.
    """

    def __init__(self, rows: Iterable[Row] = (), aside: Iterable[SetAside] = ()) -> None:
        super().__init__(rows)
        self.aside = tuple(aside)


def set_aside(rows: Iterable[Any]) -> tuple[SetAside, ...]:
    """What was set aside where some rows were read."""
    return rows.aside if isinstance(rows, Rows) else ()


def digest(row: object) -> str:
    """Tells a row from others, whatever it is."""
    return hashlib.sha256(json.dumps(row, sort_keys=True, default=repr).encode()).hexdigest()


def in_words(aside: Iterable[SetAside]) -> str:
    """How many rows were set aside, and the first of them, for a person."""
    rows = list(aside)
    sample = "; ".join(map(str, rows[:SHOWN])) + ("; ..." if len(rows) > SHOWN else "")
    return f"{len(rows)} {'row proves' if len(rows) == 1 else 'rows prove'} nothing and {'was' if len(rows) == 1 else 'were'} set aside: {sample}"
