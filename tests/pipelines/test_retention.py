"""What Dagster forgets of delivered clips after months, and what it must never forget: whatever a person or process still waits for."""

import sqlite3
from collections.abc import Callable

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster_ui import DagsterUi
from pipelinekit import House, nothing_bought

from pipelines.cli.partitions import restore_clips
from pipelines.event_storage import forget_partitions, forget_run
from pipelines.inventory import unshown
from pipelines.lineage import PROMPTS
from pipelines.retention import DAY, Removed, Retention, remove_old
from pipelines.scope import planned_clips
from resources.errors import ConfigurationError
from resources.ledger.schema import attempts

ASSETS = ("prompts", "submissions", "generations", "uploaded_videos")
KEYS = ["daily-2024-02-29-north", "daily-2024-02-29-south"]


def runs_with_events(house: House) -> set[str]:
    """The runs with stored events."""
    (file,) = (house.data.parent / "dagster").rglob("history/runs/*.db")
    with sqlite3.connect(file) as connection:
        return {run for (run,) in connection.execute("SELECT DISTINCT run_id FROM event_logs")} - {""}


def events(house: House) -> list[tuple[str, str, str, str]]:
    """Asset, partition, type and run of each event in the index."""
    (file,) = (house.data.parent / "dagster").rglob("history/runs/index.db")
    with sqlite3.connect(file) as connection:
        query = "SELECT asset_key, partition, dagster_event_type, run_id FROM event_logs WHERE partition IS NOT NULL"
        return list(connection.execute(query))


def tidied(
    house: House, days: float, *, runs_days: int | None = 90, partitions_days: int | None = 180
) -> Removed:
    """Run the retention as if this many days later; Dagster's own times are of today, so its limits are moved."""
    with house.production.ledger() as ledger:
        later = ledger.clock() + days * DAY
        ledger.clock = lambda: later
        series = house.production.declarations().series.values()
        declared = {clip.key for s in series if not s.dated for clip in s.clips()}
        return remove_old(house.instance, ledger, Retention(runs_days, partitions_days, None, declared))


@pytest.fixture(scope="module")
def delivered(house_to_look_at: House) -> House:
    """A house with two delivered clips of one run."""
    house_to_look_at.declare("daily", ["north", "south"], dated=True)
    house_to_look_at.add(KEYS)
    assert house_to_look_at.produce(KEYS).green
    return house_to_look_at


@pytest.fixture
def house(delivered: House, copy_of: Callable[[House], House]) -> House:
    """A copy of that house."""
    return copy_of(delivered)


def test_a_delivered_clip_stays_green_without_its_run_and_goes_with_its_partition(
    house: House, ui: DagsterUi
) -> None:
    before, fresh = runs_with_events(house), ui.stale(KEYS)
    assert len(before) == 1

    removed = tidied(house, 89)
    assert (removed.runs, removed.partitions, runs_with_events(house)) == (0, 0, before)

    with nothing_bought(house):
        removed = tidied(house, 91)
    assert (removed.runs, removed.partitions, removed.kept_runs) == (1, 0, 0)
    assert runs_with_events(house) == set()
    assert house.instance.get_runs() == []
    bars = ui.bars()
    assert all(bars[asset].green == set(KEYS) for asset in ASSETS)
    assert ui.stale(KEYS) == fresh, "the versions are carried over"
    assert house.shown("uploaded_videos", KEYS[0])["s3"].startswith("s3://")
    assert tidied(house, 92).runs == 0

    with nothing_bought(house):
        removed = tidied(house, 181)
    assert removed.partitions == 2
    assert house.instance.get_dynamic_partitions("clips") == []
    assert events(house) == []
    with house.production.ledger() as ledger:
        later = ledger.clock() + 181 * DAY
        ledger.clock = lambda: later
        assert unshown(ledger, house.instance) == [], "the inventory does not report them missing"
        assert set(ledger.latest(KEYS)) == set(KEYS)

    with nothing_bought(house), house.production.ledger() as ledger:
        assert restore_clips(house.instance, ledger, KEYS[:1]) == KEYS[:1]
        with pytest.raises(ConfigurationError, match="no take is delivered"):
            restore_clips(house.instance, ledger, ["daily-2024-03-01-north"])
    bars = ui.bars()
    assert all(bars[asset].green == {KEYS[0]} for asset in ASSETS)
    assert house.shown("uploaded_videos", KEYS[0])["duration_seconds"] > 0
    assert tidied(house, 85).partitions == 0, "a restored clip is shown for a season"


