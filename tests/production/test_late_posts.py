"""A process that slept between committing a submission and sending it must not send it any more."""

from typing import Any

import pytest
from fakes import World, a_request, submit_queue

from resources.ledger import outcomes, queue
from resources.ledger.decisions import Decision, decide
from resources.ledger.records import Submission
from resources.ledger.states import AttemptState


def sleeping(monkeypatch: pytest.MonkeyPatch, world: World, seconds: float) -> list[float]:
    """The process sleeps after its first claim; returns the times at which it woke."""
    claim = queue.claim_next
    woke: list[float] = []

    def slow(*args: Any, **options: Any) -> object:
        claimed = claim(*args, **options)
        if isinstance(claimed, Submission) and not woke:
            world.clock.now += seconds
            woke.append(world.clock.now)
        return claimed

    monkeypatch.setattr(queue, "claim_next", slow)
    return woke


@pytest.mark.parametrize("asleep", [31.0, 200.0])
def test_a_post_whose_deadline_has_passed_is_not_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, asleep: float
) -> None:
    decide(world.ledger, [a_request("clip-001")], Decision("monday"))
    woke = sleeping(monkeypatch, world, asleep)
    engine = world.engine()
    world.run(submit_queue(engine))
    assert woke
    assert world.provider.posts == []
    assert world.newest("clip-001").state is AttemptState.QUEUED
    world.clock.now += outcomes.NOT_SENT_SECONDS
    world.run(submit_queue(engine))
    assert len(world.provider.posts) == 1, "sent once, by a new submission"
    assert world.newest("clip-001").state is AttemptState.SUBMITTED


def test_a_post_whose_deadline_was_set_by_a_clock_ahead_is_not_sent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.clock.now += 2 * 86_400
    decide(world.ledger, [a_request("clip-001")], Decision("monday"))
    woke = sleeping(monkeypatch, world, 600 - 2 * 86_400)
    world.run(submit_queue(world.engine(), until=world.clock.now + 1))
    assert woke
    assert world.provider.posts == [], "by now another process may have ended the lease and proved absence"
    assert world.newest("clip-001").state is AttemptState.QUEUED


def test_a_poster_does_not_send_a_post_whose_lease_ended_while_it_slept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide(world.ledger, [a_request("clip-001")], Decision("monday"))
    claim = queue.claim_next

    def slept(*args: Any, **options: Any) -> object:
        claimed = claim(*args, **options)
        if isinstance(claimed, Submission):
            world.clock.now += 200
            outcomes.expire_submissions(world.ledger, "wavespeed")
        return claimed

    monkeypatch.setattr(queue, "claim_next", slept)
    world.run(submit_queue(world.engine()))
    assert world.provider.posts == []
    assert world.newest("clip-001").state is AttemptState.ABSENT


def test_a_late_post_has_only_the_rest_of_its_deadline(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(world.ledger, [a_request("clip-001")], Decision("monday"))
    sleeping(monkeypatch, world, 20.0)
    given: list[float] = []
    submit = world.provider.submit

    async def watched(*args: Any, deadline_seconds: float, **options: Any) -> object:
        given.append(deadline_seconds)
        return await submit(*args, deadline_seconds=deadline_seconds, **options)

    monkeypatch.setattr(world.provider, "submit", watched)
    world.run(submit_queue(world.engine()))
    assert given == [pytest.approx(10.0, abs=0.1)]
