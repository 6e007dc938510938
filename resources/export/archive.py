"""Takes as one ZIP archive that is written while it is sent: one video at a time is on the disk, one piece in memory."""

import hashlib
import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from resources.errors import DailiesError, UnavailableError
from resources.export.fetched_takes import (
    FetchedTake,
    contact_sheets,
    fetch_video,
    file_stem,
    read_manifest,
)
from resources.export.folder import SUMS
from resources.ledger.takes import Take
from resources.storage.objects import ObjectStore
from resources.storage.scratch import scratch_folder, sweep
from resources.video.inspector import VideoInspector

LEFT_OUT = "LEFT-OUT.txt"
"""The file with the clips that are left out, and why."""
_PIECE = 256 << 10


class _Pieces:
    """A write-only file. It keeps the written bytes until they are taken."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []

    def write(self, data: Any) -> int:
        self._waiting.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Does nothing, since written bytes are available at once."""

    def taken(self) -> bytes:
        """The bytes written since the last call."""
        data = b"".join(self._waiting)
        self._waiting.clear()
        return data


class Archive:
    """The takes of an archive, with their manifests, a contact sheet and the list of digests, as `dailies fetch` writes them.

    Args:
        scratch: Folder for the video that is being copied.
        takes: In their order.
        left_out: Why other clips are left out, by clip.
    """

    def __init__(
        self, store: ObjectStore, scratch: Path, takes: Sequence[Take], left_out: Mapping[str, str]
    ) -> None:
        self._store = store
        self._scratch = scratch
        self._takes = takes
        self._left_out = [f"{clip}: {why}" for clip, why in left_out.items()]
        self._sums: dict[str, str] = {}
        self._pieces = _Pieces()

    def pieces(self) -> Iterator[bytes]:
        """The archive's bytes. A take that cannot be fetched is named in `LEFT_OUT`, and the others go on.

        Raises:
            resources.errors.UnavailableError: The bucket does not answer; the archive is cut off, which every program notices.
        """
        parent = self._scratch / "archives"
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent)
        stream: Any = self._pieces
        with scratch_folder(parent) as folder, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            existing = []
            for take in self._takes:
                part = folder / "video.mp4"
                try:
                    manifest, data = read_manifest(self._store, take)
                    fetch_video(self._store, manifest, part)
                except UnavailableError:
                    raise
                except (DailiesError, ValueError) as error:
                    self._left_out.append(f"{take.attempt.clip}, take {take.number}: {error}")
                    continue
                stem = file_stem(take)
                existing.append(FetchedTake(take, f"{stem}.mp4", f"{stem}.json", manifest, was_there=False))
                when = manifest.times.delivered.timetuple()[:6]
                with part.open("rb") as video:
                    yield from self._add(archive, f"{stem}.mp4", video, manifest.object.size, when)
                self._sums[f"{stem}.mp4"] = manifest.object.sha256
                part.unlink()
                yield from self._add_text(archive, f"{stem}.json", data, when)
            yield from self._add_rest(archive, existing)
        yield self._pieces.taken()

    def _add_rest(self, archive: zipfile.ZipFile, fetched: Sequence[FetchedTake]) -> Iterator[bytes]:
        when = max((one.manifest.times.delivered for one in fetched), default=None)
        stamp = (1980, 1, 1, 0, 0, 0) if when is None else when.timetuple()[:6]
        try:
            with VideoInspector() as inspector:
                for name, picture in contact_sheets(self._store, inspector, fetched):
                    yield from self._add_text(archive, name, picture, stamp)
        except UnavailableError:
            raise
        except DailiesError as error:
            self._left_out.append(f"the contact sheet was not made: {error}")
        if self._left_out:
            text = "".join(f"{line}\n" for line in self._left_out).encode()
            yield from self._add_text(archive, LEFT_OUT, text, stamp)
        sums = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(self._sums.items()))
        yield from self._add_text(archive, SUMS, sums.encode(), stamp)

    def _add_text(
        self, archive: zipfile.ZipFile, name: str, data: bytes, when: tuple[int, ...]
    ) -> Iterator[bytes]:
        if name != SUMS:
            self._sums[name] = hashlib.sha256(data).hexdigest()
        yield from self._add(archive, name, io.BytesIO(data), len(data), when)

    def _add(
        self,
        archive: zipfile.ZipFile,
        name: str,
        data: IO[bytes],
        size: int,
        when: tuple[int, ...],
    ) -> Iterator[bytes]:
        entry = zipfile.ZipInfo(name, (when[0], when[1], when[2], when[3], when[4], when[5]))
        # without it, an entry of 4 GiB would fail only after it was written
        entry.file_size = size
        entry.external_attr = 0o644 << 16
        with archive.open(entry, "w") as written:
            while piece := data.read(_PIECE):
                written.write(piece)
                yield self._pieces.taken()
