"""Trying on a small object whether a bucket takes what a delivery will ask of it, before anything is bought for it.

A bucket that can be listed and written to once may still refuse the PUT that a clip needs: Backblaze B2 answers 501 to
If-None-Match, a bucket with Object Lock wants an MD5 that a stream cannot have. The clip would be paid for by then.
"""

import contextlib
import hashlib
import logging
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.storage.errors import StorageError, UnsupportedError
from resources.storage.layout import TRIALS
from resources.storage.objects import ObjectStore
from resources.storage.ways import Ways

logger = logging.getLogger("dailies")

_BYTES = 3_000


class UnfitBucketError(ConfigurationError):
    """The bucket cannot take what a delivery asks of it. Nothing was bought."""


def try_bucket(store: ObjectStore) -> Ways:
    """Make every kind of request that a delivery makes, with objects of 3 kB under `trials/`, which are removed again.

    What the server refuses and a delivery can do without is left out from now on, in this process.

    Args:
        store: The bucket.

    Returns:
        How objects are stored there.

    Raises:
        UnfitBucketError: A delivery would fail; the text names the request and what the server answered.
        resources.errors.UnavailableError: The server does not answer.
    """
    store.learn(Ways())
    name = f"{TRIALS}{secrets.token_hex(8)}"
    streamed, filed, noted = f"{name}.mp4", f"{name}-file.mp4", f"{name}.json"
    data = secrets.token_bytes(_BYTES)
    with _step(store, "list what it holds"):
        store.check()  # the first of all: an answer to HEAD could not say why it refuses
    with _step(store, "look up an object that is not there"):
        store.head(streamed)
    try:
        can_stream = _try_stream(store, streamed, data)
        with _step(store, "store a file"), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "clip.mp4"
            path.write_bytes(data)
            store.put_file(filed, path, sha256=hashlib.sha256(data).hexdigest(), content_type="video/mp4")
        if not can_stream:
            store.learn(store.ways.model_copy(update={"stream": False}))
        with _step(store, "store a small object, and another one in its place"):
            store.put_bytes(noted, b"{}", content_type="application/json")
            store.put_bytes(noted, b"[]", content_type="application/json", overwrite=True)
        with _step(store, "read what it has stored"):
            _compare(store, filed, data)
            _compare(store, noted, b"[]")
        with _step(store, "list what it has stored"):
            missing = {filed, noted} - set(store.list_keys(name))
            if missing:
                raise StorageError(f"its list does not show {', '.join(sorted(missing))}")
    finally:
        removed = [store.discard(key) for key in (streamed, filed, noted)]
    if not all(removed):
        logger.info(
            "%s lets nothing be removed: up to three objects of 3 kB a day stay in %s", store.uri(""), TRIALS
        )
    if str(store.ways):
        logger.info("%s: clips are stored without %s", store.uri(""), store.ways)
    return store.ways


def _try_stream(store: ObjectStore, key: str, data: bytes) -> bool:
    """Whether an object can be sent while it arrives; what has to be left out for it is learned."""
    known = store.ways
    for ways in known.lesser():
        if not ways.stream or not (ways.checksum and ways.md5):
            continue  # a stream carries neither
        store.learn(ways)
        try:
            store.put_stream(key, _Stream(data, store.wants_md5), size=len(data), content_type="video/mp4")
        except UnsupportedError as error:
            logger.info("%s", error)
        except DailiesError as error:
            # a server that hangs up at a stream, or keeps its framing: storing a file tells whether it is down
            logger.info("%s", error)
            break
        else:
            return True
    store.learn(known)
    return False


class _Stream:
    """Bytes that are sent while they arrive, as a delivery's are."""

    def __init__(self, data: bytes, wants_md5: bool) -> None:
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() if wants_md5 else None
        self._pieces = [data[:1_000], data[1_000:]]

    def read(self, amount: int = -1) -> bytes:  # noqa: ARG002 - as large as they arrive
        """The next bytes, none at the end."""
        return self._pieces.pop(0) if self._pieces else b""


def _compare(store: ObjectStore, key: str, data: bytes) -> None:
    if store.get_bytes(key) != data:
        raise StorageError(f"{store.uri(key)} is not what was stored there a moment ago")


@contextlib.contextmanager
def _step(store: ObjectStore, what: str) -> Iterator[None]:
    try:
        yield
    except UnavailableError:
        raise
    except DailiesError as error:
        raise UnfitBucketError(
            f"{store.uri('')} at {store.settings.endpoint_url or 'AWS'} does not {what}, which every delivery needs: {error}. "
            "Nothing was bought. Give the bucket what is missing, or set another one with DAILIES_S3_BUCKET"
        ) from error
