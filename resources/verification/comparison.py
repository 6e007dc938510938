"""Compares a real answer with its provider's documentation (`DocumentedWire`)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from resources.providers.spec import DocumentedWire
from resources.providers.wire_fields import FLAG, LIST, NUMBER, OBJECT, TEXT

Verdict = Literal["as documented", "differs", "new", "not seen"]


@dataclass(frozen=True)
class Observation:
    """One compared fact."""

    about: str
    """Its name, e.g. `result: data.status`."""
    documented: str
    """The documented value."""
    seen: str
    """The observed value."""
    verdict: Verdict
    """Whether they agree; `new` means that the documentation does not mention it."""


def compare(wire: DocumentedWire, call: str, document: Any) -> list[Observation]:
    """The differences between an answer and the documentation: fields that are missing, new or of another type."""
    fields = wire.fields.get(call)
    if fields is None:
        return []
    differences: list[Observation] = []
    documented = {name.rstrip("?"): (kind, name.endswith("?")) for name, kind in fields.items()}
    for name, (kind, optional) in documented.items():
        parent = name.rpartition(".")[0].removesuffix("[]")
        kinds = {_kind(value) for value in _values(document, name)}
        if not kinds:
            # only the outermost missing field is reported, and a list may be empty
            absent = parent in documented and not any(v is not None for v in _values(document, parent))
            empty = "[]" in name and not list(_values(document, name.rpartition("[]")[0] + "[]"))
            if not optional and not absent and not empty:
                differences.append(Observation(f"{call}: {name}", kind, "missing", "differs"))
        elif wrong := kinds - {kind} - ({"null"} if optional else set()):
            differences.append(Observation(f"{call}: {name}", kind, ", ".join(sorted(wrong)), "differs"))
    for name, kind in sorted(_paths(document)):
        if not _is_documented(name, documented):
            differences.append(Observation(f"{call}: {name}", "not mentioned", kind, "new"))
    return differences


def _is_documented(name: str, documented: Mapping[str, Any]) -> bool:
    """Whether a field is documented, contains a documented field, or is inside a field that is only documented as a whole."""

    def has_parts(path: str) -> bool:
        return any(other.startswith((f"{path}.", f"{path}[]")) for other in documented)

    if name in documented or has_parts(name):
        return True
    parent = name
    while parent:
        parent = parent.removesuffix("[]") if parent.endswith("[]") else parent.rpartition(".")[0]
        if parent and not has_parts(parent):
            # inside a field documented as a whole, or inside a new field that is already reported
            return True
    return False


def _values(document: Any, path: str) -> Iterator[Any]:
    """Every value at a path; none if the path is absent."""
    head, _, rest = path.partition(".")
    many = head.endswith("[]")
    value = document
    if name := head.removesuffix("[]"):
        if not isinstance(document, dict) or name not in document:
            return
        value = document[name]
    values = value if many and isinstance(value, list) else [] if many else [value]
    for each in values:
        if rest:
            yield from _values(each, rest)
        else:
            yield each


def _paths(value: Any, path: str = "", depth: int = 0) -> set[tuple[str, str]]:
    """Every field of a document with the type of its value."""
    paths: set[tuple[str, str]] = {(path, _kind(value))} if path and not path.endswith("[]") else set()
    if depth > 8:
        return paths
    if isinstance(value, dict):
        for name, inner in list(value.items())[:100]:
            paths |= _paths(inner, f"{path}.{name}" if path else str(name), depth + 1)
    elif isinstance(value, list):
        for inner in value[:20]:
            paths |= _paths(inner, f"{path}[]", depth + 1)
    return paths


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return FLAG
    if isinstance(value, int | float):
        return NUMBER
    if isinstance(value, str):
        return TEXT
    return LIST if isinstance(value, list) else OBJECT
