"""`dailies yield`: circled and rejected takes for the money spent, by series, model, day or part of the prompt."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.cli.spreadsheet import Cell, write_file
from pipelines.cli.terminal import age, table_of
from resources.ledger.yields import YieldBy, YieldLine, total_of
from resources.money import show_usd, to_usd

COLUMNS = (
    "name",
    "bought",
    "takes",
    "circled",
    "rejected",
    "not_judged",
    "spent_usd",
    "takes_a_select",
    "usd_a_select",
    "seconds_to_judge",
    "reasons",
)


def table(lines: Sequence[YieldLine], by: YieldBy) -> Table:
    """A table with one row for each line, and their sum."""
    numbers = ("bought", "circled", "spent", "a select", "judged in")
    yields = table_of(
        by.value,
        *numbers,
        "rejected",
        right=numbers,
        wraps={"a select", "judged in", "rejected", *((by.value,) if by is YieldBy.PROMPT else ())},
    )
    for line in [*lines, *([total_of(lines)] if len(lines) > 1 and by is not YieldBy.PROMPT else [])]:
        each, seconds = line.each_micros, line.seconds_to_judge
        yields.add_row(
            Text(line.name),
            str(line.bought),
            f"{line.circled} of {line.takes}",
            show_usd(line.spent_micros),
            "-" if each is None else show_usd(each),
            "-" if seconds is None else age(seconds),
            Text(f"{line.rejected}: {_why(line)}" if line.reasons else str(line.rejected)),
        )
    return yields


def document(lines: Sequence[YieldLine], by: YieldBy) -> dict[str, Any]:
    """The same content as JSON; money is exact text in USD. Parts of prompts have no total."""
    total = None if by is YieldBy.PROMPT else _line(total_of(lines))
    return {"by": by.value, "lines": [_line(line) for line in lines], "total": total}


def write_csv(lines: Sequence[YieldLine], place: str) -> int:
    """Write the lines as CSV; returns how many there were.

    Args:
        place: A file, or `-` for standard output.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    return write_file(place, COLUMNS, [_cells(line) for line in lines])


def _line(line: YieldLine) -> dict[str, Any]:
    each = line.each_micros
    return {
        "name": line.name,
        "bought": line.bought,
        "takes": line.takes,
        "circled": line.circled,
        "rejected": line.rejected,
        "not_judged": line.unjudged,
        "spent_usd": str(to_usd(line.spent_micros)),
        "takes_a_select": line.takes_each,
        "usd_a_select": None if each is None else str(to_usd(each)),
        "seconds_to_judge": line.seconds_to_judge,
        "reasons": dict(line.reasons.most_common()),
    }


def _cells(line: YieldLine) -> list[Cell]:
    numbers = _line(line)
    return [
        _why(line)
        if name == "reasons"
        else value
        if name == "name"
        else None
        if value is None
        else Decimal(str(value))
        for name, value in numbers.items()
    ]


def _why(line: YieldLine) -> str:
    return ", ".join(f"{reason} {number}" for reason, number in line.reasons.most_common())
