"""Replicate's answers, as its pages describe them: what they prove after a submit, a poll, a listing and a callback."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from resources.errors import ConfigurationError, UnavailableError
from resources.network.way_out import Network
from resources.providers.accounts import AccountSettings
from resources.providers.base import (
    Accepted,
    FailureKind,
    JobState,
    JobStatus,
    PollFailed,
    Rejected,
    SubmitOutcome,
    Unknown,
    Uploaded,
    UploadFailed,
)
from resources.providers.callbacks import UnverifiedWebhookError
from resources.providers.registry import spec_of
from resources.providers.replicate.client import Replicate
from resources.providers.replicate.signatures import StandardWebhooks
from resources.providers.spec import Connection

URL = spec_of("replicate").url
MODEL = "bytedance/seedance-2.0"
BODY = {"prompt": "a boat", "seed": 7}
NOW = datetime(2026, 11, 29, tzinfo=UTC)
WINDOW: dict[str, Any] = {"after": NOW - timedelta(hours=1), "before": NOW, "endpoints": ()}
Handler = Callable[[httpx.Request], httpx.Response]


def prediction(**changes: Any) -> dict[str, Any]:
    return {
        "id": "p1",
        "model": MODEL,
        "version": "hidden",
        "input": BODY,
        "output": None,
        "status": "starting",
        "error": None,
        "created_at": "2026-11-28T23:30:00.123456Z",
        "data_removed": False,
        "urls": {"get": f"{URL}/v1/predictions/p1", "cancel": f"{URL}/v1/predictions/p1/cancel"},
        **changes,
    }


@asynccontextmanager
async def client(handler: Handler, *, hook: Callable[[str], str] | None = None) -> AsyncIterator[Replicate]:
    made = Replicate(
        Connection("replicate", URL, "r8_key", Network(), time.time, httpx.MockTransport(handler), hook)
    )
    try:
        yield made
    finally:
        await made.aclose()


async def submitted(answer: httpx.Response) -> SubmitOutcome:
    async with client(lambda _: answer) as replicate:
        return await replicate.submit(MODEL, BODY, submission_id="s-1", deadline_seconds=5)


async def test_the_post_has_the_input_its_deadline_and_a_callback_that_starts_with_the_job() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json=prediction())

    async with client(handler, hook=lambda name: f"https://hooks.test/{name}") as replicate:
        outcome = await replicate.submit(MODEL, BODY, submission_id="s-1", deadline_seconds=5)
    assert outcome == Accepted("p1", MODEL, outcome.raw) if isinstance(outcome, Accepted) else False
    (post,) = seen
    assert post.url.path == f"/v1/models/{MODEL}/predictions"
    assert json.loads(post.content) == {
        "input": BODY,
        "webhook": "https://hooks.test/s-1",
        "webhook_events_filter": ["start", "completed"],
    }
    assert post.headers["cancel-after"] == "60m"
    # a synchronous answer would hold the connection, and more answers would be lost
    assert "prefer" not in post.headers


PROBLEM = {"title": "No", "detail": "no"}
HTML = "<html></html>"
OUTCOMES: list[tuple[httpx.Response, type, FailureKind | None]] = [
    (httpx.Response(202, json=prediction()), Accepted, None),
    (httpx.Response(500, json=prediction()), Accepted, None),
    (httpx.Response(401, text=HTML), Rejected, FailureKind.AUTH),
    (httpx.Response(402, json=PROBLEM), Rejected, FailureKind.INSUFFICIENT_FUNDS),
    (httpx.Response(403, json=PROBLEM), Rejected, FailureKind.AUTH),
    (httpx.Response(404, json=PROBLEM), Rejected, FailureKind.INVALID),
    (httpx.Response(422, json=PROBLEM), Rejected, FailureKind.INVALID),
    (httpx.Response(422, json={**PROBLEM, "detail": "it was flagged"}), Rejected, FailureKind.MODERATION),
    (httpx.Response(422, json={**PROBLEM, "status": 500}), Unknown, None),
    (httpx.Response(422, text=HTML), Unknown, None),
    (httpx.Response(429, json={"detail": "throttled", "status": 429}), Rejected, FailureKind.THROTTLED),
    (httpx.Response(429, text=HTML), Unknown, None),
    (httpx.Response(409, json=PROBLEM), Unknown, None),
    (httpx.Response(500, json=PROBLEM), Unknown, None),
    (httpx.Response(201, json={}), Unknown, None),
    (httpx.Response(201, text="{"), Unknown, None),
]


@pytest.mark.parametrize(("answer", "kind", "why"), OUTCOMES)
async def test_each_answer_to_a_submit_has_its_outcome(
    answer: httpx.Response, kind: type, why: FailureKind | None
) -> None:
    outcome = await submitted(answer)
    assert isinstance(outcome, kind)
    if isinstance(outcome, Rejected):
        assert outcome.kind is why


async def polled(answer: httpx.Response, *, age_seconds: float = 600) -> JobState | PollFailed:
    async with client(lambda _: answer) as replicate:
        return await replicate.poll("p1", age_seconds=age_seconds)


OUTPUT = "https://replicate.delivery/a.mp4"
STATES: list[tuple[dict[str, Any], JobStatus, FailureKind | None, bool]] = [
    ({"status": "starting"}, JobStatus.QUEUED, None, False),
    ({"status": "processing"}, JobStatus.RUNNING, None, False),
    ({"status": "dreaming"}, JobStatus.RUNNING, None, False),
    ({"status": "succeeded", "output": OUTPUT}, JobStatus.SUCCEEDED, None, False),
    ({"status": "succeeded", "output": [OUTPUT]}, JobStatus.SUCCEEDED, None, False),
    ({"status": "succeeded", "output": []}, JobStatus.FAILED, FailureKind.NO_OUTPUT, True),
    ({"status": "succeeded", "data_removed": True}, JobStatus.GONE, FailureKind.GONE, False),
    ({"status": "failed", "error": "(E005) flagged"}, JobStatus.FAILED, FailureKind.MODERATION, False),
    ({"status": "failed", "error": "runner lost"}, JobStatus.FAILED, FailureKind.PROVIDER, False),
    ({"status": "canceled"}, JobStatus.FAILED, FailureKind.PROVIDER, True),
    ({"status": "aborted"}, JobStatus.FAILED, FailureKind.PROVIDER, False),
]


@pytest.mark.parametrize(("fields", "status", "failure", "charged"), STATES)
async def test_a_predictions_status_is_normalized(
    fields: dict[str, Any], status: JobStatus, failure: FailureKind | None, charged: bool
) -> None:
    state = await polled(httpx.Response(200, json=prediction(**fields)))
    assert isinstance(state, JobState)
    assert (state.status, state.failure, state.may_be_charged) == (status, failure, charged)
    assert state.outputs == ((OUTPUT,) if status is JobStatus.SUCCEEDED else ())


async def test_a_404_is_gone_once_the_prediction_is_old_enough() -> None:
    unknown = httpx.Response(404, json=PROBLEM)
    assert isinstance(await polled(unknown, age_seconds=5), PollFailed)
    state = await polled(unknown)
    assert isinstance(state, JobState)
    assert state.status is JobStatus.GONE
    assert isinstance(await polled(httpx.Response(404, text=HTML)), PollFailed)


async def test_the_list_follows_cursors_and_never_another_host() -> None:
    asked: list[httpx.URL] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        if "cursor" in request.url.params:
            rows = [
                prediction(id="p2", data_removed=True, input={}, status="succeeded"),
                prediction(created_at="today"),
            ]
            return httpx.Response(200, json={"next": None, "results": rows})
        following = "https://thief.test/v1/predictions?cursor=c2"
        return httpx.Response(200, json={"next": following, "results": [prediction()]})

    async with client(handler) as replicate:
        found = await replicate.list_jobs(**WINDOW)
    assert [(job.job_id, job.body, job.status) for job in found] == [
        ("p1", BODY, JobStatus.QUEUED),
        # a deleted input is not shown
        ("p2", None, JobStatus.SUCCEEDED),
    ]
    assert len(found.aside) == 1
    assert {url.host for url in asked} == {"api.replicate.com"}
    assert asked[1].params["cursor"] == "c2"
    assert asked[1].params["created_after"] < "2026-11-28T23:00:00"


@pytest.mark.parametrize(
    "page",
    [
        {"results": [prediction()]},
        {"next": None},
        {"next": "https://api.replicate.com/v1/predictions", "results": [prediction()]},
        {"next": "https://api.replicate.com/v1/predictions?cursor=c", "results": [prediction()]},
    ],
)
async def test_a_list_that_may_be_incomplete_is_refused(page: dict[str, Any]) -> None:
    async with client(lambda _: httpx.Response(200, json=page)) as replicate:
        with pytest.raises(UnavailableError):
            await replicate.list_jobs(**WINDOW)


async def test_there_is_no_bill_and_no_price() -> None:
    async with client(lambda _: httpx.Response(200, json={"type": "user"})) as replicate:
        assert not replicate.capabilities.bills_jobs
        assert await replicate.quote(MODEL, BODY) is None
        with pytest.raises(UnavailableError):
            await replicate.charges(after=NOW, before=NOW)


async def test_the_error_of_a_refused_token_names_its_variable() -> None:
    async with client(lambda _: httpx.Response(401, json=PROBLEM)) as replicate:
        with pytest.raises(ConfigurationError, match="REPLICATE_API_TOKEN"):
            await replicate.check()


def test_the_token_may_go_to_its_own_files_and_to_no_other_host() -> None:
    account = AccountSettings.model_validate(
        {"name": "replicate", "provider": "replicate", "base_url": URL, "api_key": "r8_key"}
    )
    key = account.output_key
    assert key is not None
    assert key.belongs_to("https", "pbxt.replicate.delivery", 443)
    assert not key.belongs_to("https", "replicate.com", 443)
    assert not key.belongs_to("https", "thief.test", 443)


# Callbacks

SECRET = "whsec_" + base64.b64encode(b"s" * 24).decode()
SAID = json.dumps(prediction(status="succeeded")).encode()


def headers(body: bytes = SAID, *, secret: bytes = b"s" * 24, at: float = NOW.timestamp()) -> dict[str, str]:
    signed = f"msg_1.{int(at)}.".encode() + body
    made = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(at)),
        "webhook-signature": f"v1,AAAA v1,{made}",
    }


async def read(sent: dict[str, str], body: bytes = SAID, *, secret: str = SECRET) -> Any:
    async def ask() -> str:
        return secret

    return await StandardWebhooks(ask).read(sent, body, endpoint=None, now=NOW.timestamp())


async def test_a_signed_callback_names_its_prediction() -> None:
    callback = await read(headers())
    assert (callback.id, callback.job_id) == ("msg_1", "p1")


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (headers(secret=b"t" * 24), SAID),
        (headers(), SAID.replace(b"p1", b"p2")),
        (headers(at=NOW.timestamp() - 301), SAID),
        ({**headers(), "webhook-signature": ""}, SAID),
        ({**headers(), "webhook-id": ""}, SAID),
        (headers(b"[]"), b"[]"),
    ],
)
async def test_an_unsigned_callback_is_refused(sent: dict[str, str], body: bytes) -> None:
    with pytest.raises(UnverifiedWebhookError):
        await read(sent, body)


async def test_an_invalid_secret_does_not_prove_a_forgery() -> None:
    with pytest.raises(UnavailableError):
        await read(headers(), secret="whsec_!")


async def test_a_changed_secret_is_fetched_again_but_not_for_every_forgery() -> None:
    secrets, asked = [b"t" * 24], 0

    async def ask() -> str:
        nonlocal asked
        asked += 1
        return "whsec_" + base64.b64encode(secrets[-1]).decode()

    reader, now = StandardWebhooks(ask), NOW.timestamp()
    for _ in range(3):
        with pytest.raises(UnverifiedWebhookError):
            await reader.read(headers(), SAID, endpoint=None, now=now)
    assert asked == 1
    secrets.append(b"s" * 24)
    later = now + 300
    for _ in range(2):
        callback = await reader.read(headers(at=later), SAID, endpoint=None, now=later)
        assert callback.job_id == "p1"
    assert asked == 2


async def test_an_upload_is_a_form_with_the_key() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json={"id": "f1", "urls": {"get": f"{URL}/v1/files/f1"}})

    async with client(handler) as replicate:
        outcome = await replicate.upload("boat.png", "image/png", b"some bytes")

    assert outcome == Uploaded(f"{URL}/v1/files/f1")
    (post,) = seen
    assert (post.method, post.url.path, post.headers["authorization"]) == (
        "POST",
        "/v1/files",
        "Bearer r8_key",
    )
    assert post.headers["content-type"].startswith("multipart/form-data; boundary=")
    form = post.content
    assert b'name="content"; filename="boat.png"\r\nContent-Type: image/png\r\n\r\nsome bytes\r\n' in form


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(413, json=PROBLEM), FailureKind.INVALID),
        (httpx.Response(413, text=HTML), FailureKind.PROVIDER),
        (httpx.Response(401, json=PROBLEM), FailureKind.AUTH),
        (httpx.Response(429, json=PROBLEM), FailureKind.THROTTLED),
        (httpx.Response(503), FailureKind.PROVIDER),
        (httpx.Response(201, json={"id": "f1"}), FailureKind.PROVIDER),
        (httpx.Response(201, json={"urls": {"get": "file:///etc/passwd"}}), FailureKind.PROVIDER),
        (httpx.Response(201, json={"urls": "https://a.test"}), FailureKind.PROVIDER),
    ],
)
async def test_the_error_of_a_failed_upload_has_its_reason(answer: httpx.Response, kind: FailureKind) -> None:
    async with client(lambda _: answer) as replicate:
        outcome = await replicate.upload("boat.png", "image/png", b"x")
    assert isinstance(outcome, UploadFailed)
    assert (outcome.kind, outcome.cause.startswith("Replicate")) == (kind, True)
