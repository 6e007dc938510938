"""Changes at a provider; and a new model, which needs an entry and no code."""

import re
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from resources.catalogue import Catalogue, Endpoint
from resources.catalogue.drafts import draft, file_name
from resources.catalogue.drift import drifts, sample_body
from resources.catalogue.endpoint import Lifecycle
from resources.errors import ConfigurationError
from resources.money import show_usd
from resources.providers.live_models import LiveModel, LiveParameter
from resources.providers.wavespeed.models import wavespeed_model
from resources.sandbox.endpoints import load_endpoints
from resources.sandbox.fronts.wavespeed.front import _model

CATALOGUE = Catalogue.load(Path(__file__).parents[2] / "data" / "models")
SORA, SEEDANCE = "openai/sora-2/text-to-video", "bytedance/seedance-2.0/text-to-video"
TODAY = date(2026, 11, 20)


def listed() -> dict[str, LiveModel]:
    """The models that the sandbox lists, as the client reads them."""
    rows = [
        wavespeed_model(_model(name, endpoint)) for name, endpoint in load_endpoints()["wavespeed"].items()
    ]
    return {model.id: model for model in rows if model is not None}


def compared(
    endpoint: Endpoint, model: LiveModel | None, quote: int | None = None, today: date = TODAY
) -> list[str]:
    found = drifts(endpoint, [model] if model else [], quote=quote, today=today)
    return [f"{drift.field}: {drift.ours} | {drift.theirs}" for drift in found if drift.matters]


@pytest.mark.parametrize("endpoint", [e for e in CATALOGUE if e.provider == "wavespeed"], ids=lambda e: e.id)
def test_nothing_drifts_while_the_provider_lists_what_its_page_shows(endpoint):
    assert compared(endpoint, listed()[endpoint.id]) == []


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        (
            "size",
            {"allowed": ("1280*720",)},
            "parameters.size: allowed: '720*1280', '1280*720' | allowed: '1280*720'",
        ),
        ("size", {"default": "1280*720"}, "parameters.size: default '720*1280' | default '1280*720'"),
        ("duration", {"type": "string"}, "parameters.duration: integer | string"),
        (
            "duration",
            {"allowed": ("4", "8")},
            "parameters.duration: allowed: 4, 8, 12, 16, 20 | allowed: '4', '8'",
        ),
        ("duration", {"allowed": (), "minimum": 4, "maximum": 15}, "| allowed: from 4 to 15"),
        ("characters", {"required": True}, "parameters.characters: optional | required"),
        ("characters", {"max_items": 2}, "at most any number of items | at most 2 items"),
    ],
)
def test_a_parameter_that_changed_is_shown_with_both_sides(name, change, says):
    model = listed()[SORA]
    assert model.parameters is not None
    model.parameters[name] = replace(model.parameters[name], **change)
    (found,) = compared(CATALOGUE.get(SORA), model)
    assert says in found


def test_a_removed_and_an_added_parameter_are_shown():
    model = listed()[SORA]
    assert model.parameters is not None
    del model.parameters["characters"]
    model.parameters["seed"] = LiveParameter("integer", default=0)
    model.parameters["style"] = LiveParameter("string", required=True)
    assert compared(CATALOGUE.get(SORA), model) == [
        "parameters.characters: is sent | is not there, and would be dropped",
        "parameters.style: is not known | string",
    ]
    found = drifts(CATALOGUE.get(SORA), [model], quote=None, today=TODAY)
    assert "integer, 0 unless it is sent" in {drift.theirs for drift in found if not drift.matters}


def test_a_removed_endpoint_matters_only_while_its_entry_is_live():
    assert compared(CATALOGUE.get(SEEDANCE), None) == ["lifecycle: live | not listed any more"]
    assert compared(CATALOGUE.get(SORA), None) == []
    (still,) = drifts(CATALOGUE.get(SORA), [listed()[SORA]], quote=None, today=TODAY)
    assert (still.theirs, still.matters) == ("still listed", False)


