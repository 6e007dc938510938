"""What a submit's answer proves, row by row of the contract's outcome table (traps, section 6), for both providers."""

import json
from typing import Any

import httpx
import pytest

from resources.providers.aimlapi.client import AimlApi
from resources.providers.base import Accepted, FailureKind, NotSent, Rejected, SubmitOutcome, Unknown
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed

WS_ENDPOINT = "openai/sora-2/text-to-video"
AIML_ENDPOINT = "openai/sora-2-pro-t2v"
BODY = {"prompt": "a hedgehog at dawn", "size": "720*1280", "duration": 4}
AIML_ERROR = {"path": "/v2/video/generations", "requestId": "r-1", "timestamp": "2026-01-02T03:04:05.678Z"}
WS_CREATED: dict[str, Any] = {
    "code": 200,
    "message": "success",
    "data": {
        "id": "a1b2c3",
        "model": "openai/sora-2/text-to-video",
        "outputs": [],
        "urls": {"get": "https://api.wavespeed.ai/api/v3/predictions/a1b2c3/result"},
        "has_nsfw_contents": [],
        "status": "created",
        "created_at": "2026-01-02T03:04:05.678Z",
        "error": "",
        "timings": {"inference": 0},
    },
}


def answering(*args: Any, **kwargs: Any) -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(*args, **kwargs))


def failing(error: Exception) -> httpx.MockTransport:
    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    return httpx.MockTransport(handler)


async def to_wavespeed(
    transport: httpx.MockTransport, endpoint: str = WS_ENDPOINT, **options: Any
) -> SubmitOutcome:
    client = WaveSpeed(
        Connection("wavespeed", "https://ws.test", "key-of-wavespeed", transport=transport, **options)
    )
    try:
        return await client.submit(endpoint, BODY, submission_id="s-1", deadline_seconds=60)
    finally:
        await client.aclose()


async def to_aimlapi(
    transport: httpx.MockTransport, endpoint: str = AIML_ENDPOINT, submission_id: str = "s-1"
) -> SubmitOutcome:
    client = AimlApi(Connection("aimlapi", "https://aiml.test", "key-of-aimlapi", transport=transport))
    try:
        return await client.submit(endpoint, BODY, submission_id=submission_id, deadline_seconds=60)
    finally:
        await client.aclose()


async def test_wavespeed_gets_the_documented_request() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=WS_CREATED)

    outcome = await to_wavespeed(httpx.MockTransport(handler))
    assert outcome == Accepted("a1b2c3", "openai/sora-2/text-to-video", WS_CREATED)
    [request] = seen
    assert (request.method, str(request.url)) == ("POST", f"https://ws.test/api/v3/{WS_ENDPOINT}")
    assert request.headers["authorization"] == "Bearer key-of-wavespeed"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"].startswith("dailies/")
    assert json.loads(request.content) == BODY


async def test_wavespeed_gets_the_webhook_as_a_query_parameter() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=WS_CREATED)

    await to_wavespeed(
        httpx.MockTransport(handler),
        webhook_url=lambda submission: f"https://me.test/hook?attempt={submission}&t=x",
    )
    assert seen[0].url.params["webhook"] == "https://me.test/hook?attempt=s-1&t=x"
    assert b"webhook=https%3A%2F%2Fme.test%2Fhook%3Fattempt%3Ds-1%26t%3Dx" in seen[0].url.query
    assert json.loads(seen[0].content) == BODY


async def test_aimlapi_gets_the_model_and_our_id() -> None:
    seen: list[httpx.Request] = []
    reply = {"id": "video_abc:openai/sora-2-pro-t2v", "status": "queued"}

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json=reply)

    assert await to_aimlapi(httpx.MockTransport(handler)) == Accepted(reply["id"], None, reply)
    [request] = seen
    assert (request.method, str(request.url)) == ("POST", "https://aiml.test/v2/video/generations")
    assert request.headers["x-client-request-id"] == "s-1"
    assert json.loads(request.content) == {**BODY, "model": AIML_ENDPOINT}


