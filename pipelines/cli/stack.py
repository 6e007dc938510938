"""Everything dailies needs on one machine: Dagster's webserver and daemon, and stand-ins for missing settings.

Without a provider's key, the sandbox stands in; without a bucket, the embedded S3. The pipeline gets addresses and keys from its
environment and works in the same way.
"""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from pydantic import SecretStr

from pipelines.cli.dagster_api import DagsterApi
from pipelines.cli.ports import HOST, answers, check_port_is_free, free_port, kept_port, listen_for_room
from pipelines.cli.schedule_watch import ScheduleWatch
from pipelines.cli.stack_policy import StackPolicy
from pipelines.cli.stack_state import SANDBOX_KEY_FILE, STATE_FILE
from pipelines.cli.supervision import CodeWatch, Deaths, end_child
from pipelines.cli.takeover import hand_over, link_dagster_yaml, only_stack, take_over
from resources.dagster_names import named
from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.guard import check_listening
from resources.home import SOCKETS, UMASK, make_private, socket_folder
from resources.keeper import release_keeper, start_keeper
from resources.processes import child_setup, started_at
from resources.program_files import program_root
from resources.settings import BUCKET, Settings, pinned
from resources.shared_data.source import bring
from resources.storage.embedded import EmbeddedS3, FolderServedError
from resources.variables import ENV_FILE, FOLLOWS_POLICY, PINNED, SANDBOX_KEY, STACK

if TYPE_CHECKING:
    import socket

__all__ = ["HOST", "Stack", "StackOptions", "check_port_is_free", "free_port"]

START_SECONDS = 120.0
S3_SECONDS = 60.0
"""How long to wait for a command that uses the embedded S3."""
TEND_SECONDS = 20.0
"""How often `dailies up` looks at the data folder, and at a code location that did not answer."""
CODE_SECONDS = 60.0
"""How often it asks the code location for an answer; that its process lives is seen without asking, every few seconds."""


@dataclass
class StackOptions:
    """What to start."""

    port: int = 3000
    """The port of Dagster's webserver."""
    host: str = HOST
    """The address that Dagster's webserver listens at; everything else listens at 127.0.0.1."""
    sandbox: bool | None = None
    """Whether the sandbox stands in for the providers; None: if no key is set."""
    embedded_s3: bool | None = None
    """Whether the embedded S3 stands in for the bucket; None: if no bucket is set."""
    sandbox_options: list[str] = field(default_factory=list)
    """Further arguments of the sandbox, e.g. `["--job-seconds", "20"]`."""
    alarms: bool = True
    """Whether to send alarms; the demo sends none, since one of its clips fails on purpose."""
    log: Callable[[str], None] = lambda _message: None
    """Prints progress."""


