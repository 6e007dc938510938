"""All commands find their bucket in one way; and the drill for a lost ledger with the embedded S3."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from projects import a_project, an_order
from pydantic import SecretStr
from typer.testing import CliRunner, Result

from pipelines.cli import bucket as buckets
from pipelines.cli import stack as stacks
from pipelines.cli.app import app
from pipelines.cli.bucket import bucket_if_any, bucket_of
from pipelines.cli.stack import Stack, StackOptions
from resources.errors import ConfigurationError
from resources.ledger.decisions import Decision, decide
from resources.production.bucket_mark import BucketMark, bind_bucket
from resources.settings import Settings, load_settings, open_ledger
from resources.storage.embedded import EmbeddedS3
from resources.storage.layout import ledger_key
from resources.storage.objects import ObjectStore
from resources.variables import STACK

pytestmark = pytest.mark.slow

SECRET = "a-secret-of-forty-characters-or-so-000000"
NOBODY = "http://127.0.0.1:9"
"""A port without a Dagster."""
UNSET = (
    "DAILIES_S3_BUCKET",
    "DAILIES_S3_ENDPOINT",
    "DAILIES_LEDGER_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "WAVESPEED_API_KEY",
    "AIMLAPI_API_KEY",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    a_project(tmp_path, monkeypatch, ["east"])
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@contextlib.contextmanager
def server_of(home: Path) -> Iterator[EmbeddedS3]:
    """The S3 of a home, as `dailies up` starts it."""
    (home / "s3-secret").write_text(SECRET)
    with EmbeddedS3(home / "s3", secret_access_key=SecretStr(SECRET)) as server:
        yield server


@contextlib.contextmanager
def running(home: Path) -> Iterator[EmbeddedS3]:
    """A home beside a stack that names the S3's address."""
    with server_of(home) as server:
        stack = {"pid": os.getpid(), "s3_url": server.endpoint_url, "dagster_url": NOBODY}
        (home / "stack.json").write_text(json.dumps(stack))
        yield server
    (home / "stack.json").unlink()


@contextlib.contextmanager
def not_running(home: Path) -> Iterator[None]:
    """A home whose stack has ended; the command starts the S3 for itself."""
    yield


def used_with(home: Path) -> None:
    """Record a purchase in the home's ledger, for its bucket."""
    with server_of(home) as server, open_ledger(load_settings()) as ledger:
        store = ObjectStore(server.settings)
        store.ensure_bucket()
        bind_bucket(ledger, store)
        decide(ledger, [an_order("bay-east")], Decision("monday"))
        BucketMark(ledger, store).advance()


def lose_the_ledger(home: Path) -> None:
    for file in home.glob("ledger.db*"):
        file.unlink()


class EndedStack:
    """A stack that starts no process and ends at once."""

    sandbox_url = None
    dagster_url = room_url = "http://127.0.0.1:3000"

    def __init__(self, _settings: Settings, _wanted: StackOptions) -> None:
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def tend(self) -> None:
        raise KeyboardInterrupt


