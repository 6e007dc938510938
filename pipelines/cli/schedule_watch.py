"""Notices edits of schedules or accounts, since Dagster creates their schedules and sensors only when it loads the definitions."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resources.declared.document import read_document, yaml_files
from resources.declared.problems import ProblemsError

Schedule = tuple[str, Any]
"""The name of a series, and the value of `schedule` in its file."""


@dataclass
class ScheduleWatch:
    """Compares the series' files with their earlier content."""

    data: Path
    """The data folder."""
    _stamps: dict[Path, tuple[int, int]] = field(default_factory=dict)
    _declared: dict[Path, Schedule] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.changed()

    def look_at(self, data: Path) -> None:
        """Watch another data folder from now on, compared with the earlier content of this one."""
        self.data = data

    def changed(self) -> list[str]:
        """The series whose schedule has changed since the last call, and `account NAME` for each account that was added or removed.

        A broken file keeps its schedule until it can be read again, since an edit is seldom finished with the first save.
        """
        before = dict(self._declared)
        stamps = {
            file: _stamp(file) for folder in ("series", "accounts") for file in yaml_files(self.data / folder)
        }
        for file in self._declared.keys() - stamps.keys():
            del self._declared[file]
        for file, stamp in stamps.items():
            if self._stamps.get(file) != stamp and (found := self._read(file)) is not None:
                self._declared[file] = found
        self._stamps = stamps
        old, new = (
            {name: schedule for name, schedule in found.values() if schedule is not None}
            for found in (before, self._declared)
        )
        return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))

    def _read(self, file: Path) -> Schedule | None:
        schedule = _schedule(file)
        # an account's sensor depends on its name alone
        return (f"account {schedule[0]}", True) if schedule and file.parent.name == "accounts" else schedule


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return (0, 0)
    return status.st_mtime_ns, status.st_size


def _schedule(file: Path) -> Schedule | None:
    try:
        content = read_document(file).value
    except ProblemsError:
        return None
    if not isinstance(content, dict) or not isinstance(content.get("name"), str):
        return None
    return content["name"], content.get("schedule")
