"""A series' cast and fallbacks: their declarations, the resulting requests, and mistakes in their place."""

import datetime as dt
from pathlib import Path

import pytest
from pictures import mp4, put

from resources.catalogue import Catalogue
from resources.declared.problems import ProblemsError
from resources.file_references import FileReference
from resources.money import usd
from resources.orders import Choice
from resources.series import Declarations, load_series
from resources.series.characters import Made

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
DAY = dt.date(2026, 11, 20)
CITY = """\
name: city
endpoint: openai/sora-2/text-to-video
allow_retired: true
parameters: {duration: 4, resolution: 720p, aspect_ratio: "9:16"}
prompt: A street.
clips:
  - name: hero
  - name: wide
    parameters: {aspect_ratio: "16:9"}
fallback:
  - endpoint: bytedance/seedance-2.0/text-to-video
  - endpoint: openai/sora-2-t2v
    provider: aimlapi
    parameters: {duration: 8}
"""
CAST = """\
name: city
endpoint: openai/sora-2/text-to-video
allow_retired: true
prompt: "{{ clip }}"
cast: [mara, joe]
clips:
  - name: both
  - name: one
    cast: [joe]
  - name: nobody
    cast: []
"""
MARA = "name: mara\nvideo: https://example.com/mara.mp4\nallow_retired: true\n"
MADE = ("mara", "joe")


def load(folder: Path, text: str, made: tuple[str, ...] = MADE, **characters: str) -> Declarations:
    (folder / "series").mkdir(exist_ok=True)
    (folder / "characters").mkdir(exist_ok=True)
    (folder / "series" / "city.yaml").write_text(text)
    for name, declared in ({"mara": MARA, "joe": MARA.replace("mara", "joe")} | characters).items():
        (folder / "characters" / f"{name}.yaml").write_text(declared)
    known: dict[str, Made] = {}
    declarations = load_series(folder, CATALOGUE, made=lambda: known)
    for name in made:
        request = declarations.characters.found[name].request
        known[name] = Made(f"char_{name}", request.fingerprint)
    return declarations


def problems(declarations: Declarations) -> list[str]:
    return [str(problem) for problem in declarations.problems]


# Fallbacks


def test_each_fallback_is_rendered_and_checked_like_the_clip_itself(tmp_path):
    declarations = load(tmp_path, CITY)
    assert problems(declarations) == []
    hero, wide = map(declarations.render, declarations.series["city"].clips())
    assert hero.body == {"prompt": "A street.", "size": "720*1280", "duration": 4}
    first, second = hero.fallbacks
    assert (first.provider, first.endpoint, first.price_micros) == (
        "wavespeed",
        "bytedance/seedance-2.0/text-to-video",
        usd("0.96"),
    )
    assert {name: first.body[name] for name in ("prompt", "duration", "resolution", "aspect_ratio")} == {
        "prompt": "A street.",
        "duration": 4,
        "resolution": "720p",
        "aspect_ratio": "9:16",
    }
    assert (second.provider, second.body["duration"]) == ("aimlapi", 8)
    assert isinstance(second, Choice)
    assert wide.fallbacks[0].body["aspect_ratio"] == "16:9"
    assert hero.accounts == {"wavespeed", "aimlapi"}


