"""The boxes of an MP4, walked without decoding: what the file says of itself, and whether it is all there.

A decoder's own probe does not notice a file that was cut off. The index of an MP4 does: it says where every sample is.
Names and layouts are those of ISO/IEC 14496-12 and 14496-14.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

_MAX_INDEX = 64 << 20
_MAX_BOXES = 10_000
_MAX_TRACKS = 32
_MAX_ENTRIES = 2_000_000
"""Of all tables of all tracks: an hour of film with sound has half a million."""
_LONGEST_SECONDS = 7 * 86_400
_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
_OBJECT_TYPES = {0x20: "mpeg4", 0x40: "aac", 0x66: "aac", 0x67: "aac", 0x68: "aac", 0x69: "mp3", 0x6B: "mp3"}
_CODECS = {
    **dict.fromkeys(("avc1", "avc3"), "h264"),
    **dict.fromkeys(("hvc1", "hev1"), "hevc"),
    "av01": "av1",
    "vp09": "vp9",
    "Opus": "opus",
    "ac-3": "ac3",
    "ec-3": "eac3",
    "fLaC": "flac",
    ".mp3": "mp3",
}


class BoxError(Exception):
    """The file is not an MP4, or its index is missing or contradicts itself."""


@dataclass
class Track:
    """One track of the index.

    Attributes:
        kind: `vide`, `soun` or another handler.
        codec: Our name of the codec, or the four letters of the file.
        width: Pixels as coded, 0 for sound.
        height: Pixels as coded, 0 for sound.
        turned: The picture is to be shown turned by 90 degrees.
        samples: How many the index lists; 0 in a fragmented file.
        seconds: How long they last.
        end: The byte after the last sample.
    """

    kind: str = ""
    codec: str = ""
    width: int = 0
    height: int = 0
    turned: bool = False
    samples: int = 0
    seconds: float = 0.0
    end: int = 0


@dataclass
class Movie:
    """What the boxes of a file say.

    Attributes:
        tracks: In the file's order.
        truncated: A box or a sample ends after the file does.
        faststart: The index comes before the data.
        c2pa: There is a C2PA box.
        fragmented: The samples are listed beside the data and not in the index.
    """

    tracks: list[Track] = field(default_factory=list)
    truncated: bool = False
    faststart: bool = False
    c2pa: bool = False
    fragmented: bool = False

    def first(self, kind: str) -> Track | None:
        """The first track of a kind."""
        return next((track for track in self.tracks if track.kind == kind), None)


class _Budget:
    """What the indexes of all tracks may hold together, so that a small file cannot ask for hours of work."""

    def __init__(self) -> None:
        self.boxes, self.entries = _MAX_BOXES, _MAX_ENTRIES

    def take_entries(self, count: int) -> int:
        self.entries -= count
        if self.entries < 0:
            raise BoxError("it has too many frames")
        return count

    def boxes_of(self, data: bytes) -> dict[bytes, bytes]:
        """The boxes inside another one, by name."""
        found: dict[bytes, bytes] = {}
        for name, body in _boxes(data):
            self.boxes -= 1
            if self.boxes < 0:
                raise BoxError("it has too many boxes")
            found[name] = body
        return found


def walk(file: BinaryIO) -> Movie:
    """Read the boxes of an open file, wherever it was read to; its data is skipped.

    Raises:
        BoxError: It is not an MP4, or its index is missing, contradicts itself or is larger than any clip's.
    """
    size = os.fstat(file.fileno()).st_size
    movie, index, data_at, index_at = Movie(), None, None, None
    for number, (name, start, body, end) in enumerate(_top_level(file, size)):
        if number == 0 and name != b"ftyp":
            raise BoxError("it does not begin like an MP4")
        movie.truncated |= end > size
        if name == b"moov" and index is None:
            index_at, index = start, _index(file, body, end, size)
        elif name == b"mdat" and data_at is None:
            data_at = start
        elif name == b"uuid":
            movie.c2pa |= _read(file, body, 16) == _C2PA
        movie.fragmented |= name == b"moof"
    if index is None:
        raise BoxError("it has no index: its end is missing" if data_at is not None else "it has no index")
    movie.tracks = _tracks(index)
    movie.faststart = index_at is not None and (data_at is None or index_at < data_at)
    movie.truncated |= any(track.end > size for track in movie.tracks)
    return movie


def _index(file: BinaryIO, body: int, end: int, size: int) -> bytes:
    if end - body > _MAX_INDEX:
        raise BoxError("its index is too large")
    if end > size:
        raise BoxError("its index is cut off")
    return _read(file, body, end - body)


def _tracks(index: bytes) -> list[Track]:
    budget = _Budget()
    found: list[Track] = []
    try:
        for name, body in _boxes(index):
            if name == b"trak":
                if len(found) >= _MAX_TRACKS:
                    raise BoxError(f"it has more than {_MAX_TRACKS} tracks")
                found.append(_track(body, budget))
    except (struct.error, LookupError, ArithmeticError, ValueError):
        raise BoxError("its index contradicts itself") from None
    return found


def _top_level(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Name, start, start of the body and end of every box of the file."""
    position = 0
    for _ in range(_MAX_BOXES):
        if position >= size:
            return
        head = _read(file, position, 16)
        if len(head) < 8:
            # a few bytes of the next box's head: the file ends in the middle of it
            yield b"", position, position, position + 8
            return
        length, name, body = int.from_bytes(head[:4], "big"), head[4:8], position + 8
        if length == 1 and len(head) == 16:
            length, body = int.from_bytes(head[8:16], "big"), position + 16
        end = size if length == 0 else position + length
        if end < body:
            raise BoxError("its boxes contradict each other")
        yield name, position, body, end
        position = end
    raise BoxError("it has too many boxes")


