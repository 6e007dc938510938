"""The submit protocol in the ledger: what may be sent when, and the effect of every answer, however late."""

import shutil
from itertools import product
from pathlib import Path

import pytest
import sqlalchemy as sa
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgerkit import (
    ACCOUNT,
    DEADLINE,
    LEGAL_MONEY,
    NEVER_CHARGED,
    NO_LIMITS,
    a_request,
    a_state,
    accepted,
    claimed,
    everything,
    put_into,
    queued,
    read,
    rejected,
    submission_state,
    submitted,
    the_journal_is_whole,
    unknown,
)

from proof.clock import Clock
from resources.ledger import polls, queue
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.limits import LEASE_MARGIN_SECONDS, THROTTLE_SECONDS, Later, Limits
from resources.ledger.outcomes import NOT_SENT_SECONDS, expire_submissions, record_outcome
from resources.ledger.queue import PostTerms, claim_next, withdraw, withdraw_stale
from resources.ledger.records import Submission
from resources.ledger.schema import accounts, jobs
from resources.ledger.states import IN_FLIGHT, TRANSITIONS, AttemptState, MoneyState, SubmissionState
from resources.ledger.transaction import ForbiddenTransitionError, StaleAttemptError
from resources.providers.base import Accepted, FailureKind, NotSent, Rejected, SubmitOutcome

LEASE = DEADLINE + LEASE_MARGIN_SECONDS
S = AttemptState


def next_claim(
    ledger: Ledger, limits: Limits = NO_LIMITS, account: str = ACCOUNT
) -> Submission | Later | None:
    return claim_next(ledger, account, PostTerms(limits, DEADLINE), run_id="run-1")


def must_wait(ledger: Ledger, limits: Limits = NO_LIMITS) -> Later:
    later = next_claim(ledger, limits)
    assert isinstance(later, Later), later
    return later


def booked(ledger: Ledger) -> dict[str, str | None]:
    """The submission of every known job."""
    with ledger.read() as connection:
        rows = connection.execute(sa.select(jobs.c.job_id, jobs.c.submission_id))
        return {row.job_id: row.submission_id for row in rows}


# Claiming


def test_an_empty_queue_has_nothing_to_send(ledger: Ledger) -> None:
    assert next_claim(ledger) is None


def test_a_claim_is_committed_before_its_post_can_be_sent(ledger: Ledger, clock: Clock) -> None:
    attempt = queued(ledger)
    submission = claimed(ledger)
    assert submission.attempt.id == attempt.id
    assert submission.attempt.state is S.SUBMITTING
    assert read(ledger, attempt) == submission.attempt
    assert submission_state(ledger, submission) is SubmissionState.OPEN
    assert submission.attempt.overdue_at == clock.now + attempt.request.max_seconds
    assert submission.id in ledger.history(attempt.id)[-1]["why"]


def test_a_purchase_is_claimed_once(ledger: Ledger) -> None:
    queued(ledger)
    claimed(ledger)
    assert next_claim(ledger) is None


def test_each_account_has_its_own_queue(ledger: Ledger) -> None:
    queued(ledger, a_request("clip-a", provider="aimlapi"))
    assert next_claim(ledger) is None
    assert claimed(ledger, account="aimlapi").attempt.subject_key == "clip-a"


def test_first_in_first_out_also_after_a_throttled_purchase_returned(ledger: Ledger, clock: Clock) -> None:
    for letter in "abc":
        queued(ledger, a_request(f"clip-{letter}"))
    first, second = claimed(ledger), claimed(ledger)
    record_outcome(ledger, second, rejected(FailureKind.THROTTLED))
    record_outcome(ledger, first, rejected(FailureKind.THROTTLED))
    clock.forward(THROTTLE_SECONDS)
    assert [claimed(ledger).attempt.subject_key for _ in range(3)] == ["clip-a", "clip-b", "clip-c"]


def test_no_more_jobs_are_in_flight_than_there_are_places(ledger: Ledger) -> None:
    limits = Limits(in_flight=2)
    for letter in "abcd":
        queued(ledger, a_request(f"clip-{letter}"))
    first = claimed(ledger, limits=limits)
    record_outcome(ledger, first, accepted("job-1"))
    second = claimed(ledger, limits=limits)
    assert "2 places" in must_wait(ledger, limits).why
    record_outcome(ledger, second, rejected())
    third = claimed(ledger, limits=limits)
    must_wait(ledger, limits)
    record_outcome(ledger, third, unknown())
    must_wait(ledger, limits)
    attempt = polls.record_end(ledger, read(ledger, first.attempt), a_state(), NEVER_CHARGED)
    assert attempt.state not in IN_FLIGHT
    assert claimed(ledger, limits=limits).attempt.subject_key == "clip-d"


