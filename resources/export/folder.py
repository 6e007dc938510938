"""A person's folder with fetched files. A file that another program made or changed is never overwritten."""

import contextlib
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from resources.errors import ConfigurationError, DailiesError
from resources.storage.scratch import scratch_folder, sweep

SUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)
_ARRIVING = ".arriving"
_CHUNK = 1 << 20


class FileConflictError(DailiesError):
    """A file has the name of a fetched one and other bytes. It stays unchanged."""


class ExportFolder:
    """A folder with fetched files, and the list of their digests in the format of coreutils' `sha256sum`.

    Names of files are relative to it, with `/`. Threads may add files side by side.
    """

    def __init__(self, path: Path) -> None:
        """Read the list of an earlier fetch.

        Raises:
            ConfigurationError: It is not a folder, or its list of digests was not written by a fetch.
        """
        self.path = path
        if path.exists() and not path.is_dir():
            raise ConfigurationError(f"{path} is not a folder; name another one with --to")
        self._sums = _read_sums(path / SUMS)

    @contextlib.contextmanager
    def arriving(self) -> Iterator[Path]:
        """An empty folder beside the files, for incomplete files. Files that a killed fetch left there are removed."""
        parent = self.path / _ARRIVING
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent)
        try:
            with scratch_folder(parent) as folder:
                yield folder
        finally:
            # another fetch into this folder may still be writing
            with contextlib.suppress(OSError):
                parent.rmdir()

    def place(self, name: str) -> Path:
        """The path of a file.

        Raises:
            DailiesError: The name would lead out of the folder.
        """
        path = self.path.joinpath(*name.split("/"))
        fits = all(_PART.fullmatch(part) for part in name.split("/"))
        if not fits or not path.resolve().is_relative_to(self.path.resolve()):
            raise DailiesError(f"{name!r} would be a file outside of {self.path}, so it was not written")
        return path

    def has(self, name: str, sha256: str) -> bool:
        """Whether a file exists with these bytes.

        Raises:
            FileConflictError: It exists with other bytes.
        """
        path = self.place(name)
        if not path.exists():
            return False
        if not path.is_file() or _digest(path) != sha256:
            raise FileConflictError(
                f"{path} exists with other bytes, and is not overwritten; move it away, or name another folder with --to"
            )
        self._sums[name] = sha256
        return True

    def kept(self, name: str) -> str | None:
        """The digest of a file that an earlier fetch made; None if it does not exist.

        Raises:
            FileConflictError: It exists, and was not made by an earlier fetch, or was changed since.
        """
        digest = self._sums.get(name, "")
        return digest if self.has(name, digest) else None

    def keep(self, arrived: Path, name: str, sha256: str) -> None:
        """Give a complete file its name.

        Args:
            sha256: Of its bytes, in hex.

        Raises:
            FileConflictError: The name is taken by other bytes.
        """
        if not self.has(name, sha256):
            path = self.place(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            arrived.replace(path)
            self._sums[name] = sha256

    def add(self, arriving: Path, name: str, data: bytes, *, replaces: bool = False) -> None:
        """Write a small file.

        Args:
            arriving: See `arriving`.
            replaces: Whether it replaces the file of an earlier fetch. A file that was changed since then stays.

        Raises:
            FileConflictError: The name is taken by other bytes.
        """
        path, before = self.place(name), self._sums.get(name)
        if replaces and before is not None and path.is_file() and _digest(path) == before:
            path.unlink()
        part = arriving / f"{hashlib.sha256(name.encode()).hexdigest()}.part"
        part.write_bytes(data)
        self.keep(part, name, hashlib.sha256(data).hexdigest())

    def write_sums(self, arriving: Path) -> None:
        """Write the list of digests of all fetched files in the folder, also of earlier fetches.

        Args:
            arriving: See `arriving`.
        """
        present = {name: sha256 for name, sha256 in self._sums.items() if (self.path / name).is_file()}
        text = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(present.items()))
        part = arriving / SUMS
        part.write_text(text, encoding="utf-8")
        part.replace(self.path / SUMS)


def _read_sums(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from None
    matches = [_LINE.fullmatch(line) for line in lines]
    if None in matches:
        raise ConfigurationError(
            f"{path} is not a list of SHA-256 digests, and would be replaced; move it away, or name another folder with --to"
        )
    return {match[2]: match[1] for match in matches if match is not None}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()
