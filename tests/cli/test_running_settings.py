"""Commands beside a running `dailies up` ask its sandbox, as its runs do."""

import json
import os
from pathlib import Path

import pytest

from pipelines.cli.running import running_settings
from resources.errors import ConfigurationError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path))
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("WAVESPEED_API_KEY", "a-persons-own-key")
    return tmp_path


def write(home: Path, **state: object) -> None:
    (home / "stack.json").write_text(json.dumps({"pid": os.getpid(), **state}))


def test_without_a_running_stack_the_settings_are_the_persons(home: Path) -> None:
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
    assert settings.allowed_origins == {"http://127.0.0.1:4000"}


def test_a_stack_at_the_providers_changes_nothing(home: Path) -> None:
    write(home, sandbox_url=None)
    assert running_settings().wavespeed_url.startswith("https://")


def test_a_key_that_cannot_be_read_is_a_sentence_and_never_the_persons_key_at_a_strangers_address(
    home: Path,
) -> None:
    write(home, sandbox_url="http://127.0.0.1:4000")
    with pytest.raises(ConfigurationError, match="sandbox-key"):
        running_settings()
