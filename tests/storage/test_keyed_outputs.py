"""A provider's own hosts may require the account's key for an output; no other host ever receives it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hostile import MP4

from resources.providers.accounts import AccountSettings
from resources.storage import remote
from resources.storage.download import DownloadError, DownloadPolicy, download
from resources.storage.download_policy import OutputKey

KEY = "Bearer canary-key"


class Host:
    """A host that may require a key: it answers 401 without one, then redirects or sends the clip."""

    def __init__(self, *, wants_key: bool, sends_to: str | None = None) -> None:
        self.seen: list[str | None] = []
        seen, host = self.seen, self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                seen.append(self.headers.get("Authorization"))
                if wants_key and seen[-1] is None:
                    self._answer(401, b"")
                elif sends_to is not None:
                    self._answer(302, b"", Location=f"{sends_to}/clip.mp4")
                else:
                    self._answer(200, MP4)

            def _answer(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        host.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    origin: str

    @contextmanager
    def serving(self) -> Iterator["Host"]:
        self.thread.start()
        try:
            yield self
        finally:
            remote._connections.close()
            self._server.shutdown()
            self._server.server_close()


def fetch(path: Path, first: Host, *others: Host, key: OutputKey | None) -> bytes:
    origins = frozenset(host.origin for host in (first, *others))
    policy = DownloadPolicy(allowed_origins=origins, key=key, pause_seconds=0, max_resumes=1)
    download(f"{first.origin}/clip.mp4", path, policy=policy)
    return path.read_bytes()


def test_a_host_that_requires_the_key_gets_it_after_its_401(tmp_path: Path) -> None:
    with Host(wants_key=True).serving() as host:
        assert fetch(tmp_path / "a.mp4", host, key=OutputKey(KEY, origin=host.origin)) == MP4
    assert host.seen == [None, KEY]


def test_a_host_that_requires_no_key_does_not_get_it(tmp_path: Path) -> None:
    with Host(wants_key=False).serving() as host:
        assert fetch(tmp_path / "a.mp4", host, key=OutputKey(KEY, origin=host.origin)) == MP4
    assert host.seen == [None]


def test_the_key_follows_no_redirect_to_another_host(tmp_path: Path) -> None:
    with (
        Host(wants_key=True).serving() as thief,
        Host(wants_key=True, sends_to=thief.origin).serving() as host,
        pytest.raises(DownloadError) as caught,
    ):
        fetch(tmp_path / "a.mp4", host, thief, key=OutputKey(KEY, origin=host.origin))
    assert host.seen == [None, KEY]
    assert thief.seen == [None]
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("origin", "belongs"),
    [
        (("https", "delivery.test", 443), True),
        (("https", "a.b.delivery.test", 443), True),
        (("http", "delivery.test", 80), False),
        (("https", "delivery.test", 8443), False),
        (("https", "evildelivery.test", 443), False),
        (("https", "delivery.test.evil.test", 443), False),
    ],
)
def test_the_key_belongs_to_the_providers_origins_only(origin: tuple[str, str, int], belongs: bool) -> None:
    assert OutputKey(KEY, hosts=("delivery.test",)).belongs_to(*origin) is belongs


def test_a_key_is_not_shown() -> None:
    assert "canary" not in repr(OutputKey(KEY, hosts=("delivery.test",)))
    assert "canary" not in repr(DownloadPolicy(key=OutputKey(KEY)))


def test_an_account_whose_provider_has_no_such_hosts_has_no_key_for_outputs() -> None:
    account = AccountSettings.model_validate(
        {"name": "wavespeed", "provider": "wavespeed", "base_url": "https://a.test", "api_key": "k"}
    )
    assert account.output_key is None
