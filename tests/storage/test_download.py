"""Downloads: complete and verified or not there at all, never from a forbidden address, never with a secret in a text."""

import hashlib
import socket
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hostile import MP4, File, Hostile, serving

from resources.errors import ConfigurationError
from resources.network.public_addresses import is_public
from resources.network.way_out import Network
from resources.storage import remote
from resources.storage.download import (
    ChangedError,
    DownloadError,
    DownloadPolicy,
    NotAVideoError,
    OutputGoneError,
    RefusedError,
    TooLargeError,
    UnsafeAddressError,
    download,
)
from tests.certificates import self_signed


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


@pytest.fixture
def destination(tmp_path: Path) -> Iterator[Path]:
    """The file to write; after every test nothing else may be left in its folder."""
    path = tmp_path / "clip.mp4"
    yield path
    assert [p.name for p in tmp_path.iterdir()] in ([], ["clip.mp4"])


def refused(
    kind: type[DownloadError], server: Hostile, destination: Path, policy: DownloadPolicy, match: str
) -> DownloadError:
    with pytest.raises(kind, match=match) as caught:
        download(server.url(), destination, policy=policy)
    assert not destination.exists()
    text = f"{caught.value!r} {caught.value.__cause__!r}"
    assert "canary" not in text
    return caught.value


def test_a_file_arrives_whole_with_its_digest(
    server: Hostile, policy: DownloadPolicy, destination: Path
) -> None:
    file = server.files["/clip.mp4"] = File()
    found = download(server.url(), destination, policy=policy)
    assert destination.read_bytes() == MP4
    assert (found.size, found.sha256, found.content_type) == (
        len(MP4),
        hashlib.sha256(MP4).hexdigest(),
        "video/mp4",
    )
    assert {name.lower() for name in file.seen[0]} == {"host", "user-agent", "accept-encoding"}, (
        "no key, no cookie"
    )


def test_a_batch_from_one_host_uses_its_connection_again(
    server: Hostile, policy: DownloadPolicy, tmp_path: Path
) -> None:
    file = server.files["/clip.mp4"] = File()
    for n in range(3):
        download(server.url(), tmp_path / f"{n}.mp4", policy=policy)
    assert len(set(file.ports)) == 1


@pytest.mark.parametrize("cuts", [[1], [5], [300_000], [len(MP4) - 1], [200_000, 300_000, 400_000], [0, 0]])
def test_a_cut_download_is_resumed_where_it_ended(
    server: Hostile, policy: DownloadPolicy, destination: Path, cuts: list[int]
) -> None:
    file = server.files["/clip.mp4"] = File(cuts=list(cuts))
    assert download(server.url(), destination, policy=policy).sha256 == hashlib.sha256(MP4).hexdigest()
    assert destination.read_bytes() == MP4
    assert len(file.seen) == len(cuts) + 1
    if cuts[0] > 200_000:
        assert file.seen[1]["If-Range"] == '"one"'
        assert int(file.seen[1]["Range"].removeprefix("bytes=").removesuffix("-")) > 100_000, (
            "the download does not start again"
        )


@pytest.mark.parametrize(
    "how", [{"ranges": False}, {"etag": None}, {"etag": 'W/"weak"'}], ids=["no range", "no etag", "weak etag"]
)
def test_a_server_that_cannot_resume_is_read_again_from_the_start(
    server: Hostile, policy: DownloadPolicy, destination: Path, how: dict[str, Any]
) -> None:
    server.files["/clip.mp4"] = File(cuts=[400_000, 900_000], **how)
    download(server.url(), destination, policy=policy)
    assert destination.read_bytes() == MP4


def changed_bytes(file: File) -> None:
    file.data = MP4[:100] + b"!" + MP4[101:]


def changed_etag(file: File) -> None:
    changed_bytes(file)
    file.etag = '"two"'


