"""Whatever bytes arrive: no exception, and no `NotSent`. The conformance kit tests the meaning of answers."""

import asyncio
import json
import time

from examples import examples
from hostile_server import HostileServer, Peer
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.network.way_out import Network
from resources.providers.base import Accepted, Rejected, Unknown
from resources.providers.registry import registered
from resources.providers.spec import Connection

ENDPOINT = "openai/sora-2/text-to-video"

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


@settings(max_examples=examples(30))
@given(
    raw=st.binary(max_size=300)
    | st.tuples(statuses, bodies, st.integers(0, 400)).map(
        lambda parts: f"HTTP/1.1 {parts[0]} X\r\nContent-Length: {parts[2]}\r\n\r\n".encode() + parts[1]
    ),
    hear_first=st.booleans(),
)
async def test_any_bytes_of_a_provider_give_an_outcome_but_not_sent(raw: bytes, hear_first: bool) -> None:
    async def speak(peer: Peer) -> None:
        if hear_first:
            await peer.read_request()
        await peer.write(raw)

    hostile = HostileServer()
    hostile.behaviour = speak
    async with await asyncio.start_server(hostile.serve, "127.0.0.1", 0) as server:
        hostile.port = server.sockets[0].getsockname()[1]
        for spec in registered().values():
            client = spec.build(Connection(spec.name, hostile.url, "the-key", Network(), time.time))
            outcome = await client.submit(ENDPOINT, {"prompt": "x"}, submission_id="s", deadline_seconds=60)
            # connected: nothing proves any longer that the request was not sent
            assert isinstance(outcome, Accepted | Rejected | Unknown)
            await client.aclose()
