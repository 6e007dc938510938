"""WaveSpeed's side, by its pages and by the expectations of its own client."""

import asyncio
import hashlib
import hmac
import io
import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import av
import httpx
import pytest
import wavespeed
from pictures import mp4, png
from sandbox_bench import KEY, SORA, Bench

from proof.clock import Clock
from resources.sandbox import RunningSandbox, SandboxSettings, running_sandbox
from resources.sandbox.endpoints import load_endpoints

PRO = "openai/sora-2-pro/text-to-video"


def official(sandbox: RunningSandbox) -> wavespeed.Client:
    return wavespeed.Client(api_key="sandbox", base_url=sandbox.url, retry_interval=0.01)


def test_the_official_client_runs_to_the_end_and_downloads(live: RunningSandbox) -> None:
    result = official(live).run(SORA, {"prompt": "a hill", "duration": 4}, poll_interval=0.02)
    clip = httpx.get(result["outputs"][0])
    assert clip.headers["content-type"] == "video/mp4"
    assert clip.content[4:8] == b"ftyp"


def test_the_official_client_sees_a_failed_task(live: RunningSandbox) -> None:
    rule = {
        "name": "f",
        "when": {"times": 1},
        "then": {"do": "fail", "error": "worker went away", "code": 1405},
    }
    httpx.post(f"{live.url}/admin/faults", json={"faults": [rule]})
    with pytest.raises(RuntimeError, match=r"Prediction failed .* worker went away"):
        official(live).run(SORA, {"prompt": "a hill"}, poll_interval=0.02)
    assert official(live).run(SORA, {"prompt": "a hill"}, poll_interval=0.02)["outputs"]


def test_the_official_client_runs_a_failed_task_again_when_asked_to(live: RunningSandbox) -> None:
    rule = {"name": "f", "when": {"times": 1}, "then": {"do": "fail", "error": "HTTP 503 upstream"}}
    httpx.post(f"{live.url}/admin/faults", json={"faults": [rule]})
    assert official(live).run(SORA, {"prompt": "a hill"}, poll_interval=0.02, max_retries=1)["outputs"]
    assert len(httpx.get(f"{live.url}/admin/books").json()["jobs"]) == 2


def test_the_official_client_does_not_repeat_a_submit_whose_answer_was_lost(live: RunningSandbox) -> None:
    rule = {"name": "f", "then": {"do": "lose_answer"}}
    httpx.post(f"{live.url}/admin/faults", json={"faults": [rule]})
    with pytest.raises(RuntimeError, match="may already have been created"):
        official(live).run(SORA, {"prompt": "a hill"})
    books = httpx.get(f"{live.url}/admin/books?requests=1").json()
    assert len(books["jobs"]) == 1
    assert [visit["status"] for visit in books["requests"]] == [None]


def test_the_official_client_says_so_when_sync_mode_runs_out(live: RunningSandbox) -> None:
    answer = official(live).run_no_throw(SORA, {"prompt": "a hill"}, enable_sync_mode=True)
    assert answer["status"] == "processing"
    assert answer["task_id"] in answer["error"]


def test_the_official_client_uploads(live: RunningSandbox, tmp_path: Path) -> None:
    image = tmp_path / "hill.png"
    image.write_bytes(png(1280, 720))
    url = official(live).upload(str(image))
    assert httpx.get(url).content == image.read_bytes()
    assert official(live).run("openai/sora-2/image-to-video", {"image": url, "prompt": "it moves"})["outputs"]


def test_an_upload_with_the_key_or_other_headers_is_refused(live: RunningSandbox) -> None:
    ticket = httpx.post(
        f"{live.url}/api/v3/media/uploads", json={"filename": "a/../b.png", "size": 3}, headers=KEY
    ).json()["data"]
    headers, url = ticket["upload"]["headers"], ticket["upload"]["url"]
    assert httpx.put(url, content=b"abc", headers=headers | KEY).status_code == 403
    assert httpx.put(url, content=b"abc", headers={"Content-Type": "image/png"}).status_code == 403
    assert httpx.put(url, content=b"abcd", headers=headers).status_code == 400
    assert httpx.get(url).status_code == 404
    assert httpx.put(url, content=b"abc", headers=headers).status_code == 200
    assert httpx.put(url, content=b"xyz", headers=headers).status_code == 403
    assert httpx.get(url).content == b"abc"


