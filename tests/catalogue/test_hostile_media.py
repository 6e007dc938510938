"""Local films and pictures with false headers: refused with the file and the field, in bounded time, and never parsed in this process."""

import struct
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import jpeg, mp4, png, put, webp

from resources.catalogue import Catalogue, DataFolder
from resources.catalogue.file_types import sniff
from resources.declared.problems import ProblemsError
from resources.series import load_series
from resources.video.inspector import own_inspector

MODELS = Path(__file__).parents[2] / "data" / "models"
CHARACTERS = "openai/sora-2/characters"
HEAD = b"\0\0\0\x18ftypisom" + bytes(12)


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), name) + body


def table(name: bytes, entry: str, *rows: tuple[int, ...], count: int | None = None) -> bytes:
    packed = b"".join(struct.pack(f">{entry}", *row) for row in rows)
    return box(name, bytes(4), struct.pack(">I", len(rows) if count is None else count), packed)


def track(*tables: bytes, samples: int = 3, scale: int = 8) -> bytes:
    stsd = box(b"stsd", bytes(7), b"\1", box(b"vp09", bytes(24), struct.pack(">HH", 320, 180), bytes(50)))
    stsz = box(b"stsz", bytes(4), struct.pack(">II", 100, samples))
    stbl = box(b"stbl", stsd, stsz, *tables)
    mdia = box(b"mdia", box(b"mdhd", bytes(12), struct.pack(">I", scale), bytes(8)), box(b"hdlr", bytes(8), b"vide", bytes(12)), box(b"minf", stbl))  # fmt: skip
    return box(b"trak", mdia)


def usual(samples: int = 3) -> tuple[bytes, ...]:
    return (
        table(b"stts", "II", (samples, 8)),
        table(b"stco", "I", (1000,)),
        table(b"stsc", "III", (1, samples, 1)),
    )


def film(*tracks: bytes) -> bytes:
    return HEAD + box(b"moov", *tracks) + box(b"mdat", bytes(1000))


STTS, STCO, STSC = usual()
HOSTILE = {
    "no stsc": film(track(STTS, STCO)),
    "no stco": film(track(STTS, STSC)),
    "no rows in stsc": film(track(STTS, STCO, table(b"stsc", "III"))),
    "2,000 tracks": film(*[track(*usual())] * 2000),
    "2,000 tracks of a million frames": film(*[track(*usual(1_000_000), samples=1_000_000)] * 2000),
    "32 tracks of a million frames": film(*[track(*usual(1_000_000), samples=1_000_000)] * 32),
    "four billion frames": film(track(*usual(), samples=2**32 - 1)),
    "four billion chunks": film(track(STTS, table(b"stco", "I", (1,), count=2**32 - 1), STSC)),
    "four billion runs": film(track(table(b"stts", "II", (3, 8), count=2**32 - 1), STCO, STSC)),
    "a timescale of zero": film(track(*usual(), scale=0)),
    "millions of years": film(track(table(b"stts", "II", *[(2**32 - 1, 2**32 - 1)] * 1000), STCO, STSC)),
    "no stsz": film(track(*usual()).replace(b"stsz", b"free")),
    "a head that is too short": film(track(*usual()).replace(b"mdhd", b"free")),
    "boxes without end": HEAD + box(b"moov", box(b"trak", box(b"free") * 200_000)),
    "a length of nothing": HEAD + struct.pack(">I4s", 0, b"moov") + struct.pack(">I4s", 4, b"trak"),
    "an index of 64 MB": HEAD + struct.pack(">I4s", 1 << 27, b"moov") + bytes(100),
    "no index": HEAD + box(b"mdat", bytes(100)),
    "sound alone": film(track(*usual()).replace(b"vide", b"soun")),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    root = tmp_path_factory.mktemp("house") / "data"
    (root / "series").mkdir(parents=True)
    return DataFolder(root)


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_film_with_a_false_header_is_refused_by_name_and_in_time(folder: DataFolder, kind: str) -> None:
    put(folder.root, "characters/joe.mp4", HOSTILE[kind])
    with pytest.raises(ProblemsError) as refused:
        Catalogue.load(MODELS).get(CHARACTERS).resolve("", {"video": "characters/joe.mp4", "name": "Joe"}, files=folder)  # fmt: skip
    (problem,) = refused.value.problems
    assert problem.field == "parameters.video"
    assert "'characters/joe.mp4'" in str(problem)
    assert "cannot be read as a video" in str(problem)
    assert "takes longer" not in str(problem), "a bound of its own ends it, not the timeout"


def test_the_file_and_the_field_are_named_by_check(folder: DataFolder) -> None:
    put(folder.root, "characters/joe.mp4", HOSTILE["no stsc"])
    put(folder.root, "characters/joe.yaml", b"name: joe\nvideo: characters/joe.mp4\nallow_retired: true\n")
    put(folder.root, "series/a.yaml", b"name: a\nendpoint: openai/sora-2/text-to-video\nallow_retired: true\nprompt: x\ncast: [joe]\nclips: [{name: b}]\n")  # fmt: skip
    said = "\n".join(map(str, load_series(folder.root, Catalogue.load(MODELS)).problems))
    assert "joe.yaml:2: video: found 'characters/joe.mp4'" in said
    assert "its index contradicts itself" in said


def test_a_valid_film_is_measured_and_afterwards_read_completely(folder: DataFolder) -> None:
    data = mp4(seconds=3)
    put(folder.root, "characters/ann.mp4", data)
    found = folder.find("characters/ann.mp4", media="video")
    assert found.seconds == pytest.approx(3)
    # the guarded process shares the open file, and must not move our position in it
    assert DataFolder(folder.root).read(found.reference) == (found, data)
    put(folder.root, "characters/made.mp4", film(track(*usual())))
    assert folder.find("characters/made.mp4", media="video").seconds == 3


def test_pictures_start_no_process(folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "resources.catalogue.files.own_inspector", lambda: pytest.fail("a process was started")
    )
    put(folder.root, "images/hill.png", png(64, 48))
    assert folder.find("images/hill.png", media="image").is_a.width == 64
    assert own_inspector() is own_inspector()


PICTURES = [png(64, 48), jpeg(64, 48), webp(64, 48), HEAD, b"RIFF\0\0\0\0WAVEfmt ", b"ID3\x03" + bytes(20)]


@pytest.mark.slow
@settings(max_examples=examples(300))
@given(
    data=st.sampled_from(PICTURES),
    cut=st.integers(0, 2000),
    changes=st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), max_size=12),
    tail=st.binary(max_size=40),
)
def test_a_cut_or_false_picture_is_measured_within_bounds_or_not_at_all(
    data: bytes, cut: int, changes: list[tuple[int, int]], tail: bytes
) -> None:
    head = bytearray(data[:cut] + tail)
    for at, value in changes:
        if at < len(head):
            head[at] = value
    found = sniff(bytes(head))
    if found is not None and found.media == "image":
        assert found.width is not None
        assert found.height is not None
        assert 0 < found.width <= 16_384
        assert 0 < found.height <= 16_384
    else:
        assert found is None or (found.width, found.height) == (None, None)
