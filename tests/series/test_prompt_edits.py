"""Edited words of single clips, from `data/edits/`: read strictly, rendered like everything declared, and never lost unnoticed."""

from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.catalogue import Catalogue
from resources.declared.document import parse_document
from resources.declared.problems import ProblemsError
from resources.series import Declarations, load_series
from resources.series.edit_writer import with_edit, write_edits
from resources.series.prompt_edits import EditDeclaration, PromptEdits
from resources.series.prompts import PromptFields

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
SERIES = """\
name: city
endpoint: bytedance/seedance-2.0/text-to-video
dated: true
prompt:
  subject: A tram in {{ city }}
  camera: Handheld.
  avoid: [signs, logos]
variables: {city: Lisbon}
clips:
  - name: hero
  - name: wet
"""
PLAIN = """\
name: bay
endpoint: bytedance/seedance-2.0/text-to-video
prompt: A quiet view of {{ clip }}.
clips:
  - name: dawn
"""
SIGNED = "by: mara\n    at: 2026-11-19T08:00:00Z\n"
HERO = "city-2026-11-20-hero"


def edits(text: str) -> str:
    return f"clips:\n{text}"


def load(folder: Path, **files: str) -> Declarations:
    for place in ("series", "edits"):
        (folder / place).mkdir(exist_ok=True)
    (folder / "series" / "city.yaml").write_text(SERIES)
    (folder / "series" / "bay.yaml").write_text(PLAIN)
    for name, text in files.items():
        (folder / "edits" / f"{name}.yaml").write_text(text)
    return load_series(folder, CATALOGUE)


def prompt_of(declarations: Declarations, clip: str) -> str:
    return declarations.render(declarations.find(clip)).prompt


def test_an_edit_changes_its_clip_and_no_other(tmp_path: Path) -> None:
    plain = load(tmp_path)
    before = {key: prompt_of(plain, key) for key in (HERO, "city-2026-11-20-wet", "city-2026-11-21-hero")}
    declared = load(
        tmp_path,
        city=edits(
            f"  {HERO}:\n    prompt: {{camera: 'A pan over {{{{ city }}}}.', avoid: ''}}\n    {SIGNED}"
        ),
    )
    assert declared.problems == []
    assert prompt_of(declared, HERO) == "A tram in Lisbon\nCamera: A pan over Lisbon."
    del before[HERO]
    assert {key: prompt_of(declared, key) for key in before} == before
    request = declared.render(declared.find(HERO))
    assert request.edited is not None
    assert str(request.edited) == "camera, avoid by mara on 2026-11-19 at 08:00 UTC"
    assert declared.render(declared.find("city-2026-11-20-wet")).edited is None
    assert request.fingerprint != plain.render(plain.find(HERO)).fingerprint


