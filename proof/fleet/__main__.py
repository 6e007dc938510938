"""Several hosts under faults: `make bench-fleet N=48`. Takes about twelve minutes; namespaces need root.

Two hosts run the runs that buy and collect, a third one runs the sensors. They reach PostgreSQL, S3 and the provider through cables.
One host loses its cable with a POST in flight, a run is killed for good, another is frozen for longer than its claim, a clock is
five minutes ahead, and the database is away for a minute. With `--dagster` the hosts run Dagster itself (docs/operating.md).
Prints JSON. Exits with 1 if a clip was bought twice, lost, held for a person or collected late.
"""

import argparse
import json
import shlex
import signal
import sys
import tempfile
from pathlib import Path

from bench.machine import machine
from proof.fleet.dagster_scenes import DAGSTER_SCENES, LAUNCHERS, run_dagster
from proof.fleet.hosts import can_make_namespaces
from proof.fleet.scenes import SCENES, as_document, run_fleet

_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run all scenes."""
    from tests.postgres_server import PostgresServer  # noqa: PLC0415 - only where it is wanted

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clips", type=int, default=48, metavar="N", help="clips of all scenes together (default 48)"
    )
    parser.add_argument(
        "--scenes", nargs="*", choices=list(SCENES), default=list(SCENES), help="default: all"
    )
    parser.add_argument(
        "--dagster",
        nargs="*",
        choices=list(DAGSTER_SCENES),
        metavar="SCENE",
        help=f"run these scenes of Dagster on several hosts; needs namespaces (default all: {', '.join(DAGSTER_SCENES)})",
    )
    parser.add_argument(
        "--launcher",
        choices=list(LAUNCHERS),
        default="code servers",
        help="what starts the runs of --dagster",
    )
    parser.add_argument(
        "--addresses", action="store_true", help="use addresses of this machine instead of namespaces"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="keep ledgers, books and logs in this folder"
    )
    options = parser.parse_args()
    if options.dagster is None and options.clips < 2 * len(options.scenes):
        parser.error("--clips: each scene has two runs")
    # any end of this process must also end the namespaces and their processes
    for number in _INTERRUPTIONS:
        signal.signal(number, _interrupted)
    namespaces = not options.addresses and can_make_namespaces()
    if options.dagster is not None and not namespaces:
        parser.error("--dagster: network namespaces cannot be made here; they need root and `ip`")
    with tempfile.TemporaryDirectory() as made, PostgresServer() as server:
        folder = (options.keep or Path(made)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if options.dagster is None:
            outcome = run_fleet(
                folder, server, clips=options.clips, scenes=options.scenes, namespaces=namespaces, say=_say
            )
        else:
            scenes = options.dagster or list(DAGSTER_SCENES)
            outcome = run_dagster(
                folder, server, clips=options.clips, scenes=scenes, launcher=options.launcher, say=_say
            )
    document = {
        "command": f"python -m proof.fleet {shlex.join(sys.argv[1:])}".strip(),
        "machine": machine(),
        **as_document(outcome),
    }
    print(json.dumps(document, indent=2))
    sys.exit(1 if outcome.problems else 0)


def _interrupted(number: int, _frame: object) -> None:
    # a second Ctrl-C must not interrupt the cleanup
    for one in _INTERRUPTIONS:
        signal.signal(one, signal.SIG_IGN)
    sys.exit(128 + number)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
