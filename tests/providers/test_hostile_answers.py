"""Answers of a provider or its upload host are read within bounds, and an upload ticket cannot choose the host or the sender."""

import contextlib
import functools
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_server import answering

from resources.errors import DailiesError
from resources.network.way_out import Network
from resources.providers.aimlapi.client import AimlApi
from resources.providers.base import (
    Accepted,
    FailureKind,
    JobState,
    NotSent,
    PollFailed,
    Rejected,
    Unknown,
    Uploaded,
    UploadFailed,
)
from resources.providers.spec import Connection
from resources.providers.upload_tickets import Ticket, put
from resources.providers.wavespeed.client import WaveSpeed

KEY = "key-of-the-account"
FILE = b"some bytes of a picture"


@contextlib.contextmanager
def measured() -> Iterator[list[int]]:
    """The most bytes of memory in use."""
    grown: list[int] = []
    tracemalloc.start()
    try:
        yield grown
    finally:
        grown.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


def said(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return (
        "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body
    )


@functools.cache
def bomb(*, wbits: int = 31) -> bytes:
    """A few kilobytes that unpack to 100 MB."""
    engine = zlib.compressobj(wbits=wbits)
    zeros = bytes(10_000_000)
    return b"".join(engine.compress(zeros) for _ in range(10)) + engine.flush()


# The provider's own answers

# each test makes its own: making all during collection would take every worker a second
BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: said(bomb(), "Content-Encoding: gzip"),
    "deflate": lambda: said(bomb(wbits=15), "Content-Encoding: deflate"),
    "gzip in chunks": lambda: (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"%x\r\n" % len(bomb())
        + bomb()
        + b"\r\n0\r\n\r\n"
    ),
    "plain": lambda: said(b" " * 60_000_000),
    "layers": lambda: said(gzip.compress(gzip.compress(b"{}")), "Content-Encoding: gzip, gzip"),
    "an encoding nobody knows": lambda: said(b"{}", "Content-Encoding: br"),
}


@pytest.mark.slow
@pytest.mark.parametrize("sent", BOMBS)
async def test_an_answer_is_given_up_at_its_size_limit(sent: str) -> None:
    with answering(BOMBS[sent]()) as server:
        for client in (
            WaveSpeed(Connection("wavespeed", server.origin, KEY)),
            AimlApi(Connection("aimlapi", server.origin, KEY)),
        ):
            with measured() as grown:
                assert isinstance(await client.poll("job-1", age_seconds=99), PollFailed)
                outcome = await client.submit(
                    "a/model", {"prompt": "x"}, submission_id="s", deadline_seconds=60
                )
                assert isinstance(outcome, Unknown)
            await client.aclose()
            assert grown[0] < 8_000_000


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "GZIP"])
async def test_one_layer_of_compression_is_undone(encoding: str) -> None:
    document = json.dumps({"code": 200, "data": {"id": "job-1", "status": "created"}}).encode()
    body = zlib.compress(document) if encoding == "deflate" else gzip.compress(document)
    with answering(said(body, f"Content-Encoding: {encoding}")) as server:
        client = WaveSpeed(Connection("wavespeed", server.origin, KEY))
        outcome = await client.submit("a/model", {"prompt": "x"}, submission_id="s", deadline_seconds=60)
        await client.aclose()
    assert isinstance(outcome, Accepted)
    assert outcome.job_id == "job-1"


odd_answers = st.binary(max_size=300) | st.builds(
    lambda name, value, body: b"HTTP/1.1 200 OK\r\n" + name + b": " + value + b"\r\n\r\n" + body,
    st.sampled_from(
        [b"Content-Length", b"Transfer-Encoding", b"Content-Encoding", b"Date", b"Retry-After", b"Location"]
    ),
    st.binary(max_size=60) | st.sampled_from([b"chunked", b"gzip", b"deflate", b"-1", b"1e9", b"9" * 5_000]),
    st.binary(max_size=200)
    | st.sampled_from(
        [b"[" * 50_000, b"-c\r\nabc", b'{"data": ' + b"9" * 5_000 + b"}", b'{"\\ud800": 1e999}']
    ),
)


@pytest.mark.slow
@settings(max_examples=examples(30))
@given(sent=odd_answers)
async def test_any_bytes_give_an_outcome(sent: bytes) -> None:
    with answering(sent) as server:
        for client in (
            WaveSpeed(Connection("wavespeed", server.origin, KEY)),
            AimlApi(Connection("aimlapi", server.origin, KEY)),
        ):
            outcome = await client.submit("a/model", {"prompt": "x"}, submission_id="s", deadline_seconds=60)
            assert isinstance(outcome, Accepted | Rejected | Unknown | NotSent)
            assert not isinstance(outcome, NotSent), "it was sent"
            assert isinstance(await client.poll("job-1", age_seconds=99), JobState | PollFailed)
            for ask in (client.check, client.balance, client.models):
                with contextlib.suppress(DailiesError):
                    await ask()
            await client.aclose()


