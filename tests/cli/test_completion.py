"""Shell completion, by the shells' own protocols, and how little it reads."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import a_project, an_order
from typer._completion_shared import get_completion_script

from pipelines.cli import completion
from pipelines.cli.app import app
from resources.ledger.decisions import Decision, decide
from resources.planning import selectors
from resources.settings import load_settings, open_ledger

Complete = Callable[..., list[str]]

DATED = """\
name: harbor-weather
endpoint: bytedance/seedance-2.0/text-to-video
prompt: A view.
schedule: {cron: 0 6 * * *, timezone: UTC}
owner: team:video
tags: {region: coast}
clips: [{name: pier}, {name: dunes}]
"""
MATRIX = """\
name: lamps
keys: old-lamps
endpoint: bytedance/seedance-2.0/text-to-video
prompt: "{{ wood }} {{ light }}"
matrix: {wood: [Oak, Walnut], light: [Golden hour]}
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DAILIES_LEDGER_URL", raising=False)
    a_project(tmp_path, monkeypatch, ["dawn", "dusk"])
    for name, text in {"harbor-weather": DATED, "lamps": MATRIX}.items():
        (tmp_path / "data" / "series" / f"{name}.yaml").write_text(text)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def complete(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Complete:
    """The completions that bash offers for the last of some words, in this process."""
    assert home.is_dir()

    def offered(*words: str) -> list[str]:
        monkeypatch.setenv("_DAILIES_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", " ".join(["dailies", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit) as ended:
            app(prog_name="dailies")
        assert not ended.value.code
        return capsys.readouterr().out.split()

    return offered


def buy(clip: str) -> None:
    with open_ledger(load_settings()) as ledger:
        decide(ledger, [an_order(clip)], Decision("monday"))


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["status", "har"], ["harbor-weather"]),
        (["status", "bay-d"], ["bay-dawn", "bay-dusk"]),
        (["status", "cha"], ["changed"]),
        (["status", "state:fa"], ["state:failed"]),
        (["status", "state", ":", "fa"], ["failed"]),
        (["status", "tag:co"], ["tag:coast"]),
        (["plan", "owner"], ["owner:team:video"]),
        (["plan", "owner:team"], ["owner:team:video"]),
        (["plan", "tag:coast,yes"], ["tag:coast,yesterday"]),
        (["plan", "bay", "tag", ":", "coast,yes"], ["coast,yesterday"]),
        (["produce", "harbor-weather-2026-12-01-p"], ["harbor-weather-2026-12-01-pier"]),
        (["takes", "old-lamps-"], ["old-lamps-oak-golden-hour", "old-lamps-walnut-golden-hour"]),
        (["prompt", "la"], ["lamps"]),
        (["prompt", "bay-da"], ["bay-dawn"]),
        (["schedules", "on", "har"], ["harbor-weather"]),
        (["status", "--series", "l"], ["lamps"]),
        (["fetch", "no-such"], []),
    ],
    ids=" ".join,
)
def test_series_clips_and_filters_complete(complete: Complete, words: list[str], offered: list[str]) -> None:
    assert complete(*words) == offered


def test_an_empty_word_offers_series_and_filters(complete: Complete) -> None:
    offered = complete("status", "")
    assert {"bay", "harbor-weather", "lamps", "changed", "today", "series:", "state:"} <= set(offered)


@pytest.mark.slow
def test_bought_clips_complete_even_if_no_series_declares_them(complete: Complete) -> None:
    buy("gone-2026-11-01-pier")
    assert complete("takes", "gone") == ["gone-2026-11-01-pier"]


@pytest.mark.slow
def test_a_completion_loads_no_large_library(home: Path) -> None:
    assert home.is_dir()
    buy("gone-pier")
    code = (
        "import sys\nsys.argv = ['dailies']\nfrom pipelines.cli import main\ntry: main()\n"
        "finally: print(*sorted({'sqlalchemy', 'dagster', 'boto3', 'av', 'resources.settings'} & sys.modules.keys()), file=sys.stderr)"
    )
    protocol = {"_DAILIES_COMPLETE": "complete_bash", "COMP_WORDS": "dailies takes go", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | protocol,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.stdout.split() == ["gone-pier"], done.stderr
    assert done.stderr.strip() == ""


def test_unreadable_files_complete_nothing(
    complete: Complete, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = home.parent / "data" / "series"
    (series / "broken.yaml").write_text("name: broken\nclips: [\n")
    (series / "list.yaml").write_text("- name: list\n")
    (series / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    (series / "loop.yaml").symlink_to("loop.yaml")
    (series / "folder.yaml").mkdir()
    os.mkfifo(series / "pipe.yaml")
    assert complete("status", "bay-da") == ["bay-dawn"]
    assert complete("status", "broken-") == []
    (home / "ledger.db").write_text("no database")
    assert complete("takes", "gone") == []
    monkeypatch.setenv("DAILIES_LEDGER_URL", "postgresql+psycopg2://nobody@127.0.0.1:1/none")
    assert complete("takes", "bay-da") == ["bay-dawn"]
    monkeypatch.setenv("DAILIES_DATA", str(home / "missing"))
    assert complete("status", "bay") == []


def test_a_ledger_that_another_process_writes_is_still_read(complete: Complete, home: Path) -> None:
    buy("gone-pier")
    writer = sqlite3.connect(home / "ledger.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    assert complete("takes", "gone") == ["gone-pier"]
    writer.close()


def test_the_offered_filters_are_those_that_commands_accept() -> None:
    assert completion.STATES == selectors.STATES
    assert tuple(f"{kind}:" for kind in selectors.PREFIXES) == completion.PREFIXES
    assert set(completion.WHOLE_WORDS) == selectors.RESERVED


@pytest.mark.parametrize(
    ("shell", "typed"), [("zsh", "${(Q)~words[1]}"), ("fish", "(commandline -opc)[1]"), ("bash", "$1")]
)
def test_a_shell_calls_the_command_as_it_was_typed(shell: str, typed: str) -> None:
    """`.venv/bin/dailies` is usually not on the PATH: zsh once printed "No such file", and fish completed files."""
    completion.complete_as_typed()
    script = get_completion_script(prog_name="dailies", complete_var="_DAILIES_COMPLETE", shell=shell)
    assert typed in script
    assert "complete_zsh dailies" not in script
    assert "(commandline -cp) dailies" not in script
