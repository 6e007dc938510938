"""A circled draft buys one finish: across processes, after failures, within caps, and only for people with the right to buy."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from ledgerkit import ACCOUNT, NEVER_CHARGED, a_request, a_state, accepted, claimed, everything, rejected
from verdictkit import a_verdict

from pipelines.cli.takes import GivenVerdict, outcome
from proof.clock import Clock
from resources.errors import DailiesError
from resources.ledger import data_pushes, deliveries, polls, queue, review_tables, waiting_finishes
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.finishes import (
    FinishOrdered,
    buy_ordered,
    judge_and_finish,
    next_decision,
    order_finish,
)
from resources.ledger.jobs import NamedJob
from resources.ledger.late_jobs import keep_late
from resources.ledger.ledger import Ledger
from resources.ledger.outcomes import record_outcome
from resources.ledger.records import Attempt
from resources.ledger.review_policy import decide_due
from resources.ledger.selects import selects_of
from resources.ledger.spare_takes import keep
from resources.ledger.states import AttemptState
from resources.ledger.stops import StopKind, start, stop, stop_account
from resources.ledger.takes import takes_of
from resources.ledger.verdicts import Word, judge
from resources.ledger.waiting_clips import waiting
from resources.ledger.yields import YieldBy, read_yield
from resources.orders import Caps, Choice, ClipRequest, Expected, FinishOrder, Otherwise, Review, Seed
from resources.planning import offer_finish
from resources.providers.base import FailureKind, JobStatus

CLIP = "city-sunset"
PRICE = 2_000_000
SEED = Seed(name="seed", most=1_000_000)
S = AttemptState


def a_choice(endpoint: str = "pro", **changes: Any) -> Choice:
    values: dict[str, Any] = {
        "provider": ACCOUNT,
        "endpoint": endpoint,
        "body": {"prompt": "a city at sunset", "duration": 4},
        "price_micros": PRICE,
        "expected": Expected(),
        "seed": SEED,
    }
    return Choice(**(values | changes))


def a_draft(
    *, fallbacks: tuple[Choice, ...] = (), same_shot: bool = False, days: int | None = None, **changes: Any
) -> ClipRequest:
    choice = a_choice()
    if same_shot:
        choice = a_choice(body={"draft_id": "draft", "resolution": "1080p"}, seed=None)
    finish = FinishOrder(
        choice=choice, fallbacks=fallbacks, draft_id="draft_id" if same_shot else None, days=days
    )
    values: dict[str, Any] = {"finish": finish, "seed": SEED, "review": Review(by="person")}
    return a_request(**(values | changes))


def bought(ledger: Ledger, request: ClipRequest, decision: str = "monday") -> list[Attempt]:
    decide(ledger, [request], Decision(decision))
    return carried(ledger)


def carried(ledger: Ledger, *, draft_id: str | None = None, failing: bool = False) -> list[Attempt]:
    """Carry every queued purchase to its end."""
    ended = []
    while queue.queue_length(ledger, ACCOUNT):
        submission = claimed(ledger)
        attempt = record_outcome(ledger, submission, accepted(f"job-{submission.id}"))
        state = a_state(JobStatus.FAILED) if failing else a_state(draft_id=draft_id)
        attempt = polls.record_end(ledger, attempt, state, NEVER_CHARGED)
        if attempt.state is S.SUCCEEDED:
            attempt = deliveries.record_delivered(ledger, attempt.id, {"uri": f"s3://b/{attempt.id}.mp4"})
        ended.append(attempt)
    return ended


def circled(ledger: Ledger, draft: Attempt, **how: Any) -> FinishOrdered | None:
    return judge_and_finish(ledger, a_verdict(draft), **({"at_most_micros": PRICE} | how))[1]


def order_now(ledger: Ledger, clip: str = CLIP, **how: Any) -> FinishOrdered:
    """Order the finish of a clip's circled draft, as a person does who sees the newest offer."""
    with ledger.read() as connection:
        found = waiting_finishes.waiting(connection, clip=clip)
        decision = next_decision(connection, found[0].draft.id) if found else ""
    return order_finish(ledger, clip, decision=decision, **how)


