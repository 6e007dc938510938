"""What a provider's listing and bill prove about POSTs whose answer was lost. Pure functions, without a database.

All times are by the provider's clock. A job is matched to a POST only if it can belong to no other, which a listing proves by
echoing our id or showing our request. If a listing shows neither, jobs are matched by elimination on a dedicated key; on a shared
key the POST is held.

Absence can be proved on a shared key too: listing and bill show the jobs of all users of the key, so that a job of the POST would be
among those without an owner in this ledger.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from resources.file_references import FileReference
from resources.providers.base import Candidate
from resources.providers.rows import SetAside, in_words

LOOK_BACK_SECONDS = 900
"""A stranger's job within this time of a POST makes the POST's own job suspect. The listing is read from this long before the
oldest POST in question, so that it also shows jobs dated by a wrong clock."""


class Proof(StrEnum):
    """The proof about a POST."""

    ADOPT = "adopt"
    """It created this job."""
    ABSENT = "absent"
    """It created no job."""
    HOLD = "hold"
    """Everything was read and nothing is proved. A person must settle the POST."""
    WAIT = "wait"
    """It is too early to judge."""


class Lack(StrEnum):
    """The proof that a held POST lacks. The POST is judged again when that proof may have arrived."""

    LAGS = "lags"
    """The listing is not known to show jobs soon enough for a miss to prove anything."""
    LATER_JOB = "later_job"
    """The listing shows no job of ours that was accepted later."""
    OWNER = "owner"
    """The owner of a listed job is not known."""
    CLOCK = "clock"
    """The listing dates jobs by another clock than the `Date` header of answers."""
    READING = "reading"
    """The listing or the bill could not be read."""
    ROW = "row"
    """A row that cannot be read may describe its job."""


@dataclass(frozen=True)
class Post:
    """One POST that may have created a job. Times are seconds since the epoch by the provider's clock."""

    submission_id: str
    """Our id, which some providers echo."""
    models: frozenset[str]
    """Model names of its endpoint's jobs: the model asked for, and those served for it before."""
    body: dict[str, object]
    """The request as it was sent."""
    in_question: bool
    """Whether it is to be judged. Other POSTs (in flight, or held and not searched for) only claim jobs."""
    not_before: float
    """The earliest moment at which it can have created a job."""
    broke_off: float
    """The latest moment at which its sender still waited for the answer."""
    created_by: float
    """The latest moment at which it may create a job."""
    settled_from: float
    """The time from which a miss proves something."""
    give_up_from: float
    """The time from which it is held if nothing is proved."""
    shared: bool
    """Whether others may have used the key when it was sent. If so, only a job that names it can be matched to it."""
    seeded: bool = False
    """Whether its request has a seed that no other POST has, so that a listed job with that request is its own."""
    other_key: bool = False
    """Whether it was sent with another key, whose jobs this listing may not show."""
    held: bool = False
    """Whether it is held. A job that names it is still adopted."""
    seen: frozenset[str] = frozenset()
    """Ids of its candidates in earlier readings."""

    def may_own(self, job: Candidate) -> bool:
        """Whether this POST can have created the job, by model, time and request."""
        return self.fits(job) and self._in_time(job)

    def may_be_given(self, job: Candidate) -> bool:
        """Whether a job that no other POST can have created belongs to this one, and cannot be a stranger's.

        On a shared key an equal request is not enough: a second installation with the same series sends the same request in the same
        second.
        """
        return not (self.shared or self.other_key) or (self.seeded and job.body is not None)

    def fits(self, job: Candidate) -> bool:
        """Whether the job has this POST's model and request."""
        if job.submission_id not in {None, self.submission_id}:
            return False
        if job.body is not None and any(
            _differs(value, job.body.get(name)) for name, value in self.body.items()
        ):
            return False
        return job.model is None or job.model in self.models

    def may_be_about(self, row: SetAside, evidence: "Evidence") -> bool:
        """Whether a row that was set aside may describe a job of this POST."""
        if row.submission_id is not None:
            return row.submission_id == self.submission_id
        known = row.job_id is not None and row.job_id in evidence.known
        return not known and (row.at is None or self.not_before <= row.at <= self.created_by)

    def makes_suspect(self, stranger: Candidate) -> bool:
        """Whether a stranger's job is so near in time that this POST's candidates may be the stranger's too."""
        until = max(self.created_by, self.settled_from) + LOOK_BACK_SECONDS
        near = self.not_before - LOOK_BACK_SECONDS <= stranger.created_at.timestamp() <= until
        return near and stranger.body is None and self.fits(stranger)

    def may_be_substituted(self, job: Candidate) -> bool:
        """Whether the job may belong to this POST if the provider silently ran another model."""
        return job.submission_id is None and not self.fits(job) and self._in_time(job) and job.body is None

    def may_be_rewritten(self, job: Candidate) -> bool:
        """Whether the job may belong to this POST if the provider shows a changed request: cleaned, completed or with other addresses.

        On a shared key, only a job with our prompt, seed or draft may belong to it, since others buy the same model.
        """
        if job.submission_id is not None or job.body is None or self.fits(job) or not self._in_time(job):
            return False
        agree = any(
            name in self.body and self.body[name] == job.body.get(name)
            for name in ("prompt", "seed", "draft_id")
        )
        return job.model in {None, *self.models} and (agree or not (self.shared or self.other_key))

    def _in_time(self, job: Candidate) -> bool:
        return self.not_before <= job.created_at.timestamp() <= self.created_by


