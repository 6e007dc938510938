"""Edited words of a clip, from the room: previewed, kept, bought once, and another person's words are never replaced unseen."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browserkit import Browser
from playwright.sync_api import Page, Route, expect
from projects import ROOT
from roomkit import FakeShop, Studio, an_editor

from resources.catalogue import Catalogue
from resources.room.server import RoomServer
from resources.series import Declarations, load_series
from resources.series.prompt_editor import PromptEditor
from resources.series.review_rules import ReviewRules

pytestmark = pytest.mark.slow

PATIENCE_MS = 120_000
SERIES = """\
prompt: {subject: A tram in Lisbon., camera: Handheld from the pavement., avoid: [signs, logos]}
clips: [{name: hill}, {name: quay}, {name: lane}, {name: square}]
"""
PLAIN = "prompt: A quiet view of {{ clip }}.\nclips: [{name: dawn}]\n"


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> PromptEditor:
    return an_editor(tmp_path_factory.mktemp("words"), tram=SERIES, plain=PLAIN)


@pytest.fixture(scope="module")
def server(studio: Studio, place: Path, shop: FakeShop, editor: PromptEditor) -> Iterator[RoomServer]:
    with RoomServer(studio.house(place, shop=shop, editor=editor)) as running:
        yield running


def open_words(tab: Browser, server: RoomServer, clip: str) -> Page:
    page = tab.page
    tab.open(f"{server.url}?show=all&q={clip}")
    expect(page.locator("#clip-title")).to_have_text(clip.partition("-")[2], timeout=PATIENCE_MS)
    page.keyboard.press("e")
    expect(page.locator("#words-parts textarea").first).to_be_visible(timeout=PATIENCE_MS)
    return page


def test_a_retake_with_edited_words_is_previewed_priced_and_bought_once(
    tab: Browser, server: RoomServer, studio: Studio, shop: FakeShop, editor: PromptEditor
) -> None:
    studio.take(
        "tram-hill",
        series="tram",
        prompt="A tram in Lisbon.\nCamera: Handheld from the pavement.\nAvoid: signs, logos",
    )
    shop.bought.clear()
    page = open_words(tab, server, "tram-hill")
    expect(page.get_by_label("Camera")).to_have_value("Handheld from the pavement.")
    expect(page.locator("#words-keep")).to_be_disabled()
    page.get_by_label("Camera").fill("Handheld from the roof.")
    expect(page.locator("#words-prompt ins")).to_have_text("roof.", timeout=PATIENCE_MS)
    expect(page.locator("#words-prompt del")).to_have_text("pavement.")
    expect(page.locator("#words-price")).to_contain_text("$1.20")
    page.get_by_label("Camera").fill("From {{ nowhere }}.")
    expect(page.locator("#words-problem")).to_contain_text("found 'nowhere'", timeout=PATIENCE_MS)
    expect(page.locator("#words-keep")).to_be_disabled()
    expect(page.locator("#words-retake")).to_be_disabled()
    page.get_by_label("Camera").fill("Handheld from the roof.")
    page.keyboard.press("Escape")
    expect(page.locator("#words-dialog")).to_be_hidden(timeout=PATIENCE_MS)
    assert editor.look("tram-hill").edit is None
    page.keyboard.press("e")
    expect(page.get_by_label("Camera")).to_have_value("Handheld from the roof.", timeout=PATIENCE_MS)
    expect(page.locator("#words-retake")).to_be_enabled(timeout=PATIENCE_MS)
    page.get_by_role("button", name="Keep and retake").click()
    expect(page.locator("#retake-buy")).to_have_text("Buy for $0.40 b", timeout=PATIENCE_MS)
    assert shop.bought == {}
    found = editor.look("tram-hill")
    assert found.edit is not None
    assert found.edit.fields == ("camera",)
    page.keyboard.press("b")
    expect(page.locator("#retake-dialog")).to_be_hidden(timeout=PATIENCE_MS)
    assert list(shop.bought.values()) == ["tram-hill"]
    page.get_by_role("button", name="Words").click()
    expect(page.locator("#words-edited")).to_contain_text("camera by", timeout=PATIENCE_MS)
    page.locator("#words-dialog .cancel").click()
    expect(page.locator("#words-dialog")).to_be_hidden(timeout=PATIENCE_MS)
    page.keyboard.press("Enter")
    expect(page.locator(".take.circled")).to_have_count(1, timeout=PATIENCE_MS)
    page.keyboard.press("e")
    expect(page.locator("#words-edited")).to_contain_text(
        "Other words than its series: camera by", timeout=PATIENCE_MS
    )
    expect(page.locator("#words-parts small")).to_have_text("Its series says: Handheld from the pavement.")
    page.get_by_role("button", name="Its series' words").click()
    expect(page.locator("#said")).to_contain_text("its series' words again", timeout=PATIENCE_MS)
    assert editor.look("tram-hill").edit is None
    assert [said for said in tab.complaints if "400" not in said] == [], (
        "the refused preview is the expected answer 400"
    )


def test_a_later_editor_sees_the_earlier_words_before_replacing_them(
    tab: Browser, server: RoomServer, studio: Studio, editor: PromptEditor
) -> None:
    studio.take("plain-dawn", series="plain")
    page = open_words(tab, server, "plain-dawn")
    editor.keep("plain-dawn", "Mist over {{ clip }}.", who="tom", seen=None)
    page.get_by_label("Prompt").fill("Rain.")
    expect(page.locator("#words-keep")).to_be_enabled(timeout=PATIENCE_MS)
    page.locator("#words-keep").click()
    told = page.locator("#words-edited")
    expect(told).to_contain_text("tom gave it other words on", timeout=PATIENCE_MS)
    expect(told).to_contain_text("Prompt: Mist over dawn.")
    assert editor.look("plain-dawn").words == "Mist over dawn."
    expect(page.get_by_label("Prompt")).to_have_value("Rain.")
    expect(page.locator("#words-keep")).to_be_enabled(timeout=PATIENCE_MS)
    page.locator("#words-keep").click()
    expect(page.locator("#words-dialog")).to_be_hidden(timeout=PATIENCE_MS)
    assert editor.look("plain-dawn").words == "Rain."


def test_the_answer_of_a_click_right_after_a_key_is_shown(
    tab: Browser, server: RoomServer, studio: Studio, editor: PromptEditor
) -> None:
    """The preview of that key's words, half a second later, hid an answer that took longer."""
    studio.take("plain-dawn", series="plain")
    page = open_words(tab, server, "plain-dawn")
    editor.keep("plain-dawn", "Fog over {{ clip }}.", who="tom", seen=None)

    def hold(route: Route) -> None:
        page.wait_for_timeout(600)
        route.continue_()

    page.route(lambda url: url.endswith("/api/words"), hold)
    # a preview that was under way had enabled the button
    page.evaluate(
        """() => {
            const area = document.querySelector("#words-parts textarea");
            area.value = "Snow.";
            area.dispatchEvent(new Event("input", { bubbles: true }));
            document.querySelector("#words-keep").disabled = false;
            document.querySelector("#words-keep").click();
        }"""
    )
    expect(page.locator("#words-edited")).to_contain_text("tom gave it other words on", timeout=PATIENCE_MS)
    expect(page.get_by_label("Prompt")).to_have_value("Snow.")
    page.unroute_all(behavior="wait")


