"""An alarm's two formats: bounded, escaped, and complete in themselves."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from resources.alarms import Alarm, FailedClip, Kind, trial_alarm

SIGNED = "https://cdn.test/clip.mp4?X-Amz-Signature=s3cr3t"


def a_clip(name: str = "bay-storm", reason: str = "moderation: no") -> FailedClip:
    return FailedClip(
        name, "bay", "failed", reason, 960_000, f"https://dagster.test/assets/x?partition={name}"
    )


def an_alarm(*clips: FailedClip, **changes: Any) -> Alarm:
    values: dict[str, Any] = {
        "id": "produce:1:a",
        "kind": Kind.CLIPS_FAILED,
        "title": "1 of 3 clips failed: bay",
        "todo": "`dailies retry`",
        "batch": "produce:1",
        "clips": list(clips),
        "total": 3,
        "lost_micros": 960_000,
        "spent_micros": 2_880_000,
        "runs": ["https://dagster.test/runs/1"],
    }
    return Alarm(**(values | changes))


def test_the_plain_format_has_clips_reasons_cost_and_links() -> None:
    body = an_alarm(a_clip()).as_json()
    assert body["version"] == 1
    assert (body["kind"], body["batch"], body["clips_failed"], body["clips_total"]) == (
        "clips_failed",
        "produce:1",
        1,
        3,
    )
    assert (body["spent_usd"], body["lost_usd"]) == ("2.88", "0.96")
    assert body["clips"][0]["reason"] == "moderation: no"
    assert body["clips"][0]["url"].endswith("partition=bay-storm")
    assert body["runs"] == ["https://dagster.test/runs/1"]
    assert body["text"].splitlines()[0] == "1 of 3 clips failed: bay"
    assert "bay-storm: moderation: no ($0.96)" in body["text"]


def test_slack_gets_a_header_the_clips_and_links() -> None:
    body = an_alarm(a_clip()).as_slack()
    header, section, links = body["blocks"]
    assert header["text"] == {"type": "plain_text", "text": "1 of 3 clips failed: bay", "emoji": False}
    assert "bay-storm: moderation: no ($0.96)" in section["text"]["text"]
    assert "$2.88 for the batch" in section["text"]["text"]
    assert links["text"]["text"] == (
        "<https://dagster.test/runs/1|run 1>, <https://dagster.test/assets/x?partition=bay-storm|bay-storm>"
    )


def test_text_from_outside_mentions_nobody_and_makes_no_link() -> None:
    nasty = f"<!channel> <https://evil.test|click> & {SIGNED}"
    body = an_alarm(a_clip(reason=nasty), title=nasty).as_slack()
    for block in body["blocks"]:
        if block["text"]["type"] == "mrkdwn":
            assert "channel" not in block["text"]["text"]
            assert "evil" not in block["text"]["text"]
    assert "<!channel>" not in body["text"]
    assert "s3cr3t" not in json.dumps(body)
    assert "s3cr3t" not in json.dumps(an_alarm(a_clip(reason=nasty), title=nasty, details=[nasty]).as_json())


@given(count=st.integers(0, 300), words=st.text(max_size=5_000))
def test_a_message_stays_small_however_many_clips_and_words_there_are(count: int, words: str) -> None:
    clips = [a_clip(f"clip-{number:04}-{'x' * 60}", words) for number in range(count)]
    alarm = an_alarm(*clips, title=words, details=[words] * 5, runs=["https://dagster.test/runs/1"] * count)
    slack = alarm.as_slack()
    assert len(slack["blocks"]) <= 3
    for block in slack["blocks"]:
        assert 0 < len(block["text"]["text"]) <= (150 if block["type"] == "header" else 3_000)
    plain = alarm.as_json()
    assert plain["clips_failed"] == count
    assert len(json.dumps(plain).encode()) < 700_000


def test_clips_that_are_not_named_are_counted() -> None:
    alarm = an_alarm(*(a_clip(f"clip-{number}") for number in range(14)))
    assert "and 4 more" in alarm.as_slack()["blocks"][1]["text"]["text"]


def test_a_test_message_says_that_nothing_is_wrong() -> None:
    assert "Nothing is wrong" in trial_alarm().as_json()["text"]
    assert trial_alarm().as_slack()["blocks"][0]["text"]["text"] == "dailies: alarms arrive here"