async def test_a_job_is_created_then_processing_then_completed(
    make: Callable[..., Bench], clock: Clock
) -> None:
    bench = make(slots=1, job_seconds=10)
    first, second = await bench.buy(), await bench.bought()
    body = first.json()
    assert (body["code"], body["message"], body["data"]["status"], body["data"]["outputs"]) == (
        200,
        "success",
        "created",
        [],
    )
    job_id = body["data"]["id"]
    assert body["data"]["urls"]["get"] == f"http://127.0.0.1/api/v3/predictions/{job_id}/result"
    clock.forward(5)
    assert [(await bench.poll(i))["status"] for i in (job_id, second)] == ["processing", "created"]
    clock.forward(5)
    done = await bench.poll(job_id)
    assert (done["status"], done["has_nsfw_contents"], done["timings"]) == (
        "completed",
        [False],
        {"inference": 10_000},
    )
    assert done["outputs"][0].startswith("http://127.0.0.1/cdn/")
    assert (await bench.client.get(f"/api/v3/predictions/{job_id}")).json()["data"] == done


async def test_jobs_beyond_the_slots_wait_in_order_of_arrival(
    make: Callable[..., Bench], clock: Clock
) -> None:
    bench = make(slots=2, job_seconds=10)
    jobs = [await bench.bought() for _ in range(5)]
    finished = []
    for _ in range(4):
        finished.append([(await bench.poll(job))["status"] for job in jobs])
        clock.forward(10)
    assert [statuses.count("completed") for statuses in finished] == [0, 2, 4, 5]
    assert finished[1] == ["completed", "completed", "processing", "processing", "created"]


async def test_slots_can_change_while_jobs_run(make: Callable[..., Bench], clock: Clock) -> None:
    bench = make(slots=2, job_seconds=10)
    await bench.bought()
    await bench.bought()
    assert (await bench.client.post("/admin/settings", json={"slots": 3, "job_seconds": 1})).json()[
        "slots"
    ] == 3
    quick = await bench.bought()
    clock.forward(1)
    assert (await bench.poll(quick))["status"] == "completed"
    assert (await bench.client.post("/admin/settings", json={"slots": 0})).status_code == 422


async def test_times_spread_and_repeat_with_the_seed(make: Callable[..., Bench]) -> None:
    async def lengths(seed: int) -> list[float]:
        bench = make(seed=seed, spread=0.3, job_seconds=10)
        for _ in range(20):
            await bench.buy()
        return [job["ends_at"] - job["starts_at"] for job in (await bench.books())["jobs"]]

    first = await lengths(1)
    assert min(first) >= 7
    assert max(first) <= 13
    assert max(first) - min(first) > 3
    assert await lengths(1) == first
    assert await lengths(2) != first


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        ({}, 1400, "prompt"),
        ({"prompt": "  "}, 1401, "prompt"),
        ({"prompt": "x", "size": "720x1280"}, 1401, "720*1280"),
        ({"prompt": "x", "duration": "4"}, 1401, "integer"),
        ({"prompt": "x", "duration": True}, 1401, "integer"),
        ({"prompt": "x", "duration": 5}, 1401, "4, 8, 12, 16, 20"),
        ({"prompt": "x", "characters": ["char_unknown"]}, 1401, "char_unknown"),
    ],
)
async def test_a_wrong_parameter_is_refused_and_creates_nothing(
    bench: Bench, body: dict[str, Any], code: int, word: str
) -> None:
    answer = await bench.client.post(f"/api/v3/{SORA}", json=body)
    assert answer.status_code == 400
    assert (answer.json()["code"], answer.json()["data"]["code"]) == (400, code)
    assert word in answer.json()["message"]
    assert (await bench.books())["jobs"] == []


async def test_unknown_keys_are_dropped_and_the_default_is_billed(bench: Bench) -> None:
    answer = await bench.buy(model=PRO, resolution="1080p", duration=4)
    assert answer.status_code == 200
    (job,) = (await bench.books())["jobs"]
    assert job["params"] == {"prompt": "a hill", "size": "1280*720", "duration": 4}
    assert job["charged_micros"] == 1_200_000


async def test_an_invalid_request_is_refused(bench: Bench) -> None:
    url = f"/api/v3/{SORA}"
    assert (await bench.client.post(url, content=b"[1]")).json() == {"error": "invalid request body"}
    assert (await bench.client.post(url, content=b"{")).status_code == 400
    base64 = await bench.client.post(
        f"{url}?webhook=http://127.0.0.1:9/", json={"prompt": "x", "enable_base64_output": True}
    )
    assert (base64.status_code, list(base64.json())) == (400, ["error"])
    unknown = await bench.buy(model="openai/sora-9")
    assert (unknown.status_code, unknown.json()["code"]) == (404, 404)
    assert (await bench.client.get("/api/v3/predictions/nothing/result")).status_code == 404


