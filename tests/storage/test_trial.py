"""A bucket is tried with the requests of a delivery: a missing feature is replaced, or the bucket is refused before anything is bought."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import odd_s3
import pytest
from hostile import MP4, File, serving
from odd_s3 import Oddity, OddS3, Request, all_of, lacks

from resources.errors import UnavailableError
from resources.storage import remote
from resources.storage.download_policy import DownloadPolicy
from resources.storage.errors import ObjectConflictError, UnsupportedError
from resources.storage.layout import TRIALS
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings
from resources.storage.transfer import Destination, transfer
from resources.storage.trial import UnfitBucketError, try_bucket
from resources.storage.ways import Ways, learn

KEY = "videos/clip/a.mp4"


@pytest.fixture(autouse=True)
def connections() -> Iterator[None]:
    yield
    remote._connections.close()


def tried(store: ObjectStore) -> Ways:
    """The result of the trial of a fit bucket."""
    trial = try_bucket(store)
    trial.refuse(store)
    return trial.ways


def deliver(server: OddS3, path: Path) -> bool:
    """Store a clip and its manifest as a delivery does, neither over the other; returns whether the clip was streamed."""
    store = ObjectStore(server.settings)
    with serving() as cdn:
        cdn.files["/clip.mp4"] = File()
        policy = DownloadPolicy(allowed_origins=frozenset({cdn.origin}), pause_seconds=0)
        moved = transfer(cdn.url(), path, Destination(store, KEY, lambda _: KEY), policy=policy)
    assert store.get_bytes(KEY) == MP4
    store.put_bytes("videos/clip/a.json", b"{}", content_type="application/json")
    store.put_bytes("ledger.json", b"1", content_type="application/json", overwrite=True)
    store.put_bytes("ledger.json", b"2", content_type="application/json", overwrite=True)
    assert server.keys() == ["ledger.json", "videos/clip/a.json", KEY]
    with pytest.raises(ObjectConflictError):
        store.put_bytes(KEY, b"another", content_type="video/mp4")
    other = path.with_name("other.mp4")
    other.write_bytes(b"another")
    with pytest.raises(ObjectConflictError):
        store.put_file(KEY, other, sha256=hashlib.sha256(b"another").hexdigest(), content_type="video/mp4")
    assert store.get_bytes(KEY) == MP4
    return moved.streamed


ALL = Ways()
SERVERS: dict[str, tuple[Oddity, Ways]] = {
    "nothing odd": (odd_s3.NOTHING, ALL),
    "no If-None-Match (501)": (odd_s3.NO_CONDITIONS, Ways(conditional=False)),
    "no checksum headers (400)": (odd_s3.NO_CHECKSUMS, Ways(checksum=False)),
    "Object Lock wants an MD5 or a checksum": (odd_s3.LOCKED, Ways(stream=False)),
    "411 to a stream": (odd_s3.NO_LENGTH, Ways(stream=False)),
    "501 to a stream": (odd_s3.NO_STREAMS, Ways(stream=False)),
    "signed bodies only": (odd_s3.SIGNED_ONLY, Ways(stream=False, unsigned=False)),
    "no Content-MD5": (odd_s3.NO_MD5, Ways(md5=False)),
    "no checksum mode": (odd_s3.NO_CHECKSUM_MODE, Ways(checksum_mode=False)),
    "nothing may be removed": (odd_s3.KEEPS_EVERYTHING, ALL),
    "Object Lock without checksums": (
        all_of(odd_s3.LOCKED, odd_s3.NO_CHECKSUMS),
        Ways(stream=False, checksum=False),
    ),
    "neither conditions nor checksums": (
        all_of(odd_s3.NO_CONDITIONS, odd_s3.NO_CHECKSUMS),
        Ways(conditional=False, checksum=False),
    ),
    "almost nothing": (
        all_of(odd_s3.NO_CONDITIONS, odd_s3.NO_CHECKSUMS, odd_s3.NO_MD5, odd_s3.NO_CHECKSUM_MODE),
        Ways(conditional=False, checksum=False, md5=False, checksum_mode=False),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("oddity", "ways"), SERVERS.values(), ids=SERVERS.keys())
def test_the_trial_finds_missing_features_and_deliveries_work_without_them(
    tmp_path: Path, oddity: Oddity, ways: Ways
) -> None:
    with odd_s3.odd_s3(oddity) as server:
        assert tried(ObjectStore(server.settings)) == ways
        left = server.keys(TRIALS)
        assert bool(left) == (oddity is odd_s3.KEEPS_EVERYTHING)
        for key in left:
            del server.objects[f"/clips/{key}"]
        refused_before = len(server.seen)
        assert deliver(server, tmp_path / "clip.mp4") == ways.stream
        assert not any(oddity(asked) for asked in server.seen[refused_before:] if asked.method != "DELETE"), (
            "no refused feature is requested again"
        )


@pytest.mark.parametrize(("oddity", "ways"), SERVERS.values(), ids=SERVERS.keys())
def test_a_process_without_a_trial_works_too(tmp_path: Path, oddity: Oddity, ways: Ways) -> None:
    with odd_s3.odd_s3(oddity) as server:
        deliver(server, tmp_path / "clip.mp4")
        assert ObjectStore(server.settings).ways.checksum == ways.checksum


@pytest.mark.slow
@pytest.mark.parametrize("etag", [lambda md5: None, lambda md5: f'W/"{md5}"', lambda md5: '"opaque-5"'])
def test_a_server_whose_etag_is_no_md5_is_read_back(tmp_path: Path, etag: object) -> None:
    with odd_s3.odd_s3(odd_s3.NOTHING, etag=etag) as server:
        assert tried(ObjectStore(server.settings)) == ALL
        assert deliver(server, tmp_path / "clip.mp4")


def is_listing(asked: Request) -> bool:
    return asked.is_list


def is_put(asked: Request) -> bool:
    return asked.is_put


UNFIT: dict[str, tuple[Oddity, str]] = {
    "virtual hosts only": (
        lacks(403, "SecondLevelDomainForbidden", "Please use virtual hosted style", lambda _: True),
        "wants the bucket in the host's name",
    ),
    "no list": (lacks(501, "NotImplemented", "ListObjectsV2", is_listing), "does not list .*ListObjectsV2"),
    "may not list": (lacks(403, "AccessDenied", "", is_listing), "does not list .*s3:ListBucket"),
    "no PUT": (
        lacks(405, "MethodNotAllowed", "The specified method is not allowed", is_put),
        "does not store a file",
    ),
    "may not PUT": (lacks(403, "AccessDenied", "", is_put), "s3:PutObject"),
    "wants encryption": (
        lacks(400, "InvalidRequest", "The bucket wants x-amz-server-side-encryption", is_put),
        "x-amz-server-side-encryption",
    ),
    "an unknown refusal": (
        lacks(403, "AccountFrozen", "Pay your bill", is_put),
        "AccountFrozen: Pay your bill",
    ),
    "nothing is overwritten": (
        lacks(403, "ObjectLocked", "WORM", lambda asked: asked.is_put and asked.path.endswith(".json")),
        "does not store and replace small objects.*ObjectLocked: WORM",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("oddity", "says"), UNFIT.values(), ids=UNFIT.keys())
def test_a_bucket_that_cannot_store_a_clip_is_refused_with_the_missing_feature(
    oddity: Oddity, says: str
) -> None:
    with odd_s3.odd_s3(oddity) as server, pytest.raises(UnfitBucketError, match=says) as caught:
        tried(ObjectStore(server.settings))
    assert "Nothing was bought" in str(caught.value)
    assert "s3://clips/" in str(caught.value)
    assert server.keys() == []


def test_a_list_that_does_not_show_stored_objects_is_refused() -> None:
    class Forgetful(OddS3):
        def keys(self, prefix: str = "") -> list[str]:
            return []

    with odd_s3.odd_s3(odd_s3.NOTHING) as server:
        server.__class__ = Forgetful
        with pytest.raises(UnfitBucketError, match="its list does not show"):
            tried(ObjectStore(server.settings))


def test_a_server_that_is_down_is_not_called_unfit() -> None:
    settings = S3Settings(
        bucket="clips",
        endpoint_url="http://127.0.0.1:9",
        access_key_id="dailieskey",
        secret_access_key="dailies-secret",
        ride_out_seconds=0,
    )
    with pytest.raises(UnavailableError):
        tried(ObjectStore(settings))


def test_an_outage_during_the_trial_proves_nothing() -> None:
    with odd_s3.odd_s3(lacks(503, "SlowDown", "busy", is_put)) as server:
        with pytest.raises(UnavailableError):
            tried(ObjectStore(server.settings))
        assert ObjectStore(server.settings).ways == ALL
        server.oddity = odd_s3.NOTHING
        assert tried(ObjectStore(server.settings)) == ALL


def test_a_refusal_without_a_substitute_is_reported_as_it_first_came(tmp_path: Path) -> None:
    refusal = lacks(400, "InvalidRequest", "tags are required here", is_put)
    with odd_s3.odd_s3(refusal) as server, pytest.raises(UnsupportedError, match="tags are required here"):
        ObjectStore(server.settings).put_bytes("a.json", b"{}", content_type="application/json")
    assert ObjectStore(server.settings).ways == ALL


@pytest.mark.slow
def test_every_other_server_passes_its_trial(store: ObjectStore) -> None:
    """rclone and moto, as real processes."""
    ways = tried(store)
    assert ways.stream
    assert list(store.list_keys(TRIALS)) == []


def test_a_refused_stream_is_stored_from_its_file(tmp_path: Path) -> None:
    with odd_s3.odd_s3(odd_s3.LOCKED) as server:
        learn(server.settings, ALL)
        assert not deliver(server, tmp_path / "clip.mp4")
        assert not ObjectStore(server.settings).ways.stream, "the next clip is not streamed"


def test_texts_of_a_server_are_shown_without_invisible_characters() -> None:
    refusal = lacks(403, "Odd", "no\u202eway https://a.example/x?sig=canary", is_put)
    with odd_s3.odd_s3(refusal) as server, pytest.raises(UnfitBucketError) as caught:
        tried(ObjectStore(server.settings))
    assert "canary" not in str(caught.value)
    assert "\u202e" not in str(caught.value)
