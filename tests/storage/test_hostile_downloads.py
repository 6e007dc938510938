"""Any answer to a download gives a whole clip or a `DownloadError`, within bounds of memory and time."""

import contextlib
import gzip
import hashlib
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hostile import MP4
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_server import RawServer, answering

from resources.storage import remote
from resources.storage.download import (
    DownloadError,
    DownloadPolicy,
    NotAVideoError,
    TooLargeError,
    download,
)

OK = b"HTTP/1.1 200 OK\r\n"
CLIP = MP4[:300_000]


def fetch(server: RawServer, path: Path, **limits: Any) -> bytes:
    usual = {"pause_seconds": 0, "read_seconds": 2, "total_seconds": 10, "max_resumes": 2}
    policy = DownloadPolicy(allowed_origins=frozenset({server.origin}), **{**usual, **limits})
    try:
        download(f"{server.origin}/clip.mp4?token=canary-signature", path, policy=policy)
    finally:
        remote._connections.close()
    return path.read_bytes()


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return OK + b"Transfer-Encoding: chunked\r\n\r\n" + pieces + end


# answers that are no valid HTTP

MALFORMED = {
    "a chunk of the size -c": chunked(CLIP[:99], end=b"-c\r\n" + CLIP),
    "a chunk of the size -1": chunked(CLIP[:99], end=b"-1\r\n" + CLIP),
    "a chunk of the size g": chunked(CLIP[:99], end=b"g\r\n" + CLIP),
    "a chunk of 10^30 bytes": chunked(CLIP[:99], end=b"9" * 30 + b"\r\n" + CLIP),
    "a chunk size of a megabyte": chunked(CLIP[:99], end=b"1" * 1_000_000 + b"\r\n" + CLIP),
    "no chunk at all": OK + b"Transfer-Encoding: chunked\r\n\r\n" + CLIP,
    "a length of 5,000 digits": OK + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n" + CLIP,
    "two lengths": answer(CLIP, "Content-Length: 7"),
    "a status of words": b"HTTP/1.1 two hundred\r\n\r\n" + CLIP,
    "a status of 1,000 digits": b"HTTP/1.1 " + b"2" * 1_000 + b" OK\r\n\r\n" + CLIP,
    "no status line": CLIP,
    "nothing": b"",
    "a hundred thousand headers": OK + b"A: b\r\n" * 100_000 + b"\r\n" + CLIP,
    "a header of a megabyte": OK + b"A: " + b"b" * 1_000_000 + b"\r\n\r\n" + CLIP,
    "a header without a name": OK + b": b\r\n: :\r\n\r\n",
    "bytes that are no text": OK + b"ETag: \xff\xfe\x00\r\nContent-Type: \x00\xff\r\n\r\n\x00",
    "gzip that is none": answer(b"\x1f\x8b" + CLIP, "Content-Encoding: gzip"),
    "gzip that is damaged": answer(gzip.compress(CLIP)[:-9] + b"123456789", "Content-Encoding: gzip"),
    "gzip that is cut": answer(gzip.compress(CLIP)[:-9], "Content-Encoding: gzip"),
    "deflate that is none": answer(b"12345678" + CLIP, "Content-Encoding: deflate"),
    "an encoding nobody knows": answer(b"12345678" + CLIP, "Content-Encoding: br"),
    "an encoding in three layers": answer(b"12345678", "Content-Encoding: gzip, gzip, gzip"),
    "a part that nobody asked for": answer(CLIP[9:], "Content-Range: bytes 9-299999/300000", status="206 P"),
    "a redirect to a host with a dot first": answer(b"", "Location: https://.example.com/", status="302 F"),
    "a redirect to a label of 70 letters": answer(b"", f"Location: https://{'a' * 70}.b/", status="302 F"),
    "a redirect to half an address": answer(b"", "Location: https://[::1", status="302 F"),
    "a redirect to a port of 40 digits": answer(b"", f"Location: https://a.b:{'9' * 40}/", status="302 F"),
    "a redirect to bytes": answer(b"", "Location: \xff\x80//\x01", status="302 F"),
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
def test_an_answer_that_cannot_be_read_is_a_failed_download(tmp_path: Path, sent: bytes) -> None:
    tracemalloc.start()
    began = time.monotonic()
    try:
        with answering(sent) as server, pytest.raises(DownloadError) as caught:
            fetch(server, tmp_path / "clip.mp4")
        grown = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "canary" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert grown < 12_000_000
    assert time.monotonic() - began < 120
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_without_a_size_does_not_fill_the_memory(tmp_path: Path) -> None:
    """http.client reads a chunk of size -1 to the end of the connection, however long that is."""
    sent = chunked(CLIP, end=b"-1\r\n" + bytes(60_000_000))
    tracemalloc.start()
    try:
        with answering(sent) as server, pytest.raises(DownloadError):
            fetch(server, tmp_path / "clip.mp4", max_bytes=1_000_000, max_resumes=0)
        grown = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert grown < 6_000_000


odd_bytes = st.one_of(
    st.binary(max_size=300),
    st.builds(
        lambda head, rest: OK + head + b"\r\n\r\n" + rest, st.binary(max_size=100), st.binary(max_size=200)
    ),
    st.builds(
        lambda name, value, rest: OK + name + b": " + value + b"\r\n\r\n" + rest,
        st.sampled_from(
            [
                b"Content-Length",
                b"Transfer-Encoding",
                b"Content-Encoding",
                b"ETag",
                b"Content-Range",
                b"Location",
            ]
        ),
        st.binary(max_size=60) | st.sampled_from([b"chunked", b"gzip", b"deflate", b"-1", b"1e9", b"0x10"]),
        st.binary(max_size=200) | st.builds(lambda rest: CLIP[:64] + rest, st.binary(max_size=200)),
    ),
    st.builds(lambda end: chunked(CLIP[:64], end=end), st.binary(max_size=60)),
    st.builds(
        lambda target: b"HTTP/1.1 302 Found\r\nLocation: " + target + b"\r\n\r\n", st.binary(max_size=80)
    ),
)


@settings(max_examples=examples(75))
@given(first=odd_bytes, then=odd_bytes)
def test_any_bytes_end_as_a_clip_or_as_a_failed_download(tmp_path: Path, first: bytes, then: bytes) -> None:
    answers = iter([first])
    with answering(lambda _: next(answers, then)) as server, contextlib.suppress(DownloadError):
        # a redirect must not lead to a real host
        assert fetch(server, tmp_path / "clip.mp4", max_redirects=0, read_seconds=1)[4:8] == b"ftyp"


# compressed answers


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


@pytest.mark.parametrize(
    ("body", "label"),
    [
        (gzip.compress(CLIP), "gzip"),
        (gzip.compress(CLIP), "x-gzip"),
        (gzip.compress(CLIP), " GZIP , identity"),
        (gzip.compress(CLIP), "br"),
        (gzip.compress(CLIP), ""),
        (gzip.compress(CLIP[:100]) + gzip.compress(CLIP[100:]), "gzip"),
        (gzip.compress(CLIP) + b"\0" * 1_000, "gzip"),
        (zlib.compress(CLIP), "deflate"),
        (raw_deflate(CLIP), "deflate"),
        (CLIP, "gzip"),
        (CLIP, "br"),
        (CLIP, "aws-chunked"),
        (CLIP, "utf-8"),
    ],
)
@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("content_type", ["video/mp4", "text/html; charset=utf-8"])
def test_the_bytes_decide_about_compression_and_not_their_label(
    tmp_path: Path, body: bytes, label: str, in_chunks: bool, content_type: str
) -> None:
    headers = [f"Content-Encoding: {label}", f"Content-Type: {content_type}"]
    sent = answer(body, *headers)
    if in_chunks:
        pieces = [body[at : at + 777] for at in range(0, len(body), 777)]
        head = "\r\n".join(["HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *headers, "", ""]).encode()
        sent = head + chunked(*pieces).partition(b"\r\n\r\n")[2]
    with answering(sent) as server:
        assert fetch(server, tmp_path / "clip.mp4") == CLIP
    assert b"accept-encoding: identity" in server.requests[0].lower(), "the client requests no compression"


def test_a_page_is_no_clip_whatever_its_label(tmp_path: Path) -> None:
    page = gzip.compress(b"<html>busy</html>" * 9)
    sent = answer(page, "Content-Encoding: gzip", "Content-Type: video/mp4")
    with answering(sent) as server, pytest.raises(NotAVideoError, match="does not begin like an MP4"):
        fetch(server, tmp_path / "clip.mp4")


def test_a_compressed_clip_that_is_cut_is_read_again_from_the_start(tmp_path: Path) -> None:
    body = gzip.compress(CLIP)
    cuts = iter([len(body) // 2, len(body) - 4])

    def cut(_: bytes) -> bytes:
        return answer(body[: next(cuts, None)], "Content-Encoding: gzip", 'ETag: "one"', length=len(body))

    with answering(cut) as server:
        assert fetch(server, tmp_path / "clip.mp4") == CLIP
    assert len(server.requests) == 3
    assert not any(b"range" in request.lower() for request in server.requests)


@pytest.mark.slow
def test_a_compression_bomb_is_refused_early(tmp_path: Path) -> None:
    engine, zeros = zlib.compressobj(wbits=31), bytes(10_000_000)
    bomb = engine.compress(CLIP[:64]) + b"".join(engine.compress(zeros) for _ in range(20)) + engine.flush()
    assert len(bomb) < 300_000
    tracemalloc.start()
    try:
        with answering(answer(bomb, "Content-Encoding: gzip")) as server:
            with pytest.raises(TooLargeError, match=r"more than (16|17),.* bytes"):
                fetch(server, tmp_path / "clip.mp4")
            with pytest.raises(TooLargeError, match="at most 1,000,000"):
                fetch(server, tmp_path / "clip.mp4", max_bytes=1_000_000)
        grown = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert grown < 6_000_000
    assert list(tmp_path.iterdir()) == []


# the rest of a cut file

HALF = 150_000
REST = CLIP[HALF:]
FIRST = answer(CLIP[:HALF], 'ETag: "one"', length=len(CLIP))
OTHER = bytes(len(CLIP))
WHOLE = answer(CLIP, 'ETag: "one"')


def rest(*headers: str, body: bytes = REST, where: str = f"{HALF}-299999/300000") -> bytes:
    return answer(body, f"Content-Range: bytes {where}", *headers, status="206 Partial Content")


def test_the_rest_of_the_same_file_is_taken(tmp_path: Path) -> None:
    answers = iter([FIRST, rest('ETag: "one"')])
    with answering(lambda _: next(answers)) as server:
        assert fetch(server, tmp_path / "clip.mp4") == CLIP


@pytest.mark.parametrize(
    "part",
    [
        rest(body=OTHER[HALF:]),
        rest('ETag: W/"one"', body=OTHER[HALF:]),
        rest('ETag: "one"', body=OTHER, where="0-299999/300000"),
        rest('ETag: "one"', body=OTHER[HALF + 1 :], where=f"{HALF + 1}-299999/300000"),
        rest('ETag: "one"', body=OTHER[HALF:], where=f"{HALF}-200000/300000"),
        rest('ETag: "one"', body=OTHER[HALF:], where=f"{HALF}-299999/*"),
        rest('ETag: "one"', body=OTHER[HALF:], where=f"{HALF}-{'9' * 5_000}/300000"),
        rest('ETag: "one"', body=OTHER[HALF:], where=f"{HALF}-{HALF - 1}/300000"),
        rest('ETag: "one"', "Content-Encoding: gzip", body=OTHER[HALF:]),
        answer(OTHER[HALF:], 'ETag: "one"', status="206 Partial Content"),
    ],
    ids=[
        "no etag",
        "a weak etag",
        "from the start",
        "a byte later",
        "another length",
        "no total",
        "5,000 digits",
        "backwards",
        "compressed",
        "no range",
    ],
)
def test_a_part_that_may_be_of_another_file_is_never_appended(tmp_path: Path, part: bytes) -> None:
    answers = iter([FIRST, part])
    with answering(lambda _: next(answers, WHOLE)) as server:
        assert fetch(server, tmp_path / "clip.mp4") == CLIP
    assert [b"Range: bytes" in request for request in server.requests] == [False, True, False]


def test_a_part_that_is_longer_than_it_says_is_refused(tmp_path: Path) -> None:
    part = (
        b"HTTP/1.1 206 P\r\nTransfer-Encoding: chunked\r\nContent-Range: bytes 150000-200000/300000\r\n"
        b'ETag: "one"\r\n\r\n'
    )
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(REST), REST)
    answers = iter([FIRST, part + body])
    with answering(lambda _: next(answers, WHOLE)) as server, pytest.raises(DownloadError, match="changed"):
        fetch(server, tmp_path / "clip.mp4")


def test_a_rest_that_comes_in_several_parts_is_taken(tmp_path: Path) -> None:
    middle = rest('ETag: "one"', body=CLIP[HALF:200_000], where=f"{HALF}-199999/300000")
    end = rest('ETag: "one"', body=CLIP[200_000:], where="200000-299999/300000")
    answers = iter([FIRST, middle, end])
    with answering(lambda _: next(answers)) as server:
        assert hashlib.sha256(fetch(server, tmp_path / "clip.mp4")).digest() == hashlib.sha256(CLIP).digest()


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    yield
    remote._connections.close()
