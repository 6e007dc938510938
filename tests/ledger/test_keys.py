"""Whether an account's key is dedicated: a fact of the ledger, whatever single hosts declare."""

import math

import pytest
from ledgerkit import ACCOUNT, a_request

from resources.ledger import database, keys, limits, stops
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.queue import PostTerms, claim_next


def buy_one(ledger: Ledger) -> None:
    decide(ledger, [a_request()], Decision("monday"))
    claim_next(ledger, ACCOUNT, PostTerms(Limits(), 30))


def test_an_undeclared_key_counts_as_shared(ledger: Ledger) -> None:
    use = keys.declare(ledger, ACCOUNT, dedicated=None)
    assert (use.declared, use.dedicated, use.dedicated_since) == (None, False, math.inf)


def test_a_declaration_before_the_first_post_holds_from_the_beginning(ledger: Ledger) -> None:
    assert keys.declare(ledger, ACCOUNT, dedicated=True).dedicated_since == 0
    assert keys.look_up(ledger, ACCOUNT).dedicated


def test_a_later_declaration_holds_from_then_on(ledger: Ledger) -> None:
    buy_one(ledger)
    before = ledger.clock()
    since = keys.declare(ledger, ACCOUNT, dedicated=True).dedicated_since
    assert before <= since <= ledger.clock()
    assert keys.declare(ledger, ACCOUNT, dedicated=True).dedicated_since == since
    assert keys.declare(ledger, ACCOUNT, dedicated=None).dedicated_since == since


def test_where_two_hosts_disagree_the_key_counts_as_shared(ledger: Ledger) -> None:
    keys.declare(ledger, ACCOUNT, dedicated=True)
    assert not keys.declare(ledger, ACCOUNT, dedicated=False).dedicated
    again = keys.declare(ledger, ACCOUNT, dedicated=True)
    assert not again.dedicated
    assert again.disagrees_with(True)
    assert not again.disagrees_with(None)
    assert "host " in keys.disagreement(ACCOUNT, again)
    assert f"dailies key {ACCOUNT} --dedicated" in keys.disagreement(ACCOUNT, again)


def test_a_persons_command_overrules_hosts_until_one_declares_the_key_shared_again(ledger: Ledger) -> None:
    keys.declare(ledger, ACCOUNT, dedicated=False)
    buy_one(ledger)
    said = keys.decide(ledger, ACCOUNT, dedicated=True, who="ann")
    assert (said.dedicated, said.by) == (True, "ann")
    assert said.since > 0
    assert not keys.declare(ledger, ACCOUNT, dedicated=False).dedicated


@pytest.mark.parametrize("said", [True, False, None])
def test_after_a_rebuild_no_earlier_post_is_settled_by_elimination(ledger: Ledger, said: bool | None) -> None:
    keys.declare(ledger, ACCOUNT, dedicated=said)
    before = ledger.clock()
    keys.distrust_earlier_posts(ledger)
    use = keys.look_up(ledger, ACCOUNT)
    assert use.dedicated is (said is True)
    assert use.dedicated_since >= before


def test_a_rebuild_takes_its_locks_in_the_order_of_a_claim(
    ledger: Ledger, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim locks its account's row and then the row of the general stop; the other order would deadlock."""
    if backend == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 1_000)
    stops.stop(ledger, reason="a person says so")
    keys.declare(ledger, ACCOUNT, dedicated=True)
    with ledger.write() as connection:
        limits.lock_account(connection, stops.ALL)
        keys.distrust_earlier_posts(ledger)
    assert keys.look_up(ledger, ACCOUNT).since > 0


def test_another_key_is_not_dedicated_because_the_earlier_one_was(ledger: Ledger) -> None:
    assert not keys.see_key(ledger, ACCOUNT, "first")
    keys.declare(ledger, ACCOUNT, dedicated=True)
    buy_one(ledger)
    assert not keys.see_key(ledger, ACCOUNT, "first")
    assert keys.look_up(ledger, ACCOUNT).dedicated
    before = ledger.clock()
    assert keys.see_key(ledger, ACCOUNT, "second")
    assert keys.declare(ledger, ACCOUNT, dedicated=None).declared is None
    with ledger.read() as connection:
        assert keys.key_since(connection, ACCOUNT) >= before
        assert keys.key_since(connection, "aimlapi") == 0
    assert keys.declare(ledger, ACCOUNT, dedicated=True).dedicated_since >= before
    assert "second" not in (ledger.fact(f"key of {ACCOUNT}") or "")


def test_another_key_stays_shared(ledger: Ledger) -> None:
    keys.see_key(ledger, ACCOUNT, "first")
    keys.declare(ledger, ACCOUNT, dedicated=False)
    keys.see_key(ledger, ACCOUNT, "second")
    assert keys.declare(ledger, ACCOUNT, dedicated=True).declared == keys.SHARED


@pytest.mark.parametrize("other", ["aimlapi", "somebody"])
def test_each_account_has_its_own_declaration(ledger: Ledger, other: str) -> None:
    keys.declare(ledger, ACCOUNT, dedicated=True)
    assert not keys.look_up(ledger, other).dedicated
