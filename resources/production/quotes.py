"""Providers' quotes for orders without a price in the catalogue. A quote is free; without a price nothing is bought."""

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping

from resources.errors import UnavailableError
from resources.orders import Choice, ClipRequest
from resources.providers.provider import Provider
from resources.retry import retry_free_call
from resources.unforeseen import UnforeseenError, as_unforeseen

logger = logging.getLogger("dailies")

AT_ONCE = 4


async def quoted(requests: Iterable[ClipRequest], providers: Mapping[str, Provider]) -> list[ClipRequest]:
    """Fill in the unknown prices of requests and fallbacks with the providers' quotes, if they give one.

    Requests to one account that differ only in their prompts share one quote; accounts may have their own prices. A quote of zero is
    not believed.

    Args:
        providers: The providers by name; requests of other providers stay unchanged.

    Raises:
        resources.errors.ConfigurationError: A provider refuses the key.
    """
    listed = list(requests)
    slots = asyncio.Semaphore(AT_ONCE)
    asked: dict[str, asyncio.Task[int | None]] = {}

    async def ask(provider: Provider, way: ClipRequest | Choice) -> int | None:
        async with slots:
            try:
                with as_unforeseen("asking for it"):
                    return await retry_free_call(lambda: provider.quote(way.endpoint, way.body)) or None
            except (UnavailableError, UnforeseenError) as error:
                logger.warning("%s has no known price and was not quoted one: %s", way.endpoint, error)
                return None

    for request in listed:
        ways: list[ClipRequest | Choice] = [request, *request.fallbacks]
        for wanted in ways:
            provider = providers.get(wanted.account_name)
            if wanted.price_micros is None and provider is not None and _alike(wanted) not in asked:
                asked[_alike(wanted)] = asyncio.create_task(ask(provider, wanted))
    if not asked:
        return listed
    await asyncio.gather(*asked.values())
    prices = {key: task.result() for key, task in asked.items()}
    return [
        request.model_copy(
            update={
                "price_micros": _price(request, prices),
                "fallbacks": tuple(
                    choice.model_copy(update={"price_micros": _price(choice, prices)})
                    for choice in request.fallbacks
                ),
            }
        )
        for request in listed
    ]


def _price(way: ClipRequest | Choice, prices: Mapping[str, int | None]) -> int | None:
    return prices.get(_alike(way)) if way.price_micros is None else way.price_micros


def _alike(way: ClipRequest | Choice) -> str:
    body = {name: value for name, value in way.body.items() if name != "prompt"}
    return json.dumps([way.account_name, way.endpoint, body], sort_keys=True)
