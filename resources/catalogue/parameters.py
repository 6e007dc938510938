"""One parameter of an endpoint, as the provider's page describes it, and the check of its values."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from resources.catalogue.media_addresses import ALLOWED, address_mistake
from resources.declared.problems import Problem, listed, show
from resources.declared.validation import Declared, Plain, refused
from resources.file_references import FileReference

Scalar = str | int | bool
Media = Literal["image", "video", "audio"]

_TYPES: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "array": list}
_ALLOWED_TYPE = {
    "string": "text",
    "integer": "a whole number",
    "boolean": "true or false",
    "array": "a list of texts",
}


class Parameter(Declared):
    """One parameter by the endpoint's own name."""

    type: Literal["string", "integer", "boolean", "array"]
    """The type; an array is a list of texts."""
    required: bool = False
    """Whether the request is refused without it."""
    default: Plain | None = None
    """The default of the provider's page. It is always sent explicitly: defaults cost money and change."""
    prefer: Plain | None = None
    """The value that is sent instead of the page's default if a series gives none."""
    allowed: Annotated[list[Plain], Field(min_length=1)] | None = None
    """The values that the page allows, byte for byte."""
    min: int | None = None
    """Smallest allowed number."""
    max: int | None = None
    """Largest allowed number."""
    max_length: Annotated[int, Field(ge=1)] | None = None
    """Most characters of a text."""
    max_items: Annotated[int, Field(ge=1)] | None = None
    """Most items of an array."""
    media: Media | None = None
    """The kind of media at the address in the text or in each item. A series may also name a file of the data folder."""
    inline: bool = False
    """Whether the provider takes a file in the request itself, as base64."""
    fills_frame: bool = False
    """Whether the picture must have exactly the size of the video."""
    min_seconds: Annotated[int, Field(ge=0)] | None = None
    """The shortest video or sound, in seconds."""
    max_seconds: Annotated[int, Field(ge=1)] | None = None
    """The longest video or sound, in seconds."""
    starts_with: str | None = None
    """The beginning of the text or of each item, e.g. `char_`."""
    description: str | None = None
    """What it does, for people and editors."""

    @model_validator(mode="after")
    def _consistent(self) -> "Parameter":
        kind = _TYPES[self.type]
        for value in self.allowed or ():
            if type(value) is not kind:
                raise refused(
                    f"`allowed` contains {show(value)}, which is not {_ALLOWED_TYPE[self.type]}", found=False
                )
        if self.media is not None and self.type not in {"string", "array"}:
            raise refused("`media` is for texts and arrays of addresses", found=False)
        if self.media is None and (self.inline or self.fills_frame or self.max_seconds or self.min_seconds):
            raise refused("set `media` to the kind of media at the address", found=False)
        for name in ("default", "prefer"):
            value = getattr(self, name)
            if value is not None and (problem := self.problem(value)) is not None:
                raise refused(f"its `{name}` does not obey its own rules: {problem}", found=False)
        return self

    @property
    def sent(self) -> Scalar | None:
        """The value that is sent if a series gives none; None if the parameter is left out."""
        value: Scalar | None = self.default if self.prefer is None else self.prefer
        return value

    def problem(self, value: Any) -> Problem | None:
        """The problem of a value, without a place; None if the value is allowed."""
        # `type() is`, because in Python true is a whole number
        fits = type(value) is _TYPES[self.type]
        if not fits or (self.allowed is not None and value not in self.allowed):
            problem = Problem("", self._nearest(value), show(value), self.allows)
            return problem if problem.message else problem.hinted(value, self.allowed or ())
        if isinstance(value, list):
            return self._array_problem(value)
        if isinstance(value, str):
            return self._text_problem(value)
        if (self.min is not None and value < self.min) or (self.max is not None and value > self.max):
            return Problem("", self._nearest(value), show(value), self.allows)
        return None

    def _nearest(self, value: Any) -> str:
        """The nearest allowed number, as a sentence; empty if there is none."""
        if isinstance(value, bool) or not isinstance(value, int | float) or self.type != "integer":
            return ""
        numbers = self.allowed or [bound for bound in (self.min, self.max) if bound is not None]
        inside = self.allowed is None and any(value < bound for bound in numbers) != all(
            value < bound for bound in numbers
        )
        # a fraction inside the bounds is between two whole numbers, and either may be meant
        return "" if inside or not numbers else f"nearest: {min(numbers, key=lambda n: abs(n - value))}"

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
        if self.media is not None and FileReference.parse(item) is None:
            mistake = address_mistake(item)
            if mistake is not None:
                return Problem("", mistake, show(item), f"{ALLOWED}, or a file inside the data folder")
        if self.media is None and FileReference.parse(item) is not None:
            return Problem("", "looks like dailies' own name for a local file", show(item), "another text")
        return None

    @property
    def allows(self) -> str:
        """The allowed values, for a person."""
        if self.allowed is not None:
            return listed(self.allowed)
        if self.media is not None:
            one = f"an https:// or http:// address of {_A[self.media]}, or a file inside the data folder"
            return one if self.type == "string" else f"a list; each item {one}"
        kind = _ALLOWED_TYPE[self.type]
        if self.min is not None and self.max is not None:
            return f"{kind} from {self.min} to {self.max}"
        return kind


_A = {"image": "an image", "video": "a video", "audio": "a sound"}