def waits(ledger: Ledger) -> list[waiting_finishes.WaitingFinish]:
    with ledger.read() as connection:
        return waiting_finishes.waiting(connection)


def test_a_circled_draft_buys_one_finish_which_becomes_the_select(ledger: Ledger, clock: Clock) -> None:
    (draft,) = bought(ledger, a_draft())
    assert draft.is_draft
    assert ledger.current([CLIP]) == {}
    assert [one.clip for one in waiting(ledger)] == [CLIP]
    verdict = a_verdict(draft, who="mira")
    judged, ordered = judge_and_finish(ledger, verdict, at_most_micros=PRICE)
    assert ordered is not None
    assert ordered.finish is not None
    finish = ordered.finish
    assert (finish.finishes, finish.slot, finish.endpoint, finish.state) == (draft.id, 1, "pro", S.QUEUED)
    assert (finish.decision, finish.quoted_micros) == (f"finish:{draft.id}", PRICE)
    assert finish.request.body["seed"] == claimed_seed(ledger, draft)
    # the same click, sent again, and a second person's click
    assert judge_and_finish(ledger, verdict, at_most_micros=PRICE) == (judged, None)
    assert circled(ledger, draft) is None
    with pytest.raises(DailiesError, match="no circled draft that lacks a finish"):
        order_now(ledger, at_most_micros=PRICE, who="ana")
    assert (selects_of(ledger, [CLIP]), ledger.current([CLIP]), waiting(ledger)) == ({}, {}, [])
    (delivered,) = carried(ledger)
    select = selects_of(ledger, [CLIP])[CLIP]
    assert (select.take.attempt.id, select.circle.verdict.who, select.circle.verdict.way) == (
        finish.id,
        "mira",
        "finish",
    )
    assert ledger.current([CLIP])[CLIP].id == delivered.id == finish.id
    assert len(everything(ledger)) == 2
    # the schedule's next tick finds its draft, and buys nothing
    (again,) = decide(ledger, [a_draft()], Decision("tuesday"))
    assert (again.ruling, again.attempt and again.attempt.id) == (Ruling.REUSED, draft.id)
    with pytest.raises(DailiesError, match="is finished; circle its finish"):
        judge(ledger, a_verdict(draft))


