"""What a provider's listing and bill prove about POSTs whose answer was lost. Pure functions, without a database.

All times are by the provider's clock. A job is given to a POST only if it can belong to no other. A listing that echoes our id or
shows our request settles that. Where a listing shows neither, jobs are matched by elimination on a dedicated key, and not at all on
a shared one: the POST is held.

Absence is proved on a shared key too. Listing and bill show the jobs of everybody who uses the key, so that a job of the POST
would be among those without an owner in this ledger.
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
"""A stranger's job so near a POST makes the POST's own job suspect. The listing is read from so long before the oldest POST in
question, which also shows a job that a wrong clock has misdated."""


class Proof(StrEnum):
    """What is proved about a POST."""

    ADOPT = "adopt"
    """It created this job."""
    ABSENT = "absent"
    """It created no job."""
    HOLD = "hold"
    """Everything was read and nothing is proved. A person must settle it."""
    WAIT = "wait"
    """It is too early for a verdict."""


class Lack(StrEnum):
    """The proof that a held POST lacks. The POST is judged again when that proof may have arrived."""

    LAGS = "lags"
    """The listing is not known to show jobs soon enough for a miss to mean anything."""
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
    """Whether a verdict is wanted. Other POSTs (in flight, or held and not searched for) only claim jobs."""
    not_before: float
    """The earliest moment at which it can have created a job."""
    broke_off: float
    """The latest moment at which its sender still waited for the answer."""
    created_by: float
    """The latest moment at which it may create a job."""
    settled_from: float
    """From when on a miss proves something."""
    give_up_from: float
    """From when on it is held if nothing is proved."""
    shared: bool
    """Whether others may have used the key when it was sent. Then only the listing itself can give it a job."""
    seeded: bool = False
    """Whether its request has a seed that no other POST has, so that a listed job with that request is its own."""
    other_key: bool = False
    """Whether it was sent with another key, whose jobs this listing may not show."""
    held: bool = False
    """Whether it is held. A job that names it is still adopted."""
    seen: frozenset[str] = frozenset()
    """Ids of its candidates in earlier readings."""

    def may_own(self, job: Candidate) -> bool:
        """Whether model, time and request allow that this POST created the job."""
        return self.fits(job) and self._in_time(job)

    def may_be_given(self, job: Candidate) -> bool:
        """Whether a job that no other POST can have created belongs to this one: not where it may be a stranger's.

        On a key that others may use, an equal request is not enough: a second installation with the same series orders the same in
        the same second.
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
        """Whether a stranger's job is so near that this POST's candidates may be the stranger's too."""
        until = max(self.created_by, self.settled_from) + LOOK_BACK_SECONDS
        near = self.not_before - LOOK_BACK_SECONDS <= stranger.created_at.timestamp() <= until
        return near and stranger.body is None and self.fits(stranger)

    def may_be_substituted(self, job: Candidate) -> bool:
        """Whether the job may be this POST's if the provider ran another model without saying so."""
        return job.submission_id is None and not self.fits(job) and self._in_time(job) and job.body is None

    def may_be_rewritten(self, job: Candidate) -> bool:
        """Whether the job may be this POST's if the provider shows another request than was sent: cleaned, completed or re-addressed.

        On a key that others may use, only a job with our prompt, our seed or our draft may be: others do buy the same model.
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


def _differs(asked: object, echoed: object) -> bool:
    """Whether an echoed value differs from the one asked for. A local file is sent as an address that only its host knows."""
    if isinstance(asked, list) and isinstance(echoed, list) and len(asked) == len(echoed):
        return any(map(_differs, asked, echoed))
    return asked != echoed and (FileReference.parse(asked) is None or not isinstance(echoed, str))


@dataclass(frozen=True)
class Evidence:
    """A complete reading of an account, and what the ledger knew afterwards."""

    jobs: Sequence[Candidate]
    """Every listed job, and every billed one that the listing does not show."""
    owned: Collection[str]
    """Ids of jobs whose attempt is known."""
    read_from: float
    """The latest time by the provider's clock at which the reading can have begun."""
    billed: bool
    """Whether the bill was read too."""
    echoes: bool
    """Whether the listing names our submission ids."""
    misdated: bool = False
    """Whether jobs of ours show that the listing's times are wrong. Then no job is matched by its time."""
    doubt: str | None = None
    """Why a miss proves nothing on this account, None when it does."""
    aside: Sequence[SetAside] = ()
    """Rows that were set aside."""

    @cached_property
    def known(self) -> frozenset[str]:
        """Ids of jobs that are owned, or that a readable row shows."""
        return frozenset(self.owned) | {job.job_id for job in self.jobs}


