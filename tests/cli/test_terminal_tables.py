"""Tables: 80 columns are enough for a command's own columns, and a key is never cut."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from deliverykit import Depot
from projects import an_order
from rich.color import ColorSystem
from rich.console import Console
from rich.text import Text

from pipelines.cli import terminal
from pipelines.cli.fetch import Fetched, show
from pipelines.cli.terminal import print_table, table_of
from resources.ledger.decisions import Decision, decide
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Submission
from resources.providers.base import Unknown

KEY = "product-loop-brushed-steel-evening-glow-2026-11-20-hero"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    out = io.StringIO()
    monkeypatch.setattr(terminal, "console", Console(file=out, width=80))
    return out


def test_texts_wrap_so_that_keys_stay_whole(printed: io.StringIO) -> None:
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


def test_no_word_is_broken_when_the_terminal_is_too_narrow(printed: io.StringIO) -> None:
    table = table_of("clip", "price", "seconds", "state", wraps={"price", "seconds"})
    table.add_row(KEY, "at most $0.3024/s", "auto, 4 to 15", "delivered")
    print_table(table)
    words = printed.getvalue().split()
    assert {"$0.3024/s", "auto,"} <= set(words)


LONG = "product-loop-brushed-steel-evening-glow"
"""A key as long as those of the samples."""
COMMANDS = {
    "status": True,
    f"status {LONG}": True,
    "plan bay": True,
    f"takes {LONG}": False,
    "ledger": False,
    "ledger orphans": False,
    "ledger backups": False,
    "models": False,
    "schedules": False,
    "policy": False,
    "policy log": False,
    "data log": False,
    "disclosure bay": True,
    "yield": False,
    "yield --by model": False,
    "accept": False,
    "finish --show": False,
    "characters list": False,
}
"""Commands with tables, and whether they show the clip's key."""
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def broken_by_a_terminal(printed: str) -> list[str]:
    """Lines longer than 80 columns although they have spaces to break at."""
    long = [row for row in printed.splitlines() if len(row) > 80]
    return [row for row in long if len(re.findall(r"`[^`]*`\S*|\S+", row)) > 1]


@pytest.fixture
def project(depot: Depot, tmp_path: Path) -> None:
    """A series with a long name, whose clip is delivered."""
    file = tmp_path / "data" / "series" / "bay.yaml"
    series = yaml.safe_load(file.read_text())
    series |= {"keys": "product-loop", "clips": [{"name": LONG.removeprefix("product-loop-")}]}
    file.write_text(yaml.safe_dump(series))
    depot.deliver(depot.finished(LONG, series="bay"))


