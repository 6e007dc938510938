"""Nothing is bought without a yes: the plan, the question, and clips that are refused at once."""

import dataclasses
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from projects import a_project

from pipelines.cli import launch as launching
from pipelines.cli import plan as planning
from pipelines.cli.declared import declarations_of
from pipelines.cli.launch import Launch, Launched
from resources.ledger.approvals import Approval
from resources.ledger.decisions import Decision, decide
from resources.planning import Plan
from resources.settings import load_settings, open_ledger

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def approved() -> list[list[Approval]]:
    """The approval of these clips."""
    return []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, approved: list[list[Approval]]) -> list[list[str]]:
    """The clips that a command requested from Dagster; no Dagster runs here."""
    requested: list[list[str]] = []

    def launch(_settings: object, _api: object, approvals: list[Approval], _order: Launch) -> Launched:
        keys = [approval.clip for approval in approvals]
        requested.append(keys)
        approved.append(approvals)
        return Launched("produce:1", keys, ["run-1"])

    monkeypatch.setattr(launching, "check_dagster", lambda *_: None)
    monkeypatch.setattr(launching, "launch", launch)
    return requested


@pytest.fixture
def dailies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Run, asked: object) -> Run:
    a_project(tmp_path, monkeypatch, ["east", "west"])
    for name in ("DAILIES_LEDGER_URL", "DAILIES_S3_BUCKET"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, answer: str | None = None) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        return command(*arguments)

    return run


class Terminal:
    """Standard input: a person's answer, or no terminal."""

    def __init__(self, answer: str | None) -> None:
        self.answer = answer

    def isatty(self) -> bool:
        return self.answer is not None

    def readline(self, *_: Any) -> str:
        return f"{self.answer}\n"


@pytest.mark.slow
def test_without_a_terminal_and_without_yes_nothing_is_bought(dailies: Run, asked: list[list[str]]) -> None:
    code, out, err = dailies("produce", "bay")
    assert code == 2
    assert "2 to buy" in out
    assert "bay-west" in out
    assert "nothing was bought" in err
    assert "Add --yes" in err
    assert dailies("produce", "bay", "--json")[0] == 2
    assert asked == []


def test_a_script_approves_with_yes(dailies: Run, asked: list[list[str]]) -> None:
    code, out, _ = dailies("produce", "bay", "--yes")
    assert code == 0
    assert asked == [["bay-east", "bay-west"]]
    assert "http://127.0.0.1:3000/runs/run-1" in out


def test_yes_approves_the_rendered_orders(dailies: Run, approved: list[list[Approval]]) -> None:
    settings = load_settings()
    declarations = declarations_of(settings)
    requests = [declarations.render(declarations.find(key)) for key in ("bay-east", "bay-west")]
    with open_ledger(settings) as ledger:
        decide(ledger, requests[:1], Decision("earlier"))
    assert dailies("produce", "bay", "--yes")[0] == 0
    assert approved == [[replace(Approval.of(requests[0]), at_most_micros=0), Approval.of(requests[1])]], (
        "the first clip is open"
    )
    assert approved[0][1].at_most_micros == 1_200_000


def test_open_purchases_cost_nothing_and_need_no_approval(dailies: Run, asked: list[list[str]]) -> None:
    settings = load_settings()
    declarations = declarations_of(settings)
    with open_ledger(settings) as ledger:
        decide(ledger, [declarations.render(declarations.find("bay-east"))], Decision("earlier"))
    assert dailies("produce", "bay-east")[0] == 0
    assert asked == [["bay-east"]]


@pytest.mark.parametrize(("answer", "code", "bought"), [("n", 1, False), ("", 1, False), ("y", 0, True)])
def test_a_person_is_asked_with_the_price(
    dailies: Run, asked: list[list[str]], answer: str, code: int, bought: bool
) -> None:
    ended, _, err = dailies("produce", "bay", answer=answer)
    assert ended == code
    assert "Buy 2 clips for $" in err
    assert bool(asked) is bought
    assert ("nothing was bought" in err) is not bought


def test_clips_that_a_stop_would_refuse_later_are_refused_at_once(
    dailies: Run, asked: list[list[str]]
) -> None:
    assert dailies("stop", "--reason", "lunch")[0] == 0
    code, out, err = dailies("produce", "bay", "--yes")
    assert code == 1
    assert "lunch" in out + err
    assert "nothing was bought" in err
    assert asked == []
    assert dailies("start")[0] == 0
    assert dailies("produce", "bay", "--yes")[0] == 0


def test_clips_that_a_cap_would_refuse_later_are_left_out_and_named(
    dailies: Run, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_MAX_USD_PER_DAY", "1.30")
    code, out, err = dailies("produce", "bay", "--yes")
    assert code == 1
    assert asked == [["bay-east"]]
    assert "bay-west" in out
    assert "1 refused" in out
    monkeypatch.setenv("DAILIES_MAX_USD_PER_DAY", "1.00")
    code, out, err = dailies("produce", "bay", "--yes")
    assert code == 1
    assert "every clip was refused" in err
    assert len(asked) == 1


def test_a_ledger_that_may_not_buy_ends_the_command(
    dailies: Run, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(_settings: object, _ledger: object, plan: Plan) -> Plan:
        return dataclasses.replace(plan, may_not_buy="the bucket knows more than this ledger")

    monkeypatch.setattr(planning, "_with_refusal", older)
    code, _, err = dailies("produce", "bay", "--yes")
    assert code == 2
    assert "nothing was bought: the bucket knows more" in err
    assert asked == []


def test_an_edited_prompt_is_shown_word_by_word(dailies: Run, tmp_path: Path) -> None:
    settings = load_settings()
    declarations = declarations_of(settings)
    request = declarations.render(declarations.find("bay-east"))
    with open_ledger(settings) as ledger:
        decide(ledger, [request], Decision("earlier"))
    file = tmp_path / "data" / "series" / "bay.yaml"
    file.write_text(file.read_text().replace("A quiet view", "A stormy view") + "parameters: {duration: 8}\n")
    _, out, _ = dailies("produce", "bay")
    assert "prompt: A [-quiet-] {+stormy+} view of east." in out
    assert "duration: 5 -> 8" in out
    assert "bay-west was asked for" not in out