WS_TABLE = [
    # status, body, kind (None: Unknown)
    (400, {"code": 400, "message": "bad size"}, FailureKind.INVALID),
    (400, {"code": 400, "message": "x", "data": {"code": 1401}}, FailureKind.INVALID),
    (400, {"code": 1400, "message": "prompt is required"}, FailureKind.INVALID),
    (400, {"code": 1402, "message": "cannot read the image"}, FailureKind.INVALID),
    (400, {"error": "webhook callback does not support base64 output"}, FailureKind.INVALID),
    (400, {"code": 1200, "message": "refused"}, FailureKind.MODERATION),
    (400, {"code": 400, "message": "The prompt was flagged by content moderation"}, FailureKind.MODERATION),
    (
        400,
        {"code": 400, "message": "The account does not have enough credits", "data": {"code": 1407}},
        FailureKind.INSUFFICIENT_FUNDS,
    ),
    (400, {"code": 1407, "message": "x"}, FailureKind.INSUFFICIENT_FUNDS),
    (400, {"code": "1407", "message": "x"}, FailureKind.INSUFFICIENT_FUNDS),
    (400, {"code": 400, "message": "insufficient balance"}, FailureKind.INSUFFICIENT_FUNDS),
    (403, {"code": 403, "message": "You do not have enough credits"}, FailureKind.INSUFFICIENT_FUNDS),
    (402, b"<html>pay</html>", FailureKind.INSUFFICIENT_FUNDS),
    (401, {"code": 401, "message": "Invalid API key"}, FailureKind.AUTH),
    (401, b"", FailureKind.AUTH),
    (403, {"code": 403, "message": "Insufficient permission", "error_code": "role_viewer"}, FailureKind.AUTH),
    (404, {"code": 404, "message": "model not found"}, FailureKind.INVALID),
    (413, {"code": 413, "message": "too large"}, FailureKind.INVALID),
    (422, {"code": 422, "message": "no"}, FailureKind.INVALID),
    (429, {"code": 429, "message": "Too Many Requests"}, FailureKind.THROTTLED),
    # an error of the API inside HTTP 200
    (200, {"code": 400, "message": "bad", "data": None}, FailureKind.INVALID),
    (200, {"code": 401, "message": "Invalid API key"}, FailureKind.AUTH),
    (200, {"code": 402, "message": "pay"}, FailureKind.INSUFFICIENT_FUNDS),
    (200, {"code": 400, "message": "not enough credits"}, FailureKind.INSUFFICIENT_FUNDS),
    (200, {"code": 429, "message": "slow down"}, FailureKind.THROTTLED),
    (200, {"code": 1200, "message": "flagged"}, FailureKind.MODERATION),
    (200, {"code": 1401, "message": "x", "data": {"id": ""}}, FailureKind.INVALID),
    # answers that prove nothing
    (200, {"code": 500, "message": "oops"}, None),
    (200, {"code": 5000, "message": "internal"}, None),
    (200, {"code": 5004, "message": "timeout"}, None),
    (200, {"code": 1403, "message": "task failed"}, None),
    (200, {"code": 200, "message": "success", "data": {}}, None),
    (200, {"code": 200, "message": "success", "data": {"id": None}}, None),
    (200, {"code": 200, "message": "success", "data": {"id": "  "}}, None),
    (200, {"code": 200, "message": "success", "data": {"id": {"a": 1}}}, None),
    (200, {"error": "something"}, None),
    (200, [], None),
    (200, b"", None),
    (200, b"<html>welcome</html>", None),
    (200, b"[" * 100_000, None),
    (204, b"", None),
    (202, b'{"code":200,"data":{"id":"cut', None),
    (400, b"<html>nginx</html>", None),
    (400, b"", None),
    (400, {"code": 200, "message": "success"}, None),
    (400, {"code": 5000, "message": "internal"}, None),
    (400, {"code": 500, "message": "internal"}, None),
    (403, b"<html>Attention Required</html>", None),
    (404, b"404 page not found", None),
    (413, b"<html>too large</html>", None),
    (429, b"<html>slow down</html>", None),
    (429, {"error": "too many"}, None),
    (429, {"message": "too many"}, None),
    (408, {"code": 408, "message": "timeout"}, None),
    (409, {"code": 409, "message": "conflict"}, None),
    (418, {"code": 418, "message": "teapot"}, None),
    (302, b"", None),
    (307, {"code": 400, "message": "x"}, None),
    *[(status, {"code": status, "message": "x"}, None) for status in (500, 501, 502, 503, 504, 520, 599)],
    (502, b"<html>Bad Gateway</html>", None),
    (500, {"code": 1407, "message": "not enough credits"}, None),
]

