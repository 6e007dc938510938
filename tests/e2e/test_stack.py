"""The whole product in real processes: `dailies` calls Dagster's webserver; its daemon starts the runs and ticks the sensors.

One stack serves the module, because its start costs more than most of its tests. The tests build on each other in the order of the
file: two series of their own come first, then the commands of the docs. The pages of the two days buy. On the other pages, a command
that would buy gets no answer: it shows its plan and ends. A command for a situation that does not exist says so. The page of a lost
ledger comes last, because its first step ends the stack.
"""

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest
import sqlalchemy as sa
import yaml
from browserkit import Browser, browser
from commandkit import ROOT, CommandProcess, run_here
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from guidekit import (
    ASKS,
    CLIP,
    COMMAND,
    DAYS,
    ENDS,
    FILES_OF_THE_PAGE,
    IS_THE_STACK,
    LOST,
    NOT_HERE,
    PAGES,
    commands,
    text_of,
)
from hostile_page import ADD, BUY, LAUNCH, ask_from, page_elsewhere, try_everything
from ports import listening

from bench.machine import is_ours
from pipelines.cli.dagster_api import Colours, DagsterApi
from pipelines.cli.stack import Stack, StackOptions, free_port
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts
from resources.server_thread import ServerThread
from resources.settings import load_settings
from resources.video.inspector import inspect_video

pytestmark = pytest.mark.slow

SECONDS = 300
SHAPES = {"hero": ("1280*720", 4), "tram": ("720*1280", 8)}
FAULTS = {
    "faults": [
        # Seedance promises a shape and no size, and large clips only take longer to make and to inspect
        *(
            {
                "name": f"small clips of {words}",
                "when": {"operation": "submit", "prompt_contains": words},
                "then": {"do": "wrong_size", "width": width, "height": height},
            }
            for words, width, height in (
                ("a quiet look", 256, 144),
                ("slim desk lamp", 144, 256),
                ("a weekly market", 256, 144),
            )
        ),
        {
            "name": "the second and fourth view fail once",
            "when": {"operation": "submit", "prompt_matches": "view[24]", "times": 2},
            "then": {"do": "fail"},
        },
        {
            "name": "storms always fail",
            "when": {"operation": "submit", "prompt_contains": "storm"},
            "then": {"do": "fail", "error": "Task failed: the storm is too strong"},
        },
    ]
}
OF_CLIPS = {"prompts", "submissions", "generations", "uploaded_videos"}
BAY = [f"bay-view{number}" for number in range(1, 6)]


