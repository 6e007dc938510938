"""The room buys a retake once, at the price that was shown."""

from dataclasses import replace
from pathlib import Path

import pytest
from projects import a_project

from pipelines.cli import retakes
from pipelines.cli.launch import Launched
from pipelines.cli.room import RetakeShop, guard_of
from resources.errors import ConfigurationError, UnavailableError
from resources.guard import GuardedRequest
from resources.ledger.decision_clips import fix_clips
from resources.ledger.decisions import Decision, decide
from resources.orders import ClipRequest, Expected
from resources.settings import load_settings, open_ledger

CLIP = "bay-dawn"


@pytest.fixture
def bought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The decisions that reached Dagster."""
    a_project(tmp_path, monkeypatch, ["dawn"])
    asked: list[str] = []

    def launch(
        _settings: object, _api: object, keys: list[str], *, decision: str, **_how: object
    ) -> Launched:
        with open_ledger(load_settings()) as ledger:
            fix_clips(ledger, decision, keys)
            if not asked:
                asked.append("Dagster is away")
                raise UnavailableError("Dagster is away")
            request = ClipRequest(
                clip=CLIP,
                series="bay",
                provider="wavespeed",
                endpoint="bytedance/seedance-2.0/text-to-video",
                body={"prompt": "x"},
                price_micros=400_000,
                expected=Expected(),
            )
            decide(ledger, [request], Decision(decision, regenerate=True))
        asked.append(decision)
        return Launched(decision, list(keys), ["run-1"])

    monkeypatch.setattr(retakes, "launch", launch)
    return asked


def test_a_request_that_is_sent_again_is_the_same_decision(bought: list[str]) -> None:
    shop = RetakeShop(load_settings())
    price = shop.offer(CLIP)["at_most_micros"]
    with pytest.raises(ConfigurationError, match="the price has changed to"):
        shop.buy(CLIP, request="one-request", at_most_micros=price - 1)
    assert bought == []
    with pytest.raises(UnavailableError):
        shop.buy(CLIP, request="one-request", at_most_micros=price)
    decision = shop.buy(CLIP, request="one-request", at_most_micros=price)
    assert shop.buy(CLIP, request="one-request", at_most_micros=price) == decision == "retake:one-request"
    assert bought == ["Dagster is away", decision], "asked again while nothing was bought, and never after"


def test_without_a_header_nobody_comes_in_through_what_dagster_allows(
    bought: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_ALLOWED_HOSTS", "dailies.example.com")
    monkeypatch.setenv("DAILIES_ALLOWED_USERS", "nobody")
    proxied = GuardedRequest("GET", "/api/clips", "", 8080, (("host", "dailies.example.com"),))
    others = replace(proxied, headers=(("host", "127.0.0.1:8080"),), user=65_534)
    for asked in (proxied, others):
        assert guard_of(load_settings()).refusal(asked) is not None, (
            "it would buy as the user who runs the room"
        )
    monkeypatch.setenv("DAILIES_ROOM_USER_HEADER", "X-Forwarded-User")
    assert guard_of(load_settings()).refusal(proxied) is None
