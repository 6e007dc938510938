"""Whatever a provider answers: no exception, no job without an id, no `NotSent` once bytes have arrived."""

import asyncio
import json
from typing import Any

import httpx
from hostile_server import HostileServer, Peer
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.providers.aimlapi.client import AimlApi
from resources.providers.base import Accepted, JobState, JobStatus, NotSent, PollFailed, Rejected, Unknown
from resources.providers.wavespeed.client import WaveSpeed

ENDPOINT = "openai/sora-2/text-to-video"
REFUSING = {400, 401, 402, 403, 404, 413, 422, 429}

names = st.sampled_from(
    [
        "code",
        "message",
        "data",
        "id",
        "generation_id",
        "status",
        "outputs",
        "video",
        "url",
        "urls",
        "error",
        "detail",
        "msg",
        "model",
        "statusCode",
        "requestId",
        "meta",
        "usage",
        "credits_used",
        "has_nsfw_contents",
        "timings",
        "inference",
        "path",
        "executionTime",
    ]
)
numbers = st.sampled_from(
    [0, -1, 200, 400, 401, 402, 403, 404, 429, 500, 1200, 1401, 1407, 5000, 10**40, 1e308, True]
)
words = st.sampled_from(
    ["completed", "failed", "created", "deleted", "error", "a1", "https://x.test/v.mp4?sig=1", "200"]
)
leaves = st.none() | numbers | words | st.text(max_size=20) | st.floats()
documents = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
    max_leaves=20,
)
bodies = documents.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200)
statuses = st.sampled_from(
    [200, 201, 202, 204, 302, 400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 504]
)
header_names = st.sampled_from(
    ["retry-after", "x-inference-id", "x-aimlapi-usd-spent", "date", "content-type"]
)
headers = st.dictionaries(
    header_names, st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)
)


def clients(status: int, body: bytes, given_headers: dict[str, str]) -> list[WaveSpeed | AimlApi]:
    transport = httpx.MockTransport(
        lambda request: httpx.Response(status, content=body, headers=given_headers)
    )
    return [
        WaveSpeed("https://ws.test", "key-of-wavespeed", transport=transport),
        AimlApi("https://aiml.test", "key-of-aimlapi", transport=transport),
    ]


@settings(max_examples=400)
@given(status=statuses, body=bodies, given_headers=headers)
async def test_any_answer_to_a_submit(status: int, body: bytes, given_headers: dict[str, str]) -> None:
    for client in clients(status, body, given_headers):
        outcome = await client.submit(ENDPOINT, {"prompt": "x"}, submission_id="s", deadline_seconds=60)
        assert not isinstance(outcome, NotSent)
        if isinstance(outcome, Accepted):
            assert outcome.job_id
            sent = body.decode(errors="replace")
            assert outcome.job_id in sent or outcome.job_id in given_headers.values() or "\\u" in sent
        if isinstance(outcome, Rejected):
            assert status in REFUSING or status < 300
            assert len(outcome.message) <= 500
            assert outcome.message.isprintable()
        if isinstance(outcome, Unknown):
            assert outcome.http_status == status
        json.dumps(getattr(outcome, "raw", None), allow_nan=False).encode()
        await client.aclose()


@settings(max_examples=400)
@given(status=statuses, body=bodies, given_headers=headers, age=st.sampled_from([0.0, 60.0, 1e6]))
async def test_any_answer_to_a_poll(
    status: int, body: bytes, given_headers: dict[str, str], age: float
) -> None:
    for client in clients(status, body, given_headers):
        state = await client.poll("a1", age_seconds=age)
        if isinstance(state, JobState):
            assert status < 300 or (status == 404 and age > 60)
            assert (state.failure is not None) == (state.status in {JobStatus.FAILED, JobStatus.GONE})
            assert all(url.startswith(("http://", "https://")) for url in state.outputs)
            assert "sig=1" not in str(state.raw)
            json.dumps(state.raw, allow_nan=False).encode()
        else:
            assert isinstance(state, PollFailed)
            assert state.retry_after is None or 0 <= state.retry_after <= 86_400
        await client.aclose()


@settings(max_examples=60)
@given(
    raw=st.binary(max_size=300)
    | st.tuples(statuses, bodies, st.integers(0, 400)).map(
        lambda parts: f"HTTP/1.1 {parts[0]} X\r\nContent-Length: {parts[2]}\r\n\r\n".encode() + parts[1]
    ),
    hear_first=st.booleans(),
)
async def test_any_bytes_on_the_wire(raw: bytes, hear_first: bool) -> None:
    async def speak(peer: Peer) -> None:
        if hear_first:
            await peer.read_request()
        await peer.write(raw)

    hostile = HostileServer()
    hostile.behaviour = speak
    async with await asyncio.start_server(hostile.serve, "127.0.0.1", 0) as server:
        hostile.port = server.sockets[0].getsockname()[1]
        wavespeed: Any = WaveSpeed(hostile.url, "key-of-wavespeed")
        aimlapi: Any = AimlApi(hostile.url, "key-of-aimlapi")
        for client in (wavespeed, aimlapi):
            outcome = await client.submit(ENDPOINT, {"prompt": "x"}, submission_id="s", deadline_seconds=60)
            # connected, so nothing proves any more that it was not sent
            assert isinstance(outcome, Accepted | Rejected | Unknown)
            await client.aclose()
