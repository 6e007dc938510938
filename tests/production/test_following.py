"""Following a batch: what the run waits for, which stage is red, and the state that it leaves."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from fakes import (
    CANNOT_BE_REACHED,
    HANGS,
    LOSES_THE_ANSWER,
    NEVER,
    STORED,
    Answer,
    Ends,
    World,
    a_request,
    rejects,
)

from resources.errors import DailiesError
from resources.ledger import deliveries, polls, stops
from resources.ledger.decisions import Decided, Decision, Ruling, decide
from resources.ledger.limits import Limits
from resources.ledger.states import AttemptState
from resources.production import batch
from resources.production.batch import QUEUE_PATIENCE_SECONDS, Followed, Stage
from resources.production.submitter import POSTS_GRACE_SECONDS
from resources.providers.base import FailureKind, JobStatus, PollFailed

S = AttemptState
FAILS = Ends(JobStatus.FAILED, failure=FailureKind.PROVIDER, error="out of GPUs")
STAGES = [Stage.SUBMITTED, Stage.GENERATED, Stage.DELIVERED]
NAMES = ["submitted", "generated", "delivered"]


def wanted(
    world: World, *clips: str, decision: str = "monday", regenerate: bool = False, **changes: Any
) -> list[Decided]:
    requests = [a_request(clip, **changes) for clip in clips]
    return decide(world.ledger, requests, Decision(decision, regenerate=regenerate))


def carry(world: World, until: Stage, *clips: str, limits: Limits | None = None, **how: Any) -> Followed:
    """Decide and follow, as a run does."""
    follower = world.follower(until, world.engine(limits))
    return world.run(follower.follow(wanted(world, *clips, **how)))


def clips(count: int) -> list[str]:
    return [f"clip-{number:03}" for number in range(count)]


# Leaving and waiting


@pytest.mark.slow
@pytest.mark.parametrize("until", STAGES)
def test_a_batch_is_followed_to_its_last_stage_and_each_stage_is_reported_once(
    world: World, until: Stage
) -> None:
    result = carry(world, until, *clips(4))
    assert (result.failed, result.left) == ({}, [])
    for clip in clips(4):
        assert world.told(clip) == NAMES[: until.value]
    assert len(world.provider.posts) == len(world.provider.jobs) == 4


def test_a_run_that_only_submits_does_not_wait_for_the_jobs(world: World) -> None:
    started = world.clock()
    carry(world, Stage.SUBMITTED, "clip-a")
    assert world.clock() - started < 3
    assert all(job.polled_at == [] for job in world.provider.jobs.values())


def test_a_run_that_only_submits_leaves_queued_clips_to_the_sensor(world: World) -> None:
    started = world.clock()
    result = carry(world, Stage.SUBMITTED, *clips(5), limits=Limits(in_flight=2))
    assert result.failed == {}
    assert result.left == clips(5)[2:]
    assert world.clock() - started <= QUEUE_PATIENCE_SECONDS + 5
    assert [world.told(clip) for clip in clips(5)] == [["submitted"]] * 2 + [[]] * 3
    assert {world.newest(clip).state for clip in clips(5)[2:]} == {S.QUEUED}


@pytest.mark.slow
def test_a_purchase_in_an_extra_slot_delivers_the_clip(world: World) -> None:
    world.provider.answers["clip-a"] = [rejects(FailureKind.MODERATION)]
    carry(world, Stage.SUBMITTED, "clip-a", takes=2)
    result = carry(world, Stage.DELIVERED, "clip-a", decision="tuesday", takes=1)
    assert (result.failed, result.left) == ({}, [])
    assert len(world.provider.jobs) == 1
    assert world.newest("clip-a").slot == 2
    assert world.told("clip-a")[-2:] == NAMES[1:]
    assert [one.stage for one in world.reports if one.shown is not None][-1] is Stage.DELIVERED


@pytest.mark.slow
def test_only_the_clip_of_an_unusable_account_fails(world: World) -> None:
    decided = [*wanted(world, "clip-a"), *wanted(world, "clip-b", account="wavespeed-team-b")]
    result = world.run(world.follower(Stage.DELIVERED).follow(decided))
    assert result.failed == {"clip-b": "wavespeed-team-b cannot be used here"}
    assert (world.told("clip-a"), world.newest("clip-b").state) == (NAMES, S.QUEUED)


def test_a_run_that_only_submits_waits_a_moment_for_a_throttled_account(world: World) -> None:
    world.provider.answers["clip-a"] = [rejects(FailureKind.THROTTLED, retry_after=5)]
    result = carry(world, Stage.SUBMITTED, "clip-a")
    assert (result.failed, result.left) == ({}, [])
    assert world.told("clip-a") == ["submitted"]


@pytest.mark.slow
def test_a_waiting_run_finishes_more_clips_than_there_are_places(world: World) -> None:
    result = carry(world, Stage.DELIVERED, *clips(5), limits=Limits(in_flight=2, per_minute=4))
    assert (result.failed, result.left) == ({}, [])
    assert max(world.provider.flying(post.at) for post in world.provider.posts) == 2
    assert sorted(world.deliverer.fetched) == clips(5)


@pytest.mark.slow
def test_no_more_clips_are_fetched_at_once_than_allowed(world: World) -> None:
    world.deliverer.seconds = 30
    carry(world, Stage.DELIVERED, *clips(6))
    assert world.deliverer.most_at_once == batch.DELIVERIES


def test_an_empty_batch_is_done_at_once(world: World) -> None:
    assert carry(world, Stage.DELIVERED) == Followed()


# Failures


@pytest.mark.slow
@pytest.mark.parametrize("until", STAGES)
@pytest.mark.parametrize("kind", [FailureKind.MODERATION, FailureKind.INVALID])
def test_a_refused_clip_is_red_at_submissions_in_every_mode(
    world: World, until: Stage, kind: FailureKind
) -> None:
    world.provider.answers["clip-a"] = [rejects(kind)]
    result = carry(world, until, "clip-a", "clip-b")
    assert result.failed == {"clip-a": f"the provider says {kind}"}
    assert world.told("clip-a") == ["submitted!"]
    assert world.told("clip-b") == NAMES[: until.value]


@pytest.mark.slow
@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.GONE])
@pytest.mark.parametrize("until", STAGES)
def test_a_job_that_fails_is_green_at_submissions_and_red_at_generations(
    world: World, until: Stage, status: JobStatus
) -> None:
    world.provider.jobs_go["clip-a"] = [Ends(status, failure=FailureKind.MODERATION, error="not nice")]
    result = carry(world, until, "clip-a", "clip-b")
    assert result.failed == ({} if until is Stage.SUBMITTED else {"clip-a": "not nice"})
    assert world.told("clip-a") == (
        ["submitted"] if until is Stage.SUBMITTED else ["submitted", "generated!"]
    )
    assert world.told("clip-b") == NAMES[: until.value]


@pytest.mark.slow
@pytest.mark.parametrize("until", [Stage.GENERATED, Stage.DELIVERED])
def test_a_clip_that_fails_its_checks_is_red_at_uploaded_videos_only(world: World, until: Stage) -> None:
    world.deliverer.quarantines = {"clip-a"}
    result = carry(world, until, "clip-a")
    if until is Stage.GENERATED:
        assert (result.failed, world.told("clip-a")) == ({}, ["submitted", "generated"])
    else:
        assert result.failed == {"clip-a": "480 pixels instead of 720"}
        assert world.told("clip-a") == ["submitted", "generated", "delivered!"]


@pytest.mark.slow
def test_a_clip_that_cannot_be_stored_is_red_stays_paid_and_is_fetched_by_the_next_run(
    world: World,
) -> None:
    world.deliverer.goes_wrong["clip-a"] = [DailiesError("the bucket is full")]
    result = carry(world, Stage.DELIVERED, "clip-a", "clip-b")
    assert result.failed == {"clip-a": "the bucket is full"}
    assert world.told("clip-a") == ["submitted", "generated", "delivered!"]
    assert world.newest("clip-a").state is S.SUCCEEDED
    world.reports.clear()
    result = carry(world, Stage.DELIVERED, "clip-a", "clip-b")
    assert result.failed == {}
    assert world.told("clip-a") == NAMES
    assert world.told("clip-b") == [f"{name}=" for name in NAMES]
    assert len(world.provider.posts) == 2


def test_an_account_that_refuses_the_key_turns_the_whole_batch_red_after_one_try_a_place(
    world: World,
) -> None:
    world.provider.refuses_the_key = True
    for clip in clips(10):
        world.provider.answers[clip] = [rejects(FailureKind.AUTH)]
    result = carry(world, Stage.DELIVERED, *clips(10), limits=Limits(in_flight=1))
    assert sorted(result.failed) == clips(10)
    assert len(world.provider.posts) == 1
    assert all(world.told(clip) == ["submitted!"] for clip in clips(10))


@pytest.mark.slow
@pytest.mark.parametrize("until", [Stage.SUBMITTED, Stage.DELIVERED])
def test_a_provider_that_cannot_be_reached_turns_the_batch_red_and_nothing_is_bought(
    world: World, until: Stage
) -> None:
    for clip in clips(8):
        world.provider.answers[clip] = [CANNOT_BE_REACHED] * 9
    result = carry(world, until, *clips(8))
    assert sorted(result.failed) == clips(8)
    assert all("cannot be reached" in why for why in result.failed.values())
    assert world.provider.jobs == {}


def test_a_lost_answer_is_found_in_the_listing_and_its_clip_delivered(world: World) -> None:
    world.provider.answers["clip-a"] = [LOSES_THE_ANSWER]
    result = carry(world, Stage.DELIVERED, "clip-a")
    assert (result.failed, result.left) == ({}, [])
    assert world.told("clip-a") == NAMES
    assert len(world.provider.posts) == 1


def test_a_run_with_a_limit_leaves_what_is_open_then_and_delivers_what_has_ended(world: World) -> None:
    world.provider.jobs_go["clip-000"] = [Ends(after=10)]
    world.provider.jobs_go["clip-001"] = [Ends(after=500)]
    world.deliverer.seconds = 40
    follower = world.follower(Stage.DELIVERED, leave_after=30)
    result = world.run(follower.follow(wanted(world, *clips(2))), at_most=100)
    assert (result.failed, result.left) == ({}, ["clip-001"])
    assert (world.told("clip-000"), world.told("clip-001")) == (NAMES, ["submitted"])
    assert world.newest("clip-001").state is S.SUBMITTED


def test_a_run_with_a_limit_keeps_a_queue_that_a_stop_holds_back(world: World) -> None:
    decided = wanted(world, "clip-a")
    stops.stop(world.ledger, reason="enough")
    result = world.run(world.follower(Stage.DELIVERED, leave_after=30).follow(decided), at_most=100)
    assert (result.failed, result.left) == ({}, ["clip-a"])
    assert world.newest("clip-a").state is S.QUEUED


def test_a_run_that_only_submits_leaves_a_lost_answer_to_the_sensor(world: World) -> None:
    world.provider.answers["clip-a"] = [replace(LOSES_THE_ANSWER, listed_after=100)]
    result = carry(world, Stage.SUBMITTED, "clip-a", "clip-b")
    assert (result.failed, result.left) == ({}, ["clip-a"])
    assert (world.told("clip-a"), world.told("clip-b")) == ([], ["submitted"])


@pytest.mark.slow
def test_a_lost_answer_that_cannot_be_looked_up_is_red_and_stays_unknown(world: World) -> None:
    world.provider.answers["clip-a"] = [LOSES_THE_ANSWER]
    world.provider.listing_fails = True
    follower = world.follower(Stage.DELIVERED)
    result = world.run(follower.follow(wanted(world, "clip-a")))
    assert "not known whether" in result.failed["clip-a"]
    assert world.newest("clip-a").state is AttemptState.UNKNOWN
    assert world.told("clip-a") == ["submitted!"]


@pytest.mark.slow
def test_a_lost_answer_that_is_never_found_is_red_and_not_bought_again_by_a_retry(world: World) -> None:
    world.provider.answers["clip-a"] = [replace(LOSES_THE_ANSWER, listed_after=NEVER)]
    for _ in range(3):
        result = carry(world, Stage.DELIVERED, "clip-a")
        assert "could not be proved" in result.failed["clip-a"]
        assert "dailies resolve clip-a" in result.failed["clip-a"]
        assert world.told("clip-a")[-1] == "submitted!"
    assert len(world.provider.posts) == 1


@pytest.mark.slow
def test_a_job_that_never_ends_keeps_no_run_and_is_fetched_when_it_has_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # hours pass, so the run reads more rarely
    monkeypatch.setattr(batch, "LOOK_SECONDS", 20.0)
    world.provider.jobs_go["clip-a"] = [Ends(after=20_000)]
    began = world.clock()
    result = carry(world, Stage.DELIVERED, "clip-a", "clip-b")
    attempt = world.newest("clip-a")
    longest = 2 * attempt.request.max_seconds
    assert longest < world.clock() - began < longest + 60
    assert attempt.state is S.OVERDUE
    assert "the completion sensor fetches it" in result.failed["clip-a"]
    assert (world.told("clip-a"), world.told("clip-b")) == (["submitted", "generated!"], NAMES)
    world.clock.now += 20_000
    assert carry(world, Stage.DELIVERED, "clip-a").failed == {}
    assert len(world.provider.posts) == 2


@pytest.mark.slow
def test_a_temporary_failure_is_bought_again_within_the_same_run(world: World) -> None:
    world.provider.jobs_go["clip-a"] = [FAILS, FAILS]
    result = carry(world, Stage.DELIVERED, "clip-a", max_attempts=3)
    assert result.failed == {}
    assert world.told("clip-a") == NAMES
    assert len(world.provider.jobs) == 3


@pytest.mark.slow
def test_after_max_attempts_the_last_reason_is_reported(world: World) -> None:
    world.provider.jobs_go["clip-a"] = [FAILS, FAILS]
    result = carry(world, Stage.DELIVERED, "clip-a", max_attempts=2)
    assert result.failed == {"clip-a": "out of GPUs"}
    assert world.told("clip-a") == ["submitted", "generated!"]
    assert len(world.provider.jobs) == 2


@pytest.mark.slow
def test_a_clip_shown_as_submitted_stays_so_when_its_second_purchase_is_refused(world: World) -> None:
    world.provider.jobs_go["clip-a"] = [FAILS]
    world.provider.answers["clip-a"] = [Answer(), rejects(FailureKind.MODERATION)]
    result = carry(world, Stage.DELIVERED, "clip-a", max_attempts=2)
    assert result.failed == {"clip-a": "the provider says moderation"}
    assert world.told("clip-a") == ["submitted", "generated!"]


# existing purchases


@pytest.mark.slow
def test_a_mixed_batch_buys_only_the_missing_clips(world: World) -> None:
    carry(world, Stage.DELIVERED, "green")
    carry(world, Stage.SUBMITTED, "flying", decision="tuesday")
    world.provider.answers["rejected"] = [rejects(FailureKind.INVALID)]
    carry(world, Stage.SUBMITTED, "rejected", decision="wednesday")
    world.reports.clear()
    posts = len(world.provider.posts)

    rulings = [
        *wanted(world, "green", "flying", "rejected", "fresh", decision="wednesday"),
        *wanted(world, "free", decision="wednesday", price_micros=None),
    ]
    assert [v.ruling for v in rulings] == [
        Ruling.REUSED,
        Ruling.ADOPTED,
        Ruling.REFUSED,
        Ruling.NEW,
        Ruling.REFUSED,
    ]
    result = world.run(world.follower(Stage.DELIVERED).follow(rulings))
    assert sorted(result.failed) == ["free", "rejected"]
    assert world.told("green") == ["submitted=", "generated=", "delivered="]
    assert world.told("flying") == NAMES
    assert world.told("fresh") == NAMES
    assert world.told("rejected") == ["submitted!"]
    assert world.told("free") == ["submitted!"]
    assert [post.clip for post in world.provider.posts[posts:]] == ["fresh"]
    assert world.deliverer.verified == ["green"]


@pytest.mark.slow
@pytest.mark.parametrize("until", STAGES)
def test_a_delivered_video_that_is_gone_is_red_only_where_it_is_missing(world: World, until: Stage) -> None:
    carry(world, Stage.DELIVERED, "clip-a")
    world.reports.clear()
    world.deliverer.missing = {"clip-a"}
    result = carry(world, until, "clip-a")
    if until is Stage.DELIVERED:
        assert result.failed == {"clip-a": "the delivered video is missing"}
        assert world.told("clip-a") == ["submitted=", "generated=", "delivered!"]
    else:
        assert result.failed == {}
        assert world.told("clip-a") == [f"{name}=" for name in NAMES[: until.value]]
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("until", STAGES)
def test_a_clip_that_another_open_request_blocks_is_red_at_submissions(world: World, until: Stage) -> None:
    carry(world, Stage.SUBMITTED, "clip-a")
    world.reports.clear()
    result = carry(world, until, "clip-a", decision="tuesday", seconds=8)
    assert "still submitted" in result.failed["clip-a"]
    assert world.told("clip-a") == ["submitted!"]


@pytest.mark.slow
@pytest.mark.parametrize("until", [Stage.GENERATED, Stage.DELIVERED])
def test_a_failed_job_is_shown_again_when_its_decision_runs_again(world: World, until: Stage) -> None:
    world.provider.jobs_go["clip-a"] = [FAILS]
    carry(world, until, "clip-a")
    before = world.told("clip-a")
    world.reports.clear()
    result = carry(world, until, "clip-a")
    assert "out of GPUs" in result.failed["clip-a"]
    assert world.told("clip-a") == before == ["submitted", "generated!"]
    assert len(world.provider.posts) == 1


@pytest.mark.slow
def test_a_clip_that_ended_without_a_follower_is_reported_in_full(world: World) -> None:
    carry(world, Stage.GENERATED, "clip-a")
    world.reports.clear()
    result = world.run(world.follower(Stage.DELIVERED).carry([world.newest("clip-a")]))
    assert result.failed == {}
    assert world.told("clip-a") == NAMES


# other processes at work


@pytest.mark.slow
def test_a_dead_holders_delivery_is_taken_over_when_its_lease_ends(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = 60
    monkeypatch.setattr(deliveries, "LEASE_SECONDS", lease)
    carry(world, Stage.GENERATED, "clip-a")
    deliveries.claim(world.ledger, world.newest("clip-a").id, token="dead")
    started = world.clock()
    result = carry(world, Stage.DELIVERED, "clip-a")
    assert result.failed == {}
    assert lease <= world.clock() - started <= lease + 10
    assert world.deliverer.fetched == ["clip-a"]


@pytest.mark.slow
def test_a_delivery_that_another_run_finishes_is_not_repeated(world: World) -> None:
    world.deliverer.seconds = 30
    rulings = wanted(world, "clip-a")

    async def both() -> None:
        one, two = world.follower(Stage.DELIVERED), world.follower(Stage.DELIVERED, run_id="run-2")
        await asyncio.gather(one.follow(rulings), two.follow(rulings))

    world.run(both())
    assert world.deliverer.fetched == ["clip-a"]
    assert sorted(world.told("clip-a")) == sorted(NAMES * 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "error", [ValueError("-c"), OSError(28, "No space left on device"), RecursionError(), MemoryError()]
)
def test_a_broken_delivery_fails_only_its_clip(
    world: World, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    world.deliverer.goes_wrong["clip-a"] = [error]
    result = carry(world, Stage.DELIVERED, "clip-a", "clip-b")
    assert list(result.failed) == ["clip-a"]
    assert "an error nobody foresaw" in result.failed["clip-a"]
    assert type(error).__name__ in result.failed["clip-a"]
    assert world.told("clip-a") == ["submitted", "generated", "delivered!"]
    assert world.told("clip-b") == NAMES
    assert (world.newest("clip-a").state, world.newest("clip-a").delivery_owner) == (S.SUCCEEDED, None)
    assert "Traceback" in caplog.text
    assert "in _fetch" in caplog.text
    assert carry(world, Stage.DELIVERED, "clip-a", "clip-b").failed == {}
    assert len(world.provider.posts) == 2


@pytest.mark.slow
def test_a_delivery_that_is_interrupted_interrupts_the_run(world: World) -> None:
    world.deliverer.goes_wrong["clip-a"] = [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        carry(world, Stage.DELIVERED, "clip-a", "clip-b")


@pytest.mark.slow
def test_a_reused_video_that_cannot_be_verified_fails_its_clip(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry(world, Stage.DELIVERED, *clips(3))
    world.reports.clear()
    verify = world.deliverer.verify

    async def breaks(attempt: Any) -> None:
        if attempt.subject_key == "clip-001":
            raise KeyError("ContentLength")
        await verify(attempt)

    monkeypatch.setattr(world.deliverer, "verify", breaks)
    result = carry(world, Stage.DELIVERED, *clips(3))
    assert list(result.failed) == ["clip-001"]
    assert world.told("clip-000") == world.told("clip-002") == [f"{name}=" for name in NAMES]
    assert len(world.provider.posts) == 3


@pytest.mark.slow
def test_a_poll_that_breaks_once_is_repeated(world: World) -> None:
    world.provider.polls["clip-a"] = [KeyError("a bug in the client")]
    assert carry(world, Stage.DELIVERED, "clip-a", "clip-b").failed == {}


@pytest.mark.slow
def test_polls_that_always_break_fail_their_clip_and_the_job_stays_paid(world: World) -> None:
    world.provider.polls["clip-a"] = [OverflowError("Python int too large")] * 50
    result = carry(world, Stage.DELIVERED, "clip-a", "clip-b")
    assert list(result.failed) == ["clip-a"]
    assert "an error nobody foresaw (OverflowError)" in result.failed["clip-a"]
    assert world.told("clip-a") == ["submitted", "generated!"]
    assert world.told("clip-b") == NAMES
    assert world.newest("clip-a").state is S.SUBMITTED
    world.provider.polls["clip-a"].clear()
    assert carry(world, Stage.DELIVERED, "clip-a").failed == {}
    assert len(world.provider.posts) == 2


@pytest.mark.slow
def test_an_end_that_cannot_be_recorded_fails_its_clip(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    see_end = polls.see_end

    def breaks(ledger: Any, attempt: Any, *what: Any, **how: Any) -> Any:
        if attempt.subject_key == "clip-a":
            raise OverflowError("Python int too large to convert to SQLite INTEGER")
        return see_end(ledger, attempt, *what, **how)

    monkeypatch.setattr(polls, "see_end", breaks)
    result = carry(world, Stage.DELIVERED, "clip-a", "clip-b")
    assert list(result.failed) == ["clip-a"]
    assert "an error nobody foresaw (OverflowError)" in result.failed["clip-a"]
    assert world.told("clip-b") == NAMES
    assert world.newest("clip-a").state is S.SUBMITTED


@pytest.mark.slow
def test_a_broken_submit_may_have_arrived_and_is_not_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit = world.provider.submit

    async def breaks(endpoint: str, body: dict[str, Any], **how: Any) -> Any:
        answer = await submit(endpoint, body, **how)
        if body["prompt"] == "clip-a":
            raise UnicodeDecodeError("ascii", b"\xff", 0, 1, "odd")
        return answer

    monkeypatch.setattr(world.provider, "submit", breaks)
    assert carry(world, Stage.DELIVERED, "clip-a", "clip-b").failed == {}
    assert len(world.provider.posts) == len(world.provider.jobs) == 2


@pytest.mark.slow
def test_an_answer_that_cannot_be_stored_is_stored_by_its_meaning(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    submit = world.provider.submit

    async def odd(endpoint: str, body: dict[str, Any], **how: Any) -> Any:
        answer = await submit(endpoint, body, **how)
        if body["prompt"] == "clip-a":
            # a value that no column accepts, set after the dataclass has cleaned its fields
            object.__setattr__(answer, "model", ["a", "list"])
        return answer

    monkeypatch.setattr(world.provider, "submit", odd)
    assert carry(world, Stage.DELIVERED, "clip-a", "clip-b").failed == {}
    assert len(world.provider.posts) == 2
    assert world.newest("clip-a").state is S.DELIVERED
    assert "clip-a: an answer could not be recorded as it came" in caplog.text


@pytest.mark.slow
def test_a_broken_report_fails_its_clip(world: World) -> None:
    def report(told: Any) -> None:
        if told.clip == "clip-a":
            raise TypeError("metadata")
        world.reports.append(told)

    for _ in ["bought", "reused"]:
        follower = world.follower(Stage.DELIVERED)
        follower._report = report
        result = world.run(follower.follow(wanted(world, "clip-a", "clip-b")))
        assert list(result.failed) == ["clip-a"]
        assert "clip-a could not be shown: an error nobody foresaw (TypeError)" in result.failed["clip-a"]
        assert world.newest("clip-a").state is S.DELIVERED, "the clip is delivered nevertheless"
    assert world.told("clip-b") == [*NAMES, *(f"{name}=" for name in NAMES)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loop", "state"), [("poll_due", S.SUBMITTED), ("submit_queue", S.WITHDRAWN), ("reconcile", S.DELIVERED)]
)
def test_a_broken_loop_fails_the_clips_that_wait_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch, loop: str, state: S
) -> None:
    async def breaks(*_: Any, **__: Any) -> int:
        raise ZeroDivisionError

    engine = world.engine()
    monkeypatch.setattr(engine.submitter if loop == "submit_queue" else engine, loop, breaks)
    result = world.run(world.follower(Stage.DELIVERED, engine).follow(wanted(world, "clip-a")))
    assert world.newest("clip-a").state is state
    if state is S.DELIVERED:
        assert result.failed == {}
    else:
        assert "an error nobody foresaw (ZeroDivisionError)" in result.failed["clip-a"]


@pytest.mark.slow
def test_a_provider_with_passing_errors_is_waited_for(world: World) -> None:
    world.provider.polls["clip-a"] = [*[PollFailed("502")] * 3, PollFailed("401", kind=FailureKind.AUTH)]
    assert carry(world, Stage.DELIVERED, "clip-a").failed == {}


@pytest.mark.parametrize(
    "limits", [Limits(), pytest.param(Limits(in_flight=6, per_minute=12), marks=pytest.mark.slow)]
)
def test_two_runs_and_a_sensor_on_one_ledger_send_each_clip_once_and_never_poll_a_job_twice_at_once(
    world: World, limits: Limits
) -> None:
    names = clips(12)
    throttled, unreachable, stammering, failing, refused = names[1], names[2], names[3], names[5], names[6]
    one = wanted(world, *names[:8])
    two = wanted(world, *names[4:], decision="tuesday")
    world.provider.jobs_go[failing] = [FAILS]
    world.provider.answers[refused] = [rejects(FailureKind.MODERATION)]
    world.provider.answers[throttled] = [rejects(FailureKind.THROTTLED)]
    world.provider.answers[unreachable] = [CANNOT_BE_REACHED]
    world.provider.polls[stammering] = [PollFailed("502")] * 2

    async def everybody() -> tuple[Followed, Followed]:
        async def sensor() -> None:
            engine = world.engine(limits)
            while True:
                await engine.step("wavespeed")
                await asyncio.sleep(10)

        ticking = asyncio.create_task(sensor())
        first = world.follower(Stage.DELIVERED, world.engine(limits))
        second = world.follower(Stage.DELIVERED, world.engine(limits), run_id="run-2")
        results = await asyncio.gather(first.follow(one), second.follow(two))
        ticking.cancel()
        return results[0], results[1]

    first, second = world.run(everybody())
    assert sorted(first.failed) == sorted(second.failed) == [failing, refused]
    posts = {name: len(world.provider.posts_of(name)) for name in names}
    assert posts == {name: 2 if name in {throttled, unreachable} else 1 for name in names}
    assert len(world.provider.jobs) == len(names) - 1
    assert world.provider.overlapping == []
    good = sorted(set(names) - {failing, refused})
    assert sorted(world.deliverer.fetched) == good
    if limits.in_flight is not None:
        assert max(world.provider.flying(post.at) for post in world.provider.posts) <= limits.in_flight
    for name in good:
        times = 2 if name in names[4:8] else 1
        assert sorted(world.told(name)) == sorted(NAMES * times)


# Interruptions


async def interrupted(world: World, until: Stage, rulings: list[Decided], after: float) -> None:
    following_ = asyncio.create_task(world.follower(until).follow(rulings))
    await asyncio.sleep(after)
    following_.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following_
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.sleep(0)
    assert [task for task in left if not task.done() and "bounded" not in str(task)] == []


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.0, 0.1, 0.5, 3.0, 61.0, 64.0])
def test_a_terminated_run_leaves_everything_to_the_next_process(world: World, after: float) -> None:
    names = clips(3)
    rulings = wanted(world, *names)
    world.run(interrupted(world, Stage.DELIVERED, rulings, after))
    result = carry(world, Stage.DELIVERED, *names)
    assert result.failed == {}
    assert len(world.provider.jobs) == 3
    assert {world.newest(name).state for name in names} == {S.DELIVERED}


def test_a_run_that_is_terminated_during_posts_records_the_answers_in_time(
    world: World,
) -> None:
    for number, name in enumerate(clips(8)):
        world.provider.answers[name] = [HANGS if number % 2 else Answer(after=5)]
    rulings = wanted(world, *clips(8))
    started = world.clock()
    world.run(interrupted(world, Stage.SUBMITTED, rulings, 0.5))
    assert world.clock() - started <= POSTS_GRACE_SECONDS + 2
    states = [world.newest(name).state for name in clips(8)]
    assert states == [S.SUBMITTED, S.SUBMITTING] * 4


def test_a_finished_run_waits_for_the_answers_to_posts_it_sent_for_others(world: World) -> None:
    """First in, first out over all runs: a run may be sending another run's clip when its own batch is done."""
    mine = wanted(world, "clip-a")
    wanted(world, "clip-b", decision="tuesday")
    world.provider.answers["clip-b"] = [Answer(after=POSTS_GRACE_SECONDS + 15)]
    result = world.run(world.follower(Stage.SUBMITTED).follow(mine))
    assert result.failed == {}
    assert world.newest("clip-b").state is S.SUBMITTED


@pytest.mark.slow
def test_other_runs_unpolled_jobs_do_not_make_a_run_spin(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry(world, Stage.SUBMITTED, *clips(5))
    world.clock.now += 3600
    looks = 0
    from resources.ledger import polls

    claim = polls.claim_due

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal looks
        looks += 1
        return claim(*args, **kwargs)

    monkeypatch.setattr(polls, "claim_due", counted)
    carry(world, Stage.GENERATED, "mine", decision="tuesday")
    assert looks <= 60


@pytest.mark.slow
def test_a_purchase_that_is_superseded_while_followed_is_followed_as_its_successor(world: World) -> None:
    rulings = wanted(world, "clip-a")
    wanted(world, "clip-a", decision="tuesday", seconds=8)
    result = world.run(world.follower(Stage.DELIVERED).follow(rulings))
    assert result.failed == {}
    assert world.told("clip-a") == NAMES
    assert len(world.provider.posts) == 1
    assert world.newest("clip-a").request.body["seconds"] == 8
    assert world.newest("clip-a").delivery == STORED
