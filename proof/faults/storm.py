"""The storm and the calm after it: workers are started, killed and replaced under faults; then every clip ends."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from proof.clock import FastClock
from proof.faults.crew import Crew
from proof.faults.judge import StormJudgement
from proof.faults.outages import InTurn, World
from proof.faults.reaper import Reaper, process_at
from proof.stand_in.mischief import Mischief
from proof.stand_in.providers import Providers

BATCH = 20
LEASE_SECONDS = 90.0
"""A POST's hard deadline and the margin after it. A worker that sleeps longer loses its claims."""
SKEW_SECONDS = 600.0
SERVANTS = ("sense", "collect")
"""Modes of workers that always run, two of each."""
JUDGE = "judge"
"""The mode of the people who judge drafts, two of them until the faults stop."""
DONE = ("delivered", "quarantined", "rejected", "absent", "failed", "vanished", "lost", "held", "withdrawn")


@dataclass(frozen=True)
class StormScale:
    """The size of a round and its faults."""

    clips: int
    """The number of clips, equally many at each provider; those after the storm are additional."""
    kills: int
    """The number of `kill -9` and SIGSTOP."""
    pace: float = 10.0
    """The proof's seconds per real second."""
    workers: int = 4
    """Run workers at a time; two sensors and two collectors are additional."""
    seed: int = 0
    """The seed of all random choices."""
    mischief: Mischief = field(default_factory=Mischief)
    """The provider's faults."""
    troubles: int = 8
    """The number of outages around the workers."""
    minutes: float = 30.0
    """Real minutes after which a round is given up."""
    ends_within: float = 2_700.0
    """The proof's seconds after the end of the faults within which every clip must end."""
    twice: float = 0.15
    """Share of the batches that two runs produce at once."""
    skewed: float = 0.02
    """Share of the run workers whose clock is ten minutes off."""
    takes: int = 1
    """Takes of each clip that a decision buys."""
    drafts: float = 0.0
    """Share of the clips that are drafts, which people judge and whose finishes they order during the storm."""
    forgets_finishes: bool = False
    """The negative control of the index `one_finish_per_draft`: without it, and with code that ignores bought finishes."""
    settle: dict[str, float] = field(default_factory=lambda: {"fal": 700.0})
    """By provider, a settle time that replaces its contract's, in the proof's seconds. fal's allows for an hour in its queue, in which
    no job of a stand-in waits."""

    @property
    def dedicated(self) -> bool:
        """Whether the keys are dedicated. Strangers buy only in the part with kills."""
        return not (self.kills and self.mischief.strangers)


@dataclass
class RoundOutcome:
    """The results of a round."""

    verdict: StormJudgement
    """The judge's."""
    wall_seconds: float
    """Real seconds from the first worker to the last clip's end."""
    storm_seconds: float
    """Real seconds until the faults stopped."""
    ended_after: float
    """The proof's seconds from the end of the faults to the last clip's end."""
    kills: dict[str, int]
    """Kills and stops by kind and moment."""
    faults: dict[str, int]
    """Exposures at the provider."""
    troubles: dict[str, int]
    """Outages around the workers."""
    exits: dict[str, int]
    """The number of workers that ended by themselves, by exit code."""
    broken: list[str]
    """Workers that ended by an unforeseen error."""

    @property
    def problems(self) -> list[str]:
        """All violations."""
        return [*self.verdict.problems, *(f"broken: {text}" for text in self.broken)]


