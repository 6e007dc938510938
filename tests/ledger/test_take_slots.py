"""Several takes of a clip in one decision: each has a slot with at most one open purchase, and fails and is retried alone."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ledgerkit import (
    ACCOUNT,
    NEVER_CHARGED,
    a_request,
    a_state,
    accepted,
    claimed,
    everything,
    rejected,
    unknown,
)

from resources.ledger import deliveries, polls, queue
from resources.ledger.approvals import Approval, approve_clips
from resources.ledger.decisions import Decided, Decision, Ruling, decide, known_purchases
from resources.ledger.ledger import Ledger
from resources.ledger.lost.closures import hold
from resources.ledger.lost.posts import find_undecided
from resources.ledger.lost.settle import adopt_named_job
from resources.ledger.newest import newest
from resources.ledger.outcomes import record_outcome
from resources.ledger.purchases import purchases_of
from resources.ledger.records import Attempt
from resources.ledger.recovery import rebuild
from resources.ledger.recovery.mark import OnItsWay, mark_of
from resources.ledger.recovery.rebuild import Taken
from resources.ledger.schema import submissions
from resources.ledger.settled import settled_clips
from resources.ledger.states import AttemptState
from resources.ledger.takes import takes_of
from resources.orders import Caps, Choice, ClipRequest, Expected, Seed, TakeSlot
from resources.providers.base import FailureKind, JobStatus

CLIP = "city-sunset"
SEEDED: dict[str, Any] = {"seed": Seed(name="seed", most=1_000_000)}


def takes(number: int = 3, **changes: Any) -> ClipRequest:
    return a_request(takes=number, **changes)


def asked(
    ledger: Ledger, request: ClipRequest, decision: str = "monday", *, regenerate: bool = False
) -> list[Decided]:
    return decide(ledger, [request], Decision(decision, regenerate=regenerate))


def rulings(decided: list[Decided]) -> list[str]:
    return [one.ruling.value for one in decided]


def deliver(ledger: Ledger, *, failing: frozenset[int] = frozenset()) -> list[Attempt]:
    """Carry every queued purchase to its end, in the order of the queue; the jobs of the given slots fail."""
    ended = []
    while queue.queue_length(ledger, ACCOUNT):
        submission = claimed(ledger)
        attempt = record_outcome(ledger, submission, accepted(f"job-{submission.id}"))
        if attempt.slot in failing:
            ended.append(polls.record_end(ledger, attempt, a_state(JobStatus.FAILED), NEVER_CHARGED))
            continue
        attempt = polls.record_end(ledger, attempt, a_state(), NEVER_CHARGED)
        ended.append(deliveries.record_delivered(ledger, attempt.id, {"uri": f"s3://b/{attempt.id}.mp4"}))
    return ended


def test_a_decision_buys_every_take_once(ledger: Ledger) -> None:
    first = asked(ledger, takes())
    assert rulings(first) == ["new"] * 3
    assert [one.attempt.slot for one in first if one.attempt] == [1, 2, 3]
    assert len({one.attempt.fingerprint for one in first if one.attempt}) == 1
    assert rulings(asked(ledger, takes())) == ["adopted"] * 3
    assert rulings(asked(ledger, takes(), "tuesday")) == ["adopted"] * 3
    assert len(deliver(ledger)) == 3
    assert rulings(asked(ledger, takes())) == ["reused"] * 3
    assert rulings(asked(ledger, takes(), "tuesday")) == ["reused"] * 3
    assert len(everything(ledger)) == 3
    bought = purchases_of(ledger, "monday")
    assert (bought.delivered, bought.counted_micros, bought.several) == (3, 1_200_000, True)
    assert "Takes: 3 delivered" in str(bought)
    assert [take.number for take in takes_of(ledger, [CLIP])[CLIP].takes] == [1, 2, 3]
    current = ledger.current([CLIP])[CLIP]
    assert current.slot == 3
    assert settled_clips(ledger, [CLIP], before=ledger.clock() + 1) == set()


def test_the_database_refuses_a_second_open_purchase_in_a_slot(ledger: Ledger) -> None:
    second = asked(ledger, takes())[1].attempt
    assert second is not None
    values = {"id": "again", "decision": "x", "quoted_micros": 1, "counted_on": "2026-11-20", "created_at": 0}
    with pytest.raises(sa.exc.IntegrityError), ledger.transaction(who="test", run_id=None) as tx:
        tx.add_queued(second.request, why="a mistake", **values)


@pytest.mark.parametrize(("cap", "bought"), [(1_200_000, 3), (800_000, 2), (399_999, 0)])
def test_every_take_counts_against_the_caps(ledger: Ledger, cap: int, bought: int) -> None:
    decided = asked(ledger, takes(caps=Caps(per_run=cap)))
    assert rulings(decided) == ["new"] * bought + ["refused"] * (3 - bought)
    assert purchases_of(ledger, "monday").counted_micros == bought * 400_000


def test_only_the_failed_slots_are_bought_again(ledger: Ledger) -> None:
    asked(ledger, takes())
    deliver(ledger, failing=frozenset({2}))
    # the same decision has used its tries; a new one is a retry
    assert rulings(asked(ledger, takes())) == ["reused", "refused", "reused"]
    failed = newest(ledger, [AttemptState.FAILED])
    assert [one.subject_key for one in failed] == [CLIP]
    assert rulings(asked(ledger, takes(), "retry")) == ["reused", "new", "reused"]
    assert [attempt.slot for attempt in deliver(ledger)] == [2]
    assert newest(ledger, [AttemptState.FAILED]) == []
    assert {slot.number for slot in ledger.latest_takes([CLIP])} == {1, 2, 3}


def test_a_slot_is_tried_again_and_falls_back_alone(ledger: Ledger) -> None:
    other = Choice(
        provider="wavespeed",
        endpoint="bytedance/seedance-2.0/text-to-video",
        body={"prompt": "a city at sunset", "duration": 5},
        price_micros=500_000,
        expected=Expected(),
        seed=Seed(name="noise", most=10),
    )
    asked(ledger, takes(2, fallbacks=(other,), **SEEDED))
    submission = claimed(ledger)
    record_outcome(ledger, submission, rejected(FailureKind.MODERATION))
    going = ledger.latest_takes([CLIP])
    assert going[TakeSlot(CLIP, 1)].endpoint == other.endpoint
    assert "noise" in going[TakeSlot(CLIP, 1)].request.body
    assert going[TakeSlot(CLIP, 2)].endpoint == "openai/sora-2/text-to-video"
    assert going[TakeSlot(CLIP, 1)].fingerprint == going[TakeSlot(CLIP, 2)].fingerprint


@pytest.mark.parametrize("retakes", [0, 1, 2])
def test_more_takes_buy_only_those_that_are_missing(ledger: Ledger, retakes: int) -> None:
    asked(ledger, takes(1))
    deliver(ledger)
    for number in range(retakes):
        asked(ledger, takes(1), f"retake-{number}", regenerate=True)
        deliver(ledger)
    decided = asked(ledger, takes(3), "tuesday")
    assert rulings(decided) == ["reused"] * (1 + retakes) + ["new"] * (2 - retakes)
    deliver(ledger)
    assert rulings(asked(ledger, takes(3), "wednesday")) == ["reused"] * 3
    assert rulings(asked(ledger, takes(1), "thursday")) == ["reused"]
    assert len(everything(ledger)) == 3


def test_an_edited_clip_waits_until_no_take_of_the_old_request_is_open(ledger: Ledger) -> None:
    asked(ledger, takes())
    sent = record_outcome(ledger, claimed(ledger), accepted("job-1"))
    decided = asked(ledger, takes(prompt="a city at noon"), "tuesday")
    # a queued purchase is withdrawn, a sent one is fetched first
    assert rulings(decided) == ["refused"] * 3
    states = {slot.number: attempt.state for slot, attempt in ledger.latest_takes([CLIP]).items()}
    assert states == {1: sent.state, 2: AttemptState.WITHDRAWN, 3: AttemptState.WITHDRAWN}


def test_every_take_has_its_own_seed_and_keeps_it_in_a_retry(ledger: Ledger) -> None:
    body = {"prompt": "a city at sunset", "duration": 4, "seed": 7}
    first = [one.attempt.request for one in asked(ledger, takes(body=body, **SEEDED)) if one.attempt]
    seeds = [request.sent_seed for request in first]
    assert seeds[0] == 7
    assert len(set(seeds)) == 3
    assert all(seed is not None and 0 <= seed <= 1_000_000 for seed in seeds)
    assert len({request.fingerprint for request in first}) == 1
    again = asked(ledger, takes(body=body, **SEEDED))
    assert [one.request.sent_seed for one in again] == seeds
    deliver(ledger)
    (retake,) = asked(ledger, takes(1, body=body, **SEEDED), "retake", regenerate=True)
    assert retake.ruling is Ruling.NEW
    assert retake.request.sent_seed not in seeds
    # a single take without a declared seed is sent as before
    (alone,) = takes(1, **SEEDED).each_take("monday", regenerate=False)
    assert (alone.body, alone.sent_seed) == (takes().body, None)
    assert None not in [one.sent_seed for one in takes(2, **SEEDED).each_take("monday", regenerate=False)]


def test_another_installation_with_the_same_decision_draws_other_seeds(
    ledger: Ledger, tmp_path: Path
) -> None:
    def drawn(one: Ledger) -> list[int | None]:
        return [
            take.request.sent_seed for take in asked(one, takes(**SEEDED), "schedule:city:2026-11-20T06:00")
        ]

    with Ledger(f"sqlite:///{tmp_path / 'other.db'}", budget=ledger.budget) as other:
        assert drawn(other) != drawn(ledger)
    # the seeds are drawn from the installation's id
    requests = [
        takes(**SEEDED).each_take("schedule:city:2026-11-20T06:00", regenerate=False) for _ in range(2)
    ]
    assert requests[0] == requests[1]


def test_a_decision_buys_no_more_takes_than_were_approved(ledger: Ledger) -> None:
    approve_clips(ledger, "produce", [dataclasses.replace(Approval.of(takes()), takes=2)])
    decided = asked(ledger, takes(), "produce")
    assert rulings(decided) == ["new", "new", "refused"]
    assert "2 of its takes were approved" in (decided[2].reason or "")
    # nor again after their delivery
    deliver(ledger)
    assert rulings(asked(ledger, takes(), "produce")) == ["reused", "reused", "refused"]


def test_a_plan_and_a_decision_read_the_same(ledger: Ledger) -> None:
    asked(ledger, takes())
    deliver(ledger, failing=frozenset({3}))
    known = known_purchases(ledger, [CLIP], several=[CLIP])[CLIP].known
    assert [attempt.slot for attempt in known] == [3, 2, 1]


def test_a_rebuilt_ledger_has_every_slot(ledger: Ledger) -> None:
    body = {"prompt": "a city at sunset", "seed": 7}
    for one in asked(ledger, takes(body=body, **SEEDED)):
        assert one.attempt is not None
    for number in range(3):
        record_outcome(ledger, claimed(ledger), accepted(f"job-{number}"))
    mark = mark_of(ledger)
    assert [(item.slot, item.seed) for item in mark.on_their_way] == [
        (a.slot, a.request.sent_seed) for a in everything(ledger)
    ]
    # an open purchase in one slot must not keep another slot's job out
    for item in mark.on_their_way:
        lost = {"clip": "city-noon", "attempt": f"lost-{item.slot}", "job": f"lost-{item.job}"}
        gone = item.model_copy(update={**lost, "submission": f"post-{item.slot}"})
        request = takes(clip="city-noon", body=body, **SEEDED).taken_as(item.slot, item.seed)
        assert rebuild.take_back(ledger, gone, request) is Taken.ADOPTED
        assert rebuild.take_back(ledger, gone, request) is Taken.KNOWN
    slots = ledger.latest_takes(["city-noon"])
    assert {slot.number: a.request.sent_seed for slot, a in slots.items()} == {
        item.slot: item.seed for item in mark.on_their_way
    }
    assert {a.request.fingerprint for a in slots.values()} == {takes(body=body).fingerprint}


def test_one_attempt_represents_a_clip(ledger: Ledger) -> None:
    asked(ledger, takes())
    deliver(ledger, failing=frozenset({3}))
    # a delivered take represents its clip, whatever becomes of a later slot
    stands = [attempt.slot for attempt in ledger.overview()]
    assert stands == [ledger.latest([CLIP])[CLIP].slot] == [2]
    asked(ledger, takes(), "retry")
    assert [attempt.slot for attempt in ledger.overview()] == [3]
    assert ledger.latest([CLIP])[CLIP].state is AttemptState.QUEUED


def test_a_person_gives_a_job_to_the_take_whose_candidate_it_is(ledger: Ledger) -> None:
    asked(ledger, takes(2))
    for job in ("job-of-1", "job-of-2"):
        submission = claimed(ledger)
        lost = record_outcome(ledger, submission, unknown())
        with ledger.transaction(who="test", run_id=None) as tx:
            tx.connection.execute(
                sa.update(submissions)
                .where(submissions.c.id == submission.id)
                .values(candidates=[{"job": job, "model": None}])
            )
            hold(tx, lost, "two look alike", [{"job": job}])
    adopted = adopt_named_job(ledger, CLIP, "job-of-1", who="mara", why="the time fits")
    assert (adopted.slot, adopted.job_id) == (1, "job-of-1")
    assert adopt_named_job(ledger, CLIP, "job-of-2", who="mara", why="the other").slot == 2


def test_fewer_takes_still_wait_for_an_open_purchase_in_an_extra_slot(ledger: Ledger) -> None:
    asked(ledger, takes(2))
    submission = claimed(ledger)
    record_outcome(ledger, submission, rejected(FailureKind.MODERATION))
    # the first slot failed, and the second is open: one take is ordered, and one comes
    (decided,) = asked(ledger, takes(1), "tuesday")
    assert (decided.ruling, decided.attempt and decided.attempt.slot) == (Ruling.ADOPTED, 2)
    (retake,) = asked(ledger, takes(1), "retake", regenerate=True)
    assert (retake.ruling, retake.attempt and retake.attempt.slot) == (Ruling.ADOPTED, 2)
    deliver(ledger)
    assert rulings(asked(ledger, takes(1), "tuesday")) == ["reused"]
    assert rulings(asked(ledger, takes(1), "wednesday")) == ["reused"]
    assert len(everything(ledger)) == 2


def test_each_purchase_in_an_extra_slot_is_adopted_for_one_slot(ledger: Ledger) -> None:
    asked(ledger, takes(4))
    for _slot in (1, 2):
        record_outcome(ledger, claimed(ledger), rejected(FailureKind.MODERATION))
    queue.withdraw(ledger, [ledger.latest_takes([CLIP])[TakeSlot(CLIP, 3)].id], why="a test")
    decided = asked(ledger, takes(2), "tuesday")
    assert rulings(decided) == ["adopted", "new"]
    assert [one.attempt.slot for one in decided if one.attempt] == [4, 2]
    deliver(ledger)
    assert rulings(asked(ledger, takes(2), "wednesday")) == ["reused"] * 2
    # a delivered take in an extra slot fills a slot whose purchase has failed
    assert rulings(asked(ledger, takes(1), "thursday")) == ["reused"]


def test_a_decision_that_has_bought_never_buys_more_takes_than_it_asked_for(ledger: Ledger) -> None:
    asked(ledger, takes(1))
    deliver(ledger)
    # its run is executed again after the series asks for three takes
    again = asked(ledger, takes(3))
    assert "new" not in rulings(again)
    assert rulings(asked(ledger, takes(3), "tuesday")) == ["reused", "new", "new"]


def test_a_retry_of_a_run_that_adopted_a_take_buys_no_other(ledger: Ledger) -> None:
    """Dagster retries a run when its worker dies. The retry's decision is the id of the first run."""
    asked(ledger, takes(2))
    again = Decision("first-run", batch="first-run", watched_by="first-run", regenerate=True)
    assert rulings(decide(ledger, [takes(2)], again)) == ["adopted"] * 2
    deliver(ledger)
    retry = dataclasses.replace(again, batch="retry", watched_by="retry")
    assert rulings(decide(ledger, [takes(2)], retry)) == ["reused"] * 2
    # the negative control: another run orders other takes
    other = dataclasses.replace(again, id="other-run", batch="other-run", watched_by="other-run")
    assert rulings(decide(ledger, [takes(2)], other)) == ["new"] * 2


def test_a_post_that_a_copy_does_not_know_keeps_the_seed_that_was_sent(ledger: Ledger) -> None:
    (one,) = asked(ledger, takes(1, **SEEDED))
    assert one.attempt is not None
    item = OnItsWay(
        clip=CLIP,
        seed=77,
        series="city",
        fingerprint=one.attempt.fingerprint,
        provider=ACCOUNT,
        account=ACCOUNT,
        endpoint=one.attempt.endpoint,
        attempt=one.attempt.id,
        decision="monday",
        submission="post-after-the-copy",
        job=None,
        sent_at=ledger.clock(),
        quoted_micros=400_000,
    )
    assert rebuild.take_back(ledger, item, one.request) is Taken.LED_ON
    with ledger.read() as connection:
        (lost,) = find_undecided(connection, ACCOUNT)
    # a listing that shows requests identifies the job by this seed alone
    assert lost.body["seed"] == 77