def changed_length(file: File) -> None:
    file.data = MP4 + b"more"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        (File(), changed_etag),
        (File(), changed_length),
        (File(ranges=False), changed_etag),
        (File(heeds_if_range=False), changed_etag),
        (File(heeds_if_range=False), changed_length),
        (File(etag=None), changed_bytes),
        (File(etag=None), changed_length),
    ],
)
def test_a_file_that_changes_between_two_parts_is_refused(
    server: Hostile, policy: DownloadPolicy, destination: Path, file: File, change
) -> None:
    file.cuts, file.after_cut = [700_000], change
    server.files["/clip.mp4"] = file
    error = refused(ChangedError, server, destination, policy, "changed while")
    assert error.retryable


def test_a_body_shorter_than_its_length_is_refused(
    server: Hostile, policy: DownloadPolicy, destination: Path
) -> None:
    server.files["/clip.mp4"] = File(length=len(MP4) + 10, etag=None)
    error = refused(DownloadError, server, destination, policy, r"clip\.mp4: the connection was cut, 9 times")
    assert error.retryable
    assert not error.expired


def test_a_chunked_answer_is_read_to_its_end_and_a_cut_one_is_noticed(
    server: Hostile, policy: DownloadPolicy, destination: Path
) -> None:
    server.files["/clip.mp4"] = File(headers={"Transfer-Encoding": "chunked"}, cuts=[500_000])
    download(server.url(), destination, policy=policy)
    assert destination.read_bytes() == MP4


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_the_error_of_an_expired_address_says_so(
    server: Hostile, policy: DownloadPolicy, destination: Path, status: int
) -> None:
    file = server.files["/clip.mp4"] = File(status=status)
    error = refused(
        OutputGoneError, server, destination, policy, f"answers {status}; the address has expired"
    )
    assert error.expired
    assert not error.retryable
    assert len(file.seen) == 1


def test_another_refusal_is_final_and_a_temporary_one_is_not(
    server: Hostile, policy: DownloadPolicy, destination: Path
) -> None:
    server.files["/clip.mp4"] = File(status=451)
    assert not refused(RefusedError, server, destination, policy, "answers 451").retryable
    server.files["/clip.mp4"] = File(statuses=[500, 503, 429])
    download(server.url(), destination, policy=policy)
    destination.unlink()
    server.files["/clip.mp4"] = File(statuses=[503] * 20)
    assert refused(DownloadError, server, destination, policy, "answers 503, 9 times").retryable


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (File(content_type="text/html; charset=utf-8", data=b"<html>sorry</html>"), "text/html was sent"),
        (File(content_type="application/json", data=b'{"error": "canary"}'), "application/json was sent"),
        (File(data=b"<html>sorry</html>"), "does not begin like an MP4"),
        (File(data=b""), "empty"),
        (File(data=b"\0\0"), "does not begin"),
    ],
)
def test_a_page_in_place_of_a_video_is_its_own_error(
    server: Hostile, policy: DownloadPolicy, destination: Path, file: File, sentence: str
) -> None:
    server.files["/clip.mp4"] = file
    assert refused(NotAVideoError, server, destination, policy, sentence).retryable


def test_a_huge_answer_is_refused_before_and_while_it_is_read(
    server: Hostile, policy: DownloadPolicy, destination: Path
) -> None:
    small = DownloadPolicy(allowed_origins=policy.allowed_origins, max_bytes=1_000_000)
    file = server.files["/clip.mp4"] = File(length=2_100_000_000)
    refused(TooLargeError, server, destination, small, "2,100,000,000 bytes; at most 1,000,000")
    assert len(file.seen) == 1
    server.files["/clip.mp4"] = File(headers={"Transfer-Encoding": "chunked"})
    refused(TooLargeError, server, destination, small, "more than 1,0.* bytes; at most 1,000,000")


