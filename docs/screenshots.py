"""Take the docs' pictures from a running Dagster: `.venv/bin/python docs/screenshots.py URL CLIP GALLERY ROOM`.

Needs Debian's chromium; after `dailies demo`, `dailies up` shows the same clips, and GALLERY is the file that the demo names,
ROOM the room's address with `?show=all&clip=` and a clip of several takes (`dailies retake`).
Materialize the checks (the job `inventory`) before.
"""

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
IMAGES = Path(__file__).parent / "images"
SETTLE_MS = 4000


def graph(page: Page, url: str) -> None:
    """The asset graph."""
    page.goto(f"{url}/asset-groups")
    page.get_by_text("uploaded_videos").first.wait_for()
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=IMAGES / "asset-graph.png")


def clip(page: Page, url: str, key: str) -> None:
    """One clip's page."""
    page.goto(f"{url}/assets/uploaded_videos?view=partitions&partition={key}")
    page.get_by_alt_text("poster").first.wait_for()
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=IMAGES / "clip.png")


def checks(page: Page, url: str) -> None:
    """The inventory's checks on the videos."""
    page.goto(f"{url}/assets/uploaded_videos?view=checks")
    page.get_by_text("nothing_is_missing").first.wait_for()
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=IMAGES / "checks.png")


def gallery(page: Page, file: Path) -> None:
    """The gallery with a clip that plays."""
    page.set_viewport_size({"width": 1300, "height": 1150})
    page.goto(file.absolute().as_uri())
    page.locator(".play").nth(2).click()
    page.wait_for_function("() => document.querySelector('video').readyState >= 3")
    page.wait_for_timeout(SETTLE_MS / 4)
    page.mouse.move(5, 5)
    page.evaluate("() => { document.querySelector('video').pause(); scrollTo(0, 0); }")
    page.screenshot(path=IMAGES / "gallery.png")


def room(page: Page, url: str) -> None:
    """The room with a clip whose takes play; the address names the clip."""
    page.set_viewport_size({"width": 1440, "height": 900})
    page.emulate_media(color_scheme="dark")
    page.goto(url)
    page.wait_for_function(
        "() => (videos => videos.length > 1 && videos.every(v => v.readyState >= 2 && v.currentTime > 1))([...document.querySelectorAll('.take video')])"
    )
    page.screenshot(path=IMAGES / "room.png")


def main() -> None:
    """Take them all."""
    url, key, file, room_url = sys.argv[1].rstrip("/"), sys.argv[2], Path(sys.argv[3]), sys.argv[4]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        graph(page, url)
        clip(page, url, key)
        checks(page, url)
        gallery(page, file)
        room(page, room_url)
        browser.close()


if __name__ == "__main__":
    main()
