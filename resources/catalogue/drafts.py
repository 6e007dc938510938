"""Drafts of new entries, made from the provider's list of models; a person finishes them with the provider's page."""

import json
import re
from datetime import date
from pathlib import Path
from typing import Any, get_args

from resources.catalogue.endpoint import PROMPT, Endpoint
from resources.declared.document import parse_document
from resources.declared.problems import ProblemsError
from resources.declared.validation import declare
from resources.errors import ConfigurationError
from resources.providers.live_models import LiveModel, LiveParameter
from resources.providers.registry import spec_of

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,119}")
_KINDS: tuple[str, ...] = get_args(Endpoint.model_fields["kind"].annotation)
_MEDIA = re.compile(r"(?:^|_)(image|video|audio)(?:s|_urls?)?$")
_SIZE = re.compile(r"[1-9][0-9]{2,4}\*[1-9][0-9]{2,4}")
_LONGEST = 160


def draft(provider: str, model: LiveModel, *, today: date) -> str:
    """The text of an entry for `data/models/`. Its price is unknown, so the provider must quote it before a purchase.

    Args:
        provider: The name of a registered provider.
        today: The day on which the list was read.

    Raises:
        ConfigurationError: The model makes no video, or its parameters cannot be declared.
    """
    if not _ID.fullmatch(model.id):
        raise ConfigurationError(f"{model.id[:120]!r} cannot be the id of an entry")
    kind = _kind(model)
    call = spec_of(provider).models_call
    doubts = ["Drafted from the provider's list; read its page, and set the prices, before relying on it."]
    if model.parameters is None:
        doubts.append("The list does not describe parameters: write them from the provider's page.")
    lines = [
        "# yaml-language-server: $schema=../schemas/model.schema.json",
        f"provider: {provider}",
        f"id: {_text(model.id)}",
        f"title: {_text(model.title)}",
        f"kind: {kind}",
        "parameters:",
        *(f"  {name}: {_flow(fields)}" for name, fields in _parameters(model).items()),
        "pricing:",
        "  # unknown is not bought unless the provider quotes it; write the page's prices here",
        "  basis: unknown",
        f"  source: {_text(_price_source(call, model, today))}",
        f"output: {_flow(_output(model))}",
        "lifecycle: {status: live}",
        f"source: {_text(f'{call} on {today}')}",
        f"checked: {today}",
        "doubts:",
        *(f"  - {_text(doubt)}" for doubt in doubts),
    ]
    text = "\n".join(lines) + "\n"
    try:
        # a draft must be a valid entry
        declare(Endpoint, parse_document(text, Path(f"{model.id}.yaml")))
    except ProblemsError as error:
        raise ConfigurationError(f"{model.id} cannot be drafted; write its entry by hand. {error}") from None
    return text


def file_name(provider: str, model_id: str) -> str:
    """The name of the entry's file: `wavespeed-bytedance-seedance-2.0-text-to-video.yaml`."""
    return f"{provider}-{re.sub(r'[^a-z0-9.]+', '-', model_id.lower()).strip('-.')}.yaml"


def _kind(model: LiveModel) -> str:
    if model.kind in _KINDS:
        return model.kind
    if model.kind == "video":  # AI/ML API names only this
        named = next((kind for kind in _KINDS if kind in model.id), None)
        return named or ("image-to-video" if model.id.endswith("i2v") else "text-to-video")
    given_kind = model.kind or "no kind is given"
    raise ConfigurationError(
        f"{model.id} makes no video ({given_kind}); the catalogue takes: {', '.join(_KINDS)}"
    )


def _parameters(model: LiveModel) -> dict[str, dict[str, Any]]:
    live = model.parameters or {PROMPT: LiveParameter("string", required=True)}
    wrong = [name for name in live if not _NAME.fullmatch(name)]
    if wrong:
        raise ConfigurationError(f"{model.id} has a parameter that cannot be declared: {wrong[0][:60]!r}")
    return {name: _parameter(name, parameter) for name, parameter in live.items()}


def _parameter(name: str, live: LiveParameter) -> dict[str, Any]:
    media = _MEDIA.search(name)
    facts: dict[str, Any] = {
        "type": live.type,
        "required": live.required or None,
        "default": live.default if isinstance(live.default, str | int | bool) else None,
        "allowed": list(live.allowed) or None,
        "min": live.minimum if live.type == "integer" and not live.allowed else None,
        "max": live.maximum if live.type == "integer" and not live.allowed else None,
        "max_items": live.max_items,
        "media": media[1] if media and live.type in {"string", "array"} and not live.allowed else None,
        "description": _plain(live.description) or None,
    }
    # an empty default means that nothing is sent
    if facts["default"] == "":
        facts["default"] = None
    return {name: fact for name, fact in facts.items() if fact is not None}


def _output(model: LiveModel) -> dict[str, Any]:
    live = model.parameters or {}
    size = live.get("size")
    output: dict[str, Any] = {}
    if size is not None and size.allowed and all(_SIZE.fullmatch(str(value)) for value in size.allowed):
        output["size"] = "size"
    if "duration" in live and live["duration"].type == "integer":
        output["seconds"] = "duration"
    if "generate_audio" in live:
        output["audio"] = "generate_audio"
    return output


def _price_source(call: str, model: LiveModel, today: date) -> str:
    price = "" if model.base_price is None else f", which starts it at ${model.base_price}"
    return f"{call} on {today}{price}"


def _plain(text: str) -> str:
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _text(text: str) -> str:
    return _quoted(_plain(text))


def _flow(fields: dict[str, Any]) -> str:
    return "{" + ", ".join(f"{name}: {_quoted(value)}" for name, value in fields.items()) + "}"


def _quoted(value: Any) -> str:
    """A value as JSON, which is valid YAML once YAML's own line breaks, such as U+0085, are escaped."""
    return "".join(
        char if char.isprintable() else f"\\U{ord(char):08x}"
        for char in json.dumps(value, ensure_ascii=False)
    )
