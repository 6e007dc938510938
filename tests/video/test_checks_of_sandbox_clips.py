"""The sandbox's clips are good clips: with the default checks, no clip of the demo is quarantined for its look."""

from pathlib import Path

import pytest

from resources.orders import ClipRequest, Expected
from resources.sandbox.endpoints import Frame
from resources.sandbox.media import PALETTES, ClipStore
from resources.video.inspector import VideoInspector
from resources.video.judge import judge


def complaints(inspector: VideoInspector, store: ClipStore, frame: Frame, job: str) -> list[tuple[str, str]]:
    """The findings of the default checks about a job's clip, unless they passed."""
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
    clip = store.clip(job, frame)
    path = clip.path.with_name("of-a-job.mp4")
    path.write_bytes(clip.read(0, clip.size))
    found = judge(inspector.inspect(path), request, served="model", nsfw=False)
    return [(check.name, check.detail) for check in found if check.outcome in {"warned", "failed"}]


def test_every_colour_of_the_sandbox_passes(inspector: VideoInspector, tmp_path: Path) -> None:
    store, frame = ClipStore(tmp_path), Frame(width=160, height=90, fps=24, seconds=5, audio=True)
    of_colours = {store.clip(job, frame).path: job for job in (f"job-{number}" for number in range(40))}
    assert len(of_colours) == len(PALETTES)
    for job in of_colours.values():
        assert complaints(inspector, store, frame, job) == []


@pytest.mark.parametrize(
    "frame",
    [
        Frame(width=160, height=90, fps=24, seconds=12, audio=True),
        Frame(width=1280, height=720, fps=24, seconds=4, audio=True),
        Frame(width=720, height=1280, fps=30, seconds=4, audio=True),
        Frame(width=1024, height=1792, fps=24, seconds=4, audio=True),
        Frame(width=320, height=180, fps=24, seconds=5, audio=False),
    ],
    ids=lambda frame: f"{frame.width}x{frame.height}",
)
def test_every_shape_of_the_sandbox_passes(inspector: VideoInspector, tmp_path: Path, frame: Frame) -> None:
    assert complaints(inspector, ClipStore(tmp_path), frame, "job-0") == []
