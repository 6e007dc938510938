"""Caps: which money counts, which is released, and that no order of events exceeds a cap."""

import datetime as dt
import shutil
import tempfile
from typing import Any

import pytest
import sqlalchemy as sa
from examples import examples
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from ledgerkit import (
    ACCOUNT,
    CHARGED_FIRST,
    NEVER_CHARGED,
    a_request,
    a_state,
    accepted,
    claimed,
    decided,
    everything,
    queued,
    read,
    rejected,
    submitted,
    unknown,
)

from proof.clock import Clock
from resources.ledger import bills, counters, polls, queue, schema, statement, stops
from resources.ledger.bills import Billed
from resources.ledger.budget import Budget, Scope
from resources.ledger.decisions import Decision, Ruling, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.outcomes import record_outcome
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Attempt, Submission
from resources.ledger.states import AttemptState, MoneyState
from resources.ledger.transaction import Transaction
from resources.money import usd
from resources.orders import Caps
from resources.providers.base import FailureKind, JobStatus, SubmitOutcome
from resources.providers.provider import Capabilities

CLIP = usd("0.40")
BERLIN = "Europe/Berlin"


def allow(ledger: Ledger, **caps: Any) -> None:
    """Change the ledger's caps, as changed settings do."""
    accounts = caps.pop("accounts", {})
    timezone = caps.pop("timezone", "UTC")
    ledger.budget = Budget(timezone, Caps(**{name: usd(amount) for name, amount in caps.items()}), accounts)


def bought(ledger: Ledger, count: int, **how: Any) -> list[Ruling]:
    changes = how.pop("changes", {})
    prefix = how.pop("prefix", "clip")
    return [
        decided(ledger, a_request(f"{prefix}-{number}", **changes), **how).ruling for number in range(count)
    ]


def spent(ledger: Ledger, scope: Scope) -> int:
    with ledger.read() as connection:
        return counters.counted(connection).get(scope, 0)


def at(year: int, month: int, day: int, hour: int) -> float:
    return dt.datetime(year, month, day, hour, tzinfo=dt.UTC).timestamp()


NEW, REFUSED = Ruling.NEW, Ruling.REFUSED


def test_the_clip_that_would_exceed_a_cap_is_refused_and_says_all_that_is_needed(ledger: Ledger) -> None:
    allow(ledger, per_day="1.00")
    assert bought(ledger, 2) == [NEW, NEW]
    refused = decided(ledger, a_request("clip-2"))
    assert (refused.ruling, refused.attempt) == (REFUSED, None)
    reason = refused.reason or ""
    for part in ("$1.00", "$0.80", "$0.40", "DAILIES_MAX_USD_PER_DAY", "(UTC)", "Nothing was bought"):
        assert part in reason
    assert len(everything(ledger)) == 2


def test_a_cap_may_be_used_to_its_last_cent(ledger: Ledger) -> None:
    allow(ledger, per_month="0.80")
    assert bought(ledger, 3) == [NEW, NEW, REFUSED]


@pytest.mark.parametrize(
    ("caps", "setting"),
    [
        ({"per_run": "0.40"}, "DAILIES_MAX_USD_PER_RUN"),
        ({"per_day": "0.40"}, "DAILIES_MAX_USD_PER_DAY"),
        ({"per_month": "0.40"}, "DAILIES_MAX_USD_PER_MONTH"),
        ({"accounts": {ACCOUNT: Caps(per_day=CLIP)}}, "DAILIES_WAVESPEED_MAX_USD_PER_DAY"),
        ({"accounts": {ACCOUNT: Caps(per_month=CLIP)}}, "DAILIES_WAVESPEED_MAX_USD_PER_MONTH"),
    ],
)
def test_every_cap_names_the_setting_that_raises_it(
    ledger: Ledger, caps: dict[str, Any], setting: str
) -> None:
    allow(ledger, **caps)
    decided(ledger, a_request("clip-0"))
    assert f"raise {setting}" in (decided(ledger, a_request("clip-1")).reason or "")


