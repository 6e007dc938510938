"""Sandboxes for the tests: in this process with a clock that a test moves, or behind a real socket."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from sandbox_bench import Bench

from proof.clock import Clock
from resources.sandbox import RunningSandbox, SandboxSettings, create_app, running_sandbox


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make(clock: Clock) -> AsyncIterator[Callable[..., Bench]]:
    """Build benches; jobs take exactly 8 seconds unless a test says otherwise."""
    benches: list[Bench] = []

    def build(**settings: Any) -> Bench:
        app = create_app(SandboxSettings(**{"spread": 0, **settings}), clock=clock)
        benches.append(Bench(app, clock))
        return benches[-1]

    yield build
    for bench in benches:
        await bench.client.aclose()
        bench.app.state.workshop.close()


@pytest.fixture
def bench(make: Callable[..., Bench]) -> Bench:
    return make()


@pytest.fixture
def live() -> Iterator[RunningSandbox]:
    """A sandbox behind a real socket, whose jobs end at once."""
    with running_sandbox(SandboxSettings(job_seconds=0)) as sandbox:
        yield sandbox
