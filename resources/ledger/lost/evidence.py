"""What a provider's listing and bill prove about POSTs whose answer was lost. Pure, so that it can be reasoned about.

All times are the provider's own clock. A job belongs to a POST only if it can be nobody else's: a listing that echoes our id or
shows our request says so itself. Where it shows neither, a job is matched by elimination on a key that is ours alone, and on
any other key by nothing: its POST is held.

That a POST has created no job needs no such knowledge, and is proved on a shared key too: listing and bill show the jobs of
everybody who uses the key, and a job of the POST would be among those that nobody here owns.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from resources.orders import FileReference
from resources.providers.base import Candidate
from resources.providers.rows import SetAside, in_words

LOOK_BACK_SECONDS = 900
"""How long before a POST whoever else uses the key makes its job suspect. So far before the oldest POST in question the
listing is read, where a job that a wrong clock has misdated is seen, too."""


class Proof(StrEnum):
    """What became of a POST, as far as it is proved."""

    ADOPT = "adopt"
    """This job is its."""
    ABSENT = "absent"
    """It has created no job."""
    HOLD = "hold"
    """All has been looked at and nothing is proved; a person must settle it."""
    WAIT = "wait"
    """It is too early to say."""


class Lack(StrEnum):
    """What is missing to prove what became of a POST that is held; it is judged again when that may have come."""

    LAGS = "lags"
    """The listing is not known to show jobs soon enough for a miss to mean anything."""
    LATER_JOB = "later_job"
    """It shows no job of ours that was accepted later."""
    OWNER = "owner"
    """Nobody can tell whose a listed job is."""
    CLOCK = "clock"
    """The listing dates its jobs by another clock than the answers."""
    READING = "reading"
    """The listing or the bill could not be read."""
    ROW = "row"
    """A row that cannot be read may be about its job."""


@dataclass(frozen=True)
class Post:
    """One POST that may have created a job, in the provider's time.

    Attributes:
        submission_id: Ours, where the provider echoes it.
        models: What a job of its endpoint names: the model asked for, and what was served for it before.
        body: The request as it was sent.
        in_question: Whether a finding is wanted; others (on the wire, held and not read for) only have a claim to jobs.
        held: Whether it is held. A job that names it is its all the same.
        not_before: The earliest moment it can have created a job.
        broke_off: The latest moment at which we still waited for its answer.
        created_by: The latest moment at which it is believed to create a job.
        settled_from: When a miss starts to prove something.
        give_up_from: When what is not proved by then is held.
        shared: Whether others may have used the key when it was sent, so that a job is its only if the listing says so.
        seen: Ids of jobs that an earlier look showed as its candidates.
    """

    submission_id: str
    models: frozenset[str]
    body: dict[str, object]
    in_question: bool
    not_before: float
    broke_off: float
    created_by: float
    settled_from: float
    give_up_from: float
    shared: bool
    held: bool = False
    seen: frozenset[str] = frozenset()

    def may_own(self, job: Candidate) -> bool:
        """Whether this job may have been created by this POST, as far as model, time and request tell."""
        return self.fits(job) and self._in_time(job)

    def may_be_given(self, job: Candidate) -> bool:
        """Whether a job that no other POST can have created is this one's: not where it may be a stranger's."""
        return not self.shared or job.body is not None

    def fits(self, job: Candidate) -> bool:
        """Whether model and request are this POST's."""
        if job.submission_id not in {None, self.submission_id}:
            return False
        if job.body is not None and any(
            _differs(value, job.body.get(name)) for name, value in self.body.items()
        ):
            return False
        return job.model is None or job.model in self.models

    def may_be_about(self, row: SetAside, evidence: "Evidence") -> bool:
        """Whether a row that was set aside may be about a job of this POST, as far as can be read of it."""
        if row.submission_id is not None:
            return row.submission_id == self.submission_id
        known = row.job_id is not None and row.job_id in evidence.known
        return not known and (row.at is None or self.not_before <= row.at <= self.created_by)

    def makes_suspect(self, stranger: Candidate) -> bool:
        """Whether somebody else's job near this POST lets its own be somebody else's too."""
        until = max(self.created_by, self.settled_from) + LOOK_BACK_SECONDS
        near = self.not_before - LOOK_BACK_SECONDS <= stranger.created_at.timestamp() <= until
        return near and stranger.body is None and self.fits(stranger)

    def may_be_substituted(self, job: Candidate) -> bool:
        """Whether it may be this POST's if the provider ran another model in silence."""
        return job.submission_id is None and not self.fits(job) and self._in_time(job) and job.body is None

    def _in_time(self, job: Candidate) -> bool:
        return self.not_before <= job.created_at.timestamp() <= self.created_by


def _differs(asked: object, echoed: object) -> bool:
    """Whether a value of the request is not the one echoed. A local file went out by an address that only its host knows."""
    if isinstance(asked, list) and isinstance(echoed, list) and len(asked) == len(echoed):
        return any(map(_differs, asked, echoed))
    return asked != echoed and (FileReference.parse(asked) is None or not isinstance(echoed, str))


