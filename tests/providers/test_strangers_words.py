"""Providers' names and texts are bounded and legible before they are stored, compared or shown."""

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from resources.errors import UnavailableError
from resources.providers.aimlapi.client import AimlApi
from resources.providers.base import (
    Accepted,
    Candidate,
    Charge,
    FailureKind,
    JobState,
    JobStatus,
    NotSent,
    PollFailed,
    Rejected,
    Unknown,
    UploadFailed,
)
from resources.providers.live_models import LiveModel, LiveParameter
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from resources.storage.s3_errors import translated

HOSTILE = "\x1b[2J\x9b31m\u202e\u2066\u200b\ud800\x00\x07<!channel>" + "x" * 50_000
NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def hostile_answer(request: httpx.Request) -> httpx.Response:
    row = {
        "id": "job-1",
        "inference_id": "job-1",
        "client_request_id": HOSTILE,
        "model": HOSTILE,
        "status": HOSTILE,
        "created": "2026-11-20T12:00:00Z",
        "created_at": "2026-11-20T12:00:00Z",
        "price": 0.4,
        "billing_type": "deduct",
        "cost": {"usd": 0.4},
        "error": HOSTILE,
        "prediction": {"uuid": "job-1", "model_uuid": HOSTILE},
    }
    page = json.loads(request.content or b"{}").get("page", 1)
    if request.url.path.startswith("/v2/logs"):
        document: Any = {"data": [row], "pagination": {"has_more": False}}
    elif request.url.path.endswith(("/predictions", "/search")):
        kind = json.loads(request.content).get("billing_type")
        document = {"code": 200, "data": {"items": [row] if page == 1 and kind != "refund" else []}}
    elif request.url.path.endswith("/models"):
        document = {"data": [{"id": HOSTILE, "model_id": HOSTILE, "name": HOSTILE, "type": HOSTILE}]}
    else:
        document = {"code": 200, "message": HOSTILE, "data": row, **row}
    return httpx.Response(200, content=json.dumps(document))


def texts(thing: Any) -> list[str]:
    """Every text in some plain values and dataclasses, the raw answer included."""
    if dataclasses.is_dataclass(thing):
        thing = [getattr(thing, field.name) for field in dataclasses.fields(thing)]
    if isinstance(thing, dict):
        thing = [*thing, *thing.values()]
    if isinstance(thing, str):
        return [thing]
    return [text for part in thing for text in texts(part)] if isinstance(thing, list | tuple) else []


@pytest.mark.parametrize("make", [WaveSpeed, AimlApi])
async def test_every_name_of_a_model_is_bounded_and_legible(make: Any) -> None:
    client = make(
        Connection(
            "an-account",
            "https://x.test",
            "a-key-of-the-account",
            transport=httpx.MockTransport(hostile_answer),
        )
    )
    endpoint = "openai/sora-2/text-to-video"
    window = {"after": NOW - timedelta(hours=1), "before": NOW + timedelta(hours=1)}
    accepted = await client.submit(endpoint, {}, submission_id="s", deadline_seconds=60)
    state = await client.poll("job-1", age_seconds=5)
    (job,) = await client.list_jobs(**window, endpoints=())
    (charge,) = await client.charges(**window)
    (sold,) = await client.models()
    named = [accepted.model, state.model, state.raw_status, job.model, charge.model, sold.id, sold.title]
    for name in filter(None, named):
        assert name.isprintable()
        assert len(name) < 250
        assert name != endpoint
    assert accepted.model.endswith("… (50,023 characters)")
    assert state.error.isprintable()
    assert len(state.error) <= 500
    for text in texts([accepted.raw, state.raw]):
        assert not set(text) & set("\x00\x07\x1b\x9b\u202e\u2066\ud800")
        text.encode()


@pytest.mark.parametrize(
    "thing",
    [
        Accepted("job", HOSTILE, {}),
        JobState(JobStatus.RUNNING, HOSTILE, model=HOSTILE, error=HOSTILE),
        Candidate("job", HOSTILE, NOW, JobStatus.RUNNING, submission_id=HOSTILE),
        Charge("job", 1, "charge", 0.0, HOSTILE, HOSTILE),
        Rejected(FailureKind.INVALID, HOSTILE, 400),
        NotSent(HOSTILE),
        Unknown(HOSTILE),
        PollFailed(HOSTILE),
        UploadFailed(HOSTILE, FailureKind.INVALID),
        LiveModel(HOSTILE, (HOSTILE,), HOSTILE, HOSTILE),
        LiveParameter(HOSTILE, description=HOSTILE),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_no_client_of_a_provider_can_pass_an_unbounded_text(thing: Any) -> None:
    """The interface enforces this, so that a client that is written later cannot forget it."""
    for text in texts(thing):
        assert text.isprintable()
        assert len(text) <= 2_000


def test_an_invisible_character_does_not_turn_another_model_into_ours() -> None:
    assert Accepted("job", "openai/sora-2\u200b", {}).model != "openai/sora-2"
    assert Candidate("job", None, NOW, JobStatus.RUNNING, submission_id="ours\u200b").submission_id != "ours"


def test_the_error_code_of_an_s3_server_is_bounded_too() -> None:
    from botocore.exceptions import ClientError

    answer: Any = {"Error": {"Code": HOSTILE}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    said = str(
        translated(ClientError(answer, "PutObject"), "cannot store s3://b/k", "http://u:pw@s3.test", 0)
    )
    assert said.isprintable()
    assert len(said) < 400
    assert "pw" not in said


async def test_the_error_of_an_unreadable_listing_does_not_repeat_its_text() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(500, content=json.dumps({"message": HOSTILE})))
    client = WaveSpeed(Connection("wavespeed", "https://x.test", "a-key-of-the-account", transport=transport))
    with pytest.raises(UnavailableError) as refused:
        await client.list_jobs(after=NOW, before=NOW, endpoints=())
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 800
