"""Clips rendered into requests. Commands use it before they ask a person, so it must not import Dagster."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from resources.errors import DailiesError
from resources.orders import ClipRequest
from resources.series import Declarations


@dataclass
class Rendered:
    """The result for a batch of keys."""

    requests: dict[str, ClipRequest] = field(default_factory=dict)
    """The valid requests, by clip."""
    problems: dict[str, str] = field(default_factory=dict)
    """Why the other clips cannot be produced, by clip."""


def render(declarations: Declarations, keys: Iterable[str]) -> Rendered:
    """Render and validate clips by their keys. Nothing is sent or written."""
    rendered = Rendered()
    for key in keys:
        try:
            rendered.requests[key] = declarations.render(declarations.find(key))
        except DailiesError as error:
            rendered.problems[key] = str(error)
    return rendered
