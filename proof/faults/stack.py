"""The whole stack in the storm: webserver, daemon, code server and run workers, whose processes are killed and stopped."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from bench.machine import environment
from pipelines.cli.dagster_api import FINISHED, DagsterApi
from pipelines.cli.declared import clips_of, declarations_of
from pipelines.cli.launch import Launch, approve_as_declared, dagster_instance, launch
from pipelines.cli.ports import free_port
from pipelines.cli.stack_state import running_stack
from pipelines.cli.takeover import name_of
from proof.clock import FastClock
from proof.faults.evidence import gather
from proof.faults.judge import StormJudgement, judge
from proof.faults.reaper import Reaper, process_at
from proof.faults.storm import LEASE_SECONDS, RoundOutcome
from proof.stand_in.mischief import Mischief
from proof.stand_in.providers import KEY, Providers
from resources.processes import end, of_home
from resources.settings import Settings, load_settings, open_ledger
from resources.storage.embedded import EmbeddedS3

MODEL = "bytedance/seedance-2.0/text-to-video"
MODEL_FILE = "wavespeed-seedance-2.0-text-to-video.yaml"
SERIES = {"waited": "produce_clips", "left": "submit_clips"}
"""Two series: a run waits for the clips of one, and leaves those of the other to the sensor."""
KINDS = {
    "up",
    "run worker",
    "fork server",
    "daemon",
    "code server",
    "process that holds the code",
    "webserver",
    "embedded S3",
    "keeper",
}
"""All kinds of processes of a stack; each is killed at least once, if there are enough kills."""
STORM_SECONDS = 150.0
SECONDS_A_KILL = 30.0
PATIENCE_SECONDS = 900.0
"""Real seconds after the end of the faults within which every clip must end."""


@dataclass(frozen=True)
class StackScale:
    """The size of this part."""

    clips: int = 100
    """Clips of each series."""
    kills: int = 40
    """The number of `kill -9` and SIGSTOP."""
    pace: float = 5.0
    """The clock's seconds per real second."""
    seed: int = 0
    """The seed of all random choices."""


