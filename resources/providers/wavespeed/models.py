"""Reads a row of WaveSpeed's list of models into a form that can be compared with the catalogue."""

from resources.providers import answers
from resources.providers.live_models import LiveModel, LiveParameter
from resources.providers.parameter_schemas import live_parameters


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


def _schema(value: object) -> dict[str, LiveParameter] | None:
    """The parameters of the call that runs a model, in the order the playground shows them."""
    schemas = value.get("api_schemas") if isinstance(value, dict) else None
    objects = [s for s in schemas if isinstance(s, dict)] if isinstance(schemas, list) else []
    runs = [s for s in objects if s.get("type") == "model_run"] or objects
    return live_parameters(runs[0].get("request_schema") if runs else None)
