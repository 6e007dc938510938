"""Requests of runs to Dagster: the error when an answer is lost, or when Dagster accepts only some runs."""

import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import respx
from projects import a_project

from pipelines.cli import dagster_api
from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.declared import declarations_of
from pipelines.cli.launch import Launch, approve_as_declared, launch
from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.guard import REFUSED
from resources.ledger.decision_clips import fixed_clips
from resources.ledger.decisions import Decision, Ruling, decide
from resources.settings import Settings, load_settings, open_ledger

URL = "http://127.0.0.1:3000"


@pytest.mark.parametrize(
    "lost",
    [
        httpx.Response(500),
        httpx.Response(200, text="<html>"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("cut"),
    ],
)
def test_the_error_of_a_lost_answer_to_a_launch_does_not_claim_that_nothing_was_bought(lost: Any) -> None:
    with respx.mock, DagsterApi(URL) as api:
        respx.post(f"{URL}/graphql").mock(**_as_mock(lost))
        with pytest.raises(UnavailableError) as caught:
            api.launch("submit_clips", tags={})
    assert "Nothing was bought" not in str(caught.value)
    assert f"look at {URL}/runs before you try again" in str(caught.value)


def test_a_launch_that_was_not_sent_has_bought_nothing() -> None:
    with respx.mock, DagsterApi(URL) as api:
        respx.post(f"{URL}/graphql").mock(side_effect=httpx.ConnectError("refused"))
        with pytest.raises(
            UnavailableError, match=r"does not answer .* \(ConnectError\)\. Nothing was bought"
        ):
            api.launch("submit_clips", tags={})


def test_a_failed_query_makes_no_claim_about_money() -> None:
    """The request may be about a run that has bought much: only the ledger knows."""
    with respx.mock, DagsterApi(URL) as api:
        respx.post(f"{URL}/graphql").mock(return_value=httpx.Response(503))
        with pytest.raises(UnavailableError, match=r"\(HTTP 503\)") as caught:
            api.run_status("run-1")
    assert "othing was bought" not in str(caught.value)


def test_a_request_that_the_guard_refuses_has_done_nothing() -> None:
    refusal = httpx.Response(
        403, headers={REFUSED: "1"}, text="another user of this machine sent the request"
    )
    with respx.mock, DagsterApi(URL) as api:
        respx.post(f"{URL}/graphql").mock(return_value=refusal)
        with pytest.raises(ConfigurationError, match="did nothing: another user of this machine"):
            api.launch("submit_clips", tags={})


def launched(outcome: Mapping[str, object]) -> httpx.Response:
    return httpx.Response(200, json={"data": {"launchPipelineExecution": outcome}})


def test_a_launch_waits_for_a_restarted_code_server_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dagster_api, "CODE_LOOK_SECONDS", 0.0)
    gone = {
        "__typename": "PipelineNotFoundError",
        "message": "Could not find Pipeline dailies.__repository__",
    }
    unreachable = {"__typename": "PythonError", "message": "DagsterUserCodeUnreachableError: no"}
    there = {"__typename": "LaunchRunSuccess", "run": {"runId": "run-1"}}
    with respx.mock, DagsterApi(URL) as api:
        asked = respx.post(f"{URL}/graphql").mock(
            side_effect=[launched(each) for each in (unreachable, gone, there)]
        )
        assert api.launch("submit_clips", tags={}) == "run-1"
    assert asked.call_count == 3
    said = capsys.readouterr()
    assert said.err.count("waiting for it") == 1
    assert not said.out


def test_a_launch_does_not_wait_for_ever_for_the_code_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dagster_api, "CODE_PATIENCE_SECONDS", 0.0)
    gone = {"__typename": "PipelineNotFoundError", "message": "Could not find Pipeline"}
    with respx.mock, DagsterApi(URL) as api:
        respx.post(f"{URL}/graphql").mock(return_value=launched(gone))
        with pytest.raises(DailiesError, match="This request bought nothing"):
            api.launch("submit_clips", tags={})


def _as_mock(lost: httpx.Response | Exception) -> dict[str, Any]:
    return {"return_value": lost} if isinstance(lost, httpx.Response) else {"side_effect": lost}


