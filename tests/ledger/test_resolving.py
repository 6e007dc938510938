"""How a person settles a clip whose order could not be traced, and the effects."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ledgerkit import a_request, accepted, claimed, put_into, queued, read, the_journal_is_whole
from typer.testing import CliRunner

from pipelines.cli.app import app
from proof.clock import Clock
from resources.errors import DailiesError
from resources.ledger import late_jobs, outcomes
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.lost import closures
from resources.ledger.lost.settle import adopt_named_job, buy_again, unsettled, write_off
from resources.ledger.records import Attempt
from resources.ledger.schema import attempts, jobs, listings, submissions
from resources.ledger.states import AttemptState, MoneyState
from resources.providers.base import FailureKind, JobState, JobStatus, PollFailed, Unknown

S = AttemptState
CLIP = "city-sunset"
CANDIDATE = {
    "job": "job-x",
    "model": "sora",
    "created_at": 1_800_000_001.0,
    "status": "running",
    "charged_usd": "0.4",
}
SAYS: dict[str, Any] = {"who": "person ann", "why": "seen on the provider's page"}


def held(ledger: Ledger, clock: Clock) -> Attempt:
    submission, attempt = put_into(ledger, clock, S.UNKNOWN)
    with ledger.transaction(who="reconciler", run_id=None) as tx:
        tx.connection.execute(
            sa.update(submissions).where(submissions.c.id == submission.id).values(candidates=[CANDIDATE])
        )
        return closures.hold(tx, attempt, "two jobs may belong to it", [CANDIDATE])


def test_unknown_and_held_purchases_are_listed_with_their_candidates(ledger: Ledger, clock: Clock) -> None:
    attempt = held(ledger, clock)
    queued(ledger, a_request("other"))
    outcomes.record_outcome(ledger, claimed(ledger), Unknown("read timed out"))
    queued(ledger, a_request("third"))
    outcomes.record_outcome(ledger, claimed(ledger), accepted("job-3"))
    first, second = unsettled(ledger)
    assert (first.attempt, first.candidates) == (attempt, [CANDIDATE])
    assert (second.attempt.subject_key, second.attempt.state, second.candidates) == ("other", S.UNKNOWN, [])
    assert unsettled(ledger, clip="other") == [second]


@pytest.mark.parametrize("state", [S.UNKNOWN, S.HELD])
def test_a_job_that_a_person_names_is_polled_like_any_other(
    ledger: Ledger, clock: Clock, state: AttemptState
) -> None:
    _, attempt = put_into(ledger, clock, state)
    adopted = adopt_named_job(ledger, CLIP, "job-x", **SAYS)
    assert (adopted.state, adopted.money_state, adopted.job_id) == (S.SUBMITTED, MoneyState.RESERVED, "job-x")
    assert adopted.next_poll_at == clock()
    the_journal_is_whole(ledger, read(ledger, attempt))
    entry = ledger.history(attempt.id)[-1]
    assert entry["who"].startswith("person ann")
    assert "seen on the provider's page" in entry["why"]
    with ledger.read() as connection:
        row = connection.execute(sa.select(jobs).where(jobs.c.job_id == "job-x")).one()
    assert (row.attempt_id, row.source) == (attempt.id, "person")


def test_a_job_of_another_purchase_is_refused(ledger: Ledger, clock: Clock) -> None:
    queued(ledger, a_request("other"))
    outcomes.record_outcome(ledger, claimed(ledger), accepted("job-x"))
    attempt = held(ledger, clock)
    with pytest.raises(DailiesError, match="belongs to another purchase"):
        adopt_named_job(ledger, CLIP, "job-x", **SAYS)
    assert read(ledger, attempt) == attempt


def test_a_clip_without_a_job_by_a_persons_word_is_bought_again_in_its_decision(
    ledger: Ledger, clock: Clock
) -> None:
    attempt = held(ledger, clock)
    absent, again = buy_again(ledger, CLIP, **SAYS)
    assert (absent.id, absent.state, absent.money_state) == (attempt.id, S.ABSENT, MoneyState.RELEASED)
    assert (again.state, again.decision, again.subject_key) == (S.QUEUED, attempt.decision, CLIP)
    the_journal_is_whole(ledger, absent)
    assert unsettled(ledger) == []


def test_a_late_answer_after_that_is_booked_as_a_job_of_the_old_attempt(ledger: Ledger, clock: Clock) -> None:
    submission, attempt = put_into(ledger, clock, S.HELD)
    buy_again(ledger, CLIP, **SAYS)
    outcomes.record_outcome(ledger, submission, accepted("late"))
    assert read(ledger, attempt).state is S.ABSENT
    assert ledger.submission_of("wavespeed", "late") == submission.id


def test_an_abandoned_clip_keeps_its_money_counted_and_can_be_decided_anew(
    ledger: Ledger, clock: Clock
) -> None:
    held(ledger, clock)
    given_up = write_off(ledger, CLIP, **SAYS)
    assert (given_up.state, given_up.money_state) == (S.ABANDONED, MoneyState.INDETERMINATE)
    the_journal_is_whole(ledger, given_up)
    (same,) = decide(ledger, [a_request()], Decision("monday"))
    assert same.ruling is Ruling.REFUSED
    (new,) = decide(ledger, [a_request()], Decision("tuesday"))
    assert new.ruling is Ruling.NEW


@pytest.mark.parametrize("verb", [buy_again, write_off])
def test_a_purchase_that_is_still_searched_for_can_only_be_given_a_job(
    ledger: Ledger, clock: Clock, verb: Any
) -> None:
    _, attempt = put_into(ledger, clock, S.UNKNOWN)
    with pytest.raises(DailiesError, match="still being searched for"):
        verb(ledger, CLIP, **SAYS)
    assert read(ledger, attempt) == attempt


def test_a_person_can_settle_a_purchase_during_its_search_with_a_confirmation(
    ledger: Ledger, clock: Clock
) -> None:
    _, attempt = put_into(ledger, clock, S.UNKNOWN)
    absent, again = buy_again(ledger, CLIP, anyway=True, **SAYS)
    assert (absent.state, absent.money_state, again.state) == (S.ABSENT, MoneyState.RELEASED, S.QUEUED)
    the_journal_is_whole(ledger, absent)
    told = [
        (entry["to_state"], entry["who"].startswith("person ann")) for entry in ledger.history(attempt.id)
    ]
    assert told[-2:] == [("held", True), ("absent", True)]
    outcomes.record_outcome(ledger, claimed(ledger), Unknown("read timed out"))
    given_up = write_off(ledger, CLIP, anyway=True, **SAYS)
    assert (given_up.state, given_up.money_state) == (S.ABANDONED, MoneyState.INDETERMINATE)


def test_an_abandoned_overdue_job_keeps_its_money_and_is_polled_again(ledger: Ledger, clock: Clock) -> None:
    put_into(ledger, clock, S.OVERDUE)
    overdue = late_jobs.overdue_of(ledger, CLIP)
    assert overdue is not None
    given_up = late_jobs.give_up(ledger, overdue, **SAYS)
    assert (given_up.state, given_up.money_state) == (S.ABANDONED, MoneyState.INDETERMINATE)
    the_journal_is_whole(ledger, given_up)
    (new,) = decide(ledger, [a_request()], Decision("tuesday"))
    assert new.ruling is Ruling.NEW
    clock.now += 2 * 3600
    (late,) = late_jobs.claim_late(ledger, "wavespeed")
    assert late.job_id == overdue.job_id


@pytest.mark.parametrize("state", [S.QUEUED, S.SUBMITTED, S.SUCCEEDED, S.DELIVERED, S.ABSENT, S.ABANDONED])
def test_only_unknown_held_and_overdue_purchases_can_be_settled(
    ledger: Ledger, clock: Clock, state: AttemptState
) -> None:
    _, attempt = put_into(ledger, clock, state)
    with pytest.raises(DailiesError, match="no purchase of city-sunset is unknown or held"):
        adopt_named_job(ledger, CLIP, "job-x", **SAYS)
    for verb in (buy_again, write_off):
        with pytest.raises(DailiesError, match="no purchase of city-sunset is unknown or held"):
            verb(ledger, CLIP, **SAYS)
    assert read(ledger, attempt) == attempt


# The command


@dataclass
class Knows:
    """A provider that knows some jobs."""

    jobs: dict[str, JobState | PollFailed]

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        assert age_seconds > 600  # a job of this age that is not listed is gone, not new
        gone = JobState(JobStatus.GONE, "HTTP 404", failure=FailureKind.GONE)
        return self.jobs.get(job_id, gone)

    async def aclose(self) -> None:
        pass


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`dailies resolve` on a ledger with one held clip."""
    url = f"sqlite:///{tmp_path}/ledger.db"
    monkeypatch.setenv("DAILIES_LEDGER_URL", url)
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("COLUMNS", "200")
    clock = Clock()
    with Ledger(url, clock=clock, budget=Budget()) as ledger:
        held(ledger, clock)

    monkeypatch.setenv("DAILIES_HOME", str(tmp_path))
    monkeypatch.setenv("WAVESPEED_API_KEY", "a-key")
    provider = Knows({"job-x": JobState(JobStatus.RUNNING, "processing", model="sora")})
    monkeypatch.setattr("pipelines.cli.resolve.build_provider", lambda _account: provider)

    def run(*options: str, answer: str | None = None) -> Any:
        return CliRunner().invoke(app, ["resolve", *options], input=answer)

    def state() -> AttemptState:
        with Ledger(url, budget=Budget()) as ledger:
            return ledger.latest([CLIP])[CLIP].state

    def make_unknown(why: str) -> None:
        """Make the clip's purchase unknown again, with a listing that cannot be read."""
        with Ledger(url, clock=clock, budget=Budget()) as ledger, ledger.write() as connection:
            connection.execute(sa.update(attempts).values(state=S.UNKNOWN.value))
            connection.execute(
                sa.insert(listings).values(account="wavespeed", failing_since=clock(), failure=why)
            )

    run.make_unknown = make_unknown  # type: ignore[attr-defined]
    run.state = state  # type: ignore[attr-defined]
    run.provider = provider  # type: ignore[attr-defined]
    return run