@dataclass
class Running:
    """The stack, and the command beside it."""

    stack: Stack
    api: DagsterApi
    separate: CommandProcess
    ports_before: set[int]
    """Ports of servers that other tests of this process share."""
    end: Callable[[], None]
    """Ends the stack early."""

    def dailies(self, *arguments: str, as_process: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the command, in this process unless it runs beside another or starts a stack. No output may contain a traceback."""
        done = self.separate.run(*arguments) if as_process else run_here(*arguments)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    def document(self, *arguments: str, exit_code: int = 0, as_process: bool = False) -> Any:
        """The JSON that a command prints with `--json`."""
        done = self.dailies(*arguments, "--json", as_process=as_process)
        assert done.returncode == exit_code, done.stderr
        return json.loads(done.stdout)

    def colours(self, prefix: str) -> dict[str, Colours]:
        """Colours of one series' clips in the UI."""
        return {
            asset: Colours(
                *(frozenset(k for k in keys if k.startswith(prefix)) for keys in vars(shown).values())
            )
            for asset, shown in self.api.colours().items()
            if asset in OF_CLIPS
        }

    def books(self) -> list[dict[str, Any]]:
        """All jobs the sandbox ever accepted."""
        return list(httpx.get(f"{self.stack.sandbox_url}/admin/books", trust_env=False).json()["jobs"])

    def ways(self) -> set[str]:
        """The partitions that the foreign page has added, named by the way it used."""
        document = """{ repositoryOrError(repositorySelector: {repositoryLocationName: "dailies", repositoryName:
        "__repository__"}) { ... on Repository { assetNodes { partitionKeys } } } }"""
        nodes = self.api.query(document)["repositoryOrError"]["assetNodes"]
        return {key for node in nodes for key in node["partitionKeys"] if key.startswith("way-")}

    def age(self, attempt: str, seconds: float) -> None:
        """Move a clip's delivery into the past."""
        with (
            Ledger(f"sqlite:///{self.stack.home}/ledger.db", budget=Budget()) as ledger,
            ledger.write() as connection,
        ):
            change = {"delivered_at": attempts.c.delivered_at - seconds}
            connection.execute(sa.update(attempts).where(attempts.c.id == attempt).values(change))

    def file(self, uri: str) -> Path:
        """The embedded S3's file of an object."""
        return self.stack.home / "s3" / uri.removeprefix("s3://")


def until(done: Callable[[], bool], what: str, *, pause: float = 0.5) -> None:
    give_up = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < give_up, f"{what} did not happen within {SECONDS} s"
        time.sleep(pause)


def declare(data: Path) -> None:
    """Copy the samples, because some commands edit the folder, and add two series."""
    shutil.copytree(ROOT / "data", data)
    seedance = {
        "endpoint": "bytedance/seedance-2.0/text-to-video",
        "prompt": "A quiet look at the {{ clip }}.",
    }
    city = {
        "endpoint": "openai/sora-2/text-to-video",
        "allow_retired": True,
        "prompt": "{{ clip }} at sunset.",
        "clips": [
            *(
                {"name": name, "parameters": {"size": size, "duration": seconds}}
                for name, (size, seconds) in SHAPES.items()
            ),
            {"name": "storm"},
        ],
    }
    declared: dict[str, dict[str, Any]] = {
        "city": city,
        "bay": {**seedance, "clips": [{"name": key.removeprefix("bay-")} for key in BAY]},
    }
    for name, series in declared.items():
        (data / "series" / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **series}))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    declare(home / "data")
    faults = home / "faults.yaml"
    faults.write_text(yaml.safe_dump(FAULTS))
    with pytest.MonkeyPatch.context() as patch:
        for name in filter(is_ours, list(os.environ)):
            patch.delenv(name)
        # line breaks at a terminal's width would break the texts that the tests search for
        patch.delenv("COLUMNS", raising=False)
        patch.chdir(ROOT)
        patch.setenv("DAILIES_ENV_FILE", "")
        patch.setenv("DAILIES_HOME", str(home / "dailies"))
        patch.setenv("DAILIES_DATA", str(home / "data"))
        patch.setenv("DAILIES_LINGER_SECONDS", "5")
        wanted = StackOptions(
            port=free_port(), sandbox_options=["--job-seconds", "1", "--faults", str(faults)]
        )
        ports_before = listening()
        with ExitStack() as held:
            stack = held.enter_context(Stack(load_settings(), wanted))
            api = held.enter_context(DagsterApi(stack.dagster_url))
            separate = held.enter_context(CommandProcess(dict(os.environ)))
            yield Running(stack, api, separate, ports_before, held.close)


@pytest.fixture(scope="module")
def first(running: Running) -> dict[str, Any]:
    """The output of two commands: one series is left to the sensor, the other is waited for, and one of its clips fails."""
    left = running.document("produce", "bay", "--yes")
    return {"bay": left, "city": running.document("produce", "city", "--wait", "--yes", exit_code=1)}


@pytest.fixture(scope="module")
def collected(running: Running, first: dict[str, Any]) -> None:
    """Wait until the sensor has collected the clips that were left."""

    def over() -> bool:
        videos = running.colours("bay-")["uploaded_videos"]
        return videos.green | videos.red == set(BAY) and not videos.materializing

    until(over, "the collection of the clips that were left")


@pytest.fixture(scope="module")
def second(running: Running, first: dict[str, Any], collected: None) -> dict[str, Any]:
    """The output of two concurrent processes: a retry of failed clips, and another order of green ones."""
    with ThreadPoolExecutor() as pool:
        retry = functools.partial(running.document, "retry", "--series", "bay", "--wait", "--yes")
        retried = pool.submit(retry, as_process=True)
        green = running.document("produce", "city", "--clip", "hero", "--wait", "--yes")
        return {"retried": retried.result(), "green": green}


@pytest.fixture
def tab(running: Running) -> Iterator[Browser]:
    """A browser for which the name evil.test leads to Dagster. It ends with its test: no asyncio loop runs beside it."""
    rebound = f"--host-resolver-rules=MAP evil.test {running.stack.dagster_url.removeprefix('http://')}"
    with browser(flags=[rebound]) as found:
        yield found


def test_clips_are_requested_in_one_run_and_left(first: dict[str, Any]) -> None:
    asked = first["bay"]
    assert asked["clips"] == BAY
    assert len(asked["runs"]) == 1
    assert asked["decision"].startswith("produce:")


