"""The content of a clip's card, and that no text from outside becomes part of the page's markup."""

import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parents[1] / "ledger"))

from ledgerkit import NEVER_CHARGED, a_request, a_state, put_into, submitted, succeeded
from verdictkit import a_verdict

from proof.clock import Clock
from resources.gallery.cards import Card, Group, read_cards
from resources.gallery.figures import Figures, UnitCost, read_figures
from resources.gallery.pages import GalleryPage, page_key
from resources.ledger import deliveries, polls
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState
from resources.ledger.verdicts import Word, judge
from resources.orders import Asked
from resources.providers.base import JobStatus

NOTHING = Figures({}, [], [], [], {}, 0)
Deliver = Callable[..., Attempt]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(ledger_url: str, clock: Clock) -> Iterator[Ledger]:
    with Ledger(ledger_url, clock=clock, budget=Budget()) as made:
        yield made


def delivery(attempt: Attempt, **changes: Any) -> dict[str, Any]:
    stem = f"s3://bucket/videos/{attempt.subject_key}/{attempt.id}"
    return {
        "key": f"videos/{attempt.subject_key}/{attempt.id}.mp4",
        "uri": f"{stem}.mp4",
        "poster_uri": f"{stem}.webp",
        "strip_uri": f"{stem}.strip.webp",
        "size": 10,
        "video": {"width": 1280, "height": 720, "duration": 4.04, "has_audio": True},
        "checks": {"whole": "passed", "black": "warned", "silent": "skipped"},
        "warnings": ["it is black for 1 s"],
        **changes,
    }


def delivered(ledger: Ledger, clip: str = "city-sunset", job: str = "job-1", **request: Any) -> Attempt:
    attempt = succeeded(ledger, a_request(clip, **request), job_id=job)
    return deliveries.record_delivered(ledger, attempt.id, delivery(attempt))


def card(ledger: Ledger) -> Card:
    (found,) = read_cards(ledger)
    return found


def test_a_delivered_clip_is_shown_with_its_video_facts_and_checks(ledger: Ledger) -> None:
    attempt = delivered(ledger)
    shown = card(ledger)
    assert (shown.group, shown.state, shown.takes) == (Group.DELIVERED, "delivered", 1)
    assert shown.video == f"videos/city-sunset/{attempt.id}.mp4"
    assert shown.poster == f"videos/city-sunset/{attempt.id}.webp"
    assert shown.strip == f"videos/city-sunset/{attempt.id}.strip.webp"
    assert shown.facts == "1280\u00d7720, 4.0 s, sound"
    assert [(c.name, c.outcome) for c in shown.checks] == [("whole", "passed"), ("black", "warned")]
    assert shown.checks[1].detail == "it is black for 1 s"


@pytest.mark.parametrize(
    ("state", "group", "asset"),
    [
        (AttemptState.QUEUED, Group.WAITING, "submissions"),
        (AttemptState.SUBMITTED, Group.WAITING, "generations"),
        (AttemptState.SUCCEEDED, Group.WAITING, "uploaded_videos"),
        (AttemptState.HELD, Group.UNCLEAR, "submissions"),
        (AttemptState.FAILED, Group.FAILED, "generations"),
        (AttemptState.REJECTED, Group.FAILED, "submissions"),
        (AttemptState.LOST, Group.FAILED, "uploaded_videos"),
    ],
)
def test_a_clip_without_a_video_is_shown_with_its_state(
    ledger: Ledger, clock: Clock, state: AttemptState, group: Group, asset: str
) -> None:
    put_into(ledger, clock, state)
    shown = card(ledger)
    assert (shown.group, shown.asset, shown.video, shown.poster) == (group, asset, None, None)


def test_a_take_in_quarantine_is_played_from_there(ledger: Ledger) -> None:
    attempt = succeeded(ledger)
    stem = f"quarantine/{attempt.subject_key}/{attempt.id}"
    kept = delivery(
        attempt, key=f"{stem}.mp4", poster_uri=f"s3://bucket/{stem}.webp", checks={"size": "failed"}
    )
    deliveries.record_quarantined(ledger, attempt.id, kept, why="the picture is 16x16")
    shown = card(ledger)
    assert (shown.group, shown.video, shown.poster) == (Group.QUARANTINED, f"{stem}.mp4", f"{stem}.webp")
    assert shown.reason == shown.checks[0].detail == "the picture is 16x16"


def test_an_accepted_take_shows_who_accepted_it_beside_the_failed_check(ledger: Ledger) -> None:
    attempt = succeeded(ledger)
    failed = {"model": "failed"}
    deliveries.record_quarantined(ledger, attempt.id, delivery(attempt, checks=failed), why="another model")
    kept = delivery(attempt, checks=failed, accepted="by mira: <b>fine</b> at https://a.test/x?token=secret")
    deliveries.record_accepted(ledger, attempt.id, kept, a_verdict(attempt))
    shown = card(ledger)
    assert (shown.group, shown.accepted) == (Group.DELIVERED, "by mira: <b>fine</b> at https://a.test/x")
    assert [(c.name, c.outcome) for c in shown.checks] == [("model", "failed")]
    page = GalleryPage([shown], NOTHING, "http://dagster").html()
    assert b"<dt>accepted</dt><dd>by mira: &lt;b&gt;fine&lt;/b&gt;" in page


