"""The form of the providers' answers, as far as their documentation could be read, and the comparison with a real answer.

Sources: WaveSpeed contract, sections 1.1 to 1.10; AI/ML API contract, sections 2.1 to 2.5.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["as documented", "differs", "new", "not seen"]

TEXT, NUMBER, LIST, OBJECT, FLAG = "text", "a number", "a list", "an object", "true or false"

PREDICTION = {
    "code": NUMBER,
    "message": TEXT,
    "data.id": TEXT,
    "data.model": TEXT,
    "data.outputs": LIST,
    "data.urls": OBJECT,
    "data.urls.get": TEXT,
    "data.has_nsfw_contents?": LIST,
    "data.status": TEXT,
    "data.created_at": TEXT,
    "data.error": TEXT,
    "data.code?": NUMBER,
    "data.timings": OBJECT,
    "data.timings.inference": NUMBER,
    "data.executionTime?": NUMBER,
    "data.input?": OBJECT,
}
GENERATION = {
    "id": TEXT,
    "status": TEXT,
    "model?": TEXT,
    "video?": OBJECT,
    "video.url?": TEXT,
    "error?": OBJECT,
    "meta?": OBJECT,
    "meta.usage?": OBJECT,
    "meta.usage.credits_used?": NUMBER,
}
FIELDS: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "wavespeed": {
        "submit": PREDICTION,
        "result": PREDICTION,
        "list": {
            "code": NUMBER,
            "message": TEXT,
            "data.page": NUMBER,
            "data.total?": NUMBER,
            "data.items": LIST,
            "data.items[].id": TEXT,
            "data.items[].model": TEXT,
            "data.items[].outputs": LIST,
            "data.items[].urls": OBJECT,
            "data.items[].urls.get?": TEXT,
            "data.items[].status": TEXT,
            "data.items[].created_at": TEXT,
            "data.items[].error": TEXT,
            "data.items[].code?": NUMBER,
            "data.items[].has_nsfw_contents?": LIST,
            "data.items[].executionTime?": NUMBER,
            "data.items[].timings?": OBJECT,
            "data.items[].timings.inference?": NUMBER,
        },
        "balance": {"code": NUMBER, "message": TEXT, "data.balance": NUMBER},
        "price": {
            "code": NUMBER,
            "message": TEXT,
            "data.model_id": TEXT,
            "data.price": NUMBER,
            "data.discounted_price": NUMBER,
            "data.discount_rate": NUMBER,
            "data.currency": TEXT,
        },
        "models": {
            "code?": NUMBER,
            "message?": TEXT,
            "data": LIST,
            "data[].model_id": TEXT,
            "data[].name?": TEXT,
            "data[].base_price": NUMBER,
            "data[].description?": TEXT,
            "data[].type": TEXT,
            "data[].sort_order?": NUMBER,
            "data[].formula?": TEXT,
            "data[].api_schema": OBJECT,
        },
        "bill": {
            "code": NUMBER,
            "message": TEXT,
            "data.page?": NUMBER,
            "data.total?": NUMBER,
            "data.items": LIST,
            "data.items[].uuid": TEXT,
            "data.items[].billing_type": TEXT,
            "data.items[].price": NUMBER,
            "data.items[].created_at": TEXT,
            "data.items[].updated_at?": TEXT,
            "data.items[].order": OBJECT,
            "data.items[].order.uuid?": TEXT,
            "data.items[].order.state": TEXT,
            "data.items[].order.price": NUMBER,
            "data.items[].order.origin_price?": NUMBER,
            "data.items[].prediction": OBJECT,
            "data.items[].prediction.uuid": TEXT,
            "data.items[].prediction.model_uuid": TEXT,
            "data.items[].prediction.status?": TEXT,
            "data.items[].access_key_name?": TEXT,
        },
    },
    "aimlapi": {
        "submit": GENERATION,
        "result": GENERATION,
        "list": {
            "data": LIST,
            "data[].created": TEXT,
            "data[].status": TEXT,
            "data[].origin?": TEXT,
            "data[].model": TEXT,
            "data[].cost": OBJECT,
            "data[].cost.usd": NUMBER,
            "data[].cost.credits?": NUMBER,
            "data[].tokens?": OBJECT,
            "data[].tokens.input?": NUMBER,
            "data[].tokens.output?": NUMBER,
            "data[].tokens.total?": NUMBER,
            "data[].request_id?": TEXT,
            "data[].inference_id": TEXT,
            "data[].client_request_id": TEXT,
            "pagination": OBJECT,
            "pagination.limit?": NUMBER,
            "pagination.offset?": NUMBER,
            "pagination.total?": NUMBER,
            "pagination.has_more": FLAG,
        },
        "models": {
            "object?": TEXT,
            "data": LIST,
            "data[].id": TEXT,
            "data[].aliases?": LIST,
            "data[].type?": TEXT,
            "data[].info?": OBJECT,
            "data[].tags?": LIST,
            "data[].pricing?": OBJECT,
        },
        "balance": {"current_balance": NUMBER, "currency?": TEXT},
    },
}
"""Fields by provider and call; `?` marks fields that may be absent or null, `[]` every item of a list."""

STATUSES = {
    "wavespeed": {
        "created",
        "queued",
        "pending",
        "processing",
        "completed",
        "failed",
        "cancelled",
        "timeout",
        "deleted",
    },
    "aimlapi": {"queued", "generating", "completed", "error"},
}
"""The documented words for a job's state."""


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


def compare(provider: str, call: str, document: Any) -> list[Observation]:
    """The differences between an answer and the documentation: fields that are missing, new or of another type."""
    fields = FIELDS[provider].get(call)
    if fields is None:
        return []
    found: list[Observation] = []
    documented = {name.rstrip("?"): (kind, name.endswith("?")) for name, kind in fields.items()}
    for name, (kind, optional) in documented.items():
        parent = name.rpartition(".")[0].removesuffix("[]")
        kinds = {_kind(value) for value in _values(document, name)}
        if not kinds:
            # only the outermost missing field is reported, and a list may be empty
            absent = parent in documented and not any(v is not None for v in _values(document, parent))
            empty = "[]" in name and not list(_values(document, name.rpartition("[]")[0] + "[]"))
            if not optional and not absent and not empty:
                found.append(Observation(f"{call}: {name}", kind, "it is not there", "differs"))
        elif wrong := kinds - {kind} - ({"null"} if optional else set()):
            found.append(Observation(f"{call}: {name}", kind, ", ".join(sorted(wrong)), "differs"))
    for name, kind in sorted(_paths(document)):
        if not _is_told(name, documented):
            found.append(Observation(f"{call}: {name}", "not mentioned", kind, "new"))
    return found


def _is_told(name: str, documented: Mapping[str, Any]) -> bool:
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
    found: set[tuple[str, str]] = {(path, _kind(value))} if path and not path.endswith("[]") else set()
    if depth > 8:
        return found
    if isinstance(value, dict):
        for name, inner in list(value.items())[:100]:
            found |= _paths(inner, f"{path}.{name}" if path else str(name), depth + 1)
    elif isinstance(value, list):
        for inner in value[:20]:
            found |= _paths(inner, f"{path}[]", depth + 1)
    return found


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