def started() -> Result:
    """Run `dailies up` beside the existing S3."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stacks, "Stack", EndedStack)
        return run("up")


@pytest.mark.parametrize("stack", [running, not_running])
def test_the_drill_for_a_lost_ledger_works_with_the_embedded_s3(home: Path, stack: object) -> None:
    used_with(home)
    lose_the_ledger(home)
    assert callable(stack)
    with stack(home):
        planned = run("plan", "bay", "--json")
        assert planned.exit_code == 2
        document = json.loads(planned.stdout)
        assert document["may_buy"] is False
        assert "ledger rebuild --take-over" in document["may_not_buy"]
        status = run("status", "--json")
        assert (status.exit_code, json.loads(status.stdout)) == (0, [])
        assert (
            "this ledger holds no clip, and nothing is bought: the bucket s3://dailies belongs to"
            in status.stderr
        )
        if stack is running:
            assert "is running" in str(run("ledger", "rebuild").exception)
            assert "nothing is bought: the bucket s3://dailies belongs to" in started().stderr
    with not_running(home):
        refused = run("ledger", "rebuild")
        assert isinstance(refused.exception, ConfigurationError)
        assert "--take-over" in str(refused.exception)
        taken = run("ledger", "rebuild", "--take-over")
        assert taken.exit_code == 0, taken.output or taken.exception
        assert "it may buy again" in taken.output
    with stack(home):
        after = run("plan", "bay")
        assert after.exit_code == 0, after.output
        assert "would be bought now" not in after.output
        assert "is bought" not in run("status").output
        if stack is running:
            assert "nothing is bought" not in started().output


def test_a_plan_on_a_ledger_that_is_older_than_its_bucket_says_so(home: Path, tmp_path: Path) -> None:
    with open_ledger(load_settings()):
        assert run("ledger", "backup", str(tmp_path / "empty.db")).exit_code == 0
    used_with(home)
    lose_the_ledger(home)
    (tmp_path / "empty.db").rename(home / "ledger.db")
    planned = run("plan", "bay")
    assert planned.exit_code == 2
    assert "nothing of this plan would be bought now" in planned.output
    assert "dailies ledger rebuild" in planned.output


def test_a_plan_binds_no_bucket_and_writes_nothing(home: Path) -> None:
    with server_of(home) as server:
        ObjectStore(server.settings).ensure_bucket()
    assert run("plan", "bay").exit_code == 0
    with bucket_of(load_settings()) as bucket, open_ledger(load_settings()) as ledger:
        assert bucket.store.get_bytes(ledger_key()) is None
        assert ledger.fact("bucket") is None


def test_a_bucket_that_does_not_answer_leaves_the_plan_with_a_note(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "DAILIES_S3_BUCKET": "gone",
        "DAILIES_S3_ENDPOINT": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("resources.production.bucket_mark.PATIENCE_SECONDS", 0.1)
    planned = run("plan", "bay")
    assert planned.exit_code == 0, planned.output
    assert "whether this ledger may buy is not known" in planned.output


def test_a_command_waits_for_a_stack_that_starts_and_uses_its_s3(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(server_of(home))

        def goes_on(text: str) -> None:
            said.append(text)
            (home / "stack.json").write_text(json.dumps({"pid": os.getpid(), "s3_url": server.endpoint_url}))

        monkeypatch.setattr(buckets, "note", goes_on)
        with bucket_of(load_settings()) as bucket:
            assert bucket.store.settings.endpoint_url == server.endpoint_url
        assert server.pid is not None
    (text,) = said
    assert "waiting up to 60 s" in text
    assert f"another dailies (process {os.getpid()})" in text


def test_a_command_waits_for_another_one_that_uses_the_s3(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server_of(home) as server:
        monkeypatch.setattr(buckets, "note", lambda _text: server.stop())
        with bucket_of(load_settings()) as bucket:
            assert list(bucket.store.list_keys("")) == []


def test_a_command_that_waited_in_vain_names_the_process_that_uses_the_s3(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "PATIENCE_SECONDS", 0.0)
    with server_of(home) as server:
        planned = run("plan", "bay")
        assert server.pid is not None
    assert planned.exit_code == 2
    assert "Try again when `dailies up` says its address" in planned.output
    assert "kill" not in planned.output


def test_a_stack_waits_for_a_command_that_uses_the_s3(home: Path) -> None:
    with server_of(home) as server:
        said: list[str] = []

        def goes_on(text: str) -> None:
            said.append(text)
            if "waiting" in text:
                server.stop()

        stack = Stack(load_settings(), StackOptions(log=goes_on))
        stack.environment[STACK] = f"{stack.id}:{home}"
        try:
            stack._start_s3()
            assert stack.environment["DAILIES_S3_ENDPOINT"].startswith("http://127.0.0.1:")
        finally:
            stack.stop()
    assert [text.split(",")[0] for text in said] == ["starting the embedded S3", "waiting up to 60 s"]


def test_before_the_first_start_a_command_that_needs_a_bucket_says_what_to_do(
    home: Path,
) -> None:
    with bucket_if_any(load_settings()) as bucket:
        assert bucket is None
    assert run("plan", "bay").exit_code == 0
    refused = run("ledger", "rebuild")
    assert isinstance(refused.exception, ConfigurationError)
    assert "no bucket is set" in str(refused.exception)
