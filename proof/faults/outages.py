"""Outages around the workers: the bucket's server, the ledger's lock, disk and server, the provider."""

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa

from proof.clock import FastClock
from resources.storage.embedded import EmbeddedS3

DISK_MB = 192
BUSY_SECONDS = 30.0
"""Seconds that a worker waits for the ledger's lock."""


class World:
    """The outages around the workers. Each blocks while it lasts, on the proof's clock.

    Args:
        ledger_url: The database.
        s3: The bucket's server.
        providers: Process ids of the providers.
        pace: The clock for the duration of outages.
        small_disk: The ledger's small filesystem; None if there is none.

    Attributes:
        done: The number of outages by kind.
    """

    def __init__(
        self,
        ledger_url: str,
        s3: EmbeddedS3,
        providers: list[int],
        *,
        pace: FastClock,
        small_disk: Path | None,
    ) -> None:
        self.done: Counter[str] = Counter()
        self._url = sa.engine.make_url(ledger_url)
        self._s3 = s3
        self._providers = providers
        self._pace = pace
        self._disk = small_disk
        self._s3_is_down = False

    def _last(self, seconds: float) -> None:
        time.sleep(self._pace.real(seconds))

    def all_kinds(self) -> list[Callable[[], None]]:
        """All outages that this machine can make."""
        kinds = [self.s3_stops, self.s3_dies, self.ledger_locked, self.provider_stops]
        if self._url.get_backend_name() == "postgresql":
            kinds.append(self.sessions_cut)
        elif self._disk is not None:
            kinds.append(self.disk_full)
        return kinds

    def s3_stops(self) -> None:
        """The bucket does not answer for a while."""
        pid = self._s3.pid
        if pid is not None:
            with _stopped(pid):
                self._last(80)
            self.done["S3 stopped for 80 s"] += 1

    def s3_dies(self) -> None:
        """The bucket's server is killed, and started again on the same port."""
        pid = self._s3.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            self._last(30)
            self._s3_is_down = True
            while self._s3_is_down:
                time.sleep(0.05)
            self.done["S3 killed, back after 30 s"] += 1

    def tend(self) -> None:
        """Start the killed server again; called by the main thread, with which its children end."""
        if self._s3_is_down:
            self._s3.start()
            self._s3_is_down = False

    def provider_stops(self) -> None:
        """The provider does not answer for a while."""
        with contextlib.ExitStack() as stack:
            for pid in self._providers:
                stack.enter_context(_stopped(pid))
            self._last(40)
        self.done["provider stopped for 40 s"] += 1

    def ledger_locked(self) -> None:
        """Another process holds the ledger's write lock for longer than any worker waits for it."""
        # workers wait for a second at least, see `worker.shorten_waits`
        seconds = max(BUSY_SECONDS, self._pace.factor) * 1.5
        if self._url.get_backend_name() == "sqlite":
            connection = sqlite3.connect(str(self._url.database), timeout=60, isolation_level=None)
            try:
                connection.execute("BEGIN IMMEDIATE")
                self._last(seconds)
                connection.execute("ROLLBACK")
            finally:
                connection.close()
        else:
            engine = sa.create_engine(self._url)
            with engine.begin() as held:
                held.execute(sa.text("LOCK TABLE attempts, submissions IN ACCESS EXCLUSIVE MODE"))
                self._last(seconds)
            engine.dispose()
        self.done[f"ledger locked for {seconds:.0f} s"] += 1

    def sessions_cut(self) -> None:
        """The database server ends all sessions, also during a commit."""
        engine = sa.create_engine(self._url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for _ in range(5):
                connection.execute(
                    sa.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                    )
                )
                time.sleep(0.3)
        engine.dispose()
        self.done["database sessions cut 5 times"] += 1

    def disk_full(self) -> None:
        """The ledger's filesystem is full for a while."""
        if self._disk is None:
            return
        ballast = self._disk / "ballast"
        try:
            with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
                while True:
                    file.write(b"\0" * 4096)
            self._last(50)
        finally:
            ballast.unlink(missing_ok=True)
        self.done["ledger's disk full for 50 s"] += 1


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a small filesystem on a folder; None if this user has no right to."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    made = (
        mount is not None
        and not subprocess.run(
            [mount, "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", folder],
            check=False,
            capture_output=True,
        ).returncode
    )
    try:
        yield folder if made else None
    finally:
        if made and umount is not None:
            subprocess.run([umount, "-l", folder], check=False, capture_output=True)


@contextlib.contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class InTurn:
    """Makes outages one after the other, each in a thread so that the storm continues.

    Args:
        kinds: The outages to make.
    """

    def __init__(self, kinds: list[Callable[[], None]]) -> None:
        self._kinds = kinds
        self._next = 0
        self._thread: threading.Thread | None = None

    def begin_next(self) -> None:
        """Begin the next outage, unless one still lasts."""
        if self._kinds and not self.lasts:
            self._thread = threading.Thread(target=self._kinds[self._next % len(self._kinds)], daemon=True)
            self._next += 1
            self._thread.start()

    @property
    def lasts(self) -> bool:
        """Whether an outage lasts."""
        return self._thread is not None and self._thread.is_alive()
