"""Scenes for a fleet, and the judgement at the end."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from proof.clock import FastClock
from proof.faults.evidence import gather
from proof.faults.judge import StormJudgement, judge
from proof.fleet.fleet import PROVIDER, DatabaseServer, Fleet, HostProcess, batches
from proof.fleet.worker import LOST
from proof.stand_in.mischief import Mischief
from proof.stand_in.providers import Providers

TWO_MINUTES = 120.0
"""Within this many seconds after a host's death, another host must have collected its finished clips."""
CABLE_OUT_SECONDS = 130.0
"""Longer than the lease of a POST (90 s) and the claim of a run."""
DATABASE_AWAY_SECONDS = 60.0
AHEAD_SECONDS = 300.0
PATIENCE_SECONDS = 900.0
ENDS = ("delivered", "failed", "rejected", "absent", "vanished", "quarantined", "lost")


@dataclass
class FleetOutcome:
    """The results of all scenes."""

    verdict: StormJudgement = field(default_factory=StormJudgement)
    seconds: dict[str, float] = field(default_factory=dict)
    """Durations, by their description."""
    exits: dict[str, int] = field(default_factory=dict)
    hosts: str = ""
    said: dict[str, str] = field(default_factory=dict)
    """Errors of hosts that were refused."""
    missed: list[str] = field(default_factory=list)
    """Broken promises other than the laws."""
    broken_on_purpose: dict[str, list[str]] = field(default_factory=dict)
    """Violations that the judge found for each law that was broken on purpose, after the verdict."""

    @property
    def problems(self) -> list[str]:
        """All violations and broken promises."""
        return [
            *self.verdict.problems,
            *(f"held: {clip}: {why}" for clip, why in self.verdict.held.items()),
            *self.missed,
            *(f"the judge did not see {what}" for what, seen in self.broken_on_purpose.items() if not seen),
        ]


def run_fleet(
    folder: Path,
    database: DatabaseServer,
    *,
    clips: int,
    scenes: Sequence[str],
    namespaces: bool,
    say: Callable[[str], None],
) -> FleetOutcome:
    """Play scenes with the shipped leases; each takes about three minutes.

    Args:
        clips: Number of clips of all scenes together; each scene has two runs.
        scenes: Names from `SCENES`.
    """
    mischief = replace(Mischief.none(7), posts={"slow": 1.0}, job_seconds=30.0)
    with (
        providers_of(folder, mischief) as providers,
        Fleet(folder, database, clips, providers, namespaces=namespaces) as fleet,
    ):
        outcome = FleetOutcome(hosts="network namespaces" if namespaces else "addresses of this machine")
        runs = batches(fleet, 2 * len(scenes))
        for number, scene in enumerate(scenes):
            began = time.monotonic()
            SCENES[scene](fleet, outcome, runs[2 * number], runs[2 * number + 1])
            say(f"{scene}: {time.monotonic() - began:.0f} s")
        outcome = judged(fleet, outcome)
        if namespaces and "cable" in scenes and not outcome.verdict.ever_unknown:
            outcome.missed.append("no POST was in flight when the cable was pulled")
        return outcome


def run_short(folder: Path, database: DatabaseServer) -> FleetOutcome:
    """Freeze one run and kill another, with short claims."""
    # even the shortest job must last until its run is frozen or killed
    mischief = replace(Mischief.none(7), job_seconds=20.0)
    seconds = {"LEASE_SECONDS": 6, "RENEW_SECONDS": 1, "DOUBT_SECONDS": 2, "delivery": 10}
    with (
        providers_of(folder, mischief) as providers,
        Fleet(folder, database, 4, providers, namespaces=False, seconds=seconds) as fleet,
    ):
        outcome = FleetOutcome(hosts="addresses of this machine")
        killed, frozen = batches(fleet, 2)
        first = fleet.produce("w2", killed)
        wait_for_jobs(fleet, killed)
        fleet.kill(first)
        second = fleet.produce("w1", frozen)
        wait_for_jobs(fleet, frozen)
        _freeze(fleet, outcome, second, frozen)
        return judged(fleet, outcome)


