"""The room buys a retake once, at the displayed price."""

from dataclasses import replace
from pathlib import Path

import pytest
from projects import a_project

from pipelines.cli import retakes
from pipelines.cli.declared import declarations_of
from pipelines.cli.launch import Launch, Launched
from pipelines.cli.room import RetakeShop, guard_of
from resources.errors import ConfigurationError, UnavailableError
from resources.guard import GuardedRequest
from resources.ledger.approvals import Approval, approve_clips
from resources.ledger.decisions import Decision, decide
from resources.settings import load_settings, open_ledger

CLIP = "bay-dawn"


@pytest.fixture
def bought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The decisions that reached Dagster."""
    a_project(tmp_path, monkeypatch, ["dawn"])
    asked: list[str] = []

    def launch(_settings: object, _api: object, approvals: list[Approval], how: Launch) -> Launched:
        decision = how.decision or ""
        with open_ledger(load_settings()) as ledger:
            approve_clips(ledger, decision, approvals)
            if not asked:
                asked.append("Dagster is away")
                raise UnavailableError("Dagster is away")
            declarations = declarations_of(load_settings())
            request = declarations.render(declarations.find(CLIP))
            decide(ledger, [request], Decision(decision, regenerate=True))
        asked.append(decision)
        return Launched(decision, [CLIP], ["run-1"])

    monkeypatch.setattr(retakes, "launch", launch)
    return asked


def test_a_request_that_is_sent_again_is_the_same_decision(bought: list[str]) -> None:
    shop = RetakeShop(load_settings)
    offer = shop.offer(CLIP)
    shown = Approval(CLIP, offer["order_fingerprint"], offer["at_most_micros"])
    for other in (
        replace(shown, at_most_micros=shown.at_most_micros - 1),
        replace(shown, order_fingerprint="0" * 64),
    ):
        with pytest.raises(
            ConfigurationError, match=r"its (price|request or account) changed after the approval.*Ask again"
        ):
            shop.buy(other, request="one-request")
    assert bought == []
    with pytest.raises(UnavailableError):
        shop.buy(shown, request="one-request")
    decision = shop.buy(shown, request="one-request")
    assert shop.buy(shown, request="one-request") == decision == "retake:one-request"
    assert bought == ["Dagster is away", decision], (
        "requested again while nothing was bought, and never after"
    )


def test_without_a_user_header_requests_by_other_hosts_and_users_are_refused(
    bought: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_ALLOWED_HOSTS", "dailies.example.com")
    monkeypatch.setenv("DAILIES_ALLOWED_USERS", "nobody")
    proxied = GuardedRequest("GET", "/api/clips", "", 8080, (("host", "dailies.example.com"),))
    others = replace(proxied, headers=(("host", "127.0.0.1:8080"),), user=65_534)
    for asked in (proxied, others):
        assert guard_of(load_settings()).refusal(asked) is not None, (
            "it would buy as the user of the room's process"
        )
    monkeypatch.setenv("DAILIES_ROOM_USER_HEADER", "X-Forwarded-User")
    assert guard_of(load_settings()).refusal(proxied) is None
