"""Commands beside a running `dailies up` use its sandbox, as its runs do."""

import json
import logging
import os
import re
from pathlib import Path

import pytest
from dagster._cli.utils import _inject_local_env_file

from pipelines.cli.stack import Stack, StackOptions
from pipelines.cli.stack_settings import running_settings
from resources.errors import ConfigurationError
from resources.settings import Settings, load_settings


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path))
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("WAVESPEED_API_KEY", "a-persons-own-key")
    return tmp_path


def write(home: Path, **state: object) -> None:
    (home / "stack.json").write_text(json.dumps({"pid": os.getpid(), **state}))


def test_without_a_running_stack_the_persons_settings_apply(home: Path) -> None:
    account = running_settings().account("wavespeed")
    assert account.api_key is not None
    assert account.api_key.get_secret_value() == "a-persons-own-key"


def test_a_running_sandbox_stands_in_for_every_account(home: Path) -> None:
    write(home, sandbox_url="http://127.0.0.1:4000")
    (home / "sandbox-key").write_text("key-of-the-sandbox\n")
    settings = running_settings()
    for name in ("wavespeed", "aimlapi"):
        account = settings.account(name)
        assert account.base_url == "http://127.0.0.1:4000"
        assert account.api_key is not None
        assert account.api_key.get_secret_value() == "key-of-the-sandbox"
        assert account.dedicated
    assert settings.allowed_origins == {"http://127.0.0.1:4000"}


def test_a_stack_at_the_providers_changes_nothing(home: Path) -> None:
    write(home, sandbox_url=None, dagster_url="http://127.0.0.1:3456")
    settings = running_settings()
    assert settings.account("wavespeed").base_url.startswith("https://")
    assert settings.dagster_url == "http://127.0.0.1:3456", "the port is an option of `dailies up`"


def test_an_unreadable_key_is_an_error_and_the_persons_key_is_never_sent_to_the_sandbox(
    home: Path,
) -> None:
    write(home, sandbox_url="http://127.0.0.1:4000")
    with pytest.raises(ConfigurationError, match="sandbox-key"):
        running_settings()


def test_an_env_file_that_dagsters_commands_load_does_not_change_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = {
        "WAVESPEED_API_KEY": "a-persons-own-key",
        "DAILIES_S3_BUCKET": "a-persons-bucket",
        "AWS_SESSION_TOKEN": "a-persons-token",
        "DAILIES_MAX_USD_PER_DAY": "500",
        "DAILIES_TIMEZONE": "Europe/Oslo",
    }
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in person.items()))
    monkeypatch.chdir(tmp_path)
    for name in person:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DAILIES_MAX_USD_PER_DAY", "5")
    monkeypatch.setattr(Stack, "_spawn", lambda *_args, **_more: None)
    monkeypatch.setattr(Stack, "_wait", lambda *_: None)
    monkeypatch.setattr(Stack, "_write_state", lambda _: None)
    monkeypatch.setattr(Stack, "_start_sandbox", lambda s: s.environment.update(WAVESPEED_API_KEY="sandbox"))
    monkeypatch.setattr(Stack, "_start_s3", lambda s: s.environment.update(DAILIES_S3_BUCKET="dailies"))
    demo = Stack(Settings(DAILIES_HOME=tmp_path), StackOptions(sandbox=True, embedded_s3=True))
    demo._start()
    for name, value in demo.environment.items():
        monkeypatch.setenv(name, value)
    with _inject_local_env_file(logging.getLogger()):
        assert os.environ["WAVESPEED_API_KEY"] == "a-persons-own-key", "Dagster no longer overrides variables"
        settings = load_settings()
    key = settings.account("wavespeed").api_key
    assert key is not None
    assert key.get_secret_value() == "sandbox"
    assert settings.s3_bucket == "dailies"
    assert settings.s3_session_token is None
    assert settings.max_usd_per_day == 5, "a variable overrides the file, as everywhere"
    assert settings.timezone == "Europe/Oslo"


@pytest.mark.parametrize("megabytes", ["0", "5001", "1e4", "much"])
def test_no_clip_may_be_larger_than_one_s3_request_allows(
    home: Path, monkeypatch: pytest.MonkeyPatch, megabytes: str
) -> None:
    monkeypatch.setenv("DAILIES_MAX_DOWNLOAD_MB", megabytes)
    with pytest.raises(ConfigurationError, match="DAILIES_MAX_DOWNLOAD_MB"):
        load_settings()
    monkeypatch.setenv("DAILIES_MAX_DOWNLOAD_MB", "5000")
    assert load_settings().max_download_mb == 5000


def test_the_product_opens_ledgers_in_one_way() -> None:
    root = Path(__file__).parents[2]
    opening = {
        str(file.relative_to(root))
        for folder in ("pipelines", "resources")
        for file in (root / folder).rglob("*.py")
        if re.search(r"\bLedger\(\s*\w", file.read_text())
    }
    # the kit's ledger has invented purchases, and a copy is restored to be compared; both end with their folder
    assert opening == {
        "resources/settings/ledger_access.py",
        "resources/conformance/histories.py",
        "resources/production/ledger_copies.py",
    }
