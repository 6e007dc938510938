"""Prints a clip's words for `dailies edit`, each changed word beside the series' word that it replaces."""

from typing import TYPE_CHECKING, Any

from pipelines.cli.edits import changed_words
from pipelines.cli.terminal import console, note, tell
from resources.errors import ConfigurationError
from resources.series.prompt_editor import ClipWords
from resources.series.prompts import LABELS, Words

if TYPE_CHECKING:
    from resources.ledger.data_pushes import DataPush


def parse_fields(given: list[str]) -> dict[str, str]:
    """Fields of a prompt, each given as `NAME=TEXT`.

    Raises:
        ConfigurationError: One is not a field.
    """
    fields = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or name not in LABELS:
            raise ConfigurationError(f"--field {one!r}: allowed is NAME=TEXT with one of {', '.join(LABELS)}")
        fields[name] = text
    return fields


def document(found: ClipWords) -> dict[str, Any]:
    """A clip's words as JSON."""
    return {
        "clip": found.clip,
        "words": found.words,
        "series_words": found.own,
        "edited": None if found.edit is None else found.edit.model_dump(mode="json"),
        "overtaken": [{"part": n, "then": then, "now": now} for n, then, now in found.overtaken],
        "problem": found.problem,
    }


def show_words(found: ClipWords, *, changed: bool, push: "DataPush | None" = None) -> None:
    """Print the words of a clip.

    Args:
        changed: Whether the command has just changed them.
        push: The current data folder, if the change made this host's folder differ from it.
    """
    if found.problem is not None:
        note(
            f"{found.clip} cannot be rendered: {found.problem}\n`dailies edit {found.clip} --remove` gives it its series' words back"
        )
        return
    own, words = _by_part(found.own), _by_part(found.words)
    if "text" in words and "text" not in own:
        own = {}
    for part, text in words.items():
        same = own.get(part, text) == text
        if same:
            tell(f"  {part}: {text}")
        else:
            console.print(changed_words(part, own[part], text))
    if found.edit is None:
        tell(f"{found.clip} has its series' words")
    else:
        tell(f"{found.clip} has other words: {found.edit}")
    for part, then, now in found.overtaken:
        note(f"the series' {part} has changed since this edit replaced it:")
        console.print(changed_words(part, then, now))
    if changed and push is not None:
        note(
            f"this host's data folder is no longer the one that {push.who} has pushed, so this host buys nothing until `dailies data push` "
            f"makes it the current one; `dailies retake {found.clip}` then buys a take after its price and a question"
        )
    elif changed:
        note(
            f"nothing was bought; `dailies retake {found.clip}` buys a take with these words after its price and a question"
        )


def _by_part(words: Words) -> dict[str, str]:
    return {"text": words} if isinstance(words, str) else {name: text for name, text in words.items() if text}
