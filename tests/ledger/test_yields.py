"""The value of purchases: every dollar is in a line, and a select costs the sum of all its takes."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from ledgerkit import NEVER_CHARGED, a_request, a_state, submitted
from typer.testing import CliRunner
from verdictkit import a_verdict

from pipelines.cli.app import app
from pipelines.cli.yields import document, write_csv
from proof.clock import Clock
from resources.ledger import polls
from resources.ledger.deliveries import record_delivered
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.verdicts import Word, judge
from resources.ledger.yields import YieldBy, read_yield, total_of
from resources.providers.base import JobStatus

_numbers = itertools.count()


def bought(ledger: Ledger, clip: str, *, fails: bool = False, **request: Any) -> Attempt:
    number = next(_numbers)
    attempt = submitted(
        ledger,
        a_request(clip, **request),
        decision=f"yield-{number}",
        regenerate=True,
        job_id=f"yield-job-{number}",
    )
    state = a_state(JobStatus.FAILED, error="stormy") if fails else a_state()
    attempt = polls.record_end(ledger, attempt, state, NEVER_CHARGED)
    return attempt if fails else record_delivered(ledger, attempt.id, {"uri": "s3://b/k.mp4", "size": 1})


@pytest.fixture
def judged(ledger: Ledger, clock: Clock) -> Ledger:
    """Two series: in the first, three takes of two clips, one circled and one rejected; in the second, no verdict."""
    first, second = bought(ledger, "clip-a"), bought(ledger, "clip-a")
    bought(ledger, "clip-b")
    bought(ledger, "clip-c", fails=True)
    bought(
        ledger, "bay-a", series="bay", price_micros=1_000_000, endpoint="bytedance/seedance-2.0/text-to-video"
    )
    clock.forward(60)
    judge(ledger, a_verdict(first))
    clock.forward(60)
    judge(ledger, a_verdict(second, Word.REJECTED, reasons=("hands", "text")))
    judge(ledger, a_verdict(first, Word.NOTED, note="later"))
    return ledger


def test_a_select_costs_what_all_takes_cost(judged: Ledger) -> None:
    city, bay = sorted(read_yield(judged, YieldBy.SERIES), key=lambda line: -line.takes)
    assert (city.name, city.bought, city.takes, city.circled, city.rejected, city.unjudged) == (
        "city",
        3,
        3,
        1,
        1,
        1,
    )
    assert (city.spent_micros, city.each_micros, city.takes_each) == (1_200_000, 1_200_000, 3)
    assert city.reasons == {"hands": 1, "text": 1}
    assert city.seconds_to_judge == 90
    assert (bay.name, bay.each_micros, bay.seconds_to_judge, bay.unjudged) == ("bay", None, None, 1)
    total = total_of([city, bay])
    assert (total.spent_micros, total.each_micros) == (2_200_000, 2_200_000)


def test_lines_are_by_model_or_by_day_and_only_of_the_requested_part(judged: Ledger) -> None:
    models = {line.name: line.spent_micros for line in read_yield(judged, YieldBy.MODEL)}
    assert models == {
        "openai/sora-2/text-to-video": 1_200_000,
        "bytedance/seedance-2.0/text-to-video": 1_000_000,
    }
    (day,) = read_yield(judged, YieldBy.DAY)
    assert day.spent_micros == 2_200_000
    assert [line.name for line in read_yield(judged, YieldBy.SERIES, series="bay")] == ["bay"]
    assert read_yield(judged, YieldBy.SERIES, since="2100-01-01") == []


def test_a_verdict_that_is_taken_back_does_not_count(judged: Ledger) -> None:
    (city,) = read_yield(judged, YieldBy.SERIES, series="city")
    with judged.read() as connection:
        circled = connection.exec_driver_sql(
            "SELECT attempt_id FROM take_verdicts WHERE word = 'circled'"
        ).scalar_one()
    judge(judged, a_verdict(judged.attempts([circled])[circled], Word.TAKEN_BACK))
    (after,) = read_yield(judged, YieldBy.SERIES, series="city")
    assert (city.circled, after.circled, after.each_micros) == (1, 0, None)


def test_the_yield_is_written_as_json_and_csv(judged: Ledger, tmp_path: Path) -> None:
    lines = read_yield(judged, YieldBy.SERIES)
    written = document(lines, YieldBy.SERIES)
    assert json.loads(json.dumps(written))["total"]["usd_a_select"] == "2.2"
    assert write_csv(lines, str(tmp_path / "yield.csv")) == 2
    rows = list(csv.DictReader((tmp_path / "yield.csv").open()))
    assert {row["name"]: row["usd_a_select"] for row in rows} == {"city": "1.2", "bay": ""}
    assert next(row for row in rows if row["name"] == "city")["reasons"] == "hands 1, text 1"


def test_the_command_says_when_nothing_was_bought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path))
    monkeypatch.delenv("DAILIES_LEDGER_URL", raising=False)
    assert "nothing was bought yet" in CliRunner().invoke(app, ["yield", "--by", "model"]).output
    # there may be purchases without such parts, or of another series
    for words, said in (
        (["--by", "prompt"], "declared as fields"),
        (["--series", "city"], "nothing of that"),
    ):
        assert said in CliRunner().invoke(app, ["yield", *words]).output


def test_each_part_of_a_prompt_has_a_line_and_they_have_no_sum(ledger: Ledger) -> None:
    still, handheld = "a tram\nCamera: still\nSound: a bell", "a tram\nCamera: handheld\nSound: a bell"
    first = bought(ledger, "clip-a", prompt=still)
    second = bought(ledger, "clip-b", prompt=handheld)
    bought(ledger, "clip-c", prompt="a text without fields. Camera: none")
    judge(ledger, a_verdict(first))
    judge(ledger, a_verdict(second, Word.REJECTED, reasons=("camera",)))
    lines = read_yield(ledger, YieldBy.PROMPT)
    assert [(one.name, one.takes, one.circled, dict(one.reasons)) for one in lines] == [
        ("camera: handheld", 1, 0, {"camera": 1}),
        ("camera: still", 1, 1, {}),
        ("sound: a bell", 2, 1, {"camera": 1}),
    ]
    assert lines[-1].each_micros == first.cost_micros + second.cost_micros
    assert document(lines, YieldBy.PROMPT)["total"] is None