class Up:
    """The process of `dailies up`, which is started again whenever it has ended; a context manager.

    Args:
        folder: The folder of its log.
        home: The stack's home.
        port: Dagster's port.

    Attributes:
        starts: The number of starts.
    """

    def __init__(self, folder: Path, home: Path, port: int) -> None:
        self.home = home
        self.url = f"http://127.0.0.1:{port}"
        self.starts = 0
        self._log = folder / "up.log"
        self._command = [sys.executable, "-m", "proof.faults.paced_up", str(port)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process id; None if it has ended."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def is_ready(self) -> bool:
        """Whether Dagster answers and has loaded the code."""
        state = running_stack(self.home)
        return state is not None and state["pid"] == self.pid

    def ensure(self) -> None:
        """Start it if it has ended, as a supervisor would."""
        if self.pid is None:
            self.starts += 1
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )

    def wait(self, seconds: float = 300) -> None:
        """Wait until it is ready."""
        give_up = time.monotonic() + seconds
        while not self.is_ready:
            self.ensure()
            if time.monotonic() > give_up:
                raise RuntimeError(f"`dailies up` did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.5)

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(120)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        end(of_home(self.home), self.home, seconds=5)


def run_stack(folder: Path, scale: StackScale | None = None) -> RoundOutcome:
    """Run the part.

    Args:
        folder: A separate folder for all files.
        scale: The size of the part.
    """
    scale = scale or StackScale()
    data = declare(folder, SERIES, scale.clips)
    pace = FastClock(time.time(), scale.pace)
    mischief = replace(Mischief(scale.seed), strangers=1e9)
    with Providers(folder, pace, mischief, names=["wavespeed"]) as providers:
        values = {
            "DAILIES_HOME": str(folder / "home"),
            "DAILIES_DATA": str(data),
            "DAILIES_WAVESPEED_URL": providers.urls["wavespeed"],
            "WAVESPEED_API_KEY": KEY,
            "DAILIES_WAVESPEED_DEDICATED": "true",
            "DAILIES_ALLOWED_ORIGINS": providers.urls["wavespeed"],
            "DAILIES_LINGER_SECONDS": "30",
            "BENCH_ORIGIN": repr(pace.origin),
            "BENCH_FACTOR": repr(pace.factor),
        }
        with environment(values):
            settings = load_settings()
            home = settings.home.absolute()
            os.environ["DAGSTER_HOME"] = str(home / "dagster")
            with Up(folder, home, free_port()) as up:
                outcome = _Storm(scale, pace, providers, up, settings).run()
                findings = gather(
                    providers.books(),
                    settings.ledger_url,
                    home / "s3" / EmbeddedS3(home / "s3").bucket,
                    clips={f"{name}-{clip}" for name in SERIES for clip in clip_names(scale.clips)},
                    skews={},
                    now=pace.clock(),
                )
        outcome.verdict = judge(findings, providers.sha256)
    outcome.faults = dict(sorted(findings.books.faults.items()))
    return outcome


def clip_names(clips: int) -> list[str]:
    """The names of a declared series' clips."""
    return [f"view-{number:03}" for number in range(clips)]


def declare(folder: Path, names: Iterable[str], clips: int) -> Path:
    """Write a data folder with `clips` clips in each series into `folder`; returns it."""
    data = folder / "data"
    (data / "series").mkdir(parents=True)
    write_model(data)
    for name in names:
        series = {
            "name": name,
            "endpoint": MODEL,
            "parameters": {"duration": 5},
            "prompt": "A lighthouse in a storm [{{ series }}-{{ clip }}]",
            "max_attempts": 2,
            "clips": [{"name": clip} for clip in clip_names(clips)],
        }
        # JSON is YAML too
        (data / "series" / f"{name}.yaml").write_text(json.dumps(series))
    return data


def write_model(data: Path) -> None:
    """Write the endpoint's file into a data folder, without its `output`, since the stand-in's clips are always small."""
    (data / "models").mkdir()
    model = (Path("data") / "models" / MODEL_FILE).read_text()
    model, told = re.subn(r"(?m)^output: .*$", "output: {}", model)
    if not told:
        raise ValueError(f"{MODEL_FILE} has no `output`, which the proof removes")
    (data / "models" / MODEL_FILE).write_text(model)


class _Storm:
    def __init__(
        self, scale: StackScale, pace: FastClock, providers: Providers, up: Up, settings: Settings
    ) -> None:
        self.scale = scale
        self.pace = pace
        self.providers = providers
        self.up = up
        self.settings = settings
        self.reaper = Reaper()
        self.random = random.Random(f"{scale.seed}:stack")
        self.struck: Counter[str] = Counter()

    def run(self) -> RoundOutcome:
        """The storm, and the calm after it."""
        began = time.monotonic()
        with DagsterApi(self.up.url) as api:
            self._ask(api)
            give_up = began + STORM_SECONDS + SECONDS_A_KILL * self.scale.kills
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
            self.providers.tell("calm")
            calm_at = time.monotonic()
            self._settle(calm_at)
        ended = time.monotonic()
        return RoundOutcome(
            StormJudgement(),
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
        """Request all clips of both series, as a person does. Delivered clips cost nothing, and open ones are waited for."""
        declarations = declarations_of(self.settings)
        for name, job in SERIES.items():
            keys = clips_of(declarations, name, None, ())
            approvals = approve_as_declared(self.settings, keys)
            launch(self.settings, api, approvals, Launch("bench", job, series=name))

    def _tend(self) -> None:
        self.reaper.wake()
        self.up.ensure()

    def _processes(self) -> dict[str, list[int]]:
        """The processes that may be killed, by kind: each of the stack, and `up` itself once it has started."""
        found: dict[str, list[int]] = {}
        for process in of_home(self.up.home):
            found.setdefault(name_of(process), []).append(process.pid)
        if self.up.is_ready and self.up.pid is not None:
            found["up"] = [self.up.pid]
        return {kind: pids for kind, pids in found.items() if kind in KINDS}

    def _strike_somebody(self) -> None:
        found = self._processes()
        # kinds that were not killed yet come first, then run workers twice as often as any other
        fresh = [kind for kind in found if not self.struck[kind]]
        kinds = fresh or [*found, *(["run worker"] * 3 if "run worker" in found else [])]
        if not kinds:
            return
        kind = self.random.choice(sorted(kinds))
        self.struck[kind] += 1
        pid = self.random.choice(found[kind])
        if kind == "up" and self.struck[kind] % 2:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGINT)
                self.reaper.done["SIGINT up, at a random time"] += 1
        elif kind in {"up", "keeper", "embedded S3"}:
            self.reaper.kill(pid, f"{kind}, at a random time")
        else:
            self._strike(pid, f"{kind}, at a random time")

    def _heed_moments(self) -> None:
        while not self.providers.moments.empty():
            moment, port = self.providers.moments.get()
            pid = process_at(port, [process.pid for process in of_home(self.up.home)])
            if pid is not None and self.reaper.total < self.scale.kills:
                self._strike(pid, f"whoever was at it, {moment.removeprefix('kill ')}")

    def _strike(self, pid: int, moment: str) -> None:
        if self.random.random() < 0.7 or self.reaper.sleepers():
            self.reaper.kill(pid, moment)
        else:
            self.reaper.put_to_sleep(pid, moment, real_seconds=self.pace.real(LEASE_SECONDS + 30))

    def _settle(self, calm_at: float) -> None:
        """Wait until all clips have ended. Nothing is ordered again: no clip may wait for a person."""
        with open_ledger(self.settings) as ledger, dagster_instance(self.settings) as instance:
            wanted = self.scale.clips * len(SERIES)
            while time.monotonic() - calm_at < PATIENCE_SECONDS:
                self._tend()
                while not self.providers.moments.empty():
                    self.providers.moments.get()
                runs_over = all(r.dagster_run.status.value in FINISHED for r in instance.get_run_records())
                newest = ledger.overview()
                over = [a for a in newest if a.state.is_ended and a.state.value != "succeeded"]
                if runs_over and len(over) == len(newest) == wanted:
                    return
                time.sleep(1)
