"""The one place where a request that is free is tried again, with growing pauses.

A POST that buys never comes here. It is sent once, and `resources.ledger.lost` settles it when its answer is lost. The
pauses are the event loop's own, so that a loop in virtual time makes them virtual.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import stamina
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from resources.errors import UnavailableError
from resources.plain import without_queries

logger = logging.getLogger("dailies")

T = TypeVar("T")
Passing: TypeAlias = type[Exception] | Callable[[Exception], bool | float]
"""Which errors may pass: their type, or a function that says so, or names the seconds to wait."""

TRIES = 4
FIRST_PAUSE_SECONDS, PAUSE_FACTOR, LONGEST_PAUSE_SECONDS = 1.0, 3.0, 9.0
"""Pauses of 1, 3 and 9 s. Providers say that a read may be repeated after a 429, a 5xx or a broken connection
(WaveSpeed docs: errors-retries-timeouts)."""


async def retry_free_call(
    call: Callable[[], Awaitable[T]], *, on: Passing = UnavailableError, tries: int = TRIES
) -> T:
    """The answer of a call, repeated while it fails with an error that may pass.

    Args:
        call: Asks once. It must cost nothing, and to repeat it must change nothing.
        on: Which errors may pass. A refused key (`ConfigurationError`) stays refused.
        tries: How often the call is made at most.

    Raises:
        Exception: The call's own: the last one that may pass, or the first one that does not.
    """
    # without jitter, so that a history in virtual time repeats itself
    async for attempt in stamina.retry_context(
        on,
        attempts=tries,
        timeout=None,
        wait_initial=FIRST_PAUSE_SECONDS,
        wait_exp_base=PAUSE_FACTOR,
        wait_max=LONGEST_PAUSE_SECONDS,
        wait_jitter=0,
    ):
        with attempt:
            return await call()
    raise AssertionError("a retry loop ends with a result or an error")


def ride_out(call: Callable[[], T], *, on: Passing, seconds: float) -> T:
    """The answer of a blocking call to a server of our own, repeated while that server is down.

    Args:
        call: Asks once; to repeat it must change nothing.
        on: Which errors mean that the server is down.
        seconds: How long an outage is ridden out; with 0 the call is made once.

    Raises:
        Exception: The call's own: the last one that may pass, or the first one that does not.
    """
    for attempt in stamina.retry_context(
        on,
        attempts=None if seconds else 1,
        timeout=seconds or None,
        wait_initial=0.1,
        wait_max=5,
        wait_jitter=0.1,
    ):
        with attempt:
            return call()
    raise AssertionError("a retry loop ends with a result or an error")


def _log(details: RetryDetails) -> None:
    # an error of a client may quote an address with its signature
    cause = without_queries(f"{details.caused_by}" or type(details.caused_by).__name__)
    logger.warning("%s; trying again in %.1f s", cause, details.wait_for)


# stamina's own line says neither what failed nor when it is tried again
set_on_retry_hooks([_log])
