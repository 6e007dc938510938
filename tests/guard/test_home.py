"""A home that no other user of the machine can read or enter."""

import os
import socket
import stat
from pathlib import Path

import pytest

from pipelines.cli import main
from resources.errors import ConfigurationError
from resources.home import make_private, socket_folder
from resources.ledger.database import open_database


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder outside the project and the person's own home."""
    (tmp_path / "me").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    return tmp_path


def test_a_new_home_is_private(somewhere: Path) -> None:
    make_private(somewhere / "deep" / "home")
    assert mode(somewhere / "deep" / "home") == 0o700


def test_a_home_that_others_could_read_is_made_private_with_its_content(somewhere: Path) -> None:
    home = somewhere / "home"
    (home / "logs").mkdir(parents=True)
    outside = somewhere / "outside"
    outside.touch()
    (home / "link").symlink_to(outside)
    for file, was in (("ledger.db", 0o644), ("logs/code.log", 0o666), ("tool", 0o755)):
        (home / file).touch()
        (home / file).chmod(was)
    for folder in (home, home / "logs", outside):
        folder.chmod(0o755)
    make_private(home)
    assert {name: mode(home / name) for name in (".", "logs", "ledger.db", "logs/code.log", "tool")} == {
        ".": 0o700,
        "logs": 0o700,
        "ledger.db": 0o600,
        "logs/code.log": 0o600,
        "tool": 0o700,
    }
    assert mode(outside) == 0o755, "the target of a link is not in the home"


def test_dailies_up_also_checks_the_content_of_a_private_home(somewhere: Path) -> None:
    home = somewhere / "home"
    home.mkdir(mode=0o700)
    (home / "ledger.db").touch(0o644)
    (home / "ledger.db").chmod(0o644)
    make_private(home, whole=True)
    assert mode(home / "ledger.db") == 0o600


def test_other_files_in_the_projects_folder_keep_their_modes(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = somewhere / "project"
    project.mkdir(mode=0o755)
    (project / "run.sh").touch()
    (project / "run.sh").chmod(0o755)
    monkeypatch.chdir(project)
    make_private(project, whole=True)
    assert (mode(project), mode(project / "run.sh")) == (0o700, 0o755)


def test_a_folder_that_others_need_is_refused_as_home(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = somewhere / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "project").mkdir()
    monkeypatch.chdir(shared / "project")
    before = mode(somewhere)
    for folder in (shared, somewhere, Path("/")):
        with pytest.raises(ConfigurationError, match=r"files of others.*DAILIES_HOME"):
            make_private(folder)
    assert (mode(shared), mode(somewhere)) == (0o1777, before)


def test_another_users_folder_is_refused_as_home(somewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = somewhere / "home"
    home.mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: home.stat().st_uid + 1)
    with pytest.raises(ConfigurationError, match="another user"):
        make_private(home)


def test_a_user_without_a_home_folder_still_has_a_home_for_dailies(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    make_private(somewhere / "home")
    assert mode(somewhere / "home") == 0o700


def test_every_command_makes_an_earlier_versions_home_private_and_writes_private_files(
    somewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = somewhere / "home"
    home.mkdir()
    (home / "ledger.db").touch()
    for place, was in ((home, 0o755), (home / "ledger.db", 0o644)):
        place.chmod(was)
    monkeypatch.setenv("DAILIES_HOME", str(home))
    monkeypatch.setenv("DAILIES_ENV_FILE", "")
    monkeypatch.setattr("sys.argv", ["dailies", "status"])
    before = os.umask(0o022)
    try:
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        (somewhere / "written").touch()
    finally:
        os.umask(before)
    assert (mode(home), mode(home / "ledger.db"), mode(somewhere / "written")) == (0o700, 0o600, 0o600)


def test_sockets_are_in_the_home_and_those_of_a_dead_stack_are_removed(somewhere: Path) -> None:
    home = somewhere / "home"
    home.mkdir()
    folder, elsewhere = socket_folder(home)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "code.sock"))
    (folder / "kept").touch()
    assert (folder, elsewhere) == (home / "run", False)
    assert mode(folder) == 0o700
    assert socket_folder(home) == (folder, False)
    assert [path.name for path in folder.iterdir()] == ["kept"]


@pytest.mark.parametrize("name", ["h" * 90, "my home", "100%", "häuslich", "a#b", "a?b"])
def test_a_home_whose_path_is_too_long_for_sockets_gets_a_private_folder_elsewhere(
    somewhere: Path, name: str
) -> None:
    home = somewhere / name
    home.mkdir()
    folder, elsewhere = socket_folder(home)
    try:
        assert elsewhere
        assert mode(folder) == 0o700
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(folder / "listener-12345678"))
    finally:
        for left in folder.iterdir():
            left.unlink()
        folder.rmdir()


def test_two_homes_with_long_paths_share_no_folder(somewhere: Path) -> None:
    folders = [socket_folder(somewhere / ("h" * 90))[0] for _ in range(2)]
    assert folders[0] != folders[1]
    for folder in folders:
        folder.rmdir()


def test_a_ledger_is_private_wherever_it_is_and_whoever_makes_it(somewhere: Path) -> None:
    before = os.umask(0o022)
    try:
        engine = open_database(f"sqlite:///{somewhere}/new/ledger.db")
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1 FROM journal")
            files = {path.name: mode(path) for path in (somewhere / "new").iterdir()}
        engine.dispose()
    finally:
        os.umask(before)
    assert mode(somewhere / "new") == 0o700
    del files["ledger.db.migrating"]
    assert set(files) >= {"ledger.db", "ledger.db-wal"}
    assert set(files.values()) == {0o600}
