"""Why POSTs of some endpoints go one at a time (only elimination identifies their jobs), and which POSTs need not."""

from dataclasses import replace

import pytest
from fakes import World
from losskit import QUICK, S, ended, enqueue, known_lags, sensor

from resources.ledger import limits, queue
from resources.ledger.records import Attempt
from resources.orders import Seed

CLIPS = ("clip-a", "clip-b", "clip-c")


@pytest.fixture
def all_lost(anonymous: World) -> World:
    """Order three clips; each has a job, and every answer is lost."""
    known_lags(anonymous)
    for clip in CLIPS:
        anonymous.provider.answers[clip] = [QUICK]
    enqueue(anonymous, *CLIPS)
    return anonymous


@pytest.fixture
def shows_requests(shared: World) -> World:
    """An account on a shared key whose listing shows each job's request; every answer to a POST is lost."""
    known_lags(shared)
    shared.provider.capabilities = replace(shared.provider.capabilities, echoes_input=True)
    shared.provider.echoes_bodies = True
    for clip in CLIPS:
        shared.provider.answers[clip] = [QUICK] * 3
    return shared


def seconds_between_posts(world: World) -> float:
    times = [post.at for post in world.provider.posts]
    return max(times) - min(times)


def seeds_of(world: World) -> set[int]:
    return {job.body["seed"] for job in world.provider.jobs.values() if job.body is not None}


def settled(world: World) -> list[Attempt]:
    # `held` counts as settled: without further proof it stays
    sensor(world, until=ended(world, *CLIPS))
    return [world.newest(clip) for clip in CLIPS]


def test_lost_posts_that_were_sent_one_after_the_other_each_get_their_job(all_lost: World) -> None:
    for attempt in settled(all_lost):
        assert attempt.state is S.SUCCEEDED
        assert all_lost.provider.jobs[attempt.job_id or ""].clip == attempt.clip


def test_posts_that_are_lost_together_are_held_and_never_exchanged(
    all_lost: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This is the state that a killed process or an outage would leave if they were sent in parallel."""
    monkeypatch.setattr(limits, "FRESH_SECONDS", -1.0)
    found = settled(all_lost)
    assert len(all_lost.provider.posts) == len(all_lost.provider.jobs) == len(CLIPS)
    assert (
        max(post.at for post in all_lost.provider.posts) - min(post.at for post in all_lost.provider.posts)
        < 1
    )
    assert {attempt.state for attempt in found} == {S.HELD}
    assert {attempt.job_id for attempt in found} == {None}


def test_posts_with_their_own_seeds_go_in_parallel_and_each_gets_its_job(shows_requests: World) -> None:
    enqueue(shows_requests, *CLIPS, seed=Seed(name="seed"))
    for attempt in settled(shows_requests):
        assert attempt.state is S.SUCCEEDED
        assert shows_requests.provider.jobs[attempt.job_id or ""].clip == attempt.clip
    assert len(seeds_of(shows_requests)) == len(CLIPS)
    assert seconds_between_posts(shows_requests) < 1


def test_the_takes_of_a_clip_differ_by_their_seeds_and_go_in_parallel(shows_requests: World) -> None:
    enqueue(shows_requests, "clip-a", seed=Seed(name="seed"), takes=3)
    settled_takes(shows_requests, 3)
    assert len(seeds_of(shows_requests)) == 3
    assert seconds_between_posts(shows_requests) < 1


def test_one_seed_for_all_takes_would_identify_none(
    shows_requests: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: only the seeds make parallel POSTs safe."""
    monkeypatch.setattr(queue, "_own_seed", lambda _request: 7)
    enqueue(shows_requests, "clip-a", seed=Seed(name="seed"), takes=3)
    sensor(shows_requests, until=ended(shows_requests, "clip-a"))
    states = {take.state for take in shows_requests.ledger.latest_takes(["clip-a"]).values()}
    assert states == {S.HELD}


@pytest.mark.slow
@pytest.mark.parametrize(
    "request_", [{}, {"seed": Seed(name="seed"), "body": {"prompt": "clip-a", "seed": 7}}]
)
def test_posts_without_their_own_seed_go_one_after_the_other(
    shows_requests: World, request_: dict[str, object]
) -> None:
    for clip in CLIPS:
        enqueue(
            shows_requests, clip, **(request_ | ({"body": {"prompt": clip, "seed": 7}} if request_ else {}))
        )
    sensor(shows_requests, until=lambda: len(shows_requests.provider.posts) == len(CLIPS))
    assert seconds_between_posts(shows_requests) > 2


def settled_takes(world: World, count: int) -> None:
    sensor(world, until=ended(world, "clip-a"))
    sensor(
        world,
        until=lambda: (
            {take.state for take in world.ledger.latest_takes(["clip-a"]).values()} == {S.SUCCEEDED}
        ),
    )
    takes = world.ledger.latest_takes(["clip-a"])
    assert len({take.job_id for take in takes.values()}) == count
    for take in takes.values():
        job = world.provider.jobs[take.job_id or ""]
        assert job.body is not None
        assert job.body["seed"] == take.request.sent_seed
