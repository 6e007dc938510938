"""Checks of listings and bills: all rows or an error, and an unreadable row affects no other."""

import copy
import functools
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import httpx

from resources.conformance.checks import check
from resources.conformance.stand import JOB_SECONDS, START, BrokenPromiseError, Stand, promised
from resources.conformance.wire import PAGE, Mishap, Sent, answered, changed, cut, lost
from resources.errors import DailiesError
from resources.providers.base import Candidate, Charge
from resources.providers.rows import Rows

MANY = 130
"""More jobs than any provider shows on one page."""
BROKEN: dict[str, Mishap] = {
    "the connection breaks": lost(httpx.ReadError("reset by peer")),
    "the answer breaks off": cut,
    "200 without a body": answered(200),
    "200 with a page": answered(200, PAGE),
    "200 with an empty object": answered(200, b"{}"),
    "400": answered(400, b'{"message": "bad page", "detail": "bad page"}'),
    "429": answered(429, b'{"message": "too many requests"}'),
    "502 with a page": answered(502, PAGE),
}
SPOILS: tuple[Any, ...] = (None, "", "odd", -1, [], {})
"""Values that replace a field's value."""


def _lists(spec: Any) -> bool:
    return bool(spec.capabilities.lists_jobs)


def _bills(spec: Any) -> bool:
    return bool(spec.capabilities.bills_jobs)


async def _ended(stand: Stand, count: int) -> list[str]:
    jobs = []
    for number in range(count):
        jobs.append(await stand.bought(f"s-{number}", f"hill {number}"))
        stand.pass_by(2)
    stand.pass_by(JOB_SECONDS + 1)
    return jobs


async def many(stand: Stand) -> None:
    """More jobs than a page has, all of them ended."""
    stand.ended = await _ended(stand, MANY)


@check(
    "listings",
    "all",
    "A listing has every job of the window, from all pages, each once.",
    offered=_lists,
    begins_with=many,
)
async def every_page(stand: Stand) -> None:
    """More jobs than a page has."""
    jobs = stand.ended
    listed = [candidate.job_id for candidate in await stand.listed()]
    promised(len(listed) == len(set(listed)), "a job is listed twice")
    promised(set(listed) == set(jobs), f"{len(set(jobs) & set(listed))} of {MANY} jobs are listed")
    await _window(stand, jobs)


async def _window(stand: Stand, jobs: list[str]) -> None:
    """Jobs outside of the window are left out."""
    first, last = (datetime.fromtimestamp(START + stand.ahead + at, UTC) for at in (19, 41))
    listed = [candidate.job_id for candidate in await stand.listed((first, last))]
    promised(set(listed) == set(jobs[10:21]), f"a window of 11 jobs has {len(listed)}")


@check(
    "listings",
    "fields",
    "A listed job has its model and time, and our submission id if the contract says so.",
    offered=_lists,
)
async def fields(stand: Stand) -> None:
    """The facts that evidence needs."""
    job_id = await stand.bought("our-name")
    stand.pass_by(JOB_SECONDS + 1)
    listed = [one for one in await stand.listed() if one.job_id == job_id]
    promised(len(listed) == 1, "the job is not listed under the id that its POST named")
    (one,) = listed
    promised(one.model in {None, stand.endpoint}, f"{stand.endpoint} was ordered, and {one.model} is listed")
    off = abs(one.created_at.timestamp() - START - stand.ahead)
    promised(off < 1, f"its time is off by {off:g} s")
    named = "our-name" if stand.spec.capabilities.echoes_submission_id else None
    promised(one.submission_id == named, f"its submission id is {one.submission_id!r}")


@check(
    "listings",
    "request",
    "If the contract says that a listing shows each job's request, it shows the sent one: seeds tell POSTs apart.",
    needs=lambda capabilities: capabilities.lists_jobs and capabilities.echoes_input,
)
async def request(stand: Stand) -> None:
    """The seeds of two equal orders at the same time."""
    hill, dale = await stand.bought("one", "a hill"), await stand.bought("two", "a dale")
    stand.pass_by(JOB_SECONDS + 1)
    shown = {one.job_id: one.body for one in await stand.listed()}
    for job_id, prompt in ((hill, "a hill"), (dale, "a dale")):
        promised(
            shown.get(job_id) == stand.order(prompt),
            f"the request of {prompt!r} is listed as {shown.get(job_id)}",
        )


