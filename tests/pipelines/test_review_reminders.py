"""Clips that wait for a verdict are reported once per batch, then at most once a day, and counted by a check."""

import dagster as dg
import pytest

from pipelines.alarm_memory import SentMessage, State
from pipelines.asset_checks import result_of
from pipelines.review_reminder import REVIEW, clips_to_name, note_waiting, reminder
from resources.inventory.findings import WAITS_FOR_REVIEW, Finding, found
from resources.ledger.budget import Budget
from resources.ledger.waiting_clips import WaitingClip

MONDAY = 1_795_996_800.0  # 2026-11-30, 00:00 UTC
DAY = 86_400.0
ROOM = "http://127.0.0.1:3030/"


def a_clip(
    clip: str,
    batch: str = "monday",
    *,
    decide_at: float | None = None,
    ends_at: float | None = None,
    cost: int = 800_000,
    drafts: int = 0,
) -> WaitingClip:
    return WaitingClip(clip, f"take-of-{clip}", "bay", batch, MONDAY, decide_at, None, cost, ends_at, drafts)


def ticked(state: State, clips: list[WaitingClip], now: float) -> list[str]:
    """One tick whose message arrives; returns the clips in the message."""
    note_waiting(clips, state, now)
    if REVIEW not in state.pending:
        return []
    told = clips_to_name(clips, state, now)
    del state.pending[REVIEW]
    before = state.sent[REVIEW].ids if REVIEW in state.sent else []
    state.sent[REVIEW] = SentMessage(now, sorted({*before, *(clip.decision for clip in told)}))
    return [clip.clip for clip in told]


def test_each_batch_is_reported_once_and_waiting_clips_once_a_day() -> None:
    state = State(MONDAY)
    first, second = [a_clip("a"), a_clip("b")], a_clip("c", "noon")
    assert ticked(state, first, MONDAY) == ["a", "b"]
    assert ticked(state, first, MONDAY + 3_600) == []
    assert ticked(state, [*first, second], MONDAY + 7_200) == ["c"], "only the new batch"
    state = State.read(state.written(), now=MONDAY)
    assert ticked(state, [*first, second], MONDAY + DAY) == [], "a day after the last message, not the first"
    assert ticked(state, [*first, second], MONDAY + 7_200 + DAY) == ["a", "b", "c"]
    assert ticked(state, [], MONDAY + 3 * DAY) == []
    assert ticked(state, first, MONDAY + 3 * DAY) == ["a", "b"], "clips that wait again are reported again"


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (None, "14 clips wait for a verdict, $11.20"),
        (MONDAY + 4 * DAY, "14 clips wait for a verdict, $11.20; the policy decides the first on Friday"),
        (MONDAY - DAY, "14 clips wait for a verdict, $11.20; the policy decides the first today"),
        (
            MONDAY + 10 * DAY,
            "14 clips wait for a verdict, $11.20; the policy decides the first on 2026-12-10",
        ),
    ],
)
def test_the_message_has_number_money_and_deadline(ends: float | None, said: str) -> None:
    clips = [a_clip(f"clip-{number}") for number in range(13)] + [a_clip("last", decide_at=ends)]
    alarm = reminder(clips, room=ROOM, budget=Budget(), now=MONDAY)
    assert alarm.title == said
    assert alarm.details == ["bay: 14"]
    assert ROOM in alarm.todo
    assert alarm.as_json()["kind"] == "review"


def test_the_message_names_the_drafts_that_their_provider_forgets_first() -> None:
    friday = MONDAY + 4 * DAY
    clips = [a_clip(f"clip-{number}", ends_at=friday + number, drafts=200_000) for number in range(13)]
    clips += [
        a_clip("later", ends_at=friday + 2 * DAY, drafts=800_000),
        a_clip("any-time", decide_at=MONDAY + DAY),
    ]
    title = reminder(clips, room=ROOM, budget=Budget(), now=MONDAY).title
    assert title == (
        "15 clips wait for a verdict, $12.00; $2.60 of drafts end on Friday; the policy decides the first on Tuesday"
    )


def test_the_check_shows_figures_and_the_rooms_address() -> None:
    finding = Finding(
        WAITS_FOR_REVIEW, ["a", "b"], facts={"cost_usd": 1.6, "held": 1, "first_end_at": MONDAY}
    )
    result = result_of(finding, room=ROOM)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    shown = {name: value.value for name, value in (result.metadata or {}).items()}
    assert (shown["number"], shown["cost_usd"], shown["held"], shown["room"]) == (2, 1.6, 1, ROOM)
    assert shown["first_end_at"] == MONDAY
    assert result_of(found(WAITS_FOR_REVIEW, []), room=ROOM).passed
