"""If key frames are close, the inspection skips frames; the result must be the same as with all frames."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from makers import make_mp4, mux

from resources.checks import Checks
from resources.video.boxes import walk
from resources.video.facts import Inspection
from resources.video.inspector import VideoInspector
from resources.video.key_frames import are_close, parts_of
from resources.video.timeline import Timeline, read
from resources.video.tracks import played

SHORTEST = Checks().shortest_stretch_seconds


def still_between(start: int, end: int) -> Callable[[int, int], int]:
    """Brightness that moves by 7 levels a frame, except between two frames."""
    return lambda number, _height: 60 + min(number, max(start, number - (end - start))) * 7 % 130


def both(inspector: VideoInspector, path: Path) -> tuple[Inspection, Inspection]:
    """The results with all frames, and with the necessary ones."""
    return inspector.inspect(path), inspector.inspect(path, shortest_seconds=SHORTEST)


def line_of(path: Path) -> Timeline:
    with path.open("rb") as file, av.open(str(path)) as container:
        picture, sound = played(container)
        return read(container, picture, sound, size_bytes=path.stat().st_size, movie=walk(file))


def whole_parts(path: Path) -> list[bool] | None:
    line = line_of(path)
    assert are_close(line, SHORTEST)
    with av.open(str(path)) as container:
        parts = parts_of(container, played(container)[0], line)
    return None if parts is None else list(parts.whole)


CODECS: dict[str, dict[str, Any]] = {
    "H.264": {"options": {"bf": "0"}},
    "B frames": {"options": {"bf": "3", "x264-params": "b-pyramid=normal:scenecut=0"}},
    "open GOP": {"options": {"bf": "3", "x264-params": "open-gop=1:scenecut=0"}},
    "HEVC": {
        "codec": "libx265",
        "options": {"x265-params": "log-level=none:pools=1:keyint=24:scenecut=0:open-gop=1"},
    },
    "AV1": {"codec": "libsvtav1", "options": {"preset": "12", "crf": "40"}},
    "VP9": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8", "keyint_min": "24"}},
}


@pytest.mark.parametrize("how", CODECS)
def test_the_result_is_the_same_as_with_all_frames(
    inspector: VideoInspector, tmp_path: Path, how: str
) -> None:
    """A clip that moves, stands still from 2.1 s to 4.6 s, and moves on."""
    path = make_mp4(tmp_path / "c.mp4", seconds=7, paint=still_between(50, 110), audio=None, **CODECS[how])
    every, needed = both(inspector, path)
    assert every.looked is not None
    assert needed.looked is not None
    # AV1 changes the picture before it moves
    assert needed.looked.frozen == pytest.approx((50 / 24, 111 / 24), abs=0.4 if how == "AV1" else 0.06)
    assert needed.looked == every.looked
    assert (needed.poster_webp, needed.strip_webp) == (every.poster_webp, every.strip_webp)
    assert needed.video == every.video


def test_black_is_found_to_the_frame(inspector: VideoInspector, tmp_path: Path) -> None:
    path = make_mp4(tmp_path / "b.mp4", seconds=6, black_seconds=2.25, paint=still_between(0, 0))
    every, needed = both(inspector, path)
    assert needed.looked is not None
    assert needed.looked.black == pytest.approx((0.0, 2.25), abs=0.03)
    assert needed.looked == every.looked
    assert needed.poster_webp == every.poster_webp, "the first frame that is not dark, wherever it is"


@pytest.mark.slow
def test_only_parts_that_may_stand_still_are_decoded_completely(tmp_path: Path) -> None:
    moving = make_mp4(tmp_path / "m.mp4", seconds=6, paint=still_between(0, 0))
    assert whole_parts(moving) == [False] * 6
    # from 2.1 s to 4.6 s: the key frames at 3 and 4 s look alike; the stretch begins and ends in the neighbouring parts
    still = make_mp4(tmp_path / "s.mp4", seconds=7, paint=still_between(50, 110))
    assert whole_parts(still) == [False, False, True, True, True, False, False]
    black = make_mp4(tmp_path / "b.mp4", seconds=6, black_seconds=1.5, paint=still_between(0, 0))
    assert whole_parts(black) == [True, True, True, False, False, False]


def test_a_drifting_picture_is_not_taken_for_a_moving_one(inspector: VideoInspector, tmp_path: Path) -> None:
    """Its key frames differ by more than still ones may, and each frame is as near to its part's first frame as still frames are."""
    path = make_mp4(
        tmp_path / "d.mp4",
        seconds=6,
        paint=lambda number, _: 100 + (number >= 12) * (-4 if number // 24 % 2 else 4),
    )
    every, needed = both(inspector, path)
    assert every.looked is not None
    assert every.looked.frozen == pytest.approx((0, 6), abs=0.05)
    assert needed.looked == every.looked


@pytest.mark.parametrize(
    ("seconds", "gop", "shortest"),
    [(6, 48, SHORTEST), (6, 24, 0.0), (6, 24, 1.5), (2, 24, SHORTEST)],
    ids=["key frames two seconds apart", "every stretch counts", "a shorter one counts", "a short clip"],
)
def test_no_frame_is_skipped_where_a_stretch_could_be_missed(
    tmp_path: Path, seconds: int, gop: int, shortest: float
) -> None:
    line = line_of(make_mp4(tmp_path / "c.mp4", seconds=seconds, gop=gop))
    assert not are_close(line, shortest)
    assert line.keys == pytest.approx([*range(0, seconds, gop // 24)])


def test_no_frame_is_skipped_if_the_picture_ends_before_the_sound(tmp_path: Path) -> None:
    """The last frame stays for two seconds, and no key frame shows it."""
    made = make_mp4(tmp_path / "c.mp4", seconds=6)
    path = mux(tmp_path / "e.mp4", (made, "video", 0, lambda at: at < 4), (made, "audio", 0, None))
    assert not are_close(line_of(path), SHORTEST)


def test_the_shortest_stretch_is_that_of_the_enabled_checks() -> None:
    assert Checks().shortest_stretch_seconds == 2.0
    assert Checks(black="off").shortest_stretch_seconds == 3.0
    assert Checks(frozen_seconds=0.5, frozen="warn").shortest_stretch_seconds == 0.5
    assert Checks(frozen_seconds=0.5, frozen="off").shortest_stretch_seconds == 2.0
