"""A provider is one package and one line in the registry: other code never names it, and uses the registry."""

import re
import tokenize
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from resources.catalogue.endpoint import Endpoint
from resources.errors import ConfigurationError
from resources.providers import registry
from resources.providers.account_variables import known_variables, sandbox_variables, variables_of
from resources.providers.registry import OURS, provider_names, registered, spec_of, title_of
from resources.providers.spec import ProviderSpec
from resources.sandbox.front_registry import fronts

HOUSE = Path(__file__).parents[2]
NAMING = "|".join(
    sorted({word for spec in registered().values() for word in (spec.name, spec.title)} | {"AI/ML"}, key=len)
)
# a short name is a part of many words: false, fallback
NAMES = re.compile(rf"(?<![a-z])({NAMING})(?!(?<=fal)[a-z])", re.IGNORECASE)
MAY_NAME = {
    "resources/providers/registry.py": "the list itself",
}
"""Files outside a provider's own packages that name one, and why."""


def code(path: Path) -> Iterator[tuple[int, str]]:
    """Names and strings of a module with their lines; comments and docstrings may cite a provider's documentation."""
    starts = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    before, depth = tokenize.NEWLINE, 0
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            depth += (token.string in {"(", "[", "{"}) - (token.string in {")", "]", "}"})
            docstring = token.type == tokenize.STRING and depth == 0 and before in starts
            is_code = token.type not in {tokenize.COMMENT, *starts} and not docstring
            if is_code:
                yield token.start[0], token.string
            if token.type != tokenize.COMMENT:
                before = token.type


def named(path: Path) -> list[int]:
    # most files name no provider in any text, and reading one as tokens takes a hundred times as long
    if NAMES.search(path.read_text(encoding="utf-8")) is None:
        return []
    return [line for line, text in code(path) if NAMES.search(text)]


def outside() -> list[Path]:
    rooms = ("resources/providers", "resources/sandbox/fronts")
    own = tuple(f"{room}/{name}/" for name in provider_names() for room in rooms)
    files = [file for room in ("resources", "pipelines") for file in sorted((HOUSE / room).rglob("*.py"))]
    paths = [(file, str(file.relative_to(HOUSE))) for file in files]
    return [file for file, path in paths if not path.startswith(own) and path not in MAY_NAME]


@pytest.mark.slow
def test_nothing_outside_a_providers_package_names_it() -> None:
    found = {str(file.relative_to(HOUSE)): lines for file in outside() if (lines := named(file))}
    assert found == {}


def test_a_name_in_the_code_is_found_and_one_in_a_citation_is_not(tmp_path: Path) -> None:
    module = tmp_path / "a.py"
    module.write_text('"""As WaveSpeed says."""\n# WaveSpeed docs\nx = 1\n"""Of aimlapi."""\n')
    assert named(module) == []
    for line in (
        'x = "wavespeed"',
        "WAVESPEED_URL = 1",
        "import wavespeed",
        "y = f'by AI/ML API'",
        'f(\n"AimlApi")',
    ):
        module.write_text(f"y = 1\n{line}\n")
        assert named(module), line


def test_each_of_our_providers_is_a_package_that_the_registry_lists() -> None:
    packages = {
        f"resources.providers.{path.parent.name}"
        for path in (HOUSE / "resources/providers").glob("*/__init__.py")
    }
    assert packages == set(OURS)


def test_its_variables_are_made_from_its_name() -> None:
    assert variables_of(spec_of("wavespeed")) == {
        "api_key": "WAVESPEED_API_KEY",
        "url": "DAILIES_WAVESPEED_URL",
        "max_in_flight": "DAILIES_WAVESPEED_MAX_IN_FLIGHT",
        "submits_per_minute": "DAILIES_WAVESPEED_SUBMITS_PER_MINUTE",
        "dedicated": "DAILIES_WAVESPEED_DEDICATED",
        "settle_seconds": "DAILIES_WAVESPEED_SETTLE_SECONDS",
        "max_usd_per_day": "DAILIES_WAVESPEED_MAX_USD_PER_DAY",
        "max_usd_per_month": "DAILIES_WAVESPEED_MAX_USD_PER_MONTH",
    }
    assert set(sandbox_variables("http://127.0.0.1:1", "key")) <= known_variables()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """The entry points of the group; the registry reads them again."""
    entries: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == registry.GROUP else [])
    registered.cache_clear()
    yield entries
    registered.cache_clear()


ACME = ProviderSpec(
    name="acme",
    title="Acme Video",
    url="https://api.acme.test",
    key_variable="ACME_KEY",
    build=lambda _connection: pytest.fail("nothing was bought"),
    capabilities=spec_of("aimlapi").capabilities,
    documented=spec_of("aimlapi").documented,
)
NO_SPEC = "a text"


def test_an_installed_package_adds_a_provider(installed: list[EntryPoint]) -> None:
    installed.append(EntryPoint("acme", f"{__name__}:ACME", registry.GROUP))
    assert provider_names() == (*(name.rpartition(".")[2] for name in OURS), "acme")
    assert title_of("acme") == "Acme Video"
    assert "DAILIES_ACME_MAX_IN_FLIGHT" in known_variables()
    provider = Endpoint.model_json_schema()["properties"]["provider"]
    assert provider["enum"] == list(provider_names())


@pytest.mark.parametrize(
    ("value", "said"), [("NO_SPEC", "is not a ProviderSpec"), ("MISSING", "cannot be loaded")]
)
def test_a_broken_package_is_named(installed: list[EntryPoint], value: str, said: str) -> None:
    installed.append(EntryPoint("acme", f"{__name__}:{value}", registry.GROUP))
    with pytest.raises(ConfigurationError, match=f"acme.*{said}"):
        registered()


def test_two_providers_of_one_name_are_refused(installed: list[EntryPoint]) -> None:
    installed.extend(EntryPoint("acme", f"{__name__}:ACME", registry.GROUP) for _ in range(2))
    with pytest.raises(ConfigurationError, match="two providers are called 'acme'"):
        registered()


def test_a_provider_that_is_no_longer_installed_keeps_its_name_in_manifests() -> None:
    assert title_of("acme") == "acme"
    with pytest.raises(ConfigurationError, match="allowed: wavespeed, aimlapi"):
        spec_of("acme")


@pytest.mark.parametrize("wrong", [{"name": "Acme"}, {"name": "a-b"}, {"key_variable": "key"}])
def test_names_that_make_no_variables_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot name a provider"):
        ProviderSpec(**{**vars(ACME), **wrong})


def test_the_sandbox_stands_in_for_every_provider() -> None:
    assert set(fronts()) == set(provider_names())
