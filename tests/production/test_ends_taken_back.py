"""Ends that a provider takes back: nothing is bought in their place, and a late output is a spare take."""

import pytest
from fakes import Ends, World, a_request

from proof.faults.worker import adopted
from resources.ledger import deliveries, late_jobs
from resources.ledger.decisions import Decision, decide
from resources.ledger.ends import SILENT_SECONDS, SOON_SECONDS
from resources.ledger.states import AttemptState, MoneyState
from resources.production.batch import Stage
from resources.providers.base import FailureKind, JobState, JobStatus, PollFailed

S = AttemptState
CLIP = "clip-a"
TICK_SECONDS = 600.0
"""Longer than the sensor's interval: most of its ticks would find nothing to do."""
FAILED = JobState(JobStatus.FAILED, "failed", error="try again", failure=FailureKind.PROVIDER)
EMPTY = JobState(JobStatus.FAILED, "completed", error="gives no output", failure=FailureKind.NO_OUTPUT)
GONE = JobState(JobStatus.GONE, "HTTP 404", error="not found", failure=FailureKind.GONE)
EXPIRED = JobState(JobStatus.GONE, "expired", failure=FailureKind.GONE)
CANCELLED = JobState(JobStatus.FAILED, "cancelled", failure=FailureKind.PROVIDER)
FALSE_ENDS = {
    "failed once": [FAILED],
    "no output twice": [EMPTY] * 2,
    "no output for a minute": [EMPTY] * 3,
    "gone once": [GONE],
    "gone three times": [GONE] * 3,
    "expired": [EXPIRED] * 2,
    "cancelled": [CANCELLED] * 2,
    "one of each": [FAILED, EMPTY, GONE],
}


def buy(world: World, *, seconds: float = 7200.0) -> None:
    """A run that waits for one clip, which its decision may buy twice."""
    request = a_request(CLIP, max_attempts=2)
    verdicts = decide(world.ledger, [request], Decision("monday"))
    engine = world.engine()
    world.run(world.follower(Stage.DELIVERED, engine).follow(verdicts), at_most=seconds)


def tick(world: World, seconds: float) -> None:
    """Tick the completion sensor for a number of seconds."""
    engine = world.engine()

    async def ticks() -> None:
        until = world.clock() + seconds
        while world.clock() < until:
            await engine.step("wavespeed")
            await engine.sleep(TICK_SECONDS)

    world.run(ticks(), at_most=2 * seconds)


@pytest.mark.slow
@pytest.mark.parametrize("name", FALSE_ENDS)
def test_an_end_that_is_taken_back_buys_nothing(world: World, name: str) -> None:
    world.provider.polls[CLIP] = list(FALSE_ENDS[name])
    buy(world)
    assert len(world.provider.posts) == 1
    newest = world.newest(CLIP)
    assert (newest.state, newest.confirming) == (S.DELIVERED, None)
    assert world.told(CLIP) == ["submitted", "generated", "delivered"]


@pytest.mark.slow
def test_confirming_a_true_failure_takes_a_waiting_run_only_seconds(world: World) -> None:
    world.provider.jobs_go[CLIP] = [Ends(JobStatus.FAILED, 60, FailureKind.PROVIDER, "try again")]
    began = world.clock()
    buy(world)
    first, second = world.provider.jobs.values()
    assert world.newest(CLIP).state is S.DELIVERED
    assert second.created_at - began < 60 + 15 + 2 * SOON_SECONDS, "a poll, another look, and the next POST"
    assert len(first.polled_at) >= 2


