"""Parts of a stack that `dailies up` restarts when they die alone."""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest
import respx

from pipelines.cli import stack as stack_module
from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.stack import Stack, StackOptions
from resources.errors import DailiesError
from resources.settings import Settings
from resources.storage.embedded import EmbeddedS3

GRAPHQL = "http://127.0.0.1:3999/graphql"
UNREACHABLE = {
    "executionPlanOrError": {"__typename": "PythonError", "message": "DagsterUserCodeUnreachableError"}
}
FORGOTTEN = {"executionPlanOrError": {"__typename": "PipelineNotFoundError"}}
THERE = {"executionPlanOrError": {"__typename": "ExecutionPlan"}}


class Webserver:
    """Answers as Dagster does, and counts the reloads."""

    def __init__(
        self, *answers: Mapping[str, object] | Exception, reload: str = "ImportError:\nno such file\n"
    ) -> None:
        self.answers = list(answers)
        self.reload = reload
        self.reloads = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if "reloadRepositoryLocation" in json.loads(request.content)["query"]:
            self.reloads += 1
            failure = {"locationOrLoadError": {"message": self.reload}}
            return httpx.Response(200, json={"data": {"reloadRepositoryLocation": failure}})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(200, json={"data": answer})


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    monkeypatch.setattr(stack_module, "TEND_SECONDS", 0.0)
    monkeypatch.setattr(stack_module, "CODE_SECONDS", 0.0)
    return Stack(Settings(DAILIES_HOME=tmp_path), StackOptions(port=3999))


def tended(stack: Stack, webserver: Webserver, times: int) -> int:
    with respx.mock() as network:
        network.post(GRAPHQL).mock(side_effect=webserver)
        for _ in range(times):
            stack.tend()
    return webserver.reloads


def test_code_whose_process_has_died_is_loaded_by_a_new_process(stack: Stack) -> None:
    assert tended(stack, Webserver(THERE, UNREACHABLE, FORGOTTEN, THERE), 4) == 1


def test_the_reason_why_the_code_cannot_be_loaded_is_printed(stack: Stack) -> None:
    told: list[str] = []
    stack.options.log = told.append
    webserver = Webserver(*[FORGOTTEN] * 4)
    assert tended(stack, webserver, 4) == 2
    assert [text for text in told if "could not" in text] == [
        "Dagster could not load the definitions: no such file"
    ] * 2


def test_ending_an_already_dead_process_is_not_reported(stack: Stack) -> None:
    told: list[str] = []
    stack.options.log = told.append
    assert (
        tended(stack, Webserver(FORGOTTEN, FORGOTTEN, reload="x.DagsterUserCodeUnreachableError: no"), 2) == 1
    )
    assert told == ["the process that holds the code has ended; starting it again"]


def test_code_that_is_being_reloaded_is_not_restarted(stack: Stack) -> None:
    assert tended(stack, Webserver(UNREACHABLE, THERE, FORGOTTEN, THERE), 4) == 0


def test_a_slow_webserver_proves_nothing_about_the_code(stack: Stack) -> None:
    assert tended(stack, Webserver(*[httpx.ReadTimeout("busy")] * 3), 3) == 0


@pytest.mark.slow
def test_an_embedded_s3_that_was_killed_is_back_at_the_same_address(stack: Stack, tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path / "s3") as s3:
        stack._s3 = s3
        before, pid = s3.endpoint_url, s3.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        give_up = time.monotonic() + 60
        while s3.pid is not None and time.monotonic() < give_up:
            time.sleep(0.02)
        assert tended(stack, Webserver(THERE), 1) == 0
        assert s3.pid not in {None, pid}
        assert s3.endpoint_url == before
        assert httpx.get(before, trust_env=False).is_client_error


@pytest.mark.parametrize(
    "body",
    [
        "[]",
        "null",
        "7",
        '"hello"',
        "{}",
        '{"data": null}',
        '{"data": {}}',
        '{"errors": ["no"]}',
        "[" * 100_000,
        "<html>",
    ],
)
def test_another_program_at_dagsters_port_ends_nothing(stack: Stack, body: str) -> None:
    """Dagster's webserver has died, and the program that took its port answers with other JSON than Dagster's."""
    with respx.mock() as network:
        network.post(GRAPHQL).mock(return_value=httpx.Response(200, text=body))
        for _ in range(3):
            stack.tend()
        with DagsterApi(stack.dagster_url) as api, pytest.raises(DailiesError):
            api.run_status("x")


def test_an_edited_schedule_is_loaded_once_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_module, "TEND_SECONDS", 0.0)
    monkeypatch.setattr(stack_module, "CODE_SECONDS", 0.0)
    (tmp_path / "series").mkdir()
    stack = Stack(Settings(DAILIES_HOME=tmp_path, DAILIES_DATA=tmp_path), StackOptions(port=3999))
    told: list[str] = []
    stack.options.log = told.append
    (tmp_path / "series" / "bay.yaml").write_text("name: bay\nschedule: {cron: 0 6 * * *}\n")
    assert tended(stack, Webserver(*[THERE] * 3), 3) == 1
    assert told[0] == "schedules and accounts have changed (bay); loading them"
