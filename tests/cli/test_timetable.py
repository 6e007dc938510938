"""`dailies schedules`: next ticks, prices, on and off, and definitions that follow edited schedules."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from projects import a_project

from pipelines.cli.schedule_watch import ScheduleWatch

URL = "http://127.0.0.1:3000"
SCHEDULE = "schedule: {cron: 30 5 * * *, timezone: Europe/Oslo}\n"
Run = Callable[..., tuple[int, str, str]]


class Dagster:
    """Keeps one schedule, as Dagster does."""

    def __init__(self, cron: str = "30 5 * * *") -> None:
        self.cron = cron
        self.status = "STOPPED"
        self.failure = ""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        sent = json.loads(request.content)
        if "startSchedule" in sent["query"]:
            assert sent["variables"]["selector"]["scheduleName"] == "bay_schedule"
            self.status = "RUNNING"
            return _answer({"startSchedule": {"__typename": "ScheduleStateResult"}})
        if "stopRunningSchedule" in sent["query"]:
            assert sent["variables"]["id"] == "state-1"
            if self.status == "STOPPED" or self.failure:
                # Dagster's form of a failed mutation
                failed = {"__typename": "PythonError", "message": self.failure or "it was off"}
                return httpx.Response(500, json={"data": {"stopRunningSchedule": failed}})
            self.status = "STOPPED"
            return _answer({"stopRunningSchedule": {"__typename": "ScheduleStateResult"}})
        found: dict[str, Any] = {
            "name": "bay_schedule",
            "cronSchedule": self.cron,
            "executionTimezone": "Europe/Oslo",
            "scheduleState": {"id": "state-1", "status": self.status},
        }
        return _answer({"schedulesOrError": {"results": [found]}})


def _answer(data: dict[str, Any]) -> httpx.Response:
    return httpx.Response(200, json={"data": data})


@pytest.fixture
def dailies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Run) -> Run:
    a_project(tmp_path, monkeypatch, ["east", "west"])
    for name in ("DAILIES_LEDGER_URL", "DAILIES_S3_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DAILIES_DAGSTER_URL", URL)
    file = tmp_path / "data" / "series" / "bay.yaml"
    file.write_text(file.read_text() + SCHEDULE)

    def run(*arguments: str, dagster: Dagster | None = None) -> tuple[int, str, str]:
        with respx.mock(assert_all_called=False) as mock:
            mock.post(f"{URL}/graphql").mock(side_effect=dagster or httpx.ConnectError("nobody"))
            return command(*arguments)

    return run


def test_next_ticks_are_listed_with_their_price_and_state(dailies: Run) -> None:
    code, out, _ = dailies("schedules", dagster=Dagster())
    assert code == 0
    assert out.splitlines()[1].split() == [
        "bay",
        "off",
        *out.splitlines()[1].split()[2:5],
        "Europe/Oslo",
        "2",
        "$2.40",
    ]
    assert "05:30 Europe/Oslo" in out
    (row,) = json.loads(dailies("schedules", "--json", dagster=Dagster())[1])
    assert (row["state"], row["clips"], row["ceiling_usd"]) == ("off", 2, "2.4")


def test_a_schedule_is_turned_on_only_with_a_yes_to_its_price(dailies: Run) -> None:
    dagster = Dagster()
    code, _, err = dailies("schedules", "on", "bay", dagster=dagster)
    assert code == 2
    assert "2 clips for $2.40" in err
    assert dagster.status == "STOPPED"
    code, out, _ = dailies("schedules", "on", "bay", "--yes", dagster=dagster)
    assert code == 0
    assert dagster.status == "RUNNING"
    assert out.splitlines()[1].split()[:2] == ["bay", "on"]
    for _ in range(2):
        assert dailies("schedules", "off", "bay", dagster=dagster)[0] == 0
        assert dagster.status == "STOPPED"


def test_the_reason_why_dagster_does_not_turn_a_schedule_off_is_shown(dailies: Run) -> None:
    dagster = Dagster()
    dagster.status, dagster.failure = "RUNNING", "the storage is read-only"
    code, _, err = dailies("schedules", "off", "bay", dagster=dagster)
    assert code != 0
    assert "Dagster did not do it: the storage is read-only" in err


def test_a_schedule_that_dagster_has_not_loaded_as_declared_is_not_turned_on(dailies: Run) -> None:
    dagster = Dagster(cron="0 6 * * *")
    code, _, err = dailies("schedules", "on", "bay", "--yes", dagster=dagster)
    assert code == 2
    assert "has not loaded" in err
    assert dagster.status == "STOPPED"
    assert "not loaded" in dailies("schedules", dagster=dagster)[1]


def test_without_dagster_the_ticks_are_still_listed(dailies: Run) -> None:
    code, out, err = dailies("schedules")
    assert code == 0
    assert "unknown" in out
    assert "Dagster does not answer" in err
    assert dailies("schedules", "on", "bya", "--yes")[0] == 2


def test_an_edited_schedule_is_noticed_once(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    file = tmp_path / "series" / "bay.yaml"
    file.write_text("name: bay\nprompt: x\n")
    accounts = tmp_path / "accounts"
    watch = ScheduleWatch(tmp_path)
    assert watch.changed() == []
    file.write_text("name: bay\nprompt: another\n")
    assert watch.changed() == []
    file.write_text(f"name: bay\n{SCHEDULE}")
    assert watch.changed() == ["bay"]
    assert watch.changed() == []
    file.write_text("name: bay\nschedule: {cron: [\n")
    assert watch.changed() == []
    file.write_text(f"name: bay\n{SCHEDULE.replace('30 5', '0 6')}")
    assert watch.changed() == ["bay"]
    file.rename(file.with_name("harbor.yaml"))
    assert watch.changed() == []
    file.with_name("harbor.yaml").unlink()
    assert watch.changed() == ["bay"]
    accounts.mkdir()
    team = accounts / "b.yaml"
    team.write_text("name: team-b\nprovider: wavespeed\nkey: TEAM_B_KEY\n")
    assert watch.changed() == ["account team-b"], "without its sensor its clips would not be fetched"
    team.write_text("name: team-b\nprovider: wavespeed\nkey: TEAM_B_KEY\nmax_in_flight: 2\n")
    assert watch.changed() == []


def test_a_pushed_data_folder_is_compared_with_the_previous_one(tmp_path: Path) -> None:
    for name, text in (("one", "0 5"), ("same", "0 5"), ("other", "0 6")):
        (tmp_path / name / "series").mkdir(parents=True)
        (tmp_path / name / "series" / "bay.yaml").write_text(
            f"name: bay\nschedule: {{cron: {text} * * *, timezone: UTC}}\n"
        )
    watch = ScheduleWatch(tmp_path / "one")
    watch.look_at(tmp_path / "same")
    assert watch.changed() == []
    watch.look_at(tmp_path / "other")
    assert watch.changed() == ["bay"]