@pytest.mark.parametrize(
    ("caps", "field"),
    [
        (Caps(per_run=CLIP), "`budget.per_run`"),
        (Caps(per_day=CLIP), "`budget.per_day`"),
        (Caps(per_month=CLIP), "`budget.per_month`"),
        (Caps(total=CLIP), "`budget.total`"),
    ],
)
def test_a_series_has_its_own_caps(ledger: Ledger, caps: Caps, field: str) -> None:
    decided(ledger, a_request("clip-0", caps=caps))
    refused = decided(ledger, a_request("clip-1", caps=caps))
    assert "the series city" in (refused.reason or "")
    assert field in (refused.reason or "")
    assert decided(ledger, a_request("clip-2", series="sea", caps=caps)).ruling is NEW


def test_all_caps_that_refuse_a_purchase_are_named_at_once(ledger: Ledger) -> None:
    allow(ledger, per_day="0.10", per_month="0.20")
    reason = decided(ledger).reason or ""
    assert "PER_DAY" in reason
    assert "PER_MONTH" in reason


def test_another_run_has_its_own_money_and_another_account_too(ledger: Ledger) -> None:
    allow(ledger, per_run="0.40", accounts={ACCOUNT: Caps(per_day=2 * CLIP)})
    assert bought(ledger, 2, decision="monday") == [NEW, REFUSED]
    assert bought(ledger, 2, decision="tuesday", prefix="other") == [NEW, REFUSED]
    elsewhere = {"provider": "aimlapi", "endpoint": "openai/sora-2-t2v"}
    assert bought(ledger, 1, decision="wednesday", prefix="third") == [REFUSED]
    assert bought(ledger, 1, decision="wednesday", prefix="third", changes=elsewhere) == [NEW]


def test_a_day_ends_where_the_time_zone_says(ledger: Ledger, clock: Clock) -> None:
    allow(ledger, per_day="0.40", timezone=BERLIN)
    clock.now = at(2026, 11, 20, 22)
    assert decided(ledger, a_request("clip-0")).ruling is NEW
    assert "2026-11-20 (Europe/Berlin)" in (decided(ledger, a_request("clip-1")).reason or "")
    clock.now = at(2026, 11, 20, 23)  # midnight in Berlin
    (attempt,) = [decided(ledger, a_request("clip-1")).attempt]
    assert attempt is not None
    assert attempt.counted_on == "2026-11-21"


def test_released_money_returns_to_the_day_it_was_counted_on(ledger: Ledger, clock: Clock) -> None:
    clock.now = at(2026, 11, 30, 12)
    first = queued(ledger, a_request("clip-0"))
    clock.now = at(2026, 12, 1, 12)
    queued(ledger, a_request("clip-1"))
    allow(
        ledger, timezone="Pacific/Kiritimati"
    )  # the time zone changed since then: the counted day must stay
    queue.withdraw(ledger, [first.id], why="no longer wanted")
    assert spent(ledger, Scope("everything", "", "day", "2026-11-30")) == 0
    assert spent(ledger, Scope("everything", "", "month", "2026-11")) == 0
    assert spent(ledger, Scope("everything", "", "day", "2026-12-01")) == CLIP


@pytest.mark.parametrize(
    ("outcome", "counts"),
    [
        (accepted(), True),
        (unknown(), True),
        (rejected(), False),
        (rejected(FailureKind.MODERATION), False),
        (rejected(FailureKind.THROTTLED), True),
        (rejected(FailureKind.INSUFFICIENT_FUNDS), True),
    ],
)
def test_money_that_may_be_owed_counts(ledger: Ledger, outcome: SubmitOutcome, counts: bool) -> None:
    allow(ledger, per_day="0.40")
    queued(ledger)
    record_outcome(ledger, claimed(ledger), outcome)
    stops.start(ledger, account=ACCOUNT)
    assert decided(ledger, a_request("clip-b")).ruling is (REFUSED if counts else NEW)