def test_awaited_clips_match_their_orders(running: Running, first: dict[str, Any]) -> None:
    made = [result for result in first["city"]["results"] if result["state"] == "delivered"]
    assert len(made) == len(SHAPES)
    for result in made:
        size, seconds = SHAPES[result["clip"].removeprefix("city-")]
        found = inspect_video(running.file(result["uri"]))
        assert f"{found.video.width}*{found.video.height}" == size
        assert found.video.duration == pytest.approx(seconds, abs=0.2)
        assert found.video.has_audio
        assert (found.video.video_codec, found.video.audio_codec) == ("h264", "aac")
        assert running.file(result["manifest"]).exists()
    for asset, shown in running.colours("city-").items():
        assert shown.green >= {"city-hero", "city-tram"}, asset


def test_a_failed_clip_ends_the_command_with_1_and_its_reason(
    running: Running, first: dict[str, Any]
) -> None:
    made = first["city"]
    states = {result["clip"]: result["state"] for result in made["results"]}
    assert states == {"city-storm": "failed", "city-hero": "delivered", "city-tram": "delivered"}
    assert len(made["failed_runs"]) == 1
    assert "the storm is too strong" in running.dailies("status", "--failed").stdout
    shown = running.colours("city-")
    assert "city-storm" in shown["submissions"].green
    assert shown["generations"].red == shown["uploaded_videos"].red == {"city-storm"}


def test_the_daemons_sensor_collects_the_clips_that_were_left(running: Running, collected: None) -> None:
    failing = {"bay-view2", "bay-view4"}
    shown = running.colours("bay-")
    assert shown["submissions"].green == set(BAY)
    for asset in ("generations", "uploaded_videos"):
        assert (set(shown[asset].green), set(shown[asset].red)) == (set(BAY) - failing, failing), asset
    failed = running.document("status", "--failed", "--series", "bay")
    assert {clip["clip"] for clip in failed} == failing
    assert all("worker restarted" in clip["reason"] for clip in failed)


def test_scattered_clips_are_tried_again_in_one_run(running: Running, second: dict[str, Any]) -> None:
    again = second["retried"]
    assert again["clips"] == ["bay-view2", "bay-view4"]
    assert len(again["runs"]) == 1
    assert {result["state"] for result in again["results"]} == {"delivered"}
    for asset, shown in running.colours("bay-").items():
        assert (set(shown.green), set(shown.red)) == (set(BAY), set()), asset
    assert running.document("retry", "--series", "bay") == {"decision": None, "runs": [], "clips": []}


