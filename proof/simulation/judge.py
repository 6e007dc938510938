"""The judge: compares the provider's books and the bucket with what the ledger says, job by job.

It reads the ledger's tables as plain rows and knows nothing of the code that wrote them. Its words: *duplicate*, more
than one charged job for one decision and clip without a recorded reason to buy again; *lost*, charged and succeeded but
neither stored nor shown; *unaccounted*, a difference between the books and the ledger; *unended*, a clip that did not
come to its end in time; *over the cap*; *held*, held although it could have been settled; *wrong*, a clip that shows
another clip's job; *stranger*, a job of somebody else's that the ledger took for ours; *broken*, an error nobody foresaw.
"""

import itertools
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from proof.simulation.books import Books, Job

Row = dict[str, Any]

KINDS_OF_VIOLATION = (
    "duplicate",
    "lost",
    "unaccounted",
    "over the cap",
    "wrong",
    "stranger",
    "held",
    "unended",
    "broken",
)
WINDOW_SECONDS = 35.0
"""For how long after its POST broke off a job may be created, as the contract says, clocks included."""
UNMEASURED_SECONDS = 125.0
"""How much wider the window is where the provider's clock was not compared with ours before the POST."""

CLOSED_WITHOUT_JOB = {"withdrawn", "rejected", "absent"}
ENDED_WITHOUT_OUTPUT = {"failed", "vanished", "lost"}
UNSETTLED = {"unknown", "held"}
ON_THE_WAY = {"queued", "submitting", "submitted", "overdue", "succeeded"}