def _differs(requested: object, echoed: object) -> bool:
    """Whether an echoed value differs from the one sent. Local files are not compared, since they were sent as addresses."""
    if isinstance(requested, list) and isinstance(echoed, list) and len(requested) == len(echoed):
        return any(map(_differs, requested, echoed))
    return requested != echoed and (FileReference.parse(requested) is None or not isinstance(echoed, str))


@dataclass(frozen=True)
class Evidence:
    """A complete reading of an account, and the ledger's knowledge afterwards."""

    jobs: Sequence[Candidate]
    """Every listed job, and every billed one that the listing does not show."""
    owned: Collection[str]
    """Ids of jobs whose attempt is known."""
    read_from: float
    """The latest time at which the reading can have begun, by the provider's clock."""
    billed: bool
    """Whether the bill was read too."""
    echoes: bool
    """Whether the listing names our submission ids."""
    misdated: bool = False
    """Whether jobs of ours show that the listing's times are wrong. If so, no job is matched by its time."""
    doubt: str | None = None
    """Why a miss proves nothing on this account; None if it proves absence."""
    aside: Sequence[SetAside] = ()
    """Rows that were set aside."""

    @cached_property
    def known(self) -> frozenset[str]:
        """Ids of jobs that are owned, or that a readable row shows."""
        return frozenset(self.owned) | {job.job_id for job in self.jobs}


@dataclass(frozen=True)
class Judgement:
    """The judgement of one POST."""

    post: Post
    finding: Proof
    job: Candidate | None = None
    """The job to adopt."""
    candidates: tuple[Candidate, ...] = ()
    """Jobs that may belong to the POST, without proof."""
    why: str = ""
    """One sentence for a person."""
    lack: Lack | None = None
    """The missing proof, if the POST is to be held."""
    vanished: frozenset[str] = frozenset()
    """Ids of earlier candidates that this reading does not show."""


def judge(posts: Iterable[Post], evidence: Evidence) -> list[Judgement]:
    """Judge every POST in question."""
    known = _Sorted.of(list(posts), evidence)
    in_question = [p for p in known.posts if p.in_question or (p.held and p.submission_id in known.exact)]
    judgements = [_unread(post, known, evidence) or _judge_one(post, known, evidence) for post in in_question]
    return [replace(one, vanished=one.post.seen - evidence.known) for one in judgements]


