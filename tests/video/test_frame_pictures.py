"""The first frame of a video: complete, rotated and coloured as a player shows it."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from makers import make_mp4, mux

from resources.video.facts import UnreadableVideoError
from resources.video.inspector import VideoInspector


def pixels(data: bytes) -> tuple[int, int, Callable[[int, int], tuple[int, ...]]]:
    """Width, height, and the colour at a place."""
    import av

    with av.open(io.BytesIO(data), "r") as container:
        frame: Any = next(container.decode(video=0))
    plane, raw = frame.planes[0], bytes(frame.planes[0])
    return (
        frame.width,
        frame.height,
        lambda x, y: tuple(raw[y * plane.line_size + 3 * x : y * plane.line_size + 3 * x + 3]),
    )


def test_the_first_frame_is_not_the_poster(inspector: VideoInspector, tmp_path: Path) -> None:
    """The poster skips dark frames; the first frame of a finish must not."""
    path = make_mp4(tmp_path / "dark.mp4", black_seconds=0.5, audio=None)
    width, height, at = pixels(inspector.first_frame_of(path))
    assert (width, height) == (320, 180)
    assert max(at(160, 90)) <= 4
    assert inspector.first_frame_of(path) == inspector.first_frame_of(path), "the digest is part of its name"


@pytest.mark.parametrize(("turn", "darkest"), [(0, "top"), (-90, "right"), (180, "bottom"), (90, "left")])
def test_the_first_frame_is_rotated_as_a_player_does(
    inspector: VideoInspector, tmp_path: Path, turn: int, darkest: str
) -> None:
    """The picture grows brighter downwards."""
    made = make_mp4(tmp_path / "made.mp4", audio=None, bars=1)
    path = mux(tmp_path / "turned.mp4", (made, "video", 0.0, None), rotation=turn) if turn else made
    width, height, at = pixels(inspector.first_frame_of(path))
    assert (width, height) == ((320, 180) if turn in {0, 180} else (180, 320))
    places = {
        "top": at(width // 2, 2),
        "bottom": at(width // 2, height - 3),
        "left": at(2, height // 2),
        "right": at(width - 3, height // 2),
    }
    assert min(places, key=lambda one: places[one]) == darkest


@pytest.mark.parametrize(
    ("height", "named", "red"),
    [(720, None, 173), (480, None, 165), (480, "bt709", 173), (720, "smpte170m", 165)],
)
def test_the_first_frame_has_the_colours_of_a_player(
    inspector: VideoInspector, tmp_path: Path, height: int, named: str | None, red: int
) -> None:
    """Y 100, Cb 110, Cr 170: the file's matrix changes the red by a visible step."""
    import av

    path = tmp_path / "red.mp4"
    with av.open(str(path), "w", format="mp4") as out:
        stream: Any = out.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 640, height, "yuv420p"
        stream.options = {"preset": "ultrafast", "qp": "0", "threads": "1"}
        if named:
            stream.options |= {"x264-params": f"colormatrix={named}"}
        for number in range(4):
            frame = av.VideoFrame(640, height, "yuv420p")
            for plane, value in zip(frame.planes, (100, 110, 170), strict=True):
                plane.update(bytes([value]) * plane.buffer_size)
            frame.pts = number
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    _, _, at = pixels(inspector.first_frame_of(path))
    assert abs(at(320, 200)[0] - red) <= 2


def test_a_file_that_is_no_video_has_no_first_frame(inspector: VideoInspector, tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_bytes(b"no video at all" * 100)
    with pytest.raises(UnreadableVideoError):
        inspector.first_frame_of(path)
