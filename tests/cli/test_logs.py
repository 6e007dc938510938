"""`dailies logs`, completion, and the estimated time of a wait."""

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
import respx
from projects import a_project
from rich.console import Console

from pipelines.cli.logs import show_log, show_run
from pipelines.cli.progress import ClipProgress, time_left
from resources.errors import ConfigurationError
from resources.ledger.states import AttemptState
from resources.settings import load_settings

URL = "http://127.0.0.1:3000"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    a_project(tmp_path, monkeypatch, ["east"])
    monkeypatch.setenv("DAILIES_DAGSTER_URL", URL)
    (tmp_path / "home" / "logs").mkdir(parents=True)
    return tmp_path / "home"


def test_the_end_of_a_log_is_shown_by_the_name_that_people_use(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "logs" / "webserver.log").write_text("".join(f"line {n}\n" for n in range(99)) + "a\x1b[31mred\n")
    show_log(load_settings(), "web", 2)
    assert capsys.readouterr().out == "line 98\nared\n"


def test_the_error_of_an_unknown_log_lists_the_existing_ones(home: Path) -> None:
    (home / "logs" / "daemon.log").touch()
    for name in ("demon", "../../etc/passwd"):
        with pytest.raises(ConfigurationError, match="there are: daemon, and `run ID`"):
            show_log(load_settings(), name, 2)
    with pytest.raises(ConfigurationError, match=r"`run ID`; did you mean 'daemon'\?$"):
        show_log(load_settings(), "dameon", 2)


def test_the_messages_of_a_run_are_read_page_by_page(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def page(message: str, more: bool) -> httpx.Response:
        event = {"message": message, "timestamp": "1763640000000", "level": "INFO"}
        found = {"cursor": "1", "hasMore": more, "events": [event, {}]}
        return httpx.Response(
            200, json={"data": {"runOrError": {"status": "FAILURE", "eventConnection": found}}}
        )

    with respx.mock as mock:
        mock.post(f"{URL}/graphql").mock(side_effect=[page("first", True), page("second", False)])
        show_run(load_settings(), "run-1", 1)
    assert capsys.readouterr().out.splitlines() == [
        "2025-11-20 12:00:00 INFO     second",
        f"the run is FAILURE: {URL}/runs/run-1",
    ]


def test_an_unknown_run_is_an_error(home: Path) -> None:
    with respx.mock as mock:
        mock.post(f"{URL}/graphql").mock(return_value=httpx.Response(200, json={"data": {"runOrError": {}}}))
        with pytest.raises(ConfigurationError, match="knows no run 'run-1'"):
            show_run(load_settings(), "run-1", 1)


def attempt(usual: float | None, submitted_at: float | None, *, is_open: bool = True) -> Any:
    request = SimpleNamespace(usual_seconds=usual)
    return SimpleNamespace(state=SimpleNamespace(is_open=is_open), request=request, submitted_at=submitted_at)


@pytest.mark.parametrize(
    ("going", "said"),
    [
        ([], ""),
        ([attempt(60, 1000, is_open=False)], ""),
        ([attempt(60, 1000), attempt(60, 980)], "about 60 s left"),
        ([attempt(600, None)], "about 10 min left"),
        ([attempt(60, 900)], "any moment"),
        ([attempt(60, 1000), attempt(None, 1000)], ""),
    ],
)
def test_the_remaining_time_is_estimated_by_the_usual_duration(going: list[Any], said: str) -> None:
    assert time_left(cast("Any", going), now=1000.0) == said


class Watched:
    """A ledger whose clips the test moves forward."""

    def __init__(self) -> None:
        self.states = dict.fromkeys(("bay-a", "bay-b"), AttemptState.SUBMITTED)

    def clock(self) -> float:
        return 1000.0

    def latest_takes(self, _keys: object) -> dict[str, Any]:
        request = SimpleNamespace(usual_seconds=60)
        return {
            key: SimpleNamespace(
                id=f"{key}-{state.value}",
                state=state,
                cost_micros=1_200_000,
                request=request,
                submitted_at=990.0,
            )
            for key, state in self.states.items()
        }


def test_without_a_terminal_progress_is_plain_lines_and_few() -> None:
    written, seconds, ledger = io.StringIO(), [0.0], Watched()
    progress = ClipProgress(
        list(ledger.states), Console(file=written, width=200), clock=lambda: 100 + seconds[0]
    )
    with progress:
        for seconds[0] in (0, 1, 2, 31):
            progress.look(cast("Any", ledger))
        ledger.states["bay-a"] = AttemptState.DELIVERED
        progress.look(cast("Any", ledger))
        ledger.states["bay-b"] = AttemptState.FAILED
        progress.look(cast("Any", ledger))
    going = "0 of 2 clips done; 2 submitted; $2.40; about 50 s left"
    assert written.getvalue().splitlines() == [
        going,
        going,
        "1 of 2 clips done; 1 submitted; $2.40; about 50 s left",
        "2 of 2 clips done; 1 failed, its runs end; $2.40",
    ]


def test_a_clip_that_is_bought_again_is_not_done_before_its_new_purchase() -> None:
    written, ledger = io.StringIO(), Watched()
    ledger.states = dict.fromkeys(ledger.states, AttemptState.REJECTED)
    with ClipProgress(list(ledger.states), Console(file=written, width=200)) as progress:
        progress.look(cast("Any", ledger))
        ledger.states = dict.fromkeys(ledger.states, AttemptState.DELIVERED)
        progress.look(cast("Any", ledger))
    assert [line.split(";")[0] for line in written.getvalue().splitlines()] == [
        "0 of 2 clips done",
        "2 of 2 clips done",
    ]


def test_in_a_terminal_progress_is_one_line_that_moves() -> None:
    written, ledger = io.StringIO(), Watched()
    console = Console(file=written, width=80, force_terminal=True)
    with ClipProgress(list(ledger.states), console) as progress:
        progress.look(cast("Any", ledger))
    assert "0/2" in written.getvalue()
    assert "clips done" not in written.getvalue()


@pytest.mark.slow
def test_the_shell_completes_the_names_of_series(home: Path) -> None:
    environment = {
        **os.environ,
        "_DAILIES_COMPLETE": "complete_bash",
        "COMP_WORDS": "dailies produce b",
        "COMP_CWORD": "2",
    }
    ran = subprocess.run(
        [sys.executable, "-c", "import sys; sys.argv[0] = 'dailies'; from pipelines.cli import main; main()"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stdout.split() == ["bay"]