def cable_out_and_a_worker_killed(
    fleet: Fleet, outcome: FleetOutcome, cut: list[str], killed: list[str]
) -> None:
    """One host loses its cable with a POST in flight; on the other host a run is killed for good."""
    at_w1, at_w2 = fleet.produce("w1", cut), fleet.produce("w2", killed)
    fleet.wait_for("a POST in flight", lambda: fleet.has_post_in_flight(cut), seconds=PATIENCE_SECONDS)
    # without namespaces a file's address leads through the host that ordered it, so the cable stays in
    if fleet.namespaces:
        fleet.hosts["w1"].cut()
    pulled = time.monotonic()
    wait_for_jobs(fleet, killed)
    fleet.kill(at_w2)
    died = time.monotonic()
    fleet.wait_for("its death", lambda: fleet.is_lost(at_w2.task["run"]), seconds=PATIENCE_SECONDS)
    outcome.seconds["killed: known to be dead after"] = time.monotonic() - died
    wait_for_ends(fleet, killed)
    taken = outcome.seconds["killed: all its clips delivered after"] = time.monotonic() - died
    if taken > TWO_MINUTES:
        outcome.missed.append(f"the clips of a killed run were collected after {taken:.0f} s")
    if fleet.namespaces:
        fleet.wait_for("its death", lambda: fleet.is_lost(at_w1.task["run"]), seconds=PATIENCE_SECONDS)
        fleet.wait_for(
            "the cable", lambda: time.monotonic() - pulled > CABLE_OUT_SECONDS, seconds=PATIENCE_SECONDS
        )
        fleet.hosts["w1"].mend()
        fleet.wait_for("its end", lambda: at_w1.process.poll() is not None, seconds=PATIENCE_SECONDS)
        _expect_stopped(outcome, at_w1, "a run that was cut off")
    wait_for_ends(fleet, cut)
    outcome.seconds["cut off: all its clips delivered after"] = time.monotonic() - pulled


def frozen_and_a_clock_ahead(
    fleet: Fleet, outcome: FleetOutcome, frozen: list[str], ahead: list[str]
) -> None:
    """A run is frozen for longer than its claim, while another host's clock is five minutes ahead."""
    first = fleet.produce("w1", frozen)
    second = fleet.produce("w2", ahead, ahead=AHEAD_SECONDS)
    wait_for_jobs(fleet, frozen)
    _freeze(fleet, outcome, first, frozen)
    wait_for_ends(fleet, ahead)
    if fleet.is_lost(second.task["run"]):
        outcome.missed.append("a run whose host's clock is ahead was declared dead")


def database_away(fleet: Fleet, outcome: FleetOutcome, left: list[str], right: list[str]) -> None:
    """PostgreSQL is away for a minute while both hosts have POSTs in flight."""
    runs = [fleet.produce("w1", left), fleet.produce("w2", right)]
    fleet.wait_for(
        "a POST in flight", lambda: fleet.has_post_in_flight([*left, *right]), seconds=PATIENCE_SECONDS
    )
    fleet.database.go_away()
    went = time.monotonic()
    while time.monotonic() - went < DATABASE_AWAY_SECONDS:
        fleet.tend()
        time.sleep(0.2)
    fleet.database.come_back()
    came = time.monotonic()
    wait_for_ends(fleet, [*left, *right])
    outcome.seconds["database back: all clips delivered after"] = time.monotonic() - came
    if any(fleet.is_lost(run.task["run"]) for run in runs):
        outcome.missed.append("a run that waited for the database was declared dead")


SCENES = {
    "cable": cable_out_and_a_worker_killed,
    "frozen": frozen_and_a_clock_ahead,
    "database": database_away,
}


def _freeze(fleet: Fleet, outcome: FleetOutcome, one: HostProcess, clips: list[str]) -> None:
    """Freeze a run until another host has delivered its clips; after it wakes, it finds its claim taken and stops."""
    fleet.freeze(one)
    began = time.monotonic()
    try:
        fleet.wait_for("its death", lambda: fleet.is_lost(one.task["run"]), seconds=PATIENCE_SECONDS)
        outcome.seconds["frozen: known to be dead after"] = time.monotonic() - began
        wait_for_ends(fleet, clips)
        outcome.seconds["frozen: all its clips delivered after"] = time.monotonic() - began
    finally:
        fleet.wake(one)
    fleet.wait_for("its end", lambda: one.process.poll() is not None, seconds=PATIENCE_SECONDS)
    _expect_stopped(outcome, one, "a run that was frozen")


