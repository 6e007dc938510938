"""Finds lost POSTs that cannot be settled without a guess, from the provider's books and the contracts, not from the code.

A client sees the provider's list and bill, its own clock and the provider's, and the jobs named in answers. From that:

AI/ML API shows the id of every POST in its logs, so a job is found by that id. fal and Replicate show each job's request: a job is
found if no other has the same request, which its own seed ensures; without one, or with the seed of an earlier job (a finish
sends its draft's), an equal request on a shared key may be a stranger's. Replicate has no bill, so that nothing of it is absent. WaveSpeed names nothing; a job may be
a POST's if it was created while that POST could still create one and no answer named it. It is that POST's for
certain only if the unnamed jobs cannot be assigned to the lost POSTs in any other way, and no stranger
was seen to buy the model with this key, before it or until it was held. A POST has certainly made no job only if the
bill near it has no stranger's row of its model (a rule of money), none of those jobs can be assigned to it (the
provider may have run another model without notice: WaveSpeed contract, trap 16), and a job of ours that was accepted
later is in the list. How long a list lags is not documented, so a miss proves nothing before twenty jobs were seen to
appear in it, nor after one took longer than a third of the time after which a miss counts; AI/ML API and fal may not show
a job before its end.
"""

import json

from proof.faults.evidence import Findings
from proof.jobs import JobRecord
from proof.laws import Row

ACCEPTANCE_SECONDS = 30.0
"""The longest time after a client has given up in which its job may be created, with a margin."""
CLOCKS_SECONDS = 6.0
"""The error, in seconds, of comparing two clocks by `Date` headers."""
UNCOMPARED_SECONDS = 126.0
"""Their largest offset, in seconds, if the client saw no `Date` before its POST."""
ENOUGH_LAGS = 20
WITHOUT_BILL = {"replicate"}
STRANGER_SECONDS = 900.0
"""Seconds after a stranger's purchase in which further ones may follow."""


def why_ambiguous(findings: Findings, attempt: Row) -> str | None:
    """Why an unknown attempt cannot be settled; None if it can."""
    posts = [post for post in _lost_posts(findings, attempt) if post["attempt_id"] == attempt["id"]]
    reasons = [reason for post in posts if (reason := _why(findings, attempt, post))]
    return reasons[0] if reasons else None


def _why(findings: Findings, attempt: Row, post: Row) -> str | None:
    account = [job for job in findings.books.jobs.values() if job.provider == attempt["provider"]]
    own = next((job for job in account if job.tag == post["id"]), None)
    if own is not None:
        return _why_not_its(findings, attempt, post, own, account)
    held_at = findings.held_at.get(attempt["id"], findings.now)
    return _why_not_absent(findings, attempt, post, [job for job in account if job.at <= held_at], held_at)


def _why_not_its(
    findings: Findings, attempt: Row, post: Row, own: JobRecord, account: list[JobRecord]
) -> str | None:
    """Why the job of a POST may belong to another POST or to a stranger."""
    if attempt["provider"] == "aimlapi":
        return None
    if own.shown is not None:
        return _why_its_request_tells_nothing(own, account, dedicated=findings.dedicated)
    if not findings.dedicated:
        return "others may use the key"
    began, _, until = window(findings, post)
    seen = (began - STRANGER_SECONDS, max(until, findings.held_at.get(attempt["id"], until)))
    if any(j.clip is None and j.model == own.model and seen[0] <= j.at <= seen[1] for j in account):
        return "a stranger buys the same model"
    deal = _Deal(findings, attempt, account)
    return "another lost submit may have made it" if deal.is_possible(without=(own.id, post["id"])) else None


def _why_its_request_tells_nothing(
    own: JobRecord, account: list[JobRecord], *, dedicated: bool
) -> str | None:
    """Why a job's request does not name its POST."""
    if own.shown is None:
        return None
    others = [job for job in account if job.id != own.id and job.shown is not None]
    if any(job.shown == own.shown for job in others):
        return "another job has the same request"
    if dedicated:
        return None
    seed = json.loads(own.shown).get("seed")
    if seed is None:
        return "others may use the key, and its request has no seed"
    # a finish sends the seed of its draft, which is then no POST's own
    is_shared = any(job.at < own.at and json.loads(job.shown or "{}").get("seed") == seed for job in others)
    return "others may use the key, and an earlier job has its seed" if is_shared else None


def _why_not_absent(
    findings: Findings, attempt: Row, post: Row, account: list[JobRecord], held_at: float
) -> str | None:
    """Why a POST that made no job may have made one."""
    if attempt["provider"] in WITHOUT_BILL:
        return "the provider has no bill"
    return _whose_may_be_its(findings, attempt, post, account) or _why_a_miss_says_nothing(
        findings, attempt, post, account, held_at
    )


