"""A checked series and its clips: expansion, keys and rendering."""

import datetime as dt
import itertools
import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from resources.catalogue import Endpoint
from resources.declared.document import Document, Where
from resources.declared.problems import Problem, ProblemsError, listed, show
from resources.requests import Caps, ClipRequest
from resources.series.declaration import MAX_CLIPS, Schedule, SeriesDeclaration, is_date_shaped
from resources.series.templates import PromptError, PromptTemplate

_KEY = re.compile(r"[a-z0-9][a-z0-9-]{2,79}")
_ANY_DATE = "0000-00-00"


@dataclass(frozen=True, slots=True)
class Clip:
    """One thing to produce.

    Attributes:
        key: Its key, which is its Dagster partition, e.g. `city-sunset-2026-11-20-hero`.
        series: Name of its series.
        name: Its name within the series.
        date: Its date, None in a series that is not dated.
    """

    key: str
    series: str
    name: str
    date: dt.date | None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the declaration says about a clip, whatever its date."""

    variables: Mapping[str, Any]
    parameters: Mapping[str, Any]
    where: Where


class Series:
    """A series without mistakes.

    Attributes:
        declaration: What the file says.
        endpoint: What its clips are bought from.
        document: The file with its lines.
    """

    def __init__(self, declaration: SeriesDeclaration, endpoint: Endpoint, document: Document) -> None:
        """Expand the declaration and compile its template.

        Raises:
            ProblemsError: It cannot be expanded, or the template is wrong.
        """
        self.declaration = declaration
        self.endpoint = endpoint
        self.document = document
        self._entries = _expand(declaration, document)
        for name, entry in self._entries.items():
            if not _KEY.fullmatch(key := self._key(name, _ANY_DATE if self.dated else None)):
                message = f"the clip's key {show(key)} would be longer than 80 characters; shorten a name"
                raise ProblemsError([document.problem(entry.where, message=message)])
            if not self.dated and is_date_shaped(key):
                message = f"the clip's key {show(key)} reads as if it held a date; change a name"
                raise ProblemsError([document.problem(entry.where, message=message)])
        try:
            self._template = PromptTemplate(declaration.prompt)
        except PromptError as problem:
            raise ProblemsError([self._template_problem(problem)]) from None

    @property
    def name(self) -> str:
        """Its name, the start of its clips' keys."""
        return self.declaration.name

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.declaration.title or self.declaration.name

    @property
    def description(self) -> str | None:
        """What it is for."""
        return self.declaration.description

    @property
    def schedule(self) -> Schedule | None:
        """When it is produced by itself."""
        return self.declaration.schedule

    @property
    def owner(self) -> str | None:
        """Who answers for it, as Dagster writes owners."""
        return self.declaration.owner

    @property
    def tags(self) -> dict[str, str]:
        """Labels shown in Dagster."""
        return self.declaration.tags

    @property
    def dated(self) -> bool:
        """Whether each date has its own clips."""
        return self.declaration.is_dated

    @property
    def clip_names(self) -> list[str]:
        """The clips' names in the order of the file."""
        return list(self._entries)

    def clips(self, date: dt.date | None = None) -> list[Clip]:
        """Its clips for a date, in the order of the file.

        Args:
            date: The date; a series that is not dated ignores it.

        Raises:
            ProblemsError: The series is dated and no date was given.
        """
        return [self.clip(name, date) for name in self._entries]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def clip(self, name: str, date: dt.date | None = None) -> Clip:
        """One clip by its name.

        Raises:
            ProblemsError: There is no such clip, or the series is dated and no date was given.
        """
        if name not in self._entries:
            message = f"is not a clip of the series {self.name}"
            problem = Problem("clip", message, show(name), listed(self.clip_names))
            raise ProblemsError([problem.hinted(name, self._entries)])
        if not self.dated:
            return Clip(self._key(name, None), self.name, name, None)
        if date is None:
            raise ProblemsError(
                [Problem("date", f"the series {self.name} has clips for each date; say which date")]
            )
        return Clip(self._key(name, date.isoformat()), self.name, name, date)

    def _key(self, name: str, date: str | None) -> str:
        return f"{self.name}-{date}-{name}" if date else f"{self.name}-{name}"

    def render(self, clip: Clip) -> ClipRequest:
        """The clip's request, rendered and checked.

        Raises:
            ProblemsError: The prompt or a parameter is wrong, each in its place.
        """
        clip = self.clip(clip.name, clip.date)  # one that was found before the file changed may be gone
        entry = self._entries[clip.name]
        variables = {**entry.variables, "series": clip.series, "clip": clip.name}
        if clip.date is not None:
            variables["date"] = clip.date.isoformat()
        try:
            prompt = self._template.render(variables)
        except PromptError as problem:
            raise ProblemsError([self._template_problem(problem, clip, variables)]) from None
        try:
            body = self.endpoint.resolve(prompt, entry.parameters)
        except ProblemsError as error:
            raise ProblemsError(self._in_place(problem, entry) for problem in error.problems) from None
        return ClipRequest(
            clip=clip.key,
            series=self.name,
            provider=self.endpoint.provider,
            endpoint=self.endpoint.id,
            body=body,
            price_micros=self.endpoint.price(body),
            expected=self.endpoint.expected(body),
            usual_seconds=self.endpoint.usual_seconds,
            max_seconds=self.endpoint.max_seconds,
            max_attempts=self.declaration.max_attempts,
            caps=self.declaration.budget.caps() if self.declaration.budget else Caps(),
            owner=self.owner,
            tags=self.tags,
        )

    def _in_place(self, problem: Problem, entry: _Entry) -> Problem:
        """A problem of the endpoint, where the clip or else the series says it."""
        inside: Where = tuple(problem.field.split("."))
        own = (*entry.where, *inside)
        where = own if own in self.document.lines else inside
        found = self.document.problem(where)
        return problem.at(self.document.file, found.line, found.field)

    def _template_problem(
        self, problem: PromptError, clip: Clip | None = None, variables: Mapping[str, Any] | None = None
    ) -> Problem:
        line = self.document.text_line(("prompt",), problem.line)
        if problem.variable is None:
            return Problem("prompt", str(problem), file=self.document.file, line=line)
        of = f"of the clip {clip.name}" if clip is not None else "here"
        message = f"is not a variable {of}"
        if problem.variable == "date":
            message = "only a series with `dated: true` or a schedule has a date"
        known = sorted(variables or {})
        found = Problem("prompt", message, show(problem.variable), listed(known), self.document.file, line)
        return found.hinted(problem.variable, known)


