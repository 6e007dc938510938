"""fal at the sandbox: its queue, its platform API, its uploads and its callbacks, from its pages."""

from importlib.resources import files

from resources.sandbox.front_registry import FrontSpec
from resources.sandbox.fronts.fal.callbacks import report
from resources.sandbox.fronts.fal.front import FalFront

FRONT = FrontSpec(
    name="fal",
    path="/fal",
    front=FalFront,
    endpoints=files(__name__).joinpath("endpoints.yaml").read_text(encoding="utf-8"),
    report=report,
)
