"""Fallbacks: bought only after the provider itself reported that there is no clip, within the decision and its caps."""

import pytest
from ledgerkit import (
    DEADLINE,
    NEVER_CHARGED,
    a_request,
    a_state,
    accepted,
    claimed,
    decided,
    everything,
    queued,
    rejected,
)

from proof.clock import Clock
from resources.ledger import limits, outcomes, polls
from resources.ledger.budget import Budget
from resources.ledger.decisions import Ruling
from resources.ledger.ledger import Ledger
from resources.ledger.lost.closures import RESUBMISSIONS, close_absent
from resources.ledger.outcomes import record_outcome
from resources.ledger.records import Attempt
from resources.ledger.recovery.mark import OnItsWay
from resources.ledger.recovery.rebuild import Taken, take_back
from resources.ledger.states import AttemptState, MoneyState
from resources.orders import Caps, Choice, ClipRequest, Expected
from resources.providers.base import FailureKind, JobStatus, NotSent, Rejected, SubmitOutcome, Unknown

CHEAP = Choice(
    provider="wavespeed",
    endpoint="bytedance/seedance-2.0/text-to-video",
    body={"prompt": "a city at sunset", "duration": 5},
    price_micros=300_000,
    expected=Expected(duration=5),
    max_seconds=900,
)
OTHER = CHEAP.model_copy(
    update={"provider": "aimlapi", "endpoint": "bytedance/seedance-2-0", "price_micros": 500_000}
)


def asked(*fallbacks: Choice, **changes: object) -> ClipRequest:
    return a_request(**{"fallbacks": fallbacks or (CHEAP, OTHER), **changes})  # type: ignore[arg-type]


def answer(ledger: Ledger, outcome: SubmitOutcome, account: str = "wavespeed") -> Attempt:
    return record_outcome(ledger, claimed(ledger, account), outcome)


def fails(ledger: Ledger, kind: FailureKind, job: str, account: str = "wavespeed") -> Attempt:
    attempt = answer(ledger, accepted(job), account)
    return polls.record_end(ledger, attempt, a_state(JobStatus.FAILED, failure=kind), NEVER_CHARGED)


def newest(ledger: Ledger) -> Attempt:
    return everything(ledger)[-1]


def states(ledger: Ledger) -> list[tuple[str, str]]:
    return [(attempt.endpoint, attempt.state.value) for attempt in everything(ledger)]


@pytest.mark.parametrize("kind", [FailureKind.MODERATION, FailureKind.INVALID, FailureKind.AUTH])
def test_a_definite_refusal_buys_the_fallback(ledger: Ledger, kind: FailureKind) -> None:
    request = asked()
    first = queued(ledger, request, decision="tick", batch="run-1", watched_by="run-1")
    answer(ledger, Rejected(kind, "no", 403 if kind is FailureKind.AUTH else 400))
    second = newest(ledger)
    assert states(ledger) == [(first.endpoint, "rejected"), (CHEAP.endpoint, "queued")]
    assert (second.decision, second.batch, second.watched_by) == ("tick", "run-1", "run-1")
    assert (second.request.body, second.request.max_seconds) == (CHEAP.body, CHEAP.max_seconds)
    assert second.quoted_micros == CHEAP.price_micros
    assert second.request.asked is not None
    assert (second.request.asked.endpoint, second.request.asked.provider) == (first.endpoint, "wavespeed")
    assert second.fingerprint == first.fingerprint == request.fingerprint
    assert "in place of openai/sora-2/text-to-video of wavespeed" in ledger.history(second.id)[0]["why"]


@pytest.mark.parametrize("kind", [FailureKind.MODERATION, FailureKind.PROVIDER, FailureKind.NO_OUTPUT])
def test_a_failed_job_buys_the_fallback(ledger: Ledger, kind: FailureKind) -> None:
    queued(ledger, asked())
    fails(ledger, kind, "job-1")
    assert states(ledger)[1:] == [(CHEAP.endpoint, "queued")]


