"""The generated history equals what the product would have written: complete journals, matching counters, one open purchase per clip."""

from collections import Counter

import pytest
import sqlalchemy as sa
from ledgerkit import everything, the_journal_is_whole

from bench.history import UNDER_WAY, write_history
from proof.clock import Clock
from resources.ledger.ledger import Ledger
from resources.ledger.schema import jobs, journal, submissions
from resources.ledger.statement import statement
from resources.ledger.states import AttemptState


@pytest.mark.slow
def test_a_history_is_whole(ledger: Ledger, clock: Clock) -> None:
    written = write_history(ledger, 1500, now=clock.now)
    found = everything(ledger)
    assert len(found) == written.purchases == 1500
    states = Counter(attempt.state for attempt in found)
    assert states[AttemptState.DELIVERED] > 1100
    assert {attempt.state for attempt in found} == set(AttemptState)
    assert sum(attempt.state.is_open for attempt in found) == sum(number for number, _ in UNDER_WAY)
    assert statement(ledger).miscounted == []
    assert ledger.current(written.delivered).keys() == set(written.delivered)
    with ledger.read() as connection:
        entries: dict[str, list[dict[str, object]]] = {}
        for row in connection.execute(sa.select(journal).order_by(journal.c.version)):
            entries.setdefault(row.attempt_id, []).append(dict(row._mapping))
        posted = set(connection.execute(sa.select(submissions.c.attempt_id)).scalars())
        owned = dict(connection.execute(sa.select(jobs.c.job_id, jobs.c.attempt_id)).all())
    for attempt in found:
        the_journal_is_whole(ledger, attempt, entries[attempt.id])
        assert (attempt.id in posted) == any(e["to_state"] == "submitting" for e in entries[attempt.id])
        assert attempt.job_id is None or owned[attempt.job_id] == attempt.id
        assert attempt.fingerprint == attempt.request.fingerprint


@pytest.mark.slow
def test_a_history_may_end_with_nothing_under_way(ledger: Ledger, clock: Clock) -> None:
    written = write_history(ledger, 300, now=clock.now, clips_a_day=20, under_way=False)
    assert written.purchases == 300
    assert not any(attempt.state.is_open for attempt in everything(ledger))
