"""A person's verdict is kept, at most one take of a clip is circled, and the current take follows."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from ledgerkit import NEVER_CHARGED, a_request, a_state, decided, submitted, succeeded, the_journal_is_whole
from verdictkit import a_verdict

from proof.clock import Clock
from resources.errors import DailiesError
from resources.ledger import polls
from resources.ledger.budget import Budget
from resources.ledger.current_takes import DeliveredTake, choose
from resources.ledger.decisions import known_purchases
from resources.ledger.deliveries import record_delivered, record_quarantined
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.rules import Ruling
from resources.ledger.schema import take_verdicts, verdicts
from resources.ledger.verdicts import (
    VerdictWay,
    Word,
    given_after,
    judge,
    mark_stored,
    newest,
    present_verdicts,
    unstored,
    verdicts_of,
)
from resources.orders import Review

CLIP = "city-sunset"
STORED = {"uri": "s3://bucket/videos/city-sunset/1.mp4", "size": 10}
_numbers = itertools.count()


def take(ledger: Ledger, *, review: str = "none", prompt: str = "a city at sunset") -> Attempt:
    """Add a delivered take of the clip."""
    number = next(_numbers)
    request = a_request(review=review, prompt=prompt)
    attempt = submitted(
        ledger, request, decision=f"take-{number}", regenerate=True, job_id=f"job-take-{number}"
    )
    polls.record_end(ledger, attempt, a_state(), NEVER_CHARGED)
    return record_delivered(ledger, attempt.id, STORED)


def current(ledger: Ledger) -> str:
    return ledger.current([CLIP])[CLIP].id


def circled(ledger: Ledger) -> list[str]:
    query = sa.select(take_verdicts.c.attempt_id).where(take_verdicts.c.word == "circled")
    with ledger.read() as connection:
        return list(connection.execute(query).scalars())


def present(ledger: Ledger) -> dict[str, str]:
    return {
        t: one.verdict.word.value for t, one in present_verdicts(verdicts_of(ledger, [CLIP])[CLIP]).items()
    }


def test_a_circle_can_make_an_earlier_take_current_again(ledger: Ledger, clock: Clock) -> None:
    first, second = take(ledger), take(ledger)
    assert current(ledger) == second.id
    clock.forward(5)
    judged = judge(ledger, a_verdict(first, note="the light"))
    assert (current(ledger), circled(ledger)) == (first.id, [first.id])
    assert (judged.recorded.clip, judged.recorded.at, judged.replaced) == (CLIP, clock.now, None)
    after = judge(ledger, a_verdict(second))
    assert (current(ledger), circled(ledger)) == (second.id, [second.id])
    assert after.replaced == judged.recorded, "the result names the replaced circle's person"
    (seen, _) = verdicts_of(ledger, [CLIP])[CLIP]
    assert seen.verdict.way is VerdictWay.ROOM
    entry = ledger.history(first.id)[-1]
    assert (entry["why"], str(entry["who"]).startswith("person mira")) == ("circled by mira: the light", True)
    the_journal_is_whole(ledger, ledger.attempts([first.id])[first.id])


def test_a_verdict_that_is_taken_back_is_void_and_stays_recorded(ledger: Ledger) -> None:
    first, second = take(ledger), take(ledger)
    judge(ledger, a_verdict(first))
    judge(ledger, a_verdict(first, Word.TAKEN_BACK))
    assert (current(ledger), circled(ledger), present(ledger)) == (second.id, [], {})
    assert [one.verdict.word for one in verdicts_of(ledger, [CLIP])[CLIP]] == [Word.CIRCLED, Word.TAKEN_BACK]


def test_a_rejected_take_is_replaced_by_the_newest_one_that_is_not_rejected(ledger: Ledger) -> None:
    first, second = take(ledger), take(ledger)
    judge(ledger, a_verdict(second, Word.REJECTED, reasons=("hands", "text"), note="six fingers", second=3.2))
    assert (current(ledger), present(ledger)) == (first.id, {second.id: "rejected"})
    assert ledger.history(second.id)[-1]["why"] == "rejected by mira (hands, text): 3.2 s: six fingers"
    judge(ledger, a_verdict(first, Word.REJECTED, reasons=("face",)))
    assert current(ledger) == second.id, "the newest of the rejected takes stays current"
    judge(ledger, a_verdict(second))
    assert present(ledger) == {second.id: "circled", first.id: "rejected"}


def test_a_remark_changes_no_verdict(ledger: Ledger) -> None:
    first, _second = take(ledger), take(ledger)
    judge(ledger, a_verdict(first))
    judge(ledger, a_verdict(first, Word.NOTED, note="0:03 hand", second=3))
    assert (current(ledger), present(ledger)) == (first.id, {first.id: "circled"})


def test_a_new_take_replaces_a_circled_one_only_in_a_series_without_review(
    ledger: Ledger, clock: Clock
) -> None:
    first = take(ledger)
    clock.forward(1)
    judge(ledger, a_verdict(first))
    clock.forward(1)
    later = take(ledger)
    assert current(ledger) == later.id
    judge(ledger, a_verdict(first))
    clock.forward(1)
    take(ledger, review="person")
    assert (current(ledger), circled(ledger)) == (first.id, [first.id])


def test_a_circled_older_take_buys_nothing_again(ledger: Ledger) -> None:
    """The circled take's prompt differs from the declared one, and a take of the declared prompt was delivered too."""
    old, new = take(ledger, prompt="a city"), take(ledger, prompt="a town")
    judge(ledger, a_verdict(old))
    for prompt, reused in (("a town", new), ("a city", old)):
        ruling = decided(ledger, a_request(prompt=prompt), decision="a new day")
        assert (ruling.ruling, ruling.attempt and ruling.attempt.id) == (Ruling.REUSED, reused.id)
    known = known_purchases(ledger, [CLIP])[CLIP].known
    assert [attempt.id for attempt in known] == [new.id, old.id], "a plan reads the same"
    assert decided(ledger, a_request(prompt="a village"), decision="a new day").ruling is Ruling.NEW


