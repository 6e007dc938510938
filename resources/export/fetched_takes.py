"""Takes are fetched from the bucket into a folder, each compared with the SHA-256 of its manifest."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from resources.errors import DailiesError, UnavailableError
from resources.export.folder import ExportFolder
from resources.ledger.takes import Take
from resources.series import date_in_key
from resources.storage.layout import manifest_key
from resources.storage.manifest import Manifest
from resources.storage.objects import ObjectStore
from resources.video.inspector import VideoInspector
from resources.video.sheets import MOST

READERS = 4
UNDATED = "undated"
"""The folder of a series' clips without a date."""


@dataclass(frozen=True)
class FetchedTake:
    """A take in the folder."""

    take: Take
    file: str
    """Its video, relative to the folder."""
    sidecar: str
    """Its manifest, relative to the folder."""
    manifest: Manifest
    was_there: bool
    """Whether an earlier fetch stored it."""


@dataclass(frozen=True)
class FailedTake:
    """A take that could not be fetched."""

    take: Take
    why: str


def file_stem(take: Take) -> str:
    """The name of a take's files without their endings, relative to the folder: `{series}/{date}/{clip}-take{n}`."""
    clip, day = take.attempt.clip, date_in_key(take.attempt.clip)
    return f"{take.attempt.series}/{UNDATED if day is None else day}/{clip}-take{take.number}"


def fetch_takes(
    store: ObjectStore, folder: ExportFolder, arriving: Path, takes: Sequence[Take]
) -> list[FetchedTake | FailedTake]:
    """Fetch takes, in their order. One that fails does not stop the others.

    Args:
        arriving: See `ExportFolder.arriving`.

    Raises:
        resources.errors.UnavailableError: The bucket does not answer. Takes fetched before stay.
        OSError: The folder cannot be written.
    """

    def fetch(take: Take) -> FetchedTake | FailedTake:
        try:
            return _fetch(store, folder, arriving, take)
        except UnavailableError:
            raise
        except (DailiesError, ValueError) as error:
            return FailedTake(take, str(error))

    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(fetch, takes))


def read_manifest(store: ObjectStore, take: Take) -> tuple[Manifest, bytes]:
    """The manifest of a take, and its bytes.

    Raises:
        DailiesError: The manifest is gone, or differs from the ledger's.
    """
    attempt = take.attempt
    key = manifest_key(attempt.clip, attempt.id)
    data = store.get_bytes(key)
    if data is None:
        raise DailiesError(f"{store.uri(key)} is gone; `dailies doctor` shows what else is missing")
    manifest = Manifest.from_json_bytes(data, where=store.uri(key))
    stored = manifest.object
    recorded = (attempt.delivery or {}).get("sha256", stored.sha256)
    if (manifest.clip, manifest.attempt, stored.sha256) != (attempt.clip, attempt.id, recorded):
        raise DailiesError(f"{store.uri(key)} is not the manifest in the ledger, so nothing was written")
    return manifest, data


def fetch_video(store: ObjectStore, manifest: Manifest, part: Path) -> None:
    """Fetch the video of a manifest into a file that gets its name only when it is complete.

    Raises:
        DailiesError: The video is gone, or has other bytes. No file is left.
    """
    stored = manifest.object
    arrived = store.get_file(stored.key, part)
    if arrived is None:
        raise DailiesError(f"{store.uri(stored.key)} is gone; `dailies doctor` shows what else is missing")
    if arrived.sha256 != stored.sha256:
        part.unlink()
        raise DailiesError(
            f"{store.uri(stored.key)} has other bytes than its manifest says, so nothing was written"
        )


def _fetch(store: ObjectStore, folder: ExportFolder, arriving: Path, take: Take) -> FetchedTake:
    stem = file_stem(take)
    video, sidecar = f"{stem}.mp4", f"{stem}.json"
    manifest, data = read_manifest(store, take)
    stored = manifest.object
    folder.has(sidecar, hashlib.sha256(data).hexdigest())
    was_there = folder.has(video, stored.sha256)
    if not was_there:
        part = arriving / f"{take.attempt.id}.mp4"
        fetch_video(store, manifest, part)
        folder.keep(part, video, stored.sha256)
    folder.add(arriving, sidecar, data)
    return FetchedTake(take, video, sidecar, manifest, was_there)


def contact_sheets(
    store: ObjectStore, inspector: VideoInspector, takes: Sequence[FetchedTake]
) -> Iterator[tuple[str, bytes]]:
    """The posters of the takes on one picture or several, each as its file's name and WebP; rejected takes have a red frame.

    Raises:
        DailiesError: The bucket does not answer, or no picture can be made.
    """
    with_poster = [one for one in takes if one.manifest.poster is not None]
    for first in range(0, len(with_poster), MOST):
        posters, rejected = [], []
        for one in with_poster[first : first + MOST]:
            poster = one.manifest.poster
            data = None if poster is None else store.get_bytes(poster.key)
            if poster is not None and data and hashlib.sha256(data).hexdigest() == poster.sha256:
                posters.append(data)
                rejected.append(one.take.is_rejected)
        if posters:
            number = first // MOST + 1
            name = "contact-sheet.webp" if number == 1 else f"contact-sheet-{number}.webp"
            yield name, inspector.compose(posters, rejected)
