"""What a bill confirms and changes, and when it is read."""

import itertools
from typing import Any

import pytest
import sqlalchemy as sa
from ledgerkit import (
    ACCOUNT,
    CHARGED_FIRST,
    NEVER_CHARGED,
    a_request,
    a_state,
    accepted,
    claimed,
    put_into,
    queued,
    read,
    submitted,
    succeeded,
    the_journal_is_whole,
)

from proof.clock import Clock
from resources.errors import DailiesError
from resources.ledger import bills, deliveries, disputes, late_jobs, polls, statement, stops
from resources.ledger.bills import MARGIN_SECONDS, READ_SECONDS, Billed, Window
from resources.ledger.database import MONEY_LOCK
from resources.ledger.disputes import DisputeKind
from resources.ledger.ledger import Ledger
from resources.ledger.outcomes import record_outcome
from resources.ledger.records import Attempt
from resources.ledger.schema import submissions
from resources.ledger.states import AttemptState, MoneyState
from resources.ledger.stops import StopKind
from resources.money import usd
from resources.providers.base import Charge, JobStatus
from resources.providers.rows import SetAside

QUOTE = usd("0.40")
S, M = AttemptState, MoneyState


def billed(ledger: Ledger, attempt: Attempt, charged: int, refunded: int = 0, **how: bool) -> Attempt:
    """The attempt after its bill was read."""
    since = (attempt.submitted_at or 0) - MARGIN_SECONDS
    bill = {bills.core(attempt.job_id or ""): Billed(charged, refunded)}
    refunds = how.get("refunds_failures", True)
    bills.record(ledger, ACCOUNT, bill, since=since, refunds_failures=refunds)
    return read(ledger, attempt)


def ended(ledger: Ledger, clock: Clock, state: AttemptState) -> Attempt:
    return put_into(ledger, clock, state)[1]


@pytest.mark.parametrize(
    ("state", "charged", "refunded", "money", "cost"),
    [
        *(
            (state, "0.40", "0", M.CONFIRMED, "0.40")
            for state in (S.SUCCEEDED, S.DELIVERED, S.QUARANTINED, S.LOST)
        ),
        *(
            (state, "0.35", "0", M.CONFIRMED, "0.35")
            for state in (S.SUCCEEDED, S.DELIVERED, S.QUARANTINED, S.LOST)
        ),
        (S.LOST, "0.40", "0.15", M.CONFIRMED, "0.25"),
        (S.LOST, "0.40", "0.40", M.REFUNDED, "0"),
        *((state, "0", "0", M.CONFIRMED, "0") for state in (S.SUCCEEDED, S.DELIVERED, S.QUARANTINED, S.LOST)),
    ],
)
def test_a_finished_job_costs_what_the_bill_says(
    ledger: Ledger,
    clock: Clock,
    state: AttemptState,
    charged: str,
    refunded: str,
    money: MoneyState,
    cost: str,
) -> None:
    after = billed(ledger, ended(ledger, clock, state), usd(charged), usd(refunded))
    assert (after.state, after.money_state, after.cost_micros) == (state, money, usd(cost))
    assert after.charge_source == "bill"
    the_journal_is_whole(ledger, after)
    assert stops.stops(ledger) == []


@pytest.mark.parametrize(
    ("refunds_failures", "charged", "refunded", "money", "cost"),
    [
        (True, "0.40", "0", M.REFUND_EXPECTED, "0.40"),
        (True, "0.40", "0.40", M.REFUNDED, "0"),
        (True, "0.40", "0.10", M.REFUND_EXPECTED, "0.30"),
        (False, "0.40", "0", M.CONFIRMED, "0.40"),
        (False, "0", "0", M.RELEASED, "0"),
    ],
)
def test_a_failed_job_costs_its_charge_less_its_refund(
    ledger: Ledger,
    refunds_failures: bool,
    charged: str,
    refunded: str,
    money: MoneyState,
    cost: str,
) -> None:
    capabilities = CHARGED_FIRST if refunds_failures else NEVER_CHARGED
    attempt = polls.record_end(ledger, submitted(ledger), a_state(JobStatus.FAILED), capabilities)
    after = billed(ledger, attempt, usd(charged), usd(refunded), refunds_failures=refunds_failures)
    assert (after.state, after.money_state, after.cost_micros) == (S.FAILED, money, usd(cost))
    the_journal_is_whole(ledger, after)


