"""`dailies policy`, its `apply` and `log`, and how `dailies up` handles the policy."""

import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipelines.cli.app import app
from pipelines.cli.stack_policy import StackPolicy
from resources.ledger import policy_history, refused_hosts
from resources.ledger.ledger import Ledger
from resources.ledger.refused_hosts import About
from resources.settings import load_settings, open_ledger

CAP = "DAILIES_MAX_USD_PER_DAY"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DAILIES_LEDGER_URL", CAP, "DAILIES_WAVESPEED_MAX_IN_FLIGHT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path))
    monkeypatch.setenv("DAILIES_DATA", str(tmp_path / "data"))
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_apply_puts_a_hosts_settings_in_force_and_another_host_sees_both_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CAP, "5")
    assert f"{CAP} was not set; it is $5.00 now, on every host" in run("policy", "apply").output
    assert "nothing changed" in run("policy", "apply").output
    assert run("policy").exit_code == 0
    monkeypatch.setenv(CAP, "500")
    shown = run("policy")
    assert shown.exit_code == 2
    assert f"{CAP} is $500.00 here, and $5.00 is in force" in shown.output
    document = json.loads(run("policy", "--json").stdout)
    (line,) = [one for one in document["policy"] if one["set_by"] == CAP]
    assert (line["value"], line["here"], document["may_buy"]) == ("5", "500", False)
    monkeypatch.delenv(CAP)
    assert run("policy").exit_code == 0
    monkeypatch.setenv(CAP, "")
    assert f"{CAP} was $5.00; it is no cap now" in run("policy", "apply").output
    assert [one["value"] for one in json.loads(run("policy", "log", "--json").stdout)] == ["5", None]
    assert "no cap" in run("policy", "log").output


def test_the_table_fits_eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_REPLICATE_SUBMITS_PER_MINUTE", "12")
    monkeypatch.setattr("pipelines.cli.terminal.console.width", 80)
    run("policy", "apply")
    assert max(map(len, run("policy").output.splitlines())) <= 80


def started() -> tuple[StackPolicy, list[str], bool]:
    said: list[str] = []
    stack = StackPolicy(said.append)
    return stack, said, stack.put_in_force(load_settings())


def test_up_on_one_machine_applies_its_settings_and_reports_the_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(CAP, "5")
    assert started()[1:] == ([], True)
    monkeypatch.setenv(CAP, "8")
    assert started()[1:] == ([f"{CAP} was $5.00; it is $8.00 now, on every host"], True)
    monkeypatch.delenv(CAP)
    _, said, agrees = started()
    assert agrees
    assert f"in force from before, and not set here: {CAP} ($8.00)" in said[0]


def test_up_follows_an_edited_file_of_an_account(home: Path) -> None:
    folder = home / "data" / "accounts"
    folder.mkdir(parents=True)
    file = folder / "team-b.yaml"
    file.write_text("name: team-b\nprovider: wavespeed\nkey: TEAM_B_KEY\nmax_in_flight: 3\n")
    stack, said, _ = started()
    stack.follow(load_settings())
    assert said == []
    file.write_text("name: team-b\nprovider: wavespeed\nkey: TEAM_B_KEY\nmax_in_flight: 10\n")
    stack.follow(load_settings())
    assert said == ["max_in_flight of team-b in data/accounts was 3; it is 10 now, on every host"]


def test_up_on_a_shared_ledger_changes_no_value_that_others_have_declared(
    postgres_ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_LEDGER_URL", postgres_ledger_url)
    monkeypatch.setenv(CAP, "5")
    assert started()[1:] == ([], True)
    monkeypatch.setenv(CAP, "8")
    monkeypatch.setenv("DAILIES_WAVESPEED_MAX_IN_FLIGHT", "2")
    _, said, agrees = started()
    assert not agrees
    assert f"{CAP} is $8.00 here, and $5.00 is in force" in said[0]
    with open_ledger(load_settings()) as ledger:
        assert [(one.setting.name, one.value) for one in policy_history.history(ledger)] == [
            ("max_usd_per_day", 5_000_000),
        ]


def test_lowering_a_cap_below_the_spent_amount_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def counted(_connection: object, scopes: list[object], _keys: object) -> dict[object, int]:
        return dict.fromkeys(scopes, 3_000_000)

    monkeypatch.setattr("pipelines.cli.policy_table.spent", counted)
    monkeypatch.setenv(CAP, "2")
    said = run("policy", "apply").output
    assert "$3.00 is spent or reserved for" in said
    assert "`dailies stop` keeps them there" in said
    monkeypatch.setenv(CAP, "4")
    assert "spent or reserved" not in run("policy", "apply").output


def test_the_processes_of_up_follow_the_ledgers_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CAP, "5")
    run("policy", "apply")
    monkeypatch.setenv(CAP, "500")
    monkeypatch.setenv("DAILIES_FOLLOWS_POLICY", "true")
    with open_ledger(load_settings()) as ledger:
        assert isinstance(ledger, Ledger)
        assert policy_history.check(ledger).budget.everything.per_day == 5_000_000


def test_status_names_the_hosts_that_may_not_buy() -> None:
    assert "may not buy" not in run("status").output
    with open_ledger(load_settings()) as ledger:
        refused_hosts.note(ledger, About.POLICY, "another cap")
        refused_hosts.note(ledger, About.DATA, "another folder")
    said = run("status").output
    assert (
        f"{socket.gethostname()} may not buy: its settings or its data folder are not those in force"
        in " ".join(said.split())
    )
    with open_ledger(load_settings()) as ledger:
        for about in About:
            refused_hosts.end(ledger, about)
    assert "may not buy" not in run("status").output
