"""The work of one account: POSTs, polls, and the state that an interruption leaves."""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from fakes import (
    CANNOT_BE_REACHED,
    HANGS,
    LOSES_THE_ANSWER,
    NEVER,
    Answer,
    Ends,
    World,
    a_request,
    rejects,
    submit_queue,
)

from proof.clock import Clock
from resources.errors import UnavailableError
from resources.ledger import outcomes, queue, stops
from resources.ledger.decisions import Decision, decide
from resources.ledger.limits import LEASE_MARGIN_SECONDS, Later, Limits
from resources.ledger.queue import PostTerms
from resources.ledger.records import Attempt, Submission
from resources.ledger.states import AttemptState, MoneyState
from resources.production import submitter
from resources.production.bookkeeper import READ_SECONDS
from resources.production.engine import POLLS_SECONDS, STEP_SECONDS, Engine
from resources.production.poller import PARALLEL_REQUESTS, POLLS_AT_ONCE
from resources.production.submitter import PARALLEL_POSTS, POSTS_GRACE_SECONDS
from resources.providers.base import (
    Accepted,
    Charge,
    FailureKind,
    JobState,
    JobStatus,
    NotSent,
    PollFailed,
    SubmitOutcome,
    Unknown,
)
from resources.providers.rows import Rows

S = AttemptState


@pytest.fixture
def world(ledger_url: str) -> Iterator[World]:
    """A world on either database."""
    made = World(ledger_url)
    yield made
    made.ledger.close()


def enqueue(world: World, *clips: str, decision: str = "monday", **changes: Any) -> list[Attempt]:
    verdicts = decide(world.ledger, [a_request(clip, **changes) for clip in clips], Decision(decision))
    return [verdict.attempt for verdict in verdicts if verdict.attempt is not None]


def clips(count: int) -> list[str]:
    return [f"clip-{number:03}" for number in range(count)]


def ids(attempts: list[Attempt]) -> list[str]:
    return [attempt.id for attempt in attempts]


async def steps(world: World, engine: Engine, *, every: float = 10.0, until: Callable[[], bool]) -> None:
    """The completion sensor: a step every ten seconds."""
    while not until():
        await engine.step("wavespeed")
        await asyncio.sleep(every)


def ended(world: World, *names: str) -> Callable[[], bool]:
    return lambda: all(attempt.state.is_ended for attempt in world.ledger.latest(names).values())


# Submitting


@pytest.mark.slow
def test_every_queued_purchase_is_sent_once_and_polled_later(world: World) -> None:
    enqueue(world, *clips(PARALLEL_POSTS + 4))
    engine = world.engine()
    assert world.run(submit_queue(engine, run_id="run-1")) is None
    assert [post.clip for post in world.provider.posts] == clips(PARALLEL_POSTS + 4)
    for clip in clips(PARALLEL_POSTS + 4):
        attempt = world.newest(clip)
        assert attempt.state is S.SUBMITTED
        assert 5.4 <= (attempt.next_poll_at or 0) - (attempt.submitted_at or 0) <= 6.6
    assert not any(job.polled_at for job in world.provider.jobs.values())


@pytest.mark.slow
def test_no_more_posts_are_in_flight_than_the_engine_allows(world: World) -> None:
    for clip in clips(2 * PARALLEL_POSTS + 2):
        world.provider.answers[clip] = [Answer(after=10)]
    enqueue(world, *clips(2 * PARALLEL_POSTS + 2))
    world.run(submit_queue(world.engine()))
    starts = [post.at for post in world.provider.posts]
    assert len(starts) == 2 * PARALLEL_POSTS + 2
    assert max(sum(t <= at < t + 10 for t in starts) for at in starts) == PARALLEL_POSTS


