"""Take the README's pictures from a running Dagster: `.venv/bin/python docs/screenshots.py URL CLIP`.

Needs Debian's chromium; after `dailies demo`, `dailies up` shows the same clips.
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
    page.get_by_text("[Show Markdown]").first.wait_for()
    page.wait_for_timeout(SETTLE_MS)
    page.screenshot(path=IMAGES / "clip.png")


def main() -> None:
    """Take both."""
    url, key = sys.argv[1].rstrip("/"), sys.argv[2]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 700})
        graph(page, url)
        clip(page, url, key)
        browser.close()


if __name__ == "__main__":
    main()
