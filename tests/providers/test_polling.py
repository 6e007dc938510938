"""Results of one poll, for both providers."""

import logging
from typing import Any

import httpx
import pytest

from resources.providers.aimlapi.client import AimlApi
from resources.providers.base import FailureKind, JobState, JobStatus, PollFailed
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed

VIDEO = "https://d111.example.net/a1b2c3/1.mp4"
AIML_ID = "video_abc:openai/sora-2-pro-t2v"


def prediction(**fields: Any) -> dict[str, Any]:
    data = {
        "id": "a1b2c3",
        "model": "openai/sora-2/text-to-video",
        "outputs": [],
        "status": "processing",
        "error": "",
    }
    return {"code": 200, "message": "success", "data": {**data, **fields}}


def generation(**fields: Any) -> dict[str, Any]:
    return {"id": AIML_ID, "status": "generating", "video": None, "error": None, "meta": None, **fields}


async def poll_wavespeed(
    status: int, body: object, *, age: float = 10, headers: Any = None
) -> JobState | PollFailed:
    client = WaveSpeed(
        Connection(
            "wavespeed", "https://ws.test", "key-of-wavespeed", transport=answering(status, body, headers)
        )
    )
    try:
        return await client.poll("a1b2c3", age_seconds=age)
    finally:
        await client.aclose()


async def poll_aimlapi(
    status: int, body: object, *, age: float = 10, headers: Any = None
) -> JobState | PollFailed:
    client = AimlApi(
        Connection(
            "aimlapi", "https://aiml.test", "key-of-aimlapi", transport=answering(status, body, headers)
        )
    )
    try:
        return await client.poll(AIML_ID, age_seconds=age)
    finally:
        await client.aclose()


def answering(status: int, body: object, headers: Any) -> httpx.MockTransport:
    content: dict[str, Any] = {"content": body} if isinstance(body, bytes) else {"json": body}
    return httpx.MockTransport(lambda request: httpx.Response(status, headers=headers, **content))


async def wavespeed_state(body: object) -> JobState:
    state = await poll_wavespeed(200, body)
    assert isinstance(state, JobState), state
    return state


async def aimlapi_state(body: object, headers: Any = None) -> JobState:
    state = await poll_aimlapi(200, body, headers=headers)
    assert isinstance(state, JobState), state
    return state


async def test_a_finished_wavespeed_job() -> None:
    body = prediction(
        status="completed", outputs=[VIDEO], has_nsfw_contents=[False], timings={"inference": 141000}, code=0
    )
    assert await wavespeed_state(body) == JobState(
        JobStatus.SUCCEEDED,
        "completed",
        outputs=(VIDEO,),
        model="openai/sora-2/text-to-video",
        inference_seconds=141,
        nsfw=(False,),
        raw=body,
    )


async def test_a_finished_aimlapi_job_carries_its_cost() -> None:
    body = generation(status="completed", video={"url": VIDEO}, meta={"usage": {"credits_used": 2520000}})
    assert await aimlapi_state(body) == JobState(
        JobStatus.SUCCEEDED, "completed", outputs=(VIDEO,), cost_micros=1_260_000, raw=body
    )


WORDS = {
    JobStatus.QUEUED: [
        "created",
        "queued",
        "pending",
        "submitted",
        "waiting",
        "starting",
        "IN_QUEUE",
        "in-queue",
        "preparing",
    ],
    JobStatus.RUNNING: [
        "processing",
        "generating",
        "in_progress",
        "running",
        "active",
        "dreaming",
        "brand_new_word",
    ],
    JobStatus.SUCCEEDED: ["completed", "COMPLETED", "succeeded", "Success", "finished"],
    JobStatus.FAILED: ["failed", "error", "ERROR", "cancelled", "canceled", "aborted"],
    JobStatus.GONE: ["expired", "deleted"],
}


@pytest.mark.parametrize(
    ("status", "word"), [(status, word) for status, words in WORDS.items() for word in words]
)
async def test_every_known_status_means_the_same_at_both(status: JobStatus, word: str) -> None:
    output = [VIDEO] if status is JobStatus.SUCCEEDED else []
    state = await wavespeed_state(prediction(status=word, outputs=output))
    assert (state.status, state.raw_status) == (status, word)
    state = await aimlapi_state(generation(status=word, video={"url": VIDEO} if output else None))
    assert (state.status, state.raw_status) == (status, word)


async def test_wavespeed_timeout_is_the_end_of_the_task() -> None:
    state = await wavespeed_state(prediction(status="timeout"))
    assert (state.status, state.failure) == (JobStatus.FAILED, FailureKind.PROVIDER)


