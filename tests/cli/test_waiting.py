"""However `produce --wait` ends, its sentences about money agree with the ledger."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import respx
import typer
from projects import a_project, an_order

from pipelines.cli import launch, main
from pipelines.cli.bought import bought_so_far
from pipelines.cli.dagster_api import DagsterApi, RunState
from pipelines.cli.launch import Launched, finish, wait_for, wait_for_runs
from resources.errors import UnavailableError
from resources.ledger.decisions import Decision, decide
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Submission
from resources.providers.base import Accepted, Unknown
from resources.settings import Settings, load_settings, open_ledger

URL = "http://127.0.0.1:3000"
KEYS = ["bay-east", "bay-north", "bay-west"]
DECISION = "produce:abc"
ACCEPTED = Accepted("job-1", "openai/sora-2/text-to-video", {})


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(launch, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(launch, "SILENCE_SECONDS", 0.02)
    monkeypatch.setattr(launch, "ANNOUNCED_SECONDS", 0.02)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    a_project(tmp_path, monkeypatch, ["east", "north", "west"])
    return load_settings()


def buy(settings: Settings, *answers: Any) -> None:
    """Queue three clips of the decision, and answer the first POSTs with these outcomes."""
    with open_ledger(settings) as ledger:
        decide(ledger, map(an_order, KEYS), Decision(DECISION))
        for answer in answers:
            claimed = claim_next(ledger, "wavespeed", PostTerms(Limits(), 30))
            assert isinstance(claimed, Submission)
            record_outcome(ledger, claimed, answer)


class Dagster:
    """A Dagster with scripted answers about its runs, one per query; the last one repeats for ever."""

    url = URL

    def __init__(self, *looks: RunState | Exception | Callable[[], object]) -> None:
        self._looks = list(looks)

    def newest_run(self, _root: str) -> RunState:
        look = self._looks.pop(0) if len(self._looks) > 1 else self._looks[0]
        if isinstance(look, Exception):
            raise look
        if isinstance(look, RunState):
            return look
        look()
        return RunState("run-1", "STARTED")

    def why_failed(self, run_id: str) -> str:
        return f"{run_id} fell over"


def as_api(dagster: Dagster) -> DagsterApi:
    return cast("DagsterApi", dagster)


GONE = UnavailableError(f"Dagster does not answer at {URL} (ConnectError).")
LAUNCHED = Launched(DECISION, KEYS, ["run-1"])


def test_a_dagster_that_stops_during_the_wait_ends_with_the_ledgers_facts(
    settings: Settings,
) -> None:
    buy(settings, ACCEPTED, Unknown("the answer was cut off"))
    api = as_api(Dagster(RunState("run-1", "STARTED"), GONE))
    with pytest.raises(UnavailableError) as ended:
        wait_for(api, settings, LAUNCHED, quiet=True)
    said = str(ended.value)
    assert "othing was bought" not in said
    for words in (
        "does not answer",
        "2 POSTs went out, which created 1 job, $1.20 counts as spent",
        "1 paid for and on their way, 1 queued to be sent, 1 not known to be bought or not",
        "dailies status",
    ):
        assert words in said, said


def test_a_decision_without_purchases_is_reported_from_the_ledger(settings: Settings) -> None:
    assert bought_so_far(settings, DECISION) == "Nothing was bought."
    buy(settings)
    assert "0 POSTs went out, which created 0 jobs, $1.20 counts as spent" in bought_so_far(
        settings, DECISION
    )
    assert bought_so_far(settings, "produce:other") == "Nothing was bought."


def test_the_message_without_a_readable_ledger_does_not_claim_that_nothing_was_bought(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    buy(settings, ACCEPTED)
    monkeypatch.setenv("DAILIES_LEDGER_URL", "sqlite:////proc/nowhere/ledger.db")
    said = bought_so_far(load_settings(), DECISION)
    assert "is not known, because the ledger cannot be read" in said
    assert "othing was bought" not in said


def test_a_dagster_that_is_away_for_a_moment_is_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a busy machine delays it for a moment
    monkeypatch.setattr(launch, "SILENCE_SECONDS", 60.0)
    api = as_api(Dagster(GONE, RunState("run-1", "STARTED"), GONE, RunState("run-1", "SUCCESS")))
    runs = wait_for_runs(api, settings, DECISION, ["run-1"], look=lambda: None)
    assert runs == [RunState("run-1", "SUCCESS")]


def test_a_run_that_dagster_starts_again_is_followed_to_the_end_of_the_last_one(settings: Settings) -> None:
    api = as_api(
        Dagster(
            RunState("run-1", "STARTED"),
            RunState("run-1", "FAILURE", will_retry=True),
            RunState("run-2", "QUEUED"),
            RunState("run-2", "FAILURE", will_retry=True),
            RunState("run-3", "SUCCESS"),
        )
    )
    runs = wait_for_runs(api, settings, DECISION, ["run-1"], look=lambda: None)
    assert runs == [RunState("run-3", "SUCCESS")]


def test_a_retry_that_is_announced_a_moment_after_the_failure_is_followed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dagster records the failure first, and its retry afterwards."""
    monkeypatch.setattr(launch, "ANNOUNCED_SECONDS", 60.0)
    api = as_api(
        Dagster(
            RunState("run-1", "STARTED"),
            RunState("run-1", "FAILURE"),
            RunState("run-1", "FAILURE", will_retry=True),
            RunState("run-2", "SUCCESS"),
        )
    )
    runs = wait_for_runs(api, settings, DECISION, ["run-1"], look=lambda: None)
    assert runs == [RunState("run-2", "SUCCESS")]


