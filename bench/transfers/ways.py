"""The compared ways: dailies' own transfers, `curl | curl`, and `rclone copyurl`."""

import csv
import json
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.transfers.stage import ROOT, TransferSite
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import client_for

Files = list[tuple[str, str]]
"""Name of the served file, and the key for it."""


@dataclass(frozen=True)
class Moved:
    """The cost of moving some files."""

    seconds: float
    """Real seconds."""
    cpu_seconds: float
    """CPU seconds of the client, without the servers."""
    peak_mb: float | None = None
    """Peak memory of the client in megabytes, if it was measured."""


class Dailies:
    """The product's transfers, in one process that runs already, as a run worker does."""

    name = "dailies: transfer with SHA-256 and MD5, kept in a file too"

    def __init__(self, stage: TransferSite) -> None:
        self._stage = stage
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.transfers.mover"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "SSL_CERT_FILE": str(stage.authority)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __call__(self, files: Files, at_once: int) -> Moved:
        """Move files, up to a number at once."""
        settings = self._stage.s3.settings
        order = {
            "files": [(f"{self._stage.files}/{name}", key) for name, key in files],
            "at_once": at_once,
            "endpoint": self._stage.bucket,
            "bucket": settings.bucket,
            "key_id": settings.access_key_id,
            "secret": settings.secret_access_key.get_secret_value() if settings.secret_access_key else "",
        }
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("the mover has pipes")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the mover died")
        found: dict[str, Any] = json.loads(line)
        if found["streamed"] != len(files):
            raise RuntimeError(f"only {found['streamed']} of {len(files)} files went both ways at once")
        return Moved(found["seconds"], found["cpu_seconds"], found["peak_mb"])


def curl(stage: TransferSite, folder: Path) -> Callable[[Files, int], Moved]:
    """`curl | curl` to presigned addresses, a pair of processes for each file."""
    store = ObjectStore(stage.s3.settings.model_copy(update={"endpoint_url": stage.bucket}))

    def move(files: Files, at_once: int) -> Moved:
        lines = []
        for name, key in files:
            size = (folder / "served" / name).stat().st_size
            target = client_for(store.settings).generate_presigned_url(
                "put_object", Params={"Bucket": store.bucket, "Key": key}, ExpiresIn=600
            )
            get = ["curl", "-sSf", "--cacert", str(stage.authority), f"{stage.files}/{name}"]
            put = [
                "curl",
                "-sSf",
                "-T",
                "-",
                "-H",
                f"Content-Length: {size}",
                "-H",
                "Transfer-Encoding:",
                target,
            ]
            lines.append(f"{shlex.join(get)} | {shlex.join(put)}")
        jobs = folder / "jobs"
        jobs.write_text("".join(f"{line}\0" for line in lines))
        command = ["xargs", "-0", "-a", str(jobs), "-P", str(at_once), "-n", "1", "sh", "-c"]
        return _timed([*command], {})

    return move


def rclone(stage: TransferSite, folder: Path) -> Callable[[Files, int], Moved]:
    """`rclone copyurl` over a list of addresses, one process for all."""
    settings = stage.s3.settings
    secret = settings.secret_access_key.get_secret_value() if settings.secret_access_key else ""
    environment = {
        "RCLONE_S3_PROVIDER": "Rclone",
        "RCLONE_S3_ENDPOINT": stage.bucket,
        "RCLONE_S3_ACCESS_KEY_ID": settings.access_key_id or "",
        "RCLONE_S3_SECRET_ACCESS_KEY": secret,
    }

    def move(files: Files, at_once: int) -> Moved:
        addresses = folder / "addresses.csv"
        with addresses.open("w", newline="") as file:
            csv.writer(file).writerows([f"{stage.files}/{name}", key] for name, key in files)
        command = [
            stage.rclone,
            "copyurl",
            "--urls",
            str(addresses),
            f":s3:{settings.bucket}",
            "--config",
            "",
        ]
        command += ["--transfers", str(at_once), "--ca-cert", str(stage.authority)]
        return _timed(command, environment)

    return move


def _timed(command: list[str], environment: dict[str, str]) -> Moved:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{Path(command[0]).name} failed: {done.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Moved(seconds, cpu)


def startup_seconds() -> float:
    """Seconds until the product's process can move a file; a run worker has them behind it."""
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", "import bench.transfers.mover, boto3"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    return time.monotonic() - began
