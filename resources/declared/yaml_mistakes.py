"""Messages for text that is not YAML. They name the remedy; the parser's own messages name its grammar."""

import re

import yaml

QUOTE = "put the text in quotes"
BRACES = "put a text with {{ }} in quotes"
_NO_SPACE = re.compile(r"\s*(?:- )?[A-Za-z_]+:[^\s/]")
_INDICATORS = frozenset("@`%*&?")

_IN_LINE = (
    (re.compile(r"\{\{"), BRACES),
    (
        re.compile(r""":\s+(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*')\s*[^\s#,\]}]"""),
        "something follows a closing quote: put the whole text in quotes, and write a single quote inside single quotes twice",
    ),
    (
        re.compile(r":\s+[|>][-+0-9]*\s+[^\s#]"),
        "the text of | or > begins on the next line, indented",
    ),
    (
        re.compile(r"\bcron:\s+@[a-z]+"),
        "a schedule has five fields: minute, hour, day of month, month, day of week; every day at six is `cron: 0 6 * * *`",
    ),
)
"""Advice by the content of the line; the first that fits counts."""

_BY_REASON = {
    "could not find expected ':'": "a name without a colon: write `name: value`",
    "sequence entries": "a list (-) begins on a new line, or is written in [ ]",
    "escape": "a backslash has a meaning between double quotes: use single quotes",
    "mapping values": f"a text contains a colon and a space: {QUOTE}",
    "node content": "a value is missing, or a [ or { is not closed",
    "expected": "its indentation does not fit the lines above it",
}
"""Advice by a part of the parser's words; the first that fits counts."""


def mistake_of(text: str, error: yaml.YAMLError) -> tuple[int | None, str]:
    """The line (from 1) of a syntax error, and a sentence about it.

    Args:
        text: The whole file.
        error: The parser's.
    """
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    reason = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "it is not understood")
    if mark is None:
        return None, f"is not valid YAML: {reason}"
    lines = text.splitlines() or [""]
    # at the end of the file the parser names a line that does not exist
    at = min(mark.line, len(lines) - 1)
    opened = min(getattr(getattr(error, "context_mark", None), "line", at), at)
    line, start = lines[at], lines[at][mark.column : mark.column + 1]
    if "expected ':'" in reason:
        # the parser reports it at the next word that has a colon
        at, line, start = opened, lines[opened], ""
    if "mapping values" in reason and at and (mapping := _above(lines, at, mark.column)) is not None:
        return mapping
    if "end of stream" in reason:
        return opened + 1, "a quote that is opened here is never closed"
    if "',' or" in reason and "{{" not in line:
        if start == ":" and ": " in line[: mark.column]:
            return at + 1, f"a text contains a colon and a space: {QUOTE}, or leave out the space"
        return opened + 1, f"the {'[' if ']' in reason else '{'} is not closed, or a comma is missing"
    return at + 1, _in_line(line, start, reason)


def _above(lines: list[str], at: int, column: int) -> tuple[int, str] | None:
    """The mistake of a colon that the line above it causes, with its line from 1; None if it is the line's own."""
    if _NO_SPACE.match(lines[at - 1]):
        return at, "a space is missing after the colon"
    if _is_deeper(lines, at, column):
        return (
            at + 1,
            "it begins with more spaces than the line above: begin both alike, or put the text above in quotes, if this belongs to it",
        )
    return None


def _is_deeper(lines: list[str], at: int, column: int) -> bool:
    """Whether the colon of a line's first word is the mistake, and the line is indented further than the value above it."""
    line, above = lines[at], lines[at - 1]
    first = line[:column].strip()
    return (
        first.isidentifier()
        and ": " in above
        and len(line) - len(line.lstrip()) > len(above) - len(above.lstrip())
    )


def _in_line(line: str, start: str, reason: str) -> str:
    """The mistake of a line, by its text and the parser's message."""
    if start == "\t" or "\t" in line[: len(line) - len(line.lstrip())] or "tab" in reason:
        return "a tab is not allowed before a word: indent with spaces"
    for pattern, said in _IN_LINE:
        if pattern.search(line):
            return said
    if "cannot start any token" in reason or "alphabetic or numeric" in reason or "mapping keys" in reason:
        begun = start if start in _INDICATORS else line.strip().rpartition(": ")[2][:1] or start
        return f"a text may not begin with {begun}: {QUOTE}"
    advice = next((said for part, said in _BY_REASON.items() if part in reason), None)
    return advice or f"is not valid YAML: {reason}; put a text with : # {{ [ or quotes into quotes"
