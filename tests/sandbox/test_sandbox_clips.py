"""The finished files: real MP4s of the ordered size, and a CDN that serves ranges of them."""

import array
import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import Any

import av
import httpx
import pytest
from sandbox_bench import Bench

from proof.clock import Clock
from resources.sandbox import RunningSandbox
from resources.sandbox.endpoints import Frame, load_endpoints
from resources.sandbox.media import ClipStore


def measure(data: bytes) -> dict[str, Any]:
    """The facts of a file, measured by decoding it."""
    with av.open(io.BytesIO(data), "r", format="mov") as container:
        video = container.streams.video[0]
        found: dict[str, Any] = {
            "seconds": float((container.duration or 0) / av.time_base),
            "codec": video.codec_context.name,
            "comment": container.metadata["comment"],
            "sound": [stream.codec_context.name for stream in container.streams.audio],
            "profile": video.profile,
        }
        frames = list(container.decode(video=0))
        found["kinds"] = "".join(" IPB"[frame.pict_type] for frame in frames)
        found["times"] = [float(frame.time) for frame in frames]
        pictures = [bytes(frame.planes[0])[::997] for frame in frames]
        found["size"] = (video.width, video.height)
    found["frames"] = len(pictures)
    found["brightness"] = [sum(picture) / len(picture) for picture in pictures]
    found["motion"] = [
        sum(abs(a - b) for a, b in zip(one, two, strict=True)) / len(one) for one, two in pairwise(pictures)
    ]
    if found["sound"]:
        with av.open(io.BytesIO(data), "r", format="mov") as container:
            found["peaks"] = [max(array.array("f", bytes(f.planes[0]))) for f in container.decode(audio=0)]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "height", "fps", "seconds"), [(360, 640, 30, 2), (896, 512, 30, 4), (490, 210, 24, 5)]
)
def test_a_clip_matches_its_order_and_moves_and_has_sound(
    tmp_path: Path, width: int, height: int, fps: int, seconds: int
) -> None:
    clip = ClipStore(tmp_path).clip("job", Frame(width=width, height=height, fps=fps, seconds=seconds))
    found = measure(clip.read(0, clip.size))
    assert (found["size"], found["codec"], found["sound"]) == ((width, height), "h264", ["aac"])
    # models deliver such files: B frames between key frames
    assert found["profile"] == "High"
    assert found["kinds"].count("I") == 2 * seconds
    assert found["kinds"].count("B") > fps * seconds / 2
    assert found["times"] == pytest.approx([number / fps for number in range(fps * seconds)], abs=0.001)
    assert found["seconds"] == pytest.approx(seconds, abs=0.1)
    assert min(found["brightness"]) > 24
    assert min(found["motion"]) > 0.5
    assert min(found["peaks"][2:-2]) > 0.05


@pytest.mark.slow
def test_every_job_s_bytes_differ_and_stay_the_same(tmp_path: Path) -> None:
    frame = Frame(width=320, height=180, fps=24, seconds=4)
    store = ClipStore(tmp_path)
    clips = [store.clip(f"job-{number}", frame) for number in range(30)]
    data = [clip.read(0, clip.size) for clip in clips]
    assert len({hashlib.sha256(d).digest() for d in data}) == 30
    assert len({clip.etag for clip in clips}) == 30
    # jobs share the encoded colours, so that thirty clips need only six encodings
    assert len(list(tmp_path.iterdir())) <= 6
    again = ClipStore(tmp_path).clip("job-7", frame)
    assert again.read(0, again.size) == data[7]
    assert measure(data[7])["comment"] == hashlib.sha256(b"job-7").hexdigest()
    pieces = b"".join(clips[7].read(start, 1000) for start in range(0, clips[7].size, 1000))
    assert pieces == data[7]


def test_a_clip_can_be_silent_and_padded(tmp_path: Path) -> None:
    frame = Frame(width=320, height=180, fps=24, seconds=4, audio=False)
    clip = ClipStore(tmp_path, pad_to=3_000_000).clip("job", frame)
    assert clip.size == 3_000_000
    found = measure(clip.read(0, clip.size))
    assert (found["sound"], found["frames"]) == ([], 96)


