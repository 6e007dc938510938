"""From the provider's address into the bucket: both ways at once, and visible only when all was looked at.

The bytes go to a file here and to S3 in the same moment, so that a clip takes as long as the slower of the two ways and
not as long as both. The last of them are held back until the whole file was looked at: a clip that does not belong where
it was going never appears there.
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
from resources.storage.errors import ObjectConflictError, UnsupportedError
from resources.storage.objects import ObjectStore
from resources.storage.policy import DownloadError, DownloadPolicy
from resources.storage.remote import RemoteFile

logger = logging.getLogger("dailies")

MP4 = "video/mp4"


class InterruptedTransferError(DownloadError):
    """The transfer was told to stop."""


@dataclass(frozen=True)
class Transferred:
    """A file that is in the bucket.

    Attributes:
        key: Where.
        size: Bytes.
        sha256: In hex.
        streamed: Whether it went there while it arrived here.
    """

    key: str
    size: int
    sha256: str
    streamed: bool


def transfer(
    url: str,
    path: Path,
    store: ObjectStore,
    *,
    key: str,
    decide: Callable[[Path], str],
    policy: DownloadPolicy | None = None,
    stop: threading.Event | None = None,
) -> Transferred:
    """Fetch an MP4 and store it. Blocks: run it in a thread. Memory does not grow with the file.

    When S3 fails on the way, the rest is still fetched and the file is stored from here, for as long as the store rides
    out an outage: nothing is fetched twice.

    Args:
        url: From a provider's answer: not to be trusted.
        path: A file here; it holds the whole clip when this returns.
        store: The bucket.
        key: Where it belongs, most likely.
        decide: Looks at the whole file and says where it belongs. An error of its own is raised, and nothing stored.
        policy: Limits and exceptions of the download; None for the usual ones.
        stop: Once it is set, the transfer ends with an `InterruptedTransferError`.

    Raises:
        DownloadError: It could not be fetched; see its kinds. Nothing is stored.
        resources.storage.errors.StorageError: The bucket refuses it.
        resources.errors.UnavailableError: S3 was down for longer than it is ridden out.
    """
    path.unlink(missing_ok=True)  # of an earlier try
    with RemoteFile(url, policy or DownloadPolicy()) as remote, path.open("xb") as file:
        arriving = _Arriving(remote, file, key, decide, stop, md5=store.wants_md5)
        arriving.begin(url)
        streamed = remote.size is not None and _stream(store, key, arriving, remote.size)
        place = arriving.finish()
    if not streamed:
        store.put_file(place, path, sha256=arriving.sha256, content_type=MP4, md5=arriving.md5)
    return Transferred(place, remote.position, arriving.sha256, streamed)


def _stream(store: ObjectStore, key: str, arriving: "_Arriving", size: int) -> bool:
    """Send the file while it arrives; whether it is in the bucket now."""
    try:
        store.put_stream(key, arriving, size=size, content_type=MP4)
    except (UnavailableError, ObjectConflictError, UnsupportedError) as error:
        if arriving.error is not None:
            raise arriving.error from None
        if not arriving.belongs_elsewhere:
            logger.info("%s; it is sent again from the file", error)
        return False
    return True


class _ElsewhereError(Exception):
    """The file does not belong where it is being sent."""


class _Arriving:
    """A remote file as the body of an upload: everything that is read is also written to a file here.

    Attributes:
        error: What reading or deciding raised; whoever sends the body only sees that it broke.
        belongs_elsewhere: Whether it broke because the file belongs under another key.
    """

    def __init__(
        self,
        remote: RemoteFile,
        file: IO[bytes],
        key: str,
        decide: Callable[[Path], str],
        stop: threading.Event | None,
        *,
        md5: bool,
    ) -> None:
        self.error: Exception | None = None
        self.belongs_elsewhere = False
        self._remote = remote
        self._file = file
        self._key = key
        self._decide = decide
        self._stop = stop
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None
        self._waiting = b""
        self._ended = False
        self._place: str | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 of what has arrived."""
        return self._remote.sha256

    @property
    def md5(self) -> str | None:
        """MD5 of what has arrived, where it is wanted."""
        return self._md5.hexdigest() if self._md5 else None

    def begin(self, url: str) -> None:
        """Read the first bytes: the size is known then, and what is no video ends here.

        Raises:
            DownloadError: See its kinds.
        """
        beginning = b""
        while len(beginning) < 8 and (piece := self._next()):
            beginning += piece
        check_beginning(url, self._remote.content_type, beginning)
        self._waiting = beginning

    def read(self, amount: int = -1) -> bytes:  # noqa: ARG002 - pieces are as large as they arrive: fewer calls
        """The next bytes for S3; the last ones only when the whole file was looked at and belongs there."""
        try:
            piece = self._waiting or self._next()
            self._waiting = b""
            if self._remote.position == self._remote.size and piece:
                self._to_the_end()
        except Exception as error:
            self.error = error
            raise
        if self._place is not None and self._place != self._key:
            self.belongs_elsewhere = True
            raise _ElsewhereError
        return piece

    def finish(self) -> str:
        """Read what S3 did not ask for any more; returns where the file belongs.

        Raises:
            DownloadError: See its kinds.
        """
        while self._place is None and self._next():
            pass
        if self._place is None:
            self._to_the_end()
        if self._place is None:
            raise AssertionError("the file was looked at")
        return self._place

    def _to_the_end(self) -> None:
        if self._place is not None:
            return
        while self._next():
            pass  # the end is where the server said, or this raises
        self._file.flush()
        self._place = self._decide(Path(self._file.name))

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