@pytest.mark.slow
def test_a_batch_beyond_the_accounts_limits_is_sent_within_them_and_in_order(world: World) -> None:
    limits = Limits(in_flight=2, per_minute=2)
    enqueue(world, *clips(6))
    posts = world.provider.posts
    # the next test checks when exactly the next POST may go
    world.run(steps(world, world.engine(limits), every=2.5, until=lambda: len(posts) == 6))
    assert [post.clip for post in posts] == clips(6)
    assert max(world.provider.flying(post.at) for post in posts) == 2
    assert all(beyond.at - first.at >= 60 for first, beyond in zip(posts, posts[2:], strict=False))


def test_a_full_account_names_the_time_of_the_next_try(world: World) -> None:
    enqueue(world, "clip-a", "clip-b")
    later = world.run(submit_queue(world.engine(Limits(per_minute=1))))
    assert isinstance(later, Later)
    # a minute after the answer: the provider began to count some time before it
    assert later.at == pytest.approx(world.provider.posts[0].at + 0.2 + 60, abs=0.01)


@pytest.mark.slow
def test_a_throttled_account_pauses_and_then_sends_the_same_clip_again(world: World) -> None:
    enqueue(world, "clip-a")
    world.provider.answers["clip-a"] = [rejects(FailureKind.THROTTLED, retry_after=45)]
    world.run(steps(world, world.engine(), every=5.0, until=ended(world, "clip-a")))
    first, second = world.provider.posts_of("clip-a")
    assert 45 <= second.at - first.at <= 51
    assert first.submission_id != second.submission_id
    assert len(world.provider.jobs) == 1


def test_a_refused_request_is_final_and_the_others_are_sent(world: World) -> None:
    enqueue(world, *clips(3))
    world.provider.answers["clip-001"] = [rejects(FailureKind.MODERATION)]
    world.run(submit_queue(world.engine()))
    refused = world.newest("clip-001")
    assert (refused.state, refused.reason_kind) == (S.REJECTED, FailureKind.MODERATION)
    assert {world.newest(clip).state for clip in ("clip-000", "clip-002")} == {S.SUBMITTED}


async def keep_sending(world: World, engine: Engine, ours: list[Attempt]) -> None:
    while True:
        later = await submit_queue(engine, ours=ids(ours))
        if later is None:
            return
        await asyncio.sleep(max(later.at - world.clock(), 0.1))


@pytest.mark.slow
def test_a_provider_that_cannot_be_reached_is_given_up_after_four_tries_and_not_sooner(world: World) -> None:
    ours = enqueue(world, *clips(PARALLEL_POSTS + 2))
    for clip in clips(PARALLEL_POSTS + 2):
        world.provider.answers[clip] = [CANNOT_BE_REACHED] * 9
    started = world.clock()
    world.run(keep_sending(world, world.engine(), ours))
    assert {world.newest(clip).state for clip in clips(PARALLEL_POSTS + 2)} == {S.WITHDRAWN}
    assert "cannot be reached (connection refused); nothing was sent" in (
        world.newest("clip-000").reason or ""
    )
    assert 3 * outcomes.NOT_SENT_SECONDS <= world.clock() - started <= 12
    assert world.provider.jobs == {}


@pytest.mark.slow
def test_an_account_that_cannot_be_reached_leaves_the_queue_of_another_account_of_the_run(
    world: World,
) -> None:
    ours = enqueue(world, "clip-000")
    (other,) = decide(world.ledger, [a_request("clip-001", account="second")], Decision("monday"))
    assert other.attempt is not None
    world.provider.answers["clip-000"] = [CANNOT_BE_REACHED] * 9
    world.run(keep_sending(world, world.engine(), [*ours, other.attempt]))
    assert world.newest("clip-000").state is S.WITHDRAWN
    assert world.newest("clip-001").state is S.QUEUED


@pytest.mark.slow
def test_a_short_network_failure_loses_nothing_of_a_batch(world: World) -> None:
    ours = enqueue(world, *clips(PARALLEL_POSTS + 2))
    for clip in clips(PARALLEL_POSTS + 2):
        world.provider.answers[clip] = [CANNOT_BE_REACHED]
    world.run(keep_sending(world, world.engine(), ours))
    assert {world.newest(clip).state for clip in clips(PARALLEL_POSTS + 2)} == {S.SUBMITTED}
    assert len(world.provider.jobs) == PARALLEL_POSTS + 2


