"""The plan of one history: all drawn values, so that it can be replayed."""

import random
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from proof.simulation.faults import (
    ABANDONED_RUN,
    BILL,
    FETCH,
    JOB,
    JUDGED,
    KINDS,
    LIST,
    OUTAGE,
    PEOPLE,
    POLL,
    POST,
    TAKEN_BACK,
)

T = TypeVar("T")

FAULT_SECONDS = 400.0
"""Seconds in which faults occur; after that every clip must end."""
CRASHES_WITHIN = 140
"""Points of a history among which the crashes and pauses of a random history are drawn."""
PROVIDERS = ("wavespeed", "aimlapi")
"""Providers of random and of enumerated histories."""
FURTHER_PROVIDERS = ("fal", "replicate")
"""Providers that a history's name must give, so that the seeds of random histories keep their histories."""
WAYS = ("wait", "leave")


@dataclass(frozen=True)
class HistoryPlan:
    """One history."""

    seed: str
    """The seed of all values drawn during the run."""
    provider: str = "wavespeed"
    """The provider whose rules apply."""
    clips: int = 1
    """The number of clips."""
    way: str = "wait"
    """Whether the first run waits for its clips or leaves them to the sensor."""
    kinds: tuple[str, ...] = ()
    """The kinds of faults that may occur."""
    crashes: tuple[int, ...] = ()
    """Numbers of the points at which a process dies."""
    pauses: tuple[tuple[int, float], ...] = ()
    """Numbers of the points at which a process sleeps, and for how many seconds."""
    at: tuple[tuple[str, float], ...] = ()
    """By label of a point, the seconds for which the first process that passes it sleeps; None kills it."""
    skew: float = 0.0
    """Seconds by which the provider's clock is ahead."""
    dedicated: bool = True
    """Whether the key is declared as dedicated. On another key there may be strangers, or none."""
    callbacks: bool = False
    """Whether the provider calls back after each job's end, and names the job's POST."""
    in_flight: int | None = None
    """A limit of the account; None for no limit."""
    per_minute: int | None = None
    """A limit of the account; None for no limit."""
    cap: int | None = None
    """Clips that the day's budget pays for; None for no cap."""
    max_attempts: int = 1
    """Most purchases of a clip by one decision after temporary failures."""
    machines: int = 1
    """The number of completion sensors."""
    experienced: bool = False
    """Whether the account's list was prompt before; otherwise no miss in it proves anything."""
    to_the_bill: bool = False
    """Whether the history goes on until the bill has confirmed every amount and made every refund."""
    takes: int = 1
    """Takes of each clip that one decision buys."""
    drafts: bool = False
    """Whether drafts are bought, which people circle and whose finishes they order."""
    fallback: bool = False
    """Whether a clip that is refused or fails is bought from another model."""
    dated: float = 0.0
    """Seconds by which the clock of the provider's job times is ahead of the clock of its answers."""
    ahead: float = 0.0
    """Seconds by which our own clock is ahead at first."""
    right_after: float = 0.0
    """Seconds after which our clock is right."""


def quiet(provider: str, way: str, clips: int) -> HistoryPlan:
    """A history without faults; the enumerated crashes happen at its points."""
    return HistoryPlan(f"quiet:{provider}:{way}:{clips}", provider, clips, way)


