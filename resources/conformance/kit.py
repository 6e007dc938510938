"""Runs the checks, and reports for each the client's answer and the contract's requirement."""

import asyncio
import logging
from collections.abc import Collection
from contextlib import AsyncExitStack, suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from resources.conformance import extras, histories, hostile_answers, polls, posts, rows
from resources.conformance.checks import CHECKS, KitCheck, Work
from resources.conformance.stand import BrokenPromiseError, Stand, open_stand, sample
from resources.providers.spec import ProviderSpec

CHECK_SECONDS = 300.0
"""The time limit of one check."""


MODULES = (posts, polls, rows, extras, hostile_answers, histories)
"""Importing them adds the checks."""
ORDER = (
    "posts",
    "polls",
    "listings",
    "bills",
    "account",
    "clocks",
    "callbacks",
    "uploads",
    "answers",
    "histories",
)
"""The subjects of checks, in the order in which they run."""


class Result(StrEnum):
    """The result of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_OFFERED = "not offered"
    """The provider does not offer the feature."""
    NOT_RUN = "not run"
    """Not run, since an earlier check that it needs failed."""


@dataclass(frozen=True)
class KitFinding:
    """The finding of one check."""

    check: str
    """Its name."""
    about: str
    """Its subject: `posts`, `polls`, ..."""
    result: Result
    did: str
    """The client's answer; empty if the check passed."""
    asks: str
    """The contract's requirement."""


async def examine(spec: ProviderSpec, *, about: Collection[str] = ORDER) -> list[KitFinding]:
    """Run the checks on a provider, those about histories only if no other has failed.

    Args:
        about: Only the checks about these subjects.

    Raises:
        ConfigurationError: The sandbox has no front for it.
    """
    sample(spec.name)
    findings: list[KitFinding] = []
    quiet = logging.getLogger("dailies"), logging.getLogger("resources.providers")
    shared = _SharedStands(spec)
    levels = [logger.level for logger in quiet]
    for logger in quiet:
        # the checks cause mishaps on purpose, so the client's warnings about them are hidden
        logger.setLevel(logging.CRITICAL)
    try:
        chosen = [one for one in CHECKS if one.about in about]
        for one in sorted(chosen, key=lambda one: ORDER.index(one.about)):
            failed = any(finding.result is Result.FAILED for finding in findings)
            if not one.offered(spec):
                findings.append(_finding(one, Result.NOT_OFFERED))
            elif one.about == histories.ABOUT and failed:
                findings.append(_finding(one, Result.NOT_RUN))
            else:
                findings.append(await _tried(one, spec, shared))
    finally:
        await shared.close()
        for logger, level in zip(quiet, levels, strict=True):
            logger.setLevel(level)
    return findings


class _SharedStands:
    """The stands of one examination that several checks read."""

    def __init__(self, spec: ProviderSpec) -> None:
        self._spec = spec
        self._begun: dict[Work, Stand] = {}
        self._open = AsyncExitStack()

    async def begun_with(self, work: Work) -> Stand:
        """The stand on which `work` has happened, with a client that no other check has used."""
        if work not in self._begun:
            stand = await self._open.enter_async_context(open_stand(self._spec))
            await work(stand)
            self._begun[work] = stand
        stand = self._begun[work]
        await stand.client.aclose()
        stand.client = stand.connect()
        return stand

    async def close(self) -> None:
        """Close them; a stranger's client may raise anything."""
        with suppress(Exception):
            await self._open.aclose()


async def _tried(one: KitCheck, spec: ProviderSpec, shared: _SharedStands) -> KitFinding:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            if one.begins_with is None:
                async with open_stand(spec, **one.how) as stand:
                    await one.work(stand)
            else:
                await one.work(await shared.begun_with(one.begins_with))
    except BrokenPromiseError as broken:
        return _finding(one, Result.FAILED, str(broken))
    except TimeoutError:
        return _finding(one, Result.FAILED, f"it did not end within {CHECK_SECONDS:g} s")
    except Exception as error:  # noqa: BLE001 - a stranger's client may raise anything, which is a finding
        return _finding(one, Result.FAILED, f"it raised {type(error).__name__}: {error}")
    return _finding(one, Result.PASSED)


def _finding(one: KitCheck, result: Result, did: str = "") -> KitFinding:
    return KitFinding(one.name, one.about, result, did, one.asks)


def as_json(findings: list[KitFinding]) -> list[dict[str, Any]]:
    """The findings for programs."""
    return [asdict(finding) for finding in findings]
