"""CSV that a spreadsheet opens without executing formulas.

A job id is a provider's text and a series' name a person's; Excel, LibreOffice and Google Sheets read a cell that begins
with `=`, `+`, `-` or `@` as a formula, which may fetch an address or start a program.
Source: https://owasp.org/www-community/attacks/CSV_Injection
"""

import itertools
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TextIO

from resources.errors import ConfigurationError

Cell = str | Decimal | None
"""Text, a number or nothing. Only our own numbers may be a `Decimal`, which is written without a check."""

_BEGIN_FORMULA = set("=+-@\N{MINUS SIGN}")
_CUT_CELL = set("\t\r\n")
_QUOTES = set("'\"`\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}")
_QUOTES |= set("\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}")


def write_rows(file: TextIO, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> int:
    """Write a heading and rows; returns how many rows there were."""
    file.write(f"{','.join(columns)}\n")
    written = 0
    for row in rows:
        file.write(f"{','.join(map(_written, row))}\n")
        written += 1
    return written


def write_file(place: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> int:
    """Write a heading and rows; returns how many rows there were.

    Args:
        place: A file, or `-` for standard output.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    if place == "-":
        return write_rows(sys.stdout, columns, rows)
    try:
        with Path(place).open("w", encoding="utf-8", newline="") as file:
            return write_rows(file, columns, rows)
    except OSError as error:
        raise ConfigurationError(f"cannot write {place}: {error.strerror}") from None


def as_text(text: str) -> str:
    """A text as a cell that no spreadsheet takes for a formula: an apostrophe precedes a text that could be one.

    The check skips what precedes the first visible character (white space, quotes, invisible characters), and treats full-width
    forms as the characters they stand for, since spreadsheets do both.
    """
    shown = unicodedata.normalize("NFKC", text)
    skipped = list(itertools.takewhile(_is_skipped, shown))
    begins = shown[len(skipped) : len(skipped) + 1]
    return f"'{text}" if begins in _BEGIN_FORMULA or _CUT_CELL & set(skipped) else text


def _is_skipped(sign: str) -> bool:
    return sign.isspace() or sign in _QUOTES or unicodedata.category(sign) in {"Cc", "Cf"}


def _written(cell: Cell) -> str:
    match cell:
        case None:
            return ""
        case Decimal():
            text = f"{cell:f}"
            return text.rstrip("0").rstrip(".") if "." in text else text
        case _:
            return _quoted(as_text(cell))


def _quoted(text: str) -> str:
    # with line ends of LF, the csv module leaves a lone CR unquoted, and the text after it would become another cell
    return '"{}"'.format(text.replace('"', '""')) if any(sign in text for sign in ',"\r\n') else text
