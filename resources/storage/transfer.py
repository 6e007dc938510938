"""Transferring a clip from the provider into the bucket: download and upload run in parallel.

The bytes go to a local file and to S3 at the same time, so a clip takes as long as the slower of the two instead of the sum. The last
bytes are held back until the whole file was inspected, so that a clip never appears under a wrong key.
"""

import hashlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from resources.errors import UnavailableError
from resources.storage.download import check_beginning
from resources.storage.download_policy import DownloadError, DownloadPolicy
from resources.storage.errors import ObjectConflictError, UnsupportedError
from resources.storage.objects import ObjectStore
from resources.storage.remote import RemoteFile

logger = logging.getLogger("dailies")

MP4 = "video/mp4"


class InterruptedTransferError(DownloadError):
    """The caller stopped the transfer."""


@dataclass(frozen=True)
class Transferred:
    """A file that is in the bucket."""

    key: str
    size: int
    """Its size in bytes."""
    sha256: str
    """Its SHA-256 in hex."""
    streamed: bool
    """Whether the upload ran during the download."""


@dataclass(frozen=True)
class Destination:
    """Where a file goes in the bucket."""

    store: ObjectStore
    key: str
    """The key that the file most likely gets; its upload begins there."""
    decide: Callable[[Path], str]
    """Inspects the whole file and returns its key. If it raises, nothing is stored."""


def transfer(
    url: str,
    path: Path,
    destination: Destination,
    *,
    policy: DownloadPolicy | None = None,
    stop: threading.Event | None = None,
) -> Transferred:
    """Fetch an MP4 and store it. Blocks: run it in a thread. Memory does not grow with the file.

    If S3 fails meanwhile, the download continues, and the local file is uploaded afterwards, with the store's retries. Nothing is fetched
    twice.

    Args:
        url: The address from a provider's answer, which is not trusted.
        path: A local file, which has the whole clip when this returns.
        policy: Limits of the download; None for the default ones.
        stop: Ends the transfer with an `InterruptedTransferError` when set.

    Raises:
        DownloadError: The clip could not be fetched. Nothing is stored.
        resources.storage.errors.StorageError: The bucket refuses the clip.
        resources.errors.UnavailableError: The outage of S3 was longer than the store's retries.
    """
    path.unlink(missing_ok=True)  # of an earlier try
    with RemoteFile(url, policy or DownloadPolicy()) as remote, path.open("xb") as file:
        arriving = _Arriving(remote, file, destination, stop)
        arriving.begin(url)
        streamed = remote.size is not None and _stream(destination, arriving, remote.size)
        place = arriving.finish()
    if not streamed:
        destination.store.put_file(place, path, sha256=arriving.sha256, content_type=MP4, md5=arriving.md5)
    return Transferred(place, remote.position, arriving.sha256, streamed)


def _stream(destination: Destination, arriving: "_Arriving", size: int) -> bool:
    """Upload the file while it arrives. Returns whether it is in the bucket."""
    try:
        destination.store.put_stream(destination.key, arriving, size=size, content_type=MP4)
    except (UnavailableError, ObjectConflictError, UnsupportedError) as error:
        if arriving.error is not None:
            raise arriving.error from None
        if not arriving.belongs_elsewhere:
            logger.info("%s; it is sent again from the file", error)
        return False
    return True


class _ElsewhereError(Exception):
    """The file gets another key than the one of the running upload."""


class _Arriving:
    """A remote file as the body of an upload. Everything that is read is also written to a local file."""

    def __init__(
        self, remote: RemoteFile, file: IO[bytes], destination: Destination, stop: threading.Event | None
    ) -> None:
        self.error: Exception | None = None
        """The error of reading or deciding. The sender of the body only sees that the body broke off."""
        self.belongs_elsewhere = False
        """Whether the body broke off because the file gets another key."""
        self._remote = remote
        self._file = file
        self._destination = destination
        self._stop = stop
        self._md5 = hashlib.md5(usedforsecurity=False) if destination.store.wants_md5 else None
        self._waiting = b""
        self._ended = False
        self._place: str | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 in hex of the bytes so far."""
        return self._remote.sha256

    @property
    def md5(self) -> str | None:
        """MD5 in hex of the bytes so far; None if it is not wanted."""
        return self._md5.hexdigest() if self._md5 else None

    def begin(self, url: str) -> None:
        """Read the first bytes, so that the size is known and anything but a video is refused.

        Raises:
            DownloadError: One of its kinds.
        """
        beginning = b""
        while len(beginning) < 8 and (piece := self._next()):
            beginning += piece
        check_beginning(url, self._remote.content_type, beginning)
        self._waiting = beginning

    def read(self, amount: int = -1) -> bytes:  # noqa: ARG002 - pieces are as large as they arrive: fewer calls
        """The next bytes for S3. The last bytes are returned only after the whole file was inspected and keeps its key."""
        try:
            piece = self._waiting or self._next()
            self._waiting = b""
            if self._remote.position == self._remote.size and piece:
                self._finish()
        except Exception as error:
            self.error = error
            raise
        if self._place is not None and self._place != self._destination.key:
            self.belongs_elsewhere = True
            raise _ElsewhereError
        return piece

    def finish(self) -> str:
        """Read the rest, which S3 did not ask for. Returns the file's key.

        Raises:
            DownloadError: One of its kinds.
        """
        while self._place is None and self._next():
            pass
        if self._place is None:
            self._finish()
        if self._place is None:
            raise AssertionError("the file was inspected")
        return self._place

    def _finish(self) -> None:
        if self._place is not None:
            return
        while self._next():
            pass  # raises if the file does not end where the server said
        self._file.flush()
        self._place = self._destination.decide(Path(self._file.name))

    def _next(self) -> bytes:
        if self._stop is not None and self._stop.is_set():
            raise InterruptedTransferError("the transfer was interrupted; it is made again later")
        piece = b"" if self._ended else self._remote.read()
        self._ended = not piece
        try:
            self._file.write(piece)
        except OSError as error:
            raise UnavailableError(
                f"the clip cannot be kept in {Path(self._file.name).parent} meanwhile: {error.strerror}. Free some space there"
            ) from error
        if self._md5:
            self._md5.update(piece)
        return piece
