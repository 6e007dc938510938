"""axe-core finds no fault in the room and the gallery: light and dark, on a wide and on a narrow screen."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from browserkit import FLAGS, chromium
from playwright.sync_api import Browser as ChromiumBrowser
from playwright.sync_api import Page, sync_playwright
from roomkit import FakeShop, Studio, an_editor
from verdictkit import a_verdict

from resources.gallery.cards import read_cards
from resources.gallery.figures import read_figures
from resources.gallery.pages import GalleryPage
from resources.ledger.verdicts import Word, judge
from resources.room.server import RoomServer

pytestmark = pytest.mark.slow

PATIENCE_MS = 120_000
FAULTS = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .flatMap(fault => fault.nodes.map(node => `${fault.impact} ${fault.id}: ${node.target.join(" ")}`))"""
SCREENS = [
    (1280, "light"),
    (390, "dark"),
    pytest.param(1280, "dark", marks=pytest.mark.night),
    pytest.param(390, "light", marks=pytest.mark.night),
]
DIALOGS = {
    "x": "#reject-dialog",
    "n": "#note-dialog",
    "e": "#words-prompt",
    "r": "#retake-dialog",
    "d": "#fetch-dialog",
    "w": "#worth-rows tr",
}
SERIES = "prompt: {subject: A quay., camera: From afar.}\nclips: [{name: quay}, {name: pier}]\n"


def faults(page: Page) -> list[str]:
    pytest.importorskip("axe_playwright_python", reason="it brings axe-core; install requirements-dev.lock")
    page.evaluate(files("axe_playwright_python").joinpath("axe.min.js").read_text())
    found: list[str] = page.evaluate(FAULTS)
    return found


@pytest.fixture(scope="module")
def server(studio: Studio, place: Path, shop: FakeShop) -> Iterator[RoomServer]:
    editor = an_editor(place, bay=SERIES)
    editor.keep("bay-pier", {"camera": "From the sea."}, who="mara", seen=None)
    with RoomServer(studio.house(place, shop=shop, editor=editor)) as running:
        yield running


@pytest.fixture(scope="module")
def judged(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of three takes with every kind of verdict; returns its page in the gallery."""
    takes = [studio.take("bay-quay", film=film, prompt=f"a quay, number {film}. " * 20) for film in range(3)]
    judge(studio.ledger, a_verdict(takes[0], Word.REJECTED, reasons=("hands",), note="six fingers"))
    judge(studio.ledger, a_verdict(takes[1], Word.NOTED, note="0:01 a hand", second=1.0))
    studio.take("bay-pier")
    cards, figures = read_cards(studio.ledger), read_figures(studio.ledger)
    file = tmp_path_factory.mktemp("gallery") / "index.html"
    file.write_bytes(GalleryPage(cards, figures, "http://127.0.0.1:3000", titles={"bay": "The bay"}).html())
    return file


@pytest.fixture(scope="module")
def window() -> Iterator[ChromiumBrowser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        yield running
        running.close()


@pytest.mark.parametrize(("width", "scheme"), SCREENS)
def test_room_and_gallery_are_accessible(
    judged: Path, server: RoomServer, window: ChromiumBrowser, width: int, scheme: str
) -> None:
    # the pages' policy blocks the script axe-core
    with window.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
        bypass_csp=True,
    ) as context:
        page = context.new_page()
        page.goto(f"{server.url}?series=bay&show=all")
        page.locator(".take").first.wait_for(timeout=PATIENCE_MS)
        assert faults(page) == []
        for key, dialog in DIALOGS.items():
            page.keyboard.press(key)
            page.locator(dialog).wait_for(timeout=PATIENCE_MS)
            assert faults(page) == [], dialog
            page.keyboard.press("Escape")
        page.goto(judged.as_uri())
        assert faults(page) == []
        page.evaluate(
            "() => document.querySelector('h2').setAttribute('style', 'color: #ccc; background: #ddd')"
        )
        assert {fault.split(":")[0] for fault in faults(page)} == {"serious color-contrast"}, "the control"
