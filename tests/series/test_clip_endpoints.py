"""A clip may name its own endpoint, account or fallbacks: one series covers a mixed day."""

from pathlib import Path

import pytest

from resources.catalogue import Catalogue
from resources.declared.problems import ProblemsError
from resources.money import usd
from resources.series import Declarations, load_series

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
TEAM = "name: team-b\nprovider: wavespeed\nkey: TEAM_B_KEY\n"
SEEDANCE, SORA, SORA_AT_AIMLAPI = (
    "bytedance/seedance-2.0/text-to-video",
    "openai/sora-2/text-to-video",
    "openai/sora-2-t2v",
)
DAY = f"""\
name: day
endpoint: {SEEDANCE}
allow_retired: true
prompt: "{{{{ clip }}}}"
parameters: {{duration: 4}}
fallback:
  - endpoint: {SORA_AT_AIMLAPI}
clips:
  - name: plain
  - name: fine
    endpoint: {SORA}
    parameters: {{duration: 8}}
  - name: alone
    endpoint: {SORA_AT_AIMLAPI}
    fallback: []
  - name: safe
    fallback:
      - endpoint: {SORA}
"""


def load(folder: Path, text: str) -> Declarations:
    for name, file, content in (("series", "day", text), ("accounts", "team-b", TEAM)):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / f"{file}.yaml").write_text(content)
    return load_series(folder, CATALOGUE)


def rendered(folder: Path, text: str) -> dict[str, list[tuple[str, str, int | None]]]:
    """By clip: its endpoint, then its fallbacks, each with account, endpoint and price."""
    found = load(folder, text)
    assert found.problems == []
    requests = map(found.render, found.series["day"].clips())
    return {
        request.clip: [
            (one.account_name, one.endpoint, one.price_micros) for one in (request, *request.fallbacks)
        ]
        for request in requests
    }


def test_each_clip_has_the_endpoint_price_and_fallbacks_that_it_names(tmp_path):
    seedance, aimlapi = usd("0.96"), rendered(tmp_path, DAY)["day-alone"][0][2]
    assert rendered(tmp_path, DAY) == {
        "day-plain": [("wavespeed", SEEDANCE, seedance), ("aimlapi", SORA_AT_AIMLAPI, aimlapi)],
        "day-fine": [("wavespeed", SORA, usd("0.80")), ("aimlapi", SORA_AT_AIMLAPI, 2 * (aimlapi or 0))],
        "day-alone": [("aimlapi", SORA_AT_AIMLAPI, aimlapi)],
        "day-safe": [("wavespeed", SEEDANCE, seedance), ("wavespeed", SORA, usd("0.40"))],
    }


def test_a_clip_without_its_own_endpoint_keeps_its_fingerprints(tmp_path):
    mixed = load(tmp_path, DAY)
    plain = mixed.render(mixed.find("day-plain"))
    before = load(tmp_path, DAY.split("  - name: fine", maxsplit=1)[0])
    assert before.problems == []
    was = before.render(before.find("day-plain"))
    assert was == plain
    assert (was.fingerprint, was.order_fingerprint) == (plain.fingerprint, plain.order_fingerprint)
    # the values from before clips could name an endpoint: others would buy every delivered clip again
    assert was.fingerprint == "5239b4d95095f0c06894a12a76a4c5dfc97172fb411540ecdbfea654d5caaab7"
    assert was.order_fingerprint == "4d53cae3159955c4a89409e04f367925ea594f24446bb4dca71315f3e5437f10"


def test_a_series_account_holds_for_a_clip_of_the_same_provider_and_a_clip_may_name_its_own(tmp_path):
    text = DAY.replace(f"endpoint: {SEEDANCE}\n", f"endpoint: {SEEDANCE}\naccount: team-b\n", 1)
    text = text.replace("  - name: plain\n", "  - name: plain\n    account: wavespeed\n")
    found = {key: ways[0][0] for key, ways in rendered(tmp_path, text).items()}
    assert found == {
        "day-plain": "wavespeed",
        "day-fine": "team-b",
        "day-alone": "aimlapi",
        "day-safe": "team-b",
    }


@pytest.mark.parametrize(
    ("wrong", "right", "says"),
    [
        (f"endpoint: {SORA}\n    p", "endpoint: openai/sora-3\n    p", "day.yaml:11: clips[1].endpoint: found 'openai/sora-3'"),
        (f"endpoint: {SORA}\n    p", "endpoint: openai/sora-2/characters\n    p", "day.yaml:11: clips[1].endpoint: found 'openai/sora-2/characters' - turns "),
        ("{duration: 8}", "{duration: 5}", "day.yaml:12: clips[1].parameters.duration: found 5, allowed: 4, 8, 12"),
        ("parameters: {duration: 4}", "parameters: {duration: 4, seed: 7}", "day.yaml:5: parameters.seed: "),
        ("    fallback: []\n", "", "day.yaml:7: fallback[0].endpoint: found 'openai/sora-2-t2v' - is what the clip in line 13 is bought from itself; give that clip its own `fallback`, or `fallback: []`"),
        (f"      - endpoint: {SORA}\n", f"      - endpoint: {SEEDANCE}\n", f"day.yaml:18: clips[3].fallback[0].endpoint: found '{SEEDANCE}' - repeats a request"),
        ("  - name: plain\n", "  - name: plain\n    account: team-c\n", "day.yaml:10: clips[0].account: found 'team-c', allowed: 'wavespeed', 'team-b' - is not declared in data/accounts"),
        ("    fallback: []\n", "    fallback: []\n    account: team-b\n", "day.yaml:16: clips[2].account: found 'team-b', allowed: 'aimlapi' - is an account at wavespeed, not at aimlapi"),
        ("  - name: plain\n", "  - name: plain\n    provider: aimlapi\n", "day.yaml:10: clips[0].provider: found 'aimlapi'"),
        ("allow_retired: true\n", "", "day.yaml:6: fallback[0].endpoint: found 'openai/sora-2-t2v' - is retired"),
    ],
)  # fmt: skip
def test_a_mistake_of_a_clip_names_its_place_and_excludes_the_series(tmp_path, wrong, right, says):
    assert DAY.count(wrong) == 1
    declarations = load(tmp_path, DAY.replace(wrong, right))
    assert [found for found in map(str, declarations.problems) if says in found], declarations.problems
    assert declarations.series == {}


def test_an_endpoint_that_retires_stops_only_the_clips_that_use_it(tmp_path):
    """Declarations live as long as a run, and an endpoint may retire meanwhile."""
    text = DAY.replace("  - name: plain\n", "  - name: own\n    fallback: []\n")
    declarations = load(tmp_path, text.replace("fallback:\n  - endpoint: openai/sora-2-t2v\n", "", 1))
    series = declarations.series["day"]
    series.declaration = series.declaration.model_copy(update={"allow_retired": False})
    assert declarations.render(declarations.find("day-own")).endpoint == SEEDANCE
    for key in ("day-fine", "day-safe"):
        with pytest.raises(ProblemsError, match=r"found 'openai/sora-2/text-to-video' - is retired"):
            declarations.render(declarations.find(key))
