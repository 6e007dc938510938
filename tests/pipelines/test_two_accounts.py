"""A second account at a provider: its own key, limits, caps, listing and bill, through the whole pipeline."""

import json
from pathlib import Path

import dagster as dg
import pytest
from pipelinekit import KEY, House

from pipelines.alarm_sensor import completed_accounts
from resources.errors import ConfigurationError
from resources.inventory.ledger_audit import undeclared
from resources.ledger.states import AttemptState, MoneyState
from resources.production import batch

TEAM, OURS = "wavespeed-team-b", "wavespeed"
SENSOR = "wavespeed_team_b_completion"
AT_SANDBOX = f"{OURS}.{TEAM}"
FILE = """\
name: wavespeed-team-b
provider: wavespeed
key: WAVESPEED_TEAM_B_KEY
dedicated: true
max_in_flight: 2
max_usd_per_day: 3
"""


@pytest.fixture
def team(house: House, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = house.data / "accounts"
    folder.mkdir()
    file = folder / "team-b.yaml"
    file.write_text(FILE)
    monkeypatch.setenv("WAVESPEED_TEAM_B_KEY", f"{KEY}.{TEAM}")
    return file


def bought_by(house: House) -> dict[str, list[str]]:
    """The prompts that each account of the sandbox received."""
    found: dict[str, list[str]] = {}
    for job in house.books()["jobs"]:
        found.setdefault(job["account"], []).append(job["body"]["prompt"])
    return {account: sorted(prompts) for account, prompts in found.items()}


def test_a_series_of_a_second_account_is_bought_billed_and_delivered_there(house: House, team: Path) -> None:
    theirs = house.declare("bay", ["east", "west"], account=TEAM)
    ours = house.declare("city", ["hill"])
    house.add([*theirs, *ours])
    assert house.run("submit_clips", theirs).green
    assert house.run("submit_clips", ours).green
    assert house.collected(SENSOR).green
    assert house.collected("wavespeed_completion").green

    assert bought_by(house) == {
        AT_SANDBOX: ["A quiet view of the east.", "A quiet view of the west."],
        OURS: ["A quiet view of the hill."],
    }
    attempts = house.attempts([*theirs, *ours])
    assert {key: one.account for key, one in attempts.items()} == {
        **dict.fromkeys(theirs, TEAM),
        ours[0]: OURS,
    }
    assert {one.provider for one in attempts.values()} == {OURS}
    assert {one.state for one in attempts.values()} == {AttemptState.DELIVERED}
    accounts = house.books()["accounts"]
    assert accounts[AT_SANDBOX]["charged_micros"] == sum(attempts[key].cost_micros for key in theirs)
    manifest = json.loads(house.get(f"videos/bay-east/{attempts['bay-east'].id}.json"))
    assert (manifest["provider"], manifest["account"]) == (OURS, TEAM)


def test_a_lost_answer_is_found_in_the_listing_of_its_own_account(house: House, team: Path) -> None:
    keys = house.declare("bay", ["east"], account=TEAM)
    ours = house.declare("city", ["hill"])
    house.add([*keys, *ours])
    house.fault({"do": "lose_answer"}, operation="submit", prompt_contains="east", times=1)
    assert house.run("submit_clips", ours).green
    assert house.run("submit_clips", keys).green
    house.until(
        lambda: house.tick(SENSOR) and house.states(keys)["bay-east"] not in {"unknown", "submitting"}
    )
    (job,) = [job for job in house.books()["jobs"] if job["account"] == AT_SANDBOX]
    assert house.attempts(keys)["bay-east"].job_id == job["id"]


def test_the_caps_of_an_account_hold_only_for_that_account(
    house: House, team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the third clip finds no place, and the run need not wait twenty seconds for one
    monkeypatch.setattr(batch, "QUEUE_PATIENCE_SECONDS", 0)
    keys = house.declare("bay", [f"view{number}" for number in range(4)], account=TEAM)
    ours = house.declare("city", ["hill"])
    house.add([*keys, *ours])
    ran = house.run("submit_clips", keys)
    assert len(ran.failed_clips) == 1, "a clip costs 0.96 dollars, and three of them fit into 3 dollars"
    (reason,) = ran.failed_clips.values()
    assert TEAM in reason
    assert house.run("submit_clips", ours).green
    assert len(bought_by(house)[AT_SANDBOX]) <= 3


def test_a_refused_key_of_one_account_fails_only_its_own_clips_of_a_run(
    house: House, team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVESPEED_TEAM_B_KEY", "wrong-key-of-the-team")
    theirs = house.declare("bay", ["east"], account=TEAM)
    ours = house.declare("city", ["hill"])
    house.add([*theirs, *ours])
    ran = house.run("submit_clips", [*theirs, *ours])
    assert list(ran.failed_clips) == theirs
    assert ran.failed_clips["bay-east"].startswith(f"not sent to {TEAM}: ")
    assert "Set WAVESPEED_TEAM_B_KEY" in ran.failed_clips["bay-east"]
    assert bought_by(house) == {OURS: ["A quiet view of the hill."]}
    assert house.states([*theirs, *ours]) == {"bay-east": "withdrawn", "city-hill": "submitted"}


def test_another_account_may_be_the_fallback(house: House, team: Path) -> None:
    fallback = [{"endpoint": "bytedance/seedance-2.0/text-to-video", "account": TEAM}]
    keys = house.declare("bay", ["east"], fallback=fallback)
    house.add(keys)
    house.fault({"do": "reject", "status": 400, "body": {"code": 400, "message": "no"}}, times=1)
    assert house.produce(keys).green
    attempt = house.attempts(keys)["bay-east"]
    assert (attempt.account, attempt.money_state) == (TEAM, MoneyState.CONFIRMED)
    assert set(bought_by(house)) == {AT_SANDBOX}


def test_two_accounts_with_one_key_buy_nothing_and_other_accounts_do(
    house: House, team: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAVESPEED_TEAM_B_KEY", KEY)
    theirs = house.declare("bay", ["east"], account=TEAM)
    ours = house.declare("city", ["hill"])
    others = house.declare("moon", ["rise"], endpoint="openai/sora-2-t2v", allow_retired=True, parameters={})
    house.add([*theirs, *ours, *others])
    said = (
        "the accounts 'wavespeed' and 'wavespeed-team-b' have the same key, so neither is used; other accounts go on. "
        "Set another key in one of WAVESPEED_API_KEY and WAVESPEED_TEAM_B_KEY"
    )
    for keys in (theirs, ours):
        ran = house.run("submit_clips", keys)
        assert not ran.green
        assert said in str(ran.failed_clips or ran.failure)
    assert house.run("submit_clips", others).green
    assert [job["provider"] for job in house.books()["jobs"]] == ["aimlapi"]
    monkeypatch.setenv("WAVESPEED_TEAM_B_KEY", f"{KEY}.{TEAM}")
    assert house.run("submit_clips", ours).green, "the repair works at once"


@pytest.mark.parametrize(
    ("account", "said"),
    [
        ("wavespeed-team-c", "is not declared in data/accounts.*'wavespeed-team-b'|wavespeed-team-b"),
        ("aimlapi", "is an account at aimlapi, not at wavespeed"),
    ],
)
def test_a_series_names_an_account_of_its_provider(house: House, team: Path, account: str, said: str) -> None:
    house.declare("bay", ["east"], account=account)
    (problem,) = house.production.declarations().problems
    assert problem.field == "account"
    assert problem.line is not None
    assert said.split(".*", maxsplit=1)[0] in str(problem)


def test_without_its_file_an_account_is_not_known(house: House, team: Path) -> None:
    assert house.production.settings().account(TEAM).max_in_flight == 2
    team.unlink()
    with pytest.raises(ConfigurationError, match=f"there is no account '{TEAM}'"):
        house.production.settings().account(TEAM)


def test_a_paid_clip_is_fetched_although_the_account_of_its_fallback_is_gone(
    house: House, team: Path
) -> None:
    fallback = [{"endpoint": "bytedance/seedance-2.0/text-to-video", "account": TEAM}]
    keys = house.declare("bay", ["east"], fallback=fallback)
    house.add(keys)
    assert house.run("submit_clips", keys).green
    team.unlink()
    assert house.collected("wavespeed_completion").green
    assert house.states(keys) == {"bay-east": "delivered"}


def test_an_account_whose_sensor_is_not_loaded_yet_is_named_while_its_jobs_run(
    house: House, team: Path
) -> None:
    team.unlink()
    loaded = house.definitions()
    team.write_text(FILE)
    keys = house.declare("bay", ["east"], account=TEAM)
    house.add(keys)
    assert house.run("submit_clips", keys).green

    def named(definitions: dg.Definitions) -> list[str]:
        context = dg.build_sensor_context(house.instance, definitions=definitions, sensor_name="alarms")
        with house.production.ledger() as ledger:
            accounts = completed_accounts(context, house.production.settings().account_names)
            return undeclared(ledger, accounts).keys

    assert named(loaded) == [TEAM]
    assert named(house.definitions()) == []
