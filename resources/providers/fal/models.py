"""Reads fal's list of models into a form that can be compared with the catalogue, and its prices (fal docs: platform API)."""

from resources.money import usd
from resources.providers import answers
from resources.providers.live_models import LiveModel
from resources.providers.parameter_schemas import live_parameters

_SECONDS = {"second", "seconds", "video_second", "video_seconds"}
_FLAT = {"generation", "generations", "request", "requests", "video", "videos"}


def fal_model(row: object) -> LiveModel | None:
    """A row of fal's `GET /v1/models`; None if it names no model."""
    fields = row if isinstance(row, dict) else {}
    name = answers.text_or_none(fields.get("endpoint_id"))
    if name is None:
        return None
    about = fields.get("metadata")
    metadata = about if isinstance(about, dict) else {}
    return LiveModel(
        name,
        kind=answers.text_or_none(metadata.get("category")) or "",
        title=answers.text_or_none(metadata.get("display_name")) or name,
        parameters=live_parameters(_input_schema(fields.get("openapi"))),
    )


def _input_schema(document: object) -> object:
    """The schema of a model's input, in its OpenAPI document."""
    components = document.get("components") if isinstance(document, dict) else None
    schemas = components.get("schemas") if isinstance(components, dict) else None
    if not isinstance(schemas, dict):
        return None
    inputs = [schema for name, schema in schemas.items() if str(name).endswith("Input")]
    return inputs[0] if len(inputs) == 1 else None


def fal_price(row: object, endpoint: str, seconds: int | None) -> int | None:
    """The price of a request by fal's price of its model, in micro-dollars; None if its unit is another than a second or a video.

    Args:
        seconds: Ordered length; None if the request does not say it.
    """
    fields = row if isinstance(row, dict) else {}
    price, word = answers.amount(fields.get("unit_price")), str(fields.get("unit", "")).strip().lower()
    if fields.get("endpoint_id") != endpoint or fields.get("currency", "USD") != "USD" or not price:
        return None
    if word in _FLAT:
        return usd(price)
    return usd(price * seconds) if word in _SECONDS and seconds else None
