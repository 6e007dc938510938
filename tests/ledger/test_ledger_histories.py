"""Any order of events, any answer, any crash: the invariants hold after every step.

The machine has its own model of the provider (which POST created which job), so that the ledger is compared with the events
and not with itself.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable

import sqlalchemy as sa
from examples import examples
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledgerkit import (
    ACCOUNT,
    CHARGED_FIRST,
    DEADLINE,
    NEVER_CHARGED,
    a_request,
    a_state,
    everything,
    read,
    the_journal_is_whole,
)

from proof.clock import START, Clock
from resources.ledger import deliveries, outcomes, polls, queue
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Later, Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Attempt, Submission
from resources.ledger.schema import jobs, journal, submissions
from resources.ledger.states import AT_PROVIDER, OPEN, AttemptState
from resources.providers.base import (
    Accepted,
    FailureKind,
    JobStatus,
    NotSent,
    Rejected,
    SubmitOutcome,
    Unknown,
)

LIMITS = Limits(in_flight=2, per_minute=4)
CLIPS = st.sampled_from(["clip-a", "clip-b", "clip-c"])
DECISIONS = st.sampled_from(["monday", "tuesday"])
PROMPTS = st.sampled_from(["dawn", "dusk"])
CREATES_NOTHING = st.one_of(
    st.builds(lambda kind: Rejected(kind, f"refused: {kind}", 400), st.sampled_from(FailureKind)),
    st.just(NotSent("connection refused")),
)
PICK = st.integers(0, 10_000)
LOOKS_FREE = {AttemptState.QUEUED, AttemptState.WITHDRAWN, AttemptState.REJECTED, AttemptState.ABSENT}


class Histories(RuleBasedStateMachine):
    """One ledger, one provider, and every event that can happen between them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.mkdtemp(prefix="histories-")
        self.clock = Clock()
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.db", clock=self.clock, budget=Budget())
        self.unanswered: list[Submission] = []
        self.posted: set[str] = set()
        self.created: dict[str, str] = {}
        """The provider's jobs, by submission."""
        self.told: set[str] = set()
        """Jobs whose id reached us in an answer."""
        self.lost: list[Submission] = []
        """POSTs that created a job which no answer named."""
        self.sent_at: dict[str, float] = {}
        self.polls: list[Attempt] = []
        self.delivered_in: dict[tuple[str, str], int] = {}

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # events

    @initialize()
    def begin(self) -> None:
        assert everything(self.ledger) == []

    @rule(seconds=st.sampled_from([0.5, 2.0, 20.0, 61.0, 200.0, 2000.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.forward(seconds)

    @rule(clip=CLIPS, decision=DECISIONS, prompt=PROMPTS, regenerate=st.booleans(), tries=st.integers(1, 3))
    def somebody_wants(self, clip: str, decision: str, prompt: str, regenerate: bool, tries: int) -> None:
        before = everything(self.ledger)
        mine = [a for a in before if (a.subject_key, a.decision) == (clip, decision)]
        request = a_request(clip, prompt=prompt, max_attempts=tries)
        (ruling,) = decide(self.ledger, [request], Decision(decision, regenerate=regenerate))
        new = [a for a in everything(self.ledger) if a.id not in {b.id for b in before}]
        assert len(new) == (ruling.ruling is Ruling.NEW)
        if any(a.state is AttemptState.DELIVERED for a in mine):
            assert ruling.ruling is not Ruling.NEW, "a decision that has delivered never buys again"
        if any(
            a.state in OPEN and a.state is not AttemptState.QUEUED for a in before if a.subject_key == clip
        ):
            assert ruling.ruling is not Ruling.NEW, "a purchase that may have been paid for is waited for"
        assert (ruling.reason is not None) is (ruling.ruling is Ruling.REFUSED)

    @rule()
    def a_post_is_claimed(self) -> None:
        in_flight = sum(
            a.state in {AttemptState.SUBMITTING, AttemptState.UNKNOWN, AttemptState.SUBMITTED}
            and (a.overdue_at or 0) > self.clock.now
            for a in everything(self.ledger)
        )
        waiting = [a for a in everything(self.ledger) if a.state is AttemptState.QUEUED]
        claimed = claim_next(self.ledger, ACCOUNT, PostTerms(LIMITS, DEADLINE))
        if isinstance(claimed, Submission):
            assert claimed.attempt.id == waiting[0].id, "first in, first out"
            assert claimed.id not in self.posted
            assert self.states_of_posts(claimed.attempt) <= {"open", "throttled", "not_sent"}
            assert in_flight < (LIMITS.in_flight or 0)
            self.posted.add(claimed.id)
            self.unanswered.append(claimed)
            self.sent_at[claimed.id] = self.clock.now
        else:
            assert isinstance(claimed, Later) is bool(waiting)

    def states_of_posts(self, attempt: Attempt) -> set[str]:
        with self.ledger.read() as connection:
            query = sa.select(submissions.c.state).where(submissions.c.attempt_id == attempt.id)
            return set(connection.execute(query).scalars())

    def taken(self, pick: int) -> Submission:
        return self.unanswered.pop(pick % len(self.unanswered))

    def answered(self, submission: Submission, outcome: SubmitOutcome) -> None:
        before = read(self.ledger, submission.attempt)
        after = record_outcome(self.ledger, submission, outcome)
        if isinstance(outcome, NotSent):
            del self.sent_at[submission.id]
        if before.state is AttemptState.UNKNOWN and isinstance(outcome, Rejected | NotSent):
            assert after.state is AttemptState.ABSENT

    @precondition(lambda self: self.unanswered)
    @rule(pick=PICK)
    def it_is_accepted(self, pick: int) -> None:
        submission = self.taken(pick)
        job = self.created.setdefault(submission.id, f"job-{len(self.created)}")
        self.told.add(job)
        self.answered(submission, Accepted(job, None, {}))

    @precondition(lambda self: self.unanswered)
    @rule(pick=PICK, outcome=CREATES_NOTHING)
    def it_surely_creates_nothing(self, pick: int, outcome: SubmitOutcome) -> None:
        self.answered(self.taken(pick), outcome)

    @precondition(lambda self: self.unanswered)
    @rule(pick=PICK, created=st.booleans())
    def its_answer_is_lost(self, pick: int, created: bool) -> None:
        submission = self.taken(pick)
        self.nobody_hears(submission, created)
        self.answered(submission, Unknown("read timed out"))

    def nobody_hears(self, submission: Submission, created: bool) -> None:
        if created:
            self.created[submission.id] = f"job-{len(self.created)}"
            self.lost.append(submission)

    @precondition(lambda self: self.lost)
    @rule(pick=PICK)
    def a_lost_answer_turns_up(self, pick: int) -> None:
        submission = self.lost.pop(pick % len(self.lost))
        self.told.add(self.created[submission.id])
        before = read(self.ledger, submission.attempt)
        self.answered(submission, Accepted(self.created[submission.id], None, {}))
        assert before.state in {AttemptState.SUBMITTING, AttemptState.UNKNOWN}
        assert read(self.ledger, before).state is AttemptState.SUBMITTED

    @precondition(lambda self: self.unanswered)
    @rule(pick=PICK)
    def it_is_told_twice(self, pick: int) -> None:
        submission = self.unanswered[pick % len(self.unanswered)]
        job = self.created.setdefault(submission.id, f"job-{len(self.created)}")
        self.told.add(job)
        for _ in range(2):
            self.answered(submission, Accepted(job, None, {}))
        self.unanswered.remove(submission)

    @precondition(lambda self: self.unanswered)
    @rule(pick=PICK, created=st.booleans())
    def its_poster_dies(self, pick: int, created: bool) -> None:
        self.nobody_hears(self.taken(pick), created)

    @rule()
    def dead_posts_are_looked_for(self) -> None:
        for attempt in outcomes.expire_submissions(self.ledger, ACCOUNT):
            assert attempt.state in {AttemptState.UNKNOWN, AttemptState.SUBMITTED}

    @rule()
    def late_jobs_are_looked_for(self) -> None:
        polls.mark_overdue(self.ledger, ACCOUNT)

    @rule(limit=st.integers(1, 3))
    def polls_are_claimed(self, limit: int) -> None:
        held = {a.id for a in self.polls if (a.next_poll_at or 0) > self.clock.now}
        due = polls.claim_due(self.ledger, ACCOUNT, limit=limit)
        assert not held & {a.id for a in due}, "a poll has one claimer at a time"
        assert all(a.job_id in self.created.values() for a in due)
        self.polls = [a for a in self.polls if a.id not in {b.id for b in due}] + due

    @precondition(lambda self: self.polls)
    @rule(pick=PICK, delay=st.sampled_from([1.0, 15.0, 300.0]))
    def a_job_still_runs(self, pick: int, delay: float) -> None:
        attempt = self.polls.pop(pick % len(self.polls))
        polls.reschedule(self.ledger, [(attempt, self.clock.now + delay)], polled=True)

    @precondition(lambda self: self.polls)
    @rule(
        pick=PICK,
        status=st.sampled_from([JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.GONE]),
        kind=st.sampled_from([None, *FailureKind]),
        capabilities=st.sampled_from([NEVER_CHARGED, CHARGED_FIRST]),
    )
    def a_job_ends(
        self, pick: int, status: JobStatus, kind: FailureKind | None, capabilities: object
    ) -> None:
        attempt = self.polls.pop(pick % len(self.polls))
        state = a_state(status, failure=None if status is JobStatus.SUCCEEDED else kind)
        polls.record_end(self.ledger, attempt, state, capabilities)  # type: ignore[arg-type]

    def finished(self, pick: int) -> Attempt | None:
        waiting = [a for a in everything(self.ledger) if a.state is AttemptState.SUCCEEDED]
        return waiting[pick % len(waiting)] if waiting else None

    @rule(pick=PICK, end=st.sampled_from(["delivered", "quarantined", "lost", "released", "died"]))
    def something_is_fetched(self, pick: int, end: str) -> None:
        attempt = self.finished(pick)
        if attempt is None or deliveries.claim(self.ledger, attempt.id, token="me") is None:
            return
        assert deliveries.claim(self.ledger, attempt.id, token="you") is None
        if end == "delivered":
            deliveries.record_delivered(self.ledger, attempt.id, {"uri": "s3://bucket/key"})
            purchase = (attempt.subject_key, attempt.decision)
            self.delivered_in[purchase] = self.delivered_in.get(purchase, 0) + 1
        elif end == "quarantined":
            deliveries.record_quarantined(self.ledger, attempt.id, {}, why="too small")
        elif end == "lost":
            deliveries.record_lost(self.ledger, attempt.id, why="410")
        elif end == "released":
            deliveries.release(self.ledger, attempt.id, token="me", why="the bucket is full")

    @rule(end=st.sampled_from([JobStatus.SUCCEEDED, JobStatus.SUCCEEDED, JobStatus.FAILED]))
    def the_next_one_goes_through(self, end: JobStatus) -> None:
        """A clip from decision to delivery in one step, so that histories get past their first purchase."""
        self.a_post_is_claimed()
        if not self.unanswered:
            return
        submission = self.unanswered[-1]
        self.it_is_accepted(len(self.unanswered) - 1)
        attempt = read(self.ledger, submission.attempt)
        if attempt.state in AT_PROVIDER:
            attempt = polls.record_end(self.ledger, attempt, a_state(end), NEVER_CHARGED)
        if attempt.state is AttemptState.SUCCEEDED:
            self.something_is_fetched(0, "delivered")

    @rule(clip=CLIPS)
    def a_run_is_terminated(self, clip: str) -> None:
        newest = self.ledger.latest([clip]).get(clip)
        if newest is not None:
            queue.withdraw(self.ledger, [newest.id], why="terminated")

    @rule()
    def the_process_starts_anew(self) -> None:
        """Forget claims and answers in flight, and open the ledger again."""
        self.ledger.close()
        self.ledger = Ledger(f"sqlite:///{self.folder}/ledger.db", clock=self.clock, budget=Budget())
        self.unanswered.clear()

    # invariants

    @invariant()
    def everything_holds(self) -> None:
        attempts = {attempt.id: attempt for attempt in everything(self.ledger)}
        with self.ledger.read() as connection:
            entries = [
                dict(row._mapping) for row in connection.execute(sa.select(journal).order_by(journal.c.seq))
            ]
            posts = {row.id: row.attempt_id for row in connection.execute(sa.select(submissions))}
            booked = {row.job_id: row.submission_id for row in connection.execute(sa.select(jobs))}
        a_clip_has_at_most_one_open_purchase(attempts.values())
        for attempt in attempts.values():
            the_journal_is_whole(self.ledger, attempt, [e for e in entries if e["attempt_id"] == attempt.id])
            assert attempt.quoted_micros == 400_000
            assert START <= attempt.created_at <= self.clock.now
            # jobs at the provider will be polled
            assert (attempt.next_poll_at is not None) is (attempt.state in AT_PROVIDER)
            assert (attempt.job_id is not None) or attempt.state not in AT_PROVIDER
        assert set(posts) == self.posted, "nothing is posted before it was committed"
        assert set(booked) == self.told, "no job is forgotten"
        assert {job: self.created[submission or ""] for job, submission in booked.items()} == {
            job: job for job in booked
        }
        charged = Counter(posts[submission] for submission in self.created)
        assert all(count == 1 for count in charged.values()), "one purchase, one job"
        for attempt_id in charged:
            assert attempts[attempt_id].state not in LOOKS_FREE, (
                "a purchase whose job exists must not release its money"
            )
        assert all(count == 1 for count in self.delivered_in.values()), "a decision delivers once"
        self.no_more_than_the_limit_is_sent_in_any_minute()

    def no_more_than_the_limit_is_sent_in_any_minute(self) -> None:
        assert LIMITS.per_minute is not None
        times = sorted(self.sent_at.values())
        for first, beyond in zip(times, times[LIMITS.per_minute :], strict=False):
            assert beyond - first >= 60


def a_clip_has_at_most_one_open_purchase(attempts: Iterable[Attempt]) -> None:
    open_ones = [attempt.subject_key for attempt in attempts if attempt.state in OPEN]
    assert len(open_ones) == len(set(open_ones))


Histories.TestCase.settings = settings(
    max_examples=examples(12),
    stateful_step_count=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestHistories = Histories.TestCase
