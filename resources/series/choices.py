"""The endpoints that clips may be bought from: the series' or the clip's own, or after a failure one of its fallbacks."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resources.catalogue import Catalogue, DataFolder, Endpoint
from resources.declared.document import Document, Where
from resources.declared.problems import Problem, ProblemsError, show
from resources.orders import Choice
from resources.providers.account_files import DeclaredAccounts
from resources.series.declaration import ClipDeclaration, FallbackDeclaration, SeriesDeclaration
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
    where: Where = ()
    """Its place in the series' file; empty for the series itself."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """They override the clip's."""
    shows_cast: bool = True
    """Whether the clip's characters are ordered from it."""

    @property
    def is_fallback(self) -> bool:
        """Whether it is bought only after a failure."""
        return "fallback" in self.where

    @property
    def account_name(self) -> str:
        """Name of the account in the ledger."""
        return self.account or self.endpoint.provider

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
        cast = {}
        if entry.cast and self.shows_cast:
            if CHARACTERS in said:
                message = "name characters in `cast`, or give their ids here, but not both"
                problem = Problem(f"parameters.{CHARACTERS}", message)
                raise ProblemsError([self._in_place(problem, entry, document)])
            cast = {name: self._id(name, entry, id_of, document) for name in entry.cast}
            said[CHARACTERS] = list(cast.values())
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
            cast=cast,
            seed=endpoint.seed,
        )

    def _id(self, name: str, entry: Entry, id_of: IdOf, document: Document) -> str:
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
        if inside == ("prompt",) and entry.prompt.document is not document:
            place = entry.prompt.document.problem(entry.prompt.where)
            return problem.at(entry.prompt.document.file, place.line, place.field)
        places: list[Where] = [(*self.where, *inside)] if self.where else []
        places += [(*entry.where, *inside), inside]
        if entry.cast and inside == ("parameters", CHARACTERS):
            places.append(self._of_cast(entry, document))
        where = next((place for place in places if place in document.lines), self.where or inside)
        found = document.problem(where)
        message = problem.message
        if self.where:
            named = "in the fallback to" if self.is_fallback else "for this clip's endpoint"
            message = f"{named} {self.endpoint.id}" + (f": {message}" if message else "")
        return Problem(found.field, message, problem.found, problem.allowed, found.file, found.line)


@dataclass(frozen=True)
class Choices:
    """The endpoints of all clips of a series, each list in the order in which it is bought."""

    of_series: Sequence[SeriesEndpoint]
    """Of the clips that name none themselves."""
    of_clips: Mapping[str, Sequence[SeriesEndpoint]]
    """Of the others, by their names."""

    def of(self, clip: str) -> Sequence[SeriesEndpoint]:
        """The endpoints of a clip, by its name."""
        return self.of_clips.get(clip, self.of_series)

    def __iter__(self) -> Iterator[SeriesEndpoint]:
        yield from self.of_series
        for ways in self.of_clips.values():
            yield from ways

    @property
    def bought(self) -> list[str]:
        """The endpoint ids that clips are bought from first, each once, in the order of the file."""
        ways = [self.of_series, *self.of_clips.values()]
        return list(dict.fromkeys(first.endpoint.id for first, *_ in ways))

    @classmethod
    def read(
        cls,
        declaration: SeriesDeclaration,
        document: Document,
        catalogue: Catalogue,
        accounts: DeclaredAccounts,
    ) -> "Choices":
        """Find every endpoint and account that a series names.

        Raises:
            ProblemsError: An endpoint does not exist or makes no videos, or an account is not its provider's.
        """
        finder = _Finder(document, catalogue, accounts)
        endpoint = finder.find((), declaration.endpoint, declaration.provider, declaration.account)
        first = SeriesEndpoint(endpoint, declaration.account)
        fallbacks = finder.fallbacks((), declaration.fallback)
        of_clips: dict[str, Sequence[SeriesEndpoint]] = {}
        for index, clip in enumerate(declaration.clips or []):
            if not clip.model_fields_set & {"endpoint", "provider", "account", "fallback"}:
                continue
            where: Where = ("clips", index)
            own = finder.own(where, clip, declaration, first)
            others = fallbacks if clip.fallback is None else finder.fallbacks(where, clip.fallback)
            of_clips[clip.name] = [own, *others]
        return cls([first, *fallbacks], of_clips)


@dataclass(frozen=True)
class _Finder:
    """Finds the endpoints that a series' file names."""

    document: Document
    catalogue: Catalogue
    accounts: DeclaredAccounts

    def find(self, where: Where, name: str, provider: str | None, account: str | None) -> Endpoint:
        """The endpoint with a name; it must make videos, and the account must be its provider's."""
        try:
            endpoint = self.catalogue.get(name, provider)
            self.accounts.check(account, endpoint.provider)
        except ProblemsError as error:
            places = [self.document.problem((*where, problem.field)) for problem in error.problems]
            raise ProblemsError(
                problem.at(self.document.file, place.line, place.field)
                for problem, place in zip(error.problems, places, strict=True)
            ) from None
        if not endpoint.makes_video:
            message = f"turns {endpoint.kind.replace('-to-', ' into ')} and makes no clips"
            raise ProblemsError(
                [self.document.problem((*where, "endpoint"), found=show(endpoint.id), message=message)]
            )
        return endpoint

    def own(
        self, where: Where, clip: ClipDeclaration, series: SeriesDeclaration, first: SeriesEndpoint
    ) -> SeriesEndpoint:
        """What a clip is bought from. An account of the series is inherited only at its own provider."""
        if (clip.endpoint, clip.provider, clip.account) == (None, None, None):
            return first
        name, provider = clip.endpoint or series.endpoint, clip.provider
        if clip.endpoint is None and provider is None:
            provider = series.provider
        endpoint = self.find(where, name, provider, clip.account)
        same_provider = endpoint.provider == first.endpoint.provider
        return SeriesEndpoint(endpoint, clip.account or (first.account if same_provider else None), where)

    def fallbacks(self, where: Where, declared: Sequence[FallbackDeclaration]) -> list[SeriesEndpoint]:
        """The fallbacks of a series or a clip, in their order."""
        found = []
        for index, one in enumerate(declared):
            place: Where = (*where, "fallback", index)
            endpoint = self.find(place, one.endpoint, one.provider, one.account)
            found.append(
                SeriesEndpoint(endpoint, one.account, place, one.parameters, shows_cast=one.cast is None)
            )
        return found