async def test_a_wrong_key_is_refused_everywhere_but_at_the_cdn(bench: Bench) -> None:
    async with bench.stranger({"Authorization": "Bearer wrong"}) as stranger:
        for answer in (
            await stranger.post(f"/api/v3/{SORA}", json={"prompt": "x"}),
            await stranger.get("/api/v3/balance"),
            await stranger.post("/api/v3/predictions", json={"page": 1, "page_size": 1}),
        ):
            assert (answer.status_code, answer.json()["message"]) == (401, "Invalid API key")
    assert (await bench.books())["counts"]["wavespeed"] == {"submit": 1, "balance": 1, "list": 1}


@pytest.mark.parametrize(
    ("model", "body", "micros"),
    [
        (SORA, {"duration": 20}, 2_000_000),
        (PRO, {"size": "1280*720", "duration": 8}, 2_400_000),
        (PRO, {"size": "1024*1792", "duration": 4}, 2_000_000),
        (PRO, {"size": "1920*1080", "duration": 20}, 14_000_000),
        ("bytedance/seedance-2.0/text-to-video", {"resolution": "720p", "duration": 5}, 1_200_000),
    ],
)
async def test_the_price_endpoint_and_the_charge_agree(
    bench: Bench, model: str, body: dict[str, Any], micros: int
) -> None:
    price = await bench.client.post(
        "/api/v3/model/price", json={"model_id": model, "inputs": {"prompt": "x", **body}}
    )
    assert price.json()["data"] == {
        "model_id": model,
        "price": micros / 1_000_000,
        "discounted_price": micros / 1_000_000,
        "discount_rate": 100,
        "currency": "USD",
    }
    await bench.buy(model=model, **body)
    assert (await bench.books())["accounts"]["wavespeed"]["charged_micros"] == micros


async def test_a_price_for_part_of_the_inputs_is_the_base_price(bench: Bench) -> None:
    for inputs in ({"prompt": "x"}, {"size": "1920*1080"}, {"duration": 20, "resolution": "1080p"}):
        price = await bench.client.post("/api/v3/model/price", json={"model_id": PRO, "inputs": inputs})
        assert price.json()["data"]["price"] == 1.2


async def test_a_job_is_charged_at_once_and_a_failure_refunded_later(
    make: Callable[..., Bench], clock: Clock
) -> None:
    bench = make(balance_usd=1, refund_seconds=100)
    await bench.fault({"prompt_contains": "BAD"}, {"do": "fail", "error": "no", "code": 1403})

    async def balance() -> float:
        return float((await bench.client.get("/api/v3/balance")).json()["data"]["balance"])

    bad = await bench.bought("a bad hill")
    good = await bench.bought()
    assert await balance() == pytest.approx(0.2)
    poor = await bench.buy()
    assert (poor.status_code, poor.json()["code"], poor.json()["data"]["code"]) == (400, 400, 1407)
    clock.forward(8)
    failed = await bench.poll(bad)
    assert (failed["status"], failed["error"], failed["code"], failed["outputs"]) == (
        "failed",
        "no",
        1403,
        [],
    )
    assert await balance() == pytest.approx(0.2)
    assert (await bench.books())["accounts"]["wavespeed"]["refunded_micros"] == 0
    clock.forward(100)
    assert await balance() == pytest.approx(0.6)
    assert (await bench.books())["accounts"]["wavespeed"] == {
        "balance_micros": 600_000,
        "charged_micros": 800_000,
        "refunded_micros": 400_000,
    }
    search = {"page": 1, "page_size": 10, "sort": "created_at ASC"}
    bill = (await bench.client.post("/api/v3/billings/search", json=search)).json()["data"]
    rows = [
        (r["billing_type"], r["prediction"]["uuid"], r["price"], r["order"]["state"]) for r in bill["items"]
    ]
    assert rows == [("deduct", bad, 0.4, "done"), ("deduct", good, 0.4, "done"), ("refund", bad, 0.4, "done")]
    search |= {"prediction_uuids": [bad], "billing_type": "refund", "start_time": str(int(clock.now * 1000))}
    assert (await bench.client.post("/api/v3/billings/search", json=search)).json()["data"]["total"] == 1


