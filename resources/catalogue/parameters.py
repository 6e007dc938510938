"""One parameter of an endpoint: what the provider's page says about it, and the check that a value obeys it."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from resources.declared.problems import Problem, listed, show
from resources.declared.validation import Declared, Plain, refused

MAX_URL = 2048

Scalar = str | int | bool

_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "array": list}
_ALLOWED_TYPE = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list of texts",
}


class Parameter(Declared):
    """One parameter, in the endpoint's own words."""

    type: Literal["string", "integer", "boolean", "array"]
    """What the provider expects; an array is a list of texts."""
    required: bool = False
    """Whether the request is refused without it."""
    default: Plain | None = None
    """The default of the provider's page. It is always sent explicitly: defaults cost money and change."""
    prefer: Plain | None = None
    """What is sent instead of the page's default when a series says nothing."""
    allowed: Annotated[list[Plain], Field(min_length=1)] | None = None
    """The values the page allows, byte for byte as it writes them."""
    min: int | None = None
    """Smallest allowed number."""
    max: int | None = None
    """Largest allowed number."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Most characters of a text."""
    max_items: Annotated[int, Field(ge=1)] | None = None
    """Most items of an array."""
    url: bool = False
    """Whether the text, or each item, is an http(s) address."""
    starts_with: str | None = None
    """What the text, or each item, begins with, e.g. `char_`."""
    description: str | None = None
    """What it does, for people and editors."""

    @model_validator(mode="after")
    def _consistent(self) -> "Parameter":
        kind = _TYPES[self.type]
        for value in self.allowed or ():
            if type(value) is not kind:
                raise refused(
                    f"`allowed` holds {show(value)}, which is not {_ALLOWED_TYPE[self.type]}", found=False
                )
        for name in ("default", "prefer"):
            value = getattr(self, name)
            if value is not None and (problem := self.problem(value)) is not None:
                raise refused(f"its `{name}` does not obey its own rules: {problem}", found=False)
        return self

    @property
    def sent(self) -> Scalar | None:
        """What is sent when a series says nothing; None leaves it out."""
        value: Scalar | None = self.default if self.prefer is None else self.prefer
        return value

    def problem(self, value: Any) -> Problem | None:
        """What is wrong with a value, as a problem without a place; None if nothing."""
        # `type() is`, since to Python true is a whole number
        fits = type(value) is _TYPES[self.type]
        if not fits or (self.allowed is not None and value not in self.allowed):
            return Problem("", found=show(value), allowed=self.allows).hinted(value, self.allowed or ())
        if isinstance(value, list):
            return self._array_problem(value)
        if isinstance(value, str):
            return self._text_problem(value)
        if (self.min is not None and value < self.min) or (self.max is not None and value > self.max):
            return Problem("", found=show(value), allowed=self.allows)
        return None

    def _array_problem(self, items: list[Any]) -> Problem | None:
        if not items:
            return Problem("", found="an empty list", allowed=self.allows)
        if self.max_items is not None and len(items) > self.max_items:
            return Problem("", found=f"{len(items)} items", allowed=f"at most {self.max_items}")
        return next(filter(None, map(self._text_problem, items)), None)

    def _text_problem(self, item: Any) -> Problem | None:
        if not isinstance(item, str):
            return Problem("", found=show(item), allowed="text")
        if self.max_length is not None and len(item) > self.max_length:
            return Problem("", found=f"{len(item)} characters", allowed=f"at most {self.max_length}")
        if self.starts_with is not None and not item.startswith(self.starts_with):
            return Problem("", found=show(item), allowed=f"text that begins with {show(self.starts_with)}")
        if self.url and not (
            item.startswith(("https://", "http://")) and len(item) <= MAX_URL and len(item.split()) == 1
        ):
            return Problem("", found=show(item), allowed="an address that begins with https:// or http://")
        return None

    @property
    def allows(self) -> str:
        """What may be given, for a person."""
        if self.allowed is not None:
            return listed(self.allowed)
        kind = _ALLOWED_TYPE[self.type]
        if self.min is not None and self.max is not None:
            return f"{kind} from {self.min} to {self.max}"
        return kind
