"""A checked series and its clips: expansion, keys and rendering."""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from resources.catalogue import DataFolder
from resources.declared.document import Document, Where
from resources.declared.problems import Mistakes, Problem, ProblemsError, listed, show
from resources.orders import Caps, Choice, ClipRequest, FinishOrder
from resources.series import dates
from resources.series.declaration import Schedule, SeriesDeclaration, is_date_shaped, review_of
from resources.series.expansion import Entry, expand
from resources.series.includes import Include
from resources.series.prompt_edits import EditDeclaration, PromptEdits
from resources.series.prompts import Prompt, Words
from resources.series.series_endpoints import Choices, IdOf, SeriesEndpoint

_KEY = re.compile(r"[a-z0-9][a-z0-9-]{2,79}")
_ANY_DATE = "0000-00-00"

SCHEDULE_SUFFIX = "_schedule"
"""The end of the name of every series' schedule, and of no other schedule."""
MAX_SAMPLES = 5000
"""The most clips on special dates that are rendered when a file is read."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One thing to produce."""

    key: str
    """Its key, which is its Dagster partition, e.g. `city-sunset-2026-11-20-hero`."""
    series: str
    """Name of its series."""
    name: str
    """Its name within the series."""
    date: dt.date | None
    """Its date; None in a series that is not dated."""


