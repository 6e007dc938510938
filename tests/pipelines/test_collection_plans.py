"""Which collecting runs are requested: never for clips of a working run, and in time for every clip that has ended."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.collections import (
    FIRST_PAUSE_SECONDS,
    HELD_REPORTS,
    LONGEST_PAUSE_SECONDS,
    RUNS_PER_TICK,
    SHORT_JOB_SECONDS,
    Collection,
    DagsterView,
    PastRun,
    plan,
    without_partition,
)
from pipelines.partitions import CLIPS_PER_RUN, stretches
from resources.ledger.records import Attempt
from resources.ledger.states import AttemptState, MoneyState
from resources.orders import ClipRequest, Expected

ORDER = [f"clip-{number:03}" for number in range(160)]
NOW = 1_800_000_000.0
LINGER = 120.0
S = AttemptState
OPEN = (S.QUEUED, S.SUBMITTING, S.UNKNOWN, S.SUBMITTED, S.OVERDUE)


def attempt(clip: str, state: AttemptState, *, finished: float = 0, watched_by: str | None = None) -> Attempt:
    """An attempt with the fields that planning reads."""
    request = ClipRequest(
        clip=clip,
        series="s",
        provider="wavespeed",
        endpoint="e",
        body={},
        price_micros=1,
        expected=Expected(),
    )
    nothing: dict[str, Any] = dict.fromkeys(Attempt.__dataclass_fields__)
    known: dict[str, Any] = {
        "seq": 1,
        "id": clip,
        "subject_kind": "clip",
        "subject_key": clip,
        "stored_request": request.model_dump(mode="json"),
        "decision": "d",
        "batch": "b",
        "watched_by": watched_by,
        "state": state,
        "money_state": MoneyState.CONFIRMED,
        "finished_at": NOW + finished if state.is_ended else None,
    }
    return Attempt(**{**nothing, **known})


@dataclass
class World:
    """One batch, and the runs that were requested for it."""

    attempts: list[Attempt]
    now: float = NOW
    past: list[PastRun] = field(default_factory=list)
    watched: frozenset[str] = frozenset()
    linger: float = LINGER
    may_wait: bool = False

    def plan(self) -> list[Collection]:
        dagster = DagsterView(ORDER, {"b": self.past}, self.watched, may_wait=self.may_wait)
        return plan({"b": self.attempts}, dagster, now=self.now, linger=self.linger)


def an_attempt(clip: str) -> st.SearchStrategy[Attempt]:
    return st.builds(
        attempt,
        st.just(clip),
        st.sampled_from(list(S)),
        finished=st.floats(-500, 0),
        watched_by=st.sampled_from([None, "alive", "dead"]),
    )


clips = st.lists(st.sampled_from(ORDER), min_size=1, max_size=60, unique=True)
batches = clips.flatmap(lambda keys: st.tuples(*map(an_attempt, keys))).map(list)
past_runs = st.lists(
    st.tuples(st.integers(0, 159), st.integers(0, 159), st.floats(-5000, 0) | st.none()).map(
        lambda run: PastRun(
            ORDER[min(run[:2])], ORDER[max(run[:2])], None if run[2] is None else NOW + run[2]
        )
    ),
    max_size=4,
)


@given(batches, past_runs)
@settings(max_examples=examples(60))
def test_only_ended_unwatched_clips_are_requested(attempts: list[Attempt], past: list[PastRun]) -> None:
    asked = World(attempts, past=past, watched=frozenset({"alive"})).plan()
    allowed = {a.subject_key for a in attempts if a.state.is_ended and a.watched_by != "alive"}
    keys = [key for collection in asked for key in collection.keys]
    assert set(keys) <= allowed
    assert len(keys) == len(set(keys))
    assert len({collection.run_key for collection in asked}) == len(asked) <= RUNS_PER_TICK
    if any(run.ended_at is None for run in past):
        assert not asked, "a run of this batch still works"
    for collection in asked:
        start = ORDER.index(collection.keys[0])
        assert list(collection.keys) == ORDER[start : start + len(collection.keys)]
        assert len(collection.keys) <= CLIPS_PER_RUN


@given(batches, st.integers(1, 3))
@settings(max_examples=examples(30))
def test_every_ended_clip_is_requested_until_it_is_reported_and_soon_if_no_run_fails(
    attempts: list[Attempt], tries: int
) -> None:
    """Each clip's collection fails `tries - 1` times; the batch may keep clips in flight for ever."""
    world = World(attempts, watched=frozenset({"alive"}))
    wanted = {a.subject_key for a in attempts if a.state.is_ended and a.watched_by != "alive"}
    done: dict[str, int] = dict.fromkeys(wanted, 0)
    run_keys: set[str] = set()
    began = world.now
    while any(count < tries for count in done.values()):
        assert world.now - began < LINGER + 60 * len(stretches(ORDER, wanted)) + tries * LONGEST_PAUSE_SECONDS
        for collection in world.plan():
            assert collection.run_key not in run_keys, "Dagster would never start it"
            run_keys.add(collection.run_key)
            world.past.append(PastRun(collection.keys[0], collection.keys[-1], world.now + 5))
            for key in collection.keys:
                done[key] += 1
        told = {key for key, count in done.items() if count >= tries}
        world.attempts = [a for a in world.attempts if a.subject_key not in told]
        world.now += 10


