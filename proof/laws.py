"""The laws: invariants between a provider's books, the ledger and the bucket that hold after every fault.

Every judge of the proofs applies them. They read the ledger's tables as plain rows and import nothing of dailies, so that
they cannot repeat its mistakes. The kinds of violation:

*duplicate*: more than one charged job for one decision and take slot without a recorded reason to buy again, a slot that was not
asked for, or a draft that was finished twice.
*lost*: charged and succeeded, but neither stored nor shown.
*unaccounted*: a difference between the books and the ledger.
*over the cap*: more was owed than a cap allows.
**wrong*: a clip that shows another clip's job, or a file that differs from the provider's.
**stranger*: a stranger's job that the ledger counted as ours.
*held*: held although it could have been settled.
**unended*: a clip that did not end in time.
*verdict*: a person's verdict or order of a finish that is lost, or two circled takes of a clip (`proof.verdicts`).
**broken*: an unforeseen error.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from proof.jobs import JobRecord

Row = dict[str, Any]
Slot = tuple[str, int]
"""A clip and the number of its take: at most one open purchase."""
Money = tuple[str, int | None]
"""State of an attempt's money, and what it was charged in micro-USD."""

KINDS_OF_VIOLATION = (
    "duplicate",
    "lost",
    "unaccounted",
    "over the cap",
    "wrong",
    "stranger",
    "held",
    "unended",
    "verdict",
    "broken",
)
CLOSED_WITHOUT_JOB = {"withdrawn", "rejected", "absent"}
ENDED_WITHOUT_OUTPUT = {"failed", "vanished", "lost"}
UNSETTLED = {"unknown", "held"}
ON_THE_WAY = {"queued", "submitting", "submitted", "overdue", "succeeded"}


@dataclass(frozen=True)
class Violation:
    """One broken law."""

    kind: str
    """One of `KINDS_OF_VIOLATION`."""
    text: str
    """A description for a person."""
    micros: int = 0
    """The amount in question, in micro-USD."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True, kw_only=True)
class FinalFacts:
    """All facts at the end."""

    jobs: Mapping[str, JobRecord]
    """The providers' books, strangers' jobs too, by id."""
    attempts: list[Row]
    submissions: list[Row]
    booked: list[Row]
    """The ledger's `jobs`."""
    journal: list[Row]
    flaw: Callable[[JobRecord, Row], Violation | None]
    """The faults of the files of a delivered or quarantined job."""
    why_ambiguous: Callable[[Row], str | None]
    """Why a held attempt cannot be settled; None if it can."""
    now: float
    """True time in seconds."""
    clips: frozenset[str] = frozenset()
    """Clips that must have been ordered."""
    regenerates: Mapping[str, bool] = field(default_factory=dict)
    """By decision, whether it ordered another take."""
    takes: int = 1
    """Takes of each clip that one decision buys."""
    max_attempts: int = 2
    """Most purchases of a clip by one decision after temporary failures."""
    fallback: bool = False
    """Whether another model may be bought when the first one has failed."""
    billed: bool = False
    """Whether the bill was read completely."""
    reported: bool = False
    """Whether Dagster must have received every end."""
    cap: int | None = None
    """Micro-USD that may be owed at any time, None for no cap."""
    max_seconds: float = math.inf
    """The longest time of the endpoints' jobs by the catalogue, in seconds."""


def judge(evidence: FinalFacts) -> list[Violation]:
    """Every broken law."""
    case = Case(evidence)
    return [
        *case.uncommitted(),
        *case.duplicates(),
        *case.finished_twice(),
        *case.strangers(),
        *case.lost(),
        *case.wrong(),
        *case.unaccounted(),
        *case.unended(),
        *case.held(),
        *case.over_the_cap(),
    ]


