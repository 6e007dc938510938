"""Fetching one output into one file: all of it, verified, or nothing."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from resources.storage.addresses import shown
from resources.storage.body import is_mp4
from resources.storage.policy import (
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
    """A file that was fetched whole.

    Attributes:
        size: Bytes.
        sha256: In hex.
        content_type: As the server said, e.g. `video/mp4`.
    """

    size: int
    sha256: str
    content_type: str


def download(url: str, destination: Path, *, policy: DownloadPolicy | None = None) -> Downloaded:
    """Fetch an MP4. Blocks: run it in a thread. Memory does not grow with the file.

    Args:
        url: From a provider's answer: not to be trusted.
        destination: Appears when the file is whole, and not before; what was there is replaced.
        policy: Limits and exceptions; None for the usual ones.

    Raises:
        DownloadError: See its kinds, `retryable` and `expired`. Nothing is left behind.
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
    """Refuse what is no MP4 by its first eight bytes; its type is only named, since servers label videos as anything.

    Raises:
        NotAVideoError: It is something else.
    """
    if is_mp4(beginning):
        return
    what = "the file is empty"
    if beginning:
        what = "what was sent does not begin like an MP4"
        if content_type.startswith(_TEXT):
            what = f"{content_type} was sent, not a video"
    raise NotAVideoError(f"{shown(url)}: {what}; it is to be fetched again later")
