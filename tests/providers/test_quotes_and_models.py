"""Providers' prices and models, and files uploaded to them; all of it free."""

import json
from decimal import Decimal
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import ConfigurationError, UnavailableError
from resources.file_references import FileReference
from resources.providers.aimlapi.client import AimlApi
from resources.providers.aimlapi.models import aimlapi_model, aimlapi_price
from resources.providers.base import FailureKind, Uploaded, UploadFailed
from resources.providers.live_models import LiveParameter
from resources.providers.spec import Connection
from resources.providers.upload_tickets import Ticket
from resources.providers.wavespeed.client import PLACEHOLDER, WaveSpeed
from resources.providers.wavespeed.models import wavespeed_model
from resources.sandbox import RunningSandbox, SandboxSettings, running_sandbox

SEEDANCE, AIML_SEEDANCE = "bytedance/seedance-2.0/text-to-video", "bytedance/seedance-2-0"
BODY = {"prompt": "a hill", "resolution": "720p", "duration": 5}


def wavespeed(answer: Any, status: int = 200, seen: list[httpx.Request] | None = None) -> WaveSpeed:
    def handle(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        return httpx.Response(status, json=answer)

    return WaveSpeed(
        Connection(
            "wavespeed",
            "https://api.example.com",
            "key-of-the-account",
            transport=httpx.MockTransport(handle),
        )
    )


def aimlapi(answer: Any, status: int = 200) -> AimlApi:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, json=answer))
    return AimlApi(
        Connection("aimlapi", "https://api.example.com", "key-of-the-account", transport=transport)
    )


def price(**data: Any) -> dict[str, Any]:
    return {"code": 200, "data": {"model_id": SEEDANCE, "price": 1.2, "currency": "USD", **data}}


@pytest.mark.parametrize(
    ("answer", "micros"),
    [
        (price(), 1_200_000),
        (price(discounted_price=0.9, discount_rate=75), 1_200_000),
        (price(price="0.001"), 1_000),
        (price(price=0), None),
        (price(price=None), None),
        (price(currency="EUR"), None),
        (price(model_id="another/model"), None),
        ({"code": 200, "data": None}, None),
        ({"code": 404, "message": "model not found"}, None),
    ],
)
async def test_a_wavespeed_quote_is_never_too_low(answer: Any, micros: int | None) -> None:
    assert await wavespeed(answer).quote(SEEDANCE, BODY) == micros


async def test_a_quote_sends_the_whole_request_without_local_files() -> None:
    seen: list[httpx.Request] = []
    body = {**BODY, "image": str(FileReference("images/secret-plan.png", "0" * 64))}
    await wavespeed(price(), seen=seen).quote(SEEDANCE, body)
    assert json.loads(seen[0].content) == {"model_id": SEEDANCE, "inputs": {**BODY, "image": PLACEHOLDER}}


async def test_a_refused_key_and_an_outage_are_different_errors() -> None:
    for client in (
        wavespeed({"code": 401, "message": "Invalid API key"}, 401),
        aimlapi({"message": "no"}, 401),
    ):
        with pytest.raises(ConfigurationError, match="refuses the API key"):
            await client.quote("a/b", BODY)
    for client in (wavespeed({"error": "down"}, 503), aimlapi({"message": "down"}, 503)):
        with pytest.raises(UnavailableError):
            await client.models()


