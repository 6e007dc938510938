"""The sign of life of a run: renewed while it works, taken once it has expired, and gone for a run that comes back."""

import pytest
from ledgerkit import Clock, a_request, claimed, decided, queued

from resources.ledger import heartbeats
from resources.ledger.handover import handover_of
from resources.ledger.heartbeats import GRACE_SECONDS, LEASE_SECONDS, RunLostError
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.queue import PostTerms, claim_next

RUN = "a-run"


def test_a_run_that_renews_its_claim_lives(ledger: Ledger, clock: Clock) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    for _ in range(5):
        clock.forward(LEASE_SECONDS - 1)
        assert heartbeats.renew(ledger, RUN, "w1:7:a")
        assert heartbeats.lost(ledger, [RUN]) == {}


def test_an_expired_claim_is_taken_where_it_is_read_and_does_not_come_back(
    ledger: Ledger, clock: Clock
) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    died_at = clock.forward(LEASE_SECONDS + 1)
    assert heartbeats.lost(ledger, [RUN, "another"]) == {RUN: died_at}
    clock.forward(1)
    assert not heartbeats.renew(ledger, RUN, "w1:7:a")
    heartbeats.end(ledger, RUN, "w1:7:a")
    assert heartbeats.lost(ledger, [RUN]) == {RUN: died_at}
    with pytest.raises(RunLostError, match=RUN):
        heartbeats.begin(ledger, RUN, "w1:8:b")


def test_a_claim_that_has_expired_and_that_nobody_took_goes_on(ledger: Ledger, clock: Clock) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    clock.forward(10 * LEASE_SECONDS)
    assert heartbeats.renew(ledger, RUN, "w1:7:a")
    assert heartbeats.lost(ledger, [RUN]) == {}


def test_a_run_without_a_claim_has_a_bounded_time_for_its_first_sign(ledger: Ledger, clock: Clock) -> None:
    assert heartbeats.lost(ledger, [RUN, "slow"]) == {}
    clock.forward(GRACE_SECONDS - 1)
    heartbeats.begin(ledger, "slow", "w1:9:c")
    clock.forward(2)
    assert set(heartbeats.lost(ledger, [RUN, "slow"])) == {RUN}
    with pytest.raises(RunLostError):
        heartbeats.begin(ledger, RUN, "w1:7:a")


def test_the_claim_of_a_process_that_is_known_to_be_gone_is_taken_at_once(
    ledger: Ledger, clock: Clock
) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    heartbeats.begin(ledger, "another", "w2:7:a")
    assert heartbeats.owners(ledger) == {RUN: "w1:7:a", "another": "w2:7:a"}
    heartbeats.take(ledger, RUN, "w1:7:a")
    assert heartbeats.lost(ledger, [RUN, "another"]) == {RUN: clock()}


def test_a_run_that_was_given_up_decides_and_sends_nothing_more(ledger: Ledger, clock: Clock) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    queued(ledger, batch=RUN, run_id=RUN)
    clock.forward(LEASE_SECONDS + 1)
    heartbeats.lost(ledger, [RUN])
    with pytest.raises(RunLostError):
        claim_next(ledger, "wavespeed", PostTerms(Limits(), 30), run_id=RUN)
    with pytest.raises(RunLostError):
        decided(ledger, a_request("city-tram"), run_id=RUN)
    assert ledger.latest(["city-tram"]) == {}
    # whoever lives sends it
    assert claimed(ledger).attempt.subject_key == "city-sunset"


def test_what_a_run_leaves_is_said_with_its_clips_and_its_money(ledger: Ledger) -> None:
    assert str(handover_of(ledger, [RUN])) == "nothing was bought by it"
    queued(ledger, batch=RUN)
    claimed(ledger)
    queued(ledger, a_request("city-tram"), watched_by=RUN)
    queued(ledger, a_request("city-hero"), batch="another")
    said = str(handover_of(ledger, [RUN]))
    assert "1 sent, and their answers are not known yet ($0.40)" in said
    assert "1 queued and not sent ($0.40)" in said
