"""The conformance kit on every registered provider, and on one of another package."""

import pytest
from acme_video import PROVIDER

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


@pytest.mark.slow
@pytest.mark.parametrize("name", registered())
async def test_a_registered_provider_keeps_every_promise(name: str) -> None:
    assert await failures(registered()[name]) == {}


@pytest.mark.slow
@pytest.mark.usefixtures("acme")
async def test_a_provider_of_another_package_keeps_every_promise() -> None:
    assert await failures(PROVIDER) == {}
