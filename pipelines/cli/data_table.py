"""Pushed data folders and their differences, as text and as JSON."""

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from pipelines.cli.terminal import console, print_table, table_of, tell
from resources.ledger.data_pushes import DataPush
from resources.plain import legible
from resources.shared_data.snapshot import short

if TYPE_CHECKING:
    from pipelines.cli.data_folders import FolderDifference

STYLES = {"+": "green", "-": "red", "@": "dim"}


def show_pushes(pushes: Sequence[DataPush]) -> None:
    """Print every push, oldest first; the last one is current."""
    if not pushes:
        tell("no data folder was pushed, so each host uses its own. `dailies data push` stores this one.")
        return
    table = table_of("when", "folder", "files", "who", "note", right={"files"}, wraps={"who", "note"})
    for push in pushes:
        when = f"{dt.datetime.fromtimestamp(push.at, dt.UTC):%Y-%m-%d %H:%M}"
        note = push.note if push is not pushes[-1] else f"{push.note} (current)".strip()
        table.add_row(when, short(push.digest), str(push.files), Text(push.who), Text(legible(note)))
    print_table(table)


def push_document(push: DataPush) -> dict[str, Any]:
    """A push as JSON."""
    at = dt.datetime.fromtimestamp(push.at, dt.UTC).isoformat(timespec="seconds")
    fields = push._asdict()
    del fields["seq"]
    return {**fields, "at": at}


def show_difference(difference: "FolderDifference") -> None:
    """Print the files that differ, and the changed lines of text files."""
    if not difference.changes:
        tell(f"{difference.after} is the data folder {difference.before}")
        return
    tell(f"from {difference.before} to {difference.after}:")
    for name, change in difference.changes.items():
        tell(f"{change:8} {name}")
    for line in difference.lines:
        console.print(Text(legible(line), style=STYLES.get(line[:1], "")), soft_wrap=True)
