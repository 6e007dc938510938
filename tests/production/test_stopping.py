"""An account that cannot pay or refuses the key: one alarm, no lost clip, and it reopens by itself."""

import asyncio
import logging

import pytest
from fakes import PRICE, Ends, World, a_request, rejects, submit_queue

from resources.errors import UnavailableError
from resources.ledger import stops
from resources.ledger.decisions import Decided, Decision, Ruling, decide
from resources.ledger.limits import Limits
from resources.ledger.states import AttemptState, MoneyState
from resources.ledger.stops import PROBE_SECONDS, StopKind
from resources.production.batch import Followed, Stage
from resources.production.engine import Engine
from resources.providers.base import Charge, FailureKind, JobStatus, PollFailed

S = AttemptState
CLIPS = [f"clip-{number:03}" for number in range(20)]
FUNDS = FailureKind.INSUFFICIENT_FUNDS


def wanted(world: World, *clips: str, decision: str = "monday") -> list[Decided]:
    return decide(world.ledger, [a_request(clip) for clip in clips], Decision(decision))


def carry(world: World, until: Stage, *clips: str) -> Followed:
    return world.run(world.follower(until, world.engine()).follow(wanted(world, *clips)))


def has_money_for(world: World, clips: int) -> None:
    world.provider.balance_micros = clips * PRICE + 100_000


async def ticks(engine: Engine, seconds: float) -> None:
    every = 20 if seconds < 1000 else 60
    for _ in range(int(seconds / every)):
        await engine.step("wavespeed")
        await asyncio.sleep(every)


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


def states(world: World) -> set[AttemptState]:
    return {attempt.state for attempt in world.ledger.latest(CLIPS).values()}


