"""The steps of docs/join-a-deployment.md: dailies in a foreign Dagster, beside assets of the same names.

Their webserver and daemon are Dagster's own, in threads of this process. Our part is a code server in a folder that `dailies init` made,
and the command knows only Dagster's address.
"""

import contextlib
import json
import os
import re
import runpy
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
from commandkit import ROOT, CommandProcess, run_here
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._daemon.controller import DagsterDaemonController, create_daemons_from_instance
from dagster_webserver.app import create_app_from_workspace_process_context
from pydantic import SecretStr

from bench.machine import is_ours
from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.ports import answers, free_port
from resources.processes import child_setup
from resources.sandbox import FaultRule, SandboxSettings, running_sandbox
from resources.server_thread import ServerThread
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
code_servers: {wait_for_local_processes_on_shutdown: true}
"""


@dataclass
class Joined:
    """Both code locations in one Dagster."""

    api: DagsterApi
    instance: dg.DagsterInstance
    ours: Path
    theirs: Path
    commands: CommandProcess

    def dailies(self, *arguments: str) -> Any:
        """The JSON of a command that runs in our folder, not in this process: a process reads our names in Dagster once."""
        done = self.commands.run(*arguments, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


@contextlib.contextmanager
def dagster_of(home: Path, workspace: Path, port: int) -> Iterator[dg.DagsterInstance]:
    """Their Dagster. As processes, its webserver and daemon would import Dagster once more each, and start a server each for their code."""
    server = ServerThread(port)
    with (
        dg.DagsterInstance.from_config(str(home)) as instance,
        WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as context,
        contextlib.ExitStack() as held,
    ):
        server.start(create_app_from_workspace_process_context(context))
        held.callback(server.stop)
        daemons = [held.enter_context(daemon) for daemon in create_daemons_from_instance(instance)]
        held.enter_context(DagsterDaemonController(context, daemons))
        yield instance


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    top = tmp_path_factory.mktemp("joined")
    ours, existing, home = top / "ours", top / "theirs", top / "dagster"
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as held:
        for name in filter(is_ours, list(os.environ)):
            patch.delenv(name)
        patch.chdir(top)
        (init,) = re.findall(rf"^    {THEIR_FOLDER}/\.venv/bin/dailies (init .*)", PAGE, re.MULTILINE)
        laid_out = run_here(*shlex.split(init.replace(THEIR_FOLDER, "ours")))
        assert laid_out.returncode == 0, laid_out.stderr
        home.mkdir()
        (home / "dagster.yaml").write_text(DAGSTER_YAML)
        web, code = free_port(), free_port()
        workspace = theirs.write(existing, workspace=block_with("python_module:").replace(PORT, str(code)))
        s3 = held.enter_context(EmbeddedS3(top / "s3"))
        sandbox = held.enter_context(running_sandbox(SandboxSettings(job_seconds=0, key=SecretStr(KEY))))
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
        separate = held.enter_context(CommandProcess(dict(os.environ), ours))
        # an existing Dagster has its tables; of two processes that create them at once, one fails
        with dg.DagsterInstance.from_config(str(home)) as instance:
            instance.upgrade()
        (serve,) = re.findall(
            rf"^    cd {THEIR_FOLDER} && \.venv/bin/(dagster code-server .*)", PAGE, re.MULTILINE
        )
        log = held.enter_context((top / "code-server.log").open("w"))
        server = subprocess.Popen(
            [sys.executable, "-m", *shlex.split(serve.replace(PORT, str(code)))],
            cwd=ours,
            env=os.environ | {"DAGSTER_HOME": str(home)},
            stdout=log,
            stderr=log,
            preexec_fn=child_setup(),  # noqa: PLW1509
        )
        held.callback(server.wait, 60)
        held.callback(server.terminate)
        until(lambda: answers(("127.0.0.1", code)), "the code server", top)
        patch.chdir(existing)
        instance = held.enter_context(dagster_of(home, workspace, web))
        api = held.enter_context(DagsterApi(f"http://127.0.0.1:{web}"))
        until(lambda: {"films", "theirs"} <= loaded(api), "both locations", top)
        yield Joined(api, instance, ours, existing, separate)


@pytest.fixture(scope="module")
def collected(joined: Joined) -> list[dict[str, Any]]:
    """The clips that a command has left to the sensors, when they have collected them."""
    left = joined.dailies("produce", "morning-light", "--yes")

    def rows() -> set[tuple[str, str]]:
        # running a command each half second would take one of two cores
        with contextlib.closing(sqlite3.connect(joined.ours / ".dailies" / "ledger.db")) as ledger:
            return set(ledger.execute("SELECT subject_key, state FROM attempts"))

    delivered = {(clip, "delivered") for clip in left["clips"]}
    until(lambda: rows() == delivered, "what was left")
    videos = "video/uploaded_videos"
    until(lambda: joined.api.colours()[videos].green == set(left["clips"]), "the colour of what was left")
    shown = joined.dailies("status")
    assert {clip["decision"] for clip in shown} == {left["decision"]}
    return list(shown)


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


def test_clips_are_produced_beside_assets_of_the_same_names(
    joined: Joined, collected: list[dict[str, Any]]
) -> None:
    clips = {clip["clip"] for clip in collected}
    colours = joined.api.colours()
    assert colours["video/uploaded_videos"].green == clips
    assert colours["video/prompts"].green == clips
    assert not colours["prompts"].green
    nodes = joined.api.query(
        "query Nodes { assetNodes { assetKey { path } repository { location { name } } } }"
    )["assetNodes"]
    where = {"/".join(n["assetKey"]["path"]): n["repository"]["location"]["name"] for n in nodes}
    assert where["prompts"] == where["cuts"] == "theirs"
    assert {name for name, location in where.items() if location == "films" and "video/" not in name} == set()


def test_the_sensors_in_their_daemon_collect_what_a_command_left(collected: list[dict[str, Any]]) -> None:
    assert collected
    assert {clip["state"] for clip in collected} == {"delivered"}


def test_their_component_is_declared_as_on_the_page(joined: Joined) -> None:
    assert (joined.theirs / "their_films/defs/cuts/defs.yaml").read_text() == block_with("type: their_films")


def test_their_component_makes_an_asset_from_our_clip(
    joined: Joined, collected: list[dict[str, Any]]
) -> None:
    clip = collected[0]
    node = joined.api.query(
        'query Cuts { assetNodeOrError(assetKey: {path: ["cuts"]}) { ... on AssetNode { dependencyKeys { path } partitionKeys } } }'
    )["assetNodeOrError"]
    assert node["dependencyKeys"] == [{"path": ["video", "uploaded_videos"]}]
    assert clip["clip"] in node["partitionKeys"]
    # their run is Dagster's own work: here it is a run of this process with the same component
    component = runpy.run_path(str(joined.theirs / "their_films/components.py"))["Cuts"]
    defs = component(upstream="video/uploaded_videos", clips="video_clips").build_defs(None)
    done = dg.materialize([*defs.assets], partition_key=clip["clip"], instance=joined.instance)
    (made,) = done.asset_materializations_for_node("cuts")
    assert made.metadata["cut_from"].value == clip["uri"]


def test_commands_find_our_location_by_its_name(joined: Joined) -> None:
    assert [row["state"] for row in joined.dailies("schedules")] == ["off"]


def test_a_foreign_package_in_place_of_ours_is_refused_with_a_sentence(joined: Joined) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import pipelines.definitions"],
        check=False,
        env=os.environ | {"PYTHONPATH": str(joined.theirs)},
        cwd=joined.theirs,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    said = done.stderr.strip().splitlines()[-1]
    assert done.returncode != 0
    for words in (str(joined.theirs / "resources"), "its own environment", "Nothing was bought"):
        assert words in said
