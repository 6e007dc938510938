"""The sandbox's own table of rules and prices, compared with the facts of the pages: it is no copy of the catalogue."""

import ast
from pathlib import Path

import pytest
from page_facts import PAGES, allowed_values, needed, wrong_values

from resources.money import usd
from resources.sandbox.endpoints import InvalidParameter, SandboxEndpoint, load_endpoints


def sold(page: str) -> SandboxEndpoint:
    return load_endpoints()[PAGES[page].provider][page]


def body(page: str) -> dict[str, object]:
    return {"prompt": "a hill", **needed(PAGES[page])}


def test_the_sandbox_sells_exactly_the_models_of_the_pages():
    assert {
        name: (provider, endpoint.type)
        for provider, table in load_endpoints().items()
        for name, endpoint in table.items()
        if provider in {page.provider for page in PAGES.values()}  # other providers have their own lists
    } == {name: (page.provider, page.kind) for name, page in PAGES.items()}


@pytest.mark.parametrize("page", PAGES)
def test_parameters_equal_their_rows(page):
    for row in PAGES[page].rows:
        parameter = sold(page).parameters[row.name]
        kind = "string" if parameter.type in {"url", "picture"} else parameter.type
        assert (kind, parameter.required, parameter.default) == (row.type, row.required, row.default), (
            row.name
        )


@pytest.mark.parametrize("page", PAGES)
def test_allowed_values_are_accepted(page):
    for row in PAGES[page].rows:
        for value in allowed_values(row) if row.name != "prompt" else ():
            assert sold(page).read({**body(page), row.name: value})[row.name] == value


@pytest.mark.parametrize("page", PAGES)
def test_values_that_the_page_does_not_allow_are_refused(page):
    # a missing value gets the default, and a list of texts may contain any
    wrong = {row.name: wrong_values(row) for row in PAGES[page].rows if row.type != "array"}
    for name, value in (
        (name, value) for name, values in wrong.items() for value in values if value is not None
    ):
        try:
            sold(page).read({**body(page), name: value})
        except InvalidParameter:
            continue
        pytest.fail(f"{name}: {value!r} was accepted")


@pytest.mark.parametrize("page", PAGES)
def test_required_parameters_are_required(page):
    for row in PAGES[page].rows:
        if row.required:
            given = body(page)
            del given[row.name]
            with pytest.raises(InvalidParameter, match="is required"):
                sold(page).read(given)


@pytest.mark.parametrize(
    ("page", "parameters", "price"),
    [(page, given, price) for page, facts in PAGES.items() for given, price in facts.examples],
)
def test_prices_equal_the_pages_to_the_cent(page, parameters, price):
    assert sold(page).cost(sold(page).read({**body(page), **parameters})) == usd(price)


@pytest.mark.parametrize(
    ("page", "starts_at"), [(name, page.starts_at) for name, page in PAGES.items() if page.starts_at]
)
def test_the_base_price_is_the_one_the_family_page_starts_at(page, starts_at):
    assert usd(sold(page).base_price) == usd(starts_at)


def test_the_sandbox_imports_nothing_of_the_catalogue():
    folder = Path(__file__).parents[2] / "resources" / "sandbox"
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.startswith("resources.catalogue") for name in names), file
