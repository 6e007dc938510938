"""The conformance kit on every registered provider, and on one of another package."""

import pytest
from acme_video import PROVIDER

from resources.conformance import hostile_answers
from resources.conformance.checks import CHECKS
from resources.conformance.kit import Result, examine
from resources.providers.registry import registered
from resources.providers.spec import ProviderSpec


async def failures(spec: ProviderSpec) -> dict[str, str]:
    findings = await examine(spec)
    assert len(findings) == len(CHECKS)
    return {
        f"{finding.about} {finding.check}": finding.did
        for finding in findings
        if finding.result is Result.FAILED
    }


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.night)], ids=["some", "all"])
def hostile(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of the kit's hostile answers, which take each provider three CPU seconds; all of them at night."""
    if not request.param:
        monkeypatch.setattr(hostile_answers, "RANDOM_ANSWERS", 20)
        monkeypatch.setattr(hostile_answers, "VALUES_A_PATH", 2)


@pytest.mark.slow
@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("name", registered())
async def test_a_registered_provider_keeps_every_promise(name: str) -> None:
    assert await failures(registered()[name]) == {}


@pytest.mark.slow
@pytest.mark.usefixtures("acme", "hostile")
async def test_a_provider_of_another_package_keeps_every_promise() -> None:
    assert await failures(PROVIDER) == {}
