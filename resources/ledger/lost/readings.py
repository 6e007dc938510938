"""Readings of an account's listing and bill: the search to make, and its result."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from resources.ledger.lost.posts import Contract, Undecided
from resources.providers.base import Candidate, Charge, ClockOffset
from resources.providers.listing import charged_jobs
from resources.providers.rows import SetAside

HELD_WINDOW_SECONDS = 3_600.0
"""How long after a miss starts to prove something a job or charge of a held POST is still expected."""


@dataclass(frozen=True)
class Search:
    """A claimed reading of a listing. Times are by our clock."""

    since: float
    """When the oldest POST in question was sent."""
    bill: bool
    """Whether the bill must be read too, since absence may be proved now."""
    until: float | None = None
    """The end of the part to read; None for now."""
    later: float | None = None
    """When a job of ours was accepted after `until`; None if none is needed."""
    given_up: Sequence[Undecided] = ()
    """POSTs that stayed unknown although a reading began late enough to settle them: the listing could not be read."""

    def covers(self, one: Undecided, contract: Contract) -> bool:
        """Whether the reading covers all times at which a job of the POST can be listed."""
        return self.since <= one.started_at and (
            self.until is None or shown_until(one, contract) <= self.until
        )


@dataclass(frozen=True)
class Reading:
    """An account's listing, and perhaps its bill, read to the last page."""

    search: Search
    began_at: float
    """When the reading began, by our clock."""
    ended_at: float
    """When it ended, by our clock."""
    offset: ClockOffset
    """The offset of the provider's clock from the reader's."""
    jobs: Sequence[Candidate]
    """All listed jobs, beginning some time before the search's start."""
    charges: Sequence[Charge] | None
    """The bill of the same period; None if it was not read."""
    unread: str | None = None
    """Why a bill that was needed could not be read."""
    aside: Sequence[SetAside] = ()
    """Rows of listing and bill that were set aside."""

    @cached_property
    def shown(self) -> list[Candidate]:
        """Every listed job with its charge, and every charged job that is not listed."""
        charged = charged_jobs(self.charges or ())
        prices = {job.job_id: job.charged_micros for job in charged}
        listed = [replace(job, charged_micros=prices.get(job.job_id)) for job in self.jobs]
        known = {job.job_id for job in listed}
        return [*listed, *(job for job in charged if job.job_id not in known)]


def shown_until(one: Undecided, contract: Contract) -> float:
    """The time by which a job of a POST is listed and charged, by our clock."""
    return one.deadline_at + contract.settle(one.attempt.request) + HELD_WINDOW_SECONDS
