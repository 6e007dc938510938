"""Models of the bucket, of downloads and of inspections; each of their requests is a point of the process."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from proof.simulation.books import ProviderBooks
from proof.simulation.faults import HistoryFaults
from proof.simulation.processes import SimulatedProcess
from resources.errors import DailiesError, UnavailableError
from resources.storage.download import DownloadError, NotAVideoError, OutputGoneError
from resources.storage.errors import ObjectConflictError
from resources.storage.objects import ObjectInfo
from resources.storage.transfer import Destination, Transferred
from resources.video.facts import Inspection, UnreadableVideoError, VideoFacts

WIDTH = 1280


@dataclass
class Objects:
    """The bucket's objects, by key."""

    of: dict[str, bytes] = field(default_factory=dict)


class Patience:
    """Stands in for the settings of a bucket: the model answers at once, so no time-out applies."""

    ride_out_seconds = 0.0

    def __init__(self, store: "Store") -> None:
        self.store = store

    def model_copy(self, *, update: object) -> "Patience":  # noqa: ARG002 - as pydantic's
        """Itself."""
        return self


class Store:
    """The bucket of one process: the methods of `resources.storage.objects.ObjectStore` that the deliverer uses."""

    def __init__(self, objects: Objects, faults: HistoryFaults, process: SimulatedProcess) -> None:
        self._objects = objects.of
        self._faults = faults
        self._process = process
        self.settings = Patience(self)

    def uri(self, key: str) -> str:
        """The object's address."""
        return f"s3://bucket/{key}"

    def get_bytes(self, key: str, *, max_bytes: int = 16 << 20) -> bytes | None:  # noqa: ARG002 - as the product's
        """The content of an object; None if there is none."""
        with self._request("get"):
            return self._objects.get(key)

    def head(self, key: str) -> ObjectInfo | None:
        """The metadata of an object; None if there is none."""
        with self._request("head"):
            return self._info(key) if key in self._objects else None

    def discard(self, key: str) -> bool:
        """Remove an object; False if the bucket does not answer."""
        try:
            with self._request("delete"):
                self._objects.pop(key, None)
        except DailiesError:
            return False
        return True

    def put_bytes(self, key: str, data: bytes, *, content_type: str, overwrite: bool = False) -> ObjectInfo:  # noqa: ARG002
        """Store a small object."""
        with self._request(f"put {Path(key).suffix}"):
            there = self._objects.get(key)
            if there is not None and there != data and not overwrite:
                raise ObjectConflictError(f"{key} already holds another object")
            self._objects[key] = data
            return self._info(key)

    def put_file(self, key: str, path: Path, *, sha256: str, content_type: str) -> ObjectInfo:
        """Store a file."""
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != sha256:
            raise AssertionError("the file differs from the download")
        return self.put_bytes(key, data, content_type=content_type)

    def get_file(self, key: str, path: Path) -> ObjectInfo | None:
        """Read an object into a file."""
        with self._request("get"):
            if key not in self._objects:
                return None
            path.write_bytes(self._objects[key])
            return self._info(key)

    def _info(self, key: str) -> ObjectInfo:
        data = self._objects[key]
        return ObjectInfo(key, len(data), hashlib.sha256(data).hexdigest(), None)

    def _request(self, verb: str) -> "_Request":
        return _Request(verb, self._faults, self._process)


class _Request:
    """One request to the bucket, which can be down before it or lose its answer after it."""

    def __init__(self, verb: str, faults: HistoryFaults, process: SimulatedProcess) -> None:
        self._verb, self._faults, self._process = verb, faults, process

    def __enter__(self) -> None:
        self._process.passes(f"bucket, {self._verb}: before")
        if self._faults.strikes("bucket down"):
            raise UnavailableError("the bucket does not answer")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._process.passes(f"bucket, {self._verb}: after")
            if self._faults.strikes("bucket's answer lost"):
                raise UnavailableError("the bucket's answer was lost")


@dataclass(frozen=True)
class Fetching:
    """Stands in for a download policy, and holds the values that a download needs here."""

    books: ProviderBooks
    faults: HistoryFaults
    process: SimulatedProcess


def transfer(
    url: str,
    path: Path,
    destination: Destination,
    *,
    policy: Any,
    stop: object,  # noqa: ARG001
) -> Transferred:
    """Fetch a finished file, inspect it, and store it."""
    fetching: Fetching = policy
    process, faults = fetching.process, fetching.faults
    process.passes("download: before")
    _, _, _, job_id, name = url.split("/")
    job = fetching.books.jobs[job_id]
    if faults.strikes("expired address"):
        job.expired = job.address
    if int(name.removesuffix(".mp4")) <= job.expired or fetching.books.word(job_id) != "completed":
        raise OutputGoneError("410 Gone")
    if faults.strikes("cut download"):
        raise DownloadError("the connection was cut again and again")
    if faults.strikes("no video"):
        raise NotAVideoError("an error page was sent")
    data = f"{job.id} {job.fate.file}".encode()
    path.write_bytes(data)
    process.passes("download: after")
    place, digest = destination.decide(path), hashlib.sha256(data).hexdigest()
    destination.store.put_file(place, path, sha256=digest, content_type="video/mp4")
    return Transferred(place, len(data), digest, streamed=False)


class Inspector:
    """Inspects files, whose text names their kind."""

    def __init__(self, workers: int = 1) -> None:
        """As the product's; takes no time."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def inspect(self, path: Path, *, shortest_seconds: float) -> Inspection:  # noqa: ARG002 - as the product's
        """The facts of a file."""
        data = path.read_bytes()
        if data.endswith(b"broken"):
            raise UnreadableVideoError("the file is damaged")
        facts = VideoFacts(
            width=WIDTH // 2 if data.endswith(b"small") else WIDTH,
            height=720,
            duration=4,
            fps=24,
            video_codec="h264",
            audio_codec=None,
            has_audio=False,
            size_bytes=len(data),
            truncated=False,
            faststart=True,
            c2pa=False,
        )
        return Inspection(facts, b"a poster")
