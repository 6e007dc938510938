"""Settling POSTs whose outcome is unknown: claiming the listing of an account, and recording what it proves.

What proves what is in `evidence.py`, what becomes of the attempts in `resolving.py`; here is who looks when, and what the
ledger knows about what was read.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from resources.ledger import dating, lags
from resources.ledger.apart import ACCEPTANCE_SECONDS
from resources.ledger.database import insert_ignoring, lock_subject
from resources.ledger.evidence import Evidence, Finding, Judgement, Post, judge
from resources.ledger.lags import Lags
from resources.ledger.ledger import CHUNK, Ledger
from resources.ledger.limits import LEASE_MARGIN_SECONDS
from resources.ledger.records import Attempt
from resources.ledger.resolving import adopt, close_absent, hold, take_named
from resources.ledger.schema import attempts, jobs, listings, submissions
from resources.ledger.states import AttemptState, SubmissionState
from resources.money import to_usd
from resources.providers.base import Candidate, Charge, ClockOffset, JobStatus
from resources.requests import ClipRequest, FileReference

CLAIM_SECONDS = 30
"""How long a listing is its reader's. Two who read a long one side by side harm nobody: attempts have versions."""
FIRST_READS_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
HELD_PAUSE_SECONDS = 600.0
HELD_FOR_SECONDS = 7 * 86_400.0
"""How long a held POST is still looked for where the provider echoes its id."""
MEASURE_SECONDS = 10.0
CLOCK_SLACK_SECONDS = 1.0
UNMEASURED_SECONDS = 120.0
"""How far apart our clock and a provider's are taken to be where no `Date` header tells."""
_UNDECIDED = (AttemptState.SUBMITTING, AttemptState.UNKNOWN, AttemptState.HELD)


@dataclass(frozen=True)
class Contract:
    """What an account's listing can prove, and when.

    Attributes:
        echoes: It names our submission ids.
        settle_seconds: How long after the hard deadline of a POST a miss starts to mean something.
        lists_running: It shows jobs that still run; otherwise a miss means nothing before the longest has ended.
    """

    echoes: bool
    settle_seconds: float
    lists_running: bool = True

    def settle(self, request: ClipRequest) -> float:
        """The settle time for a request, in seconds."""
        return self.settle_seconds if self.lists_running else max(self.settle_seconds, request.max_seconds)


@dataclass(frozen=True)
class Search:
    """A listing that was claimed and is to be read now.

    Attributes:
        since: The start of the oldest POST it is read for, by our clock.
        bill: Whether the bill is to be read too, since a miss may be proved now.
    """

    since: float
    bill: bool


@dataclass(frozen=True)
class Reading:
    """What was read of an account, to the end of every page.

    Attributes:
        since: The search's start, by our clock.
        began_at: When the reading began, by our clock.
        offset: How far the provider's clock is ahead of the reader's.
        jobs: All listed jobs since the search's start, and a while before.
        charges: The bill of the same time, None where it was not read.
    """

    since: float
    began_at: float
    offset: ClockOffset
    jobs: Sequence[Candidate]
    charges: Sequence[Charge] | None


@dataclass(frozen=True)
class _Undecided:
    """One POST without an outcome, with the attempt it belongs to."""

    submission_id: str
    attempt: Attempt
    started_at: float
    lease_until: float
    ended_at: float | None
    clock_low: float | None
    clock_high: float | None
    candidates: list[dict[str, Any]]

    @property
    def broke_off(self) -> float:
        """When we stopped waiting for its answer at the latest, by its poster's clock."""
        return self.lease_until if self.ended_at is None else min(self.ended_at, self.lease_until)

    @property
    def deadline_at(self) -> float:
        return self.lease_until - LEASE_MARGIN_SECONDS

    def post(self, reader: ClockOffset, contract: Contract, models: frozenset[str]) -> Post:
        """The POST in the provider's time."""
        low = reader.low - UNMEASURED_SECONDS if self.clock_low is None else self.clock_low
        high = reader.high + UNMEASURED_SECONDS if self.clock_high is None else self.clock_high
        settle = contract.settle(self.attempt.request)
        created_by = self.broke_off + ACCEPTANCE_SECONDS + high + CLOCK_SLACK_SECONDS
        settled_from = max(self.deadline_at + settle + high, created_by)
        return Post(
            submission_id=self.submission_id,
            models=models | {self.attempt.endpoint},
            body=_comparable(self.attempt.request.body),
            in_question=self.attempt.state is AttemptState.UNKNOWN,
            held=self.attempt.state is AttemptState.HELD,
            not_before=self.started_at + low - CLOCK_SLACK_SECONDS,
            broke_off=self.broke_off + high,
            created_by=created_by,
            settled_from=settled_from,
            give_up_from=settled_from + settle,
        )


