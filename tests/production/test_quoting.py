"""A price that no page names is requested before the decision; without a price nothing is bought."""

from typing import Any

import pytest
from providerkit import BareProvider

from resources.errors import ConfigurationError, UnavailableError
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.orders import Choice, ClipRequest, Expected
from resources.production.quotes import quoted

SEEDANCE = "bytedance/seedance-2-0"

pytestmark = pytest.mark.usefixtures("no_pauses")


class Shop(BareProvider):
    """A provider that returns given quotes."""

    def __init__(self, *answers: int | Exception | None) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def quote(self, endpoint: str, body: dict[str, Any]) -> int | None:
        self.asked.append((endpoint, body))
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


def request(clip: str, price: int | None = None, **changes: Any) -> ClipRequest:
    values: dict[str, Any] = {
        "clip": clip,
        "series": "city",
        "provider": "aimlapi",
        "endpoint": SEEDANCE,
        "body": {"prompt": clip, "duration": 4},
        "price_micros": price,
        "expected": Expected(),
    }
    return ClipRequest(**(values | changes))


async def prices(shop: Shop, *requests: ClipRequest) -> list[int | None]:
    return [r.price_micros for r in await quoted(requests, {"aimlapi": shop})]


async def test_requests_that_differ_only_in_their_prompt_are_quoted_once() -> None:
    shop = Shop(960_000)
    longer = request("long-one", body={"prompt": "x", "duration": 8})
    assert await prices(shop, *(request(f"clip-{n}") for n in range(50)), longer) == [960_000] * 51
    assert [body["duration"] for _, body in shop.asked] == [4, 8]


async def test_only_unknown_prices_are_requested_also_for_fallbacks() -> None:
    shop = Shop(500_000)
    choice = Choice(
        provider="aimlapi", endpoint=SEEDANCE, body={"prompt": "x"}, price_micros=None, expected=Expected()
    )
    known = request("clip-one", 100, fallbacks=(choice, choice.model_copy(update={"price_micros": 7})))
    (priced,) = await quoted([known], {"aimlapi": shop})
    assert priced.price_micros == 100
    assert [fallback.price_micros for fallback in priced.fallbacks] == [500_000, 7]
    assert len(shop.asked) == 1


async def test_an_unanswered_quote_request_is_repeated() -> None:
    shop = Shop(UnavailableError("busy"), UnavailableError("busy"), UnavailableError("busy"), 960_000)
    assert await prices(shop, request("clip-one")) == [960_000]


@pytest.mark.parametrize("answer", [None, 0, UnavailableError("down")])
async def test_without_a_quote_the_price_stays_unknown(answer: Any) -> None:
    assert await prices(Shop(answer), request("clip-one"), request("clip-two", provider="wavespeed")) == [
        None,
        None,
    ]


async def test_a_refused_key_is_an_error_at_once() -> None:
    shop = Shop(ConfigurationError("the key is refused"))
    with pytest.raises(ConfigurationError):
        await prices(shop, request("clip-one"))
    assert len(shop.asked) == 1


async def test_a_clip_is_bought_at_its_quote_and_not_at_all_without_one(ledger_url: str) -> None:
    with Ledger(ledger_url, budget=Budget()) as ledger:
        wanted = [*await quoted([request("quoted-one")], {"aimlapi": Shop(960_000)}), request("unquoted")]
        bought, refused = decide(ledger, wanted, Decision("monday"))
        assert bought.ruling is Ruling.NEW
        assert bought.attempt is not None
        assert bought.attempt.quoted_micros == 960_000
        assert refused.ruling is Ruling.REFUSED
        assert "unknown" in str(refused.reason)


async def test_each_account_quotes_its_own_price() -> None:
    cheap, dear = Shop(100_000), Shop(900_000)
    mine, theirs = request("clip-one"), request("clip-two", account="aimlapi-team")
    priced = await quoted([mine, theirs], {"aimlapi": cheap, "aimlapi-team": dear})
    assert [one.price_micros for one in priced] == [100_000, 900_000]
