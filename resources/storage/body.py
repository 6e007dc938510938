"""Reading the body of a response, decompressed within bounds.

dailies never asks for compression, yet some servers compress. The bytes decide, not the label: an MP4 is never decompressed,
whatever its Content-Encoding says.
"""

import zlib
from typing import TYPE_CHECKING

from resources.storage.connections import read_some, strangers_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from urllib3 import HTTPResponse

_GZIP = b"\x1f\x8b"
_PIECE = 128 << 10
_NO_ENCODINGS = {"", "identity", "aws-chunked"}
"""Labels that mean no compression. S3 servers keep `aws-chunked` from an upload that was signed chunk by chunk."""
_ENCODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}


class UnknownEncodingError(Exception):
    """The body is compressed in an unsupported way; the text names it."""


class Inflater:
    """Decompress gzip or deflate, at most as many bytes as the caller asks for, so that a bomb cannot fill memory.

    Args:
        encoding: `gzip` or `deflate`. Servers send deflate with and without zlib's frame (RFC 9110, 8.4.1.2); both are read.
    """

    def __init__(self, encoding: str) -> None:
        self._is_gzip = encoding == "gzip"
        self._engine = self._begin(zlib.MAX_WBITS)
        self._fresh = not self._is_gzip
        self._rest = b""
        self.ended = False
        """Whether the end was reached. Bytes after it are ignored."""

    def undo(self, data: bytes, most: int) -> bytes:
        """Return at most `most` decompressed bytes; none when more `data` is needed, or at the end.

        Raises:
            zlib.error: The data is damaged, or compressed in another way.
        """
        data = self._rest + data
        self._rest = b""
        while not self.ended:
            if self._engine.eof:
                if len(data) < len(_GZIP):
                    self._rest = data
                    break
                self.ended = not (self._is_gzip and data.startswith(_GZIP))
                if self.ended:
                    break
                self._engine = self._begin(zlib.MAX_WBITS)  # several members in a row (RFC 1952, 2.2)
            piece = self._decompressed(data, most)
            data = self._engine.unused_data if self._engine.eof else b""
            self._rest = self._engine.unconsumed_tail
            if piece:
                self._rest = self._rest or data
                return piece
            if not data:
                break
        return b""

    @property
    def is_whole(self) -> bool:
        """Whether the data that was read so far is complete."""
        return self.ended or (self._engine.eof and not self._rest.startswith(_GZIP))

    def _decompressed(self, data: bytes, most: int) -> bytes:
        try:
            piece = self._engine.decompress(data, most)
        except zlib.error:
            if not self._fresh:
                raise
            self._engine = self._begin(-zlib.MAX_WBITS)
            piece = self._engine.decompress(data, most)
        self._fresh = self._fresh and not piece
        return piece

    def _begin(self, bits: int) -> "zlib._Decompress":
        return zlib.decompressobj(16 + bits if self._is_gzip else bits)


class Body:
    """The body of a response, read piece by piece.

    Args:
        response: The response, before any of its body was read.
        is_part: Whether the body is the rest of a file that was not compressed.

    Raises:
        UnknownEncodingError: The body is compressed with neither gzip nor deflate.
        OSError, http.client.HTTPException, urllib3.exceptions.HTTPError: The body could not be read.
    """

    def __init__(self, response: "HTTPResponse", *, is_part: bool = False) -> None:
        self.wire_bytes = 0
        """Bytes read, before decompression."""
        self.at_end = False
        """Whether the response was read to its end, so that its connection can be reused."""
        self._response = response
        self._ahead = b""
        self._inflater: Inflater | None = None
        if not is_part:
            while len(self._ahead) < 8 and (piece := self._next_raw(_PIECE)):
                self._ahead += piece
            self._inflater = _inflater(response.headers, self._ahead)

    @property
    def is_encoded(self) -> bool:
        """Whether the body is compressed. If so, its Content-Length is not the size of the file."""
        return self._inflater is not None

    @property
    def is_whole(self) -> bool:
        """Whether a compressed body is complete."""
        return self._inflater is None or self._inflater.is_whole

    def read(self, amount: int) -> bytes:
        """Return at most `amount` bytes; none at the end."""
        if self._inflater is None:
            return self._take(amount)
        piece = self._undone(b"", amount)
        while not piece and not self._inflater.ended and (raw := self._take(_PIECE)):
            piece = self._undone(raw, amount)
        return piece

    def _undone(self, raw: bytes, amount: int) -> bytes:
        with strangers_bytes():
            return self._inflater.undo(raw, amount) if self._inflater else raw

    def _take(self, amount: int) -> bytes:
        if self._ahead:
            piece, self._ahead = self._ahead[:amount], self._ahead[amount:]
            return piece
        return self._next_raw(amount)

    def _next_raw(self, amount: int) -> bytes:
        piece = read_some(self._response, amount)
        self.wire_bytes += len(piece)
        self.at_end = not piece
        return piece


def is_mp4(beginning: bytes) -> bool:
    """Whether a file begins like an MP4."""
    return beginning[4:8] == b"ftyp"


def encoding_of(headers: "Mapping[str, str]") -> str | None:
    """The compression that the headers name: `gzip`, `deflate` or None.

    Raises:
        UnknownEncodingError: They name another compression, or several, as bombs do.
    """
    encoding = headers.get("content-encoding", "").lower()
    named = [name for part in encoding.split(",") if (name := part.strip()) not in _NO_ENCODINGS]
    if not named:
        return None
    known = _ENCODINGS.get(named[0])
    if known is None or len(named) > 1:
        shown = "".join(char if char.isascii() and char.isprintable() else "?" for char in encoding[:60])
        raise UnknownEncodingError(shown)
    return known


def _inflater(headers: "Mapping[str, str]", beginning: bytes) -> Inflater | None:
    if is_mp4(beginning):
        return None
    if beginning.startswith(_GZIP):
        return Inflater("gzip")
    encoding = encoding_of(headers)
    return Inflater(encoding) if encoding else None
