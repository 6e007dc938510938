"""The fleet: the services on this machine, the hosts that reach them through cables, and the processes on the hosts."""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import httpx
import sqlalchemy as sa

from proof.children import end, start
from proof.faults.round import requests
from proof.fleet.hosts import Host, Target, fleet_of
from proof.stand_in.providers import KEY, NAMES, Providers
from resources.storage.embedded import EmbeddedS3

if TYPE_CHECKING:
    import subprocess

PROVIDER = "wavespeed"
CONTROL = "ctl"
WORKERS = ("w1", "w2")
_LOOK_SECONDS = 0.2


class DatabaseServer(Protocol):
    """A PostgreSQL server that can be stopped and started."""

    @property
    def url(self) -> str:
        """Address of the server's default database, on a Unix socket."""
        ...

    def empty_database(self) -> str:
        """Create a database; returns its address."""
        ...

    def go_away(self) -> None:
        """Stop the server; its files stay."""
        ...

    def come_back(self) -> None:
        """Start the server on its files."""
        ...


@dataclass
class HostProcess:
    """A run's process on a host."""

    host: Host
    task: dict[str, Any]
    process: "subprocess.Popen[bytes]"
    log: Path
    since: float

    @property
    def pid(self) -> int:
        """Process id of the program itself: `ip netns exec` becomes it."""
        return self.process.pid


