"""Shows edited clips, with each changed word beside the word that it replaces."""

from collections.abc import Sequence

from rich.text import Text

from pipelines.cli.terminal import console, tell
from resources.declared.problems import show
from resources.planning.edits import Change, Edit, word_changes

SHOWN = 5
MARKS = {"gone": ("[-", "-]", "red"), "new": ("{+", "+}", "green"), "same": ("", "", "")}


def show_edits(changed: Sequence[Edit]) -> None:
    """Print the differences from the newest purchase of each clip, for the first `SHOWN` clips."""
    for edit in changed[:SHOWN]:
        tell(f"{edit.clip} was ordered before; changes since then:")
        for change in edit.changes:
            console.print(_line(change))
    if len(changed) > SHOWN:
        tell(f"... and {len(changed) - SHOWN} more edited clips; --json names all")
    if changed:
        console.print()


def _line(change: Change) -> Text:
    if isinstance(change.before, str) and isinstance(change.after, str):
        if change.before.split() == change.after.split():
            return Text(f"  {change.name}: only its white space")
        return changed_words(change.name, change.before, change.after)
    return Text(f"  {change.name}: {show(change.before)} -> {show(change.after)}")


def changed_words(name: str, before: str, after: str) -> Text:
    """A text with its removed and added words marked."""
    line = Text(f"  {name}: ")
    for index, (kind, words) in enumerate(word_changes(before, after)):
        opening, closing, colour = MARKS[kind]
        line.append(f"{' ' if index else ''}{opening}{words}{closing}", style=colour)
    return line
