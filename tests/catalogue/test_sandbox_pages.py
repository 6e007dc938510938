"""The sandbox's own table of rules and prices, held against the list of the pages' facts: it is no copy of the catalogue."""

import ast
from pathlib import Path

import pytest
from page_facts import PAGES, Row, allowed_values, needed, wrong_values

from resources.money import usd
from resources.sandbox.endpoints import InvalidParameter, SandboxEndpoint, load_endpoints

ROWS = [(page, row) for page, facts in PAGES.items() for row in facts.rows]


def sold(page: str) -> SandboxEndpoint:
    return load_endpoints()[PAGES[page].provider][page]


def body(page: str) -> dict[str, object]:
    return {"prompt": "a hill", **needed(PAGES[page])}


def test_the_sandbox_sells_what_the_pages_sell_and_nothing_else():
    assert {
        name: (provider, endpoint.type)
        for provider, table in load_endpoints().items()
        for name, endpoint in table.items()
        if provider in {page.provider for page in PAGES.values()}  # other providers have lists of their own
    } == {name: (page.provider, page.kind) for name, page in PAGES.items()}


@pytest.mark.parametrize(("page", "row"), ROWS)
def test_a_parameter_is_what_its_row_says(page, row: Row):
    parameter = sold(page).parameters[row.name]
    kind = "string" if parameter.type in {"url", "picture"} else parameter.type
    assert (kind, parameter.required, parameter.default) == (row.type, row.required, row.default)


@pytest.mark.parametrize(
    ("page", "name", "value"),
    [(page, row.name, value) for page, row in ROWS if row.name != "prompt" for value in allowed_values(row)],
)
def test_what_the_page_allows_is_taken(page, name, value):
    assert sold(page).read({**body(page), name: value})[name] == value


@pytest.mark.parametrize(
    ("page", "name", "value"),
    [
        (page, row.name, value)
        for page, row in ROWS
        for value in wrong_values(row)
        # an absent value is the default's business, and a list of texts may hold any
        if value is not None and row.type != "array"
    ],
)
def test_what_the_page_does_not_allow_is_refused(page, name, value):
    with pytest.raises(InvalidParameter):
        sold(page).read({**body(page), name: value})


@pytest.mark.parametrize("page", PAGES)
def test_what_is_required_is_required(page):
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
def test_prices_come_out_to_the_cent(page, parameters, price):
    assert sold(page).cost(sold(page).read({**body(page), **parameters})) == usd(price)


@pytest.mark.parametrize("page", [name for name, page in PAGES.items() if page.starts_at])
def test_the_base_price_is_the_one_the_family_page_starts_at(page):
    assert usd(sold(page).base_price) == usd(PAGES[page].starts_at)


def test_the_sandbox_takes_nothing_from_the_catalogue():
    folder = Path(__file__).parents[2] / "resources" / "sandbox"
    for file in folder.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any(name.startswith("resources.catalogue") for name in names), file
