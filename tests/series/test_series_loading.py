"""Series files: mistakes in their place, expansion, keys, and rendering into requests."""

import datetime as dt
import time
from pathlib import Path

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.catalogue import Catalogue
from resources.declared.problems import ProblemsError
from resources.errors import DailiesError
from resources.orders import ClipRequest
from resources.series import Declarations, load_series

DATA = Path(__file__).parents[2] / "data"
CATALOGUE = Catalogue.load(DATA / "models")
DAY = dt.date(2026, 11, 20)

CITY = """\
name: city
endpoint: openai/sora-2/text-to-video
allow_retired: true
parameters:
  size: "720*1280"
  duration: 4
prompt: |
  A street in {{ city }},
  {{ mood }}.
variables: {city: Oslo, mood: calm}
clips:
  - name: hero
  - name: wide
    variables: {mood: busy}
    parameters:
      size: "1280*720"
schedule: {cron: 0 6 * * 1-5, timezone: Europe/Oslo}
owner: team:video
tags: {channel: travel}
"""


def load(folder: Path, **files: str) -> Declarations:
    (folder / "series").mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / "series" / f"{name}.yaml").write_text(text)
    return load_series(folder, CATALOGUE)


def only_problem(declarations: Declarations) -> str:
    (problem,) = declarations.problems
    assert problem.file is not None
    return str(problem).removeprefix(f"{problem.file.parent}/")


