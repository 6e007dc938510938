"""Kinds of S3 servers: each stores a clip, or is refused before the first purchase with the missing feature named."""

import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import odd_s3
import pytest
from hostile import File, serving
from odd_s3 import Answer, Oddity, OddS3, Request, lacks

from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.production.bucket_mark import bind_bucket
from resources.storage import remote, ways
from resources.storage.download_policy import DownloadPolicy
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings
from resources.storage.transfer import Destination, transfer
from resources.storage.trial import Support, UnfitBucketError, try_bucket
from resources.storage.ways import Ways

KEY = "videos/clip/a.mp4"
Retouch = Callable[[Request, Answer], Answer]


@pytest.fixture(autouse=True)
def connections() -> Iterator[None]:
    yield
    remote._connections.close()


@pytest.fixture(autouse=True)
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve `s3.test` and the hosts of its buckets to this machine."""
    resolve = socket.getaddrinfo

    def resolved(host: Any, *args: Any, **kwargs: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith("s3.test") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path}/ledger.db", budget=Budget()) as opened:
        yield opened


@dataclass(frozen=True)
class Kind:
    """A server, and what the trial finds out about it."""

    oddity: Oddity = odd_s3.NOTHING
    retouch: Retouch = field(default=lambda _, answer: answer)
    ways: Ways = field(default_factory=Ways)
    how: dict[str, Any] = field(default_factory=dict)
    named: bool = False
    """Whether the server's address is a name instead of numbers."""


def in_list(change: Callable[[bytes], bytes]) -> Retouch:
    def retouched(asked: Request, answer: Answer) -> Answer:
        if asked.is_list and answer.status == 200:
            answer.body = change(answer.body)
            answer.headers["Content-Length"] = str(len(answer.body))
        return answer

    return retouched


def without(element: str) -> Retouch:
    return in_list(lambda body: re.sub(rf"<{element}>.*?</{element}>".encode(), b"", body))


def no_length(asked: Request, answer: Answer) -> Answer:
    if asked.method in {"HEAD", "GET"} and not asked.is_list:
        answer.headers.pop("Content-Length", None)
    return answer


def ignores(*parameters: str) -> Oddity:
    def oddity(asked: Request) -> None:
        for name in parameters:
            asked.query.pop(name, None)

    return oddity


def ignores_conditions(asked: Request) -> None:
    asked.headers.pop("if-none-match", None)


def refuses_paths(status: int, code: str) -> Oddity:
    return lacks(status, code, "use virtual hosted style", lambda asked: not asked.is_virtual)


def once(oddity: Oddity) -> Oddity:
    """The oddity at the first request that it concerns."""
    done: list[bool] = []

    def odd(asked: Request) -> tuple[int, str, str] | None:
        said = None if done else oddity(asked)
        done.extend([True] if said else [])
        return said

    return odd


def error_in_200(asked: Request) -> tuple[int, str, str] | None:
    return (200, "InternalError", "We encountered an internal error") if asked.is_put else None


def wants_region(status: int, code: str) -> Kind:
    def odd(asked: Request) -> tuple[int, str, str] | None:
        return (status, code, "expecting eu-west-9") if asked.region != "eu-west-9" else None

    def naming(asked: Request, answer: Answer) -> Answer:
        if answer.status == status:
            if status == 400:
                answer.body = answer.body.replace(b"<Code>", b"<Region>eu-west-9</Region><Code>")
                answer.headers["Content-Length"] = str(len(answer.body))
            else:
                answer.headers["x-amz-bucket-region"] = "eu-west-9"
        return answer

    return Kind(odd, naming, how={"own_port": True})


VIRTUAL = Ways(addressing="virtual")
NAMESPACE = b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'

