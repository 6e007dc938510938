"""CPU milliseconds that a tick, a decision and a claim cost in a ledger with a history.

python -m bench.ledger --purchases 100000
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.history import write_history
from bench.sold_series import SERIES, a_request
from bench.tables import table
from resources.ledger import bills, deliveries, late_jobs
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.lost import orphans
from resources.ledger.queue import PostTerms, claim_next

ACCOUNT = "wavespeed"
QUEUED = 600
TIMES = 20


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(
        description="Cost of a tick, a decision and a claim in a ledger with a history, in CPU milliseconds."
    )
    parser.add_argument("--purchases", type=int, default=20_000)
    purchases = parser.parse_args().purchases
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.db"
        with Ledger(f"sqlite:///{path}", budget=Budget()) as ledger:
            write_history(ledger, purchases, now=ledger.clock(), under_way=False)
            rows = [(what, f"{1000 * seconds:.1f}") for what, seconds in _figures(ledger)]
        print(table([f"{purchases} purchases, SQLite", "CPU ms"], rows))


def _figures(ledger: Ledger) -> list[tuple[str, float]]:
    requests = [a_request(SERIES[0], f"harbor-next-{number:03}", number) for number in range(QUEUED)]
    terms = PostTerms(Limits(in_flight=10_000, per_minute=10_000), 30, traceable=False)
    tick = _each(lambda: _tick(ledger), TIMES)
    decided = _each(lambda: decide(ledger, requests, Decision("bench")), 1) / QUEUED
    claimed = _each(lambda: claim_next(ledger, ACCOUNT, terms), 1)
    refused = _each(lambda: claim_next(ledger, ACCOUNT, terms), TIMES)
    return [
        ("a tick with nothing due", tick),
        ("a decision to buy", decided),
        (f"a claim with {QUEUED} queued", claimed),
        (f"a claim that must wait, with {QUEUED} queued", refused),
    ]


def _tick(ledger: Ledger) -> None:
    """The queries of a completion sensor's tick that finds nothing to do."""
    assert not deliveries.unreported(ledger, ACCOUNT)
    for part in (bills, orphans, late_jobs):
        part.is_due(ledger, ACCOUNT)


def _each(work: Callable[[], object], times: int) -> float:
    """Mean CPU seconds of one call; with several calls, the first one does not count."""
    if times > 1:
        work()
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times


if __name__ == "__main__":
    main()
