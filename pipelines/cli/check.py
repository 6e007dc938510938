"""`dailies check`: every mistake in declarations and settings that can be found without sending anything."""

import datetime as dt
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from pipelines.cli.declared import declarations_of
from resources.catalogue import Catalogue
from resources.declared.document import yaml_files
from resources.declared.problems import ProblemsError
from resources.errors import ConfigurationError
from resources.series import Declarations
from resources.series.review_rules import load_review_rules
from resources.settings import Settings, names
from resources.variables import ENV_FILE, misspelt_keys, names_in


def examine(settings: Settings) -> tuple[Declarations, list[str], list[str]]:
    """Read all declarations and settings.

    Returns:
        The declarations; the problems, which prevent clips from being produced; and the notes, which do not.
    """
    if settings.reads_bucket:
        from resources.shared_data.source import bring

        settings = bring(settings)
    declarations, problems = read_folder(settings)
    return (
        declarations,
        [*problems, *_unusable(settings)],
        [
            *_misspelt(),
            *_unread(settings.data / "series", declarations),
            *_ageing(declarations),
            *_overtaken(declarations),
        ],
    )


def read_folder(settings: Settings) -> tuple[Declarations, list[str]]:
    """Read all declarations, with the problems of every file of the data folder."""
    catalogue = Catalogue.of(settings.data)
    declarations = declarations_of(settings, catalogue)
    problems = [*catalogue.problems, *declarations.problems]
    try:
        load_review_rules(settings.data)
    except ProblemsError as error:
        problems += error.problems
    problems.sort(key=lambda one: (str(one.file or ""), one.line or sys.maxsize))
    return declarations, list(map(str, problems))


def _unusable(settings: Settings) -> Iterator[str]:
    """Settings that are refused only when they are used."""
    if settings.s3_bucket or settings.s3_endpoint:
        try:
            settings.s3()
        except ConfigurationError as error:
            yield str(error)
    if settings.ledger_url_setting is not None:
        # parsing the address needs SQLAlchemy, which loads slowly
        from resources.ledger.address import parsed_address

        try:
            parsed_address(settings.ledger_url_setting)
        except ConfigurationError as error:
            yield str(error)
    whys: list[str] = []
    for name in settings.account_names:
        try:
            settings.account(name).check_usable()
        except ConfigurationError as error:
            # two accounts with one key have one sentence
            if str(error) not in whys:
                whys.append(str(error))
    yield from whys


def _misspelt() -> list[str]:
    file = os.environ.get(ENV_FILE, ".env") or os.devnull
    return misspelt_keys([*os.environ, *names_in(file, names())], known=names())


def _unread(folder: Path, declarations: Declarations) -> Iterator[str]:
    """Files that are not read, and files that are not named after their series."""
    if not folder.is_dir():
        return
    read = set(yaml_files(folder))
    for file in sorted(folder.iterdir()):
        is_broken = file.is_symlink() and not file.exists()
        if file in read or file.name.startswith(".") or (is_broken and file.suffix in {".yaml", ".yml"}):
            continue
        what = "a folder" if file.is_dir() else "not named NAME.yaml"
        yield f"{file} is not read, because it is {what}"
    for series in declarations.series.values():
        file = series.document.file
        if file.stem != series.name:
            yield f"{file} declares the series {series.name}: name the file {series.name}.yaml, so that it is found"
        elif file.suffix != ".yaml":
            yield f"{file} is read, but the other files are called NAME.yaml: rename it, so that no second one is made"


def _ageing(declarations: Declarations) -> Iterator[str]:
    """Endpoints that are retired, or will be soon."""
    today = dt.datetime.now(dt.UTC).date()
    for series in declarations.series.values():
        if series.declaration.allow_retired:
            continue
        for endpoint in {way.endpoint.id: way.endpoint for way in series.endpoints}.values():
            if (warning := endpoint.lifecycle.warning(today)) is not None:
                yield f"{series.name}: {endpoint.id} {warning}"


def _overtaken(declarations: Declarations) -> Iterator[str]:
    """Edits of clips whose series has changed the replaced words since."""
    for series in declarations.series.values():
        for key, edit in series.edits.of_clips.items():
            clip = series.clip_of_key(key)
            if clip is not None and (changed := series.overtaken(clip)):
                place = edit.prompt.document.problem(edit.where)
                parts = ", ".join(part for part, _, _ in changed)
                yield f"{place.file}:{place.line}: {key} has other words since {edit.declared.at}, and its series' {parts} has changed after that; `dailies edit {key}` shows both"