class Case:
    """The evidence, sorted so that the laws can be applied to it."""

    def __init__(self, evidence: FinalFacts) -> None:
        self.evidence = evidence
        self.ours = [job for job in evidence.jobs.values() if job.ours]
        self.attempts = {row["id"]: row for row in evidence.attempts}
        self.posts = {row["id"]: row for row in evidence.submissions}
        self.booked = {row["job_id"] for row in evidence.booked}
        self.spares = {row["job_id"]: row for row in evidence.attempts if row["subject_kind"] == "spare"}
        self.begun_at: dict[str, int] = {}
        self.closed_at: dict[str, int] = {}
        for entry in evidence.journal:
            self.begun_at.setdefault(entry["attempt_id"], entry["seq"])
            if entry["to_state"] not in ON_THE_WAY | UNSETTLED:
                self.closed_at.setdefault(entry["attempt_id"], entry["seq"])
        self.bought: dict[str, list[JobRecord]] = defaultdict(list)
        for job in self.ours:
            if job.tag in self.posts:
                self.bought[str((self.attempt_of(job) or {})["id"])].append(job)

    def attempt_of(self, job: JobRecord) -> Row | None:
        """The purchase whose POST made a job, or the spare take that was made of it when it turned up late."""
        if job.id in self.spares:
            return self.spares[job.id]
        post = self.posts.get(job.tag or "")
        return None if post is None else self.attempts[post["attempt_id"]]

    def outlasted(self, job: JobRecord) -> bool:
        """Whether a job ran on unseen after its purchase was given up: a declared window.

        It ran longer than the catalogue allows, its answer was lost, and the list does not show running jobs. A sweep books
        it when it has ended.
        """
        post = self.posts.get(job.tag or "")
        if post is None or job.lists_running:
            return False
        given_up = self.attempts[post["attempt_id"]]["state"] == "absent"
        return given_up and (job.ends_at - job.at) + (job.listed_at - job.at) > self.evidence.max_seconds

    def uncommitted(self) -> Iterator[Violation]:
        """Nothing is POSTed before its submission is committed."""
        for job in self.ours:
            if job.tag not in self.posts:
                yield Violation(
                    "unaccounted", f"{job.id} was made by a POST that is not in the ledger", job.price
                )

    def duplicates(self) -> Iterator[Violation]:
        """One charged job for a decision and take slot, unless one failed temporarily; and none beside an open purchase."""
        purchases: dict[tuple[str, Slot, str], list[JobRecord]] = defaultdict(list)
        for attempt_id, jobs in self.bought.items():
            attempt = self.attempts[attempt_id]
            if len(jobs) > 1:
                yield Violation(
                    "duplicate", f"{_names(jobs)} are jobs of one purchase of {attempt['subject_key']}"
                )
            if attempt["slot"] > self.evidence.takes:
                yield Violation(
                    "duplicate", f"{_names(jobs)} fill a slot of {clip_of(attempt)} that was not ordered"
                )
            for job in jobs:
                if not self.outlasted(job):
                    purchases[attempt["decision"], slot_of(attempt), job.model].append(job)
        for (decision, (clip, _), _model), jobs in purchases.items():
            jobs.sort(key=lambda job: job.at)
            unjustified = [job for job in jobs[:-1] if not job.failed_in_passing or job.ends_at > jobs[-1].at]
            if unjustified or len(jobs) > self.evidence.max_attempts:
                yield Violation("duplicate", f"{_names(jobs)} were all bought by {decision} for {clip}")
        yield from self._fallbacks(purchases)
        yield from self._beside_others()

    def finished_twice(self) -> Iterator[Violation]:
        """A draft is finished once: another finish is bought only after one that ended without a video."""
        by_draft: dict[str, list[JobRecord]] = defaultdict(list)
        for job in self.ours:
            first = self._first_purchase(job)
            if first is not None and first.get("finishes") and not self.outlasted(job):
                by_draft[first["finishes"]].append(job)
        for draft, jobs in by_draft.items():
            jobs.sort(key=lambda job: job.at)
            for earlier in jobs[:-1]:
                bought = self._first_purchase(earlier) or {}
                if (
                    earlier.end == "succeeded"
                    and not earlier.seen_over
                    and bought.get("state") not in ENDED_WITHOUT_OUTPUT
                ):
                    yield Violation("duplicate", f"{_names(jobs)} are all finishes of the draft {draft}")
                    break

    def _fallbacks(self, purchases: Mapping[tuple[str, Slot, str], list[JobRecord]]) -> Iterator[Violation]:
        """Another model is bought only if there is a fallback and the jobs of the model before have failed."""
        by_slot: dict[tuple[str, Slot], list[list[JobRecord]]] = defaultdict(list)
        for (decision, slot, _model), jobs in purchases.items():
            by_slot[decision, slot].append(jobs)
        for (decision, (clip, _)), models in by_slot.items():
            models.sort(key=lambda jobs: jobs[0].at)
            before, after = models[0], [job for jobs in models[1:] for job in jobs]
            over = self.evidence.fallback and all(
                (job.failed_in_passing or job.end == "moderated") and job.ends_at <= next_.at
                for job, next_ in itertools.product(before, after)
            )
            if after and not over:
                yield Violation(
                    "duplicate", f"{_names(before + after)} were all bought by {decision} for {clip}"
                )

    def _first_purchase(self, job: JobRecord) -> Row | None:
        """The purchase whose POST made a job, even if the job is now a spare take."""
        post = self.posts.get(job.tag or "")
        return (
            self.attempts[post["attempt_id"]] if post is not None and job.seen_over else self.attempt_of(job)
        )

    def _beside_others(self) -> Iterator[Violation]:
        """No decision buys a take while another decision's purchase in its slot is open, or after it was delivered."""
        by_slot: dict[Slot, list[JobRecord]] = defaultdict(list)
        for job in self.ours:
            if job.tag in self.posts and not self.outlasted(job):
                post = self.attempts[self.posts[job.tag or ""]["attempt_id"]]
                by_slot[str(job.clip), post["slot"]].append(job)
        for (clip, _), jobs in by_slot.items():
            jobs.sort(key=lambda job: job.at)
            for earlier, later in itertools.pairwise(jobs):
                first, second = self._first_purchase(earlier), self._first_purchase(later)
                if first is None or second is None or first["decision"] == second["decision"]:
                    continue
                if self.closed_at.get(first["id"], math.inf) > self.begun_at[second["id"]]:
                    yield Violation(
                        "duplicate", f"{later.id} was bought for {clip} while {earlier.id} was open"
                    )
                elif (
                    first["state"] == "delivered"
                    and not second.get("finishes")
                    and not self.evidence.regenerates.get(second["decision"])
                ):
                    yield Violation(
                        "duplicate", f"{later.id} was bought for {clip}, which {earlier.id} had delivered"
                    )

    def lost(self) -> Iterator[Violation]:
        """Every job that was charged and succeeded is stored or shown."""
        for job in self.ours:
            attempt = self.attempt_of(job)
            if attempt is None or job.ended(self.evidence.now) != "succeeded":
                continue
            own = attempt["job_id"] == job.id
            if own and attempt["state"] in {"delivered", "quarantined"}:
                if job.good != (attempt["state"] == "delivered"):
                    kind = "good" if job.good else "bad"
                    yield Violation("wrong", f"{job.id} has a {kind} file and is {attempt['state']}")
                elif (flaw := self.evidence.flaw(job, attempt)) is not None:
                    yield flaw
            elif attempt["state"] in UNSETTLED and attempt["job_id"] is None:
                continue
            elif job.id not in self.booked or (own and attempt["state"] not in ON_THE_WAY):
                yield Violation(
                    "lost", f"{job.id} of {job.clip} succeeded; its purchase is {attempt['state']}"
                )

    def wrong(self) -> Iterator[Violation]:
        """A clip shows only jobs that were bought for it."""
        for attempt in self.evidence.attempts:
            job = self.evidence.jobs.get(attempt["job_id"] or "")
            if attempt["job_id"] and (job is None or job.clip != clip_of(attempt)):
                yield Violation(
                    "wrong",
                    f"{attempt['subject_key']} has the job {attempt['job_id']}, which was bought for another clip",
                )

    def strangers(self) -> Iterator[Violation]:
        """A stranger's job never belongs to a purchase, on any key and at any price."""
        for row in self.evidence.booked:
            job = self.evidence.jobs.get(row["job_id"])
            if row["attempt_id"] is not None and job is not None and not job.ours:
                subject = self.attempts[row["attempt_id"]]["subject_key"]
                yield Violation("stranger", f"{job.id} is a stranger's and was counted as {subject}")

    def unaccounted(self) -> Iterator[Violation]:
        """The books and the ledger agree, job by job."""
        for attempt in self.evidence.attempts:
            jobs = self.bought.get(attempt["id"], [])
            job = jobs[0] if jobs else None
            money, charged = attempt["money_state"], attempt["charged_micros"]
            if (money, charged) not in self._allowed(job, attempt):
                what = f"job {job.id}, {job.end}" if job else "no job"
                apart = abs((charged or 0) - (job.charged(self.evidence.now) if job else 0))
                yield Violation(
                    "unaccounted",
                    f"{attempt['subject_key']} is {attempt['state']}, {money}, charged {charged}; there is {what}",
                    apart or attempt["quoted_micros"],
                )
        for job in self.ours:
            bought = self.attempt_of(job)
            if bought is not None and bought["state"] not in UNSETTLED and job.id not in self.booked:
                yield Violation(
                    "unaccounted", f"{job.id} is not booked, its purchase is {bought['state']}", job.price
                )

    def _allowed(self, job: JobRecord | None, attempt: Row) -> set[Money]:
        """The amounts that the ledger may hold for a purchase."""
        if attempt["state"] in UNSETTLED:
            return {("indeterminate", None)}
        if job is None:
            over = CLOSED_WITHOUT_JOB | (set() if attempt["job_id"] else ENDED_WITHOUT_OUTPUT)
            return {("released", None)} if attempt["state"] in over else {("reserved", None)}
        told, to_come = _money_of(job, self.evidence.now)
        return told if self.evidence.billed else told | to_come

    def unended(self) -> Iterator[Violation]:
        """Every clip has ended, and its end was reported to Dagster."""
        for clip in sorted(self.evidence.clips - {row["subject_key"] for row in self.evidence.attempts}):
            yield Violation("unended", f"{clip} was never ordered")
        for attempt in self.evidence.attempts:
            subject, state = attempt["subject_key"], attempt["state"]
            if state in ON_THE_WAY or state == "unknown":
                yield Violation("unended", f"{subject} is still {state}: {attempt['reason']}")
            elif (
                self.evidence.reported
                and attempt["reported_run_id"] is None
                and state != "held"
                and attempt["subject_kind"] != "spare"
            ):
                yield Violation("unended", f"{subject} is {state}, which was not reported to Dagster")

    def held(self) -> Iterator[Violation]:
        """A held purchase could not be settled: no fact that the provider shows assigns the job."""
        for attempt in self.evidence.attempts:
            if attempt["state"] == "held" and self.evidence.why_ambiguous(attempt) is None:
                yield Violation(
                    "held", f"{attempt['subject_key']} ({attempt['provider']}) is held: {attempt['reason']}"
                )

    def over_the_cap(self) -> Iterator[Violation]:
        """The owed amount never exceeds the cap, except for jobs of the declared windows."""
        if self.evidence.cap is None:
            return
        most = _most_owed(self.ours)
        beyond = sum(job.price for job in self.ours if self.outlasted(job) or job.seen_over)
        if most > self.evidence.cap + beyond:
            yield Violation("over the cap", f"{most} micro-USD were owed, the cap is {self.evidence.cap}")


