"""Prints a clip's words for `dailies edit`, each changed word beside the series' word that it replaces."""

from typing import TYPE_CHECKING, Any

from pipelines.cli.edits import changed_words
from pipelines.cli.terminal import console, note, tell
from resources.errors import ConfigurationError
from resources.series.prompt_editor import ClipWords
from resources.series.prompts import LABELS, Words

if TYPE_CHECKING:
    from resources.ledger.data_pushes import DataPush


def parse_fields(arguments: list[str]) -> dict[str, str]:
    """Fields of a prompt, each given as `NAME=TEXT`.

    Raises:
        ConfigurationError: One is not a field.
    """
    fields = {}
    for one in arguments:
        name, equals, text = one.partition("=")
        if not equals or name not in LABELS:
            raise ConfigurationError(f"--field {one!r}: allowed is NAME=TEXT with one of {', '.join(LABELS)}")
        fields[name] = text
    return fields


def document(clip_words: ClipWords) -> dict[str, Any]:
    """A clip's words as JSON."""
    return {
        "clip": clip_words.clip,
        "words": clip_words.words,
        "series_words": clip_words.own,
        "edited": None if clip_words.edit is None else clip_words.edit.model_dump(mode="json"),
        "overtaken": [{"part": n, "then": then, "now": now} for n, then, now in clip_words.overtaken],
        "problem": clip_words.problem,
    }


def show_words(clip_words: ClipWords, *, changed: bool, push: "DataPush | None" = None) -> None:
    """Print the words of a clip.

    Args:
        changed: Whether the command has just changed them.
        push: The current data folder, if the change made this host's folder differ from it.
    """
    if clip_words.problem is not None:
        note(
            f"{clip_words.clip} cannot be rendered: {clip_words.problem}\n`dailies edit {clip_words.clip} --remove` gives it its series' words back"
        )
        return
    own, words = _by_part(clip_words.own), _by_part(clip_words.words)
    if "text" in words and "text" not in own:
        own = {}
    for part, text in words.items():
        same = own.get(part, text) == text
        if same:
            tell(f"  {part}: {text}")
        else:
            console.print(changed_words(part, own[part], text))
    if clip_words.edit is None:
        tell(f"{clip_words.clip} has its series' words")
    else:
        tell(f"{clip_words.clip} has other words: {clip_words.edit}")
    for part, then, now in clip_words.overtaken:
        note(f"the series' {part} has changed since this edit replaced it:")
        console.print(changed_words(part, then, now))
    if changed and push is not None:
        note(
            f"this host's data folder is no longer the one that {push.who} has pushed, so this host buys nothing until `dailies data push` "
            f"makes it the current one; `dailies retake {clip_words.clip}` then buys a take after its price and a question"
        )
    elif changed:
        note(
            f"nothing was bought; `dailies retake {clip_words.clip}` buys a take with these words after its price and a question"
        )


def _by_part(words: Words) -> dict[str, str]:
    return {"text": words} if isinstance(words, str) else {name: text for name, text in words.items() if text}
