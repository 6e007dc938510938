"""The files of `data/accounts/`: their valid content, and that one broken file stops no other."""

from pathlib import Path

import pytest

from resources.providers.account_files import load_accounts

GOOD = "name: wavespeed-team-b\nprovider: wavespeed\nkey: WAVESPEED_TEAM_B_KEY\n"


def load(folder: Path, **files: str) -> tuple[list[str], str]:
    (folder / "accounts").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "accounts" / f"{name}.yaml").write_text(text)
    accounts = load_accounts(folder)
    return list(accounts.found), "\n".join(map(str, accounts.problems))


def test_without_the_folder_there_are_no_accounts(tmp_path: Path) -> None:
    assert load_accounts(tmp_path).found == {}


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    assert load(tmp_path, a=GOOD) == (["wavespeed-team-b"], "")
    assert load(tmp_path, a=GOOD.replace("team-b", "team-bb")) == (["wavespeed-team-bb"], "")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("name: wavespeed-team-b", "name: wavespeed"), "the provider's own account"),
        (("name: wavespeed-team-b", "name: Team B"), "name"),
        (("provider: wavespeed", "provider: nobody"), "'wavespeed', 'aimlapi'"),
        (("key: WAVESPEED_TEAM_B_KEY", "key: DAILIES_KEY"), "begins with DAILIES_"),
        (("key: WAVESPEED_TEAM_B_KEY", "key: WAVESPEED_API_KEY"), "the provider's own account"),
        (("key: WAVESPEED_TEAM_B_KEY", "key: sk-secret"), "key"),
        (("key:", "api_key: sk-x\nkey:"), "is not known here"),
        (("key:", "max_in_flight: 0\nkey:"), "max_in_flight"),
        (("key:", "max_usd_per_day: -1\nkey:"), "max_usd_per_day"),
    ],
)
def test_a_mistake_names_its_line_and_stops_no_other_account(
    tmp_path: Path, changed: tuple[str, str], said: str
) -> None:
    other = "name: other\nprovider: aimlapi\nkey: OTHER_KEY\n"
    found, problems = load(tmp_path, a=GOOD.replace(*changed), b=other)
    assert found == ["other"]
    assert said in problems
    assert "a.yaml" in problems


@pytest.mark.parametrize("field", ["key", "admin_key"])
@pytest.mark.parametrize(
    "value", ["sk-canary-0123456789abcdef", "0123456789", "'8e0cf9a1:canary'", "[canary]"]
)
def test_a_key_in_place_of_its_variable_is_never_shown(tmp_path: Path, field: str, value: str) -> None:
    others = GOOD if field == "admin_key" else GOOD.replace("key: WAVESPEED_TEAM_B_KEY\n", "")
    found, problems = load(tmp_path, a=f"{others}{field}: {value}\n")
    assert found == []
    assert f"a.yaml:{4 if field == 'admin_key' else 3}: {field}: allowed: 3 to 64 capital letters" in problems
    assert "the key itself belongs in .env" in problems
    assert not any(part in problems for part in ("canary", "0123456789", "8e0cf9a1"))


def test_each_account_has_its_own_name_and_key(tmp_path: Path) -> None:
    found, problems = load(tmp_path, a=GOOD, b=GOOD, c=GOOD.replace("wavespeed-team-b", "wavespeed-team-c"))
    assert found == ["wavespeed-team-b"]
    assert "is declared twice" in problems
    assert "is the key of wavespeed-team-b, too" in problems
