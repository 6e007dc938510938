"""`dailies ledger`: the account for a person, a program or a spreadsheet, compared with the providers' bills."""

import asyncio
import contextlib
import functools
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from pipelines.cli.spreadsheet import Cell, write_file
from pipelines.cli.terminal import complain, console, counted, print_table, table_of, tell
from resources.errors import ConfigurationError
from resources.ledger import disputes, statement, stops
from resources.ledger.bills import MARGIN_SECONDS, Window
from resources.ledger.disputes import Dispute, Unread
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.statement import Difference, Line, Statement
from resources.ledger.stops import Stop
from resources.money import show_usd, to_usd
from resources.production.account import bind_account
from resources.production.bookkeeper import Bookkeeper
from resources.production.ledger_thread import LedgerThread
from resources.providers.accounts import build_provider
from resources.retry import retry_free_call
from resources.settings import Settings, open_ledger

COLUMNS = (
    "attempt",
    "clip",
    "series",
    "account",
    "endpoint",
    "decision",
    "day",
    "state",
    "money",
    "quoted_usd",
    "charged_usd",
    "charge_source",
    "counted_usd",
    "job",
    "created_at",
    "submitted_at",
)


@dataclass(frozen=True)
class LedgerSummary:
    """Everything that `dailies ledger` shows."""

    statement: Statement
    """The sums of the ledger."""
    stops: list[Stop]
    """Stopped accounts."""
    doubtful: list[Attempt]
    """Purchases that may have been charged."""
    differences: list[Difference] | None
    """Differences from the bills, None if the bills were not read."""
    disputed: list[Dispute]
    """Charges and refunds that are not believed."""
    unread: list[Unread]
    """Rows of listings and bills that proved nothing the last time."""
    estimated: list[Line]
    """Accounts without a bill, whose sums are our estimate."""

    @property
    def is_wrong(self) -> bool:
        """Whether the account has an error: a difference, a dispute or a wrong counter."""
        return bool(self.differences or self.statement.miscounted)


def report(settings: Settings, *, check: bool, days: int) -> LedgerSummary:
    """Gather the account; with `check`, read the bills and book what they confirm first."""
    with open_ledger(settings) as ledger:
        bills = check_bills(ledger, settings, days=days) if check else None
        read = statement.statement(ledger)
        unbilled = {
            name for name in settings.account_names if not settings.account(name).capabilities.bills_jobs
        }
        return LedgerSummary(
            read,
            stops.stops(ledger),
            statement.in_doubt(ledger),
            bills,
            disputes.open_disputes(ledger),
            disputes.unread(ledger),
            [line for line in read.by_account if line.name in unbilled and line.micros > line.billed_micros],
        )


def check_bills(ledger: Ledger, settings: Settings, *, days: int) -> list[Difference]:
    """Read the bills of the last days, book what they confirm, and compare job by job.

    Raises:
        ConfigurationError: No account has a key.
        resources.errors.UnavailableError: A bill could not be read to its end.
    """
    ready = settings.accounts_with_key
    if not ready:
        raise ConfigurationError(
            f"no account has a key, so there is no bill to compare with. Set {settings.key_variables()}."
        )

    async def check() -> list[Difference]:
        differences: list[Difference] = []
        for account in ready:
            if not account.capabilities.bills_jobs:
                complain(f"{account.name} has no bill that names jobs: its amounts are our estimates")
                continue
            if account.unusable is not None:
                complain(account.unusable)
                continue
            bind_account(ledger, account)
            provider = build_provider(account)
            try:
                now = ledger.clock()
                window = Window(now - days * 86_400 - MARGIN_SECONDS, now + MARGIN_SECONDS)
                with contextlib.closing(LedgerThread(ledger)) as thread:
                    books = Bookkeeper(thread)
                    bill = await retry_free_call(functools.partial(books.read, provider, window))
                    await books.book(provider, window, bill)
                differences += statement.differences(ledger, account.name, bill, window)
            finally:
                await provider.aclose()
        return differences

    return asyncio.run(check())


def show(account: LedgerSummary) -> None:
    """Print the account for a person."""
    statement, doubtful = account.statement, account.doubtful
    if not statement.total.attempts:
        tell("nothing was bought yet")
    else:
        _print_lines("money", statement.by_state, total=statement.total)
        _print_lines("series", statement.by_series)
        _print_lines("endpoint", statement.by_endpoint)
        _print_lines("account", statement.by_account)
        for line in account.estimated:
            tell(
                f"{show_usd(line.micros - line.billed_micros)} is our estimate: {line.name} has no bill that names jobs"
            )
        if account.estimated:
            console.print()
        _print_lines("day", statement.by_day)
    if statement.caps:
        table = _table("cap", "spent", "of")
        for cap in statement.caps:
            words = (cap.scope.of, cap.scope.name, cap.scope.period, cap.scope.key)
            table.add_row(
                Text(" ".join(word for word in words if word)),
                show_usd(cap.spent_micros),
                show_usd(cap.cap_micros),
            )
        print_table(table)
    if doubtful:
        money = show_usd(sum(attempt.cost_micros for attempt in doubtful))
        tell(
            f"{counted(len(doubtful), 'purchase')} for {money} in doubt, counted as spent; `dailies resolve` lists them"
        )
    for stop in account.stops:
        complain(str(stop))
    for dispute in account.disputed:
        complain(f"disputed: {dispute}")
    for unread in account.unread:
        complain(f"{unread.account}, {unread.source}: {unread.text}")
    for scope, said, real in statement.miscounted:
        complain(
            f"the counter of {' '.join(scope)} is {show_usd(said)}, but its purchases sum to {show_usd(real)}"
        )
    if account.differences is not None:
        show_differences(account.differences)


