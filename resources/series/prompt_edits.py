"""Other words for single clips: the files `data/edits/{series}.yaml`, which the room and `dailies edit` write.

They are read and checked like everything that is declared. A series' own file is never changed.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema

from resources.declared.document import Document, Where, read_document, yaml_files
from resources.declared.problems import Problem, ProblemsError
from resources.declared.validation import Declared, declare, refused
from resources.edited_words import EditedWords
from resources.errors import DailiesError
from resources.series.prompts import LABELS, Prompt, PromptDeclaration, PromptFields

FOLDER = "edits"
_JOINED = {"dialogue": "\n"}
MAX_EDITS = 2000
"""Clips of one file."""


class EditConflictError(DailiesError):
    """Somebody else changed a clip's words in between. Nothing was kept."""


def _moment(value: str) -> str:
    try:
        dt.datetime.strptime(value, "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        raise refused(allowed="a time with its zone, e.g. 2026-11-30T09:15:00Z") from None
    return value


class EditDeclaration(Declared):
    """Other words for one clip."""

    prompt: PromptDeclaration
    """Text replaces the clip's prompt, fields override its fields; an empty field is left out of the prompt."""
    by: Annotated[str, Field(min_length=1, max_length=200)]
    """Who wrote it."""
    at: Annotated[str, AfterValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
    """When, e.g. 2026-11-30T09:15:00Z."""
    instead_of: PromptDeclaration | None = None
    """The words that it replaced, rendered; where the series says something else by now, `dailies check` and the room say so."""

    @property
    def replaced(self) -> dict[str, str]:
        """The words that it replaced, by field; `text` is the whole prompt. Empty where nobody wrote them down."""
        match self.instead_of:
            case None:
                return {}
            case str(text):
                return {"text": text}
            case fields:
                labels = {n: getattr(fields, n) for n in LABELS if n in fields.model_fields_set}
                return {
                    n: v if isinstance(v, str) else _JOINED.get(n, ", ").join(v) for n, v in labels.items()
                }

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields with other words; none where the whole text has."""
        fields_set = self.prompt.model_fields_set if isinstance(self.prompt, PromptFields) else ()
        return tuple(name for name in LABELS if name in fields_set)

    @property
    def record(self) -> EditedWords:
        """Who wrote it, and when."""
        return EditedWords(by=self.by, at=dt.datetime.fromisoformat(self.at), fields=self.fields)


class EditsDeclaration(Declared):
    """Other words for single clips of one series. The file's name is the series' name."""

    clips: Annotated[dict[str, EditDeclaration], Field(max_length=MAX_EDITS)] = Field(
        examples=[{"city-sunset-2026-11-20-hero": {"prompt": {"camera": "A slow crane move."}}}]
    )
    """By the clip's key."""


@dataclass(frozen=True)
class PromptEdit:
    """Other words for one clip, compiled."""

    declared: EditDeclaration
    prompt: Prompt
    where: Where
    """Its place in the file."""


@dataclass(frozen=True)
class PromptEdits:
    """The edits of one series."""

    document: Document | None = None
    """The file, None if there is none."""
    of_clips: Mapping[str, PromptEdit] = field(default_factory=dict)
    """By the clip's key."""

    @classmethod
    def read(cls, document: Document) -> "PromptEdits":
        """Check a file of edits and compile their prompts.

        Raises:
            ProblemsError: The file has mistakes; each names its line.
        """
        declaration = declare(EditsDeclaration, document)
        edits = {}
        for clip, edit in declaration.clips.items():
            where: Where = ("clips", clip)
            edits[clip] = PromptEdit(edit, Prompt.read(edit.prompt, document, (*where, "prompt")), where)
        return cls(document, edits)


@dataclass
class PromptEditFiles:
    """All files of edits."""

    found: dict[str, PromptEdits] = field(default_factory=dict)
    """Files without mistakes, by the name of their series."""
    broken: dict[str, list[Problem]] = field(default_factory=dict)
    """Mistakes of the other files."""
    files: dict[str, Path] = field(default_factory=dict)
    """Every file, by the name of its series."""

    @classmethod
    def load(cls, data_dir: Path) -> "PromptEditFiles":
        """Read every file of `data_dir/edits`."""
        loaded = cls()
        for file in yaml_files(data_dir / FOLDER):
            loaded.files[file.stem] = file
            if file.suffix != ".yaml":
                problem = Problem("", f"is not read; call it {file.stem}.yaml", file=file)
                loaded.broken.setdefault(file.stem, []).append(problem)
                continue
            try:
                loaded.found[file.stem] = PromptEdits.read(read_document(file, inside=data_dir))
            except ProblemsError as error:
                loaded.broken.setdefault(file.stem, []).extend(error.problems)
        return loaded

    def of(self, series: str) -> PromptEdits:
        """The edits of a series.

        Raises:
            ProblemsError: Their file has mistakes. Without it nobody knows which words the series' clips have.
        """
        if series in self.broken:
            raise ProblemsError(self.broken[series])
        return self.found.get(series, PromptEdits())

    def of_nobody(self, names: set[str]) -> list[Problem]:
        """A problem for each file that belongs to no series.

        Args:
            names: The names of the series, and of the files whose series is not known because of its mistakes.
        """
        problems = []
        for name in sorted(self.files.keys() - names):
            problem = Problem("", "no series has this file's name", file=self.files[name])
            problems += [problem.suggesting(name, sorted(names)), *self.broken.get(name, [])]
        return problems


def edit_file(data_dir: Path, series: str) -> Path:
    """The file of a series' edits; it need not exist."""
    return data_dir / FOLDER / f"{series}.yaml"


def declared_words(field: str, text: str) -> str | list[str]:
    """The words of a field as an edit declares them: lines of `dialogue` are texts of their own."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines if field == "dialogue" and len(lines) > 1 else text