def _expand(declaration: SeriesDeclaration, document: Document) -> dict[str, _Entry]:
    """The clips of a declaration by name, counted before they are made."""
    entries: dict[str, _Entry] = {}
    if declaration.clips is not None:
        for index, clip in enumerate(declaration.clips):
            where: Where = ("clips", index)
            if clip.name in entries:
                problem = document.problem(
                    (*where, "name"), found=show(clip.name), message="is the name of an earlier clip"
                )
                raise ProblemsError([problem])
            entries[clip.name] = _Entry(
                {**declaration.variables, **clip.variables},
                {**declaration.parameters, **clip.parameters},
                where,
            )
        return entries
    return _combine(declaration, document)


def _combine(declaration: SeriesDeclaration, document: Document) -> dict[str, _Entry]:
    """The clips of a matrix."""
    matrix = declaration.matrix or {}
    count = math.prod(len(values) for values in matrix.values())
    if count > MAX_CLIPS:
        # more digits than anybody reads, and Python refuses to print more than 4,300
        shown = f"{count:,}" if count < 10**15 else "far too many"
        message = f"makes {shown} clips; a series may have {MAX_CLIPS:,}"
        raise ProblemsError([document.problem(("matrix",), message=message)])
    entries: dict[str, _Entry] = {}
    for values in itertools.product(*matrix.values()):
        slugs = [_slug(value) for value in values]
        name = "-".join(slugs)
        mistake = ""
        if not all(slugs):
            mistake = "has no letters or digits to name a clip after; list the clips one by one in `clips`"
        elif is_date_shaped(name):
            mistake = (
                f"names a clip {show(name)}, which reads as a date; list the clips one by one in `clips`"
            )
        elif name in entries:
            mistake = f"names a second clip {show(name)}; list the clips one by one in `clips`"
        if mistake:
            raise ProblemsError([document.problem(("matrix",), found=listed(values), message=mistake)])
        variables = {**declaration.variables, **dict(zip(matrix, values, strict=True))}
        entries[name] = _Entry(variables, declaration.parameters, ("matrix",))
    return entries


def _slug(value: Any) -> str:
    """A value as part of a clip's name: `Golden hour` becomes `golden-hour`."""
    text = unicodedata.normalize("NFKD", str(value)).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", text).strip("-")
