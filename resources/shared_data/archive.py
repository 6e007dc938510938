"""The archive of a data folder: a tar.gz whose bytes follow from its files, and that is read with the checks for untrusted input."""

import errno
import gzip
import hashlib
import io
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from resources.errors import ConfigurationError, UnavailableError
from resources.program_files import models_beside
from resources.shared_data.snapshot import (
    MOST_BYTES,
    MOST_FILES,
    DataFile,
    Snapshot,
    check_path,
    place_of,
    short,
)

_CHUNK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}
_PRIVATE_KEY = b"PRIVATE KEY-----"
"""Text in every private key in PEM."""
_HEADERS_BYTES = 8 << 10
"""Most bytes of one file's headers in an archive."""


def write_archive(folder: Path, snapshot: Snapshot, target: IO[bytes], *, secrets: Iterable[bytes]) -> None:
    """Write the files of a snapshot as an archive. The same files make the same bytes.

    Args:
        secrets: The keys of this host, which no file may contain.

    Raises:
        ConfigurationError: A file has changed since the snapshot, lies elsewhere, or contains a secret. Nothing may be stored.
    """
    hidden = [secret for secret in secrets if len(secret) >= 8]
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=target, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        inside = folder.resolve(), models_beside(folder).resolve()
        for name, file in sorted(snapshot.files.items()):
            file_here = place_of(folder, name)
            try:
                if not any(map(file_here.resolve().is_relative_to, inside)):
                    raise ConfigurationError(
                        f"{file_here} is a link out of the data folder. Nothing was stored. Copy the file into the folder."
                    )
                data = file_here.read_bytes()
            except OSError as error:
                raise ConfigurationError(f"cannot read {file_here}: {error.strerror}") from None
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise ConfigurationError(f"{file_here} was changed meanwhile. Nothing was stored; try again.")
            if any(secret in data for secret in hidden):
                raise ConfigurationError(
                    f"{file_here} contains a key of this host. Nothing was stored. Keys belong in .env."
                )
            if _PRIVATE_KEY in data:
                raise ConfigurationError(
                    f"{file_here} contains a private key. Nothing was stored. Move it out of the data folder."
                )
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(data), 0o644, 0
            archive.addfile(member, io.BytesIO(data))


def unpack(archive: Path, target: Path, digest: str) -> None:
    """Unpack an archive into a folder that does not exist yet, whole or not at all.

    Only plain files below the folder are taken, within the bounds of a data folder, and only if their digest is the
    requested one.

    Raises:
        ConfigurationError: The archive is broken, holds something else, or is not the one.
        UnavailableError: The disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=target.parent))
    try:
        try:
            manifest = _read(archive, partial)
        except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in _FULL:
                # the archive is intact, so a clip that waits for a picture in it must keep waiting
                raise UnavailableError(
                    f"no room to unpack a data folder in {target.parent}: {error.strerror}"
                ) from None
            raise _refused(digest, f"it cannot be read ({type(error).__name__})") from None
        if manifest.digest != digest:
            raise _refused(digest, f"its files have the digest {short(manifest.digest)}")
        try:
            partial.rename(target)
        except OSError:
            # another process was faster; what has the name has the digest
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read(archive: Path, folder: Path) -> Snapshot:
    files: dict[str, DataFile] = {}
    left = MOST_BYTES
    with archive.open("rb") as raw, gzip.GzipFile(fileobj=raw) as packed:
        bounded: Any = _BoundedStream(packed, MOST_BYTES + MOST_FILES * _HEADERS_BYTES)
        with tarfile.open(fileobj=bounded, mode="r|") as members:
            for member in members:
                if not member.isreg() or member.issparse():
                    raise ValueError("not a plain file")
                try:
                    check_path(member.name)
                except ConfigurationError as error:
                    raise ValueError(str(error)) from None
                left -= member.size
                if member.name in files or len(files) >= MOST_FILES or left < 0:
                    raise ValueError("too much, or twice")
                content = members.extractfile(member)
                if content is None:
                    raise ValueError("not a plain file")
                path = folder / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                digest = hashlib.sha256()
                size = 0
                with path.open("xb") as file:
                    while chunk := content.read(_CHUNK):
                        size += len(chunk)
                        digest.update(chunk)
                        file.write(chunk)
                path.chmod(0o444)
                files[member.name] = DataFile(size, digest.hexdigest())
    return Snapshot(files)


class _BoundedStream:
    """A stream that ends with an error when it gives more than so many bytes."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, most: int) -> None:
        self._stream = stream
        self._left = most

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise ValueError("too large")
        return data


def _refused(digest: str, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"the archive of the data folder {short(digest)} in the bucket is not used: {why}. Nothing was bought. "
        "`dailies data push` on a host that has the folder makes another one current."
    )