class Series:
    """A series without mistakes.

    Attributes:
        declaration: The content of the file.
        endpoints: The endpoints of its clips, with fallbacks.
        document: The file with its lines.
        edits: The edits of single clips.
        data_dir: The data folder.
    """

    def __init__(
        self,
        declaration: SeriesDeclaration,
        endpoints: Choices,
        document: Document,
        includes: Sequence[Include] = (),
        edits: PromptEdits | None = None,
    ) -> None:
        """Expand the declaration and compile its prompts.

        Args:
            document: The series' file.
            includes: The includes, in the series' order.
            edits: None for a series without edits.

        Raises:
            ProblemsError: It cannot be expanded, a prompt is wrong, or an edit belongs to no clip.
        """
        self.declaration = declaration
        self.endpoints = endpoints
        self.document = document
        self._includes = includes
        self.data_dir = document.file.parent.parent
        self._files = DataFolder(self.data_dir)
        self._entries = expand(declaration, document, includes)
        self._shared = {
            name: value for include in includes for name, value in include.declaration.variables.items()
        } | declaration.variables
        for name, entry in self._entries.items():
            if not _KEY.fullmatch(key := self._key(name, _ANY_DATE if self.dated else None)):
                message = f"the clip's key {show(key)} would be longer than 80 characters; shorten a name"
                raise ProblemsError([document.problem(entry.where, message=message)])
            if not self.dated and is_date_shaped(key):
                message = f"the clip's key {show(key)} seems to contain a date; change a name"
                raise ProblemsError([document.problem(entry.where, message=message)])
        self.edits = edits or PromptEdits()
        self._edited = dict(self._entries_edited())

    def with_edits(self, edits: PromptEdits) -> "Series":
        """The same series with other edits.

        Raises:
            ProblemsError: An edit belongs to no clip, or has fields although the prompt is plain text.
        """
        return Series(self.declaration, self.endpoints, self.document, self._includes, edits)

    def _entries_edited(self) -> Iterator[tuple[str, Entry]]:
        """The declaration of each edited clip, by its key."""
        mistakes = Mistakes()
        for key, edit in self.edits.of_clips.items():
            clip = self.clip_of_key(key)
            if clip is None:
                message = f"is not a clip of the series {self.name}; `dailies edit {key} --remove` removes this edit"
                problem = edit.prompt.document.problem(edit.where, message=message)
                known = [] if self.dated else [one.key for one in self.clips()]
                mistakes.problems.append(problem.hinted(key, known))
                continue
            entry = self._entries[clip.name]
            with mistakes.gathered():
                yield key, replace(entry, prompt=edit.prompt.over(entry.prompt))
        mistakes.end()

    @property
    def name(self) -> str:
        """Its name."""
        return self.declaration.name

    @property
    def key_prefix(self) -> str:
        """The start of its clips' keys."""
        return self.declaration.keys or self.declaration.name

    @property
    def _limits(self) -> dict[str, Any]:
        """The fields of a request that limit what is bought."""
        declaration = self.declaration
        caps = declaration.budget.caps() if declaration.budget else Caps()
        return {"max_attempts": declaration.max_attempts, "takes": declaration.takes, "caps": caps}

    def limited(self, request: ClipRequest) -> ClipRequest:
        """A request that was rendered earlier, with the present caps and tries, which change no prompt."""
        return request.model_copy(update=self._limits)

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
        """When it is produced automatically."""
        return self.declaration.schedule

    @property
    def schedule_name(self) -> str:
        """The name of its schedule in Dagster, whose names have no hyphens."""
        return self.name.replace("-", "_") + SCHEDULE_SUFFIX

    @property
    def owner(self) -> str | None:
        """The person or team that is responsible for it, in Dagster's form."""
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
            date: Ignored by a series that is not dated.

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
                [Problem("date", f"the series {self.name} has clips for each date; give a date")]
            )
        return Clip(self._key(name, date.isoformat()), self.name, name, date)

    def clip_of_key(self, key: str) -> Clip | None:
        """The clip with a key; None if the series has none."""
        rest = key.removeprefix(f"{self.key_prefix}-")
        name = rest[11:] if self.dated else rest
        try:
            date = dt.date.fromisoformat(rest[:10]) if self.dated else None
        except ValueError:
            return None
        return clip if name in self and (clip := self.clip(name, date)).key == key else None

    def _key(self, name: str, date: str | None) -> str:
        return f"{self.key_prefix}-{date}-{name}" if date else f"{self.key_prefix}-{name}"

    def variables(self, clip: Clip) -> dict[str, Any]:
        """The variables of a clip's templates: the clip's own override its date's, which override the series', then the includes'."""
        variables = {
            **self._shared,
            **dates.on(self.declaration.dates, clip.date),
            **self._entries[clip.name].variables,
            "series": clip.series,
            "clip": clip.name,
        }
        return variables if clip.date is None else {**variables, "date": clip.date.isoformat()}

    def samples(self) -> list[Clip]:
        """Clips that cover the whole file: all clips on one date and on each date with its own variables, and every edited clip.

        If these are more than `MAX_SAMPLES`, only the first clip is rendered on each special date.
        """
        if not self.dated:
            return self.clips()
        edited = [clip for key in self._edited if (clip := self.clip_of_key(key)) is not None]
        first, *special = dates.samples(self.declaration.dates)
        clips = self.clips(first)
        names = self.clip_names if len(special) * len(self._entries) <= MAX_SAMPLES else self.clip_names[:1]
        return [*clips, *(self.clip(name, date) for date in special for name in names), *edited]

    @property
    def cast(self) -> set[str]:
        """Every character that a clip shows."""
        return {name for entry in self._entries.values() for name in entry.cast}

    def castings(self) -> Iterator[tuple[str, Where, SeriesEndpoint]]:
        """Each character with the first place that names it, for each endpoint that must have it."""
        names: set[tuple[str, Where]] = set()
        for clip, entry in self._entries.items():
            if not entry.cast:
                continue
            own: Where = (*entry.where, "cast")
            place = own if own in self.document.lines else ("cast",)
            for index, name in enumerate(entry.cast):
                for way in self.endpoints.of(clip):
                    if way.shows_cast and (name, way.where) not in names:
                        names.add((name, way.where))
                        yield name, (*place, index), way

    def render(self, clip: Clip, *, id_of: IdOf) -> ClipRequest:
        """The clip's request and those of its fallbacks, rendered and checked.

        Args:
            id_of: Returns the provider's id of a character.

        Raises:
            ProblemsError: The prompt or a parameter is wrong, or a character has no id; each problem names its line.
        """
        clip = self.clip(clip.name, clip.date)  # the file may have changed since the clip was found
        entry, edit = self._entry(clip), self.edit_of(clip)
        # replaces a prompt that cannot be rendered while the parameters are checked; it is never sent
        prompt, mistakes = "a prompt", Mistakes()
        with mistakes.gathered():
            prompt = entry.prompt.render(self.variables(clip), clip.name)
        ways = [way for way in self.endpoints.of(clip.name) if not way.is_draft]
        own = ways[0].endpoint

        def choose(way: SeriesEndpoint, draft: Choice | None) -> Choice:
            return way.choose(
                prompt,
                entry,
                id_of=id_of,
                document=self.document,
                files=self._files,
                own=own,
                draft=draft,
            )

        drafts = self.endpoints.draft
        draft = None
        with mistakes.gathered():
            draft = None if drafts is None else choose(drafts, None)
        choices = []
        for way in ways:
            with mistakes.gathered():
                choices.append(choose(way, draft))
        mistakes.end()
        first, *others = choices
        self._check_fallbacks(entry, first, others)
        finish = None
        if drafts is not None and draft is not None:
            kept = drafts.endpoint.drafts if own.draft_id is not None else None
            finish = FinishOrder(
                choice=first,
                fallbacks=tuple(others),
                draft_id=own.draft_id,
                days=None if kept is None else kept.days,
                first_frame=ways[0].first_frame is not None,
            )
            if first.price_micros is None:
                message = (
                    "has no price in the catalogue with these parameters, so that no draft could be finished"
                )
                raise ProblemsError(
                    [
                        self.document.problem(
                            ("draft", "endpoint"), found=show(first.endpoint), message=message
                        )
                    ]
                )
            first, others = draft, []
        return ClipRequest(
            clip=clip.key,
            series=self.name,
            keys=self.key_prefix if self.key_prefix != self.name else None,
            **{name: getattr(first, name) for name in Choice.model_fields},
            fallbacks=tuple(others),
            finish=finish,
            **self._limits,
            checks=self.declaration.checks,
            review=review_of(self.declaration.review),
            owner=self.owner,
            tags=self.tags,
            edited=None if edit is None else edit.record,
        )

    def _entry(self, clip: Clip) -> Entry:
        return self._edited.get(clip.key) or self._entries[clip.name]

    def edit_of(self, clip: Clip) -> EditDeclaration | None:
        """The edit of a clip; None if it has its series' words."""
        edit = self.edits.of_clips.get(clip.key)
        return None if edit is None else edit.declared

    def words(self, clip: Clip, *, edited: bool = True) -> Words:
        """The words of a clip.

        Args:
            edited: Whether to apply the clip's edit; otherwise the words are the series' own.

        Raises:
            ProblemsError: A variable is missing.
        """
        return self._prompt(clip, edited=edited).words(self.variables(clip), clip.name)

    def text(self, clip: Clip, *, edited: bool = True) -> str:
        """The whole prompt of a clip; see `words`."""
        return self._prompt(clip, edited=edited).render(self.variables(clip), clip.name)

    def _prompt(self, clip: Clip, *, edited: bool) -> Prompt:
        return (self._entry(clip) if edited else self._entries[clip.name]).prompt

    def overtaken(self, clip: Clip) -> list[tuple[str, str, str]]:
        """The parts of a clip's edit whose series' words have changed since: the part (`text` for the whole), its words then, and now.

        Raises:
            ProblemsError: A variable is missing.
        """
        edit = self.edit_of(clip)
        before = {} if edit is None else edit.replaced
        if not before:
            return []
        own = self.words(clip, edited=False)
        # an edit may replace the whole text of a prompt in fields
        now = own if isinstance(own, dict) else {}
        now = {**now, "text": self.text(clip, edited=False)}
        return [(n, before[n], now.get(n, "")) for n in before if before[n] != now.get(n, "")]

    def _check_fallbacks(self, entry: Entry, first: Choice, others: Sequence[Choice]) -> None:
        """Refuse a fallback that repeats an earlier request."""
        before = [(first.account_name, first.endpoint, first.body)]
        for index, choice in enumerate(others):
            bought = (choice.account_name, choice.endpoint, choice.body)
            if bought in before:
                message = "repeats a request that has just failed; to try the same request again, set `max_attempts`"
                where: Where = (*entry.where, "fallback", index, "endpoint")
                if where not in self.document.lines:
                    where = ("fallback", index, "endpoint")
                    if (*entry.where, "endpoint") in self.document.lines:
                        message = f"is what the clip in line {self.document.line(entry.where)} is bought from itself; give that clip its own `fallback`, or `fallback: []`"
                raise ProblemsError(
                    [self.document.problem(where, found=show(choice.endpoint), message=message)]
                )
            before.append(bought)