@pytest.mark.parametrize(
    ("died", "pauses"),
    [((True,), 0), ((True, True), 1), ((False, True), 1), ((False,), 1), ((True, False, True), 2)],
)
def test_the_first_death_of_a_collection_delays_nothing(died: tuple[bool, ...], pauses: int) -> None:
    """Its host may have died. A file that kills one run after the other waits like any other failure."""
    past = [PastRun(ORDER[0], ORDER[0], NOW + 10 * number, died=dead) for number, dead in enumerate(died)]
    world = World([attempt(ORDER[0], S.SUCCEEDED)], past=past)
    world.now = NOW + 10 * (len(died) - 1)
    pause = FIRST_PAUSE_SECONDS * 2.0 ** (pauses - 1) if pauses else 0.0
    assert bool(world.plan()) is not bool(pauses)
    world.now += pause - 1
    assert pauses == 0 or not world.plan()
    world.now += 1
    assert world.plan()


def test_an_untried_clip_does_not_wait_for_tried_ones() -> None:
    """Scattered clips need more runs than one tick requests; the next runs start as soon as the first have ended."""
    world = World([attempt(key, S.SUCCEEDED) for key in ORDER[:20:2]])
    first = world.plan()
    assert len(first) == RUNS_PER_TICK
    home = {key for collection in first for key in collection.keys}
    world.past = [PastRun(c.keys[0], c.keys[-1], NOW + 5) for c in first]
    world.attempts = [a for a in world.attempts if a.subject_key not in home]
    world.now += 10
    assert len(world.plan()) == RUNS_PER_TICK


@pytest.mark.slow
def test_the_pause_grows_with_every_try_and_then_stays() -> None:
    world = World([attempt("clip-000", S.SUCCEEDED)])
    pauses = []
    for _ in range(12):
        (asked,) = world.plan()
        ended = world.now + 5
        world.past.append(PastRun(asked.keys[0], asked.keys[-1], ended))
        world.now = ended
        while not world.plan():
            world.now += 1
        pauses.append(world.now - ended)
    assert pauses[0] == FIRST_PAUSE_SECONDS
    assert pauses == sorted(pauses)
    assert pauses[1] == 2 * FIRST_PAUSE_SECONDS
    assert pauses[-1] == LONGEST_PAUSE_SECONDS


def test_a_held_clip_is_reported_by_a_few_runs_and_requested_at_once_after_its_settlement() -> None:
    world = World([attempt("clip-000", S.HELD)])
    for _ in range(1000):
        world.past += [PastRun(c.keys[0], c.keys[-1], world.now + 5) for c in world.plan()]
        world.now += 60
    assert len(world.past) == HELD_REPORTS
    world.attempts = [attempt("clip-000", S.SUCCEEDED, finished=world.now - NOW)]
    assert [c.keys for c in world.plan()] == [("clip-000",)]


def test_ready_clips_linger_for_stragglers_but_not_for_unknown_or_watched_ones() -> None:
    ready = attempt("clip-000", S.SUCCEEDED, finished=-LINGER + 1)
    for state in OPEN:
        asked = World([ready, attempt("clip-001", state)]).plan()
        assert bool(asked) is (state is S.UNKNOWN), state
    late = World([ready, attempt("clip-001", S.SUBMITTED)], now=NOW + 1)
    assert [c.keys for c in late.plan()] == [("clip-000",)]
    watched = World(
        [ready, attempt("clip-001", S.SUBMITTED, watched_by="alive")], watched=frozenset({"alive"})
    )
    assert [c.keys for c in watched.plan()] == [("clip-000",)]


