"""Common parameters, translated into each provider's own.

A series may use `duration` (seconds), `resolution` (`720p`), `aspect_ratio` (`16:9`), `image`, `characters` and `seed` for
any endpoint, beside the endpoint's own parameters. If the endpoint has a parameter of that name, its page decides. A value
that the endpoint does not sell is refused with the values that it sells, and with the nearest.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from resources.catalogue.frames import Output, seconds_of
from resources.catalogue.parameters import Parameter
from resources.declared.problems import Problem, listed, show
from resources.orders import Seed
from resources.providers.spec import ProviderSpec

COMMON = ("duration", "resolution", "aspect_ratio", "image", "characters", "seed")
"""The common parameters."""

_RESOLUTION = re.compile(r"([1-9][0-9]{2,3})p")
_RATIO = re.compile(r"([1-9][0-9]?):([1-9][0-9]?)")
_RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "9:21", "3:2", "2:3")
_SAME_SHAPE = 0.03
"""The largest distance of a frame's ratio from that of its name (natural logarithm): 1792x1024 is sold as 16:9."""


@dataclass(frozen=True)
class Shape:
    """A frame by its common names."""

    value: str
    """How the endpoint writes it, e.g. `1280*720`."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""

    @property
    def resolution(self) -> str:
        """Named by the shorter side: `720p`."""
        return f"{min(self.width, self.height)}p"

    @property
    def aspect_ratio(self) -> str:
        """The name of a usual ratio, or else the exact ratio in whole numbers."""
        for ratio in _RATIOS:
            if abs(_log_ratio(ratio) - math.log(self.width / self.height)) <= _SAME_SHAPE:
                return ratio
        shared = math.gcd(self.width, self.height)
        return f"{self.width // shared}:{self.height // shared}"

    def __str__(self) -> str:
        return f"{self.resolution} {self.aspect_ratio}"


@dataclass
class Translation:
    """A series' parameters by an endpoint's own names."""

    values: dict[str, Any] = field(default_factory=dict)
    """Values by the endpoint's own names."""
    names: dict[str, str] = field(default_factory=dict)
    """The series' name of each, by the endpoint's own name."""
    problems: list[Problem] = field(default_factory=list)
    """Refused values; the fields are `parameters.<the series' name>`."""


class EndpointFacts(Protocol):
    """The part of an endpoint that a codec reads."""

    @property
    def id(self) -> str:
        """The provider's model id."""
        ...

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Its parameters by the provider's own names."""
        ...

    @property
    def output(self) -> Output:
        """The expected properties of the file."""
        ...