KINDS = {
    "nothing odd": Kind(),
    # the bucket's address
    "virtual hosts only (OSS)": Kind(
        refuses_paths(403, "SecondLevelDomainForbidden"), ways=VIRTUAL, named=True
    ),
    "virtual hosts only (COS)": Kind(
        refuses_paths(403, "PathStyleDomainForbidden"), ways=VIRTUAL, named=True
    ),
    "virtual hosts only (OBS)": Kind(
        refuses_paths(403, "VirtualHostDomainRequired"), ways=VIRTUAL, named=True
    ),
    "virtual hosts only (TOS)": Kind(refuses_paths(403, "InvalidPathAccess"), ways=VIRTUAL, named=True),
    "virtual hosts only (301)": Kind(refuses_paths(301, "PermanentRedirect"), ways=VIRTUAL, named=True),
    "virtual hosts only (404)": Kind(refuses_paths(404, "NoSuchBucket"), ways=VIRTUAL, named=True),
    "virtual hosts only (405)": Kind(refuses_paths(405, "MethodNotAllowed"), ways=VIRTUAL, named=True),
    "virtual hosts with a path": Kind(
        refuses_paths(403, "SecondLevelDomainForbidden"), ways=VIRTUAL, how={"base": "/s3"}, named=True
    ),
    "a path before the bucket (Supabase)": Kind(
        lacks(404, "NotFound", "Route not found", lambda asked: not asked.is_based),
        how={"base": "/storage/v1/s3"},
    ),
    # missing parts of answers, and their form
    "no Content-Length": Kind(retouch=no_length),
    "no LastModified": Kind(retouch=without("LastModified")),
    "no NextContinuationToken": Kind(retouch=without("NextContinuationToken")),
    "no KeyCount": Kind(retouch=without("KeyCount")),
    "no Name": Kind(retouch=without("Name")),
    "a namespace": Kind(
        retouch=in_list(lambda body: body.replace(b"Result>", b"Result" + NAMESPACE + b">", 1))
    ),
    "an XML declaration": Kind(
        retouch=in_list(lambda body: b'<?xml version="1.0" encoding="UTF-8"?>\n' + body)
    ),
    "an encoding that is said and not done": Kind(
        retouch=in_list(lambda body: body.replace(b"<Name>", b"<EncodingType>url</EncodingType><Name>"))
    ),
    "max-keys ignored": Kind(ignores("max-keys")),
    "an ETag without quotes": Kind(how={"etag": lambda md5: md5}),
    "a weak ETag": Kind(how={"etag": lambda md5: f'W/"{md5}"'}),
    "an ETag that is no MD5": Kind(how={"etag": lambda _: '"opaque-5"'}),
    "no ETag": Kind(how={"etag": lambda _: None}),
    # missing features
    "the older list only": Kind(
        ignores("list-type", "start-after", "continuation-token"),
        without("(?:NextContinuationToken|KeyCount)"),
        Ways(list_v2=False),
    ),
    "ListObjectsV2 refused": Kind(
        lacks(501, "NotImplemented", "ListObjectsV2", lambda asked: "list-type" in asked.query),
        ways=Ways(list_v2=False),
    ),
    "HEAD refused": Kind(
        lacks(405, "MethodNotAllowed", "", lambda asked: asked.method == "HEAD"),
        ways=Ways(head=False),
    ),
    "If-None-Match ignored": Kind(ignores_conditions, ways=Ways(conditional=False)),
    "Content-MD5 required": Kind(
        lacks(
            400,
            "InvalidRequest",
            "Missing required header for this request: Content-MD5",
            lambda asked: asked.is_put and "content-md5" not in asked.headers,
        ),
        ways=Ways(stream=False),
    ),
    "Content-MD5 required and no checksums (Object Lock)": Kind(
        odd_s3.all_of(odd_s3.LOCKED, odd_s3.NO_CHECKSUMS), ways=Ways(stream=False, checksum=False)
    ),
    "a checksum that breaks the signature (GCS)": Kind(
        lacks(403, "SignatureDoesNotMatch", "Invalid argument.", lambda a: a.is_put and a.has_checksum),
        ways=Ways(checksum=False),
    ),
    # temporary faults, and results of the trial
    "busy for a moment": Kind(once(lacks(503, "SlowDown", "busy", lambda asked: asked.is_list))),
    "an error with the status 200": Kind(once(error_in_200)),
    "another region (400)": wants_region(400, "AuthorizationHeaderMalformed"),
    "another region (301)": wants_region(301, "PermanentRedirect"),
    "another region (307)": wants_region(307, "TemporaryRedirect"),
}


