"""Streams to AWS: the upload ends with its SHA-256, which S3 verifies before it stores the object."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aws_like import AwsLike, aws_like
from hostile import MP4, File, Hostile, serving
from pydantic import SecretStr

from resources.errors import ConfigurationError
from resources.network.way_out import Network
from resources.storage import remote
from resources.storage.download_policy import DownloadPolicy
from resources.storage.errors import CorruptUploadError, ObjectConflictError
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings
from resources.storage.transfer import Destination, Transferred, transfer
from tests.certificates import Certificate, self_signed

KEY = "videos/clip/a.mp4"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for localhost."""
    return self_signed(tmp_path_factory.mktemp("aws"), "localhost")


@pytest.fixture
def aws(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[AwsLike, ObjectStore]]:
    monkeypatch.setattr("resources.storage.objects.is_aws", lambda client: True)
    with aws_like(certificate.server()) as (server, address):
        settings = S3Settings(
            bucket="dailies",
            endpoint_url=address,
            access_key_id="AKIAEXAMPLE",
            secret_access_key=SecretStr("x" * 40),
            ride_out_seconds=2,
            network=Network.of({"AWS_CA_BUNDLE": str(certificate.file)}),
        )
        yield server, ObjectStore(settings)


@pytest.fixture
def cdn() -> Iterator[Hostile]:
    with serving() as running:
        running.files["/clip.mp4"] = File()
        yield running
    remote._connections.close()


def moved(cdn: Hostile, store: ObjectStore, tmp_path: Path) -> Transferred:
    policy = DownloadPolicy(allowed_origins=frozenset({cdn.origin}), pause_seconds=0, read_seconds=2)
    return transfer(cdn.url(), tmp_path / "clip.mp4", Destination(store, KEY, lambda _: KEY), policy=policy)


def test_the_upload_ends_with_a_checksum_that_is_verified(
    aws: tuple[AwsLike, ObjectStore], cdn: Hostile, tmp_path: Path
) -> None:
    server, store = aws
    done = moved(cdn, store, tmp_path)
    assert done == Transferred(KEY, len(MP4), hashlib.sha256(MP4).hexdigest(), streamed=True)
    assert server.objects == {f"/dailies/{KEY}": MP4}
    (sent,) = server.seen
    assert sent["x-amz-trailer"] == "x-amz-checksum-sha256"
    assert sent["if-none-match"] == "*"
    assert sent["x-amz-decoded-content-length"] == str(len(MP4))
    assert "content-md5" not in sent


def test_a_damaged_upload_is_refused_and_not_stored(
    aws: tuple[AwsLike, ObjectStore], cdn: Hostile, tmp_path: Path
) -> None:
    server, store = aws
    server.damage = True
    with pytest.raises(CorruptUploadError, match="other bytes arrived than were sent"):
        moved(cdn, store, tmp_path)
    assert server.objects == {}


def test_a_connection_that_breaks_is_followed_by_a_second_request_from_the_file(
    aws: tuple[AwsLike, ObjectStore], cdn: Hostile, tmp_path: Path
) -> None:
    server, store = aws
    server.dies_after = 300_000
    done = moved(cdn, store, tmp_path)
    assert (done.streamed, server.objects) == (False, {f"/dailies/{KEY}": MP4})
    assert len(cdn.files["/clip.mp4"].seen) == 1


def test_our_own_object_is_recognised_by_its_checksum(
    aws: tuple[AwsLike, ObjectStore], cdn: Hostile, tmp_path: Path
) -> None:
    """A 412 for our own object: the answer to our first request was lost."""
    server, store = aws
    moved(cdn, store, tmp_path)
    assert moved(cdn, store, tmp_path).sha256 == hashlib.sha256(MP4).hexdigest()
    server.objects[f"/dailies/{KEY}"] = b"another"
    with pytest.raises(ObjectConflictError, match="already holds another object"):
        moved(cdn, store, tmp_path)
    assert server.objects == {f"/dailies/{KEY}": b"another"}


def test_an_untrusted_certificate_is_an_error_at_once(aws: tuple[AwsLike, ObjectStore]) -> None:
    _, store = aws
    other = ObjectStore(store.settings.model_copy(update={"network": Network(), "ride_out_seconds": 600}))
    began = time.monotonic()
    with pytest.raises(ConfigurationError, match="certificate is not trusted"):
        other.head(KEY)
    assert time.monotonic() - began < 120