@dataclass(frozen=True)
class Judgement:
    """What is proved about one POST."""

    post: Post
    finding: Proof
    job: Candidate | None = None
    """The job to adopt."""
    candidates: tuple[Candidate, ...] = ()
    """Jobs that may be the POST's, without proof."""
    why: str = ""
    """One sentence for a person."""
    lack: Lack | None = None
    """The missing proof of a POST that is to be held."""
    vanished: frozenset[str] = frozenset()
    """Ids of earlier candidates that this reading does not show."""


def judge(posts: Iterable[Post], evidence: Evidence) -> list[Judgement]:
    """Judge every POST in question."""
    known = _Sorted.of(list(posts), evidence)
    wanted = [p for p in known.posts if p.in_question or (p.held and p.submission_id in known.exact)]
    found = [_unread(post, known, evidence) or _judge_one(post, known, evidence) for post in wanted]
    return [replace(one, vanished=one.post.seen - evidence.known) for one in found]


@dataclass(frozen=True)
class _Sorted:
    """The jobs without an owner, sorted by what is known of them."""

    posts: list[Post]
    """All POSTs that may own one."""
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
    """Match by elimination: a job belongs to a POST if the jobs cannot be dealt out to the POSTs in any other way.

    A POST creates one job at most. One that was sent while others may have used the key keeps its claim to every job and is given
    none, since a job that fits it may be a stranger's. A job without a POST is a stranger's. Then any job of its group may be, and
    nothing is proved.
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
    """Deal every job to a POST that may own it; None where that is impossible.

    Args:
        claims: By job: the POSTs that may own it.
        roomy: POSTs that may be dealt any number of jobs; every other gets one at most.
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
        why = "the only job that nobody owns and that no other submit can have created"
        return Judgement(post, Proof.ADOPT, proved, why=why)
    candidates = [job for job in known.unclear if post.may_own(job)] + ([proved] if proved else [])
    if evidence.read_from < post.settled_from:
        return Judgement(post, Proof.WAIT, candidates=tuple(candidates), why="it may still turn up")
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
    """The judgement where an unreadable row may describe this POST's job: neither the job nor its absence is proved."""
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
    """Why neither a job nor its absence is proved. None when no listed job can be this POST's."""
    if evidence.echoes:
        return (Lack.OWNER, "a job that carries no id may be its") if candidates else None
    if evidence.misdated and candidates:
        why = "a job may be its, but the listing dates jobs by another clock than the provider's answers"
        return Lack.CLOCK, why
    reason: str | None = None
    if len(candidates) > 1:
        reason = f"{len(candidates)} jobs may be its, and nothing tells them apart"
    elif candidates and (post.shared or post.other_key):
        reason = "one job may be its, but others may use this key, and nothing names the job as ours"
    elif candidates:
        other = (
            "somebody else buys the same model with this key" if strangers else "it may be another submit's"
        )
        reason = f"one job may be its, but {other}"
    elif strangers:
        reason = "jobs of the same model that nobody ordered here are listed near it"
    elif substituted:
        reason = "a job of another model that nobody ordered here was created then"
    return None if reason is None else (Lack.OWNER, reason)


def _missing(post: Post, known: _Sorted, evidence: Evidence) -> Judgement:
    """Judge a miss in everything that was read."""
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
    """Why the listing and the bill may not show a job of a POST, None where they would."""
    if vanished := post.seen - evidence.known:
        return f"{', '.join(sorted(vanished))} may be its, was listed before and is not shown any more"
    if post.other_key:
        return "the account's key was changed since, and the listing may not show jobs of the earlier key"
    return None
