"""Mistakes in declarations: the place, the value, the allowed values, and the nearest right spelling."""

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resources.errors import ConfigurationError
from resources.plain import legible, without_queries

_SHOWN = 80
_LISTED = 24
_SHORTEST_PART = 3
"""Characters of a part that finds the choices that contain it."""


@dataclass(frozen=True)
class Problem:
    """One mistake and its place."""

    field: str
    """The place inside the file, e.g. `parameters.size`; empty for the whole file."""
    message: str = ""
    """The message; empty if `found` and `allowed` are enough."""
    found: str | None = None
    """The value in the file, as `show` writes it."""
    allowed: str | None = None
    """The values that are allowed, for a person."""
    file: Path | None = None
    """The file, if the mistake is in one."""
    line: int | None = None
    """Line in the file, from 1."""

    def at(self, file: Path, line: int | None, field: str | None = None) -> "Problem":
        """The same problem with its file and line."""
        return replace(self, file=file, line=line, field=self.field if field is None else field)

    def hinted(self, value: object, choices: Iterable[object]) -> "Problem":
        """The same problem with the most similar choice, if one is similar."""
        hint = nearest(value, choices)
        return replace(self, message="; ".join(filter(None, (self.message, hint)))) if hint else self

    def suggesting(self, value: object, choices: Sequence[object]) -> "Problem":
        """The same problem with the most similar choice, else with those that contain the value, else with all."""
        hinted = self.hinted(value, choices)
        if hinted is not self:
            return hinted
        text = str(value)
        holding = [choice for choice in choices if len(text) >= _SHORTEST_PART and text in str(choice)]
        if not holding:
            return replace(self, allowed=listed(choices))
        named = f"these contain it: {listed(holding)}"
        return replace(self, message="; ".join(filter(None, (self.message, named))))

    def __str__(self) -> str:
        place = ""
        if self.file is not None:
            place = _relative(self.file) + (f":{self.line}" if self.line is not None else "") + ": "
        facts = ", ".join(
            f"{word}{text}"
            for word, text in (("found ", self.found), ("allowed: ", self.allowed))
            if text is not None
        )
        what = " - ".join(part for part in (facts, self.message) if part)
        return f"{place}{self.field}: {what}" if self.field else f"{place}{what}"


class ProblemsError(ConfigurationError):
    """A declaration has mistakes; nothing was sent anywhere.

    Attributes:
        problems: Every mistake found, at least one.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class Mistakes:
    """Gathers the mistakes of several steps, so that a person sees all of them at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """One step: its problems are kept, and the next step follows."""
        try:
            yield
        except ProblemsError as error:
            self.problems += error.problems

    def end(self) -> None:
        """Raise the problems of all steps.

        Raises:
            ProblemsError: A step has found problems.
        """
        if self.problems:
            raise ProblemsError(self.problems)


def show(value: object) -> str:
    """A value for a message: text quoted, long values cut, `true` and `nothing` by their YAML names.

    Addresses are shown without their query, which may be a signature.
    """
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if not isinstance(value, str):
        return str(value)[:_SHOWN]
    text = without_queries(value)
    return repr(text[:_SHOWN]) + ("..." if len(text) > _SHOWN else "")


def listed(values: Sequence[object]) -> str:
    """Allowed values for a person, at most two dozen."""
    if not values:
        return "none"
    rest = len(values) - _LISTED
    return ", ".join(show(value) for value in values[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def nearest(value: object, choices: Iterable[object]) -> str:
    """`did you mean 'x'?` with the most similar choice; empty if none is similar."""
    by_text = {str(choice): choice for choice in choices}
    # a file may have 256 KB, and comparing 256 KB of text takes minutes
    matches = difflib.get_close_matches(str(value)[:_SHOWN], by_text, n=1, cutoff=0.6)
    return f"did you mean {show(by_text[matches[0]])}?" if matches else ""


def suggestion(value: object, choices: Iterable[object]) -> str:
    """`; did you mean 'x'?` as the end of a sentence; a full stop if no choice is similar."""
    hint = nearest(value, choices)
    return f"; {hint}" if hint else "."


def why_unreadable(error: OSError) -> str:
    """Why a file cannot be read, with the remedy if there is one."""
    if isinstance(error, IsADirectoryError):
        return "it is a folder, and a file is expected here; move or rename it"
    if isinstance(error, PermissionError):
        return f"{error.strerror}; let your user read it (chmod u+r)"
    return str(error.strerror or error)


def _relative(file: Path) -> str:
    try:
        return legible(str(file.absolute().relative_to(Path.cwd())))
    except (ValueError, OSError):
        return legible(str(file))
