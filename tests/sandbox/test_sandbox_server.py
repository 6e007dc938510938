"""The sandbox as a process, its stored state, and who may read its books."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sandbox_bench import KEY, SORA, Bench

from proof.clock import Clock
from resources.errors import ConfigurationError
from resources.sandbox import SandboxSettings, create_app, running_sandbox
from resources.sandbox.__main__ import main

COMMAND = [sys.executable, "-m", "resources.sandbox"]


@contextmanager
def process(*arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            assert child.stdout
            yield json.loads(child.stdout.readline())["url"], child
        finally:
            child.kill()


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command in this process, which must refuse its options in one line of standard error."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(signal, "signal", lambda *_: None)
        code, said = main(list(arguments)), capsys.readouterr()
        assert (code, said.out, said.err.count("\n")) == (2, "", 1)
        return said.err

    return run


@pytest.mark.slow
def test_the_command_serves_until_sigterm_and_a_killed_one_forgets_nothing(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    options = ["--state", str(tmp_path), "--job-seconds", "0", "--key", "k1"]
    key = {"Authorization": "Bearer k1"}
    with process(*options) as (url, child):
        submitted = httpx.post(f"{url}/api/v3/{SORA}", json={"prompt": "x"}, headers=key).json()["data"]
        path = f"/api/v3/predictions/{submitted['id']}/result"
        before = httpx.get(url + path, headers=key).json()["data"]["outputs"][0]
        clip = httpx.get(before).content
        child.kill()
        child.wait(60)
    with process(*options) as (url, child):
        after = httpx.get(url + path, headers=key).json()["data"]["outputs"][0]
        assert after.removeprefix(url) == before[before.index("/cdn/") :]
        assert httpx.get(after).content == clip
        assert "cannot listen on 127.0.0.1" in refused("--port", url.rpartition(":")[2])
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
        assert child.stderr
        assert child.stderr.read() == ""


def test_a_wrong_setting_is_an_error_in_one_line(tmp_path: Path, refused: Callable[..., str]) -> None:
    wrong = tmp_path / "faults.yaml"
    wrong.write_text("faults: [{name: x, then: {do: explode}}]")
    for arguments, word in ((["--spread", "2"], "--spread"), (["--faults", str(wrong)], "faults.0.then")):
        assert word in refused(*arguments)


async def test_jobs_money_books_and_fault_counts_survive_a_restart(
    make: Callable[..., Bench], clock: Clock, tmp_path: Path
) -> None:
    faults = tmp_path / "faults.yaml"
    faults.write_text("faults: [{name: once, when: {times: 1}, then: {do: fail, error: 'no'}}]")
    settings: dict[str, Any] = {
        "state_path": tmp_path / "state",
        "faults_path": faults,
        "slots": 1,
        "balance_usd": 1,
    }
    first = make(**settings)
    failing, good = await first.bought(), await first.bought()
    before = await first.books()
    first.app.state.workshop.close()
    clock.forward(8)
    second = make(**settings)
    assert (await second.poll(failing))["status"] == "failed"
    assert (await second.poll(good))["status"] == "processing"
    assert [job["id"] for job in (await second.books())["jobs"]] == [job["id"] for job in before["jobs"]]
    third = await second.bought()
    assert (await second.buy()).json()["data"]["code"] == 1407
    clock.forward(16)
    assert [(await second.poll(job))["status"] for job in (good, third)] == ["completed", "completed"]


@pytest.mark.slow
async def test_the_books_hold_every_request_and_job(bench: Bench, clock: Clock) -> None:
    headers = {"X-Client-Request-Id": "sub-1"}
    job_id = (await bench.generate(headers=headers)).json()["id"]
    await bench.generate("nothing")
    await bench.generation(job_id)
    clock.forward(8)
    url = (await bench.generation(job_id)).json()["video"]["url"]
    await bench.client.get(url)
    books = await bench.books()
    assert books["counts"] == {"aimlapi": {"submit": 2, "poll": 2}, "cdn": {"cdn": 1}}
    submit = books["requests"][0]
    assert (submit["status"], submit["job_id"], submit["submission_id"]) == (200, job_id, "sub-1")
    assert json.loads(submit["body"]) == {"model": "openai/sora-2-pro-t2v", "prompt": "a hill"}
    assert [visit["status"] for visit in books["requests"]] == [200, 400, 200, 200, 200]
    (job,) = books["jobs"]
    expected = {"id": job_id, "provider": "aimlapi", "submission_id": "sub-1", "polls": 2, "fetches": 1}
    assert {key: job[key] for key in expected} == expected
    assert (job["status"], job["charged_micros"]) == ("done", 2_000_000)
    assert "sandbox" not in json.dumps(books["requests"]), "the books must not contain the key"


async def test_the_admin_answers_this_machine_only(bench: Bench) -> None:
    transport = httpx.ASGITransport(bench.app, client=("10.0.0.7", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as stranger:
        assert (await stranger.get("/admin/books")).status_code == 403
        assert (await stranger.delete("/admin/faults")).status_code == 403
    rebound = await bench.client.get("http://evil.example/admin/books")
    assert rebound.status_code == 403
    for kind in (
        "text/plain",
        "text/plain; json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
    ):
        form = await bench.client.post("/admin/settings", content=b"{}", headers={"Content-Type": kind})
        assert form.status_code == 403, kind
    assert (await bench.client.post("/admin/settings", content=b'{"slots": 1}')).status_code == 403
    for said in ({"Origin": "http://127.0.0.1:1"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-site"}):
        assert (
            await bench.client.post("/admin/settings", json={"slots": 1}, headers=said)
        ).status_code == 403
        assert (await bench.client.delete("/admin/faults", headers=said)).status_code == 403
        assert (await bench.client.get("/admin/books", headers=said)).status_code == 403
    assert (await bench.client.get("/admin/settings")).json()["slots"] is None


async def test_output_addresses_start_with_the_public_url(make: Callable[..., Bench], clock: Clock) -> None:
    bench = make(public_url="http://sandbox.internal:9000/", job_seconds=0)
    output = (await bench.poll(await bench.bought()))["outputs"][0]
    assert output.startswith("http://sandbox.internal:9000/cdn/")


def test_a_state_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ConfigurationError, match="state directory"):
        create_app(SandboxSettings(state_path=blocked))


def test_one_state_directory_has_one_sandbox(tmp_path: Path) -> None:
    with (
        running_sandbox(SandboxSettings(state_path=tmp_path)),
        pytest.raises(ConfigurationError, match="is another sandbox using it"),
    ):
        create_app(SandboxSettings(state_path=tmp_path))
    create_app(SandboxSettings(state_path=tmp_path)).state.workshop.close()


def test_two_sandboxes_run_side_by_side() -> None:
    with running_sandbox() as one, running_sandbox() as two:
        assert one.url != two.url
        httpx.post(f"{one.url}/api/v3/{SORA}", json={"prompt": "x"}, headers=KEY).raise_for_status()
        assert httpx.get(f"{two.url}/admin/books").json()["jobs"] == []
