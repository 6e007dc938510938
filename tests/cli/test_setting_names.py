"""A misspelt setting is refused: a cap that no code reads would be no cap."""

import json
from pathlib import Path

import pytest

from resources.errors import ConfigurationError
from resources.providers.registry import provider_names, spec_of
from resources.settings import load_settings, names
from resources.variables import INTERNAL, PINNED, misspelt_keys


@pytest.fixture(autouse=True)
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "settings.env"
    file.write_text("")
    monkeypatch.setenv("DAILIES_ENV_FILE", str(file))
    for name in names():
        monkeypatch.delenv(name, raising=False)
    return file


MISSPELT = [
    ("DAILIES_MAX_USD_DAY", "DAILIES_MAX_USD_PER_DAY"),
    ("DAILIES_MAX_USD_PER_DAYS", "DAILIES_MAX_USD_PER_DAY"),
    ("dailies_max_usd_month", "DAILIES_MAX_USD_PER_MONTH"),
    ("Dailies_Wavespeed_Max_Usd_Day", "DAILIES_WAVESPEED_MAX_USD_PER_DAY"),
    ("DAILES_MAX_USD_PER_RUN", "DAILIES_MAX_USD_PER_RUN"),
    ("MAX_USD_PER_DAY", "DAILIES_MAX_USD_PER_DAY"),
    ("DAILIES_TIMEZON", "DAILIES_TIMEZONE"),
]


@pytest.mark.parametrize(("wrong", "right"), MISSPELT)
@pytest.mark.parametrize("place", ["environment", "file", "pinned"])
def test_a_misspelt_setting_is_refused_with_the_right_name(
    monkeypatch: pytest.MonkeyPatch, env_file: Path, place: str, wrong: str, right: str
) -> None:
    match place:
        case "environment":
            monkeypatch.setenv(wrong, "0.01")
        case "file":
            env_file.write_text(f"# a comment\n{wrong}=0.01\n")
        case _:
            monkeypatch.setenv(PINNED, json.dumps({wrong: "0.01"}))
    with pytest.raises(
        ConfigurationError, match=f"{wrong.upper()} is no setting.*'{right}'.*Nothing was bought"
    ):
        load_settings()


def test_a_name_that_resembles_nothing_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_QZXW", "1")
    with pytest.raises(ConfigurationError, match="DAILIES_QZXW is no setting"):
        load_settings()


@pytest.mark.parametrize(
    "line", ["DAILIES_MAX_USD_PER_DAY: 5", "DAILIES_MAX_USD_PER_DAY 5", "DAILIES_MAX_USD_PER_DAY"]
)
def test_a_line_that_sets_nothing_is_refused(env_file: Path, line: str) -> None:
    env_file.write_text(f"AWS_REGION=eu-north-1\n{line}\n")
    with pytest.raises(ConfigurationError, match="line 2: a setting is written NAME=VALUE"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            'WAVESPEED_API_KEY="abc\n',
            "line 1: a setting is written NAME=VALUE, and a quote that is opened is closed",
        ),
        ("WAVESPEED_API_KEY\n", "line 1: a setting is written NAME=VALUE"),
        (
            "A=1\nWAVESPEED_API_KEY=${WS_KEY_OF_TEAM}\n",
            "line 2: WAVESPEED_API_KEY takes its value from WS_KEY_OF_TEAM, which is not set",
        ),
    ],
)
def test_a_key_that_would_be_empty_is_refused(env_file: Path, text: str, says: str) -> None:
    """An empty key was once ignored, and the sandbox stood in for the provider."""
    env_file.write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        load_settings()