def test_a_job_that_the_provider_does_not_know_is_refused(command: Any) -> None:
    refused = command(CLIP, "--adopt", "job-y", "--yes")
    assert "knows no job job-y" in str(refused.exception)
    command.provider.jobs["job-x"] = PollFailed("HTTP 503")
    refused = command(CLIP, "--adopt", "job-x", "--yes")
    assert "could not be asked" in str(refused.exception)
    assert command.state() is S.HELD


def test_the_providers_state_of_a_job_is_shown_before_it_is_assigned(command: Any) -> None:
    shown = command(CLIP, "--adopt", "job-x", answer="n\n")
    assert "which says processing, sora" in shown.output
    assert command.state() is S.HELD


def test_a_clip_is_not_bought_again_beyond_a_cap(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAILIES_MAX_USD_PER_DAY", "0.1")
    assert command(CLIP, "--resubmit", "--yes").exit_code == 0
    assert command.state() is S.ABSENT


def test_the_command_lists_as_json(command: Any) -> None:
    import json

    document = json.loads(command("--json").stdout)
    (one,) = document["unsettled"]
    assert (one["clip"], one["state"], one["needs_a_person"]) == (CLIP, "held", True)
    assert one["candidates"] == [CANDIDATE]
    assert document["indeterminate_usd"] == "0.4"


def test_each_candidate_is_shown_with_its_time_its_price_and_the_command(command: Any) -> None:
    shown = " ".join(command().output.split())
    assert "job-x sora" in shown
    assert "2027-01-15 08:00:01 UTC" in shown
    assert "charged $0.4" in shown
    for way in ("--adopt job-x", "--resubmit", "--write-off"):
        assert f"`dailies resolve {CLIP} {way}`" in shown


def test_the_command_asks_before_it_does_anything(command: Any) -> None:
    refused = command(CLIP, "--resubmit", answer="n\n")
    assert refused.exit_code == 1
    assert "paid twice" in refused.output
    assert command.state() is S.HELD
    assert command(CLIP, "--resubmit", answer="y\n").exit_code == 0
    assert command.state() is S.QUEUED


@pytest.mark.parametrize(
    ("options", "state"),
    [(["--adopt", "job-x"], S.SUBMITTED), (["--write-off"], S.ABANDONED), (["--resubmit"], S.QUEUED)],
)
def test_the_command_settles_a_clip(command: Any, options: list[str], state: AttemptState) -> None:
    assert command(CLIP, *options, "--yes").exit_code == 0
    assert command.state() is state
    again = command(CLIP, *options, "--yes")
    assert again.exit_code != 0
    assert "no purchase of city-sunset" in str(again.exception)


@pytest.mark.parametrize(
    ("way", "state"), [("--resubmit", S.QUEUED), ("--write-off", S.ABANDONED), ("--adopt=job-x", S.SUBMITTED)]
)
def test_a_person_can_settle_an_unknown_clip_after_a_warning_about_the_missing_proof(
    command: Any, way: str, state: AttemptState
) -> None:
    command.make_unknown("the listing is closed for repairs")
    listed = command()
    assert "cannot be read since 2027-01-15" in listed.output.replace("\n", " ")
    refused = command(CLIP, way, answer="n\n")
    assert refused.exit_code == 1
    assert command.state() is S.UNKNOWN
    if not way.startswith("--adopt"):
        assert "is not known: the listing or bill of wavespeed cannot be read since" in refused.output
        assert "closed for repairs" in refused.output
    done = command(CLIP, way, "--yes")
    assert done.exit_code == 0
    assert command.state() is state
    if way == "--resubmit":
        assert "the clip is paid twice" in done.output


def test_the_command_requires_a_clip_and_exactly_one_way(command: Any) -> None:
    assert "choose one" in str(command(CLIP, "--resubmit", "--write-off", "--yes").exception)
    assert "name the clip to settle" in str(command("--resubmit").exception)
    assert command.state() is S.HELD