def _comparable(body: dict[str, Any]) -> dict[str, Any]:
    """What of a request the provider can show as we know it: a local file was sent as an address."""
    return {name: value for name, value in body.items() if not FileReference.of({name: value})}


def claim(ledger: Ledger, account: str, contract: Contract) -> Search | None:
    """Take the reading of an account's listing, if there is a reason to read it now and nobody else does.

    Reasons, most pressing first: a POST whose outcome is unknown, lags that are still to be measured, a held POST whose
    id the listing may show late.
    """
    with ledger.read() as connection:
        search = _wanted(ledger, connection, account, contract)
    if search is None:
        return None
    now = ledger.clock()
    with ledger.write() as connection:
        connection.execute(insert_ignoring(connection, listings).values(account=account))
        taken = connection.execute(
            sa.update(listings)
            .where(listings.c.account == account, listings.c.claimed_until <= now)
            .values(claimed_until=now + CLAIM_SECONDS, looked_at=now)
        )
    return search if taken.rowcount == 1 else None


def release(ledger: Ledger, account: str, *, again_in: float) -> None:
    """Give a listing back that could not be read; nothing is proved."""
    _reschedule(ledger, account, ledger.clock() + again_in)


def record(
    ledger: Ledger, account: str, contract: Contract, reading: Reading, *, run_id: str | None = None
) -> list[Attempt]:
    """Write what a listing proves: adopt, close as absent and buy again, hold, or wait on.

    Returns:
        The attempts that changed, and those that were queued anew.
    """
    with ledger.read() as connection:
        reading = _redated(connection, account, reading)
        undecided = _undecided(connection, account)
        owned = _owned(connection, account, reading)
        late = _named_but_settled(connection, account, reading, owned, undecided)
        seen = lags.measure(
            connection,
            account,
            created={job.job_id: job.created_at.timestamp() for job in reading.jobs},
            since=reading.since,
            began_at=reading.began_at,
            offset=reading.offset,
            last_read_at=_last_read_at(connection, account),
        )
        judgements = _judge(connection, account, contract, reading, undecided, owned, seen)
    with ledger.write() as connection:
        lags.note(connection, account, seen, now=ledger.clock())
    for job_id, submission_id in late:
        why = f"job {job_id}: the listing names its POST"
        take_named(
            ledger,
            account,
            submission_id,
            job_id,
            model=None,
            source="list",
            who="reconciler",
            why=why,
            run_id=run_id,
        )
    changed: list[Attempt] = []
    for one, judgement in judgements:
        changed += _apply(ledger, one, judgement, reading, run_id)
    settled = {attempt.id for attempt in changed}
    left = [u for u in undecided if u.attempt.state is AttemptState.UNKNOWN and u.attempt.id not in settled]
    read_at = reading.began_at + reading.offset.low
    _reschedule(ledger, account, ledger.clock() + _pause(ledger, left), read_at=read_at)
    return changed


def _redated(connection: sa.Connection, account: str, reading: Reading) -> Reading:
    """The reading with all times by one clock, as far as our own jobs in it tell that there are two."""
    ahead = dating.apart(connection, account, reading.jobs)
    if ahead is None:
        return reading
    listed, charges = dating.by_date_header(reading.jobs, reading.charges, ahead)
    return replace(reading, jobs=listed, charges=charges)


