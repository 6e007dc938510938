"""Prompts in fields, shared parts, variables of single dates, and prompts of single clips."""

import datetime as dt
import json
import time
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.catalogue import Catalogue
from resources.declared.problems import ProblemsError
from resources.series import Declarations, load_series
from resources.series.dates import WEEKDAYS
from resources.series.prompts import LABELS
from resources.series.templates import MAX_PROMPT

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
FRIDAY = dt.date(2026, 11, 20)

HEAD = """\
name: city
endpoint: openai/sora-2/text-to-video
allow_retired: true
dated: true
"""
FIELDS = (
    HEAD
    + """\
prompt:
  avoid: [signs, "{{ brand }}"]
  subject: A tram in {{ city }}
  camera: Handheld.
  dialogue:
    - 'Mara: "We are late."'
    - 'Jo: "Again."'
  audio: "{% if rain %}rain on glass{% endif %}"
variables: {city: Lisbon, brand: logos, rain: false}
clips:
  - name: hero
  - name: wet
    variables: {rain: true}
    prompt: {camera: Locked off., scene: "A {{ mood|default('quiet') }} lane"}
"""
)


def load(folder: Path, *series: str, **includes: str) -> Declarations:
    (folder / "series").mkdir()
    (folder / "prompts").mkdir()
    for number, text in enumerate(series):
        (folder / "series" / f"{number}.yaml").write_text(text)
    for name, text in includes.items():
        (folder / "prompts" / f"{name.replace('_', '-')}.yaml").write_text(text)
    return load_series(folder, CATALOGUE)


def prompts(declarations: Declarations, day: dt.date = FRIDAY) -> dict[str, str]:
    assert declarations.problems == []
    (series,) = declarations.series.values()
    return {clip.name: declarations.render(clip).prompt for clip in series.clips(day)}


def problems(declarations: Declarations) -> list[str]:
    return [str(problem) for problem in declarations.problems]


def test_fields_are_rendered_in_one_order_whatever_the_order_of_the_file(tmp_path):
    assert prompts(load(tmp_path, FIELDS)) == {
        "hero": (
            "A tram in Lisbon\nCamera: Handheld.\n"
            'Dialogue:\n- Mara: "We are late."\n- Jo: "Again."\nAvoid: signs, logos'
        ),
        "wet": (
            "A tram in Lisbon\nScene: A quiet lane\nCamera: Locked off.\nSound: rain on glass\n"
            'Dialogue:\n- Mara: "We are late."\n- Jo: "Again."\nAvoid: signs, logos'
        ),
    }


def test_every_field_has_its_place(tmp_path):
    fields = "".join(f"  {name}: the {name}\n" for name in reversed(LABELS))
    text = f"{HEAD}prompt:\n{fields}clips: [{{name: a}}]\n"
    assert prompts(load(tmp_path, text))["a"].splitlines() == [
        f"{label}the {name}" for name, label in LABELS.items()
    ]


def test_an_empty_field_removes_an_inherited_one(tmp_path):
    text = FIELDS.replace("camera: Locked off.", 'camera: "", dialogue: ""')
    assert prompts(load(tmp_path, text))["wet"] == (
        "A tram in Lisbon\nScene: A quiet lane\nSound: rain on glass\nAvoid: signs, logos"
    )


def test_a_clip_can_have_its_own_prompt(tmp_path):
    text = HEAD + "prompt: A street.\nclips: [{name: a}, {name: b, prompt: 'The harbor on {{ date }}.'}]\n"
    assert prompts(load(tmp_path, text)) == {"a": "A street.", "b": "The harbor on 2026-11-20."}


