"""The claim of a run: renewed while the run works, taken after it has expired, and lost for a run that returns."""

import pytest
from ledgerkit import a_request, claimed, decided, queued, submitted

from proof.clock import Clock
from resources.ledger import heartbeats, polls
from resources.ledger.handover import handover_of
from resources.ledger.heartbeats import DOUBT_SECONDS, GRACE_SECONDS, LEASE_SECONDS, RunLostError
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.queue import PostTerms, claim_next, withdraw

RUN = "a-run"


def given_up(ledger: Ledger, clock: Clock, run_id: str) -> None:
    for seconds in (LEASE_SECONDS + 1, DOUBT_SECONDS):
        clock.forward(seconds)
        found = heartbeats.lost(ledger, [run_id])
    assert found


def test_a_run_that_renews_its_claim_lives(ledger: Ledger, clock: Clock) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    for _ in range(5):
        clock.forward(LEASE_SECONDS - 1)
        assert heartbeats.renew(ledger, RUN, "w1:7:a")
        assert heartbeats.lost(ledger, [RUN]) == {}


def test_an_expired_claim_is_taken_by_its_reader_and_does_not_return(ledger: Ledger, clock: Clock) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    clock.forward(LEASE_SECONDS + 1)
    assert heartbeats.lost(ledger, [RUN, "another"]) == {}, "the first reading only doubts the claim"
    clock.forward(DOUBT_SECONDS - 0.001)
    assert heartbeats.lost(ledger, [RUN, "another"]) == {}
    died_at = clock.forward(0.001)
    assert heartbeats.lost(ledger, [RUN, "another"]) == {RUN: died_at}
    clock.forward(1)
    assert not heartbeats.renew(ledger, RUN, "w1:7:a")
    heartbeats.end(ledger, RUN, "w1:7:a")
    assert heartbeats.lost(ledger, [RUN]) == {RUN: died_at}
    with pytest.raises(RunLostError, match=RUN):
        heartbeats.begin(ledger, RUN, "w1:8:b")


def test_an_expired_claim_that_nobody_took_can_be_renewed(ledger: Ledger, clock: Clock) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    clock.forward(10 * LEASE_SECONDS)
    assert heartbeats.renew(ledger, RUN, "w1:7:a")
    assert heartbeats.lost(ledger, [RUN]) == {}


def test_a_run_that_waited_for_the_database_with_its_readers_is_not_declared_dead(
    ledger: Ledger, clock: Clock
) -> None:
    for run in (RUN, "dead"):
        heartbeats.begin(ledger, run, "w1:7:a")
    clock.forward(120)  # nobody reaches the database, and a reader is the first to return
    assert heartbeats.lost(ledger, [RUN, "dead"]) == {}
    clock.forward(heartbeats.RENEW_SECONDS)
    assert heartbeats.renew(ledger, RUN, "w1:7:a")
    clock.forward(DOUBT_SECONDS)
    assert set(heartbeats.lost(ledger, [RUN, "dead"])) == {"dead"}
    # an answered doubt does not count for the next one
    clock.forward(LEASE_SECONDS)
    assert RUN not in heartbeats.lost(ledger, [RUN])
    clock.forward(DOUBT_SECONDS)
    assert RUN in heartbeats.lost(ledger, [RUN])


def test_a_dead_run_is_declared_dead_within_two_minutes_by_readers_every_ten_seconds(
    ledger: Ledger, clock: Clock
) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    began = clock()
    while not heartbeats.lost(ledger, [RUN]):
        clock.forward(10)
    assert clock() - began <= 100, "twenty seconds remain to start the collecting run"


def test_the_jobs_of_a_dead_run_are_polled_at_once(ledger: Ledger, clock: Clock) -> None:
    mine, other = (
        submitted(ledger, a_request(clip), watched_by=run, job_id=clip)
        for clip, run in (("city-one", RUN), ("city-two", "another"))
    )
    clock.forward(600)
    for run in (RUN, "another"):
        heartbeats.begin(ledger, run, "w1:7:a")
    assert {a.id for a in polls.claim_due(ledger, "wavespeed", limit=9)} == {mine.id, other.id}
    clock.forward(LEASE_SECONDS + 1)
    heartbeats.lost(ledger, [RUN])
    assert polls.claim_due(ledger, "wavespeed", limit=9) == []
    assert heartbeats.renew(ledger, "another", "w1:7:a")
    clock.forward(DOUBT_SECONDS)
    assert set(heartbeats.lost(ledger, [RUN, "another"])) == {RUN}
    assert [a.id for a in polls.claim_due(ledger, "wavespeed", limit=9)] == [mine.id]


