"""Submitting and leaving: the completion sensor requests the run that delivers the clips."""

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster_ui import DagsterUi
from pipelinekit import House, ImpatientProduction, nothing_bought, subject

from pipelines.collections import BATCH_TAG
from resources.ledger.decisions import Decision, decide
from resources.ledger.queue import withdraw

SENSOR = "wavespeed_completion"
FOUR = [f"view{number}" for number in range(4)]
TWO = {f"bay-view{number}" for number in (1, 3)}


def test_submitted_clips_are_collected_in_one_run_each_in_its_colour(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", FOUR)
    house.add(keys)
    house.fault({"do": "fail"}, prompt_matches="view[13]")

    left = house.run("submit_clips", keys)
    assert left.green, left.failure
    bars = ui.bars()
    assert bars["submissions"].green == set(keys)
    assert not bars["generations"].green | bars["generations"].red

    collected = house.collected(SENSOR)

    assert set(collected.failed_clips) == TWO
    assert collected.run.tags[BATCH_TAG] == left.run.run_id
    bars = ui.bars()
    assert bars["submissions"].green == set(keys)
    for asset in ("generations", "uploaded_videos"):
        assert (bars[asset].green, bars[asset].red) == (set(keys) - TWO, TWO), asset
    assert not any(ui.stale(keys).values())

    assert house.tick(SENSOR) == ([], "wavespeed has no open clip")
    assert house.bought() == sorted(subject(key) for key in keys)


def test_a_re_executed_collection_shows_the_same_and_buys_nothing(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    house.fault({"do": "fail"}, prompt_contains="west")
    assert house.run("submit_clips", keys).green
    house.collected(SENSOR)
    with nothing_bought(house):
        again = house.run("collect_clips", keys)
    assert set(again.failed_clips) == {"bay-west"}
    bars = ui.bars()
    assert (bars["uploaded_videos"].green, bars["uploaded_videos"].red) == ({"bay-east"}, {"bay-west"})


def test_ready_clips_wait_for_stragglers_no_longer_than_the_linger_time(
    house: House, ui: DagsterUi, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.declare("bay", ["east", "west", "north"])
    house.add(keys)
    house.fault({"do": "stuck"}, prompt_contains="west")
    assert house.run("submit_clips", keys).green

    # the rest of a short batch is waited for by a run, see below
    monkeypatch.setattr("pipelines.collections.SHORT_JOB_SECONDS", -1.0)
    monkeypatch.setenv("DAILIES_LINGER_SECONDS", "3600")
    ran, message = house.tick(SENSOR)
    assert not ran
    assert "1 clips on their way" in (message or "")

    monkeypatch.setenv("DAILIES_LINGER_SECONDS", "0")
    ran, _ = house.tick(SENSOR)
    assert [run.green for run in ran] == [True, True], "one run for the clips on each side of the straggler"
    assert ui.bars()["uploaded_videos"].green == {"bay-east", "bay-north"}
    assert not ui.bars()["uploaded_videos"].red


def test_one_run_waits_for_the_rest_of_a_short_batch_and_leaves_a_straggler_as_it_was(
    house: House, ui: DagsterUi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.assets.clips.WAIT_SECONDS", 0.0)
    monkeypatch.setenv("DAILIES_LINGER_SECONDS", "3600")
    keys = house.declare("bay", ["east", "west", "north", "south"])
    house.add(keys)
    house.fault({"do": "stuck"}, prompt_contains="west")
    house.fault({"do": "fail"}, prompt_contains="south")
    left = house.run("submit_clips", keys)

    # while a run waits for its place, no run waits for clips
    repository = RemoteRepositoryOrigin(GrpcServerCodeLocationOrigin(host="w1", port=4000), "__repository__")
    queued = dg.DagsterRun(
        job_name="submit_clips",
        status=dg.DagsterRunStatus.QUEUED,
        remote_job_origin=RemoteJobOrigin(repository, "submit_clips"),
    )
    house.instance.add_run(queued)
    house.until(lambda: "1 clips on their way" in (house.tick(SENSOR)[1] or ""))
    house.instance.delete_run(queued.run_id)

    (ran,), _ = house.tick(SENSOR)
    assert ran.run.tags[BATCH_TAG] == left.run.run_id
    assert set(ran.failed_clips) == {"bay-south"}
    for asset in ("generations", "uploaded_videos"):
        bar = ui.bars()[asset]
        assert (bar.green, bar.red) == ({"bay-east", "bay-north"}, {"bay-south"}), asset
    assert house.states(keys)["bay-west"] == "submitted"
    assert house.tick(SENSOR)[0] == [], "only one run waits for a batch"

    assert house.bought() == sorted(subject(key) for key in keys)


def test_a_clip_without_a_free_place_is_sent_by_the_sensor_and_then_shown(
    house: House, ui: DagsterUi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_WAVESPEED_MAX_IN_FLIGHT", "2")
    monkeypatch.setattr("resources.production.batch.QUEUE_PATIENCE_SECONDS", 0)
    keys = house.declare("bay", ["east", "west", "north"])
    house.add(keys)
    house.settings(job_seconds=1.5)

    assert house.run("submit_clips", keys).green
    assert ui.bars()["submissions"].green == set(keys[:2])
    assert len(house.bought()) == 2

    house.until(lambda: bool(house.tick(SENSOR)[0]) and ui.bars()["uploaded_videos"].green == set(keys))
    assert ui.bars()["submissions"].green == set(keys)
    assert house.bought() == sorted(subject(key) for key in keys)
    assert not any(ui.stale(keys).values())


def test_where_a_sensor_may_not_send_the_runs_that_it_requests_send_nothing_either(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run that fetches a clip sent the queue, since a place was free by then."""
    monkeypatch.setenv("DAILIES_WAVESPEED_MAX_IN_FLIGHT", "1")
    monkeypatch.setenv("DAILIES_LINGER_SECONDS", "0")
    monkeypatch.setattr("resources.production.batch.QUEUE_PATIENCE_SECONDS", 0)
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    assert house.run("submit_clips", keys).green
    house.production = ImpatientProduction(allow_submits=False)
    house.until(lambda: house.tick(SENSOR) and house.states(keys)["bay-east"] == "delivered")
    assert house.states(keys)["bay-west"] == "queued"
    assert house.bought() == [subject("bay-east")]


def test_the_sensor_leaves_watched_clips_to_their_run_until_it_dies(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    assert house.run("submit_clips", keys).green
    waiting = house.a_run_that("produce_clips", dg.DagsterRunStatus.STARTED)
    house.watched_by(waiting, keys)

    ran, message = house.tick(SENSOR)
    assert not ran
    assert "2 ended" in (message or "")

    house.instance.report_run_failed(house.run_of(waiting))
    assert house.collected(SENSOR).green
    assert ui.bars()["uploaded_videos"].green == set(keys)


def test_a_requested_collection_is_not_requested_again_before_it_ends(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.collections.FIRST_PAUSE_SECONDS", 0)
    keys = house.declare("bay", ["east", "west"])
    house.add(keys)
    left = house.run("submit_clips", keys)
    waiting = house.a_run_that("collect_clips", dg.DagsterRunStatus.STARTING, {BATCH_TAG: left.run.run_id})
    assert house.tick(SENSOR)[0] == []
    house.instance.report_run_canceled(house.run_of(waiting))
    assert house.collected(SENSOR).green


def test_a_tick_that_cannot_work_gives_its_reason(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = house.declare("bay", ["east"])
    house.add(keys)
    assert house.run("submit_clips", keys).green
    for variable, value, words in (
        ("WAVESPEED_API_KEY", "", "no API key"),
        ("DAILIES_LEDGER_URL", "sqlite:////proc/nowhere/ledger.db", "ledger"),
        ("DAILIES_LINGER_SECONDS", "soon", "DAILIES_LINGER_SECONDS"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            ran, message = house.tick(SENSOR)
        assert not ran
        assert words in (message or "")
    assert house.collected(SENSOR).green, "nothing was lost"


def test_an_unsent_second_take_of_a_dead_run_is_reported_once_and_keeps_the_first_take_green(
    house: House, ui: DagsterUi
) -> None:
    keys = house.declare("bay", ["east"])
    house.add(keys)
    assert house.produce(keys).green
    with house.production.ledger() as ledger:
        request = ledger.latest(keys)["bay-east"].request
        (decided,) = decide(ledger, [request], Decision("again", batch="a-dead-run", regenerate=True))
        assert decided.attempt is not None
        withdraw(ledger, [decided.attempt.id], why="not sent: insufficient credits")

    assert house.collected(SENSOR).green
    assert house.tick(SENSOR) == ([], "wavespeed has no open clip")
    assert ui.bars()["uploaded_videos"].green == set(keys)


def test_the_sensors_run_does_not_change_a_clip_that_was_never_bought(house: House, ui: DagsterUi) -> None:
    keys = house.declare("bay", ["east", "west"])
    house.declare("harbor", ["inner"])
    house.add([keys[0], "harbor-inner", keys[1]])
    left = house.run("submit_clips", [keys[0]])
    with nothing_bought(house):
        # as if it had moved there between the sensor's tick and the creation of its run
        ran = house.run("collect_clips", [keys[0], "harbor-inner"], tags={BATCH_TAG: left.run.run_id})
    assert ran.green, ran.failure
    assert any("harbor-inner" in words and "left alone" in words for words in house.said(ran.run.run_id))
    bars = ui.bars()
    assert (bars["uploaded_videos"].green, bars["uploaded_videos"].red) == ({keys[0]}, set())