async def test_the_list_pages_newest_first_and_shows_no_inputs(bench: Bench, clock: Clock) -> None:
    jobs = []
    for number in range(5):
        jobs.append(await bench.bought(f"hill {number}", model=PRO if number == 3 else SORA))
        clock.forward(1.5)

    async def ids(**query: Any) -> list[str]:
        answer = await bench.client.post("/api/v3/predictions", json={"page": 1, "page_size": 100, **query})
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["data"]["items"]]

    assert await ids() == jobs[::-1]
    assert (
        await ids(page_size=2) + await ids(page=2, page_size=2) + await ids(page=3, page_size=2) == jobs[::-1]
    )
    assert await ids(page=4, page_size=2) == []
    assert await ids(model=PRO) == [jobs[3]]
    assert await ids(status="processing") == jobs[::-1]
    middle = datetime.fromtimestamp(clock.now - 5).astimezone().isoformat()
    assert await ids(created_after=middle) == jobs[:1:-1]
    assert await ids(created_before=middle) == jobs[1::-1]
    page = await bench.client.post("/api/v3/predictions", json={"page": 1, "page_size": 1})
    (item,) = page.json()["data"]["items"]
    assert not {"input", "inputs", "prompt", "has_nsfw_contents"} & item.keys()
    assert len(item["created_at"].partition(".")[2]) == len("123456789Z")
    for wrong in ({"page": 1}, {"page_size": 5}, {"page": 0, "page_size": 5}, {"page": 1, "page_size": 101}):
        assert (await bench.client.post("/api/v3/predictions", json=wrong)).status_code == 400


async def test_jobs_are_forgotten_after_seven_days_and_when_deleted(bench: Bench, clock: Clock) -> None:
    old, other = await bench.bought(), await bench.bought()
    clock.forward(8)
    file = (await bench.poll(old))["outputs"][0]
    deleted = await bench.client.post("/api/v3/predictions/delete", json={"ids": [other, "nothing"]})
    assert deleted.json()["data"] == {"deleted_count": 1}
    assert (await bench.client.get(f"/api/v3/predictions/{other}/result")).status_code == 404
    assert (await bench.client.head(file)).status_code == 200
    clock.forward(7 * 86400)
    assert (await bench.client.get(f"/api/v3/predictions/{old}/result")).status_code == 404
    assert (await bench.client.head(file)).status_code == 404
    assert len((await bench.books())["jobs"]) == 2


async def test_a_character_is_made_and_used(bench: Bench, clock: Clock) -> None:
    making = await bench.client.post(
        "/api/v3/openai/sora-2/characters", json={"video": "https://example.org/joe.mp4", "name": "Joe"}
    )
    clock.forward(8)
    job_id = making.json()["data"]["id"]
    (character,) = (await bench.poll(job_id))["outputs"]
    assert character == {"id": f"char_{job_id}", "name": "Joe"}
    assert (await bench.buy(characters=[character["id"]])).status_code == 200
    assert (await bench.books())["jobs"][0]["charged_micros"] == 1_000


async def handed_in(bench: Bench, name: str, data: bytes) -> str:
    asked = {"filename": name, "size": len(data)}
    ticket = (await bench.client.post("/api/v3/media/uploads", json=asked)).json()["data"]
    upload = ticket["upload"]
    async with httpx.AsyncClient(transport=bench.client._transport) as storage:
        answer = await storage.put(upload["url"], content=data, headers=upload["headers"])
    assert answer.status_code == 200
    return str(ticket["download_url"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "resolution", "frame"),
    [
        ((900, 600), "720p", [1080, 720]),
        ((600, 900), "720p", [720, 1080]),
        ((900, 600), "1080p", [1536, 1024]),
    ],
)
async def test_the_frame_follows_an_uploaded_image(
    bench: Bench, clock: Clock, size: tuple[int, int], resolution: str, frame: list[int]
) -> None:
    url = await handed_in(bench, "hill.png", png(*size))
    body = {"image": url, "prompt": "it moves", "resolution": resolution}
    job_id = (await bench.client.post("/api/v3/openai/sora-2-pro/image-to-video", json=body)).json()["data"][
        "id"
    ]
    clock.forward(60)
    clip = await bench.client.get((await bench.poll(job_id))["outputs"][0])
    with av.open(io.BytesIO(clip.content), format="mov") as container:
        video = container.streams.video[0]
        assert [video.width, video.height] == frame


async def test_a_missing_file_or_a_file_that_is_no_image_is_refused(bench: Bench) -> None:
    url = await handed_in(bench, "hill.png", b"DB_PASSWORD=hunter2")
    for image in (url, f"{bench.client.base_url}/uploads/{'0' * 32}/a.png"):
        body = {"image": image, "prompt": "it moves"}
        refused = await bench.client.post("/api/v3/openai/sora-2/image-to-video", json=body)
        assert (refused.status_code, refused.json()["data"]["code"]) == (400, 1402)