def settings_of(server: OddS3, *, named: bool = False) -> S3Settings:
    url = str(server.settings.endpoint_url)
    return server.settings.model_copy(
        update={
            "endpoint_url": url.replace("127.0.0.1", "s3.test") if named else url,
            "ride_out_seconds": 2.0,
        }
    )


def deliver(store: ObjectStore, path: Path) -> bool:
    """Store a clip as a delivery does; returns whether it was streamed."""
    with serving() as cdn:
        cdn.files["/clip.mp4"] = File()
        policy = DownloadPolicy(allowed_origins=frozenset({cdn.origin}), pause_seconds=0)
        moved = transfer(cdn.url(), path, Destination(store, KEY, lambda _: KEY), policy=policy)
    store.put_bytes("videos/clip/a.json", b"{}", content_type="application/json")
    return moved.streamed


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_server_stores_a_clip(tmp_path: Path, ledger: Ledger, kind: Kind) -> None:
    with odd_s3.odd_s3(kind.oddity, retouch=kind.retouch, **kind.how) as server:
        store = ObjectStore(settings_of(server, named=kind.named))
        bind_bucket(ledger, store, buying=True)
        assert store.ways == kind.ways.model_copy(update={"addressing": store.ways.addressing})
        assert (store.ways.addressing == "virtual") == (kind.ways.addressing == "virtual")
        assert deliver(store, tmp_path / "clip.mp4") == kind.ways.stream
        assert server.keys() == ["ledger.json", "videos/clip/a.json", KEY]
        assert store.get_bytes(KEY) == server.objects[f"/clips/{KEY}"]
        found = store.head(KEY)
        assert found is not None
        assert found.size == len(server.objects[f"/clips/{KEY}"])
        assert [item.key for item in store.list_objects("videos/", page_size=1)] == [
            "videos/clip/a.json",
            KEY,
        ]


def everything(status: int, body: bytes, **headers: str) -> Kind:
    """A server with the same answer to every request."""

    def same(asked: Request, answer: Answer) -> Answer:
        return Answer(status, body, {"Content-Length": str(len(body)), **headers})

    return Kind(retouch=same)


def forgets(asked: Request, answer: Answer) -> Answer:
    """Stored objects are not there."""
    if asked.method in {"HEAD", "GET"} and not asked.is_list:
        return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Length": "37"})
    return answer


def cuts(asked: Request, answer: Answer) -> Answer:
    """Objects are returned without their end."""
    if asked.method == "GET" and not asked.is_list and answer.status == 200:
        answer.body = answer.body[:-1]
        answer.headers["Content-Length"] = str(len(answer.body))
    return answer