def test_a_retry_that_never_comes_is_not_waited_for_for_ever(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "RETRY_SECONDS", 0.02)
    api = as_api(Dagster(RunState("run-1", "FAILURE", will_retry=True)))
    assert wait_for_runs(api, settings, DECISION, ["run-1"], look=lambda: None)[0].status == "FAILURE"


def test_runs_that_end_while_clips_are_open_end_with_1_and_name_the_open_clips(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    buy(settings, ACCEPTED)
    with pytest.raises(typer.Exit) as ended:
        finish(settings, as_api(Dagster(RunState("run-2", "FAILURE"))), LAUNCHED, wait=True, as_json=False)
    assert ended.value.exit_code == 1
    said = capsys.readouterr().err
    assert f"run-2 fell over\n(run {URL}/runs/run-2)" in said
    assert "1 POST went out, which created 1 job" in said


@pytest.mark.parametrize("times", [1, 2, 3])
def test_ctrl_c_ends_with_a_message_however_often_it_is_pressed(
    settings: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    buy(settings, ACCEPTED)

    def press() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def read_slowly(*words: Any) -> str:
        for _ in range(times - 1):
            press()
        return bought_so_far(*words)

    monkeypatch.setattr("pipelines.cli.bought.bought_so_far", read_slowly)
    with pytest.raises(typer.Exit) as ended:
        wait_for(as_api(Dagster(RunState("run-1", "STARTED"), press)), settings, LAUNCHED, quiet=True)
    assert ended.value.exit_code == 130
    said = capsys.readouterr().err
    assert f"interrupted: this command stops waiting; the runs of {DECISION} in Dagster go on" in said
    assert "1 POST went out, which created 1 job, $1.20 counts as spent" in said


# queries to Dagster


def run_node(run_id: str, status: str, **tags: str) -> dict[str, Any]:
    return {
        "runId": run_id,
        "status": status,
        "tags": [{"key": f"dagster/{key}", "value": value} for key, value in tags.items()],
    }


@pytest.mark.parametrize(
    ("first", "later", "expected"),
    [
        (run_node("a", "STARTED"), [], RunState("a", "STARTED")),
        (run_node("a", "FAILURE", will_retry="true"), [], RunState("a", "FAILURE", will_retry=True)),
        (run_node("a", "FAILURE", will_retry="false"), [], RunState("a", "FAILURE")),
        (
            run_node("a", "FAILURE", will_retry="true", auto_retry_run_id="b"),
            [run_node("b", "STARTED")],
            RunState("b", "STARTED"),
        ),
        (run_node("a", "CANCELED"), [run_node("c", "SUCCESS")], RunState("c", "SUCCESS")),
        ({}, [], RunState("a", "UNKNOWN")),
    ],
)
def test_the_newest_run_is_the_retry_that_continues(
    first: dict[str, Any], later: list[dict[str, Any]], expected: RunState
) -> None:
    with respx.mock, DagsterApi(URL) as api:
        answer = {"data": {"runOrError": first, "runsOrError": {"results": later}}}
        route = respx.post(f"{URL}/graphql").mock(return_value=httpx.Response(200, json=answer))
        assert api.newest_run("a") == expected
        assert json.loads(route.calls.last.request.content)["variables"] == {"id": "a", "text": "a"}


def test_a_run_that_dagster_has_lost_is_over() -> None:
    assert RunState("a", "UNKNOWN").is_over


def test_ctrl_c_at_any_other_command_ends_with_a_message_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupted = typer.Typer()

    @interrupted.command()
    def command() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.cli.app.app", interrupted)
    monkeypatch.setattr("sys.argv", ["dailies"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert "interrupted; bought clips are collected" in capsys.readouterr().err
