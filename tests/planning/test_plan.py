"""Plans predict the effect of a decision, to the clip and to the cent, and change nothing."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from proof.clock import Clock
from resources.catalogue import Catalogue
from resources.ledger import deliveries, polls, stops
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.outcomes import expire_submissions, record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Attempt, Submission
from resources.ledger.schema import attempts, journal, spending
from resources.ledger.states import AttemptState
from resources.money import usd
from resources.orders import Caps
from resources.planning import DueClip, Plan, Planning, Selection, TakesAsked, Verb, due_clips
from resources.providers.base import Accepted, FailureKind, JobState, JobStatus, Rejected
from resources.providers.provider import Capabilities
from resources.series import Declarations, load_series

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
DAY = dt.date(2026, 11, 20)
NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
NAMES = "abcdef"
CAPABILITIES = Capabilities(echoes_submission_id=True, output_seconds=None, settle_seconds=60)
CITY = """\
name: city
endpoint: openai/sora-2/text-to-video
allow_retired: true
prompt: The {{ clip }} of a {{ mood }} city.
variables: {mood: calm}
matrix: {shot: [a, b, c, d, e, f]}
"""


def declared(folder: Path, *texts: str) -> Declarations:
    (folder / "series").mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts):
        (folder / "series" / f"{number}.yaml").write_text(text)
    found = load_series(folder, CATALOGUE)
    assert found.problems == []
    return found


@pytest.fixture
def clock() -> Clock:
    return Clock(NOON.timestamp())


@pytest.fixture
def ledger(sqlite_template: Path, tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    path = tmp_path / "ledger.db"
    path.write_bytes(sqlite_template.read_bytes())
    with Ledger(f"sqlite:///{path}", clock=clock, budget=Budget()) as opened:
        yield opened


def clips_on(declarations: Declarations, *names: str, day: dt.date = DAY) -> list[DueClip]:
    """All clips of some series, whether their schedule is due or not."""
    return [
        DueClip(clip, day, f"plan:{name}:{day}")
        for name in names
        for clip in declarations.series[name].clips(day)
    ]


def plan(declarations: Declarations, ledger: Ledger, *, regenerate: bool = False) -> Plan:
    found = clips_on(declarations, *declarations.series)
    return Planning(declarations, ledger, TakesAsked(regenerate=regenerate)).plan(found)


def verbs(made: Plan) -> dict[str, str]:
    return {clip.clip: clip.verb.value for clip in made.clips}


def bring(ledger: Ledger, declarations: Declarations, key: str, state: AttemptState, job: str) -> Attempt:
    """A clip whose newest purchase is in a given state."""
    request = declarations.render(declarations.find(key))
    (decided,) = decide(ledger, [request], Decision(f"earlier:{key}"))
    attempt = decided.attempt
    assert attempt is not None
    if state is AttemptState.QUEUED:
        return attempt
    claimed = claim_next(ledger, attempt.account, PostTerms(Limits(), 30))
    assert isinstance(claimed, Submission)
    if state in {AttemptState.UNKNOWN, AttemptState.HELD}:
        assert isinstance(ledger.clock, Clock)
        ledger.clock.now += 3600
        (attempt,) = expire_submissions(ledger, attempt.account)
        if state is AttemptState.HELD:
            with ledger.transaction(who="test", run_id=None) as tx:
                attempt = tx.transition(attempt, state, reason="nobody can say")
        return attempt
    if state is AttemptState.REJECTED:
        return record_outcome(ledger, claimed, Rejected(FailureKind.INVALID, "no", 400))
    attempt = record_outcome(ledger, claimed, Accepted(job, None, {}))
    if state is AttemptState.SUBMITTED:
        return attempt
    end = JobStatus.FAILED if state is AttemptState.FAILED else JobStatus.SUCCEEDED
    attempt = polls.record_end(
        ledger, attempt, JobState(end, end.value, outputs=("https://x/y",)), CAPABILITIES
    )
    if state is AttemptState.DELIVERED:
        return deliveries.record_delivered(ledger, attempt.id, {"uri": f"s3://b/{key}", "size": 1})
    return attempt


def rows(ledger: Ledger) -> list[list[tuple[object, ...]]]:
    with ledger.read() as connection:
        return [
            [tuple(row) for row in connection.execute(sa.select(table))]
            for table in (attempts, journal, spending)
        ]


BROUGHT = [
    None, AttemptState.QUEUED, AttemptState.UNKNOWN, AttemptState.HELD, AttemptState.REJECTED, AttemptState.SUBMITTED,
    AttemptState.FAILED, AttemptState.SUCCEEDED, AttemptState.DELIVERED,
]  # fmt: skip
AMOUNT = st.none() | st.integers(0, 8).map(lambda n: n * 200_000)
CAPS = st.builds(Caps, per_run=AMOUNT, per_day=AMOUNT, per_month=AMOUNT, total=st.none())


@pytest.mark.slow
@settings(max_examples=examples(25))
@given(
    history=st.lists(st.sampled_from(BROUGHT), min_size=6, max_size=6),
    changed=st.booleans(),
    regenerate=st.booleans(),
    everything=CAPS,
    account=CAPS,
    own=AMOUNT,
    stopped=st.sampled_from([None, "*", "wavespeed", "aimlapi"]),
)
def test_a_plan_predicts_what_the_decision_does(
    sqlite_template, tmp_path_factory, history, changed, regenerate, everything, account, own, stopped
):
    folder = tmp_path_factory.mktemp("data")
    budget = f"budget: {{total: '{own / 1_000_000:.2f}'}}\n" if own is not None else ""
    (folder / "ledger.db").write_bytes(sqlite_template.read_bytes())
    url = f"sqlite:///{folder}/ledger.db"
    clock = Clock()
    clock.now = NOON.timestamp() - 86_400
    with Ledger(url, clock=clock, budget=Budget()) as ledger:
        before = declared(folder, CITY)
        for number, (name, state) in enumerate(zip(NAMES, history, strict=True)):
            if state is AttemptState.QUEUED:
                continue
            if state is not None:
                bring(ledger, before, f"city-{name}", state, f"job-{number}")
        for name, state in zip(NAMES, history, strict=True):
            if state is AttemptState.QUEUED:
                bring(ledger, before, f"city-{name}", state, "")
        if stopped is not None:
            stops.stop(ledger, reason="a drill", account=stopped)
    after = declared(folder, CITY.replace("calm", "busy" if changed else "calm") + budget)
    clock.now = NOON.timestamp()
    limits = Budget(everything=everything, accounts={"wavespeed": account})
    with Ledger(url, clock=clock, budget=limits) as ledger:
        stood = rows(ledger)
        made = plan(after, ledger, regenerate=regenerate)
        assert rows(ledger) == stood
        requests = [clip.request for clip in made.clips if clip.request is not None]
        real = decide(ledger, requests, Decision(f"plan:city:{DAY}", regenerate=regenerate))
        said = {
            Ruling.NEW: {Verb.BUY},
            Ruling.ADOPTED: {Verb.ADOPT, Verb.HOLD},
            Ruling.REUSED: {Verb.REUSE},
            Ruling.REFUSED: {Verb.REFUSE},
        }
        for planned, decided in zip(made.clips, real, strict=True):
            assert planned.verb in said[decided.ruling], (planned, decided)
            if decided.ruling is Ruling.REFUSED:
                assert planned.reason == decided.reason
            if decided.ruling is Ruling.NEW:
                assert decided.attempt is not None
                assert planned.floor == planned.ceiling == decided.attempt.quoted_micros
        with ledger.read() as connection:
            counted: dict[tuple[str, ...], int] = {
                (row.of, row.name, row.period, row.key): row.spent_micros
                for row in connection.execute(sa.select(spending))
            }
        for line in made.caps:
            assert line.floor == line.ceiling == counted.get(tuple(line.scope), 0)
            assert line.floor <= max(line.cap, line.spent)


def test_every_verb_has_its_clips(tmp_path, ledger):
    declarations = declared(tmp_path, CITY)
    bring(ledger, declarations, "city-a", AttemptState.DELIVERED, "job-a")
    bring(ledger, declarations, "city-b", AttemptState.SUBMITTED, "job-b")
    bring(ledger, declarations, "city-c", AttemptState.HELD, "job-c")
    bring(ledger, declarations, "city-d", AttemptState.FAILED, "job-d")
    bring(ledger, declarations, "city-e", AttemptState.QUEUED, "job-e")
    made = plan(declarations, ledger)
    assert list(verbs(made).values()) == ["reuse", "adopt", "hold", "buy", "adopt", "buy"]
    assert (made.floor, made.ceiling) == (usd("0.80"), usd("0.80"))
    assert next(clip for clip in made.clips if clip.verb is Verb.HOLD).reason == "nobody can say"


def test_a_clip_that_waits_with_an_older_request_is_replaced_and_its_money_counted_once(tmp_path, ledger):
    bring(ledger, declared(tmp_path, CITY), "city-a", AttemptState.QUEUED, "")
    changed = declared(tmp_path, CITY.replace("calm", "busy") + "budget: {total: 2.40}\n")
    made = plan(changed, ledger)
    assert set(verbs(made).values()) == {"buy"}
    assert "replaces a queued purchase" in (made.clips[0].reason or "")
    (line,) = made.caps
    assert (line.spent, line.floor, line.cap) == (usd("0.40"), usd("2.40"), usd("2.40"))


def test_an_open_purchase_with_another_request_blocks_the_clip(tmp_path, ledger):
    bring(ledger, declared(tmp_path, CITY), "city-a", AttemptState.SUBMITTED, "job-1")
    made = plan(declared(tmp_path, CITY.replace("calm", "busy")), ledger)
    assert made.clips[0].verb is Verb.REFUSE
    assert "an earlier purchase of this clip with another request is still submitted" in (
        made.clips[0].reason or ""
    )


def test_a_clip_beyond_a_cap_is_refused_with_the_ledgers_reason(tmp_path, ledger):
    made = plan(declared(tmp_path, CITY + "budget: {per_day: 1}\n"), ledger)
    assert list(verbs(made).values()) == ["buy", "buy", *["refuse"] * 4]
    assert made.clips[2].reason == (
        "the cap of the series city for the day 2026-11-20 (UTC) is $1.00; $0.80 is spent or reserved and this clip needs "
        "$0.40: raise `budget.per_day` in its file. Nothing was bought."
    )


def test_each_tick_of_a_schedule_has_its_own_run_and_day(tmp_path, ledger):
    text = CITY + "schedule: {cron: 0 6 * * *}\nbudget: {per_run: 2.40, per_day: 2.40, per_month: 100}\n"
    declarations = declared(tmp_path, text)
    found = due_clips(declarations, Selection(since=DAY, until=dt.date(2026, 12, 2)), now=NOON)
    made = Planning(declarations, ledger).plan(found)
    assert made.counts == {Verb.BUY: 13 * 6}
    months = {line.scope.key: line.floor for line in made.caps if line.scope.period == "month"}
    assert months == {"2026-11": usd("2.40") * 11, "2026-12": usd("2.40") * 2}


def test_the_ceiling_counts_every_try(tmp_path, ledger):
    made = plan(declared(tmp_path, CITY + "max_attempts: 3\nbudget: {total: 3}\n"), ledger)
    assert (made.floor, made.ceiling) == (usd("2.40"), usd("7.20"))
    (line,) = made.caps
    assert (line.floor, line.ceiling, line.cap) == (usd("2.40"), usd("7.20"), usd(3))


UPPER_BOUND = """\
name: cards
endpoint: openai/sora-2-pro-t2v
provider: aimlapi
allow_retired: true
prompt: A pan.
clips: [{name: a}]
"""


def test_a_price_with_only_an_upper_bound_counts_in_the_ceiling_alone(tmp_path, ledger):
    made = plan(declared(tmp_path, UPPER_BOUND), ledger)
    assert (made.floor, made.ceiling) == (0, usd("2.00"))


def test_an_unknown_price_is_refused_unless_it_was_quoted(tmp_path, ledger):
    text = CITY.replace("openai/sora-2/text-to-video\n", "openai/sora-2\n")
    declarations = declared(tmp_path, text)
    made = plan(declarations, ledger)
    assert made.counts == {Verb.REFUSE: 6}
    assert "the price of openai/sora-2 with these parameters is unknown" in (made.clips[0].reason or "")
    # no quote was requested yet, and a purchase would request one: the plan must not read as if nothing helped
    assert "dailies plan --quote" in (made.clips[0].reason or "")
    found = clips_on(declarations, "city")
    (told,) = {clip.reason for clip in Planning(declarations, ledger, quotes={}).plan(found).clips}
    assert "Choose parameters with a known price" in (told or "")
    assert "--quote" not in (told or "")
    quotes = {clip.request.fingerprint: 250_000 for clip in made.clips if clip.request}
    found = clips_on(declarations, "city")
    assert Planning(declarations, ledger, quotes=quotes).plan(found).floor == 6 * 250_000


def test_a_quote_replaces_an_upper_bound(tmp_path, ledger):
    declarations = declared(tmp_path, UPPER_BOUND)
    found = clips_on(declarations, "cards")
    (request,) = Planning(declarations, ledger).requests(found).values()
    made = Planning(declarations, ledger, quotes={request.fingerprint: usd("1.30")}).plan(found)
    assert (made.floor, made.ceiling) == (usd("1.30"), usd("2.00"))


def test_a_changed_price_is_shown(tmp_path, ledger):
    declarations = declared(tmp_path, CITY)
    found = clips_on(declarations, "city")[:1]
    (request,) = Planning(declarations, ledger).requests(found).values()
    (clip,) = Planning(declarations, ledger, quotes={request.fingerprint: usd("0.50")}).plan(found).clips
    assert clip.reason == "its provider quotes $0.50 now, the catalogue says $0.40"
    assert (clip.floor, clip.ceiling) == (usd("0.40"), usd("0.50"))


def test_a_batch_with_one_clip_that_cannot_be_rendered_is_refused_as_a_whole(tmp_path, ledger):
    bad = "  - {name: last, prompt: '{% if x != 0 %}{{ y|weekday }}{% else %}z{% endif %}', variables: {y: no}}\n"
    many = "".join(f"  - {{name: c{n}}}\n" for n in range(199))
    days = "".join(f"  12-{day:02}: {{x: a}}\n" for day in range(1, 31))
    head = CITY.split("prompt:", maxsplit=1)[0]
    text = f"{head}dated: true\nprompt: '{{{{ x }}}}'\nvariables: {{x: 0}}\nclips:\n{many}{bad}dates:\n{days}"
    declarations = declared(tmp_path, text)
    found = clips_on(declarations, "city", day=dt.date(2026, 12, 24))
    made = Planning(declarations, ledger).plan(found)
    assert made.counts == {Verb.REFUSE: 200}
    assert "need a date as YYYY-MM-DD" in (made.clips[-1].reason or "")
    assert "a batch with one bad clip is refused whole" in (made.clips[0].reason or "")


def test_a_line_of_caps_fits_eighty_columns(tmp_path, ledger, capsys, monkeypatch):
    from pipelines.cli.plan_table import show
    from pipelines.cli.terminal import console

    monkeypatch.setattr(console, "_width", 80)
    show(plan(declared(tmp_path, f"{CITY}budget: {{per_run: 10, per_day: 20}}\n"), ledger))
    caps = [line for line in capsys.readouterr().out.splitlines() if line.startswith("series city ")]
    assert [line[: line.index(" $")].rstrip() for line in caps] == [
        f"series city day {DAY}",
        f"series city run {DAY}",
    ]
    assert max(map(len, caps)) <= 80


@pytest.mark.slow
def test_a_thousand_clips_are_planned_with_a_few_queries(tmp_path, ledger):
    """The duration is in docs/performance.md; a query for each clip would make it minutes for ten thousand."""
    clips = "".join(f"  - {{name: clip-{n}, variables: {{mood: mood {n}}}}}\n" for n in range(20))
    head = CITY.split("matrix:", maxsplit=1)[0]
    texts = [
        head.replace("name: city", f"name: city-{n}") + f"schedule: {{cron: 0 6 * * *}}\nbudget: {{per_month: 9000}}\nclips:\n{clips}"
        for n in range(10)
    ]  # fmt: skip
    declarations = declared(tmp_path, *texts)
    some = due_clips(declarations, Selection(since=DAY, until=DAY), now=NOON)
    decide(ledger, [declarations.render(one.clip) for one in some[::10]], Decision("earlier"))
    declarations = load_series(tmp_path, CATALOGUE)
    found = due_clips(declarations, Selection(since=DAY, until=DAY + dt.timedelta(days=4)), now=NOON)
    looks = []
    sa.event.listen(ledger._engine, "before_cursor_execute", lambda *_: looks.append(1))
    made = Planning(declarations, ledger).plan(found)
    assert made.counts == {Verb.BUY: 980, Verb.ADOPT: 20}
    assert 0 < len(looks) < 200


@pytest.mark.slow
def test_a_thousand_clips_are_shown_in_a_few_lines_and_written_completely(tmp_path, ledger, capsys):
    from pipelines.cli.plan import document
    from pipelines.cli.plan_table import show

    clips = "".join(f"  - {{name: clip-{n}}}\n" for n in range(200))
    head = CITY.split("matrix:", maxsplit=1)[0]
    declarations = declared(tmp_path, f"{head}schedule: {{cron: 0 6 * * *}}\nclips:\n{clips}")
    found = due_clips(declarations, Selection(since=DAY, until=DAY + dt.timedelta(days=4)), now=NOON)
    made = Planning(declarations, ledger).plan(found)
    show(made)
    written = json.dumps(document(made))
    assert len(json.loads(written)["clips"]) == 1000
    shown = capsys.readouterr().out
    assert "1000 clips: 1000 to buy" in shown
    assert "at least $400.00" in shown
    assert len(shown.splitlines()) < 20


def test_the_ceiling_counts_every_fallback_too(tmp_path, ledger):
    text = CITY.replace(
        "openai/sora-2/text-to-video\n", "openai/sora-2/text-to-video\nparameters: {duration: 4}\n"
    )
    text += "max_attempts: 2\nfallback: [{endpoint: bytedance/seedance-2.0/text-to-video}]\n"
    made = plan(declared(tmp_path, text), ledger)
    assert (made.floor, made.ceiling) == (6 * usd("0.40"), 6 * 2 * (usd("0.40") + usd("0.96")))


def test_a_clip_whose_character_was_not_made_is_refused(tmp_path, ledger):
    (tmp_path / "characters").mkdir()
    mara = "name: mara\nvideo: https://example.com/mara.mp4\nallow_retired: true\n"
    (tmp_path / "characters" / "mara.yaml").write_text(mara)
    made = plan(declared(tmp_path, CITY + "cast: [mara]\n"), ledger)
    assert made.counts == {Verb.REFUSE: 6}
    assert "is not made yet: run `dailies characters make mara`" in (made.clips[0].reason or "")


def test_retired_and_soon_retired_models_are_reported(tmp_path, ledger):
    made = plan(declared(tmp_path, CITY), ledger)
    (warning,) = made.warnings
    assert "openai/sora-2/text-to-video (city) is retired by its provider since 2026-09-24; use " in warning
    living = CITY.replace("openai/sora-2/text-to-video\n", "bytedance/seedance-2.0/text-to-video\n")
    assert plan(declared(tmp_path, living), ledger).warnings == []


def test_the_json_of_a_plan_is_complete(tmp_path, ledger):
    from pipelines.cli.plan import document, exit_code

    text = (
        CITY
        + "budget: {total: 1}\nfallback: [{endpoint: openai/sora-2/text-to-video, parameters: {duration: 8}}]\n"
    )
    made = plan(declared(tmp_path, text), ledger)
    written = json.loads(json.dumps(document(made)))
    assert written["counts"] == {"buy": 2, "refuse": 4}
    assert (written["floor_usd"], written["ceiling_usd"]) == ("0.8", "2.4")
    assert written["clips"][0]["fallbacks"][0]["body"]["duration"] == 8
    (cap,) = written["caps"]
    assert (cap["of"], cap["name"], cap["cap_usd"], cap["floor_usd"]) == ("series", "city", "1", "0.8")
    assert exit_code(made) == 1
    assert exit_code(plan(declared(tmp_path, CITY), ledger)) == 0