def test_a_series_renders_into_requests(tmp_path):
    declarations = load(tmp_path, city=CITY)
    assert declarations.problems == []
    hero, wide = (declarations.render(clip) for clip in declarations.series["city"].clips(DAY))
    assert hero == ClipRequest(
        clip="city-2026-11-20-hero",
        series="city",
        provider="wavespeed",
        endpoint="openai/sora-2/text-to-video",
        body={"prompt": "A street in Oslo,\ncalm.", "size": "720*1280", "duration": 4},
        price_micros=400_000,
        expected={"width": 720, "height": 1280, "duration": 4, "audio": True},
        usual_seconds=141,
        owner="team:video",
        tags={"channel": "travel"},
    )
    assert wide.body == {"prompt": "A street in Oslo,\nbusy.", "size": "1280*720", "duration": 4}


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        (
            '  size: "720*1280"\n  d',
            '  size: "720x1280"\n  d',
            "city.yaml:5: parameters.size: found '720x1280', allowed: '720*1280', '1280*720' - did you mean '720*1280'?",
        ),
        (
            '      size: "1280*720"',
            "      size: 720p",
            "city.yaml:16: clips[1].parameters.size: found '720p', allowed: '720*1280', '1280*720'",
        ),
        ("duration: 4", "duration: '4'", "city.yaml:6: parameters.duration: found '4', allowed: 4, 8, 12, 16, 20 - did you mean 4? (and in other clips)"),
        ("duration: 4", "duration: true", "city.yaml:6: parameters.duration: found true, allowed: 4, 8, 12, 16, 20 - also in other clips"),
        ("duration: 4", "duration:", "city.yaml:6: parameters.duration: found nothing, allowed: text, a number"),
        ("  duration: 4", "  durration: 4", "city.yaml:6: parameters.durration: allowed: 'size', 'duration', 'characters', 'resolution', 'aspect_ratio' - is not a parameter of openai/sora-2/text-to-video; did you mean 'duration'?"),
        ("duration: 4", "prompt: x", "city.yaml:6: parameters.prompt: the prompt is the series' own field"),
        (
            "{{ mood }}",
            "{{ moood }}",
            "city.yaml:9: prompt: found 'moood', allowed: 'city', 'clip', 'date', 'mood', 'series' - is not a variable of the clip hero; did you mean 'mood'?",
        ),
        ("{{ mood }}", "{{ mood.x }}", "city.yaml:9: prompt: attributes and positions are not allowed"),
        ("{{ mood }}", "{{ mood", "city.yaml:9: prompt: a name is missing behind a sign"),
        ("openai/sora-2/text-to-video", "openai/sora2/text-to-video", "city.yaml:2: endpoint: found 'openai/sora2/text-to-video' - is not in the catalogue (data/models); did you mean 'openai/sora-2/text-to-video'?"),
        ("allow_retired: true", "provider: aimlapi", "city.yaml:3: provider: found 'aimlapi', allowed: 'wavespeed'"),
        ("openai/sora-2/text-to-video", "openai/sora-2/characters", "city.yaml:2: endpoint: found 'openai/sora-2/characters' - turns video into text and makes no clips"),
        ("allow_retired: true", "max_attempts: 2", "city.yaml:2: endpoint: found 'openai/sora-2/text-to-video' - is retired by its provider since 2026-09-24; use 'bytedance/seedance-2.0/text-to-video', or set `allow_retired: true`"),
        ("allow_retired: true", "allow_retired: yes", "city.yaml:3: allow_retired: found 'yes', allowed: true or false"),
        ("allow_retired: true", "alow_retired: true", "city.yaml:3: alow_retired: is not known here; did you mean 'allow_retired'?"),
        ("    variables: {mood: busy}", "    varaibles: {mood: busy}", "city.yaml:14: clips[1].varaibles: is not known here; did you mean 'variables'?"),
        ("timezone: Europe/Oslo", "timezone: Europe/Osslo", "city.yaml:17: schedule.timezone: found 'Europe/Osslo' - did you mean 'Europe/Oslo'?"),
        ("cron: 0 6 * * 1-5", "cron: 0 66 * * 1-5", "city.yaml:17: schedule.cron: found '0 66 * * 1-5' - '66' is not a valid hour"),
        ("schedule: {cron: 0 6 * * 1-5, timezone: Europe/Oslo}", "schedule: 0 6 * * 1-5", "city.yaml:17: schedule: found '0 6 * * 1-5', allowed: fields, as `cron: 0 6 * * 1-5`"),
        ("  - name: wide\n    variables: {mood: busy}", "  - wide\n  - name: wider", "city.yaml:13: clips[1]: found 'wide', allowed: fields, as `name: hero`"),
        ("variables: {city: Oslo, mood: calm}", "variables: Oslo", "city.yaml:10: variables: found 'Oslo', allowed: names with values, as `name: value`"),
        ("timezone: Europe/Oslo", "timezon: Europe/Oslo", "city.yaml:17: schedule.timezon: is not known here; did you mean 'timezone'?"),
        ("owner: team:video", "owner: video", "city.yaml:18: owner: found 'video', allowed: an e-mail address or team:name"),
        ("{channel: travel}", "{channel: my travels}", "city.yaml:19: tags.channel: found 'my travels', allowed: letters, digits, _ . and -"),
        ("{channel: travel}", "{channel: 5}", "city.yaml:19: tags.channel: found 5, allowed: text (put it in quotes)"),
        ("{channel: travel}", "{dagster/kind: x}", "city.yaml:19: tags.dagster/kind: found 'dagster/kind', allowed: letters"),
        ("name: city\n", "name: City_1\n", "city.yaml:1: name: found 'City_1', allowed: lower-case letters, digits and single hyphens"),
        ("name: city\n", "name: city-2026-01-01\n", "city.yaml:1: name: found 'city-2026-01-01' - looks like a date"),
        ("name: wide", "name: hero", "city.yaml:13: clips[1].name: found 'hero' - is the name of an earlier clip"),
        ("name: wide", "title: wide", "clips[1].name: is missing"),
        ("{city: Oslo, mood: calm}", "{city: Oslo, mood: calm, date: x}", "city.yaml:10: variables.date: found 'date' - is a name with a meaning in templates"),
        ("{city: Oslo, mood: calm}", "{city: Oslo, mood: [a]}", "city.yaml:10: variables.mood: found a list, allowed: text, a number, true or false"),
        ("{city: Oslo, mood: calm}", "{city: Oslo, mood: calm, Big: x}", "city.yaml:10: variables.Big: found 'Big', allowed: lower-case"),
        ("team:video", "team:video\nmatrix: {mood: [a]}", "city.yaml:1: give either `clips` or `matrix`"),
        ("team:video", "team:video\nmax_attempts: 9", "city.yaml:19: max_attempts: found 9, allowed: at most 5"),
        ("name: city\n", "name: " + "a" * 48 + "\n", None),
        ("name: wide", "name: " + "w" * 48, None),
    ],
)  # fmt: skip
def test_a_mistake_names_file_line_field_and_the_right_spelling(tmp_path, wrong, right, says):
    assert wrong in CITY
    declarations = load(tmp_path, city=CITY.replace(wrong, right))
    if says is None:
        assert declarations.problems == []
        return
    matching = [str(problem) for problem in declarations.problems if says in str(problem)]
    assert matching, [str(problem) for problem in declarations.problems]
    assert declarations.series == {}


