"""The providers that the sandbox stands in for: every package in `resources.sandbox.fronts`, and those of other installed packages.

A front is written from its provider's pages, independently of the product's client, so that both cannot make the same mistake.
"""

import functools
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from resources.errors import ConfigurationError
from resources.sandbox.settings import SandboxSettings

FRONTS = "resources.sandbox.fronts"
GROUP = "dailies.sandbox"
"""The entry-point group by which an installed package adds a front: `acme = "acme_sandbox:FRONT"`."""


@dataclass(frozen=True)
class CallbackReport:
    """A callback about an ended job, as the provider sends it."""

    body: bytes
    """The body, whose bytes are signed."""
    headers: Mapping[str, str]
    """The headers, with the signature."""


def for_ever(_settings: SandboxSettings) -> float:
    """Nothing is deleted."""
    return math.inf


@dataclass(frozen=True)
class FrontSpec:
    """How the sandbox stands in for one provider."""

    name: str
    """The provider's name, as in the product's registry."""
    path: str
    """The beginning of its paths, for the welcome page."""
    front: Callable[..., Any]
    """Makes its `desk.Front` from the workshop and a function that wakes the courier of callbacks."""
    endpoints: str
    """The YAML file of its endpoints."""
    charges_at_once: bool = False
    """Whether an accepted job is charged, and a failed one refunded; otherwise completed jobs are charged."""
    keeps_seconds: Callable[[SandboxSettings], float] = for_ever
    """How long jobs and their outputs are kept."""
    report: Callable[[Any, float, str], CallbackReport] | None = None
    """The callback about an ended `books.Job` at a moment, for an account with a key; None if the provider sends none."""


@functools.cache
def fronts() -> Mapping[str, FrontSpec]:
    """All fronts by their provider's name.

    Raises:
        ConfigurationError: A package's front cannot be loaded.
    """
    package = import_module(FRONTS)
    modules = sorted(module.name for module in pkgutil.iter_modules(package.__path__))
    loaded = [import_module(f"{FRONTS}.{name}").FRONT for name in modules]
    for entry in entry_points(group=GROUP):
        try:
            loaded.append(entry.load())
        except Exception as error:
            raise ConfigurationError(
                f"the sandbox's {entry.name} ({entry.value}) cannot be loaded: {error}"
            ) from error
    return {front.name: front for front in loaded}
