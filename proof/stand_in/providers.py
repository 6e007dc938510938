"""The stand-ins of a round, one process for each provider."""

import hashlib
import json
import queue
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

from proof.children import end, start
from proof.clock import FastClock
from proof.jobs import JobRecord
from proof.stand_in.books import StandInBooks, read
from proof.stand_in.mischief import Mischief

if TYPE_CHECKING:
    import subprocess

KEY = "key-of-the-proof"
NAMES = ("wavespeed", "aimlapi", "fal", "replicate")


class Providers:
    """The processes; a context manager.

    Attributes:
        moments: Moments at which a client may be killed: its action, and its port.
        urls: Address of each provider.
        pids: Ids of the processes.
    """

    def __init__(
        self, folder: Path, pace: FastClock, mischief: Mischief, names: Iterable[str] = NAMES
    ) -> None:
        self.moments: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
        self.urls: dict[str, str] = {}
        self.pids: list[int] = []
        self._folder, self._pace, self._mischief, self._names = folder, pace, mischief, tuple(names)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        orders = self._folder / "mischief.json"
        orders.write_text(json.dumps(asdict(self._mischief)))
        with ExitStack() as stack:
            for name in self._names:
                place = self._folder / name
                place.mkdir()
                command = [
                    *(sys.executable, "-m", "proof.stand_in", "--provider", name, "--folder", str(place)),
                    *("--mischief", str(orders), "--key", KEY),
                    *("--origin", repr(self._pace.origin), "--factor", repr(self._pace.factor)),
                ]
                log = place / "process.log"
                process = start(command, log)
                stack.callback(end, process)
                assert process.stdout is not None
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError(f"the stand-in of {name} did not start: {log.read_text()[-2000:]}")
                self.urls[name] = json.loads(line)["url"]
                self.pids.append(process.pid)
                threading.Thread(target=self._listen, args=(process,), daemon=True).start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def tell(self, what: str) -> None:
        """Send `calm`, `strangers/on` or `strangers/off` to every provider."""
        for url in self.urls.values():
            httpx.post(f"{url}/proof/{what}", timeout=30, trust_env=False).raise_for_status()

    def books(self) -> StandInBooks:
        """The books of all providers; a copy stays in the folder."""
        documents: dict[str, Any] = {}
        for name, url in self.urls.items():
            answer = httpx.get(f"{url}/admin/books", params={"requests": 1}, timeout=60, trust_env=False)
            documents[name] = answer.raise_for_status().json()
            (self._folder / f"books-{name}.json").write_bytes(answer.content)
        return read(documents, off=self._mischief.clock_off, refund_seconds=self._mischief.refund_seconds)

    def sha256(self, job: JobRecord) -> str:
        """SHA-256 of a job's file as the provider serves it, in hex."""
        answer = httpx.get(f"{self.urls[job.provider]}{job.file}", timeout=60, trust_env=False)
        return hashlib.sha256(answer.raise_for_status().content).hexdigest()

    def _listen(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            self.moments.put((said["moment"], said["port"]))
