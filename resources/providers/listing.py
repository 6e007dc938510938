"""Reading a provider's listing to its end, or saying that it could not be read: half a list proves no absence."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from resources.errors import UnavailableError
from resources.providers.base import Candidate

PAGE_SIZE = 100
"""Rows asked for per page, the largest both providers allow."""
MAX_PAGES = 200
"""Pages after which a listing is given up: 20,000 jobs in one window is not a window."""

_SLACK = timedelta(seconds=1)


@dataclass(frozen=True)
class Page:
    """One page of a listing.

    Attributes:
        jobs: Its rows, newest first.
        more: Whether the provider says that another page follows, None where it does not say.
    """

    jobs: list[Candidate]
    more: bool | None = None


async def every_job(
    read: Callable[[int, int], Awaitable[Page | None]], *, after: datetime, before: datetime
) -> list[Candidate]:
    """All jobs created in a window, from all pages, each once.

    A provider that says whether more follows is believed. Otherwise a short page is not yet the end (the size may have
    been capped in silence): the end is a page without anything new, or one that is older than the window altogether.

    Args:
        read: Reads a page, given its number (0, 1, ...) and how many rows came before it; None when the provider
            refuses it as being beyond the end.
        after: Start of the window, aware.
        before: End of the window, aware.

    Raises:
        UnavailableError: A page repeats, is missing, or there are too many.
    """
    found: dict[str, Candidate] = {}
    short, received = False, 0
    for number in range(MAX_PAGES):
        page = await read(number, received)
        if page is None:
            if short:
                break
            raise UnavailableError(f"the provider's listing broke off: it refused page {number + 1}")
        fresh = {job.job_id: job for job in page.jobs if job.job_id not in found}
        if not fresh and page.more:
            raise UnavailableError(
                f"the provider's listing has nothing new on page {number + 1} but says more follows"
            )
        if not fresh and page.jobs and not short and page.more is None:
            raise UnavailableError(f"the provider's listing repeats itself on page {number + 1}")
        found.update(fresh)
        if not fresh or page.more is False or all(job.created_at < after - _SLACK for job in page.jobs):
            break
        received += len(page.jobs)
        short = len(page.jobs) < PAGE_SIZE
    else:
        raise UnavailableError(
            f"the provider's listing is longer than {MAX_PAGES} pages of {PAGE_SIZE}; ask for a shorter window"
        )
    return [job for job in found.values() if after <= job.created_at <= before]


def widened(after: datetime, before: datetime) -> tuple[str, str]:
    """The window as ISO text, a second wider on both sides: whether the provider's ends are inclusive is not documented."""
    return _iso(after - _SLACK), _iso(before + _SLACK)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
