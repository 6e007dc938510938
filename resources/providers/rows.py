"""The rows of a listing, a log or a bill, with the rows that were set aside.

A row that cannot be read, or whose own label is not the expected one, proves nothing and is set aside; the others still count.
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
    """A row that proves nothing, with the fields that can be read."""

    why: str
    """The fault, for a person."""
    job_id: str | None = None
    """The job of the row, if known."""
    submission_id: str | None = None
    """Our POST that the row names."""
    at: float | None = None
    """The date of the row, in seconds since the epoch by the provider's clock."""
    digest: str = field(default="", repr=False)
    """Identifies the row."""

    def __str__(self) -> str:
        return self.why if self.job_id is None else f"{self.why} (job {self.job_id})"


class Rows(list[Row]):
    """Rows of a listing, a log or a bill.

    Args:
        rows: The readable rows of the expected kind.
        aside: The other rows.
    """

    def __init__(self, rows: Iterable[Row] = (), aside: Iterable[SetAside] = ()) -> None:
        super().__init__(rows)
        self.aside = tuple(aside)


def set_aside(rows: Iterable[Any]) -> tuple[SetAside, ...]:
    """The rows that were set aside, empty for a plain list."""
    return rows.aside if isinstance(rows, Rows) else ()


def digest(row: object) -> str:
    """A digest that identifies a row of any type."""
    return hashlib.sha256(json.dumps(row, sort_keys=True, default=repr).encode()).hexdigest()


def in_words(aside: Iterable[SetAside]) -> str:
    """The number of rows that were set aside and the first of them, for a person."""
    rows = list(aside)
    sample = "; ".join(map(str, rows[:SHOWN])) + ("; ..." if len(rows) > SHOWN else "")
    return f"{len(rows)} {'row proves' if len(rows) == 1 else 'rows prove'} nothing and {'was' if len(rows) == 1 else 'were'} set aside: {sample}"
