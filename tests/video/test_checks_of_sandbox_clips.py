"""The sandbox's clips are good clips: with the default checks, no clip of the demo is quarantined for its look."""

from pathlib import Path

import pytest

from resources.orders import ClipRequest, Expected
from resources.sandbox.endpoints import Frame
from resources.sandbox.media import ClipStore
from resources.video.inspector import VideoInspector
from resources.video.judge import judge


@pytest.mark.parametrize(
    "frame",
    [
        Frame(width=1280, height=720, fps=24, seconds=12, audio=True),
        Frame(width=720, height=1280, fps=30, seconds=4, audio=True),
        Frame(width=1024, height=1792, fps=24, seconds=4, audio=True),
        Frame(width=640, height=360, fps=24, seconds=5, audio=False),
    ],
    ids=lambda frame: f"{frame.width}x{frame.height}",
)
def test_every_colour_of_the_sandbox_passes(inspector: VideoInspector, tmp_path: Path, frame: Frame) -> None:
    store, seen = ClipStore(tmp_path), set()
    request = ClipRequest(
        clip="a-clip",
        series="a-series",
        provider="wavespeed",
        endpoint="model",
        body={},
        price_micros=0,
        expected=Expected(
            width=frame.width,
            height=frame.height,
            duration=frame.seconds,
            audio=frame.audio,
            fps=frame.fps,
        ),
    )
    for number in range(12):
        clip = store.clip(f"job-{number}", frame)
        if clip.path in seen:
            continue
        seen.add(clip.path)
        path = tmp_path / "of-a-job.mp4"
        path.write_bytes(clip.read(0, clip.size))
        found = judge(inspector.inspect(path), request, served="model", nsfw=False)
        assert [(c.name, c.detail) for c in found if c.outcome in {"warned", "failed"}] == []
    assert len(seen) >= 3