def test_fallbacks_do_not_change_the_fingerprint(tmp_path):
    with_them = load(tmp_path, CITY).render(load(tmp_path, CITY).find("city-hero"))
    without = load(tmp_path, CITY.split("fallback:", maxsplit=1)[0])
    assert without.render(without.find("city-hero")).fingerprint == with_them.fingerprint


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        ("bytedance/seedance-2.0/text-to-video", "bytedance/seedance-3", "city.yaml:11: fallback[0].endpoint: found 'bytedance/seedance-3' - is not in the catalogue"),
        ("provider: aimlapi", "provider: wavespeed", "city.yaml:13: fallback[1].provider: found 'wavespeed', allowed: 'aimlapi'"),
        ("{duration: 8}", "{duration: 5}", "city.yaml:14: fallback[1].parameters.duration: found 5, allowed: 4, 8, 12 - in the fallback to openai/sora-2-t2v"),
        ("{duration: 8}", "{siez: 5}", "city.yaml:14: fallback[1].parameters.siez: "),
        ("{duration: 4,", "{duration: 20,", "city.yaml:4: parameters.duration: found 20, allowed: a whole number from 4 to 15 - in the fallback to bytedance/seedance-2.0/text-to-video: nearest: 15"),
        ('resolution: 720p, aspect_ratio: "9:16"', 'size: "720*1280"', "city.yaml:4: parameters.size: allowed: "),
        ("allow_retired: true", "max_attempts: 1", "city.yaml:2: endpoint: found 'openai/sora-2/text-to-video' - is retired"),
        ("endpoint: openai/sora-2-t2v\n    provider: aimlapi", "endpoint: openai/sora-2/characters", "city.yaml:12: fallback[1].endpoint: found 'openai/sora-2/characters'"),
        ("    parameters: {duration: 8}\n", "    prompt: x\n", "city.yaml:14: fallback[1].prompt: allowed: 'account', 'cast', 'endpoint', 'parameters', 'provider' - is not known here"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_fallback_names_its_place(tmp_path, wrong, right, says):
    assert wrong in CITY
    declarations = load(tmp_path, CITY.replace(wrong, right, 1))
    assert [found for found in problems(declarations) if says in found], problems(declarations)


def test_a_retired_fallback_is_reported_before_it_is_needed(tmp_path):
    text = CITY.replace(
        "openai/sora-2/text-to-video\nallow_retired: true", "bytedance/seedance-2.0/text-to-video"
    )
    (found,) = problems(load(tmp_path, text))
    assert (
        "city.yaml:11: fallback[1].endpoint: found 'openai/sora-2-t2v' - is retired by its provider" in found
    )


@pytest.mark.parametrize(
    ("wrong", "right", "line"),
    [
        ("bytedance/seedance-2.0/text-to-video", "openai/sora-2/text-to-video", 11),
        ("openai/sora-2-t2v\n    provider: aimlapi\n    parameters: {duration: 8}", "bytedance/seedance-2.0/text-to-video", 12),
    ],
)  # fmt: skip
def test_a_fallback_that_repeats_the_failed_request_is_refused(tmp_path, wrong, right, line):
    assert wrong in CITY
    (found,) = problems(load(tmp_path, CITY.replace(wrong, right, 1)))
    assert (
        f"city.yaml:{line}: fallback[{line - 11}].endpoint: found '{right}' - repeats a request that has just failed"
        in found
    )
    assert "max_attempts" in found


def test_a_fallback_to_the_same_endpoint_with_other_parameters_is_allowed(tmp_path):
    text = CITY.replace(
        "  - endpoint: bytedance/seedance-2.0/text-to-video\n",
        "  - {endpoint: openai/sora-2/text-to-video, parameters: {duration: 8}}\n",
    )
    assert problems(load(tmp_path, text)) == []


# Cast


def test_each_clip_has_its_own_cast(tmp_path):
    declarations = load(tmp_path, CAST)
    assert problems(declarations) == []
    both, one, nobody = map(declarations.render, declarations.series["city"].clips())
    assert (both.body["characters"], both.cast) == (
        ["char_mara", "char_joe"],
        {"mara": "char_mara", "joe": "char_joe"},
    )
    assert (one.body["characters"], one.cast) == (["char_joe"], {"joe": "char_joe"})
    assert "characters" not in nobody.body
    assert nobody.cast == {}


def test_a_clip_whose_character_was_not_made_is_refused_and_the_others_are_not(tmp_path):
    declarations = load(tmp_path, CAST, made=("joe",))
    assert problems(declarations) == []
    assert declarations.render(declarations.find("city-one")).cast == {"joe": "char_joe"}
    with pytest.raises(ProblemsError) as refused:
        declarations.render(declarations.find("city-both"))
    assert "city.yaml:5: cast: found 'mara' - is not made yet: run `dailies characters make mara`" in str(
        refused.value
    )


def test_a_clip_with_a_character_that_has_changed_since_it_was_made_is_refused(tmp_path):
    load(tmp_path, CAST)
    declarations = load(tmp_path, CAST)
    old = declarations.made()
    changed = load(tmp_path, CAST, made=(), mara=MARA.replace("mara.mp4", "other.mp4"))
    changed.made = lambda: old
    with pytest.raises(ProblemsError, match=r"has changed since it was made \(mara\.yaml\)"):
        changed.render(changed.find("city-both"))


def test_a_clip_without_a_cast_needs_no_list_of_characters(tmp_path):
    def never() -> dict[str, Made]:
        raise AssertionError("the ledger was queried")

    load(tmp_path, CAST)
    declarations = load_series(tmp_path, CATALOGUE, made=never)
    assert declarations.render(declarations.find("city-nobody")).cast == {}


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        ("cast: [mara, joe]", "cast: [mara, jo]", "city.yaml:5: cast[1]: found 'jo' - does not exist in data/characters; did you mean 'joe'?"),
        ("    cast: [joe]", "    cast: [zoe, joe]", "city.yaml:9: clips[1].cast[0]: found 'zoe'"),
        ("cast: [mara, joe]", "cast: [mara, mara]", "city.yaml:5: cast: names a character twice"),
        ("cast: [mara, joe]", "cast: mara", "city.yaml:5: cast: found 'mara', allowed: a list"),
        ("cast: [mara, joe]", "cast: [../../.env]", "city.yaml:5: cast[0]: found '../../.env', allowed: lower-case"),
        ("openai/sora-2/text-to-video", "bytedance/seedance-2.0/text-to-video", "city.yaml:5: cast: "),
        ("openai/sora-2/text-to-video", "openai/sora-2-t2v", "city.yaml:5: cast[0]: found 'mara' - is made by wavespeed, and openai/sora-2-t2v is sold by aimlapi"),
        ("cast: [mara, joe]", "cast: [mara, joe]\nparameters: {characters: [char_x]}", "city.yaml:6: parameters.characters: name characters in `cast`, or give their ids here, but not both"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_cast_names_its_place(tmp_path, wrong, right, says):
    assert wrong in CAST
    declarations = load(tmp_path, CAST.replace(wrong, right, 1))
    assert [found for found in problems(declarations) if says in found], problems(declarations)


def test_a_fallback_without_characters_buys_the_clip_without_its_cast(tmp_path):
    text = CAST + "fallback: [{endpoint: bytedance/seedance-2.0/text-to-video, cast: none}]\n"
    declarations = load(tmp_path, text)
    assert problems(declarations) == []
    both = declarations.render(declarations.find("city-both"))
    assert both.cast == {"mara": "char_mara", "joe": "char_joe"}
    bought = both.fall_back()
    assert bought is not None
    assert ("characters" in bought.body, bought.cast) == (False, {})
    found = problems(load(tmp_path, text.replace(", cast: none", "")))
    assert any("city.yaml:5: cast: " in one and "in the fallback to bytedance" in one for one in found), found


def test_the_error_of_a_fallback_at_another_provider_says_how_to_leave_the_characters_out(tmp_path):
    text = CAST + "fallback: [{endpoint: openai/sora-2-t2v, provider: aimlapi}]\n"
    found, joe = problems(load(tmp_path, text))
    assert "found 'joe'" in joe
    assert "sold by aimlapi; `cast: none` in that fallback buys the clip without characters" in found
    assert problems(load(tmp_path, text.replace("aimlapi}", "aimlapi, cast: none}"))) == []


# Characters


def test_a_character_becomes_a_request(tmp_path):
    request = load(tmp_path, CAST).characters.found["mara"].request
    assert (request.kind, request.clip, request.endpoint) == ("character", "mara", "openai/sora-2/characters")
    assert request.body == {"video": "https://example.com/mara.mp4", "name": "Mara"}
    assert request.price_micros == 1000


def test_a_character_may_be_made_from_a_film_in_the_data_folder(tmp_path):
    put(tmp_path, "characters/mara.mp4", mp4(seconds=3))
    found = load(tmp_path, CAST, mara=MARA.replace("https://example.com/", "characters/")).characters.found[
        "mara"
    ]
    reference = FileReference.parse(found.request.body["video"])
    assert reference is not None
    assert reference.path == "characters/mara.mp4"


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        ("video: https://example.com/mara.mp4", "video: ../../.env", "mara.yaml:2: video: found '../../.env'"),
        ("video: https://example.com/mara.mp4", "video: characters/joe.yaml", "mara.yaml:2: video: "),
        ("video: https://example.com/mara.mp4", "film: x", "mara.yaml:1: video: is missing"),
        ("name: mara", "name: Mara", "mara.yaml:1: name: found 'Mara', allowed: lower-case"),
        ("name: mara", "name: jo", "mara.yaml:1: name: found 'jo', allowed: at least three characters"),
        ("name: mara", "name: joe", "mara.yaml:1: name: found 'joe' - is already the name of the character in joe.yaml"),
        ("allow_retired: true", "title: Mara", "mara.yaml:1: endpoint: found 'openai/sora-2/characters' - is retired"),
        ("allow_retired: true", "endpoint: openai/sora-2/text-to-video", "mara.yaml:3: endpoint: found 'openai/sora-2/text-to-video' - makes no characters"),
        ("allow_retired: true", "endpoint: x", "mara.yaml:3: endpoint: found 'x', allowed: "),
    ],
)  # fmt: skip
def test_a_mistake_in_a_character_names_its_place_and_is_also_reported_where_it_is_cast(
    tmp_path, wrong, right, says
):
    declarations = load(tmp_path, CAST, made=(), mara=MARA.replace(wrong, right))
    assert [found for found in problems(declarations) if says in found], problems(declarations)
    told = [found for found in problems(declarations) if "city.yaml:5: cast[0]: found 'mara'" in found]
    assert "problems keep others out, first: " in told[0]


def test_a_character_of_a_film_that_is_too_long_is_refused(tmp_path):
    put(tmp_path, "characters/mara.mp4", mp4(seconds=9))
    declarations = load(tmp_path, CAST, made=(), mara=MARA.replace("https://example.com/", "characters/"))
    assert any("mara.yaml:2: video: " in found and "4" in found for found in problems(declarations))
