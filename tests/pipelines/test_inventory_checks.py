"""The inventory in Dagster: every check is on its asset with the exact number, and runs that produce clips make no check."""

import json

import dagster as dg
import pytest
from dagster_ui import DagsterUi
from pipelinekit import QUIET, House

from pipelines import asset_checks
from pipelines.partitions import range_tags
from resources.inventory.findings import CHECKS

SENSOR = "checks_after_clips"


def results(house: House) -> dict[str, dg.AssetCheckEvaluation]:
    """The results of the newest inventory run, by check."""
    job = house.definitions().resolve_job_def("inventory")
    done = job.execute_in_process(instance=house.instance)
    assert done.success
    return {e.check_name: e for e in done.get_asset_check_evaluations()}


def failing(house: House) -> dict[str, object]:
    """The number in every check with findings."""
    return {
        name: result.metadata["number"].value for name, result in results(house).items() if not result.passed
    }


def test_nothing_to_do_is_all_green(house: House) -> None:
    keys = house.declare("bay", ["dawn", "noon"])
    house.add(keys)
    assert house.produce(keys).green
    found = results(house)
    assert set(found) == {check.name for check in CHECKS}
    assert {
        name: result.metadata["sample"].value for name, result in found.items() if not result.passed
    } == {}


def test_a_new_dagster_shows_every_check_before_the_first_hourly_run(house: House) -> None:
    ran, _ = house.tick(SENSOR)
    assert ran == []
    for check in CHECKS:
        key = dg.AssetCheckKey(dg.AssetKey(check.asset), check.name)
        (record,) = house.instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
        assert record.event is not None
        assert record.event.dagster_event is not None
        evaluation = record.event.dagster_event.event_specific_data
        assert isinstance(evaluation, dg.AssetCheckEvaluation)
        assert (evaluation.check_name, evaluation.passed) == (check.name, True)
    assert "newer than the newest clip" in (house.tick(SENSOR)[1] or "")


def test_after_clips_every_check_is_evaluated_once_and_the_buckets_checks_show_their_time(
    house: House, ui: DagsterUi, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {check.name for check in CHECKS}
    house.tick(SENSOR)
    assert ui.checks() == dict.fromkeys(names, "SUCCEEDED")

    keys = house.declare("bay", ["dawn", "storm"])
    house.fault({"do": "fail"}, prompt_contains="storm")
    house.add(keys)
    house.produce(keys)
    assert set(ui.checks().values()) == {None}
    monkeypatch.setattr(asset_checks, "QUIET_SECONDS", 3600.0)
    assert not asset_checks.has_work(house.instance, house.cursors[SENSOR])
    # Dagster stores the time of a check in whole seconds
    monkeypatch.setattr(asset_checks, "QUIET_SECONDS", 1.1)
    house.until(lambda: asset_checks.has_work(house.instance, house.cursors[SENSOR]))

    house.delete(f"videos/bay-dawn/{house.attempts(keys)['bay-dawn'].id}.mp4")
    house.tick(SENSOR)

    # the hourly inventory reads the bucket; until then its last result stays, with its time
    expected = dict.fromkeys(names, "SUCCEEDED") | {"no_failed_clips": "FAILED"}
    assert ui.checks() == expected
    assert not asset_checks.has_work(house.instance, house.cursors[SENSOR])
    key = dg.AssetCheckKey(dg.AssetKey("uploaded_videos"), "nothing_is_missing")
    record = house.instance.get_latest_asset_check_evaluation_record(key)
    assert record is not None
    assert record.evaluation is not None
    looked_at = record.evaluation.metadata["looked_at"].value
    assert isinstance(looked_at, float)
    assert looked_at < record.create_timestamp
    house.age(120)
    assert not results(house)["nothing_is_missing"].passed


def test_while_clips_keep_coming_the_checks_follow_every_ten_minutes() -> None:
    cursor = json.dumps({"seen": 1000.0, "made": 1010.0})
    due = [asset_checks._are_due(cursor, now - 1, now) for now in (1020.0, 1609.0, 1611.0)]
    assert due == [False, False, True]
    assert not asset_checks._are_due(cursor, 1000.0, 9000.0)


def test_a_failed_clip_and_a_lost_object_are_counted_and_named(house: House) -> None:
    keys = house.declare("bay", ["dawn", "noon", "storm"])
    house.fault({"do": "fail"}, prompt_contains="storm")
    house.add(keys)
    house.produce(keys)
    house.age(120)
    made = house.attempts(keys)
    house.delete(f"videos/bay-dawn/{made['bay-dawn'].id}.json")
    house.put("videos/bay-dawn/nobodys.mp4", b"what is this")

    found = results(house)

    assert not found["no_failed_clips"].passed
    assert found["no_failed_clips"].severity is dg.AssetCheckSeverity.WARN
    assert found["no_failed_clips"].metadata["number"].value == 1
    assert "bay-storm" in str(found["no_failed_clips"].metadata["sample"].value)
    assert "dailies retry" in (found["no_failed_clips"].description or "")
    missing = found["nothing_is_missing"]
    assert missing.severity is dg.AssetCheckSeverity.ERROR
    assert "bay-dawn" in str(missing.metadata["sample"].value)
    # younger than the time a delivery may take
    assert found["every_object_has_its_manifest"].passed


def test_a_bucket_that_does_not_answer_costs_only_its_own_checks(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = house.declare("bay", ["dawn"])
    house.add(keys)
    house.produce(keys)
    monkeypatch.setenv("DAILIES_S3_ENDPOINT", "http://127.0.0.1:9")
    found = results(house)
    wrong = {name for name, result in found.items() if not result.passed}
    assert wrong == {
        "every_object_has_its_manifest",
        "nothing_is_missing",
        "every_manifest_is_known",
        "ledger_is_copied",
    }
    assert "could not be checked" in (found["nothing_is_missing"].description or "")
    assert found["nothing_is_missing"].severity is dg.AssetCheckSeverity.WARN


def test_events_that_dagster_lost_are_found(house: House) -> None:
    keys = house.declare("bay", ["dawn", "noon"])
    house.add(keys)
    house.produce(keys)
    house.instance.wipe_assets([dg.AssetKey("uploaded_videos")])
    assert failing(house) == {"every_end_is_shown": 2}


def test_jobs_that_produce_clips_make_no_checks(house: House) -> None:
    definitions = house.definitions()
    for name in ("render_prompts", "submit_clips", "collect_clips", "produce_clips"):
        assert "take_inventory" not in {node.name for node in definitions.resolve_job_def(name).nodes}, name


def test_a_persons_run_with_checks_keeps_every_clips_colour(house: House, ui: DagsterUi) -> None:
    """Materialize in the UI runs the checks of the selected assets."""
    keys = house.declare("bay", ["dawn", "noon", "storm"])
    house.fault({"do": "fail"}, prompt_contains="storm")
    house.add(keys)
    everything = house.definitions().resolve_implicit_global_asset_job_def()
    assets = [dg.AssetKey(name) for name in ("prompts", "submissions", "generations", "uploaded_videos")]

    def run(first: str, last: str) -> dg.ExecuteInProcessResult:
        return everything.execute_in_process(
            instance=house.instance,
            asset_selection=assets,
            tags=range_tags([first, last]),
            run_config=QUIET,
            raise_on_error=False,
        )

    assert run(keys[0], keys[1]).success
    assert not run(keys[0], keys[2]).success
    bars = ui.bars()
    assert (bars["uploaded_videos"].green, bars["uploaded_videos"].red) == (set(keys[:2]), {keys[2]})