def _read(file: BinaryIO, position: int, count: int) -> bytes:
    # not where the file stands: who hands it in may share it, and go on reading
    return os.pread(file.fileno(), count, position)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of every box inside another one."""
    position = 0
    while position + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, position)
        head = 8
        if length == 1:
            length, head = struct.unpack_from(">Q", data, position + 8)[0], 16
        elif length == 0:
            length = len(data) - position
        if length < head or position + length > len(data):
            raise BoxError("its index contradicts itself")
        yield name, data[position + head : position + length]
        position += length


def _track(data: bytes, budget: _Budget) -> Track:
    track = Track()
    outer = budget.boxes_of(data)
    media = budget.boxes_of(outer.get(b"mdia", b""))
    inner = budget.boxes_of(media.get(b"minf", b""))
    table = budget.boxes_of(inner.get(b"stbl", b""))
    if b"hdlr" not in media or b"mdhd" not in media or b"stsd" not in table:
        return track
    track.kind = media[b"hdlr"][8:12].decode("latin-1")
    track.turned = _turned(outer.get(b"tkhd", b""))
    _describe(track, table[b"stsd"])
    header = media[b"mdhd"]
    scale = struct.unpack_from(">I", header, 20 if header[0] == 1 else 12)[0]
    _sample_tables(track, table, scale, budget)
    return track


def _turned(header: bytes) -> bool:
    if not header:
        return False
    a, b, _, c, d = struct.unpack_from(">5i", header, 52 if header[0] == 1 else 40)
    return bool(a == d == 0 and b and c)


def _describe(track: Track, stsd: bytes) -> None:
    """The codec and the size of the picture, from the first sample description."""
    name, entry = next(_boxes(stsd[8:]), (b"", b""))
    letters = name.decode("latin-1")
    track.codec = _CODECS.get(letters, letters.strip().lower())
    children = b""
    if track.kind == "vide":
        track.width, track.height = struct.unpack_from(">HH", entry, 24)
        children = entry[78:]
    elif track.kind == "soun":
        children = entry[28:]
    if letters in {"mp4a", "mp4v"}:
        at = children.find(b"esds")
        found = _OBJECT_TYPES.get(_object_type(children[at + 8 :])) if at >= 0 else None
        track.codec = found or {"mp4a": "aac", "mp4v": "mpeg4"}[letters]


def _object_type(descriptors: bytes) -> int:
    """The MPEG-4 object type: tag 3 (the stream) holds tag 4 (the decoder), which begins with it."""
    position = _after_length(descriptors, 1)
    flags = descriptors[position + 2]
    position += 3 + (2 if flags & 0x80 else 0) + (2 if flags & 0x20 else 0)
    if flags & 0x40:
        position += 1 + descriptors[position]
    if descriptors[position] != 4:
        return 0
    return descriptors[_after_length(descriptors, position + 1)]


def _after_length(data: bytes, position: int) -> int:
    while data[position] & 0x80:
        position += 1
    return position + 1


def _sample_tables(track: Track, table: dict[bytes, bytes], scale: int, budget: _Budget) -> None:
    """How many samples there are, how long they last and where the last one ends."""
    fixed, count = struct.unpack_from(">II", table.get(b"stsz", bytes(12)), 4)
    track.samples = budget.take_entries(count)
    if count == 0:
        return
    sizes = [fixed] * count if fixed else struct.unpack_from(f">{count}I", table[b"stsz"], 12)
    flat = _numbers(table.get(b"stts", b""), "II", budget)
    track.seconds = sum(many * each for many, each in zip(flat[::2], flat[1::2], strict=True)) / scale
    if not track.seconds < _LONGEST_SECONDS:
        raise BoxError("its index contradicts itself")
    track.end = _end_of_samples(sizes, table, budget)


def _end_of_samples(sizes: "list[int] | tuple[int, ...]", table: dict[bytes, bytes], budget: _Budget) -> int:
    wide = b"co64" in table
    chunks = _numbers(table.get(b"co64" if wide else b"stco", b""), "Q" if wide else "I", budget)
    flat = _numbers(table[b"stsc"], "III", budget)
    firsts, held_each = flat[::3], flat[1::3]
    if not firsts or len(firsts) > len(chunks):
        raise BoxError("its index contradicts itself")
    end, sample, run = 0, 0, 0
    for number, offset in enumerate(chunks, start=1):
        if run + 1 < len(firsts) and firsts[run + 1] <= number:
            run += 1
        held = sizes[sample : sample + held_each[run]]
        end = max(end, offset + sum(held))
        sample += len(held)
    if sample != len(sizes):
        raise BoxError("its index contradicts itself")
    return end


def _numbers(box: bytes, entry: str, budget: _Budget) -> tuple[int, ...]:
    """The entries of a table one after the other, each of some numbers of one kind as `struct` writes them."""
    count = budget.take_entries(struct.unpack_from(">I", box, 4)[0]) if box else 0
    return struct.unpack_from(f">{len(entry) * count}{entry[0]}", box, 8) if count else ()
