"""A headless Chromium for tests of pages; it records the page's errors."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page, sync_playwright

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium() -> str:
    """Path of a Chromium that plays H.264; the test is skipped if none is installed."""
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium is installed (Debian: apt install chromium)")
    return found


@dataclass
class Browser:
    """One tab."""

    page: Page
    """The tab."""
    complaints: list[str] = field(default_factory=list)
    """Console errors, uncaught exceptions and failed requests."""

    def open(self, url: str) -> None:
        self.page.goto(url, wait_until="load")


@contextmanager
def browser(*, width: int = 1200, height: int = 900, flags: Sequence[str] = ()) -> Iterator[Browser]:
    """A tab of a browser that is closed at the end; `flags` are further flags of Chromium."""
    program = chromium()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=[*FLAGS, *flags])
        try:
            page = running.new_page(viewport={"width": width, "height": height})
            found = Browser(page)
            page.on(
                "console",
                lambda said: (
                    found.complaints.append(said.text) if said.type in {"error", "warning"} else None
                ),
            )
            page.on("pageerror", lambda error: found.complaints.append(str(error)))
            # removing a video or leaving a page cancels its request: neither is a failure
            page.on(
                "requestfailed",
                lambda request: (
                    None
                    if request.resource_type == "media" or request.failure == "net::ERR_ABORTED"
                    else found.complaints.append(f"{request.url}: {request.failure}")
                ),
            )
            yield found
        finally:
            running.close()
