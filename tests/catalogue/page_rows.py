"""How a page's facts are written down; see `page_facts`."""

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

    `starts_at` is the starting price of the family page, `examples` the prices of the endpoint's own. `ours` is what we
    send instead of a default, and why that is no mistake is a comment in the catalogue.
    """

    provider: str
    kind: str
    rows: tuple[Row, ...]
    starts_at: str | None = None
    examples: tuple[tuple[dict[str, Any], str], ...] = ()
    ours: tuple[tuple[str, Any], ...] = ()


def prompt() -> Row:
    return Row("prompt", "string", True)
