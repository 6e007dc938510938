"""The endpoints that clips may be bought from: the series' or the clip's own, its fallbacks, and the endpoint of its drafts."""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from resources.catalogue import Catalogue, DataFolder, Endpoint, Parameter
from resources.declared.document import Document, Where
from resources.declared.problems import Mistakes, Problem, ProblemsError, listed, show
from resources.file_references import FIRST_FRAME
from resources.orders import Choice, Expected
from resources.providers.account_files import DeclaredAccounts
from resources.series.declaration import (
    ClipDeclaration,
    DraftDeclaration,
    FallbackDeclaration,
    SeriesDeclaration,
)
from resources.series.expansion import Entry

UNKNOWN_DRAFT = "draft"
"""Stands for the provider's id of a draft until the draft is bought."""
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
    """The account; None for the provider's own."""
    where: Where = ()
    """Its place in the series' file; empty for the series itself."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that override the clip's."""
    shows_cast: bool = True
    """Whether it shows the clip's characters."""
    first_frame: str | None = None
    """The parameter that takes the first frame of the draft that it finishes; None if there is none."""

    @property
    def _known_parameters(self) -> Mapping[str, Parameter]:
        """Its parameters by its own names and by the common ones."""
        return {**self.endpoint.parameters, **self.endpoint.common_words}

    @property
    def is_fallback(self) -> bool:
        """Whether it is bought only after a failure."""
        return "fallback" in self.where

    @property
    def is_draft(self) -> bool:
        """Whether drafts are bought from it."""
        return self.where[:1] == ("draft",)

    @property
    def account_name(self) -> str:
        """Name of the account in the ledger."""
        return self.account or self.endpoint.provider

    def choose(
        self,
        prompt: str,
        entry: Entry,
        *,
        id_of: IdOf,
        document: Document,
        files: DataFolder,
        own: Endpoint,
        draft: Choice | None = None,
    ) -> Choice:
        """Build a clip's request to this endpoint.

        Args:
            prompt: The rendered prompt.
            document: The series' file, for the lines of problems.
            own: The clip's own endpoint.
            draft: The draft that it finishes.

        Raises:
            ProblemsError: A parameter is wrong, or a character has no id; each problem names its line.
        """
        parameters = {**entry.parameters, **self.parameters}
        if self.is_draft:
            parameters = {
                n: v for n, v in parameters.items() if n in self.parameters or self.endpoint.takes(n)
            }
        if self.is_draft and own.draft_id is not None and self.endpoint.drafts is not None:
            for name, value in self.endpoint.drafts.parameters.items():
                if self.parameters.get(name, value) != value:
                    problem = Problem(
                        f"parameters.{name}", "", show(self.parameters[name]), f"{show(value)} in a draft"
                    )
                    raise ProblemsError([self._placed(problem, entry, document)])
                parameters[name] = value
        if self.endpoint.draft_id is not None:
            parameters[self.endpoint.draft_id] = UNKNOWN_DRAFT
        of_draft = draft.body if draft is not None and self.endpoint.draft_id is not None else None
        if self.first_frame is not None:
            if (wrong := self._frame_problem(self.first_frame, parameters)) is not None:
                raise ProblemsError([self._placed(wrong, entry, document)])
            parameters[self.first_frame] = FIRST_FRAME
        cast = {}
        if entry.cast and self.shows_cast:
            if CHARACTERS in parameters:
                message = "name characters in `cast`, or give their ids here, but not both"
                problem = Problem(f"parameters.{CHARACTERS}", message)
                raise ProblemsError([self._placed(problem, entry, document)])
            cast = {name: self._id(name, entry, id_of, document) for name in entry.cast}
            parameters[CHARACTERS] = list(cast.values())
        endpoint = self.endpoint
        try:
            body = endpoint.resolve(prompt, parameters, files=files)
        except ProblemsError as error:
            raise ProblemsError(
                self._placed(problem, entry, document) for problem in error.problems
            ) from None
        expected = endpoint.expected(body, draft=of_draft)
        if not self._fits(draft, expected):
            message = "must have the size of the video, which the draft does not have"
            raise ProblemsError(
                [self._placed(Problem(f"parameters.{self.first_frame}", message), entry, document)]
            )
        return Choice(
            provider=endpoint.provider,
            account=self.account,
            endpoint=endpoint.id,
            body=body,
            price_micros=endpoint.price(body, draft=of_draft),
            expected=expected,
            usual_seconds=endpoint.usual_seconds,
            max_seconds=endpoint.max_seconds,
            sunset_at=endpoint.lifecycle.coming_sunset(dt.datetime.now(dt.UTC).date()),
            cast=cast,
            seed=endpoint.seed,
        )

    def _frame_problem(self, name: str, parameters: Mapping[str, Any]) -> Problem | None:
        """Why this endpoint cannot begin with the first frame of a draft."""
        field = f"parameters.{name}"
        pictures = {name: one for name, one in self._known_parameters.items() if one.media == "image"}
        if name not in pictures:
            takes = listed(list(pictures)) if pictures else "an endpoint that takes an image"
            return Problem(field, f"is no image of {self.endpoint.id}", show(name), takes)
        if name in parameters:
            message = "is the first frame of the draft (`draft.first_frame`); an image for the draft belongs in `draft.parameters`"
            return Problem(field, message)
        return None

    def _fits(self, draft: Choice | None, expected: Expected) -> bool:
        """Whether the first frame of a draft has the size that this endpoint requires."""
        if self.first_frame is None or not self._known_parameters[self.first_frame].fills_frame:
            return True
        of_draft = (None, None) if draft is None else (draft.expected.width, draft.expected.height)
        return of_draft == (expected.width, expected.height)

    def _id(self, name: str, entry: Entry, id_of: IdOf, document: Document) -> str:
        try:
            return id_of(name)
        except ProblemsError as error:
            place = document.problem(self._place_of_cast(entry, document))
            raise ProblemsError(
                p.at(document.file, place.line, place.field) for p in error.problems
            ) from None

    @staticmethod
    def _place_of_cast(entry: Entry, document: Document) -> Where:
        own: Where = (*entry.where, "cast")
        return own if own in document.lines else ("cast",)

    def _placed(self, problem: Problem, entry: Entry, document: Document) -> Problem:
        """A problem of the endpoint, with the line of the value in the fallback, the clip or the series."""
        inside: Where = tuple(problem.field.split("."))
        if inside == ("prompt",) and entry.prompt.document is not document:
            place = entry.prompt.document.problem(entry.prompt.where)
            return problem.at(entry.prompt.document.file, place.line, place.field)
        places: list[Where] = [(*self.where, *inside)] if self.where else []
        places += [(*entry.where, *inside), inside]
        if self.first_frame is not None and inside == ("parameters", self.first_frame):
            places.append(("draft", "first_frame"))
        if entry.cast and inside == ("parameters", CHARACTERS):
            places.append(self._place_of_cast(entry, document))
        where = next((place for place in places if place in document.lines), self.where or inside)
        placed = document.problem(where)
        message = problem.message
        if self.where:
            named = "in the fallback to" if self.is_fallback else "for this clip's endpoint"
            named = "in the draft by" if self.is_draft else named
            message = f"{named} {self.endpoint.id}" + (f": {message}" if message else "")
        return Problem(placed.field, message, problem.found, problem.allowed, placed.file, placed.line)


