"""`dailies init` creates a folder for a person's series, refuses bad input and overwrites nothing."""

from pathlib import Path

import pytest
import yaml

from pipelines.cli.check import examine
from pipelines.cli.commands.operations import init
from pipelines.cli.init import lay_out
from resources.dagster_names import DagsterNames, names_of
from resources.errors import ConfigurationError
from resources.settings import load_settings


def names(location: str = "dailies", prefix: str = "") -> DagsterNames:
    return names_of(location=location, prefix=prefix)


def test_a_new_folder_is_complete_and_its_declarations_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "films"
    written = lay_out(folder, names("films", "video/ai"))
    assert all((folder / path).is_file() for path in written)
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DAILIES_ENV_FILE", raising=False)
    settings = load_settings()
    assert settings.location == "films"
    assert settings.asset_path("uploaded_videos") == ["video", "ai", "uploaded_videos"]
    declarations, problems, _notes = examine(settings)
    assert (list(declarations.series), problems) == (["morning-light"], [])
    workspace = yaml.safe_load((folder / "workspace.yaml").read_text())
    assert workspace["load_from"][0]["python_module"]["location_name"] == "films"
    steps = yaml.safe_load((folder / ".github/workflows/dailies.yml").read_text())["jobs"]["check"]["steps"]
    assert [step["run"] for step in steps if "run" in step][1:] == ["dailies check", "dailies plan"]


@pytest.mark.parametrize(
    ("folder", "first"), [(".", "Next: dailies check;"), ("films", "Next: cd films; dailies check;")]
)
def test_the_command_names_what_comes_next(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: str,
    first: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    init(Path(folder))
    lines = capsys.readouterr().out
    assert str((tmp_path / folder).resolve()) in lines
    assert first in lines


def test_nothing_is_overwritten_or_added_to_an_existing_folder(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WAVESPEED_API_KEY=mine\n")
    with pytest.raises(ConfigurationError, match=r"has \.env already"):
        lay_out(tmp_path, names())
    assert [path.name for path in tmp_path.iterdir()] == [".env"]
    assert (tmp_path / ".env").read_text() == "WAVESPEED_API_KEY=mine\n"


def test_a_dangling_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / ".env").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="Nothing was written"):
        lay_out(tmp_path, names())
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("package", ["resources", "pipelines"])
def test_a_folder_whose_package_would_be_imported_instead_of_ours_is_refused(
    tmp_path: Path, package: str
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("")
    with pytest.raises(ConfigurationError, match=f"a Python package '{package}' of its own"):
        lay_out(tmp_path, names())
    assert [path.name for path in tmp_path.iterdir()] == [package]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="is not a folder"):
        lay_out(tmp_path / "file", names())


@pytest.mark.parametrize(
    ("location", "prefix"),
    [("a b", ""), ("", ""), ("a/b", ""), ("x", "a b"), ("x", "/a"), ("x", "a//b"), ("x", "a/"), ("x", "a|b")],
)
def test_names_that_dagster_cannot_show_are_refused(location: str, prefix: str) -> None:
    with pytest.raises(ConfigurationError, match=r"DAILIES_(LOCATION|ASSET_PREFIX)"):
        names(location, prefix)