def test_the_circled_take_is_shown_and_the_others_are_links(ledger: Ledger) -> None:
    first = delivered(ledger, prompt="a first light")
    again = submitted(ledger, a_request(prompt="a second light"), job_id="job-2", decision="tuesday")
    polls.record_end(ledger, again, a_state(), NEVER_CHARGED)
    second = deliveries.record_delivered(ledger, again.id, delivery(again))
    assert card(ledger).video == f"videos/city-sunset/{second.id}.mp4"
    judge(ledger, a_verdict(first, note="<b>warm</b>"))
    judge(ledger, a_verdict(second, Word.REJECTED, reasons=("hands", "text")))
    shown = card(ledger)
    assert (shown.video, shown.prompt) == (f"videos/city-sunset/{first.id}.mp4", "a first light")
    assert not shown.is_older_take
    assert [(take.number, take.word, take.said, take.is_current) for take in shown.versions] == [
        (1, "circled", "by mira; <b>warm</b>", True),
        (2, "rejected", "by mira; hands, text", False),
    ]
    page = GalleryPage([shown], NOTHING, "http://dagster").html().decode()
    assert f'href="../videos/city-sunset/{second.id}.mp4">take 2</a>: rejected by mira; hands, text' in page
    assert "by mira; &lt;b&gt;warm&lt;/b&gt;" in page


def test_after_a_failed_newer_take_the_older_one_is_played(ledger: Ledger) -> None:
    old = delivered(ledger)
    attempt = submitted(ledger, a_request(prompt="another"), job_id="job-2", decision="tuesday")
    polls.record_end(ledger, attempt, a_state(JobStatus.FAILED, error="too stormy"), NEVER_CHARGED)
    shown = card(ledger)
    assert (shown.group, shown.is_older_take, shown.takes) == (Group.FAILED, True, 2)
    assert shown.video == f"videos/city-sunset/{old.id}.mp4"
    assert shown.reason == "too stormy"
    assert b"This is an earlier take" in GalleryPage([shown], NOTHING, "http://dagster").html()


def test_another_model_than_ordered_is_pointed_out(ledger: Ledger) -> None:
    attempt = submitted(ledger)
    ended = polls.record_end(ledger, attempt, a_state(model="openai/sora-1"), NEVER_CHARGED)
    deliveries.record_delivered(ledger, ended.id, delivery(ended))
    shown = card(ledger)
    assert shown.is_substituted
    assert b"served by openai/sora-1" in GalleryPage([shown], NOTHING, "http://dagster").html()


def test_a_fallback_is_shown_with_the_ordered_model(ledger: Ledger) -> None:
    asked = Asked(provider="wavespeed", endpoint="openai/sora-2-pro/text-to-video", fingerprint="f" * 64)
    delivered(ledger, asked=asked)
    shown = card(ledger)
    assert (shown.asked, shown.bought) == ("openai/sora-2-pro/text-to-video", "openai/sora-2/text-to-video")
    assert (
        b"fell back to openai/sora-2/text-to-video" in GalleryPage([shown], NOTHING, "http://dagster").html()
    )


def test_the_newest_clips_come_first_up_to_a_limit(ledger: Ledger) -> None:
    for number in range(5):
        delivered(ledger, f"clip-{number}", f"job-{number}")
    assert [c.clip for c in read_cards(ledger, newest=3)] == ["clip-4", "clip-3", "clip-2"]
    page = GalleryPage(read_cards(ledger, newest=3), read_figures(ledger), "http://dagster").html().decode()
    assert "3 of 5 clips: the newest" in page


@pytest.mark.postgresql
def test_the_figures_sum_the_spent_money_by_its_use(ledger: Ledger) -> None:
    delivered(ledger, "clip-0", "job-0")
    delivered(ledger, "clip-1", "job-1")
    failed = submitted(ledger, a_request("clip-2"), job_id="job-2")
    polls.record_end(ledger, failed, a_state(JobStatus.GONE), NEVER_CHARGED)
    figures = read_figures(ledger)
    assert figures.micros == 1_200_000
    assert sum(sum(day.values()) for day in figures.spend.values()) == figures.micros
    assert figures.unit_costs == [UnitCost("city", 2, 1_200_000)]
    assert figures.unit_costs[0].each_micros == 600_000
    assert figures.failures == [("gone", 1)]
    assert figures.clips == {"delivered": 2, "vanished": 1}
    assert [(t.name, t.jobs) for t in figures.times] == [("openai/sora-2/text-to-video", 2)]


def test_a_series_name_that_is_no_file_name_has_no_page() -> None:
    assert page_key("bay") == "gallery/series/bay.html"
    with pytest.raises(ValueError, match="page"):
        page_key("../../etc")


class Tags(HTMLParser):
    """Counts the tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: dict[str, int] = {}
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}


def tags_of(text: str) -> Tags:
    shown = Card(
        clip="bay-dawn", series="bay", group=Group.FAILED, state="failed", day="2026-11-20", prompt=text, asked=text, bought=text,
        served=text, cost_micros=1, spent_micros=1, takes=2, reason=text, facts=text,
    )  # fmt: skip
    found = Tags()
    page = GalleryPage([shown], NOTHING, "http://dagster", titles={"bay": text}).html()
    found.feed(page.decode())
    assert "onerror" not in found.attributes
    return found


PLAIN = tags_of("quiet")


@settings(max_examples=examples(60))
@given(st.text(alphabet="<>\"'&/= abscriptonerror{}%\n\u202e", max_size=60))
def test_text_from_outside_adds_no_tag_and_no_attribute(text: str) -> None:
    found = tags_of(f"x{text}")
    assert (found.tags, found.attributes) == (PLAIN.tags, PLAIN.attributes)
