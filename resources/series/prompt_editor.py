"""Editing a clip's words: showing, previewing and keeping them in `data/edits/`, for the room and `dailies edit`. It buys nothing."""

import contextlib
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from resources.declared.document import Document
from resources.declared.problems import Problem, ProblemsError
from resources.declared.validation import declare
from resources.edited_words import EditedWords
from resources.errors import ConfigurationError
from resources.file_lock import FileLockedError, lock_file
from resources.money import show_usd
from resources.orders import ClipRequest
from resources.series.declarations import ANY_CHARACTER, Declarations
from resources.series.edit_writer import with_edit, write_edits
from resources.series.prompt_edits import (
    EditConflictError,
    EditDeclaration,
    PromptEditFiles,
    PromptEdits,
    declared_words,
    edit_file,
)
from resources.series.prompts import PromptFields, Words
from resources.series.series import Clip, Series

PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class ClipWords:
    """The words of a clip, for a person who edits them."""

    clip: str
    own: Words
    """The series' words."""
    words: Words
    """The clip's present words."""
    edit: EditedWords | None
    """The author and time of the clip's edit; None if it has the series' words."""
    overtaken: list[tuple[str, str, str]]
    """See `Series.overtaken`."""
    seen: str
    """An id of this state of the words. An editor sends it back, so that nobody overwrites words that they have not seen."""
    problem: str | None = None
    """Why the clip cannot be rendered. Its edit can still be removed."""


@dataclass(frozen=True)
class WordsPreview:
    """A clip with words that are not saved yet."""

    request: ClipRequest

    @property
    def price(self) -> str:
        """The price of a take, for a person."""
        price = self.request.price_micros
        return "its provider quotes the price before the purchase" if price is None else show_usd(price)


@dataclass(frozen=True)
class _Declared:
    """A clip with its present declaration."""

    declarations: Declarations
    series: Series
    clip: Clip

    @property
    def own_text(self) -> str:
        return self.series.text(self.clip, edited=False)

    @property
    def words(self) -> ClipWords:
        series, clip = self.series, self.clip
        edit = series.edit_of(clip)
        return ClipWords(
            clip.key,
            series.words(clip, edited=False),
            series.words(clip),
            None if edit is None else edit.record,
            series.overtaken(clip),
            _state(self.own_text, edit),
        )

    def edited(self, words: Words | None, who: str) -> tuple[str, Series]:
        """The new text of the file of edits, and the series with these words.

        Raises:
            ProblemsError: The words have mistakes.
        """
        edit = None if words is None else self._edit_of(words, who)
        file = edit_file(self.series.data_dir, self.series.name)
        text, edits = with_edit(self.series.edits, file, self.clip.key, edit)
        series = self.series.with_edits(edits)
        series.render(self.clip, id_of=lambda _name: ANY_CHARACTER)
        return text, series

    def _edit_of(self, words: Words, who: str) -> EditDeclaration | None:
        """The edit that gives the clip these words; None if they are the series' own."""
        before, own = self.series.edit_of(self.clip), self.series.words(self.clip, edited=False)
        now = self.series.words(self.clip)
        if isinstance(words, str):
            text = _plain(words)
            if text == self.own_text:
                return None
            kept = before.prompt if before is not None and text == now else text
            return self._signed(kept, self.own_text, who)
        if isinstance(own, str):
            message = f"the prompt of {self.clip.key} is plain text and has no fields"
            raise ProblemsError([Problem("prompt", message)])
        changed = {n: text for n, said in words.items() if (text := _plain(said)) != own.get(n, "")}
        if not changed:
            return None
        fields: dict[str, Any] = {name: declared_words(name, text) for name, text in changed.items()}
        if before is not None and isinstance(before.prompt, PromptFields) and isinstance(now, dict):
            # a field whose words are unchanged keeps its template
            fields |= {n: getattr(before.prompt, n) for n in before.fields if changed.get(n) == now.get(n)}
        return self._signed(fields, {n: own.get(n, "") for n in changed}, who)

    def _signed(self, prompt: Any, instead_of: str | dict[str, str], who: str) -> EditDeclaration:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = {"prompt": prompt, "by": who, "at": now, "instead_of": instead_of}
        return declare(EditDeclaration, Document(edit_file(self.series.data_dir, self.series.name), fields))