def test_a_series_needs_no_prompt_when_every_clip_has_one(tmp_path):
    assert prompts(
        load(tmp_path, HEAD + "clips: [{name: a, prompt: x}, {name: b, prompt: {subject: y}}]\n")
    ) == {
        "a": "x",
        "b": "y",
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("camera: Handheld.", "camra: Handheld."), "0.yaml:8: prompt.camra: is not known here; did you mean 'camera'?"),
        (("camera: Handheld.", "camera: 5"), "0.yaml:8: prompt.camera: found 5, allowed: text (put it in quotes), or a list of texts"),
        (("camera: Handheld.", "camera:"), "0.yaml:8: prompt.camera: found nothing, allowed: text"),
        (("camera: Handheld.", f"camera: {json.dumps(['x'] * 51)}"), "0.yaml:8: prompt.camera: has 51 texts"),
        (("camera: Handheld.", "camera: '{{ lens }}'"), "0.yaml:8: prompt.camera: found 'lens', allowed: 'brand', 'city'"),
        (("- 'Jo: ", "- '{{ jo }}: "), "0.yaml:11: prompt.dialogue[1]: found 'jo'"),
        (("camera: Handheld.", "camera: '{{ lens'"), "0.yaml:8: prompt.camera: {{ or {% is not closed; write {{ name }}"),
        (("{camera: Locked off.", "{camera: '{{ lens }}'"), "0.yaml:18: clips[1].prompt.camera: found 'lens'"),
        (("{camera: Locked off.", "{camra: Locked off."), "0.yaml:18: clips[1].prompt.camra: is not known here"),
        (("dated: true\n", "dates: {friday: {city: Porto}}\n"), "`dates` needs a series with `dated: true`"),
        (("dated: true\n", "dated: true\ndates: {fryday: {city: Porto}}\n"), "0.yaml:5: dates.fryday: found 'fryday', allowed: YYYY-MM-DD, MM-DD"),
        (("dated: true\n", "dated: true\ndates: {02-30: {city: Porto}}\n"), "is a date that does not exist"),
        (("dated: true\n", "dated: true\ndates: {friday: {City: Porto}}\n"), "0.yaml:5: dates.friday.City: found 'City', allowed: lower-case"),
        (("dated: true\n", "dated: true\ninclude: [house]\n"), "0.yaml:5: include[0]: found 'house', allowed: none - does not exist in data/prompts"),
        (("dated: true\n", "dated: true\ninclude: [../../.env]\n"), "0.yaml:5: include[0]: found '../../.env', allowed: lower-case"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_field_of_the_prompt(tmp_path, change, says):
    assert change[0] in FIELDS
    declarations = load(tmp_path, FIELDS.replace(*change))
    assert [found for found in problems(declarations) if says in found], problems(declarations)
    assert declarations.series == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prompt: {subject: ''}\nclips: [{name: a}]\n", "0.yaml:5: prompt: renders to nothing"),
        ("prompt: ''\nclips: [{name: a}]\n", "0.yaml:5: prompt: found '', allowed: 1 or more characters"),
        ("prompt: []\nclips: [{name: a}]\n", "0.yaml:5: prompt: found an empty list"),
        ("prompt: {}\nclips: [{name: a}]\n", "0.yaml:5: prompt: renders to nothing"),
        ("clips: [{name: a}]\n", "0.yaml:1: prompt: is missing for the clip in line 5"),
        ("matrix: {mood: [a]}\n", "prompt: is missing"),
        ("prompt: x\nclips: [{name: a, prompt: {scene: y}}]\n", "clips[0].prompt: has fields, but the prompt that they change is plain text"),
        ("prompt: {scene: '{{ x }}'}\nvariables: {x: " + "y" * 2000 + "}\nclips: [{name: a}]\n", None),
    ],
)  # fmt: skip
def test_an_empty_prompt_is_refused_in_its_place(tmp_path, text, says):
    declarations = load(tmp_path, HEAD + text)
    assert (
        [found for found in problems(declarations) if says in found] if says else not problems(declarations)
    )


def test_fields_end_at_the_cap_together(tmp_path):
    big = json.dumps(["{{ x }}" * 9] * 10)
    text = f"{HEAD}variables: {{x: {'y' * 2000}}}\nprompt: {{scene: {big}}}\nclips: [{{name: a}}]\n"
    (found,) = problems(load(tmp_path, text))
    assert f"renders to more than {MAX_PROMPT} characters" in found


# Dates


DATES = (
    HEAD
    + """\
prompt: "{{ light }} and {{ sound }}"
variables: {light: sun, sound: birds}
dates:
  friday: {light: neon}
  11-20: {light: candles}
  2026-11-20: {sound: bells}
clips:
  - name: a
  - name: own
    variables: {light: moon}
"""
)


