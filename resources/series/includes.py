"""Variables and prompt fields that series share: the files of `data/prompts/`, which a series includes by name."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import Field

from resources.declared.document import Document, read_document, yaml_files
from resources.declared.problems import Problem, ProblemsError, show
from resources.declared.validation import Declared, declare
from resources.series.declaration import NAME, Variables
from resources.series.prompts import Prompt, PromptFields

FOLDER = "prompts"


class IncludeDeclaration(Declared):
    """Parts that several series share. The file's name is its name."""

    description: Annotated[str, Field(max_length=2000)] | None = None
    """What it is for."""
    variables: Variables = Field(default_factory=dict)
    """Variables of every clip of every series that includes it; the series' own variables override them."""
    prompt: PromptFields | None = None
    """Prompt fields of every clip of every series that includes it; the series' own fields override them."""


@dataclass(frozen=True)
class Include:
    """One file of shared parts."""

    declaration: IncludeDeclaration
    prompt: Prompt | None


@dataclass
class Includes:
    """All files of shared parts."""

    found: dict[str, Include] = field(default_factory=dict)
    """Files without mistakes, by name."""
    problems: dict[str, list[Problem]] = field(default_factory=dict)
    """Mistakes of the other files, by name."""

    @classmethod
    def load(cls, data_dir: Path) -> "Includes":
        """Read every file of `data_dir/prompts`."""
        includes = cls()
        for file in yaml_files(data_dir / FOLDER):
            try:
                includes.found[file.stem] = _load(read_document(file, inside=data_dir))
            except ProblemsError as error:
                includes.problems.setdefault(file.stem, []).extend(error.problems)
        return includes

    def get(self, name: str, document: Document, index: int) -> Include:
        """The include that a series names.

        Raises:
            ProblemsError: No file has this name, or that file has mistakes; the problem names the series' file.
        """
        if name in self.found:
            return self.found[name]
        where = ("include", index)
        if name in self.problems:
            message = f"has mistakes itself, first: {self.problems[name][0]}"
            raise ProblemsError([document.problem(where, found=show(name), message=message)])
        problem = document.problem(where, found=show(name), message=f"does not exist in data/{FOLDER}")
        raise ProblemsError([problem.suggesting(name, sorted(self.found))])


def _load(document: Document) -> Include:
    if not NAME.fullmatch(document.file.stem):
        message = (
            "the file's name must be lower-case letters, digits and single hyphens, because series name it"
        )
        raise ProblemsError([Problem("", message, file=document.file)])
    declaration = declare(IncludeDeclaration, document)
    prompt = None
    if declaration.prompt is not None:
        prompt = Prompt.read(declaration.prompt, document, ("prompt",))
    return Include(declaration, prompt)
