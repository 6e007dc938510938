"""All series of `data/series/`: loading them, finding a clip by its key, and rendering its request."""

import datetime as dt
import functools
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from resources.catalogue import Catalogue
from resources.choices import Choice
from resources.declared.corrections import corrected
from resources.declared.document import Document, broken_links, read_document, yaml_files
from resources.declared.problems import Mistakes, Problem, ProblemsError, show
from resources.declared.validation import declare
from resources.orders import ClipRequest
from resources.providers.account_files import DeclaredAccounts, load_accounts
from resources.series.characters import Characters, Made, id_of
from resources.series.declaration import SeriesDeclaration
from resources.series.includes import Includes
from resources.series.prompt_edits import PromptEditFiles
from resources.series.retirement import retired
from resources.series.series import Clip, Series
from resources.series.series_endpoints import Choices, SeriesEndpoint

MAX_SECONDS = 5
"""The longest time for all prompts of one series, in seconds; thousands of ordinary prompts take 0.1 s."""
MAX_FAILED = 20
"""After how many clips with mistakes the rest of a series is skipped."""

ANY_CHARACTER = "char_any"
"""A placeholder for the id of a character while a file is checked; it is never sent."""

Bought = TypeVar("Bought", bound=Choice)

FOLDERS = ("series", "accounts", "characters", "prompts", "edits")
"""Folders of the data folder whose files are read here."""

_DATED_KEY = re.compile(r"(.+)-([0-9]{4}-[0-9]{2}-[0-9]{2})-(.+)")


def date_in_key(key: str) -> dt.date | None:
    """The date in a clip's key, None if it has none."""
    match = _DATED_KEY.fullmatch(key)
    try:
        return None if match is None else dt.date.fromisoformat(match[2])
    except ValueError:
        return None


@dataclass
class Declarations:
    """Everything that is declared."""

    series: dict[str, Series] = field(default_factory=dict)
    """Series without mistakes, by name."""
    problems: list[Problem] = field(default_factory=list)
    """Mistakes of the other files."""
    characters: Characters = field(default_factory=Characters)
    """The characters that series may cast."""
    made: Callable[[], Mapping[str, Made]] = dict
    """Returns the characters that exist at their providers; called only when a clip needs one."""
    catalogue: Catalogue = field(default_factory=lambda: Catalogue([]))
    """The endpoints, with today's prices."""

    def find(self, key: str) -> Clip:
        """The clip with a key.

        Raises:
            ProblemsError: No declared clip has this key; the message names the nearest key, or the series that exist.
        """
        for series in self.series.values():
            name = key.removeprefix(f"{series.key_prefix}-")
            if not series.dated and name != key and name in series:
                return series.clip(name)
        match = _DATED_KEY.fullmatch(key)
        series_of_key = self._with_prefix(match[1]) if match else None
        if match is None or series_of_key is None or not series_of_key.dated:
            raise ProblemsError([self._not_found(key)])
        try:
            date = dt.date.fromisoformat(match[2])
        except ValueError:
            raise ProblemsError([Problem("clip", "its date does not exist", show(key))]) from None
        return series_of_key.clip(match[3], date)

    def render(self, clip: Clip) -> ClipRequest:
        """The clip's request: rendered prompt, every parameter explicit, price, and what the file must look like.

        Raises:
            ProblemsError: The prompt or a parameter is wrong, an endpoint is retired, or a character is not made yet.
        """
        series = self.series.get(clip.series)
        if series is None:
            raise ProblemsError([self._not_found(clip.key)])
        if (problem := _retired(series, series.endpoints.of(clip.name))) is not None:
            raise ProblemsError([problem])
        return series.render(clip, id_of=lambda name: id_of(name, self.characters, self.made()))

    def renewed(self, request: ClipRequest) -> ClipRequest:
        """A request that was rendered earlier, with its series' present caps and the present prices, which change no prompt.

        The prices are those of the request, its fallbacks and its finish. An endpoint that was removed from the catalogue keeps its price.
        """
        series = self.series.get(request.series)
        limited = self._priced(request if series is None else series.limited(request))
        fallbacks = tuple(map(self._priced, limited.fallbacks))
        finish = limited.finish
        if finish is not None:
            choice, *others = (self._priced(way, request) for way in (finish.choice, *finish.fallbacks))
            finish = finish.model_copy(update={"choice": choice, "fallbacks": tuple(others)})
        return limited.model_copy(update={"fallbacks": fallbacks, "finish": finish})

    def _priced(self, way: Bought, draft: ClipRequest | None = None) -> Bought:
        """A request or fallback at the present price; None if the catalogue has none.

        Args:
            draft: The draft that it finishes.
        """
        try:
            endpoint = self.catalogue.get(way.endpoint, way.provider)
        except ProblemsError:
            return way
        of_draft = draft.body if draft is not None and endpoint.draft_id is not None else None
        return way.model_copy(update={"price_micros": endpoint.price(way.body, draft=of_draft)})

    def _with_prefix(self, prefix: str) -> Series | None:
        named = self.series.get(prefix)
        if named is not None and named.key_prefix == prefix:
            return named
        return next((series for series in self.series.values() if series.key_prefix == prefix), None)

    def _not_found(self, key: str) -> Problem:
        message = "no series declares this clip"
        dated = next(
            (s for s in self.series.values() if s.dated and key.startswith(f"{s.key_prefix}-")), None
        )
        match = _DATED_KEY.fullmatch(key)
        named = self._with_prefix(match[1]) if match else None
        if named is not None:
            return Problem(
                "clip", f"the series {named.name} is not dated: its keys contain no date", show(key)
            )
        if match is None and dated is not None:
            form = f"{dated.key_prefix}-YYYY-MM-DD-{next(iter(dated.clips(dt.date.min))).name}"
            return Problem(
                "clip", f"{message}; a key of the series {dated.name} is written {form}", show(key)
            )
        if self.problems:
            # of a broken series only the file is known, so look for a file whose name begins the key
            meant = [p for p in self.problems if p.file is not None and key.startswith(f"{p.file.stem}-")]
            first = max(meant, key=lambda p: len(p.file.stem) if p.file else 0, default=self.problems[0])
            message += f"; {len(self.problems)} problems keep other series out, first: {first}"
        # only clips of series whose prefix begins the key, since comparing all clips would take seconds
        own = [
            s
            for s in self.series.values()
            if match is None and not s.dated and key.startswith(f"{s.key_prefix}-")
        ]
        choices = [*(clip.key for series in own for clip in series.clips()), *self.series]
        problem = Problem("clip", message, show(key)).suggesting(match[1] if match else key, choices)
        if problem.allowed is None:
            return problem
        return replace(
            problem,
            allowed=None,
            message=f"{message}; the series are {problem.allowed}. `dailies prompt SERIES` lists the clips of one",
        )


