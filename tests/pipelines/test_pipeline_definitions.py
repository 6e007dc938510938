"""Dagster's definitions, compared with the shape that people rely on.

`definitions.json` is that shape. After an intended change, write it again:
`DAILIES_WRITE_SNAPSHOT=1 pytest tests/pipelines/test_pipeline_definitions.py`.
"""

import difflib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pipelines import code_location
from pipelines.clip_batch import BACKFILL_TAG
from pipelines.code_location import build_defs
from pipelines.lineage import (
    CODE_VERSION,
    DATA_VERSION,
    INPUT_DATA_VERSION,
    INPUT_EVENT_POINTER,
)
from pipelines.partitions import PARTITION, RANGE_END, RANGE_START
from resources import garbage, log_lines

ROOT = Path(__file__).parents[2]
SNAPSHOT = Path(__file__).with_name("definitions.json")


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAILIES_ENV_FILE", "")
        patch.setenv("DAILIES_DATA", str(ROOT / "data"))
        return build_defs()


def _text(name: Any) -> str:
    return str(getattr(name, "value", name))


def _job_of(sensor: dg.SensorDefinition) -> str | None:
    """The job whose runs a sensor requests; None for a sensor that only reports."""
    return sensor.job_name if sensor.has_jobs else None


def shape(definitions: dg.Definitions) -> dict[str, Any]:
    """Everything that a person or another program relies on, as plain JSON."""
    repository = definitions.get_repository_def()
    assets = {}
    for definition in repository.assets_defs_by_key.values():
        for spec in definition.specs:
            policy = definition.backfill_policy
            assets[spec.key.to_user_string()] = {
                "step": definition.node_def.name if definition.is_executable else None,
                "after": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
                "group": spec.group_name,
                "kinds": sorted(spec.kinds),
                "owners": list(spec.owners),
                "tags": {k: v for k, v in spec.tags.items() if not k.startswith("dagster/kind/")},
                "code_version": spec.code_version,
                "skippable": spec.skippable,
                "partitions": getattr(spec.partitions_def, "name", None),
                "clips_per_run": policy.max_partitions_per_run if policy else None,
                "can_subset": definition.can_subset,
            }
    return {
        "assets": assets,
        "checks": {
            key.asset_key.to_user_string(): sorted(
                k.name for k in repository.asset_graph.asset_check_keys if k.asset_key == key.asset_key
            )
            for key in repository.asset_graph.asset_check_keys
        },
        "jobs": {
            job.name: sorted(key.to_user_string() for key in job.asset_layer.selected_asset_keys)
            for job in repository.get_all_jobs()
            if not job.name.startswith("__")
        },
        "sensors": {
            sensor.name: {
                "job": _job_of(sensor),
                "every_seconds": sensor.minimum_interval_seconds,
                "at_first": _text(sensor.default_status),
            }
            for sensor in repository.sensor_defs
        },
        "schedules": {
            schedule.name: {
                "job": schedule.job_name,
                "cron": schedule.cron_schedule,
                "timezone": schedule.execution_timezone,
                "at_first": _text(schedule.default_status),
            }
            for schedule in repository.schedule_defs
        },
    }


