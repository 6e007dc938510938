"""A data folder uses the program's catalogue, and its own entries where it has some."""

from pathlib import Path

from resources.catalogue import Catalogue
from resources.program_files import program_file

MODELS = program_file("data/models")
ENTRY = MODELS / "wavespeed-seedance-2.0-text-to-video.yaml"
ID = "bytedance/seedance-2.0/text-to-video"


def test_a_data_folder_without_models_uses_the_programs_catalogue(tmp_path: Path) -> None:
    assert list(map(str, Catalogue.of(tmp_path))) == list(map(str, Catalogue.load(MODELS)))


def test_an_own_entry_replaces_the_programs(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    text = ENTRY.read_text().replace("checked: ", "checked: 2026-01-01 # ", 1)
    (tmp_path / "models" / "mine.yaml").write_text(text)
    catalogue = Catalogue.of(tmp_path)
    assert catalogue.problems == []
    assert len(catalogue) == len(Catalogue.load(MODELS))
    assert str(catalogue.get(ID, "wavespeed").checked) == "2026-01-01"


def test_a_broken_own_entry_is_not_replaced_by_the_programs_price(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "mine.yaml").write_text(ENTRY.read_text() + "\nno_such_field: 1\n")
    catalogue = Catalogue.of(tmp_path)
    assert "no_such_field" in str(catalogue.problems)
    assert (ID, "wavespeed") not in {(e.id, e.provider) for e in catalogue}


def test_an_invalid_yaml_file_still_replaces_the_programs_file_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / ENTRY.name).write_text("- [")
    assert (ID, "wavespeed") not in {(e.id, e.provider) for e in Catalogue.of(tmp_path)}