@pytest.mark.parametrize("state", [S.SUBMITTED, S.UNKNOWN])
def test_an_overlong_job_frees_its_place_and_keeps_its_money(
    ledger: Ledger, clock: Clock, state: AttemptState
) -> None:
    _, attempt = put_into(ledger, clock, state)
    queued(ledger, a_request("clip-b"))
    must_wait(ledger, Limits(in_flight=1))
    clock.forward(attempt.request.max_seconds)
    assert claimed(ledger, limits=Limits(in_flight=1)).attempt.subject_key == "clip-b"
    assert read(ledger, attempt).money_state in LEGAL_MONEY[state]


def test_submits_a_minute_are_a_sliding_window(ledger: Ledger, clock: Clock) -> None:
    limits = Limits(per_minute=2)
    start = clock.now
    for letter in "abcd":
        queued(ledger, a_request(f"clip-{letter}"))
    record_outcome(ledger, claimed(ledger, limits=limits), accepted("job-1"))
    clock.forward(20)
    record_outcome(ledger, claimed(ledger, limits=limits), accepted("job-2"))
    assert must_wait(ledger, limits).at == start + 60
    clock.now = start + 59.9
    must_wait(ledger, limits)
    clock.now = start + 60
    record_outcome(ledger, claimed(ledger, limits=limits), accepted("job-3"))
    assert must_wait(ledger, limits).at == start + 80


def test_the_minute_begins_when_a_submit_has_surely_arrived(ledger: Ledger, clock: Clock) -> None:
    """The provider counts from the arrival, which lies between our claim and its answer."""
    limits = Limits(per_minute=1)
    queued(ledger, a_request("clip-a"))
    queued(ledger, a_request("clip-b"))
    submission = claimed(ledger, limits=limits)
    clock.forward(7)
    record_outcome(ledger, submission, accepted("job-1"))
    assert must_wait(ledger, limits).at == clock.now + 60


def test_the_minute_of_a_submit_whose_poster_died_begins_at_its_deadline(
    ledger: Ledger, clock: Clock
) -> None:
    limits = Limits(per_minute=1)
    queued(ledger, a_request("clip-a"))
    queued(ledger, a_request("clip-b"))
    claimed(ledger, limits=limits)
    start = clock.now
    clock.forward(DEADLINE + LEASE_MARGIN_SECONDS + 1)
    expire_submissions(ledger, ACCOUNT)
    assert must_wait(ledger, limits).at == start + DEADLINE + 60


def test_a_small_account_gets_one_post_at_a_time_so_that_none_overtakes(ledger: Ledger, clock: Clock) -> None:
    limits = Limits(per_minute=2, in_flight=2)
    for letter in "ab":
        queued(ledger, a_request(f"clip-{letter}"))
    first = claimed(ledger, limits=limits)
    assert must_wait(ledger, limits).posting
    record_outcome(ledger, first, accepted())
    assert claimed(ledger, limits=limits).attempt.subject_key == "clip-b"


def test_a_dead_poster_does_not_block_a_small_account_for_ever(ledger: Ledger, clock: Clock) -> None:
    for letter in "ab":
        queued(ledger, a_request(f"clip-{letter}"))
    claimed(ledger)
    clock.forward(DEADLINE + LEASE_MARGIN_SECONDS)
    assert claimed(ledger, limits=Limits(in_flight=2)).attempt.subject_key == "clip-b"


def test_the_pause_grows_while_every_try_is_throttled_and_shrinks_after_an_order(
    ledger: Ledger, clock: Clock
) -> None:
    queued(ledger)
    pauses = []
    for _ in range(7):
        submission = claimed(ledger)
        clock.forward(1)
        record_outcome(ledger, submission, rejected(FailureKind.THROTTLED))
        pauses.append(must_wait(ledger).at - clock.now)
        clock.forward(pauses[-1])
    assert pauses == [30, 60, 120, 240, 480, 600, 600]
    record_outcome(ledger, claimed(ledger), accepted())
    queued(ledger, a_request("clip-b"))
    clock.forward(1)
    record_outcome(ledger, claimed(ledger), rejected(FailureKind.THROTTLED))
    assert must_wait(ledger).at - clock.now == THROTTLE_SECONDS


