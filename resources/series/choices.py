"""The endpoints that a series' clips may be bought from: its own, or after a failure one of its fallbacks."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from resources.catalogue import DataFolder, Endpoint
from resources.declared.document import Document, Where
from resources.declared.problems import Problem, ProblemsError
from resources.orders import Choice
from resources.series.expansion import Entry

CHARACTERS = "characters"
"""The common parameter for the ids of characters."""

IdOf = Callable[[str], str]
"""The provider's id of a character, by its name. Raises `ProblemsError` if there is none."""


@dataclass(frozen=True)
class SeriesEndpoint:
    """One endpoint for the clips of a series, with its parameters."""

    endpoint: Endpoint
    """What they are bought from."""
    account: str | None
    """The account, None for the provider's own."""
    parameters: Mapping[str, Any]
    """They override the clip's."""
    where: Where
    """Its place in the series' file; empty for the series itself."""

    def choose(
        self, prompt: str, entry: Entry, *, id_of: IdOf, document: Document, files: DataFolder
    ) -> Choice:
        """A clip's request to this endpoint.

        Args:
            prompt: The rendered prompt.
            document: The series' file, for the lines of problems.

        Raises:
            ProblemsError: A parameter is wrong, or a character has no id; each problem names its line.
        """
        said = {**entry.parameters, **self.parameters}
        if entry.cast:
            if CHARACTERS in said:
                message = "name characters in `cast`, or give their ids here, but not both"
                problem = Problem(f"parameters.{CHARACTERS}", message)
                raise ProblemsError([self._in_place(problem, entry, document)])
            said[CHARACTERS] = [self._cast(name, entry, id_of, document) for name in entry.cast]
        endpoint = self.endpoint
        try:
            body = endpoint.resolve(prompt, said, files=files)
        except ProblemsError as error:
            raise ProblemsError(
                self._in_place(problem, entry, document) for problem in error.problems
            ) from None
        return Choice(
            provider=endpoint.provider,
            account=self.account,
            endpoint=endpoint.id,
            body=body,
            price_micros=endpoint.price(body),
            expected=endpoint.expected(body),
            usual_seconds=endpoint.usual_seconds,
            max_seconds=endpoint.max_seconds,
            sunset_at=endpoint.lifecycle.to_come(dt.datetime.now(dt.UTC).date()),
        )

    def _cast(self, name: str, entry: Entry, id_of: IdOf, document: Document) -> str:
        try:
            return id_of(name)
        except ProblemsError as error:
            place = document.problem(self._of_cast(entry, document))
            raise ProblemsError(
                p.at(document.file, place.line, place.field) for p in error.problems
            ) from None

    @staticmethod
    def _of_cast(entry: Entry, document: Document) -> Where:
        own: Where = (*entry.where, "cast")
        return own if own in document.lines else ("cast",)

    def _in_place(self, problem: Problem, entry: Entry, document: Document) -> Problem:
        """A problem of the endpoint, with the line of the fallback, the clip or the series that gives the value."""
        inside: Where = tuple(problem.field.split("."))
        places: list[Where] = [(*self.where, *inside)] if self.where else []
        places += [(*entry.where, *inside), inside]
        if entry.cast and inside == ("parameters", CHARACTERS):
            places.append(self._of_cast(entry, document))
        where = next((place for place in places if place in document.lines), self.where or inside)
        found = document.problem(where)
        message = problem.message
        if self.where:
            message = f"in the fallback to {self.endpoint.id}" + (f": {message}" if message else "")
        return Problem(found.field, message, problem.found, problem.allowed, found.file, found.line)
