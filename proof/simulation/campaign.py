"""Many histories: every single crash, every pair of crashes, and random ones, over several processes, summed up."""

import gc
import multiprocessing
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, fields, replace
from multiprocessing.util import Finalize

from proof.simulation.database import HistoryDatabase
from proof.simulation.plans import (
    DRAFTS,
    FURTHER_PROVIDERS,
    PROVIDERS,
    WAYS,
    HistoryPlan,
    drawn,
    drawn_at,
    quiet,
    simpler,
    with_drafts,
)
from proof.simulation.runner import HistoryOutcome, carry_out

SINGLE, PAIR, RANDOM = "single crashes", "pairs of crashes", "random histories"
CHUNK = 25
_NAME = re.compile(r"(?P<provider>[a-z]+)-(?P<way>[a-z]+)-(?P<clips>\d+)(@(?P<crashes>[\d+]+))?")


@dataclass
class CampaignTally:
    """The sums of some histories."""

    histories: Counter[str] = field(default_factory=Counter)
    """The number of histories, by layer."""
    clips: Counter[str] = field(default_factory=Counter)
    """The number of ordered clips, by layer."""
    passed: Counter[str] = field(default_factory=Counter)
    """The number of passes of each point."""
    crashed: Counter[str] = field(default_factory=Counter)
    """The number of deaths at each point."""
    paused: Counter[str] = field(default_factory=Counter)
    """The number of sleeps at each point."""
    struck: Counter[str] = field(default_factory=Counter)
    """The number of faults of each kind."""
    states: Counter[str] = field(default_factory=Counter)
    """The number of purchases by final state."""
    outlasted: int = 0
    """The number of jobs that ran on unseen after their purchase was given up: a declared window."""
    jobs: int = 0
    """The number of jobs that our POSTs made."""
    latest_end: float = 0.0
    """The most virtual seconds from the end of the faults to the end of the last clip."""
    violations: dict[str, list[str]] = field(default_factory=dict)
    """The kinds of violation, by the name of the history."""
    kinds: Counter[str] = field(default_factory=Counter)
    """The number of violations of each kind."""

    def add(self, layer: str, name: str, outcome: HistoryOutcome) -> None:
        """Count one more history."""
        self.histories[layer] += 1
        self.clips[layer] += outcome.plan.clips
        self.passed += outcome.points.passed
        self.crashed += outcome.points.crashed
        self.paused += outcome.points.paused
        self.struck += outcome.struck
        self.states += outcome.states
        self.jobs += outcome.jobs
        self.outlasted += outcome.outlasted
        self.latest_end = max(self.latest_end, outcome.ended_after)
        if outcome.violations:
            self.violations[name] = [str(violation) for violation in outcome.violations]
            self.kinds += Counter(violation.kind for violation in outcome.violations)

    def merge(self, other: "CampaignTally") -> None:
        """Add the sums of another process."""
        for each in fields(self):
            mine, theirs = getattr(self, each.name), getattr(other, each.name)
            if each.name == "latest_end":
                self.latest_end = max(mine, theirs)
            elif each.name == "violations":
                mine.update(theirs)
            else:
                setattr(self, each.name, mine + theirs)


def name_of(plan: HistoryPlan) -> str:
    """The name of a history, for `--replay`."""
    if not plan.seed.startswith("quiet:"):
        return plan.seed
    crashes = "+".join(map(str, plan.crashes))
    return f"{plan.provider}-{plan.way}-{plan.clips}{f'@{crashes}' if crashes else ''}"


def plan_of(name: str) -> HistoryPlan:
    """The history of a name: a number for a random one (`8@fal` at another provider), `wavespeed-wait-2@17+33` for crashes at two points.

    Raises:
        ValueError: The name has neither form.
    """
    if name.endswith(DRAFTS):
        return with_drafts(plan_of(name.removesuffix(DRAFTS)))
    number, _, provider = name.partition("@")
    if number.isdecimal() and provider in {"", *FURTHER_PROVIDERS}:
        return drawn_at(int(number), provider) if provider else drawn(int(number))
    found = _NAME.fullmatch(name)
    if found is None or found["provider"] not in (*PROVIDERS, *FURTHER_PROVIDERS) or found["way"] not in WAYS:
        raise ValueError(f"{name!r} is not a history; allowed: a seed such as 123, or wavespeed-wait-2@17+33")
    crashes = tuple(int(number) for number in (found["crashes"] or "").split("+") if number)
    return replace(quiet(found["provider"], found["way"], int(found["clips"])), crashes=crashes)


def least(plan: HistoryPlan, database: HistoryDatabase) -> HistoryPlan:
    """The smallest form of a failing history: without all parts that it does not need to fail."""
    kinds = _kinds(plan, database)
    smaller: HistoryPlan | None = plan
    while smaller is not None:
        plan = smaller
        smaller = next((other for other in simpler(plan) if kinds & _kinds(other, database)), None)
    return plan