def test_an_answer_resets_the_count_of_failed_tries(world: World) -> None:
    ours = enqueue(world, "clip-a", "clip-b")
    world.provider.answers["clip-a"] = [CANNOT_BE_REACHED] * 3 + [rejects(FailureKind.INVALID)]
    world.provider.answers["clip-b"] = [CANNOT_BE_REACHED] * 3
    world.run(keep_sending(world, world.engine(Limits(in_flight=1)), ours))
    assert world.newest("clip-a").state is S.REJECTED
    assert world.newest("clip-b").state is S.SUBMITTED


@pytest.mark.slow
@pytest.mark.postgresql
def test_a_lost_answer_that_is_never_found_is_held_and_never_sent_again(world: World) -> None:
    enqueue(world, "clip-a", max_seconds=100)
    world.provider.answers["clip-a"] = [replace(LOSES_THE_ANSWER, listed_after=NEVER)]
    engine = world.engine()

    async def for_a_day() -> None:
        for _ in range(16):
            await engine.step("wavespeed")
            await asyncio.sleep(5400)

    world.run(for_a_day())
    attempt = world.newest("clip-a")
    assert (attempt.state, attempt.money_state) == (S.HELD, MoneyState.INDETERMINATE)
    assert len(world.provider.posts) == 1


# Interruptions


async def interrupted_after(engine: Engine, seconds: float) -> None:
    sending = asyncio.create_task(submit_queue(engine))
    await asyncio.sleep(seconds)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    await engine.aclose()


def test_an_answer_in_time_is_recorded_although_the_run_was_interrupted(world: World) -> None:
    enqueue(world, "clip-a", "clip-b")
    world.provider.answers["clip-a"] = [Answer(after=POSTS_GRACE_SECONDS - 1)]
    world.provider.answers["clip-b"] = [HANGS]
    started = world.clock()
    world.run(interrupted_after(world.engine(), 0.5))
    assert world.clock() - started <= POSTS_GRACE_SECONDS + 2
    assert world.newest("clip-a").state is S.SUBMITTED
    assert world.newest("clip-a").job_id == "job-0-clip-a"
    assert world.newest("clip-b").state is S.SUBMITTING
    assert world.provider.closed


def test_a_post_that_was_cut_off_is_left_to_its_lease_and_its_job_is_found(world: World) -> None:
    enqueue(world, "clip-a")
    world.provider.answers["clip-a"] = [HANGS]
    world.run(interrupted_after(world.engine(), 0.5))
    engine = world.engine()
    deadline = engine.accounts["wavespeed"].submit_deadline_seconds

    async def later() -> None:
        await engine.step("wavespeed")
        assert world.newest("clip-a").state is S.SUBMITTING
        await asyncio.sleep(deadline + LEASE_MARGIN_SECONDS)
        for _ in range(10):
            await engine.step("wavespeed")
            await asyncio.sleep(600)

    world.run(later())
    assert world.newest("clip-a").state is S.SUCCEEDED
    assert [world.newest("clip-a").job_id] == list(world.provider.jobs)
    assert len(world.provider.posts) == 1


def test_a_purchase_claimed_at_the_moment_of_the_interruption_is_released_unsent(world: World) -> None:
    enqueue(world, "clip-a")
    engine = world.engine()

    async def interrupted() -> None:
        sending = asyncio.create_task(submit_queue(engine))
        for _ in range(100):
            if world.newest("clip-a").state is S.QUEUED:
                await asyncio.sleep(0)
        assert world.newest("clip-a").state is S.SUBMITTING  # committed, but no process has it
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending

    world.run(interrupted())
    attempt = world.newest("clip-a")
    assert (attempt.state, attempt.money_state) == (S.QUEUED, MoneyState.RESERVED)
    assert world.provider.posts == []
    world.run(keep_sending(world, world.engine(), []))
    assert world.newest("clip-a").state is S.SUBMITTED