def test_a_series_that_changed_meanwhile_is_shown(
    tab: Browser, server: RoomServer, studio: Studio, editor: PromptEditor, tmp_path: Path
) -> None:
    studio.take("coast-pier", series="coast")
    own = an_editor(tmp_path, coast="prompt: A calm pier.\nclips: [{name: pier}]\n")
    own.keep("coast-pier", "A loud pier.", who="mara", seen=None)
    file = tmp_path / "data" / "series" / "coast.yaml"
    file.write_text(file.read_text().replace("calm", "grey"))
    with RoomServer(studio.house(tmp_path, editor=own)) as room:
        page = open_words(tab, room, "coast-pier")
        expect(page.locator("#words-overtaken")).to_contain_text(
            "The series has changed what these words replaced"
        )
        expect(page.locator("#words-overtaken del")).to_have_text("calm")
        expect(page.locator("#words-overtaken ins")).to_have_text("grey")
        page.goto(server.url)


def test_a_clip_that_is_not_made_yet_is_made_from_the_room(
    tab: Browser, server: RoomServer, studio: Studio, tmp_path: Path, shop: FakeShop
) -> None:
    shop.bought.clear()
    own = an_editor(tmp_path, fjord="prompt: A {{ clip }} fjord.\nclips: [{name: still}, {name: wild}]\n")
    models = Catalogue.load(ROOT / "data" / "models")

    def declared() -> Declarations:
        return load_series(tmp_path / "data", models)

    with RoomServer(studio.house(tmp_path, shop=shop, editor=own, declared=declared)) as room:
        page = tab.page
        tab.open(f"{room.url}?show=unmade")
        expect(page.locator("#clip-title")).to_have_text("still", timeout=PATIENCE_MS)
        expect(page.locator("#stage")).to_contain_text("Not made yet")
        expect(page.locator("#circle")).to_be_disabled()
        page.keyboard.press("Enter")
        page.keyboard.press("x")
        expect(page.locator("#reject-dialog")).to_be_hidden()
        expect(page.locator("#count")).to_be_empty()
        page.keyboard.press("e")
        expect(page.get_by_label("Prompt")).to_be_focused(timeout=PATIENCE_MS)
        expect(page.locator("#words-retake")).to_have_text("Make", timeout=PATIENCE_MS)
        page.get_by_label("Prompt").fill("A still fjord in rain")
        expect(page.locator("#words-retake")).to_have_text("Keep and make", timeout=PATIENCE_MS)
        page.locator("#words-dialog .cancel").click()
        page.get_by_role("button", name="Make").click()
        expect(page.locator("#retake-title")).to_have_text("A take of still")
        expect(page.locator("#retake-buy")).to_be_enabled(timeout=PATIENCE_MS)
        page.keyboard.press("b")
        expect(page.locator("#said")).to_have_text("A take is on its way", timeout=PATIENCE_MS)
        assert list(shop.bought.values()) == ["fjord-still"]
        expect(page.locator(".on-its-way")).to_contain_text("A take is asked for")
        studio.take("fjord-still", series="fjord")
        expect(page.locator(".take")).to_have_count(1, timeout=PATIENCE_MS)
        expect(page.locator("#retake span")).to_have_text("Retake")
        page.reload()
        expect(page.locator("#clip-title")).to_have_text("still", timeout=PATIENCE_MS)
        expect(page.locator("#clip-line")).to_contain_text("The filter hides this clip")
        expect(page.locator("#clips button")).to_have_count(2)
        # a page that outlives its room logs errors
        page.goto(server.url)


