"""Tables: 80 columns are enough for what a command shows by itself, and no key is ever cut."""

import io

import pytest
from rich.console import Console

from pipelines.cli import terminal
from pipelines.cli.terminal import print_table, table_of

KEY = "product-loop-brushed-steel-evening-glow-2026-11-20-hero"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    out = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=out, width=80))
    return out


def test_words_that_may_break_make_room_for_keys(printed: io.StringIO) -> None:
    table = table_of("clip", "why", wraps={"why"})
    table.add_row(KEY, "the provider could not be reached for a while, so nothing was sent")
    print_table(table)
    lines = printed.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert KEY in lines[1]
    assert "provider" in printed.getvalue()


def test_a_key_is_whole_where_the_terminal_is_too_narrow(printed: io.StringIO) -> None:
    table = table_of("clip", "address", "cost", right={"cost"})
    table.add_row(KEY, f"s3://dailies/videos/{KEY}/take.mp4", "$1.20")
    print_table(table)
    line = printed.getvalue().splitlines()[1]
    assert line.split() == [KEY, f"s3://dailies/videos/{KEY}/take.mp4", "$1.20"]
    assert terminal.console.width == 80


def test_no_word_is_broken_where_the_terminal_is_too_narrow(printed: io.StringIO) -> None:
    table = table_of("clip", "price", "seconds", "state", wraps={"price", "seconds"})
    table.add_row(KEY, "at most $0.3024/s", "auto, 4 to 15", "delivered")
    print_table(table)
    words = printed.getvalue().split()
    assert {"$0.3024/s", "auto,"} <= set(words)
