"""The commands of the docs, in their order, with one running stack and a copy of the sample series.

The pages of the two days buy. On the other pages, a command that would buy gets no answer: it shows its plan and ends. A command for
a situation that does not exist says so. The page of a lost ledger comes last, because its first step ends the stack.
"""

import json
import os
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
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
COMMAND = re.compile(r"^ {4,8}(?:\.venv/bin/)?dailies ([^#\n]+)", re.MULTILINE)
PROGRAMS = r"\.venv/bin/(?!dailies )|(?:make|sudo|docker|helm|kubectl|python3?|pip|git|curl|systemctl|apt|pg_dump|pg_restore|cd|/srv/\S+) "
OTHER = re.compile(rf"^ {{4,8}}((?:{PROGRAMS})[^#\n]*)", re.MULTILINE)
DAYS = ["producers-day.md", "data-engineers-guide.md"]
LOST = "lost-ledger.md"
FILES_OF_THE_PAGE = {"FILE", "backup.db", "ledger.dump"}
ELSEWHERE_CARRIED_OUT = {
    "join-a-deployment.md": "a second Dagster, with code of its own: tests/e2e/test_join.py"
}
"""Pages that no test of this file runs, and why."""
EVERY_PAGE = sorted(
    {"../README.md", "../CONTRIBUTING.md", *(file.name for file in (ROOT / "docs").glob("*.md"))}
)
PAGES = [page for page in EVERY_PAGE if page not in {*DAYS, LOST, *ELSEWHERE_CARRIED_OUT}]
CLIP = "product-loop-walnut-morning-sun"
NOT_HERE = {
    "up": "is the stack of this test",
    "room": "serves until Ctrl-C; tests/room",
    "webhooks": "serves until Ctrl-C; tests/webhooks",
    "providers test": "a minute; tests/conformance",
    "characters make": "buys a character; tests/pipelines/test_characters.py",
}
"""Commands that are not run here, and why."""
ELSEWHERE = {
    "make": "installs, tests or measures",
    "sudo": "needs a machine of its own: apt, systemd",
    "docker": "needs containers",
    "pg_dump": "needs PostgreSQL; tests/ledger",
    "pg_restore": "needs PostgreSQL; tests/ledger",
    "/srv/films": "tests/e2e/test_join.py",
    "cd /srv/films": "tests/e2e/test_join.py",
    "cd deploy": "needs containers",
    "helm": "needs a cluster",
    "kubectl": "needs a cluster",
    "git": "a clone",
    ".venv/bin/pre-commit": "changes the clone",
    ".venv/bin/pytest": "is what runs this",
    ".venv/bin/python -m proof": "tests/simulation",
    ".venv/bin/python -m resources.sandbox": "serves until Ctrl-C; tests/sandbox",
    "python -c": "a measurement",
    "python3 -m venv": "installs",
}
"""Commands of other programs, and why none is run here."""
ENDS = {
    r"(produce|retake|finish|verify-provider|schedules on)\b": ({0, 2}, ""),
    r"accept CLIP": ({2}, "not in quarantine"),
    r"retry CLIP": ({2}, "nothing to retry"),
    r"resolve CLIP": ({1, 2}, ""),
    r"ledger (restore|rebuild)": ({2, 3}, "running"),
    r"models add wavespeed maker": ({1, 2}, "maker/model"),
    r"doctor --alarm": ({2}, "DAILIES_ALARM_URL"),
    r"fetch .*--sign": ({2}, "sign"),
    r"fetch 'harbor": ({2}, "no clip that was bought fits"),
    r"inspect|doctor|plan|ledger --check": ({0, 1}, ""),
}
"""Commands that do not end with 0: a question gets no answer, or the situation does not exist."""
ASKS = {"produce", "retry", "retake", "circle"}
"""Commands whose question a person answers with y."""
IS_THE_STACK = "up"


def commands(page: str) -> list[list[str]]:
    """The command lines of a page."""
    return [shlex.split(found[1]) for found in COMMAND.finditer(text_of(page))]


