"""Errors of the command: a sentence on standard error, an exit code, and never a traceback."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from projects import a_project

from pipelines.cli import main
from pipelines.cli.stack import free_port
from pipelines.cli.stack_state import LOCK_FILE
from resources.processes import started_at
from resources.settings import load_settings


@dataclass
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str


Dailies = Callable[..., Said]


@pytest.fixture
def dailies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Dailies]:
    """Run the command in this process, in a separate project without a stack."""
    a_project(tmp_path, monkeypatch, ["east", "west"])
    for name in (
        "DAGSTER_HOME",
        "WAVESPEED_API_KEY",
        "AIMLAPI_API_KEY",
        "DAILIES_LEDGER_URL",
        "DAILIES_S3_BUCKET",
    ):
        monkeypatch.delenv(name, raising=False)
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["dailies", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        code = ended.value.code
        return Said(code if isinstance(code, int) else 0, said.out, said.err)

    yield run
    signal.signal(signal.SIGTERM, handler)


def test_without_a_running_dagster_nothing_is_bought_and_the_command_says_how_to_start_it(
    dailies: Dailies,
) -> None:
    said = dailies("produce", "bay")
    assert said.code == 2
    assert not said.out
    for words in ("Dagster does not run here", "Nothing was bought", "dailies up"):
        assert words in said.err


def test_a_stack_that_is_not_ready_differs_from_none(dailies: Dailies) -> None:
    home = load_settings().home
    home.mkdir(exist_ok=True)
    own = {"pid": os.getpid(), "started_at": started_at(os.getpid())}
    (home / LOCK_FILE).write_text(json.dumps(own))
    said = dailies("produce", "bay")
    assert said.code == 2
    assert f"`dailies up` (process {os.getpid()}) is not ready, or is ending. Nothing was bought." in said.err
    # a killed stack leaves its file, and its process id may be another program's
    (home / LOCK_FILE).write_text(json.dumps(own | {"started_at": "long ago"}))
    assert "Dagster does not run here" in dailies("produce", "bay").err


def test_a_dagster_that_does_not_answer_ends_with_3(
    dailies: Dailies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dagster").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "dagster"))
    url = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("DAILIES_DAGSTER_URL", url)
    said = dailies("produce", "bay")
    assert said.code == 3
    for words in (f"Dagster does not answer at {url}", "Nothing was bought"):
        assert words in said.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("produce", "bya"), ("no series 'bya'", "bay")),
        (("produce", "bay", "--clip", "esat"), ("no clip 'esat'", "east, west")),
        (("produce", "bay", "--date", "2026-11-20"), ("has no dates", "--date")),
        (("produce", "bay", "--date", "tomorrow"), ("tomorrow", "YYYY-MM-DD")),
        (("retry", "bay-east"), ("bay-east", "never bought", "dailies status")),
        (("produce",), ("produce: CLIPS", "is missing", "Nothing was done", "`dailies produce --help`")),
        (("plan", "bay", "--takes", "0"), ("--takes takes a whole number from 1 to 9, not '0'",)),
        (("plan", "bay", "--takes", "many"), ("--takes takes a whole number from 1 to 9, not 'many'",)),
        (("status", "--lines", "3"), ("status: no such option: --lines; did you mean",)),
        (("status", "--verbos"), ("no such option: --verbos",)),
        (("ledger", "--csv"), ("option '--csv' requires an argument. Nothing was done",)),
        (("check", "one", "two"), ("check: nothing more is taken, but there is one two",)),
        (("stop", "wavespeed"), ("did you mean `dailies stop --account wavespeed`?", "Nothing was done")),
        (("start", "--account", "wavspeed"), ("no account 'wavspeed'", "did you mean 'wavespeed'?")),
        (
            ("prompt", "nope"),
            ("no series declares this clip; the series are 'bay'", "`dailies prompt SERIES`"),
        ),
        (("logs", "web", "--lines", "0"), ("--lines takes a whole number", "not '0'")),
        (("resolve", "--adopt", "job-1"), ("name the clip to settle",)),
        (("key", "wavespeed"), ("name the account and one of --dedicated and --shared",)),
        (("produce", "tga:x"), ("tga:", "series:, tag:, owner:")),
        (("plan", "bay,2026-11-31"), ("2026-11-31 does not exist",)),
        (("status", "state:faild"), ("state:faild", "did you mean 'failed'?")),
        (("retry", "owner:"), ("owner:", "no value")),
        (("prodcue", "bay"), ("prodcue", "produce")),
    ],
)
def test_the_error_of_a_wrong_argument_says_what_is_allowed(
    dailies: Dailies, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    said = dailies(*arguments)
    assert said.code == 2
    assert all(word in said.err for word in words), said.err


@pytest.mark.parametrize("command", ["up", "demo"])
def test_the_error_of_a_port_in_use_suggests_another_one(dailies: Dailies, command: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = dailies(command, "--port", str(port))
    assert said.code == 2
    assert f"port {port}" in said.err
    assert "--port" in said.err


@pytest.mark.parametrize("arguments", [("up",), ("demo",), ("status",), ("retry",)])
def test_a_home_that_cannot_be_written_is_named_with_the_setting(
    dailies: Dailies, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path / "file" / "home"))
    if arguments[0] in {"up", "demo"}:
        arguments = (*arguments, "--port", str(free_port()))
    said = dailies(*arguments)
    assert said.code in {2, 3}
    assert str(tmp_path / "file" / "home") in said.err.replace("\n", "")
    assert "DAILIES_HOME" in said.err


def test_a_missing_data_folder_is_named_with_the_setting(
    dailies: Dailies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_DATA", str(tmp_path / "nowhere"))
    said = dailies("up", "--port", str(free_port()))
    assert said.code == 2
    assert "DAILIES_DATA" in said.err


BROKEN = {
    "not yaml": ("name: [bay\n", ("bay.yaml:",)),
    "a wrong word": ("name: bay\nendpont: x\n", ("bay.yaml:2", "endpont", "endpoint")),
    "an unknown model": (
        "name: bay\nendpoint: bytedance/seedance-2.0/text-to-vidio\nprompt: x\nclips: [{name: east}]\n",
        ("bay.yaml:2", "text-to-vidio", "text-to-video"),
    ),
    "a bad size": (
        """\