@pytest.mark.parametrize(
    ("capabilities", "money", "counts"),
    [
        (NEVER_CHARGED, MoneyState.RELEASED, False),
        (CHARGED_FIRST, MoneyState.REFUND_EXPECTED, True),
    ],
)
def test_a_failed_job_counts_until_its_refund_is_seen(
    ledger: Ledger, capabilities: Capabilities, money: MoneyState, counts: bool
) -> None:
    allow(ledger, per_day="0.40")
    attempt = polls.record_end(ledger, submitted(ledger), a_state(JobStatus.FAILED), capabilities)
    assert attempt.money_state is money
    assert decided(ledger, a_request("clip-b")).ruling is (REFUSED if counts else NEW)
    if counts:
        since = (attempt.submitted_at or 0) - bills.MARGIN_SECONDS
        bills.record(ledger, ACCOUNT, {"job-1": Billed(CLIP, CLIP)}, since=since, refunds_failures=True)
        assert read(ledger, attempt).money_state is MoneyState.REFUNDED
        assert decided(ledger, a_request("clip-b")).ruling is NEW


def test_a_job_that_vanished_counts(ledger: Ledger) -> None:
    allow(ledger, per_day="0.40")
    polls.record_end(ledger, submitted(ledger), a_state(JobStatus.GONE), NEVER_CHARGED)
    assert decided(ledger, a_request("clip-b")).ruling is REFUSED


def test_a_charge_beyond_the_cap_is_still_counted(ledger: Ledger) -> None:
    """A charge that must be paid cannot be refused; the next reservation is refused."""
    allow(ledger, per_day="0.40")
    polls.record_end(ledger, submitted(ledger), a_state(cost_micros=usd("0.90")), NEVER_CHARGED)
    stops.start(ledger, account=ACCOUNT)
    day = ledger.budget.day(ledger.clock())
    assert spent(ledger, Scope("everything", "", "day", day)) == usd("0.90")
    reason = decided(ledger, a_request("clip-b")).reason or ""
    assert "$0.90 is spent" in reason
    assert "is $0.40" in reason


def test_a_cap_that_is_lowered_below_the_spent_money_only_refuses(ledger: Ledger) -> None:
    bought(ledger, 3)
    allow(ledger, per_day="0.50")
    assert decided(ledger, a_request("another")).ruling is REFUSED
    queue.withdraw(ledger, [everything(ledger)[0].id], why="no longer wanted")
    assert decided(ledger, a_request("another")).ruling is REFUSED
    allow(ledger, per_day="1.20")
    assert decided(ledger, a_request("another")).ruling is NEW


def test_a_cap_that_is_raised_or_taken_away_holds_at_once(ledger: Ledger) -> None:
    allow(ledger, per_day="0.40")
    assert bought(ledger, 2) == [NEW, REFUSED]
    allow(ledger, per_day="0.80")
    assert decided(ledger, a_request("clip-1")).ruling is NEW
    allow(ledger)
    assert decided(ledger, a_request("clip-2")).ruling is NEW


def test_an_existing_purchase_costs_nothing_and_no_cap_refuses_it(ledger: Ledger) -> None:
    attempt = queued(ledger)
    allow(ledger, per_day="0")
    assert decided(ledger).attempt == attempt
    assert decided(ledger).ruling is Ruling.ADOPTED


def test_a_temporary_failure_is_not_bought_again_beyond_a_cap_and_the_reason_says_so(ledger: Ledger) -> None:
    allow(ledger, per_run="0.40")
    attempt = submitted(ledger, a_request(max_attempts=3))
    failed = polls.record_end(
        ledger,
        attempt,
        a_state(JobStatus.FAILED, failure=FailureKind.PROVIDER, error="out of GPUs"),
        CHARGED_FIRST,
    )
    assert [a.id for a in everything(ledger)] == [failed.id]
    reason = read(ledger, failed).reason or ""
    assert reason.startswith("out of GPUs (not tried again: the cap for one run (monday) is $0.40")
    assert "Nothing more was bought" in reason, "the failed job was bought"


