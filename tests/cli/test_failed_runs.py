"""`dailies status` names runs that failed before they bought."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from projects import a_project
from typer.testing import CliRunner

from pipelines.cli import failed_runs
from pipelines.cli.app import app
from pipelines.cli.declared import declarations_of
from pipelines.cli.failed_runs import barren_runs
from pipelines.clip_batch import BACKFILL_TAG, DECISION_TAG
from resources.ledger.decision_clips import fix_clips
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.settings import load_settings, open_ledger

URL = "http://127.0.0.1:3000"


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    a_project(tmp_path, monkeypatch, ["east", "west"])
    monkeypatch.delenv("DAILIES_LEDGER_URL", raising=False)
    monkeypatch.setattr(failed_runs, "running_stack", lambda _home: {"dagster_url": URL})
    with open_ledger(load_settings()) as opened:
        yield opened


def shown(
    ledger: Ledger,
    *,
    started_at: float = 1.0,
    tags: dict[str, str] | None = None,
    waits: bool = False,
    job: str = "submit_clips",
) -> list[str]:
    run = {
        "runId": "run-1",
        "rootRunId": None,
        "jobName": job,
        "startTime": started_at,
        "creationTime": started_at,
        "tags": [
            {"key": key, "value": value} for key, value in (tags or {DECISION_TAG: "produce:1"}).items()
        ],
    }
    event = {"__typename": "RunFailureEvent", "message": "no bucket", "error": {"message": "no bucket"}}
    answers: list[dict[str, Any]] = [
        {
            "failed": {"results": [] if waits else [run]},
            "waiting": {"results": [run] if waits else []},
        },
        {"runOrError": {"eventConnection": {"events": [event]}}},
    ]
    with respx.mock(assert_all_called=False) as mock:
        mock.post(f"{URL}/graphql").mock(
            side_effect=[httpx.Response(200, json={"data": one}) for one in answers]
        )
        return [str(one) for one in barren_runs(load_settings(), ledger)]


def bought(ledger: Ledger, decision: str) -> None:
    declarations = declarations_of(load_settings())
    decide(ledger, [declarations.render(declarations.find("bay-east"))], Decision(decision))


def test_a_run_that_failed_before_it_bought_is_named_with_its_clips_and_its_error(ledger: Ledger) -> None:
    fix_clips(ledger, "produce:1", ["bay-east"])
    (said,) = shown(ledger)
    for words in ("bay-east", "bought nothing", "no bucket", f"{URL}/runs/run-1"):
        assert words in said


def test_a_run_that_bought_is_shown_only_through_its_clips(ledger: Ledger) -> None:
    fix_clips(ledger, "produce:1", ["bay-east"])
    bought(ledger, "produce:1")
    assert shown(ledger, started_at=2e9) == []


def test_a_failed_run_whose_clips_were_bought_since_is_not_shown(ledger: Ledger) -> None:
    fix_clips(ledger, "produce:1", ["bay-east"])
    bought(ledger, "produce:2")
    assert shown(ledger, started_at=2e9) != []
    assert shown(ledger, started_at=1.0) == []


def test_a_failed_run_that_is_retried_is_not_shown(ledger: Ledger) -> None:
    fix_clips(ledger, "produce:1", ["bay-east"])
    assert shown(ledger, tags={DECISION_TAG: "produce:1", "dagster/will_retry": "true"}) == []


def test_a_requested_run_is_named_until_it_buys(ledger: Ledger) -> None:
    fix_clips(ledger, "produce:1", ["bay-east", "bay-west"])
    assert shown(ledger, waits=True) == [
        f"the run for bay-east, bay-west has bought nothing yet\n({URL}/runs/run-1)"
    ]
    bought(ledger, "produce:1")
    assert shown(ledger, waits=True) == []


def test_a_collecting_run_is_not_named(ledger: Ledger) -> None:
    fix_clips(ledger, "produce:1", ["bay-east"])
    assert shown(ledger, waits=True, job="collect_clips") == []
    # a person's Materialize may be about delivered clips
    assert shown(ledger, waits=True, tags={BACKFILL_TAG: "produce:1"}) == []


def test_status_names_a_requested_run(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = failed_runs.BarrenRun(f"{URL}/runs/run-1", ["bay-east"])
    monkeypatch.setattr(failed_runs, "barren_runs", lambda *_: [asked])
    told = CliRunner().invoke(app, ["status"])
    assert (told.exit_code, told.stdout) == (0, "")
    assert told.stderr.startswith("note: the run for bay-east has bought nothing yet")
    assert json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout) == []


@pytest.mark.parametrize(
    ("words", "hint"), [("byy", "; did you mean 'bay'?"), ("bay", ""), ("byy bay", ""), ("wholly-else", "")]
)
@pytest.mark.usefixtures("ledger")
def test_status_suggests_the_series_for_a_misspelt_name(
    words: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_runs, "barren_runs", lambda *_: [])
    told = CliRunner().invoke(app, ["status", *words.split()])
    assert (told.exit_code, told.stdout) == (0, f"{words} chooses no clip that was bought{hint}\n")


def test_the_tags_are_those_of_decisions() -> None:
    assert failed_runs.DECISION_TAGS == (DECISION_TAG, BACKFILL_TAG)
