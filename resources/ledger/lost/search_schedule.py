"""The schedule of searches for lost jobs in an account's listing: one reader at a time, soon after a loss, then ever more rarely.

Jobs of held POSTs are searched for again in the part of the listing that can show them: soon if the missing proof may have arrived,
else with growing pauses, as long as providers show their jobs.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from resources.ledger.database import insert_ignoring
from resources.ledger.ledger import Ledger
from resources.ledger.lost import listing_trust
from resources.ledger.lost.evidence import Lack
from resources.ledger.lost.posts import Contract, Undecided, find_undecided
from resources.ledger.lost.readings import HELD_WINDOW_SECONDS, Search, shown_until
from resources.ledger.schema import jobs, listings, submissions
from resources.ledger.states import AttemptState, SubmissionState
from resources.ledger.times import has_passed, is_past

CLAIM_SECONDS = 30
"""The lease of a listing's reader. Two readers of a long listing do no harm, because attempts have versions."""
FIRST_READS_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
HELD_SOON_SECONDS = 30.0
"""How soon a held POST is searched for again when the missing proof may have arrived."""
HELD_PAUSE_SECONDS = 600.0
"""The longest pause between two searches for a held POST."""
HELD_FOR_SECONDS = 6 * 86_400.0
"""How long a held POST is searched for. Providers show their jobs for seven days; after that a miss proves nothing."""
MEASURE_SECONDS = 10.0

_LISTING = sa.select(listings).where(listings.c.account == sa.bindparam("account"))
_ACCEPTED_AFTER = sa.select(sa.func.min(submissions.c.started_at)).where(
    submissions.c.account == sa.bindparam("account"),
    submissions.c.state == SubmissionState.ACCEPTED.value,
    submissions.c.started_at > sa.bindparam("after"),
    submissions.c.ended_at >= sa.bindparam("answered_since"),
)


@dataclass(frozen=True)
class Failure:
    """An account's listing or bill cannot be read."""

    since: float
    """Seconds since the epoch."""
    why: str
    """The last error."""

    def __str__(self) -> str:
        """Since when and why it fails, for a person."""
        return f"since {datetime.fromtimestamp(self.since, UTC):%Y-%m-%d %H:%M} UTC ({self.why})"


def claim(ledger: Ledger, account: str, contract: Contract) -> Search | None:
    """Claim an account's listing if there is a reason to read it now and no other reader has claimed it.

    The reasons, most urgent first: an unknown POST, a held POST that may be settled by now, lags that were not measured yet.
    """
    with ledger.read() as connection:
        due = _wanted(connection, account, contract, ledger.clock())
    if due is None:
        return None
    search, looked_for = due
    with ledger.write() as connection:
        now = ledger.clock()
        connection.execute(insert_ignoring(connection, listings).values(account=account))
        taken = connection.execute(
            sa.update(listings)
            .where(
                listings.c.account == account, is_past(listings.c.claimed_until, now, within=CLAIM_SECONDS)
            )
            .values(claimed_until=now + CLAIM_SECONDS, looked_at=now)
        )
        if taken.rowcount == 1 and looked_for:
            # a search that fails counts too
            connection.execute(
                sa.update(submissions).where(submissions.c.id.in_(looked_for)).values(judged_at=now)
            )
    return search if taken.rowcount == 1 else None


def release(ledger: Ledger, account: str, *, again_in: float, why: str | None = None) -> None:
    """Release a listing that could not be read.

    Args:
        ledger: The ledger that has the claim.
        again_in: Seconds until the next reading.
        why: The error; None if the reader was interrupted.
    """
    _give_back(ledger, account, ledger.clock() + again_in, {} if why is None else _failing(ledger, why))


def failure_of(ledger: Ledger, account: str) -> Failure | None:
    """Why the last reading of an account's listing or bill failed; None if it did not."""
    with ledger.read() as connection:
        row = connection.execute(_LISTING, {"account": account}).first()
    return None if row is None or row.failing_since is None else Failure(row.failing_since, row.failure or "")


def _wanted(
    connection: sa.Connection, account: str, contract: Contract, now: float
) -> tuple[Search, Collection[str]] | None:
    """The reading that is due, and its held POSTs."""
    row = connection.execute(_LISTING, {"account": account}).first()
    if row is not None and not has_passed(row.claimed_until, now, within=CLAIM_SECONDS):
        return None
    looked_at = -math.inf if row is None or row.looked_at is None or row.looked_at > now else row.looked_at
    rested = row is None or has_passed(row.next_at, now, within=HELD_PAUSE_SECONDS)
    undecided = find_undecided(connection, account)
    unknown = [u for u in undecided if u.attempt.state is AttemptState.UNKNOWN]
    if unknown:
        # search at once for a POST that was lost since the last reading
        if not rested and not any((u.ended_at or 0) >= looked_at for u in unknown):
            return None
        bill = any(now >= u.deadline_at + contract.settle(u.attempt.request) for u in unknown)
        given_up = [u for u in unknown if looked_at >= max(u.give_up_at(contract), u.ended_at or 0)]
        first = min(u.started_at for u in unknown)
        return Search(first, bill, given_up=given_up), ()
    held = [u for u in undecided if rested and _is_due(connection, u, contract, now)]
    if held:
        return _search_around(connection, held, contract, now)
    since = (
        listing_trust.unmeasured_since(connection, account, now)
        if now >= looked_at + MEASURE_SECONDS
        else None
    )
    return None if since is None else (Search(since, bill=False), ())


