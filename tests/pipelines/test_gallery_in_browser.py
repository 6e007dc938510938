"""The gallery in a real browser: posters load, clips play, filters and keys work, from a file and from a private bucket."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browserkit import Browser, browser
from pipelinekit import QUIET, House
from playwright.sync_api import expect

from pipelines.assets.gallery import GALLERY
from resources.gallery.server import GalleryServer

NASTY = "<script>document.title='owned'</script><img src=x onerror=alert(1)> & \"quoted\""

PLAYS = "video => video.readyState >= 3 && video.currentTime > 0"
PATIENCE_MS = 120_000
EVERY = ("bay-dawn", "bay-noon", "bay-storm", "city-tram")
LOADED = "images => images.map(image => image.complete && image.naturalWidth > 0)"


@pytest.fixture(scope="module")
def shown(house_to_look_at: House) -> House:
    """Two series, one clip that fails and one with a hostile prompt, and their gallery."""
    house = house_to_look_at
    bay = house.declare("bay", ["dawn", "noon", "storm"])
    city = house.declare(
        "city",
        ["tram"],
        prompt=f"{{{{ subject }}}} {NASTY}",
        endpoint="openai/sora-2/text-to-video",
        allow_retired=True,
        parameters={"duration": 4, "size": "1280*720"},
    )
    house.fault(
        {
            "do": "fail",
            "error": "Task failed: <b>the storm</b> https://cdn.test/x.mp4?X-Amz-Signature=s3cr3t",
        },
        prompt_contains="storm",
    )
    house.add([*bay, *city])
    house.produce([*bay, *city])
    result = (
        house.definitions()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(asset_selection=[GALLERY], instance=house.instance, run_config=QUIET)
    )
    assert result.success
    return house


@pytest.fixture
def file(shown: House) -> Path:
    return shown.bucket_file("gallery/index.html")


@pytest.fixture(scope="module")
def window() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture
def tab(window: Browser) -> Browser:
    """The browser's tab, without activity of an earlier test."""
    window.open("about:blank")
    window.complaints.clear()
    return window


def shows(tab: Browser, *clips: str) -> None:
    """Wait until exactly these clips are shown: the browser filters the page when it has time.

    This reads the page's text: the browser does not paint clips that are scrolled away.
    """
    expect(tab.page.locator("article:visible .key")).to_have_text(list(clips), timeout=PATIENCE_MS)


def test_every_poster_loads_and_a_clip_plays(file: Path, tab: Browser) -> None:
    tab.open(file.as_uri())
    shows(tab, *EVERY)
    posters = tab.page.locator("article img")
    assert posters.count() == 3
    for poster in posters.all():
        poster.scroll_into_view_if_needed()
    tab.page.wait_for_function("() => [...document.images].every(image => image.complete)")
    assert posters.evaluate_all(LOADED) == [True] * 3
    tab.page.get_by_label("Play bay, dawn").click()
    video = tab.page.locator("article video")
    tab.page.wait_for_function(f"() => ({PLAYS})(document.querySelector('video'))")
    assert video.evaluate("video => video.readyState") >= 3
    assert video.evaluate("video => [video.videoWidth, video.videoHeight].every(size => size > 0)")
    assert tab.complaints == []


def test_text_from_outside_is_shown_and_never_executed(file: Path, tab: Browser) -> None:
    tab.open(file.as_uri())
    prompt = tab.page.locator("article", has_text="city-tram").locator(".prompt").text_content()
    assert NASTY in (prompt or "")
    reason = tab.page.locator("article", has_text="bay-storm").locator(".reason").text_content()
    assert "<b>the storm</b>" in (reason or "")
    assert tab.page.title() == "dailies"
    assert "s3cr3t" not in tab.page.content()
    assert tab.page.locator("article script, article b, article img[src=x]").count() == 0
    assert tab.complaints == []


def test_filters_leave_matching_clips_and_are_kept_in_the_address(file: Path, tab: Browser) -> None:
    tab.open(file.as_uri())
    page = tab.page
    page.get_by_role("combobox", name="Series").select_option("bay")
    shows(tab, "bay-dawn", "bay-noon", "bay-storm")
    page.get_by_label("State").select_option("failed")
    shows(tab, "bay-storm")
    expect(page.locator("#count")).to_have_text("1 of 4 clips fit")
    page.reload()
    shows(tab, "bay-storm")
    page.get_by_role("searchbox").fill("noon")
    shows(tab)
    expect(page.locator("#nothing")).to_be_visible()
    page.get_by_role("button", name="Show all").click()
    shows(tab, *EVERY)
    day = page.locator("article").first.get_attribute("data-day")
    assert day is not None
    page.get_by_role("textbox", name="From").fill(day)
    shows(tab, *EVERY)
    page.get_by_role("textbox", name="To").fill("2001-01-01")
    shows(tab)
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Model").select_option("openai/sora-2/text-to-video")
    shows(tab, "city-tram")
    page.get_by_label("Model").select_option("bytedance/seedance-2.0/text-to-video")
    shows(tab, "bay-dawn", "bay-noon", "bay-storm")
    assert tab.complaints == []


def test_the_keyboard_is_enough(file: Path, tab: Browser) -> None:
    tab.open(file.as_uri())
    page = tab.page
    page.keyboard.press("/")
    page.keyboard.type("bay")
    shows(tab, "bay-dawn", "bay-noon", "bay-storm")
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    focused = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(focused) == "Play bay, dawn", "the page's first clip, since none was chosen"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "Play bay, noon"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(focused) == "Play bay, dawn"
    page.keyboard.press("Enter")
    page.wait_for_function(f"() => ({PLAYS})(document.querySelector('video'))")
    page.keyboard.press("Escape")
    assert page.locator("video").count() == 0
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Play bay, dawn"
    assert tab.complaints == []


def test_a_small_screen_needs_no_sideways_scrolling(file: Path, tab: Browser) -> None:
    usual = tab.page.viewport_size
    assert usual is not None
    tab.page.set_viewport_size({"width": 340, "height": 600})
    for page in ("index.html", "series/city.html"):
        tab.open((file.parent / page).as_uri())
        assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.page.set_viewport_size(usual)
    assert tab.complaints == []


def test_a_series_page_leads_back_and_into_dagster(file: Path, tab: Browser) -> None:
    tab.open(file.as_uri())
    tab.page.get_by_role("navigation").get_by_role("link", name="bay").click()
    tab.page.wait_for_url("**/series/bay.html")
    shows(tab, "bay-dawn", "bay-noon", "bay-storm")
    link = tab.page.locator("article", has_text="bay-dawn").get_by_role("link", name="in Dagster")
    assert (link.get_attribute("href") or "").endswith(
        "/assets/uploaded_videos?view=partitions&partition=bay-dawn"
    )
    day = tab.page.locator("article").first.get_attribute("data-day") or "no day"
    sheet = tab.page.get_by_role("link", name=day).get_attribute("href")
    assert (file.parent / "series" / str(sheet)).resolve().read_bytes()[8:12] == b"WEBP"
    tab.page.get_by_role("link", name="Gallery").click()
    tab.page.wait_for_url("**/index.html")
    assert tab.complaints == []


def test_a_private_bucket_is_shown_through_this_machine_only(shown: House, tab: Browser) -> None:
    with GalleryServer(shown.production.store()) as server:
        tab.open(server.url)
        tab.page.get_by_label("Play bay, dawn").click()
        tab.page.wait_for_function(f"() => ({PLAYS})(document.querySelector('video'))")
        assert tab.page.locator("article img:visible").first.evaluate("image => image.naturalWidth") > 0
        assert tab.complaints == []
