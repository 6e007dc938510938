"""The expected file of an endpoint: its frame, its duration and its sound, as far as the provider states them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from resources.declared.validation import Declared, refused
from resources.orders import Expected

_SECONDS = re.compile(r"([1-9][0-9]{0,2})s?")
_SHAPE = re.compile(r"[1-9][0-9]{0,3}:[1-9][0-9]{0,3}")


def _frame(value: str) -> str:
    width, x, height = value.partition("x")
    if not (x and width.isdecimal() and height.isdecimal() and len(value) < 12):
        raise refused(allowed="a frame as WIDTHxHEIGHT in pixels, e.g. 1280x720")
    return value


Frame = Annotated[
    str, AfterValidator(_frame), WithJsonSchema({"type": "string", "pattern": "^[0-9]+x[0-9]+$"})
]


def seconds_of(value: object) -> int | None:
    """The seconds in a parameter's value, as a number or as some providers write them: `5`, `8s`; None for anything else."""
    if isinstance(value, str) and (match := _SECONDS.fullmatch(value)):
        return int(match[1])
    return value if type(value) is int else None


class FrameTable(Declared):
    """Frames by the values of one or two parameters. A frame that is not in the table is unknown."""

    rows: str
    """The parameter that chooses the row, e.g. `resolution`."""
    columns: str
    """The parameter that chooses the column, e.g. `aspect_ratio`."""
    frames: dict[str, dict[str, Frame]]
    """Frames as `1280x720`, by row and column."""


class Output(Declared):
    """The expected file, as far as the provider states it."""

    size: str | None = None
    """The parameter for the frame itself, as `1280*720`."""
    table: FrameTable | None = None
    """Frames by other parameters, if no parameter is the frame itself."""
    shape: str | None = None
    """The parameter for the frame's ratio, as `16:9`, if no source says its pixels."""
    seconds: str | None = None
    """The parameter for the duration."""
    audio: bool | str | None = None
    """Whether there is an audio track, or the parameter that decides it."""

    def expected(self, body: Mapping[str, Any]) -> Expected:
        """The expected file of a request."""
        frame: str | None = None
        if self.size is not None:
            frame = str(body.get(self.size, "")).replace("*", "x")
        elif self.table is not None:
            row = self.table.frames.get(str(body.get(self.table.rows)), {})
            frame = row.get(str(body.get(self.table.columns)))
        width, _, height = (frame or "").partition("x")
        shape = body.get(self.shape) if self.shape is not None else None
        seconds = seconds_of(body.get(self.seconds)) if self.seconds is not None else None
        return Expected(
            width=int(width) if height else None,
            height=int(height) if height else None,
            shape=shape if shape is not None and _SHAPE.fullmatch(str(shape)) else None,
            duration=seconds,
            audio=body.get(self.audio) if isinstance(self.audio, str) else self.audio,
        )

    @property
    def parameters(self) -> set[str]:
        """The parameters that it reads."""
        names = {self.size, self.shape, self.seconds, self.audio if isinstance(self.audio, str) else None}
        if self.table is not None:
            names |= {self.table.rows, self.table.columns}
        return {name for name in names if name is not None}