def _wanted(ledger: Ledger, connection: sa.Connection, account: str, contract: Contract) -> Search | None:
    now = ledger.clock()
    row = connection.execute(sa.select(listings).where(listings.c.account == account)).first()
    if row is not None and row.claimed_until > now:
        return None
    looked_at = -math.inf if row is None or row.looked_at is None else row.looked_at
    undecided = _undecided(connection, account)
    unknown = [u for u in undecided if u.attempt.state is AttemptState.UNKNOWN]
    if unknown:
        # one that was lost since the last look is looked for at once
        due = row is None or now >= row.next_at or any((u.ended_at or 0) >= looked_at for u in unknown)
        bill = any(now >= u.deadline_at + contract.settle(u.attempt.request) for u in unknown)
        return Search(min(u.started_at for u in unknown), bill) if due else None
    since = None
    if now >= looked_at + MEASURE_SECONDS:
        since = lags.unmeasured_since(connection, account, now)
    if since is None and contract.echoes and now >= looked_at + HELD_PAUSE_SECONDS:
        held = [u.started_at for u in undecided if u.attempt.state is AttemptState.HELD]
        since = min((at for at in held if at > now - HELD_FOR_SECONDS), default=None)
    return None if since is None else Search(since, bill=False)


def _undecided(connection: sa.Connection, account: str) -> list[_Undecided]:
    """POSTs that may own a job nobody knows of: unknown, held, and on the wire."""
    states = [SubmissionState.OPEN.value, SubmissionState.UNKNOWN.value]
    rows = connection.execute(
        sa.select(submissions).where(submissions.c.account == account, submissions.c.state.in_(states))
    ).all()
    found = {}
    for start in range(0, len(rows), CHUNK):
        ids = [row.attempt_id for row in rows[start : start + CHUNK]]
        query = sa.select(attempts).where(
            attempts.c.id.in_(ids), attempts.c.state.in_([s.value for s in _UNDECIDED])
        )
        found.update({row.id: Attempt.from_row(row) for row in connection.execute(query)})
    return [
        _Undecided(
            row.id,
            found[row.attempt_id],
            row.started_at,
            row.lease_until,
            row.ended_at,
            row.clock_low,
            row.clock_high,
            row.candidates or [],
        )
        for row in rows
        if row.attempt_id in found
    ]


def _owned(connection: sa.Connection, account: str, reading: Reading) -> set[str]:
    """Ids of jobs that were read and whose attempt is known."""
    ids = sorted({job.job_id for job in reading.jobs} | {row.job_id for row in reading.charges or ()})
    owned: set[str] = set()
    for start in range(0, len(ids), CHUNK):
        query = sa.select(jobs.c.job_id).where(
            jobs.c.account == account,
            jobs.c.job_id.in_(ids[start : start + CHUNK]),
            jobs.c.attempt_id.is_not(None),
        )
        owned.update(connection.execute(query).scalars())
    return owned


def _named_but_settled(
    connection: sa.Connection,
    account: str,
    reading: Reading,
    owned: Collection[str],
    undecided: Sequence[_Undecided],
) -> list[tuple[str, str]]:
    """Jobs that name a POST of ours which has had its end already: (job, submission)."""
    open_ids = {u.submission_id for u in undecided}
    named = {
        job.submission_id: job.job_id
        for job in (*reading.jobs, *_billed_only(reading))
        if job.submission_id and job.job_id not in owned and job.submission_id not in open_ids
    }
    found = []
    ids = sorted(named)
    for start in range(0, len(ids), CHUNK):
        query = sa.select(submissions.c.id).where(
            submissions.c.account == account, submissions.c.id.in_(ids[start : start + CHUNK])
        )
        found += [(named[name], name) for name in connection.execute(query).scalars()]
    return found


def _last_read_at(connection: sa.Connection, account: str) -> float | None:
    """When the listing was last read to its end, by the provider's clock, which all readers have in common."""
    return connection.execute(sa.select(listings.c.read_at).where(listings.c.account == account)).scalar()


