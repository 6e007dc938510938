"""Outputs, uploads and the bucket through a proxy: the address rules apply to the proxy's target."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corporate import Corporation, corporation
from hostile import MP4, File, Hostile, serving
from pydantic import SecretStr

from resources.errors import ConfigurationError, UnavailableError
from resources.network.way_out import Network
from resources.providers.base import UploadFailed
from resources.providers.upload_tickets import Ticket, put
from resources.storage import addresses
from resources.storage.addresses import locate
from resources.storage.download import DownloadError, DownloadPolicy, UnsafeAddressError, download
from resources.storage.embedded import EmbeddedS3
from resources.storage.errors import AccessDeniedError
from resources.storage.objects import ObjectStore

HOST = "cdn.corp.test"
PROXY = Network.of({"HTTPS_PROXY": "http://proxy.corp:8080", "HTTP_PROXY": "http://proxy.corp:8080"})


@pytest.fixture
def cdn() -> Iterator[Hostile]:
    with serving() as server:
        server.files["/clip.mp4"] = File()
        yield server


@pytest.fixture
def company(tmp_path_factory: pytest.TempPathFactory, cdn: Hostile) -> Iterator[Corporation]:
    with corporation(tmp_path_factory.mktemp("authority")) as made:
        made.serve(HOST, cdn.server_port)
        yield made


def policy(company: Corporation, **options: Any) -> DownloadPolicy:
    return DownloadPolicy(network=Network.of(company.environment), pause_seconds=0, **options)


def resolving(monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]) -> None:
    """Names that this machine resolves; others have no address."""

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host not in answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (answers[host], port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def test_clips_are_fetched_through_one_reused_tunnel(company: Corporation, tmp_path: Path) -> None:
    for _ in range(2):
        assert download(
            f"https://{HOST}/clip.mp4", tmp_path / "clip.mp4", policy=policy(company)
        ).size == len(MP4)
    assert [line.rpartition(" ")[0] for line in company.proxy.asked] == [f"CONNECT {HOST}:443"]
    assert company.arrived == company.proxy.opened == 1


def test_a_cut_tunnel_is_reopened_and_the_rest_is_fetched(
    company: Corporation, cdn: Hostile, tmp_path: Path
) -> None:
    cdn.files["/clip.mp4"] = File(cuts=[300_000, 400_000])
    assert download(f"https://{HOST}/clip.mp4", tmp_path / "clip.mp4", policy=policy(company)).size == len(
        MP4
    )
    assert company.proxy.opened == 3


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxys_refusal_is_a_temporary_error_that_names_the_proxy(
    company: Corporation, tmp_path: Path, status: int
) -> None:
    company.proxy.refuses[HOST] = status
    with pytest.raises(DownloadError, match=rf"the proxy http://127.0.0.1:\d+ .*\({status}\)") as caught:
        download(f"https://{HOST}/clip.mp4", tmp_path / "clip.mp4", policy=policy(company, max_resumes=1))
    assert caught.value.retryable
    assert company.arrived == 0


def test_a_proxy_may_itself_be_behind_tls(tmp_path: Path, cdn: Hostile) -> None:
    with corporation(tmp_path) as company:
        company.proxy.tls = company.authority.issue("127.0.0.1").server()
        company.serve(HOST, cdn.server_port)
        assert download(
            f"https://{HOST}/clip.mp4", tmp_path / "clip.mp4", policy=policy(company)
        ).size == len(MP4)


def test_plain_http_to_an_allowed_origin_is_forwarded(
    company: Corporation, cdn: Hostile, tmp_path: Path
) -> None:
    company.proxy.places["plain.corp.test"] = cdn.server_port
    allowed = policy(company, allowed_origins=frozenset({"http://plain.corp.test"}))
    assert download("http://plain.corp.test/clip.mp4", tmp_path / "clip.mp4", policy=allowed).size == len(MP4)
    assert company.proxy.asked == ["GET http://plain.corp.test/clip.mp4 HTTP/1.1"]


@pytest.mark.parametrize(
    "url",
    [
        "https://intranet/clip.mp4",
        "https://nas.lan/clip.mp4",
        "https://metadata.google.internal/clip.mp4",
        "https://169.254.169.254/clip.mp4",
        "https://2852039166/clip.mp4",
        "https://0xa9.254.169.254/clip.mp4",
        "https://[::ffff:10.0.0.1]/clip.mp4",
        "https://[fd00::1]/clip.mp4",
        "https://10.0.0.1/clip.mp4",
        "https://198.18.0.1/clip.mp4",
        "https://user:secret@cdn.example/clip.mp4",
        "http://cdn.example/clip.mp4",
    ],
)
def test_forbidden_addresses_are_not_requested_from_a_proxy(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, {})
    with pytest.raises(UnsafeAddressError):
        locate(url, DownloadPolicy(network=PROXY))


def test_a_name_that_is_private_here_is_refused_although_the_proxy_resolves_it_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolving(
        monkeypatch,
        {"evil.example": "10.0.0.7", "good.example": "93.184.215.14", "vpn.example": "198.18.3.4"},
    )
    with pytest.raises(UnsafeAddressError, match=r"leads to 10\.0\.0\.7"):
        locate("https://evil.example/clip.mp4", DownloadPolicy(network=PROXY))
    for host in ("good.example", "unknown.example", "vpn.example"):
        assert locate(f"https://{host}/clip.mp4", DownloadPolicy(network=PROXY)).peers == (
            ("proxy.corp", 8080),
        )


def test_a_host_that_needs_no_proxy_is_still_pinned(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, {"direct.example": "93.184.215.14", "inside.example": "10.0.0.7"})
    network = Network.of(
        {"HTTPS_PROXY": "http://proxy.corp:8080", "NO_PROXY": "direct.example,inside.example"}
    )
    target = locate("https://direct.example/clip.mp4", DownloadPolicy(network=network))
    assert target.peers == (("93.184.215.14", 443),)
    with pytest.raises(UnsafeAddressError):
        locate("https://inside.example/clip.mp4", DownloadPolicy(network=network))


def test_a_fake_address_of_a_vpn_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, {"cdn.example": "198.18.0.99"})
    with pytest.raises(
        UnsafeAddressError, match=r"198\.18\.0\.99.*VPN.*HTTPS_PROXY.*DAILIES_ALLOWED_ORIGINS"
    ):
        locate("https://cdn.example/clip.mp4", DownloadPolicy())
    allowed = DownloadPolicy(allowed_origins=frozenset({"https://cdn.example"}))
    assert locate("https://cdn.example/clip.mp4", allowed).addresses == ("198.18.0.99",)


def test_a_lookup_without_an_answer_delays_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(addresses, "LOOKUP_SECONDS", 0.01)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60) and [])
    assert locate("https://cdn.example/clip.mp4", DownloadPolicy(network=PROXY)).addresses == ()
    over.set()


def test_a_wildcard_is_refused_with_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="have no wildcards"):
        DownloadPolicy(allowed_origins=frozenset({"https://*.example.com"}))


def test_an_upload_uses_the_proxy_too(company: Corporation) -> None:
    ticket = Ticket(f"https://{HOST}/put?signature=s3cret", {}, f"https://{HOST}/get")
    network = Network.of(company.environment)
    # the server knows no PUT: its refusal shows that the request reached it
    failed = put(ticket, b"png", base_url="https://provider.corp.test", network=network)
    assert isinstance(failed, UploadFailed)
    assert "HTTP 501" in failed.cause
    company.proxy.refuses[HOST] = 407
    refused = put(ticket, b"png", base_url="https://provider.corp.test", network=network)
    assert isinstance(refused, UploadFailed)
    assert "wants a user and a password" in refused.cause
    assert "s3cret" not in refused.cause


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[EmbeddedS3]:
    with EmbeddedS3(tmp_path / "s3") as server:
        yield server


def bucket(s3: EmbeddedS3, company: Corporation, address: str, **environment: str) -> ObjectStore:
    network = Network.of({**company.environment, **environment})
    inside = s3.settings.model_copy(
        update={"endpoint_url": address, "network": network, "ride_out_seconds": 0.0}
    )
    return ObjectStore(inside)


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_the_bucket_is_reached_through_the_proxy(company: Corporation, s3: EmbeddedS3, scheme: str) -> None:
    address = company.serve("s3.corp.test", s3.port)
    if scheme == "http":
        address, company.proxy.places["s3.corp.test"] = "http://s3.corp.test", s3.port
    store = bucket(s3, company, address)
    store.put_bytes("notes/one.json", b"{}", content_type="application/json")
    assert store.get_bytes("notes/one.json") == b"{}"
    how = "CONNECT s3.corp.test:443" if scheme == "https" else f"PUT {address}/dailies/notes/one.json"
    assert any(line.startswith(how) for line in company.proxy.asked), company.proxy.asked


def test_a_bucket_that_needs_no_proxy_is_reached_directly(company: Corporation, s3: EmbeddedS3) -> None:
    address = company.serve("s3.corp.test", s3.port)
    with pytest.raises(UnavailableError):
        bucket(s3, company, address, NO_PROXY=".corp.test").check()
    assert company.proxy.asked == []


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_proxys_missing_login_is_not_blamed_on_the_buckets_key(
    company: Corporation, s3: EmbeddedS3, scheme: str
) -> None:
    address = company.serve("s3.corp.test", s3.port).replace("https", scheme)
    company.proxy.login = "robot:canary"
    store = bucket(s3, company, address, HTTPS_PROXY=company.proxy.url, HTTP_PROXY=company.proxy.url)
    with pytest.raises(ConfigurationError, match=r"the proxy .*407") as caught:
        store.check()
    assert "canary" not in str(caught.value)
    login = company.proxy.url.replace("://", "://robot:canary@")
    if scheme == "http":
        company.proxy.places["s3.corp.test"] = s3.port
    bucket(s3, company, address, HTTPS_PROXY=login, HTTP_PROXY=login).check()


def test_a_plain_proxys_page_is_not_blamed_on_the_buckets_key(company: Corporation, s3: EmbeddedS3) -> None:
    company.proxy.refuses["s3.corp.test"] = 403
    with pytest.raises(AccessDeniedError, match=r"a proxy or gateway before .* answered \(403\)"):
        bucket(s3, company, "http://s3.corp.test").check()


def test_a_short_outage_of_a_proxy_is_waited_out(company: Corporation, s3: EmbeddedS3) -> None:
    store = bucket(s3, company, company.serve("s3.corp.test", s3.port), HTTPS_PROXY="http://127.0.0.1:1")
    with pytest.raises(UnavailableError, match="proxy"):
        store.check()


def test_the_settings_text_contains_no_secret_of_the_bucket(s3: EmbeddedS3, company: Corporation) -> None:
    store = bucket(s3, company, "https://s3.corp.test", HTTPS_PROXY="http://robot:canary@proxy:1")
    assert "canary" not in f"{store.settings!r} {store.settings.model_dump()}"
    assert isinstance(s3.settings.secret_access_key, SecretStr)
