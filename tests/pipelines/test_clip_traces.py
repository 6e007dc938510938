"""A clip's life in an OpenTelemetry collector: one trace over two processes that do not know each other's spans."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Self

import pytest
from otlp_receiver import OtlpReceiver, receiving
from pipelinekit import KEY, House

pytestmark = pytest.mark.slow

FORKS = """
import atexit, os, sys
import boto3
import dagster as dg
import pipelines.dagster_storage
from pipelinekit import QUIET, ImpatientProduction, poll_soon
from pipelines.code_location import build_defs
from pipelines.partitions import range_tags
from resources.production import poller

poller.next_poll_in = poll_soon
defs = build_defs(ImpatientProduction())
for line in sys.stdin:
    job, *keys = line.split()
    if (child := os.fork()) == 0:
        found = defs.resolve_job_def(job)
        with dg.DagsterInstance.get() as instance:
            ran = found.execute_in_process(
                instance=instance, tags=range_tags(keys), run_config=QUIET, raise_on_error=False
            )
        print(ran.run_id, flush=True)
        # as a run worker ends; Python's own end takes a CPU second
        atexit._run_exitfuncs()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(status, flush=True)
"""


class RunWorkers:
    """Carries out each run in a process that ends with it: a fork of one that has imported everything, as in production."""

    def __init__(self, collector: OtlpReceiver) -> None:
        here = Path(__file__).parent
        environment = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20canary-of-the-collector",
            "PYTHONPATH": os.pathsep.join(map(str, (here, here.parent, here.parents[1]))),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-c", FORKS],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, job: str, keys: list[str]) -> str:
        """Carry out a run in a process of its own; returns the run's id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(job, *keys, file=self._process.stdin, flush=True)
        run_id, status = (self._process.stdout.readline().strip() for _ in range(2))
        assert status == "0", "the run's process says why"
        return run_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def test_the_life_of_a_clip_is_one_trace_over_two_processes(house: House) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    house.fault({"do": "fail"}, prompt_contains="west")
    with receiving() as collector, RunWorkers(collector) as workers:
        bought = workers.run("submit_clips", keys)
        early = collector.spans(clip="bay-east")
        assert collector.tree(early) == ["run", "  decide", "  POST"], "the clip's end is not known yet"
        collected = workers.run("collect_clips", keys)
        east, west = collector.spans(clip="bay-east"), collector.spans(clip="bay-west")
        stages = [one for one in collector.spans() if one.name in {"download", "check", "store"}]

    whole = [*east, *(one for one in stages if one.trace == east[0].trace)]
    whole.sort(key=lambda one: one.began)
    assert collector.tree(whole) == [
        "clip",
        "  run",
        "    decide",
        "    POST",
        "  run",
        "    poll",
        "    deliver",
        "      download",
        "      check",
        "      store",
    ]
    assert len({one.process["process.pid"] for one in whole}) == 2
    assert [one.facts["dailies.run_id"] for one in east if one.name == "run"] == [bought, collected]

    attempt = house.attempts(keys)["bay-east"]
    life = next(one for one in east if one.name == "clip")
    assert life.failed is None
    assert {name.removeprefix("dailies."): fact for name, fact in life.facts.items()} == {
        "clip": "bay-east",
        "series": "bay",
        "account": "wavespeed",
        "attempt": attempt.id,
        "job_id": attempt.job_id,
        "provider": "wavespeed",
        "endpoint": attempt.endpoint,
        "take": 1,
        "state": "delivered",
        "money": attempt.money_state.value,
        "cost_usd": attempt.cost_micros / 1e6,
    }
    assert attempt.cost_micros > 0
    post = next(one for one in east if one.name == "POST")
    assert (post.facts["dailies.outcome"], post.facts["dailies.job_id"]) == ("accepted", attempt.job_id)

    failed = next(one for one in west if one.name == "clip")
    assert (failed.failed, failed.facts["dailies.state"]) == ("failed", "failed")
    assert failed.trace != life.trace

    sent = b"".join(collector.bodies)
    assert b"bay-east" in sent, "the negative control of the next assertions"
    for secret in (b"quiet view", KEY.encode(), os.environ["AWS_SECRET_ACCESS_KEY"].encode(), b"canary"):
        assert secret not in sent
    assert all(one["authorization"] == "Bearer canary-of-the-collector" for one in collector.headers)
