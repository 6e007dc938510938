"""The samples of `data/` and their JSON Schemas."""

import datetime as dt
import functools
import json
from pathlib import Path

import jsonschema
import pytest

from resources.catalogue import Catalogue
from resources.declared.document import read_document
from resources.series import load_series
from resources.series.json_schemas import (
    account_json_schema,
    character_json_schema,
    edits_json_schema,
    include_json_schema,
    model_json_schema,
    rendered,
    series_json_schema,
)

DATA = Path(__file__).parents[2] / "data"
CATALOGUE = Catalogue.load(DATA / "models")
SAMPLES = sorted((DATA / "series").glob("*.yaml"))
MODELS = sorted((DATA / "models").glob("*.yaml"))
INCLUDES = sorted((DATA / "prompts").glob("*.yaml"))
CHARACTERS = sorted((DATA / "characters").glob("*.yaml"))
SCHEMAS = {
    "series": series_json_schema(CATALOGUE),
    "model": model_json_schema(),
    "include": include_json_schema(),
    "edits": edits_json_schema(),
    "character": character_json_schema(),
    "account": account_json_schema(),
}
SCHEMA_OF_FOLDER = {"series": "series", "models": "model", "prompts": "include", "characters": "character"}


@functools.cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """The validator of a schema file, whose schema is checked too: a second of CPU for the schema of a series."""
    schema = json.loads((DATA / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def declarations():
    declarations = load_series(DATA, CATALOGUE)
    assert declarations.problems == []
    return declarations


@pytest.mark.parametrize("day", [dt.date(2026, 11, 20), dt.date(2028, 2, 29), dt.date(2027, 9, 1)])
def test_the_samples_make_fourteen_clips_for_any_date(declarations, day):
    clips = [clip for series in declarations.series.values() for clip in series.clips(day)]
    requests = [declarations.render(clip) for clip in clips]
    assert len({request.fingerprint for request in requests}) == 14
    assert all(request.price_micros for request in requests)
    lighthouses = [request for request in requests if "lighthouse" in request.prompt.lower()]
    assert [request.provider for request in lighthouses] == ["wavespeed"]


def test_the_sample_character_can_be_made(declarations):
    (mara,) = declarations.characters.found.values()
    assert mara.request.price_micros == 1000
    assert all(not series.cast for series in declarations.series.values())


def test_the_samples_use_live_models_and_one_a_retired_family(declarations):
    used = {name: series.endpoints.of_series[0].endpoint for name, series in declarations.series.items()}
    retired = {name for name, endpoint in used.items() if endpoint.lifecycle.retired(dt.date(2026, 11, 29))}
    assert retired == {"recipe-cards"}
    assert {endpoint.provider for endpoint in used.values()} == {"wavespeed", "aimlapi", "fal"}
    assert sum(series.schedule is not None for series in declarations.series.values()) >= 2
    assert {name for name, series in declarations.series.items() if series.declaration.draft} == {
        "market-morning"
    }
    assert all(series.owner and series.tags for series in declarations.series.values())


def test_the_schema_files_are_up_to_date():
    hint = "run `python -m resources.series.json_schemas`"
    for name, schema in SCHEMAS.items():
        assert (DATA / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8") == rendered(schema), (
            hint
        )


@pytest.mark.slow
@pytest.mark.parametrize("file", [*SAMPLES, *MODELS, *INCLUDES, *CHARACTERS], ids=lambda file: file.stem)
def test_every_file_obeys_its_schema_and_names_it(file):
    name = SCHEMA_OF_FOLDER[file.parent.name]
    validator(name).validate(read_document(file).value)
    hint = f"# yaml-language-server: $schema=../schemas/{name}.schema.json\n"
    assert file.read_text(encoding="utf-8").startswith(hint)


@pytest.mark.parametrize(
    "change",
    [
        {"endpoint": "openai/sora-3"},
        {"parameters": {"size": "720x1280"}},
        {"parameters": {"reslution": "720p"}},
        {"clips": [{"name": "a", "parameters": {"duration": 50}}]},
        {"matrix": {"mood": ["a"]}},
        {"alow_retired": True},
        {"owner": "nobody"},
        {"name": "City"},
        {"prompt": {"camra": "x"}},
        {"prompt": 5},
        {"dates": {"someday": {}}},
        {"include": "house-style"},
        {"fallback": [{"endpoint": "openai/sora-3"}]},
        {"fallback": [{"endpoint": "openai/sora-2-t2v", "parameters": {"size": "720*1280"}}]},
        {"cast": ["Mara"]},
    ],
)
def test_the_schema_finds_mistakes_that_the_loader_refuses(change):
    declared = read_document(DATA / "series" / "city-sunset.yaml").value
    with pytest.raises(jsonschema.ValidationError):
        validator("series").validate({**declared, **change})