@pytest.mark.parametrize(
    ("day", "light", "sound"),
    [
        (dt.date(2026, 11, 19), "sun", "birds"),
        (dt.date(2026, 11, 13), "neon", "birds"),
        (dt.date(2026, 11, 20), "candles", "bells"),
        (dt.date(2027, 11, 20), "candles", "birds"),
    ],
)
def test_the_more_specific_rule_of_a_date_wins(tmp_path, day, light, sound):
    assert prompts(load(tmp_path, DATES), day) == {"a": f"{light} and {sound}", "own": f"moon and {sound}"}


def test_a_variable_may_come_from_the_dates_alone_when_they_cover_every_day(tmp_path):
    every = "".join(f"  {day}: {{mood: a {day}}}\n" for day in WEEKDAYS)
    text = HEAD + "prompt: It is {{ mood }}.\nclips: [{name: a}]\ndates:\n" + every
    assert prompts(load(tmp_path, text)) == {"a": "It is a friday."}


def test_a_variable_that_only_some_dates_have_is_a_mistake(tmp_path):
    text = HEAD + "prompt: It is {{ mood }}.\nclips: [{name: a}]\ndates: {friday: {mood: x}}\n"
    (found,) = problems(load(tmp_path, text))
    assert "prompt: found 'mood'" in found


def test_a_prompt_that_is_too_long_on_one_date_only_is_found(tmp_path):
    long = "y" * 2000
    text = (
        HEAD
        + "prompt: '"
        + "{{ x }}" * 11
        + f"'\nvariables: {{x: a}}\nclips: [{{name: a}}]\ndates: {{12-24: {{x: {long}}}}}\n"
    )
    (found,) = problems(load(tmp_path, text))
    assert "renders to more than" in found


# Includes


HOUSE = (
    "variables: {grain: fine grain, city: Porto}\nprompt: {lighting: 'Amber, {{ grain }}.', avoid: [signs]}\n"
)


def test_an_include_fills_in_what_the_series_does_not_declare(tmp_path):
    text = (
        HEAD
        + "include: [house-style]\nprompt: {subject: 'A lane in {{ city }}'}\nvariables: {city: Lisbon}\nclips: [{name: a}, {name: b, prompt: {avoid: ''}}]\n"
    )
    assert prompts(load(tmp_path, text, house_style=HOUSE)) == {
        "a": "A lane in Lisbon\nLighting: Amber, fine grain.\nAvoid: signs",
        "b": "A lane in Lisbon\nLighting: Amber, fine grain.",
    }


def test_a_later_include_overrides_an_earlier_one(tmp_path):
    text = HEAD + "include: [a, b]\nprompt: {subject: '{{ x }}{{ y }}'}\nclips: [{name: a}]\n"
    first, second = (
        "variables: {x: 1, y: 1}\nprompt: {scene: one}\n",
        "variables: {y: 2}\nprompt: {scene: two}\n",
    )
    assert prompts(load(tmp_path, text, a=first, b=second)) == {"a": "12\nScene: two"}


def test_a_plain_prompt_that_would_drop_an_includes_fields_is_refused(tmp_path):
    text = HEAD + "include: [house-style]\nprompt: A lane.\nclips: [{name: a}]\n"
    (found,) = problems(load(tmp_path, text, house_style=HOUSE))
    assert "0.yaml:6: prompt: is plain text, which would drop the fields of house-style.yaml" in found


def test_a_plain_prompt_uses_the_variables_of_an_include(tmp_path):
    text = HEAD + "include: [words]\nprompt: A lane, {{ grain }}.\nclips: [{name: a}]\n"
    assert prompts(load(tmp_path, text, words="variables: {grain: fine grain}")) == {
        "a": "A lane, fine grain."
    }


def test_a_broken_include_is_reported_in_its_place_and_excludes_only_series_that_use_it(tmp_path):
    needs = HEAD + "include: [house]\nprompt: {subject: x}\nclips: [{name: a}]\n"
    other = HEAD.replace("name: city", "name: other") + "prompt: x\nclips: [{name: a}]\n"
    declarations = load(tmp_path, needs, other, house="prompt: {scene: '{{ x'}\n", Bad_name="variables: {}")
    assert list(declarations.series) == ["other"]
    told = problems(declarations)
    assert any("house.yaml:1: prompt.scene: {{ or {% is not closed" in found for found in told)
    assert any(
        "0.yaml:5: include[0]: found 'house' - has mistakes itself, first: " in found for found in told
    )
    assert any("Bad-name.yaml: the file's name must be lower-case" in found for found in told)


