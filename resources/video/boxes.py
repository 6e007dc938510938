"""The boxes of an MP4, read without decoding: whether all of them are complete, and in which order they are.

Only facts that the demuxer does not report are read here. Times, codecs and display come from the demuxer
(`resources.video.timeline`). Amounts in the index are bounded here before the demuxer reads it. Names and layouts are those of
ISO/IEC 14496-12.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

_MAX_INDEX = 64 << 20
_MAX_BOXES = 10_000
_C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")
XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
"""The type of a box with XMP (XMP specification, part 3)."""
_MAX_TRACKS = 32
_MAX_SAMPLES = 2_000_000
"""Most samples of all tracks: an hour of film with sound has 500,000. The demuxer would spend minutes on a small file that
names more."""
_MAX_EDITS = 1_000
"""Most edits of one track; each may play all samples of the track."""
_ENTRY_BYTES = {b"stts": 8, b"ctts": 8, b"stsc": 12, b"stco": 4, b"co64": 8, b"stss": 4}
LONGEST_SECONDS = 7 * 86_400
_NEEDED = {b"moov", b"moof", b"mdat"}
"""Boxes that must be complete."""
_NOTHING = memoryview(b"")
_PADDING = b"\0 \t\r\n"


class BoxError(Exception):
    """The file is not an MP4, or its index is missing or larger than any clip's."""


@dataclass
class Movie:
    """The facts in the boxes of a file."""

    truncated: bool = False
    """A box that must be complete ends after the end of the file."""
    trailing_bytes: int = 0
    """Bytes after the last complete box, e.g. a newline or padding."""
    faststart: bool = False
    """The index is before the data."""
    c2pa: bool = False
    """There is a C2PA box."""
    xmp: bool = False
    """There is a box with XMP."""
    open_ended: bool = False
    """The last box names no length and ends with the file, so that nothing can follow it."""
    fragmented: bool = False
    """The samples are listed in fragments and not in the index."""
    edits: dict[int, "Edits"] = field(default_factory=dict)
    """By the id of a track: the part of its edit list that the demuxer ignores."""


@dataclass(frozen=True)
class Edits:
    """The part of an edit list that FFmpeg's demuxer ignores: pauses, and speeds other than one."""

    empty: tuple[tuple[float, float], ...] = ()
    """Beginnings and ends, in seconds, of pauses after the first stretch that plays."""
    still: tuple[tuple[float, float], ...] = ()
    """Stretches with a frozen frame."""
    at_other_speeds: bool = False
    """A part plays at another speed."""


@dataclass(frozen=True)
class _Box:
    name: bytes
    body: int
    end: int
    open_ended: bool

    @property
    def is_one(self) -> bool:
        """Whether this can be a box: a type of four letters, and at least as long as its own header."""
        return self.end >= self.body and all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in self.name)


def walk(file: BinaryIO) -> Movie:
    """Read the headers of the boxes of an open file, from its beginning.

    Raises:
        BoxError: It is not an MP4, or its index is missing or larger than any clip's.
    """
    size = os.fstat(file.fileno()).st_size
    movie, position = Movie(), 0
    index_at: int | None = None
    data_at: int | None = None
    for number in range(_MAX_BOXES + 1):
        if position >= size:
            break
        if number == _MAX_BOXES:
            raise BoxError("it has too many boxes")
        box = _box(file, position, size)
        if number == 0 and (box is None or box.name != b"ftyp"):
            raise BoxError("it does not begin like an MP4")
        whole = box is not None and box.is_one and box.end <= size
        needed = box is not None and box.name in _NEEDED
        if index_at is not None and data_at is not None and not whole and not needed:
            rest = _read(file, position, 16)
            # these last bytes may be the beginning of a fragment, unless they are padding
            movie.truncated |= movie.fragmented and box is None and bool(rest.strip(_PADDING))
            movie.trailing_bytes = size - position
            break
        if box is None:
            movie.truncated = True
            break
        if box.end < box.body:
            raise BoxError("its boxes contradict each other")
        movie.truncated |= box.end > size
        if box.name == b"moov" and index_at is None:
            index_at = position
            movie.edits = _checked_index(file, box, size)
        elif box.name == b"mdat" and data_at is None:
            data_at = position
        elif box.name == b"uuid":
            kind = _read(file, box.body, 16)
            movie.c2pa |= kind == _C2PA
            movie.xmp |= kind == XMP
        movie.open_ended |= box.open_ended
        movie.fragmented |= box.name == b"moof"
        position = box.end
    if index_at is None:
        raise BoxError("it has no index: its end is missing" if data_at is not None else "it has no index")
    movie.faststart = data_at is None or index_at < data_at
    return movie


