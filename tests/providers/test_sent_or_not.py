"""Sent or not sent, judged by the bytes that a real socket received."""

import asyncio
import gzip
import json
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hostile_server import HostileServer, Peer

from resources.network.way_out import Network
from resources.providers import http
from resources.providers.aimlapi.client import AimlApi
from resources.providers.base import Accepted, FailureKind, JobState, NotSent, PollFailed, Rejected, Unknown
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from tests.certificates import self_signed

ENDPOINT = "openai/sora-2/text-to-video"
BODY = {"prompt": "a lighthouse in a storm", "duration": 4}
CREATED = json.dumps(
    {"code": 200, "message": "success", "data": {"id": "job-1", "status": "created"}}
).encode()


DEADLINE = 60.0
NEVER = 3600.0


async def submit(url: str, network: Network | None = None) -> Any:
    client = WaveSpeed(Connection("wavespeed", url, "key-of-wavespeed", network=network))
    try:
        return await client.submit(ENDPOINT, BODY, submission_id="s-1", deadline_seconds=DEADLINE)
    finally:
        await client.aclose()


def got_the_request(server: HostileServer) -> bool:
    return b"POST /api/v3/" in server.received and b"a lighthouse in a storm" in server.received


async def test_a_refused_connection_is_not_sent() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        outcome = await submit(f"http://127.0.0.1:{port}")
    assert isinstance(outcome, NotSent)
    assert "nothing was sent" in outcome.cause


async def test_a_name_that_does_not_resolve_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert isinstance(await submit("https://provider.invalid"), NotSent)


async def closes_at_once(peer: Peer) -> None:
    return


async def resets_at_once(peer: Peer) -> None:
    peer.reset()


async def reads_headers_and_closes(peer: Peer) -> None:
    await peer.read_headers()


async def reads_all_and_resets(peer: Peer) -> None:
    await peer.read_request()
    peer.reset()


async def answers_half_a_body(peer: Peer) -> None:
    await peer.read_request()
    await peer.answer(200, CREATED[:20], length=len(CREATED))


async def answers_half_a_status_line(peer: Peer) -> None:
    await peer.read_request()
    await peer.write(b"HTTP/1.1 20")


async def answers_garbage(peer: Peer) -> None:
    await peer.read_request()
    await peer.write(b"\x16\x03\x01\x00garbage\r\n\r\n")


async def answers_too_much(peer: Peer) -> None:
    await peer.read_request()
    await peer.answer(200, b'{"data": {"id": "job-1"}, "x": "' + b"x" * http.BODY_LIMIT + b'"}')


async def answers_endless_headers(peer: Peer) -> None:
    await peer.read_request()
    await peer.write(b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"y" * 200_000)


async def answers_layers_of_gzip(peer: Peer) -> None:
    await peer.read_request()
    await peer.answer(200, gzip.compress(gzip.compress(CREATED)), "Content-Encoding: gzip, gzip\r\n")


async def claims_gzip(peer: Peer) -> None:
    await peer.read_request()
    await peer.answer(200, CREATED, "Content-Encoding: gzip\r\n")


async def upgrades(peer: Peer) -> None:
    await peer.read_request()
    await peer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")


BREAKING = [
    closes_at_once,
    resets_at_once,
    reads_headers_and_closes,
    reads_all_and_resets,
    answers_half_a_body,
    answers_half_a_status_line,
    answers_garbage,
    answers_too_much,
    answers_endless_headers,
    answers_layers_of_gzip,
    claims_gzip,
    upgrades,
]


@pytest.mark.parametrize("behaviour", BREAKING, ids=lambda behaviour: behaviour.__name__)
async def test_once_connected_every_break_is_unknown(listen: Any, behaviour: Any) -> None:
    server = await listen(behaviour)
    outcome = await submit(server.url)
    assert isinstance(outcome, Unknown), outcome
    assert len(server.peers) == 1
    if behaviour not in (closes_at_once, resets_at_once):
        assert b"POST /api/v3/" in server.received


async def test_the_status_of_a_cut_answer_is_kept(listen: Any) -> None:
    outcome = await submit((await listen(answers_half_a_body)).url)
    assert isinstance(outcome, Unknown)
    assert outcome.http_status == 200


async def test_a_cut_401_is_still_a_refusal_and_a_cut_400_is_not(listen: Any) -> None:
    for status, kind in ((401, Rejected), (400, Unknown)):

        async def cut(peer: Peer, status: int = status) -> None:
            await peer.read_request()
            await peer.answer(status, b'{"code"', length=500)

        assert isinstance(await submit((await listen(cut)).url), kind)