def test_a_run_that_outlives_its_partitions_is_removed_later(house: House, ui: DagsterUi) -> None:
    """Its plan events were once removed with the partitions: its clips were then unknown, and the run stayed for ever."""
    removed = tidied(house, 181, runs_days=365)
    assert (removed.runs, removed.partitions) == (0, 2)
    bars = ui.bars()
    assert all(not (bars[asset].green or bars[asset].red) for asset in ASSETS)
    (run,) = house.instance.get_runs()
    assert planned_clips(house.instance, run.run_id) == set(KEYS)
    removed = tidied(house, 366, runs_days=365)
    assert (removed.runs, house.instance.get_runs()) == (1, [])
    assert events(house) == []


def change(house: House, key: str, **values: object) -> None:
    with house.production.ledger() as ledger, ledger.write() as connection:
        connection.execute(sa.update(attempts).where(attempts.c.subject_key == key).values(**values))


@pytest.mark.parametrize(
    "trouble",
    [
        lambda house, key: change(house, key, state="held", money_state="indeterminate"),
        lambda house, key: change(
            house, key, state="submitted", money_state="reserved", reported_run_id=None
        ),
        lambda house, key: change(house, key, state="failed", money_state="refunded"),
        lambda house, key: change(house, key, state="quarantined"),
        lambda house, key: change(house, key, state="lost"),
        lambda house, key: change(house, key, money_state="refund_expected"),
        lambda house, key: change(house, key, reported_run_id=None),
        lambda house, key: change(house, key, delivered_at=sa.literal(2e10)),
        lambda house, key: change(
            house, key, subject_kind="spare", subject_key=f"{key}~1", state="succeeded"
        ),
    ],
    ids=["held", "in flight", "failed", "quarantined", "lost", "a refund", "not told", "new", "a spare take"],
)
def test_an_unsettled_clip_keeps_its_run_and_its_partition(
    house: House, trouble: Callable[[House, str], None]
) -> None:
    trouble(house, KEYS[1])
    removed = tidied(house, 1000)
    assert (removed.runs, removed.kept_runs, list(removed.waiting)) == (0, 1, [KEYS[1]])
    assert len(runs_with_events(house)) == 1
    assert KEYS[1] in house.instance.get_dynamic_partitions("clips")
    assert KEYS[1] in str(removed)
    # the other clip of the run is settled
    assert removed.partitions == 1


def test_a_working_run_and_its_clips_stay(house: House) -> None:
    run = house.a_run_that(
        "produce_clips",
        dg.DagsterRunStatus.STARTED,
        {"dagster/partition": KEYS[0]},
    )
    removed = tidied(house, 1000)
    assert house.instance.get_run_by_id(run) is not None
    assert house.instance.get_dynamic_partitions("clips") == [KEYS[0]]
    assert removed.partitions == 1


def test_nothing_is_removed_when_the_settings_are_empty(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = tidied(house, 1000, runs_days=None, partitions_days=None)
    assert (removed.runs, removed.partitions) == (0, 0)
    removed = tidied(house, 1000, partitions_days=None)
    assert (removed.runs, removed.partitions) == (1, 0)
    monkeypatch.setenv("DAILIES_KEEP_RUNS_DAYS", "")
    assert house.production.settings().keep_runs_days is None


def test_the_daily_run_logs_what_it_removed(house: House) -> None:
    ran = house.run("retention")
    assert ran.green
    assert any(line.startswith("removed 0 runs of delivered clips") for line in house.said(ran.run.run_id))


def test_dagster_does_not_remove_what_we_remove(house: House) -> None:
    """If this fails after an upgrade, Dagster removes these rows itself or has moved its tables; then change `event_storage`."""
    with pytest.raises(NotImplementedError):
        house.instance.event_log_storage.wipe_asset_partitions(PROMPTS, KEYS)
    (run,) = house.instance.get_runs()
    forget_run(house.instance, run.run_id)
    assert runs_with_events(house) == set()
    house.instance.report_runless_asset_event(dg.AssetMaterialization(PROMPTS, partition=KEYS[0]))
    house.instance.report_runless_asset_event(dg.AssetMaterialization(PROMPTS, partition=KEYS[1]))
    forget_partitions(house.instance, [PROMPTS], KEYS[:1])
    assert [(asset, key) for asset, key, _, _ in events(house)] == [('["prompts"]', KEYS[1])]
