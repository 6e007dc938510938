"""Every command that a message or a page recommends exists, with its options."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from pipelines.cli.app import app

ROOT = Path(__file__).parents[2]
ADVICE = re.compile(
    r"`(?:\.venv/bin/)?dailies ((?:[^`\n{}]|\{[a-z_.]+\})+)`|^ {4,8}\.venv/bin/dailies ([^#\n]+)",
    re.MULTILINE,
)


def advised() -> dict[str, str]:
    """Each recommended command line, with a file that recommends it."""
    found: dict[str, str] = {}
    for file in (
        ROOT / "README.md",
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("pipelines/**/*.py"),
        *ROOT.glob("resources/**/*.py"),
    ):
        # a sentence may be written as two literals, one below the other
        text = re.sub(r"\"\n\s+f?\"", "", file.read_text(encoding="utf-8"))
        for match in ADVICE.finditer(text):
            found.setdefault(match[1] or match[2], str(file.relative_to(ROOT)))
    return found


def mistake_in(line: str, root: Any) -> str | None:
    """The first word of a command line that does not exist."""
    words = [word for word in shlex.split(line) if word != "..."]
    command = root
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        if words[0] not in command.commands:
            return words[0]
        command = command.commands[words.pop(0)]
    known = {"--help"} | {
        name for option in command.params for name in (*option.opts, *option.secondary_opts)
    }
    return next(
        (word for word in words if word.startswith("--") and word.partition("=")[0] not in known), None
    )


@pytest.mark.slow
def test_every_recommended_command_and_option_exists() -> None:
    root = typer.main.get_command(app)
    wrong = {line: file for line, file in advised().items() if mistake_in(line, root) is not None}
    assert len(advised()) > 60
    assert not wrong


def test_a_command_or_option_that_does_not_exist_is_noticed() -> None:
    root = typer.main.get_command(app)
    assert mistake_in("retry --clip bay-east", root) == "--clip"
    assert mistake_in("retyr bay-east", root) == "retyr"
    assert mistake_in("ledger rebuild --take-over", root) is None