async def test_an_answer_that_never_comes_is_unknown_at_the_deadline(
    listen: Any, forward: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.read_request()
        forward(DEADLINE)
        await asyncio.sleep(NEVER)

    # only the total deadline is left: the timeout for the next byte would end at the same moment
    monkeypatch.setattr(httpx, "Timeout", lambda *args, **kwargs: None)
    server = await listen(silent)
    outcome = await submit(server.url)
    assert isinstance(outcome, Unknown)
    assert "within 60 s" in outcome.cause
    assert got_the_request(server)


async def test_an_answer_that_arrives_byte_by_byte_ends_at_the_deadline(
    listen: Any, forward: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drips(peer: Peer) -> None:
        await peer.read_request()
        await peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await peer.write(b" ")
            await asyncio.sleep(0.02)

    read = http.ProviderHttp._read

    async def read_late(self: http.ProviderHttp, *args: Any) -> http.Answer:
        forward(DEADLINE)
        return await read(self, *args)

    monkeypatch.setattr(http.ProviderHttp, "_read", read_late)
    outcome = await submit((await listen(drips)).url)
    assert isinstance(outcome, Unknown)
    assert outcome.http_status == 200


async def test_an_early_answer_to_a_half_read_request_is_read(listen: Any) -> None:
    async def impatient(peer: Peer) -> None:
        await peer.read_headers()
        await peer.answer(413, b'{"code":413,"message":"too large"}', "Connection: close\r\n")

    outcome = await submit((await listen(impatient)).url)
    assert isinstance(outcome, Rejected)
    assert outcome.kind is FailureKind.INVALID


async def test_a_machine_that_slept_while_connecting_does_not_buy_late(
    listen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def patient(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(200, CREATED)

    server = await listen(patient)
    looks = iter(range(100))
    # the fourth reading of the wall clock is the one between connecting and sending
    monkeypatch.setattr(time, "time", lambda: 1e9 + (600 if next(looks) >= 3 else 0))
    outcome = await submit(server.url)
    assert isinstance(outcome, NotSent), outcome
    assert "TooLate" in outcome.cause
    await eventually(lambda: len(server.peers) == 1)
    assert server.received == b""


async def test_a_cancelled_submit_raises_the_cancellation(listen: Any) -> None:
    async def silent(peer: Peer) -> None:
        await peer.read_request()
        await asyncio.sleep(NEVER)

    server = await listen(silent)
    task = asyncio.create_task(submit(server.url))
    await eventually(lambda: got_the_request(server))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_every_submit_has_its_own_connection(listen: Any) -> None:
    async def keeps_open(peer: Peer) -> None:
        while True:
            await peer.read_request()
            peer.received += b"|"
            await peer.answer(200, CREATED)
            await asyncio.sleep(0.02)
            peer.received = b""

    server = await listen(keeps_open)
    client = WaveSpeed(Connection("wavespeed", server.url, "key-of-wavespeed"))
    for _ in range(3):
        outcome = await client.submit(ENDPOINT, BODY, submission_id="s", deadline_seconds=DEADLINE)
        assert isinstance(outcome, Accepted)
    assert len(server.peers) == 3
    await client.aclose()


async def test_polls_share_a_connection(listen: Any) -> None:
    async def keeps_open(peer: Peer) -> None:
        while True:
            peer.received = b""
            await peer.read_headers()
            await peer.answer(200, CREATED)

    server = await listen(keeps_open)
    client = WaveSpeed(Connection("wavespeed", server.url, "key-of-wavespeed"))
    for _ in range(3):
        assert isinstance(await client.poll("job-1", age_seconds=1), JobState)
    assert len(server.peers) == 1
    await client.aclose()


async def test_the_key_does_not_follow_a_redirect(listen: Any) -> None:
    elsewhere = await listen(reads_headers_and_closes)

    async def redirects(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(307, b"", f"Location: {elsewhere.url}/steal\r\n")

    server = await listen(redirects)
    assert isinstance(await submit(server.url), Unknown)
    client = AimlApi(Connection("aimlapi", server.url, "key-of-aimlapi"))
    assert isinstance(await client.poll("x", age_seconds=999), PollFailed)
    await client.aclose()
    assert elsewhere.peers == []


async def test_a_client_reads_no_proxies_and_netrc_from_the_environment_itself(
    listen: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    proxy = await listen(reads_headers_and_closes)

    async def accepts(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(200, CREATED, "Set-Cookie: stick=1\r\n")

    server = await listen(accepts)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client = WaveSpeed(Connection("wavespeed", server.url, "key-of-wavespeed"))
    for _ in range(2):
        outcome = await client.submit(ENDPOINT, BODY, submission_id="s", deadline_seconds=DEADLINE)
        assert isinstance(outcome, Accepted)
    await client.aclose()
    assert proxy.peers == []
    assert server.received.count(b"Bearer key-of-wavespeed") == 2
    assert b"cookie" not in server.received.lower()


async def test_one_unrequested_layer_of_gzip_is_read(listen: Any) -> None:
    async def compresses(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(200, gzip.compress(CREATED), "Content-Encoding: gzip\r\n")

    assert isinstance(await submit((await listen(compresses)).url), Accepted)


async def test_an_id_is_sent_percent_encoded(listen: Any) -> None:
    server = await listen(reads_headers_and_closes)
    wavespeed, aimlapi = (
        WaveSpeed(Connection("wavespeed", server.url, "key-of-wavespeed")),
        AimlApi(Connection("aimlapi", server.url, "key-of-aimlapi")),
    )
    await wavespeed.poll("a/../b?c#d:e%2f", age_seconds=1)
    await aimlapi.poll("video_1:openai/sora-2&x=1", age_seconds=1)
    first, second = (peer.received.split(b"\r\n")[0] for peer in server.peers)
    assert first == b"GET /api/v3/predictions/a%2F..%2Fb%3Fc%23d%3Ae%252f/result HTTP/1.1"
    assert second == b"GET /v2/video/generations?generation_id=video_1%3Aopenai%2Fsora-2%26x%3D1 HTTP/1.1"
    await wavespeed.aclose()
    await aimlapi.aclose()


async def test_tls_that_is_garbage_is_not_sent(listen: Any) -> None:
    async def garbage(peer: Peer) -> None:
        await peer.read_some()
        await peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\nthis is not TLS")

    server = await listen(garbage)
    outcome = await submit(server.url.replace("http:", "https:"))
    assert isinstance(outcome, NotSent)
    assert b"lighthouse" not in server.received
    assert b"key-of-wavespeed" not in server.received


async def test_a_tls_handshake_that_never_ends_is_not_sent(listen: Any, forward: Any) -> None:
    async def stalls(peer: Peer) -> None:
        await peer.read_some()
        forward(DEADLINE)
        await asyncio.sleep(NEVER)

    server = await listen(stalls)
    outcome = await submit(server.url.replace("http:", "https:"))
    assert isinstance(outcome, NotSent), outcome
    assert server.received.startswith(b"\x16")
    assert b"lighthouse" not in server.received


async def test_the_total_deadline_during_connect_is_proved_by_the_trace(
    listen: Any, forward: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stalls(peer: Peer) -> None:
        await peer.read_some()
        forward(DEADLINE)
        await asyncio.sleep(NEVER)

    server = await listen(stalls)
    # without the connect timeout only the total deadline is left, and only the trace can prove it
    monkeypatch.setattr(httpx, "Timeout", lambda *args, **kwargs: None)
    client = WaveSpeed(Connection("wavespeed", server.url.replace("http:", "https:"), "key-of-wavespeed"))
    outcome = await client.submit(ENDPOINT, BODY, submission_id="s", deadline_seconds=DEADLINE)
    assert isinstance(outcome, NotSent), outcome
    assert "no complete answer" in outcome.cause
    await client.aclose()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A server context with a self-signed certificate for 127.0.0.1, and that certificate's file."""
    made = self_signed(tmp_path, "127.0.0.1")
    return made.server(), made.file


async def test_an_untrusted_certificate_means_not_sent(
    listen: Any, certificate: tuple[ssl.SSLContext, Path]
) -> None:
    server = await listen(reads_all_and_resets, certificate[0])
    outcome = await submit(server.url.replace("http:", "https:"))
    assert isinstance(outcome, NotSent)
    assert server.received == b""


async def test_over_trusted_tls_a_break_is_unknown_and_an_answer_is_read(
    listen: Any, certificate: tuple[ssl.SSLContext, Path]
) -> None:
    network = Network.of({"SSL_CERT_FILE": str(certificate[1])})

    async def accepts(peer: Peer) -> None:
        await peer.read_request()
        await peer.answer(200, CREATED)

    breaking = await listen(reads_all_and_resets, certificate[0])
    assert isinstance(await submit(breaking.url.replace("http:", "https:"), network=network), Unknown)
    assert got_the_request(breaking)
    working = await listen(accepts, certificate[0])
    assert isinstance(await submit(working.url.replace("http:", "https:"), network=network), Accepted)


async def eventually(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "the condition did not hold in time"
        await asyncio.sleep(0.01)
