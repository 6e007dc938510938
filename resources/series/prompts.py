"""Prompts: plain text, or fields that are joined in a fixed order. Each text of a prompt is a template."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema

from resources.declared.document import Document, Where
from resources.declared.problems import Mistakes, Problem, ProblemsError, listed, show
from resources.declared.validation import Declared, refused
from resources.series.templates import MAX_PROMPT, MAX_TEMPLATE, PromptError, PromptTemplate

MAX_ITEMS = 50
"""Most texts of one field."""

LABELS = {
    "subject": "",
    "scene": "Scene: ",
    "camera": "Camera: ",
    "lighting": "Lighting: ",
    "action": "Action: ",
    "audio": "Sound: ",
    "dialogue": "Dialogue: ",
    "avoid": "Avoid: ",
}
"""The fields in the order of rendering, one line each, with the label of the line."""

Words = str | dict[str, str]
"""Rendered words of a prompt: its text, or the text of each field without its label."""


def _texts(value: Any) -> Any:
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise refused(allowed="text (put it in quotes), or a list of texts")
    if len(texts) > MAX_ITEMS:
        raise refused(f"has {len(texts)} texts; a field may have {MAX_ITEMS}", found=False)
    if any(len(text) > MAX_TEMPLATE for text in texts):
        raise refused(f"is longer than {MAX_TEMPLATE} characters", found=False)
    return value


_TEXT: dict[str, Any] = {"type": "string", "maxLength": MAX_TEMPLATE}
Texts = Annotated[
    Any,
    AfterValidator(_texts),
    WithJsonSchema({"anyOf": [_TEXT, {"type": "array", "items": _TEXT, "maxItems": MAX_ITEMS}]}),
]
"""A template, or a list of them."""


class PromptFields(Declared):
    """A prompt in fields. They are rendered in this order, one line each; a field that renders to nothing is left out.

    A field is a template or a list of templates. A list is joined by commas; `dialogue` has a line for each text.
    """

    subject: Texts = None
    """Who or what the clip is about; its line has no label."""
    scene: Texts = None
    """Where and when it is."""
    camera: Texts = None
    """Framing, lens and movement."""
    lighting: Texts = None
    """Light and colours."""
    action: Texts = None
    """What happens, in order."""
    audio: Texts = None
    """What is heard besides speech."""
    dialogue: Texts = None
    """What is said, one line each, e.g. `Mara: "We are late."`"""
    avoid: Texts = None
    """What must not appear."""


def _kind(value: Any) -> str:
    return "[fields]" if isinstance(value, (dict, PromptFields)) else "[text]"


# the tags look like pydantic's own `[key]`; `declare` leaves both out of a problem's place
PromptDeclaration = Annotated[
    Annotated[str, Field(min_length=1, max_length=MAX_TEMPLATE), Tag("[text]")]
    | Annotated[PromptFields, Tag("[fields]")],
    Discriminator(_kind),
]
"""A prompt as it is declared."""


@functools.lru_cache(maxsize=4096)
def _compiled(text: str) -> PromptTemplate:
    """The template of a text, cached: compiling takes 100 times as long as rendering, and clips, dates and reloads share texts."""
    return PromptTemplate(text)


@dataclass(frozen=True, slots=True)
class _Text:
    """One template and its place."""

    template: PromptTemplate
    document: Document
    where: Where

    @classmethod
    def read(cls, text: str, document: Document, where: Where) -> "_Text":
        try:
            return cls(_compiled(text), document, where)
        except PromptError as error:
            raise ProblemsError(_problems(error, document, where)) from None

    def render(self, variables: Mapping[str, Any], clip: str) -> str:
        try:
            return self.template.render(variables)
        except PromptError as error:
            raise ProblemsError(_problems(error, self.document, self.where, clip, variables)) from None


@dataclass(frozen=True, slots=True)
class _Field:
    """One field and its texts."""

    name: str
    texts: tuple[_Text, ...]

    @classmethod
    def read(cls, name: str, declared: str | list[str], document: Document, where: Where) -> "_Field":
        if isinstance(declared, str):
            return cls(name, (_Text.read(declared, document, where),))
        return cls(
            name, tuple(_Text.read(text, document, (*where, index)) for index, text in enumerate(declared))
        )

    def render(self, variables: Mapping[str, Any], clip: str) -> str:
        texts = self._rendered(variables, clip)
        if not texts:
            return ""
        if self.name == "dialogue" and len(self.texts) > 1:
            return "\n- ".join([LABELS[self.name].rstrip(), *texts])
        return LABELS[self.name] + ", ".join(texts)

    def words(self, variables: Mapping[str, Any], clip: str) -> str:
        """The rendered field without its label."""
        return ("\n" if self.name == "dialogue" else ", ").join(self._rendered(variables, clip))

    def _rendered(self, variables: Mapping[str, Any], clip: str) -> list[str]:
        return [rendered for text in self.texts if (rendered := text.render(variables, clip))]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A compiled prompt."""

    document: Document
    """Its file."""
    where: Where
    """Its place in the file."""
    text: _Text | None
    """The plain text; None if the prompt has fields."""
    fields: Mapping[str, _Field]
    """The given fields, by name."""

    @classmethod
    def read(cls, declared: str | PromptFields, document: Document, where: Where) -> "Prompt":
        """Compile a declared prompt.

        Raises:
            ProblemsError: A text is no valid template, or uses something that is not allowed in prompts.
        """
        if isinstance(declared, str):
            return cls(document, where, _Text.read(declared, document, where), {})
        parts = {name: getattr(declared, name) for name in LABELS if name in declared.model_fields_set}
        mistakes, fields = Mistakes(), {}
        for name, value in parts.items():
            with mistakes.gathered():
                fields[name] = _Field.read(name, value, document, (*where, name))
        mistakes.end()
        return cls(document, where, None, fields)

    def over(self, inherited: "Prompt") -> "Prompt":
        """This prompt, with the missing fields taken from another. Plain text inherits nothing.

        Raises:
            ProblemsError: This prompt has fields and the other is plain text.
        """
        if self.text is not None:
            return self
        if inherited.text is not None:
            message = (
                "has fields, but the prompt that they change is plain text; write that prompt in fields too"
            )
            raise ProblemsError([self.document.problem(self.where, message=message)])
        return Prompt(self.document, self.where, None, {**inherited.fields, **self.fields})

    def render(self, variables: Mapping[str, Any], clip: str) -> str:
        """Render the text to send.

        Args:
            clip: The clip's name, for problems.

        Raises:
            ProblemsError: A variable is missing, or the text is empty or too long.
        """
        if self.text is not None:
            rendered = self.text.render(variables, clip)
        else:
            mistakes, lines = Mistakes(), []
            for name in LABELS:
                if name in self.fields:
                    with mistakes.gathered():
                        lines.append(self.fields[name].render(variables, clip))
            mistakes.end()
            rendered = "\n".join(filter(None, lines))
        message = ""
        if not rendered:
            message = "renders to nothing"
        elif len(rendered) > MAX_PROMPT:
            message = f"renders to more than {MAX_PROMPT} characters"
        if message:
            raise ProblemsError([self.document.problem(self.where, message=message)])
        return rendered

    def words(self, variables: Mapping[str, Any], clip: str) -> Words:
        """Render the words for a person who edits them.

        Args:
            clip: The clip's name, for problems.

        Raises:
            ProblemsError: A variable is missing.
        """
        if self.text is not None:
            return self.text.render(variables, clip)
        return {name: self.fields[name].words(variables, clip) for name in LABELS if name in self.fields}


def _problems(
    error: PromptError,
    document: Document,
    where: Where,
    clip: str | None = None,
    variables: Mapping[str, Any] | None = None,
) -> Iterator[Problem]:
    """The problems of a template, each with its file and line."""
    field = document.problem(where).field

    def place(line: int) -> tuple[Path, int | None]:
        return document.file, document.text_line(where, line)

    if not error.missing:
        of_clip = (
            "" if clip is None else f" (clip {clip} of the series {(variables or {}).get('series', '')})"
        )
        yield Problem(field, f"{error}{of_clip}").at(*place(error.line))
    known = sorted(variables or {})
    for name, line in error.missing.items():
        message = f"is not a variable {f'of the clip {clip}' if clip is not None else 'here'}"
        if name == "date":
            message = "only a series with `dated: true` or a schedule has a date"
        yield Problem(field, message, show(name), listed(known)).at(*place(line)).hinted(name, known)