class TakesOne:
    """A Dagster that accepts one run and refuses the others."""

    def __init__(self) -> None:
        self.asked = 0

    def launch(self, *_: object, **__: object) -> str:
        self.asked += 1
        if self.asked > 1:
            raise UnavailableError("it fell over")
        return "run-1"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with a series of three clips and a separate Dagster home."""
    a_project(tmp_path, monkeypatch, ["east", "north", "west"])
    home = tmp_path / "dagster"
    home.mkdir()
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(home))
    return load_settings()


@pytest.mark.slow
def test_when_only_some_runs_were_started_they_are_named_and_the_rest_can_be_requested_again(
    settings: Settings,
) -> None:
    api = TakesOne()
    every = ["bay-east", "bay-north", "bay-west"]
    launched = launch(
        settings,
        cast("DagsterApi", api),
        approve_as_declared(settings, every),
        Launch("test", "submit_clips"),
    )
    with open_ledger(settings) as ledger:
        assert fixed_clips(ledger, launched.decision) == set(every), (
            "the clips are fixed before the run waits in the queue"
        )
    api.asked = 0
    with pytest.raises(UnavailableError) as caught:
        launch(
            settings,
            cast("DagsterApi", api),
            approve_as_declared(settings, ["bay-east", "bay-west"]),
            Launch("test", "submit_clips"),
        )
    assert "only 1 of 2 runs were started (run-1)" in str(caught.value)
    assert "it fell over" in str(caught.value)
    assert "Run the command again for the rest" in str(caught.value)


@pytest.mark.slow
def test_the_approval_is_recorded_before_the_run_exists(settings: Settings) -> None:
    keys = ["bay-east", "bay-west"]
    approved = approve_as_declared(settings, keys)
    launched = launch(settings, cast("DagsterApi", TakesOne()), approved[:1], Launch("test", "submit_clips"))
    file = settings.data / "series" / "bay.yaml"
    edited = file.read_text().replace("A quiet view", "A stormy view")
    declared = declarations_of(settings)
    with open_ledger(settings) as ledger:
        file.write_text(edited)
        rendered = declarations_of(settings)
        requests = [found.render(found.find("bay-east")) for found in (rendered, declared)]
        rulings = [decide(ledger, [request], Decision(launched.decision))[0].ruling for request in requests]
    assert rulings == [Ruling.REFUSED, Ruling.NEW]


@pytest.mark.slow
def test_when_no_run_was_started_the_error_is_dagsters(settings: Settings) -> None:
    api = TakesOne()
    api.asked = 1
    with pytest.raises(DailiesError, match=r"^it fell over$"):
        launch(
            settings,
            cast("DagsterApi", api),
            approve_as_declared(settings, ["bay-east"]),
            Launch("test", "submit_clips"),
        )


@pytest.mark.parametrize(
    ("edit", "refused"),
    [
        ("parameters: {duration: 12}\n", True),
        ("max_attempts: 3\n", True),
        ("# a remark\n", False),
        ("tags: {for: spring}\n", False),
    ],
)
def test_clips_edited_since_the_plan_are_not_requested(settings: Settings, edit: str, refused: bool) -> None:
    seen, api, outcome = approve_as_declared(settings, ["bay-east"]), TakesOne(), "run-1"
    file = settings.data / "series" / "bay.yaml"
    file.write_text(file.read_text() + edit)
    try:
        launch(settings, cast("DagsterApi", api), seen, Launch("test", "submit_clips"))
    except ConfigurationError as error:
        outcome = str(error)
    assert outcome.startswith("the data folder was edited after the plan was made") is refused
    assert ("bay-east: its " in outcome) is refused
    assert api.asked == (0 if refused else 1)


def test_an_error_of_dagster_is_shown_with_its_own_text() -> None:
    said = httpx.Response(400, json={"errors": [{"message": "Cannot query field 'runz'"}]})
    with respx.mock, DagsterApi(URL) as api:
        respx.post(f"{URL}/graphql").mock(return_value=said)
        with pytest.raises(DailiesError, match="Cannot query field 'runz'"):
            api.run_status("run-1")


@pytest.mark.parametrize("status", [302, 401, 403])
def test_a_proxy_that_requires_a_login_is_recognised(status: int) -> None:
    with respx.mock, DagsterApi(URL) as api:
        respx.post(f"{URL}/graphql").mock(return_value=httpx.Response(status, headers={"location": "/login"}))
        with pytest.raises(
            ConfigurationError, match=r"login\. Nothing was bought. Set DAILIES_DAGSTER_TOKEN"
        ):
            api.launch("submit_clips", tags={})


@pytest.mark.parametrize("status", [302, 401, 403])
def test_a_refused_login_differs_from_a_missing_one(status: int) -> None:
    with respx.mock, DagsterApi(URL, headers={"Authorization": "Bearer canary"}) as api:
        respx.post(f"{URL}/graphql").mock(return_value=httpx.Response(status, headers={"location": "/login"}))
        with pytest.raises(
            ConfigurationError,
            match=rf"{status}: it does not take the login that was sent\. Nothing was bought\.",
        ) as caught:
            api.launch("submit_clips", tags={})
    assert "canary" not in str(caught.value)


def test_a_login_page_is_named_instead_of_the_error_of_reading_it() -> None:
    """Some proxies send the page at once, with 200; the launch may have passed nevertheless, so the error makes no claim about money."""
    page = httpx.Response(200, html="<html><title>Please sign in</title></html>")
    with respx.mock, DagsterApi(URL) as api:
        respx.post(f"{URL}/graphql").mock(return_value=page)
        with pytest.raises(UnavailableError, match="it is a web page, such as a proxy's login") as caught:
            api.launch("submit_clips", tags={})
        assert "othing was bought" not in str(caught.value)
        with pytest.raises(UnavailableError, match="DAILIES_DAGSTER_HEADER"):
            api.run_status("run-1")


def test_a_certificate_that_is_not_trusted_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> httpx.Response:
        raise httpx.ConnectError("handshake") from ssl.SSLCertVerificationError("self-signed certificate")

    # respx would replace the cause of the error
    monkeypatch.setattr(httpx.Client, "post", refused)
    with (
        DagsterApi(URL) as api,
        pytest.raises(UnavailableError, match=r"not trusted; SSL_CERT_FILE .* Nothing was bought"),
    ):
        api.launch("submit_clips", tags={})


def test_a_remote_dagster_gets_the_login_and_new_partitions_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_project(tmp_path, monkeypatch, ["one", "two"])
    monkeypatch.setenv("DAILIES_DAGSTER_URL", "https://dagster.example.com")
    monkeypatch.setenv("DAILIES_DAGSTER_TOKEN", "canary-token")
    monkeypatch.setenv("DAILIES_DAGSTER_HEADER", "X-Api-Key: canary-header")
    settings = load_settings()
    assert "canary" not in repr(settings)
    there = ["old-clip"]

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer canary-token"
        assert request.headers["x-api-key"] == "canary-header"
        asked = json.loads(request.content)
        given = asked["variables"]
        if "addDynamicPartition" in asked["query"]:
            assert (given["of"], given["ours"]["repositoryLocationName"]) == ("clips", "dailies")
            added = [value for name, value in given.items() if name.startswith("k")]
            there.extend(added)
            return httpx.Response(
                200,
                json={
                    "data": {f"a{n}": {"__typename": "AddDynamicPartitionSuccess"} for n in range(len(added))}
                },
            )
        if "partitionKeys" in asked["query"]:
            return httpx.Response(
                200, json={"data": {"assetNodeOrError": {"__typename": "AssetNode", "partitionKeys": there}}}
            )
        tags = {tag["key"]: tag["value"] for tag in given["params"]["executionMetadata"]["tags"]}
        assert (tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]) == (
            "bay-two",
            "bay-one",
        )
        return launched({"__typename": "LaunchRunSuccess", "run": {"runId": "run-1"}})

    with respx.mock, DagsterApi.of(settings) as api:
        respx.post("https://dagster.example.com/graphql").mock(side_effect=answer)
        keys = ["bay-two", "bay-one"]
        done = launch(settings, api, approve_as_declared(settings, keys), Launch("produce", "submit_clips"))
    assert done.runs == ["run-1"]
    assert there == ["old-clip", "bay-two", "bay-one"]


def test_a_login_is_not_sent_unencrypted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    a_project(tmp_path, monkeypatch, ["one"])
    monkeypatch.setenv("DAILIES_DAGSTER_URL", "http://dagster.example.com")
    monkeypatch.setenv("DAILIES_DAGSTER_TOKEN", "canary-token")
    with pytest.raises(ConfigurationError, match="must begin with https://") as caught:
        load_settings()
    assert "canary" not in str(caught.value)


def test_a_location_that_is_not_loaded_there_is_named() -> None:
    with respx.mock, DagsterApi(URL) as api:
        answer = {"data": {"assetNodeOrError": {"__typename": "AssetNotFoundError"}}}
        respx.post(f"{URL}/graphql").mock(return_value=httpx.Response(200, json=answer))
        with pytest.raises(DailiesError, match="the code location 'dailies' is not loaded there"):
            api.get_dynamic_partitions("clips")


def test_a_run_does_not_wait_for_a_location_that_dagster_does_not_have() -> None:
    gone = {"__typename": "PipelineNotFoundError", "message": "Could not find Pipeline"}
    others = {"data": {"locationStatusesOrError": {"entries": [{"name": "films"}, {"name": "theirs"}]}}}
    with respx.mock, DagsterApi(URL) as api:
        asked = respx.post(f"{URL}/graphql").mock(
            side_effect=[launched(gone), httpx.Response(200, json=others)]
        )
        with pytest.raises(
            DailiesError,
            match=r"no code location 'dailies'; it has films, theirs\. DAILIES_LOCATION .* This request bought nothing",
        ):
            api.launch("submit_clips", tags={})
    assert asked.call_count == 2


def test_a_folder_without_declarations_is_not_taken_for_one_that_declares_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_project(tmp_path, monkeypatch, ["one"])
    monkeypatch.setenv("DAILIES_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(ConfigurationError, match=r"there is no data folder .*elsewhere.* Nothing was done"):
        declarations_of(load_settings())