def _whose_may_be_its(findings: Findings, attempt: Row, post: Row, account: list[JobRecord]) -> str | None:
    """Another job that may belong to a POST that made none."""
    began, _, until = window(findings, post)
    near = [job for job in account if began <= job.at <= until and job.id not in findings.answered]
    if attempt["provider"] == "aimlapi":
        nameless = any(job.named is None and job.model == attempt["endpoint"] for job in near)
        return "a job without any id appeared in its time" if nameless else None
    if any(job.clip is None for job in near):
        return "a job that nobody ordered here appeared in its time"
    if near and not findings.dedicated:
        return "others may use the key"
    since = began - STRANGER_SECONDS
    if any(job.clip is None and job.model == attempt["endpoint"] and job.at >= since for job in account):
        return "a stranger bought the same model near it"
    deal = _Deal(findings, attempt, account)
    possible = any(deal.is_possible(given=(job.id, post["id"])) for job in near)
    return "the job may be another lost submit's" if possible else None


def _why_a_miss_says_nothing(
    findings: Findings, attempt: Row, post: Row, account: list[JobRecord], held_at: float
) -> str | None:
    """Why a list that does not show a POST's job may show it later."""
    _, gave_up, _ = window(findings, post)
    if not any(job.id in findings.answered and job.at > gave_up for job in account):
        return "nothing of ours was accepted later"
    known = [at for at in findings.lags.get(attempt["provider"], []) if at <= held_at]
    if len(known) < ENOUGH_LAGS:
        return "too few jobs were seen to appear in the list"
    visible = [(job.at, _visible_at(job)) for job in account if job.clip is not None]
    longest = max((min(shown, held_at) - at for at, shown in visible), default=0.0)
    if longest > findings.settle[attempt["provider"]] / 3:
        return "a job took long to appear in the list"
    return None


def _visible_at(job: JobRecord) -> float:
    return job.listed_at if job.lists_running else max(job.listed_at, job.ends_at)


def window(findings: Findings, post: Row) -> tuple[float, float, float]:
    """The true times of a POST's start, its end, and the latest creation of its job."""
    skew = findings.skews.get(int(post["owner"].split(":")[1]), 0.0)
    began = post["started_at"] - skew
    gave_up = min(post["ended_at"] or post["lease_until"], post["lease_until"]) - skew
    slack = UNCOMPARED_SECONDS if post["clock_low"] is None else CLOCKS_SECONDS
    return began - slack, gave_up, gave_up + ACCEPTANCE_SECONDS + slack


def _lost_posts(findings: Findings, attempt: Row) -> list[Row]:
    """POSTs of an account and model whose answer did not come."""
    found = []
    for post in findings.submissions.values():
        row = findings.attempts[post["attempt_id"]]
        same = (row["provider"], row["endpoint"]) == (attempt["provider"], attempt["endpoint"])
        if same and row["id"] in findings.ever_unknown and not _was_answered(findings, post):
            found.append(post)
    return found


def _was_answered(findings: Findings, post: Row) -> bool:
    known = post["state"] == "accepted" and post["detail"] in findings.answered
    return bool(known or post["state"] in {"rejected", "throttled", "not_sent"})


class _Deal:
    """Ways to give a model's unanswered jobs to its lost POSTs, each POST one at most."""

    def __init__(self, findings: Findings, attempt: Row, account: list[JobRecord]) -> None:
        windows = {p["id"]: window(findings, p) for p in _lost_posts(findings, attempt)}
        self._takers: dict[str, list[str]] = {
            job.id: [name for name, (began, _, until) in windows.items() if began <= job.at <= until]
            for job in account
            if job.clip is not None and job.model == attempt["endpoint"] and job.id not in findings.answered
        }

    def is_possible(
        self, *, without: tuple[str, str] | None = None, given: tuple[str, str] | None = None
    ) -> bool:
        """Whether every job can be assigned to a POST, without one pair, or with a given pair."""
        self._without, self._given = without, given
        dealt: dict[str, str] = {}
        return all(self._find(job, dealt, set()) for job in self._takers)

    def _find(self, job: str, dealt: dict[str, str], tried: set[str]) -> bool:
        for post in self._takers[job]:
            if post in tried or (job, post) == self._without or not self._allowed(job, post):
                continue
            tried.add(post)
            if post not in dealt or self._find(dealt[post], dealt, tried):
                dealt[post] = job
                return True
        return False

    def _allowed(self, job: str, post: str) -> bool:
        return self._given is None or (job == self._given[0]) == (post == self._given[1])
