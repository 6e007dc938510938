"""An endpoint that ends between a prompt and its purchase: nothing is bought from it, and its queue is withdrawn."""

from datetime import UTC, datetime, timedelta

from fakes import World, a_request, submit_queue

from proof.clock import START
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.states import AttemptState, MoneyState

TODAY = datetime.fromtimestamp(START, UTC).date()
TOMORROW = TODAY + timedelta(days=1)
DAY = 86_400.0


def test_a_prompt_that_was_rendered_before_the_sunset_is_not_bought_after_it(world: World) -> None:
    request = a_request("city-hero", sunset_at=TOMORROW)
    (before,) = decide(world.ledger, [request], Decision("monday"))
    assert before.ruling is Ruling.NEW
    world.clock.now += DAY
    (after,) = decide(world.ledger, [a_request("city-other", sunset_at=TOMORROW)], Decision("tuesday"))
    assert after.ruling is Ruling.REFUSED
    assert "is retired by its provider since" in str(after.reason)
    assert "materialize `prompts` again" in str(after.reason)


def test_a_clip_in_the_queue_at_the_sunset_is_never_sent(world: World) -> None:
    requests = [a_request("ends-today", sunset_at=TOMORROW), a_request("goes-on")]
    decide(world.ledger, requests, Decision("monday"))
    world.clock.now += DAY
    engine = world.engine()
    world.run(submit_queue(engine))
    assert [post.clip for post in world.provider.posts] == ["goes-on"]
    ended = world.newest("ends-today")
    assert (ended.state, ended.money_state) == (AttemptState.REJECTED, MoneyState.RELEASED)
    assert "nothing was sent" in str(ended.reason)


def test_a_job_that_was_bought_before_the_sunset_is_still_fetched(world: World) -> None:
    decide(world.ledger, [a_request("city-hero", sunset_at=TOMORROW)], Decision("monday"))
    engine = world.engine()
    world.run(submit_queue(engine))
    world.clock.now += DAY
    world.run(engine.poll_due("wavespeed"))
    assert world.newest("city-hero").state is AttemptState.SUCCEEDED
