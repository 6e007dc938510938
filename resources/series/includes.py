"""What series share: variables and prompt fields of `data/prompts/`, which a series takes in by name."""

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
    """What several series share. Its name is that of its file."""

    description: Annotated[str, Field(max_length=2000)] | None = None
    """What it is for."""
    variables: Variables = Field(default_factory=dict)
    """Variables of every clip of every series that includes it; what the series says goes over them."""
    prompt: PromptFields | None = None
    """Prompt fields of every clip of every series that includes it; what the series says goes over them."""


@dataclass(frozen=True)
class Include:
    """One file of shared parts."""

    declaration: IncludeDeclaration
    prompt: Prompt | None


@dataclass
class Includes:
    """All files of shared parts."""

    found: dict[str, Include] = field(default_factory=dict)
    """Those without mistakes, by name."""
    problems: dict[str, list[Problem]] = field(default_factory=dict)
    """What is wrong with the others."""

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
        """The one that a series names.

        Raises:
            ProblemsError: There is none, or it has mistakes of its own; in the series' file.
        """
        if name in self.found:
            return self.found[name]
        where = ("include", index)
        if name in self.problems:
            message = f"has mistakes of its own, first: {self.problems[name][0]}"
            raise ProblemsError([document.problem(where, found=show(name), message=message)])
        problem = document.problem(where, found=show(name), message=f"is no file of data/{FOLDER}")
        raise ProblemsError([problem.suggesting(name, sorted(self.found))])


def _load(document: Document) -> Include:
    if not NAME.fullmatch(document.file.stem):
        message = "its name must be lower-case letters, digits and single hyphens, since series name it"
        raise ProblemsError([Problem("", message, file=document.file)])
    declaration = declare(IncludeDeclaration, document)
    prompt = None
    if declaration.prompt is not None:
        prompt = Prompt.read(declaration.prompt, document, ("prompt",))
    return Include(declaration, prompt)
