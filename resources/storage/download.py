"""Downloading one output into one local file, whole and verified, or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resources.storage.addresses import shown
from resources.storage.body import is_mp4
from resources.storage.download_policy import (
    ChangedError,
    DownloadError,
    DownloadPolicy,
    NotAVideoError,
    OutputGoneError,
    RefusedError,
    TooLargeError,
    UnsafeAddressError,
)
from resources.storage.remote import RemoteFile

__all__ = [
    "ChangedError",
    "DownloadError",
    "DownloadPolicy",
    "Downloaded",
    "NotAVideoError",
    "OutputGoneError",
    "RefusedError",
    "TooLargeError",
    "UnsafeAddressError",
    "download",
]

_PREFIX = ".fetching-"
_TEXT = ("text/", "application/json", "application/xml", "application/xhtml")


@dataclass(frozen=True)
class Downloaded:
    """A file that was fetched completely."""

    size: int
    """Bytes."""
    sha256: str
    """In hex."""
    content_type: str
    """The server's media type, e.g. `video/mp4`."""


def download(url: str, destination: Path, *, policy: DownloadPolicy | None = None) -> Downloaded:
    """Fetch an MP4. Blocks: run it in a thread. Memory does not grow with the file.

    Args:
        url: The address from a provider's answer, which is not trusted.
        destination: The file, which appears once it is complete and replaces an earlier one.
        policy: Limits of the download; None for the default ones.

    Raises:
        DownloadError: One of its kinds. Nothing is left behind.
    """
    with RemoteFile(url, policy or DownloadPolicy()) as remote, _appearing(destination) as part:
        with part.open("xb") as file:
            beginning = b""
            while len(beginning) < 8 and (piece := remote.read()):
                beginning += piece
            check_beginning(url, remote.content_type, beginning)
            file.write(beginning)
            while piece := remote.read():
                file.write(piece)
        return Downloaded(remote.position, remote.sha256, remote.content_type)


@contextlib.contextmanager
def _appearing(destination: Path) -> Iterator[Path]:
    part = destination.with_name(f"{_PREFIX}{os.getpid()}-{secrets.token_hex(6)}")
    try:
        yield part
        part.replace(destination)
    finally:
        part.unlink(missing_ok=True)


def check_beginning(url: str, content_type: str, beginning: bytes) -> None:
    """Refuse a file whose first eight bytes are not those of an MP4. Servers label videos as anything, so the type does not count.

    Raises:
        NotAVideoError: The file is not an MP4.
    """
    if is_mp4(beginning):
        return
    problem = "the file is empty"
    if beginning:
        problem = "what was sent does not begin like an MP4"
        if content_type.startswith(_TEXT):
            problem = f"{content_type} was sent, not a video"
    raise NotAVideoError(f"{shown(url)}: {problem}; it is to be fetched again later")
