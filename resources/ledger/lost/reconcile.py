"""Reconciliation: it records what an account's listing proves about POSTs whose outcome is unknown.

`search_schedule.py` decides which process reads a listing and when, `evidence.py` judges the reading, and `closures.py` closes the
attempt. This module joins the reading with the ledger.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from resources.ledger import keys, served_models
from resources.ledger.database import chunks, lock_subject
from resources.ledger.jobs import NamedJob
from resources.ledger.ledger import Ledger
from resources.ledger.lost import job_times, listing_trust
from resources.ledger.lost.closures import RESUBMISSIONS, adopt, close_absent, hold, take_named
from resources.ledger.lost.evidence import LOOK_BACK_SECONDS, Evidence, Judgement, Lack, Proof, judge
from resources.ledger.lost.job_times import Dating
from resources.ledger.lost.listing_trust import Lags
from resources.ledger.lost.posts import Contract, ListingView, Undecided, find_undecided
from resources.ledger.lost.readings import Reading, Search
from resources.ledger.lost.search_schedule import failure_of, last_read_at, pause, reschedule
from resources.ledger.records import Attempt
from resources.ledger.schema import jobs, submissions
from resources.ledger.states import AttemptState
from resources.money import to_usd
from resources.providers.base import Candidate

WHO = "reconciler"
EXPECTED_FOR_SECONDS = 86_400.0
"""How long after its decision a clip whose order is proved absent is bought again: as long as it may wait in the queue."""
NO_LONGER_EXPECTED = (
    "Its decision is more than a day old, so it is not bought again by itself: `dailies retry` buys it."
)


@dataclass(frozen=True)
class _Known:
    """The ledger's knowledge when it judges a reading."""

    undecided: Sequence[Undecided]
    owned: Collection[str]
    """Ids of the jobs in the reading that a purchase owns."""
    lags: Lags
    misdated: bool
    """Whether the listing's times prove nothing."""


def record(
    ledger: Ledger, account: str, contract: Contract, reading: Reading, *, run_id: str | None = None
) -> list[Attempt]:
    """Record what a reading proves about each unknown attempt: it is adopted, absent and bought again, held, or still unknown.

    Returns:
        The attempts that changed, and the new ones.
    """
    with ledger.read() as connection:
        dating = job_times.dating(connection, account, reading.jobs)
        reading = _redated(reading, dating)
        undecided = find_undecided(connection, account)
        owned = _owned(connection, account, reading, undecided)
        late = _named_but_settled(connection, account, reading, owned, undecided)
        lags = listing_trust.measure(connection, account, reading, last_read_at(connection, account))
        # an echoed id proves the owner of a job, whatever the job's time
        doubtful = not dating.reliable or (dating.ahead is None and lags.early)
        misdated = doubtful and not contract.echoes
        known = _Known(undecided, owned, lags, misdated)
        judgements = _judge(connection, account, contract, reading, known)
    with ledger.write() as connection:
        listing_trust.note(connection, account, lags, now=ledger.clock())
    for job_id, submission_id in late:
        why = f"job {job_id}: the listing names its POST"
        with ledger.transaction(who=WHO, run_id=run_id) as tx:
            take_named(tx, account, submission_id, NamedJob(job_id, None, "list"), why=why)
    changed: list[Attempt] = []
    for one, judgement in judgements:
        changed += _apply(ledger, one, judgement, reading, run_id)
    settled = {attempt.id for attempt in changed}
    left = [u for u in undecided if u.attempt.state is AttemptState.UNKNOWN and u.attempt.id not in settled]
    read_at = reading.began_at + reading.offset.low if reading.search.until is None else None
    at = ledger.clock() + pause(ledger, left)
    reschedule(ledger, account, at, read_at=read_at, unread=reading.unread)
    return changed


def give_up(ledger: Ledger, account: str, search: Search, *, run_id: str | None = None) -> list[Attempt]:
    """Hold every attempt that would be settled by now if the listing and the bill could be read.

    The search for its job goes on, and the attempt continues once they can be read.
    """
    if not search.given_up:
        return []
    failing = failure_of(ledger, account)
    since = "" if failing is None else f" {failing}"
    why = (
        f"its listing and bill could not be read to their end{since}, so it is not known whether a job exists"
    )
    held: list[Attempt] = []
    for one in search.given_up:
        with ledger.transaction(who=WHO, run_id=run_id) as tx:
            lock_subject(tx.connection, one.attempt.subject_key)
            attempt = tx.attempt(one.attempt.id)
            if attempt.version == one.attempt.version:
                held.append(hold(tx, attempt, why, one.candidates, lack=Lack.READING))
    return held


def hold_unlisted(
    ledger: Ledger, account: str, key_seconds: float, *, run_id: str | None = None
) -> list[Attempt]:
    """Hold the unknown attempts of an account whose provider lists no jobs: no search can settle them.

    Args:
        key_seconds: How long the provider remembers an idempotency key. Until then, a repeated POST may still bring the answer.
    """
    with ledger.read() as connection:
        now = ledger.clock()
        lost = [
            one
            for one in find_undecided(connection, account)
            if one.attempt.state is AttemptState.UNKNOWN and not 0 <= now - one.started_at < key_seconds
        ]
    why = f"{account} lists no jobs, so only a callback or a person can name its job"
    held = []
    for one in lost:
        with ledger.transaction(who=WHO, run_id=run_id) as tx:
            lock_subject(tx.connection, one.attempt.subject_key)
            attempt = tx.attempt(one.attempt.id)
            if attempt.version == one.attempt.version:
                held.append(hold(tx, attempt, why, one.candidates))
    return held


