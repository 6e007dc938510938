"""A client for Dagster's GraphQL, with the queries that its UI uses."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx

from pipelines.cli.stack_state import running_stack
from pipelines.cli.terminal import errors
from pipelines.location_reload import RELOAD, why_not_loaded
from resources.dagster_names import dagster_names, selector
from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.guard import REFUSED
from resources.network.transports import cause_of, client
from resources.network.way_out import Network
from resources.plain import shown
from resources.settings import Settings

_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on PipelineNotFoundError { message }
    ... on InvalidSubsetError { message }
    ... on UnauthorizedError { message }
  }
}
"""
_RUN = "query Run($id: ID!) { runOrError(runId: $id) { ... on Run { runId status } } }"
_CHAIN = """
query Chain($id: ID!, $text: String!) {
  runOrError(runId: $id) { ... on Run { runId status tags { key value } } }
  runsOrError(filter: { tags: [{ key: "dagster/root_run_id", value: $text }] }, limit: 1) {
    ... on Runs { results { runId status tags { key value } } }
  }
}
"""
_FAILURE = """
query Failure($id: ID!) {
  runOrError(runId: $id) {
    ... on Run {
      eventConnection(limit: 5000) {
        events {
          __typename
          ... on MessageEvent { message }
          ... on ExecutionStepFailureEvent { failureMetadata { description } error { message } }
          ... on RunFailureEvent { error { message } }
        }
      }
    }
  }
}
"""
_READY = """
query Ready {
  repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } } } }
  workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError { ... on PythonError { message } } } } }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
}
"""
_COLOURS = """
query Colours {
  assetNodes {
    assetKey { path }
    assetPartitionStatuses {
      ... on DefaultPartitionStatuses { materializedPartitions failedPartitions materializingPartitions }
    }
  }
}
"""

_LIVING = """
query Living($selector: RepositorySelector!) {
  sensorsOrError(repositorySelector: $selector) {
    __typename
    ... on Sensors { results { name sensorState { status } } }
  }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
}
"""

# only the process with the code can answer this query; Dagster answers the others from memory
_CODE = """
query Code($job: PipelineSelector!) {
  executionPlanOrError(pipeline: $job, mode: "default") { __typename ... on PythonError { message } }
}
"""
_LOCATIONS = """
query Locations { locationStatusesOrError { ... on WorkspaceLocationStatusEntries { entries { name } } } }
"""
_KEYS = """
query Keys($asset: AssetKeyInput!) { assetNodeOrError(assetKey: $asset) { __typename ... on AssetNode { partitionKeys } } }
"""
_ADD = (
    "a{number}: addDynamicPartition(repositorySelector: $ours, partitionsDefName: $of, partitionKey: $k{number}) "
    "{{ __typename ... on UnauthorizedError {{ message }} ... on PythonError {{ message }} }}"
)
_ADDED_AT_ONCE = 100
_PARTITIONED = {"clips": "prompts", "characters": "characters"}
"""An asset of each of our dynamic partitions."""

CODE_PATIENCE_SECONDS = 120.0
"""How long to wait for the code location before a run starts, since `dailies up` restarts its process within seconds."""
CODE_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Colours:
    """The clips of an asset by colour. A red clip that is being retried is both red and materializing."""

    green: frozenset[str]
    red: frozenset[str]
    materializing: frozenset[str]


@dataclass(frozen=True)
class RunState:
    """The state of one run."""

    run_id: str
    """The run's id."""
    status: str
    """Dagster's status; `UNKNOWN` for a deleted run."""
    will_retry: bool = False
    """Whether Dagster has announced a retry."""

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.status in {*FINISHED, "UNKNOWN"}


class _Answer(dict[str, Any]):
    """The fields of an answer. If a field is missing, another program than Dagster may listen at its port."""

    def __missing__(self, field: str) -> Any:
        raise UnavailableError(f"the server at Dagster's address is not Dagster: its answer has no {field}")


def _parsed(answer: httpx.Response) -> tuple[_Answer, list[str]]:
    """The data and the errors of a GraphQL answer.

    Raises:
        ValueError: The answer has neither.
    """
    body = answer.json()
    data, wrong = (body.get("data"), body.get("errors")) if isinstance(body, dict) else (None, None)
    if not wrong and not isinstance(data, dict):
        raise ValueError("not an answer of a GraphQL server")
    return _Answer(data or {}), [
        shown(str(e.get("message", e) if isinstance(e, dict) else e)) for e in wrong or ()
    ]


class _WebPageError(ValueError):
    """A web page came instead of data."""


