"""Replicate at the sandbox: its predictions, its list, its files behind the token, and its callbacks, from its pages."""

from importlib.resources import files

from resources.sandbox.front_registry import FrontSpec
from resources.sandbox.fronts.replicate.front import ReplicateFront, report

FRONT = FrontSpec(
    name="replicate",
    path="/replicate",
    front=ReplicateFront,
    endpoints=files(__name__).joinpath("endpoints.yaml").read_text(encoding="utf-8"),
    report=report,
)