# The upload host


def ticket(origin: str, **headers: str) -> Ticket:
    return Ticket(f"{origin}/put?signature=secret", headers, "https://cdn.example.com/a.png")


@pytest.mark.parametrize(
    "sent",
    [
        lambda: said(bomb(), "Content-Encoding: gzip"),
        lambda: said(b"x" * 60_000_000),
        lambda: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n" + b"x" * 60_000_000,
    ],
    ids=["a bomb", "60 MB", "a chunk without a size"],
)
def test_only_the_status_of_an_upload_host_is_read(sent: Callable[[], bytes]) -> None:
    with answering(sent()) as server, measured() as grown:
        assert put(ticket(server.origin), FILE, base_url=server.origin, network=Network()) is None
    assert grown[0] < 4_000_000


@settings(max_examples=examples(30))
@given(sent=odd_answers)
def test_any_bytes_of_an_upload_host_give_an_outcome(sent: bytes) -> None:
    with answering(sent) as server:
        outcome = put(ticket(server.origin), FILE, base_url=server.origin, network=Network())
    assert outcome is None or isinstance(outcome, UploadFailed)


HOSTILE = {
    "Host": "evil.example.com",
    "hOsT": "evil.example.com",
    "Content-Length": "1234567",
    "Transfer-Encoding": "chunked",
    "Authorization": "Bearer stolen",
    "Proxy-Authorization": "Basic stolen",
    "Cookie": "a=b",
    "Connection": "keep-alive",
    "Expect": "100-continue",
    "X-Forwarded-Host": "evil.example.com",
    "X-HTTP-Method-Override": "DELETE",
    "User-Agent": "curl",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_tickets_headers_change_neither_host_nor_length_nor_sender(name: str) -> None:
    with answering(said(b"")) as server:
        sent = ticket(
            server.origin, **{name: HOSTILE[name], "Content-Type": "image/png", "X-Amz-Acl": "private"}
        )
        assert put(sent, FILE, base_url=server.origin, network=Network()) is None
        head = server.requests[0].partition(b"\r\n\r\n")[0].decode()
    names = [line.partition(":")[0].lower() for line in head.splitlines()[1:]]
    assert sorted(names) == sorted(set(names)), "no header twice"
    assert HOSTILE[name] not in head
    assert f"Host: {server.origin.removeprefix('http://')}" in head
    assert f"Content-Length: {len(FILE)}" in head
    assert "Content-Type: image/png" in head
    assert "X-Amz-Acl: private" in head


def test_the_error_of_a_refused_upload_names_the_unsent_headers_of_its_ticket() -> None:
    with answering(said(b"<Error/>", status="403 Forbidden")) as server:
        outcome = put(
            ticket(server.origin, Authorization="Bearer x"), FILE, base_url=server.origin, network=Network()
        )
    assert outcome == UploadFailed(
        "the upload's host answered HTTP 403; its ticket's headers Authorization were not sent",
        FailureKind.INVALID,
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Amz-Meta-A": "b\r\nAuthorization: c"},
        {"X-Amz-Meta-A": "b\nc"},
        {"X-Amz-Meta-A": "b\0c"},
        {"X-Amz-Meta-A": "caf\u00e9"},
        {"X-Amz-Meta-A\r\nB": "c"},
        {"X-Amz-Meta-A ": "c"},
        {"X-Amz-Meta-A": 5},
        {"X-Amz-Meta-A": "b" * 5_000},
        {f"X-Amz-Meta-{number}": "b" for number in range(100)},
    ],
)
def test_a_ticket_with_invalid_headers_is_refused(headers: dict[str, object]) -> None:
    upload = {"method": "PUT", "url": "https://x.example/a", "headers": headers}
    assert Ticket.read({"download_url": "https://cdn.example.com/a", "upload": upload}) is None


async def test_a_file_is_uploaded_in_spite_of_a_hostile_ticket() -> None:
    def sent(head: bytes) -> bytes:
        if head.startswith(b"PUT"):
            return said(b"")
        upload = {"method": "PUT", "url": f"{server.origin}/put", "headers": dict(HOSTILE)}
        return said(
            json.dumps(
                {"code": 200, "data": {"download_url": "https://c.example/a", "upload": upload}}
            ).encode()
        )

    with answering(sent) as server:
        client = WaveSpeed(Connection("wavespeed", server.origin, KEY))
        assert await client.upload("a.png", "image/png", FILE) == Uploaded("https://c.example/a")
        await client.aclose()
    assert KEY.encode() not in server.requests[1]