@check(
    "listings",
    "running",
    "If the contract says that a listing shows running jobs, it shows one.",
    needs=lambda capabilities: capabilities.lists_jobs and capabilities.lists_running,
)
async def running(stand: Stand) -> None:
    """A job that has just begun."""
    job_id = await stand.bought()
    listed = [candidate.job_id for candidate in await stand.listed()]
    promised(job_id in listed, "a running job is missing")


@check(
    "listings",
    "lag",
    "A job that the listing does not show yet is missing, and is read once it is listed.",
    offered=_lists,
)
async def lag(stand: Stand) -> None:
    """A listing that lags behind the jobs."""
    stand.fault({"do": "unlisted", "seconds": 600}, "submit", prompt_contains="late")
    late, early = await stand.bought("late", "late"), await stand.bought("early", "early")
    stand.pass_by(JOB_SECONDS + 1)
    promised([one.job_id for one in await stand.listed()] == [early], "the rest of the listing has changed")
    stand.pass_by(600)
    promised({one.job_id for one in await stand.listed()} == {early, late}, "the late job is not listed")


@check(
    "listings",
    "breaks",
    "A listing that cannot be read completely is an error, never a shorter listing.",
    offered=_lists,
    begins_with=many,
)
async def listing_breaks(stand: Stand) -> None:
    """Each page breaks once."""
    await _breaks(stand, stand.listed)


@check("listings", "rows", "A row that cannot be read is set aside, and all others count.", offered=_lists)
async def listing_rows(stand: Stand) -> None:
    """Each field of a row is spoilt."""
    jobs = await _ended(stand, 4)
    await _rows(stand, stand.listed, jobs, key=lambda row: row.job_id)


@check(
    "bills",
    "sums",
    "The bill has each job with its charge and its refund, in micro-USD.",
    offered=_bills,
)
async def sums(stand: Stand) -> None:
    """Against the front's own books."""
    stand.fault({"do": "fail", "error": "no GPU"}, "submit", prompt_contains="hill 2")
    jobs = await _ended(stand, 5)
    sums: dict[tuple[str, str], int] = {}
    for row in await stand.billed():
        sums[row.job_id, row.kind] = sums.get((row.job_id, row.kind), 0) + row.micros
    for job_id, job in zip(jobs, stand.jobs, strict=True):
        charged, refunded = stand.workshop.charged_micros(job), stand.workshop.refunded_micros(job)
        said = sums.get((job_id, "charge"), 0), sums.get((job_id, "refund"), 0)
        promised(
            said == (charged, refunded),
            f"{charged} micro-USD were charged for a job and {refunded} refunded, and the bill was read as {said[0]} and {said[1]}",
        )


@check(
    "bills",
    "all",
    "A bill has every row of the window, from all pages, each once.",
    offered=_bills,
    begins_with=many,
)
async def every_row(stand: Stand) -> None:
    """More rows than a page has."""
    jobs = stand.ended
    billed = [row.job_id for row in await stand.billed() if row.kind == "charge"]
    fits = sorted(billed) == sorted(jobs)
    promised(fits, f"{len(set(jobs) & set(billed))} of {MANY} jobs are billed, in {len(billed)} rows")


@check(
    "bills",
    "breaks",
    "A bill that cannot be read completely is an error, never a shorter bill.",
    offered=_bills,
    begins_with=many,
)
async def bill_breaks(stand: Stand) -> None:
    """Each page breaks once."""
    await _breaks(stand, stand.billed)


@check(
    "bills",
    "rows",
    "A row that cannot be read or has another label is set aside, and all others count.",
    offered=_bills,
)
async def bill_rows(stand: Stand) -> None:
    """Each field of a row is spoilt."""
    jobs = await _ended(stand, 4)
    await _rows(stand, stand.billed, jobs, key=lambda row: row.job_id)
    stand.fault({"do": "odd_rows"}, "billing")
    charged = sorted(row.job_id for row in await stand.billed() if row.kind == "charge")
    promised(charged == sorted(jobs), "rows with another label than the requested one are counted")