def test_a_slow_answer_is_given_up_at_the_deadline(
    server: Hostile, policy: DownloadPolicy, destination: Path
) -> None:
    server.files["/clip.mp4"] = File(drip_seconds=0.01)
    hasty = DownloadPolicy(allowed_origins=policy.allowed_origins, total_seconds=0.3)
    began = time.monotonic()
    refused(DownloadError, server, destination, hasty, r"longer than 0\.3 s")
    # the server would go on for hours
    assert time.monotonic() - began < 120


def test_memory_does_not_grow_with_the_file(
    server: Hostile, policy: DownloadPolicy, destination: Path
) -> None:
    server.files["/clip.mp4"] = File(data=MP4 * 8)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        download(server.url(), destination, policy=policy)
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert destination.stat().st_size == 8 * len(MP4)
    assert peak < 4_000_000


def test_redirects_are_followed_and_bounded(
    server: Hostile, policy: DownloadPolicy, destination: Path
) -> None:
    server.files["/clip.mp4"] = File(status=302, headers={"Location": "/real.mp4?token=canary"})
    server.files["/real.mp4"] = File()
    assert download(server.url(), destination, policy=policy).size == len(MP4)
    destination.unlink()
    server.files["/clip.mp4"] = File(status=307, headers={"Location": "/clip.mp4"})
    refused(UnsafeAddressError, server, destination, policy, "more than 5 redirects")
    assert len(server.files["/clip.mp4"].seen) == 6


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("http://169.254.169.254/latest/meta-data/?token=canary", "plain http"),
        (
            "https://169.254.169.254/latest/meta-data/",
            "leads to 169.254.169.254, which is not on the internet",
        ),
        ("https://10.0.0.1/", "10.0.0.1"),
        ("http://localhost:1/", "plain http"),
        ("https://[::1]/", "::1"),
        ("file:///etc/passwd", "must be https"),
        ("https://user:canary@example.com/", "user name or password"),
        ("https://[canary", "cannot be read"),
    ],
)
def test_a_redirect_to_a_forbidden_address_is_refused(
    server: Hostile, policy: DownloadPolicy, destination: Path, location: str, sentence: str
) -> None:
    server.files["/clip.mp4"] = File(status=302, headers={"Location": location})
    error = refused(UnsafeAddressError, server, destination, policy, sentence)
    assert not error.retryable


def test_an_exception_holds_for_exactly_one_origin(
    server: Hostile, policy: DownloadPolicy, destination: Path
) -> None:
    with serving() as other:
        server.files["/clip.mp4"] = File(status=302, headers={"Location": other.url()})
        other.files["/clip.mp4"] = File()
        refused(UnsafeAddressError, server, destination, policy, "plain http")
        assert other.files["/clip.mp4"].seen == []
    with pytest.raises(UnsafeAddressError):
        download(server.url().replace("http:", "https:"), destination, policy=policy)


@pytest.mark.parametrize(
    "origin", ["127.0.0.1:1", "http://a/path", "ftp://a", "http://u@a", "", "http://a:x"]
)
def test_an_exception_must_be_an_origin(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="not an origin"):
        DownloadPolicy(allowed_origins=frozenset({origin}))


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *(
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1%eth0",
            "fd00:ec2::254",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
        ),
        *("2002:7f00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "2001:db8::1"),
        # clouds' own services: Azure, Oracle, Alibaba, AWS and Google, also in other clothes
        *("168.63.129.16", "192.0.0.192", "100.100.100.200", "169.254.170.2", "fd20:ce::254"),
        *(
            "::ffff:168.63.129.16",
            "64:ff9b::a83f:8110",
            "2002:a83f:8110::1",
            "64:ff9b::c000:c0",
            "::168.63.129.16",
        ),
        *("192.0.0.8", "192.88.99.1", "198.18.0.1", "3fff::1", "64:ff9b:1::1", "fec0::1", "100::1"),
    ],
)
def test_addresses_that_are_not_on_the_internet_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"]
)
def test_addresses_on_the_internet_are_allowed(address: str) -> None:
    assert is_public(address)