def test_a_verdict_that_is_sent_twice_counts_once(ledger: Ledger) -> None:
    first, second = take(ledger), take(ledger)
    said = a_verdict(first)
    earlier = judge(ledger, said)
    judge(ledger, a_verdict(second))
    assert judge(ledger, said) == earlier
    assert circled(ledger) == [second.id], "the later verdict stands"
    with pytest.raises(DailiesError, match="belongs to another verdict"):
        judge(ledger, a_verdict(second, named=said.id))
    assert len(verdicts_of(ledger, [CLIP])[CLIP]) == 2


def test_a_later_judge_sees_the_earlier_verdicts(ledger: Ledger) -> None:
    first, second = take(ledger), take(ledger)
    seen = newest(ledger)
    hers = judge(ledger, a_verdict(first, who="mira"), seen=seen)
    his = judge(ledger, a_verdict(second, who="tom"), seen=seen)
    assert (hers.others, his.others, his.replaced) == ((), (hers.recorded,), hers.recorded)
    assert judge(ledger, a_verdict(first, who="mira"), seen=newest(ledger)).others == ()
    assert [one.verdict.who for one in given_after(ledger, hers.recorded.seq)] == ["tom", "mira"]


def test_only_a_take_with_a_video_can_be_judged(ledger: Ledger) -> None:
    waiting = succeeded(ledger)
    with pytest.raises(DailiesError, match="only a take with a video is judged"):
        judge(ledger, a_verdict(waiting))
    apart = record_quarantined(ledger, waiting.id, STORED, why="black")
    with pytest.raises(DailiesError, match="in quarantine"):
        judge(ledger, a_verdict(apart))
    judge(ledger, a_verdict(apart, Word.REJECTED, reasons=("black",)))
    assert present(ledger) == {apart.id: "rejected"}


