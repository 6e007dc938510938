"""Doctor names the dead parts of a running stack."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from pipelines.cli.vitals import vitals
from resources.ledger.ledger import Ledger
from resources.settings import Settings, open_ledger

URL = "http://127.0.0.1:3999"
THERE = {"executionPlanOrError": {"__typename": "ExecutionPlan"}}


GONE = {"executionPlanOrError": {"__typename": "PipelineNotFoundError"}}


def locations(name: str) -> dict[str, Any]:
    return {"locationStatusesOrError": {"entries": [{"name": name}]}}


def living(*, sensor: str = "RUNNING", healthy: bool = True) -> dict[str, Any]:
    return {
        "sensorsOrError": {
            "__typename": "Sensors",
            "results": [{"name": "wavespeed_completion", "sensorState": {"status": sensor}}],
        },
        "instance": {
            "daemonHealth": {
                "allDaemonStatuses": [{"daemonType": "SENSOR", "required": True, "healthy": healthy}]
            }
        },
    }


def told(tmp_path: Path, *answers: dict[str, Any] | Exception, pids: dict[str, int]) -> dict[str, str]:
    state = {"pid": os.getpid(), "dagster_url": URL, "processes": pids}
    (tmp_path / "stack.json").write_text(json.dumps(state))
    settings = Settings(DAILIES_HOME=tmp_path)
    effects = [a if isinstance(a, Exception) else httpx.Response(200, json={"data": a}) for a in answers]
    with respx.mock, open_ledger(settings) as ledger:
        respx.post(f"{URL}/graphql").mock(side_effect=effects)
        finding = vitals(settings, ledger, None)
    assert finding is not None
    return finding.notes


def test_a_stack_that_lives_is_fine(tmp_path: Path) -> None:
    assert told(tmp_path, living(), THERE, pids={"daemon": os.getpid()}) == {}


@pytest.mark.parametrize(
    ("answers", "name", "words"),
    [
        ((living(sensor="STOPPED"), THERE), "wavespeed_completion", "turned off"),
        ((living(healthy=False), THERE), "sensor", "no heartbeat"),
        ((living(), GONE, locations("dailies")), "code", "has ended"),
        ((living(), GONE, locations("films")), "code", "no code location 'dailies'; it has films"),
        ((httpx.ConnectError("refused"),), "webserver", "does not answer"),
    ],
)
def test_each_dead_part_of_a_stack_is_named(tmp_path: Path, answers: Any, name: str, words: str) -> None:
    notes = told(tmp_path, *answers, pids={})
    assert set(notes) == {name}
    assert words in notes[name]


def test_a_process_that_has_ended_is_named_with_its_log(tmp_path: Path) -> None:
    notes = told(tmp_path, living(), THERE, pids={"daemon": 2**22 + 1})
    assert "daemon.log" in notes["daemon"]


def test_without_a_stack_there_is_nothing_to_check(tmp_path: Path) -> None:
    settings = Settings(DAILIES_HOME=tmp_path)
    with open_ledger(settings) as ledger:
        assert isinstance(ledger, Ledger)
        assert vitals(settings, ledger, None) is None