@pytest.mark.parametrize(
    ("pricing", "micros"),
    [
        ({"kind": "fixed", "units": [{"price": 0.1, "unit": "second", "per": 1}]}, 500_000),
        ({"kind": "fixed", "units": [{"price": 0.5, "unit": "second", "per": 5}]}, 500_000),
        ({"kind": "fixed", "units": [{"price": 0.7, "unit": "video", "per": 1}]}, 700_000),
        ({"kind": "fixed", "units": [{"price": 2, "unit": "credits", "per": 1}]}, None),
        ({"kind": "fixed", "units": [{"price": 1, "unit": "second", "per": 0}]}, None),
        ({"kind": "fixed", "units": []}, None),
        (
            {
                "kind": "variants",
                "variants": [
                    {"when": {"resolution": "480p"}, "price": 0.1, "unit": "second", "per": 1},
                    {"when": {"resolution": "720p"}, "price": 0.3, "unit": "second", "per": 1},
                ],
            },
            1_500_000,
        ),
        ({"variants": [{"when": {"resolution": "4k"}, "price": 1, "unit": "second", "per": 1}]}, None),
        (
            {
                "variants": [
                    {"when": {}, "price": 1, "unit": "second"},
                    {"when": {"resolution": "720p", "duration": 5}, "price": 2, "unit": "generation"},
                ]
            },
            2_000_000,
        ),
        ({"variants": [{"when": {}, "price": 1, "unit": "s"}, {"when": {}, "price": 2, "unit": "s"}]}, None),
        (None, None),
        ("cheap", None),
    ],
)
def test_aimlapi_prices_are_read_with_their_unit_and_per(pricing: Any, micros: int | None) -> None:
    assert aimlapi_price(pricing, BODY) == micros


async def test_aimlapi_quotes_a_model_by_its_alias_too() -> None:
    entry = {
        "id": "other",
        "aliases": [AIML_SEEDANCE],
        "pricing": {"units": [{"price": 0.2, "unit": "second"}]},
    }
    assert await aimlapi({"data": [entry]}).quote(AIML_SEEDANCE, BODY) == 1_000_000
    assert await aimlapi({"data": []}).quote(AIML_SEEDANCE, BODY) is None


async def test_the_schema_of_a_model_is_read_in_its_order() -> None:
    schema = {
        "properties": {
            "size": {"type": "string", "enum": ["1280*720"], "default": "1280*720"},
            "prompt": {"type": "string", "description": "What to see"},
            "duration": {"type": "number", "minimum": 4, "maximum": 15.0},
            "images": {"type": "array", "items": {"type": "string"}, "maxItems": 4},
        },
        "required": ["prompt"],
        "x-order-properties": ["prompt", "size", "gone"],
    }
    row = {"model_id": "a/b", "base_price": 0.6, "type": "text-to-video"}
    row["api_schema"] = {"api_schemas": [{"type": "other"}, {"type": "model_run", "request_schema": schema}]}
    (model,) = await wavespeed({"code": 200, "data": [row, {"name": "no id"}, 5]}).models()
    assert (model.id, model.kind, model.base_price) == ("a/b", "text-to-video", Decimal("0.6"))
    assert model.parameters is not None
    assert list(model.parameters) == ["prompt", "size", "duration", "images"]
    assert model.parameters["prompt"] == LiveParameter("string", required=True, description="What to see")
    assert model.parameters["duration"] == LiveParameter("integer", minimum=4, maximum=15)
    assert model.parameters["images"].max_items == 4


