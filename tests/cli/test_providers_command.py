"""`dailies providers test`: the conformance kit as a command."""

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli import providers
from pipelines.cli.app import app
from resources.conformance import kit
from resources.conformance.kit import KitFinding, Result
from resources.errors import ConfigurationError
from resources.providers.provider import LostAnswer
from resources.providers.registry import provider_names, registered, spec_of

ASKS = "One call sends the paid POST once."
FINDINGS = [
    KitFinding("accepted", "posts", Result.PASSED, "", "A POST names its job."),
    KitFinding("once", "posts", Result.FAILED, "it was accepted: it sent the paid POST 2 times", ASKS),
    KitFinding("plain", "histories", Result.NOT_RUN, "", "Clips are bought once."),
]
PROVIDER = spec_of(provider_names()[0])
NO_SPEC = "a text"


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> None:
    async def examine(_spec: object) -> list[KitFinding]:
        return FINDINGS

    monkeypatch.setattr(kit, "examine", examine)


@pytest.mark.usefixtures("examined")
def test_a_failed_check_shows_what_happened_and_what_the_contract_requires() -> None:
    result = CliRunner().invoke(app, ["providers", "test", provider_names()[0]], env={"COLUMNS": "80"})
    assert result.exit_code == 1, result.output
    assert "it did: it was accepted: it sent the paid POST 2 times" in result.output
    assert f"the contract asks: {ASKS}" in result.output
    assert "1 check passed, 1 failed" in result.output
    assert max(len(line) for line in result.output.splitlines()) <= 80


@pytest.mark.usefixtures("examined")
def test_the_findings_are_printed_as_json() -> None:
    result = CliRunner().invoke(app, ["providers", "test", f"{__name__}:PROVIDER", "--json"])
    assert result.exit_code == 1, result.output
    found = json.loads(result.output)
    assert [(one["check"], one["result"]) for one in found] == [
        ("accepted", "passed"),
        ("once", "failed"),
        ("plain", "not run"),
    ]


@pytest.mark.parametrize(
    ("module", "said"),
    [
        ("no_such_package:PROVIDER", "cannot be loaded: ModuleNotFoundError"),
        (f"{__name__}:NO_SPEC", "is not a ProviderSpec"),
        ("nobody", "there is no provider 'nobody'"),
    ],
)
def test_an_invalid_provider_is_named(module: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        providers.load_spec(module)


async def test_without_a_front_nothing_is_tested() -> None:
    with pytest.raises(ConfigurationError, match=r"no front for 'acme'.*entry-point group `dailies.sandbox`"):
        await kit.examine(dataclasses.replace(PROVIDER, name="acme"))


def test_the_docs_define_every_end_of_a_lost_answer() -> None:
    page = (Path(__file__).parents[2] / "docs" / "providers.md").read_text(encoding="utf-8")
    for word in LostAnswer:
        assert f"| {word} |" in page
    for spec in registered().values():
        assert spec.capabilities.lost_answer in LostAnswer