def test_a_clip_key_that_would_be_too_long_is_refused(tmp_path):
    long = CITY.replace("name: city\n", f"name: {'a' * 40}\n").replace("name: wide", f"name: {'w' * 40}")
    assert "would be longer than 80 characters" in only_problem(load(tmp_path, city=long))


def test_all_mistakes_of_a_file_are_reported_at_once(tmp_path):
    declarations = load(tmp_path, city=CITY.replace("duration: 4", "duration: 5\n  sise: x"))
    assert [problem.field for problem in declarations.problems] == ["parameters.sise", "parameters.duration"]


@pytest.mark.parametrize(
    ("wrong", "right", "first", "hidden"),
    [
        ("team:video", "team:video\ntakse: 2", "takse: is not known here; did you mean 'takes'", "mod"),
        ("team:video", "team:video\nmax_attempts: nine", "max_attempts: found 'nine'", "mod"),
        ("team:video", "team:video\ncolour: red", "colour: allowed: ", "mod"),
        ("    variables:", "    varables:", "varables: is not known here; did you mean 'variables'", "mod"),
    ],
)
def test_a_structural_mistake_hides_no_mistake_in_a_prompt(tmp_path, wrong, right, first, hidden):
    """The misspelt variable was once named only after the first mistake was corrected."""
    assert wrong in CITY
    declarations = load(tmp_path, city=CITY.replace(wrong, right, 1).replace("{{ mood }}", "{{ mod }}"))
    said = [str(problem) for problem in declarations.problems]
    assert any(first in one for one in said), said
    assert any(f"found '{hidden}'" in one and "did you mean 'mood'" in one for one in said), said
    assert declarations.series == {}


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("{city: Oslo, mood: calm}", "[city, mood]"),
        ("variables: {city", "words: {city"),
        ("owner:", "schedule: daily\nowner:"),
    ],
)
def test_an_unclear_structural_mistake_causes_no_invented_ones(tmp_path, wrong, right):
    """Negative control: the prompts' variables are unknown here, so nothing is reported about them."""
    assert wrong in CITY
    said = [str(one) for one in load(tmp_path, city=CITY.replace(wrong, right, 1)).problems]
    assert ["is not a variable" in one for one in said] == [False], said


def test_an_empty_list_is_reported_as_empty(tmp_path):
    text = CITY.partition("clips:")[0] + "clips:\n"
    assert "`clips` is empty" in only_problem(load(tmp_path, city=text))


def test_a_broken_file_never_stops_the_others(tmp_path):
    declarations = load(
        tmp_path, a="name: [", b=CITY, c="", d="- 1", e=CITY.replace("name: city\n", "name: town\n")
    )
    assert list(declarations.series) == ["city", "town"]
    assert [problem.file.name for problem in declarations.problems if problem.file] == [
        "a.yaml",
        "c.yaml",
        "d.yaml",
    ]


def test_two_series_of_one_name_are_a_problem_of_the_later_file(tmp_path):
    declarations = load(tmp_path, a=CITY, b=CITY)
    assert list(declarations.series) == ["city"]
    assert (
        only_problem(declarations)
        == "b.yaml:1: name: found 'city' - is already the name of the series in a.yaml"
    )


def undated(name: str, *clips: str) -> str:
    entries = "".join(f"  - name: {clip}\n" for clip in clips)
    head, rest = CITY.replace("name: city\n", f"name: {name}\n").split("clips:\n")
    return head + "clips:\n" + entries + "\n".join(rest.splitlines()[6:])


def test_two_series_whose_clips_have_the_same_key_are_a_problem_of_the_later_file(tmp_path):
    declarations = load(tmp_path, a=undated("city", "sunset-hero"), b=undated("city-sunset", "hero"))
    assert list(declarations.series) == ["city"]
    assert "as a clip of the series city" in only_problem(declarations)


def test_a_series_whose_name_begins_with_anothers_is_valid_while_keys_differ(tmp_path):
    declarations = load(
        tmp_path,
        a=undated("city", "hero"),
        b=undated("city-sunset", "hero"),
        c=CITY.replace("name: city\n", "name: city-rain\n"),
    )
    assert declarations.problems == []
    for series in declarations.series.values():
        for clip in series.clips(DAY):
            assert declarations.find(clip.key) == clip


def test_an_undated_key_that_reads_as_a_dated_one_is_refused(tmp_path):
    assert "seems to contain a date" in only_problem(load(tmp_path, a=undated("city-2026", "11-20-hero")))


NAME = st.from_regex(r"\A[a-z0-9]{1,6}(-[a-z0-9]{1,4}){0,3}\Z")


