"""Prompt templates: the part of Jinja2 that a prompt needs, and nothing that can loop, call or grow.

A template is checked node by node before it is compiled. It has no loops, calls, attributes, assignments or arithmetic, so every node
is evaluated at most once. Together with limits on the template, on values and on `replace`, this bounds the time and memory of a
rendering. Templates also run in Jinja2's immutable sandbox.
"""

import datetime as dt
import keyword
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.exceptions import TemplateError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from resources.declared.problems import show
from resources.plain import UNFIT

MAX_TEMPLATE = 20_000
"""The longest template, in characters."""
MAX_PROMPT = 20_000
"""The longest rendered prompt, in characters."""
_MAX_NODES = 500
_MAX_DEPTH = 24

BUILT_IN = frozenset({"date", "series", "clip"})
"""Variables of every template (`date` only in a dated series)."""
RESERVED = frozenset(
    {
        *keyword.kwlist,
        "true",
        "false",
        "none",
        "self",
        "loop",
        "caller",
        "varargs",
        "kwargs",
        "block",
        "endif",
        "elif",
    }
)
"""Names with a meaning in the template language."""

_NODES: frozenset[type[nodes.Node]] = frozenset(
    {
        nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.CondExpr, nodes.Name, nodes.Const,
        nodes.Tuple, nodes.List, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat,
        nodes.Filter, nodes.Test, nodes.Keyword,
    }
)  # fmt: skip
_TESTS = frozenset({"defined", "undefined"})
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


class PromptError(Exception):
    """A template is wrong, or cannot be rendered.

    Attributes:
        line: Line inside the template, from 1.
        missing: The variables that do not exist, each with the line of its first use.
    """

    def __init__(self, message: str, line: int = 1, missing: Mapping[str, int] | None = None) -> None:
        self.line = line
        self.missing = dict(missing or {})
        super().__init__(message)


def _replace(value: object, old: str, new: str) -> str:
    """`replace` with a limit, since it is the only filter that can make a text grow without bounds."""
    text, old, new = str(value), str(old), str(new)
    if not old or len(text) + text.count(old) * (len(new) - len(old)) > MAX_PROMPT:
        raise PromptError(
            f"`replace` needs a text to replace, and a result of at most {MAX_PROMPT} characters"
        )
    return text.replace(old, new)


def _weekday(value: object) -> str:
    return _DAYS[_date(value).weekday()]


def _month(value: object) -> str:
    return _MONTHS[_date(value).month - 1]


def _date(value: object) -> dt.date:
    try:
        return dt.datetime.strptime(str(value), "%Y-%m-%d").date()  # noqa: DTZ007 (a date has no time zone)
    except ValueError:
        raise PromptError("`weekday` and `month` need a date as YYYY-MM-DD") from None


def _finalize(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
        cache_size=0,
    )
    environment.globals.clear()
    kept = ("capitalize", "default", "length", "lower", "title", "trim", "upper")
    environment.filters = {name: environment.filters[name] for name in kept}
    environment.filters |= {"replace": _replace, "weekday": _weekday, "month": _month}
    environment.tests = {name: test for name, test in environment.tests.items() if name in _TESTS}
    return environment


_ENVIRONMENT = _environment()

_SYNTAX = {
    r"unknown tag '(\w+)'": r"{% \1 %} means nothing here; a prompt knows if, elif, else and endif",
    r"needs to be closed is '(\w+)'": r"{% \1 ... %} is not closed; end it with {% end\1 %}",
    r"[Uu]nexpected ('end of template'|end of template|'}')": "{{ or {% is not closed; write {{ name }}",
    r"expected name or number": "a name is missing behind a sign; a variable is plain, as {{ name }}",
    r"end of comment": "{# is not closed; end it with #}",
    r"Expected an expression": "a variable is missing here; write {{ name }} or {% if name %}",
    r"'end of print statement', got '?(.+?)'?$": r"\1 follows a variable; {{ }} takes one, with filters after |, as {{ mood|upper }}",
    r"expected token 'name'": "a filter's name is missing after |",
    r"unexpected char (.+) at": r"\1 means nothing between {{ and }}",
}
"""Jinja's error texts, and ours."""


