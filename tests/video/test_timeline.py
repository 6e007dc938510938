"""What a viewer sees and hears in files whose tracks do not simply begin at zero and end together, through the real worker."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from makers import Edit, make_mp4, mux, with_edits

from resources.orders import ClipRequest, Expected
from resources.video.facts import Inspection, UnreadableVideoError
from resources.video.inspector import VideoInspector
from resources.video.judge import judge

FRAGMENTS = "frag_keyframe+empty_moov+default_base_moof"
EDITED = "+faststart"


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds with sound, as ordered below."""
    return make_mp4(tmp_path_factory.mktemp("five") / "five.mp4", seconds=5)


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine seconds with one key frame, the first."""
    return make_mp4(tmp_path_factory.mktemp("nine") / "nine.mp4", seconds=9, gop=1000)


def minded(found: Inspection, **expected: Any) -> dict[str, str]:
    request = ClipRequest(
        clip="a-clip",
        series="a-series",
        provider="wavespeed",
        endpoint="model",
        body={},
        price_micros=0,
        expected=Expected(
            **{"width": 320, "height": 180, "duration": 5, "audio": True, "fps": 24, **expected}
        ),
    )
    return {c.name: c.outcome for c in judge(found, request) if c.outcome in {"warned", "failed"}}


def between(start: float, end: float) -> Callable[[float], bool]:
    return lambda at: start <= at < end


@pytest.mark.parametrize("movflags", [EDITED, FRAGMENTS])
@pytest.mark.parametrize(
    ("shift", "keep", "silent"),
    [
        (0, between(-1, 0.5), (0.5, 5.0)),
        (4, between(-1, 1), (0.0, 4.0)),
        (0, lambda at: at < 0.5 or at > 4.5, (0.5, 4.5)),
        (0, between(0, 0.02), (0.0, 5.0)),
    ],
    ids=["ends early", "begins late", "has a hole", "is one frame"],
)
def test_missing_sound_is_silence(
    inspector: VideoInspector,
    tmp_path: Path,
    five: Path,
    movflags: str,
    shift: float,
    keep: Callable[[float], bool],
    silent: tuple[float, float],
) -> None:
    path = mux(tmp_path / "s.mp4", (five, "video", 0, None), (five, "audio", shift, keep), movflags=movflags)
    found = inspector.inspect(path)
    assert found.looked is not None
    assert found.looked.silent == pytest.approx(silent, abs=0.15)
    assert minded(found) == {"coverage": "failed", "silence": "failed"}


def test_many_short_gaps_count_as_one_long_gap(inspector: VideoInspector, tmp_path: Path, five: Path) -> None:
    path = mux(
        tmp_path / "c.mp4", (five, "video", 0, None), (five, "audio", 0, lambda at: int(at * 2) % 2 == 0)
    )
    found = inspector.inspect(path)
    assert found.video.sound is not None
    assert found.video.sound.missing_seconds == pytest.approx(2, abs=0.2)
    assert minded(found) == {"coverage": "failed"}


def test_a_short_gap_in_the_sound_does_not_count(
    inspector: VideoInspector, tmp_path: Path, five: Path
) -> None:
    path = mux(
        tmp_path / "p.mp4",
        (five, "video", 0, None),
        (five, "audio", 0, lambda at: at < 2 or at > 2.7),
    )
    assert minded(inspector.inspect(path)) == {}


def test_a_fragmented_file_without_a_sample_of_sound_has_no_sound(
    inspector: VideoInspector, tmp_path: Path, five: Path
) -> None:
    path = mux(
        tmp_path / "n.mp4", (five, "video", 0, None), (five, "audio", 0, between(9, 9)), movflags=FRAGMENTS
    )
    found = inspector.inspect(path)
    assert (found.video.has_audio, found.video.sound) == (False, None)
    assert minded(found) == {"audio": "failed"}


@pytest.mark.parametrize("movflags", [EDITED, FRAGMENTS])
def test_a_file_plays_as_long_as_its_longer_track(
    inspector: VideoInspector, tmp_path: Path, five: Path, nine: Path, movflags: str
) -> None:
    path = mux(tmp_path / "l.mp4", (five, "video", 0, None), (nine, "audio", 0, None), movflags=movflags)
    found = inspector.inspect(path)
    assert found.video.duration == pytest.approx(9, abs=0.1)
    assert found.looked is not None
    assert found.looked.frozen == pytest.approx((5, 9), abs=0.2), "the last frame stays"
    assert minded(found) == {"duration": "failed", "coverage": "failed", "frozen": "failed"}


def test_nothing_is_shown_before_the_picture_begins(
    inspector: VideoInspector, tmp_path: Path, five: Path
) -> None:
    found = inspector.inspect(mux(tmp_path / "e.mp4", (five, "video", 2.5, None), (five, "audio", 0, None)))
    assert found.video.duration == pytest.approx(7.5, abs=0.05)
    assert found.video.picture is not None
    assert (found.video.picture.start, found.video.picture.end) == pytest.approx((2.5, 7.5), abs=0.05)
    assert found.looked is not None
    assert found.looked.black == pytest.approx((0, 2.5), abs=0.05)
    assert minded(found) == {"duration": "failed", "coverage": "failed", "black": "failed"}


def test_a_late_beginning_of_both_tracks_is_noticed(
    inspector: VideoInspector, tmp_path: Path, five: Path
) -> None:
    found = inspector.inspect(mux(tmp_path / "b.mp4", (five, "video", 2, None), (five, "audio", 2, None)))
    assert found.video.duration == pytest.approx(7, abs=0.05)
    assert minded(found) == {"duration": "failed", "coverage": "failed"}


def test_parts_that_an_edit_list_skips_do_not_count(
    inspector: VideoInspector, tmp_path: Path, nine: Path
) -> None:
    """Cut without encoding: the file contains nine seconds from the last key frame on, and plays five of them."""
    found = inspector.inspect(mux(tmp_path / "t.mp4", (nine, "video", -4, None), (nine, "audio", -4, None)))
    assert found.video.duration == pytest.approx(5, abs=0.1)
    assert found.video.fps == 24
    assert minded(found) == {}


def test_fragments_may_begin_at_any_time(inspector: VideoInspector, tmp_path: Path, five: Path) -> None:
    path = mux(tmp_path / "r.mp4", (five, "video", 500, None), (five, "audio", 500, None), movflags=FRAGMENTS)
    found = inspector.inspect(path)
    assert found.video.duration == pytest.approx(5, abs=0.1)
    assert minded(found) == {}


def test_frames_that_are_shown_in_another_order_play_no_longer(
    inspector: VideoInspector, tmp_path: Path
) -> None:
    path = make_mp4(tmp_path / "o.mp4", seconds=5, options={"preset": "medium", "bf": "3"})
    found = inspector.inspect(path)
    assert (found.video.duration, found.video.fps) == (5.0, 24.0)
    assert minded(found) == {}
    data = path.read_bytes()
    assert b"edts" in data
    path.write_bytes(data.replace(b"edts", b"free"))
    assert minded(inspector.inspect(path)) == {}, "some writers leave the edit list out"


WHOLE: list[Edit] = [(5, 0, 1)]


@pytest.mark.parametrize(
    ("picture", "sound", "wrong"),
    [
        ([(2, 0, 1), (3, 6, 1)], [(2, 0, 1), (3, 6, 1)], {}),
        ([(1, 0, 1)] * 5, WHOLE, {}),
        ([(5, 3.5, 1)], [(5, 3.5, 1)], {}),
        ([(2, None, 1), (3, 3.5, 1)], WHOLE, {"coverage": "failed"}),
        ([(1, 0, 1), (3, None, 1), (1, 1, 1)], WHOLE, {"coverage": "failed", "black": "failed"}),
        (WHOLE, [(0.5, 0, 1), (4, None, 1), (0.5, 0.5, 1)], {"coverage": "failed", "silence": "failed"}),
        (WHOLE, [(1, 3.5, 1)], {"coverage": "failed", "silence": "failed"}),
        ([(4.5, 0, 2)], [(4.5, 0, 2)], {"whole": "warned", "duration": "failed"}),
        ([(1, 0, 1), (4, 1, 0)], WHOLE, {"whole": "warned", "frozen": "failed"}),
    ],
    ids=["two edits", "a loop", "a trim", "empty, then a trim", "empty in the middle", "a hole in the sound", "sound of a second", "twice as fast", "one frame stays"],
)  # fmt: skip
def test_an_edit_list_is_applied(
    inspector: VideoInspector,
    tmp_path: Path,
    picture: list[Edit],
    sound: list[Edit],
    wrong: dict[str, str],
) -> None:
    path = make_mp4(tmp_path / "e.mp4", seconds=9, gop=1000, faststart=False)
    assert minded(inspector.inspect(with_edits(path, vide=picture, soun=sound))) == wrong


def test_an_edit_list_without_end_is_refused(inspector: VideoInspector, tmp_path: Path) -> None:
    path = make_mp4(tmp_path / "e.mp4", seconds=1, faststart=False)
    with_edits(path, vide=[(0.01, 0, 1)] * 1001, soun=[(1, 0, 1)])
    with pytest.raises(UnreadableVideoError, match="its edit list is too long"):
        inspector.inspect(path)


# the shown picture


@pytest.mark.parametrize("where", ["in a box", "in the codec's header"])
@pytest.mark.parametrize(
    ("stored", "aspect", "shown"), [((240, 180), "4/3", (320, 180)), ((320, 180), "81/256", (101, 180))]
)
def test_the_pixel_aspect_ratio_counts(
    inspector: VideoInspector,
    tmp_path: Path,
    where: str,
    stored: tuple[int, int],
    aspect: str,
    shown: tuple[int, int],
) -> None:
    width, height = stored
    path = make_mp4(tmp_path / "a.mp4", width=width, height=height, seconds=1, aspect=aspect)
    data = path.read_bytes()
    assert b"pasp" in data
    if where == "in the codec's header":
        path.write_bytes(data.replace(b"pasp", b"free"))
    found = inspector.inspect(path)
    assert (found.video.width, found.video.height) == shown
    assert found.poster_webp is not None
    wide, high = size_of_webp(found.poster_webp)
    assert wide / high == pytest.approx(shown[0] / shown[1], rel=0.05)


def size_of_webp(data: bytes) -> tuple[int, int]:
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


@pytest.mark.parametrize(
    ("rotation", "turned", "lightest"), [(-90, 90, "left"), (180, 180, "top"), (90, 270, "right")]
)
def test_a_rotated_picture_is_judged_and_shown_as_a_player_shows_it(
    inspector: VideoInspector, tmp_path: Path, five: Path, rotation: int, turned: int, lightest: str
) -> None:
    """The picture grows brighter downwards: rotated clockwise by 90 degrees, its bright side is on the left."""
    path = mux(tmp_path / "r.mp4", (five, "video", 0, None), (five, "audio", 0, None), rotation=rotation)
    found = inspector.inspect(path)
    assert found.video.rotation == turned
    upright = turned == 180
    assert (found.video.width, found.video.height) == ((320, 180) if upright else (180, 320))
    assert minded(found) == ({} if upright else {"size": "failed"})
    assert found.poster_webp is not None
    assert size_of_webp(found.poster_webp) == ((320, 180) if upright else (180, 320))
    assert brightest_side(found.poster_webp, upright=upright) == lightest
    original = inspector.inspect(five)
    assert found.looked is not None
    assert original.looked is not None
    assert found.looked.look != original.looked.look


def brightest_side(webp: bytes, *, upright: bool) -> str:
    import io

    import av

    with av.open(io.BytesIO(webp), "r") as container:
        frame = next(container.decode(video=0)).reformat(
            width=8, height=8, format="gray", interpolation="AREA"
        )
    plane = frame.planes[0]
    rows = [bytes(plane)[row * plane.line_size :][:8] for row in range(8)]
    lines = rows if upright else list(zip(*rows, strict=True))
    names = ("top", "bottom") if upright else ("left", "right")
    return names[0] if sum(lines[0]) > sum(lines[-1]) else names[1]


@pytest.mark.parametrize(("default", "shown"), [(0, (160, 90)), (1, (320, 180))])
def test_the_track_with_the_default_flag_is_judged(
    inspector: VideoInspector, tmp_path: Path, five: Path, default: int, shown: tuple[int, int]
) -> None:
    small = make_mp4(tmp_path / "small.mp4", width=160, height=90, seconds=5, audio=None)
    path = mux(tmp_path / "d.mp4", (small, "video", 0, None), (five, "video", 0, None), default=default)
    video = inspector.inspect(path).video
    assert (video.width, video.height) == shown


def test_the_largest_of_several_pictures_is_judged_where_no_flag_decides(
    inspector: VideoInspector, tmp_path: Path, five: Path
) -> None:
    small = make_mp4(tmp_path / "small.mp4", width=160, height=90, seconds=5, audio=None)
    path = mux(tmp_path / "n.mp4", (small, "video", 0, None), (five, "video", 0, None))
    path.write_bytes(path.read_bytes().replace(b"tkhd\0\0\0\3", b"tkhd\0\0\0\2"))
    assert inspector.inspect(path).video.width == 320


# unexpected extras


@pytest.mark.parametrize(
    "how", [{"faststart": True}, {"faststart": False}, {"container_options": {"movflags": FRAGMENTS}}]
)
@pytest.mark.parametrize(
    "tail",
    [b"\n", bytes(3), bytes(4096), bytes(range(256)) * 4, b"<!-- made by -->\n", b"\0\0\1\0free" + bytes(20)],
    ids=["newline", "three zeros", "padding", "garbage", "text", "a free box cut short"],
)
def test_bytes_after_the_last_box_are_a_warning(
    inspector: VideoInspector, tmp_path: Path, how: dict[str, Any], tail: bytes
) -> None:
    path = make_mp4(tmp_path / "t.mp4", seconds=1, **how)
    with path.open("ab") as file:
        file.write(tail)
    found = inspector.inspect(path)
    assert (found.video.trailing_bytes, found.video.truncated) == (len(tail), False)
    assert minded(found, duration=1) == {"whole": "warned"}


def test_a_cut_fragment_is_not_just_a_warning(inspector: VideoInspector, tmp_path: Path) -> None:
    path = make_mp4(tmp_path / "f.mp4", container_options={"movflags": FRAGMENTS})
    data = path.read_bytes()
    last = data.rindex(b"moof") - 4
    for end in (last + 4, last + 40, data.rindex(b"mdat") + 1000, len(data) - 200):
        path.write_bytes(data[:end])
        try:
            found = inspector.inspect(path)
        except UnreadableVideoError:
            continue
        assert found.video.truncated, end


def test_sound_that_is_not_decoded_is_named_and_left_to_the_codecs(
    inspector: VideoInspector, tmp_path: Path
) -> None:
    found = inspector.inspect(make_mp4(tmp_path / "a.mp4", audio="alac"))
    assert (found.video.audio_codec, found.video.has_audio) == ("alac", True)
    assert found.looked is not None
    assert (found.looked.silent, found.looked.broken) == (None, None)
    assert minded(found, duration=2) == {"codecs": "warned"}


def test_damaged_sound_is_reported_as_damaged_sound(
    inspector: VideoInspector, tmp_path: Path, five: Path
) -> None:
    data = bytearray(make_mp4(tmp_path / "d.mp4", seconds=5, audio="flac", faststart=False).read_bytes())
    # each FLAC frame begins with its mark
    marks = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xf8"]
    for at in marks[len(marks) // 2 :]:
        data[at : at + 8] = bytes(8)
    path = tmp_path / "d.mp4"
    path.write_bytes(data)
    found = inspector.inspect(path)
    assert found.looked is not None
    assert found.looked.broken is not None
    assert "decoding its sound stops after" in found.looked.broken
    assert found.looked.seconds == pytest.approx(5, abs=0.1), "the picture is still inspected"
    assert found.poster_webp is not None


def test_attached_covers_are_ignored(inspector: VideoInspector, tmp_path: Path, clip: Path) -> None:
    assert inspector.inspect(with_cover(clip, tmp_path / "c.mp4")).video.width == 320


def with_cover(clip: Path, path: Path) -> Path:
    """The clip with an attached picture, larger than its own and in a codec that is not decoded."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w", format="mp4") as out, av.open(str(clip)) as source:
        cover: Any = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 640, 360, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        made = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
        frame = av.VideoFrame(640, 360, "yuvj420p")
        frame.pts, frame.time_base = 0, Fraction(1, 1)
        out.mux([*cover.encode(frame), *cover.encode(None)])
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = made[packet.stream_index]
                out.mux(packet)
    return path