def _kinds(plan: HistoryPlan, database: HistoryDatabase) -> set[str]:
    return {violation.kind for violation in carry_out(plan, database).violations}


# The layers


def singles(base: HistoryPlan, points: Iterable[int], database: HistoryDatabase) -> CampaignTally:
    """One crash at each of some points of a quiet history."""
    tally = CampaignTally()
    for point in points:
        plan = replace(base, crashes=(point,))
        tally.add(SINGLE, name_of(plan), carry_out(plan, database))
    return tally


def pairs(base: HistoryPlan, first: int, database: HistoryDatabase, *, step: int = 1) -> CampaignTally:
    """A crash at a point of a quiet history, and a second one at every later point of that history."""
    tally = CampaignTally()
    after = carry_out(replace(base, crashes=(first,)), database).points.count
    for second in range(first + 1, after, step):
        plan = replace(base, crashes=(first, second))
        tally.add(PAIR, name_of(plan), carry_out(plan, database))
    return tally


def randoms(seeds: range, database: HistoryDatabase) -> CampaignTally:
    """Random histories."""
    tally = CampaignTally()
    for seed in seeds:
        # every tenth one with drafts and finishes
        plan = drawn(seed) if seed % 10 else with_drafts(drawn(seed))
        tally.add(RANDOM, plan.seed, carry_out(plan, database))
    return tally


# Over several processes

_DATABASE: list[HistoryDatabase] = []


def _open() -> None:
    # imported objects live to the end, and collecting garbage among them would cost a tenth of the time
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    database = HistoryDatabase()
    _DATABASE.append(database)
    Finalize(database, database.close, exitpriority=10)


def _singles(base: HistoryPlan, start: int, stop: int) -> CampaignTally:
    return singles(base, range(start, stop), _DATABASE[0])


def _pairs(base: HistoryPlan, first: int) -> CampaignTally:
    return pairs(base, first, _DATABASE[0])


def _randoms(start: int, stop: int) -> CampaignTally:
    return randoms(range(start, stop), _DATABASE[0])


@dataclass(frozen=True)
class Campaign:
    """The histories to run."""

    histories: int
    """The number of random ones."""
    seed: int = 0
    """The seed of the first random one."""
    clips: int = 3
    """Single crashes are enumerated for histories of one to this many clips."""
    pairs: int = 3
    """Pairs of crashes are enumerated for histories of one to this many clips."""
    jobs: int = 2
    """Processes."""
    seconds: float | None = None
    """The time after which no history begins; None for no limit."""

    def run(self, told: Callable[[CampaignTally], None] = lambda _tally: None) -> tuple[CampaignTally, bool]:
        """Run all histories; returns the sum, and whether it is complete."""
        give_up = None if self.seconds is None else time.monotonic() + self.seconds
        tally = CampaignTally()
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(self.jobs, mp_context=context, initializer=_open) as pool:
            work = self._work(pool)
            waiting: set[Future[CampaignTally]] = set()
            complete = False
            while not complete and (give_up is None or time.monotonic() < give_up):
                while len(waiting) < 2 * self.jobs and not complete:
                    future = next(work, None)
                    complete = future is None
                    if future is not None:
                        waiting.add(future)
                done, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in done:
                    tally.merge(future.result())
                    told(tally)
            for future in waiting:
                tally.merge(future.result())
        return tally, complete

    def _work(self, pool: ProcessPoolExecutor) -> Iterator["Future[CampaignTally]"]:
        """Random and enumerated histories in turn, so that a campaign that is cut short has run both."""
        enumerated = self._enumerated(pool)
        stop = self.seed + self.histories
        for start in range(self.seed, stop, CHUNK):
            yield pool.submit(_randoms, start, min(start + CHUNK, stop))
            future = next(enumerated, None)
            if future is not None:
                yield future
        yield from enumerated

    def _enumerated(self, pool: ProcessPoolExecutor) -> Iterator["Future[CampaignTally]"]:
        counted = [(base, points_of(base)) for base in self._bases()]
        for base, count in counted:
            for start in range(0, count, CHUNK):
                yield pool.submit(_singles, base, start, min(start + CHUNK, count))
        for base, count in counted:
            for first in range(count if base.clips <= self.pairs else 0):
                yield pool.submit(_pairs, base, first)

    def _bases(self) -> Iterator[HistoryPlan]:
        for clips in range(1, self.clips + 1):
            for provider in PROVIDERS:
                for way in WAYS:
                    yield quiet(provider, way, clips)


def points_of(base: HistoryPlan) -> int:
    """The number of points of a quiet history, counted by a first run."""
    with HistoryDatabase() as database:
        return carry_out(base, database).points.count