class PromptTemplate:
    """A compiled prompt.

    Attributes:
        names: The variables that it needs, each with the line of its first use.
    """

    def __init__(self, text: str) -> None:
        """Check and compile a template.

        Raises:
            PromptError: The text is no valid template, or uses something that is not allowed in prompts.
        """
        if len(text) > MAX_TEMPLATE:
            raise PromptError(f"is longer than {MAX_TEMPLATE} characters")
        try:
            tree = _ENVIRONMENT.parse(text)
            self.names = _check(tree)
            self._lookalikes = dict(_lookalikes(tree))
            self._template = _ENVIRONMENT.from_string(tree)
        except TemplateSyntaxError as error:
            raise PromptError(_in_words(error.message or "is not a template"), error.lineno) from None
        # Python's own parser refuses some literals and expressions, e.g. a number of 5,000 digits
        except (ValueError, SyntaxError, RecursionError, MemoryError, OverflowError):
            raise PromptError("is too complicated") from None

    def render(self, variables: Mapping[str, Any]) -> str:
        """The rendered text without surrounding space; it may be empty.

        Raises:
            PromptError: A variable is missing, or the text is too long.
        """
        missing = self.names.keys() - variables.keys()
        if missing:
            lines = {name: self.names[name] for name in self.names if name in missing}
            raise PromptError("is not a variable here", min(lines.values()), lines)
        for name, line in self._lookalikes.items():
            if name in variables:
                raise PromptError(
                    f"{{{name}}} would be sent as it is written; a variable is written {{{{ {name} }}}}", line
                )
        try:
            text = self._template.render(variables).strip()
        except UndefinedError as error:
            raise PromptError(str(error.message)) from None
        except (TemplateError, TypeError, ValueError) as error:
            raise PromptError(f"cannot be rendered: {error}") from None
        if len(text) > MAX_PROMPT:
            raise PromptError(f"renders to more than {MAX_PROMPT} characters")
        if unfit := UNFIT.search(text):
            raise PromptError(f"renders to a text with the control character {show(unfit[0])}")
        return text


_SINGLE_BRACES = re.compile(r"\{ *([a-z][a-z0-9_]*) *\}")


def _in_words(message: str) -> str:
    """Jinja's error about a template, for a person who does not know tokens and tags."""
    for pattern, words in _SYNTAX.items():
        if match := re.search(pattern, message):
            return match.expand(words)
    return message


def _check(tree: nodes.Template) -> dict[str, int]:
    """Refuse what is not allowed in prompts; returns the needed variables, each with the line of its first use."""
    used: dict[str, int] = {}
    guarded: set[str] = set()
    for count, (node, depth) in enumerate(_walk(tree)):
        if count > _MAX_NODES or depth > _MAX_DEPTH:
            raise PromptError("is too complicated", node.lineno or 1)
        if type(node) not in _NODES:
            raise PromptError(_refusal(node), node.lineno or 1)
        # YAML reads `'\x1b'` as plain text, from which Jinja makes a control character
        if isinstance(node, nodes.Const) and (unfit := UNFIT.search(str(node.value))):
            raise PromptError(f"contains the control character {show(unfit[0])}", node.lineno or 1)
        if isinstance(node, nodes.Name):
            used.setdefault(node.name, node.lineno)
        elif isinstance(node, (nodes.Filter, nodes.Test)):
            known = _ENVIRONMENT.filters if isinstance(node, nodes.Filter) else _TESTS
            if node.name not in known:
                word = "filter" if isinstance(node, nodes.Filter) else "test"
                raise PromptError(
                    f"there is no {word} {node.name!r}; there are {', '.join(sorted(known))}", node.lineno
                )
            if node.name in {"default", "defined", "undefined"} and isinstance(node.node, nodes.Name):
                guarded.add(node.node.name)
    return {name: line for name, line in used.items() if name not in guarded}


def _lookalikes(tree: nodes.Template) -> Iterator[tuple[str, int]]:
    """Names in single braces, as other languages write variables, each with its line. Such a prompt would be bought without its values."""
    for node, _ in _walk(tree):
        if isinstance(node, nodes.TemplateData):
            for match in _SINGLE_BRACES.finditer(node.data):
                yield match[1], node.lineno + node.data.count("\n", 0, match.start())


def _walk(tree: nodes.Node) -> Iterator[tuple[nodes.Node, int]]:
    waiting = [(tree, 0)]
    while waiting:
        node, depth = waiting.pop()
        yield node, depth
        waiting.extend((child, depth + 1) for child in reversed(list(node.iter_child_nodes())))


def _refusal(node: nodes.Node) -> str:
    if isinstance(node, (nodes.Getattr, nodes.Getitem)):
        return "attributes and positions are not allowed in a prompt; variables are plain values"
    if isinstance(node, nodes.Call):
        return "calls are not allowed in a prompt; use a filter, e.g. {{ mood|upper }}"
    if isinstance(node, (nodes.BinExpr, nodes.UnaryExpr)):
        return "arithmetic is not allowed in a prompt; join text with ~"
    return f"`{type(node).__name__.lower()}` is not allowed in a prompt; use variables, filters and if"
