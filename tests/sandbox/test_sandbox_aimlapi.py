"""AI/ML API's side, by its pages."""

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pictures import png
from sandbox_bench import Bench

from proof.clock import Clock
from resources.sandbox import RunningSandbox
from resources.sandbox.endpoints import load_endpoints

PRO = "openai/sora-2-pro-t2v"


@pytest.mark.slow
def test_a_generation_is_submitted_fetched_and_downloaded(live: RunningSandbox) -> None:
    with httpx.Client(base_url=live.url, headers={"Authorization": "Bearer sandbox"}) as client:
        body = {
            "model": PRO,
            "prompt": "a dragon",
            "aspect_ratio": "9:16",
            "resolution": "720p",
            "duration": 8,
        }
        accepted = client.post("/v2/video/generations", json=body, headers={"X-Client-Request-Id": "att-7.1"})
        job_id = accepted.json()["id"]
        assert accepted.json() == {"id": job_id, "status": "queued"}
        assert re.fullmatch(r"video_[0-9a-f]+:openai/sora-2-pro-t2v", job_id)
        assert accepted.headers["x-inference-id"] == job_id
        assert accepted.headers["x-client-request-id"] == "att-7.1"
        done = client.get("/v2/video/generations", params={"generation_id": job_id})
        assert done.json()["status"] == "completed"
        assert done.json()["meta"] == {"usage": {"credits_used": 4_800_000}}
        assert float(done.headers["x-aimlapi-usd-spent"]) == 2.4
        assert httpx.get(done.json()["video"]["url"]).content[4:8] == b"ftyp"


async def test_a_job_is_queued_then_generating_then_completed(
    make: Callable[..., Bench], clock: Clock
) -> None:
    bench = make(slots=1)
    first, second = [(await bench.generate()).json()["id"] for _ in range(2)]
    clock.forward(4)
    running = (await bench.generation(first)).json()
    assert (running["status"], running["video"], running["error"], running["meta"]) == (
        "generating",
        None,
        None,
        None,
    )
    assert (await bench.generation(second)).json()["status"] == "queued"
    clock.forward(4)
    assert (await bench.generation(first)).json()["status"] == "completed"


async def test_short_ids_are_used_for_other_makers(bench: Bench) -> None:
    answer = await bench.generate("bytedance/seedance-2-0", duration=5)
    assert re.fullmatch(r"[A-Za-z0-9_-]{21}", answer.json()["id"])


@pytest.mark.parametrize(
    ("params", "word"),
    [
        ({"prompt": None}, "prompt"),
        ({"resolution": "4k"}, "720p, 1080p"),
        ({"duration": 16}, "4, 8, 12"),
        ({"duration": "4"}, "integer"),
        ({"aspect_ratio": "1:1"}, "16:9, 9:16"),
        ({"model": "openai/sora-3"}, "openai/sora-2-pro-t2v"),
        ({"model": "openai/sora-2-i2v"}, "image_url"),
    ],
)
async def test_a_wrong_parameter_is_refused_in_the_provider_s_error_body(
    bench: Bench, params: dict[str, Any], word: str
) -> None:
    answer = await bench.generate(**params)
    body = answer.json()
    assert answer.status_code == 400
    assert set(body) == {"message", "path", "requestId", "statusCode", "timestamp"}
    assert (body["statusCode"], body["path"]) == (400, "/v2/video/generations")
    assert word in body["message"]
    assert (await bench.books())["jobs"] == []


async def test_omitted_parameters_are_bought_at_their_default(bench: Bench) -> None:
    await bench.generate()
    (job,) = (await bench.books())["jobs"]
    assert job["params"] == {"prompt": "a hill", "resolution": "1080p", "aspect_ratio": "16:9", "duration": 4}
    assert job["price_micros"] == 2_000_000


async def test_a_request_id_with_other_characters_is_dropped_silently(bench: Bench, clock: Clock) -> None:
    for value in ("asset/key", "x" * 129):
        answer = await bench.generate(headers={"X-Client-Request-Id": value})
        assert answer.status_code == 200
        assert "x-client-request-id" not in answer.headers
    clock.forward(8)
    rows = (await bench.client.get("/v2/logs", params={"period": "1h"})).json()["data"]
    assert [row["client_request_id"] for row in rows] == [None, None]
    assert [visit["submission_id"] for visit in (await bench.books())["requests"]][:2] == [
        "asset/key",
        "x" * 129,
    ]


