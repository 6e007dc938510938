"""`dailies stop`, `dailies start`, `dailies ledger` and the settings of caps, as a person types them."""

import csv
import io
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from projects import an_order
from typer.testing import CliRunner, Result

from pipelines.cli.app import app
from resources.errors import ConfigurationError
from resources.ledger import stops
from resources.ledger.decisions import Decided, Decision, Ruling, decide
from resources.ledger.schema import attempts
from resources.money import usd
from resources.orders import Caps, ClipRequest, Expected
from resources.settings import load_settings, open_ledger

VARIABLES = (
    "DAILIES_LEDGER_URL",
    "DAILIES_TIMEZONE",
    "DAILIES_MAX_USD_PER_RUN",
    "DAILIES_MAX_USD_PER_DAY",
    "DAILIES_MAX_USD_PER_MONTH",
    "DAILIES_WAVESPEED_MAX_USD_PER_DAY",
    "WAVESPEED_API_KEY",
    "AIMLAPI_API_KEY",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path))
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def wanted(clip: str = "city-hero", price: str = "0.40") -> Decided:
    settings = load_settings()
    request = an_order(clip, series="city", price_micros=usd(price))
    with open_ledger(settings) as ledger:
        (ruling,) = decide(ledger, [request], Decision("monday"))
        return ruling


def test_stop_prevents_all_purchases_until_start() -> None:
    wanted("city-one")
    stopped = run("stop", "--reason", "the prompts are wrong")
    assert stopped.exit_code == 0
    assert "1 clip in the queue" in stopped.output
    refused = wanted("city-two")
    assert refused.ruling is Ruling.REFUSED
    assert "the prompts are wrong" in (refused.reason or "")
    assert "the prompts are wrong" in run("status").output
    started = run("start")
    assert "buying resumes" in started.output
    assert wanted("city-two").ruling is Ruling.NEW
    assert "nothing was stopped" in run("start").output


def test_the_json_of_status_stays_valid_while_everything_is_stopped() -> None:
    wanted()
    run("stop")
    shown = run("status", "--json")
    assert json.loads(shown.stdout)[0]["clip"] == "city-hero"
    assert "all buying is stopped" in shown.stderr


def test_one_account_can_be_stopped_and_others_continue() -> None:
    run("stop", "--account", "aimlapi")
    assert wanted().ruling is Ruling.NEW
    run("stop", "--account", "wavespeed")
    refused = wanted("city-two")
    assert "dailies start --account wavespeed" in (refused.reason or "")


def test_the_error_of_an_unknown_account_lists_the_known_ones() -> None:
    for command in ("stop", "start"):
        result = run(command, "--account", "wavspeed")
        assert isinstance(result.exception, ConfigurationError)
        assert "wavespeed, aimlapi" in str(result.exception)


@pytest.mark.slow
def test_the_statement_for_a_person_a_program_and_a_spreadsheet(home: Path) -> None:
    assert "nothing was bought yet" in run("ledger").output
    wanted("city-one")
    wanted("city-two", price="1.10")
    shown = run("ledger")
    assert shown.exit_code == 0
    for part in ("reserved", "city", "openai/sora-2/text-to-video", "$1.50"):
        assert part in shown.output
    document = json.loads(run("ledger", "--json").stdout)
    assert document["total"] == {
        "name": "total",
        "attempts": 2,
        "counted_usd": "1.5",
        "billed_usd": "0",
    }
    assert document["checked"] is False
    assert document["unaccounted"] is None
    rows = list(csv.DictReader(io.StringIO(run("ledger", "--csv", "-").stdout)))
    assert [(row["clip"], row["quoted_usd"]) for row in rows] == [("city-one", "0.4"), ("city-two", "1.1")]
    run("ledger", "--csv", str(home / "account.csv"))
    assert len((home / "account.csv").read_text().splitlines()) == 3
    result = run("ledger", "--csv", str(home / "missing" / "account.csv"))
    assert isinstance(result.exception, ConfigurationError)


