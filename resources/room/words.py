"""The words of clips in the room: showing, previewing and keeping them."""

import logging
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from resources.ledger.ledger import Ledger
from resources.plain import shown
from resources.room.documents import prompt_changes
from resources.room.people import Person
from resources.series.prompt_editor import ClipWords, PromptEditor
from resources.series.prompts import LABELS
from resources.series.templates import MAX_TEMPLATE

logger = logging.getLogger("dailies")

Text = Annotated[str, Field(max_length=MAX_TEMPLATE)]


class AskedWords(BaseModel):
    """Words for a clip as the page sends them: the whole text, or fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    clip: str = Field(max_length=128)
    words: Text | Annotated[dict[str, Text], Field(max_length=len(LABELS))] | None
    """None for the series' own words."""
    seen: str | None = Field(default=None, max_length=100)
    """The state of the words that the person saw, from `ClipWords.seen`."""


class WordsRoom:
    """Answers the page's requests about words."""

    def __init__(self, editor: PromptEditor, ledger: Ledger) -> None:
        self._editor = editor
        self._ledger = ledger

    def look(self, clip: str) -> dict[str, Any]:
        """The words of a clip.

        Raises:
            DailiesError: The clip is not declared.
        """
        return words_document(self._editor.look(clip))

    def preview(self, edit: AskedWords) -> dict[str, Any]:
        """The request with other words, compared with the last one sent, and the price of a take.

        Raises:
            DailiesError: The words have mistakes.
        """
        clip_words = self._editor.preview(edit.clip, edit.words or "")
        request = clip_words.request
        last = self._ledger.latest([edit.clip]).get(edit.clip)
        return {
            "prompt": prompt_changes(None if last is None else last.request.prompt, request.prompt),
            "against": "what was asked for last" if last is not None else "",
            "price": clip_words.price,
            "endpoint": request.endpoint,
            "length": len(request.prompt),
        }

    def keep(self, person: Person, edit: AskedWords) -> dict[str, Any]:
        """Keep other words for a clip, or give it its series' words back. Buys nothing.

        Raises:
            EditConflictError: Somebody changed them after the person looked.
            DailiesError: The words have mistakes.
        """
        clip_words = self._editor.keep(edit.clip, edit.words, who=person.name, seen=edit.seen)
        logger.info("%s changed the words of %s", person.name, edit.clip)
        return words_document(clip_words)


def words_document(clip_words: ClipWords) -> dict[str, Any]:
    """The words of a clip, for the page: a part for each field, or one for the whole text."""
    fields = isinstance(clip_words.words, dict)
    own = clip_words.own if isinstance(clip_words.own, dict) else {"text": clip_words.own}
    words = clip_words.words if isinstance(clip_words.words, dict) else {"text": clip_words.words}
    return {
        "clip": clip_words.clip,
        "in_fields": fields,
        "parts": [
            {"name": name, "text": words.get(name, ""), "own": own.get(name, "")}
            for name in (LABELS if fields else ["text"])
        ],
        "edited": None if clip_words.edit is None else str(clip_words.edit),
        "overtaken": [
            {"name": name, "changes": prompt_changes(then, now)} for name, then, now in clip_words.overtaken
        ],
        "seen": clip_words.seen,
        "problem": None if clip_words.problem is None else shown(clip_words.problem),
    }
