"""Why POSTs of an endpoint whose jobs only elimination can tell apart go one at a time."""

import pytest
from fakes import World
from losskit import QUICK, S, ended, enqueue, known_lags, sensor

from resources.ledger import limits
from resources.ledger.records import Attempt

CLIPS = ("clip-a", "clip-b", "clip-c")


@pytest.fixture
def all_lost(anonymous: World) -> World:
    """Three clips are ordered, each has a job, and no POST is answered."""
    known_lags(anonymous)
    for clip in CLIPS:
        anonymous.provider.answers[clip] = [QUICK]
    enqueue(anonymous, *CLIPS)
    return anonymous


def settled(world: World) -> list[Attempt]:
    # `held` is settled here: without further proof nothing follows it
    sensor(world, until=ended(world, *CLIPS))
    return [world.newest(clip) for clip in CLIPS]


def test_one_after_the_other_each_lost_post_gets_its_job(all_lost: World) -> None:
    for attempt in settled(all_lost):
        assert attempt.state is S.SUCCEEDED
        assert all_lost.provider.jobs[attempt.job_id or ""].clip == attempt.clip


def test_posts_that_are_lost_together_are_held_and_never_exchanged(
    all_lost: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed process or an outage would leave if they were sent side by side."""
    monkeypatch.setattr(limits, "FRESH_SECONDS", -1.0)
    found = settled(all_lost)
    assert len(all_lost.provider.posts) == len(all_lost.provider.jobs) == len(CLIPS)
    assert (
        max(post.at for post in all_lost.provider.posts) - min(post.at for post in all_lost.provider.posts)
        < 1
    )
    assert {attempt.state for attempt in found} == {S.HELD}
    assert {attempt.job_id for attempt in found} == {None}
