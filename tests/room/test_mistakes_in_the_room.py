"""Mistakes of people and machines in the room: the page says what happened and what to do."""

from pathlib import Path

import pytest
from browserkit import Browser
from playwright.sync_api import Page, Route, ViewportSize, expect
from roomkit import FakeShop, Studio

from resources.ledger.verdicts import verdicts_of
from resources.room.server import RoomServer
from resources.series.review_rules import ReviewRules

pytestmark = pytest.mark.slow

PATIENCE_MS = 120_000
PHONE: ViewportSize = {"width": 390, "height": 844}
DESK: ViewportSize = {"width": 1440, "height": 900}


def title(page: Page, name: str) -> None:
    expect(page.locator("#clip-title")).to_have_text(name, timeout=PATIENCE_MS)


def said(page: Page, words: str) -> None:
    expect(page.locator("#said")).to_contain_text(words, timeout=PATIENCE_MS)


def test_the_message_for_a_person_without_a_right_says_who_can_give_it(
    tab: Browser, studio: Studio, place: Path, shop: FakeShop
) -> None:
    studio.take("right-gull", series="right")
    rules = ReviewRules(people={"eve": "look", "tom": "judge"})
    page = tab.page
    with RoomServer(studio.house(place, shop=shop, rules=rules), user_header="X-Forwarded-User") as room:
        try:
            for who, keys, missing in (("eve", ("Enter", "x", "n"), "judge"), ("tom", ("r", "e"), "buy")):
                page.set_extra_http_headers({"X-Forwarded-User": who})
                page.set_viewport_size(PHONE if who == "eve" else DESK)
                for key in keys:
                    tab.open(f"{room.url}?series=right")
                    title(page, "gull")
                    page.keyboard.press(key)
                    said(page, f"Whoever keeps data/review.yaml can let you {missing}")
                assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        finally:
            page.set_extra_http_headers({})
            page.set_viewport_size(DESK)
    assert verdicts_of(studio.ledger, ["right-gull"]) == {}


def test_a_clip_and_a_video_that_are_gone_are_named(tab: Browser, server: RoomServer, studio: Studio) -> None:
    take = studio.take("gone-tern", series="gone")
    studio.store.discard(f"videos/gone-tern/{take.id}.mp4")
    page = tab.page
    tab.open(f"{server.url}?series=gone&clip=gone-nowhere")
    title(page, "tern")
    said(page, "gone-nowhere has no take to show, so another clip may be open")
    expect(page.locator(".broken")).to_contain_text("its file is not in the bucket", timeout=PATIENCE_MS)


def test_a_page_without_a_connection_says_so(tab: Browser, server: RoomServer, studio: Studio) -> None:
    studio.take("off-rail", series="off")
    page = tab.page
    tab.open(f"{server.url}?series=off")
    title(page, "rail")
    expect(page.locator("#outbox")).to_be_hidden()
    page.context.set_offline(True)
    try:
        expect(page.locator("#outbox")).to_have_text("No connection", timeout=PATIENCE_MS)
    finally:
        page.context.set_offline(False)
    expect(page.locator("#outbox")).to_be_hidden(timeout=PATIENCE_MS)


def test_a_retake_beyond_a_cap_cannot_be_bought(
    tab: Browser, server: RoomServer, studio: Studio, shop: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.take("cap-knot", series="cap")
    why = "the cap of everything day allows $20.00; $19.80 are spent, and this take costs $0.40"
    offer = shop.offer("cap-knot") | {"refusal": why}
    monkeypatch.setattr(shop, "offer", lambda _clip: offer)
    page = tab.page
    tab.open(f"{server.url}?series=cap")
    title(page, "knot")
    page.keyboard.press("r")
    expect(page.locator("#retake-price")).to_have_text(why, timeout=PATIENCE_MS)
    expect(page.locator("#retake-buy")).to_be_disabled()
    page.keyboard.press("b")
    page.keyboard.press("Escape")
    assert "cap-knot" not in shop.bought.values()


def test_empty_long_and_strange_texts_are_handled_as_meant(
    tab: Browser, server: RoomServer, studio: Studio
) -> None:
    for film in range(2):
        studio.take("words-wren", series="words", film=film)
    page = tab.page
    tab.open(f"{server.url}?series=words&clip=words-wren")
    title(page, "wren")
    page.keyboard.press("n")
    page.locator("#note-text").fill("   ")
    page.keyboard.press("Enter")
    said(page, "Nothing was written, so no note is kept")
    page.keyboard.press("1")
    page.keyboard.press("x")
    page.locator("#reject-note").click()
    page.keyboard.press("Enter")
    said(page, "Take 1 of wren is rejected without a reason")
    page.keyboard.press("2")
    page.keyboard.press("x")
    page.locator("#reject-note").fill("<b>bad</b>" * 500)
    page.locator("#reject-note").press("Enter")
    page.wait_for_function("() => localStorage.length === 0", timeout=PATIENCE_MS)
    first, second = verdicts_of(studio.ledger, ["words-wren"])["words-wren"]
    assert (first.verdict.reasons, first.verdict.note) == ((), "")
    assert second.verdict.note == "<b>bad</b>" * 200
    expect(page.locator(".notes")).to_contain_text("<b>bad</b>", timeout=PATIENCE_MS)
    assert tab.complaints == []


def test_an_outdated_page_asks_for_a_reload(tab: Browser, server: RoomServer, studio: Studio) -> None:
    studio.take("old-auk", series="old")
    page = tab.page
    changes: dict[str, object] = {}

    def older(route: Route) -> None:
        route.continue_(post_data={**(route.request.post_data_json or {}), **changes})

    page.route("**/api/verdicts", older)
    for change, words in (
        ({"loved": 1}, "If the room was updated meanwhile, reload the page and say it again"),
        ({"take": "of-another-ledger"}, "not in the room's ledger"),
    ):
        changes.clear()
        changes.update(change)
        tab.open(f"{server.url}?series=old")
        title(page, "auk")
        page.keyboard.press("Enter")
        said(page, words)
    page.unroute_all()
    assert verdicts_of(studio.ledger, ["old-auk"]) == {}
