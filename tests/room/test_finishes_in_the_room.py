"""Drafts in the room: their finish is ordered with its price, bought once, and left to others by a person without the right to buy."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from browserkit import Browser
from playwright.sync_api import expect
from roomkit import A_FINISH, FakeShop, Studio

from resources.ledger.queue import withdraw
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts
from resources.ledger.takes import takes_of
from resources.room.server import RoomServer
from resources.series.review_rules import ReviewRules

pytestmark = pytest.mark.slow

PATIENCE_MS = 120_000


@pytest.fixture(autouse=True)
def _nothing_queued(studio: Studio) -> Iterator[None]:
    """Withdraw all purchases, so that the studio's next take is the oldest in the queue."""
    yield
    with studio.ledger.read() as connection:
        queued = list(
            connection.execute(sa.select(attempts.c.id).where(attempts.c.state == "queued")).scalars()
        )
    withdraw(studio.ledger, queued, why="the test is over")


def finishes(studio: Studio, clip: str) -> list[Attempt]:
    query = sa.select(attempts).where(attempts.c.subject_key == clip, attempts.c.finishes.is_not(None))
    with studio.ledger.read() as connection:
        return [Attempt.from_row(row) for row in connection.execute(query)]


def said(take: Attempt, **more: Any) -> dict[str, Any]:
    return {"id": uuid.uuid4().hex, "clip": take.clip, "take": take.id, "word": "circled", **more}


def test_a_circle_with_a_price_buys_one_finish(studio: Studio, server: RoomServer, shop: FakeShop) -> None:
    draft = studio.take("fin-one", series="fin", finish=A_FINISH)
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        offer = client.get(f"api/finish-offer?take={draft.id}").json()
        assert (offer["price"], offer["at_most_micros"]) == ("$2.00", 2_000_000)
        body = said(draft, finish_micros=2_000_000)
        first = client.post("api/verdicts", json=body).json()
        (finish,) = finishes(studio, "fin-one")
        assert first["ordered"] == {"finish": finish.id, "waits": None}
        way = {"text": "The finish waits for its turn", "finishes": draft.id, "price": "$2.00"}
        assert (first["clip"]["on_its_way"], first["clip"]["finish"]) == ([way], None)
        assert client.post("api/verdicts", json=body).json()["ordered"] is None, (
            "the same verdict, sent twice"
        )
        order = {"clip": "fin-one", "decision": offer["decision"], "at_most_micros": 2_000_000}
        assert client.post("api/finishes", json=order).status_code == 400
        assert len(finishes(studio, "fin-one")) == 1
        assert client.get("api/finish-offer?take=nobody").status_code == 403
        back = client.post("api/verdicts", json={**said(draft), "word": "taken_back"}).json()
        assert back["clip"]["on_its_way"] == [way], "a bought finish continues"
        assert finishes(studio, "fin-one")[0].state.value == "queued"


def test_a_circle_by_a_judge_leaves_the_finish_to_a_person_who_may_buy(
    studio: Studio, place: Path, shop: FakeShop
) -> None:
    draft = studio.take("fin-two", series="fin", finish=A_FINISH)
    rules = ReviewRules(people={"mara": "buy", "tom": "judge"})
    house = studio.house(place, shop=shop, rules=rules)
    with (
        RoomServer(house, user_header="X-Forwarded-User") as room,
        httpx.Client(base_url=room.url, trust_env=False) as client,
    ):
        tom, mara = ({"X-Forwarded-User": who} for who in ("tom", "mara"))
        assert client.get(f"api/finish-offer?take={draft.id}", headers=tom).status_code == 403
        # this also holds for a verdict with a price from a person who was allowed to buy before
        answer = client.post("api/verdicts", json=said(draft, finish_micros=2_000_000), headers=tom).json()
        assert (answer["ordered"], finishes(studio, "fin-two")) == (None, [])
        assert answer["clip"]["finish"] == {"ordered_by": None, "why": None, "ends_at": None}
        order = {"clip": "fin-two", "decision": f"finish:{draft.id}", "at_most_micros": 2_000_000}
        assert client.post("api/finishes", json=order, headers=tom).status_code == 403
        assert client.post("api/finishes", json=order, headers=mara).json()["waits"] is None
    (finish,) = finishes(studio, "fin-two")
    assert finish.quoted_micros == 2_000_000
    assert takes_of(studio.ledger, ["fin-two"])["fin-two"].takes[0].is_circled


def test_a_draft_is_circled_and_finished_with_keys(
    tab: Browser, server: RoomServer, studio: Studio, shop: FakeShop
) -> None:
    studio.take("keys-pier", series="keys", finish=A_FINISH)
    studio.take("keys-quay", series="keys", finish=A_FINISH)
    page = tab.page
    tab.open(f"{server.url}?series=keys")
    expect(page.locator("#clip-title")).to_be_visible(timeout=PATIENCE_MS)
    first = f"keys-{page.locator('#clip-title').inner_text()}"
    expect(page.locator(".take .part")).to_have_text("draft")
    page.keyboard.press("Enter")
    expect(page.locator("#finish-buy")).to_have_text("Buy for $2.00 b", timeout=PATIENCE_MS)
    expect(page.locator("#finish-caps")).to_contain_text("$20.00")
    page.keyboard.press("Escape")
    expect(page.locator("#finish-dialog")).to_be_hidden()
    assert finishes(studio, first) == []
    assert takes_of(studio.ledger, [first])[first].takes[0].verdict is None, "the circle was not given"
    page.keyboard.press("Enter")
    expect(page.locator("#finish-buy")).to_be_enabled(timeout=PATIENCE_MS)
    page.keyboard.press("b")
    expect(page.locator("#said")).to_contain_text("its finish is ordered", timeout=PATIENCE_MS)
    page.wait_for_function("() => localStorage.length === 0", timeout=PATIENCE_MS)
    assert len(finishes(studio, first)) == 1
    # the room has moved on to the other clip: it is circled alone, and its finish ordered afterwards
    expect(page.locator("#clip-title")).not_to_have_text(first.removeprefix("keys-"), timeout=PATIENCE_MS)
    second = f"keys-{page.locator('#clip-title').inner_text()}"
    page.keyboard.press("Enter")
    expect(page.locator("#finish-buy")).to_be_enabled(timeout=PATIENCE_MS)
    page.keyboard.press("c")
    page.wait_for_function("() => localStorage.length === 0", timeout=PATIENCE_MS)
    expect(page.locator("#clip-line")).to_contain_text("waits for somebody who may buy", timeout=PATIENCE_MS)
    assert finishes(studio, second) == []
    page.keyboard.press("Enter")
    expect(page.locator("#finish-title")).to_contain_text("Finish take 1")
    expect(page.locator("#finish-buy")).to_be_enabled(timeout=PATIENCE_MS)
    page.keyboard.press("b")
    expect(page.locator("#said")).to_have_text("The finish is on its way", timeout=PATIENCE_MS)
    assert len(finishes(studio, second)) == 1
    expect(page.locator(".on-its-way")).to_have_text("The finish waits for its turn", timeout=PATIENCE_MS)
    page.keyboard.press("u")
    expect(page.locator("#said")).to_contain_text("is bought for $2.00 and goes on", timeout=PATIENCE_MS)
    assert len(finishes(studio, second)) == 1
    assert tab.complaints == []
