"""Random walks of a clip with fallbacks: whatever its providers do, the rules of money hold at every step."""

import itertools
import uuid
from collections import Counter
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgerkit import DEADLINE, NEVER_CHARGED, a_request, a_state, accepted, claimed, decided, everything
from ledgerkit import rejected as refused_by_provider

from proof.clock import Clock
from resources.ledger import budget, counters, limits, outcomes, polls
from resources.ledger.budget import Budget
from resources.ledger.deliveries import record_delivered
from resources.ledger.ledger import Ledger
from resources.ledger.lost.closures import RESUBMISSIONS, close_absent
from resources.ledger.outcomes import record_outcome
from resources.ledger.records import Attempt
from resources.ledger.rules import DEFINITE
from resources.ledger.states import AttemptState
from resources.orders import Caps, Choice, ClipRequest, Expected
from resources.providers.base import FailureKind, JobStatus

STEPS = ["accept", "refuse", "fail", "fail for good", "lose", "vanish", "succeed", "deliver", "ask again"]
FALLBACKS = tuple(
    Choice(
        provider=provider,
        endpoint=endpoint,
        body={"prompt": "a city at sunset", "duration": 5},
        price_micros=price,
        expected=Expected(),
    )
    for provider, endpoint, price in [
        ("wavespeed", "bytedance/seedance-2.0/text-to-video", 300_000),
        ("aimlapi", "bytedance/seedance-2-0", 500_000),
    ]
)


def step(ledger: Ledger, clock: Clock, what: str, request: ClipRequest) -> None:
    """Make one event happen to the clip, if it can happen now."""
    last = everything(ledger)[-1]
    if what == "ask again":
        decided(ledger, request)
        return
    if last.state is AttemptState.QUEUED and what in {"accept", "refuse", "lose"}:
        submission = claimed(ledger, last.account)
        if what == "accept":
            record_outcome(ledger, submission, accepted(uuid.uuid4().hex))
        elif what == "refuse":
            record_outcome(ledger, submission, refused_by_provider(FailureKind.MODERATION))
        else:
            clock.forward(DEADLINE + limits.LEASE_MARGIN_SECONDS + 1)
            (unknown,) = outcomes.expire_submissions(ledger, last.account)
            nothing_beside_the_unknown(ledger, unknown)
            decided(ledger, request)
            nothing_beside_the_unknown(ledger, unknown)
            with ledger.transaction(who="test", run_id=None) as tx:
                close_absent(tx, unknown, submission.id, why="it is proved", again=RESUBMISSIONS)
    elif last.state is AttemptState.SUBMITTED and what in {"fail", "fail for good", "vanish", "succeed"}:
        kind = FailureKind.PROVIDER if what == "fail" else FailureKind.MODERATION
        ends = {"vanish": a_state(JobStatus.GONE), "succeed": a_state()}
        end = ends.get(what, a_state(JobStatus.FAILED, failure=kind))
        polls.record_end(ledger, last, end, NEVER_CHARGED)
    elif last.state is AttemptState.SUCCEEDED and what == "deliver":
        record_delivered(ledger, last.id, {"uri": "s3://b/c"})


def nothing_beside_the_unknown(ledger: Ledger, unknown: Attempt) -> None:
    assert unknown.state is AttemptState.UNKNOWN
    assert everything(ledger)[-1].id == unknown.id


def check(ledger: Ledger, request: ClipRequest, cap: int) -> None:
    bought = everything(ledger)
    assert sum(attempt.state.is_open for attempt in bought) <= 1
    assert {attempt.fingerprint for attempt in bought} == {request.fingerprint}
    ways = [request, *FALLBACKS]
    order = [next(n for n, way in enumerate(ways) if way.endpoint == attempt.endpoint) for attempt in bought]
    assert order == sorted(order), "a model that was given up is not bought again"
    for before, after in itertools.pairwise(bought):
        if before.endpoint != after.endpoint:
            assert before.state in DEFINITE
            assert after.request.asked is not None
    ended = Counter(a.endpoint for a in bought if a.state is not AttemptState.ABSENT)
    assert all(number <= request.max_attempts for number in ended.values())
    after_the_end = [a for a in bought[:-1] if a.state in {AttemptState.DELIVERED, AttemptState.VANISHED}]
    assert after_the_end == []
    with ledger.read() as connection:
        counted = {scope: n for scope, n in counters.counted(connection).items() if n}
        assert counted == {scope: n for scope, n in counters.recounted(connection).items() if n}
        assert all(n <= cap for scope, n in counted.items() if scope.of == budget.SERIES)


@pytest.mark.slow
@settings(max_examples=examples(25))
@given(
    steps=st.lists(st.sampled_from(STEPS), max_size=14),
    tries=st.integers(1, 2),
    cap=st.sampled_from([400_000, 700_000, 5_000_000]),
)
def test_whatever_the_providers_do_the_rules_hold(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory, steps, tries, cap
):
    path = tmp_path_factory.mktemp("walk") / "ledger.db"
    path.write_bytes(sqlite_template.read_bytes())
    request = a_request(fallbacks=FALLBACKS, max_attempts=tries, caps=Caps(total=cap))
    clock = Clock()
    with Ledger(f"sqlite:///{path}", clock=clock, budget=Budget()) as ledger:
        decided(ledger, request)
        for what in steps:
            step(ledger, clock, what, request)
            check(ledger, request, cap)