@pytest.mark.slow
def test_the_definitions_load(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_the_definitions_have_the_shape_people_rely_on(definitions: dg.Definitions) -> None:
    found = json.dumps(shape(definitions), indent=2, sort_keys=True) + "\n"
    if os.environ.get("DAILIES_WRITE_SNAPSHOT"):
        SNAPSHOT.write_text(found)
    wanted = SNAPSHOT.read_text()
    changes = difflib.unified_diff(
        wanted.splitlines(), found.splitlines(), "definitions.json", "loaded", lineterm=""
    )
    assert found == wanted, "the definitions have changed:\n" + "\n".join(changes)


def test_every_asset_has_a_description_and_its_metadata(definitions: dg.Definitions) -> None:
    specs = list(definitions.resolve_all_asset_specs())
    assert [spec.key.to_user_string() for spec in specs]
    for spec in specs:
        assert len(spec.description or "") > 60, spec.key
        assert spec.group_name == "dailies"
        assert all((spec.owners, spec.kinds, spec.code_version, spec.tags)), spec.key
        assert spec.key == dg.AssetKey("characters") or list(spec.deps), spec.key


def test_every_job_sensor_and_schedule_has_a_description(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    jobs = [job for job in repository.get_all_jobs() if not job.name.startswith("__")]
    shown: list[dg.JobDefinition | dg.SensorDefinition | dg.ScheduleDefinition] = [
        *jobs,
        *repository.sensor_defs,
        *repository.schedule_defs,
    ]
    for named in shown:
        assert len(named.description or "") > 20, named.name


def test_nothing_that_decides_to_buy_runs_before_a_person_turns_it_on(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert repository.schedule_defs
    buying = {"submit_clips", "produce_clips", "produce_scattered_clips"}
    free = {"hourly_inventory", "daily_retention", "daily_ledger_backup"}
    for schedule in repository.schedule_defs:
        if schedule.name not in free:
            assert schedule.default_status is dg.DefaultScheduleStatus.STOPPED, schedule.name
    taking = [schedule for schedule in repository.schedule_defs if schedule.name in free]
    assert len(taking) == 3
    assert not {schedule.job_name for schedule in taking} & buying
    for sensor in repository.sensor_defs:
        assert _job_of(sensor) not in buying, sensor.name


def test_a_broken_series_does_not_take_the_definitions_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "series").mkdir()
    (tmp_path / "models").symlink_to(ROOT / "data" / "models")
    (tmp_path / "series" / "broken.yaml").write_text("name: broken\nendpont: x\n")
    good = (ROOT / "data" / "series" / "harbor-weather.yaml").read_text()
    (tmp_path / "series" / "harbor-weather.yaml").write_text(good)
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv("DAILIES_DATA", str(tmp_path))
    loaded = build_defs().get_repository_def()
    names = {schedule.name for schedule in loaded.schedule_defs}
    assert names == {
        "daily_ledger_backup",
        "daily_retention",
        "harbor_weather_schedule",
        "hourly_inventory",
    }
    assert "broken.yaml" in caplog.text
    assert "endpont" in caplog.text


@pytest.mark.parametrize("setting", [("DAILIES_DATA", "/nowhere"), ("DAILIES_LINGER_SECONDS", "soon")])
def test_a_wrong_setting_does_not_hide_the_assets(
    setting: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setenv(*setting)
    loaded = build_defs()
    dg.Definitions.validate_loadable(loaded)
    assert len(list(loaded.resolve_all_asset_specs())) == 8
    assert [s.name for s in loaded.get_repository_def().schedule_defs] == [
        "daily_ledger_backup",
        "daily_retention",
        "hourly_inventory",
    ]


def test_tags_have_the_names_dagster_reads() -> None:
    """The only test that compares private modules of Dagster with the names in the pipelines."""
    from dagster._core.definitions import data_version
    from dagster._core.storage import tags

    assert data_version.DATA_VERSION_TAG == DATA_VERSION
    assert data_version.CODE_VERSION_TAG == CODE_VERSION
    assert data_version.INPUT_DATA_VERSION_TAG_PREFIX == INPUT_DATA_VERSION
    assert data_version.INPUT_EVENT_POINTER_TAG_PREFIX == INPUT_EVENT_POINTER
    assert tags.ASSET_PARTITION_RANGE_START_TAG == RANGE_START
    assert tags.ASSET_PARTITION_RANGE_END_TAG == RANGE_END
    assert tags.PARTITION_NAME_TAG == PARTITION
    assert tags.BACKFILL_ID_TAG == BACKFILL_TAG


@pytest.mark.slow
def test_loading_the_definitions_imports_nothing_heavy_and_skips_the_garbage_collection_at_exit() -> None:
    """A code location is loaded at every reload and in every run worker."""
    heavy = ("av", "boto3", "botocore", "uvicorn", "alembic", "starlette", "sqlalchemy.dialects.postgresql")
    code = (
        "import atexit, gc, sys; atexit.register(lambda: print(gc.get_freeze_count() > 0)); "
        f"import pipelines.definitions; print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "DAILIES_ENV_FILE": ""},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout.split() == ["[]", "True"], done.stdout


@pytest.mark.parametrize(
    ("command", "rarely"), [(["dagster", "-m", "pipelines.definitions"], [True]), (["theirs.py"], [])]
)
def test_a_foreign_process_with_our_definitions_collects_garbage_as_before(
    command: list[str], rarely: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other people's assets may leave tables in cycles, and 200,000 objects are many tables."""
    called: list[bool] = []
    monkeypatch.setattr(garbage, "collect_rarely", lambda: called.append(True))
    monkeypatch.setattr(log_lines, "use_setting", lambda: None)
    monkeypatch.setattr(code_location, "build_defs", lambda: None)
    for name in ("argv", "orig_argv"):
        monkeypatch.setattr(sys, name, command)
    runpy.run_module("pipelines.definitions", run_name="pipelines.definitions")
    assert called == rarely
