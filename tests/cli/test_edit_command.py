"""`dailies edit`, and its parts that the room uses: edits are previewed and kept, and no person overwrites words that they have not seen."""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
from projects import ROOT, a_project

from pipelines.cli.declared import declarations_of, editor_of
from resources.declared.document import read_document
from resources.declared.problems import ProblemsError
from resources.errors import ConfigurationError
from resources.ledger import data_pushes
from resources.series.prompt_edits import EditConflictError
from resources.settings import load_settings, open_ledger
from resources.shared_data.snapshot import take_snapshot

Run = Callable[..., tuple[int, str, str]]
CLIP = "bay-dawn"
SCHEMA = json.loads((ROOT / "data" / "schemas" / "edits.schema.json").read_text())


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    a_project(tmp_path, monkeypatch, ["dawn", "dusk"])
    return tmp_path / "data"


@pytest.fixture
def dailies(data: Path, command: Run) -> Run:
    assert data.exists()

    return command


def in_fields(data: Path) -> None:
    file = data / "series" / "bay.yaml"
    text = file.read_text().replace(
        "prompt: A quiet view of {{ clip }}.", "prompt: {subject: 'The {{ clip }}.', camera: Handheld.}"
    )
    file.write_text(text)


def prompt_of(clip: str = CLIP) -> str:
    declarations = declarations_of(load_settings())
    return declarations.render(declarations.find(clip)).prompt


@pytest.mark.slow
def test_another_prompt_is_kept_and_taken_back(dailies: Run, data: Path) -> None:
    code, out, err = dailies("edit", CLIP, "--text", "A loud view of {{ clip }}.")
    assert code == 0, err
    assert "[-quiet-] {+loud+}" in out
    assert "nothing was bought" in err
    assert prompt_of() == "A loud view of dawn."
    assert prompt_of("bay-dusk") == "A quiet view of dusk."
    kept = (data / "edits" / "bay.yaml").read_text()
    assert 'prompt: "A loud view of {{ clip }}."' in kept
    assert 'instead_of: "A quiet view of dawn."' in kept
    assert kept.startswith("# yaml-language-server: $schema=../schemas/edits.schema.json\n")
    jsonschema.validate(read_document(data / "edits" / "bay.yaml").value, SCHEMA)
    shown = json.loads(dailies("edit", CLIP, "--json")[1])
    assert shown["edited"]["by"]
    assert (shown["words"], shown["series_words"]) == ("A loud view of dawn.", "A quiet view of dawn.")
    assert json.loads(dailies("prompt", CLIP, "--json")[1])["edited"] == shown["edited"]
    (planned, _) = json.loads(dailies("plan", "bay", "--json")[1])["clips"]
    assert planned["edited"] == shown["edited"]
    assert dailies("check")[0] == 0
    assert dailies("edit", CLIP, "--remove")[0] == 0
    assert prompt_of() == "A quiet view of dawn."
    assert list((data / "edits").iterdir()) == []


def test_fields_are_edited_one_by_one(dailies: Run, data: Path) -> None:
    in_fields(data)
    assert (
        dailies("edit", CLIP, "--field", "camera=A slow pan.", "--field", 'dialogue=Jo: "One."\nJo: "Two."')[
            0
        ]
        == 0
    )
    assert prompt_of() == 'The dawn.\nCamera: A slow pan.\nDialogue:\n- Jo: "One."\n- Jo: "Two."'
    assert dailies("edit", CLIP, "--field", "lighting=Dusk.")[0] == 0
    assert "Camera: A slow pan.\nLighting: Dusk." in prompt_of()
    assert (
        dailies("edit", CLIP, "--field", "camera=Handheld.", "--field", "dialogue=", "--field", "lighting=")[
            0
        ]
        == 0
    )
    assert not list((data / "edits").iterdir()), "the series' own words count as no edit"


def test_a_template_stays_a_template_when_it_is_edited(dailies: Run, data: Path) -> None:
    in_fields(data)
    assert dailies("edit", CLIP, "--field", "camera=Over {{ clip }}.")[0] == 0
    assert dailies("edit", CLIP, "--field", "lighting=Dusk.")[0] == 0
    assert 'camera: "Over {{ clip }}."' in (data / "edits" / "bay.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--text", "A view of {{ town }}."), "edits/bay.yaml"),
        (("--text", ""), "prompt"),
        (("--field", "camera=Fog."), "is plain text and has no fields"),
        (("--field", "camra=Fog."), "allowed is NAME=TEXT with one of subject"),
        (("--text", "Fog.", "--remove"), "one of them"),
    ],
)
def test_an_edit_that_cannot_be_rendered_is_not_kept(
    dailies: Run, data: Path, arguments: tuple[str, ...], says: str
) -> None:
    code, _, err = dailies("edit", CLIP, *arguments)
    assert code == 2
    assert says in err
    assert not (data / "edits").exists() or not list((data / "edits").iterdir())
    assert prompt_of() == "A quiet view of dawn."


def test_the_later_of_two_editors_gets_an_error_and_overwrites_nothing(data: Path) -> None:
    editor = editor_of(load_settings())
    seen = editor.look(CLIP).seen
    first = editor.keep(CLIP, "Mist.", who="mara", seen=seen)
    assert first.edit is not None
    with pytest.raises(EditConflictError, match=r"mara gave it other words on .*Your words were not kept"):
        editor.keep(CLIP, "Rain.", who="tom", seen=seen)
    assert prompt_of() == "Mist."
    again = editor.keep(CLIP, "Mist.", who="mara", seen=seen)
    assert again == first, "the same request, whose answer was lost"
    editor.keep(CLIP, None, who="tom", seen=first.seen)
    with pytest.raises(EditConflictError, match="somebody gave it its series' words back"):
        editor.keep(CLIP, "Snow.", who="mara", seen=first.seen)
    seen = editor.look(CLIP).seen
    file = data / "series" / "bay.yaml"
    file.write_text(file.read_text().replace("quiet", "calm"))
    with pytest.raises(EditConflictError, match="the prompt of its series changed"):
        editor.keep(CLIP, "Snow.", who="mara", seen=seen)


