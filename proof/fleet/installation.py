"""A Dagster on several hosts: webserver and daemon on control hosts, a plain code server on each worker, one PostgreSQL for all.

The daemon's launcher starts each run on the code server that answers; a balancer on the control hosts spreads connections over the
workers in turn, as a Kubernetes service does. Every process is the product's own; one that ends is started again, as a supervisor does.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import sqlalchemy as sa
import yaml

from bench.machine import is_ours
from proof.children import ROOT, end
from proof.faults.stack import clip_names, declare
from proof.fleet import host_site
from proof.fleet.fleet import CONTROL, PROVIDER, WORKERS, Fleet
from proof.fleet.hosts import Host, fleet_of
from proof.stand_in.providers import KEY
from resources.processes import child_setup
from resources.storage.embedded import EmbeddedS3

SECOND_CONTROL = "ctl2"
CODE_PORT, WEB_PORT = 4000, 3000
CAP_USD = "500"
CLI = (sys.executable, "-c", "from pipelines.cli import main; main()")
START_SECONDS = 300.0
COMMAND_SECONDS = 600.0
_ENDED = ("SUCCESS", "FAILURE", "CANCELED")
_CONNECT_SECONDS = 2.0
_WORKSPACE = {
    "load_from": [{"grpc_server": {"host": "127.0.0.1", "port": CODE_PORT, "location_name": "dailies"}}]
}
_WHY_FAILED = """query Why($id: ID!) { runOrError(runId: $id) { ... on Run { eventConnection(limit: 1000) { events {
  ... on ExecutionStepFailureEvent { failureMetadata { description } } } } } } }"""
_ASK_WEB = """
import sys, urllib.request
request = urllib.request.Request(sys.argv[1], sys.argv[2].encode(), {"content-type": "application/json"})
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
print(opener.open(request, timeout=60).read().decode())
"""


@dataclass
class Service:
    """One process that a supervisor keeps alive on a host."""

    command: tuple[str, ...]
    process: "subprocess.Popen[bytes] | None" = None


class Installation(Fleet):
    """The hosts and their services; a context manager. Needs namespaces.

    Attributes:
        starts: Number of starts of each service, by host and name.
    """

    def __post_init__(self) -> None:
        """Create the attributes that the context fills."""
        super().__post_init__()
        self.services: dict[str, dict[str, Service]] = {}
        self.starts: Counter[str] = Counter()
        self.orders = []
        self.variables: dict[str, dict[str, str]] = {}
        self.code: dict[str, Path] = {}
        """Folder of the program on hosts with another version, by host."""

    def declare(self, series: Sequence[str], clips: int) -> None:
        """Write the data folder that every host receives."""
        declare(self.folder, series, clips)
        self.orders = [{"clip": clip} for name in series for clip in self.clips_of(name, clips)]

    @staticmethod
    def clips_of(series: str, clips: int) -> list[str]:
        """Clip keys of a series."""
        return [f"{series}-{name}" for name in clip_names(clips)]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self.ledger_url, dagster_url = (
                self.database.empty_database().replace("postgresql://", "postgresql+psycopg2://")
                for _ in range(2)
            )
            s3 = stack.enter_context(EmbeddedS3(self.folder / "s3"))
            self.bucket = self.folder / "s3" / s3.bucket
            self.hosts = stack.enter_context(fleet_of([CONTROL, SECOND_CONTROL, *WORKERS], namespaces=True))
            self.engine, self.dagster = (
                sa.create_engine(url, pool_pre_ping=True) for url in (self.ledger_url, dagster_url)
            )
            stack.callback(self.engine.dispose)
            stack.callback(self.dagster.dispose)
            stack.callback(self._end_services)
            for host in self.hosts.values():
                self._prepare(host, s3, dagster_url)
            self.run(CONTROL, *CLI, "ledger", "migrate")
            self.run(CONTROL, sys.executable, "-m", "dagster", "instance", "migrate")
            workspace = self.folder / "workspace.yaml"
            workspace.write_text(yaml.safe_dump(_WORKSPACE))
            self._add(
                CONTROL, "web", sys.executable, "-m", "pipelines.webserver", str(workspace), str(WEB_PORT)
            )
            self.add_daemon(CONTROL)
            self.replace_code(*WORKERS)
            self._stack = stack.pop_all()
        return self

    def _prepare(self, host: Host, s3: EmbeddedS3, dagster_url: str) -> None:
        """Give a host its folders, its settings, and ports that lead to the services."""
        place = self.folder / host.name
        for folder in ("home", "dagster", "site"):
            (place / folder).mkdir(parents=True)
        shutil.copytree(self.folder / "data", place / "data")
        shutil.copyfile(host_site.__file__, place / "site" / "sitecustomize.py")
        (place / "dagster" / "dagster.yaml").write_text(yaml.safe_dump(self._dagster_yaml(place)))
        parsed = sa.engine.make_url(self.ledger_url)
        database = host.reach("db", Path(str(parsed.query["host"])) / ".s.PGSQL.5432")
        provider_port = int(self.providers.urls[PROVIDER].rpartition(":")[2])
        secret = s3.settings.secret_access_key
        self.services[host.name] = {}
        for name, port in (("s3", s3.port), ("prov", provider_port)):
            self._add(host.name, name, *_relay(port, host.reach(name, ("127.0.0.1", port))))
        if host.name not in WORKERS:
            workers = [f"{self.hosts[name].address}:{CODE_PORT}" for name in WORKERS]
            self._add(host.name, "balancer", *_relay(CODE_PORT, *workers))
        urls = [
            sa.engine.URL.create(
                "postgresql+psycopg2",
                parsed.username,
                None,
                *_address(database),
                sa.engine.make_url(url).database,
            ).render_as_string(hide_password=False)
            for url in (self.ledger_url, dagster_url)
        ]
        provider = self.providers.urls[PROVIDER]
        self.variables[host.name] = {
            "DAILIES_ENV_FILE": "",
            "DAILIES_HOME": str(place / "home"),
            "DAILIES_DATA": str(place / "data"),
            "DAILIES_LEDGER_URL": urls[0],
            "DAGSTER_PG_URL": urls[1],
            "DAGSTER_HOME": str(place / "dagster"),
            "DAILIES_DAGSTER_URL": f"http://127.0.0.1:{WEB_PORT}",
            "DAILIES_WAVESPEED_URL": provider,
            "DAILIES_ALLOWED_ORIGINS": provider,
            "WAVESPEED_API_KEY": KEY,
            "DAILIES_WAVESPEED_DEDICATED": "true",
            "DAILIES_LINGER_SECONDS": "5",
            "DAILIES_S3_BUCKET": s3.bucket,
            "DAILIES_S3_ENDPOINT": f"http://127.0.0.1:{s3.port}",
            "AWS_ACCESS_KEY_ID": str(s3.access_key_id),
            "AWS_SECRET_ACCESS_KEY": secret.get_secret_value() if secret else "",
            "DAILIES_MAX_USD_PER_MONTH": CAP_USD,
            "PYTHONPATH": str(place / "site"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def _dagster_yaml(self, place: Path) -> dict[str, Any]:
        """The file of the small team's deployment, with this fleet's database and folders."""
        document: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose" / "dagster.yaml").read_text())
        document["storage"] = {"postgres": {"postgres_url": {"env": "DAGSTER_PG_URL"}}}
        document["compute_logs"] = {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        }
        document["local_artifact_storage"]["config"]["base_dir"] = str(place / "home")
        return document

    # Services

    def _code_server(self) -> tuple[str, ...]:
        module = ("-m", "pipelines.definitions", "-h", "0.0.0.0", "-p", str(CODE_PORT))
        return (sys.executable, "-m", "dagster", "api", "grpc", *module, "--fixed-server-id", "fleet")

    def add_daemon(self, host: str) -> None:
        """Run Dagster's daemon on a host."""
        self._add(
            host, "daemon", sys.executable, "-m", "pipelines.daemon", str(self.folder / "workspace.yaml")
        )

    def remove(self, host: str, name: str) -> None:
        """Kill a process of a host for good."""
        service = self.services[host].pop(name)
        if service.process is not None:
            end(service.process, politely=False)

    def add_code(self, worker: str) -> None:
        """Run a code server with the host's present settings on a worker that has none."""
        self._add(worker, "code", *self._code_server())

    def replace_code(self, *workers: str) -> None:
        """Give only these workers a code server, each started anew with its host's present settings, and wait until all answer.

        Dagster answers from the code that it has loaded, whichever server that came from. So each server's port is tried too: a server
        opens it when it has loaded its code.
        """
        for name in WORKERS:
            if "code" in self.services[name]:
                self.remove(name, "code")
        for name in workers:
            self.add_code(name)
        self.wait_for(
            "code servers", lambda: all(self._has_port_open(name) for name in workers), seconds=START_SECONDS
        )
        self.wait_for("Dagster with the code", self.has_loaded, seconds=START_SECONDS)

    def _has_port_open(self, worker: str) -> bool:
        try:
            socket.create_connection((self.hosts[worker].address, CODE_PORT), _CONNECT_SECONDS).close()
        except OSError:
            return False
        return True

    def power_off(self, host: str) -> dict[str, Service]:
        """Kill a host for good; returns its services."""
        services, self.services[host] = self.services[host], {}
        self.hosts[host].kill()
        for service in services.values():
            if service.process is not None:
                end(service.process, politely=False)
        return services

    def power_on(self, host: str, services: dict[str, Service]) -> None:
        """Start services that ran on a host before."""
        for name, service in services.items():
            self._add(host, name, *service.command)

    def set_clock_ahead(self, host: str, seconds: float) -> None:
        """Set `time.time()` ahead in every process that a host starts from now on."""
        self.variables[host][host_site.AHEAD] = str(seconds) if seconds else ""

    def _add(self, host: str, name: str, *command: str) -> None:
        self.services[host][name] = Service(command)
        self._start_service(host, name)

    def _start_service(self, host: str, name: str) -> None:
        service = self.services[host][name]
        self.starts[f"{host} {name}"] += 1
        with (self.folder / f"{host}-{name}.log").open("ab") as log:
            service.process = subprocess.Popen(
                [*self.hosts[host].prefix, *service.command],
                cwd=self.code.get(host, ROOT),
                env=self._environment(host),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=child_setup(),  # noqa: PLW1509 - only a C call between fork and exec
            )

    def _environment(self, host: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not is_ours(name)}
        found = kept | self.variables.get(host, {})
        if host in self.code:
            found["PYTHONPATH"] = f"{self.code[host]}:{found['PYTHONPATH']}"
        return found

    def tend(self) -> None:
        """Start ended services again, as a supervisor does."""
        for host, services in self.services.items():
            for name, service in services.items():
                if service.process is None or service.process.poll() is not None:
                    self._start_service(host, name)

    def _end_services(self) -> None:
        for host in self.hosts:
            self.power_off(host)

    # Commands of people

    def run(self, host: str, *command: str, exits: Sequence[int] = (0,)) -> str:
        """Run a command on a host; returns what it printed.

        Raises:
            RuntimeError: The command's exit code is not the expected one.
        """
        done = subprocess.run(
            [*self.hosts[host].prefix, *command],
            cwd=ROOT,
            env=self._environment(host),
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        if done.returncode not in exits:
            raise RuntimeError(
                f"{command[-4:]} on {host} exited with {done.returncode}: {done.stdout}{done.stderr}"
            )
        return done.stdout

    def ask(self, series: str) -> list[str]:
        """Order the clips of a series on the control host, as a person does; returns the ids of the runs."""
        said = json.loads(self.run(CONTROL, *CLI, "produce", series, "--yes", "--json"))
        return [str(run) for run in said["runs"]]

    def ask_and_wait(self, series: str) -> "subprocess.Popen[bytes]":
        """Order the clips of a series with `--wait`; the run waits for them too."""
        with self._log_of(series).open("ab") as log:
            return subprocess.Popen(
                [*self.hosts[CONTROL].prefix, *CLI, "produce", series, "--yes", "--json", "--wait"],
                cwd=ROOT,
                env=self._environment(CONTROL),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=child_setup(),  # noqa: PLW1509 - only a C call between fork and exec
            )

    def said_at(self, series: str) -> str:
        """The last lines that `produce --wait` printed."""
        return self._log_of(series).read_text()[-500:].strip()

    def _log_of(self, series: str) -> Path:
        return self.folder / f"produce-{series}.log"

    def graphql(self, query: str, **variables: Any) -> Any:
        """Query the webserver, which listens only on its own host."""
        asked = json.dumps({"query": query, "variables": variables})
        url = f"http://127.0.0.1:{WEB_PORT}/graphql"
        return json.loads(self.run(CONTROL, sys.executable, "-I", "-S", "-c", _ASK_WEB, url, asked))["data"]

    def has_loaded(self) -> bool:
        """Whether Dagster answers and has loaded the code."""
        query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
        try:
            return bool(self.graphql(query)["repositoriesOrError"].get("nodes"))
        except RuntimeError:
            return False

    # What the ledger and Dagster show

    def runs(self) -> dict[str, str]:
        """Dagster's status of each run, by its id."""
        with self.dagster.connect() as connection:
            found = connection.execute(sa.text("SELECT run_id, status FROM runs"))
            return {str(run): str(status) for run, status in found}

    def is_over(self) -> bool:
        """Whether every run has ended, and the end of every clip was reported to Dagster."""
        with self.engine.connect() as connection:
            untold = connection.execute(
                sa.text("SELECT count(*) FROM attempts WHERE reported_run_id IS NULL")
            )
            return untold.scalar() == 0 and set(self.runs().values()) <= set(_ENDED)

    def why_failed(self, run: str) -> str:
        """The error that the step of a failed run reports."""
        events = self.graphql(_WHY_FAILED, id=run)["runOrError"]["eventConnection"]["events"]
        return " ".join(
            event["failureMetadata"]["description"] for event in events if event.get("failureMetadata")
        )

    def hosts_of_runs(self, clips: Sequence[str]) -> dict[str, str]:
        """The host of each living run that watches one of these clips, by the run's id."""
        query = sa.text(
            "SELECT DISTINCT h.run_id, h.owner FROM heartbeats h JOIN attempts a ON a.watched_by = h.run_id "
            "WHERE a.subject_key = ANY(:clips) AND h.owner IS NOT NULL AND h.lost_at IS NULL"
        )
        with self.engine.connect() as connection:
            return {
                str(run): str(owner).partition("-")[0]
                for run, owner in connection.execute(query, {"clips": list(clips)})
            }


def _relay(port: int, *places: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "proof.fleet.hosts", str(port), *places)


def _address(place: str) -> tuple[str, int]:
    host, _, port = place.partition(":")
    return host, int(port)
