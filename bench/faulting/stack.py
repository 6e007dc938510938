"""The whole stack in the storm: webserver, daemon, code server and run workers, whose processes are killed and stopped."""

import contextlib
import json
import os
import random
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path

from bench.faulting.crew import KEY, Oracle
from bench.faulting.evidence import gather
from bench.faulting.film import film
from bench.faulting.judge import Verdict, judge
from bench.faulting.mischief import Mischief
from bench.faulting.pace import Pace
from bench.faulting.shop import Films
from bench.faulting.storm import LEASE_SECONDS, Outcome
from bench.faulting.victims import Reaper, process_at
from bench.processes import descendants
from bench.surroundings import environment
from pipelines.cli.dagster_api import FINISHED, DagsterApi
from pipelines.cli.launching import clips_of, dagster_instance, declarations_of, launch
from pipelines.cli.stack import Stack, Wanted, free_port
from resources.errors import UnavailableError
from resources.settings import Settings, load_settings, open_ledger
from resources.storage.embedded import EmbeddedS3

MODEL = "bytedance/seedance-2.0/text-to-video"
MODEL_FILE = "wavespeed-seedance-2.0-text-to-video.yaml"
SERIES = {"waited": "produce_clips", "left": "submit_clips"}
"""Two series: a run waits for the clips of one, and leaves those of the other to the sensor."""
STORM_SECONDS = 150.0
PATIENCE_SECONDS = 480.0
"""Real seconds after the faults stopped in which every clip must end."""


@dataclass(frozen=True)
class StackScale:
    """How large the part is.

    Attributes:
        clips: Of each series.
        kills: How many `kill -9` and SIGSTOP.
        pace: The clock's seconds to a real one.
        seed: Decides all that can be decided.
    """

    clips: int = 16
    kills: int = 14
    pace: float = 5.0
    seed: int = 0


class BenchStack(Stack):
    """The product's stack with the bench's clock in its code location, and its killed servers brought back."""

    def revive(self) -> None:
        """Start again what was killed, as a supervisor would."""
        for name in ("code", "daemon"):
            process = self.processes.get(name)
            if process is not None and process.poll() is not None:
                self._spawn(name, [str(part) for part in process.args])  # type: ignore[union-attr]

    def _spawn(self, name: str, command: list[str], *, stdout: int | None = None) -> None:
        ours = ["bench.faulting.definitions" if part == "pipelines.definitions" else part for part in command]
        super()._spawn(name, ours, stdout=stdout)


def run_stack(folder: Path, scale: StackScale | None = None) -> Outcome:
    """Run the part.

    Args:
        folder: Of its own, for everything.
        scale: How large.
    """
    scale = scale or StackScale()
    data = _declare(folder, scale.clips)
    (folder / "film.mp4").write_bytes(film())
    pace = Pace(time.time(), scale.pace)
    mischief = replace(Mischief(scale.seed), strangers=1e9)
    with Oracle(folder, folder / "film.mp4", pace, mischief) as oracle:
        values = {
            "DAILIES_HOME": str(folder / "home"),
            "DAILIES_DATA": str(data),
            "DAILIES_WAVESPEED_URL": oracle.urls["wavespeed"],
            "WAVESPEED_API_KEY": KEY,
            "DAILIES_ALLOWED_ORIGINS": oracle.urls["wavespeed"],
            "DAILIES_LINGER_SECONDS": "30",
            "BENCH_ORIGIN": repr(pace.origin),
            "BENCH_FACTOR": repr(pace.factor),
        }
        with environment(values):
            settings = load_settings()
            with BenchStack(settings, Wanted(port=free_port(), sandbox=False, embedded_s3=True)) as stack:
                outcome = _Storm(scale, pace, oracle, stack, settings).run()
                evidence = gather(
                    oracle.books,
                    settings.ledger_url,
                    stack.home / "s3" / EmbeddedS3(stack.home / "s3").bucket,
                    clips={f"{name}-{clip}" for name in SERIES for clip in _names(scale.clips)},
                    skews={},
                    now=pace.clock(),
                )
    outcome.verdict = judge(evidence, Films((folder / "film.mp4").read_bytes()).sha256)
    outcome.faults = dict(sorted(evidence.books.faults.items()))
    return outcome


def _names(clips: int) -> list[str]:
    return [f"view-{number:03}" for number in range(clips)]


def _declare(folder: Path, clips: int) -> Path:
    data = folder / "data"
    (data / "series").mkdir(parents=True)
    (data / "models").mkdir()
    model = (Path("data") / "models" / MODEL_FILE).read_text()
    # the oracle's film is a small second without sound, whatever was ordered
    model, told = re.subn(r"(?m)^output: .*$", "output: {}", model)
    if not told:
        raise ValueError(f"{MODEL_FILE} does not say what its output is like, which the bench takes away")
    (data / "models" / MODEL_FILE).write_text(model)
    for name in SERIES:
        series = {
            "name": name,
            "endpoint": MODEL,
            "parameters": {"duration": 5},
            "prompt": "A lighthouse in a storm [{{ series }}-{{ clip }}]",
            "max_attempts": 2,
            "clips": [{"name": clip} for clip in _names(clips)],
        }
        # JSON is YAML too
        (data / "series" / f"{name}.yaml").write_text(json.dumps(series))
    return data


