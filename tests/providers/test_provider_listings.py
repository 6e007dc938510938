"""Listings are read to their end, or refused."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from resources.errors import ConfigurationError, UnavailableError
from resources.providers.aimlapi.client import AimlApi
from resources.providers.base import Candidate, Charge, JobStatus
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed

START = datetime(2026, 1, 2, 3, 0, tzinfo=UTC)
END = START + timedelta(minutes=10)
MODEL = "openai/sora-2/text-to-video"
AIML_MODEL = "openai/sora-2-t2v"


def ws_row(number: int, created: datetime | None = None, **fields: Any) -> dict[str, Any]:
    at = (created or START + timedelta(seconds=number)).isoformat().replace("+00:00", "") + ".678901234Z"
    return {"id": f"job-{number}", "model": MODEL, "status": "completed", "created_at": at, **fields}


def aiml_row(number: int, **fields: Any) -> dict[str, Any]:
    at = (START + timedelta(seconds=number)).isoformat().replace("+00:00", ".000Z")
    row = {"created": at, "status": "succeeded", "origin": "api", "model": AIML_MODEL, "cost": {"usd": 0.4}}
    return {**row, "inference_id": f"inf-{number}", "client_request_id": f"sub-{number}", **fields}


class FakeWaveSpeed:
    """Serves pages like WaveSpeed's list: newest first, numbered from one."""

    def __init__(self, rows: list[dict[str, Any]], *, cap: int = 100) -> None:
        self.rows, self.cap = rows, cap
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/api/v3/predictions")
        asked = json.loads(request.content)
        self.asked.append(asked)
        size = min(asked["page_size"], self.cap)
        rows = self.rows[(asked["page"] - 1) * size : asked["page"] * size]
        return httpx.Response(200, json={"code": 200, "data": {"page": asked["page"], "items": rows}})


class FakeLogs:
    """Serves pages like AI/ML API's logs: offset and limit, with `has_more`."""

    def __init__(self, rows: list[dict[str, Any]], *, cap: int = 100) -> None:
        self.rows, self.cap = rows, cap
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("GET", "/v2/logs")
        asked = dict(request.url.params)
        self.asked.append(asked)
        first, size = int(asked["offset"]), min(int(asked["limit"]), self.cap)
        more = first + size < len(self.rows)
        pagination = {"limit": size, "offset": first, "total": len(self.rows), "has_more": more}
        return httpx.Response(200, json={"data": self.rows[first : first + size], "pagination": pagination})


def wavespeed(handler: Any) -> WaveSpeed:
    return WaveSpeed(
        Connection("wavespeed", "https://ws.test", "key-of-wavespeed", transport=httpx.MockTransport(handler))
    )


def aimlapi(handler: Any) -> AimlApi:
    return AimlApi(
        Connection("aimlapi", "https://aiml.test", "key-of-aimlapi", transport=httpx.MockTransport(handler))
    )


