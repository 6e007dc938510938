"""Invented providers: one accepts an idempotency key, one lists nothing, one bills nothing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import (
    ACCEPTS,
    CAPABILITIES,
    LOSES_THE_ANSWER,
    Answer,
    FakeProvider,
    World,
    a_request,
    rejects,
    run,
)
from linekit import lines_of_dailies

from resources.ledger import bills, keys, stops
from resources.ledger.decisions import Decision, decide
from resources.ledger.lost import closures
from resources.ledger.states import AttemptState, MoneyState
from resources.providers.base import Accepted, FailureKind, NotSent, SubmitOutcome, Unknown
from resources.providers.provider import Capabilities

S = AttemptState
KEYED = replace(CAPABILITIES, echoes_submission_id=False, lists_jobs=False, idempotency_seconds=86_400)
UNLISTED = replace(CAPABILITIES, echoes_submission_id=False, lists_jobs=False)
NEVER_SENT = Answer(Unknown("read timed out"), after=30)


class Keyed(FakeProvider):
    """A provider that remembers the id of a submission with its body: an equal POST gets the first one's job, another body is refused."""

    def __init__(self, world: World, capabilities: Capabilities) -> None:
        super().__init__(world.clock)
        self.capabilities = capabilities
        self.remembered: dict[str, tuple[str, dict[str, Any]]] = {}

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        known = self.remembered.get(submission_id)
        before = set(self.jobs)
        if known is not None:
            job_id, first = known
            assert first == body, "another request under the same key"
            self.answers[str(body["prompt"])].insert(0, Answer(Accepted(job_id, None, {})))
        outcome = await super().submit(
            endpoint, body, submission_id=submission_id, deadline_seconds=deadline_seconds
        )
        for job_id in set(self.jobs) - before:
            self.remembered[submission_id] = job_id, body
        return outcome


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(f"sqlite:///{tmp_path}/ledger.db")
    yield world
    world.ledger.close()


def of_kind(world: World, capabilities: Capabilities, *answers: Answer) -> Keyed:
    world.provider = provider = Keyed(world, capabilities)
    provider.answers["hill"] = list(answers)
    decide(world.ledger, [a_request("hill")], Decision("monday"))
    return provider


def steps(world: World, times: int, *, seconds: float = 10.0) -> None:
    engine = world.engine()

    async def work() -> None:
        for _ in range(times):
            await engine.step("wavespeed")
            await engine.sleep(seconds)

    run(world.clock, work(), at_most=1e7)


def attempt(world: World) -> Any:
    return world.ledger.latest(["hill"])["hill"]


def test_a_lost_answer_is_recovered_by_the_same_post(world: World) -> None:
    provider = of_kind(world, KEYED, LOSES_THE_ANSWER)
    steps(world, 12)
    assert attempt(world).state is S.SUCCEEDED
    assert len(provider.jobs) == 1
    assert len(provider.posts) == 2
    assert len({post.submission_id for post in provider.posts}) == 1


@pytest.mark.slow
def test_a_post_that_never_arrived_is_repeated_until_it_arrives(world: World) -> None:
    provider = of_kind(world, KEYED, NEVER_SENT, NEVER_SENT, Answer(NotSent("refused"), after=0.1), ACCEPTS)
    steps(world, 40)
    assert attempt(world).state is S.SUCCEEDED
    assert (len(provider.jobs), len(provider.posts)) == (1, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "repeated", [rejects(FailureKind.INVALID), rejects(FailureKind.THROTTLED), Answer(NotSent("refused"))]
)
def test_a_refusal_of_the_repetition_proves_nothing_about_the_first_post(
    world: World, repeated: Answer
) -> None:
    provider = of_kind(world, KEYED, NEVER_SENT, *[repeated] * 500)
    with lines_of_dailies() as lines:
        steps(world, 30)
    again = [line for line in lines if "was sent again" in line["message"]]
    assert again
    assert all(
        {"clip": "hill", "account": "wavespeed", "attempt": attempt(world).id}.items() <= line.items()
        for line in again
    )
    assert attempt(world).state is S.UNKNOWN
    assert attempt(world).money_state is MoneyState.INDETERMINATE
    assert len(provider.posts) > 2
    assert stops.stops(world.ledger) == []
    steps(world, 30, seconds=86_400 / 20)
    assert attempt(world).state is S.HELD


@pytest.mark.slow
def test_a_key_is_not_used_beyond_its_terms(world: World) -> None:
    provider = of_kind(world, KEYED, *[NEVER_SENT] * 1000)
    steps(world, 30, seconds=86_400 / 20)
    first = provider.posts[0].at
    assert max(post.at for post in provider.posts) - first < 86_400
    assert attempt(world).state is S.HELD


@pytest.mark.slow
@pytest.mark.parametrize(("key", "repeated"), [("ours", True), ("another account's", False)])
def test_a_post_of_another_key_is_not_repeated(world: World, key: str, repeated: bool) -> None:
    keys.see_key(world.ledger, "wavespeed", "ours")
    provider = of_kind(world, KEYED, *[NEVER_SENT] * 100)
    steps(world, 1, seconds=1)
    sent = len(provider.posts)
    keys.see_key(world.ledger, "wavespeed", key)
    steps(world, 10)
    assert (len(provider.posts) > sent) is repeated, "on another account it would be a new order"


def test_nothing_is_repeated_while_a_person_has_stopped_the_account(world: World) -> None:
    provider = of_kind(world, KEYED, NEVER_SENT)
    steps(world, 1, seconds=1)
    stops.stop(world.ledger, reason="stop it", account="wavespeed")
    sent = len(provider.posts)
    steps(world, 10)
    assert len(provider.posts) == sent


@pytest.mark.slow
@pytest.mark.parametrize("capabilities", [UNLISTED, CAPABILITIES])
def test_without_a_key_nothing_is_repeated(world: World, capabilities: Capabilities) -> None:
    provider = of_kind(world, capabilities, Answer(Unknown("lost"), creates=True, listed_after=1e6))
    steps(world, 30)
    assert len(provider.posts) == 1


def test_without_a_listing_a_lost_answer_is_held_at_once_with_that_reason(world: World) -> None:
    provider = of_kind(world, UNLISTED, LOSES_THE_ANSWER)
    steps(world, 3)
    held = attempt(world)
    assert (held.state, provider.listed) == (S.HELD, 0)
    assert "lists no jobs, so only a callback or a person can name its job" in held.reason
    assert "dailies resolve hill" in held.reason
    (job,) = provider.jobs
    closures.match_callback(world.ledger, "wavespeed", provider.posts[0].submission_id, job, model=None)
    assert attempt(world).state is S.SUBMITTED


@pytest.mark.slow
def test_without_a_bill_the_estimate_stays(world: World) -> None:
    provider = of_kind(world, replace(CAPABILITIES, bills_jobs=False))
    steps(world, 20, seconds=600)
    assert attempt(world).state is S.SUCCEEDED
    assert (attempt(world).cost_micros, attempt(world).charge_source == bills.BILL) == (400_000, False)
    assert provider.billed == 0


def test_an_output_with_a_lifetime_of_an_hour_has_a_copy_deadline(world: World) -> None:
    of_kind(world, replace(CAPABILITIES, output_seconds=3600.0))
    steps(world, 12)
    done = attempt(world)
    assert done.copy_deadline - done.finished_at == 3600
