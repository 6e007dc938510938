"""Inspection: true facts and a poster of good clips, a clear reason for bad ones, and a worker that survives both."""

import os
import random
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from makers import make_mp4, with_c2pa

from resources.errors import UnavailableError
from resources.video import guarded_workers
from resources.video.facts import UnreadableVideoError
from resources.video.inspector import VideoInspector, inspect_video

pytestmark = pytest.mark.slow


def process_of(inspector: VideoInspector) -> subprocess.Popen[bytes]:
    process = inspector.idle.queue[-1]._process
    assert process is not None
    return process


def pid_of(inspector: VideoInspector) -> int:
    return process_of(inspector).pid


def test_a_good_clip_is_described_and_has_a_poster(inspector: VideoInspector, clip: Path) -> None:
    found = inspector.inspect(clip)
    video = found.video
    assert (video.width, video.height, video.fps, video.duration) == (320, 180, 24.0, 2.0)
    assert (video.video_codec, video.audio_codec, video.has_audio) == ("h264", "aac", True)
    assert (video.size_bytes, video.truncated, video.faststart, video.c2pa) == (
        clip.stat().st_size,
        False,
        True,
        False,
    )
    assert found.poster_webp is not None
    assert size_of_webp(found.poster_webp) == (320, 180), "a small picture is not enlarged"
    assert inspect_video(clip, poster_width=160).video == video


def size_of_webp(data: bytes) -> tuple[int, int]:
    assert (data[:4], data[8:16]) == (b"RIFF", b"WEBPVP8 ")
    return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF


@pytest.mark.parametrize(
    ("how", "codec", "audio"),
    [
        ({"codec": "libx265", "options": {"x265-params": "log-level=none:pools=1"}}, "hevc", "aac"),
        ({"codec": "libsvtav1", "options": {"preset": "12", "svtav1-params": "lp=1"}}, "av1", "aac"),
        ({"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}, "vp9", "aac"),
        ({"codec": "mpeg4"}, "mpeg4", "aac"),
        ({"audio": "libmp3lame"}, "h264", "mp3"),
        ({"audio": "libopus"}, "h264", "opus"),
        ({"audio": None}, "h264", None),
    ],
)
def test_other_codecs_are_named_and_have_a_poster(
    inspector: VideoInspector, tmp_path: Path, how: dict[str, Any], codec: str, audio: str | None
) -> None:
    path = make_mp4(tmp_path / "c.mp4", seconds=0.5, **{"audio": "aac", **how})
    found = inspector.inspect(path)
    assert (found.video.video_codec, found.video.audio_codec, found.video.has_audio) == (
        codec,
        audio,
        audio is not None,
    )
    assert found.poster_webp is not None
    assert found.video.duration == pytest.approx(0.5, abs=0.05)


def test_a_poster_is_scaled_down_and_keeps_its_shape(inspector: VideoInspector, tmp_path: Path) -> None:
    tall = make_mp4(tmp_path / "tall.mp4", width=180, height=320, seconds=0.3, audio=None)
    poster = inspector.inspect(tall, poster_width=90).poster_webp
    assert poster is not None
    assert size_of_webp(poster) == (90, 160)


@pytest.mark.parametrize("gop", [6, 1000], ids=["a later key frame", "a later frame"])
def test_a_poster_skips_a_black_beginning(inspector: VideoInspector, tmp_path: Path, gop: int) -> None:
    path = make_mp4(tmp_path / "b.mp4", seconds=2, black_seconds=0.4, audio=None, gop=gop)
    assert light_of_webp(inspector.inspect(path).poster_webp) > 40
    black = make_mp4(tmp_path / "bb.mp4", seconds=1, black_seconds=9, audio=None, gop=gop)
    assert light_of_webp(inspector.inspect(black).poster_webp) < 20, "a black clip still has a poster"


def light_of_webp(data: bytes | None) -> float:
    import io

    import av

    assert data is not None
    with av.open(io.BytesIO(data), "r") as container:
        plane = bytes(next(container.decode(video=0)).reformat(format="gray").planes[0])
    return sum(plane) / len(plane)


def test_the_place_of_the_index_and_content_credentials_are_noticed(
    inspector: VideoInspector, tmp_path: Path
) -> None:
    path = with_c2pa(make_mp4(tmp_path / "c.mp4", seconds=0.3, faststart=False))
    video = inspector.inspect(path).video
    assert (video.faststart, video.c2pa, video.truncated) == (False, True, False)


def test_a_fragmented_file_is_described_too(inspector: VideoInspector, tmp_path: Path) -> None:
    path = make_mp4(tmp_path / "f.mp4", container_options={"movflags": "frag_keyframe+empty_moov"})
    video = inspector.inspect(path).video
    assert (video.width, video.height, video.fps) == (320, 180, 24.0)
    assert video.duration == pytest.approx(2, abs=0.1)
    assert not video.truncated


@pytest.mark.parametrize("tenth", range(10))
@pytest.mark.parametrize("faststart", [True, False])
def test_a_cut_file_is_noticed_at_every_tenth(
    inspector: VideoInspector, tmp_path: Path, tenth: int, faststart: bool
) -> None:
    data = make_mp4(tmp_path / "whole.mp4", seconds=1, faststart=faststart).read_bytes()
    for end in {len(data) * tenth // 10, len(data) - 1 - tenth}:
        cut = tmp_path / f"{end}.mp4"
        cut.write_bytes(data[:end])
        try:
            found = inspector.inspect(cut)
        except UnreadableVideoError as error:
            assert str(error).startswith(f"{end}.mp4: ")  # noqa: PT017  # both ways of noticing are right
        else:
            assert found.video.truncated


def test_samples_beyond_the_end_are_noticed_even_if_the_boxes_hide_them(
    inspector: VideoInspector, tmp_path: Path, clip: Path
) -> None:
    data = bytearray(clip.read_bytes())
    at = data.index(b"mdat") - 4
    data[at : at + 4] = bytes(4)  # length 0: to the end of the file
    path = tmp_path / "open.mp4"
    path.write_bytes(data)
    assert not inspector.inspect(path).video.truncated
    path.write_bytes(data[:-100])
    assert inspector.inspect(path).video.truncated


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "it has no index"),
        (b"<html><body>404</body></html>", "does not begin like an MP4"),
        (b"\0" * 4096, "boxes contradict each other|does not begin"),
        (b"\0\0\0\x18ftypisom" + bytes(12), "no index"),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x08free" * 20_000, "too many boxes"),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\xff\xff\xff\xffmoov", "index is too large"),
        (b"\0\0\0\x10ftypisom\0\0\0\0" + b"\0\0\0\x10moov\0\0\0\x08mvhd", "no picture"),
    ],
)
def test_a_file_that_is_no_video_is_an_error(
    inspector: VideoInspector, tmp_path: Path, data: bytes, sentence: str
) -> None:
    path = tmp_path / "bad.mp4"
    path.write_bytes(data)
    with pytest.raises(UnreadableVideoError, match=rf"bad\.mp4: .*({sentence})"):
        inspector.inspect(path)