@dataclass(frozen=True)
class Choices:
    """The endpoints of all clips of a series, each list in the order of purchases."""

    of_series: Sequence[SeriesEndpoint]
    """The endpoints of clips that name none themselves."""
    of_clips: Mapping[str, Sequence[SeriesEndpoint]]
    """The endpoints of other clips, by the clip's name."""
    draft: SeriesEndpoint | None = None
    """The endpoint of drafts; None in a series without drafts."""

    def of(self, clip: str) -> Sequence[SeriesEndpoint]:
        """The endpoints of a clip, by its name; the endpoint of its draft comes first."""
        ways = self.of_clips.get(clip, self.of_series)
        return ways if self.draft is None else [self.draft, *ways]

    def __iter__(self) -> Iterator[SeriesEndpoint]:
        if self.draft is not None:
            yield self.draft
        yield from self.of_series
        for ways in self.of_clips.values():
            yield from ways

    @property
    def bought(self) -> list[str]:
        """The endpoint ids that clips are bought from first, each once, in the order of the file."""
        if self.draft is not None:
            return [self.draft.endpoint.id]
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
        finder, mistakes = _Finder(document, catalogue, accounts), Mistakes()
        first: SeriesEndpoint | None = None
        fallbacks: list[SeriesEndpoint] = []
        draft: SeriesEndpoint | None = None
        with mistakes.gathered():
            endpoint = finder.find((), declaration.endpoint, declaration.provider, declaration.account)
            first = SeriesEndpoint(endpoint, declaration.account, shows_cast=endpoint.draft_id is None)
        with mistakes.gathered():
            fallbacks = finder.fallbacks((), declaration.fallback)
        of_clips: dict[str, Sequence[SeriesEndpoint]] = {}
        for index, clip in enumerate(declaration.clips or []):
            if not clip.model_fields_set & {"endpoint", "provider", "account", "fallback"}:
                continue
            where: Where = ("clips", index)
            with mistakes.gathered():
                others = fallbacks if clip.fallback is None else finder.fallbacks(where, clip.fallback)
                if first is not None or clip.endpoint is not None:
                    of_clips[clip.name] = [finder.own(where, clip, declaration, first), *others]
        with mistakes.gathered():
            draft = finder.draft(declaration.draft)
        if first is None or mistakes.problems:
            raise ProblemsError(mistakes.problems)
        for clip_way in [first, *(ways[0] for ways in of_clips.values())]:
            finder.check_pair(draft, clip_way)
        frame = None if declaration.draft is None else declaration.draft.first_frame
        if frame is None:
            return cls([first, *fallbacks], of_clips, draft)
        finder.check_frame([first, *(ways[0] for ways in of_clips.values())])
        return cls(
            [replace(way, first_frame=frame) for way in (first, *fallbacks)],
            {name: [replace(way, first_frame=frame) for way in ways] for name, ways in of_clips.items()},
            draft,
        )