@pytest.mark.postgresql
@pytest.mark.parametrize("booked", [None, "0.30", "0.50"])
def test_the_database_itself_refuses_to_hold_more_than_a_cap(ledger: Ledger, booked: str | None) -> None:
    """This holds also after a charge below or above the quote; only a charge may exceed the cap itself."""
    allow(ledger, per_day="0.80")
    if booked is None:
        queued(ledger)
    else:
        polls.record_end(ledger, submitted(ledger), a_state(cost_micros=usd(booked)), NEVER_CHARGED)
    with pytest.raises(sa.exc.IntegrityError, match="cap_holds"), ledger.write() as connection:
        connection.execute(
            sa.update(schema.spending)
            .where(schema.spending.c.period == "day", schema.spending.c.of == "everything")
            .values(spent_micros=usd("0.81"))
        )


def test_a_reservation_and_its_attempt_are_one_transaction(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_args: Any, **_how: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Transaction, "_journalize", dies)
    with pytest.raises(ZeroDivisionError):
        decided(ledger)
    assert everything(ledger) == []
    with ledger.read() as connection:
        assert counters.counted(connection) == {}


# Any order of events

CAP = usd("2.00")
PRICES = st.sampled_from([usd("0.40"), usd("0.30"), usd("0.75"), usd("0"), usd("2.00")])
PICK = st.integers(0, 10_000)