def _checked_index(file: BinaryIO, box: _Box, size: int) -> dict[int, Edits]:
    """Refuse an index that would cost the demuxer too much; returns the edits that the demuxer ignores."""
    if box.end - box.body > _MAX_INDEX:
        raise BoxError("its index is too large")
    if box.end > size:
        raise BoxError("its index is cut off")
    inside = list(_inside(memoryview(_read(file, box.body, box.end - box.body))))
    tracks = [dict(_inside(body)) for name, body in inside if name == b"trak"]
    if len(tracks) > _MAX_TRACKS:
        raise BoxError(f"it has more than {_MAX_TRACKS} tracks")
    if sum(_samples(track) for track in tracks) > _MAX_SAMPLES:
        raise BoxError("it has too many frames")
    scale = _time_scale(dict(inside).get(b"mvhd", _NOTHING))
    boxes = {}
    for track in tracks:
        header = track.get(b"tkhd", _NOTHING)
        number = int.from_bytes(header[20:24] if bytes(header[:1]) == b"\1" else header[12:16], "big")
        boxes[number] = _edits(dict(_inside(track.get(b"edts", _NOTHING))).get(b"elst", _NOTHING), scale)
    return {number: edits for number, edits in boxes.items() if edits != Edits()}


def _edits(table: memoryview, scale: int) -> Edits:
    if bytes(table[:1]) == b"\1":
        size, layout = 20, ">QqhH"
    else:
        size, layout = 12, ">IihH"
    count = _count(table, size)
    if count > _MAX_EDITS:
        raise BoxError("its edit list is too long")
    empty, still, at, began, other = [], [], 0, False, False
    for length, media, whole, fraction in struct.iter_unpack(layout, table[8 : 8 + count * size]):
        stretch = at / (scale or 1), (at + length) / (scale or 1)
        at += length
        if media < 0:
            empty += [stretch] if began else []
            continue
        began = True
        other |= (whole, fraction) != (1, 0)
        still += [stretch] if (whole, fraction) == (0, 0) else []
    return Edits(tuple(empty), tuple(still), other)


def _time_scale(header: memoryview) -> int:
    """Units a second, of a movie's or a track's header."""
    return int.from_bytes(header[20:24] if bytes(header[:1]) == b"\1" else header[12:16], "big")


def _inside(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Name and body of every box inside another one."""
    position = 0
    for _ in range(_MAX_BOXES):
        if position + 8 > len(data):
            return
        length, name = struct.unpack_from(">I4s", data, position)
        length, head = length or len(data) - position, 8
        if length == 1:
            length, head = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        if length < head or position + length > len(data):
            raise BoxError("its index contradicts itself")
        yield name, data[position + head : position + length]
        position += length
    raise BoxError("it has too many boxes")


def _samples(track: dict[bytes, memoryview]) -> int:
    """The number of samples of a track; 0 if they are in fragments."""
    media = dict(_inside(track.get(b"mdia", _NOTHING)))
    tables = dict(_inside(dict(_inside(media.get(b"minf", _NOTHING))).get(b"stbl", _NOTHING)))
    samples = int.from_bytes(tables.get(b"stsz", tables.get(b"stz2", _NOTHING))[8:12], "big")
    for name, size in _ENTRY_BYTES.items():
        _count(tables.get(name, _NOTHING), size)
    if not samples:
        return 0
    if not (tables.keys() >= {b"stts", b"stsc"} and tables.keys() & {b"stco", b"co64"}):
        raise BoxError("its index contradicts itself")
    durations = tables[b"stts"][8 : 8 + 8 * _count(tables[b"stts"], 8)]
    units = sum(many * each for many, each in struct.iter_unpack(">II", durations))
    scale = _time_scale(media.get(b"mdhd", _NOTHING))
    if not scale or units / scale > LONGEST_SECONDS:
        raise BoxError("its index contradicts itself")
    return samples


def _count(table: memoryview, entry_bytes: int) -> int:
    """How many entries a table has."""
    count = int.from_bytes(table[4:8], "big")
    if count * entry_bytes > max(0, len(table) - 8):
        raise BoxError("its index contradicts itself")
    return count


def _box(file: BinaryIO, position: int, size: int) -> _Box | None:
    """The box that begins here; None if the file ends inside its header."""
    head = _read(file, position, 16)
    if len(head) < 8:
        return None
    length, name, body = int.from_bytes(head[:4], "big"), head[4:8], position + 8
    if length == 1 and len(head) == 16:
        length, body = int.from_bytes(head[8:16], "big"), position + 16
    return _Box(name, body, size if length == 0 else position + length, length == 0)


def _read(file: BinaryIO, position: int, count: int) -> bytes:
    # without a seek: the caller may share the open file and go on reading
    return os.pread(file.fileno(), count, position)
