"""The room in a real browser: clips are judged with the keyboard alone, two people see each other's verdicts, and no verdict is lost."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from browserkit import Browser
from playwright.sync_api import Page, Route, expect
from projects import a_project
from roomkit import FakeShop, Studio, films
from verdictkit import a_verdict

from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.takes import ClipTakes, takes_of
from resources.ledger.verdicts import Word, judge, unstored, verdicts_of
from resources.production.bucket_mark import bind_bucket
from resources.room.server import RoomServer
from resources.series.review_rules import ReviewRules
from resources.storage.embedded import EmbeddedS3
from resources.storage.objects import ObjectStore

pytestmark = pytest.mark.slow

PATIENCE_MS = 120_000
PLAYS = (
    "() => [...document.querySelectorAll('.take video')].every(v => v.readyState >= 2 && v.currentTime > 0)"
)


def until(happens: Callable[[], object], *, seconds: float = 120) -> None:
    give_up = time.monotonic() + seconds
    while not happens():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def clip_of(studio: Studio, clip: str) -> ClipTakes:
    return takes_of(studio.ledger, [clip])[clip]


def title(page: Page, name: str) -> None:
    expect(page.locator("#clip-title")).to_have_text(name, timeout=PATIENCE_MS)


def all_sent(page: Page) -> None:
    page.wait_for_function("() => localStorage.length === 0", timeout=PATIENCE_MS)


def test_clips_are_judged_with_the_keyboard_alone(tab: Browser, server: RoomServer, studio: Studio) -> None:
    for name in ("pier", "quay"):
        for film in range(3):
            studio.take(f"keys-{name}", series="keys", film=film, prompt=f"{name} number {film}")
    page = tab.page
    tab.open(f"{server.url}?series=keys")
    title(page, "quay")
    page.wait_for_function(PLAYS, timeout=PATIENCE_MS)
    page.keyboard.press("Space")
    page.wait_for_function("() => [...document.querySelectorAll('.take video')].every(v => v.paused)")
    assert page.evaluate("() => [...document.querySelectorAll('video')].every(v => v.muted)")
    page.keyboard.press("1")
    page.keyboard.press("x")
    page.keyboard.press("m")
    page.keyboard.press("3")
    page.keyboard.press("n")
    page.locator("#note-text").fill("0:01 a hand in the corner")
    page.keyboard.press("Enter")
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    title(page, "pier")
    all_sent(page)
    quay = clip_of(studio, "keys-quay")
    assert quay.takes[0].verdict is not None
    assert quay.takes[0].verdict.verdict.reasons == ("motion",)
    assert quay.takes[1].is_circled
    assert quay.takes[1].is_current
    (noted,) = quay.takes[2].notes
    assert (noted.verdict.note, noted.verdict.second) == ("a hand in the corner", 1)
    page.keyboard.press("u")
    title(page, "quay")
    all_sent(page)
    assert clip_of(studio, "keys-quay").takes[1].verdict is None
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    all_sent(page)
    assert clip_of(studio, "keys-quay").takes[2].is_circled
    page.keyboard.press("Shift+?")
    expect(page.locator("#help-dialog")).to_be_visible()
    page.keyboard.press("Escape")
    assert tab.complaints == []


def test_every_key_is_a_button_on_a_narrow_screen_too(
    tab: Browser, server: RoomServer, studio: Studio
) -> None:
    studio.take("thumb-dune", series="thumb", film=0)
    studio.take("thumb-dune", series="thumb", film=1)
    page = tab.page
    page.set_viewport_size({"width": 390, "height": 844})
    try:
        tab.open(f"{server.url}?series=thumb")
        title(page, "dune")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        # hidden overflow scrolls too, when a script moves a filter into view
        page.locator("#mine").focus()
        assert page.evaluate("() => window.scrollX") == 0
        for name in ("Circle", "Reject", "Note", "Retake", "Undo"):
            box = page.locator("#actions").get_by_role("button", name=name).bounding_box()
            assert box is not None
            assert box["height"] >= 44
            assert box["x"] + box["width"] <= 390
        page.get_by_role("button", name="Take 2").click()
        page.get_by_role("button", name="Reject").first.click()
        page.get_by_role("button", name="Hands or bodies").click()
        page.get_by_role("button", name="Take 1").click()
        page.locator("#actions").get_by_role("button", name="Circle").click()
        all_sent(page)
        dune = clip_of(studio, "thumb-dune")
        assert dune.takes[0].is_circled
        assert dune.takes[1].is_rejected
    finally:
        page.set_viewport_size({"width": 1440, "height": 900})
    assert tab.complaints == []


def test_a_clip_opens_at_its_title_when_its_takes_are_taller_than_the_screen(
    tab: Browser, server: RoomServer, studio: Studio
) -> None:
    studio.take("tall-dune", series="tall", film=0)
    page = tab.page
    page.set_viewport_size({"width": 390, "height": 500})
    try:
        tab.open(f"{server.url}?series=tall")
        title(page, "dune")
        expect(page.locator("#stage .chosen")).to_be_visible(timeout=PATIENCE_MS)
        assert page.evaluate("() => document.getElementById('main').scrollTop") == 0
    finally:
        page.set_viewport_size({"width": 1440, "height": 900})


def test_text_from_outside_is_shown_and_never_executed(
    tab: Browser, server: RoomServer, studio: Studio
) -> None:
    nasty = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
    take = studio.take("nasty-cave", series="nasty", prompt=nasty)
    judge(studio.ledger, a_verdict(take, Word.NOTED, who=nasty[:60], note=nasty))
    tab.open(f"{server.url}?series=nasty")
    title(tab.page, "cave")
    expect(tab.page.locator("#about .prompt")).to_have_text(nasty)
    expect(tab.page.locator(".notes")).to_contain_text(nasty)
    assert tab.page.title() == "The room - dailies"
    assert tab.complaints == []


def test_two_people_see_each_others_verdicts_and_the_later_one_gets_a_message(
    tab: Browser, server: RoomServer, studio: Studio
) -> None:
    first, second = (
        studio.take("two-cove", series="two", film=0),
        studio.take("two-cove", series="two", film=1),
    )
    page = tab.page
    tab.open(f"{server.url}?series=two")
    title(page, "cove")
    judge(studio.ledger, a_verdict(first, who="tom"))
    expect(page.locator("#said")).to_have_text("tom circled take 1 of this clip", timeout=PATIENCE_MS)
    expect(page.locator(".take.circled")).to_have_attribute("data-take", first.id)
    # both judge before either has seen the other's verdict
    page.route("**/api/changes*", lambda route: route.abort())
    try:
        judge(studio.ledger, a_verdict(second, who="tom"))
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        expect(page.locator("#said")).to_contain_text(
            "tom circled take 2 of cove before you", timeout=PATIENCE_MS
        )
    finally:
        page.unroute("**/api/changes*")
    all_sent(page)
    cove = clip_of(studio, "two-cove")
    assert [take.is_circled for take in cove.takes] == [True, False]


def test_a_retake_shows_its_price_and_asks_once(
    tab: Browser, server: RoomServer, studio: Studio, shop: FakeShop
) -> None:
    studio.take("buy-islet", series="buy")
    shop.bought.clear()
    page = tab.page
    tab.open(f"{server.url}?series=buy")
    title(page, "islet")
    page.keyboard.press("r")
    expect(page.locator("#retake-buy")).to_have_text("Buy for $0.40 b", timeout=PATIENCE_MS)
    expect(page.locator("#retake-caps")).to_contain_text("$20.00")
    page.keyboard.press("Enter")
    expect(page.locator("#retake-dialog")).to_be_hidden()
    assert shop.bought == {}, "Enter alone buys nothing"
    page.keyboard.press("r")
    expect(page.locator("#retake-buy")).to_be_enabled(timeout=PATIENCE_MS)
    page.keyboard.press("b")
    expect(page.locator("#said")).to_have_text("A take is on its way", timeout=PATIENCE_MS)
    assert list(shop.bought.values()) == ["buy-islet"]
    expect(page.locator(".on-its-way")).to_contain_text("A take is asked for")
    # the run needs a minute until it buys; a reload in that minute once showed nothing, and a person ordered again
    page.reload()
    expect(page.locator(".on-its-way")).to_contain_text("A take is asked for")
    assert tab.complaints == []


def test_a_verdict_without_a_network_is_sent_later(tab: Browser, server: RoomServer, studio: Studio) -> None:
    studio.take("away-rock", series="away", film=0)
    studio.take("away-rock", series="away", film=1)
    page = tab.page
    tab.open(f"{server.url}?series=away")
    title(page, "rock")
    page.context.set_offline(True)
    try:
        page.keyboard.press("1")
        page.keyboard.press("Enter")
        expect(page.locator(".take.circled")).to_have_count(1)
        expect(page.locator("#outbox")).to_have_text("1 on the way")
    finally:
        page.context.set_offline(False)
    all_sent(page)
    assert clip_of(studio, "away-rock").takes[0].is_circled


def test_a_verdict_that_waits_in_a_shared_browser_keeps_its_author(
    tab: Browser, studio: Studio, place: Path
) -> None:
    studio.take("share-gull", series="share")
    house = studio.house(place, rules=ReviewRules(people={"mara": "judge", "tom": "judge"}))
    page = tab.page

    at = {"who": "mara", "reaches": "no"}

    def is_now(who: str) -> None:
        at["who"] = who
        page.set_extra_http_headers({"X-Forwarded-User": who})

    def proxy(route: Route) -> None:
        # a request that waits here names the user who was signed in when it was made
        if at["reaches"] == "no":
            route.abort()
        else:
            route.continue_(headers={**route.request.headers, "x-forwarded-user": at["who"]})

    with RoomServer(house, user_header="X-Forwarded-User") as room:
        address = f"{room.url}?series=share"
        is_now("mara")
        tab.open(address)
        title(page, "gull")
        page.route("**/api/verdicts", proxy)
        page.keyboard.press("Enter")
        expect(page.locator("#outbox")).to_have_text("1 on the way")
        is_now("tom")
        at["reaches"] = "yes"
        expect(page.locator("#me")).to_have_text("tom", timeout=PATIENCE_MS)
        expect(page.locator("#outbox")).to_be_hidden()
        tab.open(address)
        title(page, "gull")
        assert page.evaluate("localStorage.length") == 1
        assert verdicts_of(studio.ledger, ["share-gull"]) == {}
        is_now("mara")
        tab.open(address)
        all_sent(page)
    (given,) = verdicts_of(studio.ledger, ["share-gull"])["share-gull"]
    assert given.verdict.who == "mara"
    page.unroute("**/api/verdicts")
    page.set_extra_http_headers({})


def test_a_login_page_of_the_proxy_is_not_taken_for_the_rooms_answer(
    tab: Browser, server: RoomServer, studio: Studio, shop: FakeShop
) -> None:
    studio.take("gate-crab", series="gate")
    page = tab.page
    tab.open(f"{server.url}?series=gate")
    title(page, "crab")
    pages = iter([(200, "<html>Log in</html>"), (401, "<html>Log in</html>"), (403, "who are you?")])

    def proxy(route: Route) -> None:
        status, text = next(pages, (0, ""))
        if status:
            route.fulfill(status=status, body=text, content_type="text/html")
        else:
            route.continue_()

    page.route("**/api/verdicts", proxy)
    page.keyboard.press("Enter")
    all_sent(page)
    assert [one.verdict.word for one in verdicts_of(studio.ledger, ["gate-crab"])["gate-crab"]] == [
        Word.CIRCLED
    ]

    before, pages = dict(shop.bought), iter([(504, "<html>"), (200, "<html>Log in</html>")])
    page.route("**/api/retakes", proxy)
    page.goto(f"{server.url}?series=gate&show=all")
    title(page, "crab")
    page.keyboard.press("r")
    for _ in range(2):
        expect(page.locator("#retake-buy")).to_be_enabled(timeout=PATIENCE_MS)
        page.locator("#retake-buy").click()
        expect(page.locator("#retake-price")).to_contain_text("bought once", timeout=PATIENCE_MS)
    page.locator("#retake-buy").click()
    expect(page.locator("#retake-dialog")).to_be_hidden(timeout=PATIENCE_MS)
    assert sorted(shop.bought.values()) == sorted([*before.values(), "gate-crab"])
    page.unroute_all()


def test_a_late_price_buys_no_other_clip(
    tab: Browser, server: RoomServer, studio: Studio, shop: FakeShop
) -> None:
    for name in ("urchin-a", "urchin-b"):
        studio.take(f"late-{name}", series="late")
    page = tab.page
    tab.open(f"{server.url}?series=late")
    title(page, "urchin-b")
    late: list[Route] = []

    def hold(route: Route) -> None:
        late.append(route)

    page.route("**/api/offer?clip=late-urchin-b", hold)
    page.keyboard.press("r")
    until(lambda: page.evaluate("() => 1") and late)
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    title(page, "urchin-a")
    page.keyboard.press("r")
    expect(page.locator("#retake-title")).to_have_text("One more take of urchin-a", timeout=PATIENCE_MS)
    expect(page.locator("#retake-buy")).to_be_enabled(timeout=PATIENCE_MS)
    with page.expect_response("**/api/offer?clip=late-urchin-b"):
        late[0].continue_()
    page.locator("#retake-buy").click()
    expect(page.locator("#retake-dialog")).to_be_hidden(timeout=PATIENCE_MS)
    assert [clip for clip in shop.bought.values() if "urchin" in clip] == ["late-urchin-a"]
    page.unroute_all()


def test_filters_are_in_the_address(tab: Browser, server: RoomServer, studio: Studio) -> None:
    take = studio.take("find-lagoon", series="find")
    studio.take("find-marsh", series="find")
    judge(studio.ledger, a_verdict(take, who="tom"))
    page = tab.page
    tab.open(f"{server.url}?series=find")
    title(page, "marsh")
    page.get_by_role("combobox", name="Show").select_option("circled")
    title(page, "lagoon")
    assert "show=circled" in page.url
    page.reload()
    title(page, "lagoon")
    page.get_by_text("Mine", exact=True).click()
    expect(page.locator("#nothing")).to_contain_text("Nothing to judge here", timeout=PATIENCE_MS)
    tab.open(f"{server.url}?series=bay")
    expect(page.locator("#series option:checked")).to_have_text("The bay", timeout=PATIENCE_MS)


def test_a_link_shows_its_clip_although_the_filter_hides_it(
    tab: Browser, server: RoomServer, studio: Studio
) -> None:
    take = studio.take("link-cape", series="link")
    studio.take("link-bight", series="link")
    judge(studio.ledger, a_verdict(take, who="tom"))
    page = tab.page
    tab.open(f"{server.url}?series=link&clip=link-cape")
    title(page, "cape")
    expect(page.locator("#clip-line")).to_contain_text("The filter hides this clip")
    assert "clip=link-cape" in page.url
    page.keyboard.press("ArrowRight")
    title(page, "bight")
    expect(page.locator("#clip-line")).not_to_contain_text("The filter hides")
    tab.open(f"{server.url}?series=link&clip=link-bight")
    title(page, "bight")
    expect(page.locator("#clips button")).to_have_count(1)
    tab.open(f"{server.url}?series=link&clip=link-nowhere")
    expect(page.locator("#said")).to_contain_text("link-nowhere has no take to show", timeout=PATIENCE_MS)
    assert tab.complaints == []


class KilledRoom:
    """A room in a process that is killed and started again on the same port."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "pipelines.cli.room", "--port", str(self.port)]
        self.process = subprocess.Popen(command, env=self._environment)
        until(self.answers)

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


