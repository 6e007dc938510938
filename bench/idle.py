"""CPU time of each process of a stack that has nothing to do.

Start `dailies up` in one terminal. A few minutes later, start `python -m bench.idle --seconds 300` in another terminal and the same
folder. No clip may be in flight meanwhile.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from bench.processes import read_process
from resources.processes import of_home
from resources.settings import load_settings

HOUR = 3600


def measure(home: Path, seconds: float) -> dict[str, float]:
    """CPU seconds per hour of each process of a home's stack, by the process's role.

    A process that ends meanwhile does not count; a process that starts meanwhile counts with all its CPU time.
    """
    before = {one.pid: read_process(one.pid) for one in of_home(home)}
    time.sleep(seconds)
    found: dict[str, float] = {}
    for one in of_home(home):
        now, then = read_process(one.pid), before.get(one.pid)
        if now is not None:
            words = " ".join(Path(word).name for word in one.command[:5] if word != "-m")
            spent = now.seconds - (0.0 if then is None else then.seconds)
            found[words] = found.get(words, 0.0) + spent * HOUR / seconds
    return found


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=300.0, help="how long to watch")
    chosen = parser.parse_args()
    home = load_settings().home.absolute()
    found = measure(home, chosen.seconds)
    if not found:
        sys.exit(f"no stack runs in {home}: start `dailies up` in this folder first")
    rounded = {name: round(value, 1) for name, value in sorted(found.items(), key=lambda item: -item[1])}
    print(json.dumps({"cpu_seconds_an_hour": rounded, "all": round(sum(found.values()), 1)}, indent=1))


if __name__ == "__main__":
    main()
