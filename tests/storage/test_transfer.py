"""Transfers: download and upload at once, inspected before anything is visible, complete in the bucket or not there at all."""

import hashlib
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from hostile import MP4, File, Hostile, serving

from resources.errors import UnavailableError
from resources.storage import remote
from resources.storage.download_policy import (
    ChangedError,
    DownloadError,
    DownloadPolicy,
    NotAVideoError,
    TooLargeError,
)
from resources.storage.errors import CorruptUploadError, ObjectConflictError
from resources.storage.objects import ObjectStore
from resources.storage.transfer import Destination, InterruptedTransferError, Transferred, transfer

SHA256 = hashlib.sha256(MP4).hexdigest()
KEY = "videos/clip/a.mp4"
APART = "quarantine/clip/a.mp4"


@pytest.fixture
def server() -> Iterator[Hostile]:
    with serving() as running:
        yield running
    remote._connections.close()


@pytest.fixture
def policy(server: Hostile) -> DownloadPolicy:
    return DownloadPolicy(
        allowed_origins=frozenset({server.origin}), pause_seconds=0, read_seconds=2, total_seconds=10
    )


def moved(
    server: Hostile,
    store: ObjectStore,
    path: Path,
    policy: DownloadPolicy,
    *,
    decide: Callable[[Path], str] = lambda _: KEY,
    stop: threading.Event | None = None,
) -> Transferred:
    return transfer(server.url(), path, Destination(store, KEY, decide), policy=policy, stop=stop)


def stored(store: ObjectStore) -> list[str]:
    return list(store.list_keys(""))


@pytest.mark.slow
def test_a_clip_is_uploaded_while_it_arrives(
    server: Hostile, store: ObjectStore, policy: DownloadPolicy, tmp_path: Path
) -> None:
    server.files["/clip.mp4"] = File()
    path = tmp_path / "clip.mp4"
    found = moved(server, store, path, policy)
    assert found == Transferred(KEY, len(MP4), SHA256, streamed=True)
    assert store.get_bytes(KEY) == path.read_bytes() == MP4


def test_nothing_is_visible_before_the_whole_file_was_inspected(
    server: Hostile, store: ObjectStore, policy: DownloadPolicy, tmp_path: Path
) -> None:
    server.files["/clip.mp4"] = File()
    seen: list[Any] = []

    def decide(path: Path) -> str:
        seen.append((path.read_bytes() == MP4, stored(store)))
        return KEY

    moved(server, store, tmp_path / "clip.mp4", policy, decide=decide)
    assert seen == [(True, [])], "inspected once, complete, with nothing in the bucket yet"
    assert stored(store) == [KEY]


def test_a_clip_that_belongs_elsewhere_never_appears_at_its_first_key(
    server: Hostile, store: ObjectStore, policy: DownloadPolicy, tmp_path: Path
) -> None:
    server.files["/clip.mp4"] = File()
    found = moved(server, store, tmp_path / "clip.mp4", policy, decide=lambda path: APART)
    assert (found.key, found.streamed) == (APART, False)
    assert stored(store) == [APART]
    assert store.get_bytes(APART) == MP4
    assert len(server.files["/clip.mp4"].seen) == 1, "the file is fetched once"


def test_an_error_of_the_inspection_is_raised_and_nothing_is_stored(
    server: Hostile, store: ObjectStore, policy: DownloadPolicy, tmp_path: Path
) -> None:
    server.files["/clip.mp4"] = File()

    def decide(path: Path) -> str:
        raise UnavailableError("the decoder does not start")

    with pytest.raises(UnavailableError, match="decoder does not start"):
        moved(server, store, tmp_path / "clip.mp4", policy, decide=decide)
    assert stored(store) == []


@pytest.mark.parametrize("tenth", range(10))
def test_a_cut_at_any_tenth_is_resumed(
    server: Hostile, store: ObjectStore, policy: DownloadPolicy, tmp_path: Path, tenth: int
) -> None:
    file = server.files["/clip.mp4"] = File(cuts=[len(MP4) * tenth // 10])
    found = moved(server, store, tmp_path / "clip.mp4", policy)
    assert (found.sha256, len(file.seen)) == (SHA256, 2)
    assert store.get_bytes(KEY) == MP4


def test_an_answer_without_a_length_is_stored_from_the_file(
    server: Hostile, store: ObjectStore, policy: DownloadPolicy, tmp_path: Path
) -> None:
    server.files["/clip.mp4"] = File(headers={"Transfer-Encoding": "chunked"})
    found = moved(server, store, tmp_path / "clip.mp4", policy)
    assert (found.streamed, store.get_bytes(KEY)) == (False, MP4)


def _change(file: File) -> None:
    file.data, file.etag = MP4[:-1] + b"!", '"two"'


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"cuts": [700_000], "after_cut": _change}, ChangedError),
        ({"length": len(MP4) + 10}, DownloadError),
        ({"data": b"<html>busy</html>", "content_type": "text/html"}, NotAVideoError),
        ({"data": b""}, NotAVideoError),
        ({"length": 2_000_000_001}, TooLargeError),
        ({"cuts": [100_000] * 20, "ranges": False}, DownloadError),
    ],
    ids=["changed", "shorter than it says", "a page", "nothing", "2 GB", "always cut"],
)
def test_a_failed_download_leaves_nothing_in_the_bucket(
    server: Hostile,
    store: ObjectStore,
    policy: DownloadPolicy,
    tmp_path: Path,
    how: dict[str, Any],
    error: type[DownloadError],
) -> None:
    server.files["/clip.mp4"] = File(**{**how, "cuts": list(how.get("cuts", []))})
    with pytest.raises(error) as caught:
        moved(server, store, tmp_path / "clip.mp4", policy)
    assert stored(store) == []
    assert "canary" not in str(caught.value)