@pytest.mark.parametrize(("refunded", "money"), [("0", M.CONFIRMED), ("0.40", M.REFUNDED)])
def test_the_bill_says_what_became_of_a_job_that_vanished(
    ledger: Ledger, clock: Clock, refunded: str, money: MoneyState
) -> None:
    attempt = ended(ledger, clock, S.VANISHED)
    assert attempt.money_state is M.INDETERMINATE
    assert billed(ledger, attempt, QUOTE, usd(refunded)).money_state is money


def test_a_bill_that_is_read_twice_changes_nothing_the_second_time(ledger: Ledger, clock: Clock) -> None:
    first = billed(ledger, ended(ledger, clock, S.DELIVERED), QUOTE)
    assert billed(ledger, first, QUOTE) == first


def test_a_page_of_a_bill_is_one_transaction(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bills, "PAGE", 3)
    takes = []
    for number in range(bills.PAGE + 1):
        made = submitted(ledger, a_request(f"clip-{number}"), job_id=f"job-{number}")
        takes.append(polls.record_end(ledger, made, a_state(), CHARGED_FIRST))
        clock.forward(60)
    begun: list[str] = []
    sa.event.listen(ledger._engine, "begin", lambda _: begun.append("transaction"))
    bill = {take.job_id or "": Billed(QUOTE // 2, 0) for take in takes}
    changed = bills.record(ledger, ACCOUNT, bill, since=0, refunds_failures=True)
    assert {one.after.id: one.after.cost_micros for one in changed} == {take.id: QUOTE // 2 for take in takes}
    assert len(begun) == 3, "one transaction reads the bill's purchases, two write a page each"
    for one in changed:
        the_journal_is_whole(ledger, one.after)


def test_a_bill_changes_nothing_of_a_job_that_still_runs(ledger: Ledger) -> None:
    """WaveSpeed charges first; the final charge is known when the job has ended."""
    attempt = submitted(ledger)
    assert billed(ledger, attempt, usd("0.90")) == attempt


def test_a_refund_without_its_charge_changes_nothing(ledger: Ledger, clock: Clock) -> None:
    attempt = ended(ledger, clock, S.DELIVERED)
    assert billed(ledger, attempt, 0, QUOTE) == attempt


def test_a_job_from_before_the_bills_window_keeps_its_money(ledger: Ledger, clock: Clock) -> None:
    attempt = ended(ledger, clock, S.DELIVERED)
    since = (attempt.submitted_at or 0) - MARGIN_SECONDS + 1
    bill = {"job-1": Billed(usd("0.10"), 0)}
    assert bills.record(ledger, ACCOUNT, bill, since=since, refunds_failures=True) == []
    assert read(ledger, attempt) == attempt


def test_a_bill_above_the_quote_stops_the_account_once(ledger: Ledger, clock: Clock) -> None:
    after = billed(ledger, ended(ledger, clock, S.DELIVERED), usd("0.41"))
    assert after.cost_micros == usd("0.41")
    (stop,) = stops.stops(ledger)
    assert (stop.account, stop.kind) == (ACCOUNT, StopKind.OVERCHARGED)
    assert "$0.41 for job job-1 of city-sunset, $0.01 more" in stop.reason
    stops.start(ledger, account=ACCOUNT)
    billed(ledger, after, usd("0.41"))
    assert stops.stops(ledger) == [], "a difference that a person has seen does not stop the account again"


def test_an_answer_above_the_quote_stops_the_account_too(ledger: Ledger) -> None:
    polls.record_end(ledger, submitted(ledger), a_state(cost_micros=usd("0.50")), NEVER_CHARGED)
    (stop,) = stops.stops(ledger)
    assert stop.kind is StopKind.OVERCHARGED


OUTSIDE = [QUOTE * 1_000_000, QUOTE * 100, QUOTE * 7, QUOTE * 5 + 1, QUOTE // 5 - 1, QUOTE // 100, 1]


@pytest.mark.parametrize("charged", OUTSIDE)
@pytest.mark.parametrize("state", [S.DELIVERED, S.QUARANTINED, S.FAILED, S.VANISHED])
def test_an_amount_outside_of_the_band_is_not_booked_and_stops_the_account(
    ledger: Ledger, clock: Clock, charged: int, state: AttemptState
) -> None:
    attempt = ended(ledger, clock, state)
    assert billed(ledger, attempt, charged) == attempt
    (stop,) = stops.stops(ledger)
    assert stop.kind is StopKind.UNBELIEVABLE
    assert "not believed" in stop.reason
    (dispute,) = disputes.open_disputes(ledger)
    assert (dispute.kind, dispute.charged_micros) == (DisputeKind.AMOUNT, charged)


@pytest.mark.parametrize("charged", [QUOTE * 5, QUOTE // 5])
def test_an_amount_at_the_edge_of_the_band_is_booked(ledger: Ledger, clock: Clock, charged: int) -> None:
    assert billed(ledger, ended(ledger, clock, S.DELIVERED), charged).cost_micros == charged
    assert disputes.open_disputes(ledger) == []


def test_an_account_that_a_person_started_is_not_stopped_again_by_the_same_amount(
    ledger: Ledger, clock: Clock
) -> None:
    attempt = billed(ledger, ended(ledger, clock, S.DELIVERED), QUOTE * 100)
    stops.start(ledger, account=ACCOUNT)
    billed(ledger, attempt, QUOTE * 100)
    assert stops.stops(ledger) == []
    billed(ledger, attempt, QUOTE * 101)
    assert [stop.kind for stop in stops.stops(ledger)] == [StopKind.UNBELIEVABLE]


def test_a_later_readable_bill_is_booked_and_starts_the_account(ledger: Ledger, clock: Clock) -> None:
    attempt = billed(ledger, ended(ledger, clock, S.DELIVERED), QUOTE * 100)
    assert bills.is_due(ledger, ACCOUNT), "the charge is still unconfirmed"
    after = billed(ledger, attempt, usd("0.36"))
    assert (after.cost_micros, after.charge_source) == (usd("0.36"), "bill")
    assert stops.stops(ledger) == []
    assert disputes.open_disputes(ledger) == []


def test_an_account_starts_only_when_its_last_disputed_amount_is_settled(
    ledger: Ledger, clock: Clock
) -> None:
    first = succeeded(ledger, a_request("clip-a"), job_id="job-1")
    second = succeeded(ledger, a_request("clip-b"), job_id="job-2")
    for attempt in (first, second):
        billed(ledger, attempt, QUOTE * 100)
    billed(ledger, first, QUOTE)
    assert [stop.kind for stop in stops.stops(ledger)] == [StopKind.UNBELIEVABLE]
    billed(ledger, second, QUOTE)
    assert stops.stops(ledger) == []


def test_a_bill_is_read_again_while_it_disputes_an_amount_that_it_had_confirmed(
    ledger: Ledger, clock: Clock
) -> None:
    attempt = billed(ledger, ended(ledger, clock, S.DELIVERED), QUOTE)
    clock.forward(READ_SECONDS)
    assert bills.claim(ledger, ACCOUNT) is None
    billed(ledger, attempt, QUOTE * 100)
    assert [stop.kind for stop in stops.stops(ledger)] == [StopKind.UNBELIEVABLE]

    window = bills.claim(ledger, ACCOUNT)
    assert window is not None
    assert window.after == (attempt.submitted_at or 0) - MARGIN_SECONDS
    billed(ledger, attempt, QUOTE)
    assert stops.stops(ledger) == []
    clock.forward(READ_SECONDS)
    assert bills.claim(ledger, ACCOUNT) is None


def test_a_persons_own_stop_outlives_a_settled_amount(ledger: Ledger, clock: Clock) -> None:
    attempt = ended(ledger, clock, S.DELIVERED)
    stops.stop(ledger, reason="a holiday", account=ACCOUNT)
    billed(ledger, attempt, QUOTE * 100)
    billed(ledger, attempt, QUOTE)
    assert [stop.kind for stop in stops.stops(ledger)] == [StopKind.PERSON]


def test_a_rebuild_ends_its_own_stop_and_not_the_persons_that_has_replaced_it(
    ledger: Ledger, clock: Clock
) -> None:
    own = stops.stop(ledger, reason=f"{stops.REBUILDING} on a-host")
    assert stops.reopen(ledger, own)
    own = stops.stop(ledger, reason=f"{stops.REBUILDING} on a-host")
    persons = stops.stop(ledger, reason="a holiday")
    assert (persons.reason, persons.is_of_rebuild) == ("a holiday", False)
    assert not stops.reopen(ledger, own)
    assert stops.stops(ledger) == [persons]


def test_a_persons_stop_during_a_dispute_outlives_the_dispute(ledger: Ledger, clock: Clock) -> None:
    attempt = billed(ledger, ended(ledger, clock, S.DELIVERED), QUOTE * 100)
    assert stops.stop(ledger, reason="a holiday", account=ACCOUNT).kind is StopKind.PERSON
    billed(ledger, attempt, QUOTE)
    assert [stop.kind for stop in stops.stops(ledger)] == [StopKind.PERSON]


def test_a_bill_above_the_quote_is_reported_on_an_account_that_a_person_has_stopped(
    ledger: Ledger, clock: Clock
) -> None:
    attempt = ended(ledger, clock, S.DELIVERED)
    stops.stop(ledger, reason="a holiday", account=ACCOUNT)
    clock.now += 1
    # a person who starts the account later must still learn of it: the bill reports it once
    billed(ledger, attempt, QUOTE * 2)
    (stop,) = stops.stops(ledger)
    assert stop.kind is StopKind.OVERCHARGED
    assert stops.take_alarm(ledger, ACCOUNT) == stop
    assert stops.stop(ledger, reason="another holiday", account=ACCOUNT).kind is StopKind.OVERCHARGED


@pytest.mark.parametrize("dispute_first", [False, True])
def test_an_account_with_an_unseen_disputed_amount_stays_stopped_when_another_stop_of_it_ends(
    ledger: Ledger, clock: Clock, *, dispute_first: bool
) -> None:
    attempt = ended(ledger, clock, S.DELIVERED)
    if dispute_first:
        billed(ledger, attempt, QUOTE * 100)
        clock.now += 1
    stops.stop(ledger, reason="a holiday", account=ACCOUNT)
    clock.now += 1
    billed(ledger, attempt, QUOTE * 100)
    ended_stop = stops.start(ledger, account=ACCOUNT)
    assert ended_stop is not None
    assert ended_stop.kind is StopKind.PERSON
    (stop,) = stops.stops(ledger)
    assert stop.kind is StopKind.UNBELIEVABLE
    assert "`dailies ledger disputed` shows" in str(stop)
    assert stops.take_alarm(ledger, ACCOUNT) == stop
    clock.now += 1
    stops.start(ledger, account=ACCOUNT)
    stops.stop(ledger, reason="another holiday", account=ACCOUNT)
    clock.now += 1
    stops.start(ledger, account=ACCOUNT)
    assert stops.stops(ledger) == [], "a person has seen the amount"


def test_an_account_whose_disputed_amount_was_settled_during_a_persons_stop_buys_when_the_person_starts_it(
    ledger: Ledger, clock: Clock
) -> None:
    attempt = ended(ledger, clock, S.DELIVERED)
    stops.stop(ledger, reason="a holiday", account=ACCOUNT)
    billed(ledger, attempt, QUOTE * 100)
    disputes.accept(ledger, attempt.id, who="person mira", why="the price has risen")
    assert [stop.kind for stop in stops.stops(ledger)] == [StopKind.OVERCHARGED]
    stops.start(ledger, account=ACCOUNT)
    assert stops.stops(ledger) == []


def test_a_bill_above_the_quote_keeps_an_account_stopped_whose_disputed_amount_is_settled(
    ledger: Ledger,
) -> None:
    first = succeeded(ledger, a_request("clip-a"), job_id="job-1")
    second = succeeded(ledger, a_request("clip-b"), job_id="job-2")
    billed(ledger, first, QUOTE * 100)
    billed(ledger, second, QUOTE * 2)
    billed(ledger, first, QUOTE)
    assert [stop.kind for stop in stops.stops(ledger)] == [StopKind.OVERCHARGED]


@pytest.mark.parametrize("settled_by", ["a later bill", "a person"])
def test_a_dispute_takes_its_locks_in_the_order_of_all_others(
    ledger: Ledger, clock: Clock, settled_by: str
) -> None:
    attempt = billed(ledger, ended(ledger, clock, S.DELIVERED), QUOTE * 2 * 5)
    if ledger._engine.dialect.name != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    said: list[str] = []

    def hear(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        said.append(f"{' '.join(statement.split())} {parameters}")

    sa.event.listen(ledger._engine, "before_cursor_execute", hear)
    if settled_by == "a person":
        disputes.accept(ledger, attempt.id, who="person mira", why="the price has risen")
    else:
        billed(ledger, attempt, QUOTE // 2)

    def first(*parts: str) -> int:
        return next(at for at, one in enumerate(said) if all(part in one for part in parts))

    subject, row = first("pg_advisory_xact_lock", "hashtext"), first("FROM attempts", "FOR UPDATE")
    money, account = first("pg_advisory_xact_lock", str(MONEY_LOCK)), first("FROM accounts", "FOR UPDATE")
    assert subject < row < money < account


def test_a_disputed_amount_with_a_refund_is_shown_with_it(ledger: Ledger, clock: Clock) -> None:
    attempt = ended(ledger, clock, S.DELIVERED)
    billed(ledger, attempt, QUOTE * 100, QUOTE * 100)
    (dispute,) = disputes.open_disputes(ledger)
    assert "$40.00 of it refunded" in str(dispute)


def test_a_job_that_moves_to_another_purchase_while_its_bill_is_read_is_left_alone(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = ended(ledger, clock, S.FAILED)
    named = bills._billed_attempts

    def and_then_it_turns_up(*arguments: Any) -> list[tuple[str, str]]:
        found = named(*arguments)
        clock.forward(120)
        (due,) = late_jobs.claim_late(ledger, ACCOUNT)
        assert late_jobs.keep_late(ledger, due, a_state(), CHARGED_FIRST) is not None
        return found

    monkeypatch.setattr(bills, "_billed_attempts", and_then_it_turns_up)
    after = billed(ledger, attempt, QUOTE)
    assert (after.money_state, after.job_id, after.cost_micros) == (M.RELEASED, None, 0)


def test_a_disputed_amount_moves_with_its_job_to_the_spare_take(ledger: Ledger, clock: Clock) -> None:
    failed = billed(ledger, ended(ledger, clock, S.FAILED), QUOTE * 100)
    clock.forward(120)
    (due,) = late_jobs.claim_late(ledger, ACCOUNT)
    spare = late_jobs.keep_late(ledger, due, a_state(), CHARGED_FIRST)
    assert spare is not None
    (dispute,) = disputes.open_disputes(ledger)
    assert dispute.attempt.id == spare.id
    with pytest.raises(DailiesError, match="is disputed now"):
        disputes.accept(ledger, failed.id, who="person mira", why="it would count twice")
    assert billed(ledger, spare, QUOTE).cost_micros == QUOTE
    assert stops.stops(ledger) == [], "a later correct bill settles the dispute"
    assert statement.statement(ledger).miscounted == []


def test_an_amount_that_a_person_accepts_is_booked_and_counts(ledger: Ledger, clock: Clock) -> None:
    attempt = billed(ledger, ended(ledger, clock, S.DELIVERED), QUOTE * 10)
    after = disputes.accept(ledger, attempt.id, who="person mira", why="the price has risen")
    assert (after.cost_micros, after.charge_source) == (QUOTE * 10, "bill")
    assert ledger.history(attempt.id)[-1]["why"] == "the price has risen"
    assert [stop.kind for stop in stops.stops(ledger)] == [StopKind.OVERCHARGED]
    assert billed(ledger, after, QUOTE * 10) == after
    assert disputes.open_disputes(ledger) == []
    with pytest.raises(DailiesError, match="nothing about city-sunset is disputed"):
        disputes.accept(ledger, attempt.id, who="person mira", why="again")


@pytest.mark.parametrize("state", [S.DELIVERED, S.FAILED, S.VANISHED])
@pytest.mark.parametrize(
    ("refunded", "money", "cost"), [(QUOTE * 10, M.REFUNDED, 0), (QUOTE * 9, M.CONFIRMED, QUOTE)]
)
def test_a_person_accepts_a_disputed_amount_less_its_refund(
    ledger: Ledger, clock: Clock, state: AttemptState, refunded: int, money: MoneyState, cost: int
) -> None:
    attempt = ended(ledger, clock, state)
    billed(ledger, attempt, QUOTE * 10, refunded, refunds_failures=False)
    after = disputes.accept(ledger, attempt.id, who="person mira", why="the bill is right")
    assert (after.money_state, after.cost_micros) == (money, cost)
    assert billed(ledger, after, QUOTE * 10, refunded, refunds_failures=False) == after
    assert statement.statement(ledger).miscounted == []


@pytest.mark.parametrize("told", [QUOTE * 100, QUOTE // 100, 10**15])
def test_an_answer_outside_of_the_band_is_not_booked_either(ledger: Ledger, told: int) -> None:
    attempt = polls.record_end(ledger, submitted(ledger), a_state(cost_micros=told), NEVER_CHARGED)
    assert (attempt.cost_micros, attempt.charge_source) == (QUOTE, "quote")
    assert [stop.kind for stop in stops.stops(ledger)] == [StopKind.UNBELIEVABLE]
    assert billed(ledger, attempt, QUOTE).charge_source == "bill"
    assert stops.stops(ledger) == []


# Refunds of what was delivered


@pytest.mark.parametrize("state", [S.SUCCEEDED, S.DELIVERED, S.QUARANTINED])
@pytest.mark.parametrize(("refunded", "left"), [("0.40", "0"), ("0.10", "0.30")])
def test_a_refund_of_a_delivered_clip_frees_no_cap_until_a_person_has_seen_it(
    ledger: Ledger, clock: Clock, state: AttemptState, refunded: str, left: str
) -> None:
    attempt = billed(ledger, ended(ledger, clock, state), QUOTE, usd(refunded))
    assert (attempt.money_state, attempt.cost_micros, attempt.charge_source) == (M.CONFIRMED, QUOTE, "bill")
    (dispute,) = disputes.open_disputes(ledger)
    assert (dispute.kind, dispute.refunded_micros) == (DisputeKind.REFUND, usd(refunded))
    assert stops.stops(ledger) == [], "the refund raises an alarm, and buying continues within the caps"
    assert [told.attempt.id for told in disputes.take_unreported(ledger, ACCOUNT)] == [attempt.id]
    assert disputes.take_unreported(ledger, ACCOUNT) == []
    bill = {"job-1": Billed(QUOTE, usd(refunded))}
    (difference,) = statement.differences(ledger, ACCOUNT, bill, window(clock))
    assert "until you accept the refund" in difference.why
    after = disputes.accept(ledger, attempt.id, who="person mira", why="they gave it back")
    assert after.cost_micros == usd(left)
    assert billed(ledger, after, QUOTE, usd(refunded)) == after
    assert statement.differences(ledger, ACCOUNT, bill, window(clock)) == []
    assert statement.statement(ledger).miscounted == []
    the_journal_is_whole(ledger, after)


def test_a_bill_that_withdraws_its_refund_ends_the_dispute(ledger: Ledger, clock: Clock) -> None:
    attempt = billed(ledger, ended(ledger, clock, S.DELIVERED), QUOTE, QUOTE)
    billed(ledger, attempt, QUOTE)
    assert disputes.open_disputes(ledger) == []


def test_rows_that_were_set_aside_are_kept_until_all_can_be_read(ledger: Ledger) -> None:
    disputes.note_unread(ledger, ACCOUNT, "bill", [SetAside("a row has no price", "job-9")] * 5)
    (unread,) = disputes.unread(ledger)
    assert unread.text.startswith("5 rows prove nothing and were set aside: a row has no price (job job-9);")
    disputes.note_unread(ledger, ACCOUNT, "listing", [])
    assert len(disputes.unread(ledger)) == 1
    disputes.note_unread(ledger, ACCOUNT, "bill", [])
    assert disputes.unread(ledger) == []


def test_ids_are_matched_with_and_without_their_model(ledger: Ledger) -> None:
    attempt = succeeded(ledger, job_id="video_1:openai/sora-2-t2v")
    charges = [Charge("video_1", QUOTE, "charge", 0.0)]
    bills.record(ledger, ACCOUNT, bills.by_job(charges), since=0, refunds_failures=False)
    assert read(ledger, attempt).charge_source == "bill"


def test_rows_of_one_job_are_added_up() -> None:
    rows = [
        Charge("a", 3, "charge", 0.0),
        Charge("b", 5, "charge", 0.0),
        Charge("a", 4, "charge", 0.0),
        Charge("a", 2, "refund", 0.0),
    ]
    assert bills.by_job(rows) == {"a": Billed(7, 2), "b": Billed(5, 0)}


# the model that was served


def billed_as(ledger: Ledger, attempt: Attempt, model: str | None) -> list[bills.Confirmed]:
    since = (attempt.submitted_at or 0) - MARGIN_SECONDS
    rows = [Charge(attempt.job_id or "", QUOTE, "charge", 0.0, model)]
    return bills.record(ledger, ACCOUNT, bills.by_job(rows), since=since, refunds_failures=True)


def test_a_model_that_only_the_bill_names_is_reported_once(ledger: Ledger, clock: Clock) -> None:
    attempt = billed(ledger, ended(ledger, clock, S.DELIVERED), QUOTE)
    (change,) = billed_as(ledger, attempt, "bytedance/seedance-2.0/text-to-video")
    assert change.swapped == "bytedance/seedance-2.0/text-to-video"
    after = read(ledger, attempt)
    assert (after.served_model, after.charged_micros, after.state) == (change.swapped, QUOTE, S.DELIVERED)
    the_journal_is_whole(ledger, after)
    assert billed_as(ledger, attempt, "bytedance/seedance-2.0/text-to-video") == []


@pytest.mark.parametrize("same", [None, str.upper, lambda endpoint: endpoint.split("/", maxsplit=1)[1]])
def test_the_model_that_was_bought_is_not_reported(ledger: Ledger, clock: Clock, same: Any) -> None:
    attempt = ended(ledger, clock, S.DELIVERED)
    (change,) = billed_as(ledger, attempt, same and same(attempt.endpoint))
    assert change.swapped is None
    assert read(ledger, attempt).served_model == attempt.served_model


# when the bill is read


def test_no_bill_is_read_while_no_purchase_waits_for_it(ledger: Ledger, clock: Clock) -> None:
    assert bills.claim(ledger, ACCOUNT) is None
    attempt = submitted(ledger)
    assert bills.claim(ledger, ACCOUNT) is None
    polls.record_end(ledger, attempt, a_state(), NEVER_CHARGED)
    window = bills.claim(ledger, ACCOUNT)
    assert window == Window((attempt.submitted_at or 0) - MARGIN_SECONDS, clock.now + MARGIN_SECONDS)
    assert bills.claim(ledger, ACCOUNT) is None, "one process at a time reads the bill"
    clock.forward(READ_SECONDS)
    billed(ledger, attempt, QUOTE)
    assert bills.claim(ledger, ACCOUNT) is None


def test_a_bill_is_read_ever_more_seldom_until_another_job_has_ended(ledger: Ledger, clock: Clock) -> None:
    polls.record_end(ledger, submitted(ledger), a_state(JobStatus.FAILED), CHARGED_FIRST)
    reads = []
    start = clock.now
    while clock.now < start + 2 * 86_400:
        if bills.claim(ledger, ACCOUNT) is not None:
            reads.append(clock.now - start)
        clock.forward(READ_SECONDS)
    assert reads[1] == READ_SECONDS
    assert 12 <= len(reads) <= 40
    assert max(b - a for a, b in itertools.pairwise(reads)) <= 6 * 3600 + READ_SECONDS
    queued(ledger, a_request("clip-b"))
    attempt = record_outcome(ledger, claimed(ledger), accepted("job-2"))
    polls.record_end(ledger, attempt, a_state(), CHARGED_FIRST)
    clock.forward(READ_SECONDS)
    assert bills.claim(ledger, ACCOUNT) is not None


def test_a_bill_that_never_names_a_job_is_not_read_for_ever(ledger: Ledger, clock: Clock) -> None:
    succeeded(ledger)
    clock.forward(bills.GIVE_UP_SECONDS + 1)
    assert not bills.is_due(ledger, ACCOUNT)


# the statement


def window(clock: Clock) -> Window:
    return Window(clock.now - 86_400 - MARGIN_SECONDS, clock.now + MARGIN_SECONDS)


def test_a_ledger_that_agrees_with_its_bill_has_nothing_unaccounted(ledger: Ledger, clock: Clock) -> None:
    billed(ledger, ended(ledger, clock, S.DELIVERED), QUOTE)
    assert statement.differences(ledger, ACCOUNT, {"job-1": Billed(QUOTE, 0)}, window(clock)) == []


def test_every_disagreement_is_one_line(ledger: Ledger, clock: Clock) -> None:
    first = succeeded(ledger, a_request("clip-a"), job_id="job-1")
    deliveries.record_delivered(ledger, first.id, {"uri": "s3://b/k"})
    succeeded(ledger, a_request("clip-b"), job_id="job-2")
    submitted(ledger, a_request("clip-c"), job_id="job-3")
    bill = {"job-1": Billed(usd("0.50"), 0), "stranger": Billed(usd("1.00"), 0), "free": Billed(5, 5)}
    found = {
        difference.job_id: (difference.clip, difference.ledger_micros, difference.bill_micros)
        for difference in statement.differences(ledger, ACCOUNT, bill, window(clock))
    }
    assert found == {
        "job-1": ("clip-a", QUOTE, usd("0.50")),
        "job-2": ("clip-b", QUOTE, 0),
        "stranger": (None, 0, usd("1.00")),
    }, "a running job may be charged later"


def test_a_job_that_may_belong_to_a_held_clip_is_not_counted_as_a_strangers(
    ledger: Ledger, clock: Clock
) -> None:
    submission, attempt = put_into(ledger, clock, S.UNKNOWN)
    candidates = [{"job": "job-x:sora", "model": "sora"}]
    with ledger.write() as connection:
        mine = submissions.c.id == submission.id
        connection.execute(sa.update(submissions).where(mine).values(candidates=candidates))
    bill = {"job-x": Billed(QUOTE, 0)}
    assert statement.differences(ledger, ACCOUNT, bill, window(clock)) == []
    assert [doubtful.id for doubtful in statement.in_doubt(ledger)] == [attempt.id]


def test_the_account_adds_up_by_state_series_endpoint_and_day(ledger: Ledger, clock: Clock) -> None:
    billed(ledger, ended(ledger, clock, S.DELIVERED), usd("0.30"))
    clock.forward(86_400)
    queued(ledger, a_request("clip-b", series="sea", price_micros=usd("1.10")))
    failed = polls.record_end(
        ledger,
        record_outcome(ledger, claimed(ledger), accepted("job-9")),
        a_state(JobStatus.FAILED),
        CHARGED_FIRST,
    )
    queued(ledger, a_request("clip-c", endpoint="bytedance/seedance"))
    account = statement.statement(ledger)
    assert {line.name: line.micros for line in account.by_state} == {
        "confirmed": usd("0.30"),
        "refund_expected": usd("1.10"),
        "reserved": QUOTE,
    }
    assert {line.name: line.micros for line in account.by_series} == {
        "city": usd("0.70"),
        "sea": usd("1.10"),
    }
    assert {line.name: line.attempts for line in account.by_endpoint} == {
        "openai/sora-2/text-to-video": 2,
        "bytedance/seedance": 1,
    }
    assert [line.micros for line in account.by_day] == [usd("1.50"), usd("0.30")]
    assert (account.total.attempts, account.total.micros) == (3, usd("1.80"))
    assert account.total.billed_micros == usd("0.30")
    assert account.miscounted == []
    billed(ledger, failed, usd("1.10"), usd("1.10"))
    assert statement.statement(ledger).total.micros == usd("0.70")