def test_a_finish_whose_circle_is_taken_back_continues_and_its_price_is_shown(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    circled(ledger, draft)

    def taken_back() -> str:
        judged = judge(ledger, a_verdict(draft, Word.TAKEN_BACK))
        return outcome(GivenVerdict(takes_of(ledger, [CLIP])[CLIP], judged))

    said = taken_back()
    assert "taken back" in said
    assert said.endswith("Its finish is bought for $2.00 and goes on; it waits for a verdict like any take")
    (finish,) = carried(ledger)
    assert (finish.state, selects_of(ledger, [CLIP])) == (S.DELIVERED, {})
    assert "goes on" not in taken_back()


def claimed_seed(ledger: Ledger, draft: Attempt) -> int:
    seed = ledger.seed_of(ledger.submission_of(draft.account, draft.job_id or ""))
    assert seed is not None
    return seed


def test_a_circle_by_a_judge_leaves_the_finish_to_a_person_who_may_buy(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    judge(ledger, a_verdict(draft, who="judge"))
    (wait,) = waits(ledger)
    assert (wait.draft.id, wait.decision, wait.ordered_by, waiting(ledger)) == (draft.id, None, None, [])
    assert buy_ordered(ledger) == []
    ordered = order_now(ledger, at_most_micros=PRICE, who="buyer")
    assert ordered.finish is not None
    assert waits(ledger) == []


@pytest.mark.parametrize(("cap", "state"), [(2_400_000, S.QUEUED), (2_399_999, None)])
def test_a_finish_obeys_the_caps_and_is_bought_when_they_allow_it(
    ledger: Ledger, cap: int, state: AttemptState | None
) -> None:
    (draft,) = bought(ledger, a_draft(caps=Caps(total=cap)))
    ordered = circled(ledger, draft)
    assert ordered is not None
    assert (ordered.finish and ordered.finish.state) == state
    if state is None:
        (wait,) = waits(ledger)
        assert "cap" in (wait.reason or "")
        assert wait.ordered_by == "mira"
        assert buy_ordered(ledger) == []
        wider = Caps(total=2_400_000)
        (done,) = buy_ordered(ledger, limits=lambda request: request.model_copy(update={"caps": wider}))
        assert done.finish is not None
        assert waits(ledger) == []


def test_a_finish_above_the_agreed_price_is_not_bought(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    ordered = circled(ledger, draft, at_most_micros=PRICE - 1)
    assert ordered is not None
    assert ordered.finish is None
    assert "was agreed to" in (ordered.why or "")


def dearer(request: ClipRequest) -> ClipRequest:
    """The draft's order under a catalogue with a doubled price."""
    assert request.finish is not None, "the draft's request carries its finish"
    choice = request.finish.choice.model_copy(update={"price_micros": 2 * PRICE})
    return request.model_copy(update={"finish": request.finish.model_copy(update={"choice": choice})})


def test_a_finish_uses_the_data_folder_of_its_draft(ledger: Ledger) -> None:
    """A finish with a picture is sent with its draft's picture, whatever folder was pushed since."""
    data_pushes.push(ledger, "a" * 64, files=1, size=1, who="ann", note="")
    data_pushes.name_for(ledger, "monday", "a" * 64)
    (draft,) = bought(ledger, a_draft())
    assert data_pushes.of_unsent(ledger) == []
    circled(ledger, draft)
    assert data_pushes.of_unsent(ledger) == ["a" * 64]
    carried(ledger)
    assert data_pushes.of_unsent(ledger) == []


def test_a_finish_that_became_dearer_is_quoted_at_its_new_price(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())

    assert offer_finish(ledger, draft).ceiling == PRICE, (
        "without a catalogue, the price is the one of the draft's day"
    )
    assert offer_finish(ledger, draft, dearer).ceiling == 2 * PRICE
    ordered = circled(ledger, draft, limits=dearer)
    assert ordered is not None
    assert ordered.why == "the finish costs up to $4.00 now, and $2.00 was agreed to"
    again = order_now(ledger, at_most_micros=2 * PRICE, who="mara", limits=dearer)
    assert again.finish is not None
    assert again.finish.quoted_micros == 2 * PRICE


def test_an_order_survives_a_stopped_account(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    with ledger.transaction(who="test", run_id=None) as tx:
        stop_account(tx.connection, ACCOUNT, StopKind.PERSON, "a test", now=tx.now())
    ordered = circled(ledger, draft)
    assert ordered is not None
    assert ordered.finish is None
    assert "a test" in (waits(ledger)[0].reason or "")


def test_a_circle_that_is_taken_back_in_time_buys_no_finish(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft(caps=Caps(total=2_399_999)))
    circled(ledger, draft)
    judge(ledger, a_verdict(draft, Word.TAKEN_BACK))
    assert waits(ledger) == []
    assert buy_ordered(ledger, limits=lambda request: request.model_copy(update={"caps": Caps()})) == []
    assert len(everything(ledger)) == 1


def test_a_failed_finish_falls_back_and_the_draft_stays(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft(fallbacks=(a_choice("other"),)))
    ordered = circled(ledger, draft, at_most_micros=2 * PRICE)
    assert ordered is not None
    assert ordered.finish is not None
    record_outcome(ledger, claimed(ledger), rejected(FailureKind.MODERATION))
    assert waits(ledger) == []
    second = next(a for a in everything(ledger) if a.state is S.QUEUED)
    assert (second.endpoint, second.finishes, second.decision) == ("other", draft.id, ordered.finish.decision)
    carried(ledger, failing=True)
    (wait,) = waits(ledger)
    assert (wait.draft.id, wait.decision) == (draft.id, None)
    assert "failed" in (wait.reason or "")
    assert buy_ordered(ledger) == []
    # a person orders it anew, which is another decision
    again = order_now(ledger, at_most_micros=2 * PRICE, who="ana")
    assert again.finish is not None
    assert again.finish.decision == f"finish:{draft.id}:3"
    carried(ledger)
    assert selects_of(ledger, [CLIP])[CLIP].take.attempt.id == again.finish.id


def test_a_finish_follows_another_purchase_in_its_slot(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    decide(ledger, [a_draft()], Decision("retake", regenerate=True))
    ordered = circled(ledger, draft)
    assert ordered is not None
    assert "in its slot" in (ordered.why or "")
    carried(ledger)
    (done,) = buy_ordered(ledger)
    assert done.finish is not None
    # and a retake does not come between a draft and its finish
    (refused,) = decide(ledger, [a_draft()], Decision("another", regenerate=True))
    assert (refused.ruling, refused.reason) == (
        Ruling.REFUSED,
        f"the finish of an earlier draft of {CLIP} is on its way",
    )
    carried(ledger)
    assert ledger.current([CLIP])[CLIP].id == done.finish.id


def test_a_select_stays_current_until_the_finish_of_a_newer_draft_is_there(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    circled(ledger, draft)
    (first,) = carried(ledger)
    decide(ledger, [a_draft()], Decision("retake", regenerate=True))
    (newer,) = carried(ledger)
    circled(ledger, newer)
    assert ledger.current([CLIP])[CLIP].id == first.id
    (second,) = carried(ledger)
    assert ledger.current([CLIP])[CLIP].id == second.id
    assert [a.finishes for a in everything(ledger)] == [None, draft.id, None, newer.id]


def test_a_finish_whose_draft_is_no_longer_circled_waits_like_any_take(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    circled(ledger, draft)
    judge(ledger, a_verdict(draft, Word.TAKEN_BACK))
    (finish,) = carried(ledger)
    assert (finish.state, ledger.current([CLIP]), selects_of(ledger, [CLIP])) == (S.DELIVERED, {}, {})
    assert [one.take for one in waiting(ledger)] == [finish.id]


def test_the_provider_finishes_the_very_draft_while_it_keeps_it(ledger: Ledger, clock: Clock) -> None:
    decide(ledger, [a_draft(same_shot=True, days=7)], Decision("monday"))
    (draft,) = carried(ledger, draft_id="d-77")
    judge(ledger, a_verdict(draft))
    (wait,) = waits(ledger)
    assert wait.ends_at == (draft.finished_at or 0) + 7 * 86_400
    clock.forward(7 * 86_400)
    late = order_now(ledger, at_most_micros=PRICE, who="ana")
    assert "no longer keeps the draft" in (late.why or "")
    clock.forward(-3 * 86_400)
    done = order_now(ledger, at_most_micros=PRICE, who="ana")
    assert done.finish is not None
    assert done.finish.request.body == {"draft_id": "d-77", "resolution": "1080p"}
    assert done.finish.request.finishes is not None
    assert done.finish.request.finishes.draft_id == "d-77"


def test_a_draft_without_a_provider_id_cannot_be_finished_as_the_same_shot(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft(same_shot=True))
    ordered = circled(ledger, draft)
    assert ordered is not None
    assert "gave this draft no id" in (ordered.why or "")


def test_a_policy_that_chooses_a_draft_buys_its_finish(ledger: Ledger, clock: Clock) -> None:
    review = Review(by="person", within_seconds=60, otherwise=Otherwise.NEWEST)
    (draft,) = bought(ledger, a_draft(review=review))
    clock.forward(61)
    (verdict,) = decide_due(ledger)
    assert verdict.verdict.take == draft.id
    assert carried(ledger) == [], "the finish is only ordered"
    buy_ordered(ledger)
    (finish,) = carried(ledger)
    assert finish.finishes == draft.id
    assert ledger.current([CLIP])[CLIP].id == finish.id


def test_a_policy_buys_no_finish_that_became_dearer_after_its_draft(ledger: Ledger, clock: Clock) -> None:
    review = Review(by="person", within_seconds=60, otherwise=Otherwise.NEWEST)
    bought(ledger, a_draft(review=review))
    clock.forward(61)
    decide_due(ledger)
    (waiting_one,) = buy_ordered(ledger, limits=dearer)
    assert waiting_one.why == "the finish costs up to $4.00 now, and $2.00 was agreed to"
    assert everything(ledger)[-1].finishes is None
    (done,) = buy_ordered(ledger)
    assert done.finish is not None
    assert done.finish.quoted_micros == PRICE


def test_a_late_job_of_a_finish_is_a_spare_take(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    circled(ledger, draft)
    (finish,) = carried(ledger)
    with ledger.transaction(who="test", run_id=None) as tx:
        spare = keep(tx, tx.attempt(finish.id), None, NamedJob("job-late", None, "listing"))
    assert (spare.finishes, spare.is_spare) == (draft.id, True)
    attempt = polls.record_end(ledger, spare, a_state(), NEVER_CHARGED)
    deliveries.record_delivered(ledger, attempt.id, {"uri": "s3://b/late.mp4"})
    assert ledger.current([CLIP])[CLIP].id == finish.id


def test_a_failed_finish_that_turns_up_late_is_looked_at_before_another_is_bought(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    circled(ledger, draft)
    carried(ledger, failing=True)
    finish = everything(ledger)[-1]
    # another finish is ordered, and waits for the end of a stop
    stop(ledger, reason="the bill is being checked")
    order_now(ledger, at_most_micros=PRICE, who="ana")

    spare = keep_late(ledger, finish, a_state(), NEVER_CHARGED)
    start(ledger)

    assert spare is not None
    (wait,) = waits(ledger)
    assert wait.decision is None
    assert f"spare take {spare.id}" in (wait.reason or "")
    assert buy_ordered(ledger) == []
    # a person who has looked at it may still buy one
    again = order_now(ledger, at_most_micros=PRICE, who="ana")
    assert again.finish is not None


def test_a_finish_that_fails_leaves_the_order_of_another_draft_as_it_is(ledger: Ledger) -> None:
    decide(ledger, [a_draft(takes=2)], Decision("monday"))
    first, second = carried(ledger)
    circled(ledger, first)
    submission = claimed(ledger)
    finish = record_outcome(ledger, submission, accepted("job-finish"))
    stop(ledger, reason="the bill is being checked")
    circled(ledger, second)

    polls.record_end(ledger, finish, a_state(JobStatus.FAILED), NEVER_CHARGED)

    (wait,) = waits(ledger)
    assert (wait.draft.id, wait.ordered_by) == (second.id, "mira")
    assert "the bill is being checked" in (wait.reason or "")
    start(ledger)
    (done,) = buy_ordered(ledger)
    assert done.finish is not None
    assert done.finish.finishes == second.id


# Two processes at once


@pytest.mark.slow
def test_two_processes_that_circle_the_same_draft_buy_one_finish(ledger_url: str) -> None:
    with Ledger(ledger_url, budget=Budget()) as ledger:
        drafts = [bought(ledger, a_draft(clip=f"clip-{number}"), f"d{number}")[0] for number in range(6)]
        together = threading.Barrier(3)

        def person(number: int) -> int:
            mine = 0
            with Ledger(ledger_url, budget=Budget()) as own:
                for draft in drafts:
                    together.wait(120)
                    verdict = a_verdict(draft, who=f"person-{number}")
                    ordered = judge_and_finish(own, verdict, at_most_micros=PRICE)[1]
                    mine += ordered is not None and ordered.finish is not None
            return mine

        def sensor() -> int:
            with Ledger(ledger_url, budget=Budget()) as own:
                mine = 0
                for _ in drafts:
                    together.wait(120)
                    mine += sum(done.finish is not None for done in buy_ordered(own))
                return mine

        with ThreadPoolExecutor(3) as pool:
            people = [pool.submit(person, number) for number in range(2)]
            third = pool.submit(sensor)
            bought_by = [*(one.result() for one in people), third.result()]
        assert sum(bought_by) == len(drafts)
        assert sorted(a.finishes for a in everything(ledger) if a.finishes) == sorted(d.id for d in drafts)


def a_stale_order(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> list[FinishOrdered]:
    """Carry out an order that was read before another process bought its finish, after that finish is delivered."""
    (draft,) = bought(ledger, a_draft(caps=Caps(total=2_399_999)))
    circled(ledger, draft)
    read = waits(ledger)
    unlimited = lambda request: request.model_copy(update={"caps": Caps()})  # noqa: E731
    assert len(buy_ordered(ledger, limits=unlimited)) == 1
    carried(ledger)
    monkeypatch.setattr(waiting_finishes, "waiting", lambda *_, **__: read)
    return buy_ordered(ledger, limits=unlimited)


def test_the_index_refuses_a_second_finish_of_a_draft(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert a_stale_order(ledger, monkeypatch) == []
    assert len(everything(ledger)) == 2


def test_without_the_index_a_stale_order_buys_a_second_finish(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    with ledger.write() as connection:
        connection.execute(sa.text("DROP INDEX one_finish_per_draft"))
    (again,) = a_stale_order(ledger, monkeypatch)
    assert again.finish is not None
    assert len({a.id for a in everything(ledger) if a.finishes}) == 2


def test_the_yield_compares_drafts_with_direct_purchases(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    bought(ledger, a_draft(clip="city-night"))
    circled(ledger, draft)
    *_, straight = bought(ledger, a_request(clip="bay-dawn", series="bay"))
    judge(ledger, a_verdict(straight))
    before = {line.name: (line.spent_micros, line.circled) for line in read_yield(ledger, YieldBy.WAY)}
    assert before == {"draft, then finish": (2_800_000, 1), "straight": (400_000, 1)}


def test_a_circle_that_is_sent_again_after_its_finish_failed_orders_no_other_finish(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    verdict = a_verdict(draft, named="sent-twice")
    _, ordered = judge_and_finish(ledger, verdict, at_most_micros=PRICE)
    assert ordered is not None
    assert ordered.finish is not None
    carried(ledger, failing=True)

    _, again = judge_and_finish(ledger, verdict, at_most_micros=PRICE)
    assert again is None
    assert queue.queue_length(ledger, ACCOUNT) == 0
    # a person who orders again buys the next one
    assert order_now(ledger, at_most_micros=PRICE, who="mira").finish is not None


def test_an_order_buys_only_the_finish_whose_price_was_shown(ledger: Ledger) -> None:
    decide(ledger, [a_draft(takes=2)], Decision("monday"))
    first, second = carried(ledger)
    judge(ledger, a_verdict(first))
    shown = offer_finish(ledger, first).decision
    judge(ledger, a_verdict(second))

    with pytest.raises(DailiesError, match="another draft is circled"):
        order_finish(ledger, CLIP, decision=shown, at_most_micros=PRICE, who="ana")
    assert queue.queue_length(ledger, ACCOUNT) == 0
    assert [wait.decision for wait in waits(ledger)] == [None]


def test_an_order_that_is_sent_again_after_its_finish_failed_buys_no_other(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    judge(ledger, a_verdict(draft))
    shown = offer_finish(ledger, draft).decision
    assert order_finish(ledger, CLIP, decision=shown, at_most_micros=PRICE, who="ana").finish is not None
    carried(ledger, failing=True)

    with pytest.raises(DailiesError, match="a finish was bought meanwhile"):
        order_finish(ledger, CLIP, decision=shown, at_most_micros=PRICE, who="ana")
    assert queue.queue_length(ledger, ACCOUNT) == 0


def test_a_draft_that_is_no_longer_circled_is_not_finished_whatever_the_list_shows(ledger: Ledger) -> None:
    decide(ledger, [a_draft(takes=2)], Decision("monday"))
    draft, other = carried(ledger)
    judge(ledger, a_verdict(draft))
    judge(ledger, a_verdict(draft, Word.TAKEN_BACK))
    # the state that a withdrawal of the finish leaves at the moment of the verdict
    stale = {"clip": CLIP, "draft": draft.id, "since": 0.0, "reason": "withdrawn"}
    with ledger.write() as connection:
        connection.execute(sa.insert(review_tables.waiting_finishes).values(stale))
    with pytest.raises(DailiesError, match="no circled draft that lacks a finish"):
        order_now(ledger, at_most_micros=PRICE, who="mira")
    judge(ledger, a_verdict(other))
    with ledger.write() as connection:
        connection.execute(sa.update(review_tables.waiting_finishes).values(draft=draft.id))
    shown = offer_finish(ledger, other).decision
    finish = order_finish(ledger, CLIP, decision=shown, at_most_micros=PRICE, who="mira").finish
    assert finish is not None
    assert finish.finishes == other.id


@pytest.mark.parametrize("days", [7, None])
def test_a_clip_that_waits_says_when_its_provider_forgets_the_draft(ledger: Ledger, days: int | None) -> None:
    (draft,) = bought(ledger, a_draft(same_shot=days is not None, days=days))
    (clip,) = waiting(ledger)
    assert clip.draft_ends_at == waiting_finishes.end_of(draft)
    assert (clip.draft_ends_at is None) == (days is None)


def test_a_waiting_clip_shows_the_price_of_its_drafts_apart_from_its_whole_cost(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    circled(ledger, draft)
    (finish,) = carried(ledger)
    judge(ledger, a_verdict(finish, Word.REJECTED))
    decide(ledger, [a_draft()], Decision("tuesday", regenerate=True))
    (again,) = carried(ledger)
    (clip,) = waiting(ledger)
    assert (again.is_draft, clip.take) == (True, again.id)
    assert clip.drafts_micros == draft.cost_micros + again.cost_micros > 0
    assert clip.spent_micros == clip.drafts_micros + finish.cost_micros


# Orders that are repeated, and orders that a person sees too late


def test_a_circle_that_is_sent_again_orders_nothing_for_the_draft_that_is_circled_meanwhile(
    ledger: Ledger,
) -> None:
    decide(ledger, [a_draft(takes=2)], Decision("monday"))
    first, second = carried(ledger)
    verdict = a_verdict(first, named="sent-twice", who="ana")
    stop(ledger, reason="the bill is being checked")
    judge_and_finish(ledger, verdict, at_most_micros=PRICE)
    # a person without the right to buy prefers the other draft
    judge(ledger, a_verdict(second, who="judge"))
    start(ledger)

    _, again = judge_and_finish(ledger, verdict, at_most_micros=PRICE)

    assert again is None
    assert [wait.decision for wait in waits(ledger)] == [None]
    assert queue.queue_length(ledger, ACCOUNT) == 0


def test_a_circle_that_is_sent_again_does_not_give_back_an_order_that_was_cancelled(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    verdict = a_verdict(draft, named="sent-twice", who="ana")
    stop(ledger, reason="the bill is being checked")
    judge_and_finish(ledger, verdict, at_most_micros=PRICE)
    judge(ledger, a_verdict(draft, Word.TAKEN_BACK, who="mira"))
    judge(ledger, a_verdict(draft, who="judge"))
    start(ledger)

    assert judge_and_finish(ledger, verdict, at_most_micros=PRICE)[1] is None
    assert [wait.decision for wait in waits(ledger)] == [None]


def test_a_circle_that_is_sent_again_leaves_a_later_order_as_it_is(ledger: Ledger) -> None:
    (draft,) = bought(ledger, a_draft())
    verdict = a_verdict(draft, named="sent-twice", who="ana")
    judge_and_finish(ledger, verdict, at_most_micros=PRICE, limits=dearer)
    stop(ledger, reason="the bill is being checked")
    order_now(ledger, at_most_micros=2 * PRICE, who="mara", limits=dearer)

    _, again = judge_and_finish(ledger, verdict, at_most_micros=PRICE, limits=dearer)

    assert again is not None
    assert "the bill is being checked" in (again.why or "")
    (wait,) = waits(ledger)
    assert (wait.at_most_micros, wait.ordered_by) == (2 * PRICE, "mara")


@pytest.mark.parametrize("otherwise", [Otherwise.NEWEST, Otherwise.BEST_CHECKS])
def test_a_policy_holds_a_clip_whose_only_unjudged_take_is_a_finished_draft(
    ledger: Ledger, clock: Clock, otherwise: Otherwise
) -> None:
    """The draft cannot be circled: the policy would try it again at every tick."""
    review = Review(by="person", within_seconds=60, otherwise=otherwise)
    (draft,) = bought(ledger, a_draft(review=review))
    circled(ledger, draft)
    (finish,) = carried(ledger)
    judge(ledger, a_verdict(finish, Word.REJECTED))
    clock.forward(61)

    (held,) = decide_due(ledger)

    assert held.verdict.word is Word.NOTED
    assert decide_due(ledger) == []
    (clip,) = waiting(ledger)
    assert (clip.decide_at, clip.held_at) == (None, held.at)


def test_a_policy_circles_the_finish_and_not_its_draft(ledger: Ledger, clock: Clock) -> None:
    review = Review(by="person", within_seconds=60, otherwise=Otherwise.BEST_CHECKS)
    (draft,) = bought(ledger, a_draft(review=review))
    circled(ledger, draft)
    judge(ledger, a_verdict(draft, Word.TAKEN_BACK))
    submission = claimed(ledger)
    job = record_outcome(ledger, submission, accepted("job-finish"))
    finish = polls.record_end(ledger, job, a_state(), NEVER_CHARGED)
    delivery = {"uri": "s3://b/finish.mp4", "checks": {"motion": "warned"}}
    deliveries.record_delivered(ledger, finish.id, delivery)
    clock.forward(61)

    (decided,) = decide_due(ledger)

    assert (decided.verdict.take, decided.verdict.word) == (finish.id, Word.CIRCLED)


def test_orders_that_wait_for_long_keep_no_later_order_back(ledger: Ledger, clock: Clock) -> None:
    for number in range(3):
        name = f"capped-{number}"
        (capped,) = bought(ledger, a_draft(clip=name, series=name, caps=Caps(total=400_000)), name)
        circled(ledger, capped)
        clock.forward(1)
    (draft,) = bought(ledger, a_draft())
    stop(ledger, reason="the bill is being checked")
    circled(ledger, draft)
    start(ledger)

    done = buy_ordered(ledger, most=1)

    assert [one.finish.clip for one in done if one.finish] == [CLIP]


@pytest.mark.parametrize("word", [Word.TAKEN_BACK, Word.REJECTED])
def test_a_failed_finish_of_a_draft_that_nobody_wants_any_more_is_not_bought_again(
    ledger: Ledger, word: Word
) -> None:
    (draft,) = bought(ledger, a_draft(fallbacks=(a_choice("other"),)))
    circled(ledger, draft, at_most_micros=2 * PRICE)
    submission = claimed(ledger)
    judge(ledger, a_verdict(draft, word))

    finish = record_outcome(ledger, submission, rejected(FailureKind.MODERATION))

    assert queue.queue_length(ledger, ACCOUNT) == 0
    assert "its draft is no longer circled" in (everything(ledger)[-1].reason or "")
    assert finish.state is S.REJECTED