def test_the_same_clip_again_is_a_success_and_another_one_a_conflict(
    server: Hostile, store: ObjectStore, policy: DownloadPolicy, tmp_path: Path
) -> None:
    """A worker died between storing the video and writing its manifest."""
    server.files["/clip.mp4"] = File()
    moved(server, store, tmp_path / "clip.mp4", policy)
    again = moved(server, store, tmp_path / "clip.mp4", policy)
    assert (again.streamed, again.sha256) == (False, SHA256)
    server.files["/clip.mp4"] = File(data=MP4 + b"free")
    with pytest.raises(ObjectConflictError):
        moved(server, store, tmp_path / "clip.mp4", policy)
    assert store.get_bytes(KEY) == MP4


def test_a_transfer_stops_on_request(
    server: Hostile, store: ObjectStore, policy: DownloadPolicy, tmp_path: Path
) -> None:
    server.files["/clip.mp4"] = File()
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedTransferError):
        moved(server, store, tmp_path / "clip.mp4", policy, stop=stop)
    assert stored(store) == []


def test_a_full_disk_is_an_error_and_nothing_is_stored(
    server: Hostile,
    store: ObjectStore,
    policy: DownloadPolicy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.files["/clip.mp4"] = File()
    opened = Path.open

    class Full:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def write(self, data: bytes) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda self, mode="r", **how: Full(opened(self, mode, **how)))
    with pytest.raises(UnavailableError, match="No space left on device"):
        moved(server, store, tmp_path / "clip.mp4", policy)
    monkeypatch.undo()
    assert stored(store) == []


class Failing:
    """A store whose stream breaks in a given way; storing from a file works."""

    def __init__(self, store: ObjectStore, after: int, error: Exception, *, stores: bool = False) -> None:
        self._store, self._after, self._error, self._stores = store, after, error, stores
        self.wants_md5 = True

    def put_stream(self, key: str, source: Any, *, size: int, content_type: str) -> None:
        data = b""
        while len(data) < self._after and (piece := source.read(65_536)):
            data += piece
        if self._stores:
            self._store.put_bytes(key, data, content_type=content_type)
        raise self._error

    def put_file(self, *arguments: Any, **how: Any) -> Any:
        return self._store.put_file(*arguments, **how)


@pytest.mark.parametrize("after", [0, 1, len(MP4) // 2, len(MP4) - 1])
def test_a_bucket_that_breaks_on_the_way_gets_the_rest_from_the_file(
    server: Hostile, store: ObjectStore, policy: DownloadPolicy, tmp_path: Path, after: int
) -> None:
    file = server.files["/clip.mp4"] = File()
    broken: Any = Failing(store, after, UnavailableError("S3 is down for a moment"))
    found = moved(server, broken, tmp_path / "clip.mp4", policy)
    assert (found.streamed, found.sha256) == (False, SHA256)
    assert store.get_bytes(KEY) == MP4
    assert len(file.seen) == 1, "the fetched bytes are not fetched again"


def test_a_lost_answer_of_our_own_stream_is_a_success(
    server: Hostile, store: ObjectStore, policy: DownloadPolicy, tmp_path: Path
) -> None:
    server.files["/clip.mp4"] = File()
    lost: Any = Failing(store, len(MP4), UnavailableError("the answer was lost"), stores=True)
    assert moved(server, lost, tmp_path / "clip.mp4", policy).sha256 == SHA256
    assert store.get_bytes(KEY) == MP4


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(
    server: Hostile, store: ObjectStore, policy: DownloadPolicy, tmp_path: Path
) -> None:
    server.files["/clip.mp4"] = File(data=MP4 + bytes(30_000_000))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    with pytest.MonkeyPatch.context() as patch:
        # the server and, with moto, the bucket live in this process; only our own side is measured
        patch.setattr("resources.storage.transfer._stream", lambda *_: False)
        patch.setattr(ObjectStore, "put_file", lambda *_, **__: None)
        moved(server, store, tmp_path / "clip.mp4", policy)
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    # the server's own buffers are included: 10 MB were seen on a busy machine
    assert peak < 15_000_000


def test_a_damaged_object_is_removed_so_that_it_can_be_stored_again(
    server: Hostile,
    store: ObjectStore,
    policy: DownloadPolicy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.files["/clip.mp4"] = File()
    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "_proven", lambda self, there, content: False)
        patch.setattr(ObjectStore, "_sha256_of", lambda self, key: "0" * 64)
        with pytest.raises(CorruptUploadError, match="it was removed"):
            moved(server, store, tmp_path / "clip.mp4", policy)
    assert stored(store) == []
    assert moved(server, store, tmp_path / "clip.mp4", policy).sha256 == SHA256


def test_an_object_is_read_into_a_file(store: ObjectStore, some_file: Path, tmp_path: Path) -> None:
    data = some_file.read_bytes()
    store.put_file("k", some_file, sha256=hashlib.sha256(data).hexdigest(), content_type="video/mp4")
    found = store.get_file("k", tmp_path / "back")
    assert found is not None
    assert (found.size, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (tmp_path / "back").read_bytes() == data
    assert store.get_file("nothing", tmp_path / "back") is None