def _is_due(connection: sa.Connection, one: Undecided, contract: Contract, now: float) -> bool:
    """Whether a POST is held and due for another search."""
    if one.attempt.state is not AttemptState.HELD or one.started_at < now - HELD_FOR_SECONDS:
        return False
    if one.judged_at is None or not 0 <= now - one.judged_at < HELD_PAUSE_SECONDS:
        return True
    pause = max(one.judged_at - one.broke_off, 4 * HELD_SOON_SECONDS)
    waited = now - one.judged_at
    return waited >= pause or (waited >= HELD_SOON_SECONDS and _may_have_proof(connection, one, contract))


def _may_have_proof(connection: sa.Connection, one: Undecided, contract: Contract) -> bool:
    """Whether the ledger has received the missing proof of a held POST since the last search."""
    account, judged_at = one.attempt.account, one.judged_at or 0.0
    match one.lack:
        case Lack.LAGS:
            return listing_trust.are_known(
                connection, account, contract.settle(one.attempt.request), since=judged_at
            )
        case Lack.LATER_JOB:
            return _accepted_after(connection, [one], answered_since=judged_at) is not None
        case Lack.OWNER:
            owned = sa.select(jobs.c.job_id).where(
                jobs.c.account == account,
                jobs.c.job_id.in_([candidate["job"] for candidate in one.candidates]),
                jobs.c.attempt_id.is_not(None),
            )
            return connection.execute(owned).first() is not None
        case Lack.READING:
            row = connection.execute(_LISTING, {"account": account}).first()
            return row is not None and row.failing_since is None
        case _:
            return False


def _search_around(
    connection: sa.Connection, held: Sequence[Undecided], contract: Contract, now: float
) -> tuple[Search, Collection[str]]:
    """The part of the listing that can settle the oldest of some held POSTs, and the POSTs that were lost around the same time."""
    first = min(held, key=lambda one: one.started_at)
    together = [one for one in held if one.started_at <= first.started_at + HELD_WINDOW_SECONDS]
    until = max(shown_until(one, contract) for one in together)
    later = _accepted_after(connection, together)
    if until >= now:
        search = Search(first.started_at, bill=True)
    else:
        beyond = later if later is not None and later > until else None
        search = Search(first.started_at, bill=True, until=until, later=beyond)
    return search, [one.submission_id for one in together]


def _accepted_after(
    connection: sa.Connection, lost: Sequence[Undecided], *, answered_since: float = 0.0
) -> float | None:
    """When the first POST was sent that was surely accepted later than the lost ones and answered since `answered_since`."""
    after = max(one.broke_off + one.clock_spread for one in lost)
    known = {"account": lost[0].attempt.account, "after": after, "answered_since": answered_since}
    return connection.execute(_ACCEPTED_AFTER, known).scalar()


def last_read_at(connection: sa.Connection, account: str) -> float | None:
    """When the listing was last read to its end, by the provider's clock, which all readers share."""
    return connection.execute(sa.select(listings.c.read_at).where(listings.c.account == account)).scalar()


def pause(ledger: Ledger, unknown: Sequence[Undecided]) -> float:
    """Seconds until the next reading: few after a loss, then growing."""
    youngest = ledger.clock() - max((u.broke_off for u in unknown), default=0.0)
    return min(max(FIRST_READS_SECONDS, 0.3 * youngest), LONGEST_PAUSE_SECONDS)


def reschedule(ledger: Ledger, account: str, at: float, *, read_at: float | None, unread: str | None) -> None:
    """Release a listing that was read, and set the time of the next reading.

    Args:
        ledger: The ledger that has the claim.
        at: When to read it again, in seconds since the epoch.
        read_at: When the complete reading began, by the provider's clock; None if only a part was read.
        unread: Why a bill that was needed could not be read.
    """
    values = {} if read_at is None else {"read_at": read_at}
    _give_back(ledger, account, at, {**values, **_failing(ledger, unread)})


def _failing(ledger: Ledger, why: str | None) -> dict[str, Any]:
    since = None if why is None else sa.func.coalesce(listings.c.failing_since, ledger.clock())
    return {"failure": why, "failing_since": since}


def _give_back(ledger: Ledger, account: str, at: float, values: Mapping[str, Any]) -> None:
    with ledger.write() as connection:
        connection.execute(
            sa.update(listings)
            .where(listings.c.account == account)
            .values(claimed_until=0.0, next_at=at, **values)
        )
