"""People's queries of a ledger with a history: the same answers as from reading all of it, without reading it."""

import datetime as dt
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from explained import explaining

from pipelines.cli.failed_clips import failed_clips
from pipelines.cli.status import NEWEST, clips_shown
from resources.inventory.ledger_audit import check_ledger
from resources.ledger import newest as asked
from resources.ledger.budget import Budget
from resources.ledger.ledger import Ledger
from resources.ledger.records import Attempt
from resources.ledger.states import OPEN, UNDELIVERED, AttemptState
from resources.orders import ClipRequest
from resources.planning import chosen_purchases

# these tests need a ledger with a history
pytestmark = pytest.mark.slow

TODAY = dt.date(2026, 11, 29)


@pytest.fixture
def old_ledger(history_url: str) -> Iterator[Ledger]:
    with Ledger(history_url, budget=Budget()) as found:
        yield found


def test_the_newest_purchases_are_those_of_the_whole_ledger(old_ledger: Ledger) -> None:
    every = old_ledger.overview()

    def ids(states: frozenset[AttemptState], series: str | None = None) -> list[str]:
        return [a.id for a in every if a.state in states and series in {None, a.series}]

    for states in (UNDELIVERED, OPEN | UNDELIVERED, frozenset(AttemptState)):
        assert [one.id for one in asked.newest(old_ledger, states)] == ids(states)
        assert [one.id for one in asked.newest(old_ledger, states, series="city")] == ids(states, "city")
    delivered = frozenset({AttemptState.DELIVERED})
    assert [one.id for one in asked.newest(old_ledger, delivered, last=7)] == ids(delivered)[-7:]
    of_city = [one.id for one in asked.newest(old_ledger, delivered, series="city", last=7)]
    assert of_city == ids(delivered, "city")[-7:]
    assert asked.clips_bought(old_ledger) == len(every)
    assert asked.clips_bought(old_ledger, series="city") == len([a for a in every if a.series == "city"])
    assert asked.has_bought(old_ledger, "city")
    assert not asked.has_bought(old_ledger, "cit")
    assert failed_clips(old_ledger) == [a.subject_key for a in every if a.state in UNDELIVERED]

    def chosen(*words: str) -> set[str]:
        return {one.subject_key for one in chosen_purchases(old_ledger, words, today=TODAY)}

    def keys(states: frozenset[AttemptState]) -> set[str]:
        return {a.subject_key for a in every if a.state in states and a.series == "city"}

    one = every[100].subject_key
    assert chosen(one) == {one}
    assert chosen("state:failed,city") == keys(UNDELIVERED)
    assert chosen("tag:campaign=city,state:open", one) == {one} | keys(OPEN)
    assert len(chosen("owner:team:content")) == len(every)


def test_a_status_and_a_retry_fetch_what_they_show_and_parse_no_request(
    sqlite_history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[object] = []
    parsed: list[object] = []
    read, validate = Attempt.from_row, ClipRequest.model_validate

    def from_row(row: sa.Row[tuple[object, ...]]) -> Attempt:
        fetched.append(row)
        return read(row)

    def model_validate(*given: Any) -> ClipRequest:
        parsed.append(given)
        return validate(*given)

    monkeypatch.setattr(Attempt, "from_row", staticmethod(from_row))
    monkeypatch.setattr(ClipRequest, "model_validate", model_validate)
    with Ledger(f"sqlite:///{sqlite_history}", budget=Budget()) as ledger:
        failed = clips_shown(ledger, [], series=None, failed=True, every=False)
        assert failed_clips(ledger)
        assert fetched == []
        shown = clips_shown(ledger, [], series=None, failed=False, every=False)
        assert shown.left_out > 15_000
        assert len(shown.ids) == len(fetched) == len(failed.ids) + NEWEST + 60, "60 purchases are open"
        fetched.clear()
        check_ledger(ledger)
        assert len(fetched) < len(failed.ids) + 200
        assert sum(map(len, asked.pages(ledger, failed.ids))) == len(failed.ids)
        assert parsed == []
        # the negative control: reading everything is noticed, and so is reading a request
        fetched.clear()
        whole = ledger.overview()
        assert len(fetched) == len(whole) > 15_000
        assert whole[0].request.clip == whole[0].subject_key
        assert len(parsed) == 1


def test_the_queries_of_a_status_search_indexes(sqlite_history: Path) -> None:
    plans: list[str] = []

    def plan(
        connection: sa.Connection, cursor: object, statement: str, parameters: tuple[Any, ...], *_: object
    ) -> None:
        if statement.startswith("SELECT") and "attempts" in statement:
            file = connection.connection.driver_connection
            assert isinstance(file, sqlite3.Connection)
            explained = file.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append("; ".join(row[3] for row in explained))

    with Ledger(f"sqlite:///{sqlite_history}", budget=Budget()) as ledger:
        sa.event.listen(sa.Engine, "before_cursor_execute", plan)
        try:
            for series in (None, "city"):
                asked.newest(ledger, OPEN | UNDELIVERED, series=series)
                asked.clips_bought(ledger, series=series)
            asked.newest(ledger, {AttemptState.DELIVERED}, series="city", last=NEWEST)
            asked.has_bought(ledger, "city")
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", plan)
    rest, clips, rest_of_city, clips_of_city, last_of_city, has = plans
    assert "SEARCH attempts USING INDEX attempts_not_delivered" in rest
    assert "SEARCH attempts USING INDEX attempts_not_delivered" in rest_of_city
    assert "COVERING INDEX attempts_by_subject" in clips
    assert "COVERING INDEX attempts_by_series" in clips_of_city
    assert "INDEX attempts_by_series" in last_of_city
    assert "COVERING INDEX attempts_by_series" in has


@pytest.mark.postgresql
def test_the_queries_of_a_status_read_no_history(old_ledger: Ledger, backend: str) -> None:
    delivered = {AttemptState.DELIVERED}
    with explaining() as explained:
        asked.newest(old_ledger, UNDELIVERED)
        asked.newest(old_ledger, OPEN | UNDELIVERED, series="city")
        asked.newest(old_ledger, delivered, series="city", last=NEWEST)
        next(asked.reported_deliveries(old_ledger))
        if backend == "postgresql":
            asked.newest(old_ledger, OPEN | UNDELIVERED)
            # SQLite walks the table backwards until it has enough rows; its plan calls this a scan
            asked.newest(old_ledger, delivered, last=NEWEST)
    assert not explained.too_much, f"\n{explained}"
    with explaining() as explained:
        asked.clips_bought(old_ledger)
    assert set(explained.too_much) == {"newest.py: clips_bought"}, "a count of all clips is noticed"