def test_every_endpoint_s_frames_can_be_encoded() -> None:
    for provider, models in load_endpoints().items():
        for model, endpoint in models.items():
            if endpoint.output == "video":
                body = {name: rule.values[0] for name, rule in endpoint.parameters.items() if rule.values}
                body |= {
                    name: "https://example.org/x.png" if rule.type in {"url", "picture"} else "x"
                    for name, rule in endpoint.parameters.items()
                    if rule.required
                }
                for name in ("size", "resolution", "aspect_ratio"):
                    for value in endpoint.parameters[name].values if name in endpoint.parameters else ():
                        frame = endpoint.frame(endpoint.read(body | {name: value}))
                        assert frame.width % 2 == frame.height % 2 == 0, (provider, model, value)


@pytest.mark.slow
async def test_aimlapi_s_1080p_is_1792_by_1024(bench: Bench, clock: Clock) -> None:
    job_id = (await bench.generate(resolution="1080p", aspect_ratio="9:16")).json()["id"]
    clock.forward(8)
    url = (await bench.generation(job_id)).json()["video"]["url"]
    assert measure((await bench.client.get(url)).content)["size"] == (1024, 1792)


@pytest.mark.slow
async def test_the_cdn_serves_ranges_without_a_key(bench: Bench, clock: Clock) -> None:
    job_id = await bench.bought()
    clock.forward(8)
    url = (await bench.poll(job_id))["outputs"][0]
    async with bench.stranger() as stranger:
        whole = await stranger.get(url)
        size, etag = len(whole.content), whole.headers["etag"]
        assert int(whole.headers["content-length"]) == size
        head = await stranger.head(url)
        assert (head.headers["content-length"], head.headers["etag"], head.content) == (str(size), etag, b"")

        async def part(span: str, **headers: str) -> httpx.Response:
            return await stranger.get(url, headers={"Range": f"bytes={span}", **headers})

        middle = await part("1000-1999", **{"If-Range": etag})
        assert (middle.status_code, middle.content) == (206, whole.content[1000:2000])
        assert middle.headers["content-range"] == f"bytes 1000-1999/{size}"
        rest = await part(f"{size - 5}-")
        assert (rest.status_code, rest.content) == (206, whole.content[-5:])
        assert (await part("-7")).content == whole.content[-7:]
        changed = await part("1000-", **{"If-Range": '"other"'})
        assert (changed.status_code, changed.content) == (200, whole.content)
        beyond = await part(f"{size}-")
        assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
        assert (await part("5-1")).status_code == 200
        assert (await stranger.get(url, headers={"If-None-Match": etag})).status_code == 304
        assert (await stranger.get(url.replace(".mp4", "0.mp4"))).status_code == 404
    (job,) = (await bench.books())["jobs"]
    assert job["fetches"] == 8


async def test_nothing_is_served_before_the_job_is_done(bench: Bench) -> None:
    await bench.buy()
    (job,) = (await bench.books())["jobs"]
    assert (await bench.client.get(f"/cdn/{job['media']}.mp4")).status_code == 404


@pytest.mark.slow
def test_fetching_does_not_stop_other_requests(live: RunningSandbox) -> None:
    """A new size takes a while to encode; polls are answered meanwhile."""
    clips = live.app.state.workshop._clips
    begun, go_on = Event(), Event()
    make = clips.clip

    def slow(*wanted: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return make(*wanted)

    clips.clip = slow
    headers = {"Authorization": "Bearer sandbox"}
    with (
        httpx.Client(base_url=live.url, headers=headers, timeout=60) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        job_id = client.post("/api/v3/openai/sora-2/text-to-video", json={"prompt": "x"}).json()["data"]["id"]
        url = client.get(f"/api/v3/predictions/{job_id}/result").json()["data"]["outputs"][0]
        fetch = pool.submit(httpx.get, url, timeout=60)
        assert begun.wait(60)
        try:
            assert client.get("/api/v3/balance").status_code == 200
        finally:
            go_on.set()
        assert fetch.result().status_code == 200
