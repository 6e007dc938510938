"""Everything that can go wrong between a decision to buy and the delivered clip, in virtual time: `make bench-simulation`.

The real engine, follower, deliverer and ledger against a provider that keeps its own books: every single crash and every
pair of crashes for one to three clips, then random histories with faults of provider, bucket, machines and people, and
the negative controls. Prints JSON, or with `--markdown` the tables of docs/reliability.md. `--replay NAME` carries out
one history again, removes the parts without which it still fails, and prints its trace.
"""

import argparse
import json
import sys
import time

from proof.simulation.campaign import Campaign, CampaignTally, least, plan_of
from proof.simulation.controls import CONTROLS, caught
from proof.simulation.database import HistoryDatabase
from proof.simulation.report import document, markdown
from proof.simulation.runner import carry_out

CONTROL_HISTORIES = 40


def main() -> int:
    """Run the command; 0 when nothing was violated and every control was caught, else 1."""
    options = _options()
    if options.replay:
        return _replay(options.replay)
    if options.controls:
        return _controls()
    campaign = Campaign(
        histories=options.histories,
        seed=options.seed,
        clips=options.clips,
        pairs=options.pairs,
        jobs=options.jobs,
        seconds=None if options.minutes is None else options.minutes * 60,
    )
    began = time.monotonic()
    tally, complete = campaign.run(_progress if sys.stderr.isatty() else lambda _tally: None)
    found = document(tally, command=_command(), seconds=time.monotonic() - began, complete=complete)
    print(markdown(found) if options.markdown else json.dumps(found, indent=2))
    if options.json:
        options.json.write(json.dumps(found, indent=2))
    for name, violations in list(tally.violations.items())[:10]:
        print(f"--replay {name}: {violations[0]}", file=sys.stderr)
    return 1 if tally.violations else 0


def _replay(name: str) -> int:
    with HistoryDatabase() as database:
        outcome = carry_out(plan_of(name), database, trace=True)
        if outcome.violations:
            outcome = carry_out(least(outcome.plan, database), database, trace=True)
    print(outcome.plan)
    print("\n".join(outcome.points.trace or ()))
    print("\n".join(map(str, outcome.violations)) or "no violation")
    return 1 if outcome.violations else 0


def _controls() -> int:
    missed = 0
    with HistoryDatabase() as database:
        for control in CONTROLS:
            outcome = caught(control, database, histories=CONTROL_HISTORIES)
            missed += outcome is None
            shown = "NOT CAUGHT" if outcome is None else str(outcome.violations[0])
            print(f"{control.name}: {shown}")
    return 1 if missed else 0


def _progress(tally: CampaignTally) -> None:
    print(
        f"\r{sum(tally.histories.values()):,} histories, {len(tally.violations)} failed",
        end="",
        file=sys.stderr,
    )


def _command() -> str:
    return " ".join(["python -m proof.simulation", *sys.argv[1:]])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--histories", type=int, default=100_000, help="random ones")
    parser.add_argument("--seed", type=int, default=0, help="of the first random one")
    parser.add_argument("--clips", type=int, default=3, help="enumerate crashes for 1 to this many clips")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of crashes for 1 to this many clips")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--minutes", type=float, help="begin no further history after this time")
    parser.add_argument("--markdown", action="store_true", help="print the tables of docs/reliability.md")
    parser.add_argument("--json", type=argparse.FileType("w"), help="write all results to a file")
    parser.add_argument("--replay", metavar="NAME", help="one history again, with its trace")
    parser.add_argument("--controls", action="store_true", help="only the negative controls")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
