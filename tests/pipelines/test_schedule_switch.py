"""`dailies schedules on` and `off` with Dagster's own GraphQL schema: a schedule that spends money can be turned off."""

from types import SimpleNamespace
from typing import Any, Self, cast

import pytest
from dagster_ui import DagsterUi

from pipelines.cli import timetable
from pipelines.cli.timetable import ScheduleRow, switch
from resources.settings import Settings

NAME = "harbor_weather_schedule"


class Api:
    """Queries Dagster in this process."""

    def __init__(self, ui: DagsterUi) -> None:
        self._ui = ui

    def query(self, document: str, **variables: Any) -> dict[str, Any]:
        return self._ui.ask(document, **variables)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def test_a_schedule_is_turned_on_and_off_again(ui: DagsterUi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timetable, "dagster_at", lambda _settings: Api(ui))
    settings = Settings()

    def state() -> str:
        known = timetable._loaded_schedules(settings)
        assert known is not None
        return str(known[NAME]["scheduleState"]["status"])

    def row(shown: str) -> ScheduleRow:
        series = SimpleNamespace(name="harbor-weather", schedule_name=NAME)
        return cast("ScheduleRow", SimpleNamespace(series=series, state=shown))

    assert state() == "STOPPED"
    switch(settings, row("off"), on=True)
    assert state() == "RUNNING"
    switch(settings, row("on"), on=False)
    assert state() == "STOPPED"
    switch(settings, row("on"), on=False)
    assert state() == "STOPPED", "a schedule whose state was read earlier is off too"