def _expect_stopped(outcome: FleetOutcome, one: HostProcess, what: str) -> None:
    """A run that returns must find its claim taken, or, if it returned between two checks of its claim, all its clips delivered."""
    if one.process.returncode not in {LOST, 0}:
        outcome.missed.append(f"{what} ended with {one.process.returncode}, see {one.log}")


def wait_for_jobs(fleet: Fleet, clips: list[str]) -> None:
    """Wait until the provider has a job for every clip."""
    fleet.wait_for("jobs", lambda: are_bought(fleet, clips), seconds=PATIENCE_SECONDS)


def are_bought(fleet: Fleet, clips: list[str]) -> bool:
    """Whether the provider has, or had, a job for every clip."""
    return fleet.are_all(clips, "submitted", "succeeded", *ENDS)


def wait_for_ends(fleet: Fleet, clips: list[str]) -> None:
    """Wait until every clip has ended."""
    fleet.wait_for("the clips' ends", lambda: fleet.are_all(clips, *ENDS), seconds=PATIENCE_SECONDS)


def judged(fleet: Fleet, outcome: FleetOutcome) -> FleetOutcome:
    """Wait until every clip and every run has ended, then judge the outcome."""
    names = sorted(str(one["clip"]) for one in fleet.orders)
    wait_for_ends(fleet, names)
    fleet.wait_for("the runs' ends", lambda: not fleet.processes, seconds=PATIENCE_SECONDS)
    outcome.verdict = verdict_of(fleet, names)
    outcome.exits = dict(sorted(fleet.exits.items()))
    outcome.broken_on_purpose = break_laws(fleet, names)
    return outcome


def verdict_of(fleet: Fleet, clips: Collection[str]) -> StormJudgement:
    """Judge these clips, which are all that were ordered."""
    findings = gather(
        fleet.providers.books(), fleet.ledger_url, fleet.bucket, clips=set(clips), skews={}, now=time.time()
    )
    findings.settle[PROVIDER] = fleet.settle_seconds
    return judge(findings, fleet.providers.sha256)


def break_laws(fleet: Fleet, clips: Collection[str]) -> dict[str, list[str]]:
    """Break laws on purpose after all scenes; returns the violations that the judge finds. It must find each."""
    seen = {}
    for what, kind, broken in (
        ("a delivered file that is taken away", "lost", fleet.take_a_file_away),
        ("a client that repeats its POST", "duplicate", fleet.repeat_a_post),
    ):
        broken()
        verdict = verdict_of(fleet, clips)
        seen[what] = [str(one) for one in verdict.violations if one.kind == kind]
    return seen


def in_words(outcome: FleetOutcome) -> str:
    """The results so far, in a line."""
    verdict = outcome.verdict
    ends = ", ".join(f"{number} {state}" for state, number in sorted(verdict.ends.items())) or "no clip"
    sums = ", ".join(f"{kind} {verdict.count(kind)}" for kind in ("duplicate", "lost"))
    problems = "".join(f"; {problem}" for problem in outcome.problems)
    return (
        f"{ends}; {verdict.jobs} jobs, {sums}, ${verdict.unaccounted_micros / 1e6:.2f} unaccounted, "
        f"{len(verdict.held)} held{problems}"
    )


def providers_of(folder: Path, mischief: Mischief) -> Providers:
    """The stand-in of the fleet's only provider."""
    return Providers(folder, FastClock(time.time(), 1.0), mischief, names=[PROVIDER])


def as_document(outcome: FleetOutcome) -> dict[str, Any]:
    """The results as JSON values."""
    verdict = outcome.verdict
    return {
        "hosts": outcome.hosts,
        "clips": sum(verdict.ends.values()),
        "ends": verdict.ends,
        "jobs": verdict.jobs,
        "duplicates": verdict.count("duplicate"),
        "lost": verdict.count("lost"),
        "unaccounted_usd": verdict.unaccounted_micros / 1e6,
        "held": len(verdict.held),
        "ever_unknown": verdict.ever_unknown,
        "seconds": {name: round(value, 1) for name, value in outcome.seconds.items()},
        "exits": outcome.exits,
        **({"said": outcome.said} if outcome.said else {}),
        "broken_on_purpose": outcome.broken_on_purpose,
        "problems": outcome.problems,
    }