def test_the_ledger_knows_every_purchase_and_every_file_plays(
    running: Running, first: dict[str, Any], second: dict[str, Any]
) -> None:
    """The sandbox's own books are the oracle: one job for each attempt, and none for clips that were green already."""
    (green,) = second["green"]["results"]
    assert green == next(result for result in first["city"]["results"] if result["clip"] == "city-hero")
    assert len(running.books()) == len(BAY) + 2 + len(SHAPES) + 1
    delivered = [clip for clip in running.document("status") if clip["state"] == "delivered"]
    assert len(delivered) == len(BAY) + len(SHAPES)
    for clip in delivered:
        file = running.file(clip["uri"])
        assert file.stat().st_size == clip["size_bytes"]
        assert inspect_video(file).video.has_audio
    assert {clip["job"] for clip in delivered} <= {job["id"] for job in running.books()}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("retry", "city-hero"), ("city-hero is delivered",)),
        (("up",), ("already running",)),
    ],
)
def test_the_error_of_a_wrong_filter_suggests_the_right_one(
    running: Running, first: dict[str, Any], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    done = running.dailies(*arguments, as_process=arguments == ("up",))
    assert done.returncode == 2
    assert not done.stdout
    assert all(word in done.stderr for word in words), done.stderr


def test_doctor_finds_the_remaining_faults_and_makes_a_lost_manifest_again(
    running: Running, second: dict[str, Any]
) -> None:
    hero = next(clip for clip in running.document("status") if clip["clip"] == "city-hero")
    manifest = running.file(hero["manifest"])
    before = manifest.read_bytes()
    running.age(hero["attempt"], 120)
    manifest.unlink()
    # the embedded S3 notices within a second that the file is gone
    said: dict[str, Any] = {}

    def mended() -> bool:
        said.update(running.document("doctor", exit_code=1))
        return bool(said["mended"])

    until(mended, "the manifest was made again")
    assert json.loads(manifest.read_bytes())["object"] == json.loads(before)["object"]
    left = [check for check in said["checks"] if not check["fine"]]
    assert [(check["check"], check["keys"]) for check in left] == [("no_failed_clips", ["city-storm"])]


def test_no_other_user_of_the_machine_can_read_the_home_or_reach_the_code(
    running: Running, second: dict[str, Any]
) -> None:
    home = running.stack.home
    readable = [
        path for path in (home, *home.rglob("*")) if not path.is_symlink() and path.stat().st_mode & 0o077
    ]
    assert readable == []
    assert (home / "run" / "code.sock").is_socket()
    assert {path.name for path in home.iterdir()} >= {"ledger.db", "workspace.yaml", "stack.json", "logs"}
    known = [
        running.stack.dagster_url,
        running.stack.sandbox_url,
        running.stack.environment["DAILIES_S3_ENDPOINT"],
        running.stack.room_url.rstrip("/"),
    ]
    assert listening() - running.ports_before == {int(str(url).rpartition(":")[2]) for url in known}


def test_the_daemons_sensor_keeps_a_gallery_that_plays(
    running: Running, second: dict[str, Any], tab: Browser
) -> None:
    delivered = {clip["clip"] for clip in running.document("status") if clip["state"] == "delivered"}
    page = running.file("s3://dailies/gallery/index.html")
    until(
        lambda: page.exists() and all(clip in page.read_text() for clip in delivered),
        "the gallery of every clip",
    )
    said = running.document("gallery")
    assert said["file"] == str(page)
    tab.open(page.as_uri())
    for poster in tab.page.locator("article img").all():
        poster.scroll_into_view_if_needed()
    tab.page.wait_for_function("() => [...document.images].every(image => image.naturalWidth > 0)")
    assert tab.page.locator("article img").count() == len(delivered)
    tab.page.get_by_label("Play city, hero").click()
    tab.page.wait_for_function("() => document.querySelector('video').readyState >= 3")
    assert tab.complaints == []


def test_a_page_on_another_port_changes_nothing_and_dagsters_own_page_buys(
    running: Running, second: dict[str, Any], tab: Browser
) -> None:
    jobs, url = len(running.books()), running.stack.dagster_url
    here = int(url.rpartition(":")[2])
    workspace = WorkspaceFileTarget([str(running.stack.home / "workspace.yaml")])
    with (
        page_elsewhere() as port,
        dg.DagsterInstance.from_config(running.stack.environment["DAGSTER_HOME"]) as instance,
        WorkspaceProcessContext(instance, workspace) as context,
        ExitStack() as held,
    ):
        for name in ("127.0.0.1", "localhost"):
            tab.open(f"http://{name}:{port}/")
            said = try_everything(tab.page, url)
            assert len(said) == 20
            assert said["way-websocket"] == "refused"
            frame = tab.page.evaluate_handle("() => document.createElement('iframe')")
            frame.evaluate("(frame, url) => { frame.src = url; document.body.append(frame); }", url)
            tab.page.wait_for_timeout(1000)
            assert f"{url}/" not in [shown.url for shown in tab.page.frames], "Dagster is in a frame"
        # the page's name resolves to Dagster now: its requests are same-origin for the browser
        tab.open(f"http://evil.test:{here}/")
        assert "not a name of this server" in tab.page.inner_text("body")
        assert running.ways() == set()
        # the effect of the same page on Dagster's own webserver
        bare = ServerThread()
        held.callback(bare.stop)
        bare.start(create_app_from_workspace_process_context(context))
        tab.open(f"http://127.0.0.1:{port}/")
        assert try_everything(tab.page, f"http://127.0.0.1:{bare.port}")["way-websocket"] == "opened"
        carried_out = {"way-get", "way-image", "way-post-address", "way-post-text-json"}
        until(lambda: running.ways() >= carried_out, "what a page may do to the bare webserver")
        # an address of Dagster's origin: its whole page costs ten CPU seconds in browser and webserver
        tab.open(f"{url}/server_info")
        assert ask_from(tab.page, ADD, {"key": "way-own"})["data"]
        assert "way-own" in running.ways()
        assert len(running.books()) == jobs
        launched = ask_from(tab.page, LAUNCH, {"params": BUY})["data"]["launchPipelineExecution"]
        assert launched == {"__typename": "LaunchRunSuccess"}
        until(lambda: len(running.books()) == jobs + 1, "the purchase by Dagster's own page")


# The commands of the docs


def done_well(running: Running, *words: str) -> str:
    """Run a command of a page and return its output; it must succeed."""
    done = running.dailies(*words)
    # clips of earlier tests that failed, and takes that wait for a verdict, are findings of doctor
    allowed = {0, 1} if words[0] == "doctor" else {0}
    assert done.returncode in allowed, f"dailies {shlex.join(words)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def takes_of(running: Running, clip: str) -> list[dict[str, Any]]:
    return list(running.document("takes", clip)["takes"])


def until_there_are(takes: int, clip: str, running: Running) -> None:
    """Wait as a person does, who sees the takes before judging the new one."""
    until(lambda: len(takes_of(running, clip)) >= takes, f"take {takes} of {clip}", pause=3)


def once_no_run_of_the_copy_lives(running: Running, *words: str) -> None:
    """Run a command; a rebuild waits until no run of the copy has a heartbeat."""

    def accepted() -> bool:
        done = running.dailies(*words)
        if "may not run beside others" not in done.stderr:
            assert done.returncode == 0, f"dailies {shlex.join(words)}:\n{done.stdout}{done.stderr}"
            return True
        return False

    until(accepted, f"dailies {shlex.join(words)}", pause=5)


@pytest.mark.parametrize("page", DAYS)
def test_every_command_of_the_page_does_what_the_page_says(
    running: Running, page: str, tmp_path: Path
) -> None:
    told = commands(page)
    assert len(told) >= 9
    for command, *words in told:
        if command == IS_THE_STACK:
            continue
        if command == "circle":
            until_there_are(int(words[1]), words[0], running)
        if "--to" in words:
            # the file that a person fetches into the project goes to the test's own folder
            words[words.index("--to") + 1] = str(tmp_path / "fetched")
        answer = ["--yes"] if command in ASKS and "--yes" not in words else []
        done_well(running, command, *words, *answer)
    if page == "producers-day.md":
        assert "circled" in done_well(running, "takes", CLIP)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_the_other_pages_ends_as_expected(
    running: Running, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webbrowser.open", lambda _url: True)
    home = running.stack.home
    video = next(home.glob(f"s3/dailies/videos/{CLIP}/*.mp4"), home / "no-video.mp4")

    def carried_out(line: str) -> tuple[int, str]:
        done = running.dailies(*shlex.split(line))
        return done.returncode, done.stdout + done.stderr

    for found in COMMAND.finditer(text_of(page)):
        line = found[1].strip()
        if any(line == name or line.startswith(f"{name} ") for name in NOT_HERE):
            continue
        codes, words = next((end for pattern, end in ENDS.items() if re.match(pattern, line)), ({0}, ""))
        clip = "city-sunset-2026-11-20-hero" if line.startswith("edit") else CLIP
        here = re.sub(r"/backups/ledger-\S*( \+%F\))?\.db", str(tmp_path / "backup.db"), line)
        for name, value in {
            "FILE...": video,
            "FILE": video if line.startswith("inspect") else tmp_path / "file",
            "DIR": tmp_path / "fetched",
            "CLIPS": "product-loop",
            "CLIP": clip,
            "KEY": clip,
            "OLD NEW": "recipe-cards recipes",
            "backup.db": tmp_path / "backup.db",
        }.items():
            here = re.sub(rf"(?<![\w/]){re.escape(name)}(?!\w)", str(value), here)
        code, said = carried_out(here)
        assert code in codes, f"{page}: dailies {here} ended with {code}:\n{said}"
        assert re.search(words, said), f"{page}: dailies {here}:\n{said}"
        if line.startswith("stop"):
            assert carried_out("start")[0] == 0
        if "`dailies data push` makes it the current one" in said:
            # an earlier page has pushed the data folder, and this command has changed it
            assert line.startswith("edit")
            assert carried_out("data push")[0] == 0


def test_a_lost_ledger_is_rebuilt_by_the_page_and_nothing_would_be_bought_again(
    running: Running, tmp_path: Path
) -> None:
    def delivered() -> set[str]:
        return {take["take"] for take in takes_of(running, CLIP)}

    def lose_the_ledger() -> None:
        for file in running.stack.home.glob("ledger.db*"):
            file.unlink()

    running.end()
    before = delivered()
    assert before
    told = commands(LOST)
    assert ["ledger", "restore", "backup.db"] in told
    for words in told:
        here = [str(tmp_path / word) if word in FILES_OF_THE_PAGE else word for word in words]
        if here[1] == "restore" or here[-1] == "--take-over":
            lose_the_ledger()
        once_no_run_of_the_copy_lives(running, *here)
        if here[1] == "rebuild":
            assert delivered() == before
            assert running.document("plan", CLIP)["counts"].get("buy", 0) == 0