ANYTHING: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["model_id", "id", "api_schema", "api_schemas", "request_schema", "properties", "pricing"]
            )
            | st.sampled_from(
                ["units", "variants", "when", "price", "unit", "per", "enum", "type", "upload", "headers"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@pytest.mark.slow
@given(ANYTHING)
def test_no_model_list_of_a_provider_raises_an_unforeseen_error(value: Any) -> None:
    wavespeed_model(value)
    wavespeed_model({"model_id": "a/b", "api_schema": value, "base_price": value})
    aimlapi_model({"id": "a", "aliases": value, "info": value, "pricing": value})
    assert (aimlapi_price(value, BODY) or 0) >= 0
    assert Ticket.read(value if isinstance(value, dict) else {"upload": value}) is None


# files at the sandbox, which accepts exactly what its ticket says


@pytest.fixture(scope="module")
def sandbox() -> Any:
    with running_sandbox(SandboxSettings(job_seconds=0)) as running:
        yield running


@pytest.fixture
async def client(sandbox: RunningSandbox) -> Any:
    opened = WaveSpeed(Connection("wavespeed", sandbox.url, "sandbox"))
    async with httpx.AsyncClient() as admin:
        await admin.delete(f"{sandbox.url}/admin/faults")
    yield opened
    await opened.aclose()


async def test_a_file_is_uploaded_with_its_ticket(sandbox: RunningSandbox, client: WaveSpeed) -> None:
    outcome = await client.upload("a.png", "image/png", b"some bytes")
    assert isinstance(outcome, Uploaded), outcome
    assert outcome.url not in repr(outcome)
    async with httpx.AsyncClient() as anybody:
        answer = await anybody.get(outcome.url)
        assert (answer.content, answer.headers["content-type"]) == (b"some bytes", "image/png")
        assert (await anybody.get(f"{sandbox.url}/admin/books")).json()["jobs"] == []


@pytest.mark.parametrize(("status", "kind"), [(503, FailureKind.PROVIDER), (403, FailureKind.INVALID)])
async def test_a_temporary_failure_of_a_storage_host_differs_from_a_refusal(
    sandbox: RunningSandbox, client: WaveSpeed, status: int, kind: FailureKind
) -> None:
    # the first such request is for the ticket, the second sends the bytes
    when = {"operation": "upload", "number": 2}
    rule = {"name": "f", "when": when, "then": {"do": "reject", "status": status}}
    async with httpx.AsyncClient() as admin:
        await admin.post(f"{sandbox.url}/admin/faults", json={"faults": [rule]})
    outcome = await client.upload("a.png", "image/png", b"some bytes")
    assert outcome == UploadFailed(f"the upload's host answered HTTP {status}", kind)


@pytest.mark.parametrize(
    "put_url",
    [
        "http://files.example.com/a",
        "https://127.0.0.1/a",
        "https://169.254.169.254/latest",
        "https://[::1]/a",
        "ftp://x/y",
    ],
)
async def test_a_ticket_cannot_send_the_file_into_our_own_network(put_url: str) -> None:
    data = {
        "download_url": "https://cdn.example.com/a",
        "upload": {"method": "PUT", "url": put_url, "headers": {}},
    }
    outcome = await wavespeed({"code": 200, "data": data}).upload("a.png", "image/png", b"x")
    assert isinstance(outcome, UploadFailed)
    assert outcome.kind in {FailureKind.INVALID, FailureKind.PROVIDER}


@pytest.mark.parametrize(
    "upload",
    [
        None,
        {"method": "POST", "url": "https://x.example/a", "headers": {}},
        {"method": "PUT", "url": "https://x.example/a", "headers": {"A\r\nB": "c"}},
        {"method": "PUT", "url": "https://x.example/a", "headers": {"A": "b\r\nAuthorization: c"}},
        {"method": "PUT", "url": "https://x.example/a", "headers": ["A"]},
    ],
)
async def test_an_invalid_ticket_sends_nothing(upload: Any) -> None:
    data = {"download_url": "https://cdn.example.com/a", "upload": upload}
    outcome = await wavespeed({"code": 200, "data": data}).upload("a.png", "image/png", b"x")
    assert outcome == UploadFailed("WaveSpeed's upload ticket cannot be understood", FailureKind.PROVIDER)


@pytest.mark.parametrize(
    ("answer", "status", "kind"),
    [
        ({"code": 401, "message": "Invalid API key"}, 401, FailureKind.AUTH),
        ({"code": 429, "message": "Upload quota exceeded"}, 429, FailureKind.THROTTLED),
        ({"code": 413, "message": "too large"}, 413, FailureKind.INVALID),
        ({"code": 500, "message": "oops"}, 200, FailureKind.PROVIDER),
        ("<html>", 502, FailureKind.PROVIDER),
    ],
)
async def test_the_error_of_a_refused_ticket_has_its_reason(
    answer: Any, status: int, kind: FailureKind
) -> None:
    outcome = await wavespeed(answer, status).upload("a.png", "image/png", b"x")
    assert isinstance(outcome, UploadFailed)
    assert outcome.kind is kind


async def test_aimlapi_accepts_no_files() -> None:
    outcome = await aimlapi({}).upload("a.png", "image/png", b"x")
    assert isinstance(outcome, UploadFailed)
    assert outcome.kind is FailureKind.INVALID