def test_a_mistake_in_the_use_of_an_include_is_shown_in_the_include(tmp_path):
    text = HEAD + "include: [house]\nprompt: {subject: x}\nclips: [{name: a}]\n"
    (found,) = problems(load(tmp_path, text, house="prompt:\n  scene: In {{ plaec }}\n"))
    assert "house.yaml:2: prompt.scene: found 'plaec'" in found


def test_a_link_that_leaves_the_folder_is_not_read(tmp_path):
    secret = tmp_path / "secret.yaml"
    secret.write_text(FIELDS)
    (tmp_path / "data" / "series").mkdir(parents=True)
    (tmp_path / "data" / "prompts").mkdir()
    (tmp_path / "data" / "series" / "a.yaml").symlink_to(secret)
    (tmp_path / "data" / "prompts" / "b.yaml").symlink_to(secret)
    declarations = load_series(tmp_path / "data", CATALOGUE)
    assert declarations.series == {}
    assert len(problems(declarations)) == 2
    assert all(
        "is a link to a file outside data; copy the file there" in found for found in problems(declarations)
    )


def test_a_link_inside_the_folder_is_read(tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "kept.yaml").write_text(FIELDS)
    (tmp_path / "series" / "a.yaml").symlink_to(tmp_path / "kept.yaml")
    assert list(load_series(tmp_path, CATALOGUE).series) == ["city"]


# any input


YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.sampled_from(["{{ city }}", "{{ x", "{% if a %}"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*LABELS, "x"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(
    prompt=YAML,
    own=YAML,
    include=YAML,
    rules=st.dictionaries(st.sampled_from([*WEEKDAYS, "12-24", "x"]), YAML, max_size=3),
)
def test_no_prompt_raises_anything_but_problems(tmp_path_factory, prompt, own, include, rules):
    head = HEAD.replace(
        "dated: true\n",
        f"dated: true\ninclude: [house]\nvariables: {{city: Oslo}}\ndates: {json.dumps(rules)}\n",
    )
    text = f"{head}prompt: {json.dumps(prompt)}\nclips: [{{name: a, prompt: {json.dumps(own)}}}]\n"
    started = time.process_time()
    declarations = load(tmp_path_factory.mktemp("data"), text, house=f"prompt: {json.dumps(include)}\n")
    assert time.process_time() - started < 2
    for series in declarations.series.values():
        for clip in series.clips(FRIDAY):
            assert 0 < len(declarations.render(clip).prompt) <= MAX_PROMPT


@pytest.mark.slow
def test_thousands_of_clips_with_own_prompts_are_read_quickly_or_refused(tmp_path):
    clips = "".join(f"  - {{name: c{n}, prompt: '{{{{ city }}}} {n} {{{{ city }}}}'}}\n" for n in range(2000))
    started = time.process_time()
    declarations = load(tmp_path, f"{HEAD}variables: {{city: Oslo}}\nclips:\n{clips}")
    assert time.process_time() - started < 8
    assert declarations.series or "seconds to render" in problems(declarations)[0]


@pytest.mark.slow
def test_a_clip_of_a_series_is_refused_on_the_date_it_cannot_be_rendered(tmp_path):
    many = "".join(f"  - {{name: c{n}}}\n" for n in range(1999))
    days = "".join(f"  12-{day:02}: {{x: a}}\n" for day in range(1, 31))
    last = "  - {name: last, prompt: '{% if x != 0 %}{{ y|weekday }}{% else %}z{% endif %}', variables: {y: not-a-day}}\n"
    text = f"{HEAD}prompt: '{{{{ x }}}}'\nvariables: {{x: 0}}\nclips:\n{many}{last}dates:\n{days}"
    declarations = load(tmp_path, text)
    assert problems(declarations) == []
    clip = declarations.find("city-2026-12-24-last")
    with pytest.raises(ProblemsError, match="need a date as YYYY-MM-DD"):
        declarations.render(clip)