@pytest.mark.slow
def test_out_of_credit_is_one_alarm_and_a_run_that_leaves_keeps_its_queue(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    has_money_for(world, 5)
    result = carry(world, Stage.SUBMITTED, *CLIPS)
    assert result.failed == {}
    assert result.left == CLIPS[5:]
    assert states(world) == {S.SUBMITTED, S.QUEUED}
    world.run(ticks(world.engine(), 3600))
    assert len(world.provider.posts) <= 5 + 16, "no more than were in flight at once"
    (alarm,) = alarms(caplog)
    assert "wavespeed is stopped" in alarm
    assert "top it up" in alarm


@pytest.mark.slow
def test_a_topped_up_account_reopens_by_itself_in_the_order_of_the_queue(world: World) -> None:
    has_money_for(world, 5)
    carry(world, Stage.SUBMITTED, *CLIPS)
    engine = world.engine(Limits(in_flight=20))
    world.run(ticks(engine, 900))
    assert S.QUEUED in states(world)
    before = len(world.provider.posts)
    world.provider.balance_micros = 50_000_000
    world.run(ticks(engine, PROBE_SECONDS + 60))
    assert stops.stops(world.ledger) == []
    assert [post.clip for post in world.provider.posts[before:]] == CLIPS[5:]
    world.run(ticks(engine, 300))
    assert states(world) == {S.SUCCEEDED}


@pytest.mark.slow
def test_one_failed_answer_about_the_balance_does_not_keep_it_stopped(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_money_for(world, 5)
    carry(world, Stage.SUBMITTED, *CLIPS)
    engine = world.engine()
    world.run(ticks(engine, 60))
    world.provider.balance_micros = 50_000_000
    answers = iter([UnavailableError("HTTP 502"), UnavailableError("HTTP 502")])
    balance = world.provider.balance

    async def stumbling() -> int | None:
        for error in answers:
            raise error
        return await balance()

    monkeypatch.setattr(world.provider, "balance", stumbling)
    world.run(ticks(engine, PROBE_SECONDS))
    assert stops.stops(world.ledger) == []


@pytest.mark.slow
def test_a_stopped_account_is_checked_every_few_minutes_and_not_more_often(world: World) -> None:
    has_money_for(world, 0)
    carry(world, Stage.SUBMITTED, *CLIPS)
    before = world.provider.checked
    world.run(ticks(world.engine(), 3600))
    assert 3600 / PROBE_SECONDS - 2 <= world.provider.checked - before <= 3600 / PROBE_SECONDS + 1


@pytest.mark.slow
def test_a_run_that_waits_does_not_wait_for_money(world: World) -> None:
    has_money_for(world, 5)
    started = world.clock()
    result = carry(world, Stage.DELIVERED, *CLIPS)
    assert sorted(result.failed) == CLIPS[5:]
    assert all("top it up" in reason for reason in result.failed.values())
    assert {world.newest(clip).state for clip in CLIPS[:5]} == {S.DELIVERED}
    for clip in CLIPS[5:]:
        attempt = world.newest(clip)
        assert (attempt.state, attempt.money_state) == (S.WITHDRAWN, MoneyState.RELEASED)
        assert attempt.reason_kind is FUNDS
    assert world.clock() - started < 120
    world.provider.balance_micros = 50_000_000
    world.clock.now += PROBE_SECONDS
    again = carry(world, Stage.DELIVERED, *CLIPS)
    assert again.failed == {}, "a retry of the same decision buys the remaining clips"
    assert len(world.provider.jobs) == len(CLIPS)


@pytest.mark.slow
def test_an_account_with_a_balance_that_still_refuses_gets_few_posts(world: World) -> None:
    for clip in CLIPS:
        world.provider.answers[clip] = [rejects(FUNDS)] * 1000
    wanted(world, "clip-000")
    world.run(ticks(world.engine(), 3600))
    assert 2 <= len(world.provider.posts) <= 2 + 3600 / PROBE_SECONDS
    assert world.newest("clip-000").state is S.QUEUED


@pytest.mark.slow
def test_a_refused_key_stops_the_account_until_it_is_accepted(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.provider.refuses_the_key = True
    wanted(world, *CLIPS)
    engine = world.engine(Limits(in_flight=20))
    world.run(ticks(engine, 1800))
    before = len(world.provider.posts)
    assert before == 1
    assert len(alarms(caplog)) == 1
    world.provider.refuses_the_key = False
    world.run(ticks(engine, PROBE_SECONDS + 60))
    assert [post.clip for post in world.provider.posts[before:]] == CLIPS
    assert len(world.provider.jobs) == len(CLIPS)


@pytest.mark.slow
def test_a_key_that_is_refused_while_jobs_run_is_one_alarm_and_nothing_is_lost(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """A revoked key was once shown nowhere: clips stayed `submitted`, and doctor found nothing."""
    wanted(world, *CLIPS)
    engine = world.engine(Limits(in_flight=20))
    world.run(submit_queue(engine))
    world.provider.refuses_the_key = True
    world.run(ticks(engine, 1800))
    (alarm,) = alarms(caplog)
    assert "jobs cannot be asked for" in alarm
    assert "set the right one" in alarm
    wanted(world, "another")
    world.run(ticks(engine, 300))
    assert [post.clip for post in world.provider.posts] == CLIPS, "nothing else is bought meanwhile"
    world.provider.refuses_the_key = False
    world.run(ticks(engine, 1800))
    assert states(world) == {S.SUCCEEDED}
    assert stops.stop_of(world.ledger, "wavespeed") is None
    assert [post.clip for post in world.provider.posts] == [*CLIPS, "another"]


@pytest.mark.slow
def test_one_refused_poll_stops_no_account_whose_key_is_accepted(world: World) -> None:
    """Negative control: an account of a provider that sometimes answers 401 keeps sending."""
    wanted(world, CLIPS[0])
    engine = world.engine()
    world.run(submit_queue(engine))
    world.provider.polls[CLIPS[0]] = [PollFailed("401", kind=FailureKind.AUTH)] * 2
    world.run(ticks(engine, 300))
    assert world.provider.checked
    assert stops.stop_of(world.ledger, "wavespeed") is None
    assert world.newest(CLIPS[0]).state is S.SUCCEEDED


@pytest.mark.slow
def test_a_model_that_the_account_may_not_use_is_red_and_the_others_are_bought(world: World) -> None:
    world.provider.answers["clip-000"] = [rejects(FailureKind.AUTH, http_status=403)]
    result = carry(world, Stage.DELIVERED, "clip-000", "clip-001", "clip-002")
    assert list(result.failed) == ["clip-000"]
    assert world.newest("clip-000").state is S.REJECTED


@pytest.mark.slow
def test_dailies_stop_stops_all_posts_and_bought_clips_are_fetched(world: World) -> None:
    engine = world.engine(Limits(in_flight=1))
    wanted(world, *CLIPS[:3])
    world.run(submit_queue(engine))
    stops.stop(world.ledger, reason="the prompts are wrong")
    world.run(ticks(engine, 600))
    assert len(world.provider.posts) == 1
    assert world.newest(CLIPS[0]).state is S.SUCCEEDED, "the running job is polled"
    (refused,) = wanted(world, "another")
    assert refused.ruling is Ruling.REFUSED
    assert "the prompts are wrong" in (refused.reason or "")
    assert "`dailies start`" in (refused.reason or "")
    stops.start(world.ledger)
    world.run(ticks(engine, 600))
    assert [post.clip for post in world.provider.posts] == CLIPS[:3]


def test_a_waiting_run_ends_when_everything_is_stopped(world: World) -> None:
    decided = wanted(world, *CLIPS[:3])
    stops.stop(world.ledger, reason="enough")
    result = world.run(world.follower(Stage.DELIVERED).follow(decided))
    assert sorted(result.failed) == CLIPS[:3]
    assert all("enough" in reason for reason in result.failed.values())


@pytest.mark.slow
def test_a_temporary_failure_is_not_bought_again_while_everything_is_stopped(world: World) -> None:
    world.provider.jobs_go["clip-000"] = [
        Ends(JobStatus.FAILED, failure=FailureKind.PROVIDER, error="out of GPUs")
    ]
    decide(world.ledger, [a_request("clip-000", max_attempts=3)], Decision("monday"))
    engine = world.engine()
    world.run(submit_queue(engine))
    stops.stop(world.ledger, reason="enough")
    world.run(ticks(engine, 600))
    failed = world.newest("clip-000")
    assert failed.state is S.FAILED
    assert "out of GPUs" in (failed.reason or "")
    assert "not tried again" in (failed.reason or "")
    assert len(world.provider.posts) == 1


@pytest.mark.slow
def test_another_model_and_a_lower_price_on_the_bill_are_reported_and_stop_nothing(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    wanted(world, "clip-000")
    engine = world.engine()
    world.run(ticks(engine, 20))
    job_id = world.newest("clip-000").job_id or ""
    cheaper = "bytedance/seedance-2.0/text-to-video"
    world.provider.bill = [Charge(job_id, 300_000, "charge", world.clock(), cheaper)]
    world.run(ticks(engine, 3600))
    attempt = world.newest("clip-000")
    assert (attempt.served_model, attempt.cost_micros) == (cheaper, 300_000)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [
        f"clip-000: the bill says that {cheaper} made it, and {attempt.endpoint} was bought (job {job_id})",
        f"clip-000: the bill says $0.30 instead of $0.40 (job {job_id})",
    ]
    assert stops.stops(world.ledger) == []


@pytest.mark.slow
def test_a_bill_above_the_quote_stops_the_account_until_a_person_starts_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    wanted(world, "clip-000")
    engine = world.engine()
    world.run(ticks(engine, 20))
    job_id = world.newest("clip-000").job_id or ""
    world.provider.bill = [Charge(job_id, 600_000, "charge", world.clock())]
    world.run(ticks(engine, 900))
    (stop,) = stops.stops(world.ledger)
    assert stop.kind is StopKind.OVERCHARGED
    assert "$0.60" in stop.reason
    assert "$0.20 more" in stop.reason
    (alarm,) = alarms(caplog)
    assert "dailies start --account wavespeed" in alarm
    (refused,) = wanted(world, "clip-001")
    assert refused.ruling is Ruling.REFUSED
    stops.start(world.ledger, account="wavespeed")
    assert wanted(world, "clip-001")[0].ruling is Ruling.NEW
    assert world.newest("clip-000").cost_micros == 600_000
