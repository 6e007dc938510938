"""A strict YAML reader that keeps the line of every value.

YAML is read event by event, so that forbidden constructs are refused with their line: anchors and aliases (the billion-laughs bomb),
tags, a key written twice, several documents, unbounded nesting. Plain scalars are read as in
YAML 1.2, as strictly as in JSON: `9:16` is text and not 556, `on` and `no` are text, `007` and a date are text.
A number keeps its writing, so that a prompt shows the text of the file.
"""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import yaml

from resources.declared.problems import Problem, ProblemsError, show, why_unreadable
from resources.declared.yaml_mistakes import BRACES, QUOTE, mistake_of
from resources.plain import UNFIT

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12

Where = tuple[str | int, ...]
"""A place inside a document: keys and list positions from the top, e.g. `("clips", 2, "parameters", "size")`."""

# libyaml is about twenty times faster than Python's own parser, and the wheels of all platforms that we know contain it
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_ODD_WORDS = {"Null", "NULL", "True", "TRUE", "False", "FALSE"}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_HASH = re.compile(r"\s+#[^\s#].*")
_WRITTEN_OUT = frozenset({"prompt", "variables", "matrix", "dates"})
"""Places of texts that are sent."""
_ODD_SPACES = re.compile(r"[\u00a0\u2000-\u200d\u202f\u2060\u3000\ufeff]")
_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,4})?")
_NO_TEXT = re.compile(rf"{_NUMBER.pattern}|true|false|[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}")
"""Values that are whole without what follows a #."""


class WrittenInteger(int):
    """A whole number whose text is that of its file: `+4712345678` keeps its sign in a prompt."""

    written: str
    """The text of the file, or the number's own text when it was made from a number."""

    def __new__(cls, written: str | int) -> Self:
        """Read the number from its text."""
        number = super().__new__(cls, written)
        number.written = str(written)
        return number

    def __str__(self) -> str:
        return self.written


class WrittenNumber(float):
    """A number with decimals or an exponent whose text is that of its file: `9.90` stays `9.90` in a prompt."""

    written: str
    """The text of the file, or the number's own text when it was made from a number."""

    def __new__(cls, written: str | float) -> Self:
        """Read the number from its text."""
        number = super().__new__(cls, written)
        number.written = str(written)
        return number

    def __str__(self) -> str:
        return self.written


@dataclass
class Document:
    """A file's content as plain dicts, lists and scalars, with the place of each."""

    file: Path
    """Where it was read from."""
    value: Any = None
    """The content."""
    lines: dict[Where, int] = field(default_factory=dict)
    """Line of each value, from 1."""
    blocks: set[Where] = field(default_factory=set)
    """Places whose text is a literal block (`|`): text line n stands n lines below the value's line."""

    def line(self, where: Where) -> int:
        """Line of a place, or of the nearest place around it that the file contains."""
        while where not in self.lines and where:
            where = where[:-1]
        return self.lines.get(where, 1)

    def text_line(self, where: Where, line: int) -> int:
        """Line in the file of the `line`-th line (from 1) of a text, or of the text's first line when the style hides it."""
        return self.line(where) + (line if where in self.blocks else 0)

    def problem(self, where: Where, **what: Any) -> Problem:
        """A problem with its file and line; `what` are the other fields of `Problem`."""
        return Problem(field=dotted(where), file=self.file, line=self.line(where), **what)


def dotted(where: Where) -> str:
    """A place as people write it: `clips[2].parameters.size`."""
    text = ""
    for part in where:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read_document(file: Path, *, inside: Path | None = None) -> Document:
    """Read one YAML file.

    Args:
        inside: The folder that must contain the file after every link is followed.

    Raises:
        ProblemsError: The file cannot be read, or contains something that is not allowed; with file and line.
    """
    return parse_document(read_text(file, inside=inside), file)


def read_text(file: Path, *, inside: Path | None = None) -> str:
    """The text of one YAML file.

    Args:
        inside: The folder that must contain the file after every link is followed.

    Raises:
        ProblemsError: The file cannot be read, is too large, or is not text.
    """
    if inside is not None and not file.resolve().is_relative_to(inside.resolve()):
        message = f"is a link to a file outside {inside.name}; copy the file there"
        raise ProblemsError([Problem("", message, file=file)])
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ProblemsError([Problem("", f"cannot be read: {why_unreadable(error)}", file=file)]) from None
    if len(data) > MAX_BYTES:
        message = f"is larger than {MAX_BYTES // 1024} KB; split it into several files"
        raise ProblemsError([Problem("", message, file=file)])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProblemsError([Problem("", _not_text(data, line), file=file, line=line)]) from None
    if "\0" in text:
        raise ProblemsError([Problem("", _not_text(data, 1), file=file, line=1)])
    return text


