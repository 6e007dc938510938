"""`dailies key`, and what `dailies doctor` shows about keys; two environments stand for two hosts."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipelines.cli.app import app
from resources.errors import ConfigurationError
from resources.ledger import keys
from resources.production import account
from resources.production.account import bind_account
from resources.settings import load_settings, open_ledger

VARIABLE = "DAILIES_WAVESPEED_DEDICATED"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (
        VARIABLE,
        "DAILIES_WEBHOOK_URL",
        "DAILIES_LEDGER_URL",
        "WAVESPEED_API_KEY",
        "AIMLAPI_API_KEY",
    ):
        monkeypatch.delenv(name, raising=False)
    account._warn_once.cache_clear()
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path))
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def said(*words: str) -> str:
    result = run(*words)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def use_the_account() -> bool:
    """Use the account as every run does first; returns whether the key then counts as dedicated."""
    settings = load_settings()
    with open_ledger(settings) as ledger:
        bind_account(ledger, settings.account("wavespeed"))
        return keys.look_up(ledger, "wavespeed").dedicated


def test_an_undeclared_key_is_shown_as_shared() -> None:
    told = said("key")
    assert "wavespeed: others may use the key (nobody has said otherwise)" in told
    assert "held for a person" in told
    assert "aimlapi: others may use the key (nobody has said otherwise). Its listing names each POST" in told


def test_a_hosts_setting_counts_from_its_first_use_of_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "true")
    assert use_the_account()
    monkeypatch.delenv(VARIABLE)
    assert use_the_account(), "a host without the setting changes nothing"
    assert "wavespeed: this ledger alone uses the key (said by host" in said("key")


def test_another_key_is_not_dedicated_until_it_is_declared(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WAVESPEED_API_KEY", "first-key-of-the-account")
    said("key", "wavespeed", "--dedicated")
    assert use_the_account()
    monkeypatch.setenv("WAVESPEED_API_KEY", "second-key-of-the-account")
    assert not use_the_account()
    assert "another key than before" in caplog.text
    assert "key-of-the-account" not in caplog.text
    said("key", "wavespeed", "--dedicated")
    assert use_the_account()


@pytest.mark.parametrize("first", ["true", "false"])
def test_if_two_hosts_disagree_the_key_is_shared_and_a_warning_says_so(
    monkeypatch: pytest.MonkeyPatch, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, first)
    use_the_account()
    monkeypatch.setenv(VARIABLE, "false" if first == "true" else "true")
    assert not use_the_account()
    monkeypatch.setenv(VARIABLE, "true")
    assert not use_the_account()
    assert "has said that others do" in caplog.text
    assert "counts as shared" in said("key")
    assert "wavespeed: this ledger alone uses the key" in said("key", "wavespeed", "--dedicated")
    assert use_the_account()


def test_a_command_that_contradicts_this_hosts_setting_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "false")
    use_the_account()
    assert f"{VARIABLE} is false here" in said("key", "wavespeed", "--dedicated")


def test_with_a_callback_address_lost_answers_on_a_shared_key_are_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DAILIES_WEBHOOK_URL", "https://hooks.example.com/dailies")
    assert "settled by a callback or by a listed job that shows its request" in said(
        "key", "wavespeed", "--shared"
    )


def test_an_unknown_account_or_missing_statement_is_refused() -> None:
    assert "one of --dedicated and --shared" in str(run("key", "wavespeed").exception)
    assert isinstance(run("key", "nobody", "--shared").exception, ConfigurationError)


@pytest.mark.slow
def test_doctor_shows_for_each_account_who_uses_its_key() -> None:
    said("key", "wavespeed", "--dedicated")
    told = " ".join(run("doctor", "--dry-run").output.split())
    assert "wavespeed: this ledger alone uses the key" in told
    assert "aimlapi: others may use the key" in told
    document = json.loads(run("doctor", "--dry-run", "--json").stdout)
    dedicated = {key["account"]: key["dedicated"] for key in document["keys"]}
    assert dedicated["wavespeed"]
    assert not dedicated["aimlapi"]
