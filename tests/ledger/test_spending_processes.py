"""Real processes on one ledger and a real sandbox: one POST per clip; the sandbox measures the limits, the ledger the caps."""

import asyncio
import contextlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Barrier
from typing import Any

import pytest
from ledgerkit import ACCOUNT, a_request, everything, process_pool

from resources.ledger import counters, queue
from resources.ledger.budget import Budget, Scope
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.states import AttemptState
from resources.money import usd
from resources.orders import Caps, ClipRequest
from resources.production.account import Account
from resources.production.batch import Follower, Stage
from resources.production.engine import Engine
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from resources.sandbox import RunningSandbox, SandboxSettings, running_sandbox

PROCESSES = 8
CLIPS = [f"clip-{number:02}" for number in range(50)]
PATIENCE = 600.0

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Faster:
    """A clock that all processes share and that runs a number of times as fast as real time."""

    start: float
    times: float

    def __call__(self) -> float:
        return self.start + (time.time() - self.start) * self.times

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.times)


@contextlib.contextmanager
def children() -> Iterator[Callable[..., list[Any]]]:
    """Run a function in eight processes at once."""
    with process_pool(PROCESSES) as (pool, together):

        def run(work: Callable[..., Any], *arguments: Any) -> list[Any]:
            asked = [pool.submit(work, together, number, *arguments) for number in range(PROCESSES)]
            return [answer.result(PATIENCE) for answer in asked]

        yield run


def a_clip(key: str) -> ClipRequest:
    body = {"prompt": f"a lighthouse, {key}", "size": "720*1280", "duration": 4}
    return a_request(key, body=body)


def carry(
    url: str, sandbox: str, clock: Faster, limits: Limits, number: int, clips: list[str]
) -> dict[str, str]:
    """Decide and follow, as a run does."""

    async def work(ledger: Ledger) -> dict[str, str]:
        account = Account(
            WaveSpeed(Connection("wavespeed", sandbox, "sandbox", clock=clock)), limits, 30 * clock.times
        )
        engine = Engine(ledger, {ACCOUNT: account}, sleep=clock.sleep)
        try:
            decided = decide(
                ledger,
                [a_clip(key) for key in clips],
                Decision(f"decision-{number}", watched_by=f"run-{number}"),
            )
            follower = Follower(
                engine, None, until=Stage.GENERATED, report=lambda _: None, run_id=f"run-{number}"
            )
            return (await follower.follow(decided)).failed
        finally:
            await engine.aclose()

    with Ledger(url, clock=clock, budget=Budget()) as ledger:
        return asyncio.run(work(ledger))


def produces_the_same(
    together: Barrier, number: int, url: str, sandbox: str, clock: Faster
) -> dict[str, str]:
    # each process starts elsewhere in the batch, so that every clip is contested
    order = CLIPS[number * 6 :] + CLIPS[: number * 6]
    together.wait(PATIENCE)
    return carry(url, sandbox, clock, Limits(), number, order)


def test_eight_processes_that_produce_the_same_fifty_clips_send_fifty_posts(ledger_url: str) -> None:
    clock = Faster(time.time(), 20)
    Ledger(ledger_url, budget=Budget()).close()
    with running_sandbox(SandboxSettings(job_seconds=0)) as sandbox, children() as run:
        failed = run(produces_the_same, ledger_url, sandbox.url, clock)
        posts = [visit for visit in sandbox.app.state.workshop.books.visits() if visit.operation == "submit"]
        jobs = sandbox.app.state.workshop.books.jobs()
    assert failed == [{}] * PROCESSES
    assert len(posts) == len(CLIPS)
    assert Counter(job.body["prompt"] for job in jobs) == Counter(f"a lighthouse, {key}" for key in CLIPS)
    with Ledger(ledger_url, budget=Budget()) as ledger:
        bought = everything(ledger)
        assert {attempt.state for attempt in bought} == {AttemptState.SUCCEEDED}
        assert {attempt.job_id for attempt in bought} == {job.id for job in jobs}
        assert spent(ledger) == len(CLIPS) * usd("0.40")


# A cap

CAP = usd("10.00")
PRICES = [usd("0.37"), usd("0.90"), usd("0.01"), usd("1.13")]
DAY = Budget(everything=Caps(per_day=CAP))


def spent(ledger: Ledger) -> int:
    with ledger.read() as connection:
        return counters.counted(connection)[Scope("everything", "", "total", "")]


def buys_what_it_can(together: Barrier, number: int, url: str) -> tuple[int, int]:
    """Reserve and release until the cap has refused often; returns the highest spent amount ever seen."""
    rng = random.Random(number)
    most = refused = 0
    with Ledger(url, budget=DAY) as ledger:
        together.wait(PATIENCE)
        for clip in range(25):
            request = a_request(f"p{number}-{clip}", price_micros=rng.choice(PRICES))
            (ruling,) = decide(ledger, [request], Decision(f"decision-{number}"))
            most = max(most, spent(ledger))
            refused += ruling.ruling is Ruling.REFUSED
            if ruling.attempt is not None and rng.random() < 0.3:
                queue.withdraw(ledger, [ruling.attempt.id], why="changed our mind")
    return most, refused


def test_a_cap_of_ten_dollars_under_eight_processes_is_never_exceeded(ledger_url: str) -> None:
    Ledger(ledger_url, budget=Budget()).close()
    with children() as run:
        seen = run(buys_what_it_can, ledger_url)
    assert sum(refused for _, refused in seen) > len(seen), "the cap must have refused often"
    assert max(most for most, _ in seen) <= CAP
    with Ledger(ledger_url, budget=Budget()) as ledger:
        reserved = sum(attempt.cost_micros for attempt in everything(ledger))
        assert spent(ledger) == reserved
        assert CAP - max(PRICES) < reserved <= CAP, "the cap is used, and not more than it"


# Limits

LIMITS = Limits(in_flight=2, per_minute=2)
QUEUE = CLIPS[:16]


def carries_a_part(together: Barrier, number: int, url: str, sandbox: str, clock: Faster) -> dict[str, str]:
    together.wait(PATIENCE)
    return carry(url, sandbox, clock, LIMITS, number, QUEUE)


def test_an_account_never_gets_more_than_its_two_places_and_two_submits_a_minute_and_in_order(
    ledger_url: str,
) -> None:
    clock = Faster(time.time(), 120)
    with Ledger(ledger_url, clock=clock, budget=Budget()) as ledger:
        decide(ledger, [a_clip(key) for key in QUEUE], Decision("monday"))
    settings = SandboxSettings(job_seconds=20, slots=2, submits_per_minute=2)
    with running_sandbox(settings, clock=clock) as sandbox, children() as run:
        failed = run(carries_a_part, ledger_url, sandbox.url, clock)
        judge(sandbox)
    assert failed == [{}] * PROCESSES


def judge(sandbox: RunningSandbox) -> None:
    """Check the provider's record: the order of the queue, no 429, no job that waited for a place."""
    books = sandbox.app.state.workshop.books
    jobs = sorted(books.jobs(), key=lambda job: job.number)
    assert [job.body["prompt"] for job in jobs] == [f"a lighthouse, {key}" for key in QUEUE]
    posts = [visit for visit in books.visits() if visit.operation == "submit"]
    assert {visit.status for visit in posts} == {200}
    assert len(posts) == len(QUEUE)
    assert all(job.starts_at == job.received_at for job in jobs), "none waited for a place"
    for first, beyond in zip(jobs, jobs[2:], strict=False):
        assert beyond.received_at - first.received_at >= 60
    for job, other in itertools.pairwise(jobs):
        assert job.received_at < other.received_at