def test_throttled_posts_that_were_in_flight_together_count_as_one_throttle(
    ledger: Ledger, clock: Clock
) -> None:
    for number in range(8):
        queued(ledger, a_request(f"clip-{number}"))
    together = [claimed(ledger) for _ in range(8)]
    clock.forward(1)
    for submission in together:
        record_outcome(ledger, submission, rejected(FailureKind.THROTTLED))
    assert must_wait(ledger).at - clock.now == THROTTLE_SECONDS


def test_a_longer_wait_that_a_provider_requests_is_obeyed(ledger: Ledger, clock: Clock) -> None:
    queued(ledger)
    record_outcome(ledger, claimed(ledger), rejected(FailureKind.THROTTLED, retry_after=700))
    assert must_wait(ledger).at - clock.now == 700


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (NotSent("refused"), False),
        (rejected(), True),
        (rejected(FailureKind.THROTTLED), True),
        (unknown(), True),
    ],
)
def test_only_a_post_that_was_surely_not_sent_frees_its_place_in_the_minute(
    ledger: Ledger, clock: Clock, outcome: SubmitOutcome, counts: bool
) -> None:
    queued(ledger, a_request("clip-a"))
    queued(ledger, a_request("clip-b"))
    record_outcome(ledger, claimed(ledger), outcome)
    clock.forward(31)
    assert isinstance(next_claim(ledger, Limits(per_minute=1)), Later) is counts


@pytest.mark.slow
@settings(max_examples=examples(8))
@given(
    places=st.integers(1, 4),
    per_minute=st.integers(1, 4),
    steps=st.lists(st.tuples(st.floats(0, 50), st.sampled_from(["send", "end", "lose"])), max_size=40),
)
def test_whatever_happens_no_limit_is_exceeded_and_the_order_is_kept(
    tmp_path_factory: pytest.TempPathFactory,
    sqlite_template: Path,
    places: int,
    per_minute: int,
    steps: list[tuple[float, str]],
) -> None:
    clock = Clock()
    file = shutil.copyfile(sqlite_template, tmp_path_factory.mktemp("limits") / "ledger.db")
    with Ledger(f"sqlite:///{file}", clock=clock, budget=Budget()) as ledger:
        for number in range(40):
            queued(ledger, a_request(f"clip-{number:02}"))
        sent: list[float] = []
        order: list[str] = []
        flying: list[Submission] = []
        for wait, what in steps:
            clock.forward(wait)
            if what == "send":
                submission = next_claim(ledger, Limits(in_flight=places, per_minute=per_minute))
                free = len(flying) < places and len([t for t in sent if t > clock.now - 60]) < per_minute
                assert isinstance(submission, Submission) is free
                if isinstance(submission, Submission):
                    sent.append(clock.now)
                    order.append(submission.attempt.subject_key)
                    record_outcome(ledger, submission, accepted(submission.id))
                    flying.append(submission)
                else:
                    assert isinstance(submission, Later)
                    assert submission.at > clock.now
            elif flying and what == "end":
                polls.record_end(ledger, read(ledger, flying.pop().attempt), a_state(), NEVER_CHARGED)
        assert order == sorted(order)


def test_while_a_submit_is_unknown_others_of_its_endpoint_go_one_at_a_time(ledger: Ledger) -> None:
    queued(ledger, a_request("clip-a"))
    record_outcome(ledger, claimed(ledger), unknown())
    for letter in "bcd":
        queued(ledger, a_request(f"clip-{letter}"))
    queued(ledger, a_request("clip-e", endpoint="bytedance/seedance"))
    one = claimed(ledger)
    assert one.attempt.subject_key == "clip-b"
    other_endpoint = claimed(ledger)
    assert other_endpoint.attempt.subject_key == "clip-e"
    assert must_wait(ledger).posting
    record_outcome(ledger, one, accepted("job-b"))
    assert claimed(ledger).attempt.subject_key == "clip-c"
    must_wait(ledger)


def test_an_unknown_post_of_another_account_delays_none(ledger: Ledger) -> None:
    queued(ledger, a_request("clip-a", provider="aimlapi"))
    record_outcome(ledger, claimed(ledger, account="aimlapi"), unknown())
    for letter in "bc":
        queued(ledger, a_request(f"clip-{letter}"))
    claimed(ledger)
    claimed(ledger)


