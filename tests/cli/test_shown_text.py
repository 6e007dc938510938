"""Text in a terminal: no argument, file name or text from outside moves its cursor or ends a command in a traceback."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pipelines import cli
from pipelines.cli import terminal
from pipelines.cli.doctor import _show_findings
from pipelines.cli.terminal import console
from resources.inventory.findings import EVERY_MANIFEST_IS_KNOWN, NO_FAILED_CLIPS, NOTHING_IS_MISSING, Finding

pytestmark = pytest.mark.slow


def test_an_error_contains_no_control_characters(capfd: pytest.CaptureFixture[str]) -> None:
    terminal.complain("first\x1b[2J\u202e\udcff line\nsecond")
    said = capfd.readouterr().err
    assert said.rstrip("\n") == "dailies: first\ufffd[2J\ufffd\ufffd line\nsecond"


def test_a_question_about_money_contains_no_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        asked.append(question)
        return True

    monkeypatch.setattr(typer, "confirm", confirm)
    terminal.confirm("Take the job a\x1b[2Jb\u202e?")
    assert asked == ["Take the job a\ufffd[2Jb\ufffd?"]
    review = Path(cli.__file__).with_name("commands") / "review.py"
    assert "typer.confirm" not in review.read_text()


@pytest.mark.parametrize("argument", [b"\xff", b"a\x1b[2J", b"--\xfe=1"])
def test_an_argument_that_is_no_text_is_refused(argument: bytes, tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", "from pipelines.cli import main; main()", b"prompt", argument],
        cwd=Path(__file__).parents[2],
        env={
            "DAILIES_HOME": str(tmp_path),
            "DAILIES_ENV_FILE": "",
            "PATH": "/usr/bin:/bin",
            "COLUMNS": "200",
        },
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 2
    assert b"an argument contains a control character" in ran.stderr
    assert b"Traceback" not in ran.stderr


def test_a_file_whose_name_is_no_valid_text_is_still_named(tmp_path: Path) -> None:
    from resources.catalogue import Catalogue
    from resources.series import load_series

    series = tmp_path / "data" / "series"
    series.mkdir(parents=True)
    (series / "a\udcff\x1b.yaml").write_text("name: [")
    models = Path(__file__).parents[2] / "data" / "models"
    (problem, *_) = load_series(tmp_path / "data", Catalogue.load(models)).problems
    assert str(problem).isprintable()
    str(problem).encode()


def test_a_reason_that_prevents_several_checks_is_printed_once() -> None:
    why = "the bucket s3://films belongs to another ledger"
    missing = [Finding(check, unread=why) for check in (NOTHING_IS_MISSING, EVERY_MANIFEST_IS_KNOWN)]
    with console.capture() as seen:
        _show_findings([*missing, Finding(NO_FAILED_CLIPS, unread="the ledger is locked")])
    lines = seen.get().splitlines()
    assert [why in line for line in lines] == [True, False, False]
    assert lines[1].split() == ["?", "every_manifest_is_known:", "could", "not", "be", "checked", "either"]
    assert "the ledger is locked" in lines[2]
