"""The digest of a data folder: of the paths and contents of its files, and of the program's catalogue."""

import functools
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from resources.errors import ConfigurationError
from resources.program_files import SHIPPED_MODELS, models_beside

MOST_FILES = 5_000
MOST_BYTES = 512 << 20
"""Most bytes of all files together."""
LONGEST_PATH = 240
SHOWN_DIGITS = 12
NOT_DECLARED = frozenset({"schemas"})
"""Folders of the data folder that declare nothing: `dailies` writes the schemas itself, another version other ones."""

_PART = re.compile(r"[^\x00-\x1f\x7f/\\]+")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class DataFile:
    """One file."""

    size: int
    """Bytes."""
    sha256: str
    """In hex."""


@dataclass(frozen=True)
class Snapshot:
    """The content of a data folder at one time."""

    files: Mapping[str, DataFile]
    """By path in the folder, with `/`."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex over the files, sorted by path."""
        lines = (f"{path}\0{file.size}\0{file.sha256}\n" for path, file in sorted(self.files.items()))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files.values())


def short(digest: str) -> str:
    """A digest for a person."""
    return digest[:SHOWN_DIGITS]


def take_snapshot(folder: Path) -> Snapshot:
    """Read a data folder. Hidden files and `schemas/` declare nothing and are left out; a link counts as its target.

    The program's own catalogue belongs to it, as files of `shipped-models/`: another version may have other prices.

    Raises:
        ConfigurationError: It holds a file with an odd name, too many files or too many bytes, or cannot be read.
    """
    if not folder.is_dir():
        raise ConfigurationError(
            f"there is no data folder {folder}. Run this in the folder of the project, or set DAILIES_DATA."
        )
    files: dict[str, DataFile] = {}
    left = MOST_BYTES
    try:
        for name, path in _files(folder):
            check_path(name)
            status = path.stat()
            left -= status.st_size
            if len(files) >= MOST_FILES or left < 0:
                raise ConfigurationError(
                    f"{folder} holds more than {MOST_FILES} files or {MOST_BYTES >> 20} MB, which is more than a data folder may have. "
                    "Move what declares nothing elsewhere."
                )
            files[name] = DataFile(
                status.st_size, _sha256(path, status.st_mtime_ns, status.st_size, status.st_ino)
            )
    except OSError as error:
        raise ConfigurationError(f"cannot read the data folder {folder}: {error}") from None
    if not files:
        raise ConfigurationError(
            f"{folder} holds no files; set DAILIES_DATA to the folder of the declarations"
        )
    return Snapshot(files)


def place_of(folder: Path, name: str) -> Path:
    """The path of a file of a snapshot: in the folder, or in the program that is installed here."""
    top, _, rest = name.partition("/")
    return models_beside(folder) / rest if top == SHIPPED_MODELS else folder / name


def check_path(name: str) -> None:
    """Refuse a path that is not certainly one of a file below the data folder.

    Raises:
        ConfigurationError: With the path.
    """
    parts = name.split("/")
    if len(name) > LONGEST_PATH or any(
        not _PART.fullmatch(part) or part in {".", ".."} or part.startswith(".") for part in parts
    ):
        raise ConfigurationError(f"{name!r} is not a valid name for a file of a data folder")


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    files = [(path.relative_to(folder).as_posix(), path) for path in _walk(folder)]
    yield from files
    shipped = models_beside(folder)
    if files and shipped != folder / SHIPPED_MODELS:
        yield from (
            (f"{SHIPPED_MODELS}/{path.relative_to(shipped).as_posix()}", path) for path in _walk(shipped)
        )


def _walk(folder: Path) -> Iterator[Path]:
    walked = 0
    for place, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        walked += 1
        if walked > MOST_FILES:
            raise ConfigurationError(
                f"{folder} holds more than {MOST_FILES} folders, or a link that leads in a circle"
            )
        top = Path(place) == folder
        folders[:] = sorted(name for name in folders if name[0] != "." and not (top and name in NOT_DECLARED))
        for name in sorted(names):
            if name[0] == ".":
                continue
            path = Path(place) / name
            if not path.is_file():
                raise ConfigurationError(f"{path} is not a file, or is a broken link")
            yield path


def _refuse(error: OSError) -> None:
    raise error


@functools.lru_cache(maxsize=2 * MOST_FILES)
def _sha256(path: Path, _changed: int, _size: int, _number: int) -> str:
    """Of a file; one that has the same time, size and number as before is not read again."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
