"""A run whose process died: no process waits for it, and Dagster shows its end, whatever status the run had."""

from collections.abc import Callable

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster_ui import DagsterUi
from pipelinekit import House, nothing_bought, subject

from pipelines import runs
from pipelines.collections import BATCH_TAG
from pipelines.partitions import range_tags
from pipelines.runs import UNENDED_SECONDS, end_dead_runs, not_ended, past_runs
from resources.ledger import heartbeats, schema
from resources.ledger.handover import handover_of
from resources.ledger.ledger import Ledger

COMPLETION = "wavespeed_completion"
DEAD_RUNS = "dead_runs"


@pytest.fixture(scope="module")
def buyer(house_to_look_at: House) -> House:
    """A house with two clips that are bought and left."""
    keys = house_to_look_at.declare("bay", ["east", "west"])
    house_to_look_at.add(keys)
    assert house_to_look_at.run("submit_clips", keys).green
    return house_to_look_at


@pytest.fixture
def house(buyer: House, copy_of: Callable[[House], House]) -> House:
    """A copy of that house."""
    return copy_of(buyer)


@pytest.fixture
def keys() -> list[str]:
    """The two clips."""
    return ["bay-east", "bay-west"]


def dies(house: House, run_id: str) -> None:
    """Record a run that lived and whose process died."""
    with house.production.ledger() as ledger:
        heartbeats.begin(ledger, run_id, "host:1:a")
        heartbeats.take(ledger, run_id, "host:1:a")


def dead_for(house: House, seconds: float) -> None:
    """Set how many seconds ago the dead runs were lost."""
    with house.production.ledger() as ledger, ledger.write() as connection:
        connection.execute(
            sa.update(schema.heartbeats)
            .where(schema.heartbeats.c.lost_at.is_not(None))
            .values(lost_at=ledger.clock() - seconds)
        )


def retried_by(run_id: str) -> dict[str, str]:
    """Dagster's tags of a failed run whose retry is this one."""
    return {"dagster/will_retry": "true", runs.RETRY_TAG: run_id}


def test_the_clips_of_a_dead_run_are_collected_although_dagster_shows_it_as_started(
    house: House, ui: DagsterUi, keys: list[str]
) -> None:
    waiting = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED)
    house.watched_by(waiting, keys)
    assert house.tick(COMPLETION)[0] == []
    dies(house, waiting)
    assert house.tick(COMPLETION)[0] == [], "the sensor dead_runs comes first"
    dead_for(house, runs.RETRY_SECONDS)
    with nothing_bought(house):
        collected = house.collected(COMPLETION)
    assert collected.green
    assert ui.bars()["uploaded_videos"].green == set(keys)


def test_the_clips_of_a_dead_run_that_is_not_retried_are_collected_at_once(
    house: House, keys: list[str]
) -> None:
    waiting = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED)
    house.watched_by(waiting, keys)
    dies(house, waiting)
    house.tick(DEAD_RUNS)
    with nothing_bought(house):
        assert house.collected(COMPLETION).green


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED])
def test_only_the_retry_finishes_the_clips_of_a_dead_run(
    house: House, keys: list[str], status: dg.DagsterRunStatus
) -> None:
    """A collecting run beside the retry would do the same work, and both would be late."""
    retry = house.a_run_that("produce_clips", status)
    died = house.a_run_that("produce_clips", dg.DagsterRunStatus.FAILURE, retried_by(retry))
    first = house.a_run_that("produce_clips", dg.DagsterRunStatus.FAILURE, retried_by(died))
    house.watched_by(first, keys)
    dies(house, first)
    dies(house, died)
    dead_for(house, 3600)
    for _ in range(3):
        assert house.tick(COMPLETION)[0] == []
    if status is dg.DagsterRunStatus.STARTED:
        dies(house, retry)
        dead_for(house, 3600)
    else:
        run = house.instance.get_run_by_id(retry)
        assert run is not None
        house.instance.report_run_failed(run)
    assert house.collected(COMPLETION).green


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING])
def test_a_retry_that_never_begins_is_not_waited_for_for_ever(
    house: House, keys: list[str], status: dg.DagsterRunStatus
) -> None:
    """If a host dies with a starting run, the run stays `STARTING` when Dagster's run monitoring is off."""
    retry = house.a_run_that("produce_clips", status)
    died = house.a_run_that("produce_clips", dg.DagsterRunStatus.FAILURE, retried_by(retry))
    house.watched_by(died, keys)
    dies(house, died)
    assert house.tick(COMPLETION)[0] == []
    with house.production.ledger() as ledger:
        now = ledger.clock()
        assert runs.living(house.instance, ledger, [died]) == {died}
        ledger.clock = lambda: now + runs.BEGIN_SECONDS
        assert runs.living(house.instance, ledger, [died]) == frozenset()


