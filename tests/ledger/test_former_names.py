"""Clips that were bought under a former name of their series are shown with the series' present title."""

from resources.ledger.former_names import record_rename, titles_by_every_name
from resources.ledger.ledger import Ledger


def by_every_name(ledger: Ledger, titles: dict[str, str]) -> dict[str, str]:
    with ledger.read() as connection:
        return titles_by_every_name(connection, titles)


def test_a_series_has_its_title_under_every_name_that_it_had(ledger: Ledger) -> None:
    with ledger.transaction(who="person mara", run_id=None) as tx:
        record_rename(tx.connection, "loop", "orbit")
        record_rename(tx.connection, "orbit", "turn")
    titles = by_every_name(ledger, {"turn": "The turn", "bay": "The bay"})
    assert titles == {"loop": "The turn", "orbit": "The turn", "turn": "The turn", "bay": "The bay"}


def test_a_former_name_that_another_series_uses_now_has_that_series_title(ledger: Ledger) -> None:
    with ledger.transaction(who="person mara", run_id=None) as tx:
        record_rename(tx.connection, "bay", "coast")
    assert by_every_name(ledger, {"coast": "The coast", "bay": "A new bay"})["bay"] == "A new bay"


def test_a_removed_series_has_no_title(ledger: Ledger) -> None:
    with ledger.transaction(who="person mara", run_id=None) as tx:
        record_rename(tx.connection, "bay", "coast")
    assert by_every_name(ledger, {}) == {}
