"""Reads providers' lists of models into a form that can be compared with the catalogue."""

from collections.abc import Mapping
from typing import Any

from resources.money import usd
from resources.providers import answers
from resources.providers.live_models import LiveModel, LiveParameter

MODELS_LIMIT = 32_000_000
"""Bytes of a list of models that are read, enough for a thousand models with the schemas of their parameters."""

_FLAT = {"video", "generation", "request", "run", "call", "item", "unit", "image"}
_SECONDS = {"second", "seconds", "sec", "s"}
_TYPES = {
    "string": "string",
    "integer": "integer",
    "number": "integer",
    "boolean": "boolean",
    "array": "array",
}


def wavespeed_model(row: object) -> LiveModel | None:
    """A row of WaveSpeed's `GET /api/v3/models`, None if it names no model (WaveSpeed docs: models)."""
    fields = row if isinstance(row, dict) else {}
    name = answers.text_or_none(fields.get("model_id"))
    if name is None:
        return None
    return LiveModel(
        name,
        kind=answers.text_or_none(fields.get("type")) or "",
        title=answers.text_or_none(fields.get("name")) or name,
        base_price=answers.amount(fields.get("base_price")),
        parameters=_schema(fields.get("api_schema")),
        pricing=answers.text_or_none(fields.get("formula")),
    )


def aimlapi_model(row: object) -> LiveModel | None:
    """A row of AI/ML API's `GET /v1/models`, None if it names no model (AI/ML API docs: complete model list)."""
    fields = row if isinstance(row, dict) else {}
    name = answers.text_or_none(fields.get("id"))
    if name is None:
        return None
    aliases = fields.get("aliases")
    info = fields.get("info")
    return LiveModel(
        name,
        aliases=tuple(alias for alias in aliases if isinstance(alias, str))
        if isinstance(aliases, list)
        else (),
        kind=answers.text_or_none(fields.get("type")) or "",
        title=(answers.text_or_none(info.get("name")) if isinstance(info, dict) else None) or name,
        pricing=fields.get("pricing"),
    )


def _schema(value: object) -> dict[str, LiveParameter] | None:
    """The parameters of the call that runs a model, in the order the playground shows them."""
    schemas = value.get("api_schemas") if isinstance(value, dict) else None
    found = [s for s in schemas if isinstance(s, dict)] if isinstance(schemas, list) else []
    runs = [s for s in found if s.get("type") == "model_run"] or found
    request = runs[0].get("request_schema") if runs else None
    properties = request.get("properties") if isinstance(request, dict) else None
    if not isinstance(request, dict) or not isinstance(properties, dict):
        return None
    required = request.get("required")
    needed = set(map(str, required)) if isinstance(required, list) else set()
    order = request.get("x-order-properties")
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


def aimlapi_price(pricing: object, body: Mapping[str, Any]) -> int | None:
    """The price of a request by AI/ML API's pricing of its model, in micro-dollars; None if it is not certain.

    A price is read with its `unit` and its `per`: 0.5 per 5 seconds is a tenth of a dollar a second (AI/ML API docs:
    complete model list).
    """
    fields = pricing if isinstance(pricing, dict) else {}
    variants = fields.get("variants")
    if isinstance(variants, list):
        fitting = [v for v in variants if isinstance(v, dict) and _fits(v.get("when"), body)]
        # the most specific rule applies; two equally specific ones leave the price open
        most = max((len(v.get("when") or {}) for v in fitting), default=0)
        units: list[Any] = [v for v in fitting if len(v.get("when") or {}) == most]
    else:
        listed = fields.get("units")
        units = listed if isinstance(listed, list) else [fields]
    return _unit_price(units[0], body) if len(units) == 1 else None


def _fits(when: object, body: Mapping[str, Any]) -> bool:
    return isinstance(when, dict) and all(str(body.get(name)) == str(value) for name, value in when.items())


def _unit_price(unit: object, body: Mapping[str, Any]) -> int | None:
    fields = unit if isinstance(unit, dict) else {}
    price, per = answers.amount(fields.get("price")), answers.amount(fields.get("per", 1))
    word = str(fields.get("unit", "")).strip().lower()
    if price is None or not per:
        return None
    if word in _FLAT:
        return usd(price / per)
    seconds = body.get("duration")
    return usd(price / per * seconds) if word in _SECONDS and type(seconds) is int else None
