"""Local files that a series names: only inside the data folder, and checked before anything is sent.

Nothing here sends anything. A request contains a `FileReference`; the bytes are uploaded when the clip is bought.
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from resources.catalogue.file_types import HEAD_BYTES, Sniffed, sniff
from resources.declared.problems import Problem, ProblemsError, listed, show
from resources.file_references import FileReference
from resources.video.facts import UnreadableVideoError
from resources.video.inspector import own_inspector

MAX_BYTES = {"image": 20_000_000, "video": 100_000_000, "audio": 50_000_000}
"""The largest file of each kind, in bytes (WaveSpeed docs: upload-files)."""
MAX_INLINE_BYTES = 8_000_000
"""The largest file that is sent inside a request. No provider names a limit, and base64 makes a file a third larger."""
MAX_PATH = 300
"""Characters."""
TYPES = {"image": "a PNG, JPEG or WebP image", "video": "an MP4 or MOV video", "audio": "a WAV or MP3 sound"}

_REMEMBERED = 10_000


@dataclass(frozen=True)
class LocalFile:
    """A file of the data folder, as it was when it was checked."""

    reference: FileReference
    """Its path below the data folder and the SHA-256 of its content."""
    size: int
    """Bytes."""
    is_a: Sniffed
    """Its type, by its first bytes."""
    seconds: float | None = None
    """The duration of a video in seconds, None if it is unknown."""

    @property
    def upload_name(self) -> str:
        """Its name at a storage host: no name of this machine, and the extension of its type."""
        return f"{self.reference.sha256[:16]}{self.is_a.extension}"


class DataFolder:
    """The data folder, whose files series may name.

    A path is resolved with all its links, and must lead to a plain file inside the folder: `../../.env`, an absolute path
    and a link to the outside are refused.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._seen: dict[tuple[str, int, int, int], LocalFile] = {}

    def find(self, text: str, *, media: str) -> LocalFile:
        """Check the place, the type and the size of a file.

        Args:
            text: The path below the data folder: `images/harbor.png`.
            media: `image`, `video` or `audio`.

        Raises:
            ProblemsError: The file is not allowed; the problem has no field.
        """
        path, inside = self._inside(text)
        try:
            with self._open(path) as file:
                local = self._inspect(text, inside, file)
        except OSError as error:
            raise _refused(text, f"cannot be read: {error.strerror or type(error).__name__}") from None
        if local.is_a.media != media:
            raise _refused(text, f"is {TYPES[local.is_a.media]}", allowed=TYPES[media])
        return local

    def read(self, reference: FileReference) -> tuple[LocalFile, bytes]:
        """The bytes of a file that a request refers to, unchanged since the request was rendered.

        Raises:
            ProblemsError: The file is gone or has changed.
        """
        path, inside = self._inside(reference.path)
        try:
            with self._open(path) as file:
                local = self._inspect(reference.path, inside, file)
                file.seek(0)
                data = file.read(local.size)
        except OSError as error:
            raise _refused(
                reference.path, f"cannot be read: {error.strerror or type(error).__name__}"
            ) from None
        if hashlib.sha256(data).hexdigest() != reference.sha256:
            raise _refused(
                reference.path, "has changed since its prompt was rendered; materialize `prompts` again"
            )
        return local, data

    def _inside(self, text: str) -> tuple[Path, str]:
        """The file that a path leads to, and its path below the folder; a path to the outside is refused."""
        if not text or len(text) > MAX_PATH or not text.isprintable() or "#" in text or "\\" in text:
            raise _refused(text, allowed=f"a path of at most {MAX_PATH} plain characters, without # and \\")
        if text.startswith(("/", "~")) or ":" in text.split("/", maxsplit=1)[0]:
            raise _refused(text, allowed="a path below the data folder, e.g. images/harbor.png")
        try:
            root = self.root.resolve()
            path = (root / text).resolve(strict=True)
        except (OSError, RuntimeError, ValueError):
            if ".." in text.split("/"):
                raise _outside_data(text) from None
            raise _refused(text, "there is no such file in the data folder") from None
        # the message must not show whether a file outside exists
        if not path.is_relative_to(root) or path == root:
            raise _outside_data(text)
        inside = path.relative_to(root)
        if any(part.startswith(".") for part in inside.parts):
            raise _refused(text, "is a hidden file, which is never sent")
        return path, inside.as_posix()

    @contextlib.contextmanager
    def _open(self, path: Path) -> Iterator[BufferedReader]:
        # a pipe would block, and the file may have been replaced by a link since
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            yield file

    def _inspect(self, text: str, inside: str, file: BufferedReader) -> LocalFile:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise _refused(text, "is not a plain file")
        if not status.st_size:
            raise _refused(text, "is empty")
        largest = max(MAX_BYTES.values())
        if status.st_size > largest:
            raise _refused(text, allowed=f"at most {largest // 1_000_000} MB", found=_mb(status.st_size))
        identity = (inside, status.st_ino, status.st_size, status.st_ctime_ns)
        if (known := self._seen.get(identity)) is not None:
            return known
        is_a = sniff(file.read(HEAD_BYTES))
        if is_a is None:
            types = listed(list(TYPES.values())).replace("'", "")
            raise _refused(text, "has another type than its name says", allowed=types)
        if status.st_size > MAX_BYTES[is_a.media]:
            allowed = f"at most {MAX_BYTES[is_a.media] // 1_000_000} MB for {TYPES[is_a.media]}"
            raise _refused(text, allowed=allowed, found=_mb(status.st_size))
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        local = LocalFile(FileReference(inside, digest), status.st_size, is_a, _seconds(text, file, is_a))
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[identity] = local
        return local


def _seconds(text: str, file: BufferedReader, is_a: Sniffed) -> float | None:
    """The duration of a video in seconds, measured in the guarded process."""
    if is_a.media != "video":
        return None
    try:
        return own_inspector().seconds_of(file, "its content") or None
    except UnreadableVideoError as error:
        message = f"cannot be read as a video: {str(error).removeprefix('its content: ')}"
        raise _refused(text, message, allowed=TYPES["video"]) from None


def _refused(
    text: str, message: str = "", *, allowed: str | None = None, found: str | None = None
) -> ProblemsError:
    return ProblemsError([Problem("", message, found or show(text), allowed)])


def _outside_data(text: str) -> ProblemsError:
    return _refused(
        text,
        "leads out of the data folder; copy the file into it",
        allowed="a path below the data folder, e.g. images/harbor.png",
    )


def _mb(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
