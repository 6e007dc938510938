"""The sandbox's own table of endpoints: their parameters and allowed values, the price and the frame of a clip."""

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from resources.money import Micros, usd
from resources.sandbox.front_registry import fronts
from resources.sandbox.pictures import Measured, from_data_url, measure, scaled


class InvalidParameter(Exception):  # noqa: N818 - it is the provider's answer, not a failure of the sandbox
    """A request breaks the endpoint's rules.

    Attributes:
        parameter: The parameter's name.
        missing: Whether the parameter is absent, not wrong.
    """

    def __init__(self, parameter: str, message: str, *, missing: bool = False) -> None:
        super().__init__(message)
        self.parameter = parameter
        self.missing = missing


class SandboxParameter(BaseModel):
    """One key of a request. A `url` must be an http(s) URL; a `picture` may also be a picture in base64."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["string", "integer", "boolean", "array", "url", "picture"]
    required: bool = False
    default: Any = None
    values: tuple[Any, ...] = ()
    max_items: int | None = None

    def check(self, name: str, value: Any) -> None:
        """Raise `InvalidParameter` unless the value is allowed; a boolean is not an integer, and "4" is not 4."""
        if not self._fits(value):
            raise InvalidParameter(name, f"parameter {name} must be of type {self.type}, got {value!r}")
        if self.values and value not in self.values:
            allowed = ", ".join(str(v) for v in self.values)
            raise InvalidParameter(name, f"parameter {name} must be one of {allowed}, got {value!r}")
        if self.max_items is not None and len(value) > self.max_items:
            raise InvalidParameter(
                name, f"parameter {name} takes at most {self.max_items} items, got {len(value)}"
            )

    def _fits(self, value: Any) -> bool:
        match self.type:
            case "string":
                return isinstance(value, str) and bool(value.strip())
            case "url":
                return isinstance(value, str) and value.startswith(("http://", "https://"))
            case "picture":
                return isinstance(value, str) and value.startswith(("http://", "https://", "data:image/"))
            case "integer":
                return isinstance(value, int) and not isinstance(value, bool)
            case "boolean":
                return isinstance(value, bool)
            case "array":
                return isinstance(value, list) and all(isinstance(item, str) for item in value)

    def as_json_schema(self) -> dict[str, Any]:
        """The parameter as JSON Schema, as in WaveSpeed's `/models`."""
        schema: dict[str, Any] = {"type": "string" if self.type in {"url", "picture"} else self.type}
        if self.type == "array":
            schema["items"] = {"type": "string"}
        if self.values:
            schema["enum"] = list(self.values)
        if self.default is not None:
            schema["default"] = self.default
        return schema