def test_one_step_confirms_all_failures_of_a_batch_however_slow_the_answers(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Confirming only the first of them would split the batch into several collecting runs."""
    clips = [f"clip-{letter}" for letter in "abc"]
    requests = [a_request(clip) for clip in clips]
    for clip in clips:
        world.provider.jobs_go[clip] = [Ends(JobStatus.FAILED, 1, FailureKind.PROVIDER, "try again")]
    asked = world.provider.poll

    async def slowly(job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        world.provider.poll_seconds = 0.3 + clips.index(world.provider.jobs[job_id].clip)
        return await asked(job_id, age_seconds=age_seconds)

    monkeypatch.setattr(world.provider, "poll", slowly)
    verdicts = decide(world.ledger, requests, Decision("monday"))
    world.run(world.follower(Stage.SUBMITTED).follow(verdicts))
    world.clock.now += 60
    result = world.run(world.engine().step("wavespeed"))
    assert sorted(ended.subject_key for ended in result.ended) == clips


@pytest.mark.slow
def test_a_job_without_output_is_bought_again_after_minutes(world: World) -> None:
    world.provider.jobs_go[CLIP] = [Ends(JobStatus.GONE, 60, FailureKind.GONE), Ends()]
    request = a_request(CLIP, max_attempts=2)
    verdicts = decide(world.ledger, [request], Decision("monday"))
    world.run(world.follower(Stage.DELIVERED).follow(verdicts), at_most=7200)
    gone = world.newest(CLIP)
    assert gone.state is S.VANISHED
    assert (gone.finished_at or 0) - (gone.submitted_at or 0) >= 60 + SILENT_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.GONE])
def test_an_output_that_appears_an_hour_later_is_fetched_as_a_spare_take(
    world: World, status: JobStatus
) -> None:
    why = "try again" if status is JobStatus.FAILED else None
    world.provider.jobs_go[CLIP] = [Ends(status, 20, error=why), Ends()]
    buy(world)
    first, *_others = world.provider.jobs.values()
    shown = {clip: take.id for clip, take in world.ledger.current([CLIP]).items()}
    first.goes = Ends()
    tick(world, 3 * 3600)
    spares = world.ledger.overview(kind="spare")
    assert [(s.clip, s.job_id, s.state, s.money_state) for s in spares] == [
        (CLIP, first.id, S.SUCCEEDED, MoneyState.CONFIRMED)
    ]
    assert {clip: take.id for clip, take in world.ledger.current([CLIP]).items()} == shown
    assert len(world.provider.posts) == len(world.provider.jobs)
    assert not late_jobs.is_due(world.ledger, "wavespeed")
    collected_in_a_storm = adopted(deliveries.unreported(world.ledger, "wavespeed"))
    assert [one.attempt for one in collected_in_a_storm if one.attempt and one.attempt.is_spare] == []
    # a follower waits for the newest purchase of a slot; a spare take never is that, so it would wait for ever
    with pytest.raises(ValueError, match="spare take"):
        world.run(world.follower(Stage.DELIVERED).carry(spares))


@pytest.mark.slow
def test_a_failed_job_is_polled_seldom(world: World) -> None:
    world.provider.jobs_go[CLIP] = [Ends(JobStatus.FAILED, 20, FailureKind.MODERATION, "not allowed")]
    buy(world)
    (job,) = world.provider.jobs.values()
    before = len(job.polled_at)
    tick(world, 86_400)
    assert 4 <= len(job.polled_at) - before <= 10
    assert len(world.provider.posts) == 1


@pytest.mark.slow
def test_late_jobs_that_never_answer_delay_a_step_by_one_timeout(world: World) -> None:
    requests = [a_request(f"clip-{number}") for number in range(late_jobs.AT_ONCE)]
    for request in requests:
        world.provider.jobs_go[request.clip] = [
            Ends(JobStatus.FAILED, 20, FailureKind.MODERATION, "not allowed")
        ]
    decided = decide(world.ledger, requests, Decision("monday"))
    world.run(world.follower(Stage.DELIVERED).follow(decided), at_most=7200)
    world.clock.now += 120
    world.provider.poll_seconds = 30.0
    began = world.clock()
    world.run(world.engine().step("wavespeed"))
    assert world.clock() - began < 60