def show_differences(found: list[Difference]) -> None:
    """Print where the ledger and the bills disagree."""
    net = sum(difference.bill_micros - difference.ledger_micros for difference in found)
    if not found:
        tell("unaccounted: $0.00; the bills and the ledger agree about every job")
        return
    table = _table("account", "job", "clip", "ledger", "bill", "why")
    for row in found:
        table.add_row(
            row.account,
            Text(row.job_id),
            row.clip or "",
            show_usd(row.ledger_micros),
            show_usd(row.bill_micros),
            row.why,
        )
    print_table(table)
    complain(
        f"unaccounted: {counted(len(found), 'job')}, {show_usd(net)} more on the bills than in the ledger"
    )


def _table(*columns: str) -> Table:
    right = {"purchases", "counted", "billed", "spent", "of", "ledger", "bill"}
    return table_of(*columns, right=right, wraps={"why"})


def _print_lines(title: str, lines: Iterable[Line], *, total: Line | None = None) -> None:
    table = _table(title, "purchases", "counted", "billed")
    for line in (*lines, *([total] if total else [])):
        table.add_row(
            Text(line.name), str(line.attempts), show_usd(line.micros), show_usd(line.billed_micros)
        )
    print_table(table)
    console.print()


def document(account: LedgerSummary) -> dict[str, Any]:
    """The account as JSON; money is exact text in USD."""
    statement, found = account.statement, account.differences
    return {
        "total": _line(statement.total),
        "by_money": [_line(line) for line in statement.by_state],
        "by_series": [_line(line) for line in statement.by_series],
        "by_endpoint": [_line(line) for line in statement.by_endpoint],
        "by_account": [_line(line) for line in statement.by_account],
        "estimated": [
            {"account": line.name, "usd": _usd(line.micros - line.billed_micros)}
            for line in account.estimated
        ],
        "by_day": [_line(line) for line in statement.by_day],
        "caps": [
            {**cap.scope._asdict(), "spent_usd": _usd(cap.spent_micros), "cap_usd": _usd(cap.cap_micros)}
            for cap in statement.caps
        ],
        "in_doubt": [
            {"clip": a.subject_key, "attempt": a.id, "usd": _usd(a.cost_micros)} for a in account.doubtful
        ],
        "stopped": [asdict(stop) for stop in account.stops],
        "miscounted": [
            {**scope._asdict(), "counted_usd": _usd(said), "real_usd": _usd(real)}
            for scope, said, real in statement.miscounted
        ],
        "disputed": [
            {
                "clip": one.attempt.subject_key,
                "attempt": one.attempt.id,
                "kind": one.kind.value,
                "charged_usd": _usd(one.charged_micros),
                "refunded_usd": _usd(one.refunded_micros),
                "why": str(one),
            }
            for one in account.disputed
        ],
        "unread": [asdict(unread) for unread in account.unread],
        "checked": found is not None,
        "unaccounted": None
        if found is None
        else [
            {
                "account": row.account,
                "job": row.job_id,
                "clip": row.clip,
                "ledger_usd": _usd(row.ledger_micros),
                "bill_usd": _usd(row.bill_micros),
                "why": row.why,
            }
            for row in found
        ],
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "name": line.name,
        "attempts": line.attempts,
        "counted_usd": _usd(line.micros),
        "billed_usd": _usd(line.billed_micros),
    }


def _usd(micros: int | None) -> str | None:
    return None if micros is None else f"{to_usd(micros):.6f}".rstrip("0").rstrip(".")


def write_csv(ledger: Ledger, target: str) -> int:
    """Write every purchase as a line of CSV, into a file or to `-`; returns how many.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    return write_file(target, COLUMNS, map(_row, statement.everything(ledger)))


def _row(attempt: Attempt) -> list[Cell]:
    return [
        attempt.id,
        attempt.subject_key,
        attempt.series,
        attempt.account,
        attempt.endpoint,
        attempt.decision,
        attempt.counted_on,
        attempt.state.value,
        attempt.money_state.value,
        to_usd(attempt.quoted_micros),
        None if attempt.charged_micros is None else to_usd(attempt.charged_micros),
        attempt.charge_source,
        to_usd(attempt.cost_micros),
        attempt.job_id,
        _iso(attempt.created_at),
        _iso(attempt.submitted_at),
    ]


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