async def test_an_unknown_status_with_a_video_is_success_at_aimlapi_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        state = await aimlapi_state(generation(status="ready_to_serve", video={"url": VIDEO}))
    assert (state.status, state.raw_status, state.outputs) == (
        JobStatus.SUCCEEDED,
        "ready_to_serve",
        (VIDEO,),
    )
    assert "ready_to_serve" in caplog.text
    state = await aimlapi_state(generation(status="generating", video={"url": VIDEO}))
    assert state.status is JobStatus.RUNNING
    state = await wavespeed_state(prediction(status="ready_to_serve", outputs=[VIDEO]))
    assert state.status is JobStatus.RUNNING


@pytest.mark.parametrize(
    "outputs", [[], None, [None], [""], [{}], "", [{"name": "x"}], ["not a url"], ["ftp://x/y"]]
)
async def test_completed_without_output_is_a_failure(outputs: object) -> None:
    state = await wavespeed_state(prediction(status="completed", outputs=outputs))
    assert (state.status, state.failure, state.raw_status) == (
        JobStatus.FAILED,
        FailureKind.NO_OUTPUT,
        "completed",
    )
    assert state.error
    state = await aimlapi_state(generation(status="completed", video=outputs))
    assert (state.status, state.failure) == (JobStatus.FAILED, FailureKind.NO_OUTPUT)


async def test_outputs_may_be_text_or_objects() -> None:
    for outputs in (VIDEO, [{"url": VIDEO}], [{"video": {"url": VIDEO}}], [{"video_url": VIDEO}]):
        assert (await wavespeed_state(prediction(status="completed", outputs=outputs))).outputs == (VIDEO,)
        assert (await aimlapi_state(generation(status="completed", video=outputs))).outputs == (VIDEO,)


async def test_a_character_is_an_output_by_its_id() -> None:
    character = {"id": "char_1", "name": "Joe"}
    state = await wavespeed_state(prediction(status="completed", outputs=[character]))
    assert (state.status, state.outputs) == (JobStatus.SUCCEEDED, ("char_1",))
    assert state.raw["data"]["outputs"] == [character]


async def test_a_signed_output_url_is_usable_but_not_kept_in_raw() -> None:
    signed = VIDEO + "?X-Signature=sssh&e=1"
    state = await wavespeed_state(prediction(status="completed", outputs=[signed]))
    assert state.outputs == (signed,)
    assert "sssh" not in str(state.raw)
    assert state.raw["data"]["outputs"] == [VIDEO]


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"code": 1200, "error": "x"}, FailureKind.MODERATION),
        ({"error": "Content was flagged by the safety system"}, FailureKind.MODERATION),
        ({"code": 1401, "error": "x"}, FailureKind.INVALID),
        ({"code": 1402, "error": "x"}, FailureKind.INVALID),
        ({"code": 1407, "error": "x"}, FailureKind.INSUFFICIENT_FUNDS),
        ({"code": 1403, "error": "x"}, FailureKind.PROVIDER),
        ({"code": 1405, "error": "the safety system of the engine failed"}, FailureKind.PROVIDER),
        ({"code": 5000}, FailureKind.PROVIDER),
        ({"error": {"message": "internal"}}, FailureKind.PROVIDER),
        ({}, FailureKind.PROVIDER),
    ],
)
async def test_the_failure_kind_of_a_wavespeed_task(fields: dict[str, Any], kind: FailureKind) -> None:
    state = await wavespeed_state(prediction(status="failed", **fields))
    assert (state.status, state.failure) == (JobStatus.FAILED, kind)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            {"name": "Error", "message": "Your request was blocked by our moderation system"},
            FailureKind.MODERATION,
        ),
        ({"name": "Error", "message": "upstream exploded"}, FailureKind.PROVIDER),
        ({"detail": [{"loc": ["body"], "msg": "too long", "type": "value_error"}]}, FailureKind.INVALID),
        ("flagged", FailureKind.MODERATION),
        (None, FailureKind.PROVIDER),
    ],
)
async def test_the_failure_kind_of_an_aimlapi_generation(error: object, kind: FailureKind) -> None:
    state = await aimlapi_state(generation(status="error", error=error))
    assert (state.status, state.failure) == (JobStatus.FAILED, kind)


async def test_completed_with_an_error_and_no_video_is_a_failure_with_its_reason() -> None:
    state = await aimlapi_state(generation(status="completed", error={"message": "blocked by moderation"}))
    assert (state.status, state.failure, state.error) == (
        JobStatus.FAILED,
        FailureKind.MODERATION,
        "blocked by moderation",
    )


async def test_nsfw_is_true_false_or_unknown() -> None:
    state = await wavespeed_state(prediction(has_nsfw_contents=[True, None, "no"]))
    assert state.nsfw == (True, None, None)
    assert (await wavespeed_state(prediction(has_nsfw_contents=None))).nsfw == ()


