"""No series, however wrong or hostile, becomes a request that its page does not allow, hangs, or reads outside `data/`.

The sandbox's own table says what a page allows; it was written from the pages, independently of the catalogue.
"""

import json
import math
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.catalogue import Catalogue
from resources.declared.problems import ProblemsError
from resources.file_references import FileReference
from resources.orders import Choice, ClipRequest
from resources.sandbox.endpoints import load_endpoints
from resources.series import Declarations, load_series
from resources.series.characters import Made
from resources.series.dates import SAMPLE_DATE

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
PAGES = load_endpoints()
SECRET = "hunter2-hunter2"
LONGEST = 6.0
"""Seconds that one file may take; a series that takes more than five to render is refused."""

_watched: threading.local = threading.local()


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and getattr(_watched, "opened", None) is not None and isinstance(args[0], str | bytes):
        _watched.opened.append(Path(args[0].decode() if isinstance(args[0], bytes) else args[0]))


sys.addaudithook(_hook)


@contextmanager
def opened_files() -> Iterator[list[Path]]:
    """Every file that this thread opens."""
    _watched.opened = []
    try:
        yield _watched.opened
    finally:
        _watched.opened = None


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with secrets beside the data folder, and links that lead to them."""
    root = tmp_path_factory.mktemp("house")
    (root / ".env").write_text(f"WAVESPEED_API_KEY={SECRET}")
    (root / "outside.png").write_bytes(b"\x89PNG\r\n\x1a\n" + SECRET.encode())
    data = root / "data"
    for folder in ("series", "images", "prompts", "characters"):
        (data / folder).mkdir(parents=True)
    (data / "images" / "link.png").symlink_to(root / "outside.png")
    (data / "images" / "folder").symlink_to(root)
    (data / "prompts" / "link.yaml").symlink_to(root / ".env")
    (data / "prompts" / "style.yaml").write_text(
        "variables: {grain: fine}\nprompt: {avoid: [signs, '{{ grain }}']}\n"
    )
    (data / "characters" / "mara.yaml").write_text(
        "name: mara\nvideo: https://example.com/mara.mp4\nallow_retired: true\n"
    )
    return data


def load(data: Path, text: str) -> Declarations:
    (data / "series" / "a.yaml").write_text(text)
    mara = Made("char_mara", "")
    declarations = load_series(data, CATALOGUE, made=lambda: {"mara": mara})
    known = declarations.characters.found["mara"].request.fingerprint
    declarations.made = lambda: {"mara": Made("char_mara", known)}
    return declarations


def check(data: Path, text: str) -> list[ClipRequest]:
    """Load a file as the product does, compare every possible purchase with the pages, and return the purchases."""
    started = time.process_time()
    with opened_files() as opened:
        declarations = load(data, text)
        requests = []
        for series in declarations.series.values():
            for clip in series.samples()[:50]:
                try:
                    requests.append(declarations.render(clip))
                except ProblemsError:
                    continue
    assert time.process_time() - started < LONGEST
    root = data.parent
    outside = [path for path in opened if path.is_absolute() and path.resolve().is_relative_to(root)]
    assert all(path.resolve().is_relative_to(data) for path in outside), outside
    assert not [
        path for path in opened if str(path).startswith(("/etc/passwd", "/proc/self/environ", "/dev/"))
    ]
    for request in requests:
        for way in (request, *request.fallbacks):
            allowed_by_the_page(way)
    said = "\n".join([*map(str, declarations.problems), *(r.model_dump_json() for r in requests)])
    assert SECRET not in said
    return requests


def allowed_by_the_page(way: ClipRequest | Choice) -> None:
    page = PAGES[way.provider][way.endpoint]
    body = FileReference.replaced(way.body, lambda _file: "https://example.com/file.png")
    assert not [
        reference for reference in FileReference.of(way.body) if reference.path.startswith(("/", ".."))
    ]
    assert body.keys() <= page.parameters.keys()
    read = page.read(body)
    # every parameter is explicit: the page's defaults, which cost money, decide nothing
    assert {name for name, value in read.items() if value is not None} <= body.keys()
    assert body["prompt"].strip()
    json.dumps(way.model_dump(mode="json"), allow_nan=False)


FILES = [
    "../../.env", "../.env", "../outside.png", "images/../../outside.png", "images/link.png", "images/folder/outside.png",
    "/etc/passwd", "file:///etc/passwd", "~/.ssh/id_rsa", "/proc/self/environ", "/dev/zero", "images/", ".", "",
    "https://example.com/a.png", "http://169.254.169.254/latest", "ftp://x/y", "\\\\host\\share", "images/\u202egnp.exe",
    "file:images/a.png#sha256=" + "0" * 64,
]  # fmt: skip
HOSTILE: list[object] = [
    None, True, False, -1, 0, 4, 5, 8, 12, 99, 10**17, 0.5, 1e300, "4", "720p", "1080p", "480p", "720*1280", "720x1280",
    "16:9", "9:16", "bytedance", "auto", "char_x", "{{ x }}", "{{ 9**9**9 }}", "{% for a in b %}", "x" * 3000, [], ["char_x"],
    [["a"]], {"a": {"b": {}}}, "\ud7ff", "on", "~", "!!python/object:os.system", "*a", "&a", *FILES,
]  # fmt: skip
NAMES = sorted(
    {name for endpoint in CATALOGUE for name in endpoint.parameters}
    | {
        "image",
        "characters",
        "seed",
        "resolution",
        "aspect_ratio",
        "duration",
        "provider",
        "webhook",
        "__proto__",
    }
)
VALUE = st.sampled_from(HOSTILE) | st.integers() | st.text(max_size=20)
GOOD: dict[str, Any] = {"duration": 4, "resolution": "720p", "aspect_ratio": "9:16"}
PARAMETERS = st.one_of(
    st.just(GOOD),
    st.dictionaries(st.sampled_from(NAMES), VALUE, max_size=4),
    st.dictionaries(st.sampled_from(NAMES), VALUE, max_size=2).map(lambda more: {**GOOD, **more}),
)
ENDPOINT = st.sampled_from([endpoint.id for endpoint in CATALOGUE] * 3 + ["", "x", "../x", "openai/sora-3"])
PROMPT = st.sampled_from(
    ["A hill.", "{{ grain }}", {"subject": "A hill."}, {"scene": ["a", "{{ x }}"]}, *HOSTILE]
)
VARIABLES = st.dictionaries(
    st.sampled_from(["x", "grain", "date", "self", "X", "__class__"]), VALUE, max_size=3
)
FALLBACK = st.lists(
    st.fixed_dictionaries({"endpoint": ENDPOINT}, optional={"parameters": PARAMETERS, "provider": VALUE}),
    max_size=2,
)
CAST = st.sampled_from([["mara"], [], ["nobody"], ["mara", "mara"], ["../../.env"], "mara", None])
SERIES = st.fixed_dictionaries(
    {"name": st.just("a"), "endpoint": ENDPOINT, "allow_retired": st.just(True)},
    optional={
        "parameters": PARAMETERS,
        "prompt": PROMPT,
        "variables": VARIABLES,
        "include": st.sampled_from([["style"], ["link"], ["../../.env"], [], ["style", "style"]]),
        "fallback": FALLBACK,
        "cast": CAST,
        "provider": st.sampled_from(["wavespeed", "aimlapi", "", 1]),
        "clips": st.just([{"name": "one"}])
        | st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["one", "two", "", "../x", "2026-11-20"])},
                optional={"parameters": PARAMETERS, "prompt": PROMPT, "variables": VARIABLES, "cast": CAST},
            ),
            max_size=3,
        ),
        "matrix": st.dictionaries(st.sampled_from(["x", "grain"]), st.lists(VALUE, max_size=4), max_size=2),
        "dates": st.dictionaries(st.sampled_from(["friday", "12-24", "02-30", "x"]), VARIABLES, max_size=2),
        "dated": st.booleans(),
        "max_attempts": VALUE,
        "budget": st.dictionaries(st.sampled_from(["per_run", "total", "x"]), VALUE, max_size=2),
        "checks": st.dictionaries(st.sampled_from(["size", "model", "x"]), VALUE, max_size=2),
    },
)


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(series=SERIES)
def test_no_series_becomes_a_request_its_page_does_not_allow(house, series):
    check(house, json.dumps(series))


USUAL = st.fixed_dictionaries(
    {
        "name": st.just("a"),
        "endpoint": st.sampled_from([e.id for e in CATALOGUE if e.makes_video]),
        "allow_retired": st.just(True),
        "prompt": st.sampled_from(["A hill.", {"subject": "A hill."}]),
        "clips": st.just([{"name": "one"}]),
        "parameters": st.dictionaries(
            st.sampled_from(NAMES),
            st.sampled_from([4, 5, 8, 10, "720p", "16:9", "9:16", "720*1280", "1280*720", "https://example.com/a.png", True]),
            max_size=3,
        ),
    }
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=examples(100))
@given(series=USUAL)
def test_an_almost_valid_series_becomes_only_requests_its_page_allows(house, series):
    check(house, json.dumps(series))


def test_the_check_itself_notices_requests_files_and_secrets(house):
    right = {
        "name": "a",
        "endpoint": "openai/sora-2/text-to-video",
        "allow_retired": True,
        "prompt": "x",
        "clips": [{"name": "b"}],
    }
    (request,) = check(
        house,
        json.dumps(
            {
                **right,
                "cast": ["mara"],
                "fallback": [{"endpoint": "openai/sora-2/text-to-video", "parameters": {"duration": 8}}],
            }
        ),
    )
    assert request.body["characters"] == ["char_mara"]
    assert len(request.fallbacks) == 1
    with opened_files() as opened:
        (house.parent / ".env").read_text()
    assert opened == [house.parent / ".env"]


HEAD = "name: a\nendpoint: openai/sora-2/text-to-video\nallow_retired: true\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        HEAD + "prompt: &a [x, x]\nclips: [*a, *a]\n",
        "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: &d [*c, *c, *c]\n",
        HEAD + "prompt: " + "[" * 100_000,
        HEAD + "prompt: x\nmatrix: {" + ", ".join(f"v{n}: {list(range(100))}" for n in range(3)) + "}\n",
        HEAD + "prompt: x\nmatrix: {" + ", ".join(f"v{n}: [1, 2]" for n in range(100)) + "}\n",
        HEAD + "prompt: '" + "{{ x|replace('a', 'aaaaaaaaaa') }}" * 200 + "'\nvariables: {x: " + "a" * 2000 + "}\nclips: [{name: b}]\n",
        HEAD + "prompt: '{{ " + 'x|replace("a", "aaaa")' + '|replace("a", "aaaa")' * 20 + " }}'\nvariables: {x: " + "a" * 2000 + "}\nclips: [{name: b}]\n",
        HEAD + "prompt: '{% if " + "not " * 400 + "x %}a{% endif %}'\nvariables: {x: 1}\nclips: [{name: b}]\n",
        HEAD + "prompt: '{{ range(999999999)|list }}'\nclips: [{name: b}]\n",
        HEAD + "prompt: '{{ \"a\" * 9999999999 }}'\nclips: [{name: b}]\n",
        HEAD + "prompt: '{% for a in b recursive %}{{ loop(a) }}{% endfor %}'\nclips: [{name: b}]\n",
        HEAD + "prompt: {" + ", ".join(f"f{n}: x" for n in range(9000)) + "}\nclips: [{name: b}]\n",
        HEAD + "prompt: {avoid: [" + ", ".join("'{{ x }}'" for _ in range(50)) + "]}\nvariables: {x: " + "a" * 2000 + "}\nclips: [{name: b}]\n",
        HEAD + "prompt: x\nclips: [" + ", ".join(f"{{name: c{n}, prompt: '{{{{ x }}}}{n}'}}" for n in range(5000)) + "]\n",
        HEAD + "prompt: x\nclips: [" + ", ".join(f"{{name: c{n}, parameters: {{image: ../../.env}}}}" for n in range(1500)) + "]\n",
        "\ufeff" + HEAD + 'prompt: "\\uD800"\nclips: [{name: b}]\n',
        HEAD + "prompt: x\nfallback: [" + ", ".join("{endpoint: openai/sora-2-pro/text-to-video}" for _ in range(5000)) + "]\nclips: [{name: b}]\n",
    ],
)  # fmt: skip
def test_a_bomb_is_refused_and_takes_no_time(house, text):
    assert check(house, text) == []


@pytest.mark.slow
def test_thousands_of_clips_with_hundreds_of_dates_take_no_time_either(house):
    clips = ", ".join(f"{{name: c{n}}}" for n in range(2000))
    dates = ", ".join(f"20{y:02}-{m:02}-01: {{x: a}}" for y in range(27, 57) for m in range(1, 13))
    assert len(check(house, f"{HEAD}prompt: x\ndated: true\nclips: [{clips}]\ndates: {{{dates}}}\n")) == 50


@pytest.mark.parametrize("file", FILES)
def test_no_file_outside_the_data_folder_is_ever_read(house, file):
    text = (
        "name: a\nendpoint: openai/sora-2/image-to-video\nallow_retired: true\nprompt: x\nclips: [{name: b}]\n"
        f"parameters: {{image: {json.dumps(file)}}}\n"
    )
    requests = check(house, text)
    assert all(request.body["image"].startswith(("https://", "http://")) for request in requests)


def test_the_longest_possible_prompt_is_still_bounded(house):
    text = (
        HEAD
        + "prompt: {scene: ['{{ x }}{{ x }}', '{{ x }}']}\nvariables: {x: "
        + "a" * 2000
        + "}\nclips: [{name: b}]\n"
    )
    (request,) = check(house, text)
    assert len(request.prompt) == math.fsum([6000, len("Scene: "), len(", ")])
    assert SAMPLE_DATE.isoformat() not in request.prompt


@pytest.mark.parametrize(
    "escape", [r"\x1b[2J", r"\ud800", r"\x00", r"\x9b", r"\u202e", r"\uffff", r"\N{NULL}"]
)
def test_an_escape_in_a_template_does_not_evade_the_rule_for_files(house, escape):
    """This holds wherever the escape is written, and also if only one date's variable chooses it."""
    hostile = (
        f"{{{{ '{escape}' }}}} a hill",
        f"{{{{ x|default('{escape}') }}}}",
        f"{{% if x is defined %}}{{{{ '{escape}' }}}}{{% endif %}} x",
    )
    for template in hostile:
        for prompt in (template, {"subject": "a hill", "scene": ["x", template]}):
            found = load(house, HEAD + f"prompt: {json.dumps(prompt)}\nclips: [{{name: one}}]\n").problems
            said = [str(problem) for problem in found if "contains the control character" in str(problem)]
            assert len(said) == 1, found
            assert "a.yaml:4: prompt" in said[0]
            assert said[0].isprintable()


def test_the_error_of_a_prompt_with_forbidden_characters_names_series_clip_file_and_field(house):
    declarations = load(house, HEAD + "prompt: 'a {{ x }}'\nvariables: {x: b}\nclips: [{name: one}]\n")
    series = declarations.series["a"]
    (clip,) = series.clips()
    spoiled = {**series.variables(clip), "x": "\x1b[2J"}
    with pytest.raises(ProblemsError) as refused:
        series._entries["one"].prompt.render(spoiled, "one")
    said = str(refused.value)
    assert "a.yaml:4: prompt" in said
    assert "(clip one of the series a)" in said
    assert said.isprintable()
