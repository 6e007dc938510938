"""Chooses the cheapest job for verifying a provider."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from resources.catalogue import Catalogue, Endpoint
from resources.errors import ConfigurationError, UnavailableError
from resources.orders import ClipRequest
from resources.providers.provider import Provider

PROMPT = "A paper boat drifts on calm water, seen from above."


@dataclass(frozen=True)
class Offer:
    """A request and its price."""

    endpoint: Endpoint
    """The endpoint."""
    body: dict[str, Any]
    """The whole request."""
    listed_micros: int | None
    """The catalogue's price in micro-dollars, None if no page names one."""
    quoted_micros: int | None = None
    """The provider's quote in micro-dollars, None if it gives none."""

    @property
    def micros(self) -> int | None:
        """The highest expected cost in micro-dollars, which is reserved."""
        return max((price for price in (self.listed_micros, self.quoted_micros) if price), default=None)

    def request(self, key: str, account: str | None = None) -> ClipRequest:
        """The request for an account; `key` is the probe's subject in the ledger."""
        return ClipRequest(
            kind="probe",
            clip=key,
            series="verify-provider",
            provider=self.endpoint.provider,
            account=account,
            endpoint=self.endpoint.id,
            body=self.body,
            price_micros=self.micros,
            expected=self.endpoint.expected(self.body),
            usual_seconds=self.endpoint.usual_seconds,
            max_seconds=self.endpoint.max_seconds,
        )


async def cheapest(
    catalogue: Catalogue,
    provider: Provider,
    *,
    seller: str,
    endpoint: str | None = None,
    allow_retired: bool = False,
    today: dt.date,
) -> Offer:
    """The cheapest clip that an account can make from text alone, with the provider's own quote.

    Args:
        provider: The client of the account.
        seller: The name of its provider.
        endpoint: Only this endpoint.
        allow_retired: Whether a retired endpoint may be bought.
        today: For the lifecycle.

    Raises:
        ProblemsError: The endpoint does not exist.
        ConfigurationError: No clip can be bought, or none with a known price.
        resources.errors.UnavailableError: The provider does not answer.
    """
    candidates = [catalogue.get(endpoint, seller)] if endpoint else list(catalogue)
    offers = [
        offer
        for candidate in candidates
        if candidate.provider == seller
        and candidate.makes_video
        and (allow_retired or not candidate.lifecycle.retired(today))
        for offer in _offers(candidate)
    ]
    if not offers:
        warning = candidates[0].lifecycle.warning(today) if endpoint else None
        if warning is not None:
            raise ConfigurationError(f"{endpoint} {warning}, or add --allow-retired. Nothing was bought.")
        which = endpoint or f"every endpoint of {seller} in data/models"
        raise ConfigurationError(
            f"{which} is retired or makes no clip from text alone; name another with --endpoint, or add "
            "--allow-retired. Nothing was bought."
        )
    known = [offer for offer in offers if offer.listed_micros is not None]
    if known:
        best = min(known, key=lambda offer: (offer.listed_micros or 0, offer.endpoint.id))
        return replace(best, quoted_micros=await _quote(provider, best))
    quoted = [replace(offer, quoted_micros=await _quote(provider, offer)) for offer in offers]
    priced = [offer for offer in quoted if offer.quoted_micros]
    if not priced:
        raise ConfigurationError(
            f"no page names a price for an endpoint of {seller}, and it quotes none, so nothing was bought; "
            "set the price in data/models, or name another endpoint with --endpoint"
        )
    return min(priced, key=lambda offer: (offer.quoted_micros or 0, offer.endpoint.id))


async def _quote(provider: Provider, offer: Offer) -> int | None:
    try:
        return await provider.quote(offer.endpoint.id, offer.body)
    except UnavailableError:
        return None  # the report shows the missing quote


def _offers(endpoint: Endpoint) -> Iterator[Offer]:
    """The shortest clip of each price, from text alone."""
    if any(p.required and p.media is not None for p in endpoint.parameters.values()):
        return
    example: dict[str, Any] = {}
    duration = endpoint.parameters.get("duration")
    if duration is not None:
        example["duration"] = min(duration.allowed) if duration.allowed else duration.min or duration.sent
    steps: list[dict[str, Any]] = [example]
    by = endpoint.pricing.by
    if by is not None:
        steps = [{**example, by: value} for value in endpoint.parameters[by].allowed or []]
    for step in steps:
        body = endpoint.resolve(PROMPT, step)
        yield Offer(endpoint, body, endpoint.price(body))
