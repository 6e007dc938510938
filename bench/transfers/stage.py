"""The servers of the benchmark: files over HTTPS, a bucket, and slow connections to both."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from resources.storage.embedded import EmbeddedS3
from tests.certificates import self_signed

ROOT = Path(__file__).parents[2]
HEAD = b"\x00\x00\x00\x18ftypisom"


@dataclass(frozen=True)
class TransferSite:
    """The source and the destination of the files."""

    files: str
    """Address of the HTTPS server."""
    bucket: str
    """Address of the S3 server."""
    s3: EmbeddedS3
    """The bucket's server."""
    authority: Path
    """The certificate that signs the HTTPS server's certificate."""
    rclone: str
    """The rclone program."""


@contextlib.contextmanager
def staged(folder: Path, sizes: dict[str, int], *, rate: float | None) -> Iterator[TransferSite]:
    """Serve files of these sizes over HTTPS, and an empty bucket.

    Args:
        folder: Folder for all files.
        sizes: Bytes by name.
        rate: Bytes per second of one connection to either server; None for no limit.
    """
    served = folder / "served"
    served.mkdir(exist_ok=True)
    for name, size in sizes.items():
        if not (served / name).exists():
            _write(served / name, size)
    made = self_signed(folder, "localhost")
    certificate, key = made.file, made.key
    rclone = str(Path(sys.executable).with_name("rclone"))
    with contextlib.ExitStack() as stack:
        port = _free_port()
        command = [rclone, "serve", "http", str(served), "--config", "", "--addr", f"127.0.0.1:{port}"]
        stack.enter_context(_running([*command, "--cert", str(certificate), "--key", str(key)], {}))
        s3 = stack.enter_context(EmbeddedS3(folder / "s3"))
        _wait_for(port)
        bucket_port = urlsplit(s3.endpoint_url).port or 0
        if rate is not None:
            port, bucket_port = (stack.enter_context(_slow_line(to, rate)) for to in (port, bucket_port))
        yield TransferSite(
            f"https://localhost:{port}", f"http://127.0.0.1:{bucket_port}", s3, certificate, rclone
        )


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str]) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def _slow_line(port: int, rate: float) -> Iterator[int]:
    command = [sys.executable, "-m", "bench.transfers.lines", str(port), str(rate)]
    with _running(command, {"PYTHONPATH": str(ROOT)}) as process:
        if process.stdout is None:
            raise AssertionError("the line has a pipe")
        yield int(process.stdout.readline())


def _write(path: Path, size: int) -> None:
    block = secrets.token_bytes(1 << 20)
    with path.open("wb") as file:
        file.write(HEAD)
        left = size - len(HEAD)
        while left > 0:
            left -= file.write(block[: min(left, len(block))])


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait_for(port: int) -> None:
    give_up = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.02)
        else:
            return