def test_a_throttled_submit_pauses_the_account_and_not_the_clip(ledger: Ledger, clock: Clock) -> None:
    for letter in "ab":
        queued(ledger, a_request(f"clip-{letter}"))
    attempt = record_outcome(ledger, claimed(ledger), rejected(FailureKind.THROTTLED, retry_after=45))
    assert (attempt.state, attempt.money_state) == (S.QUEUED, MoneyState.RESERVED)
    assert attempt.overdue_at is None
    later = must_wait(ledger)
    assert later.at == clock.now + 45
    assert "pause" in later.why
    clock.forward(45)
    assert claimed(ledger).attempt.subject_key == "clip-a"


@pytest.mark.parametrize(
    ("retry_after", "pause"),
    [(None, THROTTLE_SECONDS), (0.0, 0.0), (-5.0, 0.0), (3.5, 3.5), (float("nan"), 0.0)],
)
def test_how_long_a_throttled_account_waits(
    ledger: Ledger, clock: Clock, retry_after: float | None, pause: float
) -> None:
    queued(ledger)
    record_outcome(ledger, claimed(ledger), rejected(FailureKind.THROTTLED, retry_after=retry_after))
    with ledger.read() as connection:
        assert (
            connection.execute(
                sa.select(accounts.c.not_before).where(accounts.c.account == ACCOUNT)
            ).scalar_one()
            == clock.now + pause
        )
    clock.forward(pause)
    claimed(ledger)


def test_a_longer_pause_is_not_shortened_by_a_shorter_one(ledger: Ledger, clock: Clock) -> None:
    for letter in "ab":
        queued(ledger, a_request(f"clip-{letter}"))
    first, second = claimed(ledger), claimed(ledger)
    record_outcome(ledger, first, rejected(FailureKind.THROTTLED, retry_after=100))
    record_outcome(ledger, second, NotSent("connection refused"))
    assert must_wait(ledger).at == clock.now + 100


def test_a_purchase_that_was_not_sent_keeps_its_place_and_waits_a_moment(
    ledger: Ledger, clock: Clock
) -> None:
    for letter in "ab":
        queued(ledger, a_request(f"clip-{letter}"))
    submission = claimed(ledger)
    attempt = record_outcome(ledger, submission, NotSent("connection refused"))
    assert (attempt.state, attempt.money_state) == (S.QUEUED, MoneyState.RESERVED)
    assert submission_state(ledger, submission) is SubmissionState.NOT_SENT
    assert must_wait(ledger).at == clock.now + NOT_SENT_SECONDS
    clock.forward(NOT_SENT_SECONDS)
    assert claimed(ledger).attempt.id == attempt.id


# Outcomes

OUTCOMES: dict[str, SubmitOutcome] = {
    "accepted": Accepted("late-job", "openai/sora-2", {}),
    "rejected": rejected(),
    "throttled": rejected(FailureKind.THROTTLED),
    "not sent": NotSent("connection refused"),
    "unknown": unknown(),
}
COMES_TO: dict[tuple[AttemptState, str], AttemptState] = {
    (S.SUBMITTING, "accepted"): S.SUBMITTED,
    (S.SUBMITTING, "rejected"): S.REJECTED,
    (S.SUBMITTING, "throttled"): S.QUEUED,
    (S.SUBMITTING, "not sent"): S.QUEUED,
    (S.SUBMITTING, "unknown"): S.UNKNOWN,
    (S.UNKNOWN, "accepted"): S.SUBMITTED,
    (S.UNKNOWN, "rejected"): S.ABSENT,
    (S.UNKNOWN, "throttled"): S.ABSENT,
    (S.UNKNOWN, "not sent"): S.ABSENT,
    (S.HELD, "accepted"): S.SUBMITTED,
    (S.HELD, "rejected"): S.ABSENT,
    (S.HELD, "throttled"): S.ABSENT,
    (S.HELD, "not sent"): S.ABSENT,
    (S.ABANDONED, "accepted"): S.ABANDONED,
}
"""All values that an answer can change; every other value stays. The job of a written-off purchase takes its money over."""