Reading = Callable[[], Awaitable[Rows[Any]]]


async def _breaks(stand: Stand, read: Reading) -> None:
    before = len(stand.wire.sent)
    whole = {_digest(row) for row in await read()}
    pages = len(stand.wire.sent) - before
    for name, happens in BROKEN.items():
        for page in {0, pages - 1}:
            begun = len(stand.wire.sent)
            with stand.mishap(happens, _from_page(stand, begun, page)):
                try:
                    rows = await read()
                except DailiesError:
                    continue
            # a page after the last one may break without a loss
            promised(
                {_digest(row) for row in rows} == whole,
                f"page {page + 1}, {name}: {len(rows)} of {len(whole)} rows and no error",
            )


def _from_page(stand: Stand, begun: int, page: int) -> Callable[[Sent], bool]:
    """Whether a request is for a page, counted from 0, or a later one."""
    return lambda _sent: len(stand.wire.sent) - begun > page


async def _rows(stand: Stand, read: Reading, jobs: list[str], key: Callable[[Any], str]) -> None:
    whole = {_digest(row) for row in await read()}
    tried = 0
    for path in _paths_of_rows(await _first_answer(stand, read), stand.jobs[1].id):
        for spoil in SPOILS:
            tried += 1
            where = ".".join(path)
            with stand.mishap(
                changed(functools.partial(_with, path=path, value=spoil, job_id=stand.jobs[1].id))
            ):
                try:
                    rows = await read()
                except DailiesError as error:
                    raise BrokenPromiseError(
                        f"{where} of one row was {spoil!r}: all were refused ({error})"
                    ) from error
            missing = {_digest(row) for row in rows if key(row) != jobs[1]}
            others = {one for one in whole if one[0] != jobs[1]}
            promised(
                others <= missing,
                f"{where} of one row was {spoil!r}: {len(others - missing)} other rows are lost",
            )
            unfit = [key(row) for row in rows if not key(row).strip() or " " in key(row)]
            promised(not unfit, f"{where} of one row was {spoil!r}: a row has the id {unfit[:1]}")
            negative = [row for row in rows if isinstance(row, Charge) and row.micros < 0]
            promised(not negative, f"{where} of one row was {spoil!r}: a charge is below zero")
    promised(tried > 0, "its answers have no rows to change")


async def _first_answer(stand: Stand, read: Reading) -> list[Any]:
    seen: list[Any] = []

    def keep(document: Any) -> Any:
        seen.append(copy.deepcopy(document))
        return document

    with stand.mishap(changed(keep)):
        await read()
    return seen


def _digest(row: Candidate | Charge) -> tuple[object, ...]:
    if isinstance(row, Charge):
        return row.job_id, row.kind, row.micros, row.at
    return row.job_id, row.model, row.created_at


def _paths_of_rows(answers: list[Any], job_id: str) -> Iterator[tuple[str, ...]]:
    """The fields of the row about a job."""
    paths: set[tuple[str, ...]] = set()
    for answer in answers:
        for row in _rows_about(answer, job_id):
            paths |= set(_fields(row))
    yield from sorted(paths)


def _rows_about(document: Any, job_id: str) -> Iterator[dict[str, Any]]:
    """The rows that name a job. If its id is a path, rows name the last part of it, which is the longest."""
    own = max(job_id.split("/"), key=len)
    if isinstance(document, dict):
        for value in document.values():
            yield from _rows_about(value, job_id)
    elif isinstance(document, list):
        for item in document:
            if isinstance(item, dict) and own in str(item):
                yield item


def _fields(row: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in row.items():
        yield (*before, name)
        if isinstance(value, dict):
            yield from _fields(value, (*before, name))


def _with(document: Any, path: tuple[str, ...], value: Any, job_id: str) -> Any:
    for row in list(_rows_about(document, job_id)):
        at: Any = row
        for name in path[:-1]:
            at = at.get(name) if isinstance(at, dict) else None
        if isinstance(at, dict) and path[-1] in at:
            at[path[-1]] = value
    return document
