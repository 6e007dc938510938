"""Storing immutable objects in the bucket. Each is verified after it was stored, and requests are retried through short outages.

One PutObject stores a whole object or nothing. So no partial object is ever visible, and a killed worker leaves no open multipart
upload behind.
"""

import base64
import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from resources.errors import DailiesError
from resources.storage.errors import (
    AccessDeniedError,
    CorruptUploadError,
    NoSuchBucketError,
    ObjectConflictError,
    StorageError,
    UnsupportedError,
)
from resources.storage.reader import BucketReader, ObjectInfo, etag_of, sha256_hex
from resources.storage.s3_client import is_aws
from resources.storage.s3_errors import is_code
from resources.storage.ways import Ways

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import PutObjectOutputTypeDef

__all__ = ["Arriving", "ObjectInfo", "ObjectStore"]

_FEATURES = {
    "IfNoneMatch": "If-None-Match",
    "ChecksumSHA256": "a SHA-256",
    "ContentMD5": "Content-MD5",
    "unsigned": "UNSIGNED-PAYLOAD",
}
"""The features of a PUT that can be left out, by their parameter."""


class Arriving(Protocol):
    """A stream of bytes that go to the bucket while they arrive, with digests after all were read."""

    @property
    def sha256(self) -> str:
        """SHA-256 in hex of the bytes that were read."""

    @property
    def md5(self) -> str | None:
        """MD5 in hex of the bytes that were read; None if it is not wanted."""

    def read(self, amount: int = -1) -> bytes:
        """The next available bytes; none at the end."""


@dataclass(frozen=True)
class _Content:
    """The bytes of an upload, which every try opens again, with the digests that the stored object must have."""

    open: Callable[[], AbstractContextManager[IO[bytes]]]
    size: int
    sha256: str
    md5: str | None


