"""A rebuilt ledger finishes no draft twice, whatever an old copy knows, and the circle reaches the finish."""

import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from ledgerkit import ACCOUNT, NEVER_CHARGED, a_request, a_state, accepted, claimed, everything
from verdictkit import a_verdict

from resources.errors import DailiesError
from resources.ledger import counters, deliveries, polls
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.finishes import buy_ordered
from resources.ledger.ledger import Ledger
from resources.ledger.outcomes import record_outcome
from resources.ledger.records import Attempt
from resources.ledger.recovery.mark import OnItsWay, mark_of
from resources.ledger.recovery.rebuild import (
    ManifestTake,
    Taken,
    pass_circles_on,
    record_take,
    take_back,
    withdraw_orders,
    withdraw_queued,
)
from resources.ledger.selects import selects_of
from resources.ledger.states import AttemptState, MoneyState
from resources.ledger.verdicts import judge, record_stored, verdicts_of
from resources.ledger.waiting_clips import waiting
from resources.orders import Caps, ClipRequest
from tests.ledger.test_finishes import CLIP, PRICE, a_draft, bought, carried, circled, order_now, waits

S = AttemptState


@pytest.fixture(autouse=True)
def _the_books_agree(ledger: Ledger) -> Any:
    yield
    with ledger.read() as connection:
        counted = {scope: n for scope, n in counters.counted(connection).items() if n}
        assert counted == {scope: n for scope, n in counters.recounted(connection).items() if n}


def stored(attempt: Attempt, /, **changes: Any) -> ManifestTake:
    """The manifest of a delivered take."""
    take = ManifestTake(
        attempt=attempt.id,
        request=attempt.request,
        fingerprint=attempt.fingerprint,
        account=attempt.account,
        decision=attempt.decision,
        submission=None,
        job=attempt.job_id,
        money=MoneyState.CONFIRMED,
        charged_micros=attempt.cost_micros,
        charge_source="answer",
        submitted_at=attempt.submitted_at or 0.0,
        finished_at=attempt.finished_at or 0.0,
        delivered_at=attempt.delivered_at or 0.0,
        served_model=None,
        inference_seconds=None,
        delivery=attempt.delivery or {},
        quarantined=None,
        run_id="run-1",
        draft=attempt.is_draft,
    )
    return replace(take, **changes)


def another_finish(finish: Attempt, /, **changes: Any) -> ManifestTake:
    """A delivered finish of the same draft that a copy of the ledger does not know."""
    values = {"attempt": uuid.uuid4().hex, "job": f"job-{uuid.uuid4().hex}", "submission": uuid.uuid4().hex}
    at = finish.created_at + 60.0
    times = {"submitted_at": at, "finished_at": at + 60.0, "delivered_at": at + 90.0}
    return stored(finish, **{"charged_micros": PRICE, **values, **times, **changes})


def verdicts_into(ledger: Ledger, lost: Ledger, *, but: str = "") -> None:
    for given in verdicts_of(lost, [CLIP]).values():
        for one in given:
            if one.verdict.way != but:
                assert record_stored(ledger, one.verdict, clip=one.clip, at=one.at)


def finished_clip(lost: Ledger) -> tuple[Attempt, Attempt]:
    (draft,) = bought(lost, a_draft())
    circled(lost, draft)
    (finish,) = carried(lost)
    return draft, finish


@pytest.fixture
def lost(tmp_path: Path) -> Any:
    with Ledger(f"sqlite:///{tmp_path}/lost.db", budget=Budget()) as opened:
        yield opened


@pytest.mark.parametrize("forgotten", ["", "finish"])
def test_a_delivered_finish_is_the_select_again(ledger: Ledger, lost: Ledger, forgotten: str) -> None:
    """The bucket may lack the finish's own circle: the ledger was lost before it stored the circle."""
    draft, finish = finished_clip(lost)
    for take in (draft, finish):
        assert record_take(ledger, stored(take)) is Taken.ADOPTED
    verdicts_into(ledger, lost, but=forgotten)
    pass_circles_on(ledger)
    assert selects_of(ledger, [CLIP])[CLIP].take.attempt.id == finish.id
    assert ledger.current([CLIP])[CLIP].id == finish.id
    assert (waiting(ledger), waits(ledger), buy_ordered(ledger)) == ([], [], [])
    with pytest.raises(DailiesError, match="no circled draft that lacks a finish"):
        order_now(ledger, at_most_micros=PRICE, who="ana")
    with pytest.raises(DailiesError, match="is finished"):
        judge(ledger, a_verdict(draft))
    (again,) = decide(ledger, [a_draft()], Decision("tuesday"))
    assert again.ruling is Ruling.REUSED
    assert [a.id for a in everything(ledger)] == [draft.id, finish.id]
    assert pass_circles_on(ledger) == [], "a repeated rebuild has nothing to do"


