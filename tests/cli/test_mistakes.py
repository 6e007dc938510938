"""Mistakes of people and machines: the command says what happened and what to do, and shows no traceback."""

import errno
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from deliverykit import Depot

from pipelines.cli import terminal
from resources.ledger import deliveries
from resources.orders import Review

Command = Callable[..., tuple[int, str, str]]


def test_status_gives_the_reason_why_finished_clips_are_not_in_the_bucket(
    depot: Depot, command: Command
) -> None:
    attempt = depot.finished("bay-dawn")
    assert "in the bucket" not in command("status")[2]
    why = "cannot store s3://films/videos/bay-dawn: the server refuses this key."
    assert deliveries.claim(depot.ledger, attempt.id, token="a-worker")
    deliveries.release(depot.ledger, attempt.id, token="a-worker", why=why)
    _, _, said = command("status")
    assert f"1 finished clip is not in the bucket yet: {why}" in said
    assert "`dailies doctor`" in said
    assert deliveries.claim(depot.ledger, attempt.id, token="another")
    assert "in the bucket" not in command("status")[2], "a process is fetching it now"


def test_status_of_an_empty_ledger_reports_a_refused_bucket_key(
    depot: Depot, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command("status")[2] == ""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "revoked-meanwhile")
    code, said, why = command("status")
    assert (code, said) == (0, "no clips yet; `dailies produce SERIES` asks for some\n")
    assert depot.store.settings.bucket in why
    assert "key" in why
    monkeypatch.delenv("DAILIES_S3_BUCKET")
    monkeypatch.delenv("DAILIES_S3_ENDPOINT")
    assert command("status")[2] == ""


@pytest.mark.parametrize("scheme", ["Bearer", "key"])
def test_a_key_with_the_scheme_of_its_header_is_refused_and_not_shown(
    depot: Depot, command: Command, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("WAVESPEED_API_KEY", f"{scheme} secret-of-mine")
    code, _, said = command("check")
    assert code == 2
    assert f"the account 'wavespeed' (WAVESPEED_API_KEY): the API key begins with '{scheme}'" in said
    assert "leave it out" in said
    assert "secret-of-mine" not in said
    monkeypatch.setenv("WAVESPEED_API_KEY", "secret-of-mine")
    assert command("check")[0] == 0


@pytest.mark.parametrize(
    "words", [("produce", "no-such", "--yes"), ("retry", "no-such", "--yes"), ("retake", "no-such", "--yes")]
)
@pytest.mark.parametrize("setting", [{}, {"DAILIES_MAX_USD_PER_DAY": "-5"}])
def test_a_mistake_of_a_command_that_buys_says_that_nothing_was_bought(
    command: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], setting: dict[str, str]
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    code, _, said = command(*words)
    assert code == 2
    assert ("from 0 up" if setting else "no-such") in said
    assert "othing was bought" in said


def test_a_folder_that_cannot_be_read_stops_a_command_that_buys_with_the_same_sentence(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "data/series")

    monkeypatch.setattr("pipelines.cli.declared.declarations_of", refuse)
    code, _, said = command("produce", "city", "--yes")
    assert code == 2
    assert said.startswith("dailies: cannot use data/series: Permission denied.")
    assert said.endswith("\nNothing was bought.\n")


@pytest.mark.parametrize("file", [None, "home/stack.json"])
def test_a_full_disk_is_named_without_a_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch, file: str | None
) -> None:
    def refuse(*_: object) -> None:
        # a write names no file, unlike the opening of one
        raise OSError(errno.ENOSPC, "No space left on device", file)

    monkeypatch.setattr("pipelines.cli.declared.declarations_of", refuse)
    code, _, said = command("produce", "city", "--yes")
    assert code == 2
    assert said.startswith(f"dailies: the disk has no room{f' for {file}' if file else ''}: No space left")
    assert "run the command again.\nNothing was bought.\n" in said


def test_status_of_a_series_counts_no_clips_of_other_series_that_wait(depot: Depot, command: Command) -> None:
    depot.deliver(depot.finished("bay-dawn", series="bay", review=Review(by="person")))
    depot.deliver(depot.finished("city-noon"))
    assert "1 clip without a verdict, $0.40: `dailies room`" in command("status")[1]
    assert "without a verdict" in command("status", "bay-dawn")[1]
    assert "without a verdict" not in command("status", "city-noon")[1]


def test_a_note_that_is_too_long_is_refused_with_its_length_and_its_limit(
    depot: Depot, command: Command
) -> None:
    depot.deliver(depot.finished("bay-dawn"))
    code, _, said = command("reject", "bay-dawn", "1", "--note", "x" * 2_001)
    assert (code, said) == (
        1,
        "dailies: the note has 2,001 characters; allowed: 2,000. Nothing was changed.\n",
    )


def test_a_home_that_cannot_be_made_is_named(
    depot: Depot, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path / "file" / "home"))
    for words in (["status"], ["room", "--port", "0"]):
        code, _, said = command(*words)
        assert code == 2
        assert f"{tmp_path}/file/home" in said
        assert "DAILIES_HOME" in said


def test_a_folder_that_may_not_be_read_is_named(
    depot: Depot, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    series = tmp_path / "data" / "series"
    entries = Path.iterdir

    def refused(folder: Path) -> object:
        if folder == series:
            raise PermissionError(13, "Permission denied", str(folder))
        return entries(folder)

    monkeypatch.setattr(Path, "iterdir", refused)
    code, _, said = command("check")
    assert code == 2
    assert f"cannot use {series}: Permission denied. Let your user read and write it" in said


def test_a_question_without_a_terminal_names_the_option(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(typer.Exit) as ended:
        terminal.confirm("Take the job job-1 for bay-dawn?")
    assert ended.value.exit_code == 2
    assert "nothing was changed: without a terminal nobody can be asked. Add --yes." in capfd.readouterr().err
    for answer, code in (("n\n", 1), ("y\n", None)):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        if code is None:
            terminal.confirm("Take it?")
            continue
        with pytest.raises(typer.Exit) as ended:
            terminal.confirm("Take it?")
        assert ended.value.exit_code == code