def delivered_once(attempts: Iterable[Row], journal: Iterable[Row]) -> Iterator[Violation]:
    """Every purchase is delivered once."""
    times = Counter(entry["attempt_id"] for entry in journal if entry["to_state"] == "delivered")
    for attempt in attempts:
        if times[attempt["id"]] != 1:
            yield Violation(
                "lost" if not times[attempt["id"]] else "duplicate",
                f"{attempt['subject_key']} was delivered {times[attempt['id']]} times; it is {attempt['state']}",
            )


def _money_of(job: JobRecord, now: float) -> tuple[set[Money], set[Money]]:
    """The amounts that the ledger may hold for a job once the bill is read, and the further ones allowed until then."""
    paid: Money = ("confirmed", job.price)
    owed: set[Money] = {("refund_expected", None), ("refund_expected", job.price)}
    match job.ended(now):
        case None:
            return {("reserved", None)}, set()
        case "succeeded":
            return {paid}, set()
        case "vanished":
            return {paid}, {("indeterminate", None)}
        case "empty":
            return ({paid}, {("released", None)}) if job.refund_at is None else (owed, set())
    if job.refund_at is None:
        return {("released", None), *([paid] if job.may_be_charged else [])}, set()
    return {("refunded", job.price)}, owed


def slot_of(attempt: Row) -> Slot:
    """The clip of a purchase, and the number of its take."""
    return clip_of(attempt), attempt["slot"]


def clip_of(attempt: Row) -> str:
    """The clip of a purchase, also of a spare take."""
    return str(attempt["subject_key"]).partition("~")[0]


def _most_owed(jobs: Iterable[JobRecord]) -> int:
    """The highest amount owed at any time."""
    changes: list[tuple[float, int]] = []
    for job in jobs:
        changes.append((job.at, job.price))
        if not job.cost:
            changes.append((job.ends_at if job.refund_at is None else job.refund_at, -job.price))
    owed = itertools.accumulate(change for _, change in sorted(changes))
    return max(owed, default=0)


def _names(jobs: list[JobRecord]) -> str:
    return ", ".join(job.id for job in jobs)