def text_of(page: str) -> str:
    """The text of a page."""
    return (ROOT / "docs" / page).read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def end_of_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], None]]:
    """A stack with the sample series, and a way to end it early. Its sandbox's jobs take a second."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(is_ours, list(os.environ)):
            patch.delenv(name)
        patch.chdir(ROOT)
        patch.setenv("DAILIES_ENV_FILE", "")
        patch.setenv("DAILIES_HOME", str(home / "dailies"))
        # some commands edit the folder
        shutil.copytree(ROOT / "data", home / "data")
        patch.setenv("DAILIES_DATA", str(home / "data"))
        patch.setenv("DAILIES_LINGER_SECONDS", "1")
        # `main` sets it for its process
        umask = os.umask(UMASK)
        with ExitStack() as running:
            options = StackOptions(port=free_port(), sandbox_options=["--job-seconds", "1"])
            running.enter_context(Stack(load_settings(), options))
            yield running.close
        os.umask(umask)


@pytest.fixture
def dailies(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Runs a command in this process and returns its output; it must succeed."""

    def dailies(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["dailies", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        # takes of an earlier page that wait for a verdict are a finding of doctor
        allowed = {None, 0, 1} if words[0] == "doctor" else {None, 0}
        assert ended.value.code in allowed, f"dailies {shlex.join(words)}:\n{printed.out}{printed.err}"
        return printed.out

    return dailies


def until_there_are(takes: int, clip: str, dailies: Callable[..., str]) -> None:
    """Wait as a person does, who sees the takes before judging the new one."""
    give_up = time.monotonic() + SECONDS
    while len(json.loads(dailies("takes", clip, "--json"))["takes"]) < takes:
        assert time.monotonic() < give_up, f"{clip} has no {takes} takes after {SECONDS} s"
        time.sleep(1)


def once_no_run_of_the_copy_lives(dailies: Callable[..., str], *words: str) -> None:
    """Run a command; a rebuild waits until no run of the copy gives a sign of life."""
    give_up = time.monotonic() + SECONDS
    while True:
        try:
            dailies(*words)
        except AssertionError as refused:
            if "may not run beside others" not in str(refused) or time.monotonic() > give_up:
                raise
            time.sleep(1)
        else:
            return


@pytest.mark.parametrize("page", DAYS)
def test_every_command_of_the_page_does_what_the_page_says(
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
            # the file that a person fetches into the project goes to the test's own folder
            words[words.index("--to") + 1] = str(tmp_path / "fetched")
        answer = ["--yes"] if command in ASKS and "--yes" not in words else []
        dailies(command, *words, *answer)
    if page == "producers-day.md":
        assert "circled" in dailies("takes", "product-loop-walnut-morning-sun")


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_other_pages_ends_as_expected(
    page: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda _url: True)
    home = Path(os.environ["DAILIES_HOME"])
    video = next(home.glob(f"s3/dailies/videos/{CLIP}/*.mp4"), home / "no-video.mp4")

    def carried_out(line: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["dailies", *shlex.split(line)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out + said.err

    for found in COMMAND.finditer(text_of(page)):
        line = found[1].strip()
        if any(line == name or line.startswith(f"{name} ") for name in NOT_HERE):
            continue
        codes, words = next((end for pattern, end in ENDS.items() if re.match(pattern, line)), ({0}, ""))
        clip = "city-sunset-2026-11-20-hero" if line.startswith("edit") else CLIP
        here = re.sub(r"/backups/ledger-\S*( \+%F\))?\.db", str(tmp_path / "backup.db"), line)
        for name, value in {
            "FILE...": video,
            "FILE": video if line.startswith("inspect") else tmp_path / "file",
            "DIR": tmp_path / "fetched",
            "CLIPS": "product-loop",
            "CLIP": clip,
            "KEY": clip,
            "OLD NEW": "recipe-cards recipes",
            "backup.db": tmp_path / "backup.db",
        }.items():
            here = re.sub(rf"(?<![\w/]){re.escape(name)}(?!\w)", str(value), here)
        code, said = carried_out(here)
        assert code in codes, f"{page}: dailies {here} ended with {code}:\n{said}"
        assert re.search(words, said), f"{page}: dailies {here}:\n{said}"
        if line.startswith("stop"):
            assert carried_out("start")[0] == 0
        if "`dailies data push` makes it the current one" in said:
            # an earlier page has pushed the data folder, and this command has changed it
            assert line.startswith("edit")
            assert carried_out("data push")[0] == 0


@pytest.mark.parametrize("page", EVERY_PAGE)
def test_every_command_of_another_program_is_listed_with_the_reason_why_it_is_not_run(page: str) -> None:
    text = text_of(page)
    unknown = [
        found[1] for found in OTHER.finditer(text) if not any(found[1].startswith(name) for name in ELSEWHERE)
    ]
    assert unknown == []
    # commands stand in indented blocks, where these tests find them
    assert not re.search(r"^```(bash|sh|shell|console)", text, re.MULTILINE)


def test_a_lost_ledger_is_rebuilt_by_the_page_and_nothing_would_be_bought_again(
    end_of_stack: Callable[[], None], dailies: Callable[..., str], tmp_path: Path
) -> None:
    def delivered() -> set[str]:
        return {take["take"] for take in json.loads(dailies("takes", CLIP, "--json"))["takes"]}

    def lose_the_ledger() -> None:
        for file in Path(os.environ["DAILIES_HOME"]).glob("ledger.db*"):
            file.unlink()

    end_of_stack()
    before = delivered()
    told = commands(LOST)
    assert ["ledger", "restore", "backup.db"] in told
    for words in told:
        here = [str(tmp_path / word) if word in FILES_OF_THE_PAGE else word for word in words]
        if here[1] == "restore" or here[-1] == "--take-over":
            lose_the_ledger()
        once_no_run_of_the_copy_lives(dailies, *here)
        if here[1] == "rebuild":
            assert delivered() == before
            assert json.loads(dailies("plan", CLIP, "--json"))["counts"].get("buy", 0) == 0
