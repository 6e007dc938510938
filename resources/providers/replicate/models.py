"""Reads a model of Replicate's collections into a form that can be compared with the catalogue (Replicate docs: collections, models)."""

from typing import Any

from resources.providers import answers
from resources.providers.live_models import LiveModel
from resources.providers.parameter_schemas import live_parameters


def replicate_model(row: object) -> LiveModel | None:
    """A model of a collection, None if it names no model."""
    fields = row if isinstance(row, dict) else {}
    owner, name = answers.text_or_none(fields.get("owner")), answers.text_or_none(fields.get("name"))
    if owner is None or name is None:
        return None
    version = fields.get("latest_version")
    document = version.get("openapi_schema") if isinstance(version, dict) else None
    return LiveModel(f"{owner}/{name}", title=name, parameters=live_parameters(_input(document)))


def _input(document: object) -> object:
    """The schema of a model's input; its choices are schemas of their own, which it refers to."""
    components = document.get("components") if isinstance(document, dict) else None
    schemas = components.get("schemas") if isinstance(components, dict) else None
    schema = schemas.get("Input") if isinstance(schemas, dict) else None
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(schemas, dict) or not isinstance(properties, dict):
        return None
    return {**schema, "properties": {name: _whole(value, schemas) for name, value in properties.items()}}


def _whole(value: object, schemas: dict[str, Any]) -> object:
    fields = value if isinstance(value, dict) else {}
    parts = fields.get("allOf")
    for part in parts if isinstance(parts, list) else []:
        named = str(part.get("$ref") if isinstance(part, dict) else "").rpartition("/")[2]
        schema_named = schemas.get(named)
        fields = {**(schema_named if isinstance(schema_named, dict) else {}), **fields}
    return fields
