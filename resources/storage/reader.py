"""Reading the bucket: what it holds, with short outages ridden out."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from resources.retry import ride_out
from resources.storage.errors import NoSuchObjectError, StorageError, UnsupportedError
from resources.storage.s3_client import S3Settings, client_for
from resources.storage.s3_errors import is_transient, translated
from resources.storage.ways import Ways, learn, ways_at

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ListObjectsV2OutputTypeDef

T = TypeVar("T")

_CHUNK = 1 << 20


@dataclass(frozen=True)
class ObjectInfo:
    """What S3 says of one object.

    Attributes:
        key: Its key in the bucket.
        size: Bytes.
        sha256: Hex, where the server keeps a checksum of the whole object. A server that does not check it on upload
            (rclone) repeats what it was told.
        etag: Without quotes; the MD5 in hex on most servers for objects stored in one request.
        content_type: As it was stored, where the server was asked for it.
        modified: When it was stored (aware, UTC).
    """

    key: str
    size: int
    sha256: str | None
    etag: str | None
    content_type: str | None = None
    modified: datetime | None = None


class BucketReader:
    """A bucket to read from. Cheap to make: all of a process with equal settings share one client, and threads may share one."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self.bucket = settings.bucket

    @property
    def ways(self) -> Ways:
        """Which optional parts of S3 the server takes, as far as this process knows."""
        return ways_at(self.settings)

    def learn(self, ways: Ways) -> None:
        """Keep what the server takes."""
        learn(self.settings, ways)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri('')!r} at {self.settings.endpoint_url or 'AWS'})"

    def uri(self, key: str) -> str:
        """The object's address as people write it: `s3://bucket/key`."""
        return f"s3://{self.bucket}/{key}"

    def check(self) -> None:
        """Ask for the first key of the bucket, once: finds a wrong address, key or bucket without writing anything.

        Raises:
            AccessDeniedError: The key is wrong or may not list the bucket.
            NoSuchBucketError: It does not exist.
            resources.errors.UnavailableError: The server does not answer.
        """
        self._call(
            "list the bucket", "", lambda s3: s3.list_objects_v2(Bucket=self.bucket, MaxKeys=1), once=True
        )

    def get_bytes(self, key: str, *, max_bytes: int = 16 << 20) -> bytes | None:
        """The content of an object, None where there is none.

        Raises:
            StorageError: It is larger than `max_bytes`.
        """

        def read(s3: "S3Client") -> bytes:
            answer = s3.get_object(Bucket=self.bucket, Key=key)
            data = bytearray()
            size = answer.get("ContentLength", 0)  # not every server says it
            with closing(answer["Body"]) as body:
                while size <= max_bytes and (piece := body.read(_CHUNK)):
                    data += piece
                    size = max(size, len(data))
            if size > max_bytes:
                raise StorageError(f"{self.uri(key)} has {size:,} bytes; at most {max_bytes:,} are read here")
            return bytes(data)

        try:
            return self._call("read", key, read)
        except NoSuchObjectError:
            return None

    def get_file(self, key: str, path: Path) -> ObjectInfo | None:
        """Read an object into a file, whatever its size; None where there is none.

        Args:
            key: Which.
            path: Where to; what was there is replaced.

        Returns:
            The object, with the SHA-256 of what was read.
        """

        def read(s3: "S3Client") -> ObjectInfo:
            digest = hashlib.sha256()
            answer = s3.get_object(Bucket=self.bucket, Key=key)
            with closing(answer["Body"]) as body, path.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
                size = file.tell()
            etag = answer.get("ETag", "").strip('"') or None
            return ObjectInfo(key, size, digest.hexdigest(), etag, answer.get("ContentType"))

        try:
            return self._call("read", key, read)
        except NoSuchObjectError:
            return None

    def head(self, key: str) -> ObjectInfo | None:
        """What S3 says of an object, None where there is none."""
        try:
            answer = self._head(key)
        except NoSuchObjectError:
            return None
        size: int | None = answer.get("ContentLength")
        if size is None:
            # a server may leave the length out of an answer without a body
            size = next((item.size for item in self.list_objects(key) if item.key == key), None)
        if size is None:
            return None
        return ObjectInfo(
            key=key,
            size=size,
            sha256=sha256_hex(answer.get("ChecksumSHA256")),
            etag=answer.get("ETag", "").strip('"') or None,
            content_type=answer.get("ContentType"),
            modified=answer.get("LastModified"),
        )

    def _head(self, key: str) -> "HeadObjectOutputTypeDef":
        def ask(s3: "S3Client", **mode: Any) -> "HeadObjectOutputTypeDef":
            return s3.head_object(Bucket=self.bucket, Key=key, **mode)

        if not self.ways.checksum_mode:
            return self._call("look up", key, ask)
        try:
            return self._call("look up", key, lambda s3: ask(s3, ChecksumMode="ENABLED"))
        except UnsupportedError:
            without = self.ways.model_copy(update={"checksum_mode": False})
        try:
            answer = self._call("look up", key, ask)
        except NoSuchObjectError:
            self.learn(without)
            raise
        self.learn(without)
        return answer

    def list_objects(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object under a prefix in the order of the keys, read page by page (a list carries no checksums)."""
        token: dict[str, Any] = {}
        last = ""

        def next_page(s3: "S3Client") -> "ListObjectsV2OutputTypeDef":
            return s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix, **token)

        while True:
            page = self._call("list", prefix, next_page)
            found = page.get("Contents", [])
            for item in found:
                etag = item.get("ETag", "").strip('"') or None
                yield ObjectInfo(item["Key"], item["Size"], None, etag, modified=item.get("LastModified"))
            following = page.get("NextContinuationToken")
            if not page.get("IsTruncated") or (following is None and not found):
                return
            # without a token the next page is the one after the last key; that goes forward, or it would never end
            keys = [item["Key"] for item in found]
            if following is None and keys[-1] <= last:
                raise StorageError(
                    f"the list of {self.uri(prefix)} names no next page and begins again; it cannot be read to its end"
                )
            last = keys[-1] if keys else last
            token = {"StartAfter": last} if following is None else {"ContinuationToken": following}

    def list_keys(self, prefix: str) -> Iterator[str]:
        """Every key under a prefix, in order."""
        return (item.key for item in self.list_objects(prefix))

    def _sha256_of(self, key: str) -> str:
        def read(s3: "S3Client") -> str:
            digest = hashlib.sha256()
            with closing(s3.get_object(Bucket=self.bucket, Key=key)["Body"]) as body:
                for chunk in body.iter_chunks(_CHUNK):
                    digest.update(chunk)
            return digest.hexdigest()

        return self._call("read", key, read)

    def _call(
        self,
        verb: str,
        key: str,
        request: "Callable[[S3Client], T]",
        *,
        once: bool = False,
        signed_bodies: bool | None = None,
    ) -> T:
        """Send a request, again while S3 is down, and say in our words what it answered."""
        patience = 0 if once else self.settings.ride_out_seconds
        client = self._client if not signed_bodies else client_for(self.settings, signed_bodies=True)
        try:
            return ride_out(lambda: request(client), on=is_transient, seconds=patience)
        except Exception as error:
            told = translated(error, f"cannot {verb} {self.uri(key)}", self.settings.endpoint_url, patience)
            if told is error:
                raise
            raise told from error

    @property
    def _client(self) -> "S3Client":
        return client_for(self.settings, signed_bodies=not self.ways.unsigned)


def sha256_hex(checksum: str | None) -> str | None:
    """The SHA-256 that S3 names, in hex; None where it names none of the whole object."""
    # "...-3" is the checksum of a multipart upload's checksums, which says nothing of the whole
    if not checksum or "-" in checksum:
        return None
    try:
        return base64.b64decode(checksum, validate=True).hex()
    except ValueError:
        return None
