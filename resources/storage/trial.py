"""The trial of a bucket: before a purchase, small objects show whether the bucket supports the requests of a delivery.

A bucket that can be listed and written to may still refuse the PUT of a clip: Backblaze B2 answers 501 to If-None-Match, and a bucket
with Object Lock needs an MD5, which a stream cannot have. Without the trial, the clip would already be paid for.
"""

import contextlib
import hashlib
import logging
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.storage.errors import StorageError, UnsupportedError
from resources.storage.layout import TRIALS
from resources.storage.objects import ObjectInfo, ObjectStore
from resources.storage.ways import Ways

logger = logging.getLogger("dailies")

_BYTES = 3_000
_STORE = "store a file"


class UnfitBucketError(ConfigurationError):
    """The bucket lacks a feature that deliveries need. Nothing was bought."""


class Support(StrEnum):
    """Whether a bucket has a feature."""

    SUPPORTED = "supported"
    WITHOUT = "done without"
    MISSING = "needed and missing"


@dataclass(frozen=True)
class Feature:
    """One feature of S3 that a delivery uses."""

    name: str
    """A text that follows `does not`, e.g. `store a file`, or the name of a header."""
    support: Support
    note: str = ""
    """The replacement for it, or the server's answer."""


@dataclass
class BucketTrial:
    """The result of a trial."""

    features: list[Feature] = field(default_factory=list)
    ways: Ways = field(default_factory=Ways)
    """The features to store objects with, without the refused ones."""

    @property
    def missing(self) -> list[Feature]:
        """Features that a delivery needs and the bucket lacks."""
        return [row for row in self.features if row.support is Support.MISSING]

    def refuse(self, store: ObjectStore) -> None:
        """Refuse a bucket that cannot take a delivery.

        Raises:
            UnfitBucketError: A feature is missing; the text names it and the server's answer.
        """
        if self.missing:
            first = self.missing[0]
            raise UnfitBucketError(
                f"{store.place} does not {first.name}, which every delivery "
                f"needs: {first.note}. Nothing was bought. Give the bucket what is missing, or set another one with "
                "DAILIES_S3_BUCKET. `dailies doctor --bucket` shows everything that it lacks"
            )


def try_bucket(store: ObjectStore) -> BucketTrial:
    """Make every kind of request that a delivery makes, with objects of 3 kB under `trials/`, and remove them.

    If the bucket fits, this process stores objects with the features of the trial from now on.

    Raises:
        resources.errors.UnavailableError: The server does not answer.
    """
    trial = BucketTrial()
    tried = _StoreOnTrial(store.settings)
    name = f"{TRIALS}{secrets.token_hex(8)}"
    keys = f"{name}.mp4", f"{name}-file.mp4", f"{name}.json"
    try:
        _try(tried, trial, *keys)
    finally:
        removed = [tried.discard(key) for key in keys]
    if any(row.name == _STORE and row.support is Support.SUPPORTED for row in trial.features):
        left = "" if all(removed) else f"no delivery needs it; 9 kB a day stay in {TRIALS}"
        trial.features.append(
            Feature("remove an object", Support.WITHOUT if left else Support.SUPPORTED, left)
        )
    trial.ways = tried.ways
    if not trial.missing:
        store.learn(trial.ways)
        if str(trial.ways):
            logger.info("%s: clips are stored without %s", store.place, trial.ways)
    return trial


class _StoreOnTrial(ObjectStore):
    """A store that does not share what it learns, since deliveries of this process must not follow half a trial."""

    _learned = Ways()

    @property
    def ways(self) -> Ways:
        return self._learned

    def learn(self, ways: Ways) -> None:
        self._learned = ways