@dataclass(frozen=True)
class Evidence:
    """What was read of an account, completely, and what the ledger knew afterwards.

    Attributes:
        jobs: Every listed job, and billed ones the listing does not show.
        owned: Ids of jobs whose attempt is known.
        read_from: The provider's time, at the latest, when the reading began.
        billed: Whether the bill was read too.
        echoes: Whether the listing names our submission ids.
        misdated: Whether jobs of ours show that the listing's times are not to be believed; then no job is told by them.
        doubt: Why a miss proves nothing on this account, None when it does.
        aside: Rows that were set aside.
    """

    jobs: Sequence[Candidate]
    owned: Collection[str]
    read_from: float
    billed: bool
    echoes: bool
    misdated: bool = False
    doubt: str | None = None
    aside: Sequence[SetAside] = ()

    @cached_property
    def known(self) -> frozenset[str]:
        """Ids of jobs that are owned, or of which another row can be read."""
        return frozenset(self.owned) | {job.job_id for job in self.jobs}


@dataclass(frozen=True)
class Judgement:
    """The finding on one POST.

    Attributes:
        post: Which.
        finding: What is proved.
        job: The job to adopt.
        candidates: Jobs that may be its, where that is not proved.
        why: One sentence for a person.
        lack: What is missing, where it is to be held.
        vanished: Ids of earlier candidates that are not shown any more.
    """

    post: Post
    finding: Proof
    job: Candidate | None = None
    candidates: tuple[Candidate, ...] = ()
    why: str = ""
    lack: Lack | None = None
    vanished: frozenset[str] = frozenset()


def judge(posts: Iterable[Post], evidence: Evidence) -> list[Judgement]:
    """What is proved about every POST in question."""
    known = _Sorted.of(list(posts), evidence)
    wanted = [p for p in known.posts if p.in_question or (p.held and p.submission_id in known.exact)]
    found = [_unread(post, known, evidence) or _judge_one(post, known, evidence) for post in wanted]
    return [replace(one, vanished=one.post.seen - evidence.known) for one in found]


@dataclass(frozen=True)
class _Sorted:
    """Jobs that nobody owns, told apart.

    Attributes:
        posts: All that may own one.
        exact: By POST, the job that names it.
        proved: By POST, the job that can be no other's.
        unclear: Jobs that a POST may own and that are not proved to be anybody's.
        strangers: Jobs that no POST may own.
        latest_of_ours: When the newest listed job of ours was created.
    """

    posts: list[Post]
    exact: dict[str, Candidate]
    proved: dict[str, Candidate]
    unclear: list[Candidate]
    strangers: list[Candidate]
    latest_of_ours: float

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
    """POSTs and jobs that may belong together, directly or by way of others."""
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
    """Match by elimination: a job that only one POST can have created belongs to it.

    A POST from a time when others may have used the key is given no job, and keeps its claim to every one: the job that fits it may
    be a stranger's. A job without a POST is a stranger's, and then any of its group may be: nothing is proved.
    """
    proved: dict[str, Candidate] = {}
    left = list(jobs)
    while True:
        owners = {
            job.job_id: [p for p in posts if p.submission_id not in proved and p.may_own(job)] for job in left
        }
        if any(not free for free in owners.values()):
            return {}
        sure = next(
            (job for job in left if len(owners[job.job_id]) == 1 and owners[job.job_id][0].may_be_given(job)),
            None,
        )
        if sure is None:
            return proved
        proved[owners[sure.job_id][0].submission_id] = sure
        left.remove(sure)


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
    doubt = _doubt(post, candidates, strangers, substituted, evidence)
    if doubt is not None:
        lack, why = doubt
        shown = candidates or strangers or substituted
        return Judgement(post, Proof.HOLD, candidates=tuple(shown), why=why, lack=lack)
    return _missing(post, known, evidence)


def _unread(post: Post, known: _Sorted, evidence: Evidence) -> Judgement | None:
    """That a row which proves nothing may be about this POST's job, so that neither a job nor its absence is proved."""
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
    """Why neither a job nor its absence is proved, None when no listed job can be this POST's."""
    if evidence.echoes:
        return (Lack.OWNER, "a job that carries no id may be its") if candidates else None
    if evidence.misdated and candidates:
        why = "a job may be its, but the listing dates jobs by another clock than the provider's answers"
        return Lack.CLOCK, why
    reason: str | None = None
    if len(candidates) > 1:
        reason = f"{len(candidates)} jobs may be its, and nothing tells them apart"
    elif candidates and post.shared:
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
    """Whether a miss in all that was read is proof of absence."""
    if not evidence.billed:
        return Judgement(post, Proof.WAIT, why="the bill is still to be read")
    if vanished := post.seen - evidence.known:
        why = f"{', '.join(sorted(vanished))} may be its, was listed before and is not shown any more"
        return Judgement(post, Proof.HOLD, why=why, lack=Lack.OWNER)
    if known.latest_of_ours <= post.broke_off:
        why = "the listing shows no job of ours that was accepted later, so it may lag behind"
        if evidence.read_from < post.give_up_from:
            return Judgement(post, Proof.WAIT, why=why)
        return Judgement(post, Proof.HOLD, why=why, lack=Lack.LATER_JOB)
    if evidence.doubt is not None:
        return Judgement(post, Proof.HOLD, why=evidence.doubt, lack=Lack.LAGS)
    return Judgement(post, Proof.ABSENT, why="the whole listing and the bill were read and show no job of it")
