"""Mistakes in entries of the catalogue, and the search for an endpoint."""

from datetime import date
from pathlib import Path

import pytest

from resources.catalogue import Catalogue
from resources.catalogue.endpoint import Lifecycle
from resources.declared.problems import ProblemsError

ENTRY = """\
provider: wavespeed
id: maker/model
title: A model
kind: text-to-video
parameters:
  prompt: {type: string, required: true}
  duration: {type: integer, default: 4, allowed: [4, 8]}
pricing: {basis: listed, source: page, usd: "0.10"}
output: {seconds: duration}
lifecycle: {status: live}
source: page
checked: 2026-11-20
"""


def load(folder: Path, **files: str) -> Catalogue:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return Catalogue.load(folder)


def test_a_new_model_needs_an_entry_and_no_code(tmp_path):
    catalogue = load(tmp_path, model=ENTRY)
    assert catalogue.problems == []
    assert len(catalogue) == 1
    endpoint = catalogue.get("maker/model")
    assert endpoint.price(endpoint.resolve("x", {"duration": 8})) == 800_000


def test_an_edited_price_is_the_price_of_the_next_load(tmp_path):
    """Entries are validated once per process, by their text."""
    before = load(tmp_path, model=ENTRY).get("maker/model")
    after = load(tmp_path, model=ENTRY.replace('usd: "0.10"', 'usd: "0.20"')).get("maker/model")
    body = before.resolve("x", {"duration": 8})
    assert (before.price(body), after.price(body)) == (800_000, 1_600_000)
    again = load(tmp_path, model=ENTRY, other=ENTRY)
    assert [problem.file for problem in again.problems] == [tmp_path / "other.yaml"]


@pytest.mark.parametrize(
    ("wrong", "right", "line", "says"),
    [
        (
            "title: A model",
            "title: x\nusual_second: 5",
            4,
            "usual_second: is not known here; did you mean 'usual_seconds'?",
        ),
        ("default: 4", "default: 5", 7, "does not obey its own rules: found 5, allowed: 4, 8"),
        ("allowed: [4, 8]", 'allowed: ["4", 8]', 7, "`allowed` contains '4', which is not a whole number"),
        ("type: integer", "type: int", 7, "found 'int', allowed: 'string', 'integer', 'boolean', 'array'"),
        (
            'usd: "0.10"',
            "usd: ten cents",
            8,
            "found 'ten cents', allowed: an amount of US dollars from 0 up, e.g. 12.50",
        ),
        ('usd: "0.10"', "usd: 1000.10", 8, "allowed: at most 1000 US dollars"),
        ('usd: "0.10"', 'usd: "0.0000001"', 8, "at most six decimals"),
        ('usd: "0.10"', 'usd: "-1"', 8, "allowed: an amount of US dollars"),
        (', usd: "0.10"', "", 8, "give either `usd` or `rates`"),
        ("{seconds: duration}", "{seconds: length}", 1, "`output` reads the parameter 'length'"),
        (
            'usd: "0.10"}',
            'by: duration, rates: {4: "1", 9: "2"}}',
            1,
            "a price or frame is given for duration '9', which `parameters` does not allow",
        ),
        ("default: 4", "default: 4, inline: true", 7, "set `media` to the kind of media at the address"),
        ("type: integer", "type: integer, media: image", 7, "`media` is for texts and arrays"),
        ("checked: 2026-11-20", "checked: 2026-13-20", 12, "allowed: a date as YYYY-MM-DD"),
        ("checked: 2026-11-20", "checked: 20261120", 12, "allowed: a date as YYYY-MM-DD"),
        ("status: live", "status: alive", 10, "did you mean 'live'?"),
        ("status: live", "status: live, replacement: maker/modl", 10, "is not an endpoint of wavespeed"),
        ("source: page\nchecked", "checked", 1, "source: is missing"),
    ],
)
def test_a_mistake_names_file_line_and_what_is_allowed(tmp_path, wrong, right, line, says):
    assert wrong in ENTRY
    catalogue = load(tmp_path, model=ENTRY.replace(wrong, right))
    (problem,) = catalogue.problems
    assert problem.line == line
    assert str(problem).startswith(f"{tmp_path}/model.yaml:{line}: ")
    assert says in str(problem)