def _judge(
    connection: sa.Connection,
    account: str,
    contract: Contract,
    reading: Reading,
    undecided: Sequence[_Undecided],
    owned: Collection[str],
    seen: Lags,
) -> list[tuple[_Undecided, Judgement]]:
    if not undecided:
        return []
    models = _models(connection, account, {u.attempt.endpoint for u in undecided})
    by_id = {u.submission_id: u for u in undecided}
    posts = [u.post(reading.offset, contract, models[u.attempt.endpoint]) for u in undecided]
    evidence = Evidence(
        jobs=[*reading.jobs, *_billed_only(reading)],
        owned=owned,
        read_from=reading.began_at + reading.offset.low,
        billed=reading.charges is not None,
        echoes=contract.echoes,
        doubt=seen.doubt(min(contract.settle(u.attempt.request) for u in undecided)),
    )
    return [(by_id[found.post.submission_id], found) for found in judge(posts, evidence)]


def _models(connection: sa.Connection, account: str, endpoints: Collection[str]) -> dict[str, frozenset[str]]:
    """What jobs of each endpoint were served by so far."""
    query = (
        sa.select(attempts.c.endpoint, attempts.c.served_model)
        .where(
            attempts.c.account == account,
            attempts.c.endpoint.in_(list(endpoints)),
            attempts.c.served_model.is_not(None),
        )
        .distinct()
    )
    served = [(row.endpoint, row.served_model) for row in connection.execute(query)]
    return {name: frozenset(model for endpoint, model in served if endpoint == name) for name in endpoints}


def _billed_only(reading: Reading) -> list[Candidate]:
    """Jobs that are charged and not listed."""
    listed = {job.job_id for job in reading.jobs}
    return [
        Candidate(
            row.job_id,
            row.model,
            datetime.fromtimestamp(row.at, UTC),
            JobStatus.RUNNING,
            submission_id=row.submission_id,
        )
        for row in reading.charges or ()
        if row.kind == "charge" and row.job_id not in listed
    ]


def _pause(ledger: Ledger, unknown: Sequence[_Undecided]) -> float:
    """Seconds until the listing is worth another look: soon after a loss, then more and more rarely."""
    youngest = ledger.clock() - max((u.broke_off for u in unknown), default=0.0)
    return min(max(FIRST_READS_SECONDS, 0.3 * youngest), LONGEST_PAUSE_SECONDS)


def _reschedule(ledger: Ledger, account: str, at: float, *, read_at: float | None = None) -> None:
    values: dict[str, float] = {"claimed_until": 0.0, "next_at": at}
    if read_at is not None:
        values["read_at"] = read_at
    with ledger.write() as connection:
        connection.execute(sa.update(listings).where(listings.c.account == account).values(**values))


# What becomes of an attempt


def _apply(
    ledger: Ledger, one: _Undecided, found: Judgement, reading: Reading, run_id: str | None
) -> list[Attempt]:
    """Carry one judgement out, unless the attempt has moved on since; returns what changed."""
    candidates = [_as_document(job, reading) for job in found.candidates]
    with ledger.write() as connection:
        lock_subject(connection, one.attempt.subject_key)
        attempt = ledger.require(connection, one.attempt.id)
        if attempt.version != one.attempt.version:
            return []
        if candidates != one.candidates:
            connection.execute(
                sa.update(submissions)
                .where(submissions.c.id == one.submission_id)
                .values(candidates=candidates)
            )
        match found.finding:
            case Finding.ADOPT if found.job is not None:
                adopted = adopt(
                    ledger,
                    connection,
                    attempt,
                    one.submission_id,
                    found.job.job_id,
                    model=found.job.model,
                    source="list",
                    who="reconciler",
                    why=f"job {found.job.job_id}: {found.why}",
                    run_id=run_id,
                )
                return [] if adopted is None else [adopted]
            case Finding.ABSENT:
                return close_absent(
                    ledger,
                    connection,
                    attempt,
                    one.submission_id,
                    who="reconciler",
                    why=found.why,
                    run_id=run_id,
                )
            case Finding.HOLD:
                return [hold(ledger, connection, attempt, found.why, candidates, run_id=run_id)]
            case _:
                return []


def _as_document(job: Candidate, reading: Reading) -> dict[str, Any]:
    """A candidate as it is kept for a person."""
    charge = next((row for row in reading.charges or () if row.job_id == job.job_id), None)
    return {
        "job": job.job_id,
        "model": job.model,
        "created_at": job.created_at.timestamp(),
        "status": job.status.value,
        "charged_usd": None if charge is None else str(to_usd(charge.micros)),
    }
