"""A person's folder: no name leads out of it, and a file that a person changed stays."""

import hashlib
from pathlib import Path

import pytest

from resources.errors import ConfigurationError, DailiesError
from resources.export.folder import SUMS, ExportFolder, FileConflictError


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def put(path: Path, name: str, data: bytes, *, replaces: bool = False) -> None:
    folder = ExportFolder(path)
    with folder.arriving() as arriving:
        folder.add(arriving, name, data, replaces=replaces)
        folder.write_sums(arriving)


@pytest.mark.parametrize(
    "name", ["../out.mp4", "/etc/out.mp4", "bay/../../out.mp4", "bay//x", "bay/.x", "", "a\nb"]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(DailiesError, match="outside of"):
        put(tmp_path / "to", name, b"clip")


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere, to = tmp_path / "elsewhere", tmp_path / "to"
    elsewhere.mkdir()
    to.mkdir()
    (to / "bay").symlink_to(elsewhere)
    with pytest.raises(DailiesError, match="outside of"):
        put(to, "bay/x.mp4", b"clip")
    assert list(elsewhere.iterdir()) == []


def test_digests_of_earlier_fetches_stay_while_their_files_do(tmp_path: Path) -> None:
    put(tmp_path, "bay/one.mp4", b"one")
    put(tmp_path, "bay/two.mp4", b"two")
    assert (tmp_path / SUMS).read_text() == f"{sha256(b'one')}  bay/one.mp4\n{sha256(b'two')}  bay/two.mp4\n"
    (tmp_path / "bay" / "one.mp4").unlink()
    put(tmp_path, "bay/two.mp4", b"two")
    assert (tmp_path / SUMS).read_text() == f"{sha256(b'two')}  bay/two.mp4\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [SUMS, "bay"], "no incomplete files are left"


def test_a_fetched_file_is_replaced_until_a_person_changes_it(tmp_path: Path) -> None:
    sheet = tmp_path / "timeline.otio"
    put(tmp_path, sheet.name, b"first", replaces=True)
    with pytest.raises(FileConflictError):
        put(tmp_path, sheet.name, b"second")
    put(tmp_path, sheet.name, b"second", replaces=True)
    assert sheet.read_bytes() == b"second"
    sheet.write_bytes(b"cut by hand")
    with pytest.raises(FileConflictError, match="not overwritten"):
        put(tmp_path, sheet.name, b"third", replaces=True)
    assert sheet.read_bytes() == b"cut by hand"


def test_a_foreign_list_of_digests_is_refused(tmp_path: Path) -> None:
    (tmp_path / SUMS).write_text("my notes\n")
    with pytest.raises(ConfigurationError, match="move it away"):
        ExportFolder(tmp_path)
    assert (tmp_path / SUMS).read_text() == "my notes\n"
