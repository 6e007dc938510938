"""Expanding a declaration into clips: its list, or every combination of its matrix, counted before they are made."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resources.declared.document import Document, Where
from resources.declared.problems import Mistakes, ProblemsError, listed, show
from resources.plain import slug
from resources.series.declaration import MAX_CLIPS, SeriesDeclaration, is_date_shaped
from resources.series.includes import Include
from resources.series.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Entry:
    """The declaration of a clip for every date."""

    variables: Mapping[str, Any]
    """The clip's own variables."""
    parameters: Mapping[str, Any]
    """The series' parameters, overridden by the clip's own."""
    prompt: Prompt
    """The clip's prompt, with the fields of the series and its includes."""
    cast: tuple[str, ...]
    """Names of the characters it shows."""
    where: Where
    """Its place in the file."""


def expand(
    declaration: SeriesDeclaration, document: Document, includes: Sequence[Include]
) -> dict[str, Entry]:
    """The clips of a declaration by name.

    Raises:
        ProblemsError: Two clips have one name, there are too many, one has no prompt, or a prompt is not a template.
    """
    shared = _shared_prompt(declaration, document, includes)
    if declaration.clips is None:
        return _combine(declaration, document, shared)
    entries: dict[str, Entry] = {}
    mistakes = Mistakes()
    for index, clip in enumerate(declaration.clips):
        where: Where = ("clips", index)
        if clip.name in entries:
            message = "is the name of an earlier clip"
            mistakes.problems.append(
                document.problem((*where, "name"), found=show(clip.name), message=message)
            )
            continue
        with mistakes.gathered():
            prompt = shared
            if clip.prompt is not None:
                own = Prompt.read(clip.prompt, document, (*where, "prompt"))
                prompt = own if shared is None else own.over(shared)
            entries[clip.name] = Entry(
                clip.variables,
                {**declaration.parameters, **clip.parameters},
                _required_prompt(prompt, document, where),
                tuple(declaration.cast if clip.cast is None else clip.cast),
                where,
            )
    mistakes.end()
    return entries


def _shared_prompt(
    declaration: SeriesDeclaration, document: Document, includes: Sequence[Include]
) -> Prompt | None:
    """The prompt of the series; its fields override those of its includes."""
    shared: Prompt | None = None
    for prompt in (include.prompt for include in includes):
        if prompt is not None:
            shared = prompt if shared is None else prompt.over(shared)
    if declaration.prompt is None:
        return shared
    own = Prompt.read(declaration.prompt, document, ("prompt",))
    if shared is not None and own.text is not None:
        message = f"is plain text, which would drop the fields of {shared.document.file.name}; write this prompt in fields too"
        raise ProblemsError([document.problem(("prompt",), message=message)])
    return own if shared is None else own.over(shared)


def _required_prompt(prompt: Prompt | None, document: Document, where: Where) -> Prompt:
    if prompt is not None:
        return prompt
    if ("prompt",) in document.lines:
        message = "is empty; a text that begins with # goes into quotes"
        raise ProblemsError([document.problem(("prompt",), message=message)])
    name = f" for the clip in line {document.line(where)}" if document.line(where) > 1 else ""
    raise ProblemsError([document.problem(("prompt",), message=f"is missing{name}")])


def _combine(declaration: SeriesDeclaration, document: Document, prompt: Prompt | None) -> dict[str, Entry]:
    """The clips of a matrix."""
    matrix = declaration.matrix or {}
    count = math.prod(len(values) for values in matrix.values())
    if count > MAX_CLIPS:
        # Python refuses to print more than 4,300 digits
        shown = f"{count:,}" if count < 10**15 else "far too many"
        message = f"makes {shown} clips; a series may have {MAX_CLIPS:,}"
        raise ProblemsError([document.problem(("matrix",), message=message)])
    fields = _required_prompt(prompt, document, ())
    entries: dict[str, Entry] = {}
    for values in itertools.product(*matrix.values()):
        slugs = [slug(value) for value in values]
        name = "-".join(slugs)
        mistake = ""
        if not all(slugs):
            mistake = "has no letters or digits for a clip's name; list the clips one by one in `clips`"
        elif is_date_shaped(name):
            mistake = (
                f"names a clip {show(name)}, which reads as a date; list the clips one by one in `clips`"
            )
        elif name in entries:
            mistake = f"names a second clip {show(name)}; list the clips one by one in `clips`"
        if mistake:
            raise ProblemsError([document.problem(("matrix",), found=listed(values), message=mistake)])
        variables = dict(zip(matrix, values, strict=True))
        entries[name] = Entry(variables, declaration.parameters, fields, tuple(declaration.cast), ("matrix",))
    return entries