def _own_words(
    answer: httpx.Response, *, buys: bool, is_direct: bool, has_login: bool
) -> tuple[_Answer, list[str]]:
    """The data and the errors of an answer of any status.

    Dagster answers a query that it does not understand with status 400, and names the error in the body.

    Args:
        buys: Whether an answer above 499 with errors may have created runs.
        is_direct: Whether no proxy of ours lies between, whose own refusals say nothing about Dagster.
        has_login: Whether a login was sent.

    Raises:
        httpx.HTTPStatusError: The status is an error and the body is not Dagster's.
        ValueError: The body is not Dagster's.
        ConfigurationError: A proxy before Dagster requires a login.
    """
    if is_direct and (answer.status_code in {401, 403} or answer.is_redirect):
        if has_login:
            raise ConfigurationError(
                f"a proxy before Dagster answers {answer.status_code}: it does not take the login that was sent. Nothing was bought. Correct "
                "DAILIES_DAGSTER_TOKEN or DAILIES_DAGSTER_HEADER."
            )
        raise ConfigurationError(
            f"a proxy before Dagster answers {answer.status_code}, which asks for a login. Nothing was bought. Set DAILIES_DAGSTER_TOKEN, or "
            "DAILIES_DAGSTER_HEADER for the header that your proxy takes."
        )
    if answer.is_error and not (buys and answer.is_server_error):
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            # a mutation reports its own failure as data, with the status 500
            return _parsed(answer)
    answer.raise_for_status()
    if answer.headers.get("content-type", "").startswith("text/html"):
        raise _WebPageError(
            "it is a web page, such as a proxy's login, which DAILIES_DAGSTER_TOKEN or DAILIES_DAGSTER_HEADER passes"
        )
    return _parsed(answer)


def _lacks_code(result: Mapping[str, Any]) -> bool:
    """Whether a run was not started because the code location was not loaded; then all jobs are unknown, too."""
    unreachable = "DagsterUserCodeUnreachableError" in str(result.get("message"))
    return result["__typename"] == "PipelineNotFoundError" or unreachable


