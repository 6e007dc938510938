"""Asking a provider something free again when one answer fails, so that a passing error does not end a batch."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from resources.errors import UnavailableError

T = TypeVar("T")

PAUSES = (1.0, 3.0, 9.0)
"""Seconds before each further try. Providers say that a read may be repeated after a 429, a 5xx or a broken connection
(WaveSpeed docs: errors-retries-timeouts)."""


async def patiently(
    ask: Callable[[], Awaitable[T]], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> T:
    """What is answered, after four tries at most.

    Args:
        ask: Asks once. It must change and cost nothing: a purchase is never repeated like this.
        sleep: `asyncio.sleep`, or a test's fake.

    Raises:
        resources.errors.UnavailableError: No try was answered.
        resources.errors.ConfigurationError: At once; a refused key stays refused.
    """
    for pause in PAUSES:
        try:
            return await ask()
        except UnavailableError:
            await sleep(pause)
    return await ask()