def refuse_answers(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Make the ledger refuse to record answers for a while."""
    record, refused = outcomes.record_outcome, iter(range(times))

    def refusing(*args: Any, **kwargs: Any) -> Attempt:
        if next(refused, None) is not None:
            raise UnavailableError("the ledger could not be written: database is locked")
        return record(*args, **kwargs)

    monkeypatch.setattr(outcomes, "record_outcome", refusing)


def test_an_answer_waits_for_a_locked_ledger_and_is_in_the_log_meanwhile(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    enqueue(world, "clip-a")
    refuse_answers(monkeypatch, 5)
    with caplog.at_level(logging.WARNING, "dailies"):
        world.run(submit_queue(world.engine()))
    assert world.newest("clip-a").job_id == "job-0-clip-a"
    assert caplog.text.count("job-0-clip-a") == 5


def test_an_answer_that_was_read_is_recorded_although_everything_is_interrupted(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue(world, "clip-a")
    refuse_answers(monkeypatch, 10)
    world.run(interrupted_after(world.engine(), 1.0))
    assert world.newest("clip-a").state is S.SUBMITTED


def test_a_ledger_that_stays_locked_is_an_error(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue(world, "clip-a")
    refuse_answers(monkeypatch, submitter.RECORD_TRIES)
    with pytest.raises(UnavailableError, match="locked"):
        world.run(submit_queue(world.engine()))


@pytest.mark.parametrize(
    ("late", "state"),
    [
        (Accepted("late-job", None, {}), S.SUBMITTED),
        (NotSent("connection refused"), S.ABSENT),
        (Unknown("read timed out"), S.HELD),
    ],
)
def test_a_poster_that_slept_beyond_its_lease_still_records_its_answer(
    world: World, late: SubmitOutcome, state: AttemptState
) -> None:
    """SIGSTOP: meanwhile the sensor has given the POST up."""
    enqueue(world, "clip-a")
    claimed = queue.claim_next(world.ledger, "wavespeed", PostTerms(Limits(), 30))
    assert isinstance(claimed, Submission)
    world.clock.now += 3600
    world.run(world.engine().step("wavespeed"))
    assert world.newest("clip-a").state is S.HELD
    outcomes.record_outcome(world.ledger, claimed, late)
    assert world.newest("clip-a").state is state


# Polling


@pytest.mark.postgresql
def test_a_step_does_all_due_work_and_reports_it(world: World) -> None:
    enqueue(world, "clip-a")
    engine = world.engine()
    first = world.run(engine.step("wavespeed"))
    assert (ids(first.submitted), first.ended, first.polled, first.queued) == (
        [world.newest("clip-a").id],
        [],
        0,
        0,
    )
    world.clock.now += 70
    second = world.run(engine.step("wavespeed"))
    assert (ids(second.ended), second.polled, second.submitted) == ([world.newest("clip-a").id], 1, [])
    assert world.newest("clip-a").state is S.SUCCEEDED
    enqueue(world, "clip-b")
    third = world.run(engine.step("wavespeed", submit=False))
    assert (third.submitted, third.queued) == ([], 1)


def test_a_step_withdraws_yesterdays_queue_before_it_sends(world: World) -> None:
    enqueue(world, "clip-a")
    world.clock.now += 25 * 3600
    world.run(world.engine().step("wavespeed"))
    assert world.newest("clip-a").state is S.WITHDRAWN
    assert world.provider.posts == []


@pytest.mark.slow
def test_many_jobs_are_polled_a_few_at_a_time_and_each_once(world: World) -> None:
    enqueue(world, *clips(PARALLEL_REQUESTS + 4))
    engine = world.engine()
    world.run(submit_queue(engine))
    world.clock.now += 100
    assert world.run(engine.poll_due("wavespeed")) == PARALLEL_REQUESTS + 4
    assert all(len(job.polled_at) == 1 for job in world.provider.jobs.values())
    assert world.provider.most_requests_at_once <= PARALLEL_REQUESTS
    assert {world.newest(clip).state for clip in clips(PARALLEL_REQUESTS + 4)} == {S.SUCCEEDED}


@pytest.mark.slow
def test_polls_leave_time_for_the_rest_of_a_step(world: World) -> None:
    """A job that is due again at once must not delay the queue."""
    enqueue(world, *clips(POLLS_AT_ONCE + 1))
    world.provider.poll_seconds = POLLS_SECONDS + 1
    engine = world.engine()
    world.run(submit_queue(engine))
    world.clock.now += 100
    assert world.run(engine.poll_due("wavespeed")) == POLLS_AT_ONCE


@pytest.mark.slow
def test_jobs_are_polled_while_a_long_queue_is_sent(world: World) -> None:
    """A step once polled only before its POSTs: with POSTs of a second, ended jobs waited up to 72 s for their poll."""
    enqueue(world, "clip-000")
    world.provider.jobs_go["clip-000"] = [Ends(after=10)]
    engine = world.engine()
    world.run(submit_queue(engine))
    for clip in clips(40)[1:]:
        world.provider.answers[clip] = [Answer(after=9)]
    enqueue(world, *clips(40)[1:])
    began = world.clock()
    result = world.run(engine.step("wavespeed"))
    assert len(result.submitted) == 39
    assert world.clock() - began > 20
    done = world.newest("clip-000")
    assert done.state is S.SUCCEEDED
    assert (done.finished_at or 0) - began < 20


@pytest.mark.parametrize("bill_seconds", [13.0, 1000.0])
def test_jobs_are_polled_and_clips_sent_although_a_bill_is_long(world: World, bill_seconds: float) -> None:
    """With 10,000 jobs in flight, a bill of 200 pages took whole ticks, in which nothing was polled or sent."""
    world.provider.jobs_go["clip-001"] = [Ends(after=95)]
    enqueue(world, "clip-000", "clip-001")
    engine = world.engine()
    world.run(submit_queue(engine))
    world.clock.now += 90
    assert world.run(engine.poll_due("wavespeed")) == 2
    world.provider.bill_seconds = bill_seconds
    enqueue(world, "clip-002")
    world.clock.now += 3
    began, due_at = world.clock(), world.newest("clip-001").next_poll_at or 0
    result = world.run(engine.step("wavespeed"))
    assert world.provider.billed == 1
    assert ids(result.submitted) == [world.newest("clip-002").id]
    assert world.clock() - began < STEP_SECONDS
    done = world.newest("clip-001")
    assert done.state is S.SUCCEEDED
    assert (done.finished_at or 0) - due_at < 3
    assert bool(result.confirmed) == (bill_seconds < READ_SECONDS)


def test_new_amounts_are_confirmed_although_an_old_one_makes_the_bill_too_long(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reading begins at the oldest amount that the bill has not named: of two weeks of a busy account, it never came to its end."""
    charges = world.provider.charges

    async def an_hour_a_second(*, after: datetime, before: datetime) -> Rows[Charge]:
        world.provider.bill_seconds = (before - after) / timedelta(hours=1)
        rows = await charges(after=after, before=before)
        return Rows(row for row in rows if after.timestamp() <= row.at <= before.timestamp())

    monkeypatch.setattr(world.provider, "charges", an_hour_a_second)
    world.provider.answers["clip-old"] = [Answer(listed_after=30 * 86_400)]
    engine = world.engine()
    for clip in ("clip-old", "clip-new"):
        world.clock.now += 10 * 86_400
        enqueue(world, clip)
        world.run(submit_queue(engine))
        world.clock.now += 90
        result = world.run(engine.step("wavespeed"))
    assert world.newest("clip-old").charge_source != "bill"
    assert [change.after.clip for change in result.confirmed] == ["clip-new"]
    assert world.newest("clip-new").charge_source == "bill"


def test_a_poll_that_cannot_be_recorded_interrupts_no_post(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = world.engine()
    world.provider.answers["clip-a"] = [Answer(after=20)]
    decide(world.ledger, [a_request("clip-a")], Decision("monday"))
    poll_due = engine.poll_due

    async def locked(name: str, **how: Any) -> int:
        if world.provider.posts:
            raise UnavailableError("the ledger is locked")
        return await poll_due(name, **how)

    monkeypatch.setattr(engine, "poll_due", locked)

    async def step() -> None:
        try:
            with pytest.raises(UnavailableError):
                await engine.step("wavespeed")
        finally:
            await engine.aclose()

    world.run(step())
    assert world.newest("clip-a").state is S.SUBMITTED


@pytest.mark.slow
def test_a_stop_is_seen_before_every_post_while_jobs_are_polled(world: World) -> None:
    for clip in clips(40):
        world.provider.answers[clip] = [Answer(after=9)]
    enqueue(world, *clips(40))
    engine = world.engine()

    async def stopped_after(seconds: float) -> None:
        await asyncio.sleep(seconds)
        stops.stop(world.ledger, reason="too dear")

    async def both() -> None:
        await asyncio.gather(engine.step("wavespeed"), stopped_after(9))

    began = world.clock()
    world.run(both())
    assert 0 < len(world.provider.posts) < 40
    assert max(post.at for post in world.provider.posts) <= began + 9


@pytest.mark.slow
def test_a_slow_poll_keeps_its_claim(world: World) -> None:
    enqueue(world, *clips(PARALLEL_REQUESTS + 2))
    world.provider.poll_seconds = 59.0
    one, two = world.engine(), world.engine()
    world.run(submit_queue(one))

    async def both() -> None:
        together = [
            asyncio.create_task(
                steps(world, engine, every=3.0, until=ended(world, *clips(PARALLEL_REQUESTS + 2)))
            )
            for engine in (one, two)
        ]
        await asyncio.gather(*together)

    world.run(both())
    assert world.provider.overlapping == []


@pytest.mark.slow
def test_a_poll_without_an_answer_is_tried_again_ever_later(world: World) -> None:
    enqueue(world, "clip-a")
    world.provider.polls["clip-a"] = [PollFailed("502 Bad Gateway")] * 5
    world.run(steps(world, world.engine(), every=2.0, until=ended(world, "clip-a")))
    assert world.newest("clip-a").state is S.SUCCEEDED
    (job,) = world.provider.jobs.values()
    first_five = [b - a for a, b in zip(job.polled_at, job.polled_at[1:5], strict=False)]
    assert first_five == sorted(first_five)
    assert world.newest("clip-a").polls >= 1


@pytest.mark.slow
def test_a_retry_after_of_the_provider_is_obeyed(world: World) -> None:
    enqueue(world, "clip-a")
    world.provider.polls["clip-a"] = [PollFailed("429", retry_after=100, kind=FailureKind.THROTTLED)]
    world.run(steps(world, world.engine(), every=2.0, until=ended(world, "clip-a")))
    (job,) = world.provider.jobs.values()
    assert job.polled_at[1] - job.polled_at[0] >= 100


@pytest.mark.slow
def test_a_provider_that_was_down_for_long_is_polled_again_when_it_is_back(world: World) -> None:
    enqueue(world, "clip-a")
    world.provider.polls["clip-a"] = [PollFailed("503")] * 100
    world.run(steps(world, world.engine(), every=300.0, until=ended(world, "clip-a")))
    assert world.newest("clip-a").state is S.SUCCEEDED


def test_a_broken_poll_does_not_prevent_other_polls(world: World) -> None:
    enqueue(world, *clips(5))
    engine = world.engine()
    world.run(submit_queue(engine))
    world.provider.polls["clip-002"] = [KeyError("a bug in the client")]
    world.clock.now += 30
    world.run(engine.poll_due("wavespeed"))
    for clip in clips(5):
        attempt = world.newest(clip)
        assert attempt.polls == (0 if clip == "clip-002" else 1)
        assert attempt.state is S.SUBMITTED
    world.run(steps(world, engine, until=ended(world, *clips(5))))
    assert {world.newest(clip).state for clip in clips(5)} == {S.SUCCEEDED}


@pytest.mark.slow
@pytest.mark.postgresql
@pytest.mark.parametrize("part", ["charges", "list_jobs", "balance"])
def test_a_broken_part_of_a_step_does_not_prevent_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    async def breaks(*_: Any, **__: Any) -> Any:
        raise TypeError("a row of another shape")

    monkeypatch.setattr(world.provider, part, breaks)
    world.provider.answers["clip-000"] = [LOSES_THE_ANSWER]
    enqueue(world, *clips(5))
    world.run(steps(world, world.engine(), until=ended(world, *clips(5)[1:])))
    assert {world.newest(clip).state for clip in clips(5)[1:]} == {S.SUCCEEDED}


def test_an_unknown_status_means_that_the_job_runs(world: World) -> None:
    enqueue(world, "clip-a")
    world.provider.polls["clip-a"] = [
        JobState(JobStatus.RUNNING, "dreaming"),
        JobState(JobStatus.QUEUED, "created"),
    ]
    world.run(steps(world, world.engine(), until=ended(world, "clip-a")))
    assert world.newest("clip-a").state is S.SUCCEEDED


@pytest.mark.slow
def test_an_overlong_job_frees_its_place_is_polled_slowly_and_still_delivered(
    world: World,
) -> None:
    enqueue(world, "clip-a", "clip-b", max_seconds=600)
    world.provider.jobs_go["clip-a"] = [Ends(after=2000)]
    world.run(
        steps(world, world.engine(Limits(in_flight=1)), every=20.0, until=ended(world, "clip-a", "clip-b"))
    )
    assert world.newest("clip-a").state is S.SUCCEEDED
    (second,) = world.provider.posts_of("clip-b")
    assert second.at - world.provider.posts_of("clip-a")[0].at == pytest.approx(600, abs=30)
    slow = [t for t in world.provider.jobs["job-0-clip-a"].polled_at if t > second.at + 300]
    assert all(b - a >= 250 for a, b in itertools.pairwise(slow))


@pytest.mark.slow
def test_a_job_with_a_known_usual_duration_is_polled_once_or_twice(world: World) -> None:
    engine = world.engine()
    for number in range(4):
        enqueue(world, f"clip-{number}")
        world.provider.jobs_go[f"clip-{number}"] = [Ends(after=100)]
        world.run(steps(world, engine, every=4.0, until=ended(world, f"clip-{number}")))
    first, *_, last = world.provider.jobs.values()
    assert len(first.polled_at) >= 6
    assert len(last.polled_at) <= 2
    assert last.polled_at[-1] - last.created_at <= 118


@pytest.mark.slow
def test_the_sensor_buys_a_temporary_failure_again_up_to_max_attempts(world: World) -> None:
    enqueue(world, "clip-a", max_attempts=3)
    fails = Ends(JobStatus.FAILED, failure=FailureKind.PROVIDER, error="out of GPUs")
    world.provider.jobs_go["clip-a"] = [fails, fails, fails]

    def given_up() -> bool:
        return len(world.provider.jobs) == 3 and world.newest("clip-a").state is S.FAILED

    world.run(steps(world, world.engine(), until=given_up))
    world.run(world.engine().step("wavespeed"))
    assert len(world.provider.posts) == 3


def test_the_clock_is_virtual_and_a_hang_is_an_error() -> None:
    from fakes import run

    async def hangs() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(TimeoutError):
        run(Clock(), hangs(), at_most=60)
