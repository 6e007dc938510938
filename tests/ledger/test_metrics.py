"""A scrape shows the ledger's content, and its queries read nothing of delivered purchases."""

import contextlib

import pytest
from ledgerkit import ACCOUNT, a_request, put_into, queued, succeeded
from prometheus_client.parser import text_string_to_metric_families

from proof.clock import Clock
from resources.ledger import pauses, stops
from resources.ledger.ledger import Ledger
from resources.ledger.states import AttemptState, MoneyState
from resources.metrics import exposition
from resources.orders import Caps


def scraped(ledger: Ledger) -> dict[tuple[str, ...], float]:
    """Each sample by its name and its label values, in the order of the labels' names."""
    families = text_string_to_metric_families(exposition(ledger).decode())
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_an_empty_ledger_has_no_purchases_and_says_its_version(ledger: Ledger) -> None:
    found = scraped(ledger)
    assert {name for name, *_ in found} == {"dailies_info", "dailies_runs"}
    assert found["dailies_runs",] == 0


def test_purchases_money_and_caps_are_those_of_the_ledger(ledger: Ledger) -> None:
    queued(ledger, a_request("city-tram", price_micros=300_000, caps=Caps(per_day=2_000_000)))
    found = scraped(ledger)
    assert found["dailies_purchases", ACCOUNT, "queued"] == 1
    assert found["dailies_money_in_question_usd", ACCOUNT, "reserved"] == 0.3
    assert found["dailies_spent_usd", "city", "series", "day"] == 0.3
    assert found["dailies_spent_usd", "", "everything", "total"] == 0.3
    assert found["dailies_cap_usd", "city", "series", "day"] == 2
    assert not [key for key in found if key[0] == "dailies_spent_usd" and key[-1] == "run"]


def test_yesterday_is_not_today(ledger: Ledger, clock: Clock) -> None:
    queued(ledger)
    clock.forward(86_400)
    found = scraped(ledger)
    assert ("dailies_spent_usd", "city", "series", "day") not in found
    assert found["dailies_spent_usd", "city", "series", "total"] == 0.4


def test_the_age_of_an_unfetched_paid_clip_grows(ledger: Ledger, clock: Clock) -> None:
    succeeded(ledger)
    clock.forward(90)
    assert scraped(ledger)["dailies_oldest_finished_seconds", ACCOUNT] >= 90


def test_delivered_clips_leave_the_open_purchases_and_stay_in_the_spent_money(
    ledger: Ledger, clock: Clock
) -> None:
    put_into(ledger, clock, AttemptState.DELIVERED)
    found = scraped(ledger)
    assert not [key for key in found if key[0] in {"dailies_purchases", "dailies_money_in_question_usd"}]
    assert found["dailies_spent_usd", ACCOUNT, "account", "total"] == 0.4


@pytest.mark.parametrize("state", sorted(AttemptState))
def test_an_ended_purchase_is_counted_once_by_its_end(
    ledger: Ledger, clock: Clock, state: AttemptState
) -> None:
    put_into(ledger, clock, state)
    if state is AttemptState.QUARANTINED:
        # a person accepts it
        with ledger.transaction(who="test", run_id=None) as tx:
            (attempt,) = ledger.overview()
            tx.transition(attempt, AttemptState.DELIVERED)
    found = {key: value for key, value in scraped(ledger).items() if key[0] == "dailies_ended_total"}
    assert found == ({} if state.is_open else {("dailies_ended_total", ACCOUNT, state.value): 1})


def test_a_transaction_that_fails_counts_nothing(ledger: Ledger) -> None:
    attempt = queued(ledger)
    for fails in (True, False):
        with contextlib.suppress(RuntimeError), ledger.transaction(who="test", run_id=None) as tx:
            tx.transition(tx.attempt(attempt.id), AttemptState.WITHDRAWN, money=MoneyState.RELEASED)
            if fails:
                raise RuntimeError
        assert scraped(ledger).get(("dailies_ended_total", ACCOUNT, "withdrawn")) == (None if fails else 1)


def test_stops_and_pauses_are_shown(ledger: Ledger) -> None:
    stops.stop(ledger, reason="the bill is looked at")
    pauses.slow_down(ledger, ACCOUNT, 45, why="it asked for a pause")
    found = scraped(ledger)
    assert found["dailies_account_stopped", stops.ALL, "person"] == 1
    assert found["dailies_account_paused_seconds", ACCOUNT] == 45
    stops.start(ledger)
    assert not [key for key in scraped(ledger) if key[0] == "dailies_account_stopped"]


def test_a_name_from_outside_cannot_add_a_line(ledger: Ledger) -> None:
    queued(ledger, a_request("city-tram", series='city"} 1\ndailies_purchases{account="x'))
    assert not [key for key in scraped(ledger) if key[:2] == ("dailies_purchases", "x")]
