"""Reads AI/ML API's list of models into a form that can be compared with the catalogue, and its prices."""

from collections.abc import Mapping
from typing import Any

from resources.money import usd
from resources.providers import answers
from resources.providers.live_models import LiveModel

_FLAT = {"video", "generation", "request", "run", "call", "item", "unit", "image"}
_SECONDS = {"second", "seconds", "sec", "s"}


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