def test_the_negative_control_of_the_conflict(data: Path) -> None:
    assert data.exists()
    editor = editor_of(load_settings())
    editor.keep(CLIP, "Mist.", who="mara", seen=None)
    assert editor.keep(CLIP, "Rain.", who="tom", seen=None).words == "Rain.", (
        "without `seen` mara's words are lost"
    )


def test_a_preview_renders_and_prices_without_keeping(data: Path) -> None:
    editor = editor_of(load_settings())
    preview = editor.preview(CLIP, "A loud view of {{ clip }}.")
    assert (preview.request.prompt, preview.price) == ("A loud view of dawn.", "$1.20")
    assert prompt_of() == "A quiet view of dawn."
    with pytest.raises(ProblemsError, match="town"):
        editor.preview(CLIP, "A view of {{ town }}.")
    assert not (data / "edits").exists()


def test_an_edit_that_breaks_its_series_is_shown_and_can_be_removed(dailies: Run, data: Path) -> None:
    in_fields(data)
    assert dailies("edit", CLIP, "--field", "camera=A slow pan.")[0] == 0
    file = data / "series" / "bay.yaml"
    fields = file.read_text()
    file.write_text(
        fields.replace("prompt: {subject: 'The {{ clip }}.', camera: Handheld.}", "prompt: A bay.")
    )
    code, _, err = dailies("check")
    assert code == 2
    assert "edits/bay.yaml" in err
    assert "has fields, but the prompt that they change is plain text" in err
    assert "cannot be rendered" in dailies("edit", CLIP)[2]
    with pytest.raises(ProblemsError):
        editor_of(load_settings()).keep(CLIP, "Fog.", who="tom", seen=None)
    assert dailies("edit", CLIP, "--remove")[0] == 0
    assert prompt_of() == "A bay."


def test_check_names_an_edit_whose_series_has_changed_since(dailies: Run, data: Path) -> None:
    assert dailies("edit", CLIP, "--text", "Fog.")[0] == 0
    assert "has changed after that" not in dailies("check")[2]
    file = data / "series" / "bay.yaml"
    file.write_text(file.read_text().replace("quiet", "calm"))
    code, _, err = dailies("check")
    assert code == 0
    assert f"{CLIP} has other words since" in err
    assert "[-quiet-] {+calm+}" in dailies("edit", CLIP)[1]


def test_a_rename_moves_the_edits(dailies: Run, data: Path) -> None:
    assert dailies("edit", CLIP, "--text", "Fog.")[0] == 0
    assert dailies("rename", "bay", "coast")[0] == 0
    assert [one.name for one in (data / "edits").iterdir()] == ["coast.yaml"]
    assert prompt_of() == "Fog."


def test_a_rename_that_fails_leaves_the_edits_where_they_were(
    dailies: Run, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dailies("edit", CLIP, "--text", "Fog.")[0] == 0
    (data / "edits" / "coast.yaml").write_text("clips: {}\n")
    assert "coast.yaml exists already" in dailies("rename", "bay", "coast")[2]
    (data / "edits" / "coast.yaml").unlink()
    monkeypatch.setenv("DAILIES_LEDGER_URL", f"sqlite:///{data}/nowhere/ledger.db")
    (data / "nowhere").write_text("no folder")
    assert dailies("rename", "bay", "coast")[0] == 2
    assert [one.name for one in (data / "edits").iterdir()] == ["bay.yaml"]
    assert prompt_of() == "Fog."


def test_a_folder_that_cannot_be_written_is_named(data: Path) -> None:
    (data / "edits").write_text("no folder")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        editor_of(load_settings()).keep(CLIP, "Fog.", who="tom", seen=None)


@pytest.mark.parametrize("step", ["rename", "replace", "unlink"])
def test_a_rename_that_is_killed_loses_no_edit_and_finishes_when_repeated(
    dailies: Run, data: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    assert dailies("edit", CLIP, "--text", "Fog.")[0] == 0
    with monkeypatch.context() as patch:

        def killed(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(Path, step, killed)
        assert dailies("rename", "bay", "coast")[0] != 0
    assert prompt_of() == "Fog."
    assert dailies("rename", "bay", "coast")[0] == 0
    assert prompt_of() == "Fog."
    assert [file.name for file in (data / "edits").glob("*.yaml")] == ["coast.yaml"]
    assert dailies("check")[0] == 0


def test_after_a_push_an_edit_says_that_a_new_push_is_needed(dailies: Run, data: Path) -> None:
    settings = load_settings()
    settings.home.mkdir()

    def push() -> None:
        found = take_snapshot(data)
        with open_ledger(settings) as ledger:
            data_pushes.push(
                ledger, found.digest, files=len(found.files), size=found.size, who="ann", note=""
            )

    said = "no longer the one that ann has pushed, so this host buys nothing until `dailies data push`"
    push()
    assert said in dailies("edit", CLIP, "--text", "A loud view.")[2]
    assert said not in dailies("edit", CLIP)[2]
    push()
    assert said in dailies("edit", CLIP, "--remove")[2]
