"""A reading of an account's listing or bill, which may not take long: a sensor's tick and a waiting run have other work."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from resources.errors import UnavailableError
from resources.unforeseen import as_unforeseen


@contextlib.asynccontextmanager
async def timed_reading(what: str, seconds: float) -> AsyncIterator[None]:
    """Read something within a time limit.

    Args:
        what: What is read, e.g. `its bill`.
        seconds: The limit.

    Raises:
        DailiesError: The reading failed or takes too long.
    """
    try:
        async with asyncio.timeout(seconds):
            with as_unforeseen(f"reading {what}"):
                yield
    except TimeoutError:
        raise UnavailableError(f"{what} was not read to its end within {max(seconds, 0):.0f} s") from None
