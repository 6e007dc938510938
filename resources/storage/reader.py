"""Reading the bucket, with retries through short outages."""

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from resources.errors import ConfigurationError, DailiesError, UnavailableError
from resources.retry import ride_out
from resources.storage.errors import AccessDeniedError, NoSuchObjectError, StorageError, UnsupportedError
from resources.storage.s3_client import Addressing, S3Settings, client_for, is_aws
from resources.storage.s3_errors import (
    is_code,
    is_transient,
    may_be_the_addressing,
    translated,
    wants_virtual_addressing,
)
from resources.storage.ways import Ways, learn, ways_at

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import (
        HeadObjectOutputTypeDef,
        ListObjectsOutputTypeDef,
        ListObjectsV2OutputTypeDef,
    )

T = TypeVar("T")

_CHUNK = 1 << 20


@dataclass(frozen=True)
class ObjectInfo:
    """S3's facts about one object."""

    key: str
    size: int
    """Bytes."""
    sha256: str | None
    """In hex, if the server keeps a checksum of the whole object. rclone does not check it on upload but repeats the header."""
    etag: str | None
    """Without quotes; on most servers the MD5 in hex of an object that was stored in one request."""
    content_type: str | None = None
    """The media type; None if the server was not asked for it."""
    modified: datetime | None = None
    """When it was stored (aware, UTC); None if the server does not say."""


