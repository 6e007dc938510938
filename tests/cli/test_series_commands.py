"""`dailies plan`, `dailies prompt` and `dailies characters`, as a person types them: they show, and send nothing."""

import datetime as dt
import io
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipelines.cli.app import app
from pipelines.cli.clip_table import as_document, status_table
from resources.catalogue import Catalogue
from resources.errors import ConfigurationError
from resources.ledger.decisions import Decision, decide
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Submission
from resources.providers.base import FailureKind, Rejected
from resources.series import load_series
from resources.settings import load_settings, open_ledger

MODELS = Path(__file__).parents[2] / "data" / "models"
CITY = """\
name: city
endpoint: openai/sora-2/text-to-video
allow_retired: true
dated: true
parameters: {duration: 4, resolution: 720p, aspect_ratio: "9:16"}
prompt: {subject: "The {{ clip }}, [bold]loud[/bold]"}
fallback: [{endpoint: bytedance/seedance-2.0/text-to-video}]
clips: [{name: hero}, {name: wide}]
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DAILIES_LEDGER_URL", "DAILIES_MAX_USD_PER_RUN", "WAVESPEED_API_KEY", "AIMLAPI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    data = tmp_path / "data"
    for folder in ("series", "characters"):
        (data / folder).mkdir(parents=True)
    (data / "models").symlink_to(MODELS)
    (data / "series" / "city.yaml").write_text(CITY)
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_HOME", str(tmp_path))
    monkeypatch.setenv("DAILIES_DATA", str(data))
    return tmp_path


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_a_prompt_is_shown_as_it_would_be_sent():
    shown = run("prompt", "city-2026-11-20-hero")
    assert shown.exit_code == 0
    # text is shown as written, not interpreted as markup
    assert "The hero, [bold]loud[/bold]" in shown.output
    assert "$0.40" in shown.output
    assert "or else      bytedance/seedance-2.0/text-to-video (wavespeed), price $0.96" in shown.output
    document = json.loads(run("prompt", "city-2026-11-20-hero", "--json").output)
    assert document["request"] == {"prompt": "The hero, [bold]loud[/bold]", "size": "720*1280", "duration": 4}
    assert (document["price_usd"], document["endpoint"]) == ("0.4", "openai/sora-2/text-to-video")


def test_the_error_of_an_unknown_clip_suggests_the_nearest():
    failed = run("prompt", "city-2026-11-20-heroo")
    assert isinstance(failed.exception, ConfigurationError)
    assert "did you mean 'hero'?" in str(failed.exception)


def test_a_plan_is_shown_with_its_cost_and_ends_with_0():
    shown = run("plan", "city", "--date", "2026-11-20")
    assert shown.exit_code == 0, shown.output
    assert "+ buy  city-2026-11-20-hero" in shown.output
    assert "cost: at least $0.80, if every first purchase succeeds, and at most $2.72" in shown.output
    assert "note: openai/sora-2/text-to-video (city) is retired" in shown.output
    assert "nothing was bought or reserved" in shown.output


def test_a_range_without_a_first_date_begins_today():
    last = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=2)
    document = json.loads(run("plan", "city", "--until", last.isoformat(), "--json").output)
    assert document["counts"] == {"buy": 2 * 3}
    past = run("plan", "city", "--until", "2026-11-20")
    assert isinstance(past.exception, ConfigurationError)
    assert "ends on 2026-11-20, before it begins" in str(past.exception)
    for endless in (["--until", "9999-12-31"], ["--date", "0001-01-01", "--until", "9999-12-31"]):
        assert "longer than 1,000 days" in str(run("plan", "city", *endless).exception)


def test_a_partly_refused_plan_ends_with_1_and_the_reasons(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DAILIES_MAX_USD_PER_RUN", "0.50")
    shown = run("plan", "city", "--date", "2026-11-20")
    assert shown.exit_code == 1
    assert "! refuse city-2026-11-20-wide: the cap for one run" in " ".join(shown.output.split())
    document = json.loads(run("plan", "city", "--date", "2026-11-20", "--json").output)
    assert document["counts"] == {"buy": 1, "refuse": 1}


def test_a_plan_beside_a_broken_series_ends_with_2_and_names_it(home: Path):
    (home / "data" / "series" / "bad.yaml").write_text("name: bad\n")
    shown = run("plan", "city", "--date", "2026-11-20")
    assert shown.exit_code == 2
    assert "bad.yaml:1: endpoint: is missing" in shown.stderr
    assert "+ buy" in shown.stdout


def test_a_plan_whose_filters_choose_nothing_explains_how_filters_combine():
    """`plan series:a,b` once printed: nothing is due, name a series."""
    shown = run("plan", "series:city,changed")
    assert shown.exit_code == 0
    assert "series:city,changed chooses no clip. A space adds clips; a comma keeps" in shown.output


def test_an_empty_plan_says_so():
    shown = run("plan")
    assert shown.exit_code == 0
    assert "nothing is due" in shown.output


def test_a_plan_buys_nothing():
    assert run("plan", "city").exit_code == 0
    with open_ledger(load_settings()) as ledger:
        assert ledger.overview() == []


def test_a_quote_without_a_key_names_the_missing_variable():
    failed = run("plan", "city", "--quote")
    assert isinstance(failed.exception, ConfigurationError)
    assert "WAVESPEED_API_KEY" in str(failed.exception)


def test_characters_are_listed_with_the_series_that_cast_them(home: Path):
    assert "no characters are declared" in run("characters", "list").output
    (home / "data" / "characters" / "mara.yaml").write_text(
        "name: mara\nvideo: https://example.com/mara.mp4\nallow_retired: true\n"
    )
    (home / "data" / "series" / "city.yaml").write_text(
        CITY.split("fallback", maxsplit=1)[0] + "cast: [mara]\nclips: [{name: hero}]\n"
    )
    (row,) = json.loads(run("characters", "list", "--json").output)
    assert (row["character"], row["state"], row["id"], row["cast_by"]) == (
        "mara",
        "not made yet",
        None,
        ["city"],
    )
    assert "not made yet" in run("characters", "list").output
    failed = run("characters", "make", "marra")
    assert isinstance(failed.exception, ConfigurationError)
    assert "did you mean 'mara'?" in str(failed.exception)


def test_a_fallback_is_never_shown_without_the_ordered_endpoint(home: Path):
    from rich.console import Console

    declarations = load_series(home / "data", Catalogue.load(MODELS))
    request = declarations.render(declarations.find("city-2026-11-20-hero"))
    with open_ledger(load_settings()) as ledger:
        decide(ledger, [request], Decision("monday"))
        claimed = claim_next(ledger, "wavespeed", PostTerms(Limits(), 30))
        assert isinstance(claimed, Submission)
        record_outcome(ledger, claimed, Rejected(FailureKind.MODERATION, "no", 400))
        (newest,) = ledger.overview()
    document = as_document(newest)
    assert (document["endpoint"], document["asked_for"]) == (
        "bytedance/seedance-2.0/text-to-video",
        request.endpoint,
    )
    console = Console(width=250, record=True, file=io.StringIO())
    console.print(status_table([newest], long=True, now=newest.created_at))
    shown = " ".join(console.export_text().split())
    assert "bytedance/seedance-2.0/text-to-video (instead of openai/sora-2/text-to-video)" in shown