class Codec:
    """Writes a series' parameters by the conventions of one provider. A new model that keeps them needs no code."""

    def __init__(self, provider: ProviderSpec) -> None:
        self.words = provider.conventions.words
        self.frame = provider.conventions.frame
        self.separator = provider.conventions.separator
        self.uploads = provider.capabilities.upload_seconds is not None
        """Whether the provider takes files and gives an address for them."""

    def translate(self, endpoint: EndpointFacts, parameters: Mapping[str, Any]) -> Translation:
        """Translate a series' parameters into an endpoint's own; `Endpoint.resolve` checks the values."""
        translation = Translation()
        shape: dict[str, Any] = {}
        for name, value in parameters.items():
            own = self._own_name(endpoint, name)
            if own is not None:
                if own in translation.names:
                    message = f"means the same as {translation.names[own]!r}; keep one of them"
                    translation.problems.append(Problem(f"parameters.{name}", message))
                    continue
                translation.values[own] = self._own_value(endpoint, own, value)
                translation.names[own] = name
            elif name in {"resolution", "aspect_ratio"} and self.shapes(endpoint):
                shape[name] = value
            elif name in COMMON:
                translation.problems.append(self._cannot_be_had(endpoint, name, value))
        if shape:
            self._choose(endpoint, shape, translation)
        return translation

    def seed(self, endpoint: EndpointFacts) -> Seed | None:
        """How an endpoint takes a seed, None if it takes none."""
        own = self._own_name(endpoint, "seed")
        if own is None or endpoint.parameters[own].type != "integer":
            return None
        parameter = endpoint.parameters[own]
        known = {"most": parameter.max} if parameter.max is not None else {}
        return Seed(name=own, least=max(parameter.min or 0, 0), **known)

    def common_words(self, endpoint: EndpointFacts) -> dict[str, Parameter]:
        """The common parameters that an endpoint accepts in addition to its own."""
        words = {}
        for word in COMMON:
            own = self._own_name(endpoint, word)
            if word not in endpoint.parameters and own is not None:
                words[word] = endpoint.parameters[own]
        shapes = self.shapes(endpoint)
        for word in ("resolution", "aspect_ratio"):
            if shapes and word not in endpoint.parameters:
                allowed = list(dict.fromkeys(getattr(shape, word) for shape in shapes))
                words[word] = Parameter(
                    type="string", allowed=allowed, description=f"Chooses the `{self.frame}`."
                )
        return words

    def shapes(self, endpoint: EndpointFacts) -> list[Shape]:
        """The frames that an endpoint sells in one parameter; empty if it has no such parameter."""
        parameter = endpoint.parameters.get(self.frame)
        values = parameter.allowed if parameter is not None and parameter.allowed else []
        return [shape for value in values if (shape := self._shape(value)) is not None]

    def _shape(self, value: Any) -> Shape | None:
        width, _, height = str(value).partition(self.separator)
        if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
            return None
        return Shape(str(value), int(width), int(height))

    def _own_name(self, endpoint: EndpointFacts, name: str) -> str | None:
        if name in endpoint.parameters:
            return name
        return next((own for own in self.words.get(name, ()) if own in endpoint.parameters), None)

    def _own_value(self, endpoint: EndpointFacts, own: str, value: Any) -> Any:
        """The endpoint's own name of a resolution that is given by its true shorter side; other values unchanged."""
        table, parameter = endpoint.output.table, endpoint.parameters[own]
        if type(value) is int and parameter.type == "string" and own == endpoint.output.seconds:
            written = [one for one in parameter.allowed or () if seconds_of(one) == value]
            return written[0] if written else value
        if table is None or own != table.rows or parameter.allowed is None or value in parameter.allowed:
            return value
        for row, frames in table.frames.items():
            sides = {min(int(side) for side in frame.split("x")) for frame in frames.values()}
            if row in parameter.allowed and [f"{side}p" for side in sides] == [value]:
                return row
        return value

    def _choose(self, endpoint: EndpointFacts, common: dict[str, Any], translation: Translation) -> None:
        """Choose the frame of a resolution and an aspect ratio; a missing one comes from the endpoint's default."""
        first = next(iter(common))
        if self.frame in translation.names:
            message = f"and {self.frame!r} both choose the frame; keep one of them"
            translation.problems.append(Problem(f"parameters.{first}", message))
            return
        shapes = self.shapes(endpoint)
        default = self._shape(endpoint.parameters[self.frame].sent) or shapes[0]
        resolution = common.get("resolution", default.resolution)
        ratio = common.get("aspect_ratio", default.aspect_ratio)
        for shape in shapes:
            if (shape.resolution, shape.aspect_ratio) == (resolution, ratio):
                translation.values[self.frame], translation.names[self.frame] = shape.value, first
                return
        known = {word: [getattr(shape, word) for shape in shapes] for word in ("resolution", "aspect_ratio")}
        unknown = [word for word in common if common[word] not in known[word]]
        near = nearest_shape(shapes, resolution, ratio)
        message = (
            f"nearest: resolution {near.resolution}, aspect_ratio {show(near.aspect_ratio)} "
            f"({self.frame} {near.value})"
        )
        for word in unknown or [first]:
            allowed = listed(list(dict.fromkeys(getattr(shape, word) for shape in shapes)))
            if not unknown:
                allowed = ", ".join(map(str, shapes))
            translation.problems.append(Problem(f"parameters.{word}", message, show(common[word]), allowed))

    def _cannot_be_had(self, endpoint: EndpointFacts, name: str, value: Any) -> Problem:
        why = f"cannot be chosen for {endpoint.id}"
        if name in {"resolution", "aspect_ratio"} and any(
            p.media == "image" and p.required for p in endpoint.parameters.values()
        ):
            why += ": the frame follows the image"
        elif name == "image":
            why = f"cannot be given to {endpoint.id}, which makes video from text alone"
        elif name == "characters":
            return Problem(
                f"parameters.{name}",
                f"{endpoint.id} shows no characters; leave them out, or use another endpoint",
            )
        known = [known for known in (*endpoint.parameters, *self.common_words(endpoint)) if known != "prompt"]
        return Problem(f"parameters.{name}", why, show(value), f"the parameters {listed(known)}")


def nearest_shape(shapes: Iterable[Shape], resolution: object, ratio: object) -> Shape:
    """The frame nearest to a resolution and a ratio. The ratio counts first; a value that cannot be read does not count."""
    side = _RESOLUTION.fullmatch(resolution) if isinstance(resolution, str) else None
    lines = math.log(int(side[1])) if side else None
    ordered = _log_ratio(ratio)

    def distance(shape: Shape) -> tuple[float, float]:
        turned = abs(ordered - math.log(shape.width / shape.height)) if ordered is not None else 0.0
        smaller = abs(lines - math.log(min(shape.width, shape.height))) if lines is not None else 0.0
        return round(turned, 1), smaller

    return min(shapes, key=distance)


def _log_ratio(ratio: object) -> Any:
    match = _RATIO.fullmatch(ratio) if isinstance(ratio, str) else None
    return math.log(int(match[1]) / int(match[2])) if match else None
