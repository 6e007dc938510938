"""Asking the provider for a price that no page names. A quote is free and buys nothing; without one nothing is bought."""

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping

from resources.errors import UnavailableError
from resources.providers.base import Provider
from resources.requests import ClipRequest

logger = logging.getLogger("dailies")

AT_ONCE = 4


async def quoted(requests: Iterable[ClipRequest], providers: Mapping[str, Provider]) -> list[ClipRequest]:
    """The requests, those of unknown price with the provider's own quote where it gives one.

    Requests that differ in their prompt only are asked about once. A quote of nothing is not believed.

    Args:
        requests: In any number.
        providers: By name; a request of another provider stays as it is.

    Raises:
        resources.errors.ConfigurationError: A provider refuses the key.
    """
    given = list(requests)
    slots = asyncio.Semaphore(AT_ONCE)
    asked: dict[str, asyncio.Task[int | None]] = {}

    async def ask(provider: Provider, request: ClipRequest) -> int | None:
        async with slots:
            try:
                return await provider.quote(request.endpoint, request.body) or None
            except UnavailableError as error:
                logger.warning("%s has no known price and was not quoted one: %s", request.clip, error)
                return None

    for request in given:
        provider = providers.get(request.provider)
        if request.price_micros is None and provider is not None and _alike(request) not in asked:
            asked[_alike(request)] = asyncio.create_task(ask(provider, request))
    if asked:
        await asyncio.gather(*asked.values())
    return [
        request.model_copy(update={"price_micros": asked[_alike(request)].result()})
        if request.price_micros is None and _alike(request) in asked
        else request
        for request in given
    ]


def _alike(request: ClipRequest) -> str:
    body = {name: value for name, value in request.body.items() if name != "prompt"}
    return json.dumps([request.provider, request.endpoint, body], sort_keys=True)