def load_series(
    data_dir: Path, catalogue: Catalogue, *, made: Callable[[], Mapping[str, Made]] = dict
) -> Declarations:
    """Read and check every file of `data_dir/series`. A broken file is in `problems` and never stops the others.

    A mistake must show when the file is read, not when money moves. So every check that sends nothing runs here: of the endpoint, the
    parameters, and the prompt of every clip (on sample dates if the series is dated).

    Args:
        made: Returns the characters that exist at their providers; called only when a clip needs one.
    """
    if (missing := _missing_folder(data_dir)) is not None:
        return Declarations(problems=[missing])
    includes = Includes.load(data_dir)
    characters, accounts = Characters.load(data_dir, catalogue), load_accounts(data_dir)
    problems = [
        *(problem for folder in FOLDERS for problem in broken_links(data_dir / folder)),
        *accounts.problems,
        *characters.problems,
        *(p for found in includes.problems.values() for p in found),
    ]
    declarations = Declarations(
        problems=problems, characters=characters, made=functools.cache(made), catalogue=catalogue
    )
    keys: dict[str, Series] = {}
    edits = PromptEditFiles.load(data_dir)
    broken: set[str] = set()

    def checked(document: Document) -> Series:
        series = _load(document, catalogue, includes, accounts, edits)
        _check_unique(series, declarations, keys)
        # checked first, since a wrong cast causes further mistakes in the clips
        _check_cast(series, characters)
        _check_clips(series)
        return series

    for file in yaml_files(data_dir / "series"):
        try:
            series = _check_completely(read_document(file, inside=data_dir), checked)
        except ProblemsError as error:
            declarations.problems += error.problems
            broken.add(file.stem)
            continue
        declarations.series[series.name] = series
        if not series.dated:
            keys |= {clip.key: series for clip in series.clips()}
    declarations.problems += edits.of_nobody(broken | declarations.series.keys())
    return declarations


def _check_completely(document: Document, checked: Callable[[Document], Series]) -> Series:
    """The checked series of a file.

    Raises:
        ProblemsError: Every mistake that is found, also those of prompts behind a mistake of the file's shape.
    """
    try:
        return checked(document)
    except ProblemsError as error:
        mistakes = Mistakes()
        meant = corrected(SeriesDeclaration, document)
        if meant is not None:
            with mistakes.gathered():
                checked(meant)
        known = {(one.line, one.field) for one in error.problems}
        hidden = [one for one in mistakes.problems if (one.line, one.field) not in known]
        raise ProblemsError([*error.problems, *hidden]) from None


