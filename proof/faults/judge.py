"""The judge: compares the providers' books and the bucket with the ledger, job by job. It imports nothing of dailies.

Its words. *Duplicate*: more than one charged job for a clip of one decision without a recorded reason (the one before it
failed). *Lost*: charged and succeeded, but neither stored nor shown. *Unaccounted*: a difference between the books and the
ledger, in jobs and USD. *Wrong*: a clip that shows another's job. *Unended*: a clip that did not come to its end in time.
*Needlessly held*: held although what a client can know settles it; see `ambiguity.py`.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from proof.faults.ambiguity import why_ambiguous
from proof.faults.evidence import Evidence, Row
from proof.stand_in.books import Job

ON_THE_WAY = {"queued", "submitting", "unknown", "submitted", "overdue", "succeeded"}
SHOWN = {"held", "unknown", "quarantined", "lost", "overdue", "submitted", "succeeded"}
OWED = {"reserved", "confirmed", "indeterminate", "refund_expected"}


@dataclass
class Verdict:
    """What was found; each list has a sentence per case.

    Attributes:
        unaccounted_micros: The sum of all differences.
        held: Attempts that are held, with what makes them ambiguous.
        settled_in_doubt: Attempts that were settled, and rightly, although another answer was possible.
        ends: How many clips ended in which state.
        jobs: How many jobs of ours there are.
        spent_micros: What they cost.
        refunds_awaited_micros: Paid back by the provider and not yet noted in the ledger.
    """

    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unaccounted: list[str] = field(default_factory=list)
    unaccounted_micros: int = 0
    wrong: list[str] = field(default_factory=list)
    unended: list[str] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    held_needlessly: list[str] = field(default_factory=list)
    settled_in_doubt: list[str] = field(default_factory=list)
    ever_unknown: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    jobs: int = 0
    spent_micros: int = 0
    refunds_awaited_micros: int = 0

    @property
    def problems(self) -> list[str]:
        """Everything that must never happen."""
        kinds = ("duplicates", "lost", "unaccounted", "wrong", "unended", "held_needlessly")
        return [f"{kind}: {case}" for kind in kinds for case in getattr(self, kind)]


def judge(evidence: Evidence, sha256_of: Callable[[Job], str]) -> Verdict:
    """Everything there is to say.

    Args:
        evidence: What there is.
        sha256_of: The digest of a job's file.
    """
    case = _Case(evidence, sha256_of)
    verdict = Verdict(ever_unknown=len(evidence.ever_unknown), jobs=len(case.ours))
    verdict.spent_micros = sum(job.charged(evidence.now) for job in case.ours)
    verdict.duplicates = list(case.duplicates())
    verdict.lost = list(case.lost())
    verdict.wrong = list(case.wrong())
    verdict.unended = list(case.unended())
    verdict.ends = dict(Counter(row["state"] for row in case.latest.values()))
    for text, micros in case.unaccounted():
        verdict.unaccounted.append(text)
        verdict.unaccounted_micros += micros
    verdict.refunds_awaited_micros = case.refunds_awaited
    for attempt_id in sorted(evidence.ever_unknown):
        row = evidence.attempts[attempt_id]
        why = why_ambiguous(evidence, row)
        if row["state"] == "held":
            verdict.held[row["subject_key"]] = why or "nothing"
            if not why:
                verdict.held_needlessly.append(f"{row['subject_key']} ({row['provider']}): {row['reason']}")
        elif why:
            verdict.settled_in_doubt.append(f"{row['subject_key']}: {row['state']}, {why}")
    return verdict


class _Case:
    def __init__(self, evidence: Evidence, sha256_of: Callable[[Job], str]) -> None:
        self.evidence = evidence
        self.sha256_of = sha256_of
        self.ours = [job for job in evidence.books.jobs.values() if job.clip is not None]
        self.by_job: dict[str, Row] = {
            row["job_id"]: row for row in evidence.attempts.values() if row["job_id"] is not None
        }
        self.latest: dict[str, Row] = {}
        for row in sorted(evidence.attempts.values(), key=lambda row: int(row["seq"])):
            self.latest[row["subject_key"]] = row
        self.of_clip: dict[str, list[Row]] = defaultdict(list)
        for row in evidence.attempts.values():
            self.of_clip[row["subject_key"]].append(row)
        self.refunds_awaited = 0

    def duplicates(self) -> Iterator[str]:
        """Nobody asked for another take, so a clip has one job that succeeds, and never two at the same time."""
        by_clip: dict[str, list[Job]] = defaultdict(list)
        for job in self.ours:
            by_clip[str(job.clip)].append(job)
        for clip, jobs in by_clip.items():
            jobs.sort(key=lambda job: job.at)
            for earlier, later in pairwise(jobs):
                if earlier.succeeds or earlier.ends_at > later.at:
                    yield f"{clip}: {later.id} was bought after {earlier.id} ({earlier.fate})"

    def lost(self) -> Iterator[str]:
        """What was charged and succeeded is stored or shown."""
        for job in self.ours:
            if not job.succeeds or job.ends_at > self.evidence.now or self._is_stored(job):
                continue
            rows = self.of_clip[str(job.clip)]
            spare = self.evidence.owners.get((job.provider, job.id), "nobody") != "nobody"
            if not spare and not any(row["state"] in SHOWN for row in rows):
                yield f"{job.clip}: {job.id} is nowhere; its clip ended {[row['state'] for row in rows]}"

    def _is_stored(self, job: Job) -> bool:
        row = self.by_job.get(job.id)
        if row is None or row["state"] != "delivered":
            return False
        file = self.evidence.bucket / row["delivery"]["key"]
        return file.is_file() and hashlib.sha256(file.read_bytes()).hexdigest() == self.sha256_of(job)

    def wrong(self) -> Iterator[str]:
        """What a clip shows is what was bought for it."""
        for row in self.evidence.attempts.values():
            job = self.evidence.books.jobs.get(row["job_id"] or "")
            if row["job_id"] is None:
                continue
            if job is None:
                yield f"{row['subject_key']}: the provider knows no job {row['job_id']}"
            elif job.clip != row["subject_key"].partition("~")[0]:
                yield f"{row['subject_key']}: {job.id} is {job.clip or 'a stranger'}'s"
            elif row["state"] == "delivered" and not self._is_stored(job):
                yield f"{row['subject_key']}: the file of {job.id} is not in the bucket as it was sent"

    def unended(self) -> Iterator[str]:
        """Every clip has come to its end."""
        for clip in sorted(self.evidence.clips):
            row = self.latest.get(clip)
            if row is None:
                yield f"{clip}: never asked for"
            elif row["state"] in ON_THE_WAY:
                yield f"{clip}: {row['state']} ({row['reason']})"

    def unaccounted(self) -> Iterator[tuple[str, int]]:
        """Differences job by job."""
        doubtful = {
            row["subject_key"]: row["quoted_micros"]
            for row in self.evidence.attempts.values()
            if row["job_id"] is None and row["money_state"] == "indeterminate"
        }
        for job in self.ours:
            row = self.by_job.get(job.id)
            if row is None:
                if doubtful.get(str(job.clip)) != job.price and job.charged(self.evidence.now):
                    yield f"{job.clip}: {job.id} was charged and is in no account", job.price
                continue
            owed = row["charged_micros"] if row["charged_micros"] is not None else row["quoted_micros"]
            counted = owed if row["money_state"] in OWED else 0
            charged = job.charged(self.evidence.now)
            if row["money_state"] == "refund_expected" and charged == 0 and counted == job.price:
                self.refunds_awaited += job.price
            elif counted != charged:
                yield (
                    f"{job.clip}: {job.id} cost {charged}, the ledger says {counted} {row['money_state']}",
                    abs(counted - charged),
                )
        for job_id, row in self.by_job.items():
            if job_id not in self.evidence.books.jobs and row["money_state"] in OWED:
                yield (
                    f"{row['subject_key']}: the ledger pays for {job_id}, which nobody made",
                    row["quoted_micros"],
                )
