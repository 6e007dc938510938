"""A model that can be bought now, as its provider lists it."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from resources import plain

MODELS_LIMIT = 32_000_000
"""Bytes of a list of models that are read, enough for a thousand models with the schemas of their parameters."""


@dataclass(frozen=True)
class LiveParameter:
    """One parameter as the provider describes it."""

    type: str
    """`string`, `integer`, `boolean` or `array`; another word where the provider uses one."""
    required: bool = False
    """Whether it must be given."""
    default: Any = None
    """The provider's default value."""
    allowed: tuple[Any, ...] = ()
    """The allowed values; empty if they are not listed."""
    minimum: int | None = None
    """The smallest number; None if not stated."""
    maximum: int | None = None
    """Largest number."""
    max_items: int | None = None
    """Most items of an array."""
    description: str = ""
    """The provider's own description."""

    def __post_init__(self) -> None:
        plain.clean_fields(self, names=("type",), sentences=("description",))


@dataclass(frozen=True)
class LiveModel:
    """One model as the provider lists it."""

    id: str
    """The model's id in purchases."""
    aliases: tuple[str, ...] = ()
    """Other names it answers to."""
    kind: str = ""
    """The provider's word for the kind of conversion, e.g. `text-to-video`; empty if there is none."""
    title: str = ""
    """Its name for people."""
    base_price: Decimal | None = None
    """The lowest price in US dollars; None if not stated."""
    parameters: dict[str, LiveParameter] | None = None
    """By name in the provider's order; None if the list does not describe them."""
    pricing: Any = field(default=None, repr=False)
    """The provider's own price formula; None if it is not published."""

    def __post_init__(self) -> None:
        plain.clean_fields(self, names=("id", "kind", "title"))
        object.__setattr__(self, "aliases", tuple(map(plain.name, self.aliases)))

    def is_called(self, name: str) -> bool:
        """Whether it is sold under this name."""
        return name == self.id or name in self.aliases
