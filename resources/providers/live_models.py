"""A model that can be bought now, as its provider lists it. `resources.providers.models` reads the lists."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from resources import plain


@dataclass(frozen=True)
class LiveParameter:
    """One parameter as the provider describes it.

    Attributes:
        type: `string`, `integer`, `boolean` or `array`; another word where the provider uses one.
        required: Whether it must be given.
        default: What the provider takes when nothing is given.
        allowed: The values it may have, empty where they are not listed.
        minimum: Smallest number, None where that is not said.
        maximum: Largest number.
        max_items: Most items of an array.
        description: The provider's words.
    """

    type: str
    required: bool = False
    default: Any = None
    allowed: tuple[Any, ...] = ()
    minimum: int | None = None
    maximum: int | None = None
    max_items: int | None = None
    description: str = ""

    def __post_init__(self) -> None:
        plain.clean_fields(self, names=("type",), sentences=("description",))


@dataclass(frozen=True)
class LiveModel:
    """One model as the provider lists it.

    Attributes:
        id: What it is bought as.
        aliases: Other names it answers to.
        kind: The provider's word for what it turns into what, empty where it says none.
        title: Its name for people.
        base_price: The price it starts at in US dollars, None where that is not said.
        parameters: By name in the provider's order, None where the list does not describe them.
        pricing: The provider's own price formula, None where it is not told.
    """

    id: str
    aliases: tuple[str, ...] = ()
    kind: str = ""
    title: str = ""
    base_price: Decimal | None = None
    parameters: dict[str, LiveParameter] | None = None
    pricing: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        plain.clean_fields(self, names=("id", "kind", "title"))
        object.__setattr__(self, "aliases", tuple(map(plain.name, self.aliases)))

    def is_called(self, name: str) -> bool:
        """Whether it is sold under this name."""
        return name == self.id or name in self.aliases