@pytest.mark.parametrize("job", ["job-of-the-finish", None])
def test_an_open_finish_is_fetched_and_not_ordered_again(
    ledger: Ledger, lost: Ledger, job: str | None
) -> None:
    (draft,) = bought(lost, a_draft())
    circled(lost, draft)
    submission = claimed(lost)
    if job is not None:
        record_outcome(lost, submission, accepted(job))
    (item,) = mark_of(lost).on_their_way
    assert (item.finishes and item.finishes.attempt, item.draft) == (draft.id, False)
    record_take(ledger, stored(draft))
    verdicts_into(ledger, lost)
    assert [wait.decision for wait in waits(ledger)] == [None]
    for taken in (Taken.ADOPTED, Taken.KNOWN):
        assert take_back(ledger, item, submission.attempt.request) is taken
    assert (waits(ledger), buy_ordered(ledger), pass_circles_on(ledger)) == ([], [], [])
    with pytest.raises(DailiesError, match="no circled draft that lacks a finish"):
        order_now(ledger, at_most_micros=PRICE, who="ana")
    _, finish = everything(ledger)
    assert (finish.id, finish.finishes, finish.slot) == (submission.attempt.id, draft.id, draft.slot)
    if job is not None:
        polls.record_end(ledger, finish, a_state(), NEVER_CHARGED)
        deliveries.record_delivered(ledger, finish.id, {"uri": "s3://b/finish.mp4"})
        assert selects_of(ledger, [CLIP])[CLIP].take.attempt.id == finish.id
    assert len(everything(ledger)) == 2


def test_a_draft_that_nobody_has_judged_waits_again(ledger: Ledger, lost: Ledger) -> None:
    (draft,) = bought(lost, a_draft())
    record_take(ledger, stored(draft))
    assert [one.take for one in waiting(ledger)] == [draft.id]
    assert (ledger.current([CLIP]), waits(ledger)) == ({}, [])


@pytest.mark.parametrize("is_draft", [True, False])
def test_a_draft_whose_prompt_is_gone_is_still_a_draft(ledger: Ledger, lost: Ledger, is_draft: bool) -> None:
    """The order of its finish is part of its prompt. False is the negative control."""
    (draft,) = bought(lost, a_draft())
    bare = a_request()
    record_take(ledger, stored(draft, request=bare, draft=is_draft))
    (there,) = everything(ledger)
    assert there.is_draft is is_draft
    assert (ledger.current([CLIP]) == {}) is is_draft


@pytest.mark.parametrize("is_draft", [True, False])
def test_an_open_draft_whose_prompt_is_gone_is_still_a_draft(
    ledger: Ledger, lost: Ledger, is_draft: bool
) -> None:
    decide(lost, [a_draft()], Decision("monday"))
    record_outcome(lost, claimed(lost), accepted("job-of-the-draft"))
    (item,) = mark_of(lost).on_their_way
    assert item.draft
    take_back(ledger, item.model_copy(update={"draft": is_draft}), a_request())
    assert [a.is_draft for a in everything(ledger)] == [is_draft]


# An old copy


def test_finishes_that_a_copy_has_ordered_or_queued_are_not_bought_after_a_rebuild(ledger: Ledger) -> None:
    """Its finish may have been bought, and may have failed, after the copy was made."""
    (capped,) = bought(ledger, a_draft(caps=Caps(total=2_399_999)))
    circled(ledger, capped)
    (other,) = bought(ledger, a_draft(clip="city-night"))
    circled(ledger, other)
    assert [a.subject_key for a in withdraw_queued(ledger)] == ["city-night"]
    assert withdraw_orders(ledger) == [CLIP]
    unlimited = lambda request: request.model_copy(update={"caps": Caps()})  # noqa: E731
    assert buy_ordered(ledger, limits=unlimited) == []
    assert {wait.clip: wait.decision for wait in waits(ledger)} == {CLIP: None, "city-night": None}
    assert all("rebuilt" in (wait.reason or "") for wait in waits(ledger))
    assert withdraw_orders(ledger) == []
    # a person's new order is bought
    ordered = order_now(ledger, "city-night", at_most_micros=PRICE, who="ana")
    assert ordered.finish is not None


def test_without_this_rule_the_order_of_a_copy_would_be_bought(ledger: Ledger) -> None:
    """The negative control."""
    (capped,) = bought(ledger, a_draft(caps=Caps(total=2_399_999)))
    circled(ledger, capped)
    unlimited = lambda request: request.model_copy(update={"caps": Caps()})  # noqa: E731
    (done,) = buy_ordered(ledger, limits=unlimited)
    assert done.finish is not None


def test_a_second_open_finish_is_kept_as_a_spare_take(ledger: Ledger) -> None:
    """Two ledgers with one bucket had each finished the draft."""
    draft, finish = finished_clip(ledger)
    second = another_finish(finish)
    assert take_back(ledger, on_its_way(second), second.request) is Taken.ADOPTED
    spare = everything(ledger)[-1]
    assert (spare.id, spare.is_spare, spare.finishes, spare.clip) == (second.attempt, True, draft.id, CLIP)
    assert ledger.current([CLIP])[CLIP].id == finish.id
    assert waits(ledger) == []


def on_its_way(take: ManifestTake) -> OnItsWay:
    request: ClipRequest = take.request
    return OnItsWay(
        clip=request.clip,
        finishes=request.finishes,
        series=request.series,
        fingerprint=take.fingerprint,
        provider=request.provider,
        account=ACCOUNT,
        endpoint=request.endpoint,
        attempt=take.attempt,
        decision=take.decision,
        submission=take.submission or "",
        job=take.job,
        sent_at=take.submitted_at,
        quoted_micros=PRICE,
    )


def test_without_the_spare_take_the_index_would_end_the_rebuild(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    _, finish = finished_clip(ledger)
    monkeypatch.setattr("resources.ledger.recovery.rebuild._other_finish", lambda *_: None)
    second = another_finish(finish)
    with pytest.raises(sa.exc.IntegrityError):
        take_back(ledger, on_its_way(second), second.request)