def _not_text(data: bytes, line: int) -> str:
    """The problem of bytes that are not UTF-8, and the remedy."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return "is text in UTF-16; save it as UTF-8"
    if b"\0" in data:
        return "is not text; write YAML, and save it as UTF-8"
    # nearly always an editor's older encoding; in Latin-1 a person recognises the line
    return f"{show(data.splitlines()[line - 1].decode('latin-1').strip())} is not in UTF-8; save the file as UTF-8"


def parse_document(text: str, file: Path) -> Document:
    """Read YAML from text; problems name `file`.

    Raises:
        ProblemsError: The text is not YAML, or contains something that is not allowed.
    """
    document = Document(file)
    loader = _Loader(text)
    try:
        document.value = _Reader(document, loader, text).document()
    except yaml.YAMLError as error:
        line, message = mistake_of(text, error)
        raise ProblemsError([Problem("", message, file=file, line=line)]) from None
    finally:
        loader.dispose()
    return document


class _Reader:
    """Builds the plain values of one document out of YAML events."""

    def __init__(self, document: Document, loader: Any, text: str) -> None:
        self._document = document
        self._text_lines = text.splitlines()
        self._events = iter(loader.get_event, None)

    def document(self) -> Any:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        value = self._value(next(self._events), ())
        next(self._events)  # the document's end
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._refused((), after, "a second document ('---') is not allowed; use one file for each")
        return value

    def _value(self, event: Any, where: Where) -> Any:
        if isinstance(event, yaml.AliasEvent):
            raise self._refused(where, event, f"an alias (*) is not allowed: write the value out, or {QUOTE}")
        if event.anchor is not None:
            raise self._refused(
                where, event, f"an anchor (&) is not allowed: write the value out, or {QUOTE}"
            )
        if event.tag is not None:
            raise self._refused(where, event, f"a tag (!) is not allowed; if it is text, {QUOTE}")
        if len(where) > MAX_DEPTH:
            raise self._refused(where[:4], event, f"is nested deeper than {MAX_DEPTH} levels")
        self._document.lines[where] = event.start_mark.line + 1
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(where)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(where)
        return self._scalar(event, where)

    def _mapping(self, where: Where) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent) or event.anchor is not None or event.tag is not None:
                braces = isinstance(event, yaml.MappingStartEvent) and event.flow_style
                raise self._refused(where, event, BRACES if braces else "a key must be plain text")
            key = self._text(event, where)
            if odd := _ODD_SPACES.search(key):
                name = f"U+{ord(odd[0]):04X}"
                message = f"contains the invisible character {name}: write an ordinary space, or nothing"
                raise self._refused((*where, _ODD_SPACES.sub("", key)), event, message)
            if key in values:
                line = self._document.lines[*where, key]
                raise self._refused((*where, key), event, f"is written twice, first in line {line}")
            values[key] = self._value(next(self._events), (*where, key))
        return values

    def _sequence(self, where: Where) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            values.append(self._value(event, (*where, len(values))))
        return values

    def _scalar(self, event: Any, where: Where) -> Any:
        text = self._text(event, where)
        if event.style == "|":
            self._document.blocks.add(where)
        if event.style:
            return text
        if _WRITTEN_OUT & set(where) and not _NO_TEXT.fullmatch(text):
            self._check_hash(event, where)
        if text in _WORDS:
            return _WORDS[text]
        if text in _ODD_WORDS:
            raise self._refused(
                where, event, f"{text} is ambiguous: write {text.lower()}, or put text in quotes"
            )
        if _INTEGER.fullmatch(text):
            return int(text) if str(int(text)) == text else WrittenInteger(text)
        if _NUMBER.fullmatch(text):
            number = float(text)
            if not math.isfinite(number) or text.lstrip("+-").isdigit():
                raise self._refused(where, event, f"{show(text)} is too large a number; put text in quotes")
            return number if str(number) == text else WrittenNumber(text)
        return text

    def _text(self, event: Any, where: Where) -> str:
        text = str(event.value)
        if unfit := UNFIT.search(text):
            raise self._refused(where, event, f"contains the control character {show(unfit[0])}")
        return text

    def _check_hash(self, event: Any, where: Where) -> None:
        """Refuse ` #1` in an unquoted text: for YAML it is a comment, so half a prompt would be bought."""
        end = event.end_mark
        rest = self._text_lines[end.line][end.column :] if end.line < len(self._text_lines) else ""
        if comment := _HASH.match(rest):
            cut = show(comment[0].strip())
            message = f"ends before {cut}, because a # after a space begins a comment; {QUOTE}, or write a space after the #"
            raise self._refused(where, event, message)

    def _refused(self, where: Where, event: Any, message: str) -> ProblemsError:
        line = event.start_mark.line + 1
        return ProblemsError([Problem(dotted(where), message, file=self._document.file, line=line)])


def broken_links(folder: Path) -> list[Problem]:
    """A problem for each YAML file of a folder that is a broken link, since its author expects it to be read."""
    if not folder.is_dir():
        return []
    message = "is a link to a file that does not exist, or back to itself; correct or remove the link"
    return [
        Problem("", message, file=file)
        for file in sorted(folder.iterdir())
        if file.suffix in {".yaml", ".yml"} and file.is_symlink() and not file.exists()
    ]


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files of a folder in a fixed order; none if the folder is missing."""
    if not folder.is_dir():
        return []
    return sorted(
        f for f in folder.iterdir() if f.suffix in {".yaml", ".yml"} and f.is_file() and f.name[0] != "."
    )