def test_a_retry_that_was_announced_and_is_not_created_is_not_waited_for(
    house: House, keys: list[str]
) -> None:
    died = house.a_run_that("produce_clips", dg.DagsterRunStatus.FAILURE, {"dagster/will_retry": "true"})
    house.watched_by(died, keys)
    dies(house, died)
    dead_for(house, runs.RETRY_SECONDS - 20)
    assert house.tick(COMPLETION)[0] == []
    dead_for(house, runs.RETRY_SECONDS)
    assert house.collected(COMPLETION).green


def test_if_dagsters_status_counted_the_clips_of_a_dead_run_would_wait_for_ever(
    house: House, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: if heartbeats are ignored, nothing is ever collected."""
    waiting = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED)
    house.watched_by(waiting, keys)
    dies(house, waiting)
    monkeypatch.setattr(heartbeats, "lost", lambda _ledger, _started: {})
    for _ in range(3):
        assert house.tick(COMPLETION)[0] == []
        house.tick(DEAD_RUNS)
    assert set(house.states(keys).values()) == {"succeeded"}


def test_a_dead_collection_is_not_waited_for(house: House, keys: list[str]) -> None:
    batch = next(iter(house.attempts(keys).values())).batch or ""
    tags = {BATCH_TAG: batch, **range_tags(keys)}
    died = house.a_run_that("collect_clips", dg.DagsterRunStatus.STARTED, tags)
    assert house.tick(COMPLETION)[0] == []
    dies(house, died)
    assert house.collected(COMPLETION).green


def test_a_collection_that_never_starts_is_not_waited_for_for_ever(house: House, keys: list[str]) -> None:
    batch = next(iter(house.attempts(keys).values())).batch or ""
    tags = {BATCH_TAG: batch, **range_tags(keys)}
    for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING):
        house.a_run_that("collect_clips", status, tags)
    assert house.tick(COMPLETION)[0] == []
    with house.production.ledger() as ledger:
        now = ledger.clock()
        ledger.clock = lambda: now + runs.BEGIN_SECONDS
        past = sorted(past_runs(house.instance, ledger, batch), key=lambda run: run.ended_at or 0)
    assert [run.ended_at is None for run in past] == [True, False], (
        "Dagster still submits a run that was not started"
    )


def test_the_end_of_a_collection_is_dated_by_the_ledgers_clock(house: House, keys: list[str]) -> None:
    batch = next(iter(house.attempts(keys).values())).batch or ""
    tags = {BATCH_TAG: batch, **range_tags(keys)}
    ran, never_began = (
        house.a_run_that("collect_clips", dg.DagsterRunStatus.FAILURE, tags) for _ in range(2)
    )
    with house.production.ledger() as ledger:
        heartbeats.begin(ledger, ran, "host:1:a")
        heartbeats.end(ledger, ran, "host:1:a")
        ended_at = heartbeats.ends(ledger, [ran])[ran].at - 300
        with ledger.write() as connection:
            connection.execute(sa.update(schema.heartbeats).values(ended_at=ended_at))
        past = {run.ended_at for run in past_runs(house.instance, ledger, batch)}
    record = house.instance.get_run_record_by_id(never_began)
    assert record is not None
    assert past == {ended_at, record.end_time or record.update_timestamp.timestamp()}


def test_a_dead_run_is_ended_in_dagster_with_its_clips_and_their_money(house: House, keys: list[str]) -> None:
    waiting = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED)
    clicked = house.a_run_that("produce_clips", dg.DagsterRunStatus.CANCELING)
    lives = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED)
    starts = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTING)
    house.watched_by(waiting, keys)
    for run_id in (waiting, clicked):
        dies(house, run_id)
    with house.production.ledger() as ledger:
        heartbeats.begin(ledger, lives, "host:1:a")

    _, message = house.tick(DEAD_RUNS)

    assert "2 bought and not fetched yet ($" in (message or "")
    ended = {run.run_id: run.status for run in house.instance.get_runs()}
    assert ended[waiting] is dg.DagsterRunStatus.FAILURE
    assert ended[clicked] is dg.DagsterRunStatus.CANCELED
    assert ended[lives] is dg.DagsterRunStatus.STARTED
    assert ended[starts] is dg.DagsterRunStatus.STARTING
    said = [
        entry.dagster_event.message
        for entry in house.instance.all_logs(waiting, of_type=dg.DagsterEventType.RUN_FAILURE)
        if entry.dagster_event is not None
    ]
    assert any("has no heartbeat any more" in (text or "") for text in said)
    tags = {run.run_id: run.tags for run in house.instance.get_runs()}
    assert tags[waiting]["dagster/priority"] == "10", "its retry has these tags, and starts before other runs"
    assert "dagster/priority" not in tags[lives]
    assert house.tick(DEAD_RUNS)[1] == "every active run has a heartbeat"


def test_a_run_without_a_first_sign_is_declared_dead_but_never_a_foreign_run(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED)
    monkeypatch.setattr(heartbeats, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(heartbeats, "DOUBT_SECONDS", 0.0)
    with house.production.ledger() as ledger:
        assert end_dead_runs(house.instance, ledger, "dailies") == [], "the run is not of our code location"
        assert end_dead_runs(house.instance, ledger, None) == [], (
            "the time for a first sign begins with the first check"
        )
        assert end_dead_runs(house.instance, ledger, None) == [], "an expired claim is doubted first"
        assert len(end_dead_runs(house.instance, ledger, None)) == 1
    run = house.instance.get_run_by_id(started)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE


def test_every_run_gives_signs_of_life_while_it_works(
    house: House, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[str] = []
    begin = heartbeats.begin

    def seen(ledger: Ledger, run_id: str, owner: str) -> None:
        began.append(run_id)
        begin(ledger, run_id, owner)

    monkeypatch.setattr(heartbeats, "begin", seen)
    for run in (
        lambda: house.produce(keys),
        lambda: house.scattered(keys[:1]),
        lambda: house.run("inventory"),
        lambda: house.run("render_prompts", keys),
    ):
        began.clear()
        ran = run()
        assert ran.green, ran.failure
        assert set(began) == {ran.run.run_id}
        with house.production.ledger() as ledger:
            assert heartbeats.owners(ledger) == {}


def test_a_run_that_returns_after_it_was_declared_dead_buys_and_reports_nothing(
    house: House, ui: DagsterUi, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.declare("cape", ["north", "south"])
    house.add(keys)
    opened = house.production.__class__.bound_store

    def slept(production: object, ledger: object, **how: object) -> object:
        with house.production.ledger() as other:
            for run_id, owner in heartbeats.owners(other).items():
                heartbeats.take(other, run_id, owner)
        return opened(production, ledger, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(house.production.__class__, "bound_store", slept)
    with nothing_bought(house):
        ran = house.produce(keys)
    assert "had no heartbeat" in (ran.failure or "")
    assert "buys and reports nothing more" in (ran.failure or "")
    assert not ui.bars()["submissions"].green & set(keys)
    with house.production.ledger() as ledger:
        assert not handover_of(ledger, [ran.run.run_id]).open
    monkeypatch.undo()


def test_a_run_that_dies_while_it_buys_is_finished_by_its_retry_and_nothing_is_bought_twice(
    house: House, keys: list[str]
) -> None:
    died = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED)
    house.watched_by(died, keys)
    dies(house, died)
    house.tick(DEAD_RUNS)
    decision = next(iter(house.attempts(keys).values())).decision
    assert house.produce(keys, tags={"dailies/decision": decision}).green
    assert house.bought() == sorted(subject(key) for key in keys)


def test_a_dead_run_that_is_not_ended_is_named_with_its_clips(house: House, keys: list[str]) -> None:
    died = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED)
    house.watched_by(died, keys)
    dies(house, died)
    with house.production.ledger() as ledger:
        assert not_ended(house.instance, ledger, None) == [], "the sensor dead_runs has not ticked yet"
        now = ledger.clock()
        ledger.clock = lambda: now + UNENDED_SECONDS + 1
        ((named, why),) = not_ended(house.instance, ledger, None)
    assert named == died
    assert "its process has died" in why
    assert "2 bought and not fetched yet" in why


def test_a_dead_run_turns_no_green_clip_red_and_hides_no_other_run(
    house: House, ui: DagsterUi, keys: list[str]
) -> None:
    """The retry of a dead run is planned over clips that other runs have delivered; it dies before it shows them again."""
    house.collected(COMPLETION)
    assert ui.bars()["uploaded_videos"].green == set(keys)
    late = house.declare("late", ["first", "second"])
    house.add(late)
    working = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED, range_tags(late[:1]))
    with house.production.ledger() as ledger:
        heartbeats.begin(ledger, working, "host:1:a")
    for _ in range(2):
        died = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED, range_tags([*keys, *late]))
        dies(house, died)
        house.tick(DEAD_RUNS)
        for asset in ("submissions", "generations", "uploaded_videos"):
            bar = ui.bars()[asset]
            assert bar.green == set(keys), asset
            assert bar.red == {late[1]}, asset
            assert bar.materializing == {late[0]}, asset


def test_a_dead_run_that_cannot_be_ended_does_not_prevent_ending_others(
    house: House, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    died = [house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED) for _ in range(3)]
    for run_id in died:
        dies(house, run_id)
    report = house.instance.report_run_failed

    def reported(run: dg.DagsterRun, message: str | None = None) -> object:
        if run.run_id == died[1]:
            raise OSError("database disk image is malformed")
        return report(run, message)

    def broken(_instance: dg.DagsterInstance, run_id: str) -> None:
        raise OSError(run_id)

    monkeypatch.setattr(house.instance, "report_run_failed", reported)
    monkeypatch.setattr(runs, "keep_green", broken)
    _, message = house.tick(DEAD_RUNS)
    assert f"the run {died[1]}, whose process has died, could not be ended" in (message or "")
    ended = {run.run_id: run.status for run in house.instance.get_runs()}
    assert [ended[run_id] for run_id in died].count(dg.DagsterRunStatus.FAILURE) == 2
