"""The registry of providers: ours, one line each, and those of installed packages with the entry-point group `dailies.providers`.

No code outside a provider's package names the provider; other code finds it here, by its name or among all.
"""

import functools
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Annotated, Any

from pydantic import AfterValidator, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticKnownError

from resources.errors import ConfigurationError
from resources.providers.spec import ProviderSpec

OURS = (
    "resources.providers.wavespeed",
    "resources.providers.aimlapi",
    "resources.providers.fal",
    "resources.providers.replicate",
)
"""Packages that export a `PROVIDER`."""
GROUP = "dailies.providers"
"""The entry-point group by which an installed package adds a provider: `acme = "acme_video:PROVIDER"`."""


@functools.cache
def registered() -> Mapping[str, ProviderSpec]:
    """All providers by name.

    Raises:
        ConfigurationError: A package's provider cannot be loaded, or has the name of another one.
    """
    specs: dict[str, ProviderSpec] = {}
    for module in OURS:
        spec = import_module(module).PROVIDER
        specs[spec.name] = spec
    for entry in entry_points(group=GROUP):
        try:
            spec = entry.load()
        except Exception as error:  # another package may raise anything when it is imported
            raise ConfigurationError(
                f"the provider {entry.name} ({entry.value}) cannot be loaded: {error}"
            ) from error
        if not isinstance(spec, ProviderSpec):
            raise ConfigurationError(f"the provider {entry.name} ({entry.value}) is not a ProviderSpec")
        if spec.name in specs:
            raise ConfigurationError(f"two providers are called {spec.name!r}; {entry.value} is one of them")
        specs[spec.name] = spec
    return specs


def provider_names() -> tuple[str, ...]:
    """The names of all providers, ours first."""
    return tuple(registered())


def spec_of(name: str) -> ProviderSpec:
    """Look up a provider by its name.

    Raises:
        ConfigurationError: There is none.
    """
    spec = registered().get(name)
    if spec is None:
        raise ConfigurationError(f"there is no provider {name!r}; allowed: {', '.join(provider_names())}")
    return spec


def title_of(name: str) -> str:
    """A provider's name for people; the name itself if its package is not installed any more."""
    spec = registered().get(name)
    return name if spec is None else spec.title


def _known_provider(value: str) -> str:
    names = provider_names()
    if value not in names:
        raise PydanticKnownError("literal_error", {"expected": " or ".join(map(repr, names))})
    return value


class _Names:
    """The JSON Schema of a provider's name: the names that are registered when the schema is made."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"enum": list(provider_names()), "type": "string"}


ProviderName = Annotated[str, AfterValidator(_known_provider), _Names()]
"""The name of a registered provider, in declarations."""