def test_the_end_of_a_step_is_kept_by_the_ledgers_clock(ledger: Ledger, clock: Clock) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    assert heartbeats.ends(ledger, [RUN, "unknown"]) == {}
    ended_at = clock.forward(5)
    heartbeats.end(ledger, RUN, "w1:7:a")
    assert heartbeats.ends(ledger, [RUN]) == {RUN: (ended_at, False)}
    assert heartbeats.owners(ledger) == {}
    # its next step
    heartbeats.begin(ledger, RUN, "w1:7:b")
    assert heartbeats.ends(ledger, [RUN]) == {}
    # a process that dies between its last step and Dagster's end is dead too
    heartbeats.end(ledger, RUN, "w1:7:b")
    clock.forward(GRACE_SECONDS + 1)
    assert heartbeats.lost(ledger, [RUN]) == {}
    lost_at = clock.forward(DOUBT_SECONDS)
    assert heartbeats.lost(ledger, [RUN]) == {RUN: lost_at}
    assert heartbeats.ends(ledger, [RUN]) == {RUN: (lost_at, True)}


def test_reading_valid_claims_writes_nothing(
    ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon reads every five seconds while runs work; on SQLite a write would make the runs wait."""
    written: list[float] = []
    write = ledger.write

    def counted() -> object:
        written.append(clock.now)
        return write()

    for run in (RUN, "dead"):
        heartbeats.begin(ledger, run, "w1:7:a")
    heartbeats.take(ledger, "dead", "w1:7:a")
    monkeypatch.setattr(ledger, "write", counted)
    assert set(heartbeats.lost(ledger, [RUN, "dead"])) == {"dead"}
    assert not written
    # an expired claim, one dated by a clock ahead, and a run without a claim are recorded
    clock.forward(LEASE_SECONDS + 1)
    heartbeats.lost(ledger, [RUN])
    clock.forward(-10 * LEASE_SECONDS)
    heartbeats.lost(ledger, [RUN])
    heartbeats.lost(ledger, ["new"])
    assert len(written) == 3


def test_a_run_without_a_claim_has_a_bounded_time_for_its_first_sign(ledger: Ledger, clock: Clock) -> None:
    assert heartbeats.lost(ledger, [RUN, "slow"]) == {}
    clock.forward(GRACE_SECONDS - 1)
    heartbeats.begin(ledger, "slow", "w1:9:c")
    clock.forward(2)
    assert heartbeats.lost(ledger, [RUN, "slow"]) == {}
    clock.forward(DOUBT_SECONDS)
    assert set(heartbeats.lost(ledger, [RUN, "slow"])) == {RUN}
    with pytest.raises(RunLostError):
        heartbeats.begin(ledger, RUN, "w1:7:a")


def test_the_claim_of_a_process_that_is_known_to_have_ended_is_taken_at_once(
    ledger: Ledger, clock: Clock
) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    heartbeats.begin(ledger, "another", "w2:7:a")
    assert heartbeats.owners(ledger) == {RUN: "w1:7:a", "another": "w2:7:a"}
    heartbeats.take(ledger, RUN, "w1:7:a")
    assert heartbeats.lost(ledger, [RUN, "another"]) == {RUN: clock()}


def test_a_run_that_was_declared_dead_decides_sends_and_withdraws_nothing(
    ledger: Ledger, clock: Clock
) -> None:
    heartbeats.begin(ledger, RUN, "w1:7:a")
    left = queued(ledger, batch=RUN, run_id=RUN)
    given_up(ledger, clock, RUN)
    # it wakes without a network: the purchases that its retry has adopted stay queued
    with pytest.raises(RunLostError):
        withdraw(ledger, [left.id], why="not sent: the account does not answer", run_id=RUN)
    with pytest.raises(RunLostError):
        claim_next(ledger, "wavespeed", PostTerms(Limits(), 30), run_id=RUN)
    with pytest.raises(RunLostError):
        decided(ledger, a_request("city-tram"), run_id=RUN)
    assert ledger.latest(["city-tram"]) == {}
    # a living run sends it
    assert claimed(ledger).attempt.subject_key == "city-sunset"


def test_the_purchases_that_a_dead_run_leaves_are_listed_with_clips_and_money(ledger: Ledger) -> None:
    assert str(handover_of(ledger, [RUN])) == "nothing was bought by it"
    queued(ledger, batch=RUN)
    claimed(ledger)
    queued(ledger, a_request("city-tram"), watched_by=RUN)
    queued(ledger, a_request("city-hero"), batch="another")
    said = str(handover_of(ledger, [RUN]))
    assert "1 sent, and their answers are not known yet ($0.40)" in said
    assert "1 queued and not sent ($0.40)" in said