@pytest.mark.parametrize(("state", "answer"), list(product(sorted(set(S)), OUTCOMES)))
def test_every_answer_in_every_state(ledger: Ledger, clock: Clock, state: AttemptState, answer: str) -> None:
    submission, before = put_into(ledger, clock, state)
    jobs_before = booked(ledger)
    after = record_outcome(ledger, submission, OUTCOMES[answer], run_id="run-9")
    assert after.state is COMES_TO.get((state, answer), state)
    assert after == read(ledger, before)
    assert after.money_state in LEGAL_MONEY[after.state]
    the_journal_is_whole(ledger, after)
    new_jobs = {"late-job": submission.id} if answer == "accepted" else {}
    assert booked(ledger) == jobs_before | new_jobs
    if (state, answer) in COMES_TO:
        assert after.version == before.version + 1
        assert ledger.history(after.id)[-1]["run_id"] == "run-9"
    else:
        assert after == before
    if after.state is S.SUBMITTED and before.state is not S.SUBMITTED:
        assert (after.job_id, after.served_model) == ("late-job", "openai/sora-2")
        assert (after.submitted_at, after.next_poll_at) == (clock.now, clock.now)
        assert after.overdue_at == clock.now + after.request.max_seconds
        assert after.reason is None
    if after.state in {S.REJECTED, S.ABSENT} and before.state is not after.state:
        assert after.reason
        assert after.finished_at == clock.now


@pytest.mark.parametrize(("first", "second"), list(product(OUTCOMES, OUTCOMES)))
def test_the_first_definite_answer_stays_and_a_repeat_changes_nothing(
    ledger: Ledger, first: str, second: str
) -> None:
    queued(ledger)
    submission = claimed(ledger)
    one = record_outcome(ledger, submission, OUTCOMES[first])
    state_of_post = submission_state(ledger, submission)
    two = record_outcome(ledger, submission, OUTCOMES[second])
    if first == "unknown":
        assert two.state is COMES_TO.get((S.UNKNOWN, second), S.UNKNOWN)
    else:
        assert two == one
        assert submission_state(ledger, submission) is state_of_post
    assert ("late-job" in booked(ledger)) is ("accepted" in {first, second})


@pytest.mark.parametrize("late", OUTCOMES)
def test_an_answer_to_an_earlier_post_does_not_change_the_post_in_flight(
    ledger: Ledger, clock: Clock, late: str
) -> None:
    queued(ledger)
    first = claimed(ledger)
    record_outcome(ledger, first, rejected(FailureKind.THROTTLED))
    clock.forward(THROTTLE_SECONDS)
    second = claimed(ledger)
    assert record_outcome(ledger, first, OUTCOMES[late]) == second.attempt
    assert submission_state(ledger, second) is SubmissionState.OPEN
    assert booked(ledger) == ({"late-job": first.id} if late == "accepted" else {})


def test_a_job_id_is_booked_once_for_the_post_that_received_it_first(ledger: Ledger) -> None:
    attempt = submitted(ledger, job_id="job-1")
    queued(ledger, a_request("clip-b"))
    again = claimed(ledger)
    record_outcome(ledger, again, accepted("job-1"))
    assert list(booked(ledger)) == ["job-1"]
    assert ledger.submission_of(ACCOUNT, "job-1") not in {None, again.id}
    assert ledger.submission_of(ACCOUNT, "never-seen") is None
    assert read(ledger, attempt).job_id == "job-1"


def test_the_longest_valid_job_id_is_stored_completely(ledger: Ledger) -> None:
    longest = "j" * 512
    assert submitted(ledger, job_id=longest).job_id == longest
    assert list(booked(ledger)) == [longest]


ODD = ["nul \0 here", "half a pair \ud83d", "x" * 100_000, "", "emoji 🎬", "quote ' and \\ and % and {}"]


@pytest.mark.parametrize("words", ODD)
def test_no_text_of_a_provider_prevents_recording_its_answer(ledger: Ledger, words: str) -> None:
    for clip, outcome, state in (
        ("clip-a", Accepted("job-1", words, {}), S.SUBMITTED),
        ("clip-b", Rejected(FailureKind.INVALID, words, 400), S.REJECTED),
        ("clip-c", unknown(words), S.UNKNOWN),
        ("clip-d", NotSent(words), S.QUEUED),
    ):
        queued(ledger, a_request(clip))
        assert record_outcome(ledger, claimed(ledger), outcome).state is state


# Posters that died


def test_a_post_whose_poster_died_is_unknown_and_never_sent_again(ledger: Ledger, clock: Clock) -> None:
    queued(ledger)
    submission = claimed(ledger)
    clock.forward(LEASE)
    assert expire_submissions(ledger, ACCOUNT) == []
    clock.forward(0.001)
    (attempt,) = expire_submissions(ledger, ACCOUNT)
    assert (attempt.state, attempt.money_state) == (S.UNKNOWN, MoneyState.INDETERMINATE)
    assert attempt.reason is not None
    assert "not sent again" in attempt.reason
    assert submission_state(ledger, submission) is SubmissionState.UNKNOWN
    assert expire_submissions(ledger, ACCOUNT) == []
    clock.forward(10 * attempt.request.max_seconds)
    assert next_claim(ledger) is None
    the_journal_is_whole(ledger, attempt)