@pytest.mark.slow
@settings(max_examples=examples(30))
@given(
    st.dictionaries(
        NAME, st.tuples(st.booleans(), st.lists(NAME, min_size=1, max_size=3, unique=True)), max_size=4
    )
)
def test_every_key_leads_to_its_own_clip(tmp_path_factory, series):
    files = {
        f"f{i}": undated(name, *clips) + ("\ndated: true\n" if dated else "")
        for i, (name, (dated, clips)) in enumerate(series.items())
    }
    declarations = load(tmp_path_factory.mktemp("data"), **files)
    keys = [clip.key for s in declarations.series.values() for clip in s.clips(DAY)]
    assert len(set(keys)) == len(keys)
    for one in declarations.series.values():
        for clip in one.clips(DAY):
            assert declarations.find(clip.key) == clip


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("city-2026-11-20-heroo", "did you mean 'hero'?"),
        ("citty-2026-11-20-hero", "no series declares this clip; did you mean 'city'?"),
        ("city-2026-13-20-hero", "its date does not exist"),
        ("city-hero", "a key of the series city is written city-YYYY-MM-DD-hero"),
        ("city-2026-11-2-hero", "a key of the series city is written city-YYYY-MM-DD-hero"),
        ("stills-hero2", "no series declares this clip; did you mean 'stills-hero'?"),
        ("stills-2026-11-20-hero", "the series stills is not dated: its keys contain no date"),
        (
            "zzz",
            "no series declares this clip; the series are 'city', 'stills'. `dailies prompt SERIES` lists the clips",
        ),
        ("", "no series declares this clip"),
        ("../../etc/passwd", "no series declares this clip"),
    ],
)
def test_the_error_of_an_unknown_key_suggests_the_nearest(tmp_path, key, says):
    declarations = load(tmp_path, a=CITY, b=undated("stills", "hero"))
    with pytest.raises(DailiesError) as refused:
        declarations.find(key)
    assert says in str(refused.value)


def test_the_error_of_an_unknown_key_names_the_problems_of_excluded_series(tmp_path):
    declarations = load(
        tmp_path, a=CITY, b=CITY.replace("name: city\n", "name: town\n").replace("Oslo}", "Osslo}")
    )
    with pytest.raises(
        ProblemsError, match=r"1 problems keep other series out, first: .*b\.yaml:17: schedule\.timezone"
    ):
        declarations.find("town-2026-11-20-hero")


def test_a_dated_series_needs_its_date_and_an_undated_one_ignores_it(tmp_path):
    declarations = load(tmp_path, a=CITY, b=undated("stills", "hero"))
    with pytest.raises(ProblemsError, match="give a date"):
        declarations.series["city"].clips()
    assert [clip.key for clip in declarations.series["stills"].clips(DAY)] == ["stills-hero"]


def test_an_undated_series_has_no_date_in_its_prompts(tmp_path):
    text = undated("stills", "hero").replace("{{ mood }}", "{{ date }}")
    assert "only a series with `dated: true` or a schedule has a date" in only_problem(load(tmp_path, a=text))


HEAD = CITY.split("clips:\n", maxsplit=1)[0]
MATRIX = HEAD + "matrix:\n"


def test_a_matrix_makes_a_clip_of_each_combination_named_after_its_values(tmp_path):
    text = MATRIX + "  mood: [Golden hour, rain]\n  city: [Oslo, Århus]\n  n: [1, 0.5]"
    declarations = load(tmp_path, a=text)
    series = declarations.series["city"]
    assert series.clip_names[:3] == ["golden-hour-oslo-1", "golden-hour-oslo-0-5", "golden-hour-arhus-1"]
    assert len(series.clip_names) == 8
    assert declarations.render(series.clip("rain-arhus-1")).prompt == "A street in Århus,\nrain."


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ("  mood: [calm, Calm]", "names a second clip 'calm'"),
        ("  mood: [晴れ]", "has no letters or digits for a clip's name"),
        ("  mood: [2026-11-20]", "which reads as a date"),
        ("  mood: []", "matrix.mood: found an empty list"),
        ("  mood: calm", "matrix.mood: found 'calm', allowed: a list"),
        ("  a: [1]\n  b: [[1]]", "matrix.b[0]: found a list, allowed: text, a number"),
    ],
)
def test_a_matrix_that_cannot_name_its_clips_is_refused(tmp_path, matrix, says):
    assert says in only_problem(load(tmp_path, a=MATRIX + matrix))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "values", "says"),
    [
        (2, 1000, "makes 1,000,000 clips"),
        (12, 1000, "makes far too many clips"),
        (3000, 12, "makes far too many clips"),
    ],
)
def test_a_matrix_is_counted_before_it_is_expanded(tmp_path, variables, values, says):
    lines = "\n".join(f"  v{i}: [{','.join(map(str, range(values)))}]" for i in range(variables))
    started = time.process_time()
    assert says in only_problem(load(tmp_path, a=MATRIX + lines))
    assert time.process_time() - started < 2


