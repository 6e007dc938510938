"""fal's answers, as its pages and its client describe them: what they prove after a submit, a poll, a listing and a bill."""

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
    Candidate,
    FailureKind,
    JobState,
    JobStatus,
    PollFailed,
    Rejected,
    SubmitOutcome,
    Unknown,
)
from resources.providers.fal.client import Fal
from resources.providers.fal.contract import PUBLIC_URL
from resources.providers.fal.rows import charge, job_of
from resources.providers.rows import SetAside
from resources.providers.spec import Connection

MODEL = "bytedance/seedance-2.0/text-to-video"
JOB = "bytedance/seedance-2.0/requests/r-1"
BODY = {"prompt": "a boat", "seed": 7}
OF_JOB = f"{PUBLIC_URL}/{JOB}"
QUEUED = {
    "status": "IN_QUEUE",
    "request_id": "r-1",
    "response_url": OF_JOB,
    "status_url": f"{OF_JOB}/status",
    "cancel_url": f"{OF_JOB}/cancel",
}
NOW = datetime(2026, 11, 29, tzinfo=UTC)
WINDOW = {"after": NOW - timedelta(hours=1), "before": NOW}
Handler = Callable[[httpx.Request], httpx.Response]


@asynccontextmanager
async def client(
    handler: Handler, *, admin_key: str | None = None, hook: Callable[[str], str] | None = None
) -> AsyncIterator[Fal]:
    transport = httpx.MockTransport(handler)
    made = Fal(
        Connection("fal", PUBLIC_URL, "the-key", Network(), time.time, transport, hook, admin_key=admin_key)
    )
    try:
        yield made
    finally:
        await made.aclose()


async def submitted(answer: httpx.Response | Exception) -> SubmitOutcome:
    def handler(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    async with client(handler) as fal:
        return await fal.submit(MODEL, BODY, submission_id="s-1", deadline_seconds=5)


async def test_the_post_is_the_models_input_and_disables_fals_own_retries() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=QUEUED)

    async with client(handler, hook=lambda name: f"https://hooks.test/{name}?t=1") as fal:
        outcome = await fal.submit(MODEL, BODY, submission_id="s-1", deadline_seconds=5)
    assert isinstance(outcome, Accepted)
    assert outcome.job_id == JOB
    (post,) = seen
    assert (post.url.host, post.url.path) == ("queue.fal.run", f"/{MODEL}")
    assert post.url.params["fal_webhook"] == "https://hooks.test/s-1?t=1"
    assert json.loads(post.content) == BODY
    assert post.headers["authorization"] == "Key the-key"
    assert post.headers["x-fal-no-retry"] == "1"
    assert post.headers["x-fal-request-timeout"] == "3600"
    # fal would then hide the request from the listing
    assert "x-fal-store-io" not in post.headers


DETAIL = {"detail": "no"}
HTML = "<html>nginx</html>"
OUTCOMES: list[tuple[httpx.Response, type, FailureKind | None]] = [
    (httpx.Response(200, json={"request_id": "r-1"}), Accepted, None),
    (httpx.Response(503, json=QUEUED), Accepted, None),
    (httpx.Response(401, text=HTML), Rejected, FailureKind.AUTH),
    (httpx.Response(402, text=HTML), Rejected, FailureKind.INSUFFICIENT_FUNDS),
    (
        httpx.Response(403, json={"detail": "User is locked. Reason: Exhausted balance."}),
        Rejected,
        FailureKind.INSUFFICIENT_FUNDS,
    ),
    (httpx.Response(403, json=DETAIL), Rejected, FailureKind.AUTH),
    (httpx.Response(403, text=HTML), Unknown, None),
    (httpx.Response(404, json=DETAIL), Rejected, FailureKind.INVALID),
    (
        httpx.Response(422, json={"detail": [{"msg": "no", "type": "content_policy_violation"}]}),
        Rejected,
        FailureKind.MODERATION,
    ),
    (httpx.Response(422, text=HTML), Unknown, None),
    (httpx.Response(429, json=DETAIL), Rejected, FailureKind.THROTTLED),
    (httpx.Response(429, text=HTML), Unknown, None),
    (httpx.Response(408, json=DETAIL), Unknown, None),
    (httpx.Response(409, json=DETAIL), Unknown, None),
    (httpx.Response(500, json=DETAIL), Unknown, None),
    (httpx.Response(504, json={"detail": "late", "error_type": "request_timeout"}), Unknown, None),
    (httpx.Response(302, headers={"Location": "https://else.where/"}), Unknown, None),
    (httpx.Response(200, text="{"), Unknown, None),
    (httpx.Response(200, json={}), Unknown, None),
]


