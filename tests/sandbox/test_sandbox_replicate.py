"""Replicate's own Python client works with the sandbox unchanged, except for the address."""

import io
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pictures import png
from replicate.client import Client
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
def official(sandbox: RunningSandbox) -> Client:
    return Client(api_token="sandbox", base_url=f"{sandbox.url}/replicate")


@pytest.mark.slow
def test_the_official_client_creates_waits_and_reads(official: Client) -> None:
    prediction = official.models.predictions.create(model=MODEL, input=INPUT)
    assert prediction.status == "starting"
    prediction.wait()
    ended: str = prediction.status
    assert ended == "succeeded"
    assert prediction.input == INPUT
    # reading a file requires the token
    assert httpx.get(str(prediction.output)).status_code == 401
    assert httpx.get(str(prediction.output), headers=KEY).content[4:8] == b"ftyp"


def test_the_official_client_runs_a_model_by_its_name(official: Client) -> None:
    output: Any = official.run(MODEL, input=INPUT, use_file_output=False)
    assert str(output).endswith(".mp4")


def test_the_official_client_lists_running_predictions_with_their_input(official: Client) -> None:
    made = official.models.predictions.create(model=MODEL, input={**INPUT, "seed": 8})
    listed = {one.id: one for one in official.predictions.list()}
    assert listed[made.id].input == {**INPUT, "seed": 8}


def test_the_official_client_reads_a_refusal(official: Client) -> None:
    with pytest.raises(ReplicateError) as refused:
        official.models.predictions.create(model=MODEL, input={**INPUT, "duration": 99})
    assert refused.value.status == 422


@pytest.mark.slow
def test_a_list_has_pages(sandbox: RunningSandbox, official: Client) -> None:
    another = Client(api_token="sandbox.pages", base_url=f"{sandbox.url}/replicate")
    for seed in range(101):
        another.models.predictions.create(model=MODEL, input={**INPUT, "seed": seed})
    first = another.predictions.list()
    assert (len(first), first.next is not None) == (100, True)
    second = another.predictions.list(first.next)
    assert len(second) == 1
    # accounts do not see each other's predictions
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


def test_an_uploaded_picture_is_the_input_of_its_own_account_only(
    sandbox: RunningSandbox, official: Client
) -> None:
    file = official.files.create(io.BytesIO(png(1280, 720)), filename="boat.png")
    assert (file.content_type, file.size) == ("image/png", len(png(1280, 720)))
    # the token alone reads the file's description, which is not the picture
    assert httpx.get(file.urls["get"]).status_code == 401
    assert official.files.get(file.id).checksums == file.checksums

    # Replicate's client uploads a picture by itself
    output: Any = official.run(
        MODEL, input={**INPUT, "image": io.BytesIO(png(640, 480))}, use_file_output=False
    )
    assert str(output).endswith(".mp4")
    stranger = Client(api_token="sandbox.stranger", base_url=f"{sandbox.url}/replicate")
    with pytest.raises(ReplicateError, match="image"):
        stranger.models.predictions.create(model=MODEL, input={**INPUT, "image": file.urls["get"]})


def test_a_file_is_gone_after_an_hour() -> None:
    from starlette.testclient import TestClient

    from resources.sandbox import create_app

    clock = [1_000.0]
    app = create_app(SandboxSettings(), clock=lambda: clock[0])
    with TestClient(app) as web:
        form = {"content": ("boat.png", png(64, 64), "image/png")}
        made = web.post("/replicate/v1/files", files=form, headers=KEY).json()
        asked = {"input": {**INPUT, "image": made["urls"]["get"]}}
        place = f"/replicate/v1/models/{MODEL}/predictions"
        assert web.post(place, json=asked, headers=KEY).status_code == 201
        clock[0] += 3_601
        assert web.post(place, json=asked, headers=KEY).status_code == 422
        assert web.get(made["urls"]["get"].replace("http://testserver", ""), headers=KEY).status_code == 404


def test_a_form_without_a_file_is_refused(sandbox: RunningSandbox) -> None:
    place = f"{sandbox.url}/replicate/v1/files"
    sent: dict[str, Any]
    for sent in ({"files": {"other": ("a.png", b"x")}}, {"json": {}}, {"files": {"content": ("a.png", b"")}}):
        assert httpx.post(place, headers=KEY, **sent).status_code == 422
