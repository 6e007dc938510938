"""`dailies takes`, `circle`, `reject`, `take-back` and `retake`, as a person types them."""

import json
from pathlib import Path

import pytest
import typer
from deliverykit import Depot
from hostile import File
from makers import make_mp4
from projects import a_project
from typer.testing import CliRunner, Result

from pipelines.cli import retakes, terminal
from pipelines.cli.app import app
from pipelines.cli.launch import Launch, Launched
from pipelines.cli.terminal import confirm
from resources.errors import ConfigurationError, DailiesError
from resources.ledger.approvals import Approval
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.money import show_usd, usd
from resources.planning import TakesAsked
from resources.settings import load_settings
from resources.storage.layout import VERDICTS

CLIP = "bay-dawn"


def run(*words: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=answer)


def a_take(depot: Depot, decision: str) -> Attempt:
    (made,) = depot.deliver(depot.finished(CLIP, decision=decision, series="bay"))
    return made


@pytest.mark.slow
def test_takes_are_judged_in_the_terminal(depot: Depot, tmp_path: Path) -> None:
    first, second = a_take(depot, "monday"), a_take(depot, "tuesday")
    shown = run("takes", CLIP)
    assert shown.exit_code == 0, shown.output
    with pytest.raises(ConfigurationError, match="bay is a series; `dailies status bay` lists its clips"):
        raise run("takes", "bay").exception or AssertionError
    assert all(
        part in shown.output for part in (first.id[:8], f"2*  {second.id[:8]}", f"made by {first.endpoint}")
    )
    with pytest.raises(DailiesError, match="more than one take"):
        raise run("circle", CLIP).exception or AssertionError
    circled = run("circle", CLIP, "1", "--note", "the light")
    assert circled.exit_code == 0, circled.output
    assert "take 1 of bay-dawn: circled. Current: take 1" in circled.output
    moved = run("circle", CLIP, second.id[:6])
    assert "take 2 of bay-dawn: circled, instead of take 1, which" in moved.output
    with pytest.raises(ConfigurationError, match="there is no reason 'hand'"):
        raise run("reject", CLIP, "2", "--reason", "hand").exception or AssertionError
    with pytest.raises(ConfigurationError, match=r"say why: .*hands \(Hands or bodies\), .*or `--note`"):
        raise run("reject", CLIP, "2").exception or AssertionError
    rejected = json.loads(run("reject", CLIP, "2", "--reason", "hands", "--note", "six", "--json").output)
    assert rejected["verdict"]["reasons"] == ["hands"]
    assert [take["is_current"] for take in rejected["takes"]] == [True, False]
    alone = run("reject", CLIP, "1", "--note", "the horizon tilts")
    assert alone.exit_code == 0, alone.output
    assert "Every take is rejected, so take 2 stays current" in " ".join(alone.output.split())
    run("take-back", CLIP, "1")
    assert "Current: take 2" in run("take-back", CLIP, "2").output
    listed = json.loads(run("takes", CLIP, "--json").output)
    assert [take["verdict"] for take in listed["takes"]] == [None, None]
    assert len(list(depot.store.list_keys(VERDICTS))) == 6
    assert json.loads(depot.store.get_bytes(f"videos/{CLIP}/current.json") or b"")["attempt"] == second.id

    black = make_mp4(tmp_path / "black.mp4", black_seconds=9).read_bytes()
    depot.server.files["/clip.mp4"] = File(data=black)
    apart = a_take(depot, "wednesday")
    assert apart.state is AttemptState.QUARANTINED
    assert "take 3 of bay-dawn: circled" in run("circle", CLIP, "3").output
    assert depot.read(apart).state is AttemptState.DELIVERED


def test_the_error_of_a_misspelt_clip_suggests_the_right_one(depot: Depot, tmp_path: Path) -> None:
    one = a_take(depot, "monday").subject_key
    wrong = one.replace(one[-2:], one[-1] + one[-2])
    for words in (
        ("takes", wrong),
        ("circle", wrong, "1"),
        ("reject", wrong, "1", "--reason", "hands"),
        ("retry", wrong),
    ):
        with pytest.raises(ConfigurationError, match=rf"did you mean {one}\?"):
            raise run(*words).exception or AssertionError(words)


def test_a_clip_that_was_never_bought_has_no_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_project(tmp_path, monkeypatch, ["dawn"])
    with pytest.raises(ConfigurationError, match="was never bought"):
        raise run("takes", CLIP).exception or AssertionError


@pytest.fixture
def bought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The clips that were requested; no Dagster runs here."""
    a_project(tmp_path, monkeypatch, ["dawn"])
    asked: list[str] = []

    def launch(_settings: object, _api: object, approvals: list[Approval], how: Launch) -> Launched:
        keys = [approval.clip for approval in approvals]
        assert (how.asked, how.job) == (TakesAsked(1, regenerate=True), "submit_clips")
        asked.extend(keys)
        return Launched("retake:1", keys, ["run-1"])

    monkeypatch.setattr(retakes, "launch", launch)
    return asked


def test_a_retake_shows_its_price_and_asks_for_a_yes(
    bought: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_MAX_USD_PER_DAY", "20")
    monkeypatch.setattr(terminal, "is_terminal", lambda: True)
    refused = run("retake", CLIP, "--json", answer="n\n")
    assert (refused.exit_code, bought) == (1, [])
    assert "Buy" not in refused.stdout, "stdout is JSON for a program"
    price = retakes.offer_retake(load_settings(), CLIP).price
    question = f"Buy one more take of {CLIP} from bytedance/seedance-2.0/text-to-video for {price}?"
    assert question in refused.stderr
    assert "$0.00 spent" in refused.stderr
    assert "$20.00" in refused.stderr
    # the runner's terminal echoes the answer
    agreed = json.loads(run("retake", CLIP, "--json", answer="y\n").stdout.removeprefix(" y\n"))
    assert (bought, agreed["decision"], price) == ([CLIP], "retake:1", show_usd(usd(agreed["price_usd"])))


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_yes_that_is_piped_buys_nothing(bought: list[str], options: list[str]) -> None:
    refused = run("retake", CLIP, *options, answer="y\n")
    assert (refused.exit_code, refused.stdout, bought) == (2, "", [])
    assert "nothing was bought" in refused.stderr
    assert "Add --yes" in refused.stderr
    assert run("retake", CLIP, "--yes", *options).exit_code == 0
    assert bought == [CLIP]


def test_ctrl_c_at_a_question_buys_nothing_says_so_and_ends_with_130(
    bought: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(*_: object, **__: object) -> bool:
        raise typer.Abort

    monkeypatch.setattr(terminal, "is_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", leave)
    ended = run("retake", CLIP)
    assert (ended.exit_code, bought) == (130, [])
    assert "dailies: nothing was bought" in ended.output
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with pytest.raises(typer.Exit) as left:
        confirm("Deliver it?")
    assert left.value.exit_code == 130


def test_a_retake_beyond_a_cap_is_refused(bought: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_MAX_USD_PER_DAY", "0.01")
    with pytest.raises(ConfigurationError, match="cap"):
        raise run("retake", CLIP, "--yes").exception or AssertionError
    assert bought == []
