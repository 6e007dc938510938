"""Replicate's own Python client runs against the sandbox unchanged, address aside."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import replicate
from replicate.exceptions import ReplicateError

from resources.sandbox import RunningSandbox, SandboxSettings, running_sandbox

MODEL = "bytedance/seedance-2.0"
INPUT = {"prompt": "a boat", "duration": 4, "resolution": "720p", "aspect_ratio": "16:9", "seed": 7}
KEY = {"Authorization": "Bearer sandbox"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox(SandboxSettings(job_seconds=0.3, spread=0)) as running:
        yield running


@pytest.fixture
def official(sandbox: RunningSandbox) -> replicate.Client:
    return replicate.Client(api_token="sandbox", base_url=f"{sandbox.url}/replicate")


def test_it_creates_waits_and_reads(official: replicate.Client) -> None:
    prediction = official.models.predictions.create(model=MODEL, input=INPUT)
    assert prediction.status == "starting"
    prediction.wait()
    assert prediction.status == "succeeded"
    assert prediction.input == INPUT
    # a file wants the token
    assert httpx.get(str(prediction.output)).status_code == 401
    assert httpx.get(str(prediction.output), headers=KEY).content[4:8] == b"ftyp"


def test_it_runs_a_model_by_its_name(official: replicate.Client) -> None:
    output: Any = official.run(MODEL, input=INPUT, use_file_output=False)
    assert str(output).endswith(".mp4")


def test_it_lists_what_still_runs_with_its_input(official: replicate.Client) -> None:
    made = official.models.predictions.create(model=MODEL, input={**INPUT, "seed": 8})
    listed = {one.id: one for one in official.predictions.list()}
    assert listed[made.id].input == {**INPUT, "seed": 8}


def test_it_reads_a_refusal(official: replicate.Client) -> None:
    with pytest.raises(ReplicateError) as refused:
        official.models.predictions.create(model=MODEL, input={**INPUT, "duration": 99})
    assert refused.value.status == 422


def test_a_list_has_pages(sandbox: RunningSandbox, official: replicate.Client) -> None:
    another = replicate.Client(api_token="sandbox.pages", base_url=f"{sandbox.url}/replicate")
    for seed in range(101):
        another.models.predictions.create(model=MODEL, input={**INPUT, "seed": seed})
    first = another.predictions.list()
    assert (len(first), first.next is not None) == (100, True)
    second = another.predictions.list(first.next)  # type: ignore[arg-type]
    assert len(second) == 1
    # accounts do not see each other's
    assert len(official.predictions.list()) < 100


def test_an_unknown_field_is_refused(sandbox: RunningSandbox) -> None:
    place = f"{sandbox.url}/replicate/v1/models/{MODEL}/predictions"
    answer = httpx.post(place, json={"input": INPUT, "idempotency_key": "x"}, headers=KEY)
    assert answer.status_code == 422


def test_an_hour_after_its_end_everything_of_a_prediction_is_deleted() -> None:
    from starlette.testclient import TestClient

    from resources.sandbox import create_app

    now = time.time()
    clock = [now]
    app = create_app(SandboxSettings(job_seconds=1, spread=0), clock=lambda: clock[0])
    with TestClient(app) as web:
        made = web.post(
            f"/replicate/v1/models/{MODEL}/predictions", json={"input": INPUT}, headers=KEY
        ).json()
        clock[0] += 2
        ended = web.get(f"/replicate/v1/predictions/{made['id']}", headers=KEY).json()
        assert ended["output"]
        clock[0] += 3_601
        removed = web.get(f"/replicate/v1/predictions/{made['id']}", headers=KEY).json()
        assert (removed["data_removed"], removed["input"], removed["output"]) == (True, {}, None)
        assert web.get(ended["output"], headers=KEY).status_code == 404
