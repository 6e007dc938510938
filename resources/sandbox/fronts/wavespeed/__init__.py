"""WaveSpeed at the sandbox: its REST API v3, its uploads, its bill and its callbacks, from its pages."""

from importlib.resources import files

from resources.sandbox.front_registry import FrontSpec
from resources.sandbox.fronts.wavespeed.front import WaveSpeedFront, report

FRONT = FrontSpec(
    name="wavespeed",
    path="/api/v3",
    front=WaveSpeedFront,
    endpoints=files(__name__).joinpath("endpoints.yaml").read_text(encoding="utf-8"),
    charges_at_once=True,
    keeps_seconds=lambda settings: settings.retention_seconds,
    report=report,
)