@dataclass(frozen=True)
class _Sorted:
    """The jobs without an owner, sorted by what the evidence says about them."""

    posts: list[Post]
    """All POSTs that may own a job."""
    exact: dict[str, Candidate]
    """By POST: the job that names it."""
    proved: dict[str, Candidate]
    """By POST: the job that can belong to no other."""
    unclear: list[Candidate]
    """Jobs that a POST may own, without proof."""
    strangers: list[Candidate]
    """Jobs that no POST may own."""
    latest_of_ours: float
    """When the newest listed job of ours was created."""

    @classmethod
    def of(cls, posts: list[Post], evidence: Evidence) -> "_Sorted":
        ids = {post.submission_id for post in posts}
        unowned = [job for job in evidence.jobs if job.job_id not in evidence.owned]
        exact = {job.submission_id: job for job in unowned if job.submission_id in ids and job.submission_id}
        unnamed = [job for job in unowned if job.submission_id is None]
        proved: dict[str, Candidate] = {}
        if not evidence.echoes and not evidence.misdated:
            for group, its_jobs in _groups(
                [post for post in posts if post.submission_id not in exact], unnamed
            ):
                proved.update(_by_elimination(group, its_jobs))
        taken = {job.job_id for job in proved.values()}
        claimed = [job for job in unnamed if any(post.may_own(job) for post in posts)]
        ours = [job.created_at.timestamp() for job in evidence.jobs if job.job_id in evidence.owned]
        return cls(
            posts=posts,
            exact=exact,
            proved=proved,
            unclear=[job for job in claimed if job.job_id not in taken],
            strangers=[job for job in unnamed if job not in claimed],
            latest_of_ours=max(ours, default=-math.inf),
        )


def _groups(posts: list[Post], jobs: list[Candidate]) -> list[tuple[list[Post], list[Candidate]]]:
    """Connected groups of POSTs and jobs: each job with every POST that may own it."""
    groups: list[tuple[list[Post], list[Candidate]]] = []
    for job in jobs:
        claimants = [post for post in posts if post.may_own(job)]
        if not claimants:
            continue
        joined = [group for group in groups if any(post in group[0] for post in claimants)]
        claimants += [post for group in joined for post in group[0] if post not in claimants]
        groups = [group for group in groups if group not in joined]
        groups.append((claimants, [job, *(other for group in joined for other in group[1])]))
    return groups


def _by_elimination(posts: list[Post], jobs: list[Candidate]) -> dict[str, Candidate]:
    """Match by elimination: a job belongs to a POST if there is no other way to assign the jobs to the POSTs.

    A POST creates at most one job. A POST on a shared key claims every job that fits it but is assigned none, since the job may be a
    stranger's. A job without a POST is a stranger's; then any job of its group may be, and nothing is proved about the group.
    """
    claims = {job.job_id: [n for n, post in enumerate(posts) if post.may_own(job)] for job in jobs}
    roomy = {n for n, post in enumerate(posts) if post.shared or post.other_key}
    dealt = _deal(claims, roomy)
    if dealt is None:
        return {}
    sure = {
        job: owner
        for job, owner in dealt.items()
        if _deal({**claims, job: [n for n in claims[job] if n != owner]}, roomy) is None
    }
    if len(set(sure.values())) < len(sure):
        return {}
    return {
        posts[sure[job.job_id]].submission_id: job
        for job in jobs
        if job.job_id in sure and posts[sure[job.job_id]].may_be_given(job)
    }


def _deal(claims: Mapping[str, Sequence[int]], roomy: Collection[int]) -> dict[str, int] | None:
    """Assign every job to a POST that may own it; None if that is impossible.

    Args:
        claims: By job: the POSTs that may own it.
        roomy: POSTs that may get any number of jobs; every other gets at most one.
    """
    owner: dict[str, int] = {}
    holds: dict[int, str] = {}

    def place(job: str, tried: set[int]) -> bool:
        for post in claims[job]:
            if post in tried:
                continue
            tried.add(post)
            if post in roomy or post not in holds or place(holds[post], tried):
                holds[post] = job
                owner[job] = post
                return True
        return False

    return owner if all(place(job, set()) for job in claims) else None