def test_a_missing_file_is_an_error(inspector: VideoInspector, tmp_path: Path) -> None:
    with pytest.raises(UnreadableVideoError, match="No such file"):
        inspector.inspect(tmp_path / "gone.mp4")


def test_random_damage_never_ends_the_inspector(inspector: VideoInspector, tmp_path: Path) -> None:
    clip = make_mp4(tmp_path / "whole.mp4", width=160, height=90, seconds=0.5)
    chance, data = random.Random(7), clip.read_bytes()
    path = tmp_path / "damaged.mp4"
    index = data.index(b"moov"), data.index(b"mdat")
    for round_ in range(60):
        damaged = bytearray(data)
        for _ in range(chance.choice([1, 4, 40])):
            where = chance.randrange(*index) if round_ % 2 else chance.randrange(len(data))
            damaged[where] = chance.randrange(256)
        path.write_bytes(damaged)
        try:
            inspector.inspect(path)
        except UnreadableVideoError as error:
            assert len(str(error)) < 400  # noqa: PT017  # some damage does not show
    assert inspector.inspect(clip).video.width == 160


def test_a_codec_that_is_not_decoded_is_named(inspector: VideoInspector, tmp_path: Path, clip: Path) -> None:
    data = bytearray(clip.read_bytes())
    at = data.index(b"avc1", data.index(b"stsd"))
    data[at : at + 4] = b"jpeg"
    path = tmp_path / "odd.mp4"
    path.write_bytes(data)
    with pytest.raises(UnreadableVideoError, match="codec 'jpeg' is not one of"):
        inspector.inspect(path)


def test_a_picture_that_is_too_large_is_not_decoded(inspector: VideoInspector, tmp_path: Path) -> None:
    path = make_mp4(tmp_path / "large.mp4", width=4112, height=4096, seconds=0.04, audio=None)
    with pytest.raises(UnreadableVideoError, match="its picture is 4112x4096, at most 16,777,216 pixels"):
        inspector.inspect(path)


def test_one_worker_serves_many_clips_and_threads(clip: Path) -> None:
    with VideoInspector() as inspector, ThreadPoolExecutor(4) as pool:
        first = inspector.inspect(clip)
        pid = pid_of(inspector)
        assert all(found == first for found in pool.map(lambda _: inspector.inspect(clip), range(8)))
        assert pid_of(inspector) == pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_is_replaced_after_some_clips_or_too_much_memory(clip: Path) -> None:
    for how in ({"files_per_worker": 1}, {"max_worker_bytes": 1}):
        with VideoInspector(**how) as inspector:
            inspector.inspect(clip)
            assert inspector.idle.queue[-1]._process is None


