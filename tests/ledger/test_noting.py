"""Facts of an output before its delivery: flags, and its look, on both databases."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from ledgerkit import NEVER_CHARGED, a_request, a_state, read, submitted, succeeded
from verdictkit import a_verdict

from proof.clock import Clock
from resources.ledger import deliveries, polls
from resources.ledger.ledger import Ledger
from resources.ledger.notes import SiblingLook, note_look, nsfw
from resources.ledger.records import Attempt

STORED = {"uri": "s3://b/k"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((True,), True),
        ((False,), False),
        ((False, True), True),
        ((None,), None),
        ((), None),
        ((None, False), False),
    ],
)
def test_the_providers_flags_of_its_outputs_are_stored(
    ledger: Ledger, flags: tuple[bool | None, ...], said: bool | None
) -> None:
    attempt = submitted(ledger)
    assert nsfw(ledger, attempt.id) is None
    polls.record_end(ledger, attempt, a_state(nsfw=flags), NEVER_CHARGED)
    assert nsfw(ledger, attempt.id) is said


def test_looks_of_the_series_are_compared_newest_first(ledger: Ledger) -> None:
    first = succeeded(ledger, a_request("clip-a"), job_id="a")
    assert note_look(ledger, first, "aa") == []
    deliveries.record_delivered(ledger, first.id, STORED)
    second = succeeded(ledger, a_request("clip-b"), job_id="b")
    assert note_look(ledger, second, "bb") == [SiblingLook("clip-a", first.seq, "aa")]
    third = succeeded(ledger, a_request("clip-c"), job_id="c")
    assert note_look(ledger, third, "cc") == [
        SiblingLook("clip-b", second.seq, "bb"),
        SiblingLook("clip-a", first.seq, "aa"),
    ]
    assert note_look(ledger, third, "dd")[0].look == "bb", "a second look replaces the first"
    elsewhere = succeeded(ledger, a_request("clip-d", series="harbor"), job_id="d")
    assert note_look(ledger, elsewhere, "ee") == [], "looks of another series are not compared"


def test_quarantined_and_lost_takes_are_not_compared(ledger: Ledger) -> None:
    apart = succeeded(ledger, a_request("clip-a"), job_id="a")
    note_look(ledger, apart, "aa")
    deliveries.record_quarantined(ledger, apart.id, STORED, why="black")
    assert note_look(ledger, succeeded(ledger, a_request("clip-b"), job_id="b"), "bb") == []


def test_a_rebuilt_ledger_knows_looks_from_the_manifests(ledger: Ledger) -> None:
    first = succeeded(ledger, a_request("clip-a"), job_id="a")
    deliveries.record_delivered(ledger, first.id, STORED | {"look": "aa"})
    second = succeeded(ledger, a_request("clip-b"), job_id="b")
    assert note_look(ledger, second, "bb") == [SiblingLook("clip-a", first.seq, "aa")]


def test_of_two_simultaneous_takes_one_sees_the_other(ledger: Ledger) -> None:
    pair = [succeeded(ledger, a_request(f"clip-{name}"), job_id=name) for name in "ab"]
    with ThreadPoolExecutor(2) as pool:
        seen = list(pool.map(lambda attempt: note_look(ledger, attempt, "aa"), pair))
    assert sorted(map(len, seen)) == [0, 1]


def test_a_take_that_is_delivered_just_before_the_lock_is_seen(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (succeeded(ledger, a_request(f"clip-{name}"), job_id=name) for name in "ab")
    write = ledger.write
    begun: list[bool] = []

    def first_is_faster() -> contextlib.AbstractContextManager[sa.Connection]:
        if not begun:
            begun.append(True)
            note_look(ledger, first, "aa")
            deliveries.record_delivered(ledger, first.id, STORED)
        return write()

    monkeypatch.setattr(ledger, "write", first_is_faster)
    assert note_look(ledger, second, "bb") == [SiblingLook("clip-a", first.seq, "aa")]


# renewed claims, and acceptance by a person


def test_only_the_earliest_claim_of_a_take_counts_as_the_first(ledger: Ledger, clock: Clock) -> None:
    """A later claimer looks for the earlier worker's stored files."""

    def claimed(attempt: Attempt, token: str) -> bool:
        claim = deliveries.claim(ledger, attempt.id, token=token)
        assert claim is not None
        return claim.is_first

    died, failed = succeeded(ledger, a_request("clip-a")), succeeded(ledger, a_request("clip-b"), job_id="b")
    assert claimed(died, "me")
    assert claimed(failed, "me")
    clock.forward(deliveries.LEASE_SECONDS + 1)
    assert not claimed(died, "you")
    deliveries.release(ledger, failed.id, token="me", why="the bucket was away")
    assert not claimed(failed, "you")


def test_only_the_claimer_renews_a_claim(ledger: Ledger, clock: Clock) -> None:
    attempt = succeeded(ledger)
    deliveries.claim(ledger, attempt.id, token="me")
    clock.forward(deliveries.LEASE_SECONDS - 1)
    assert deliveries.renew(ledger, attempt.id, token="me")
    clock.forward(deliveries.LEASE_SECONDS - 1)
    assert deliveries.claim(ledger, attempt.id, token="you") is None
    clock.forward(2)
    assert deliveries.claim(ledger, attempt.id, token="you") is not None
    assert not deliveries.renew(ledger, attempt.id, token="me")
    assert read(ledger, attempt).delivery_owner == "you"


def test_an_accepted_take_leaves_quarantine_and_becomes_current(ledger: Ledger) -> None:
    apart = deliveries.record_quarantined(ledger, succeeded(ledger).id, STORED, why="black")
    deliveries.mark_reported(ledger, [apart.id], "run-1")
    assert [a.id for a in deliveries.in_quarantine(ledger)] == [apart.id]
    accepted = deliveries.record_accepted(ledger, apart.id, STORED, a_verdict(apart, note="a night"))
    assert accepted.state == "delivered"
    assert accepted.reported_run_id is None, "the end is reported to Dagster again"
    assert ledger.current([apart.subject_key])[apart.subject_key].id == apart.id
    assert deliveries.in_quarantine(ledger) == []
    entry = ledger.history(apart.id)[-1]
    assert (entry["why"], str(entry["who"]).startswith("person mira")) == ("circled by mira: a night", True)


def test_only_a_quarantined_take_can_be_accepted(ledger: Ledger) -> None:
    waiting = succeeded(ledger)
    with pytest.raises(Exception, match="only a take in quarantine can be accepted"):
        deliveries.record_accepted(ledger, waiting.id, STORED, a_verdict(waiting))
    assert read(ledger, waiting) == waiting