def test_without_the_edit_the_series_words_come_back(tmp_path: Path) -> None:
    before = load(tmp_path)
    load(tmp_path, bay=edits(f"  bay-dawn:\n    prompt: Fog.\n    {SIGNED}"))
    (tmp_path / "edits" / "bay.yaml").unlink()
    again = load(tmp_path)
    first, second = (one.render(one.find("bay-dawn")) for one in (before, again))
    assert first == second


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("city", "clips: [", "edits/city.yaml:1"),
        ("city", edits("  city-2026-11-20-herp:\n    prompt: Fog.\n    " + SIGNED), "city.yaml:3: clips.city-2026-11-20-herp: is not a clip of the series city"),
        ("bay", edits("  bay-dusk:\n    prompt: Fog.\n    " + SIGNED), "did you mean 'bay-dawn'?"),
        ("city", edits(f"  {HERO}:\n    prompt: {{camra: Fog.}}\n    {SIGNED}"), f"city.yaml:3: clips.{HERO}.prompt.camra"),
        ("city", edits(f"  {HERO}:\n    prompt: {{camera: '{{{{ town }}}}'}}\n    {SIGNED}"), f"city.yaml:3: clips.{HERO}.prompt.camera: found 'town'"),
        ("bay", edits(f"  bay-dawn:\n    prompt: {{camera: Fog.}}\n    {SIGNED}"), "bay.yaml:3: clips.bay-dawn.prompt: has fields"),
        ("bay", edits(f"  bay-dawn:\n    prompt: '{{% if clip == 1 %}}x{{% endif %}}'\n    {SIGNED}"), "bay.yaml:3: clips.bay-dawn.prompt: renders to nothing"),
        ("bay", edits("  bay-dawn:\n    prompt: Fog.\n    at: 2026-11-19T08:00:00Z\n"), "clips.bay-dawn.by: is missing"),
        ("bay", edits("  bay-dawn:\n    prompt: Fog.\n    by: mara\n    at: yesterday\n"), "a time with its zone"),
    ],
)  # fmt: skip
def test_a_bad_file_is_reported_and_excludes_only_its_own_series(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    declared = load(tmp_path, **{name: text})
    assert says in "\n".join(map(str, declared.problems)).replace(f"{tmp_path}/", "")
    assert set(declared.series) == {"bay", "city"} - {name}, "nothing is bought with unintended words"


def test_words_that_the_model_refuses_are_reported_in_the_file_of_the_edit(tmp_path: Path) -> None:
    load(tmp_path)
    plain = PLAIN.replace("bytedance/seedance-2.0/text-to-video", "wan/v2.6/text-to-video")
    (tmp_path / "series" / "bay.yaml").write_text(plain)
    (tmp_path / "edits" / "bay.yaml").write_text(edits(f"  bay-dawn:\n    prompt: {'x' * 900}\n    {SIGNED}"))
    (problem,) = load_series(tmp_path, CATALOGUE).problems
    assert "edits/bay.yaml:3: clips.bay-dawn.prompt" in str(problem)
    assert "at most 800" in str(problem)


def test_a_file_without_a_series_is_reported(tmp_path: Path) -> None:
    declared = load(tmp_path, citty=edits(f"  {HERO}:\n    prompt: Fog.\n    {SIGNED}"))
    (problem,) = declared.problems
    assert "citty.yaml: no series has this file's name; did you mean 'city'?" in str(problem)
    assert set(declared.series) == {"bay", "city"}
    (tmp_path / "series" / "bay.yaml").write_text("name: [")
    (tmp_path / "edits" / "citty.yaml").rename(tmp_path / "edits" / "bay.yaml")
    (only,) = load_series(tmp_path, CATALOGUE).problems
    assert "series/bay.yaml" in str(only), "the file's series is not known, which is reported once"


def test_an_edit_outside_of_the_data_folder_is_not_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text(edits(f"  bay-dawn:\n    prompt: Fog.\n    {SIGNED}"))
    data = tmp_path / "data"
    data.mkdir()
    load(data)
    (data / "edits" / "bay.yaml").symlink_to(outside)
    assert "is a link to a file outside" in str(load_series(data, CATALOGUE).problems[0])


def test_the_series_present_words_are_shown_beside_the_replaced_ones(tmp_path: Path) -> None:
    text = edits(
        f"  {HERO}:\n    prompt: {{camera: A pan., scene: Night.}}\n    {SIGNED}    instead_of: {{camera: Handheld., scene: ''}}\n"
    )
    declared = load(tmp_path, city=text)
    series, clip = declared.series["city"], declared.find(HERO)
    assert series.overtaken(clip) == []
    (tmp_path / "series" / "city.yaml").write_text(
        SERIES.replace("Handheld.", "Locked off.").replace("tram", "bus")
    )
    series = load_series(tmp_path, CATALOGUE).series["city"]
    assert series.overtaken(clip) == [("camera", "Handheld.", "Locked off.")], "the subject was not edited"
    assert series.text(clip).startswith("A bus in Lisbon\nScene: Night.\nCamera: A pan.")
    whole = "A tram in Lisbon\\nCamera: Handheld.\\nAvoid: signs, logos"
    text = edits(f'  {HERO}:\n    prompt: Fog.\n    {SIGNED}    instead_of: "{whole}"\n')
    (tmp_path / "series" / "city.yaml").write_text(SERIES)
    assert load(tmp_path, city=text).series["city"].overtaken(clip) == []
    (tmp_path / "series" / "city.yaml").write_text(SERIES.replace("tram", "bus"))
    ((part, then, now),) = load_series(tmp_path, CATALOGUE).series["city"].overtaken(clip)
    assert (part, then.split()[1], now.split()[1]) == ("text", "tram", "bus")


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(text=WORDS, other=WORDS, who=WORDS)
@settings(max_examples=examples(100), deadline=None)
def test_a_written_edit_reads_back_unchanged_or_is_refused(text: str, other: str, who: str) -> None:
    said = EditDeclaration(
        prompt=PromptFields(camera=text, dialogue=[text, other]),
        by=who,
        at="2026-11-19T08:00:00Z",
        instead_of=PromptFields(camera=other),
    )
    file = Path("data/edits/city.yaml")
    try:
        written, read = with_edit(PromptEdits(), file, HERO, said)
    except ProblemsError:
        return
    assert read.of_clips[HERO].declared == said
    assert PromptEdits.read(parse_document(written, file)).of_clips[HERO].declared == said
    assert with_edit(read, file, HERO, None) == ("", PromptEdits())


@pytest.mark.parametrize(
    "text", ["No", "1e5", "2026-11-20", "A: b # c", "x\n  y\n", "{{ city }}", "'", "é 🎬"]
)
def test_ordinary_words_are_kept_as_they_are(text: str) -> None:
    said = EditDeclaration(prompt=text, by="mara", at="2026-11-19T08:00:00Z")
    _, read = with_edit(PromptEdits(), Path("data/edits/bay.yaml"), "bay-dawn", said)
    assert read.of_clips["bay-dawn"].declared.prompt == text


def test_a_file_is_replaced_as_a_whole_and_removed_with_its_last_edit(tmp_path: Path) -> None:
    file = tmp_path / "edits" / "bay.yaml"
    write_edits(tmp_path, file, "clips: {}\n")
    assert [one.name for one in file.parent.iterdir()] == ["bay.yaml"]
    write_edits(tmp_path, file, "")
    assert list(file.parent.iterdir()) == []
    write_edits(tmp_path, file, "")