def test_each_model_has_its_own_limited_tries(ledger: Ledger) -> None:
    first = queued(ledger, asked(max_attempts=2))
    for number in range(4):
        fails(ledger, FailureKind.PROVIDER, f"job-{number}")
    for number in range(4, 6):
        fails(ledger, FailureKind.PROVIDER, f"job-{number}", "aimlapi")
    bought = [endpoint for endpoint, _ in states(ledger)]
    assert bought == [first.endpoint] * 2 + [CHEAP.endpoint] * 2 + [OTHER.endpoint] * 2
    assert {attempt.state for attempt in everything(ledger)} == {AttemptState.FAILED}
    again = decided(ledger, asked(max_attempts=2))
    assert again.ruling is Ruling.REFUSED


def test_a_fallback_is_bought_on_its_own_account(ledger: Ledger) -> None:
    queued(ledger, asked(OTHER))
    fails(ledger, FailureKind.MODERATION, "job-1")
    second = newest(ledger)
    assert (second.provider, second.account) == ("aimlapi", "aimlapi")


@pytest.mark.slow
@pytest.mark.parametrize(
    "outcome", [Unknown("time-out"), NotSent("no route"), rejected(FailureKind.THROTTLED), rejected(FailureKind.INSUFFICIENT_FUNDS), Rejected(FailureKind.AUTH, "key", 401), Rejected(FailureKind.INVALID, "the file is gone", 0)]
)  # fmt: skip
def test_no_other_outcome_buys_the_fallback(ledger: Ledger, outcome: SubmitOutcome) -> None:
    queued(ledger, asked())
    answer(ledger, outcome)
    assert len(everything(ledger)) == 1


def test_an_unknown_outcome_never_buys_the_fallback(ledger: Ledger, clock: Clock) -> None:
    first = queued(ledger, asked())
    submission = claimed(ledger)
    clock.forward(DEADLINE + limits.LEASE_MARGIN_SECONDS + 1)
    (unknown,) = outcomes.expire_submissions(ledger, "wavespeed")
    assert unknown.state is AttemptState.UNKNOWN
    assert decided(ledger, asked()).ruling is Ruling.ADOPTED
    with ledger.transaction(who="test", run_id=None) as tx:
        changed = close_absent(tx, unknown, submission.id, why="it is proved", again=RESUBMISSIONS)
    # proved absent: the same order is bought again, and nothing else
    assert [attempt.endpoint for attempt in changed] == [first.endpoint] * 2


def test_a_vanished_job_never_buys_the_fallback_since_it_may_be_charged(ledger: Ledger) -> None:
    queued(ledger, asked())
    attempt = answer(ledger, accepted())
    polls.record_end(ledger, attempt, a_state(JobStatus.GONE), NEVER_CHARGED)
    assert [state for _, state in states(ledger)] == ["vanished"]
    assert everything(ledger)[0].money_state is MoneyState.INDETERMINATE
    assert decided(ledger, asked()).ruling is Ruling.REFUSED


def test_a_fallback_never_exceeds_a_cap(ledger_url: str, clock: Clock) -> None:
    request = asked(price_micros=200_000, caps=Caps(per_day=400_000))
    with Ledger(ledger_url, clock=clock, budget=Budget()) as ledger:
        queued(ledger, request)
        queued(ledger, a_request("city-other", caps=Caps(per_day=400_000), price_micros=150_000))
        ended = answer(ledger, rejected(FailureKind.MODERATION))
        kept = ledger.attempts([ended.id])[ended.id]
        assert "not tried again: the cap of the series city for the day" in (kept.reason or "")
        assert len(everything(ledger)) == 2
    with Ledger(ledger_url, clock=clock, budget=Budget()) as ledger:
        more = request.model_copy(update={"caps": Caps(per_day=900_000)})
        # with money again, the same decision continues where it stopped
        ruling = decided(ledger, more)
        assert ruling.ruling is Ruling.NEW
        assert ruling.attempt is not None
        assert ruling.attempt.endpoint == CHEAP.endpoint