class Storm:
    """Starts workers, kills them and makes outages around them; then lets every clip end.

    Args:
        scale: The size of the round and its faults.
        pace: The clock.
        providers: The stand-ins.
        crew: The workers.
        world: The outages.
        url: The ledger, of which only the states are read.
    """

    def __init__(
        self, scale: StormScale, pace: FastClock, providers: Providers, crew: Crew, world: World, url: str
    ) -> None:
        self.scale = scale
        self.pace = pace
        self.providers = providers
        self.crew = crew
        self.world = world
        self.reaper = Reaper()
        self.random = random.Random(f"{scale.seed}:storm")
        self.exits: Counter[str] = Counter()
        self.broken: list[str] = []
        self.began = time.monotonic()
        self.storm_seconds = 0.0
        self._engine = sa.create_engine(
            url,
            connect_args={"timeout": 0.2}
            if url.startswith("sqlite")
            else {"options": "-c lock_timeout=200 -c idle_in_transaction_session_timeout=5000"},
        )
        self._open: list[dict[str, Any]] = []
        self._states: dict[str, str] = {}
        self._looked = 0.0
        self._always = (*SERVANTS, JUDGE) if scale.drafts else SERVANTS

    @property
    def late(self) -> bool:
        """Whether the round has to be given up."""
        return time.monotonic() - self.began > self.scale.minutes * 60

    # The storm

    def blow(self, clips: list[str]) -> None:
        """Produce clips under faults."""
        batches = [clips[start : start + BATCH] for start in range(0, len(clips), BATCH)]
        troubles = InTurn(self.world.all_kinds())
        made, released, next_kill, strangers = 0, 0, time.monotonic() + 2, False
        while not self.late:
            self._tend()
            ended = self._ended(clips)
            progress, killed = ended / len(clips), self.reaper.total / max(self.scale.kills, 1)
            while released < len(batches) and released / len(batches) <= min(progress, killed or 1) + 0.35:
                self._release(batches[released], f"decision-{released}")
                released += 1
            self._staff()
            if self.scale.kills and time.monotonic() > next_kill and killed < min(progress + 0.25, 1):
                self._kill_somebody()
                next_kill = time.monotonic() + self.random.uniform(0.3, 2.0)
            self._heed_moments(allowed=self.reaper.total < self.scale.kills)
            if made < self.scale.troubles and progress >= (made + 0.5) / self.scale.troubles * 0.9:
                troubles.begin_next()
                made += 1
            wanted = not self.scale.dedicated and 0.3 < progress < 0.6
            if wanted != strangers:
                strangers = wanted
                self.providers.tell("strangers/on" if wanted else "strangers/off")
            if (
                len(clips) - ended <= max(0.03 * len(clips), 3)  # stuck clips end only when the faults stop
                and not troubles.lasts
                and released == len(batches)
                and self.reaper.total >= self.scale.kills
            ):
                break
            time.sleep(0.05)
        self.storm_seconds = time.monotonic() - self.began

    def _release(self, clips: list[str], decision: str) -> None:
        """Start the production of a batch, in some cases by two independent runs."""
        mode = self.random.choice(["wait", "leave"])
        self._open.append({"mode": mode, "clips": clips, "decision": decision})
        if self.random.random() < self.scale.twice:
            self._open.append({"mode": "wait", "clips": clips, "decision": decision})

    def _staff(self) -> None:
        """Keep two sensors, two collectors and enough workers running."""
        if self.crew.starting:
            return
        modes = Counter(hand.task["mode"] for hand in self.crew.hands.values())
        for mode in self._always:
            if modes[mode] < 2:
                self.crew.start({"mode": mode})
                return
        if self._open and modes["wait"] + modes["leave"] < self.scale.workers:
            self.crew.start({**self._open.pop(0), **self._skew()})

    def _skew(self) -> dict[str, float]:
        if self.random.random() >= self.scale.skewed:
            return {}
        return {"skew": self.random.choice([-SKEW_SECONDS, SKEW_SECONDS])}

    def _tend(self) -> None:
        """Continue stopped processes, and order the clips of killed workers again."""
        self.reaper.wake()
        self.world.tend()
        self.crew.look()
        for hand, code in self.crew.ended:
            if code not in {0, 3, -9}:
                self.broken.append(f"worker {hand.pid} ({hand.task['mode']}) ended with {code}")
            self.exits["killed" if code == -9 else str(code)] += 1
            if code != 0 and hand.task["mode"] not in {*SERVANTS, JUDGE}:
                # as Dagster's retry would: the same decision
                again = {name: value for name, value in hand.task.items() if name != "skew"}
                self._open.insert(self.random.randint(0, len(self._open)), again)
        self.crew.ended.clear()

    def _kill_somebody(self) -> None:
        awake = [pid for pid in self.crew.hands if pid not in self.reaper.sleepers()]
        if awake:
            self._strike(self.random.choice(awake), "at a random time")

    def _heed_moments(self, *, allowed: bool) -> None:
        """Kill clients at the moments that a provider has named."""
        while not self.providers.moments.empty():
            moment, port = self.providers.moments.get()
            pid = process_at(port, list(self.crew.hands)) if allowed else None
            if pid is not None:
                self._strike(pid, moment.removeprefix("kill "))

    def _strike(self, pid: int, moment: str) -> None:
        if self.random.random() < 0.7 or len(self.reaper.sleepers()) >= 2:
            self.reaper.kill(pid, moment)
        else:
            beyond = self.pace.real(LEASE_SECONDS + self.random.uniform(5, 60))
            self.reaper.put_to_sleep(pid, moment, real_seconds=beyond)

    # The calm after it

    def calm(self, later: list[str]) -> RoundOutcome:
        """Stop the faults, request all clips again, and wait until every clip has ended."""
        self.reaper.wake(everybody=True)
        self.providers.tell("calm")
        self._always = SERVANTS
        for pid, hand in self.crew.hands.items():
            if hand.task["mode"] == JUDGE:
                # no further verdicts, so that all orders can end
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        calm_at = self.pace.clock()
        self._open.append({"mode": "leave", "clips": later, "decision": "afterwards"})
        while not self.late and self.pace.clock() - calm_at < self.scale.ends_within:
            self._tend()
            self._staff()
            while not self.providers.moments.empty():
                self.providers.moments.get()
            if not self._open and self._all_ended(later):
                break
            time.sleep(0.1)
        wall = time.monotonic() - self.began
        outcome = RoundOutcome(
            StormJudgement(),
            wall,
            self.storm_seconds,
            self.pace.clock() - calm_at,
            dict(sorted(self.reaper.done.items())),
            {},
            dict(self.world.done),
            dict(self.exits),
            self.broken,
        )
        self._engine.dispose()
        return outcome

    def _all_ended(self, later: list[str]) -> bool:
        self._ended(later)
        asked = set(later) <= set(self._states)
        at_work = any(hand.task["mode"] not in {*SERVANTS, JUDGE} for hand in self.crew.hands.values())
        return (
            asked
            and not at_work
            and all(state in DONE for state in self._states.values())
            and not (self.scale.drafts and self._has_open_words())
        )

    def _has_open_words(self) -> bool:
        """Whether a verdict is not in the bucket yet, or an ordered finish waits."""
        with contextlib.suppress(sa.exc.DBAPIError), self._engine.connect() as connection:
            unstored = connection.execute(sa.text("SELECT 1 FROM unstored_verdicts LIMIT 1")).first()
            ordered = connection.execute(
                sa.text("SELECT 1 FROM waiting_finishes WHERE decision IS NOT NULL LIMIT 1")
            ).first()
            return unstored is not None or ordered is not None
        return True

    def _ended(self, clips: list[str]) -> int:
        """How many of these clips have ended."""
        if time.monotonic() - self._looked > 1:
            self._looked = time.monotonic()
            with contextlib.suppress(sa.exc.DBAPIError):
                self._states = self._read()
        return sum(self._states.get(clip) in DONE for clip in clips)

    def _read(self) -> dict[str, str]:
        with self._engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT subject_key, slot, state FROM attempts ORDER BY seq"))
            newest = {(row.subject_key, row.slot): row.state for row in rows}
        # a clip has ended when all of its takes have
        states: dict[str, str] = {}
        for (clip, _), state in newest.items():
            if clip not in states or state not in DONE:
                states[clip] = state
        return states
