"""Reads a provider's listing or bill to its end, or fails. A part of a listing cannot prove that a job is absent."""

import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic

from resources.errors import UnavailableError
from resources.providers.base import Candidate, Charge, JobStatus
from resources.providers.rows import Row, Rows, SetAside

PAGE_SIZE = 100
"""Rows per page, the most that the providers allow."""
MAX_PAGES = 200
"""Pages after which reading fails: a window with 20,000 jobs is too long."""

_SLACK = timedelta(seconds=1)


@dataclass(frozen=True)
class Page(Generic[Row]):
    """One page of a listing."""

    rows: Sequence[Row | SetAside]
    """Its rows, newest first, and those that were set aside."""
    more: bool | None = None
    """Whether another page follows, None if the provider does not say."""
    by_creation: bool = True
    """Whether the rows are sorted by their creation, so that a page older than the window is the last one."""


Read = Callable[[int, int], Awaitable[Page[Row] | None]]
"""Reads a page by its number (0, 1, ...) and the number of rows before it; None if the provider refuses it as beyond the
end."""


async def every_job(read: Read[Candidate], *, after: datetime, before: datetime) -> Rows[Candidate]:
    """All jobs created in a window, from all pages, each once, and the rows that were set aside.

    Args:
        read: Reads a page.
        after: Start of the window, aware.
        before: End of the window, aware.

    Raises:
        UnavailableError: A page repeats, is missing, or there are too many.
    """
    return await _every_row(
        read, lambda job: job.job_id, lambda job: job.created_at.timestamp(), after, before
    )


async def every_charge(read: Read[Charge], *, after: datetime, before: datetime) -> Rows[Charge]:
    """All rows of one kind booked in a window, from all pages, each once; see `every_job`."""
    return await _every_row(
        read,
        lambda row: row.row_id or f"{row.at}:{row.micros}:{row.job_id}",
        lambda row: row.at,
        after,
        before,
    )


async def _every_row(
    read: Read[Row],
    key: Callable[[Row], str],
    at: Callable[[Row], float],
    after: datetime,
    before: datetime,
) -> Rows[Row]:
    """All rows of all pages.

    If the provider says whether more rows follow, that counts. Otherwise a short page is not the end, since the provider may silently cap
    the size. The end is a page without a new row, or, if the rows are sorted newest first, a page that is entirely older than the window.
    """
    start, end = after.timestamp(), before.timestamp()
    by_id: dict[str, Row] = {}
    aside: dict[str, SetAside] = {}
    short, received, sorted_so_far, latest = False, 0, True, math.inf
    for number in range(MAX_PAGES):
        page = await read(number, received)
        if page is None:
            if short:
                break
            raise UnavailableError(f"the provider's listing broke off: it refused page {number + 1}")
        rows = [row for row in page.rows if not isinstance(row, SetAside)]
        fresh = {key(row): row for row in rows if key(row) not in by_id}
        new = {row.digest: row for row in page.rows if isinstance(row, SetAside) and row.digest not in aside}
        if not (fresh or new) and page.more:
            raise UnavailableError(
                f"the provider's listing has nothing new on page {number + 1} but says more follows"
            )
        if not (fresh or new) and page.rows and not short and page.more is None:
            raise UnavailableError(f"the provider's listing repeats itself on page {number + 1}")
        by_id.update(fresh)
        aside.update(new)
        for row in rows:
            sorted_so_far = sorted_so_far and at(row) <= latest
            latest = at(row)
        over = (
            bool(rows)
            and page.by_creation
            and sorted_so_far
            and all(at(row) < start - _SLACK.total_seconds() for row in rows)
        )
        if not (fresh or new) or page.more is False or over:
            break
        received += len(page.rows)
        short = len(page.rows) < PAGE_SIZE
    else:
        raise UnavailableError(
            f"the provider's listing is longer than {MAX_PAGES} pages of {PAGE_SIZE}; ask for a shorter window"
        )
    return Rows(
        (row for row in by_id.values() if start <= at(row) <= end),
        (row for row in aside.values() if row.at is None or start <= row.at <= end),
    )


def widened(after: datetime, before: datetime) -> tuple[str, str]:
    """The window as ISO text, a second wider on both sides: no documentation says whether the ends belong to it."""
    return _iso(after - _SLACK), _iso(before + _SLACK)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def charged_jobs(bill: Iterable[Charge]) -> list[Candidate]:
    """The jobs on a bill, each once, with their costs. A bill may show jobs that a listing no longer shows."""
    charges: dict[str, Candidate] = {}
    for row in bill:
        if row.kind != "charge":
            continue
        known = charges.get(row.job_id)
        charges[row.job_id] = Candidate(
            row.job_id,
            row.model,
            datetime.fromtimestamp(row.at, UTC),
            JobStatus.RUNNING,
            submission_id=row.submission_id,
            charged_micros=row.micros + (known.charged_micros or 0 if known else 0),
        )
    return list(charges.values())