@pytest.mark.parametrize(("seconds", "status"), [(1.0, 400), (3.0, 200), (6.0, 400)])
async def test_a_character_needs_a_film_of_two_to_four_seconds(
    bench: Bench, seconds: float, status: int
) -> None:
    url = await handed_in(bench, "joe.mp4", mp4(seconds=seconds))
    made = await bench.client.post("/api/v3/openai/sora-2/characters", json={"video": url, "name": "Joe"})
    assert made.status_code == status


async def test_too_many_submits_in_a_minute_are_refused(make: Callable[..., Bench], clock: Clock) -> None:
    bench = make(submits_per_minute=2)
    assert [(await bench.buy()).status_code for _ in range(3)] == [200, 200, 429]
    clock.forward(61)
    assert (await bench.buy()).status_code == 200


async def test_models_are_listed_with_their_schema(bench: Bench) -> None:
    models = {m["model_id"]: m for m in (await bench.client.get("/api/v3/models")).json()["data"]}
    assert set(models) == set(load_endpoints()["wavespeed"])
    schema = models[PRO]["api_schema"]["api_schemas"][0]["request_schema"]
    assert schema["required"] == ["prompt"]
    assert schema["properties"]["duration"] == {"type": "integer", "enum": [4, 8, 12, 16, 20], "default": 4}


class Hook:
    """A webhook's receiver: it refuses the first call and accepts the second."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.taken = Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.got.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(500 if len(hook.got) == 1 else 200)
                self.end_headers()
                if len(hook.got) == 2:
                    hook.taken.set()

            def log_message(self, *_: object) -> None: ...

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?attempt=7"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hook]:
    monkeypatch.setattr("resources.sandbox.webhooks._PAUSE", 0.01)
    monkeypatch.setattr("resources.sandbox.webhooks._LOOK_AGAIN", 0.01)
    receiver = Hook()
    thread = Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join(60)
    receiver.server.server_close()


def test_a_webhook_is_signed_and_repeated_until_it_is_accepted(live: RunningSandbox, hook: Hook) -> None:
    url = f"{live.url}/api/v3/{SORA}"
    httpx.post(url, params={"webhook": hook.url}, json={"prompt": "a hill"}, headers=KEY).raise_for_status()
    assert hook.taken.wait(60)
    secret = httpx.get(f"{live.url}/api/v3/webhook/secret", headers=KEY).json()["data"]["secret"]
    headers, body = hook.got[1]
    message = json.loads(body)
    assert (message["status"], message["input"]) == ("completed", {"prompt": "a hill"})
    assert message["outputs"][0].startswith(live.url)
    assert "data" not in message
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = hmac.new(secret.removeprefix("whsec_").encode(), signed, hashlib.sha256).hexdigest()
    assert headers["webhook-signature"] == f"v3,{expected}"


def test_a_webhook_that_was_due_while_the_sandbox_was_down_is_sent_after_the_restart(
    hook: Hook, tmp_path: Path, clock: Clock
) -> None:
    settings = SandboxSettings(state_path=tmp_path, spread=0)
    with running_sandbox(settings, clock=clock) as sandbox:
        url = f"{sandbox.url}/api/v3/{SORA}"
        httpx.post(url, params={"webhook": hook.url}, json={"prompt": "x"}, headers=KEY).raise_for_status()
    assert hook.got == []
    clock.forward(8)
    with running_sandbox(settings, clock=clock):
        assert hook.taken.wait(60)


def test_no_webhook_leaves_this_machine(
    live: RunningSandbox, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    post = httpx.AsyncClient.post

    async def spy(client: httpx.AsyncClient, url: str, **options: Any) -> httpx.Response:
        called.append(url)
        return await post(client, url, **options)

    monkeypatch.setattr(httpx.AsyncClient, "post", spy)
    for target in ("http://example.org/hook", hook.url):
        url = f"{live.url}/api/v3/{SORA}"
        httpx.post(url, params={"webhook": target}, json={"prompt": "x"}, headers=KEY).raise_for_status()
    assert hook.taken.wait(60)
    assert set(called) == {hook.url}


async def test_an_answer_to_a_submit_takes_the_configured_time(make: Callable[..., Bench]) -> None:
    bench = make(post_seconds=0.2)
    began = time.monotonic()
    submit = asyncio.create_task(bench.bought())
    while not bench.app.state.workshop.books.jobs():  # noqa: ASYNC110 - the books have no event to wait for
        await asyncio.sleep(0.01)
    assert not submit.done(), "a job exists before its submit is answered"
    await bench.poll(await submit)
    assert time.monotonic() - began >= 0.2