def test_a_price_that_changed_matters_and_one_below_a_bound_does_not():
    assert compared(CATALOGUE.get(SEEDANCE), listed()[SEEDANCE], quote=1_200_000) == []
    assert compared(CATALOGUE.get(SEEDANCE), listed()[SEEDANCE], quote=1_500_000) == [
        "price of a default request: $1.20 | $1.50"
    ]
    bound = CATALOGUE.get("openai/sora-2-t2v")
    live = LiveModel("sora-2-t2v", aliases=("openai/sora-2-t2v",))
    assert compared(bound, live, quote=300_000) == []
    assert compared(bound, live, quote=500_000) == ["price of a default request: $0.40 | $0.50"]
    # no quote was given, so no price has changed
    assert (
        compared(CATALOGUE.get("bytedance/seedance-2-0"), LiveModel("bytedance/seedance-2-0"), quote=9) == []
    )


@pytest.mark.parametrize("endpoint", list(CATALOGUE), ids=lambda e: e.id)
def test_a_default_request_can_be_made_of_every_endpoint(endpoint):
    body = sample_body(endpoint)
    assert all(endpoint.parameters[name].problem(value) is None for name, value in body.items())


# Drafts


def taken(folder: Path, text: str) -> Endpoint:
    (folder / "new.yaml").write_text(text)
    catalogue = Catalogue.load(folder)
    assert catalogue.problems == []
    (endpoint,) = catalogue
    return endpoint


@pytest.mark.parametrize("name", sorted(load_endpoints()["wavespeed"]))
def test_a_drafted_entry_has_the_listed_parameters(tmp_path, name):
    drafted = taken(tmp_path, draft("wavespeed", listed()[name], today=TODAY))
    by_hand = CATALOGUE.get(name)
    assert (drafted.id, drafted.kind, set(drafted.parameters)) == (
        name,
        by_hand.kind,
        set(by_hand.parameters),
    )
    for word, parameter in by_hand.parameters.items():
        live = drafted.parameters[word]
        assert (live.type, live.required, live.default) == (
            parameter.type,
            parameter.required,
            parameter.default,
        )
    # its price waits for a person, and until then for a quote
    assert drafted.price(sample_body(drafted)) is None
    assert drafted.output.size == by_hand.output.size


def test_a_new_model_accepts_the_common_parameters_at_once(tmp_path):
    parameters = {
        "prompt": LiveParameter("string", required=True),
        "image": LiveParameter("string", required=True),
        "size": LiveParameter("string", default="1280*720", allowed=("1280*720", "720*1280")),
        "duration": LiveParameter("integer", default=5, minimum=3, maximum=10),
        "seed": LiveParameter("integer", default=-1),
    }
    model = LiveModel("maker/new-model/image-to-video", kind="image-to-video", parameters=parameters)
    endpoint = taken(tmp_path, draft("wavespeed", model, today=TODAY))
    said = {"aspect_ratio": "9:16", "duration": 4, "image": "https://example.com/a.png"}
    assert endpoint.resolve("x", said) == {
        "prompt": "x",
        "image": "https://example.com/a.png",
        "size": "720*1280",
        "duration": 4,
        "seed": -1,
    }


def test_a_list_without_parameters_makes_a_drafted_entry_with_a_doubt(tmp_path):
    model = LiveModel("maker/new-model", kind="video")
    endpoint = taken(tmp_path, draft("aimlapi", model, today=TODAY))
    assert list(endpoint.parameters) == ["prompt"]
    assert any("does not describe parameters" in doubt for doubt in endpoint.doubts)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (LiveModel("maker/m", kind="text-to-image"), "makes no video (text-to-image)"),
        (LiveModel("maker/m"), "no kind is given"),
        (LiveModel("../../etc", kind="text-to-video"), "cannot be the id of an entry"),
        (LiveModel("a b", kind="text-to-video"), "cannot be the id of an entry"),
        (
            LiveModel("maker/m", kind="text-to-video", parameters={"a: b": LiveParameter("string")}),
            "cannot be declared",
        ),
        (
            LiveModel("maker/m", kind="text-to-video", parameters={"x": LiveParameter("object")}),
            "cannot be drafted",
        ),
    ],
)
def test_models_that_cannot_be_an_entry_are_refused(model, says):
    with pytest.raises(ConfigurationError) as refused:
        draft("wavespeed", model, today=TODAY)
    assert says in str(refused.value)


