"""Differences between the catalogue and a provider's current list: endpoints and parameters that are gone, new or changed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from resources.catalogue.endpoint import PROMPT, Endpoint
from resources.catalogue.parameters import Parameter
from resources.declared.problems import listed, show
from resources.money import show_usd
from resources.providers.live_models import LiveModel, LiveParameter

SAMPLE_URL = "https://example.com/sample"
"""A placeholder for a file in a question about a price."""


@dataclass(frozen=True)
class Drift:
    """One difference."""

    endpoint: str
    """The endpoint."""
    field: str
    """The field, e.g. `parameters.duration`."""
    ours: str
    """The catalogue's value."""
    theirs: str
    """The provider's value."""
    matters: bool = True
    """Whether a declared clip may be refused or have another price; if not, the difference is only information."""


def sample_body(endpoint: Endpoint) -> dict[str, Any]:
    """A request for a price: the defaults of the page, and placeholders for required parameters."""
    stand_ins: dict[str, Any] = {}
    for name, parameter in endpoint.parameters.items():
        if parameter.required and name != PROMPT and parameter.sent is None:
            value: Any = SAMPLE_URL if parameter.media else (parameter.starts_with or "") + "sample"
            value = parameter.allowed[0] if parameter.allowed else value
            stand_ins[name] = [value] if parameter.type == "array" else value
    return endpoint.resolve("a sample", stand_ins)


def drifts(endpoint: Endpoint, models: Iterable[LiveModel], *, quote: int | None, today: date) -> list[Drift]:
    """The differences between an entry and the provider's list.

    Args:
        models: The whole list.
        quote: The provider's quote for `sample_body` in micro-dollars, None if it has none.
        today: For the lifecycle.
    """
    seller_model = next((model for model in models if model.is_called(endpoint.id)), None)
    retired = endpoint.lifecycle.retired(today)
    if seller_model is None:
        gone = Drift(endpoint.id, "lifecycle", "live", "not listed any more")
        return [] if retired else [gone]
    drift = [Drift(endpoint.id, "lifecycle", "retired", "still listed", matters=False)] if retired else []
    if seller_model.parameters is not None:
        drift += _parameters(endpoint, seller_model.parameters)
    ours = endpoint.price(sample_body(endpoint))
    if quote is not None and quote != ours:
        # a quote below an upper bound is expected
        matters = ours is not None and not (endpoint.pricing.basis == "upper_bound" and quote < ours)
        drift.append(
            Drift(endpoint.id, "price of a default request", show_usd(ours), show_usd(quote), matters=matters)
        )
    return drift


def _parameters(endpoint: Endpoint, live: dict[str, LiveParameter]) -> list[Drift]:
    drift = []
    for name, parameter in endpoint.parameters.items():
        if name in live:
            drift += [
                Drift(endpoint.id, f"parameters.{name}", ours, theirs)
                for ours, theirs in _parameter(parameter, live[name])
            ]
        else:
            drift.append(
                Drift(endpoint.id, f"parameters.{name}", "is sent", "is not there, and would be dropped")
            )
    for name, theirs in live.items():
        if name not in endpoint.parameters:
            default = "" if theirs.default is None else f", {show(theirs.default)} unless it is sent"
            drift.append(
                Drift(
                    endpoint.id,
                    f"parameters.{name}",
                    "is not known",
                    f"{theirs.type}{default}",
                    theirs.required,
                )
            )
    return drift


def _parameter(ours: Parameter, theirs: LiveParameter) -> list[tuple[str, str]]:
    differences: list[tuple[str, str]] = []
    if theirs.type and theirs.type != ours.type:
        differences.append((ours.type, theirs.type))
    if theirs.required != ours.required:
        words = {True: "required", False: "optional"}
        differences.append((words[ours.required], words[theirs.required]))
    if theirs.default is not None and theirs.default != ours.default:
        differences.append((f"default {show(ours.default)}", f"default {show(theirs.default)}"))
    if theirs.allowed and not _same_values(ours, theirs):
        differences.append((f"allowed: {ours.allows}", f"allowed: {listed(theirs.allowed)}"))
    bounds = (theirs.minimum, theirs.maximum)
    if bounds != (None, None) and not theirs.allowed and bounds != _bounds(ours):
        low, high = ("?" if bound is None else bound for bound in bounds)
        differences.append((f"allowed: {ours.allows}", f"allowed: from {low} to {high}"))
    if theirs.max_items is not None and theirs.max_items != ours.max_items:
        differences.append(
            (f"at most {ours.max_items or 'any number of'} items", f"at most {theirs.max_items} items")
        )
    return differences


def _same_values(ours: Parameter, theirs: LiveParameter) -> bool:
    mine = ours.allowed
    if mine is None and ours.min is not None and ours.max is not None:
        mine = list(range(ours.min, ours.max + 1))
    return mine is not None and {repr(value) for value in mine} == {repr(value) for value in theirs.allowed}


def _bounds(ours: Parameter) -> tuple[int | None, int | None]:
    return (min(ours.allowed), max(ours.allowed)) if ours.allowed else (ours.min, ours.max)