def test_an_answered_post_does_not_expire_and_neither_does_another_account(
    ledger: Ledger, clock: Clock
) -> None:
    attempt = submitted(ledger)
    queued(ledger, a_request("clip-b", provider="aimlapi"))
    claimed(ledger, account="aimlapi")
    clock.forward(LEASE + 1)
    assert expire_submissions(ledger, ACCOUNT) == []
    assert read(ledger, attempt) == attempt


# Withdrawing


@pytest.mark.parametrize("state", sorted(set(S)))
def test_only_unsent_purchases_are_withdrawn(ledger: Ledger, clock: Clock, state: AttemptState) -> None:
    _, before = put_into(ledger, clock, state)
    withdrawn = withdraw(ledger, [before.id], why="not sent: no key", kind=FailureKind.AUTH, run_id="run-1")
    if state is not S.QUEUED:
        assert withdrawn == []
        assert read(ledger, before) == before
        return
    (attempt,) = withdrawn
    assert (attempt.state, attempt.money_state) == (S.WITHDRAWN, MoneyState.RELEASED)
    assert (attempt.reason, attempt.reason_kind) == ("not sent: no key", FailureKind.AUTH)
    assert attempt.finished_at == clock.now
    assert attempt.cost_micros == 0
    the_journal_is_whole(ledger, attempt)


def test_a_purchase_that_was_queued_for_a_day_is_withdrawn(ledger: Ledger, clock: Clock) -> None:
    old = queued(ledger, a_request("clip-a"))
    clock.forward(3600)
    young = queued(ledger, a_request("clip-b"))
    other = queued(ledger, a_request("clip-c", provider="aimlapi"))
    clock.forward(23 * 3600 + 1)
    (given_up,) = withdraw_stale(ledger, ACCOUNT, older_than_seconds=24 * 3600)
    assert given_up.id == old.id
    assert given_up.reason is not None
    assert "24 h" in given_up.reason
    assert {read(ledger, a).state for a in (young, other)} == {S.QUEUED}
    assert queue.queue_length(ledger, ACCOUNT) == 1


# the only way to change a state


def test_a_writer_with_an_old_version_changes_nothing(ledger: Ledger) -> None:
    attempt = queued(ledger)
    claimed(ledger)
    before = everything(ledger)
    with pytest.raises(StaleAttemptError), ledger.transaction(who="test", run_id=None) as tx:
        tx.transition(attempt, S.WITHDRAWN)
    assert everything(ledger) == before
    the_journal_is_whole(ledger, before[0])


def test_the_transitions_are_those_of_the_designs_table() -> None:
    assert {
        S.QUEUED: {S.SUBMITTING, S.WITHDRAWN},
        S.SUBMITTING: {S.QUEUED, S.SUBMITTED, S.REJECTED, S.UNKNOWN},
        S.UNKNOWN: {S.SUBMITTED, S.ABSENT, S.HELD},
        S.HELD: {S.SUBMITTED, S.ABSENT, S.ABANDONED},
        S.SUBMITTED: {S.SUCCEEDED, S.FAILED, S.VANISHED, S.OVERDUE},
        S.OVERDUE: {S.SUCCEEDED, S.FAILED, S.VANISHED, S.ABANDONED},
        S.SUCCEEDED: {S.DELIVERED, S.QUARANTINED, S.LOST},
        S.QUARANTINED: {S.DELIVERED},
    } == TRANSITIONS


@pytest.mark.parametrize("state", sorted(set(S)))
def test_a_forbidden_transition_is_refused_and_changes_nothing(
    ledger: Ledger, clock: Clock, state: AttemptState
) -> None:
    _, attempt = put_into(ledger, clock, state)
    for to in set(S) - TRANSITIONS.get(state, frozenset()):
        with (
            pytest.raises(ForbiddenTransitionError, match=f"{to} may not follow {state}"),
            ledger.transaction(who="test", run_id=None) as tx,
        ):
            tx.transition(attempt, to)
    assert read(ledger, attempt) == attempt
    the_journal_is_whole(ledger, attempt)