def drawn(seed: int) -> HistoryPlan:
    """A random history."""
    rng = random.Random(seed)
    kinds = {
        *rng.sample(POST, rng.choice([0, 1, 1, 2, 3])),
        *rng.sample(POLL, rng.choice([0, 0, 1, 2])),
        *rng.sample(JOB, rng.choice([0, 0, 0, 1, 1, 2])),
        *rng.sample(LIST, rng.choice([0, 1, 1, 2])),
        *rng.sample((*FETCH, "bucket down", "bucket's answer lost"), rng.choice([0, 0, 1, 2])),
        *rng.sample(PEOPLE, rng.choice([0, 1, 1, 2, 3])),
    }
    # a separate random stream, so that seeds keep their histories from before bills had faults
    bills = random.Random(f"{seed}:bill")
    kinds |= {*bills.sample(BILL, bills.choice([0, 0, 1, 1, 2]))}
    alone = random.Random(f"{seed}:key").random() < 0.7
    crashes: tuple[int, ...] = ()
    pauses: tuple[tuple[int, float], ...] = ()
    if rng.random() < 0.6:
        kinds.add("crash")
        crashes = tuple(sorted(rng.sample(range(CRASHES_WITHIN), rng.choice([1, 1, 2, 3, 5]))))
    if rng.random() < 0.3:
        kinds.add("pause")
        where = sorted(rng.sample(range(CRASHES_WITHIN), rng.choice([1, 1, 2])))
        pauses = tuple((point, rng.choice([20.0, 75.0, 200.0, 400.0])) for point in where)
    skew = 0.0
    if rng.random() < 0.3:
        kinds.add("clock off")
        skew = rng.choice([-600.0, 600.0])
    plan = HistoryPlan(
        seed=str(seed),
        callbacks=random.Random(f"{seed}:callbacks").random() < 0.4,
        provider=rng.choice(PROVIDERS),
        clips=rng.choice([1, 1, 2, 3]),
        way=rng.choice(WAYS),
        kinds=tuple(kind for kind in KINDS if kind in kinds),
        crashes=crashes,
        pauses=pauses,
        skew=skew,
        dedicated=alone and "stranger's job" not in kinds,
        in_flight=rng.choice([None, None, None, None, 1, 2]),
        per_minute=rng.choice([None, None, None, None, None, 2]),
        cap=rng.choice([None, None, None, 1, 2]),
        max_attempts=rng.choice([1, 1, 2, 3]),
        machines=rng.choice([1, 1, 2]),
        experienced=rng.random() < 0.6,
        to_the_bill=rng.random() < 0.3,
        fallback=rng.random() < 0.3,
        dated=rng.choice([-600.0, 50.0, 600.0]) if rng.random() < 0.1 else 0.0,
        ahead=rng.choice([86_400.0, 2 * 86_400.0]) if rng.random() < 0.1 else 0.0,
        right_after=rng.uniform(1.0, 200.0),
    )
    # a separate random stream, as above
    takes = random.Random(f"{seed}:takes").choice([1, 1, 1, 1, 2, 3])
    late = [TAKEN_BACK] if rng.random() < 0.2 else []
    later = random.Random(f"{seed}:later kinds")
    late += [kind for kind in (OUTAGE, ABANDONED_RUN) if later.random() < 0.1]
    if random.Random(f"{seed}:judges").random() < 0.3:
        late.append(JUDGED)
    return replace(plan, kinds=(*plan.kinds, *late), takes=takes)


def drawn_at(seed: int, provider: str) -> HistoryPlan:
    """A random history at a provider that its name gives."""
    plan = drawn(seed)
    # without a bill nothing confirms an amount
    to_the_bill = plan.to_the_bill and provider != "replicate"
    return replace(plan, seed=f"{seed}@{provider}", provider=provider, to_the_bill=to_the_bill)


DRAFTS = "+drafts"
"""The suffix of names of histories with drafts."""


def with_drafts(plan: HistoryPlan) -> HistoryPlan:
    """The same history with drafts that people judge, and finishes that they order."""
    kinds = (*plan.kinds, *(() if JUDGED in plan.kinds else (JUDGED,)))
    return replace(plan, seed=f"{plan.seed}{DRAFTS}", kinds=kinds, drafts=True)


def simpler(plan: HistoryPlan) -> list[HistoryPlan]:
    """The same history with one fault or parameter less, to find the smallest one that still fails."""
    fewer = [replace(plan, crashes=_without(plan.crashes, c)) for c in plan.crashes]
    fewer += [replace(plan, pauses=_without(plan.pauses, p)) for p in plan.pauses]
    fewer += [replace(plan, kinds=_without(plan.kinds, kind)) for kind in plan.kinds]
    if plan.clips > 1:
        fewer.append(replace(plan, clips=plan.clips - 1))
    if plan.takes > 1:
        fewer.append(replace(plan, takes=plan.takes - 1))
    if plan.machines > 1:
        fewer.append(replace(plan, machines=1))
    if plan.in_flight:
        fewer.append(replace(plan, in_flight=None))
    if plan.per_minute:
        fewer.append(replace(plan, per_minute=None))
    if plan.cap:
        fewer.append(replace(plan, cap=None))
    if plan.dated:
        fewer.append(replace(plan, dated=0.0))
    if plan.ahead:
        fewer.append(replace(plan, ahead=0.0))
    without: list[dict[str, Any]] = [{way: False} for way in ("drafts", "fallback") if getattr(plan, way)]
    fewer += [replace(plan, **change) for change in without]
    if plan.skew:
        fewer.append(replace(plan, skew=0.0))
    if plan.callbacks:
        fewer.append(replace(plan, callbacks=False))
    return fewer


def _without(these: tuple[T, ...], one: T) -> tuple[T, ...]:
    return tuple(other for other in these if other != one)