def test_one_run_waits_for_the_rest_of_a_short_batch() -> None:
    def took(clip: str, seconds: float, *, state: AttemptState = S.SUCCEEDED) -> Attempt:
        return replace(attempt(clip, state), submitted_at=NOW - seconds)

    ready, failed = took("clip-000", SHORT_JOB_SECONDS), took("clip-001", 20, state=S.FAILED)
    going = [took("clip-002", 50, state=S.SUBMITTED), took("clip-003", 50, state=S.SUBMITTED)]
    world = World([ready, failed, *going], may_wait=True)
    assert [c.keys for c in world.plan()] == [("clip-000", "clip-001", "clip-002", "clip-003")]

    before = PastRun("clip-000", "clip-003", NOW - 500)
    for other in (
        replace(world, may_wait=False),
        replace(world, past=[before]),
        replace(world, attempts=[ready, *going]),
        replace(world, attempts=[took("clip-000", SHORT_JOB_SECONDS + 1), failed, *going]),
        replace(world, attempts=[ready, failed, going[0], took("clip-005", 50, state=S.SUBMITTED)]),
        replace(world, attempts=[ready, failed, going[0], took("clip-003", 50, state=S.QUEUED)]),
        replace(world, attempts=[ready, failed, took("clip-000", 50, state=S.SUBMITTED)]),
    ):
        assert not other.plan(), other


def test_a_clip_without_a_partition_delays_no_other() -> None:
    world = World([attempt("gone-clip", S.SUCCEEDED), attempt("clip-003", S.SUCCEEDED)])
    assert [c.keys for c in world.plan()] == [("clip-003",)]
    world.past = [PastRun("gone-clip", "gone-clip", NOW - 10_000)]
    assert [c.keys for c in world.plan()] == [("clip-003",)]


@given(st.lists(st.sampled_from([*ORDER, "no-partition"]), max_size=200), st.integers(1, 60))
def test_stretches_cover_exactly_the_wanted_clips_in_contiguous_pieces(
    wanted: list[str], longest: int
) -> None:
    found = stretches(ORDER, wanted, longest=longest)
    assert [key for stretch in found for key in stretch] == [key for key in ORDER if key in set(wanted)]
    for stretch in found:
        start = ORDER.index(stretch[0])
        assert stretch == ORDER[start : start + len(stretch)]
        assert len(stretch) <= longest
    fewest = sum(
        key in set(wanted) and (i == 0 or ORDER[i - 1] not in set(wanted)) for i, key in enumerate(ORDER)
    )
    assert len(found) >= fewest
    if longest >= len(ORDER):
        assert len(found) == fewest


@pytest.mark.parametrize(
    ("state", "money", "kept"),
    [
        (S.SUCCEEDED, MoneyState.CONFIRMED, "paid"),
        (S.SUCCEEDED, MoneyState.REFUNDED, "paid"),
        (S.HELD, MoneyState.INDETERMINATE, "paid"),
        (S.FAILED, MoneyState.REFUND_EXPECTED, "paid"),
        (S.QUARANTINED, MoneyState.CONFIRMED, "paid"),
        (S.FAILED, MoneyState.REFUNDED, "unpaid"),
        (S.REJECTED, MoneyState.RELEASED, "unpaid"),
        (S.WITHDRAWN, MoneyState.RELEASED, "unpaid"),
        (S.SUBMITTED, MoneyState.RESERVED, None),
        (S.UNKNOWN, MoneyState.INDETERMINATE, None),
        (S.QUEUED, MoneyState.RESERVED, None),
    ],
)
def test_a_paid_clip_gets_its_deleted_partition_back_when_it_has_ended(
    state: AttemptState, money: MoneyState, kept: str | None
) -> None:
    one = replace(attempt("deleted", state), money_state=money)
    gone = without_partition({"b": [one]}, order=ORDER, watched=frozenset())
    assert (gone.paid, gone.unpaid) == ([one] if kept == "paid" else [], [one] if kept == "unpaid" else [])
    there = without_partition({"b": [replace(one, subject_key=ORDER[0])]}, order=ORDER, watched=frozenset())
    assert not there.paid + there.unpaid
    watched = without_partition(
        {"b": [replace(one, watched_by="alive")]}, order=ORDER, watched=frozenset({"alive"})
    )
    assert not watched.paid + watched.unpaid


def test_a_clip_that_moved_among_the_partitions_was_tried_by_the_runs_it_belonged_to() -> None:
    """Judged by its range, a run over the first three clips would seem to have tried a clip that moved in, and not one that moved out."""
    run = PastRun(ORDER[0], ORDER[2], NOW, frozenset({ORDER[0], ORDER[150], ORDER[2]}))
    position = {key: index for index, key in enumerate(ORDER)}
    assert run.has_tried(ORDER[150], position)
    assert not run.has_tried(ORDER[1], position)
