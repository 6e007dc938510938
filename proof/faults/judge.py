"""The judge of a storm: it applies the laws, and counts the report's figures. It imports nothing of dailies."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from proof import laws
from proof.faults.ambiguity import why_ambiguous
from proof.faults.evidence import Findings, flaw_of
from proof.jobs import JobRecord
from proof.laws import FinalFacts, Row, Violation


@dataclass
class StormJudgement:
    """The judge's findings."""

    violations: list[Violation] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    """Held takes, with the reason of their ambiguity."""
    settled_in_doubt: list[str] = field(default_factory=list)
    """Attempts that were settled correctly although another result was possible."""
    outlasted: list[str] = field(default_factory=list)
    """Jobs that ran on unseen after their purchase was given up: a declared window."""
    ever_unknown: int = 0
    ends: dict[str, int] = field(default_factory=dict)
    """The number of takes by final state."""
    providers: set[str] = field(default_factory=set)
    """The providers that made jobs for our POSTs."""
    words: dict[str, int] = field(default_factory=dict)
    """Counts of verdicts on drafts and of the finishes bought for them; empty in a storm without drafts."""
    jobs: int = 0
    """The number of our jobs."""
    spent_micros: int = 0
    """Their cost."""
    refunds_awaited_micros: int = 0
    """Refunds of the provider that are not in the ledger yet."""

    def count(self, kind: str) -> int:
        """The number of violations of a kind."""
        return sum(violation.kind == kind for violation in self.violations)

    @property
    def unaccounted_micros(self) -> int:
        """The sum of all differences."""
        return sum(v.micros for v in self.violations if v.kind == "unaccounted")

    @property
    def problems(self) -> list[str]:
        """All violations."""
        return [str(violation) for violation in self.violations]


def judge(findings: Findings, sha256_of: Callable[[JobRecord], str], *, takes: int = 1) -> StormJudgement:
    """Judge the evidence.

    Args:
        findings: The evidence.
        sha256_of: The digest of a job's file as its provider serves it.
        takes: Takes of each clip that a decision buys.
    """
    jobs, attempts, now = findings.books.jobs, list(findings.attempts.values()), findings.now
    evidence = FinalFacts(
        jobs=jobs,
        attempts=attempts,
        submissions=list(findings.submissions.values()),
        booked=findings.booked,
        journal=findings.journal,
        flaw=flaw_of(findings.bucket, sha256_of),
        why_ambiguous=lambda attempt: why_ambiguous(findings, attempt),
        clips=frozenset(findings.clips),
        takes=takes,
        max_seconds=findings.max_seconds,
        now=now,
    )
    ours = [job for job in jobs.values() if job.ours]
    latest: dict[laws.Slot, Row] = {}
    for row in sorted(attempts, key=lambda row: int(row["seq"])):
        latest[laws.slot_of(row)] = row
    case = laws.Case(evidence)
    verdict = StormJudgement(
        laws.judge(evidence),
        outlasted=[job.id for job in case.ours if case.outlasted(job)],
        ever_unknown=len(findings.ever_unknown),
        ends=dict(Counter(row["state"] for row in latest.values())),
        providers={job.provider for job in ours},
        jobs=len(ours),
        spent_micros=sum(job.charged(now) for job in ours),
    )
    for row in attempts:
        job = jobs.get(row["job_id"] or "")
        if row["money_state"] == "refund_expected" and job is not None and not job.charged(now):
            verdict.refunds_awaited_micros += job.price
    for attempt_id in sorted(findings.ever_unknown):
        row = findings.attempts[attempt_id]
        why = why_ambiguous(findings, row)
        if row["state"] == "held":
            clip, slot = laws.slot_of(row)
            verdict.held[clip if slot == 1 else f"{clip} (slot {slot})"] = why or "nothing"
        elif why:
            verdict.settled_in_doubt.append(f"{row['subject_key']}: {row['state']}, {why}")
    return verdict
