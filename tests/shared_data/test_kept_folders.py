"""Which pushed data folders a host keeps."""

import os
import time
from pathlib import Path

import pytest

from resources.shared_data import kept_folders
from resources.shared_data.kept_folders import KEPT, hold, is_kept, prune


def digest(number: int) -> str:
    return f"{number:064x}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Ten folders, each read a day after the one before; the newest two days ago."""
    for number in range(10):
        folder = tmp_path / digest(number)
        (folder / "series").mkdir(parents=True)
        (folder / "series" / "bay.yaml").write_text("name: bay\n")
        read_at = time.time() - 86_400 * (11 - number)
        os.utime(folder, (read_at, read_at))
    return tmp_path


def kept(place: Path) -> list[int]:
    return sorted(int(folder.name, 16) for folder in place.iterdir())


def test_the_newest_few_the_current_one_and_what_a_run_reads_are_kept(place: Path) -> None:
    held = hold(place / digest(1))
    removed = prune(place, current=digest(0))
    assert sorted(removed) == [digest(2), digest(3), digest(4)]
    assert kept(place) == [0, 1, *range(10 - KEPT, 10)]
    os.close(held)
    assert prune(place, current=digest(0)) == [digest(1)], "its run has ended"


def test_a_folder_that_was_asked_for_within_the_hour_is_kept(place: Path) -> None:
    assert is_kept(place / digest(0))
    assert not is_kept(place / digest(99))
    assert digest(0) not in prune(place, current="")
    # it counts among the newest now, so another one is too many
    assert kept(place) == [0, *range(11 - KEPT, 10)]
    for number in kept(place):
        assert is_kept(place / digest(number))
    assert prune(place, current="", now=time.time() + 60) == []


def test_what_a_killed_process_left_is_removed_after_an_hour(place: Path) -> None:
    for name in (".fetching-abc", ".unpacking-abc", f".gone-{digest(3)}-77"):
        (place / name / "series").mkdir(parents=True)
    prune(place, current="")
    assert (place / ".fetching-abc").is_dir()
    later = time.time() + kept_folders.IN_USE_SECONDS + 60
    prune(place, current="", now=later)
    assert not [path for path in place.iterdir() if path.name.startswith(".")]