def test_a_worker_that_was_killed_is_started_again(clip: Path) -> None:
    with VideoInspector() as inspector:
        inspector.inspect(clip)
        process = process_of(inspector)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(60)
        assert inspector.inspect(clip).video.width == 320


def test_a_worker_has_no_secrets_in_its_environment(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAVESPEED_API_KEY", "canary-key")
    with VideoInspector() as inspector:
        inspector.inspect(clip)
        environment = Path(f"/proc/{pid_of(inspector)}/environ")
        if environment.exists():
            assert b"canary" not in environment.read_bytes()
    assert "canary" not in str(guarded_workers._environment())


class Misbehaving:
    """Starts a worker written by the test instead of the real one."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, *, ready: bool = True
    ) -> None:
        package = tmp_path / "fake" / "resources" / "video"
        package.mkdir(parents=True)
        for folder in (package.parent, package):
            (folder / "__init__.py").write_text("")
        start = "print('{\"ready\": true}', flush=True)\n" if ready else ""
        (package / "worker.py").write_text(f"import json, os, sys, time, resource\n{start}{body}\n")
        monkeypatch.setattr(guarded_workers, "_environment", lambda: {"PYTHONPATH": str(tmp_path / "fake")})


def test_a_decoder_that_hangs_is_killed(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Misbehaving(monkeypatch, tmp_path, "time.sleep(600)")
    with VideoInspector(seconds=0.2) as inspector:
        began = time.monotonic()
        with pytest.raises(UnreadableVideoError, match=r"good\.mp4: reading it takes longer than 0\.2 s"):
            inspector.inspect(clip)
        assert time.monotonic() - began < 120
        assert inspector.idle.queue[-1]._process is None


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("sys.stdin.readline(); os.abort()", "makes the decoder crash"),
        ("sys.stdin.readline(); os.kill(os.getpid(), 24)", "more than 40 s of a processor"),
        ("sys.stdin.readline(); print('not json')", "makes the decoder crash"),
        ("sys.stdin.readline(); print('{}')", "makes no sense"),
        (
            "sys.stdin.readline(); print(json.dumps({'video': {'width': 'evil'}, 'poster': 'x'}))",
            "makes no sense",
        ),
        ("sys.stdin.readline(); print('x' * (9 << 20))", "makes the decoder crash"),
        ("sys.stdin.readline(); print(json.dumps({'error': 'x' * 5000}))", "x{300}$"),
    ],
)
def test_answers_of_a_worker_under_attack_are_checked(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, sentence: str
) -> None:
    Misbehaving(monkeypatch, tmp_path, body)
    with VideoInspector() as inspector, pytest.raises(UnreadableVideoError, match=sentence):
        inspector.inspect(clip)


def test_the_error_of_a_worker_that_does_not_start_has_its_reason(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Misbehaving(monkeypatch, tmp_path, "raise ImportError('no PyAV here')", ready=False)
    with (
        VideoInspector() as inspector,
        pytest.raises(UnavailableError, match=r"does not start: .*no PyAV here"),
    ):
        inspector.inspect(clip)


def test_the_real_worker_is_stopped_by_its_own_limits(clip: Path, tmp_path: Path) -> None:
    """A picture whose frames do not fit into the worker's memory must be an error, not a swap storm."""
    import sys

    code = (
        "import resources.video.worker, resources.video.guarded_process as g\n"
        "g.MEMORY_BYTES = 700 << 20; g.limit_resources()\n"
        "print(g._attempted(lambda *_: bytearray(1 << 30), (), {'cpu_seconds': 5}, [], None)['error'], flush=True)\n"
        "g._attempted(lambda *_: exec('while True: pass'), (), {'cpu_seconds': 0}, [], None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env=guarded_workers._environment(),
        check=False,
    )
    assert "needs more than 700 MB of memory" in done.stdout, done.stderr
    assert done.returncode == -signal.SIGXCPU


def test_closing_during_an_inspection_ends_the_worker_too(clip: Path) -> None:
    inspector = VideoInspector()
    inspector.inspect(clip)
    worker = inspector.idle.queue[-1]
    original, began, go_on = worker.ask, threading.Event(), threading.Event()

    def slowly(*args: Any) -> Any:
        began.set()
        go_on.wait(60)
        return original(*args)

    worker.ask = slowly  # type: ignore[method-assign, assignment]
    thread = threading.Thread(target=inspector.inspect, args=(clip,))
    thread.start()
    began.wait(60)
    inspector.close()
    go_on.set()
    thread.join(60)
    assert worker._process is None