def answers(*numbers: str) -> tuple[Callable[..., list[tuple[object, ...]]], list[str]]:
    asked: list[str] = []

    def getaddrinfo(host: str, port: int, **how: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (number, port)) for number in numbers]

    return getaddrinfo, asked


def test_one_private_address_among_public_ones_is_enough_to_refuse(
    monkeypatch: pytest.MonkeyPatch, destination: Path
) -> None:
    resolver, _ = answers("1.1.1.1", "192.168.0.7")
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    with pytest.raises(UnsafeAddressError, match=r"192\.168\.0\.7"):
        download("https://cdn.example.com/clip.mp4", destination)


def test_a_name_is_resolved_once_and_the_connection_uses_that_address(
    server: Hostile, monkeypatch: pytest.MonkeyPatch, destination: Path
) -> None:
    file = server.files["/clip.mp4"] = File()
    resolver, asked = answers("127.0.0.1")
    original = socket.getaddrinfo

    def once(host: str, *args: Any, **how: Any) -> object:
        return original(host, *args, **how) if host == "127.0.0.1" else resolver(host, *args, **how)

    monkeypatch.setattr(socket, "getaddrinfo", once)
    origin = f"http://sandbox.test:{server.server_port}"
    download(f"{origin}/clip.mp4", destination, policy=DownloadPolicy(allowed_origins=frozenset({origin})))
    assert asked == ["sandbox.test"]
    assert file.seen[0]["Host"] == f"sandbox.test:{server.server_port}"


def test_a_name_that_does_not_resolve_may_do_so_later(
    monkeypatch: pytest.MonkeyPatch, destination: Path
) -> None:
    def nobody(*args: object, **how: object) -> object:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    with pytest.raises(DownloadError, match=r"cdn\.example\.com cannot be resolved") as caught:
        download("https://cdn.example.com/clip.mp4?token=canary", destination)
    assert caught.value.retryable
    assert "canary" not in str(caught.value)


def test_a_download_from_this_machine_uses_no_proxy(
    server: Hostile, policy: DownloadPolicy, destination: Path
) -> None:
    network = Network.of({"HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"})
    server.files["/clip.mp4"] = File()
    assert download(server.url(), destination, policy=replace(policy, network=network)).size == len(MP4)


def test_a_missing_server_is_a_temporary_error(destination: Path) -> None:
    policy = DownloadPolicy(allowed_origins=frozenset({"http://127.0.0.1:1"}), max_resumes=1, pause_seconds=0)
    with pytest.raises(DownloadError, match="the connection failed, 2 times") as caught:
        download("http://127.0.0.1:1/clip.mp4", destination, policy=policy)
    assert caught.value.retryable


def test_tls_is_checked_by_the_name_and_not_the_pinned_address(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, destination: Path
) -> None:
    original = socket.getaddrinfo
    monkeypatch.setattr(
        socket,
        "getaddrinfo",
        lambda host, *a, **k: original("127.0.0.1" if host.endswith(".test") else host, *a, **k),
    )
    made = self_signed(tmp_path_factory.mktemp("tls"), "cdn.test")
    network = Network.of({"SSL_CERT_FILE": str(made.file)})
    with serving(made.server()) as server:
        server.files["/clip.mp4"] = File(cuts=[500_000])
        named = {name: f"https://{name}:{server.server_port}" for name in ("cdn.test", "other.test")}
        policy = DownloadPolicy(allowed_origins=frozenset(named.values()), network=network, pause_seconds=0)
        assert download(f"{named['cdn.test']}/clip.mp4", destination, policy=policy).size == len(MP4)
        assert download(f"{named['cdn.test']}/clip.mp4", destination, policy=policy).size == len(MP4)
        with pytest.raises(DownloadError, match="certificate is not trusted"):
            download(f"{named['other.test']}/clip.mp4", destination, policy=policy)
