"""A decision's clips are fixed once, and the transaction that reserves obeys this."""

from ledgerkit import a_request, decided

from resources.ledger.decision_clips import fix_clips, fixed_clips
from resources.ledger.decisions import Ruling
from resources.ledger.ledger import Ledger

KEYS = ["city-noon", "city-sunset"]


def test_the_clips_that_are_fixed_first_are_the_ones_that_count(ledger: Ledger) -> None:
    assert fixed_clips(ledger, "tick-1") == frozenset()
    assert fix_clips(ledger, "tick-1", KEYS) == set(KEYS)
    assert fix_clips(ledger, "tick-1", ["harbor-dunes", *KEYS]) == set(KEYS)
    assert fixed_clips(ledger, "tick-1") == set(KEYS)
    assert fixed_clips(ledger, "tick-2") == frozenset()


def test_a_decision_without_clips_is_not_fixed(ledger: Ledger) -> None:
    assert fix_clips(ledger, "tick-1", []) == frozenset()
    assert fix_clips(ledger, "tick-1", KEYS) == set(KEYS)


def test_a_decision_buys_none_but_its_own_clips(ledger: Ledger) -> None:
    fix_clips(ledger, "tick-1", ["city-sunset"])
    assert decided(ledger, a_request("city-sunset"), decision="tick-1").ruling is Ruling.NEW
    other = decided(ledger, a_request("harbor-dunes"), decision="tick-1")
    assert other.ruling is Ruling.REFUSED
    assert other.attempt is None
    assert "the decision tick-1 is about other clips" in (other.reason or "")
    assert ledger.latest(["harbor-dunes"]) == {}
    assert decided(ledger, a_request("harbor-dunes"), decision="tick-2").ruling is Ruling.NEW