@pytest.mark.parametrize(("answer", "kind", "why"), OUTCOMES)
async def test_each_answer_to_a_submit_has_its_outcome(
    answer: httpx.Response, kind: type, why: FailureKind | None
) -> None:
    outcome = await submitted(answer)
    assert isinstance(outcome, kind)
    if isinstance(outcome, Accepted):
        assert outcome.job_id == JOB
    if isinstance(outcome, Rejected):
        assert outcome.kind is why


async def test_a_lost_answer_is_unknown() -> None:
    assert isinstance(await submitted(httpx.ReadTimeout("late")), Unknown)


async def test_the_key_is_not_sent_to_addresses_in_an_answer() -> None:
    hosts: set[str] = set()

    def handler(request: httpx.Request) -> httpx.Response:
        hosts.add(request.url.host)
        if request.method == "POST":
            moved = {name: value.replace("queue.fal.run", "thief.test") for name, value in QUEUED.items()}
            return httpx.Response(200, json=moved)
        return httpx.Response(202, json={"status": "IN_PROGRESS", "request_id": "r-1"})

    async with client(handler) as fal:
        outcome = await fal.submit(MODEL, BODY, submission_id="s-1", deadline_seconds=5)
        assert isinstance(outcome, Accepted)
        state = await fal.poll(outcome.job_id, age_seconds=1)
    assert isinstance(state, JobState)
    assert hosts == {"queue.fal.run"}


@pytest.mark.parametrize("endpoint", ["seedance", "../x/y", "v1/models", "storage/upload/initiate", "a b/c"])
async def test_an_invalid_model_is_not_sent(endpoint: str) -> None:
    async with client(lambda _: pytest.fail("it was sent")) as fal:
        outcome = await fal.submit(endpoint, BODY, submission_id="s-1", deadline_seconds=5)
    assert isinstance(outcome, Rejected)
    assert outcome.http_status == 0


# Polls

DONE = {"status": "COMPLETED", "request_id": "r-1", "metrics": {"inference_time": 41.5}}
VIDEO = {"video": {"url": "https://v3b.fal.media/files/a.mp4"}, "seed": 7}


async def polled(
    status: httpx.Response, result: httpx.Response | None = None, *, age_seconds: float = 600
) -> JobState | PollFailed:
    def handler(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/status"):
            return status
        assert result is not None
        return result

    async with client(handler) as fal:
        return await fal.poll(JOB, age_seconds=age_seconds)


@pytest.mark.parametrize(
    ("word", "status"),
    [("IN_QUEUE", JobStatus.QUEUED), ("IN_PROGRESS", JobStatus.RUNNING), ("DREAMING", JobStatus.RUNNING)],
)
async def test_a_request_in_the_queue_or_in_progress_is_running(word: str, status: JobStatus) -> None:
    state = await polled(httpx.Response(202, json={"status": word, "request_id": "r-1"}))
    assert isinstance(state, JobState)
    assert state.status is status


async def test_a_completed_request_has_its_video() -> None:
    state = await polled(httpx.Response(200, json=DONE), httpx.Response(200, json=VIDEO))
    assert isinstance(state, JobState)
    assert (state.status, state.outputs) == (JobStatus.SUCCEEDED, ("https://v3b.fal.media/files/a.mp4",))
    assert state.inference_seconds == 41.5


FLAGGED = {"detail": [{"loc": ["body", "prompt"], "msg": "flagged", "type": "content_policy_violation"}]}
TOO_LARGE = {"detail": [{"loc": ["body", "image_url"], "msg": "too large", "type": "image_too_large"}]}
LOST = {"detail": "runner gone", "error_type": "runner_disconnected"}
ENDS: list[tuple[dict[str, Any], httpx.Response, FailureKind, bool]] = [
    (DONE, httpx.Response(422, json=FLAGGED), FailureKind.MODERATION, True),
    (DONE, httpx.Response(422, json=TOO_LARGE), FailureKind.INVALID, True),
    (DONE, httpx.Response(503, json=LOST), FailureKind.PROVIDER, False),
    ({**DONE, "error": "late"}, httpx.Response(504, json=LOST), FailureKind.PROVIDER, False),
    ({**DONE, "error": "it failed"}, httpx.Response(200, json=VIDEO), FailureKind.PROVIDER, True),
    (DONE, httpx.Response(200, json={"seed": 1}), FailureKind.NO_OUTPUT, True),
    # a deleted result may have been paid for
    (DONE, httpx.Response(404, json=DETAIL), FailureKind.INVALID, True),
    # a gateway that writes JSON does not prove that the request is free
    ({**DONE, "error": "it failed"}, httpx.Response(502, json={"message": "no"}), FailureKind.PROVIDER, True),
]


@pytest.mark.parametrize(("status", "result", "kind", "charged"), ENDS)
async def test_completed_with_an_error_is_failed(
    status: dict[str, Any], result: httpx.Response, kind: FailureKind, charged: bool
) -> None:
    state = await polled(httpx.Response(200, json=status), result)
    assert isinstance(state, JobState)
    assert (state.status, state.failure, state.may_be_charged) == (JobStatus.FAILED, kind, charged)


async def test_a_refusal_names_the_part_of_the_request() -> None:
    state = await polled(httpx.Response(200, json=DONE), httpx.Response(422, json=TOO_LARGE))
    assert isinstance(state, JobState)
    assert "body.image_url" in (state.error or "")


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (DONE, httpx.Response(502, text=HTML)),
        (DONE, httpx.Response(429, json=DETAIL)),
        (DONE, httpx.Response(401, json=DETAIL)),
        (DONE, httpx.Response(200, text="{")),
        (DONE, httpx.Response(400, json={"detail": "Request is still in progress"})),
        # the result says why it failed, and so whether it may be charged and bought again
        ({**DONE, "error": "it failed"}, httpx.Response(502, text=HTML)),
        ({**DONE, "error": "it failed"}, httpx.Response(429, json=DETAIL)),
        ({**DONE, "error": "it failed"}, httpx.Response(401, json=DETAIL)),
    ],
)
async def test_an_unreadable_result_ends_no_job(status: dict[str, Any], result: httpx.Response) -> None:
    assert isinstance(await polled(httpx.Response(200, json=status), result), PollFailed)