@dataclass(frozen=True)
class Violation:
    """Something that must never happen.

    Attributes:
        kind: One word.
        text: What it is, for a person.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True)
class Evidence:
    """Everything there is at the end of a history.

    Attributes:
        books: The provider's.
        objects: The bucket, by key.
        attempts: The ledger's rows, and so on.
        regenerates: The decisions that were made, and whether each wanted another take.
        max_attempts: How often one decision may buy when jobs fail in passing.
        dedicated: Whether nobody else used the account.
        billed: Whether the bill was read to its end.
        unread: Whether single rows of it could not be read at times.
        cap: Micro-dollars that may be spent, None for no cap.
        max_seconds: How long the endpoint's jobs take at most, as its catalogue says.
        fallback: Whether the series has a fallback.
        dated: Whether another clock dates jobs than answers, which a client can tell only by its own jobs.
        came_back: Whether our own clock was ahead for a while, so that its times do not tell which came first.
        now: True time in seconds.
    """

    books: Books
    objects: Mapping[str, bytes]
    attempts: list[Row]
    submissions: list[Row]
    jobs: list[Row]
    journal: list[Row]
    regenerates: Mapping[str, bool]
    max_attempts: int
    dedicated: bool
    billed: bool
    unread: bool
    cap: int | None
    max_seconds: float
    fallback: bool
    dated: bool
    came_back: bool
    now: float


def outlasted(evidence: Evidence) -> int:
    """How many jobs ran on unseen after their purchase was given up: a window that is declared."""
    case = _Case(evidence)
    return sum(case.outlasted(job) for job in evidence.books.ours)


def judge(evidence: Evidence) -> list[Violation]:
    """Everything that is wrong."""
    case = _Case(evidence)
    return [
        *case.uncommitted(),
        *case.duplicates(),
        *case.strangers(),
        *case.lost(),
        *case.unaccounted(),
        *case.unended(),
        *case.held(),
        *case.over_the_cap(),
    ]


class _Case:
    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.books = evidence.books
        self.attempts = {row["id"]: row for row in evidence.attempts}
        self.posts = {row["id"]: row for row in evidence.submissions}
        self.booked = {row["job_id"]: row for row in evidence.jobs}
        self.begun_at: dict[str, float] = {}
        self.closed_at = self._closings()
        self.spares = {row["job_id"]: row for row in evidence.attempts if row["subject_kind"] == "spare"}
        self.bought: dict[str, list[Job]] = defaultdict(list)
        for job in self.books.ours:
            if job.tag in self.posts:
                self.bought[str((self.attempt_of(job) or {})["id"])].append(job)

    def _closings(self) -> dict[str, float]:
        """Where in the journal each attempt was over, so that its clip could be bought again."""
        open_states = ON_THE_WAY | UNSETTLED
        closed: dict[str, float] = {}
        for entry in self.evidence.journal:
            self.begun_at.setdefault(entry["attempt_id"], entry["seq"])
            if entry["to_state"] not in open_states:
                closed.setdefault(entry["attempt_id"], entry["seq"])
        return closed

    def outlasted(self, job: Job) -> bool:
        """Whether it ran longer than its endpoint ever does, its answer was lost, and the list does not show what runs.

        Nothing told of it when its purchase was given up; a sweep books it when it has ended.
        """
        post = self.posts.get(job.tag or "")
        if post is None or self.books.rules.lists_running:
            return False
        given_up = self.attempts[post["attempt_id"]]["state"] == "absent"
        return given_up and job.fate.seconds + job.fate.lag > self.evidence.max_seconds

    def attempt_of(self, job: Job) -> Row | None:
        """The purchase whose POST made a job, or that was made of it when it turned up late."""
        if job.id in self.spares:
            return self.spares[job.id]
        post = self.posts.get(job.tag or "")
        return None if post is None else self.attempts[post["attempt_id"]]

    def uncommitted(self) -> Iterator[Violation]:
        """Nothing is POSTed before its submission is committed."""
        for job in self.books.ours:
            if job.tag not in self.posts:
                yield Violation("unaccounted", f"{job.id} was made by a POST that the ledger does not know")

    def duplicates(self) -> Iterator[Violation]:
        """One charged job per decision and clip, except where one failed in passing; and none beside an open purchase."""
        purchases: dict[tuple[str, str, str], list[Job]] = defaultdict(list)
        for attempt_id, jobs in self.bought.items():
            attempt = self.attempts[attempt_id]
            if len(jobs) > 1:
                yield Violation(
                    "duplicate", f"{_names(jobs)} are jobs of one purchase of {attempt['subject_key']}"
                )
            for job in jobs:
                if not self.outlasted(job):
                    purchases[attempt["decision"], _clip(attempt), job.model].append(job)
        for (decision, clip, _model), jobs in purchases.items():
            jobs.sort(key=lambda job: job.at)
            unjustified = [
                job
                for job in jobs[:-1]
                if not (job.fate.end == "failed" or job.seen_over) or job.ends_at > jobs[-1].at
            ]
            if unjustified or len(jobs) > self.evidence.max_attempts:
                yield Violation("duplicate", f"{_names(jobs)} were all bought by {decision} for {clip}")
        yield from self._fallbacks(purchases)
        yield from self._beside_others()

    def _fallbacks(self, purchases: Mapping[tuple[str, str, str], list[Job]]) -> Iterator[Violation]:
        """Another model is bought of a clip only when the jobs of the one before have failed, and where there is a fallback."""
        by_clip: dict[tuple[str, str], list[list[Job]]] = defaultdict(list)
        for (decision, clip, _model), jobs in purchases.items():
            by_clip[decision, clip].append(jobs)
        for (decision, clip), models in by_clip.items():
            models.sort(key=lambda jobs: jobs[0].at)
            before, after = models[0], [job for jobs in models[1:] for job in jobs]
            over = self.evidence.fallback and all(
                (job.fate.end in {"failed", "moderated"} or job.seen_over) and job.ends_at <= next_.at
                for job, next_ in itertools.product(before, after)
            )
            if after and not over:
                yield Violation(
                    "duplicate", f"{_names(before + after)} were all bought by {decision} for {clip}"
                )

    def _first_purchase(self, job: Job) -> Row | None:
        """The purchase whose POST made a job, also where its end was taken back and it is a spare take by now."""
        post = self.posts.get(job.tag or "")
        return (
            self.attempts[post["attempt_id"]] if post is not None and job.seen_over else self.attempt_of(job)
        )

    def _beside_others(self) -> Iterator[Violation]:
        by_clip: dict[str, list[Job]] = defaultdict(list)
        for job in self.books.ours:
            if job.tag in self.posts and not self.outlasted(job):
                by_clip[str(job.clip)].append(job)
        for clip, jobs in by_clip.items():
            jobs.sort(key=lambda job: job.at)
            for earlier, later in itertools.pairwise(jobs):
                first, second = self._first_purchase(earlier), self._first_purchase(later)
                if first is None or second is None or first["decision"] == second["decision"]:
                    continue
                if self.closed_at.get(first["id"], math.inf) > self.begun_at[second["id"]]:
                    yield Violation(
                        "duplicate", f"{later.id} was bought for {clip} while {earlier.id} was not over"
                    )
                elif first["state"] == "delivered" and not self.evidence.regenerates[second["decision"]]:
                    yield Violation(
                        "duplicate", f"{later.id} was bought for {clip}, which {earlier.id} had delivered"
                    )

    def lost(self) -> Iterator[Violation]:
        """What was charged and succeeded is stored or shown; what is shown as a clip is that clip."""
        for job in self.books.ours:
            attempt = self.attempt_of(job)
            if attempt is None or self.books.word(job.id) != "completed":
                continue
            if attempt["job_id"] == job.id and attempt["state"] in {"delivered", "quarantined"}:
                yield from self._stored(job, attempt)
            elif attempt["state"] in UNSETTLED and attempt["job_id"] is None:
                continue
            elif job.id not in self.booked or (
                attempt["job_id"] == job.id and attempt["state"] not in ON_THE_WAY
            ):
                yield Violation(
                    "lost", f"{job.id} of {job.clip} succeeded; its purchase is {attempt['state']}"
                )
        for attempt in self.evidence.attempts:
            of = self.books.jobs.get(attempt["job_id"] or "")
            if attempt["job_id"] and (of is None or of.clip != _clip(attempt)):
                yield Violation(
                    "wrong", f"{attempt['subject_key']} has the job {attempt['job_id']}, which is not its own"
                )

    def strangers(self) -> Iterator[Violation]:
        """No job of somebody else's ever belongs to a purchase, whoever may use the key and whatever the job cost."""
        for booked in self.evidence.jobs:
            job = self.books.jobs.get(booked["job_id"])
            if booked["attempt_id"] is not None and job is not None and not job.ours:
                subject = self.attempts[booked["attempt_id"]]["subject_key"]
                yield Violation("stranger", f"{job.id} is somebody else's and was taken for {subject}")

    def _stored(self, job: Job, attempt: Row) -> Iterator[Violation]:
        good = job.fate.file == "good"
        if good != (attempt["state"] == "delivered"):
            yield Violation("wrong", f"{job.id} has a {job.fate.file} file and is {attempt['state']}")
        key = f"{'videos' if good else 'quarantine'}/{job.clip}/{attempt['id']}"
        video, manifest = self.evidence.objects.get(f"{key}.mp4"), self.evidence.objects.get(f"{key}.json")
        if video is None or not video.startswith(f"{job.id} ".encode()):
            yield Violation("lost", f"{job.id} of {job.clip} is {attempt['state']} and not in the bucket")
        elif manifest is None or json.loads(manifest)["job"] != job.id:
            yield Violation("lost", f"{job.id} of {job.clip} is {attempt['state']} without its manifest")

    def unaccounted(self) -> Iterator[Violation]:
        """The books and the ledger agree, job by job."""
        for attempt in self.evidence.attempts:
            jobs = self.bought.get(attempt["id"], [])
            money, charged = attempt["money_state"], attempt["charged_micros"]
            allowed = self._allowed(jobs[0] if jobs else None, attempt)
            if self.evidence.billed:
                allowed = {(state, amount) for state, amount in allowed if state != "refund_expected"}
            if (money, charged) not in allowed:
                what = f"job {jobs[0].id}, {jobs[0].fate.end}" if jobs else "no job"
                yield Violation(
                    "unaccounted",
                    f"{attempt['subject_key']} is {attempt['state']}, {money}, charged {charged}; there is {what}",
                )
        for job in self.books.ours:
            bought = self.attempt_of(job)
            if bought is None or bought["state"] in UNSETTLED:
                continue
            if job.id not in self.booked:
                yield Violation("unaccounted", f"{job.id} is not booked, its purchase is {bought['state']}")

    def _allowed(self, job: Job | None, attempt: Row) -> set[tuple[str, int | None]]:
        """What the ledger may say of the money of a purchase."""
        if attempt["state"] in UNSETTLED:
            return {("indeterminate", None)}
        if job is None:
            over = CLOSED_WITHOUT_JOB | (set() if attempt["job_id"] else ENDED_WITHOUT_OUTPUT)
            return {("released", None)} if attempt["state"] in over else {("reserved", None)}
        word = self.books.word(job.id)
        if word == "completed":
            return {("confirmed", job.price)}
        if word == "gone":
            unbilled = set() if self.evidence.billed else {("indeterminate", None)}
            return unbilled | {("confirmed", job.price)}
        if word == "failed" and self.books.rules.charges_first:
            return {("refund_expected", None), ("refund_expected", job.price), ("refunded", job.price)}
        return {("released", None)} if word == "failed" else {("reserved", None)}

    def unended(self) -> Iterator[Violation]:
        """Every clip has come to its end, and Dagster was told."""
        for attempt in self.evidence.attempts:
            if attempt["state"] in ON_THE_WAY or attempt["state"] == "unknown":
                yield Violation(
                    "unended", f"{attempt['subject_key']} is still {attempt['state']}: {attempt['reason']}"
                )
            elif (
                attempt["reported_run_id"] is None
                and attempt["state"] != "held"
                and attempt["subject_kind"] != "spare"
            ):
                yield Violation(
                    "unended", f"{attempt['subject_key']} is {attempt['state']} and nobody was told"
                )

    def held(self) -> Iterator[Violation]:
        """What is held could not be settled: nothing that the provider shows tells whose job it is."""
        for attempt in self.evidence.attempts:
            jobs = self.bought.get(attempt["id"], [])
            if attempt["state"] == "held" and jobs and not self._ambiguous(jobs[0]):
                yield Violation(
                    "held", f"{attempt['subject_key']} is held, and {jobs[0].id} is surely its job"
                )

    def _ambiguous(self, job: Job) -> bool:
        """Whether a job whose answer was lost may be another POST's or a stranger's, as far as the provider shows."""
        # a row that cannot be read may be about another job
        if (
            job.fate.end == "vanished"
            or self.evidence.came_back
            or self.evidence.unread
            or (self.evidence.dated and not self.books.rules.echoes_tags)
        ):
            return True
        if self.books.rules.echoes_tags:
            return False
        unheard = {entry["attempt_id"] for entry in self.evidence.journal if entry["to_state"] == "unknown"}
        lost = [p for p in self.evidence.submissions if p["attempt_id"] in unheard and p["id"] != job.tag]
        return not self.evidence.dedicated or any(_within(post, job.at) for post in lost)

    def over_the_cap(self) -> Iterator[Violation]:
        """What is owed never exceeds the cap, but for the jobs of the declared windows."""
        if self.evidence.cap is None:
            return
        most = self.books.most_owed()
        beyond = sum(job.price for job in self.books.ours if self.outlasted(job) or job.seen_over)
        if most > self.evidence.cap + beyond:
            yield Violation("over the cap", f"{most} micro-dollars were owed, the cap is {self.evidence.cap}")


def _within(post: Row, at: float) -> bool:
    """Whether a POST may have created a job at a time."""
    slack = UNMEASURED_SECONDS if post["clock_low"] is None else 3.0
    broke_off = min(post["ended_at"] or post["lease_until"], post["lease_until"])
    return bool(post["started_at"] - slack <= at <= broke_off + WINDOW_SECONDS + slack)


def _clip(attempt: Row) -> str:
    """The clip of a purchase, also of a spare take."""
    return str(attempt["subject_key"]).partition("~")[0]


def _names(jobs: list[Job]) -> str:
    return ", ".join(job.id for job in jobs)
