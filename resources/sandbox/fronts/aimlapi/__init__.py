"""AI/ML API at the sandbox: its v2 video generations, its logs and its balance, from its pages."""

from importlib.resources import files

from resources.sandbox.front_registry import FrontSpec
from resources.sandbox.fronts.aimlapi.front import AimlApiFront

FRONT = FrontSpec(
    name="aimlapi",
    path="/v2",
    front=lambda workshop, _wake: AimlApiFront(workshop),
    endpoints=files(__name__).joinpath("endpoints.yaml").read_text(encoding="utf-8"),
)