def test_a_person_who_may_not_buy_changes_no_words(studio: Studio, place: Path, editor: PromptEditor) -> None:
    rules = ReviewRules(people={"mara": "buy", "tom": "judge"})
    house = studio.house(place, rules=rules, editor=editor)
    asked: dict[str, Any] = {"clip": "tram-quay", "words": {"camera": "Locked off."}, "seen": None}
    with (
        RoomServer(house, user_header="X-Forwarded-User") as room,
        httpx.Client(base_url=room.url, trust_env=False, timeout=60) as client,
    ):
        tom, mara = ({"X-Forwarded-User": who} for who in ("tom", "mara"))
        for path in ("api/words", "api/words/preview"):
            assert client.post(path, json=asked, headers=tom).status_code == 403
            assert client.post(path, json=asked).status_code == 403, "no user is named"
        assert client.get("api/words?clip=tram-quay", headers=tom).status_code == 403
        assert editor.look("tram-quay").edit is None
        kept = client.post("api/words", json=asked, headers=mara)
        assert kept.status_code == 200, kept.text
        assert "camera by mara" in kept.json()["edited"]
        stale = client.post("api/words", json=asked | {"words": None, "seen": "0.0"}, headers=mara)
        assert (stale.status_code, "mara gave it other words" in stale.json()["problem"]) == (409, True)
    found = editor.look("tram-quay")
    assert found.edit is not None
    assert found.edit.by == "mara"


@pytest.mark.parametrize(
    "wrong",
    [
        {"words": {"camera": 5}},
        {"words": {"camra": "Fog."}},
        {"words": {str(n): "x" for n in range(9)}},
        {"words": "x" * 20_001},
        {"words": {"camera": "A \u0007 bell."}},
        {"words": {"camera": "{{ 1 / 0 }}"}},
        {"words": dict.fromkeys(["subject", "camera", "avoid"], "")},
        {"clip": "tram-nowhere"},
        {"clip": "../../etc/passwd"},
        {"who": "mara"},
    ],
)
def test_words_that_cannot_be_sent_are_refused_and_not_kept(
    server: RoomServer, editor: PromptEditor, shop: FakeShop, wrong: dict[str, Any]
) -> None:
    bought = dict(shop.bought)
    asked = {"clip": "tram-lane", "words": {"camera": "Fog."}, "seen": None} | wrong
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        for path in ("api/words/preview", "api/words"):
            answer = client.post(path, json=asked)
            assert (answer.status_code, bool(answer.json()["problem"])) == (400, True), answer.text
        foreign = client.post("api/words", json=asked, headers={"Origin": "http://127.0.0.1:9"})
        assert foreign.status_code == 403
    assert editor.look("tram-lane").edit is None
    assert shop.bought == bought


def test_a_room_without_a_data_folder_changes_no_words(studio: Studio, place: Path) -> None:
    with RoomServer(studio.house(place)) as room, httpx.Client(base_url=room.url, trust_env=False) as client:
        assert client.get("api/clips").json()["edits"] is False
        asked = {"clip": "tram-lane", "words": uuid.uuid4().hex, "seen": None}
        assert client.post("api/words", json=asked).status_code == 403