@pytest.mark.slow
@pytest.mark.usefixtures("project")
def test_tables_of_commands_fit_eighty_columns_and_have_colours_only_on_request_or_at_a_terminal(
    command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def at(width: int, *, colours: bool, terminal_is: bool) -> dict[str, str]:
        with monkeypatch.context() as patch:
            patch.setattr(terminal.console, "_width", width)
            patch.setattr(terminal.console, "_force_terminal", terminal_is)
            patch.setattr(terminal.console, "_color_system", ColorSystem.STANDARD if terminal_is else None)
            patch.setattr(terminal.console, "no_color", not colours)
            return {line: command(*line.split())[1] for line in COMMANDS}

    coloured = at(80, colours=True, terminal_is=True)
    for line, shows_key in COMMANDS.items():
        plain = ESCAPE.sub("", coloured[line])
        rows = [row.rstrip() for row in plain.splitlines() if re.search(r"\S {2,}\S", row)]
        assert max(map(len, rows), default=0) <= 80, f"{line}:\n{plain}"
        assert broken_by_a_terminal(plain) == [], line
        assert not shows_key or LONG in plain, f"{line}:\n{plain}"
    assert ESCAPE.search(coloured["status"])
    piped = at(terminal.WIDE, colours=True, terminal_is=False)
    assert not any("\x1b" in printed for printed in piped.values())
    assert LONG in piped["status"]
    # a terminal without colours keeps bold
    for line, printed in at(80, colours=False, terminal_is=True).items():
        assert not re.search(r"\x1b\[[0-9;]*(3[0-7]|9[0-7])m", printed), line


@pytest.mark.slow
def test_texts_of_resolve_and_fetch_break_between_words(
    depot: Depot,
    command: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    decide(depot.ledger, [an_order(LONG)], Decision("monday"))
    lost = claim_next(depot.ledger, "wavespeed", PostTerms(Limits(), 30))
    assert isinstance(lost, Submission)
    record_outcome(depot.ledger, lost, Unknown(f"the connection ended before its answer came {'and ' * 20}"))
    for name, value in {"_width": 80, "_force_terminal": True}.items():
        monkeypatch.setattr(terminal.console, name, value)
    _, said, _ = command("resolve")
    with terminal.console.capture() as shown:
        show(Fetched(tmp_path, extras=[f"{LONG}-{number}.webp" for number in range(5)]))
    for printed in (said, shown.get()):
        plain = ESCAPE.sub("", printed)
        assert LONG in plain
        assert plain.count("\n") > 1
        assert broken_by_a_terminal(plain) == []


class Stream(io.StringIO):
    """Standard output, at a terminal or not."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: is_terminal  # type: ignore[method-assign]


COLOUR = re.compile(r"\x1b\[[0-9;]*(3[0-7]|9[0-7])m")


@pytest.mark.parametrize(
    ("is_terminal", "environment", "has_escapes", "has_colours"),
    [
        (True, {}, True, True),
        (False, {}, False, False),
        (False, {"TERM": "dumb"}, False, False),
        (True, {"TERM": "dumb"}, False, False),
        (True, {"NO_COLOR": "1"}, True, False),
        (False, {"NO_COLOR": "1"}, False, False),
        (False, {"FORCE_COLOR": "1"}, True, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, True, False),
    ],
)
def test_a_stream_gets_colours_only_at_a_terminal_or_on_request(
    monkeypatch: pytest.MonkeyPatch,
    is_terminal: bool,
    environment: dict[str, str],
    has_escapes: bool,
    has_colours: bool,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out, err = Stream(is_terminal=is_terminal), Stream(is_terminal=is_terminal)
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setattr(terminal, "console", terminal._console())
    monkeypatch.setattr(terminal, "errors", terminal._console(stderr=True))
    table = table_of("clip", "state")
    table.add_row(KEY, Text("failed", style="red"))
    print_table(table)
    terminal.tell("to buy", mark="+ ", style="green")
    terminal.complain("nothing was bought")
    terminal.note("an endpoint is retired")
    for stream in (out, err):
        assert ("\x1b" in stream.getvalue()) is has_escapes
        assert bool(COLOUR.search(stream.getvalue())) is has_colours


def test_every_command_prints_through_the_two_known_streams() -> None:
    """The test above covers two streams; it holds for each command, because none creates another stream or writes escapes itself."""
    folder = Path(terminal.__file__).parent
    for file in folder.rglob("*.py"):
        if file.name == "terminal.py":
            continue
        text = file.read_text()
        assert not re.search(r"\bConsole\(|secho|\bstyle\(|rich\.print|from rich import print", text), file
        # the log's reader removes escapes
        assert file.name == "logs.py" or not re.search(r"\\x1b|\\033|\\e\[", text), file


def test_sentences_break_between_words_and_commands_stay_whole() -> None:
    """The terminal once broke words in the middle, and a command on two lines cannot be copied."""
    address = f"https://example.com/{'a' * 90}"
    text = f"{KEY}: it was not sent: say `dailies produce product-loop --wait --yes`, and see {address}\n  a second line"
    said = terminal.folded(text, 80, used=9)
    lines = said.splitlines()
    assert [line for line in lines if len(line) > 80] == [address]
    assert len(lines[0]) <= 80 - 9
    assert any("`dailies produce product-loop --wait --yes`," in line for line in lines)
    assert said.split() == text.split()
    assert lines[-1] == "  a second line"


def test_sentences_stay_one_line_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.complain("word " * 60)
    assert capsys.readouterr().err.count("\n") == 1
