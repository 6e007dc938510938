import itertools
import os
import subprocess
import sys
import time

import pytest

from bench.machine import ideal_seconds
from bench.processes import read_process
from bench.series_files import is_doomed
from bench.usage import Meter

pytestmark = pytest.mark.slow

BURN = """
import sys, time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""
BURNS_IN_CHILDREN = (
    BURN
    + """
import subprocess
sys.stdin.readline()
for _ in range(4):
    # a child far shorter than the sampler's interval, with a child of its own
    inner = "import time\\nwhile time.process_time() < 0.06: pass"
    outer = f"import subprocess, sys, time; subprocess.run([sys.executable, '-S', '-c', {inner!r}]); exec({inner!r})"
    subprocess.run([sys.executable, "-S", "-c", outer])
print("done", flush=True)
sys.stdin.readline()
"""
)


def start(code: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def say(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def hear(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_short_lived_children_and_theirs_are_counted() -> None:
    before = os.times()
    process = start(BURNS_IN_CHILDREN)
    meter = Meter({"tree": process.pid})
    meter.mark()
    say(process)
    assert hear(process) == "done"
    used = meter.seconds()["tree"]
    say(process)
    process.wait(10)
    # the kernel's own account of this child and its children, start-up included
    after = os.times()
    everything = (after.children_user - before.children_user) + (
        after.children_system - before.children_system
    )
    assert used >= 8 * 0.06 - 0.1
    assert used <= everything + 0.1


def test_cpu_time_before_the_mark_does_not_count() -> None:
    process = start(BURN + "burn(0.3)\nprint('ready', flush=True)\nsys.stdin.readline()")
    meter = Meter({"tree": process.pid})
    assert hear(process) == "ready"
    meter.mark()
    assert meter.seconds()["tree"] == pytest.approx(0, abs=0.05)
    say(process)
    process.wait(10)


def test_a_dead_child_that_was_not_waited_for_is_still_read() -> None:
    process = start(BURN + "burn(0.2)")
    give_up = time.monotonic() + 20
    while (found := read_process(process.pid)) is None or found.alive:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert found.parent == os.getpid()
    # /proc rounds user and system time down to ticks of 10 ms each
    assert found.own >= 0.2 - 0.03
    process.wait(10)
    assert read_process(process.pid) is None


def test_the_peak_of_a_video_worker_is_not_its_parents() -> None:
    holds = "import sys; block = bytearray(60_000_000); print('ready', flush=True); sys.stdin.readline()"
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", holds, "resources.video.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with Meter({}) as meter:
        assert hear(process) == "ready"
        give_up = time.monotonic() + 20
        while meter.peaks.get("child", 0.0) < 60:
            assert time.monotonic() < give_up
            time.sleep(0.05)
    assert meter.peaks["child"] < 120
    say(process)
    process.wait(10)


@pytest.mark.parametrize(("fail", "expected"), [(0.1, 10), (0.0, 0), (0.25, 25), (0.07, 7)])
def test_the_share_of_failing_clips_is_exact_and_spread_evenly(fail: float, expected: int) -> None:
    doomed = [number for number in range(1, 101) if is_doomed(number, fail)]
    assert len(doomed) == expected
    gaps = {b - a for a, b in itertools.pairwise(doomed)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_the_ideal_waits_for_posts_that_go_one_at_a_time() -> None:
    books = {
        "jobs": [{"starts_at": at, "ends_at": at + 20} for at in range(5)] + [{"starts_at": 9, "ends_at": 35}]
    }
    assert ideal_seconds(books, None) == 26
    assert ideal_seconds(books, None, post_seconds=0.5) == 6 * 0.5 + 26
    assert ideal_seconds(books, 3) == 20 + 26
