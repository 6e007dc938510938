"""The form of printed figures: a table in Markdown, and the origin of its figures."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: bool = True) -> str:
    """A Markdown table; `numbers` aligns every column but the first to the right."""
    rule = ["---", *("---:" if numbers else "---" for _ in head[1:])]
    lines = [head, rule, *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def origin(command: str, machine: Mapping[str, Any], *more: str) -> str:
    """The command, the machine and the day of some figures."""
    where = f"{machine['cores']} cores ({machine['processor']})"
    versions = f"Python {machine['python']}, Dagster {machine['dagster']}"
    facts = [
        f"`{command}` on {where}, {versions}, {machine['date'][:10]}",
        f"load before it began: {machine['load_before']:.2f}",
        *more,
    ]
    return "; ".join(facts) + "."