async def test_a_404_is_gone_once_the_request_is_old_enough() -> None:
    unknown = httpx.Response(404, json={"detail": "Request not found"})
    assert isinstance(await polled(unknown, age_seconds=5), PollFailed)
    state = await polled(unknown)
    assert isinstance(state, JobState)
    assert state.status is JobStatus.GONE
    assert isinstance(await polled(httpx.Response(404, text=HTML)), PollFailed)


async def test_an_answer_about_another_request_is_a_failed_poll() -> None:
    assert isinstance(await polled(httpx.Response(200, json={**DONE, "request_id": "r-2"})), PollFailed)


# The listing and the bill


def row(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "request_id": f"r-{number}",
        "endpoint_id": MODEL,
        "sent_at": "2026-11-28T23:30:00Z",
        "ended_at": "2026-11-28T23:31:00Z",
        "status_code": 200,
        "json_input": {**BODY, "seed": number},
        **changes,
    }


async def test_the_listing_is_read_by_endpoint_at_its_own_host_to_its_end() -> None:
    asked: list[httpx.URL] = []
    # the list is sorted by end: the window's request is on the last page
    pages = [
        {"items": [row(1, sent_at="2026-11-28T20:00:00Z")], "has_more": True, "next_cursor": "Mg=="},
        {"items": [row(2)], "has_more": False, "next_cursor": None},
    ]

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.url)
        return httpx.Response(200, json=pages[1 if "cursor" in request.url.params else 0])

    async with client(handler) as fal:
        found = await fal.list_jobs(**WINDOW, endpoints=[MODEL, "fal-ai/veo3.1"])
    assert [(job.job_id, job.model, job.body) for job in found] == [
        ("bytedance/seedance-2.0/requests/r-2", MODEL, {**BODY, "seed": 2})
    ]
    assert {url.host for url in asked} == {"api.fal.ai"}
    assert asked[0].params["endpoint_id"] == f"{MODEL},fal-ai/veo3.1"
    assert asked[0].params["expand"] == "payloads"
    # whichever of its times the window filters, a job that was sent in the window is shown
    assert asked[0].params["end"] > "2026-11-29T23"


async def test_more_models_than_fit_are_requested_in_parts() -> None:
    counts: list[int] = []

    def handler(request: httpx.Request) -> httpx.Response:
        counts.append(len(request.url.params["endpoint_id"].split(",")))
        return httpx.Response(200, json={"items": [], "has_more": False})

    async with client(handler) as fal:
        assert await fal.list_jobs(**WINDOW, endpoints=[f"maker/model-{n}" for n in range(51)]) == []
        assert await fal.list_jobs(**WINDOW, endpoints=[]) == []
    assert counts == [50, 1]