def test_references_to_other_variables_are_resolved_and_foreign_lines_accepted(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WS_KEY_OF_TEAM", "from-the-environment")
    env_file.write_text(
        "B=bucket-b\nWAVESPEED_API_KEY=${WS_KEY_OF_TEAM}\nDAILIES_S3_BUCKET=${B}\nTHEIRS=${NOT_SET}\nnot ours\n"
    )
    settings = load_settings()
    assert settings.s3_bucket == "bucket-b"
    assert settings.account("wavespeed").api_key is not None


def test_a_wrong_value_is_shown_unless_it_may_be_a_secret(
    env_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file.write_text("DAILIES_MAX_USD_PER_RUN=5,50\n")
    with pytest.raises(
        ConfigurationError, match=r"DAILIES_MAX_USD_PER_RUN: found '5,50', allowed: an amount"
    ):
        load_settings()
    env_file.write_text("DAILIES_ALARM_URL=secret.example.com/token-12345\n")
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert "token-12345" not in str(refused.value)


@pytest.mark.parametrize(
    "key", ["0123456789abcdef" * 2, "r8_" + "aB1" * 12 + "x", "AKIA" + "IOSFODNN7EXAMPLE"]
)
def test_a_key_in_the_wrong_variable_is_not_shown(env_file: Path, key: str) -> None:
    """Keys of AI/ML API have 32 characters, Replicate's 40, AWS's ids 20."""
    env_file.write_text(f"DAILIES_MAX_USD_PER_RUN={key}\n")
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert "DAILIES_MAX_USD_PER_RUN: allowed: an amount" in str(refused.value)
    assert key not in str(refused.value)


@pytest.mark.parametrize("pinned", [False, True])
def test_an_overridden_line_may_refer_to_a_missing_variable(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, pinned: bool
) -> None:
    """Once the key came from the environment, and an unused line of the file refused everything."""
    name, value = (PINNED, '{"WAVESPEED_API_KEY": "given"}') if pinned else ("WAVESPEED_API_KEY", "given")
    monkeypatch.setenv(name, value)
    env_file.write_text("WAVESPEED_API_KEY=${WS_KEY_OF_TEAM}\n")
    key = load_settings().account("wavespeed").api_key
    assert key is not None
    assert key.get_secret_value() == "given"


@pytest.mark.parametrize("other", ["DAILIES_MAX_USD_PER_DAY", "dailies_max_usd_per_day"])
def test_a_cap_that_is_given_twice_is_refused(env_file: Path, other: str) -> None:
    env_file.write_text(f"DAILIES_MAX_USD_PER_DAY=5\n{other}=500\n")
    with pytest.raises(ConfigurationError, match="DAILIES_MAX_USD_PER_DAY is given twice"):
        load_settings()


def test_a_named_settings_file_that_is_missing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_ENV_FILE", "/nowhere/.env")
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_settings()


@pytest.mark.parametrize(
    ("written", "micros"),
    [
        ("5", 5_000_000),
        ("12.50", 12_500_000),
        ("1e3", 1_000_000_000),
        (" 5 ", 5_000_000),
        ("0", 0),
        ("", None),
    ],
)
def test_an_amount_is_read_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch, written: str, micros: int | None
) -> None:
    monkeypatch.setenv("DAILIES_MAX_USD_PER_DAY", written)
    assert load_settings().budget.everything.per_day == micros


@pytest.mark.parametrize(
    "written", ["$5", "5,00", "-1", "nan", "inf", "5 USD", "   ", "1_000", "five", "0.0000001"]
)
def test_an_invalid_amount_is_refused(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("DAILIES_WAVESPEED_MAX_USD_PER_DAY", written)
    with pytest.raises(
        ConfigurationError, match=r"DAILIES_WAVESPEED_MAX_USD_PER_DAY: .*allowed: an amount of US dollars"
    ):
        load_settings()


def test_settings_in_lower_case_work_and_foreign_lines_are_ignored(
    monkeypatch: pytest.MonkeyPatch, env_file: Path
) -> None:
    env_file.write_text("export dailies_max_usd_per_day=7\nPATH_TO_SOMETHING=x\nnot a setting at all\n")
    monkeypatch.setenv("DAILY_MAX_USERS", "1")
    for name in INTERNAL - {PINNED, "DAILIES_ENV_FILE"}:
        monkeypatch.setenv(name, "x")
    assert load_settings().budget.everything.per_day == 7_000_000


def test_every_variable_of_the_program_is_known() -> None:
    root = Path(__file__).parents[2]
    import re

    used = {
        name
        for folder in ("pipelines", "resources", "bench", "proof", "docs", "tests/e2e", "tests/pipelines")
        for file in (root / folder).rglob("*.py")
        for name in re.findall(r"\bDAILIES_[A-Z0-9_]*[A-Z0-9]\b", file.read_text())
    }
    assert used <= names() | INTERNAL


def test_a_misspelt_key_of_a_provider_is_named() -> None:
    (sentence,) = misspelt_keys(["PATH", "WAVESPEED_API_KY", "HOME"], known=names())
    assert "WAVESPEED_API_KY" in sentence
    assert "should it be WAVESPEED_API_KEY" in sentence
    assert misspelt_keys(["WAVESPEED_API_KY", "WAVESPEED_API_KEY"], known=names()) == []


@pytest.mark.parametrize("place", ["environment", "file", "pinned"])
def test_a_changed_cap_counts_at_the_next_read(
    monkeypatch: pytest.MonkeyPatch, env_file: Path, place: str
) -> None:
    """Settings are kept until one of their sources changes."""
    for cap in (5, 4):
        match place:
            case "environment":
                monkeypatch.setenv("DAILIES_MAX_USD_PER_DAY", str(cap))
            case "file":
                env_file.write_text(f"DAILIES_MAX_USD_PER_DAY={cap}\n")
            case _:
                monkeypatch.setenv(PINNED, json.dumps({"DAILIES_MAX_USD_PER_DAY": str(cap)}))
        assert load_settings().budget.everything.per_day == cap * 1_000_000


def test_every_setting_has_a_line_in_the_example_that_people_copy() -> None:
    shown = {
        line.removeprefix("# ").partition("=")[0] for line in Path(".env.example").read_text().splitlines()
    }
    # the addresses of providers are for the sandbox, which sets them itself
    addresses = {spec_of(provider).variable("url") for provider in provider_names()}
    assert names() - addresses - shown == set()