async def test_completed_jobs_are_charged_and_running_ones_reserve_money(
    make: Callable[..., Bench], clock: Clock
) -> None:
    bench = make(balance_usd=5)
    await bench.fault({"prompt_contains": "bad"}, {"do": "fail", "error": "Generation timeout"})

    async def balance() -> dict[str, Any]:
        return dict((await bench.client.get("/v2/billing")).json())

    good = (await bench.generate()).json()["id"]
    bad = (await bench.generate(prompt="a bad hill")).json()["id"]
    assert await balance() == {"current_balance": 5.0, "currency": "USD"}
    refused = await bench.generate()
    assert (refused.status_code, refused.json()["statusCode"]) == (403, 403)
    assert "run out of credits" in refused.json()["message"]
    clock.forward(8)
    failed = (await bench.generation(bad)).json()
    assert (failed["status"], failed["error"]) == (
        "error",
        {"name": "Error", "message": "Generation timeout"},
    )
    assert await balance() == {"current_balance": 3.0, "currency": "USD"}
    rows = (await bench.client.get("/v2/logs", params={"period": "1h"})).json()["data"]
    assert [(r["inference_id"], r["status"], r["cost"]) for r in rows] == [
        (bad, "failed", {"usd": 0.0, "credits": 0}),
        (good, "succeeded", {"usd": 2.0, "credits": 4_000_000}),
    ]
    assert (await bench.generate()).status_code == 200


async def test_the_log_shows_a_job_when_it_has_ended_or_at_once_if_so_set(
    make: Callable[..., Bench], clock: Clock
) -> None:
    for shows, before in ((False, 0), (True, 1)):
        bench = make(logs_show_running=shows)
        await bench.generate()
        for expected in (before, 1):
            log = (await bench.client.get("/v2/logs", params={"period": "1h"})).json()
            assert log["pagination"]["total"] == expected
            clock.forward(8)


async def test_the_log_pages_and_filters(bench: Bench, clock: Clock) -> None:
    for number in range(3):
        await bench.generate(headers={"X-Client-Request-Id": f"sub-{number}"})
        clock.forward(60)
    await bench.generate("openai/sora-2-t2v")
    clock.forward(8)
    now = datetime.fromtimestamp(clock.now, UTC)

    async def log(**query: Any) -> dict[str, Any]:
        answer = await bench.client.get("/v2/logs", params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    page = await log(period="1h", limit=3)
    assert page["pagination"] == {"limit": 3, "offset": 0, "total": 4, "has_more": True}
    assert [row["client_request_id"] for row in page["data"]] == [None, "sub-2", "sub-1"]
    assert [row["client_request_id"] for row in (await log(period="1h", limit=3, offset=3))["data"]] == [
        "sub-0"
    ]
    assert len((await log(period="1h", model="sora-2-t2v"))["data"]) == 1
    assert len((await log(period="1h", model=[PRO, "openai/sora-2-t2v"]))["data"]) == 4
    assert (await log(period="1h", model=f"{PRO},openai/sora-2-t2v"))["data"] == []
    assert (await log(period="1h", status="failed"))["data"] == []
    window = {"start": (now - timedelta(seconds=130)).isoformat(), "end": now.isoformat()}
    assert len((await log(**window))["data"]) == 3


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"period": "7"},
        {"period": "93d"},
        {"period": "1h", "start": "2026-01-01"},
        {"start": "2026-01-01"},
        {"start": "2026-01-02", "end": "2026-01-01"},
        {"start": "soon", "end": "later"},
        {"period": "1h", "status": "succeeded,failed"},
        {"period": "1h", "limit": 101},
    ],
)
async def test_a_log_without_a_proper_window_is_refused(bench: Bench, query: dict[str, Any]) -> None:
    assert (await bench.client.get("/v2/logs", params=query)).status_code == 400


async def test_models_need_no_key_and_carry_prices_when_asked(bench: Bench) -> None:
    async with bench.stranger() as stranger:
        answer = await stranger.get("/v1/models", params={"id": PRO, "include": "pricing"})
        (model,) = answer.json()["data"]
        again = await stranger.get(
            "/v1/models",
            params={"id": PRO, "include": "pricing"},
            headers={"If-None-Match": answer.headers["etag"]},
        )
        everything = (await stranger.get("/v1/models")).json()["data"]
    assert model["pricing"]["dimensions"] == ["resolution"]
    assert model["pricing"]["variants"][1] == {
        "when": {"resolution": "1080p"},
        "price": 0.5,
        "unit": "second",
        "per": 1,
    }
    assert again.status_code == 304
    assert {model["id"] for model in everything} == set(load_endpoints()["aimlapi"])
    assert "pricing" not in everything[0]


async def test_unknown_generations_and_wrong_keys_are_refused(bench: Bench) -> None:
    assert (await bench.generation("video_x:openai/sora-2-t2v")).status_code == 404
    assert (await bench.client.get("/v2/video/generations")).status_code == 400
    async with bench.stranger() as stranger:
        answer = await stranger.get("/v2/billing")
        assert (answer.status_code, answer.json()["statusCode"]) == (401, 401)


@pytest.mark.parametrize(
    ("picture", "status"),
    [(png(1280, 720), 200), (png(720, 1280), 400), (b"SECRET=hunter2", 400)],
    ids=["of the frame", "turned", "no picture"],
)
async def test_a_picture_inside_the_request_must_have_the_videos_size(
    bench: Bench, picture: bytes, status: int
) -> None:
    inside = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    answer = await bench.generate("openai/sora-2-i2v", image_url=inside)
    assert answer.status_code == status, answer.text
    # the books record that there was a picture, without its bytes
    assert all(len(str(job["body"])) < 500 for job in (await bench.books())["jobs"])
