"""Every fault that a fault script can cause."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from pydantic import ValidationError
from sandbox_bench import KEY, SORA, Bench

import resources.sandbox as sandbox_package
from proof.clock import Clock
from resources.errors import ConfigurationError
from resources.sandbox import FaultRule, RunningSandbox
from resources.sandbox.faults import Faults, Subject, load_faults
from resources.video.inspector import inspect_video

DEMO = Path(str(sandbox_package.__file__)).with_name("demo_faults.yaml")


def inject(sandbox: RunningSandbox, then: dict[str, Any], **when: Any) -> None:
    rule = {"name": "test", "when": when, "then": then}
    httpx.post(f"{sandbox.url}/admin/faults", json={"faults": [rule]}).raise_for_status()


def submit(sandbox: RunningSandbox) -> httpx.Response:
    return httpx.post(f"{sandbox.url}/api/v3/{SORA}", json={"prompt": "a hill"}, headers=KEY)


def books(sandbox: RunningSandbox) -> dict[str, Any]:
    return dict(httpx.get(f"{sandbox.url}/admin/books?requests=1").json())


@pytest.mark.parametrize("operation", ["submit", "balance"])
def test_a_lost_answer_is_a_closed_connection_without_a_byte(live: RunningSandbox, operation: str) -> None:
    inject(live, {"do": "lose_answer"}, operation=operation, times=1)

    def ask() -> httpx.Response:
        return submit(live) if operation == "submit" else httpx.get(f"{live.url}/api/v3/balance", headers=KEY)

    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        ask()
    assert ask().status_code == 200
    assert [visit["status"] for visit in books(live)["requests"]] == [None, 200]
    assert len(books(live)["jobs"]) == (2 if operation == "submit" else 0)


def test_a_dropped_request_has_no_effect(live: RunningSandbox) -> None:
    inject(live, {"do": "drop"}, operation="submit", times=1)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        submit(live)
    assert books(live)["jobs"] == []


def test_a_cut_answer_promises_more_than_it_sends(live: RunningSandbox) -> None:
    inject(live, {"do": "cut_answer", "share": 0.2}, operation="submit", times=1)
    with pytest.raises(httpx.RemoteProtocolError, match=r"incomplete|without sending complete"):
        submit(live)
    assert len(books(live)["jobs"]) == 1


def test_a_truncated_download_ends_early_and_can_be_resumed(live: RunningSandbox) -> None:
    inject(live, {"do": "truncate", "share": 0.25}, times=1)
    job_id = submit(live).json()["data"]["id"]
    url = httpx.get(f"{live.url}/api/v3/predictions/{job_id}/result", headers=KEY).json()["data"]["outputs"][
        0
    ]
    got = bytearray()

    def read(answer: httpx.Response) -> None:
        for piece in answer.iter_raw():
            got.extend(piece)

    with httpx.stream("GET", url) as answer, pytest.raises(httpx.RemoteProtocolError):
        read(answer)
    promised = int(answer.headers["content-length"])
    assert len(got) == promised // 4
    rest = httpx.get(url, headers={"Range": f"bytes={len(got)}-", "If-Range": answer.headers["etag"]})
    assert rest.status_code == 206
    assert bytes(got) + rest.content == httpx.get(url).content


async def test_a_request_can_be_rejected_with_any_answer(bench: Bench) -> None:
    body = {"code": 400, "message": "The account does not have enough credits", "data": {"code": 1407}}
    then = {"do": "reject", "status": 402, "body": body, "headers": {"X-Why": "test"}}
    await bench.fault({"times": 1}, then)
    answer = await bench.buy()
    assert (answer.status_code, answer.json(), answer.headers["x-why"]) == (402, body, "test")
    assert (await bench.books())["jobs"] == []
    assert (await bench.buy()).status_code == 200


async def test_an_error_after_acceptance_leaves_a_job_behind(bench: Bench, clock: Clock) -> None:
    await bench.fault({"provider": "aimlapi"}, {"do": "error_after", "status": 504})
    answer = await bench.generate(headers={"X-Client-Request-Id": "sub-1"})
    assert (answer.status_code, answer.headers["content-type"]) == (504, "text/html; charset=utf-8")
    clock.forward(8)
    (row,) = (await bench.client.get("/v2/logs", params={"period": "1h"})).json()["data"]
    assert row["client_request_id"] == "sub-1"
    assert (await bench.books())["accounts"]["aimlapi"]["charged_micros"] == 2_000_000


async def test_a_garbage_answer_leaves_a_job_behind(bench: Bench) -> None:
    await bench.fault({}, {"do": "garbage"})
    answer = await bench.buy()
    assert answer.status_code == 200
    with pytest.raises(ValueError, match="Unterminated"):
        answer.json()
    assert len((await bench.books())["jobs"]) == 1


async def test_a_throttled_answer_has_the_providers_form_or_a_gateways(bench: Bench) -> None:
    await bench.fault({"number": 1}, {"do": "throttle", "retry_after": 7})
    await bench.fault({"number": 2}, {"do": "throttle"})
    await bench.fault({"number": 3}, {"do": "throttle", "envelope": False})
    wave, aiml, gateway = await bench.buy(), await bench.generate(), await bench.buy()
    assert (wave.status_code, wave.json()["code"], wave.headers["retry-after"]) == (429, 429, "7")
    assert (aiml.status_code, aiml.json()["statusCode"], "retry-after" in aiml.headers) == (429, 429, False)
    assert (gateway.status_code, gateway.text) == (429, "Too Many Requests")
    assert (await bench.books())["jobs"] == []


async def test_a_delay_answers_late_and_one_before_accepts_late(bench: Bench, clock: Clock) -> None:
    async def wait(_rule: str, seconds: float, _port: int) -> None:
        clock.forward(seconds)

    bench.app.state.workshop.wait = wait
    start = clock.now
    await bench.fault({"number": 1}, {"do": "delay", "seconds": 5})
    await bench.fault({"number": 2}, {"do": "delay", "seconds": 60, "before": True})
    await bench.buy()
    await bench.buy()
    assert clock.now == start + 65
    assert [job["received_at"] - start for job in (await bench.books())["jobs"]] == [0, 65]


async def test_polls_can_show_unknown_statuses_and_go_backward(bench: Bench, clock: Clock) -> None:
    await bench.fault({"operation": "poll", "number": 1}, {"do": "status", "word": "pondering"})
    await bench.fault({"operation": "poll", "number": 2}, {"do": "backward"})
    await bench.fault(
        {"operation": "poll", "number": 3}, {"do": "status", "word": "succeeded", "keep_outputs": True}
    )
    job_id = await bench.bought()
    clock.forward(8)
    seen = [await bench.poll(job_id) for _ in range(4)]
    assert [state["status"] for state in seen] == ["pondering", "created", "succeeded", "completed"]
    assert [len(state["outputs"]) for state in seen] == [0, 0, 1, 1]


async def test_aimlapi_polls_can_show_unknown_statuses_and_go_backward(bench: Bench, clock: Clock) -> None:
    await bench.fault({"number": 1}, {"do": "backward"})
    await bench.fault({"number": 2}, {"do": "status", "word": "succeeded", "keep_outputs": True})
    job_id = (await bench.generate()).json()["id"]
    clock.forward(8)
    seen = [(await bench.generation(job_id)).json() for _ in range(3)]
    assert [state["status"] for state in seen] == ["queued", "succeeded", "completed"]
    assert [state["video"] is not None for state in seen] == [False, True, True]


async def test_a_stuck_job_never_ends_and_keeps_its_slot(make: Callable[..., Bench], clock: Clock) -> None:
    bench = make(slots=1)
    await bench.fault({"times": 1}, {"do": "stuck"})
    stuck, waiting = await bench.bought(), await bench.bought()
    clock.forward(86400)
    assert [(await bench.poll(job))["status"] for job in (stuck, waiting)] == ["processing", "created"]
    jobs = (await bench.books())["jobs"]
    assert [(job["ends_at"], job["status"]) for job in jobs] == [(None, "working"), (None, "waiting")]


async def test_a_job_can_complete_without_an_output(bench: Bench, clock: Clock) -> None:
    await bench.fault({}, {"do": "empty_outputs"})
    wave, aiml = await bench.bought(), (await bench.generate()).json()["id"]
    clock.forward(8)
    assert {key: (await bench.poll(wave))[key] for key in ("status", "outputs")} == {
        "status": "completed",
        "outputs": [],
    }
    done = (await bench.generation(aiml)).json()
    assert (done["status"], done["video"]) == ("completed", None)
    assert [job["charged_micros"] for job in (await bench.books())["jobs"]] == [400_000, 2_000_000]


@pytest.mark.parametrize("shows", ["failed", "empty", "gone"])
async def test_an_end_can_be_taken_back(bench: Bench, clock: Clock, shows: str) -> None:
    await bench.fault({}, {"do": "taken_back", "shows": shows, "seconds": 60})
    wave, aiml = await bench.bought(), (await bench.generate()).json()["id"]
    clock.forward(8 + 59)
    seen = await bench.client.get(f"/api/v3/predictions/{wave}/result")
    generation = await bench.generation(aiml)
    if shows == "gone":
        assert (seen.status_code, generation.status_code) == (404, 404)
    else:
        words = {"failed": ("failed", "error"), "empty": ("completed", "completed")}[shows]
        assert (seen.json()["data"]["status"], generation.json()["status"]) == words
        assert (seen.json()["data"]["outputs"], generation.json()["video"]) == ([], None)
        assert bool(generation.json()["error"]) is (shows == "failed")
    clock.forward(1)
    polled = await bench.poll(wave)
    assert (polled["status"], len(polled["outputs"])) == ("completed", 1)
    done = (await bench.generation(aiml)).json()
    assert done["status"] == "completed"
    assert done["video"]["url"].endswith(".mp4")
    assert [job["charged_micros"] for job in (await bench.books())["jobs"]] == [400_000, 2_000_000]


async def test_polls_may_not_know_a_job_yet(bench: Bench, clock: Clock) -> None:
    await bench.fault({}, {"do": "not_yet_known", "seconds": 20})
    wave, aiml = await bench.bought(), (await bench.generate()).json()["id"]
    clock.forward(19)
    assert (await bench.client.get(f"/api/v3/predictions/{wave}/result")).status_code == 404
    assert (await bench.generation(aiml)).status_code == 404
    clock.forward(1)
    assert (await bench.poll(wave))["status"] == "completed"
    assert (await bench.generation(aiml)).json()["status"] == "completed"


async def test_a_bill_can_show_rows_that_prove_nothing(bench: Bench) -> None:
    await bench.bought()
    await bench.fault({"times": 1}, {"do": "odd_rows"})
    search = {"page": 1, "page_size": 10}
    (first, second) = [
        (await bench.client.post("/api/v3/billings/search", json=search)).json()["data"]["items"]
        for _ in range(2)
    ]
    assert [row["billing_type"] for row in first] == ["deduct", "refund", "deduct"]
    assert str(first[2]["price"]).startswith("$")
    assert second == first[:1]


@pytest.mark.slow
async def test_the_cdn_can_answer_with_a_web_page(bench: Bench, clock: Clock) -> None:
    await bench.fault({"prompt_matches": "^a h.ll$", "times": 1}, {"do": "html"})
    job_id = await bench.bought()
    clock.forward(8)
    url = (await bench.poll(job_id))["outputs"][0]
    page = await bench.client.get(url)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.text.startswith("<!doctype html>")
    assert (await bench.client.get(url)).content[4:8] == b"ftyp"


async def test_a_clip_can_have_the_wrong_size(bench: Bench, clock: Clock) -> None:
    await bench.fault({}, {"do": "wrong_size", "width": 640, "height": 360})
    job_id = await bench.bought()
    clock.forward(8)
    clip = await bench.client.get((await bench.poll(job_id))["outputs"][0])
    with av.open(io.BytesIO(clip.content)) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (640, 360)


@pytest.mark.slow
@pytest.mark.parametrize("flaw", [None, "black", "frozen", "silent", "mute"])
async def test_a_clip_can_be_black_or_frozen_or_silent_and_nothing_else(
    bench: Bench, clock: Clock, tmp_path: Path, flaw: str | None
) -> None:
    if flaw is not None:
        await bench.fault({}, {"do": flaw})
    job_id = await bench.bought()
    clock.forward(8)
    clip = await bench.client.get((await bench.poll(job_id))["outputs"][0])
    (tmp_path / "clip.mp4").write_bytes(clip.content)
    seen = inspect_video(tmp_path / "clip.mp4")
    assert seen.looked is not None
    found = {
        "black": seen.looked.black is not None,
        "frozen": seen.looked.frozen is not None,
        "silent": seen.looked.silent is not None,
        "mute": seen.video.audio_codec is None,
    }
    assert [kind for kind, is_so in found.items() if is_so] == ([flaw] if flaw else [])


async def test_another_model_can_serve_a_job(bench: Bench) -> None:
    await bench.fault(
        {"endpoint": SORA}, {"do": "substitute", "model": "bytedance/seedance-2.0/text-to-video"}
    )
    answer = (await bench.buy()).json()["data"]
    assert answer["model"] == "bytedance/seedance-2.0/text-to-video"
    (job,) = (await bench.books())["jobs"]
    assert (job["endpoint"], job["fate"]["faults"]) == (SORA, ["test"])


async def test_a_job_can_take_longer_and_stay_off_the_lists(bench: Bench, clock: Clock) -> None:
    await bench.fault({"number": 1}, {"do": "take", "seconds": 100})
    await bench.fault({"number": 1}, {"do": "unlisted", "seconds": 30})
    job_id = await bench.bought()

    async def listed() -> int:
        page = await bench.client.post("/api/v3/predictions", json={"page": 1, "page_size": 5})
        bill = await bench.client.post("/api/v3/billings/search", json={"page": 1, "page_size": 5})
        assert len(page.json()["data"]["items"]) == len(bill.json()["data"]["items"])
        return len(page.json()["data"]["items"])

    assert await listed() == 0
    clock.forward(30)
    assert await listed() == 1
    assert (await bench.poll(job_id))["status"] == "processing"
    clock.forward(70)
    assert (await bench.poll(job_id))["status"] == "completed"


def rule(**fields: Any) -> FaultRule:
    return FaultRule.model_validate({"name": "test", "then": {"do": "stuck"}, **fields})


def test_rules_match_by_provider_endpoint_prompt_number_and_times() -> None:
    faults = Faults(
        [
            rule(
                when={"provider": "wavespeed", "endpoint": SORA, "prompt_contains": "Light", "number": 2},
            ),
            rule(name="twice", when={"times": 2, "prompt_matches": r"\d"}),
        ]
    )

    def strike(prompt: str, provider: str = "wavespeed", endpoint: str = SORA) -> list[str]:
        return [hit.name for hit in faults.strike(Subject(provider, "submit", endpoint, prompt))]

    assert strike("a lighthouse") == []
    assert strike("a lighthouse", provider="aimlapi") == []
    assert strike("a lighthouse", endpoint="other") == []
    assert strike("dark") == []
    assert strike("a LIGHT") == ["test"]
    assert strike("a light") == []
    assert [strike("7") for _ in range(3)] == [["twice"], ["twice"], []]
    assert (faults.tally(faults.rules[0]).seen, faults.tally(faults.rules[0]).fired) == (3, 1)


def test_probability_is_repeatable() -> None:
    def hits(seed: int) -> list[int]:
        faults = Faults([rule(when={"probability": 0.3, "seed": seed})])
        return [n for n in range(300) if faults.strike(Subject("wavespeed", "submit"))]

    assert 60 < len(hits(1)) < 120
    assert hits(1) == hits(1)
    assert hits(1) != hits(2)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"then": {"do": "explode"}}, "explode"),
        ({"then": {"do": "stuck"}, "when": {"operation": "poll"}}, "only happen at operation 'submit'"),
        ({"then": {"do": "html"}, "when": {"operation": "submit"}}, "only happen at operation 'cdn'"),
        ({"then": {"do": "reject"}}, "status"),
        ({"then": {"do": "wrong_size", "width": 641, "height": 360}}, "multiple of 2"),
        ({"when": {"prompt_matches": "("}}, "regular expression"),
        ({"when": {"propmt": "x"}}, "propmt"),
    ],
)
def test_an_invalid_rule_is_refused(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(ValidationError, match=word):
        rule(**fields)


async def test_the_admin_refuses_a_wrong_rule_and_clears_all(bench: Bench) -> None:
    wrong = await bench.client.post(
        "/admin/faults", json={"faults": [{"name": "x", "then": {"do": "explode"}}]}
    )
    assert wrong.status_code == 422
    await bench.fault({"times": 1}, {"do": "reject", "status": 500})
    await bench.buy()
    (shown,) = (await bench.client.get("/admin/faults")).json()["faults"]
    assert shown["tally"] == {"seen": 1, "fired": 1}
    assert (await bench.client.delete("/admin/faults")).json() == {"faults": []}
    assert (await bench.buy()).status_code == 200


def test_the_error_of_an_unreadable_script_names_the_place(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_faults(path)
    path.write_text("faults: [")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_faults(path)
    path.write_text("faults: [{name: x, then: {do: fail, code: many}}]")
    with pytest.raises(ConfigurationError, match=r"faults\.0\.then\.fail\.code"):
        load_faults(path)
    path.write_text("")
    assert load_faults(path).faults == []


async def test_the_demo_s_lighthouse_fails_once(make: Callable[..., Bench], clock: Clock) -> None:
    bench = make(faults_path=DEMO)
    jobs = [
        await bench.bought(prompt)
        for prompt in ("a harbour", "The Lighthouse at dawn", "the lighthouse again")
    ]
    clock.forward(8)
    states = [await bench.poll(job) for job in jobs]
    assert [state["status"] for state in states] == ["completed", "failed", "completed"]
    assert (states[1]["code"], states[1]["error"]) == (
        1405,
        "Task failed: upstream worker restarted, please try again",
    )
