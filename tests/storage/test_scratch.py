"""Scratch folders: removed at the end of a block, and after the death of their process."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resources.storage.scratch import scratch_folder, sweep


def test_a_folder_exists_for_the_block_only(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder:
        (folder / "clip.mp4").write_bytes(b"bytes")
        assert sweep(tmp_path) == 0, "a folder in use stays"
        assert (folder / "clip.mp4").exists()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_removed_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), scratch_folder(tmp_path):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_folders_of_killed_processes_are_swept_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from resources.storage.scratch import scratch_folder\n"
        "with scratch_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'clip.mp4').write_bytes(b'bytes'); print('there', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    assert sweep(tmp_path) == 0
    process.kill()
    process.wait()
    process.stdout.close()
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_never_exists_without_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sweep between the creation of a folder and its lock once removed a living process's folder."""
    lock, swept = fcntl.flock, []

    def sweep_first(file: Any, how: int) -> None:
        if how == fcntl.LOCK_EX:
            swept.append(sweep(tmp_path))
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    with scratch_folder(tmp_path) as folder:
        (folder / "clip.mp4").write_bytes(b"bytes")
    assert swept == [0]


def test_an_unfinished_folder_is_swept_in_the_end(tmp_path: Path) -> None:
    half = tmp_path / ".making-x"
    half.mkdir()
    assert sweep(tmp_path) == 0
    os.utime(half, (0, 0))
    assert sweep(tmp_path) == 1
    assert not half.exists()


def test_other_files_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "clip-by-hand").mkdir()
    (tmp_path / "notes.txt").write_text("mine")
    assert sweep(tmp_path) == 0
    assert len(list(tmp_path.iterdir())) == 2