class Stack:
    """The running processes; a context manager that always ends them, by id."""

    def __init__(self, settings: Settings, options: StackOptions) -> None:
        self.settings = settings
        self.options = options
        self.home = settings.home.absolute()
        self.uses_sandbox = not settings.accounts_with_key if options.sandbox is None else options.sandbox
        self.uses_embedded_s3 = not settings.s3_bucket if options.embedded_s3 is None else options.embedded_s3
        self.dagster_url = f"http://{HOST}:{options.port}"
        self._room_socket: socket.socket | None = None
        self.sandbox_url: str | None = None
        self.environment = dict(os.environ)
        self._schedules = ScheduleWatch(settings.data)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._s3: EmbeddedS3 | None = None
        self.id = secrets.token_hex(8)
        self._held = contextlib.ExitStack()
        self._keeper: subprocess.Popen[bytes] | None = None
        self._commands: dict[str, list[str]] = {}
        self._deaths = Deaths()
        self._policy = StackPolicy(options.log)
        self._code_watch = CodeWatch(self.home)
        self._sockets = self.home / SOCKETS
        self._sockets_are_elsewhere = False
        self._umask: int | None = None
        self._wrote_state = False
        self._tended_at = self._code_asked_at = time.monotonic()
        self._code_was_gone = False

    @property
    def room_url(self) -> str:
        """The address of the room."""
        port = self._room_socket.getsockname()[1] if self._room_socket else 0
        return f"http://{HOST}:{port}/"

    def __enter__(self) -> Self:
        # all processes inherit it, so that no other user of the machine can read their files
        self._umask = os.umask(UMASK)
        try:
            self._prepare()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # Starting

    def _prepare(self) -> None:
        dagster_home = self.home / "dagster"
        try:
            make_private(self.home, whole=True)
            self._held.enter_context(only_stack(self.home, self.dagster_url))
            take_over(self.settings, self.home, dagster_home, log=self.options.log)
            self._sockets, self._sockets_are_elsewhere = socket_folder(self.home)
            for folder in ("dagster", "logs", "tmp"):
                (self.home / folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write to {self.home}: {error.strerror}. Choose another folder with DAILIES_HOME."
            ) from None
        if not self.settings.reads_bucket and not self.settings.data.is_dir():
            raise ConfigurationError(
                f"there is no data folder {self.settings.data}. Run dailies from the folder of the project, or set DAILIES_DATA."
            )
        # a folder may not be pushed yet, and the embedded S3 starts later
        with contextlib.suppress(DailiesError):
            self._read_pushed_folder()
        check_listening(self.options.host, self.settings.allowed_hosts)
        if self.options.host not in {HOST, "0.0.0.0"}:  # noqa: S104 - compared
            raise ConfigurationError(
                f"`dailies up` asks its own Dagster at {HOST}, so --host takes {HOST} or 0.0.0.0, not {self.options.host}. Keep others out "
                "with a firewall. Nothing was started."
            )
        check_port_is_free(self.options.port)
        self._room_socket = self._held.enter_context(listen_for_room(self.home))
        link_dagster_yaml(dagster_home)
        self.environment |= {
            "DAILIES_HOME": str(self.home),
            "DAILIES_DATA": str(BUCKET if self.settings.reads_bucket else self.settings.data.absolute()),
            "DAILIES_DAGSTER_URL": self.dagster_url,
            "DAGSTER_HOME": str(dagster_home),
            # named here, because a stack without keys and bucket reads no .env
            **named(self.settings),
            STACK: f"{self.id}:{self.home}",
            # no process imports from the working directory
            "PYTHONSAFEPATH": "1",
            # how often Dagster looks for runs to retry; its default is 5, but the loss of a worker takes minutes to notice anyway
            "DAGSTER_EVENT_LOG_CONSUMER_DAEMON_INTERVAL_SECONDS": "15",
            "PYTHONUNBUFFERED": "1",
            **({FOLLOWS_POLICY: "true"} if self._policy.put_in_force(self.settings) else {}),
            # the folder for the sockets of the processes that hold the code
            "TMPDIR": str(self._sockets),
        }
        self._keeper = start_keeper(self.home, self.id, self.environment)

    def _start(self) -> None:
        code_socket = self._sockets / "code.sock"
        if self.uses_sandbox:
            self._start_sandbox()
        if self.uses_embedded_s3:
            self._start_s3()
        if self.uses_sandbox and self.uses_embedded_s3:
            # a stack that promises to spend nothing must see nothing of the person's own .env
            self.environment[ENV_FILE] = ""
        away = dict.fromkeys(["AWS_SESSION_TOKEN"] if self.uses_embedded_s3 else [])
        if not self.options.alarms:
            away["DAILIES_ALARM_URL"] = None
        self.environment[PINNED] = pinned(
            {**self.environment, **away},
            [
                name
                for account in self.settings.declared_accounts.found.values()
                for name in account.key_variables
            ],
        )
        self.options.log("starting Dagster")
        python = [sys.executable, "-m"]
        serve_code = ["pipelines.code_server", "code-server", "start", "-m", "pipelines.definitions"]
        # our packages, even if the working directory has its own `pipelines` or `resources`
        serve_code += ["--working-directory", str(program_root()), "--socket", str(code_socket)]
        self._spawn("code", [*python, *serve_code])
        workspace = self.home / "workspace.yaml"
        workspace.write_text(
            f"load_from:\n  - grpc_server: {{socket: {json.dumps(str(code_socket))}, location_name: {self.settings.location}}}\n"
        )
        self._wait("code", lambda: answers(str(code_socket)))
        self._spawn(
            "webserver",
            [*python, "pipelines.webserver", str(workspace), str(self.options.port), self.options.host],
        )
        # not waited for, since Dagster works without the room
        room_socket = str(self._room_socket.fileno()) if self._room_socket else ""
        self._spawn("room", [*python, "pipelines.cli.room", "--fd", room_socket])
        self._spawn("daemon", [*python, "pipelines.daemon", str(workspace)])
        with DagsterApi(self.dagster_url) as api:
            self._wait("webserver", lambda: answers((HOST, self.options.port)) and api.is_ready())
        self._write_state()

    def _start_sandbox(self) -> None:
        self.options.log("starting the sandbox: it speaks the providers' wire formats and costs nothing")
        key = self._secret(SANDBOX_KEY_FILE)
        state = self.home / "sandbox"
        place = self.home / "sandbox-port"
        # the output addresses of finished jobs have the earlier port
        port = kept_port(place)
        command = [sys.executable, "-m", "resources.sandbox", "--port", str(port), "--state", str(state)]
        # in the environment, since other users of the machine can read arguments
        self.environment[SANDBOX_KEY] = key
        self._spawn("sandbox", [*command, *self.options.sandbox_options], stdout=subprocess.PIPE)
        line = self._first_line("sandbox")
        self.sandbox_url = str(json.loads(line)["url"])
        # after a crash it must restart at the same port
        command[command.index("--port") + 1] = self.sandbox_url.rpartition(":")[2]
        place.write_text(self.sandbox_url.rpartition(":")[2])
        self._commands["sandbox"] = [*command, *self.options.sandbox_options]
        self.environment |= {
            **self.settings.sandbox_variables(self.sandbox_url, key),
            "DAILIES_ALLOWED_ORIGINS": self.sandbox_url,
        }

    def _start_s3(self) -> None:
        self.options.log("starting the embedded S3")
        self._s3 = EmbeddedS3(
            self.home / "s3",
            secret_access_key=self._s3_secret(),
            mark={STACK: self.environment[STACK]},
        )
        try:
            self._s3.start()
        except FolderServedError as error:
            self.options.log(f"waiting up to {S3_SECONDS:.0f} s, since {error.why}")
            self._s3.start(patience_seconds=S3_SECONDS)
        settings = self._s3.settings
        secret = settings.secret_access_key.get_secret_value() if settings.secret_access_key else ""
        self.environment |= {
            "DAILIES_S3_ENDPOINT": self._s3.endpoint_url,
            "DAILIES_S3_BUCKET": settings.bucket,
            "AWS_ACCESS_KEY_ID": settings.access_key_id or "",
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": settings.region,
        }
        self.environment.pop("AWS_SESSION_TOKEN", None)

    def _s3_secret(self) -> SecretStr:
        return SecretStr(self._secret("s3-secret"))

    def _secret(self, name: str) -> str:
        """A key that stays the same at each start, so that tools and commands with it keep working."""
        file = self.home / name
        if not file.exists():
            file.touch(mode=0o600)
            file.write_text(secrets.token_urlsafe(24))
        return file.read_text().strip()

    def _spawn(self, name: str, command: list[str], *, stdout: int | None = None) -> None:
        self._commands[name] = command
        with (self.home / "logs" / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603 - our own commands
                command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log if stdout is None else stdout,
                stderr=log,
                start_new_session=True,
                pass_fds=[self._room_socket.fileno()] if name == "room" and self._room_socket else [],
                preexec_fn=child_setup(),  # noqa: PLW1509 - only a C call between fork and exec
            )

    def _first_line(self, name: str) -> str:
        process = self.processes[name]
        line = process.stdout.readline().decode() if process.stdout else ""
        if not line:
            raise self._why_ended(name)
        return line

    def _wait(self, name: str, ready: Callable[[], bool]) -> None:
        give_up = time.monotonic() + START_SECONDS
        while not ready():
            self.check()
            if time.monotonic() > give_up:
                raise UnavailableError(
                    f"{name} did not start within {START_SECONDS:.0f} s; see {self._log_of(name)}"
                )
            time.sleep(0.2)

    def check(self) -> None:
        """Check that every process is still running.

        Raises:
            UnavailableError: A process has ended; the text names its log.
        """
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise self._why_ended(name)

    def tend(self) -> None:
        """Restart processes that have died, e.g. because memory was short: ours, or the one that holds the code.

        Dagster's code server outlives the process that holds the code and does not replace it; meanwhile nothing is polled and no paid
        clip is fetched. So Dagster is also asked whether the code is gone. The process is replaced after it was gone twice in a row, since a
        reload replaces it too.

        Raises:
            ConfigurationError: The embedded S3 cannot be restarted.
            UnavailableError: The embedded S3 cannot be restarted, or a process ends repeatedly; the text names its log.
        """
        if self._s3 is not None and self._s3.pid is None:
            self.options.log("the embedded S3 has ended; starting it again")
            self._s3.start()
        if self._keeper is not None and self._keeper.poll() is not None:
            self._keeper = start_keeper(self.home, self.id, self.environment)
        self._revive()
        code = self.processes.get("code")
        if code is not None and self._code_watch.is_gone(code.pid):
            self._load_code_anew()
        if time.monotonic() < self._tended_at + TEND_SECONDS:
            return
        if self._code_was_gone or time.monotonic() >= self._code_asked_at + CODE_SECONDS:
            self._ask_for_code()
        with contextlib.suppress(DailiesError):
            self._read_pushed_folder()
        with contextlib.suppress(DailiesError):
            self._policy.follow(self.settings)
        if changed := self._schedules.changed():
            self._load_code_anew(f"schedules and accounts have changed ({', '.join(changed)}); loading them")
        self._tended_at = time.monotonic()

    def _ask_for_code(self) -> None:
        with DagsterApi(self.dagster_url) as api, contextlib.suppress(DailiesError):
            was_gone, self._code_was_gone = self._code_was_gone, api.code_is_gone()
            if was_gone and self._code_was_gone:
                self._load_code_anew()
        self._code_asked_at = time.monotonic()

    def _read_pushed_folder(self) -> None:
        """Read the data folder that was pushed last, if this host reads the bucket's."""
        pushed = bring(self.settings)
        if pushed.data != self.settings.data:
            self.settings = pushed
            self._schedules.look_at(pushed.data)

    def _revive(self) -> None:
        for name, process in list(self.processes.items()):
            if process.poll() is None:
                continue
            if self._deaths.are_too_many(name):
                raise self._why_ended(name)
            self.options.log(f"{name} has ended; starting it again")
            if process.stdout is not None:
                process.stdout.close()
            self._spawn(name, self._commands[name])
            self._write_state()

    def _load_code_anew(
        self, why: str = "the process that holds the code has ended; starting it again"
    ) -> None:
        self._code_was_gone = False
        self.options.log(why)
        with DagsterApi(self.dagster_url) as api, contextlib.suppress(DailiesError):
            if (failure := api.load_code_anew()) is not None:
                self.options.log(f"Dagster could not load the definitions: {failure}")

    def _why_ended(self, name: str) -> DailiesError:
        lines = [line for line in self._log_of(name).read_text(errors="replace").splitlines() if line.strip()]
        last = lines[-1][:300] if lines else "it said nothing"
        return UnavailableError(f"{name} has ended: {last}\nIts log: {self._log_of(name)}")

    def _log_of(self, name: str) -> Path:
        return self.home / "logs" / f"{name}.log"

    def _write_state(self) -> None:
        state = {
            "pid": os.getpid(),
            "started_at": started_at(os.getpid()),
            "dagster_url": self.dagster_url,
            "dagster_home": self.environment["DAGSTER_HOME"],
            "sandbox_url": self.sandbox_url,
            "room_url": self.room_url,
            "s3_url": None if self._s3 is None else self._s3.endpoint_url,
            "processes": {name: process.pid for name, process in self.processes.items()},
        }
        (self.home / STATE_FILE).write_text(json.dumps(state, indent=2))
        self._wrote_state = True

    # Stopping

    def stop(self) -> None:
        """Let active runs hand over, and end every process that was started.

        A second Ctrl-C ends them by force.
        """
        try:
            self._stop()
        finally:
            for process in self.processes.values():
                end_child(process)
            if self._s3 is not None:
                self._s3.stop()
            self.processes.clear()
            if self._keeper is not None:
                release_keeper(self._keeper)
            if self._sockets_are_elsewhere:
                shutil.rmtree(self._sockets, ignore_errors=True)
            if self._wrote_state:
                (self.home / STATE_FILE).unlink(missing_ok=True)
            self._held.close()
            if self._umask is not None:
                os.umask(self._umask)

    def _stop(self) -> None:
        # no new run begins, and active runs still have their providers and their bucket
        for names in (("daemon",), ("webserver", "room", "code", "sandbox")):
            for name in names:
                process = self.processes.get(name)
                if process is not None and process.poll() is None:
                    process.terminate()
            if names == ("daemon",) and self._wrote_state:
                hand_over(self.settings, self.home, self.id, log=self.options.log)