class DagsterApi:
    """The webserver of the running Dagster.

    Args:
        url: Its address, e.g. `http://127.0.0.1:3000`.
        network: Proxies and certificates, if Dagster is not on this machine.
        headers: Headers of every request: the login at a proxy in front of it.

    Raises:
        ConfigurationError: The proxy to it cannot be used.
    """

    def __init__(
        self, url: str, network: Network | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url = url.rstrip("/")
        network = network or Network()
        self._proxy = network.proxy_to(self.url)
        self._client = client(network, self.url, timeout_seconds=30)
        self._has_login = bool(headers)
        self._client.headers.update(headers or {})

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The Dagster of the running `dailies up`, or else the one in the settings, with its login.

        Raises:
            ConfigurationError: The proxy to it cannot be used.
        """
        if state := running_stack(settings.home):
            return cls(str(state["dagster_url"]), settings.network)
        return cls(settings.dagster_url, settings.network, settings.dagster_headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def query(self, document: str, *, buys: bool = False, **variables: Any) -> dict[str, Any]:
        """Send one query.

        Args:
            document: The query in GraphQL.
            buys: Whether the query may create runs that buy, even if its answer is lost.
            variables: The variables of the query.

        Raises:
            ConfigurationError: The guard before Dagster refuses the request.
            UnavailableError: Dagster does not answer.
            DailiesError: It refuses the query.
        """
        try:
            answer = self._client.post(
                f"{self.url}/graphql", json={"query": document, "variables": variables}
            )
            if REFUSED in answer.headers:
                raise ConfigurationError(
                    f"Dagster at {self.url} refused the request and did nothing: {answer.text[:300].strip()}"
                )
            data, wrong = _own_words(
                answer, buys=buys, is_direct=self._proxy is None, has_login=self._has_login
            )
        except (httpx.HTTPError, ValueError, TypeError, RecursionError) as error:
            why, is_unsent = (
                (str(error), False) if isinstance(error, _WebPageError) else cause_of(error, self._proxy)
            )
            if buys and not is_unsent:
                raise UnavailableError(
                    f"Dagster's answer at {self.url} was lost ({why}). The run may have started: look at "
                    f"{self.url}/runs before you try again. A clip that was bought already is not bought again."
                ) from None
            # says nothing about earlier runs, whose purchases only the ledger knows
            bought = " Nothing was bought by asking: the request has not left." if buys else ""
            raise UnavailableError(
                f"Dagster does not answer at {self.url} ({why}).{bought} Start it with "
                "`dailies up`, or set DAILIES_DAGSTER_URL to where it is."
            ) from None
        if wrong:
            raise DailiesError(f"Dagster refused the query: {wrong[0]}")
        return data

    def is_ready(self) -> bool:
        """Whether the code location is loaded and the daemons have heartbeats.

        Raises:
            DailiesError: The code location could not be loaded.
        """
        try:
            data = self.query(_READY)
        except UnavailableError:
            return False
        entries = data["workspaceOrError"].get("locationEntries", [])
        for entry in entries:
            failure = (entry.get("locationOrLoadError") or {}).get("message")
            if failure and entry["name"] == dagster_names().location:
                raise DailiesError(
                    f"Dagster could not load the definitions: {failure.strip().splitlines()[-1]}"
                )
        nodes = data["repositoriesOrError"].get("nodes", [])
        daemons = data["instance"]["daemonHealth"]["allDaemonStatuses"]
        needed = [
            d
            for d in daemons
            if d["required"] and d["daemonType"] in {"SENSOR", "SCHEDULER", "QUEUED_RUN_COORDINATOR"}
        ]
        return any(n["location"]["name"] == dagster_names().location for n in nodes) and all(
            d["healthy"] for d in needed
        )

    def code_is_gone(self) -> bool:
        """Whether the code location is not loaded, as when its process has died; False if Dagster does not answer in time."""
        job = {**selector(), "pipelineName": "submit_clips"}
        try:
            answer = self.query(_CODE, job=job)["executionPlanOrError"]
        except DailiesError:
            return False
        # at first the location cannot be reached; when Dagster has noticed that, it knows none of its jobs
        return bool(answer["__typename"] != "ExecutionPlan")

    def not_alive(self) -> list[tuple[str, str]]:
        """Sensors that are off, daemons without a heartbeat, and a code location that is not loaded, each with an explanation.

        Raises:
            DailiesError: Dagster does not answer.
        """
        data = self.query(_LIVING, selector=selector())
        dead = [
            (sensor["name"], "its sensor is turned off")
            for sensor in data["sensorsOrError"].get("results", [])
            if sensor["sensorState"]["status"] != "RUNNING"
        ]
        dead += [
            (str(daemon["daemonType"]).lower(), "this part of Dagster's daemon has shown no heartbeat lately")
            for daemon in data["instance"]["daemonHealth"]["allDaemonStatuses"]
            if daemon["required"] and not daemon["healthy"]
        ]
        if data["sensorsOrError"]["__typename"] != "Sensors" or self.code_is_gone():
            gone = (
                "the process that holds the code has ended, so no sensor works; it comes back within seconds"
            )
            dead.append(("code", self.other_location() or gone))
        return dead

    def other_location(self) -> str | None:
        """The reason if no code location of Dagster has our name; None if one has, or if Dagster does not list them."""
        try:
            locations = self.query(_LOCATIONS).get("locationStatusesOrError", {}).get("entries", [])
        except DailiesError:
            return None
        names, ours = [str(entry["name"]) for entry in locations], dagster_names().location
        if not names or ours in names:
            return None
        return (
            f"Dagster at {self.url} has no code location {ours!r}; it has {', '.join(sorted(names))}. DAILIES_LOCATION says which one is "
            "dailies"
        )

    def load_code_anew(self) -> str | None:
        """Load the code location in a new process.

        Returns:
            Why it could not be loaded; None if it was.

        Raises:
            DailiesError: Dagster does not answer, or refuses.
        """
        return why_not_loaded(self.query(RELOAD, location=dagster_names().location))

    def launch(
        self,
        job: str,
        *,
        tags: Mapping[str, str],
        config: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a run of a job; returns its id. Waits, with a message, while the code location is not loaded.

        Raises:
            DailiesError: Dagster refuses the run.
        """
        params = {
            "selector": {**selector(), "pipelineName": job},
            "runConfigData": config or {},
            "mode": "default",
            "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in tags.items()]},
        }
        give_up = time.monotonic() + CODE_PATIENCE_SECONDS
        result = self.query(_LAUNCH, buys=True, params=params)["launchPipelineExecution"]
        if _lacks_code(result):
            if (other := self.other_location()) is not None:
                raise DailiesError(f"{other}. This request bought nothing.")
            errors.print(
                "… the process that holds the code has ended and comes back; waiting for it before anything is asked for",
                soft_wrap=True,
            )
        while _lacks_code(result) and time.monotonic() < give_up:
            time.sleep(CODE_LOOK_SECONDS)
            result = self.query(_LAUNCH, buys=True, params=params)["launchPipelineExecution"]
        if result["__typename"] != "LaunchRunSuccess":
            why = result.get("message") or "; ".join(e["message"] for e in result.get("errors", []))
            # an error inside Dagster may have happened after the run was created
            error = result["__typename"] == "PythonError"
            bought = (
                f"Look at {self.url}/runs before you try again." if error else "This request bought nothing."
            )
            raise DailiesError(f"Dagster did not start the run: {why or result['__typename']}. {bought}")
        return str(result["run"]["runId"])

    def run_status(self, run_id: str) -> str:
        """A run's status in Dagster, e.g. `STARTED`, `SUCCESS`, `FAILURE`."""
        return str(self.query(_RUN, id=run_id)["runOrError"].get("status", "UNKNOWN"))

    def newest_run(self, root: str) -> RunState:
        """The state of a run's newest re-execution (Dagster's retry or a person's), or of the run itself."""
        answer = self.query(_CHAIN, id=root, text=root)
        runs = [answer["runOrError"], *answer["runsOrError"].get("results", [])]
        run = runs[-1]
        tags = {tag["key"]: tag["value"] for tag in run.get("tags", [])}
        retried = "dagster/auto_retry_run_id" in tags
        return RunState(
            str(run.get("runId", root)),
            str(run.get("status", "UNKNOWN")),
            will_retry=tags.get("dagster/will_retry") == "true" and not retried,
        )

    def get_dynamic_partitions(self, partitions_def_name: str) -> list[str]:
        """All keys of our partitions in Dagster's order; see `pipelines.partitions.PartitionStore`.

        Raises:
            DailiesError: Dagster does not answer, or has not loaded our code location.
        """
        path = next(
            dagster_names().asset_path(asset)
            for of, asset in _PARTITIONED.items()
            if dagster_names().partitions_name(of) == partitions_def_name
        )
        node = self.query(_KEYS, asset={"path": path})["assetNodeOrError"]
        if node["__typename"] != "AssetNode":
            raise DailiesError(
                f"Dagster at {self.url} has no asset {'/'.join(path)}: the code location {dagster_names().location!r} is not loaded "
                "there, or its assets have another prefix (DAILIES_LOCATION, DAILIES_ASSET_PREFIX). Nothing was bought."
            )
        return list(node["partitionKeys"])

    def add_dynamic_partitions(self, partitions_def_name: str, partition_keys: Sequence[str]) -> None:
        """Add keys to our partitions, in this order.

        Raises:
            DailiesError: Dagster does not answer, or refuses. Some keys may have been added; a key alone buys nothing.
        """
        for start in range(0, len(partition_keys), _ADDED_AT_ONCE):
            some = partition_keys[start : start + _ADDED_AT_ONCE]
            variables: dict[str, Any] = {f"k{number}": key for number, key in enumerate(some)}
            # mutations of one document are carried out one after another (GraphQL, 6.2.2)
            adding = "\n".join(_ADD.format(number=number) for number in range(len(some)))
            declared = ", ".join(f"${name}: String!" for name in variables)
            document = f"mutation Add($ours: RepositorySelector!, $of: String!, {declared}) {{ {adding} }}"
            answer = self.query(document, ours=selector(), of=partitions_def_name, **variables)
            for result in answer.values():
                if result["__typename"] not in {
                    "AddDynamicPartitionSuccess",
                    "DuplicateDynamicPartitionError",
                }:
                    why = shown(str(result.get("message") or result["__typename"]))
                    raise DailiesError(
                        f"Dagster did not add the clips to its partitions: {why} Nothing was bought."
                    )

    def why_failed(self, run_id: str) -> str:
        """The error of a failed run: its step's text, or Dagster's."""
        run = self.query(_FAILURE, id=run_id)["runOrError"]
        reason = ""
        for event in (run.get("eventConnection") or {}).get("events", []):
            if event["__typename"] == "ExecutionStepFailureEvent":
                described = (event.get("failureMetadata") or {}).get("description")
                return shown(
                    str(described or (event.get("error") or {}).get("message") or event["message"]),
                    longest=LONGEST_REASON,
                )
            if event["__typename"] == "RunFailureEvent":
                reason = shown(
                    str((event.get("error") or {}).get("message") or event["message"]), longest=LONGEST_REASON
                )
        return reason or "it does not say why"

    def colours(self) -> dict[str, Colours]:
        """The colours of each asset, by its name, from the query of the UI."""
        shown: dict[str, Colours] = {}
        for node in self.query(_COLOURS)["assetNodes"]:
            statuses = node["assetPartitionStatuses"] or {}
            shown["/".join(node["assetKey"]["path"])] = Colours(
                frozenset(statuses.get("materializedPartitions", [])),
                frozenset(statuses.get("failedPartitions", [])),
                frozenset(statuses.get("materializingPartitions", [])),
            )
        return shown


LONGEST_REASON = 20_000
"""The longest error of a failed run, in characters; enough for a line for each of several clips."""
FINISHED = {"SUCCESS", "FAILURE", "CANCELED"}
