"""`dailies rename`: give a series another name without buying its clips again.

A clip is known by its key, and keys begin with the name of their series. So the renamed series keeps the start of its keys.
"""

import datetime as dt
import re
from pathlib import Path

from pipelines.cli.declared import declarations_of
from pipelines.cli.terminal import counted, note, tell
from resources.declared.document import parse_document
from resources.declared.problems import ProblemsError, suggestion
from resources.declared.validation import declare
from resources.errors import ConfigurationError, DailiesError
from resources.ledger.former_names import former_names, record_rename
from resources.series import Declarations, Series
from resources.series.declaration import NAME, SeriesDeclaration
from resources.series.prompt_edits import edit_file
from resources.settings import Settings, open_ledger


def rename(settings: Settings, old: str, new: str) -> None:
    """Change the name in a series' file, the file's own name if it is the same, and the name of the series' edits.

    The ledger records the name first, so that money spent under the old name counts in the caps of the new one. The edits exist under
    both names before the series changes, since without them its clips would be bought again. So after each step the series is
    whole, under the old or the new name, and the same command continues after an earlier one was killed.

    Raises:
        DailiesError: There is no such series, the new name is taken or invalid, the file cannot be changed, or the ledger cannot be
            written. The series is unchanged.
    """
    before = declarations_of(settings)
    edits, edits_target = edit_file(settings.own_data, old), edit_file(settings.own_data, new)
    series = before.series.get(old)
    if series is None:
        if new in before.series and edits.exists() and _is_former(settings, old, new):
            _same(edits, edits_target)
            edits.unlink()
            tell(f"{old} is {new} already; its edits are too now")
            return
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
    if target != file and target.exists():
        raise ConfigurationError(f"{target} exists already. Nothing was changed.")
    _same(edits, edits_target)
    text = file.read_text(encoding="utf-8")
    renamed = _renamed(series, text, new)
    try:
        declare(SeriesDeclaration, parse_document(renamed, target))
    except ProblemsError as error:
        raise ConfigurationError(
            f"the renamed series would be broken: {error}. Nothing was changed."
        ) from None
    with open_ledger(settings) as ledger, ledger.write() as connection:
        record_rename(connection, old, new)
    if edits.exists():
        _replace(edits_target, edits.read_text(encoding="utf-8"))
    file.rename(target)
    _replace(target, renamed)
    after = declarations_of(settings)
    if new not in after.series:
        _replace(target, text)
        target.rename(file)
        edits_target.unlink(missing_ok=True)
        problems = "; ".join(str(problem) for problem in after.problems)
        raise ConfigurationError(f"the renamed series would be broken: {problems}. It is as it was.")
    edits.unlink(missing_ok=True)
    _say(before, series, after.series[new], after, target)


def _is_former(settings: Settings, old: str, new: str) -> bool:
    with open_ledger(settings) as ledger, ledger.read() as connection:
        return old in former_names(connection, new, None)


def _same(edits: Path, target: Path) -> None:
    """Refuse existing edits of the new name, unless they are those of the old name that a killed command left."""
    if target.exists() and not (edits.exists() and edits.read_bytes() == target.read_bytes()):
        raise ConfigurationError(f"{target} exists already. Nothing was changed.")


def _replace(file: Path, text: str) -> None:
    """Replace a file atomically, so that no reader sees half of it."""
    # a name that is not read as a series
    beside = file.with_name(f".{file.name}.new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def _renamed(series: Series, text: str, new: str) -> str:
    """The text of the file with another name, and with the start of the keys."""
    lines = text.splitlines(keepends=True)
    at = series.document.line(("name",)) - 1
    line = re.sub(rf"^name:(\s*)(['\"]?){re.escape(series.name)}\2", rf"name:\g<1>{new}", lines[at])
    if line == lines[at]:
        raise ConfigurationError(
            f"{series.document.file}, line {at + 1}: the name is not on its own line. Nothing was changed. Write "
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
    tell(
        f"{old.name} is {new.name} now, in {file}. Its clips keep their keys ({new.key_prefix}-...), so nothing is bought again."
    )
    if changed:
        note(
            f"the prompts of {counted(changed, 'clip')} say the name of the series, so they have changed; `dailies plan {new.name}`"
        )
    if new.declaration.budget is not None:
        note(f"the money spent under {old.name} counts in the caps of {new.name}")
    if new.schedule is not None:
        note(f"its schedule is off under its new name: `dailies schedules on {new.name}`")


def _fingerprint(declarations: Declarations, series: Series, name: str, date: dt.date | None) -> str | None:
    try:
        return declarations.render(series.clip(name, date)).fingerprint
    except DailiesError:
        return None
