"""A decision buys only the approved order of each clip, at no higher price; without an approval it buys what is declared."""

from dataclasses import replace
from typing import Any

import pytest
from ledgerkit import a_request, accepted, claimed, decided, queued

from resources.ledger.approvals import Approval, approve_clips
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.outcomes import record_outcome
from resources.ledger.states import AttemptState
from resources.orders import Choice, ClipRequest, Expected

DECISION = "produce:1"
FALLBACK = Choice(
    provider="wavespeed",
    endpoint="bytedance/seedance-2.0/text-to-video",
    body={"prompt": "a city at sunset", "duration": 5},
    price_micros=300_000,
    expected=Expected(),
)


def approve(ledger: Ledger, request: ClipRequest, at_most_micros: int | None = None) -> None:
    approval = Approval.of(request)
    if at_most_micros is not None:
        approval = replace(approval, at_most_micros=at_most_micros)
    approve_clips(ledger, DECISION, [approval])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": "a city at noon"}, "its request or account changed"),
        ({"account": "wavespeed-two"}, "its request or account changed"),
        ({"price_micros": 400_001}, "its price changed"),
        ({"max_attempts": 2}, "its price changed"),
        ({"fallbacks": (FALLBACK,)}, "its request or account, and its price changed"),
        (
            {"fallbacks": (FALLBACK.model_copy(update={"price_micros": None}),)},
            "its request or account changed",
        ),
        (
            {"endpoint": "openai/sora-2-pro/text-to-video", "price_micros": 100_000},
            "its request or account changed",
        ),
    ],
)
def test_another_order_or_a_higher_price_is_refused(
    ledger: Ledger, changes: dict[str, Any], said: str
) -> None:
    approve(ledger, a_request())
    refused = decided(ledger, a_request(**changes), decision=DECISION)
    assert (refused.ruling, refused.attempt) == (Ruling.REFUSED, None)
    assert said in (refused.reason or "")
    assert "for at most $0.40 was approved, request " in (refused.reason or "")
    assert "`dailies produce city-sunset` shows the price and asks again" in (refused.reason or "")
    assert ledger.latest(["city-sunset"]) == {}
    assert decided(ledger, a_request(**changes), decision="a tick").ruling is Ruling.NEW


@pytest.mark.parametrize(
    "changes", [{}, {"price_micros": 300_000}, {"account": "wavespeed"}, {"owner": "team:film"}]
)
def test_the_same_order_at_no_higher_price_is_bought(ledger: Ledger, changes: dict[str, Any]) -> None:
    approve(ledger, a_request())
    assert decided(ledger, a_request(**changes), decision=DECISION).ruling is Ruling.NEW


def test_the_account_of_a_fallback_is_approved_too(ledger: Ledger) -> None:
    elsewhere = FALLBACK.model_copy(update={"account": "wavespeed-two"})
    approve(ledger, a_request(fallbacks=(FALLBACK,)))
    assert decided(ledger, a_request(fallbacks=(elsewhere,)), decision=DECISION).ruling is Ruling.REFUSED
    assert decided(ledger, a_request(fallbacks=(FALLBACK,)), decision=DECISION).ruling is Ruling.NEW


def test_a_clip_that_the_plan_did_not_buy_is_not_bought(ledger: Ledger) -> None:
    approve(ledger, a_request(), 0)
    refused = decided(ledger, a_request(), decision=DECISION, regenerate=True)
    assert refused.ruling is Ruling.REFUSED
    assert "no purchase was approved" in (refused.reason or "")
    assert "`dailies retake city-sunset`" in (refused.reason or "")


def test_the_first_approval_counts(ledger: Ledger) -> None:
    approve(ledger, a_request())
    approve(ledger, a_request(price_micros=900_000))
    assert decided(ledger, a_request(price_micros=900_000), decision=DECISION).ruling is Ruling.REFUSED
    assert decided(ledger, a_request(), decision=DECISION).ruling is Ruling.NEW


def test_a_refused_edit_leaves_the_queued_purchase_alone(ledger: Ledger) -> None:
    approve(ledger, a_request())
    waiting = queued(ledger, decision=DECISION)
    assert decided(ledger, a_request(prompt="noon"), decision=DECISION).ruling is Ruling.REFUSED
    assert ledger.latest(["city-sunset"])["city-sunset"].state is AttemptState.QUEUED
    again = decided(ledger, decision=DECISION)
    assert (again.ruling, again.attempt and again.attempt.id) == (Ruling.ADOPTED, waiting.id)
    assert decided(ledger, a_request(prompt="noon"), decision="a tick").ruling is Ruling.NEW, (
        "the queued one is replaced"
    )


def test_an_open_purchase_is_adopted_under_any_approval(ledger: Ledger) -> None:
    queued(ledger, decision="earlier")
    record_outcome(ledger, claimed(ledger), accepted("job-1"))
    approve(ledger, a_request(), 0)
    assert decided(ledger, decision=DECISION).ruling is Ruling.ADOPTED


@pytest.mark.slow
def test_thousands_of_clips_are_approved_at_once(ledger: Ledger) -> None:
    requests = [a_request(f"city-{number}") for number in range(3_000)]
    approve_clips(ledger, DECISION, map(Approval.of, requests))
    last = requests[-1].model_copy(update={"price_micros": 900_000})
    rulings = decide(ledger, [requests[0], last], Decision(DECISION))
    assert [ruling.ruling for ruling in rulings] == [Ruling.NEW, Ruling.REFUSED]
