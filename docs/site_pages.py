"""Pages of the site that are made when it is built: the reference, from the code, and the files of the repository's root.

MkDocs calls `on_files` and `on_page_markdown` (`hooks` in mkdocs.yml). Pages that are made from the code cannot differ from it.
"""

import ast
import inspect
import json
import posixpath
import re
import textwrap
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from pipelines.cli.app import app
from resources import errors
from resources.alarms import Kind
from resources.inventory.findings import CHECKS
from resources.ledger.states import AttemptState, MoneyState
from resources.ledger.stops import StopKind
from resources.metrics import METRICS, VERSION
from resources.providers.account_variables import AccountVariables, variables_of
from resources.providers.base import FailureKind
from resources.providers.registry import registered
from resources.settings import Settings

ROOT = Path(__file__).parents[1]
OF_THE_ROOT = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Files of the root that are pages, by their name on the site."""
ELSEWHERE = {
    ".env.example": "reference/settings.md",
    "data/schemas/series.schema.json": "reference/series.md",
    "data/schemas/model.schema.json": "reference/model.md",
    "data/schemas/account.schema.json": "reference/account.md",
    "data/schemas/manifest.schema.json": "reference/manifest.md",
}
"""Files that are no pages, and the page that shows their content."""
SCHEMAS = {
    "series": "data/series/",
    "edits": "data/edits/",
    "include": "data/prompts/",
    "model": "data/models/",
    "account": "data/accounts/",
    "character": "data/characters/",
    "manifest": "the bucket",
}
"""The files that have a JSON Schema, and where they lie."""
_LINK = re.compile(r"(?<!!)\[([^\]\[]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")
_PICTURE = re.compile(r"(?<=\]\()docs/(images/)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    for name, page in OF_THE_ROOT.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    made = {"commands": commands(), "settings": settings(), "outcomes": outcomes(), "metrics": metrics()}
    made |= {name: fields(name) for name in SCHEMAS}
    for name, text in made.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    """Point links at the pages of the site: the files say where things lie in the repository. A link to code becomes the code's place."""
    written = {site: root for root, site in OF_THE_ROOT.items()}
    here = written.get(page.file.src_uri, f"docs/{page.file.src_uri}")

    def moved(link: re.Match[str]) -> str:
        words, target, anchor = (
            link[1],
            posixpath.normpath(posixpath.join(posixpath.dirname(here), link[2])),
            link[3] or "",
        )
        on_site = {**OF_THE_ROOT, **ELSEWHERE}.get(target, target.removeprefix("docs/"))
        if files.get_file_from_path(on_site) is None and (ROOT / target).exists():
            return words if target in words else f"{words} (`{target}`)"
        return f"[{words}]({posixpath.relpath(on_site, posixpath.dirname(page.file.src_uri) or '.')}{anchor})"

    return _PICTURE.sub(r"\1", _LINK.sub(moved, markdown))


def commands() -> str:
    """Every command with its arguments and options."""
    lines = [
        "# Commands",
        "",
        "Exit codes: see [outcomes](outcomes.md#exit-codes). With `--json` a command prints one JSON document and nothing else on stdout.",
    ]
    panel = None
    for words, command, section in _commands(typer.main.get_command(app), ("dailies",)):
        if section != panel:
            panel = section
            lines += ["", f"## {panel}"]
        lines += ["", f"### {' '.join(words)}", "", _paragraphs(command.help), ""]
        shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
        if shown:
            lines += ["| | what | default |", "|---|---|---|", *map(_parameter_row, shown)]
    return "\n".join(lines) + "\n"


def _commands(
    command: Any, words: tuple[str, ...], panel: str = ""
) -> Iterator[tuple[tuple[str, ...], Any, str]]:
    own = getattr(command, "rich_help_panel", None)
    panel = own if isinstance(own, str) else panel
    below = getattr(command, "commands", {})
    if len(words) > 1 and (not below or command.invoke_without_command):
        yield words, command, panel
    for name, child in below.items():
        yield from _commands(child, (*words, name), panel)


