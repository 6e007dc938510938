"""The storm of faults in real processes: `make bench-faults ARGS="--database postgresql"`.

1,000 clips go through real workers (the product's engine, follower and deliverer, a real database, a real S3 server, real
HTTP) while the workers are killed and stopped, the provider loses answers, lies and stalls, and database, bucket and disk fail. The
providers are stand-ins: separate processes with their own books. Then the faults stop, and a
judge compares the books, the ledger and the bucket, job by job. Prints JSON, or with `--markdown` the tables of
docs/reliability.md. Exits with 1 if a job was bought twice, lost, unaccounted, wrong, unended or held needlessly.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.machine import machine
from bench.processes import adopt_orphans, ending_all_children
from proof.faults.report import as_document, markdown
from proof.faults.round import run_round, told
from proof.faults.storm import RoundOutcome, StormScale
from proof.stand_in.mischief import Mischief

PARTS = ("storm", "lost-answers", "dagster")
LOST_SHARE = 0.02


def main() -> int:
    """Run the command; returns 0 if no law was broken."""
    options = _options()
    if not Path("/proc/self/stat").exists():
        print("this benchmark finds processes by /proc, which only Linux has", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    adopt_orphans()
    document: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "proof.faults", *sys.argv[1:]]),
        "database": options.database if "://" not in options.database else "a given database",
        "pace": options.pace,
        "seed": options.seed,
        "machine": machine(),
    }
    with ending_all_children():
        if "storm" in options.parts:
            document["storm"] = as_document(_storm(options))
        if "lost-answers" in options.parts:
            document["lost_answers"] = _lost_answers(options)
        if "dagster" in options.parts:
            from proof.faults.stack import StackScale, run_stack  # noqa: PLC0415 - Dagster, only where it is wanted

            with told("the whole stack"), _folder(options) as folder:
                document["dagster"] = as_document(
                    run_stack(
                        folder, StackScale(options.stack_clips // 2, options.stack_kills, seed=options.seed)
                    )
                )
    text = json.dumps(document, indent=2)
    if options.json:
        options.json.write_text(text + "\n")
    print(markdown(document) if options.markdown else text)
    problems = _problems(document)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _storm(options: argparse.Namespace) -> RoundOutcome:
    scale = StormScale(
        options.clips,
        options.kills,
        takes=options.takes,
        drafts=options.drafts,
        forgets_finishes=options.forgets_finishes,
        pace=options.pace,
        workers=options.workers,
        seed=options.seed,
        mischief=Mischief(options.seed),
        troubles=options.troubles,
        minutes=options.minutes,
    )
    with (
        told(f"{options.clips} clips, {options.kills} kills"),
        _folder(options) as folder,
        _ledger(options) as url,
    ):
        return run_round(scale, folder, url)


def _lost_answers(options: argparse.Namespace) -> dict[str, Any]:
    """The same clips without faults and with lost answers, one after the other."""
    scale = StormScale(
        max(options.clips // 4, 10),
        kills=0,
        pace=options.pace,
        workers=options.workers,
        seed=options.seed,
        troubles=0,
        minutes=options.minutes,
        twice=0.0,
        skewed=0.0,
    )
    found: dict[str, Any] = {}
    ways = {"without": Mischief.none(options.seed), "with": Mischief.losing(options.seed, LOST_SHARE)}
    for way, mischief in ways.items():
        with (
            told(f"{scale.clips} clips {way} lost answers"),
            _folder(options) as folder,
            _ledger(options) as url,
        ):
            outcome = run_round(dataclasses.replace(scale, mischief=mischief), folder, url)
        found[way] = as_document(outcome)
    found["ratio"] = round(found["with"]["wall_seconds"] / found["without"]["wall_seconds"], 3)
    return found


def _problems(document: dict[str, Any]) -> list[str]:
    rounds = [document.get("storm"), document.get("dagster")]
    both = document.get("lost_answers", {})
    rounds += [both.get("without"), both.get("with")]
    problems = [problem for one in rounds if one for problem in one["problems"]]
    if both and both["with"]["held"]:
        problems.append(f"{both['with']['held']} held with lost answers on a dedicated key")
    return problems


@contextlib.contextmanager
def _folder(options: argparse.Namespace) -> Iterator[Path]:
    """A separate folder of the round."""
    if options.keep:
        yield Path(tempfile.mkdtemp(prefix="dailies-faults-", dir=options.keep))
    else:
        with tempfile.TemporaryDirectory(prefix="dailies-faults-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)


@contextlib.contextmanager
def _ledger(options: argparse.Namespace) -> Iterator[str | None]:
    """The address of an empty database; None for a SQLite file in the round's folder."""
    if options.database == "sqlite":
        yield None
        return
    from tests.postgres_server import PostgresServer  # noqa: PLC0415 - only where it is wanted

    given = options.database if "://" in options.database else None
    with PostgresServer(given) as server:
        url = server.empty_database()
        yield url.replace("postgresql://", "postgresql+psycopg2://")
        server.drop(url)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--clips", type=int, default=1000, metavar="N", help="clips of the storm (default 1000)"
    )
    parser.add_argument(
        "--kills", type=int, default=200, metavar="N", help="kill -9 and SIGSTOP (default 200)"
    )
    parser.add_argument(
        "--database",
        default="sqlite",
        help="sqlite, postgresql (the test wheel's server), or a URL whose user may make databases",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all random choices")
    parser.add_argument(
        "--minutes", type=float, default=40, help="minutes after which a round is given up (default 40)"
    )
    parser.add_argument(
        "--pace", type=float, default=10, help="the clock's seconds per real second (default 10)"
    )
    parser.add_argument("--takes", type=int, default=1, help="takes of each clip (default 1)")
    parser.add_argument(
        "--drafts", type=float, default=0.0, help="share of the clips that are drafts (default 0)"
    )
    parser.add_argument(
        "--forgets-finishes",
        action="store_true",
        help="the negative control: without the index of finishes, and with code that forgets them",
    )
    parser.add_argument("--workers", type=int, default=4, help="run workers at a time (default 4)")
    parser.add_argument("--troubles", type=int, default=12, help="outages around the workers (default 12)")
    parser.add_argument(
        "--parts", nargs="*", choices=PARTS, default=list(PARTS[:2]), help="default: the first two"
    )
    parser.add_argument(
        "--stack-clips", type=int, default=200, metavar="N", help="clips of the whole stack (default 200)"
    )
    parser.add_argument(
        "--stack-kills", type=int, default=40, metavar="N", help="of the stack's processes (default 40)"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave books, ledgers and logs there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the JSON there as well")
    parser.add_argument("--markdown", action="store_true", help="print the tables instead of the JSON")
    options = parser.parse_args()
    if options.json:
        options.json = options.json.absolute()
    os.chdir(Path(__file__).parents[2])
    return options


if __name__ == "__main__":
    sys.exit(main())
