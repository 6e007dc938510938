"""The whole product in real processes: `dailies` calls Dagster's webserver; its daemon starts the runs and ticks the sensors.

One stack serves the module, and the tests build on each other in the order of the file.
"""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import yaml
from browserkit import Browser, browser
from commandkit import ROOT, run_apart, run_here
from hostile_page import ADD, BUY, LAUNCH, ask_from, page_elsewhere, try_everything
from ports import answers, listening

from bench.machine import is_ours
from pipelines.cli.dagster_api import Colours, DagsterApi
from pipelines.cli.stack import Stack, StackOptions, free_port
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.schema import attempts
from resources.settings import load_settings
from resources.video.inspector import inspect_video

pytestmark = pytest.mark.slow

SECONDS = 300
SHAPES = {"hero": ("1280*720", 4), "tram": ("720*1280", 8)}
FAULTS = {
    "faults": [
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
    environment: dict[str, str]
    ports_before: set[int]
    """Ports of servers that other tests of this process share."""

    def dailies(self, *arguments: str, as_process: bool = False) -> subprocess.CompletedProcess[str]:
        """Run the command, in this process unless it runs beside another or starts a stack. No output may contain a traceback."""
        done = run_apart(*arguments, environment=self.environment) if as_process else run_here(*arguments)
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


def until(done: Callable[[], bool], what: str) -> None:
    give_up = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < give_up, f"{what} did not happen within {SECONDS} s"
        time.sleep(0.5)


def declare(data: Path) -> None:
    (data / "series").mkdir(parents=True)
    (data / "models").symlink_to(ROOT / "data" / "models")
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
        with Stack(load_settings(), wanted) as stack, DagsterApi(stack.dagster_url) as api:
            yield Running(stack, api, dict(os.environ), ports_before)


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


@pytest.fixture(scope="module")
def tab(running: Running) -> Iterator[Browser]:
    """A browser for which the name evil.test leads to Dagster. Only the last tests use it: no asyncio loop runs beside it."""
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
    bare_port = free_port()
    bare = subprocess.Popen(
        [
            *(sys.executable, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(bare_port)),
            *("-w", str(running.stack.home / "workspace.yaml")),
        ],
        env=running.stack.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with page_elsewhere() as port:
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
            until(lambda: answers(bare_port), "the start of the bare webserver")
            tab.open(f"http://127.0.0.1:{port}/")
            assert try_everything(tab.page, f"http://127.0.0.1:{bare_port}")["way-websocket"] == "opened"
            carried_out = {"way-get", "way-image", "way-post-address", "way-post-text-json"}
            until(lambda: running.ways() >= carried_out, "what a page may do to the bare webserver")
            tab.open(f"http://{url.removeprefix('http://')}/")
            assert ask_from(tab.page, ADD, {"key": "way-own"})["data"]
            assert "way-own" in running.ways()
            assert len(running.books()) == jobs
            launched = ask_from(tab.page, LAUNCH, {"params": BUY})["data"]["launchPipelineExecution"]
            assert launched == {"__typename": "LaunchRunSuccess"}
            until(lambda: len(running.books()) == jobs + 1, "the purchase by Dagster's own page")
    finally:
        bare.kill()
        bare.wait()