def _judge_one(post: Post, known: _Sorted, evidence: Evidence) -> Judgement:
    exact = known.exact.get(post.submission_id)
    if exact is not None:
        return Judgement(post, Proof.ADOPT, exact, why="the listing names our id")
    strangers = [job for job in known.strangers if post.makes_suspect(job)]
    proved = known.proved.get(post.submission_id)
    if proved is not None and (not strangers or proved.body is not None):
        why = "it is the only job without an owner, and no other submit can have created it"
        return Judgement(post, Proof.ADOPT, proved, why=why)
    candidates = [job for job in known.unclear if post.may_own(job)] + ([proved] if proved else [])
    if evidence.read_from < post.settled_from:
        return Judgement(post, Proof.WAIT, candidates=tuple(candidates), why="its job may still turn up")
    substituted = [job for job in known.strangers if post.may_be_substituted(job)]
    rewritten = [job for job in known.strangers if post.may_be_rewritten(job)]
    doubt = _doubt(post, candidates, strangers, substituted, evidence)
    if doubt is None and rewritten:
        doubt = (
            Lack.OWNER,
            "a job of the same model and another request, which nobody ordered here, was created then",
        )
    if doubt is not None:
        lack, why = doubt
        shown = candidates or strangers or substituted or rewritten
        return Judgement(post, Proof.HOLD, candidates=tuple(shown), why=why, lack=lack)
    return _missing(post, known, evidence)


def _unread(post: Post, known: _Sorted, evidence: Evidence) -> Judgement | None:
    """The judgement if an unreadable row may describe this POST's job, so that neither the job nor its absence is proved."""
    proved = known.proved.get(post.submission_id)
    aside = [row for row in evidence.aside if post.may_be_about(row, evidence)]
    if not aside or post.submission_id in known.exact or (proved is not None and proved.body is not None):
        return None
    candidates = tuple(job for job in [*known.unclear, *known.proved.values()] if post.may_own(job))
    waits = evidence.read_from < post.give_up_from
    return Judgement(
        post,
        Proof.WAIT if waits else Proof.HOLD,
        candidates=candidates,
        why=in_words(aside),
        lack=None if waits else Lack.ROW,
    )


def _doubt(
    post: Post,
    candidates: list[Candidate],
    strangers: list[Candidate],
    substituted: list[Candidate],
    evidence: Evidence,
) -> tuple[Lack, str] | None:
    """Why neither a job nor its absence is proved; None if no listed job can belong to this POST."""
    if evidence.echoes:
        return (Lack.OWNER, "a job without our id may belong to it") if candidates else None
    if evidence.misdated and candidates:
        why = (
            "a job may belong to it, but the listing dates jobs by another clock than the provider's answers"
        )
        return Lack.CLOCK, why
    reason: str | None = None
    if len(candidates) > 1:
        reason = f"{len(candidates)} jobs may belong to it, and nothing tells them apart"
    elif candidates and (post.shared or post.other_key):
        reason = "one job may belong to it, but others may use this key, and nothing names the job as ours"
    elif candidates:
        other = (
            "somebody else buys the same model with this key"
            if strangers
            else "the job may be another submit's"
        )
        reason = f"one job may belong to it, but {other}"
    elif strangers:
        reason = "jobs of the same model that nobody ordered here are listed near it"
    elif substituted:
        reason = "a job of another model that nobody ordered here was created then"
    return None if reason is None else (Lack.OWNER, reason)


def _missing(post: Post, known: _Sorted, evidence: Evidence) -> Judgement:
    """Judge a POST whose job was not found anywhere."""
    if not evidence.billed:
        return Judgement(post, Proof.WAIT, why="the bill is still to be read")
    hidden = _hidden(post, evidence)
    if hidden is not None:
        return Judgement(post, Proof.HOLD, why=hidden, lack=Lack.OWNER)
    if known.latest_of_ours <= post.broke_off:
        why = "the listing shows no job of ours that was accepted later, so it may lag behind"
        if evidence.read_from < post.give_up_from:
            return Judgement(post, Proof.WAIT, why=why)
        return Judgement(post, Proof.HOLD, why=why, lack=Lack.LATER_JOB)
    if evidence.doubt is not None:
        return Judgement(post, Proof.HOLD, why=evidence.doubt, lack=Lack.LAGS)
    return Judgement(post, Proof.ABSENT, why="the whole listing and the bill were read and show no job of it")


def _hidden(post: Post, evidence: Evidence) -> str | None:
    """Why the listing and the bill may not show a job of a POST; None if they would."""
    if vanished := post.seen - evidence.known:
        return f"{', '.join(sorted(vanished))} may belong to it, was listed before and is not shown any more"
    if post.other_key:
        return "the account's key was changed since, and the listing may not show jobs of the earlier key"
    return None
