"""The form of a page's facts; see `page_facts`."""

from dataclasses import dataclass
from typing import Any, NamedTuple

RATIOS = ["21:9", "16:9", "4:3", "1:1", "3:4", "9:16"]


class Row(NamedTuple):
    name: str
    type: str
    required: bool = False
    default: Any = None
    allowed: Any = None


@dataclass(frozen=True)
class Page:
    """One endpoint's page.

    `starts_at` is the starting price of the family's page, `examples` are prices of the endpoint's own page. `ours` is the value
    that we send instead of a default; a comment in the catalogue says why.
    """

    provider: str
    kind: str
    rows: tuple[Row, ...]
    starts_at: str | None = None
    examples: tuple[tuple[dict[str, Any], str], ...] = ()
    ours: tuple[tuple[str, Any], ...] = ()


def prompt() -> Row:
    return Row("prompt", "string", True)
