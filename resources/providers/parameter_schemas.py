"""Reads the JSON Schema of a model's parameters, as several providers publish it."""

from resources.providers import answers
from resources.providers.live_models import LiveParameter

_TYPES = {
    "string": "string",
    "integer": "integer",
    "number": "integer",
    "boolean": "boolean",
    "array": "array",
}


def live_parameters(schema: object) -> dict[str, LiveParameter] | None:
    """The parameters in the order that the schema shows them, else in its own; None if it has none that can be read.

    Args:
        schema: `{properties, required?, x-order-properties?}`, read defensively.
    """
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(properties, dict):
        return None
    required = schema.get("required")
    needed = set(map(str, required)) if isinstance(required, list) else set()
    order = schema.get("x-order-properties")
    names = [str(n) for n in order if n in properties] if isinstance(order, list) else []
    names += [name for name in properties if name not in names]
    return {name: _parameter(properties[name], required=name in needed) for name in names}


def _parameter(value: object, *, required: bool) -> LiveParameter:
    fields = value if isinstance(value, dict) else {}
    kind = fields.get("type")
    items = fields.get("items")
    allowed = fields.get("enum")
    if allowed is None and isinstance(items, dict):
        allowed = items.get("enum")
    return LiveParameter(
        type=_TYPES.get(kind, kind) if isinstance(kind, str) else "",
        required=required,
        default=fields.get("default"),
        allowed=tuple(allowed) if isinstance(allowed, list) else (),
        minimum=_number(fields.get("minimum")),
        maximum=_number(fields.get("maximum")),
        max_items=_number(fields.get("maxItems")),
        description=answers.text_or_none(fields.get("description")) or "",
    )


def _number(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        return None
    return int(value)