UNFIT: dict[str, tuple[Kind, str]] = {
    "a page of a login": (everything(200, b"<html>Please log in</html>"), "answers html where the list"),
    "a redirect to a login": (
        everything(302, b"", Location="https://login.example.com/?next=canary"),
        "the server names login.example.com",
    ),
    "a redirect to another server": (
        everything(307, b"", Location="https://s3.other.example/clips?canary"),
        "DAILIES_S3_ENDPOINT.*the server names s3.other.example",
    ),
    "the list of all buckets": (
        everything(200, b"<ListAllMyBucketsResult/>"),
        "answers ListAllMyBucketsResult where the list",
    ),
    "a clock that differs": (
        Kind(lacks(403, "RequestTimeTooSkewed", "The difference is too large.", lambda _: True)),
        "clock differs from that of",
    ),
    "a clock that differs, without a word": (
        everything(403, b"", Date="Sun, 06 Nov 1994 08:49:37 GMT"),
        "clock differs from that of",
    ),
    "requester pays": (
        Kind(lacks(403, "AccessDenied", "", lambda asked: "x-amz-request-payer" not in asked.headers)),
        "s3:ListBucket",
    ),
    "a list that cannot be paged": (
        Kind(ignores("start-after", "continuation-token", "marker"), without("NextContinuationToken")),
        "does not list its objects page by page.*begins again",
    ),
    "objects that are gone": (Kind(retouch=forgets), "is not what was stored there"),
    "objects without their end": (
        Kind(retouch=cuts, how={"etag": lambda _: '"opaque"'}),
        "was not what was sent",
    ),
    "virtual hosts only, at an IP address": (
        Kind(refuses_paths(403, "SecondLevelDomainForbidden")),
        r"wants the bucket in the host's name.*not an IP address",
    ),
    "virtual hosts that are another bucket's": (
        Kind(
            refuses_paths(403, "SecondLevelDomainForbidden"),
            in_list(lambda body: body.replace(b"<Name>clips<", b"<Name>other<")),
            named=True,
        ),
        "wants the bucket in the host's name",
    ),
    "virtual hosts only, and no right to list": (
        Kind(
            odd_s3.all_of(
                refuses_paths(403, "SecondLevelDomainForbidden"),
                lacks(403, "AccessDenied", "", lambda _: True),
            ),
            named=True,
        ),
        "may not s3:ListBucket",
    ),
    "another region that is not named": (
        Kind(
            lacks(
                400, "AuthorizationHeaderMalformed", "the region is wrong; expecting 'eu-9'", lambda _: True
            )
        ),
        "AWS_REGION says.*expecting 'eu-9'",
    ),
    "a signature that a proxy breaks": (
        Kind(lacks(403, "SignatureDoesNotMatch", "", lambda _: True)),
        "a proxy before the server changes requests",
    ),
}


@pytest.mark.parametrize(("kind", "says"), UNFIT.values(), ids=UNFIT.keys())
def test_a_server_that_stores_no_clip_is_refused_before_buying(kind: Kind, says: str) -> None:
    with odd_s3.odd_s3(kind.oddity, retouch=kind.retouch, **kind.how) as server:
        store = ObjectStore(settings_of(server, named=kind.named))
        with pytest.raises(UnfitBucketError, match=says) as caught:
            try_bucket(store).refuse(store)
        assert len(server.seen) < 30, "no redirect is followed in a circle"
        assert "canary" not in str(caught.value)
        assert "Nothing was bought" in str(caught.value)


