"""Kill workers at random while they deliver clips: `make bench-deliveries N=200`.

Workers are started one after the other (two at a time every other round) and killed with SIGKILL after a random moment;
the last ones may finish. Then every clip must have been delivered once, every object of the bucket must be whole and named
by a manifest, and nothing may be left on the disk. Prints the results as JSON and fails after a violation.
"""

import argparse
import json
import tempfile
from pathlib import Path

from proof.deliveries.depot import filled
from proof.deliveries.judge import violations
from proof.deliveries.storm import storm

LEASE_SECONDS = 2.0


def main() -> None:
    """Set up the depot, run the storm, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--longest-seconds", type=float, default=1.0, help="longest life of a worker")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="dailies-deliveries-") as name,
        filled(Path(name), clips=options.clips, lease_seconds=LEASE_SECONDS, seed=options.seed) as depot,
    ):
        happened = storm(
            depot, kills=options.kills, seed=options.seed, longest_seconds=options.longest_seconds
        )
        wrong = violations(depot)
    print(json.dumps({**happened, "violations": wrong}, indent=2))
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