def test_the_error_of_a_clip_of_a_broken_series_names_the_problem(tmp_path):
    declarations = load(
        tmp_path,
        **{
            "a": "name: a\nsize: 1\n",
            "city": CITY.replace("endpoint:", "endpiont:", 1),
            "city-two": "x: 1\n",
        },
    )
    with pytest.raises(ProblemsError, match=r"keep other series out, first: .*city\.yaml:\d+: "):
        declarations.find("city-2026-11-20-hero")
    with pytest.raises(ProblemsError, match=r"first: .*city-two\.yaml"):
        declarations.find("city-two-2026-11-20-hero")
    with pytest.raises(ProblemsError, match=r"first: .*a\.yaml"):
        declarations.find("zzz")


def test_a_removed_series_cannot_be_rendered(tmp_path):
    declarations = load(tmp_path, a=CITY)
    clip = declarations.find("city-2026-11-20-hero")
    declarations.series.clear()
    with pytest.raises(ProblemsError, match="no series declares this clip"):
        declarations.render(clip)


@pytest.mark.slow
def test_a_file_with_thousands_of_mistakes_is_refused_quickly(tmp_path):
    unknown = "".join(f"unknown_{i}: 1\n" for i in range(2000))
    parameters = "".join(f"  sise{i}: 1\n" for i in range(45))
    wrong = CITY.replace("parameters:\n", f"parameters:\n{parameters}", 1).split("  - name: wide")[0]
    clips = "".join(f"  - name: c{i}\n" for i in range(1900))
    started = time.process_time()
    declarations = load(
        tmp_path, a=CITY + unknown, b=wrong + clips, c=CITY.replace("name: city\n", "name: fine\n")
    )
    assert time.process_time() - started < 3
    assert list(declarations.series) == ["fine"]
    assert 50 < len(declarations.problems) < 120


def test_every_mistake_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    wrong = CITY.replace("openai/sora-2/", "bytedance/seedance-2.0/").replace("allow_retired: true\n", "")
    wrong = wrong.replace("{{ mood }}", "{{ mod }} {{ city }} {{ wether }}")
    wrong = wrong.replace('  size: "720*1280"\n  duration: 4', "  durration: 4\n  duration: 400")
    wrong = wrong.replace('      size: "1280*720"', "      resolution: 9p").replace(
        "{mood: busy}", "{citty: x}"
    )
    said = [(p.line, p.field, p.found) for p in load(tmp_path, city=wrong).problems]
    assert said == [
        (8, "prompt", "'mod'"),
        (8, "prompt", "'wether'"),
        (4, "parameters.durration", None),
        (5, "parameters.duration", "400"),
        (15, "clips[1].parameters.resolution", "'9p'"),
    ]


def test_every_endpoint_that_does_not_exist_is_named_at_once(tmp_path: Path) -> None:
    wrong = CITY.replace("openai/sora-2/", "openai/sora-9/").replace(
        "  - name: wide\n",
        "  - name: hero\n    prompt: a\n  - name: high\n    endpoint: a/b\n  - name: wide\n    fallback: [{endpoint: c/d}, {endpoint: e/f}]\n",
    )
    found = [p.found for p in load(tmp_path, city=wrong).problems]
    assert found == ["'openai/sora-9/text-to-video'", "'a/b'", "'c/d'", "'e/f'"]


def test_a_file_with_very_many_mistakes_says_how_many_are_not_listed(tmp_path: Path) -> None:
    clips = "".join(f"  - {{name: c{i}, parameters: {{duration: {i}}}}}\n" for i in range(100, 130))
    last = load(tmp_path, a=CITY.split("  - name: hero", maxsplit=1)[0] + clips).problems[-1]
    assert last.message == "has mistakes in 20 clips; 10 more are checked when these are corrected"
    unknown = "".join(f"unknown_{i}: 1\n" for i in range(60))
    last = load(tmp_path, a=CITY + unknown).problems[-1]
    assert last.message == "has 10 more mistakes, which are shown after some of these are corrected"