def test_in_the_spreadsheet_a_formula_as_job_id_is_text_and_a_negative_charge_a_number() -> None:
    wanted("city-one")
    with open_ledger(load_settings()) as ledger, ledger.write() as connection:
        connection.execute(sa.update(attempts).values(job_id="=cmd|' /C calc'!A0", charged_micros=-500_000))
    (row,) = csv.DictReader(io.StringIO(run("ledger", "--csv", "-").stdout))
    assert (row["job"], row["charged_usd"]) == ("'=cmd|' /C calc'!A0", "-0.5")


def test_a_check_without_any_key_says_what_is_missing() -> None:
    result = run("ledger", "--check")
    assert isinstance(result.exception, ConfigurationError)
    assert "WAVESPEED_API_KEY" in str(result.exception)


def test_caps_are_shown_with_the_spent_amounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_MAX_USD_PER_DAY", "0.50")
    assert wanted("city-one").ruling is Ruling.NEW
    refused = wanted("city-two")
    assert "raise DAILIES_MAX_USD_PER_DAY" in (refused.reason or "")
    (cap,) = json.loads(run("ledger", "--json").stdout)["caps"]
    assert (cap["period"], cap["spent_usd"], cap["cap_usd"]) == ("day", "0.4", "0.5")
    assert "$0.50" in run("ledger").output


def test_a_stopped_account_is_shown_with_its_reason() -> None:
    wanted()
    with open_ledger(load_settings()) as ledger, ledger.write() as connection:
        stops.stop_account(connection, "wavespeed", stops.StopKind.INSUFFICIENT_FUNDS, "no credit", now=1.0)
    assert "top it up" in run("ledger").output
    (stop,) = json.loads(run("ledger", "--json").stdout)["stopped"]
    assert stop["kind"] == "insufficient_funds"


# Settings


def test_caps_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_TIMEZONE", "Europe/Berlin")
    monkeypatch.setenv("DAILIES_MAX_USD_PER_RUN", "5")
    monkeypatch.setenv("DAILIES_WAVESPEED_MAX_USD_PER_DAY", "0.1")
    budget = load_settings().budget
    assert budget.timezone == "Europe/Berlin"
    assert budget.everything == Caps(per_run=usd(5))
    assert budget.accounts["wavespeed"] == Caps(per_day=usd("0.10"))
    assert budget.accounts["aimlapi"] == Caps()


@pytest.mark.parametrize(
    "name",
    ["DAILIES_MAX_USD_PER_DAY", "DAILIES_WAVESPEED_MAX_IN_FLIGHT", "DAILIES_AIMLAPI_MAX_USD_PER_MONTH"],
)
def test_an_empty_setting_is_no_cap_and_no_limit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    settings = load_settings()
    assert settings.budget.everything == settings.budget.accounts["aimlapi"] == Caps()
    assert settings.account("wavespeed").max_in_flight is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DAILIES_WAVESPEED_MAX_IN_FLIGHT", "0"),
        ("DAILIES_MAX_USD_PER_DAY", "ten"),
        ("DAILIES_MAX_USD_PER_DAY", "-1"),
        ("DAILIES_MAX_USD_PER_DAY", "0.0000001"),
        ("DAILIES_MAX_USD_PER_DAY", "inf"),
        ("DAILIES_TIMEZONE", "Mars/Olympus"),
        ("DAILIES_TIMEZONE", ""),
        ("DAILIES_TIMEZONE", "../../etc/passwd"),
    ],
)
def test_an_invalid_setting_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name):
        load_settings()


def test_the_statement_names_the_sum_that_is_only_our_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    order = ClipRequest(
        clip="city-hero",
        series="city",
        provider="fal",
        endpoint="fal-ai/veo3.1",
        body={"prompt": "x"},
        price_micros=usd("3.20"),
        expected=Expected(),
    )
    with open_ledger(load_settings()) as ledger:
        decide(ledger, [order], Decision("monday"))
    assert "$3.20 is our estimate: fal has no bill that names jobs" in " ".join(run("ledger").stdout.split())
    assert json.loads(run("ledger", "--json").stdout)["estimated"] == [{"account": "fal", "usd": "3.2"}]
    monkeypatch.setenv("DAILIES_FAL_ADMIN_KEY", "an-admin-key")
    assert json.loads(run("ledger", "--json").stdout)["estimated"] == []