def test_a_broken_entry_does_not_stop_the_others(tmp_path):
    catalogue = load(tmp_path, a="id: [", b=ENTRY, c=ENTRY.replace("maker/model", "maker/other"))
    assert [endpoint.id for endpoint in catalogue] == ["maker/model", "maker/other"]
    (problem,) = catalogue.problems
    assert "a.yaml:1: a value is missing, or a [ or { is not closed" in str(problem)


def test_the_same_endpoint_twice_is_a_problem_of_the_later_file(tmp_path):
    catalogue = load(tmp_path, a=ENTRY, b=ENTRY)
    (problem,) = catalogue.problems
    assert "b.yaml:2: id: found 'maker/model' - is already in a.yaml" in str(problem)


def test_an_unknown_endpoint_names_the_nearest(tmp_path):
    catalogue = load(tmp_path, a=ENTRY)
    with pytest.raises(ProblemsError, match="did you mean 'maker/model'"):
        catalogue.get("maker/modle")
    with pytest.raises(ProblemsError, match="allowed: 'maker/model'"):
        catalogue.get("something else")


def test_a_part_of_a_name_finds_those_that_contain_it(tmp_path):
    other = ENTRY.replace("maker/model", "another/long-name-of-a-clip")
    catalogue = load(tmp_path, a=ENTRY, b=other)
    with pytest.raises(ProblemsError, match=r"these contain it: 'another/long-name-of-a-clip'$"):
        catalogue.get("long-name")
    with pytest.raises(ProblemsError, match="allowed: 'another/long-name-of-a-clip', 'maker/model'"):
        catalogue.get("lo")


def test_an_id_that_two_providers_sell_is_named_once(tmp_path):
    catalogue = load(tmp_path, a=ENTRY, b=ENTRY.replace("provider: wavespeed", "provider: fal"))
    with pytest.raises(ProblemsError, match="allowed: 'maker/model' - is not in"):
        catalogue.get("something else")


def test_an_id_that_two_providers_sell_belongs_to_the_first_one(
    tmp_path,
):
    catalogue = load(tmp_path, a=ENTRY.replace("wavespeed", "aimlapi"), b=ENTRY)
    assert catalogue.get("maker/model", "aimlapi").provider == "aimlapi"
    assert catalogue.get("maker/model").provider == "wavespeed"


def test_the_error_of_a_provider_that_does_not_sell_a_model_names_the_one_that_does(tmp_path):
    with pytest.raises(ProblemsError, match="provider: found 'aimlapi', allowed: 'wavespeed'"):
        load(tmp_path, a=ENTRY).get("maker/model", "aimlapi")


def test_all_mistakes_of_a_request_are_reported_at_once(tmp_path):
    endpoint = load(tmp_path, a=ENTRY).get("maker/model")
    with pytest.raises(ProblemsError) as refused:
        endpoint.resolve("x", {"duraton": 4, "duration": 5, "prompt": "y"})
    assert [problem.field for problem in refused.value.problems] == [
        "parameters.duraton",
        "parameters.prompt",
        "parameters.duration",
    ]
    assert "did you mean 'duration'?" in str(refused.value)


@pytest.mark.parametrize(("today", "gone"), [(date(2026, 9, 23), False), (date(2026, 9, 24), True)])
def test_a_live_endpoint_is_gone_from_its_sunset_on(today, gone):
    assert Lifecycle.model_validate({"status": "live", "sunset_at": "2026-09-24"}).retired(today) is gone


def test_a_missing_folder_is_an_empty_catalogue(tmp_path):
    assert len(Catalogue.load(tmp_path / "models")) == 0
