"""The pushed data folders that a host keeps."""

import fcntl
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from resources.shared_data import kept_folders
from resources.shared_data.kept_folders import KEPT, hold, is_kept, prune


def digest(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Ten folders, each read a day after the one before; the newest was read two days ago."""
    for number in range(10):
        folder = tmp_path / digest(number)
        (folder / "series").mkdir(parents=True)
        (folder / "series" / "bay.yaml").write_text("name: bay\n")
        read_at = time.time() - 86_400 * (11 - number)
        os.utime(folder, (read_at, read_at))
    return tmp_path


def kept(place: Path) -> list[int]:
    return sorted(int(folder.name, 16) for folder in place.iterdir())


def test_the_newest_folders_the_current_one_and_those_a_run_reads_are_kept(place: Path) -> None:
    held = hold(place / digest(1))
    removed = prune(place, current=digest(0))
    assert sorted(removed) == [digest(2), digest(3), digest(4)]
    assert kept(place) == [0, 1, *range(10 - KEPT, 10)]
    os.close(held)
    assert prune(place, current=digest(0)) == [digest(1)], "the run that read it has ended"


def test_a_folder_that_was_used_within_the_hour_is_kept(place: Path) -> None:
    assert is_kept(place / digest(0))
    assert not is_kept(place / digest(99))
    assert digest(0) not in prune(place, current="")
    # it is one of the newest now, so another one is too many
    assert kept(place) == [0, *range(11 - KEPT, 10)]
    for number in kept(place):
        assert is_kept(place / digest(number))
    assert prune(place, current="", now=time.time() + 60) == []


def before_the_lock(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Make another process act after a folder was opened and before it is locked."""
    flock = fcntl.flock

    def late(descriptor: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        happens()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", late)


def test_a_folder_that_is_removed_before_its_lock_is_not_used(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with it would find no declarations and no picture."""
    folder = place / digest(1)
    before_the_lock(monkeypatch, lambda: prune(place, current=""))
    with pytest.raises(FileNotFoundError):
        hold(folder)
    folder.mkdir()

    def replace_folder() -> None:
        shutil.rmtree(folder)
        folder.mkdir()

    before_the_lock(monkeypatch, replace_folder)
    with pytest.raises(FileNotFoundError):
        hold(folder)
    os.close(hold(folder))


def test_a_folder_that_is_used_while_others_are_removed_is_kept(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the folder that was read longest ago would be removed first
    before_the_lock(monkeypatch, lambda: is_kept(place / digest(4)))
    assert sorted(prune(place, current="")) == [digest(number) for number in range(4)]


def test_a_killed_processs_unfinished_folder_is_removed_after_an_hour(place: Path) -> None:
    for name in (".fetching-abc", ".unpacking-abc", f".gone-{digest(3)}-77"):
        (place / name / "series").mkdir(parents=True)
    prune(place, current="")
    assert (place / ".fetching-abc").is_dir()
    later = time.time() + kept_folders.IN_USE_SECONDS + 60
    prune(place, current="", now=later)
    assert not [path for path in place.iterdir() if path.name.startswith(".")]
