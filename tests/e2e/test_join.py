"""The steps of docs/join-a-deployment.md: dailies in a foreign Dagster, beside assets of the same names.

Their webserver and daemon run; our part is a code server in a folder that `dailies init` made, and the command knows only Dagster's address.
"""

import contextlib
import json
import os
import re
import shlex
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import theirs
from commandkit import ROOT, CommandProcess, run_apart
from pydantic import SecretStr

from bench.machine import is_ours
from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.ports import free_port
from resources.processes import child_setup
from resources.sandbox import FaultRule, SandboxSettings, running_sandbox
from resources.storage.embedded import EmbeddedS3

pytestmark = pytest.mark.slow

SECONDS = 1200
KEY = "sandbox-key"
SMALL = {"name": "small", "then": {"do": "wrong_size", "width": 256, "height": 144}}
PAGE = (ROOT / "docs" / "join-a-deployment.md").read_text(encoding="utf-8")
THEIR_FOLDER, PORT = "/srv/films", "4266"
"""The names on the page."""
DAGSTER_YAML = """
telemetry: {enabled: false}
run_monitoring: {enabled: true}
"""


@dataclass
class Joined:
    """Both code locations in one Dagster."""

    api: DagsterApi
    ours: Path
    theirs: Path
    environment: dict[str, str]
    commands: CommandProcess

    def dailies(self, *arguments: str) -> Any:
        """The JSON of a command that runs in our folder, not in this process: a process reads our names in Dagster once."""
        done = self.commands.run(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    top = tmp_path_factory.mktemp("joined")
    environment = {name: value for name, value in os.environ.items() if not is_ours(name)}
    ours, existing, home = top / "ours", top / "theirs", top / "dagster"
    (init,) = re.findall(rf"^    {THEIR_FOLDER}/\.venv/bin/dailies (init .*)", PAGE, re.MULTILINE)
    laid_out = run_apart(
        *shlex.split(init.replace(THEIR_FOLDER, "ours")), environment=environment, folder=top
    )
    assert laid_out.returncode == 0, laid_out.stderr
    home.mkdir()
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    web, code = free_port(), free_port()
    workspace = theirs.write(existing, workspace=block_with("python_module:").replace(PORT, str(code)))
    with (
        EmbeddedS3(top / "s3") as s3,
        running_sandbox(SandboxSettings(job_seconds=0, key=SecretStr(KEY))) as sandbox,
    ):
        # the series' endpoint promises a shape and no size
        sandbox.app.state.workshop.faults.rules.append(FaultRule.model_validate(SMALL))
        secret = s3.settings.secret_access_key
        assert secret is not None
        with (ours / ".env").open("a") as settings:
            settings.write(
                f"WAVESPEED_API_KEY={KEY}\nDAILIES_WAVESPEED_URL={sandbox.url}\nDAILIES_ALLOWED_ORIGINS={sandbox.url}\n"
                f"DAILIES_S3_BUCKET={s3.bucket}\nDAILIES_S3_ENDPOINT={s3.endpoint_url}\nAWS_ACCESS_KEY_ID={s3.access_key_id}\n"
                f"AWS_SECRET_ACCESS_KEY={secret.get_secret_value()}\nDAILIES_LINGER_SECONDS=1\n"
                f"DAILIES_DAGSTER_URL=http://127.0.0.1:{web}\n"
            )
        theirs_environment = environment | {"DAGSTER_HOME": str(home)}
        python = [sys.executable, "-m"]
        # an existing Dagster has its tables; of two processes that create them at once, one fails
        with dg.DagsterInstance.from_config(str(home)) as instance:
            instance.upgrade()
        (serve,) = re.findall(
            rf"^    cd {THEIR_FOLDER} && \.venv/bin/(dagster code-server .*)", PAGE, re.MULTILINE
        )
        commands = [
            ([*python, *shlex.split(serve.replace(PORT, str(code)))], ours),
            ([*python, "dagster_webserver", "-w", str(workspace), "-p", str(web)], existing),
            ([*python, "dagster._daemon", "run", "-w", str(workspace)], existing),
        ]
        processes = []
        try:
            for number, (command, folder) in enumerate(commands):
                log = (top / f"process-{number}.log").open("w")
                processes.append(
                    subprocess.Popen(
                        command,
                        cwd=folder,
                        env=theirs_environment,
                        stdout=log,
                        stderr=log,
                        preexec_fn=child_setup(),  # noqa: PLW1509
                    )
                )
            with DagsterApi(f"http://127.0.0.1:{web}") as api, CommandProcess(environment, ours) as separate:
                made = Joined(api, ours, existing, environment, separate)
                until(lambda: {"films", "theirs"} <= loaded(api), "both locations", top)
                yield made
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait(60)


def block_with(words: str) -> str:
    """The page's indented block with this text."""
    (block,) = (one for one in re.findall(r"(?:^(?: {4}.*)?\n)+", PAGE, re.MULTILINE) if words in one)
    return textwrap.dedent(block).strip() + "\n"


def loaded(api: DagsterApi) -> set[str]:
    try:
        data = api.query(
            "query Loaded { repositoriesOrError { ... on RepositoryConnection { nodes { location { name } } } } }"
        )
    except Exception:  # noqa: BLE001 - it has not started yet
        return set()
    return {node["location"]["name"] for node in data["repositoriesOrError"].get("nodes", [])}


def until(true: Any, what: str, logs: Path | None = None) -> None:
    give_up = time.monotonic() + SECONDS
    while not true():
        if time.monotonic() > give_up:
            said = "".join(log.read_text()[-2000:] for log in logs.glob("*.log")) if logs else ""
            pytest.fail(f"{what} did not come: {said}")
        time.sleep(0.5)


def test_clips_are_produced_beside_assets_of_the_same_names(joined: Joined) -> None:
    done = joined.dailies("produce", "morning-light", "--wait", "--yes")
    assert {clip["state"] for clip in done["results"]} == {"delivered"}
    colours = joined.api.colours()
    assert colours["video/uploaded_videos"].green == set(done["clips"])
    assert colours["video/prompts"].green == set(done["clips"])
    assert not colours["prompts"].green
    nodes = joined.api.query(
        "query Nodes { assetNodes { assetKey { path } repository { location { name } } } }"
    )["assetNodes"]
    where = {"/".join(n["assetKey"]["path"]): n["repository"]["location"]["name"] for n in nodes}
    assert where["prompts"] == where["cuts"] == "theirs"
    assert {name for name, location in where.items() if location == "films" and "video/" not in name} == set()


def test_their_component_is_declared_as_on_the_page(joined: Joined) -> None:
    assert (joined.theirs / "their_films/defs/cuts/defs.yaml").read_text() == block_with("type: their_films")


def test_their_component_makes_an_asset_from_our_clip(joined: Joined) -> None:
    (clip, *_) = joined.dailies("status")
    node = joined.api.query(
        'query Cuts { assetNodeOrError(assetKey: {path: ["cuts"]}) { ... on AssetNode { dependencyKeys { path } partitionKeys } } }'
    )["assetNodeOrError"]
    assert node["dependencyKeys"] == [{"path": ["video", "uploaded_videos"]}]
    assert clip["clip"] in node["partitionKeys"]
    params = {
        "selector": {
            "repositoryLocationName": "theirs",
            "repositoryName": "__repository__",
            "pipelineName": "__ASSET_JOB",
            "assetSelection": [{"path": ["cuts"]}],
        },
        "mode": "default",
        "executionMetadata": {"tags": [{"key": "dagster/partition", "value": clip["clip"]}]},
    }
    launched = joined.api.query(
        "mutation Cut($params: ExecutionParams!) { launchPipelineExecution(executionParams: $params) "
        "{ __typename ... on LaunchRunSuccess { run { runId } } } }",
        params=params,
    )["launchPipelineExecution"]
    run = launched["run"]["runId"]
    until(lambda: joined.api.newest_run(run).is_over, "the cut")
    assert joined.api.run_status(run) == "SUCCESS", joined.api.why_failed(run)


def test_the_sensors_in_their_daemon_collect_what_a_command_left(joined: Joined) -> None:
    left = joined.dailies("produce", "morning-light", "--regenerate", "--yes")

    def rows() -> set[tuple[str, str]]:
        # running a command each half second would take one of two cores
        with contextlib.closing(sqlite3.connect(joined.ours / ".dailies" / "ledger.db")) as ledger:
            query = "SELECT subject_key, state FROM attempts WHERE decision = ?"
            return set(ledger.execute(query, (left["decision"],)))

    delivered = {(clip, "delivered") for clip in left["clips"]}
    until(lambda: rows() == delivered, "what was left")
    shown = [clip for clip in joined.dailies("status") if clip["decision"] == left["decision"]]
    assert {(clip["clip"], clip["state"]) for clip in shown} == delivered


def test_commands_find_our_location_by_its_name(joined: Joined) -> None:
    assert [row["state"] for row in joined.dailies("schedules")] == ["off"]


def test_a_foreign_package_in_place_of_ours_is_refused_with_a_sentence(joined: Joined) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import pipelines.definitions"],
        check=False,
        env=joined.environment | {"PYTHONPATH": str(joined.theirs)},
        cwd=joined.theirs,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    said = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    for words in (str(joined.theirs / "resources"), "its own environment", "Nothing was bought"):
        assert words in said
