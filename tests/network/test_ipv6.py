"""Machines with IPv6 only: addresses in brackets wherever an address is written."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from corporate import Listener, relay
from hostile import MP4, File, serving
from raw_server import answering

from resources.alarms import Sender, trial_alarm
from resources.network.way_out import Network
from resources.providers.base import Accepted
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from resources.settings import load_settings
from resources.storage.addresses import locate
from resources.storage.download import DownloadPolicy, download
from resources.storage.download_policy import UnsafeAddressError
from resources.storage.embedded import EmbeddedS3
from resources.storage.objects import ObjectStore

CREATED = json.dumps({"code": 200, "data": {"id": "job-1", "status": "created"}}).encode()
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


@pytest.fixture
def on_six() -> Iterator[Callable[[int], str]]:
    """Gives a server of 127.0.0.1 an address on ::1, and on no IPv4 address."""
    with contextlib.ExitStack() as opened:

        def serve(port: int) -> str:
            def pass_on(client: socket.socket) -> None:
                with socket.create_connection(("127.0.0.1", port)) as server:
                    relay(client, server)

            listener = Listener(pass_on, host="::1")
            opened.callback(listener.close)
            return f"http://[::1]:{listener.port}"

        yield serve


def port_of(origin: str) -> int:
    return int(origin.rpartition(":")[2])


async def test_a_purchase_works_with_ipv6_alone(on_six: Callable[[int], str]) -> None:
    with answering(OK % (len(CREATED), CREATED)) as provider:
        wavespeed = WaveSpeed(Connection("wavespeed", on_six(port_of(provider.origin)), "key-of-wavespeed"))
        outcome = await wavespeed.submit(
            "openai/sora-2/text-to-video", {"prompt": "x"}, submission_id="s-1", deadline_seconds=60
        )
        await wavespeed.aclose()
    assert isinstance(outcome, Accepted)


def test_a_download_works_with_ipv6_alone(on_six: Callable[[int], str], tmp_path: Path) -> None:
    with serving() as cdn:
        cdn.files["/clip.mp4"] = File()
        origin = on_six(cdn.server_port)
        allowed = DownloadPolicy(allowed_origins=frozenset({origin}))
        assert download(f"{origin}/clip.mp4", tmp_path / "clip.mp4", policy=allowed).size == len(MP4)


@pytest.mark.slow
def test_the_bucket_works_with_ipv6_alone(on_six: Callable[[int], str], tmp_path: Path) -> None:
    with EmbeddedS3(tmp_path / "s3") as s3:
        store = ObjectStore(s3.settings.model_copy(update={"endpoint_url": on_six(s3.port)}))
        store.put_bytes("one.json", b"{}", content_type="application/json")
        assert store.get_bytes("one.json") == b"{}"


def test_an_alarm_works_with_ipv6_alone(
    on_six: Callable[[int], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(OK % (0, b"")) as receiver:
        monkeypatch.setenv("DAILIES_ENV_FILE", "")
        monkeypatch.setenv("DAILIES_ALARM_URL", on_six(port_of(receiver.origin)))
        url = load_settings().alarm_url
        assert url is not None
        Sender(url, "json", Network()).send(trial_alarm())
        assert len(receiver.requests) == 1


async def test_a_proxy_works_with_ipv6_alone(on_six: Callable[[int], str]) -> None:
    with answering(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n") as proxy:
        address = on_six(port_of(proxy.origin))
        wavespeed = WaveSpeed(
            Connection(
                "wavespeed",
                "https://[2001:db8::7]:8443",
                "key-of-wavespeed",
                network=Network.of({"HTTPS_PROXY": address}),
            )
        )
        outcome = await wavespeed.submit(
            "openai/sora-2/text-to-video", {"prompt": "x"}, submission_id="s-1", deadline_seconds=60
        )
        await wavespeed.aclose()
        assert proxy.requests[0].startswith(b"CONNECT [2001:db8::7]:8443 HTTP/1.1\r\n")
    assert address in str(outcome)


@pytest.mark.parametrize(
    ("address", "fetched"),
    [("2a00:1450:4001::1", True), ("64:ff9b::5db8:d70e", True), ("64:ff9b::a00:1", False)],
)
def test_a_name_with_only_an_ipv6_address_is_resolved(
    address: str, fetched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look_up(_host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    if fetched:
        assert locate("https://cdn.example/clip.mp4", DownloadPolicy()).peers == ((address, 443),)
    else:
        with pytest.raises(UnsafeAddressError):
            locate("https://cdn.example/clip.mp4", DownloadPolicy())
