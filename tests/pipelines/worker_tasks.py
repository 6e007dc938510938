"""What the run workers of `test_run_workers.py` do: each of them imports this module, and nothing else of the tests."""

import atexit
import gc
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

SECONDS = 120.0
"""How long anything may take on a busy machine."""


def ids_of_a_run(answers: Any) -> None:
    """Everything from which a run takes an id or a chance."""
    # the other tasks run in workers that have imported nothing
    from resources.ledger.ledger import process_name
    from resources.production.poll_times import next_poll_in

    found = {
        "a submission": uuid.uuid4().hex,
        "a token": secrets.token_hex(8),
        "an owner": process_name(),
        "a chance": random.random(),
        "a generator of its own": random.Random().random(),
        "a poll": next_poll_in(elapsed=1, usual=None, overdue=False, rng=random.Random()),
        "a temporary file": Path(tempfile.mktemp()).name,
    }
    answers.put(found)


def generators() -> list[random.Random]:
    """The generators of this process that a fork repeats; `random` itself starts its own anew in each fork."""
    own = random._inst
    # `type`, as `isinstance` raises for a weak reference whose object is gone
    found = [one for one in gc.get_objects() if issubclass(type(one), random.Random)]
    return [one for one in found if one is not own and not isinstance(one, random.SystemRandom)]


def title_and_parent(answers: Any) -> None:
    """The title of a worker, its parent, and whether it has imported the definitions."""
    has_definitions = "pipelines.definitions" in sys.modules
    answers.put((Path("/proc/self/comm").read_text().strip(), os.getppid(), has_definitions))


def leave_at_exit(answers: Any, file: str) -> None:
    """Work that leaves something for the end of the process."""
    atexit.register(Path(file).touch)
    answers.put(None)


def sleep(answers: Any) -> None:
    """A run that waits."""
    answers.put(os.getppid())
    time.sleep(10 * SECONDS)


def start_a_child(answers: Any) -> None:
    """A run that starts a process through a full fork, and the seconds after which it would then be ended."""
    subprocess.run([sys.executable, "-c", ""], check=True, preexec_fn=os.getpid)
    answers.put(signal.alarm(0))