@pytest.mark.parametrize(("number", "kills_wanted"), [(6, 1), pytest.param(30, 2, marks=pytest.mark.night)])
def test_no_verdict_is_lost_while_the_server_is_killed(
    window: Browser,
    sqlite_template: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kills_wanted: int,
) -> None:
    a_project(tmp_path, monkeypatch, ["dawn"])
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(sqlite_template, home / "ledger.db")
    clips = [f"bay-{count:03}" for count in range(number)]
    dice = random.Random(7)
    # killed at some clip, and started again some clips later
    changes = sorted(dice.sample(range(1, number - 1), 2 * kills_wanted))
    kills, starts = set(changes[::2]), set(changes[1::2])
    with EmbeddedS3(tmp_path / "s3") as s3, Ledger(f"sqlite:///{home}/ledger.db", budget=Budget()) as ledger:
        secret = s3.settings.secret_access_key
        assert secret is not None
        store = ObjectStore(s3.settings)
        bind_bucket(ledger, store, buying=True)
        studio = Studio(ledger, store, films(tmp_path, seconds=[0.5, 0.5, 0.5]))
        for clip in clips:
            for film in range(3):
                studio.take(clip, film=film)
        room = KilledRoom(
            {
                **os.environ,
                "DAILIES_S3_ENDPOINT": s3.endpoint_url,
                "DAILIES_S3_BUCKET": s3.bucket,
                "AWS_ACCESS_KEY_ID": s3.access_key_id,
                "AWS_SECRET_ACCESS_KEY": secret.get_secret_value(),
            }
        )
        try:
            room.start()
            page = window.page
            page.goto(f"http://127.0.0.1:{room.port}/")
            expected: dict[str, tuple[int, int]] = {}
            for place, clip in enumerate(reversed(clips)):
                title(page, clip.removeprefix("bay-"))
                good, bad = dice.sample([1, 2, 3], 2)
                if place in kills:
                    room.kill()
                for key in (str(bad), "x", "h"):
                    page.keyboard.press(key)
                if place in starts:
                    room.start()
                for key in (str(good), "Enter"):
                    page.keyboard.press(key)
                expected[clip] = (good, bad)
            all_sent(page)
            until(lambda: not unstored(ledger))
        finally:
            room.kill()
        given = verdicts_of(ledger, clips)
        assert sum(map(len, given.values())) == 2 * len(clips), "each verdict once"
        for clip, found in takes_of(ledger, clips).items():
            circled = [take.number for take in found.takes if take.is_circled]
            rejected = [take.number for take in found.takes if take.is_rejected]
            assert (circled, rejected) == ([expected[clip][0]], [expected[clip][1]])
            shown = json.loads(store.get_bytes(f"videos/{clip}/current.json") or b"{}")
            assert shown["attempt"] == next(take.attempt.id for take in found.takes if take.is_circled)