def test_the_addressing_is_known_to_every_process_of_the_ledger(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with odd_s3.odd_s3(refuses_paths(403, "SecondLevelDomainForbidden")) as server:
        store = ObjectStore(settings_of(server, named=True))
        bind_bucket(ledger, store, buying=True)
        monkeypatch.setattr(ways, "_known", {})  # another process
        server.seen.clear()
        bind_bucket(ledger, store, buying=True)
        assert store.ways.addressing == "virtual"
        assert server.seen
        assert all(asked.is_virtual for asked in server.seen)


def test_a_setting_overrides_the_result_of_the_trial(ledger: Ledger) -> None:
    with odd_s3.odd_s3(odd_s3.NOTHING) as server:
        settings = settings_of(server, named=True)
        bind_bucket(ledger, ObjectStore(settings), buying=True)
        chosen = ObjectStore(settings.model_copy(update={"addressing": "virtual"}))
        server.seen.clear()
        bind_bucket(ledger, chosen, buying=True)
        assert server.seen
        assert all(asked.is_virtual for asked in server.seen)


def test_a_bucket_that_works_in_the_path_is_not_tried_at_its_host() -> None:
    """A refusal of one object says nothing about the bucket's address."""
    refusal = lacks(403, "AccessDenied", "", lambda asked: asked.is_put)
    with odd_s3.odd_s3(refusal) as server:
        store = ObjectStore(settings_of(server, named=True))
        for _ in range(2):
            with pytest.raises(Exception, match="refuses this key"):
                store.put_bytes("a.json", b"{}", content_type="application/json", overwrite=True)
        assert not any(asked.is_virtual for asked in server.seen)
        assert len([asked for asked in server.seen if asked.is_list]) == 1, "the bucket is listed once"


@pytest.mark.slow
def test_two_addresses_of_one_bucket_keep_separate_trials(ledger: Ledger) -> None:
    with odd_s3.odd_s3(odd_s3.NO_CONDITIONS) as server:
        one, other = (ObjectStore(settings_of(server, named=named)) for named in (False, True))
        for store in (one, other, one, other):
            bind_bucket(ledger, store, buying=True)
        tried = {asked.path for asked in server.seen if asked.is_put and asked.path.endswith("-file.mp4")}
        assert len(tried) == 2


def test_a_trial_in_this_process_does_not_change_a_delivery_in_progress() -> None:
    with odd_s3.odd_s3(odd_s3.LOCKED) as server:
        store = ObjectStore(server.settings)
        seen: list[Ways] = []

        def watching(asked: Request) -> tuple[int, str, str] | None:
            seen.append(store.ways)
            return odd_s3.LOCKED(asked)

        server.oddity = watching
        trial = try_bucket(store)
        assert set(map(str, seen)) == {""}
        assert store.ways == trial.ways == Ways(stream=False)


def test_a_refusal_without_a_body_gets_its_reason_from_a_list() -> None:
    expired = lacks(400, "ExpiredToken", "The provided token has expired.", lambda _: True)
    with odd_s3.odd_s3(expired) as server, pytest.raises(Exception, match="no longer valid"):
        ObjectStore(server.settings).head("a/b")


def test_a_trial_shows_every_feature_and_the_substitute_for_a_missing_one() -> None:
    with odd_s3.odd_s3(odd_s3.all_of(odd_s3.NO_CONDITIONS, odd_s3.KEEPS_EVERYTHING)) as server:
        trial = try_bucket(ObjectStore(server.settings))
    lacking = {row.name: row.note for row in trial.features if row.support is not Support.SUPPORTED}
    assert lacking == {
        "If-None-Match": "the key is looked up before each PUT",
        "remove an object": "no delivery needs it; 9 kB a day stay in trials/",
    }
    assert len(trial.features) == len({row.name for row in trial.features}) == 16


def test_a_trial_names_all_missing_features_at_once() -> None:
    def odd(asked: Request) -> tuple[int, str, str] | None:
        reads = asked.method == "GET" and not asked.is_list
        overwrites = asked.is_put and asked.path.endswith(".json")
        return (403, "AccessDenied", "") if reads or overwrites else None

    with odd_s3.odd_s3(odd) as server:
        trial = try_bucket(ObjectStore(server.settings))
    assert [row.name for row in trial.missing] == ["store and replace small objects"]
    with odd_s3.odd_s3(lacks(403, "AccessDenied", "", lambda a: a.is_put)) as server:
        trial = try_bucket(ObjectStore(server.settings))
    assert [row.name for row in trial.missing] == ["store a file", "store and replace small objects"]


@pytest.mark.slow
def test_versions_and_delete_markers_do_not_prevent_storing(moto_s3: S3Settings, tmp_path: Path) -> None:
    settings = moto_s3.model_copy(update={"bucket": "versioned", "ride_out_seconds": 1.0})
    store = ObjectStore(settings)
    store.ensure_bucket()
    store._client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    try_bucket(store).refuse(store)
    assert deliver(store, tmp_path / "clip.mp4")
    store.discard(KEY)
    assert store.head(KEY) is None
    assert deliver(store, tmp_path / "clip.mp4"), "a delete marker does not occupy its key"
