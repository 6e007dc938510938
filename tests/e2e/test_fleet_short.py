"""The short form of the fleet: another host finishes the clips of a run that is frozen beyond its claim, and of a killed one."""

import sys
from pathlib import Path

import pytest

from proof.fleet.scenes import run_short
from proof.fleet.worker import LOST
from tests.postgres_server import PostgresServer

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 to 127.0.0.4")]


def test_the_clips_of_a_frozen_and_a_dead_run_are_collected_once_by_another(tmp_path: Path) -> None:
    with PostgresServer() as server:
        outcome = run_short(tmp_path, server)
    assert outcome.problems == []
    assert outcome.verdict.ends == {"delivered": 4}
    assert outcome.verdict.jobs == 4
    # the negative control: the same judge, after a file was removed and a POST repeated
    assert [len(seen) > 0 for seen in outcome.broken_on_purpose.values()] == [True, True]
    # a run that was frozen between reading its claim and reading its clips finds nothing left to do
    came_back = [outcome.exits.get(f"w1 produce: {code}", 0) for code in (LOST, 0)]
    assert sum(came_back) == 1
    assert outcome.exits["w2 produce: -9"] == 1