name: bay
endpoint: openai/sora-2/text-to-video
allow_retired: true
prompt: x
parameters: {size: 720x1280}
clips: [{name: east}]
""",
        ("bay.yaml:5", "720x1280", "720*1280"),
    ),
    "an undefined variable": (
        """\
name: bay
endpoint: bytedance/seedance-2.0/text-to-video
prompt: the {{ cty }}
variables: {city: Lisbon}
clips: [{name: east}]
""",
        ("bay.yaml:3", "cty", "city"),
    ),
}


@pytest.mark.parametrize("mistake", BROKEN)
@pytest.mark.parametrize("arguments", [("check",), ("produce", "bay")])
def test_the_error_of_a_mistake_in_a_series_names_file_line_and_allowed_values(
    dailies: Dailies, mistake: str, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    text, words = BROKEN[mistake]
    (tmp_path / "data" / "series" / "bay.yaml").write_text(text)
    said = dailies(*arguments)
    assert said.code == 2
    assert all(word in said.err for word in words), said.err


def test_a_wrong_setting_is_named_without_its_value(
    dailies: Dailies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_WAVESPEED_MAX_IN_FLIGHT", "as-many-as-there-are")
    said = dailies("status")
    assert said.code == 2
    assert "DAILIES_WAVESPEED_MAX_IN_FLIGHT" in said.err
    assert ".env.example" in said.err


def test_status_and_retry_of_an_empty_ledger_succeed(dailies: Dailies) -> None:
    for arguments in (("status",), ("retry",)):
        assert dailies(*arguments).code == 0
    assert json.loads(dailies("status", "--json").out) == []
    assert json.loads(dailies("retry", "--json").out)["runs"] == []
    assert dailies("check").code == 0


def test_a_missing_data_folder_is_not_an_empty_one(dailies: Dailies, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_DATA", "nowhere")
    for arguments in (("check",), ("plan",), ("plan", "bay"), ("produce", "bay"), ("prompt", "bay-east")):
        said = dailies(*arguments)
        assert said.code == 2
        assert "there is no data folder nowhere" in said.err
        assert "DAILIES_DATA" in said.err


def test_check_names_unread_files_and_invalid_settings(
    dailies: Dailies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data" / "series"
    (folder / "bay.yaml").rename(folder / "harbor.yml")
    (folder / "old.YAML").touch()
    said = dailies("check")
    assert said.code == 0
    assert "harbor.yml declares the series bay: name the file bay.yaml" in said.err
    assert "old.YAML is not read" in said.err
    monkeypatch.setenv("DAILIES_S3_BUCKET", "clips")
    monkeypatch.setenv("DAILIES_S3_ENDPOINT", "s3.example.com")
    said = dailies("check")
    assert said.code == 2
    assert "DAILIES_S3_ENDPOINT" in said.err
    assert "https://s3.example.com" in said.err


def test_the_name_of_a_series_lists_its_clips(dailies: Dailies) -> None:
    said = dailies("prompt", "bay")
    assert said.code == 0
    assert said.out.splitlines()[1:] == ["bay-east", "bay-west"]


def test_status_reports_that_nothing_has_failed(dailies: Dailies) -> None:
    assert dailies("status", "--failed").out == "no clip has failed\n"


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("DAILIES_LINGER_SECONDS", "-1", "found '-1', allowed: at least 0."),
        ("DAILIES_WAVESPEED_DEDICATED", "maybe", "found 'maybe', allowed: true or false"),
        ("DAILIES_WAVESPEED_MAX_IN_FLIGHT", "two", "found 'two', allowed: a whole number"),
        ("DAILIES_S3_ADDRESSING", "both", "found 'both', allowed: 'auto', 'path' or 'virtual'"),
        ("DAILIES_WEBHOOK_URL", "http://x.example", "not an address like https://"),
        ("DAILIES_DAGSTER_URL", "localhost:3000", "not an address like http://127.0.0.1:3000"),
    ],
)
def test_the_error_of_a_setting_is_our_own_sentence(
    dailies: Dailies, monkeypatch: pytest.MonkeyPatch, setting: str, value: str, words: str
) -> None:
    monkeypatch.setenv(setting, value)
    said = dailies("status")
    assert said.code == 2
    assert f"{setting}: {words}" in said.err
    for crumb in ("Input should", "String should", "pydantic"):
        assert crumb not in said.err


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("endpiont: x", ("did you mean 'endpoint'?", "`parameters`")),
        ("duration: 5", ("`parameters`",)),
        ("promt: x", ("did you mean 'prompt'?",)),
    ],
)
def test_the_error_of_an_unknown_field_of_a_clip_suggests_known_ones(
    dailies: Dailies, tmp_path: Path, word: str, words: tuple[str, ...]
) -> None:
    file = tmp_path / "data" / "series" / "bay.yaml"
    file.write_text(
        f"name: bay\nendpoint: bytedance/seedance-2.0/text-to-video\nprompt: x\nclips: [{{name: east, {word}}}]\n"
    )
    said = dailies("check")
    assert said.code == 2
    assert f"bay.yaml:4: clips[0].{word.partition(':')[0]}" in said.err
    assert all(part in said.err for part in words), said.err


def test_resolve_names_a_clip_that_has_nothing_to_settle(dailies: Dailies) -> None:
    said = dailies("resolve", "bay-east")
    assert said.code == 2
    assert "bay-east is neither unknown nor held. Nothing was changed. `dailies resolve` lists" in said.err
    assert dailies("resolve").code == 0


def test_declare_names_the_existing_series(dailies: Dailies) -> None:
    said = dailies("declare", "bey")
    assert said.code == 2
    assert "there is no series bey; there are: bay; did you mean 'bay'?" in said.err


def test_check_refuses_an_invalid_address_of_the_ledger(
    dailies: Dailies, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dailies("check").code == 0
    monkeypatch.setenv("DAILIES_LEDGER_URL", "mysql://ann:secret@host/ledger")
    said = dailies("check")
    assert said.code == 2
    assert "allowed: sqlite:///path/to/ledger.db or postgresql://" in said.err
    assert "secret" not in said.out + said.err
