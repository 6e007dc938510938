"""The list of checks; the modules beside this one add theirs when they are imported."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from resources.conformance.stand import Stand
from resources.providers.provider import Capabilities
from resources.providers.spec import ProviderSpec

Work = Callable[[Stand], Awaitable[None]]


@dataclass(frozen=True)
class KitCheck:
    """One check."""

    name: str
    about: str
    asks: str
    """The contract's requirement, as a sentence."""
    work: Work
    offered: Callable[[ProviderSpec], bool]
    how: dict[str, Any]
    """Arguments of its `Stand`."""
    begins_with: Work | None = None
    """What happens on its stand first. Checks that begin with the same only read, so they share the stand: buying takes longest."""


CHECKS: list[KitCheck] = []
"""All checks, in the order in which they run."""


def check(
    about: str,
    name: str,
    asks: str,
    *,
    needs: Callable[[Capabilities], bool] = lambda _capabilities: True,
    offered: Callable[[ProviderSpec], bool] | None = None,
    begins_with: Work | None = None,
    **how: Any,
) -> Callable[[Work], Work]:
    """Add a check.

    Args:
        asks: The contract's requirement, as a sentence.
        needs: What its provider must offer.
        offered: The same, if the capabilities do not show it.
        begins_with: See `KitCheck`; such a check has no arguments of a stand.
        how: Arguments of its `Stand`.
    """

    def add(work: Work) -> Work:
        CHECKS.append(
            KitCheck(
                name, about, asks, work, offered or (lambda spec: needs(spec.capabilities)), how, begins_with
            )
        )
        return work

    return add