def test_a_fallback_of_unknown_price_is_not_bought(ledger: Ledger) -> None:
    queued(ledger, asked(CHEAP.model_copy(update={"price_micros": None})))
    ended = answer(ledger, rejected(FailureKind.MODERATION))
    assert "not tried again: the price of" in (ledger.attempts([ended.id])[ended.id].reason or "")


def test_a_clip_that_a_fallback_delivered_is_delivered(ledger: Ledger) -> None:
    from resources.ledger.deliveries import record_delivered

    request = asked()
    queued(ledger, request)
    answer(ledger, rejected(FailureKind.MODERATION))
    attempt = answer(ledger, accepted())
    done = polls.record_end(ledger, attempt, a_state(), NEVER_CHARGED)
    record_delivered(ledger, done.id, {"uri": "s3://b/c"})
    for decision in ("monday", "tuesday"):
        ruling = decided(ledger, request, decision=decision)
        assert ruling.ruling is Ruling.REUSED
        assert ruling.attempt is not None
        assert ruling.attempt.id == done.id


def test_an_edited_clip_does_not_use_the_fallbacks_of_its_old_order(ledger: Ledger) -> None:
    queued(ledger, asked(CHEAP.model_copy(update={"price_micros": None})))
    answer(ledger, rejected(FailureKind.MODERATION))
    edited = asked(prompt="a city at dawn")
    assert decided(ledger, edited).ruling is Ruling.REFUSED
    assert decided(ledger, edited, decision="tuesday").ruling is Ruling.NEW


def test_a_fallback_keeps_owner_caps_and_clip() -> None:
    cast = {"mara": "char_1"}
    ways = [CHEAP.model_copy(update={"cast": cast}), OTHER]
    request = asked(owner="team:video", caps=Caps(total=1), cast=cast, fallbacks=ways)
    second = request.fall_back()
    assert second is not None
    third = second.fall_back()
    assert third is not None
    assert third.fall_back() is None
    assert (third.owner, third.caps, third.clip) == (request.owner, request.caps, request.clip)
    assert (second.cast, third.cast) == (cast, {}), "each model's order has its own characters"
    assert third.asked == second.asked
    assert third.fingerprint == request.fingerprint
    assert ClipRequest.model_validate_json(third.model_dump_json()) == third


def test_the_request_of_a_purchase_is_found_by_its_endpoint() -> None:
    request = asked()
    assert request.as_bought(request.provider, request.endpoint) == request
    second = request.as_bought("wavespeed", CHEAP.endpoint)
    assert second == request.fall_back()
    third = request.as_bought("aimlapi", OTHER.endpoint)
    assert third is not None
    assert (third.body, third.fingerprint) == (OTHER.body, request.fingerprint)
    assert request.as_bought("aimlapi", CHEAP.endpoint) is None


def test_a_rebuild_restores_open_fallbacks_and_characters_as_such(ledger: Ledger) -> None:
    second = asked().fall_back()
    assert second is not None
    mara = a_request("mara", kind="character", endpoint="openai/sora-2/characters", body={"name": "Mara"})
    for number, request in enumerate((second, mara)):
        item = OnItsWay(
            clip=request.clip,
            series=request.series,
            fingerprint=request.fingerprint,
            provider=request.provider,
            account=request.provider,
            endpoint=request.endpoint,
            attempt=f"attempt-{number}",
            decision="monday",
            submission=f"post-{number}",
            job=f"job-{number}",
            sent_at=ledger.clock(),
            quoted_micros=1000,
        )
        assert take_back(ledger, item, request) is Taken.ADOPTED
    found = {attempt.subject_key: attempt for attempt in ledger.attempts(["attempt-0", "attempt-1"]).values()}
    assert found[second.clip].endpoint == CHEAP.endpoint
    assert found[second.clip].fingerprint == asked().fingerprint
    assert found["mara"].subject_kind == "character"