@pytest.mark.parametrize(
    ("credits_used", "micros"),
    [
        (0, 0),
        (1, 1),
        (3, 2),
        (2520000, 1260000),
        (2520000.5, 1260000),
        (None, None),
        (True, None),
        (-1, None),
        ("2", 1),
    ],
)
async def test_credits_become_micro_dollars(credits_used: object, micros: int | None) -> None:
    body = generation(
        status="completed", video={"url": VIDEO}, meta={"usage": {"credits_used": credits_used}}
    )
    assert (await aimlapi_state(body)).cost_micros == micros


async def test_the_cost_header_counts_only_when_the_job_is_finished() -> None:
    done = generation(status="completed", video={"url": VIDEO})
    header = {"x-aimlapi-usd-spent": "0.401240000"}
    assert (await aimlapi_state(done, header)).cost_micros == 401_240
    assert (await aimlapi_state(generation(), header)).cost_micros is None
    assert (await aimlapi_state(done, {"x-aimlapi-usd-spent": "0"})).cost_micros is None
    both = {**done, "meta": {"usage": {"credits_used": 2000000}}}
    assert (await aimlapi_state(both, header)).cost_micros == 1_000_000


async def test_a_404_is_final_only_for_an_old_job_and_never_from_a_gateway() -> None:
    ours = {"code": 404, "message": "Prediction not found"}
    theirs = {"message": "Not found", "statusCode": 404, "path": "/v2/video/generations"}
    for poll, body in ((poll_wavespeed, ours), (poll_aimlapi, theirs)):
        assert isinstance(await poll(404, body, age=59), PollFailed)
        gone = await poll(404, body, age=61)
        assert isinstance(gone, JobState)
        assert (gone.status, gone.failure) == (JobStatus.GONE, FailureKind.GONE)
        assert isinstance(await poll(404, b"<html>404</html>", age=9999), PollFailed)
    inside = await poll_wavespeed(200, ours, age=61)
    assert isinstance(inside, JobState)
    assert inside.status is JobStatus.GONE


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"message": "invalid key"}, FailureKind.AUTH),
        (401, b"", FailureKind.AUTH),
        (403, {"message": "not allowed"}, FailureKind.AUTH),
        (403, b"<html>Attention Required</html>", FailureKind.PROVIDER),
        (429, b"", FailureKind.THROTTLED),
        (500, {"message": "x"}, FailureKind.PROVIDER),
        (503, b"<html>", FailureKind.PROVIDER),
        (400, {"message": "x"}, FailureKind.PROVIDER),
        (302, b"", FailureKind.PROVIDER),
        (200, b"", FailureKind.PROVIDER),
        (200, b"{", FailureKind.PROVIDER),
        (200, [], FailureKind.PROVIDER),
        (200, {}, FailureKind.PROVIDER),
        (500, prediction(status="failed"), FailureKind.PROVIDER),
        (500, generation(status="error"), FailureKind.PROVIDER),
    ],
)
async def test_an_answer_without_the_job_is_a_failed_poll(
    status: int, body: object, kind: FailureKind
) -> None:
    for poll in (poll_wavespeed, poll_aimlapi):
        failed = await poll(status, body, age=9999, headers={"retry-after": "5"})
        assert isinstance(failed, PollFailed), failed
        assert (failed.kind, failed.retry_after) == (kind, 5)
        assert str(status) in failed.cause


async def test_an_answer_about_another_job_is_a_failed_poll() -> None:
    assert isinstance(await poll_wavespeed(200, prediction(id="other", status="completed")), PollFailed)
    assert isinstance(await poll_aimlapi(200, generation(id="other", status="completed")), PollFailed)
    unreadable: object
    for unreadable in ({"a": 1}, [], "", True, "..", "x" * 600):
        assert isinstance(await poll_wavespeed(200, prediction(id=unreadable)), PollFailed)
        assert isinstance(await poll_aimlapi(200, generation(id=unreadable)), PollFailed)
    short = await poll_aimlapi(200, generation(id="video_abc"))
    assert isinstance(short, JobState)


async def test_an_unreachable_provider_is_a_failed_poll() -> None:
    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError("reset")

    client = WaveSpeed(
        Connection("wavespeed", "https://ws.test", "key-of-wavespeed", transport=httpx.MockTransport(broken))
    )
    failed = await client.poll("a", age_seconds=0)
    assert isinstance(failed, PollFailed)
    assert "ws.test" in failed.cause


@pytest.mark.parametrize("job_id", ["", ".", "..", "a b", "a\nb", "x" * 600])
async def test_an_invalid_id_is_not_polled(job_id: str) -> None:
    def unexpected(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    for client in (
        WaveSpeed(
            Connection(
                "wavespeed", "https://ws.test", "key-of-wavespeed", transport=httpx.MockTransport(unexpected)
            )
        ),
        AimlApi(
            Connection(
                "aimlapi", "https://aiml.test", "key-of-aimlapi", transport=httpx.MockTransport(unexpected)
            )
        ),
    ):
        failed = await client.poll(job_id, age_seconds=999)
        assert isinstance(failed, PollFailed)
        assert "AssertionError" not in failed.cause