@dataclass(frozen=True)
class _Finder:
    """Finds the endpoints that a series' file names."""

    document: Document
    catalogue: Catalogue
    accounts: DeclaredAccounts

    def find(self, where: Where, name: str, provider: str | None, account: str | None) -> Endpoint:
        """Find an endpoint by its name, and check that it makes videos and that the account is its provider's."""
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
        self, where: Where, clip: ClipDeclaration, series: SeriesDeclaration, first: SeriesEndpoint | None
    ) -> SeriesEndpoint:
        """The clip's own endpoint. It inherits the series' account only at the same provider.

        Args:
            first: The series' endpoint; None if the series' endpoint is a mistake.
        """
        if first is not None and (clip.endpoint, clip.provider, clip.account) == (None, None, None):
            return first
        name, provider = clip.endpoint or series.endpoint, clip.provider
        if clip.endpoint is None and provider is None:
            provider = series.provider
        endpoint = self.find(where, name, provider, clip.account)
        inherited = None
        if first is not None and endpoint.provider == first.endpoint.provider:
            inherited = first.account
        account = clip.account or inherited
        return SeriesEndpoint(endpoint, account, where, shows_cast=endpoint.draft_id is None)

    def draft(self, declared: DraftDeclaration | None) -> SeriesEndpoint | None:
        """The endpoint of a series' drafts."""
        if declared is None:
            return None
        where: Where = ("draft",)
        endpoint = self.find(where, declared.endpoint, declared.provider, declared.account)
        self._makes_clips(where, endpoint)
        return SeriesEndpoint(
            endpoint, declared.account, where, declared.parameters, shows_cast=declared.cast is None
        )

    def check_pair(self, draft: SeriesEndpoint | None, own: SeriesEndpoint) -> None:
        """Refuse an endpoint that finishes only drafts, unless its drafts are bought from the same account."""
        if own.endpoint.draft_id is None:
            return
        message = ""
        if draft is None:
            message = "finishes drafts; say in `draft` which endpoint makes them"
        elif draft.endpoint.drafts is None or draft.endpoint.drafts.finished_by != own.endpoint.id:
            message = f"does not finish what {draft.endpoint.id} makes"
        elif draft.account_name != own.account_name:
            message = (
                f"finishes only drafts of the same account, and they are bought from {draft.account_name}"
            )
        if message:
            where = (*own.where, "endpoint")
            if where not in self.document.lines:
                where = ("endpoint",)
            raise ProblemsError([self.document.problem(where, found=show(own.endpoint.id), message=message)])

    def check_frame(self, owns: Iterable[SeriesEndpoint]) -> None:
        """Refuse `first_frame` if the provider finishes the draft itself."""
        for own in owns:
            if own.endpoint.draft_id is not None:
                message = f"{own.endpoint.id} finishes the very draft and needs no picture of it"
                raise ProblemsError([self.document.problem(("draft", "first_frame"), message=message)])

    def _makes_clips(self, where: Where, endpoint: Endpoint) -> None:
        """Refuse an endpoint that finishes drafts for a clip without drafts."""
        if endpoint.draft_id is not None:
            message = "finishes drafts and makes no clip of its own"
            raise ProblemsError(
                [self.document.problem((*where, "endpoint"), found=show(endpoint.id), message=message)]
            )

    def fallbacks(self, where: Where, declared: Sequence[FallbackDeclaration]) -> list[SeriesEndpoint]:
        """The fallbacks of a series or a clip, in their order."""
        ways, mistakes = [], Mistakes()
        for index, one in enumerate(declared):
            place: Where = (*where, "fallback", index)
            with mistakes.gathered():
                endpoint = self.find(place, one.endpoint, one.provider, one.account)
                self._makes_clips(place, endpoint)
                ways.append(
                    SeriesEndpoint(endpoint, one.account, place, one.parameters, shows_cast=one.cast is None)
                )
        mistakes.end()
        return ways