@pytest.mark.parametrize(
    ("right", "wrong", "says"),
    [
        (
            "Europe/Oslo",
            "CEST",
            "found 'CEST', allowed: a time zone of the IANA database, e.g. Europe/Berlin",
        ),
        ("clips:\n", "clips: []\nclps:\n", "clips: found an empty list, allowed: 1 or more entries"),
        ("endpoint: openai", "endpoint: [a]\nendpont: openai", "endpoint: found a list, allowed: one text"),
        ("owner:", "dates: {soon: {a: b}}\nowner:", "or a weekday as monday"),
    ],
)
def test_the_suggestion_fits_the_mistake(tmp_path: Path, right: str, wrong: str, says: str) -> None:
    said = [str(problem) for problem in load(tmp_path, city=CITY.replace(right, wrong)).problems]
    assert any(one.endswith(says) for one in said), said


def test_a_link_to_nothing_is_a_mistake_and_not_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    for name, target in {"gone": "elsewhere.yaml", "round": "round.yaml"}.items():
        (tmp_path / "series" / f"{name}.yaml").symlink_to(target)
    declarations = load(tmp_path, city=CITY)
    assert list(declarations.series) == ["city"]
    assert [one.file.name for one in declarations.problems if one.file] == ["gone.yaml", "round.yaml"]
    assert "is a link to a file that does not exist, or back to itself" in str(declarations.problems[0])


def test_prompts_that_together_render_too_slowly_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("resources.series.declarations.MAX_SECONDS", -1)
    assert "to render for all clips; make it simpler" in only_problem(load(tmp_path, a=CITY))


def test_a_clip_that_left_the_file_is_no_longer_rendered(tmp_path):
    clip = load(tmp_path, a=CITY).find("city-2026-11-20-wide")
    later = load(tmp_path, a=CITY.replace("name: wide", "name: tall"))
    with pytest.raises(
        ProblemsError, match="found 'wide', allowed: 'hero', 'tall' - is not a clip of the series city"
    ):
        later.render(clip)


YAML_VALUE = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=12),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
FIELDS = [
    "name", "title", "endpoint", "provider", "parameters", "prompt", "variables", "clips", "matrix",
    "schedule", "owner", "tags", "max_attempts", "allow_retired", "dated",
]  # fmt: skip


@settings(max_examples=examples(75))
@given(st.sampled_from(FIELDS), YAML_VALUE)
def test_no_value_of_any_field_raises_anything_but_problems(tmp_path_factory, field, value):
    import json

    kept = "\n".join(line for line in CITY.splitlines() if not line.startswith(f"{field}:"))
    load(tmp_path_factory.mktemp("data"), a=f"{field}: {json.dumps(value)}\n{kept}")


@settings(max_examples=examples(75))
@given(
    st.integers(0, len(CITY) - 1),
    st.integers(0, 12),
    st.text(alphabet="{}[]:-|>&*!%'\"\n \tab0,", max_size=12),
)
def test_no_broken_file_raises_anything_but_problems(tmp_path_factory, start, length, text):
    broken = CITY[:start] + text + CITY[start + length :]
    good = CITY.replace("name: city\n", "name: other\n")
    assert "other" in load(tmp_path_factory.mktemp("data"), a=broken, b=good).series


def many_series(folder: Path, series: int, clips: int) -> None:
    (folder / "series").mkdir()
    for i in range(series):
        entries = "".join(f"  - name: clip-{n}\n    variables:\n      mood: mood {n}\n" for n in range(clips))
        head = HEAD.replace("name: city\n", f"name: city-{i}\n")
        (folder / "series" / f"{i}.yaml").write_text(f"{head}dated: true\nclips:\n{entries}")


@pytest.mark.slow
def test_a_thousand_clips_load_and_three_thousand_render_quickly(tmp_path):
    many_series(tmp_path, series=10, clips=100)
    started = time.process_time()
    declarations = load_series(tmp_path, CATALOGUE)
    loaded = time.process_time() - started
    assert declarations.problems == []
    days = [DAY + dt.timedelta(days=day) for day in range(3)]
    started = time.process_time()
    requests = [
        declarations.render(c) for day in days for s in declarations.series.values() for c in s.clips(day)
    ]
    rendered = time.process_time() - started
    assert len({request.clip for request in requests}) == 3_000
    # these take a fifth and a tenth of their limits on an idle machine
    assert loaded < 1
    assert rendered < 2
