"""In a series with review, no take is current before a person circles it; after the review time the policy decides, once."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from ledgerkit import NEVER_CHARGED, a_request, a_state, decided, submitted
from verdictkit import a_verdict

from proof.clock import Clock
from resources.errors import DailiesError
from resources.ledger import polls, review_policy, waiting_clips
from resources.ledger.budget import Budget
from resources.ledger.decisions import known_purchases
from resources.ledger.deliveries import mark_reported, record_delivered
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.review_policy import decide_due
from resources.ledger.rules import Ruling
from resources.ledger.settled import settled_clips
from resources.ledger.verdicts import RecordedVerdict, VerdictWay, Word, judge, unstored, verdicts_of
from resources.ledger.waiting_clips import waiting
from resources.ledger.yields import YieldBy, read_yield
from resources.orders import Otherwise, Review

CLIP = "city-sunset"
DAY = 86_400
_numbers = itertools.count()


def a_policy(otherwise: str = "newest", *, days: int | None = 2) -> Review:
    return Review(
        by="person", within_seconds=None if days is None else days * DAY, otherwise=Otherwise(otherwise)
    )


def take(ledger: Ledger, review: Review, checks: dict[str, str] | None = None) -> Attempt:
    """Add a delivered take of the clip."""
    number = next(_numbers)
    request = a_request(review=review)
    attempt = submitted(
        ledger, request, decision=f"review-{number}", regenerate=True, job_id=f"job-review-{number}"
    )
    polls.record_end(ledger, attempt, a_state(), NEVER_CHARGED)
    stored = {"uri": f"s3://bucket/{number}.mp4", "size": 10, "checks": checks or {}}
    return record_delivered(ledger, attempt.id, stored)


def current(ledger: Ledger) -> str | None:
    found = ledger.current([CLIP]).get(CLIP)
    return None if found is None else found.id


def said(ledger: Ledger) -> list[tuple[str, Word, VerdictWay]]:
    return [
        (one.verdict.take, one.verdict.word, one.verdict.way)
        for one in verdicts_of(ledger, [CLIP]).get(CLIP, [])
    ]


def test_no_take_is_current_before_it_is_circled_and_none_replaces_it(ledger: Ledger, clock: Clock) -> None:
    first = take(ledger, a_policy(days=None))
    assert (current(ledger), ledger.shown([CLIP])) == (None, {CLIP: first})
    (wait,) = waiting(ledger)
    assert (wait.clip, wait.take, wait.since, wait.decide_at) == (CLIP, first.id, clock.now, None)
    assert wait.spent_micros == first.cost_micros
    judge(ledger, a_verdict(first))
    clock.forward(1)
    take(ledger, a_policy(days=None))
    assert (current(ledger), waiting(ledger)) == (first.id, []), "a clip with a circled take no longer waits"
    judge(ledger, a_verdict(first, Word.TAKEN_BACK))
    assert current(ledger) is None
    assert len(waiting(ledger)) == 1


def test_a_clip_that_waits_for_a_person_is_not_settled(ledger: Ledger, clock: Clock) -> None:
    first = take(ledger, a_policy(days=None))
    mark_reported(ledger, [first.id], "run")
    clock.forward(400 * DAY)
    # its partition and its runs stay in Dagster
    assert settled_clips(ledger, [CLIP], before=clock.now) == set()
    judge(ledger, a_verdict(first))
    assert settled_clips(ledger, [CLIP], before=clock.now) == {CLIP}


def test_a_take_that_waits_is_not_bought_again(ledger: Ledger) -> None:
    first = take(ledger, a_policy())
    ruling = decided(ledger, a_request(review=a_policy()), decision="a new day")
    assert (ruling.ruling, ruling.attempt and ruling.attempt.id) == (Ruling.REUSED, first.id)
    assert [attempt.id for attempt in known_purchases(ledger, [CLIP])[CLIP].known] == [first.id], (
        "a plan reads the same"
    )
    judge(ledger, a_verdict(first, Word.REJECTED, reasons=("hands",)))
    ruling = decided(ledger, a_request(review=a_policy()), decision="another day")
    assert ruling.ruling is Ruling.REUSED, "a rejection buys nothing"
    assert [attempt.id for attempt in known_purchases(ledger, [CLIP])[CLIP].known] == [first.id]


def test_after_its_time_the_policy_circles_the_newest_take(ledger: Ledger, clock: Clock) -> None:
    take(ledger, a_policy())
    clock.forward(DAY)
    second = take(ledger, a_policy())
    clock.forward(2 * DAY - 1)
    assert decide_due(ledger) == [], "the review time begins with the newest take"
    clock.forward(1)
    (one,) = decide_due(ledger)
    assert (one.verdict.take, one.verdict.way, one.at) == (second.id, VerdictWay.POLICY, clock.now)
    assert one.verdict.note == "nobody judged it within 48 hours; otherwise: newest"
    assert (current(ledger), waiting(ledger), decide_due(ledger)) == (second.id, [], [])
    assert unstored(ledger) == [one], "the bucket stores it like a person's verdict"
    (line,) = read_yield(ledger, YieldBy.SERIES)
    assert (line.circled, line.seconds_to_judge) == (1, None), "no person has judged it"


@pytest.mark.parametrize(
    ("checks", "best"),
    [
        ([{"black": "passed"}, {"black": "warned"}], 0),
        ([{"black": "warned"}, {"black": "passed"}], 1),
        ([{"black": "warned", "silence": "warned"}, {"black": "failed"}], 0),
        ([{"black": "passed"}, {"black": "passed"}], 1),
    ],
)
def test_the_policy_circles_the_take_with_the_best_checks(
    ledger: Ledger, clock: Clock, checks: list[dict[str, str]], best: int
) -> None:
    takes = [take(ledger, a_policy("best_checks"), outcomes) for outcomes in checks]
    clock.forward(2 * DAY)
    decide_due(ledger)
    assert current(ledger) == takes[best].id


def test_a_held_clip_keeps_waiting_for_a_person(ledger: Ledger, clock: Clock) -> None:
    first = take(ledger, a_policy("hold"))
    clock.forward(2 * DAY)
    assert [one.verdict.word for one in decide_due(ledger)] == [Word.NOTED]
    assert decide_due(ledger) == []
    (wait,) = waiting(ledger)
    assert (current(ledger), wait.held_at, wait.decide_at) == (None, clock.now, None)
    judge(ledger, a_verdict(first))
    assert (current(ledger), waiting(ledger)) == (first.id, [])


def test_a_persons_verdict_extends_the_time_and_a_rejected_take_is_never_chosen(
    ledger: Ledger, clock: Clock
) -> None:
    first, second = take(ledger, a_policy()), take(ledger, a_policy())
    clock.forward(DAY)
    judge(ledger, a_verdict(second, Word.REJECTED, reasons=("face",)))
    clock.forward(DAY)
    judge(ledger, a_verdict(first, Word.NOTED, note="0:03 hand"))
    clock.forward(2 * DAY - 1)
    assert decide_due(ledger) == []
    clock.forward(1)
    assert [one.verdict.take for one in decide_due(ledger)] == [first.id]
    assert current(ledger) == first.id


def test_the_policy_does_not_circle_a_take_again_that_a_person_took_back(
    ledger: Ledger, clock: Clock
) -> None:
    first = take(ledger, a_policy())
    clock.forward(2 * DAY)
    decide_due(ledger)
    judge(ledger, a_verdict(first, Word.TAKEN_BACK))
    clock.forward(9 * DAY)
    assert (decide_due(ledger), current(ledger)) == ([], None)
    judge(ledger, a_verdict(take(ledger, a_policy()), Word.REJECTED, reasons=("face",)))
    clock.forward(2 * DAY)
    assert (decide_due(ledger), current(ledger)) == ([], None), "the rejected take causes no decision either"
    third = take(ledger, a_policy())
    clock.forward(2 * DAY)
    assert [one.verdict.take for one in decide_due(ledger)] == [third.id]


def test_a_persons_earlier_verdict_wins(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = take(ledger, a_policy()), take(ledger, a_policy())
    clock.forward(2 * DAY)
    due = waiting_clips.due(ledger)
    judge(ledger, a_verdict(first))
    monkeypatch.setattr(waiting_clips, "due", lambda _ledger: due)
    assert decide_due(ledger) == []
    assert said(ledger) == [(first.id, Word.CIRCLED, VerdictWay.ROOM)]
    assert current(ledger) != second.id


@pytest.fixture
def due_clip(ledger_url: str) -> Iterator[Ledger]:
    """A ledger with one clip whose review time is over, at a time that several processes read."""
    clock = Clock()
    with Ledger(ledger_url, budget=Budget(), clock=clock) as ledger:
        take(ledger, a_policy())
        clock.forward(2 * DAY)
        yield ledger


def both_at_once(ledger_url: str, now: float) -> list[list[RecordedVerdict]]:
    together = threading.Barrier(2)

    def process(_number: int) -> list[RecordedVerdict]:
        with Ledger(ledger_url, budget=Budget(), clock=lambda: now) as mine:
            due = waiting_clips.due(mine)
            together.wait(120)
            return [one for one in (review_policy._decide(mine, clip) for clip in due) if one]

    with ThreadPoolExecutor(2) as processes:
        return list(processes.map(process, range(2)))


def test_of_two_processes_that_decide_at_once_one_decides(due_clip: Ledger, ledger_url: str) -> None:
    decisions = both_at_once(ledger_url, due_clip.clock())
    assert sorted(map(len, decisions)) == [0, 1]
    assert [way for _, _, way in said(due_clip)] == [VerdictWay.POLICY]


def test_without_the_second_read_the_verdicts_id_refuses_the_other_process(
    due_clip: Ledger, ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: the clip stays on the list, as if the second process had read it before the first wrote."""
    monkeypatch.setattr(waiting_clips, "note", lambda *_arguments: None)
    with pytest.raises(DailiesError, match="belongs to another verdict"):
        both_at_once(ledger_url, due_clip.clock())
    assert len(said(due_clip)) == 1, "the verdict's id is made of the take, so there is only one"
