"""Writes the files `data/edits/{series}.yaml` atomically, after checking that they read back unchanged."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from resources.declared.document import MAX_BYTES, parse_document
from resources.declared.problems import Problem, ProblemsError
from resources.errors import ConfigurationError
from resources.series.prompt_edits import EditDeclaration, PromptEdits
from resources.series.prompts import LABELS, PromptFields

_HEADER = """\
# yaml-language-server: $schema=../schemas/edits.schema.json
# Other words for single clips of {series}, instead of those in data/series. The room and `dailies edit` write this file anew:
# a change of yours is kept, a comment is not.
"""


class _QuotedText(str):
    """A text that is written in quotes, so that YAML reads it as text."""

    __slots__ = ()


class _EditDumper(yaml.SafeDumper):
    """Writes texts with several lines as they are, and others in quotes."""


def _represent(dumper: yaml.SafeDumper, text: _QuotedText) -> yaml.ScalarNode:
    # the dumper falls back to quotes if a block cannot hold the text
    style = "|" if "\n" in text else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


_EditDumper.add_representer(_QuotedText, _represent)


def _quoted(value: Any) -> Any:
    if isinstance(value, str):
        return _QuotedText(value)
    return [_QuotedText(text) for text in value] if isinstance(value, list) else value


def _words(declared: str | PromptFields) -> Any:
    if isinstance(declared, str):
        return _QuotedText(declared)
    return {name: _quoted(getattr(declared, name)) for name in LABELS if name in declared.model_fields_set}


def written(series: str, edits: Mapping[str, EditDeclaration]) -> str:
    """The text of a file of edits."""
    clips = {}
    for clip, edit in sorted(edits.items()):
        clips[clip] = {"prompt": _words(edit.prompt), "by": _QuotedText(edit.by), "at": _QuotedText(edit.at)}
        if edit.instead_of is not None:
            clips[clip]["instead_of"] = _words(edit.instead_of)
    text = yaml.dump(
        {"clips": clips}, Dumper=_EditDumper, sort_keys=False, allow_unicode=True, width=1_000_000, indent=2
    )
    return _HEADER.format(series=series) + text


def with_edit(
    edits: PromptEdits, file: Path, clip: str, new_edit: EditDeclaration | None
) -> tuple[str, PromptEdits]:
    """Add, replace or remove a clip's edit; returns the new text of the file, and the edits as read from it.

    Args:
        edits: The present edits.
        file: Their file, which has the series' name.
        new_edit: The edit; None removes the clip's edit.

    Returns:
        The text, empty if no edit is left, and the edits.

    Raises:
        ProblemsError: The edit has mistakes, or the file would be too large.
    """
    declared = {key: edit.declared for key, edit in edits.of_clips.items() if key != clip}
    if new_edit is not None:
        declared[clip] = new_edit
    if not declared:
        return "", PromptEdits()
    text = written(file.stem, declared)
    if len(text.encode()) > MAX_BYTES:
        message = f"would be larger than {MAX_BYTES // 1024} KB; remove edits of clips that are made"
        raise ProblemsError([Problem("", message, file=file)])
    read = PromptEdits.read(parse_document(text, file))
    if {key: edit.declared for key, edit in read.of_clips.items()} != declared:
        raise ProblemsError([Problem("prompt", "has characters that a YAML file does not keep", file=file)])
    return text, read


def write_edits(data_dir: Path, file: Path, text: str) -> None:
    """Replace a file of edits atomically; an empty text removes it.

    Raises:
        ConfigurationError: It cannot be written. The file is unchanged.
    """
    try:
        if not text:
            file.unlink(missing_ok=True)
            return
        file.parent.mkdir(exist_ok=True)
        if not file.resolve().is_relative_to(data_dir.resolve()):
            raise ConfigurationError(f"{file.parent} is a link to a folder outside {data_dir.name}")
        part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")
        try:
            with part.open("w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"{file} cannot be written: {error.strerror or error}. Nothing was kept."
        ) from None
