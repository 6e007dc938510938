"""JSON Schemas of the declared files, so that editors complete and check them: `python -m resources.series.json_schemas`."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from resources.catalogue import Catalogue, Endpoint, Parameter
from resources.catalogue.frames import seconds_of
from resources.declared.docstrings import SchemaWithDocstrings
from resources.providers.account_files import AccountDeclaration
from resources.series.characters import CharacterDeclaration
from resources.series.declaration import SeriesDeclaration
from resources.series.includes import IncludeDeclaration
from resources.series.prompt_edits import EditsDeclaration

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DATA = Path("data")


def series_json_schema(catalogue: Catalogue) -> dict[str, Any]:
    """The JSON Schema of a series file, with the endpoints of a catalogue and the parameters of each."""
    schema = SeriesDeclaration.model_json_schema(schema_generator=SchemaWithDocstrings)
    endpoints = sorted((e for e in catalogue if e.makes_video), key=lambda e: (e.id, e.provider))
    ids = sorted({endpoint.id for endpoint in endpoints})
    fallback, draft, clip = (schema["$defs"][f"{name}Declaration"] for name in ("Fallback", "Draft", "Clip"))
    schema["$defs"] |= {_name(endpoint): _parameters_of(endpoint) for endpoint in endpoints}
    for one in (schema, fallback, draft, clip):
        one["properties"]["endpoint"]["enum"] = [*ids, None] if one is clip else ids
        one["allOf"] = [
            _chosen(endpoint, clips=one is schema, named=catalogue.get(endpoint.id) is not endpoint)
            for endpoint in endpoints
        ]
    schema["oneOf"] = [{"required": ["clips"]}, {"required": ["matrix"]}]
    return {"$schema": DIALECT, **_strict(schema)}


def model_json_schema() -> dict[str, Any]:
    """The JSON Schema of an entry of the catalogue."""
    return {"$schema": DIALECT, **Endpoint.model_json_schema(schema_generator=SchemaWithDocstrings)}


def include_json_schema() -> dict[str, Any]:
    """The JSON Schema of a file of shared parts."""
    return {
        "$schema": DIALECT,
        **_strict(IncludeDeclaration.model_json_schema(schema_generator=SchemaWithDocstrings)),
    }


def edits_json_schema() -> dict[str, Any]:
    """The JSON Schema of a file of edits."""
    return {"$schema": DIALECT, **EditsDeclaration.model_json_schema(schema_generator=SchemaWithDocstrings)}


def character_json_schema() -> dict[str, Any]:
    """The JSON Schema of a character."""
    return {
        "$schema": DIALECT,
        **CharacterDeclaration.model_json_schema(schema_generator=SchemaWithDocstrings),
    }


def account_json_schema() -> dict[str, Any]:
    """The JSON Schema of an account."""
    return {"$schema": DIALECT, **AccountDeclaration.model_json_schema(schema_generator=SchemaWithDocstrings)}


def _strict(schema: Any) -> Any:
    """The same schema, closed: names of variables and dates that do not match are refused. Pydantic only describes them."""
    if isinstance(schema, dict):
        closed = {"additionalProperties": False} if "patternProperties" in schema else {}
        return {name: _strict(value) for name, value in schema.items()} | closed
    return [_strict(item) for item in schema] if isinstance(schema, list) else schema


def _name(endpoint: Endpoint) -> str:
    return f"{endpoint.provider} {endpoint.id}".replace("/", " ")


def _parameters_of(endpoint: Endpoint) -> dict[str, Any]:
    """The schema of `parameters`."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            name: _parameter(parameter, is_length=name == endpoint.output.seconds)
            for name, parameter in {**endpoint.parameters, **endpoint.common_words}.items()
            if name != "prompt"
        },
    }


def _chosen(endpoint: Endpoint, *, clips: bool, named: bool) -> dict[str, Any]:
    """The condition on `parameters`, of the series and its clips, that follows from the chosen endpoint.

    Args:
        named: Whether it is meant only where its provider is named, since an earlier provider sells the same id.
    """
    parameters = {"$ref": f"#/$defs/{quote(_name(endpoint))}"}
    chosen: dict[str, Any] = {
        "endpoint": {"const": endpoint.id},
        "provider": {"const": endpoint.provider} if named else {"enum": [endpoint.provider, None]},
    }
    then: dict[str, Any] = {"parameters": parameters}
    if clips:
        elsewhere = [{"required": [name]} for name in ("endpoint", "provider")]
        own = {"properties": {"parameters": parameters}}
        then["clips"] = {"items": {"type": "object", "if": {"not": {"anyOf": elsewhere}}, "then": own}}
    required = ["endpoint", "provider"] if named else ["endpoint"]
    return {"if": {"properties": chosen, "required": required}, "then": {"properties": then}}


def _parameter(parameter: Parameter, *, is_length: bool) -> dict[str, Any]:
    text = {"pattern": f"^{parameter.starts_with}"} if parameter.starts_with else {}
    facts: dict[str, Any] = {
        "type": parameter.type,
        "description": parameter.description,
        "default": parameter.sent,
        "enum": parameter.allowed,
        "minimum": parameter.min,
        "maximum": parameter.max,
        "maxLength": parameter.max_length,
        "maxItems": parameter.max_items,
        "items": {"type": "string", **text} if parameter.type == "array" else None,
    }
    if is_length and parameter.type == "string" and parameter.allowed:
        # a series says whole seconds everywhere
        whole = [seconds for value in parameter.allowed if (seconds := seconds_of(value)) is not None]
        facts |= {"type": None, "enum": [*parameter.allowed, *whole]}
    return {name: fact for name, fact in facts.items() if fact is not None}


def rendered(schema: dict[str, Any]) -> str:
    """A schema as the text of its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write the schema files."""
    schemas = {
        "series.schema.json": series_json_schema(Catalogue.load(DATA / "models")),
        "model.schema.json": model_json_schema(),
        "include.schema.json": include_json_schema(),
        "edits.schema.json": edits_json_schema(),
        "character.schema.json": character_json_schema(),
        "account.schema.json": account_json_schema(),
    }
    (DATA / "schemas").mkdir(exist_ok=True)
    for name, schema in schemas.items():
        (DATA / "schemas" / name).write_text(rendered(schema), encoding="utf-8")


if __name__ == "__main__":
    main()
