"""S3 answers without optional parts, or unreadable ones, give the bucket's own errors."""

import contextlib
from collections.abc import Callable

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from raw_server import answering

from resources.errors import DailiesError, UnavailableError
from resources.storage.errors import StorageError
from resources.storage.objects import ObjectStore
from resources.storage.s3_client import S3Settings


def store_at(origin: str) -> ObjectStore:
    return ObjectStore(
        S3Settings(
            bucket="dailies",
            endpoint_url=origin,
            access_key_id="dailieskey",
            secret_access_key=SecretStr("dailies-secret"),
            ride_out_seconds=0,
        )
    )


def said(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


ASKED: dict[str, Callable[[ObjectStore], object]] = {
    "head": lambda store: store.head("a/b"),
    "get": lambda store: store.get_bytes("a/b"),
    "list": lambda store: list(store.list_objects("a/")),
    "put": lambda store: store.put_bytes("a/b", b"{}", content_type="application/json", overwrite=True),
}

ODD = {
    "a length of letters": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "a length of 5,000 digits": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
    "a chunk of the size -c": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-c\r\nabc",
    "a time that is none": said(b"", "Last-Modified: yesterday", "Content-Type: \x01"),
    "XML that ends early": said(b"<ListBucketResult><Contents><Key>a/b"),
    "a size of letters": said(
        b"<ListBucketResult><Contents><Key>a/b</Key><Size>big</Size></Contents></ListBucketResult>"
    ),
    "a list of nothing but words": said(
        b"<ListBucketResult>busy<IsTruncated>maybe</IsTruncated></ListBucketResult>"
    ),
    "a checksum that is none": said(b"", "x-amz-checksum-sha256: not base64"),
    "an error that is none": said(b"<html>oops</html>", status="400 Bad Request"),
    "an error of bytes": said(b"\xff\xfe\x00", status="418 \xe9"),
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED.keys())
@pytest.mark.parametrize("sent", ODD.values(), ids=ODD.keys())
def test_an_unreadable_answer_is_an_error_of_the_bucket(
    sent: bytes, ask: Callable[[ObjectStore], object]
) -> None:
    # some of these answers are valid for some requests; the others may raise only our own errors
    with answering(sent) as server, contextlib.suppress(DailiesError):
        ask(store_at(server.origin))


@settings(max_examples=examples(30))
@given(
    sent=st.binary(max_size=200)
    | st.builds(
        lambda name, value, body: b"HTTP/1.1 200 OK\r\n" + name + b": " + value + b"\r\n\r\n" + body,
        st.sampled_from([b"Content-Length", b"Transfer-Encoding", b"ETag", b"Last-Modified", b"Date"]),
        st.binary(max_size=60) | st.sampled_from([b"chunked", b"-1", b"1e9"]),
        st.binary(max_size=200)
        | st.builds(
            lambda inner: b"<ListBucketResult>" + inner + b"</ListBucketResult>", st.binary(max_size=80)
        ),
    ),
    ask=st.sampled_from(list(ASKED.values())),
)
def test_any_bytes_end_in_an_error_of_the_bucket(sent: bytes, ask: Callable[[ObjectStore], object]) -> None:
    with answering(sent) as server, contextlib.suppress(DailiesError):
        ask(store_at(server.origin))


def test_the_error_of_an_unreadable_answer_names_the_server() -> None:
    sent = said(b"<ListBucketResult><Contents><Key>a/b</Key><Size>big</Size></Contents></ListBucketResult>")
    with answering(sent) as server, pytest.raises(StorageError, match="cannot be read as S3") as caught:
        list(store_at(server.origin).list_objects("a/"))
    assert server.origin in str(caught.value)


def page(*keys: str, truncated: bool = True) -> bytes:
    inner = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    return said(
        f"<ListBucketResult>{inner}<IsTruncated>{str(truncated).lower()}</IsTruncated></ListBucketResult>".encode()
    )


def test_a_list_without_a_token_continues_after_its_last_key() -> None:
    pages = iter([page("a/1", "a/2"), page("a/3"), page()])
    with answering(lambda _: next(pages)) as server:
        found = list(store_at(server.origin).list_objects("a/"))
    assert [(item.key, item.modified) for item in found] == [("a/1", None), ("a/2", None), ("a/3", None)]
    assert b"start-after=a%2F2" in server.requests[1]
    assert b"start-after=a%2F3" in server.requests[2]


def test_a_list_that_always_begins_again_is_refused() -> None:
    with answering(page("a/1", "a/2")) as server, pytest.raises(StorageError, match="begins again"):
        list(store_at(server.origin).list_objects("a/"))


def test_an_object_without_a_length_has_the_length_in_the_list() -> None:
    def sent(head: bytes) -> bytes:
        if head.startswith(b"HEAD"):
            return b'HTTP/1.1 200 OK\r\nETag: "e"\r\nConnection: close\r\n\r\n'
        if b"list-type=2" in head:
            return page("a/b", "a/bc", truncated=False)
        # this server closes each connection; the header keeps the client from reusing one that is closing
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        return head + b"3\r\nabc\r\n0\r\n\r\n"

    with answering(sent) as server:
        store = store_at(server.origin)
        found = store.head("a/b")
        assert found is not None
        assert (found.size, found.etag) == (1, "e")
        assert store.get_bytes("a/b") == b"abc"
        with pytest.raises(StorageError, match="3 bytes; at most 2"):
            store.get_bytes("a/b", max_bytes=2)


def test_a_body_that_ends_early_is_an_outage() -> None:
    with (
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc") as server,
        pytest.raises(UnavailableError),
    ):
        store_at(server.origin).get_bytes("a/b")