AIML_TABLE = [
    (400, {"message": "Body validation error", "statusCode": 400, **AIML_ERROR}, FailureKind.INVALID),
    (400, {"message": "Body validation error", "statusCode": "400", **AIML_ERROR}, FailureKind.INVALID),
    (400, {"message": "Blocked by our moderation system", "statusCode": 400}, FailureKind.MODERATION),
    (401, {"message": "invalid key", "statusCode": 401}, FailureKind.AUTH),
    (401, b"", FailureKind.AUTH),
    (402, b"", FailureKind.INSUFFICIENT_FUNDS),
    (
        403,
        {"message": "You've run out of credits. Top up.", "statusCode": 403, **AIML_ERROR},
        FailureKind.INSUFFICIENT_FUNDS,
    ),
    (403, {"message": "Not allowed", "statusCode": 403}, FailureKind.AUTH),
    (404, {"message": "Model is deprecated", "statusCode": 404}, FailureKind.INVALID),
    (413, {"message": "too large", "statusCode": 413}, FailureKind.INVALID),
    (422, {"message": "no", "statusCode": 422}, FailureKind.INVALID),
    (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, FailureKind.INVALID),
    (429, {"message": "Too many requests", "statusCode": 429, **AIML_ERROR}, FailureKind.THROTTLED),
    (429, {"message": "Too many requests", "requestId": "r"}, FailureKind.THROTTLED),
    (429, {"message": "Too many requests"}, None),
    (429, b"<html>slow down</html>", None),
    (429, b"", None),
    (400, b"<html>bad</html>", None),
    (400, {"message": "x", "statusCode": 500}, None),
    (403, b"<html>Attention Required</html>", None),
    (404, b"not found", None),
    (408, {"message": "x", "statusCode": 408}, None),
    (409, {"message": "x", "statusCode": 409}, None),
    (301, b"", None),
    *[(status, {"message": "x", "statusCode": status}, None) for status in (500, 502, 503, 504, 524)],
    (502, b"<html>Bad Gateway</html>", None),
    (200, b"", None),
    (200, {}, None),
    (200, {"status": "queued"}, None),
    (200, {"id": "", "status": "queued"}, None),
    (200, {"message": "x", "statusCode": 400}, None),
    (201, b'{"id":"video_', None),
]


def response(status: int, body: object) -> httpx.MockTransport:
    return answering(status, content=body) if isinstance(body, bytes) else answering(status, json=body)


def check(outcome: SubmitOutcome, status: int, kind: FailureKind | None) -> None:
    if kind is None:
        assert isinstance(outcome, Unknown), outcome
        assert outcome.http_status == status
        assert "may have been created" in outcome.cause
    else:
        assert isinstance(outcome, Rejected), outcome
        assert (outcome.kind, outcome.http_status) == (kind, status)
        assert str(status) in outcome.message


@pytest.mark.parametrize(("status", "body", "kind"), WS_TABLE)
async def test_each_wavespeed_answer_has_its_outcome(
    status: int, body: object, kind: FailureKind | None
) -> None:
    check(await to_wavespeed(response(status, body)), status, kind)


@pytest.mark.parametrize(("status", "body", "kind"), AIML_TABLE)
async def test_each_aimlapi_answer_has_its_outcome(
    status: int, body: object, kind: FailureKind | None
) -> None:
    check(await to_aimlapi(response(status, body)), status, kind)


@pytest.mark.parametrize(
    ("error", "unsent"),
    [
        (httpx.ConnectError("refused"), True),
        (httpx.ConnectTimeout("slow"), True),
        (httpx.PoolTimeout("full"), True),
        (httpx.ProxyError("no"), True),
        (httpx.UnsupportedProtocol("ftp"), True),
        (httpx.InvalidURL("bad"), True),
        (httpx.ReadTimeout("slow"), False),
        (httpx.ReadError("reset"), False),
        (httpx.WriteError("reset"), False),
        (httpx.WriteTimeout("slow"), False),
        (httpx.RemoteProtocolError("cut"), False),
        (httpx.LocalProtocolError("ours"), False),
        (httpx.DecodingError("gzip"), False),
        (httpx.CloseError("x"), False),
        (TimeoutError("x"), False),
        (OSError("x"), False),
        (RuntimeError("x"), False),
    ],
)
async def test_each_error_of_the_transport_has_its_outcome(error: Exception, unsent: bool) -> None:
    for outcome in (await to_wavespeed(failing(error)), await to_aimlapi(failing(error))):
        assert isinstance(outcome, NotSent if unsent else Unknown), outcome


async def test_an_id_counts_whatever_the_status() -> None:
    created = {
        **WS_CREATED,
        "code": 504,
        "data": {**WS_CREATED["data"], "code": 5004, "status": "processing"},
    }
    for status in (200, 201, 400, 429, 500, 504):
        outcome = await to_wavespeed(response(status, created))
        assert isinstance(outcome, Accepted)
        assert outcome.job_id == "a1b2c3"
    outcome = await to_aimlapi(response(504, {"id": "video_1", "status": "queued"}))
    assert isinstance(outcome, Accepted)


