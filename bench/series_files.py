"""The files of a round: a data folder with one series, and its fault script."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SERIES = "throughput"
MODELS = Path(__file__).parents[1] / "data" / "models"


@dataclass(frozen=True)
class SeriesOffer:
    """An endpoint that the bench buys from."""

    endpoint: str
    """Its id."""
    file: str
    """Its file below `data/models/`."""
    takes_posts_at_once: bool
    """Whether dailies sends it several POSTs at once (docs/reliability.md, One POST at a time)."""
    pricing: dict[str, Any] | None = None
    """The sandbox's price, if the file names none: a clip without a price is not bought."""


OFFERS = {
    "aimlapi": SeriesOffer(
        "bytedance/seedance-2-0",
        "aimlapi-seedance-2-0.yaml",
        takes_posts_at_once=True,
        pricing={
            "basis": "upper_bound",
            "source": "the sandbox",
            "by": "resolution",
            "rates": {"720p": "0.24"},
        },
    ),
    "wavespeed": SeriesOffer(
        "bytedance/seedance-2.0/text-to-video",
        "wavespeed-seedance-2.0-text-to-video.yaml",
        takes_posts_at_once=False,
    ),
}
"""The offers by provider."""
DOOMED = "a storm breaks the lantern"
"""Text in the prompts of the clips whose job fails."""


@dataclass(frozen=True)
class RoundFiles:
    """The files and clips of a round."""

    data: Path
    """The data folder."""
    faults: Path
    """The sandbox's fault script."""
    prompts: dict[str, str]
    """The prompt of each clip, by the clip's name in the series."""
    doomed: int
    """Number of clips that fail at the provider."""


def declare(folder: Path, *, provider: str, clips: int, fail: float) -> RoundFiles:
    """Write a series with a number of clips of a provider, of which a share fails, evenly spread."""
    offer = OFFERS[provider]
    prompts = {
        f"clip-{number:04}": f"A lighthouse on cliff {number} at dusk"
        + (f"; {DOOMED}." if is_doomed(number, fail) else ", waves far below.")
        for number in range(1, clips + 1)
    }
    data = folder / "data"
    (data / "series").mkdir(parents=True)
    (data / "models").mkdir()
    model = yaml.safe_load((MODELS / offer.file).read_text())
    if offer.pricing is not None:
        model["pricing"] = offer.pricing
    # JSON is YAML too
    (data / "models" / offer.file).write_text(json.dumps(model, default=str))
    series = {
        "name": SERIES,
        "title": "Throughput",
        "endpoint": offer.endpoint,
        "parameters": {"duration": 5},
        "prompt": "{{ text }}",
        "dated": True,
        "clips": [{"name": name, "variables": {"text": text}} for name, text in prompts.items()],
        "owner": "team:bench",
    }
    (data / "series" / f"{SERIES}.yaml").write_text(json.dumps(series))
    rule = {
        "name": "doomed",
        "when": {"operation": "submit", "prompt_contains": DOOMED},
        "then": {"do": "fail"},
    }
    faults = folder / "faults.yaml"
    faults.write_text(json.dumps({"faults": [rule]}))
    return RoundFiles(data, faults, prompts, sum(DOOMED in text for text in prompts.values()))


def is_doomed(number: int, fail: float) -> bool:
    """Whether the clip with this number, counted from 1, fails: for a share of 0.1 every tenth one."""
    return int(number * fail + 1e-9) > int((number - 1) * fail + 1e-9)
