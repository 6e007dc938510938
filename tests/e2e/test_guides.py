"""The days that the site tells: each command of their pages, in its order, against one running stack and the sample series."""

import json
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.machine import is_ours
from pipelines.cli import main
from pipelines.cli.stack import Stack, StackOptions, free_port
from resources.home import UMASK
from resources.settings import load_settings

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SECONDS = 300
COMMAND = re.compile(r"^ {4,8}\.venv/bin/dailies ([^#\n]+)", re.MULTILINE)
ASKS = {"produce", "retry", "retake"}
"""Commands that a person answers with y."""
IS_THE_STACK = "up"


def commands(page: str) -> list[list[str]]:
    """The command lines of a page."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [shlex.split(found[1]) for found in COMMAND.finditer(text)]


@pytest.fixture(scope="module", autouse=True)
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A stack with the sample series. Its sandbox's jobs take a second."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(is_ours, list(os.environ)):
            patch.delenv(name)
        patch.chdir(ROOT)
        patch.setenv("DAILIES_ENV_FILE", "")
        patch.setenv("DAILIES_HOME", str(home / "dailies"))
        patch.setenv("DAILIES_LINGER_SECONDS", "1")
        # `main` sets it for its process
        umask = os.umask(UMASK)
        with Stack(load_settings(), StackOptions(port=free_port(), sandbox_options=["--job-seconds", "1"])):
            yield
        os.umask(umask)


@pytest.fixture
def dailies(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Carries out a command in this process and returns what it printed; it must succeed."""

    def dailies(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["dailies", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert not ended.value.code, f"dailies {shlex.join(words)}:\n{printed.out}{printed.err}"
        return printed.out

    return dailies


def until_there_are(takes: int, clip: str, dailies: Callable[..., str]) -> None:
    """Wait as a person does, who looks at the takes before judging the new one."""
    give_up = time.monotonic() + SECONDS
    while len(json.loads(dailies("takes", clip, "--json"))["takes"]) < takes:
        assert time.monotonic() < give_up, f"{clip} has no {takes} takes after {SECONDS} s"
        time.sleep(1)


@pytest.mark.parametrize("page", ["producers-day.md", "data-engineers-guide.md"])
def test_every_command_of_the_page_does_what_it_says(
    page: str, dailies: Callable[..., str], tmp_path: Path
) -> None:
    told = commands(page)
    assert len(told) >= 9
    for command, *words in told:
        if command == IS_THE_STACK:
            continue
        if command == "circle":
            until_there_are(int(words[1]), words[0], dailies)
        if "--to" in words:
            # what a person fetches beside the project belongs to the test's own folder
            words[words.index("--to") + 1] = str(tmp_path / "fetched")
        answer = ["--yes"] if command in ASKS and "--yes" not in words else []
        dailies(command, *words, *answer)
    if page == "producers-day.md":
        assert "circled" in dailies("takes", "product-loop-walnut-morning-sun")
