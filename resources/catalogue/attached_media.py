"""Images, videos and sounds of a request: an address is kept, a local file is checked and named by its content."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from resources.catalogue.codecs import Codec
from resources.catalogue.files import MAX_INLINE_BYTES, TYPES, DataFolder, LocalFile
from resources.catalogue.parameters import Parameter
from resources.declared.problems import Problem, ProblemsError, show
from resources.file_references import FileReference
from resources.orders import Expected


@dataclass
class Attached:
    """A checked media parameter."""

    value: Any
    """The value for the request, with a `resources.file_references.FileReference` for every local file."""
    files: list[LocalFile] = field(default_factory=list)
    """The local files."""
    problems: list[Problem] = field(default_factory=list)
    """Mistakes, without a place."""


def attach(parameter: Parameter, value: Any, files: DataFolder | None, codec: Codec) -> Attached:
    """Check a media parameter and the local files that it names. Nothing is sent.

    Args:
        files: The data folder; None if no local file may be named.
        codec: Says whether the provider takes files.
    """
    if parameter.type == "array" and isinstance(value, str | FileReference):
        value = [value]  # one image for a parameter that takes several
    items = value if isinstance(value, list) else [value]
    attached = Attached(value)
    sent: list[Any] = []
    for item in items[: parameter.max_items]:
        if isinstance(item, FileReference):
            # our own, which no series can write: the first frame of a draft
            problem = _not_taken(parameter, codec, str(item))
            attached.problems += [problem] if problem is not None else []
            sent.append(str(item))
            continue
        if not isinstance(item, str) or "://" in item or item.startswith("data:"):
            sent.append(item)
            continue
        try:
            file = _local(parameter, item, files, codec)
        except ProblemsError as error:
            attached.problems += error.problems
            continue
        attached.files.append(file)
        sent.append(str(file.reference))
    if not attached.problems:
        attached.value = [*sent, *items[len(sent) :]] if isinstance(value, list) else sent[0]
        problem = parameter.problem(attached.value)
        attached.problems += [problem] if problem is not None else []
    return attached


def _local(parameter: Parameter, text: str, files: DataFolder | None, codec: Codec) -> LocalFile:
    media = parameter.media or "image"
    if files is None:
        raise ProblemsError([Problem("", "local files cannot be used here", show(text), parameter.allows)])
    file = files.find(text, media=media)
    if (problem := _not_taken(parameter, codec, text)) is not None:
        raise ProblemsError([problem])
    if not codec.uploads and file.size > MAX_INLINE_BYTES:
        allowed = f"at most {MAX_INLINE_BYTES // 1_000_000} MB, because it is sent inside the request"
        raise ProblemsError([Problem("", "", f"{show(text)} of {file.size / 1_000_000:.1f} MB", allowed)])
    low, high = parameter.min_seconds or 0, parameter.max_seconds or math.inf
    if file.seconds is not None and not low <= round(file.seconds, 1) <= high:
        allowed = f"{TYPES[media]} of {low} to {high} seconds"
        raise ProblemsError([Problem("", "", f"{show(text)} of {file.seconds:.1f} seconds", allowed)])
    return file


def _not_taken(parameter: Parameter, codec: Codec, text: str) -> Problem | None:
    """Why the provider takes no file for a parameter."""
    if codec.uploads or parameter.inline:
        return None
    message = "this provider takes no files for this parameter; publish the file and give its address"
    return Problem("", message, show(text), "an https:// address")


def frame_problems(
    parameters: Mapping[str, Parameter], files: Mapping[str, list[LocalFile]], expected: Expected
) -> dict[str, Problem]:
    """Pictures of another size than the video, if the provider's page forbids that; by the endpoint's own parameter name."""
    problems = {}
    for name, pictures in files.items():
        for file in pictures:
            size = (file.is_a.width, file.is_a.height)
            if parameters[name].fills_frame and expected.width and size != (expected.width, expected.height):
                size_text = f"{show(file.reference.path)} of {size[0]}x{size[1]} pixels"
                allowed = f"exactly {expected.width}x{expected.height} pixels, the size of the video"
                problems[name] = Problem("", "", size_text, allowed)
    return problems
