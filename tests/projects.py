"""A person's project in an empty folder for the commands, and an order of one of its clips."""

from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml

from resources.orders import ClipRequest, Expected

ROOT = Path(__file__).parents[1]


def a_project(folder: Path, monkeypatch: pytest.MonkeyPatch, clips: Iterable[str]) -> None:
    """Declare a series `bay` with some clips beside the real models, and point the settings only there."""
    (folder / "data" / "series").mkdir(parents=True)
    (folder / "data" / "models").symlink_to(ROOT / "data" / "models")
    series = {
        "name": "bay",
        "endpoint": "bytedance/seedance-2.0/text-to-video",
        "prompt": "A quiet view of {{ clip }}.",
        "clips": [{"name": name} for name in clips],
    }
    (folder / "data" / "series" / "bay.yaml").write_text(yaml.safe_dump(series))
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_HOME", str(folder / "home"))
    monkeypatch.setenv("DAILIES_DATA", str(folder / "data"))


def an_order(clip: str, *, series: str = "bay", price_micros: int = 400_000) -> ClipRequest:
    """A clip's request as a run passes it to the ledger."""
    return ClipRequest(
        clip=clip,
        series=series,
        provider="wavespeed",
        endpoint="openai/sora-2/text-to-video",
        body={"prompt": clip},
        price_micros=price_micros,
        expected=Expected(),
    )
