"""`dailies rename`: give a series another name without buying its clips again.

A clip is known by its key, and keys begin with the name of their series. So the renamed series keeps the start of its keys.
"""

import datetime as dt
import re
from pathlib import Path

from pipelines.cli.declared import declarations_of
from pipelines.cli.terminal import console, counted, note
from resources.declared.problems import suggestion
from resources.errors import ConfigurationError, DailiesError
from resources.ledger.former_names import record_rename
from resources.series import Declarations, Series
from resources.series.declaration import NAME
from resources.series.prompt_edits import edit_file
from resources.settings import Settings, open_ledger


def rename(settings: Settings, old: str, new: str) -> None:
    """Change the name in a series' file, and the file's own name where it is the same; the series' edits keep to it.

    Raises:
        DailiesError: There is no such series, the new name is taken or is none, the file cannot be changed, or the ledger cannot be
            written. Nothing was changed.
    """
    before = declarations_of(settings)
    series = before.series.get(old)
    if series is None:
        known = ", ".join(sorted(before.series)) or "none"
        raise ConfigurationError(
            f"there is no series {old!r}; there are: {known}{suggestion(old, before.series)}"
        )
    if not NAME.fullmatch(new) or new in before.series:
        why = "is the name of another series" if new in before.series else "is no name"
        raise ConfigurationError(
            f"{new!r} {why}; allowed: lower-case letters, digits and single hyphens. Nothing was changed."
        )
    file = series.document.file
    target = file.with_name(f"{new}{file.suffix}") if file.stem == old else file
    edits, edits_target = edit_file(settings.data, old), edit_file(settings.data, new)
    for one in (target, edits_target):
        if one not in {file, edits} and one.exists():
            raise ConfigurationError(f"{one} exists already. Nothing was changed.")
    text = file.read_text(encoding="utf-8")
    file.write_text(_renamed(series, text, new), encoding="utf-8")
    file.rename(target)
    if edits.exists():
        edits.rename(edits_target)
    after = declarations_of(settings)
    if new in after.series:
        try:
            with open_ledger(settings) as ledger, ledger.write() as connection:
                record_rename(connection, old, new)
        except DailiesError:
            _undo(target, file, text)
            _move_back(edits_target, edits)
            raise
    else:
        _undo(target, file, text)
        _move_back(edits_target, edits)
        problems = "; ".join(str(problem) for problem in after.problems)
        raise ConfigurationError(f"the renamed series would be broken: {problems}. Nothing was changed.")
    _say(before, series, after.series[new], after, target)


def _undo(target: Path, file: Path, text: str) -> None:
    target.rename(file)
    file.write_text(text, encoding="utf-8")


def _move_back(target: Path, file: Path) -> None:
    if target.exists():
        target.rename(file)


def _renamed(series: Series, text: str, new: str) -> str:
    """The text of the file with another name, and with the start of the keys."""
    lines = text.splitlines(keepends=True)
    at = series.document.line(("name",)) - 1
    line = re.sub(rf"^name:(\s*)(['\"]?){re.escape(series.name)}\2", rf"name:\g<1>{new}", lines[at])
    if line == lines[at]:
        raise ConfigurationError(
            f"{series.document.file}, line {at + 1}: the name does not stand on a line of its own. Nothing was changed. Write "
            f"`name: {new}`, and below it `keys: {series.key_prefix}`."
        )
    keys = "" if series.declaration.keys is not None else f"keys: {series.key_prefix}\n"
    return "".join([*lines[:at], line if line.endswith("\n") else f"{line}\n", keys, *lines[at + 1 :]])


def _say(before: Declarations, old: Series, new: Series, after: Declarations, file: Path) -> None:
    today = dt.datetime.now(dt.UTC).date() if new.dated else None
    changed = sum(
        _fingerprint(before, old, name, today) != _fingerprint(after, new, name, today)
        for name in new.clip_names
    )
    console.print(
        f"{old.name} is {new.name} now, in {file}. Its clips keep their keys ({new.key_prefix}-...), so nothing is bought again.",
        soft_wrap=True,
    )
    if changed:
        note(
            f"the prompts of {counted(changed, 'clip')} say the name of the series, so they have changed; `dailies plan {new.name}`"
        )
    if new.declaration.budget is not None:
        note(f"what was spent under {old.name} counts in the caps of {new.name}")
    if new.schedule is not None:
        note(f"its schedule is off under its new name: `dailies schedules on {new.name}`")


def _fingerprint(declarations: Declarations, series: Series, name: str, date: dt.date | None) -> str | None:
    try:
        return declarations.render(series.clip(name, date)).fingerprint
    except DailiesError:
        return None