class Spending(RuleBasedStateMachine):
    """Caps that hold after any event, and counters that always equal the sum of the attempts."""

    @initialize()
    def opens(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.clock = Clock()
        caps = Caps(per_day=CAP)
        self.ledger = Ledger(
            f"sqlite:///{self.folder}/ledger.db", clock=self.clock, budget=Budget("UTC", caps)
        )
        self.posts: list[Submission] = []
        self.bills: dict[str, Billed] = {}
        self.bigger_bills = 0

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            shutil.rmtree(self.folder)

    @rule(
        number=st.integers(0, 8),
        price=PRICES,
        decision=st.sampled_from(["monday", "tuesday"]),
        series=st.sampled_from(["city", "sea"]),
        per_run=st.sampled_from([None, usd("0.80")]),
    )
    def a_clip_is_wanted(
        self, number: int, price: int, decision: str, series: str, per_run: int | None
    ) -> None:
        request = a_request(
            f"{series}-{number}",
            series=series,
            price_micros=price,
            max_attempts=2,
            caps=Caps(per_run=per_run),
            prompt=f"{price}",
        )
        before = self.counted_today()
        (ruling,) = decide(self.ledger, [request], Decision(decision))
        if ruling.ruling is Ruling.NEW:
            assert self.counted_today() <= CAP
        if ruling.ruling is Ruling.REFUSED and "the cap" in (ruling.reason or ""):
            assert before + price > CAP or per_run is not None

    def counted_today(self) -> int:
        return spent(self.ledger, Scope("everything", "", "day", self.ledger.budget.day(self.clock.now)))

    @rule()
    def the_next_is_sent(self) -> None:
        stops.start(self.ledger, account=ACCOUNT)
        claimed_one = claim_next(self.ledger, ACCOUNT, PostTerms(Limits(), 30))
        if isinstance(claimed_one, Submission):
            self.posts.append(claimed_one)

    @precondition(lambda self: self.posts)
    @rule(
        pick=PICK,
        how=st.sampled_from(["accepted", "unknown", *FailureKind]),
    )
    def it_is_answered(self, pick: int, how: str) -> None:
        submission = self.posts.pop(pick % len(self.posts))
        outcomes: dict[str, SubmitOutcome] = {
            "accepted": accepted(f"job-{submission.id}"),
            "unknown": unknown(),
        }
        outcome = outcomes[how] if how in outcomes else rejected(FailureKind(how))
        record_outcome(self.ledger, submission, outcome)

    def one(self, pick: int, *states: AttemptState) -> Attempt | None:
        found = [a for a in everything(self.ledger) if a.state in states]
        return found[pick % len(found)] if found else None

    @rule(
        pick=PICK,
        status=st.sampled_from([JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.GONE]),
        cost=st.sampled_from([None, usd("0.40"), usd("0.90")]),
        capabilities=st.sampled_from([NEVER_CHARGED, CHARGED_FIRST]),
    )
    def a_job_ends(self, pick: int, status: JobStatus, cost: int | None, capabilities: Capabilities) -> None:
        attempt = self.one(pick, AttemptState.SUBMITTED)
        if attempt is not None:
            if cost is not None and cost > attempt.quoted_micros:
                self.bigger_bills += 1
            state = a_state(
                status,
                cost_micros=cost if status is JobStatus.SUCCEEDED else None,
                failure=None if status is JobStatus.SUCCEEDED else FailureKind.PROVIDER,
            )
            polls.record_end(self.ledger, attempt, state, capabilities)

    @rule(pick=PICK)
    def something_is_given_up(self, pick: int) -> None:
        attempt = self.one(pick, AttemptState.QUEUED)
        if attempt is not None:
            queue.withdraw(self.ledger, [attempt.id], why="no longer wanted")

    @rule(pick=PICK, part=st.sampled_from([0, 50, 100, 200]), refunded=st.booleans(), known=st.booleans())
    def the_bill_is_read(self, pick: int, part: int, refunded: bool, known: bool) -> None:
        attempt = self.one(pick, AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.VANISHED)
        if attempt is None or attempt.job_id is None:
            return
        charged = attempt.quoted_micros * part // 100
        if charged > attempt.quoted_micros:
            self.bigger_bills += 1
        self.bills[attempt.job_id] = Billed(charged, charged if refunded else 0)
        for _ in range(2):
            bills.record(self.ledger, ACCOUNT, self.bills, since=0, refunds_failures=known)

    @rule(seconds=st.sampled_from([1.0, 3600.0, 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.forward(seconds)

    @invariant()
    def the_counters_are_what_the_attempts_add_up_to(self) -> None:
        with self.ledger.read() as connection:
            counted, real = counters.counted(connection), counters.recounted(connection)
        assert {scope: amount for scope, amount in counted.items() if amount} == {
            scope: amount for scope, amount in real.items() if amount
        }
        assert all(amount >= 0 for amount in counted.values())

    @invariant()
    def no_day_holds_more_than_its_cap_but_for_bills_above_their_quotes(self) -> None:
        with self.ledger.read() as connection:
            counted = counters.counted(connection)
        for scope, amount in counted.items():
            if scope.of == "everything" and scope.period == "day" and not self.bigger_bills:
                assert amount <= CAP

    @invariant()
    def the_account_adds_up(self) -> None:
        total = sum(attempt.cost_micros for attempt in everything(self.ledger))
        assert spent(self.ledger, Scope("everything", "", "total", "")) == total


Spending.TestCase.settings = settings(
    max_examples=examples(10),
    stateful_step_count=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestSpending = Spending.TestCase


# One clip


@pytest.mark.parametrize("price", ["100.01", "1000", "1000000000000"])
def test_a_purchase_above_the_cap_of_one_clip_is_refused(ledger: Ledger, price: str) -> None:
    refused = decided(ledger, a_request(price_micros=usd(price)))
    assert refused.ruling is Ruling.REFUSED
    assert "raise DAILIES_MAX_USD_PER_CLIP, then `dailies policy apply`. Nothing was bought" in (
        refused.reason or ""
    )
    assert statement.statement(ledger).total.micros == 0


def test_a_person_may_raise_the_cap_of_one_clip(ledger_url: str, clock: Clock) -> None:
    for per_clip in (None, usd("1000")):
        with Ledger(ledger_url, clock=clock, budget=Budget(per_clip=per_clip)) as ledger:
            assert decided(ledger, a_request(price_micros=usd("1000"))).ruling is not Ruling.REFUSED
