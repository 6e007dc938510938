"""The series of a generated history, and the orders of their clips."""

from dataclasses import dataclass
from typing import Any

from resources.orders import ClipRequest, Expected


@dataclass(frozen=True)
class SoldSeries:
    """A series and the models that its clips are bought from."""

    name: str
    account: str
    endpoint: str
    price_micros: int
    job_seconds: float


SERIES = (
    SoldSeries("harbor", "wavespeed", "bytedance/seedance-2.0/text-to-video", 400_000, 60),
    SoldSeries("city", "wavespeed", "openai/sora-2/text-to-video", 400_000, 140),
    SoldSeries("forest", "wavespeed", "bytedance/seedance-2.0/text-to-video", 400_000, 60),
    SoldSeries("market", "aimlapi", "kling-video/v2.1/standard/text-to-video", 350_000, 200),
)


def body_of(series: SoldSeries, number: int) -> dict[str, Any]:
    """The body of the nth order of a series."""
    return {
        "prompt": f"The {series.name} in the first light of the day, seen from a slowly rising crane. Gulls cross the frame "
        f"from left to right while boat {number} leaves the quay; film grain, natural colours, no text.",
        "duration": 5,
        "resolution": "720p",
        "aspect_ratio": "16:9",
        "seed": number,
        "generate_audio": True,
    }


def a_request(series: SoldSeries, clip: str, number: int) -> ClipRequest:
    """The order of one clip of a series."""
    return ClipRequest(
        clip=clip,
        series=series.name,
        provider=series.account,
        endpoint=series.endpoint,
        body=body_of(series, number),
        price_micros=series.price_micros,
        expected=Expected(width=1280, height=720, duration=5.0, audio=True, fps=24.0),
        usual_seconds=series.job_seconds,
        owner="team:content",
        tags={"campaign": series.name},
    )