class PromptEditor:
    """Shows, tries and keeps other words for clips.

    Args:
        declarations: Reads the present declarations.
        data_dir: The data folder.
        lock: A file of this machine that every writer of edits locks.
    """

    def __init__(self, declarations: Callable[[], Declarations], data_dir: Path, lock: Path) -> None:
        self._declarations = declarations
        self._data_dir = data_dir
        self._lock = lock

    def look(self, clip: str) -> ClipWords:
        """The present words of a clip.

        Raises:
            DailiesError: No series declares the clip, or its series has mistakes and nobody edited the clip.
        """
        try:
            return self._declared(clip).words
        except ProblemsError as error:
            edit = self._edit_in_file(clip)
            if edit is None:
                raise
            return ClipWords(clip, "", "", edit.record, [], _state(None, edit), problem=str(error))

    def preview(self, clip: str, words: Words) -> WordsPreview:
        """The request with these words.

        Raises:
            ProblemsError: The words have mistakes, or the clip cannot be rendered.
        """
        declared = self._declared(clip)
        _, series = declared.edited(words, "preview")
        with_words = {**declared.declarations.series, series.name: series}
        return WordsPreview(replace(declared.declarations, series=with_words).render(declared.clip))

    def keep(self, clip: str, words: Words | None, *, who: str, seen: str | None) -> ClipWords:
        """Give a clip other words, or the series' own.

        Args:
            words: The words; None for the series' own. Other fields keep the series' words.
            who: The author.
            seen: `ClipWords.seen` of the words that the author saw; None replaces any words.

        Raises:
            EditConflictError: Somebody changed the words meanwhile. Nothing was kept.
            DailiesError: The words have mistakes, or the file cannot be written. Nothing was kept.
        """
        with self._locked():
            try:
                declared = self._declared(clip)
            except ProblemsError:
                if words is not None or not self._remove(clip, seen):
                    raise
                return ClipWords(clip, "", "", None, [], "")
            text, series = declared.edited(words, who)
            now = declared.words
            result = replace(declared, series=series).words
            # the first answer may have been lost: the same words again are no conflict
            if (now.words, now.edit and now.edit.by) == (result.words, result.edit and result.edit.by):
                return now
            if seen is not None and seen != now.seen:
                raise _conflict(now, seen)
            write_edits(self._data_dir, edit_file(self._data_dir, series.name), text)
            return result

    def _declared(self, clip: str) -> _Declared:
        declarations = self._declarations()
        clip_found = declarations.find(clip)
        return _Declared(declarations, declarations.series[clip_found.series], clip_found)

    def _edit_in_file(self, clip: str) -> EditDeclaration | None:
        edits = self._edits_with(clip)
        return None if edits is None else edits.of_clips[clip].declared

    def _edits_with(self, clip: str) -> PromptEdits | None:
        files = PromptEditFiles.load(self._data_dir).found.values()
        return next((edits for edits in files if clip in edits.of_clips), None)

    def _remove(self, clip: str, expected: str | None) -> bool:
        """Remove an edit because of which its own series cannot be read; returns whether there was one."""
        edits = self._edits_with(clip)
        if edits is None or edits.document is None:
            return False
        if expected not in {None, _state(None, edits.of_clips[clip].declared)}:
            raise EditConflictError(
                f"the words of {clip} were changed meanwhile. Nothing was kept. Look at them again."
            )
        text, _ = with_edit(edits, edits.document.file, clip, None)
        write_edits(self._data_dir, edits.document.file, text)
        return True

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Let one process at a time write edits on this machine."""
        self._lock.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as file:
            try:
                lock_file(file, patience_seconds=PATIENCE_SECONDS)
            except FileLockedError:
                raise ConfigurationError(
                    f"another process writes edits for more than {PATIENCE_SECONDS:.0f} s. Nothing was kept; try again."
                ) from None
            yield


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


def _state(own: str | None, edit: EditDeclaration | None) -> str:
    parts = [own, None if edit is None else edit.model_dump(mode="json")]
    return ".".join(
        hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:32] for part in parts
    )


def _conflict(now: ClipWords, expected: str) -> EditConflictError:
    reason = "the prompt of its series changed"
    if expected.partition(".")[2] != now.seen.partition(".")[2]:
        reason = "somebody gave it its series' words back"
        if now.edit is not None:
            reason = f"{now.edit.by} gave it other words on {now.edit.at:%Y-%m-%d at %H:%M} UTC"
    return EditConflictError(
        f"after you looked at {now.clip}, {reason}. Your words were not kept. Look at the words that it has now, and send yours again."
    )
