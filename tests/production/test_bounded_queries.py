"""No query of a tick, a claim, a decision, a poll, a delivery, a bill or a person reads the ledger's history.

All tests of a long history are in this file, since each PostgreSQL server needs seconds for one.
"""

import datetime as dt
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from explained import MOST_ROWS, explaining
from fakes import (
    LOSES_THE_ANSWER,
    Ends,
    Job,
    World,
    a_request,
    rejects,
)

from pipelines.cli.failed_clips import failed_clips
from pipelines.cli.status import NEWEST, clips_shown
from resources.file_references import FileReference
from resources.inventory.ledger_audit import check_ledger
from resources.ledger import data_pushes, deliveries, heartbeats, purchases, uploads
from resources.ledger import newest as asked
from resources.ledger.budget import Budget
from resources.ledger.decision_clips import fix_clips
from resources.ledger.decisions import Decision, decide, known_purchases
from resources.ledger.handover import handover_of
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.lost.closures import match_callback
from resources.ledger.notes import note_look
from resources.ledger.records import Attempt
from resources.ledger.recovery.mark import knows, mark_of, newest_seq
from resources.ledger.schema import attempts
from resources.ledger.shared_tables import decision_data
from resources.ledger.states import OPEN, UNDELIVERED, AttemptState
from resources.metrics import exposition
from resources.orders import ClipRequest
from resources.planning import chosen_purchases
from resources.production.batch import Stage
from resources.providers.base import FailureKind, JobStatus

# these tests need a ledger with a history
pytestmark = pytest.mark.slow

ACCOUNT = "wavespeed"
HOUR = 3600.0
TODAY = dt.date(2026, 11, 29)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """As elsewhere, for fixtures of the module."""
    return str(request.param)


@pytest.fixture(scope="module")
def read_url(backend: str, request: pytest.FixtureRequest) -> str:
    """The address of the history itself, for tests that only read it: each copy has eighty megabytes."""
    if backend == "sqlite":
        return f"sqlite:///{request.getfixturevalue('sqlite_history')}"
    return str(request.getfixturevalue("postgres_history"))


@pytest.fixture
def old_ledger(read_url: str) -> Iterator[Ledger]:
    with Ledger(read_url, budget=Budget()) as found:
        yield found


@pytest.fixture
def world(history_url: str) -> Iterator[World]:
    made = World(history_url)
    yield made
    made.ledger.close()


def introduce(world: World) -> None:
    """Give the provider the jobs of the history that may still be polled."""
    polled = attempts.c.next_poll_at.is_not(None) | attempts.c.late_at.is_not(None)
    with world.ledger.read() as connection:
        rows = connection.execute(sa.select(attempts).where(attempts.c.account == ACCOUNT, polled)).all()
    for attempt in map(Attempt.from_row, rows):
        goes = Ends(after=90) if attempt.state.is_open else Ends(JobStatus.FAILED)
        job = Job(attempt.job_id or "", attempt.clip, attempt.submitted_at or 0, goes, model=None)
        world.provider.jobs[job.id] = job


def live(world: World, old: list[ClipRequest]) -> None:
    """Run every event of a purchase's life through the product's functions."""
    provider, ledger = world.provider, world.ledger
    provider.answers["clip-lost"] = [LOSES_THE_ANSWER]
    provider.answers["clip-refused"] = [rejects(FailureKind.INVALID)]
    provider.answers["clip-throttled"] = [rejects(FailureKind.THROTTLED, retry_after=1)]
    provider.jobs_go["clip-fails"] = [Ends(JobStatus.FAILED, failure=FailureKind.PROVIDER)]
    provider.jobs_go["clip-gone"] = [Ends(JobStatus.GONE)]
    provider.jobs_go["clip-late"] = [Ends(after=4000)]
    names = ("good", "lost", "refused", "throttled", "fails", "gone", "late", "checked")
    requests = [a_request(f"clip-{name}", series="harbor", max_attempts=2) for name in names]
    world.deliverer.quarantines.add("clip-checked")
    engine = world.engine(Limits(in_flight=100, per_minute=600))
    with ledger.write() as connection:
        heartbeats.require(connection, "run-1")
    heartbeats.begin(ledger, "run-1", "me")
    fix_clips(ledger, "today", [r.clip for r in [*requests, *old]])
    known_purchases(ledger, [r.clip for r in [*requests, *old]])
    again = [r.model_copy(update={"body": {**r.body, "prompt": f"new {r.clip}"}}) for r in old[:3]]
    decision = Decision("today", batch="run-1", watched_by="run-1")
    decided = decide(ledger, [*requests, *old[3:], *again], decision, run_id="run-1")
    # the ticks below wait for the late job; a waiting run would query the ledger a hundred thousand times
    soon = [one for one in decided if one.request.clip != "clip-late"]
    world.run(world.follower(Stage.DELIVERED, engine).follow(soon))
    decide(ledger, [*requests, *old], Decision("another", batch="run-2", regenerate=True))
    provider.charged_after = -60
    for pause in (10, 10, 60, 400, HOUR, 6 * HOUR, 25 * HOUR):
        for account in (ACCOUNT,):
            tick(world, account)
            world.run(engine.step(account))
        world.clock.forward(pause)
    for run in ("run-1", "run-2"):
        str(handover_of(ledger, [run]))
    str(purchases.purchases_of(ledger, "today"))
    heartbeats.lost(ledger, ["run-1"])
    assert world.ledger.current(["clip-good"])
    post = provider.posts_of("clip-good")[-1]
    match_callback(ledger, ACCOUNT, post.submission_id, "job-of-a-callback", model=None)
    mark = mark_of(ledger)
    assert knows(ledger, mark)
    assert newest_seq(ledger) == mark.seq
    deliveries.spares_to_fetch(ledger, ["clip-good"])
    exposition(ledger)