def _try(store: ObjectStore, trial: BucketTrial, streamed: str, filed: str, noted: str) -> None:
    """Try one feature after the other, skipping those that depend on a missing one."""
    data = secrets.token_bytes(_BYTES)
    with _needed(trial, "list the bucket"):
        # first, since a refused HEAD has no body with the reason
        next(store.list_objects(TRIALS, page_size=1), None)
    if trial.missing:
        return
    if store.ways.addressing == "virtual":
        trial.features.append(
            Feature("the bucket in the path", Support.WITHOUT, "the bucket is in the host's name")
        )
    with _needed(trial, "look up a missing object"):
        store.head(streamed)
    can_stream = _try_stream(store, streamed, data)
    stored: ObjectInfo | None = None
    with _needed(trial, _STORE), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        path.write_bytes(data)
        stored = store.put_file(
            filed, path, sha256=hashlib.sha256(data).hexdigest(), content_type="video/mp4"
        )
    if not can_stream:
        store.learn(store.ways.model_copy(update={"stream": False}))
    written = False
    with _needed(trial, "store and replace small objects"):
        store.put_bytes(noted, b"{}", content_type="application/json")
        store.put_bytes(noted, b"[]", content_type="application/json", overwrite=True)
        written = True
    if stored is not None and written:
        with _needed(trial, "read back what it stored"):
            _compare(store, filed, data)
            _compare(store, noted, b"[]")
        with _needed(trial, "list its objects page by page"):
            listed = {item.key for item in store.list_objects(noted.removesuffix(".json"), page_size=1)}
            if missing := {filed, noted} - listed:
                raise StorageError(f"its list does not show {', '.join(sorted(missing))}")
        if store.ways.conditional:
            _try_condition(store, filed)
    if stored is not None:
        trial.features += _optional(store, stored, hashlib.md5(data, usedforsecurity=False).hexdigest())


def _try_stream(store: ObjectStore, key: str, data: bytes) -> bool:
    """Whether an object can be sent while it arrives; learns the features that must be left out for that."""
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
            # the server closes the connection at a stream, or stores its framing too; storing a file shows whether it is down
            logger.info("%s", error)
            break
        else:
            return True
    store.learn(known)
    return False


def _try_condition(store: ObjectStore, key: str) -> None:
    """Learn whether If-None-Match protects an object. Some servers silently ignore it."""
    try:
        ignored = store.ignores_conditions(key)
    except UnavailableError:
        raise
    except DailiesError:
        ignored = True
    if ignored:
        store.learn(store.ways.model_copy(update={"conditional": False}))


def _optional(store: ObjectStore, stored: ObjectInfo, md5: str) -> list[Feature]:
    """The optional features of a delivery, with their replacements."""
    ways = store.ways
    proof = "ETag with the MD5" if store.wants_md5 else "SHA-256 that the server verifies"
    known = not store.wants_md5 or stored.etag == md5
    features = [
        ("send a clip while it arrives", ways.stream, "it is sent from its file"),
        ("If-None-Match", ways.conditional, "the key is looked up before each PUT"),
        ("SHA-256 in a header", ways.checksum, f"{proof} is compared, or the object read back"),
        ("Content-MD5", ways.md5, f"{proof} is compared, or the object read back"),
        (proof, known, "every object is read back once"),
        ("HEAD with checksum mode", ways.checksum_mode, "HEAD alone"),
        ("HEAD", ways.head, "objects are looked up in a list"),
        ("UNSIGNED-PAYLOAD", ways.unsigned, "bodies are signed; every file is read twice"),
        ("ListObjectsV2", ways.list_v2, "the older ListObjects"),
    ]
    return [
        Feature(feature, Support.SUPPORTED if taken else Support.WITHOUT, "" if taken else how)
        for feature, taken, how in features
    ]


class _Stream:
    """Bytes that are sent while they arrive, like those of a delivery."""

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
def _needed(trial: BucketTrial, feature: str) -> Iterator[None]:
    """Note whether the block succeeds. An outage ends the trial instead."""
    try:
        yield
    except UnavailableError:
        raise
    except DailiesError as error:
        trial.features.append(Feature(feature, Support.MISSING, str(error)))
    else:
        trial.features.append(Feature(feature, Support.SUPPORTED))