class ObjectStore(BucketReader):
    """A bucket to read from and to store in."""

    def ensure_bucket(self) -> None:
        """Create the bucket unless it exists.

        Raises:
            AccessDeniedError: The bucket belongs to somebody else, or the key may not create one.
            resources.errors.UnavailableError: The server does not answer.
        """
        try:
            return self.check()
        except NoSuchBucketError:
            pass
        place: dict[str, Any] = {}
        if self._is_aws and self.settings.region != "us-east-1":
            place = {"CreateBucketConfiguration": {"LocationConstraint": self.settings.region}}
        try:
            self._call("create the bucket", "", lambda s3: s3.create_bucket(Bucket=self.bucket, **place))
        except StorageError as error:
            if not is_code(error.__cause__, "BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
                raise
        return self.check()

    @property
    def wants_md5(self) -> bool:
        """Whether the MD5 shows that an object arrived undamaged. AWS verifies the SHA-256 instead."""
        return not self._is_aws

    def put_stream(self, key: str, source: Arriving, *, size: int, content_type: str) -> ObjectInfo:
        """Store an object while its bytes arrive, in one request that is sent once.

        On AWS the request ends with the SHA-256, which S3 verifies before it stores anything. Other servers may refuse such
        a trailer; there the MD5 in the ETag is compared afterwards.

        Args:
            key: A key that no other object has.
            source: The bytes. If it raises, nothing is stored.
            size: Bytes.
            content_type: E.g. `video/mp4`.

        Raises:
            ObjectConflictError: The key is taken.
            CorruptUploadError: The stored object differs from the sent one.
            UnsupportedError: The server does not accept a stream now or did not before; use `put_file`.
            resources.errors.UnavailableError: S3 did not answer or cut the connection, or the source raised.
        """
        if not self.ways.stream:
            raise UnsupportedError(f"{self.uri(key)}: the server takes no object while it arrives")
        if not (self._is_aws and self.ways.conditional) and self.head(key) is not None:
            raise ObjectConflictError(f"{self.uri(key)} already holds an object")
        checks: dict[str, Any] = {"ChecksumAlgorithm": "SHA256"} if self._is_aws else {}
        if self.ways.conditional:
            checks["IfNoneMatch"] = "*"

        def send(s3: "S3Client") -> "PutObjectOutputTypeDef":
            body: Any = source
            return s3.put_object(
                Bucket=self.bucket,
                Key=key,
                Body=body,
                ContentLength=size,
                ContentType=content_type,
                **checks,
            )

        try:
            with self._unknown_parts_named():
                answer = self._send("store", key, send, once=True)
        except UnsupportedError:
            self.learn(self.ways.model_copy(update={"stream": False}))
            raise
        content = _Content(_nothing, size, source.sha256, source.md5)
        return self._verified(key, answer, content, content_type)

    def put_file(
        self, key: str, path: Path, *, sha256: str, content_type: str, md5: str | None = None
    ) -> ObjectInfo:
        """Store a file under a key that no other object has.

        Args:
            key: A key that no other object has.
            path: The file; it must not change meanwhile.
            sha256: Its SHA-256 in hex, known from the download.
            content_type: The media type, e.g. `video/mp4`.
            md5: Its MD5 in hex, if known.

        Returns:
            The stored object; also if it existed with equal content, because the answer to this PUT was lost.

        Raises:
            ObjectConflictError: The key holds other content.
            CorruptUploadError: The stored object differs from the sent one.
            resources.errors.UnavailableError: S3 was down for longer than `ride_out_seconds`.
        """
        if self.wants_md5:
            md5 = md5 or _md5_of(path)
        content = _Content(lambda: path.open("rb"), path.stat().st_size, sha256.lower(), md5)
        return self._put(key, content, content_type, overwrite=False)

    def put_bytes(self, key: str, data: bytes, *, content_type: str, overwrite: bool = False) -> ObjectInfo:
        """Store a small object, as `put_file` does. `overwrite` is for the few objects that only show a state (`current.json`)."""
        return self._put(key, _content_of(data), content_type, overwrite=overwrite)

    def _put(self, key: str, content: _Content, content_type: str, *, overwrite: bool) -> ObjectInfo:
        # AWS honours If-None-Match. Other servers may ignore it and overwrite, so a look-up comes first.
        if not overwrite and not (self._is_aws and self.ways.conditional) and (existing := self.head(key)):
            return self._ours_or_conflict(existing, content)
        refused: UnsupportedError | None = None
        tried: list[dict[str, Any]] = []
        for ways in self.ways.lesser():
            checks = self._checks(ways, content, overwrite=overwrite)
            way = {**checks, "unsigned": ways.unsigned}
            if way in tried:
                continue
            tried.append(way)
            try:
                stored = self._put_in(ways, key, content, content_type, checks, overwrite=overwrite)
            except UnsupportedError as error:
                refused = refused or error
            else:
                if refused is not None:
                    self.learn(ways)
                return stored
        if refused is None:
            raise AssertionError("every way was tried")
        features = [words for name, words in _FEATURES.items() if any(name in way for way in tried)]
        raise UnsupportedError(f"{refused}; it is refused without {', '.join(features)} too") from refused

    def _checks(self, ways: Ways, content: _Content, *, overwrite: bool) -> dict[str, Any]:
        """The headers that protect an upload."""
        checks: dict[str, Any] = {}
        if ways.checksum:
            checks["ChecksumSHA256"] = _b64(content.sha256)
        if content.md5 and self.wants_md5 and ways.md5:
            checks["ContentMD5"] = _b64(content.md5)
        if not overwrite and ways.conditional:
            checks["IfNoneMatch"] = "*"
        return checks

    def _put_in(
        self,
        ways: Ways,
        key: str,
        content: _Content,
        content_type: str,
        checks: dict[str, Any],
        *,
        overwrite: bool,
    ) -> ObjectInfo:
        """Store an object with one set of features."""

        def send(s3: "S3Client") -> "PutObjectOutputTypeDef":
            with content.open() as body:
                return s3.put_object(
                    Bucket=self.bucket,
                    Key=key,
                    Body=body,
                    ContentLength=content.size,
                    ContentType=content_type,
                    **checks,
                )

        try:
            with self._unknown_parts_named():
                answer = self._call("store", key, send, signed_bodies=not ways.unsigned)
        except ObjectConflictError:
            existing = self.head(key)
            if existing is None:
                raise
            return self._ours_or_conflict(existing, content)
        return self._verified(key, answer, content, content_type, ours=not overwrite)

    def _verified(
        self,
        key: str,
        answer: "PutObjectOutputTypeDef",
        content: _Content,
        content_type: str,
        *,
        ours: bool = True,
    ) -> ObjectInfo:
        """Compare the stored object with the sent one; remove a damaged object of ours."""
        stored = ObjectInfo(
            key=key,
            size=content.size,
            sha256=sha256_hex(answer.get("ChecksumSHA256")),
            etag=etag_of(answer),
            content_type=content_type,
        )
        if self._proven(stored, content):
            return stored
        in_bucket = self.head(key)
        if in_bucket is not None and self._holds(in_bucket, content):
            return in_bucket
        removed = ours and self.discard(key)
        raise CorruptUploadError(
            f"{self.uri(key)}: what S3 held after the upload was not what was sent "
            f"({content.size:,} bytes, SHA-256 {content.sha256}); "
            + (
                "it was removed, to be stored again"
                if removed
                else "remove it, so that it can be stored again"
            )
        )

    def discard(self, key: str) -> bool:
        """Remove an object that was just stored, because it is damaged or was a trial. Returns whether it was removed."""
        try:
            self._call("remove", key, lambda s3: s3.delete_object(Bucket=self.bucket, Key=key), once=True)
        except DailiesError:
            return False
        return True

    def ignores_conditions(self, key: str) -> bool:
        """Whether the server overwrites an object despite If-None-Match. If so, this call has overwritten the object.

        Raises:
            UnsupportedError: The server refuses the header.
        """
        data = b"overwritten"
        checks = self._checks(self.ways, _content_of(data), overwrite=False)
        try:
            self._call(
                "store", key, lambda s3: s3.put_object(Bucket=self.bucket, Key=key, Body=data, **checks)
            )
        except ObjectConflictError:
            return False
        return True

    @contextlib.contextmanager
    def _unknown_parts_named(self) -> Iterator[None]:
        """Treat a wrong signature of a PUT as an unsupported feature, since the same key has just worked for a HEAD.

        Google Cloud Storage answers SignatureDoesNotMatch to a checksum in a trailer (aws-sdk-java-v2#5987).
        """
        try:
            yield
        except AccessDeniedError as error:
            if self._is_aws or not is_code(error.__cause__, "SignatureDoesNotMatch"):
                raise
            raise UnsupportedError(str(error)) from error.__cause__

    def _ours_or_conflict(self, existing: ObjectInfo, content: _Content) -> ObjectInfo:
        if self._holds(existing, content):
            return existing
        raise ObjectConflictError(
            f"{self.uri(existing.key)} already holds another object ({existing.size:,} bytes, not these {content.size:,}). "
            "Objects are never overwritten: store a new take under a new key"
        )

    def _holds(self, existing: ObjectInfo, content: _Content) -> bool:
        """Whether an object has these bytes, by a trusted digest or else by reading the object."""
        if existing.size != content.size:
            return False
        if self._proven(existing, content):
            return True
        if self._is_aws and existing.sha256:
            return False
        return self._sha256_of(existing.key) == content.sha256

    def _proven(self, existing: ObjectInfo, content: _Content) -> bool:
        # Only AWS is trusted to have checked the SHA-256 it reports: rclone repeats the header that it received.
        if self._is_aws:
            return existing.sha256 == content.sha256
        return content.md5 is not None and existing.etag == content.md5

    @property
    def _is_aws(self) -> bool:
        return is_aws(self._client)


def _nothing() -> AbstractContextManager[IO[bytes]]:
    raise AssertionError("a stream is sent once")


def _content_of(data: bytes) -> _Content:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return _Content(lambda: BytesIO(data), len(data), hashlib.sha256(data).hexdigest(), md5)


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _b64(hex_digest: str) -> str:
    return base64.b64encode(bytes.fromhex(hex_digest)).decode()