TEXT = st.text(max_size=40)


@given(
    title=TEXT,
    name=st.one_of(TEXT, st.sampled_from(["prompt", "size", "image_url", "on", "null"])),
    default=st.none() | TEXT | st.integers() | st.booleans(),
    allowed=st.lists(TEXT | st.integers(-9, 9), max_size=3),
    description=TEXT,
)
@example(
    title="",
    name="style",
    default="\x85",
    allowed=["\x85", "\u2028", "\u2029 \U0001f600", "\ufeff"],
    description="",
)
def test_whatever_a_provider_lists_becomes_a_valid_entry_or_a_refusal(
    tmp_path_factory, title, name, default, allowed, description
):
    parameter = LiveParameter("string", default=default, allowed=tuple(allowed), description=description)
    model = LiveModel(
        "maker/m", kind="text-to-video", title=title, base_price=Decimal("0.6"), parameters={name: parameter}
    )
    try:
        text = draft("wavespeed", model, today=TODAY)
    except ConfigurationError:
        return
    endpoint = taken(tmp_path_factory.mktemp("drafts"), text)
    assert list(endpoint.parameters) == [name]
    assert endpoint.parameters[name].allowed == (allowed or None)


def test_a_drafts_file_name_stays_in_its_folder():
    assert file_name("wavespeed", "Maker/../Model 2.0/t2v") == "wavespeed-maker-..-model-2.0-t2v.yaml"


def test_the_entry_in_the_docs_is_valid(tmp_path):
    docs = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    (entry,) = re.findall(r"```yaml\n(# yaml-language-server.*?)```", docs, re.DOTALL)
    endpoint = taken(tmp_path, entry)
    body = endpoint.resolve("x", {"duration": 5, "aspect_ratio": "9:16"})
    assert show_usd(endpoint.price(body)) == "$0.80"
    assert endpoint.price(endpoint.resolve("x", {"resolution": "1080p"})) is None


# Lifecycle


@pytest.mark.parametrize(
    ("lifecycle", "says"),
    [
        ({"status": "live"}, None),
        ({"status": "live", "sunset_at": "2027-06-01"}, None),
        ({"status": "live", "sunset_at": "2026-12-01"}, "ends on 2026-12-01, in 11 days"),
        ({"status": "live", "sunset_at": "2026-11-21", "replacement": "a/b"}, "in 1 day; use 'a/b'"),
        ({"status": "live", "sunset_at": "2026-11-20"}, "is retired by its provider since 2026-11-20"),
        ({"status": "retired", "replacement": "a/b"}, "is retired by its provider; use 'a/b'"),
    ],
)
def test_an_endpoint_warns_of_its_end(lifecycle, says):
    warning = Lifecycle(**lifecycle).warning(TODAY)
    assert (warning is None) if says is None else (says in (warning or ""))


@pytest.mark.parametrize(("today", "coming_sunset"), [(date(2026, 9, 23), True), (date(2026, 9, 24), False)])
def test_a_sunset_is_in_the_future_until_its_day(today, coming_sunset):
    lifecycle = Lifecycle.model_validate({"status": "live", "sunset_at": "2026-09-24"})
    assert (lifecycle.coming_sunset(today) is not None) is coming_sunset
    assert Lifecycle(status="live").coming_sunset(today) is None