def delivered(world: World, number: int) -> list[ClipRequest]:
    """The requests of the clips that were delivered last."""
    mine = (attempts.c.state == "delivered", attempts.c.account == ACCOUNT)
    with world.ledger.read() as connection:
        rows = connection.execute(
            sa.select(attempts).where(*mine).order_by(attempts.c.seq.desc()).limit(number)
        )
        return [Attempt.from_row(row).request for row in rows]


def tick(world: World, account: str) -> None:
    """The queries of a sensor before and after the engine's step."""
    from pipelines.sensors import _is_due

    deliveries.unreported(world.ledger, account)
    _is_due(world.ledger, account)


@pytest.mark.postgresql
def test_no_event_of_a_purchase_reads_the_history(world: World) -> None:
    introduce(world)
    old = delivered(world, 10)
    with explaining() as explained:
        live(world, old)
    assert not explained.too_much, f"\n{explained}"


@pytest.mark.postgresql
def test_the_files_of_queued_purchases_are_found_without_the_history(world: World) -> None:
    ledger = world.ledger
    digests = ["a" * 64, "b" * 64]
    for digest in digests:
        data_pushes.push(ledger, digest, files=1, size=1, who="ann", note="")
    picture = FileReference("images/hill.png", "c" * 64)
    request = a_request("clip-picture")
    body = {**request.body, "image": str(picture)}
    decide(ledger, [request.model_copy(update={"body": body})], Decision("of-a-push"))
    with ledger.write() as connection:
        # a decision was made of a folder at every tick of the history
        decisions = connection.execute(sa.select(attempts.c.decision).distinct()).scalars()
        named = {f"tick-{number}": digests[0] for number in range(3 * MOST_ROWS)}
        named |= dict.fromkeys(decisions, digests[0]) | {"of-a-push": digests[1]}
        rows = [{"decision": decision, "digest": digest} for decision, digest in named.items()]
        connection.execute(sa.insert(decision_data), rows)
    with explaining() as explained:
        assert digests[1] in data_pushes.of_unsent(ledger)
        assert picture in uploads.needed(ledger, ACCOUNT, limit=200)
    assert not explained.too_much, f"\n{explained}"


@pytest.mark.postgresql
def test_a_missing_index_is_noticed(world: World) -> None:
    with world.ledger.write() as connection:
        connection.execute(sa.text("DROP INDEX attempts_unreported"))
    with explaining() as explained:
        deliveries.unreported(world.ledger, ACCOUNT)
    assert set(explained.too_much) == {"deliveries.py: unreported"}


@pytest.mark.postgresql
def test_the_rows_read_under_the_lock_of_a_look_do_not_grow_with_the_series(world: World) -> None:
    (take, *_) = world.ledger.attempts(
        [one.id for one in asked.newest(world.ledger, {AttemptState.SUCCEEDED})]
    ).values()
    with explaining() as explained:
        seen = note_look(world.ledger, take, "aa")
    assert seen, "its series has a history"
    assert explained.too_much.keys() <= {"notes.py: _newest_looks"}, explained


# People's queries: the same answers as from reading all of the history, without reading it


@pytest.mark.postgresql
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