async def find(client: Any) -> list[Candidate]:
    found: list[Candidate] = await client.list_jobs(after=START, before=END, endpoints=())
    return found


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250, 300])
async def test_all_pages_are_read(count: int) -> None:
    rows = [ws_row(number) for number in reversed(range(count))]
    assert {job.job_id for job in await find(wavespeed(FakeWaveSpeed(rows)))} == {
        f"job-{n}" for n in range(count)
    }
    logs = FakeLogs([aiml_row(number) for number in reversed(range(count))])
    assert len(await find(aimlapi(logs))) == count
    assert len(logs.asked) == max(1, -(-count // 100))


async def test_a_page_size_capped_in_silence_loses_nothing() -> None:
    rows = [ws_row(number) for number in reversed(range(130))]
    assert len(await find(wavespeed(FakeWaveSpeed(rows, cap=20)))) == 130
    logs = [aiml_row(number) for number in reversed(range(130))]
    assert len(await find(aimlapi(FakeLogs(logs, cap=20)))) == 130


async def test_the_requested_window_is_a_little_wider_and_is_cut_exactly_here() -> None:
    fake = FakeWaveSpeed(
        [
            ws_row(1, END + timedelta(seconds=1)),
            ws_row(2, END - timedelta(seconds=1)),
            ws_row(3, START),
            ws_row(4, START - timedelta(seconds=1)),
        ]
    )
    assert [job.job_id for job in await find(wavespeed(fake))] == ["job-2", "job-3"]
    assert fake.asked[0] == {
        "page": 1,
        "page_size": 100,
        "created_after": "2026-01-02T02:59:59.000Z",
        "created_before": "2026-01-02T03:10:01.000Z",
    }
    logs = FakeLogs([])
    await find(aimlapi(logs))
    assert logs.asked == [
        {
            "start": "2026-01-02T02:59:59.000Z",
            "end": "2026-01-02T03:10:01.000Z",
            "limit": "100",
            "offset": "0",
        }
    ]


async def test_nanoseconds_models_and_states_are_read() -> None:
    fake = FakeWaveSpeed(
        [
            ws_row(5, status="processing", input={"prompt": "x"}),
            ws_row(6, model="bytedance/seedance-2.0/text-to-video"),
            ws_row(7, model=None),
        ]
    )
    first, other, unnamed = await find(wavespeed(fake))
    assert first == Candidate(
        "job-5", MODEL, datetime(2026, 1, 2, 3, 0, 5, 678901, UTC), JobStatus.RUNNING, body={"prompt": "x"}
    )
    assert (other.job_id, other.model) == ("job-6", "bytedance/seedance-2.0/text-to-video")
    assert (unnamed.job_id, unnamed.model) == ("job-7", None)


async def test_aimlapi_names_our_submission_whatever_the_model() -> None:
    rows = [
        aiml_row(1, model="some/alias", status="failed"),
        aiml_row(2, client_request_id=None, model="some/alias"),
        aiml_row(3, client_request_id=None),
    ]
    first, alias, last = await find(aimlapi(FakeLogs(rows)))
    assert (first.job_id, first.submission_id, first.status) == ("inf-1", "sub-1", JobStatus.FAILED)
    assert (alias.job_id, alias.submission_id) == ("inf-2", None)
    assert (last.job_id, last.submission_id) == ("inf-3", None)


async def test_a_listing_that_ignores_the_window_is_read_until_rows_are_older() -> None:
    fake = FakeWaveSpeed([ws_row(number, END - timedelta(seconds=4 * number)) for number in range(1000)])
    # the newest job is two thirds of a second too late
    assert len(await find(wavespeed(fake))) == 150
    assert len(fake.asked) == 3


async def test_rows_may_be_null_and_a_refused_page_after_a_short_one_is_the_end() -> None:
    null = {"code": 200, "data": {"page": 1, "items": None}}
    assert await find(wavespeed(lambda request: httpx.Response(200, json=null))) == []

    def one_page(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["page"] > 1:
            return httpx.Response(400, json={"code": 400, "message": "page out of range"})
        return httpx.Response(200, json={"code": 200, "data": {"items": [ws_row(1)]}})

    assert len(await find(wavespeed(one_page))) == 1


def always(rows: list[Any]) -> Any:
    return lambda request: httpx.Response(200, json={"code": 200, "data": {"items": rows}})


def broken_later(request: httpx.Request) -> httpx.Response:
    page = json.loads(request.content)["page"]
    rows = [ws_row(number) for number in range(100)]
    return (
        httpx.Response(200, json={"code": 200, "data": {"items": rows}}) if page == 1 else httpx.Response(503)
    )


@pytest.mark.parametrize(
    "handler",
    [
        always([ws_row(number) for number in range(100)]),
        broken_later,
        lambda request: httpx.Response(500),
        lambda request: httpx.Response(429, json={"code": 429, "message": "slow"}),
        lambda request: httpx.Response(200, content=b"<html>"),
        lambda request: httpx.Response(200, json={"code": 500, "message": "x"}),
        lambda request: httpx.Response(200, json={"code": 200, "data": {}}),
        lambda request: httpx.Response(200, json={"code": 200, "data": None}),
        lambda request: httpx.Response(400, json={"code": 400, "message": "x"}),
    ],
)
async def test_an_incomplete_wavespeed_listing_is_refused(handler: Any) -> None:
    with pytest.raises(UnavailableError, match=r"WaveSpeed|listing"):
        await find(wavespeed(handler))


async def test_a_full_page_then_a_refused_page_is_refused() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["page"] == 1:
            return httpx.Response(200, json={"data": {"items": [ws_row(number) for number in range(100)]}})
        return httpx.Response(400, json={"code": 400, "message": "page too high"})

    with pytest.raises(UnavailableError, match="broke off"):
        await find(wavespeed(handler))


@pytest.mark.slow
async def test_a_listing_without_end_is_refused() -> None:
    def endless(request: httpx.Request) -> httpx.Response:
        first = json.loads(request.content)["page"] * 100
        rows = [
            ws_row(number, START + timedelta(seconds=1), id=f"j{number}")
            for number in range(first, first + 100)
        ]
        return httpx.Response(200, json={"data": {"items": rows}})

    with pytest.raises(UnavailableError, match="shorter window"):
        await find(wavespeed(endless))


def log_page(rows: list[Any], more: bool) -> Any:
    return lambda request: httpx.Response(200, json={"data": rows, "pagination": {"has_more": more}})


@pytest.mark.parametrize(
    "handler",
    [
        log_page([], more=True),
        log_page([aiml_row(1)], more=True),
        lambda request: httpx.Response(200, json={"rows": []}),
        lambda request: httpx.Response(200, json=[]),
        lambda request: httpx.Response(400, json={"message": "window over 92 days", "statusCode": 400}),
    ],
)
async def test_incomplete_aimlapi_logs_are_refused(handler: Any) -> None:
    with pytest.raises(UnavailableError, match=r"AI/ML API|listing"):
        await find(aimlapi(handler))


# Rows that prove nothing

BROKEN: list[Any] = [
    {"id": "job-x", "created_at": "yesterday"},
    {"created_at": "2026-01-02T03:04:05Z"},
    {"id": {"a": 1}, "created_at": "2026-01-02T03:04:05Z"},
    None,
    "a row",
    7,
    [],
]


@pytest.mark.parametrize("broken", BROKEN)
async def test_a_row_that_cannot_be_read_is_set_aside_alone(broken: Any) -> None:
    rows: list[Any] = [ws_row(2), broken, ws_row(1)]
    read = await wavespeed(FakeWaveSpeed(rows)).list_jobs(after=START, before=END, endpoints=())
    assert [job.job_id for job in read] == ["job-2", "job-1"]
    assert len(read.aside) == 1
    logged: Any = broken
    if isinstance(broken, dict):
        logged = {"inference_id": broken.get("id"), "created": broken.get("created_at")}
    logs = FakeLogs([aiml_row(2), logged, aiml_row(1)])
    for listed in (
        await aimlapi(logs).list_jobs(after=START, before=END, endpoints=()),
        await aimlapi(logs).charges(after=START, before=END),
    ):
        assert [row.job_id for row in listed] == ["inf-2", "inf-1"]
        assert len(listed.aside) == 1


async def test_every_broken_row_is_counted_once_over_all_pages() -> None:
    rows = [row for n in reversed(range(120)) for row in (ws_row(n), {"id": f"broken-{n}"})]
    read = await wavespeed(FakeWaveSpeed(rows)).list_jobs(after=START, before=END, endpoints=())
    assert (len(read), len(read.aside)) == (120, 120)
    assert {row.job_id for row in read.aside} == {f"broken-{n}" for n in range(120)}


async def test_a_broken_row_outside_of_the_window_is_ignored() -> None:
    old = {"created_at": (START - timedelta(hours=1)).isoformat()}
    read = await wavespeed(FakeWaveSpeed([ws_row(1), old])).list_jobs(after=START, before=END, endpoints=())
    assert read.aside == ()


async def test_a_page_of_old_jobs_is_no_end_where_the_listing_is_not_sorted_as_asked() -> None:
    old = [ws_row(n, START - timedelta(hours=2, seconds=200 - n), id=f"old-{n}") for n in range(100)]
    read = await find(wavespeed(FakeWaveSpeed([*old, ws_row(1), ws_row(2)])))
    assert {job.job_id for job in read} == {"job-1", "job-2"}


async def test_check_reads_the_balance() -> None:
    def ws(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("GET", "/api/v3/balance")
        return httpx.Response(200, json={"code": 200, "data": {"balance": 12.5}})

    def aiml(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("GET", "/v2/billing")
        return httpx.Response(200, json={"current_balance": 123.45, "currency": "USD"})

    await wavespeed(ws).check()
    assert await wavespeed(ws).balance() == 12_500_000
    await aimlapi(aiml).check()
    assert await aimlapi(aiml).balance() == 123_450_000


@pytest.mark.parametrize(("status", "error"), [(401, ConfigurationError), (403, ConfigurationError)])
async def test_check_raises_for_a_refused_key(status: int, error: type[Exception]) -> None:
    body = {"code": status, "message": "no", "statusCode": status}
    for client, variable in (
        (wavespeed(lambda request: httpx.Response(status, json=body)), "WAVESPEED_API_KEY"),
        (aimlapi(lambda request: httpx.Response(status, json=body)), "AIMLAPI_API_KEY"),
    ):
        with pytest.raises(error, match=variable):
            await client.check()


@pytest.mark.parametrize("status", [302, 404, 429, 500, 503])
async def test_check_raises_for_a_provider_that_does_not_answer(status: int) -> None:
    for client in (
        wavespeed(lambda request: httpx.Response(status, json={"message": "x"})),
        aimlapi(lambda request: httpx.Response(status, json={"message": "x"})),
    ):
        with pytest.raises(UnavailableError, match=str(status)):
            await client.check()


async def test_a_refused_key_inside_http_200_is_found() -> None:
    with pytest.raises(ConfigurationError):
        await wavespeed(lambda request: httpx.Response(200, json={"code": 401, "message": "no"})).check()


# The bill


def bill_row(number: int, **fields: Any) -> dict[str, Any]:
    at = (START + timedelta(seconds=number)).isoformat().replace("+00:00", "Z")
    prediction = {"uuid": f"job-{number}", "model_uuid": MODEL, "status": "completed"}
    row = {"uuid": f"b-{number}", "billing_type": "deduct", "price": 0.4, "created_at": at}
    return {**row, "prediction": prediction, **fields}


class FakeBill:
    """Serves pages like WaveSpeed's billing search, charges and refunds apart."""

    def __init__(self, charges: list[dict[str, Any]], refunds: list[dict[str, Any]] | None = None) -> None:
        self.rows = {"deduct": charges, "refund": refunds or []}
        self.asked: list[dict[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/api/v3/billings/search")
        asked = json.loads(request.content)
        self.asked.append(asked)
        rows = self.rows[asked["billing_type"]]
        size = asked["page_size"]
        page = rows[(asked["page"] - 1) * size : asked["page"] * size]
        return httpx.Response(200, json={"code": 200, "data": {"total": len(rows), "items": page}})


async def test_charges_and_refunds_are_read_from_all_pages_of_the_bill() -> None:
    fake = FakeBill(
        [bill_row(n) for n in reversed(range(150))], [bill_row(3, price=0.4, billing_type="refund")]
    )
    rows = await wavespeed(fake).charges(after=START, before=END)
    assert [row.kind for row in rows].count("charge") == 150
    (refund,) = [row for row in rows if row.kind == "refund"]
    assert refund == Charge("job-3", 400_000, "refund", (START + timedelta(seconds=3)).timestamp(), MODEL)
    assert fake.asked[0]["start_time"] == str(int(START.timestamp() * 1000))


@pytest.mark.parametrize(("price", "micros"), [(1.2, 1_200_000), (24300, 24_300), ("0.40", 400_000), (0, 0)])
async def test_a_bill_in_dollars_or_in_micro_dollars_is_read(price: object, micros: int) -> None:
    rows = await wavespeed(FakeBill([bill_row(1, price=price)])).charges(after=START, before=END)
    assert [row.micros for row in rows] == [micros]


@pytest.mark.parametrize(
    "broken",
    [
        {"price": None},
        {"price": "$0.96"},
        {"price": -1},
        {"price": True},
        {"price": [0.4]},
        {"price": 10**30},
        {"price": "0." + "1" * 40},
        {"prediction": {}},
        {"prediction": None},
        {"created_at": "soon"},
        {"billing_type": None},
        {"billing_type": ""},
        {"billing_type": ["deduct"]},
        {"billing_type": "refund"},
        {"billing_type": "topup"},
    ],
)
async def test_a_row_of_the_bill_that_proves_nothing_is_set_aside_alone(broken: dict[str, Any]) -> None:
    fake = FakeBill([bill_row(2), bill_row(1, **broken)])
    rows = await wavespeed(fake).charges(after=START, before=END)
    assert [(row.job_id, row.kind) for row in rows] == [("job-2", "charge")]
    (aside,) = rows.aside
    assert aside.job_id == (None if "prediction" in broken else "job-1")


async def test_a_bill_that_ignores_the_query_is_read_by_its_own_labels() -> None:
    """It once made every delivered clip refunded: the same rows came as charges and as refunds."""

    def heedless(request: httpx.Request) -> httpx.Response:
        rows = [bill_row(2), bill_row(1), bill_row(1, uuid="r-1", billing_type="refund")]
        page = rows if json.loads(request.content)["page"] == 1 else []
        return httpx.Response(200, json={"code": 200, "data": {"items": page}})

    rows = await wavespeed(heedless).charges(after=START, before=END)
    assert [(row.job_id, row.kind) for row in rows] == [
        ("job-2", "charge"),
        ("job-1", "charge"),
        ("job-1", "refund"),
    ]
    assert len(rows.aside) == 3


async def test_two_equal_charges_of_a_job_count_twice() -> None:
    rows = await wavespeed(FakeBill([bill_row(1), bill_row(1, uuid="again")])).charges(
        after=START, before=END
    )
    assert sum(row.micros for row in rows) == 800_000


async def test_the_logs_are_the_bill_and_failures_cost_nothing() -> None:
    logs = FakeLogs([aiml_row(2), aiml_row(1, status="failed", cost={"usd": 0})])
    rows = await aimlapi(logs).charges(after=START, before=END)
    assert [(row.job_id, row.micros, row.kind) for row in rows] == [("inf-2", 400_000, "charge")]
    assert rows[0].submission_id == "sub-2"
    for cost in (None, {"usd": "$0.40"}, {"usd": -1}, {"usd": True}, {"credits": 5}, 0.4):
        read = await aimlapi(FakeLogs([aiml_row(2, cost=cost), aiml_row(1)])).charges(after=START, before=END)
        assert [row.job_id for row in read] == ["inf-1"]
        assert [row.submission_id for row in read.aside] == ["sub-2"]