@pytest.mark.parametrize(
    "wrong",
    [{"named": "short"}, {"named": "../../../ledger"}, {"who": ""}, {"note": "x" * 2001}, {"second": -1.0}],
)
def test_an_invalid_verdict_is_refused(ledger: Ledger, wrong: dict[str, object]) -> None:
    made = take(ledger)
    with pytest.raises(DailiesError):
        a_verdict(made, **wrong)  # type: ignore[arg-type]


def test_a_verdict_can_be_neither_changed_nor_removed(ledger: Ledger) -> None:
    judge(ledger, a_verdict(take(ledger)))
    for change in (sa.update(verdicts).values(who="nobody"), sa.delete(verdicts)):
        with pytest.raises(sa.exc.DBAPIError, match="append-only"), ledger.write() as connection:
            connection.execute(change)


def test_the_database_holds_one_circled_take_a_clip(ledger: Ledger) -> None:
    """The negative control: without the index the second circle is written."""
    first, second = take(ledger), take(ledger)
    judge(ledger, a_verdict(first))
    values = {"attempt_id": second.id, "clip": CLIP, "verdict_id": "v" * 8, "word": "circled", "at": 1.0}
    with pytest.raises(sa.exc.IntegrityError), ledger.write() as connection:
        connection.execute(sa.insert(take_verdicts).values(values))
    with ledger.write() as connection:
        connection.execute(sa.text("DROP INDEX one_circled_take_per_clip"))
        connection.execute(sa.insert(take_verdicts).values(values))
    assert len(circled(ledger)) == 2


@pytest.mark.slow
def test_of_simultaneous_circles_one_stands(ledger_url: str) -> None:
    with Ledger(ledger_url, budget=Budget()) as ledger:
        takes = [take(ledger), take(ledger), take(ledger)]
        together = threading.Barrier(4)

        def person(number: int) -> None:
            with Ledger(ledger_url, budget=Budget()) as mine:
                together.wait(120)
                for turn in range(6):
                    judge(mine, a_verdict(takes[(number + turn) % 3], who=f"person-{number}"))

        with ThreadPoolExecutor(4) as people:
            list(people.map(person, range(4)))
        given = verdicts_of(ledger, [CLIP])[CLIP]
        assert len(given) == 24
        assert circled(ledger) == [given[-1].verdict.take] == [current(ledger)]


def test_verdicts_that_the_bucket_lacks_are_listed(ledger: Ledger) -> None:
    made = take(ledger)
    said = judge(ledger, a_verdict(made)).recorded
    assert unstored(ledger) == [said]
    mark_stored(ledger, said.verdict.id)
    assert unstored(ledger) == []


def a_take(name: str, verdict: str | None = None, *, at: float = 0, review: bool = False) -> DeliveredTake:
    return DeliveredTake(name, at, Review(by="person" if review else "none"), verdict, judged_at=50)


@pytest.mark.parametrize(
    ("takes", "chosen"),
    [
        ([], None),
        ([a_take("a"), a_take("b")], "b"),
        ([a_take("a"), a_take("b", "rejected")], "a"),
        ([a_take("a", "rejected"), a_take("b", "rejected")], "b"),
        ([a_take("a", "circled"), a_take("b", at=40)], "a"),
        ([a_take("a", "circled"), a_take("b", at=60)], "b"),
        ([a_take("a", "circled"), a_take("b", at=60, review=True)], "a"),
        ([a_take("a", "circled"), a_take("b", "rejected", at=60)], "a"),
        ([a_take("a", at=60), a_take("b", "circled")], "b"),
        ([a_take("a", review=True)], None),
        ([a_take("a"), a_take("b", review=True)], "a"),
        ([a_take("a", "rejected"), a_take("b", "rejected", review=True)], "a"),
        ([a_take("a", review=True), a_take("b", "circled", review=True)], "b"),
    ],
)
def test_the_current_take_is_chosen_by_one_rule(takes: list[DeliveredTake], chosen: str | None) -> None:
    assert choose(takes) == chosen