def _redated(reading: Reading, dating: Dating) -> Reading:
    """The reading with all times converted to one clock, if jobs of ours show the difference."""
    if dating.ahead is None:
        return reading
    listed, charges = job_times.by_date_header(reading.jobs, reading.charges, dating.ahead)
    seconds = (dating.ahead.low + dating.ahead.high) / 2
    aside = [replace(row, at=None if row.at is None else row.at - seconds) for row in reading.aside]
    return replace(reading, jobs=listed, charges=charges, aside=aside)


def _owned(
    connection: sa.Connection, account: str, reading: Reading, undecided: Sequence[Undecided]
) -> set[str]:
    """Ids of owned jobs among the jobs of this reading and the candidates of earlier ones."""
    ids = sorted(
        {job.job_id for job in reading.jobs}
        | {row.job_id for row in reading.charges or ()}
        | {row.job_id for row in reading.aside if row.job_id is not None}
        | {candidate["job"] for one in undecided for candidate in one.candidates}
    )
    owned: set[str] = set()
    for some in chunks(ids):
        query = sa.select(jobs.c.job_id).where(
            jobs.c.account == account,
            jobs.c.job_id.in_(some),
            jobs.c.attempt_id.is_not(None),
        )
        owned.update(connection.execute(query).scalars())
    return owned


def _named_but_settled(
    connection: sa.Connection,
    account: str,
    reading: Reading,
    owned: Collection[str],
    undecided: Sequence[Undecided],
) -> list[tuple[str, str]]:
    """Jobs that name a POST of ours whose attempt is settled already: (job, submission)."""
    open_ids = {u.submission_id for u in undecided}
    named = {
        job.submission_id: job.job_id
        for job in reading.shown
        if job.submission_id and job.job_id not in owned and job.submission_id not in open_ids
    }
    settled = []
    ids = sorted(named)
    for some in chunks(ids):
        query = sa.select(submissions.c.id).where(
            submissions.c.account == account, submissions.c.id.in_(some)
        )
        settled += [(named[name], name) for name in connection.execute(query).scalars()]
    return settled


def _judge(
    connection: sa.Connection, account: str, contract: Contract, reading: Reading, known: _Known
) -> list[tuple[Undecided, Judgement]]:
    undecided = known.undecided
    if not undecided:
        return []
    models = {
        endpoint: served_models.models_of(connection, account, endpoint)
        for endpoint in {u.attempt.endpoint for u in undecided}
    }
    by_id = {u.submission_id: u for u in undecided}
    view = ListingView(
        contract,
        reading.offset,
        dedicated_since=keys.use_of(connection, account).dedicated_since,
        key_since=keys.key_since(connection, account),
        misdated_by=LOOK_BACK_SECONDS if known.misdated else 0.0,
    )
    posts = [
        u.post(
            view,
            models[u.attempt.endpoint],
            # without the bill, this reading may show less than an earlier one
            again=reading.charges is not None and reading.search.covers(u, contract),
        )
        for u in undecided
    ]
    evidence = Evidence(
        jobs=reading.shown,
        owned=known.owned,
        read_from=reading.began_at + reading.offset.low,
        aside=reading.aside,
        billed=reading.charges is not None,
        echoes=contract.echoes,
        misdated=known.misdated,
        doubt=known.lags.doubt(min(contract.settle(u.attempt.request) for u in undecided)),
    )
    return [(by_id[found.post.submission_id], found) for found in judge(posts, evidence)]


# The end of an attempt's doubt


def _apply(
    ledger: Ledger, one: Undecided, judgement: Judgement, reading: Reading, run_id: str | None
) -> list[Attempt]:
    """Carry out one judgement unless the attempt has changed since it was read; returns the changed attempts."""
    candidates = [_as_document(job, reading) for job in judgement.candidates]
    candidates += [kept for kept in one.candidates if kept["job"] in judgement.vanished]
    with ledger.transaction(who=WHO, run_id=run_id) as tx:
        lock_subject(tx.connection, one.attempt.subject_key)
        attempt = tx.attempt(one.attempt.id)
        if attempt.version != one.attempt.version:
            return []
        if candidates != one.candidates:
            tx.connection.execute(
                sa.update(submissions)
                .where(submissions.c.id == one.submission_id)
                .values(candidates=candidates)
            )
        match judgement.finding:
            case Proof.ADOPT if judgement.job is not None:
                job = NamedJob(judgement.job.job_id, judgement.job.model, "list")
                why = f"job {job.id}: {judgement.why}"
                adopted = adopt(tx, attempt, one.submission_id, job, why=why)
                return [] if adopted is None else [adopted]
            case Proof.ABSENT:
                expected = tx.now() - attempt.created_at < EXPECTED_FOR_SECONDS
                return close_absent(
                    tx,
                    attempt,
                    one.submission_id,
                    why=judgement.why if expected else f"{judgement.why}. {NO_LONGER_EXPECTED}",
                    again=RESUBMISSIONS if expected else 0,
                )
            case Proof.HOLD:
                held = hold(tx, attempt, judgement.why, candidates, lack=judgement.lack)
                return [held] if attempt.state is AttemptState.UNKNOWN else []
            case _:
                return []


def _as_document(job: Candidate, reading: Reading) -> dict[str, Any]:
    """A candidate as the ledger keeps it for a person."""
    charge = next((row for row in reading.charges or () if row.job_id == job.job_id), None)
    return {
        "job": job.job_id,
        "model": job.model,
        "created_at": job.created_at.timestamp(),
        "status": job.status.value,
        "charged_usd": None if charge is None else str(to_usd(charge.micros)),
    }