class BucketReader:
    """A bucket to read from. It is cheap to create, since all readers of a process with equal settings share one client. Threads may share it."""

    def __init__(self, settings: S3Settings) -> None:
        self.settings = settings
        self.bucket = settings.bucket

    @property
    def ways(self) -> Ways:
        """The optional features of S3 that the server supports, as far as this process knows."""
        return ways_at(self.settings)

    def learn(self, ways: Ways) -> None:
        """Record the features that the server supports."""
        learn(self.settings, ways)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.uri('')!r} at {self.settings.endpoint_url or 'AWS'})"

    def uri(self, key: str) -> str:
        """The object's address as people write it: `s3://bucket/key`."""
        return f"s3://{self.bucket}/{key}"

    @property
    def place(self) -> str:
        """The bucket and its server, e.g. `s3://clips/ at https://s3.example.com`; boto3's own settings may name the server."""
        return f"{self.uri('')} at {_server(self._client) or 'AWS'}"

    def check(self) -> None:
        """Read the first key of the bucket, once, to find a wrong address, key or bucket without writing anything.

        Raises:
            AccessDeniedError: The key is wrong or may not list the bucket.
            NoSuchBucketError: It does not exist.
            resources.errors.UnavailableError: The server does not answer.
        """
        self._first_page("", 1, once=True)

    def get_bytes(self, key: str, *, max_bytes: int = 16 << 20) -> bytes | None:
        """The content of an object; None if it does not exist.

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
        """Read an object of any size into a file; None if it does not exist.

        Args:
            path: The file, which is replaced.

        Returns:
            The object, with the SHA-256 of the bytes that were read.
        """

        def read(s3: "S3Client") -> ObjectInfo:
            digest = hashlib.sha256()
            answer = s3.get_object(Bucket=self.bucket, Key=key)
            with closing(answer["Body"]) as body, path.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
                size = file.tell()
            etag = etag_of(answer)
            return ObjectInfo(key, size, digest.hexdigest(), etag, answer.get("ContentType"))

        try:
            return self._call("read", key, read)
        except NoSuchObjectError:
            return None

    def head(self, key: str) -> ObjectInfo | None:
        """S3's facts about an object; None if it does not exist."""
        if not self.ways.head:
            return self._in_list(key)
        try:
            answer = self._head(key)
        except NoSuchObjectError:
            return None
        except (UnsupportedError, AccessDeniedError) as error:
            # the answer to a HEAD has no body: a list tells the reason, or the facts
            entry = self._in_list(key)
            if isinstance(error, AccessDeniedError):
                raise
            if is_code(error.__cause__, "405", "501"):
                self.learn(self.ways.model_copy(update={"head": False}))
            return entry
        size: int | None = answer.get("ContentLength")
        if size is None:
            # a server may leave the length out of an answer without a body
            listed = self._in_list(key)
            if listed is None:
                return None
            size = listed.size
        return ObjectInfo(
            key=key,
            size=size,
            sha256=sha256_hex(answer.get("ChecksumSHA256")),
            etag=etag_of(answer),
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
            pass
        try:
            answer = self._call("look up", key, ask)
        except NoSuchObjectError:
            self.learn(self.ways.model_copy(update={"checksum_mode": False}))
            raise
        self.learn(self.ways.model_copy(update={"checksum_mode": False}))
        return answer

    def _in_list(self, key: str) -> ObjectInfo | None:
        return next((item for item in self.list_objects(key) if item.key == key), None)

    def list_objects(self, prefix: str, *, page_size: int | None = None) -> Iterator[ObjectInfo]:
        """Every object under a prefix in the order of keys, read page by page. A list has no checksums.

        Args:
            prefix: The prefix of the keys.
            page_size: The most keys of a page; None leaves it to the server, usually 1,000.

        Raises:
            StorageError: The list cannot be read to its end.
        """
        after, token = "", None
        page = self._first_page(prefix, page_size)
        v2 = self.ways.list_v2
        while True:
            listed = page.get("Contents", [])
            # without a token, the next page begins after the last key
            items = [item for item in listed if token is not None or item["Key"] > after]
            if listed and not items:
                if not v2:
                    raise self._begins_again(prefix)
                v2 = False  # a server that ignores `start-after` may know the older list and its `marker`
                page = self._page(prefix, after, None, page_size, v2=v2)
                continue
            if self.ways.list_v2 and not v2:
                self.learn(self.ways.model_copy(update={"list_v2": False}))
            for item in items:
                modified = item.get("LastModified")
                yield ObjectInfo(item["Key"], item["Size"], None, etag_of(item), modified=modified)
            following = cast("str | None", page.get("NextContinuationToken"))
            if not page.get("IsTruncated") or (following is None and not items):
                return
            if following is not None and following == token:
                raise self._begins_again(prefix)
            after, token = items[-1]["Key"] if items else after, following
            page = self._page(prefix, after, token, page_size, v2=v2)

    def _first_page(
        self, prefix: str, page_size: int | None, *, once: bool = False
    ) -> "ListObjectsV2OutputTypeDef | ListObjectsOutputTypeDef":
        """The first page of a list; a server that refuses ListObjectsV2 is asked for the older list."""
        v2 = self.ways.list_v2
        try:
            return self._page(prefix, "", None, page_size, v2=v2, once=once)
        except UnsupportedError:
            if not v2:
                raise
        page = self._page(prefix, "", None, page_size, v2=False, once=once)
        self.learn(self.ways.model_copy(update={"list_v2": False}))
        return page

    def _page(
        self,
        prefix: str,
        after: str,
        token: str | None,
        page_size: int | None,
        *,
        v2: bool,
        once: bool = False,
    ) -> "ListObjectsV2OutputTypeDef | ListObjectsOutputTypeDef":
        query: dict[str, Any] = {"Bucket": self.bucket, "Prefix": prefix}
        if page_size is not None:
            query["MaxKeys"] = page_size
        if token is not None:
            query["ContinuationToken"] = token
        elif after:
            query["StartAfter" if v2 else "Marker"] = after
        if v2:
            return self._call("list", prefix, lambda s3: s3.list_objects_v2(**query), once=once)
        return self._call("list", prefix, lambda s3: s3.list_objects(**query), once=once)

    def _begins_again(self, prefix: str) -> StorageError:
        return StorageError(
            f"the list of {self.uri(prefix)} names no next page and begins again; it cannot be read to its end"
        )

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
        """Send a request as `_send` does; if it was refused because of the addressing style, send it again with the other style."""
        try:
            return self._send(verb, key, request, once=once, signed_bodies=signed_bodies)
        except (ConfigurationError, StorageError) as error:
            if not may_be_the_addressing(error):
                raise
            self._find_addressing(error)
        return self._send(verb, key, request, once=once, signed_bodies=signed_bodies)

    def _find_addressing(self, refusal: DailiesError) -> None:
        """Find out with a list whether the server needs the bucket in the host's name; otherwise raise the refusal."""
        is_open = self.settings.addressing == "auto" and self.ways.addressing is None
        if not is_open or not self.settings.can_be_virtual or is_aws(self._client):
            raise refusal

        def page(addressing: Addressing) -> "ListObjectsV2OutputTypeDef":
            return self._send(
                "list the bucket",
                "",
                lambda s3: s3.list_objects_v2(Bucket=self.bucket, MaxKeys=1),
                once=True,
                addressing=addressing,
            )

        try:
            page("path")
        except DailiesError:
            pass
        else:
            self.learn(self.ways.model_copy(update={"addressing": "path"}))
            raise refusal
        try:
            name = page("virtual").get("Name", self.bucket)
        except UnavailableError:  # the bucket's host has no address
            raise refusal from refusal.__cause__
        except DailiesError as error:
            if wants_virtual_addressing(refusal):
                raise error from error.__cause__
            raise refusal from refusal.__cause__
        if name != self.bucket:
            raise refusal
        self.learn(self.ways.model_copy(update={"addressing": "virtual"}))

    def _send(
        self,
        verb: str,
        key: str,
        request: "Callable[[S3Client], T]",
        *,
        once: bool = False,
        signed_bodies: bool | None = None,
        addressing: Addressing | None = None,
    ) -> T:
        """Send a request, repeat it while S3 is down, and translate the server's errors."""
        patience = 0 if once else self.settings.ride_out_seconds
        client = client_for(
            self.settings,
            addressing=addressing or self.ways.addressing,
            signed_bodies=signed_bodies or not self.ways.unsigned,
        )
        try:
            return ride_out(lambda: request(client), on=is_transient, seconds=patience)
        except Exception as error:
            failure = translated(error, f"cannot {verb} {self.uri(key)}", _server(client), patience)
            if failure is error:
                raise
            raise failure from error

    @property
    def _client(self) -> "S3Client":
        return client_for(
            self.settings, addressing=self.ways.addressing, signed_bodies=not self.ways.unsigned
        )


def _server(client: "S3Client") -> str | None:
    """The address of a client's server; None for AWS."""
    return None if is_aws(client) else client.meta.endpoint_url


def etag_of(answer: Any) -> str | None:
    """The ETag of an answer or of an item of a list, without quotes and a proxy's `W/`; None if there is none."""
    etag: str = answer.get("ETag", "")
    return etag.removeprefix("W/").strip('"') or None


def sha256_hex(checksum: str | None) -> str | None:
    """The SHA-256 that S3 names, in hex; None if it does not cover the whole object."""
    # "...-3" is the checksum of a multipart upload's checksums, which says nothing of the whole
    if not checksum or "-" in checksum:
        return None
    try:
        return base64.b64decode(checksum, validate=True).hex()
    except ValueError:
        return None