def _missing_folder(data_dir: Path) -> Problem | None:
    """The problem if the folder is missing, which differs from an empty one."""
    if not data_dir.is_dir():
        message = "is not a folder; set DAILIES_DATA to the folder of the declarations"
    elif not (data_dir / "series").is_dir():
        message = "has no folder `series` with the series' files; create it, or correct DAILIES_DATA"
    else:
        return None
    return Problem("", message, file=data_dir)


def _load(
    document: Document,
    catalogue: Catalogue,
    includes: Includes,
    accounts: DeclaredAccounts,
    edits: PromptEditFiles,
) -> Series:
    declaration = declare(SeriesDeclaration, document)
    endpoints = Choices.read(declaration, document, catalogue, accounts)
    taken_in = [includes.get(name, document, index) for index, name in enumerate(declaration.include)]
    series = Series(declaration, endpoints, document, taken_in, edits.of(declaration.name))
    if (problem := _retired(series, series.endpoints)) is not None:
        raise ProblemsError([problem])
    return series


def _check_cast(series: Series, characters: Characters) -> None:
    """Refuse a character that is not declared, or that a clip's provider does not have."""
    mistakes = Mistakes()
    for name, where, way in series.castings():
        try:
            character = characters.get(name)
        except ProblemsError as error:
            place = series.document.problem(where)
            mistakes.problems += [p.at(series.document.file, place.line, place.field) for p in error.problems]
            continue
        without = (
            "; `cast: none` in that fallback buys the clip without characters" if way.is_fallback else ""
        )
        maker, buyer = character.request.account_name, way.account_name
        if way.endpoint.provider != character.endpoint.provider:
            message = f"is made by {character.endpoint.provider}, and {way.endpoint.id} is sold by {way.endpoint.provider}{without}"
        elif maker != buyer:
            message = f"is made by the account {maker}, and clips are bought from {buyer}{without}"
        else:
            continue
        mistakes.problems.append(series.document.problem(where, found=show(name), message=message))
    mistakes.end()


def _check_unique(series: Series, declarations: Declarations, keys: dict[str, Series]) -> None:
    """Refuse a name or a key of an earlier file. Dated keys are unique if their prefixes are, since prefixes contain no date."""
    other = declarations.series.get(series.name)
    if other is not None:
        message = f"is already the name of the series in {other.document.file.name}"
        raise ProblemsError([series.document.problem(("name",), found=show(series.name), message=message)])
    twin = next((one for one in declarations.series.values() if one.key_prefix == series.key_prefix), None)
    if twin is not None:
        where = ("keys",) if series.declaration.keys else ("name",)
        message = f"is already the start of the keys of the series {twin.name}; choose another name"
        raise ProblemsError([series.document.problem(where, found=show(series.key_prefix), message=message)])
    if series.dated:
        return
    for clip in series.clips():
        if clip.key in keys:
            message = f"its clip {clip.name} has the same key {clip.key} as a clip of the series {keys[clip.key].name}"
            raise ProblemsError(
                [series.document.problem(("name",), found=show(series.name), message=message)]
            )


def _check_clips(series: Series) -> None:
    """Render every clip. Report a mistake that clips share once, and stop after `MAX_FAILED` clips with mistakes."""
    owners: dict[tuple[object, ...], list[Problem]] = {}
    deadline = time.monotonic() + MAX_SECONDS
    failed = 0
    waiting = iter(series.samples())
    for clip in waiting:
        try:
            series.render(clip, id_of=lambda _name: ANY_CHARACTER)
        except ProblemsError as error:
            failed += 1
            for problem in error.problems:
                owners.setdefault((problem.line, problem.field, problem.found), []).append(problem)
        if time.monotonic() > deadline:
            message = f"takes more than {MAX_SECONDS} seconds to render for all clips; make it simpler"
            raise ProblemsError([series.document.problem(("prompt",), message=message)])
        if failed >= MAX_FAILED:
            break
    if owners:
        problems = [
            same[0] if len(same) == 1 else replace(same[0], message=_in_several_clips(same[0].message))
            for same in owners.values()
        ]
        if left := sum(1 for _ in waiting):
            message = f"has mistakes in {failed} clips; {left} more are checked when these are corrected"
            problems.append(Problem("", message, file=series.document.file))
        raise ProblemsError(problems)


def _in_several_clips(message: str) -> str:
    """The message of a mistake that several clips have."""
    return f"{message} (and in other clips)" if message else "also in other clips"


def _retired(series: Series, ways: Iterable[SeriesEndpoint]) -> Problem | None:
    """The problem if one of these endpoints is retired and the series does not allow it."""
    if series.declaration.allow_retired:
        return None
    today = dt.datetime.now(dt.UTC).date()
    for way in ways:
        if (message := retired(way.endpoint, today)) is not None:
            where = (*way.where, "endpoint")
            return series.document.problem(where, found=show(way.endpoint.id), message=message)
    return None