class _Storm:
    def __init__(
        self, scale: StackScale, pace: Pace, oracle: Oracle, stack: BenchStack, settings: Settings
    ) -> None:
        self.scale = scale
        self.pace = pace
        self.oracle = oracle
        self.stack = stack
        self.settings = settings
        self.reaper = Reaper()
        self.random = random.Random(f"{scale.seed}:stack")

    def run(self) -> Outcome:
        """The storm, and the calm after it."""
        began = time.monotonic()
        with DagsterApi(self.stack.dagster_url) as api:
            self._ask(api)
            give_up = began + STORM_SECONDS * 2
            next_kill = began + 10
            while time.monotonic() < give_up and self.reaper.total < self.scale.kills:
                self._tend()
                self._heed_moments()
                if time.monotonic() > next_kill:
                    self._strike_somebody()
                    next_kill = time.monotonic() + self.random.uniform(4, 14)
                time.sleep(0.05)
            storm = time.monotonic() - began
            self.reaper.wake(everybody=True)
            self.oracle.tell("calm")
            calm_at = time.monotonic()
            self._settle(api, calm_at)
        ended = time.monotonic()
        return Outcome(
            Verdict(),
            ended - began,
            storm,
            (ended - calm_at) * self.pace.factor,
            dict(sorted(self.reaper.done.items())),
            {},
            {},
            {},
            [],
        )

    def _ask(self, api: DagsterApi) -> None:
        """What a person does: ask for all clips of both series. What is delivered costs nothing, what is on its way is waited for."""
        declarations = declarations_of(self.settings)
        os.environ["DAGSTER_HOME"] = self.stack.environment["DAGSTER_HOME"]
        for name, job in SERIES.items():
            keys = clips_of(declarations, name, None, ())
            launch(self.settings, api, keys, job=job, command="bench", series=name)

    def _tend(self) -> None:
        self.reaper.wake()
        self.stack.revive()

    def _workers(self) -> dict[str, list[int]]:
        """Processes that may be killed, by what they are; the code server's descendants are its server and run workers."""
        found: dict[str, list[int]] = {}
        for name in ("code", "daemon"):
            process = self.stack.processes[name]
            if process.poll() is None:
                found[name] = [process.pid]
        for pid in descendants(os.getpid()):
            with contextlib.suppress(OSError):
                command = Path("/proc", str(pid), "cmdline").read_bytes()
                if b"spawn_main" in command and b"resource_tracker" not in command:
                    found.setdefault("run worker", []).append(pid)
        return found

    def _strike_somebody(self) -> None:
        found = self._workers()
        kinds = ["run worker"] * 4 + ["daemon", "code"]
        kind = self.random.choice([kind for kind in kinds if kind in found] or [""])
        if kind:
            self._strike(self.random.choice(found[kind]), f"{kind}, at a random time")

    def _heed_moments(self) -> None:
        while not self.oracle.moments.empty():
            moment, port = self.oracle.moments.get()
            pid = process_at(port, list(descendants(os.getpid())))
            if pid is not None and self.reaper.total < self.scale.kills:
                self._strike(pid, f"whoever was at it, {moment.removeprefix('kill ')}")

    def _strike(self, pid: int, moment: str) -> None:
        if self.random.random() < 0.7 or self.reaper.sleepers():
            self.reaper.kill(pid, moment)
        else:
            self.reaper.put_to_sleep(pid, moment, real_seconds=self.pace.real(LEASE_SECONDS + 30))

    def _settle(self, api: DagsterApi, calm_at: float) -> None:
        """Wait until everything has ended; what no run asked for before it died is asked for again, once nothing runs."""
        asked_again = False
        with open_ledger(self.settings) as ledger, dagster_instance(self.settings) as instance:
            wanted = self.scale.clips * len(SERIES)
            while time.monotonic() - calm_at < PATIENCE_SECONDS:
                self._tend()
                while not self.oracle.moments.empty():
                    self.oracle.moments.get()
                runs_over = all(r.dagster_run.status.value in FINISHED for r in instance.get_run_records())
                newest = ledger.overview()
                over = [a for a in newest if a.state.is_ended and a.state.value != "succeeded"]
                if runs_over and len(over) == len(newest) == wanted:
                    return
                if runs_over and len(newest) < wanted and not asked_again:
                    # the webserver may not have found the code server again that was brought back
                    with contextlib.suppress(UnavailableError):
                        self._ask(api)
                        asked_again = True
                time.sleep(1)