@pytest.mark.parametrize(
    "page",
    [
        {"items": [row(1)]},
        {"has_more": False},
        {"items": [row(1)], "has_more": True},
        {"items": [row(1)], "has_more": True, "next_cursor": "Mg=="},
    ],
)
async def test_a_listing_that_may_be_incomplete_is_refused(page: dict[str, Any]) -> None:
    async with client(lambda _: httpx.Response(200, json=page)) as fal:
        with pytest.raises(UnavailableError):
            await fal.list_jobs(**WINDOW, endpoints=[MODEL])


async def test_a_row_that_cannot_be_read_is_set_aside() -> None:
    page = {"items": [row(1), row(2, sent_at="today"), {"request_id": 3}], "has_more": False}
    async with client(lambda _: httpx.Response(200, json=page)) as fal:
        found = await fal.list_jobs(**WINDOW, endpoints=[MODEL])
    assert [job.job_id for job in found if isinstance(job, Candidate)] == [JOB]
    assert len(found.aside) == 2


def event(**changes: Any) -> dict[str, Any]:
    return {
        "request_id": "r-1",
        "endpoint_id": MODEL,
        "timestamp": "2026-11-28T23:31:00Z",
        "cost_total": 1.2096,
        **changes,
    }


async def test_only_the_admin_key_reads_the_bill() -> None:
    keys: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["authorization"])
        return httpx.Response(200, json={"billing_events": [event()], "has_more": False})

    async with client(handler, admin_key="the-admin") as fal:
        (charged,) = await fal.charges(**WINDOW)
        assert fal.capabilities.bills_jobs
    assert (charged.job_id, charged.micros) == (JOB, 1_209_600)
    assert keys == ["Key the-admin"]


async def test_without_an_admin_key_there_is_no_bill() -> None:
    async with client(lambda _: pytest.fail("the bill was requested")) as fal:
        assert not fal.capabilities.bills_jobs
        with pytest.raises(UnavailableError, match="DAILIES_FAL_ADMIN_KEY"):
            await fal.charges(**WINDOW)


@pytest.mark.parametrize("key", [None, "the-admin"])
def test_an_account_without_an_admin_key_has_estimates_only(key: str | None) -> None:
    account = AccountSettings.model_validate(
        {"name": "fal", "provider": "fal", "base_url": PUBLIC_URL, "api_key": "k", "admin_key": key}
    )
    assert account.capabilities.bills_jobs is (key is not None)
    assert "the-admin" not in repr(account)


@pytest.mark.parametrize(
    ("changes", "micros"),
    [
        ({}, 1_209_600),
        ({"cost_total": None, "cost_estimate_nano_usd": 1_209_600_000}, 1_209_600),
        ({"cost_total": "much"}, None),
        ({"request_id": None}, None),
        ({"timestamp": "today"}, None),
    ],
)
def test_a_row_of_the_bill_is_a_charge_or_set_aside(changes: dict[str, Any], micros: int | None) -> None:
    read = charge(event(**changes))
    assert (None if isinstance(read, SetAside) else read.micros) == micros


@pytest.mark.parametrize(
    ("endpoint", "job"),
    [
        (MODEL, JOB),
        ("fal-ai/veo3.1", "fal-ai/veo3.1/requests/r-1"),
        ("workflows/me/flow/run", "workflows/me/flow/requests/r-1"),
        ("nothing", None),
        ("", None),
    ],
)
def test_a_jobs_id_is_read_from_its_addresses(endpoint: str, job: str | None) -> None:
    assert job_of(endpoint, "r-1") == job


# prices, and errors that a person can act on


@pytest.mark.parametrize(
    ("price", "micros"),
    [
        ({"unit_price": 0.1, "unit": "second"}, 500_000),
        ({"unit_price": 0.28, "unit": "videos"}, 280_000),
        ({"unit_price": 0.014, "unit": "1000 tokens"}, None),
        ({"unit_price": 0.1, "unit": "second", "currency": "EUR"}, None),
        ({"unit_price": 0.1, "unit": "second", "endpoint_id": "another/model"}, None),
    ],
)
async def test_a_quote_is_the_live_price_in_a_known_unit(price: dict[str, Any], micros: int | None) -> None:
    document = {"prices": [{"endpoint_id": MODEL, "currency": "USD", **price}]}
    async with client(lambda _: httpx.Response(200, json=document)) as fal:
        assert await fal.quote(MODEL, {"duration": "5"}) == micros


async def test_the_error_of_a_refused_key_names_its_variables() -> None:
    async with client(lambda _: httpx.Response(401, json=DETAIL)) as fal:
        with pytest.raises(ConfigurationError, match="FAL_KEY"):
            await fal.check()
