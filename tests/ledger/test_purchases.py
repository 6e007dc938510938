"""Messages about a decision's money agree with the ledger."""

from ledgerkit import a_request, accepted, claimed, queued

from resources.ledger import outcomes
from resources.ledger.decision_clips import fix_clips
from resources.ledger.ledger import Ledger
from resources.ledger.purchases import purchases_of


def test_a_decision_that_waits_for_what_another_has_bought_does_not_say_that_nothing_was_bought(
    ledger: Ledger,
) -> None:
    fix_clips(ledger, "tuesday", ["city-sunset", "other"])
    assert str(purchases_of(ledger, "tuesday")) == "Nothing was bought."
    queued(ledger, a_request("city-sunset"))
    outcomes.record_outcome(ledger, claimed(ledger), accepted("job-1"))
    said = str(purchases_of(ledger, "tuesday"))
    assert "another one has bought 1 clip of it" in said
    assert "Nothing was bought" not in said
    assert "1 POST went out" in str(purchases_of(ledger, "monday"))
