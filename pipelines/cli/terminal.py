"""The output of commands: tables for people, JSON for machines, errors on standard error."""

import datetime as dt
import json
import os
import re
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from resources.log_lines import write_line, writes_json
from resources.plain import legible

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 200
MOST_COLUMNS = 10_000

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
"""The option `--json` of every command with output."""
CLIPS = (
    "Series, clips, patterns (harbor-*), series:, tag:, owner:, endpoint:, state:failed, changed, today, 2026-11-01..07. "
    "Words add up; commas narrow (tag:coast,yesterday)."
)
"""The help of the selectors of clips."""
Long = Annotated[bool, typer.Option("--long", help="Show every column, also where it needs a wide terminal.")]
"""The option `--long` of every command whose table is wider than 80 columns."""
Host = Annotated[
    str,
    typer.Option(
        help="The IP address to listen at. Anything but 127.0.0.1 needs a proxy with a login in front of it (docs/operating.md)."
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; for scripts.")]
"""The option `--yes` of every command that asks before it buys."""


def _console(*, stderr: bool = False) -> Console:
    """A console that wraps at a terminal's width, and at `WIDE` columns elsewhere."""
    output = Console(stderr=stderr)
    return output if output.is_terminal or "COLUMNS" in os.environ else Console(stderr=stderr, width=WIDE)


console = _console()
errors = _console(stderr=True)


def a_day(text: str) -> dt.datetime:
    """Parse the day of an option.

    Raises:
        typer.BadParameter: It is not a day.
    """
    try:
        return dt.datetime.strptime(text, "%Y-%m-%d")  # noqa: DTZ007 - a day has no time zone
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day; write it as YYYY-MM-DD, e.g. 2026-11-20") from None


def table_of(*columns: str, right: Collection[str] = (), wraps: Collection[str] = ()) -> "Table":
    """A table without lines, whose cells are never cut.

    Args:
        columns: The headers.
        right: The columns with numbers.
        wraps: The columns with sentences, which break between words.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(
            name, justify="right" if name in right else "left", no_wrap=name not in wraps, overflow="fold"
        )
    return table


def print_table(table: "Table") -> None:
    """Print a table. Lines may exceed the terminal's width, because half a key cannot be copied."""
    from rich.measure import Measurement

    width, options = console.width, console.options.update(width=MOST_COLUMNS)
    least = []
    for column in table.columns:
        sizes = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
        least.append(max(size.maximum if column.no_wrap else size.minimum for size in sizes))
    needed = sum(least) + 2 * (len(least) - 1)
    if needed > width:
        for column, size in zip(table.columns, least, strict=True):
            # rich would break a word in one column to save a line in another
            column.width = size
    console.width = max(width, needed)
    try:
        console.print(table)
    finally:
        console.width = width


_WORDS = re.compile(r"(\s*)([^\s`]*`[^`\n]*`\S*|\S+)")


def folded(text: str, width: int, *, used: int = 0) -> str:
    """A text with line breaks between its words; a command in backticks, a key and an address stay whole, to be copied.

    Args:
        width: Columns of a line.
        used: Columns of the first line that something else takes.
    """
    lines = []
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        now, free = indent, width - used
        for space, word in _WORDS.findall(line.lstrip()):
            if now.strip() and len(now) + len(space) + len(word) > free:
                lines.append(now)
                now, free = indent + word, width
            else:
                now += space + word
        lines.append(now)
        used = 0
    return "\n".join(lines)


def tell(message: str, *, mark: str = "", style: str = "", to: Console | None = None) -> None:
    """Print sentences. A terminal breaks them between words; elsewhere each stays one line.

    Args:
        mark: What stands before them, in `style`.
        to: Standard output unless said otherwise.
    """
    where = to or console
    text = folded(message, where.width, used=len(mark)) if where.is_terminal else message
    where.print(Text.assemble((mark, style), text), soft_wrap=True)


def complain(message: str) -> None:
    """Print an error for a person; characters that terminals cannot show are replaced."""
    said = legible(message, instead="\N{REPLACEMENT CHARACTER}", lines=True)
    if _logs_json():
        write_line("ERROR", said)
        return
    tell(said, mark="dailies: ", style="bold red", to=errors)


def note(message: str) -> None:
    """Print a note, which is not an error, on standard error."""
    said = legible(message, instead="\N{REPLACEMENT CHARACTER}", lines=True)
    if _logs_json():
        write_line("INFO", said)
        return
    tell(said, mark="note: ", style="bold yellow", to=errors)


def progress(message: str) -> None:
    """Print the present step of a long command."""
    say(message if writes_json() else f"… {message}")


def say(*lines: str) -> None:
    """Print lines of a long command, for a person or as its log in JSON."""
    for line in lines:
        if not writes_json():
            console.print(line)
        elif line:
            write_line("INFO", line, stream=sys.stdout)


def _logs_json() -> bool:
    """Whether standard error is a log in JSON instead of a terminal."""
    return writes_json() and not errors.is_terminal


def is_terminal() -> bool:
    """Whether standard input is a terminal, so that a person can answer."""
    return sys.stdin.isatty()


def confirm(question: str, *, otherwise: str = "nothing was changed") -> None:
    """Ask a person on standard error, and end the command unless they answer yes.

    Args:
        otherwise: What it says then.

    Raises:
        typer.Exit: The answer is no (1) or Ctrl-C (130), or nobody can answer (2).
    """
    try:
        is_agreed = typer.confirm(legible(question, instead="\N{REPLACEMENT CHARACTER}"), err=True)
    except typer.Abort:
        # the question has no line feed of its own
        errors.print()
        if is_terminal():
            complain(otherwise)
            raise typer.Exit(130) from None
        complain(f"{otherwise}: without a terminal nobody can be asked. Add --yes.")
        raise typer.Exit(2) from None
    if not is_agreed:
        complain(otherwise)
        raise typer.Exit(1)


def print_json(document: object) -> None:
    """Print a document as JSON."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def print_json_list(documents: Iterable[object]) -> None:
    """Print documents as one JSON list, a line each, as soon as each arrives."""
    before = "[\n"
    for document in documents:
        sys.stdout.write(before + json.dumps(document))
        before = ",\n"
    sys.stdout.write("[]\n" if before == "[\n" else "\n]\n")


def counted(number: int, noun: str) -> str:
    """`1 run`, `2 runs`, `2 finishes`."""
    ending = "es" if noun.endswith("sh") else "s"
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{ending}"


def age(seconds: float) -> str:
    """A duration for people: `42 s`, `7 min`, `3 h`, `2 d`."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
