"""Findings in picture and sound: real clips through the real worker, and the hashes by which copies are found."""

import itertools
import time
from array import array
from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import make_mp4

from resources.video import worker
from resources.video.facts import Looked
from resources.video.inspector import VideoInspector
from resources.video.perceptual_hash import colour_distance, distance, same
from resources.video.stretches import HIGH, SILENT_LEVEL, STILL_LEVEL, WIDE, Longest, Sound, is_loud, is_still


def looked(inspector: VideoInspector, path: Path) -> Looked:
    found = inspector.inspect(path).looked
    assert found is not None
    return found


def test_a_good_clip_is_inspected_to_its_end_without_findings(inspector: VideoInspector, clip: Path) -> None:
    found = looked(inspector, clip)
    assert found.seconds == pytest.approx(2.0, abs=0.05)
    assert (found.black, found.frozen, found.silent, found.broken) == (None, None, None, None)
    assert found.look is not None


@pytest.mark.parametrize("gop", [6, 1000], ids=["many key frames", "one key frame"])
def test_a_black_stretch_is_found_with_its_place(inspector: VideoInspector, tmp_path: Path, gop: int) -> None:
    found = looked(inspector, make_mp4(tmp_path / "b.mp4", black_seconds=1.25, gop=gop))
    assert found.black == pytest.approx((0.0, 1.25), abs=0.1)
    assert found.frozen is None, "a black stretch is not called frozen too"


@pytest.mark.parametrize("gop", [6, 1000], ids=["many key frames", "one key frame"])
def test_a_frozen_stretch_is_found_with_its_place(
    inspector: VideoInspector, tmp_path: Path, gop: int
) -> None:
    path = make_mp4(tmp_path / "f.mp4", paint=lambda number, height: 60 + min(number, 12) * 5, gop=gop)
    assert looked(inspector, path).frozen == pytest.approx((0.5, 2.0), abs=0.1)


def test_silence_is_found_and_the_quietest_tone_is_not_silence(
    inspector: VideoInspector, tmp_path: Path
) -> None:
    assert looked(inspector, make_mp4(tmp_path / "s.mp4", silent=True)).silent == pytest.approx(
        (0.0, 2.0), abs=0.1
    )
    assert looked(inspector, make_mp4(tmp_path / "m.mp4", audio=None)).silent is None


def test_a_picture_that_differs_in_one_block_is_not_still() -> None:
    still = bytes(100 for _ in range(WIDE * HIGH))
    for at in (0, 1, 31, WIDE, WIDE * HIGH - 1):
        for level, same_picture in ((100 + STILL_LEVEL, True), (101 + STILL_LEVEL, False)):
            moved = still[:at] + bytes([level]) + still[at + 1 :]
            assert is_still(still, moved) == is_still(moved, still) == same_picture


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("at", [0, 1, 31, 1023])
def test_one_loud_sample_is_no_silence(at: int, sign: int) -> None:
    """As a decoder gives it, and rounded to 16 bits."""
    samples = array("f", bytes(4 * 1024))
    for level in (SILENT_LEVEL, SILENT_LEVEL + 1, 0x7000):
        samples[at] = sign * level / 0x8000
        frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
        frame.planes[0].update(samples.tobytes())
        frame.sample_rate = 48_000
        sound = Sound()
        (piece,) = av.AudioResampler(format="s16p").resample(frame)
        sound.hear(piece, 0)
        sound.end(5)
        assert (sound.plain() == [0.0, 5.0]) == (level == SILENT_LEVEL)
        assert not is_loud(frame) or level > SILENT_LEVEL


def test_the_strip_shows_six_frames_side_by_side(inspector: VideoInspector, tmp_path: Path) -> None:
    strip = inspector.inspect(make_mp4(tmp_path / "c.mp4", width=480, height=270)).strip_webp
    assert strip is not None
    assert (strip[:4], strip[8:12]) == (b"RIFF", b"WEBP")
    width = int.from_bytes(strip[26:28], "little") & 0x3FFF
    assert width == 6 * 240
    assert len(strip) < 60_000


def test_a_clip_of_one_or_two_frames_is_inspected_too(inspector: VideoInspector, tmp_path: Path) -> None:
    found = inspector.inspect(make_mp4(tmp_path / "one.mp4", seconds=0.05, audio=None))
    assert found.poster_webp is not None
    assert found.strip_webp is not None


def test_an_inspection_ends_when_its_time_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long clip is not inspected to its end, and the findings so far are returned."""
    path = make_mp4(tmp_path / "long.mp4", seconds=20, audio=None, gop=1000)
    second = itertools.count()
    # each packet takes a second of CPU
    monkeypatch.setattr(time, "process_time", lambda: float(next(second)))
    with path.open("rb") as file:
        found = worker.inspect(file, 320, 0.5, 100)["looked"]
    assert 0 < found["seconds"] < 19


def test_a_file_with_damaged_frames_is_broken_or_inspected(inspector: VideoInspector, tmp_path: Path) -> None:
    path = make_mp4(
        tmp_path / "d.mp4", codec="libvpx-vp9", options={"deadline": "realtime", "cpu-used": "8"}, audio=None
    )
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    middle = start + (len(data) - start) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    found = looked(inspector, path)
    assert found.broken is not None
    assert "decoding it stops after" in found.broken


# Perceptual hashes


@pytest.mark.parametrize(
    "how",
    [
        {"width": 640, "height": 360},
        {"options": {"crf": "38"}},
        {"codec": "libx265", "options": {"x265-params": "log-level=none:pools=1"}},
        {"paint": lambda number, height: 66 + number * 3 % 150},
    ],
    ids=["larger", "coarser", "another codec", "brighter"],
)
def test_a_copy_looks_the_same(
    inspector: VideoInspector, clip: Path, tmp_path: Path, how: dict[str, Any]
) -> None:
    mine, copy = looked(inspector, clip).look, looked(inspector, make_mp4(tmp_path / "c.mp4", **how)).look
    assert mine is not None
    assert copy is not None
    assert same(mine, copy, bits=6)


def test_another_picture_looks_different(inspector: VideoInspector, clip: Path, tmp_path: Path) -> None:
    mine, other = looked(inspector, clip).look, looked(inspector, make_mp4(tmp_path / "c.mp4", bars=7)).look
    assert mine is not None
    assert other is not None
    assert distance(mine, other) > 8
    assert not same(mine, other, bits=6)


def test_a_picture_without_shapes_has_no_look(inspector: VideoInspector, tmp_path: Path) -> None:
    assert looked(inspector, make_mp4(tmp_path / "b.mp4", black_seconds=9)).look is None


LOOKS = st.binary(min_size=84, max_size=84).map(bytes.hex)


@given(LOOKS, LOOKS)
def test_distances_are_symmetric_and_bounded(one: str, other: str) -> None:
    assert distance(one, other) == distance(other, one)
    assert 0 <= distance(one, other) <= 64
    assert 0 <= colour_distance(one, other) <= 255
    assert distance(one, one) == colour_distance(one, one) == 0
    assert same(one, one, bits=0)


@given(st.lists(st.booleans(), max_size=60))
def test_the_longest_stretch_is_the_longest_run(holds: list[bool]) -> None:
    seen = Longest()
    for number, one in enumerate(holds):
        seen.see(float(number), float(number + 1), holds=one)
    runs = "".join("1" if one else "0" for one in holds).split("0")
    longest = max(map(len, runs))
    found = seen.plain()
    assert (0 if found is None else found[1] - found[0]) == longest