class Price(BaseModel):
    """The price of a clip in US dollars: `flat` or `per_second`, one rate or one for each value of the parameter `by`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flat: Decimal | dict[str, Decimal] | None = None
    by: str | None = None
    per_second: Decimal | dict[str, Decimal] | None = None

    def rate(self, params: dict[str, Any]) -> Decimal:
        """The rate of a job with these parameters, per second or in all."""
        rate = self.per_second if self.flat is None else self.flat
        if isinstance(rate, dict):
            value = params[str(self.by)]
            return rate[str(value).lower() if isinstance(value, bool) else str(value)]
        return rate or Decimal(0)


def seconds_of(value: object, chosen: int) -> int:
    """A length as the providers write it: 5, `5` or `8s`.

    Args:
        chosen: The length if the model chooses it: `auto`, -1.
    """
    digits = str(value).removesuffix("s")
    return int(digits) if digits.isdecimal() else chosen


Flaw = Literal["black", "frozen", "silent"]


class Frame(BaseModel):
    """The shape of a finished clip: pixels, frames per second, seconds, sound, and its flaw."""

    model_config = ConfigDict(frozen=True)

    width: int
    height: int
    fps: int
    seconds: int
    audio: bool = True
    flaw: Flaw | None = None


class SandboxEndpoint(BaseModel):
    """One endpoint of one provider.

    `picture` is the rule for the first image: the video takes its shape, or the image must have the size of the video.
    `film_seconds` is the allowed duration of an uploaded film.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str
    base_price: Decimal
    price: Price
    parameters: dict[str, SandboxParameter]
    output: Literal["video", "character"] = "video"
    fps: int = 24
    seconds: int = 4
    frames: Literal["size"] | dict[str, dict[str, str]] = Field(default_factory=dict)
    picture: Literal["sets_frame", "fills_frame"] | None = None
    film_seconds: tuple[int, int] | None = None
    makes_drafts: bool = False
    """Whether a job with `draft: true` is a draft that can be finished."""
    finishes_drafts: bool = False
    """Whether it finishes the draft that `draft_id` names; parameters that only the draft has are read from the draft."""
    guess: str = ""

    def read(self, body: dict[str, Any]) -> dict[str, Any]:
        """The parameters of a job: checked, without unknown keys, with defaults.

        Raises:
            InvalidParameter: A parameter is missing or not allowed.
        """
        params: dict[str, Any] = {}
        for name, rule in self.parameters.items():
            value = body.get(name)
            if value is None:
                if rule.required:
                    raise InvalidParameter(name, f"parameter {name} is required", missing=True)
                value = rule.default
            else:
                rule.check(name, value)
            if value is not None:
                params[name] = value
        return params

    def cost(self, params: dict[str, Any]) -> Micros:
        """The price of a job with these parameters; the ordered duration counts."""
        seconds = 1 if self.price.flat is not None else seconds_of(params.get("duration"), self.seconds)
        return usd(self.price.rate(params) * seconds)

    def estimate(self, inputs: dict[str, Any]) -> Micros:
        """The answer of the price endpoint: the base price if a parameter that decides the price is missing."""
        deciding = {name for name in ("duration", self.price.by) if name in self.parameters}
        if not deciding <= inputs.keys():
            return usd(self.base_price)
        try:
            return self.cost(inputs)
        except (KeyError, TypeError, ValueError):
            return usd(self.base_price)

    def frame(self, params: dict[str, Any]) -> Frame:
        """The frame of the finished clip."""
        if self.frames == "size":
            width, height = str(params["size"]).split("*")
        else:
            shapes = self.frames.get(str(params.get("resolution")), next(iter(self.frames.values())))
            shape = shapes.get(str(params.get("aspect_ratio")), next(iter(shapes.values())))
            width, height = str(params.get("frame", shape)).split("x")
        return Frame(
            width=int(width),
            height=int(height),
            fps=self.fps,
            seconds=seconds_of(params.get("duration"), self.seconds),
            audio=bool(params.get("generate_audio", params.get("sound", True))),
        )

    def pictures(
        self, params: dict[str, Any], *, find: Callable[[str], Path | None] | None = None, problem: str
    ) -> dict[str, Measured]:
        """The sizes of the pictures in a request, in base64 or uploaded; addresses elsewhere are not fetched.

        Args:
            params: From `read`.
            find: The uploaded file at an address, None if it is gone; raises ValueError for an address elsewhere. Without it, nothing is
                uploaded to this provider.
            problem: The provider's message for a value that is not a picture; `{name}` is its parameter.

        Raises:
            InvalidParameter: A value is not a picture.
        """
        pictures = {}
        for name, rule in self.parameters.items():
            value = params.get(name)
            if rule.type != "picture" or not isinstance(value, str):
                continue
            source: Path | bytes | None
            if value.startswith("data:"):
                source = from_data_url(value)
            elif find is None:
                continue
            else:
                try:
                    source = find(value)
                except ValueError:
                    continue
            measured = measure(source) if source else None
            if measured is None:
                raise InvalidParameter(name, problem.format(name=name))
            pictures[name] = measured
        return pictures

    def look_at(self, params: dict[str, Any], files: dict[str, Measured]) -> dict[str, Any]:
        """Check uploaded files, and take the frame from the first image if the endpoint does so.

        Args:
            params: From `read`.
            files: Measured files by parameter.

        Raises:
            InvalidParameter: A picture has the wrong size, or a film the wrong length.
        """
        for name, measured in files.items():
            low, high = self.film_seconds or (0, 10**6)
            if not low <= measured.seconds <= high + 0.5:
                raise InvalidParameter(
                    name, f"{name} must be {low} to {high} seconds, got {measured.seconds:.1f}"
                )
        first = next((files[name] for name in ("image", "image_url") if name in files), None)
        if first is None or self.picture is None:
            return params
        if self.picture == "fills_frame":
            frame = self.frame(params)
            if (first.width, first.height) != (frame.width, frame.height):
                raise InvalidParameter(
                    "image_url",
                    f"the image must be {frame.width}x{frame.height}, got {first.width}x{first.height}",
                )
            return params
        if params.get("aspect_ratio") not in {None, "auto", "adaptive"}:
            return params
        planned = self.frame(params)
        width, height = scaled(first, min(planned.width, planned.height))
        return {**params, "frame": f"{width}x{height}"}


@cache
def load_endpoints() -> dict[str, dict[str, SandboxEndpoint]]:
    """Every endpoint, by provider and model id."""
    table = {name: yaml.safe_load(front.endpoints) for name, front in fronts().items()}
    return TypeAdapter(dict[str, dict[str, SandboxEndpoint]]).validate_python(table)