@dataclass
class Fleet:
    """All hosts, services and processes; a context manager.

    Args:
        folder: An empty folder for all files.
        database: The server for the ledger.
        clips: Number of clips to order.
        seconds: Shortened claims, see `worker.shorten`; empty for the shipped ones.
    """

    folder: Path
    database: DatabaseServer
    clips: int
    providers: Providers
    namespaces: bool = True
    seconds: dict[str, int] = field(default_factory=dict)
    settle_seconds: float = 120.0
    processes: list[HostProcess] = field(default_factory=list)
    exits: Counter[str] = field(default_factory=Counter)
    """Number of runs that ended, by host, mode and exit code."""

    def __post_init__(self) -> None:
        """Create the attributes that the context fills."""
        self.hosts: dict[str, Host] = {}
        self.ledger_url = ""
        self.bucket = self.folder / "s3"
        self.orders: list[dict[str, Any]] = [
            one for one in requests(len(NAMES) * self.clips) if one["provider"] == PROVIDER
        ]
        self._asked: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._numbers = iter(range(10_000))
        self._next_host = 0
        self._stack = contextlib.ExitStack()
        self._watch: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.ledger_url = self.database.empty_database().replace(
                "postgresql://", "postgresql+psycopg2://"
            )
            s3 = stack.enter_context(EmbeddedS3(self.folder / "s3"))
            self.bucket = self.folder / "s3" / s3.bucket
            self.hosts = stack.enter_context(fleet_of([CONTROL, *WORKERS], namespaces=self.namespaces))
            self._equip(s3, stack)
            self.engine = sa.create_engine(self.ledger_url, pool_pre_ping=True)
            stack.callback(self.engine.dispose)
            stack.callback(self._end_all)
            self._start_watch()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _equip(self, s3: EmbeddedS3, stack: contextlib.ExitStack) -> None:
        """Write each host's file of addresses and settings."""
        parsed = sa.engine.make_url(self.ledger_url)
        reach: dict[str, Target] = {
            "db": Path(str(parsed.query["host"])) / ".s.PGSQL.5432",
            "s3": ("127.0.0.1", s3.port),
            "prov": ("127.0.0.1", int(self.providers.urls[PROVIDER].rpartition(":")[2])),
        }
        there = {
            host.name: {name: self._reach(host, name, target, stack) for name, target in reach.items()}
            for host in self.hosts.values()
        }
        # a file's address has the host and port to which its POST was sent
        outputs = [f"http://{one['prov']}" for one in there.values()]
        secret = s3.settings.secret_access_key
        for host in self.hosts.values():
            addresses = there[host.name]
            address, port = addresses["db"].split(":")
            url = sa.engine.URL.create(
                "postgresql+psycopg2", parsed.username, None, address, int(port), parsed.database
            )
            scratch = self.folder / f"scratch-{host.name}"
            scratch.mkdir()
            place = {
                "ledger_url": url.render_as_string(hide_password=False),
                "urls": {PROVIDER: f"http://{addresses['prov']}"},
                "outputs": outputs,
                "key": KEY,
                "s3": {
                    **s3.settings.model_dump(exclude={"secret_access_key"}),
                    "endpoint_url": f"http://{addresses['s3']}",
                    "secret_access_key": secret.get_secret_value() if secret else "",
                },
                "scratch": str(scratch),
                "clips": self.orders,
                "origin": 0.0,
                "factor": 1.0,
                "in_flight": None,
                "dedicated": True,
                "settle": {PROVIDER: self.settle_seconds},
            }
            self._place(host).write_text(json.dumps(place))

    def _reach(self, host: Host, name: str, target: Target, stack: contextlib.ExitStack) -> str:
        """The address at which a host's programs reach a service."""
        address = host.reach(name, target)
        if not host.prefix or isinstance(target, Path):
            return address
        self._carry(host, target[1], [address], stack)
        return f"127.0.0.1:{target[1]}"

    def _carry(self, host: Host, port: int, places: list[str], stack: contextlib.ExitStack) -> None:
        """Forward a port of a host's own 127.0.0.1 to other addresses."""
        command = [*host.prefix, sys.executable, "-m", "proof.fleet.hosts", str(port), *places]
        relay = start(command, self.folder / f"{host.name}-relay.log")
        stack.callback(end, relay)
        assert relay.stdout is not None
        if not relay.stdout.readline():
            raise RuntimeError(f"the relay of {host.name} to {places} did not start")

    def _place(self, host: Host) -> Path:
        return self.folder / f"place-{host.name}.json"

    # Processes

    def produce(self, host: str, clips: Sequence[str], *, ahead: float = 0.0) -> HostProcess:
        """Start a run that buys clips and waits for them.

        Args:
            ahead: Error of the host's clock, in seconds.
        """
        run = f"produce-{next(self._numbers)}"
        return self._launch(
            self.hosts[host], {"mode": "produce", "run": run, "clips": list(clips), "ahead": ahead}
        )

    def _launch(self, host: Host, task: dict[str, Any]) -> HostProcess:
        process, log = self._start(host, task)
        made = HostProcess(host, task, process, log, time.monotonic())
        self.processes.append(made)
        return made

    def _start(self, host: Host, task: dict[str, Any]) -> tuple["subprocess.Popen[bytes]", Path]:
        command = [
            *host.prefix,
            sys.executable,
            "-m",
            "proof.fleet.worker",
            "--place",
            str(self._place(host)),
        ]
        log = self.folder / f"{host.name}-{task['run']}.log"
        task = {**task, "seconds": self.seconds}
        return start([*command, "--task", json.dumps(task)], log), log

    def _start_watch(self) -> None:
        self._watch, _ = self._start(self.hosts[CONTROL], {"mode": "watch", "run": "watch"})
        watch = self._watch

        def listen() -> None:
            assert watch.stdout is not None
            for line in watch.stdout:
                self._asked.put(json.loads(line))

        threading.Thread(target=listen, daemon=True).start()

    def tend(self) -> None:
        """Start the requested collecting runs on reachable hosts, and remove ended processes."""
        if self._watch is not None and self._watch.poll() is not None:
            self._start_watch()
        while not self._asked.empty():
            there = [self.hosts[name] for name in WORKERS if not self.hosts[name].is_cut]
            self._next_host += 1
            self._launch(there[self._next_host % len(there)], self._asked.get())
        for one in [one for one in self.processes if one.process.poll() is not None]:
            self.exits[f"{one.host.name} {one.task['mode']}: {one.process.returncode}"] += 1
            end(one.process)
            self.processes.remove(one)

    def wait_for(self, what: str, done: Callable[[], bool], *, seconds: float) -> float:
        """Tend the fleet until `done` holds; returns the seconds that passed.

        Raises:
            TimeoutError: `done` did not hold in time.
        """
        began = time.monotonic()
        while True:
            self.tend()
            with contextlib.suppress(sa.exc.DBAPIError):
                if done():
                    return time.monotonic() - began
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"{what}: not within {seconds:.0f} s")
            time.sleep(_LOOK_SECONDS)

    def freeze(self, one: HostProcess) -> None:
        """Stop a process, as if its host slept."""
        os.kill(one.pid, signal.SIGSTOP)

    def wake(self, one: HostProcess) -> None:
        """Continue a frozen process."""
        os.kill(one.pid, signal.SIGCONT)

    def kill(self, one: HostProcess) -> None:
        """Kill a process for good."""
        os.kill(one.pid, signal.SIGKILL)

    # Laws broken on purpose

    def take_a_file_away(self) -> None:
        """Remove the file of a clip from the bucket."""
        min(self.bucket.glob("videos/*/*.mp4")).unlink()

    def repeat_a_post(self) -> None:
        """Send the POST of a delivered job again, as a client does that repeats unknown POSTs."""
        url = self.providers.urls[PROVIDER]
        books = httpx.get(f"{url}/admin/books", timeout=60, trust_env=False).raise_for_status().json()
        job = books["jobs"][0]
        headers = {"authorization": f"Bearer {KEY}", "x-client-request-id": job["submission_id"]}
        httpx.post(
            f"{url}/api/v3/{job['model']}", json=job["body"], headers=headers, timeout=60, trust_env=False
        ).raise_for_status()

    def _end_all(self) -> None:
        for process in [one.process for one in self.processes] + ([self._watch] if self._watch else []):
            # a frozen process ignores every signal but SIGKILL
            end(process, politely=False)

    # What the ledger shows

    def states(self, clips: Sequence[str]) -> dict[str, str]:
        """The newest state of each of these clips that was bought."""
        query = sa.text(
            "SELECT DISTINCT ON (subject_key) subject_key, state FROM attempts WHERE subject_key = ANY(:clips) "
            "ORDER BY subject_key, seq DESC"
        )
        with self.engine.connect() as connection:
            return {str(key): str(state) for key, state in connection.execute(query, {"clips": list(clips)})}

    def has_post_in_flight(self, clips: Sequence[str]) -> bool:
        """Whether a POST of one of these clips has no answer yet."""
        return "submitting" in self.states(clips).values()

    def are_all(self, clips: Sequence[str], *states: str) -> bool:
        """Whether every clip is in one of these states."""
        found = self.states(clips)
        return len(found) == len(clips) and set(found.values()) <= set(states)

    def is_lost(self, run: str) -> bool:
        """Whether the run lost its claim."""
        with self.engine.connect() as connection:
            query = sa.text("SELECT lost_at FROM heartbeats WHERE run_id = :run")
            return connection.execute(query, {"run": run}).scalar() is not None


def batches(fleet: Fleet, number: int) -> list[list[str]]:
    """Divide the fleet's clips into this many batches."""
    names = [str(one["clip"]) for one in fleet.orders]
    return [names[first::number] for first in range(number)]