async def test_a_refusal_with_an_error_id_is_no_job() -> None:
    problem = {"id": "err-1", "status": 400, "message": "bad", "statusCode": 400}
    assert isinstance(await to_aimlapi(response(400, problem)), Rejected)
    outcome = await to_wavespeed(response(400, {"id": "err-1", "code": 400, "message": "bad"}))
    assert isinstance(outcome, Rejected)


async def test_a_failed_prediction_inside_an_error_code_is_still_a_job() -> None:
    body = {"code": 1200, "message": "flagged", "data": {"id": "a1", "status": "failed", "code": 1200}}
    assert isinstance(await to_wavespeed(response(200, body)), Accepted)


async def test_aimlapi_accepts_the_id_under_either_name_or_in_the_header() -> None:
    for transport in (
        answering(200, json={"generation_id": "FGcTGqPuBac0Masr9DI8-", "status": "queued"}),
        answering(200, content=b"", headers={"x-inference-id": "FGcTGqPuBac0Masr9DI8-"}),
    ):
        outcome = await to_aimlapi(transport)
        assert isinstance(outcome, Accepted)
        assert outcome.job_id == "FGcTGqPuBac0Masr9DI8-"
    failed = await to_aimlapi(answering(502, content=b"", headers={"x-inference-id": "inf-9"}))
    assert isinstance(failed, Unknown)
    assert "inf-9" in failed.cause


async def test_a_throttled_answer_carries_its_retry_after() -> None:
    body = {"code": 429, "message": "Too Many Requests"}
    outcome = await to_wavespeed(answering(429, json=body, headers={"retry-after": "17"}))
    assert isinstance(outcome, Rejected)
    assert outcome.retry_after == 17
    dated = {"retry-after": "Fri, 02 Jan 2026 03:05:00 GMT", "date": "Fri, 02 Jan 2026 03:04:00 GMT"}
    outcome = await to_aimlapi(answering(429, json={"message": "x", "statusCode": 429}, headers=dated))
    assert isinstance(outcome, Rejected)
    assert outcome.retry_after == 60


@pytest.mark.parametrize(
    "endpoint",
    [
        "",
        "sora",
        "../balance",
        "a/../b",
        "a//b",
        "/a/b",
        "a/b/",
        "a/b?x=1",
        "A/b",
        "a b/c",
        "a/.",
        "predictions/delete",
        "model/price",
        "a/b\n",
        "a/%2e%2e",
    ],
)
async def test_a_bad_wavespeed_endpoint_is_refused_before_anything_is_sent(endpoint: str) -> None:
    outcome = await to_wavespeed(failing(AssertionError("sent")), endpoint)
    assert isinstance(outcome, Rejected)
    assert (outcome.kind, outcome.http_status) == (FailureKind.INVALID, 0)
    assert "nothing was sent" in outcome.message


async def test_an_id_aimlapi_would_drop_is_refused_before_anything_is_sent() -> None:
    for submission_id in ("", "a/b", "a b", "x" * 129, "é", "a\n"):
        outcome = await to_aimlapi(failing(AssertionError("sent")), submission_id=submission_id)
        assert isinstance(outcome, Rejected)
        assert outcome.http_status == 0
    outcome = await to_aimlapi(failing(AssertionError("sent")), endpoint="bad model")
    assert isinstance(outcome, Rejected)


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800", {1, 2}])
async def test_a_body_that_is_not_json_is_refused_before_anything_is_sent(value: object) -> None:
    transport = failing(AssertionError("sent"))
    for client in (
        WaveSpeed(Connection("wavespeed", "https://ws.test", "key-of-wavespeed", transport=transport)),
        AimlApi(Connection("aimlapi", "https://aiml.test", "key-of-aimlapi", transport=transport)),
    ):
        outcome = await client.submit(WS_ENDPOINT, {"seed": value}, submission_id="s", deadline_seconds=60)
        assert isinstance(outcome, Rejected)
        assert outcome.http_status == 0


async def test_a_deadline_that_has_passed_sends_nothing() -> None:
    client = WaveSpeed(
        Connection(
            "wavespeed", "https://ws.test", "key-of-wavespeed", transport=failing(AssertionError("sent"))
        )
    )
    for deadline in (0, -1, float("nan")):
        outcome = await client.submit(WS_ENDPOINT, BODY, submission_id="s", deadline_seconds=deadline)
        assert isinstance(outcome, NotSent)