def _parameter_row(parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    name = (
        (parameter.metavar or parameter.name.upper())
        if argument
        else ", ".join((*parameter.opts, *parameter.secondary_opts))
    )
    default = parameter.default
    plain = isinstance(default, str | int | float) and not isinstance(default, bool)
    needed = "required" if parameter.required else ""
    return f"| {_code(name)} | {_cell(getattr(parameter, 'help', None))} | {_code(default) if plain else needed} |"


def settings() -> str:
    """Every environment variable."""
    lines = [
        "# Settings",
        "",
        "Environment variables, or lines of a file `.env` in the working directory; the environment goes first. A name that does not exist is refused.",
        "`.env.example` in the repository has them all with comments.",
        "",
        "| variable | what | default |",
        "|---|---|---|",
    ]
    said = _attribute_docs(Settings)
    for name, field in Settings.model_fields.items():
        lines.append(_setting_row(str(field.validation_alias), said.get(name), field.default))
    lines += ["", "## Of each provider", "", "Further accounts are files: [account](account.md).", ""]
    said = _attribute_docs(AccountVariables)
    for spec in registered().values():
        lines += [f"### {spec.title}", "", "| variable | what | default |", "|---|---|---|"]
        for name, variable in variables_of(spec).items():
            default = spec.url if name == "url" else AccountVariables.model_fields[name].default
            lines.append(_setting_row(variable, said.get(name), default))
        lines.append("")
    return "\n".join(lines) + "\n"


def _setting_row(variable: str, said: str | None, default: object) -> str:
    return f"| `{variable}` | {_cell(said)} | {'' if default in (None, '') else _code(default)} |"


def fields(name: str) -> str:
    """Every field of a declared file, from its JSON Schema."""
    schema = json.loads((ROOT / "data" / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    place = SCHEMAS[name]
    where = f"A file in `{place}`." if place.endswith("/") else f"A JSON document in {place}."
    lines = [f"# {name.capitalize()}", "", f"{_cell(schema.get('description'))} {where}", ""]
    lines += _table(schema)
    for part, described in schema.get("$defs", {}).items():
        # parameters of an endpoint: `dailies models show` has them, with what is uncertain
        if " " not in part and described.get("type") == "object":
            lines += ["", f"## {part}", "", _cell(described.get("description")), "", *_table(described)]
    return "\n".join(lines) + "\n"


def _table(schema: Mapping[str, Any]) -> list[str]:
    lines = ["| field | what | allowed | default |", "|---|---|---|---|"]
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        default = field.get("default")
        shown = (
            "required"
            if name in required
            else ""
            if default in (None, "", [], {})
            else _code(json.dumps(default))
        )
        lines.append(f"| `{name}` | {_cell(field.get('description'))} | {_allowed(field)} | {shown} |")
    return lines


def _allowed(field: Mapping[str, Any]) -> str:
    """What a field may hold, in words."""
    if reference := field.get("$ref"):
        part = reference.rsplit("/", 1)[-1]
        return f"[{part}](#{part.lower()})" if "%20" not in part else "parameters of the endpoint"
    if "const" in field:
        return _code(field["const"])
    if values := field.get("enum"):
        few = ", ".join(_code(value) for value in values[:MOST_SHOWN] if value is not None)
        return few + (f", and {len(values) - MOST_SHOWN} more" if len(values) > MOST_SHOWN else "")
    if choices := field.get("anyOf") or field.get("oneOf"):
        return " or ".join(dict.fromkeys(filter(None, (_allowed(one) for one in choices))))
    kind = field.get("type")
    if kind == "array":
        return f"list of {_allowed(field.get('items', {})) or 'values'}"
    kinds = [kind] if isinstance(kind, str) else kind or []
    words = " or ".join(KINDS[one] for one in kinds if one in KINDS)
    low, high = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum")
    bounds = [f"from {low}" if low is not None else "", f"to {high}" if high is not None else ""]
    longest = f"up to {field['maxLength']} characters" if "maxLength" in field else ""
    return " ".join(filter(None, [words, *bounds, longest]))


WORDS: dict[str, type[StrEnum]] = {
    "States of a purchase": AttemptState,
    "States of its money": MoneyState,
    "Why a purchase failed": FailureKind,
    "Why an account is stopped": StopKind,
    "Kinds of alarms": Kind,
}
"""The words of `--json`, alarms and metrics, by the heading of their list."""
MOST_SHOWN = 12
"""How many allowed values a table names."""
KINDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
}
"""JSON's types in the words of a person who writes YAML; null is what is left out."""


def outcomes() -> str:
    """Exit codes, states, and the words for what went wrong."""
    lines = ["# Outcomes", "", "## Exit codes", "", "| code | when |", "|---|---|", "| 0 | success |"]
    lines += ["| 1 | some clips failed, or something waits for a person; the text says what |"]
    for error in (errors.ConfigurationError, errors.UnavailableError):
        lines.append(f"| {error.exit_code} | {_cell(error.__doc__).rstrip('.')} |")
    lines += ["| 130 | Ctrl-C; the text says what was bought |"]
    for title, words in WORDS.items():
        lines += ["", f"## {title}", "", "| word | what it means |", "|---|---|"]
        said = _attribute_docs(words)
        lines += [f"| `{word.value}` | {_cell(said.get(word.name))} |" for word in words]
    lines += ["", "## Checks of the inventory", "", "| check | counts | what to do |", "|---|---|---|"]
    lines += [f"| `{check.name}` | {_cell(check.asks)} | {_cell(check.todo)} |" for check in CHECKS]
    return "\n".join(lines) + "\n"


def metrics() -> str:
    """Every metric of `/metrics`."""
    lines = [
        "# Metrics",
        "",
        "Numbers of the ledger in Prometheus' text format, at `/metrics` of Dagster's webserver: [metrics and probes](../seeing.md#metrics-and-probes).",
        "",
        "| metric | what | labels |",
        "|---|---|---|",
    ]
    for metric in METRICS:
        name = f"{metric.name}_info" if metric is VERSION else metric.name
        lines.append(f"| `{name}` | {_cell(metric.what)} | {', '.join(map(_code, metric.labels))} |")
    return "\n".join(lines) + "\n"


def _attribute_docs(described: type) -> dict[str, str]:
    """The docstring below each attribute of a class and of its bases."""
    found: dict[str, str] = {}
    for one in described.__mro__:
        if one.__module__.startswith("resources."):
            found = _own_attribute_docs(one) | found
    return found


def _own_attribute_docs(described: type) -> dict[str, str]:
    source = ast.parse(textwrap.dedent(inspect.getsource(described)))
    body = next(node for node in ast.walk(source) if isinstance(node, ast.ClassDef))
    found: dict[str, str] = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            target = (
                before.target if isinstance(before, ast.AnnAssign) else getattr(before, "targets", [None])[0]
            )
            if isinstance(target, ast.Name):
                found[target.id] = str(after.value.value)
    return found


def _paragraphs(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(text or "").split("\n\n")).replace(
        "<", "&lt;"
    )


def _cell(text: str | None) -> str:
    """A text as one cell of a table."""
    return " ".join((text or "").split()).replace("|", "\\|").replace("<", "&lt;")


def _code(value: object) -> str:
    return f"`{str(value).replace('|', chr(92) + '|')}`"
