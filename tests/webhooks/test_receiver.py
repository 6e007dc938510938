"""Callbacks: what is accepted, what is refused, and how they settle lost answers."""

import asyncio
import contextlib
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from linekit import lines_of_dailies
from providerkit import BareProvider
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from resources.errors import UnavailableError
from resources.ledger import outcomes
from resources.ledger.budget import Budget
from resources.ledger.decisions import Decision, decide
from resources.ledger.ledger import Ledger
from resources.ledger.limits import Limits
from resources.ledger.lost import closures, settle
from resources.ledger.queue import PostTerms, claim_next
from resources.ledger.records import Attempt, Submission
from resources.ledger.schema import jobs
from resources.ledger.states import AttemptState, MoneyState
from resources.orders import ClipRequest, Expected
from resources.production.account import Account
from resources.production.engine import Engine
from resources.providers.base import Accepted, FailureKind, JobState, JobStatus, PollFailed, Unknown
from resources.providers.callbacks import BODY_LIMIT, VerifiedCallback
from resources.providers.spec import Connection
from resources.providers.wavespeed.client import WaveSpeed
from resources.providers.wavespeed.signatures import SignedCallbacks, signature
from resources.sandbox import SandboxSettings, running_sandbox
from resources.sandbox.faults import FaultScript
from resources.webhooks import receiver
from resources.webhooks.receiver import Caller, Receiver
from resources.webhooks.server import bounded
from resources.webhooks.tokens import addresses, token, webhook_key

S = AttemptState
NOW = 1_800_000_000.0
SECRET = "whsec_not-base64"
RUNNING = JobState(JobStatus.RUNNING, "processing", model="sora")


class Asked(BareProvider):
    """A provider that only answers polls."""

    def __init__(self) -> None:
        self.says: JobState | PollFailed = RUNNING
        self.asked: list[str] = []

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        self.asked.append(job_id)
        return self.says

    async def secret(self) -> str:
        return SECRET


def a_request(clip: str = "city-sunset") -> ClipRequest:
    return ClipRequest(
        clip=clip,
        series="city",
        provider="wavespeed",
        endpoint="openai/sora-2/text-to-video",
        body={"prompt": "a hill", "size": "1280*720", "duration": 4},
        price_micros=400_000,
        expected=Expected(),
    )


class Desk:
    """A receiver in this process, its ledger with one POST, and a caller."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db", clock=lambda: self.now, budget=Budget())
        self.provider = Asked()
        receiver = Receiver(
            self.ledger, {"wavespeed": Caller(self.provider, SignedCallbacks(self.provider.secret))}
        )
        self.transport = httpx.ASGITransport(receiver.app())
        decide(self.ledger, [a_request()], Decision("monday"))
        claimed = claim_next(self.ledger, "wavespeed", PostTerms(Limits(), 30))
        assert isinstance(claimed, Submission)
        self.submission = claimed
        self.address = addresses(self.ledger, "wavespeed", "http://hooks.test")(claimed.id)

    def close(self) -> None:
        self.ledger.close()

    @property
    def attempt(self) -> Attempt:
        return self.ledger.latest(["city-sunset"])["city-sunset"]

    def answered(self, outcome: Any) -> None:
        outcomes.record_outcome(self.ledger, self.submission, outcome)

    def owners(self) -> dict[str, str | None]:
        with self.ledger.read() as connection:
            return {row.job_id: row.attempt_id for row in connection.execute(sa.select(jobs))}

    async def call(
        self,
        job_id: str = "job-1",
        *,
        url: str | None = None,
        name: str = "msg_1",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> int:
        content = json.dumps({"id": job_id, "status": "completed"}).encode() if body is None else body
        signed = {
            "webhook-id": name,
            "webhook-timestamp": str(int(self.now)),
            "webhook-signature": signature(SECRET, name, str(int(self.now)), content),
        }
        async with httpx.AsyncClient(transport=self.transport) as client:
            return (
                await client.post(url or self.address, content=content, headers=signed | (headers or {}))
            ).status_code


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


async def test_a_callback_settles_a_lost_answer(desk: Desk) -> None:
    desk.answered(Unknown("read timed out"))
    assert await desk.call() == 200
    attempt = desk.attempt
    assert (attempt.state, attempt.money_state) == (S.SUBMITTED, MoneyState.RESERVED)
    assert (attempt.job_id, attempt.next_poll_at, attempt.served_model) == ("job-1", NOW, "sora")
    assert desk.owners() == {"job-1": attempt.id}


async def test_the_log_lines_of_a_callback_name_the_clip_of_its_address(desk: Desk) -> None:
    with lines_of_dailies() as lines:
        assert await desk.call(headers={"webhook-signature": "v3,00"}) == 401
        desk.provider.poll = failing  # type: ignore[method-assign]
        assert await desk.call() == 503
    refused, unconfirmed = lines
    for line in (refused, unconfirmed):
        attempt = desk.attempt
        assert {
            "clip": attempt.clip,
            "series": "city",
            "account": "wavespeed",
            "attempt": attempt.id,
        }.items() <= line.items()
        assert line["submission"] == desk.submission.id
    assert unconfirmed["job_id"] == "job-1"


async def failing(job_id: str, *, age_seconds: float) -> PollFailed:
    raise UnavailableError("it is away")


async def test_a_callback_that_names_a_part_of_the_job_id_is_completed_from_the_order(
    desk: Desk,
) -> None:
    class Partly:
        """As at fal: the callback names a request, and the job is its path, which begins with the model's owner and app."""

        async def read(
            self, headers: Any, body: bytes, *, endpoint: str | None, now: float
        ) -> VerifiedCallback:
            assert endpoint is not None
            return VerifiedCallback(
                "once", f"{endpoint.rpartition('/')[0]}/requests/{json.loads(body)['id']}"
            )

    reads = Receiver(desk.ledger, {"wavespeed": Caller(desk.provider, Partly())})
    desk.transport = httpx.ASGITransport(reads.app())
    desk.answered(Unknown("read timed out"))
    assert await desk.call() == 200
    assert desk.attempt.job_id == "openai/sora-2/requests/job-1"
    assert desk.provider.asked == ["openai/sora-2/requests/job-1"]


async def test_a_proxy_may_keep_or_remove_its_own_path(desk: Desk) -> None:
    desk.answered(Unknown("read timed out"))
    passed_on = desk.address.replace("http://hooks.test", "http://hooks.test/dailies/live")
    assert [await desk.call(url=url) for url in (passed_on, desk.address)] == [200, 200]
    assert desk.attempt.state is S.SUBMITTED
    assert await desk.call(url=passed_on[:-1]) == 404


async def test_a_callback_settles_a_held_purchase(desk: Desk) -> None:
    desk.answered(Unknown("read timed out"))
    with desk.ledger.transaction(who="test", run_id=None) as tx:
        closures.hold(tx, desk.attempt, "nothing tells", [])
    assert await desk.call() == 200
    assert desk.attempt.state is S.SUBMITTED


async def test_a_callback_is_a_hint_to_poll_now_and_never_the_truth(desk: Desk) -> None:
    desk.answered(Accepted("job-1", None, {}))
    desk.now += 5
    assert await desk.call() == 200
    assert (desk.attempt.state, desk.attempt.next_poll_at) == (S.SUBMITTED, NOW + 5)


async def test_a_callback_before_the_answer_does_not_replace_the_posters_outcome(desk: Desk) -> None:
    assert await desk.call() == 200
    assert desk.attempt.state is S.SUBMITTING
    desk.answered(Accepted("job-1", None, {}))
    assert (desk.attempt.state, desk.attempt.job_id) == (S.SUBMITTED, "job-1")


@pytest.mark.parametrize("answer", ["lost", "never"])
async def test_a_callback_settles_a_post_whose_answer_never_comes(desk: Desk, answer: str) -> None:
    assert await desk.call() == 200
    if answer == "lost":
        desk.answered(Unknown("read timed out"))
    else:
        desk.now += 3600
        outcomes.expire_submissions(desk.ledger, "wavespeed")
    assert (desk.attempt.state, desk.attempt.job_id) == (S.SUBMITTED, "job-1")
    assert settle.unsettled(desk.ledger) == []


async def test_a_job_of_a_closed_attempt_is_a_spare_take(desk: Desk) -> None:
    desk.answered(Unknown("read timed out"))
    with desk.ledger.transaction(who="test", run_id=None) as tx:
        closures.close_absent(tx, desk.attempt, desk.submission.id, why="-", again=0)
    assert await desk.call() == 200
    assert (desk.attempt.state, desk.attempt.money_state) == (S.ABSENT, MoneyState.RELEASED)
    (spare,) = (desk.ledger.attempts([str(owner)])[str(owner)] for owner in desk.owners().values())
    assert (spare.clip, spare.is_spare, spare.state) == (desk.attempt.clip, True, S.SUBMITTED)


@pytest.mark.parametrize(
    "says",
    [
        PollFailed("HTTP 502"),
        PollFailed("HTTP 401", kind=FailureKind.AUTH),
        JobState(JobStatus.GONE, "HTTP 404", failure=FailureKind.GONE),
    ],
)
async def test_a_callback_counts_only_if_the_provider_confirms_it(
    desk: Desk, says: JobState | PollFailed
) -> None:
    desk.answered(Unknown("read timed out"))
    desk.provider.says = says
    assert await desk.call() == 503
    assert desk.attempt.state is S.UNKNOWN
    assert desk.owners() == {}
    desk.provider.says = RUNNING
    assert await desk.call() == 200  # the provider repeats the callback
    settled = desk.attempt
    assert settled.state is S.SUBMITTED


async def test_a_repeated_callback_is_answered_without_work(desk: Desk) -> None:
    desk.answered(Unknown("read timed out"))
    assert [await desk.call() for _ in range(3)] == [200, 200, 200]
    assert desk.provider.asked == ["job-1"]


async def test_an_address_of_another_submission_or_ledger_is_unknown(desk: Desk, tmp_path: Path) -> None:
    desk.answered(Unknown("read timed out"))
    key = webhook_key(desk.ledger)
    other = token(key, "wavespeed", "another")
    (tmp_path / "other").mkdir()
    with Ledger(f"sqlite:///{tmp_path}/other/ledger.db", budget=Budget()) as ledger:
        foreign = addresses(ledger, "wavespeed", "http://hooks.test")(desk.submission.id)
    addresses_of_strangers = [
        f"http://hooks.test/wavespeed/{desk.submission.id}/{other}",
        f"http://hooks.test/wavespeed/{desk.submission.id}/{'0' * 40}",
        f"http://hooks.test/aimlapi/{desk.submission.id}/{token(key, 'aimlapi', desk.submission.id)}",
        foreign,
        "http://hooks.test/",
    ]
    assert [await desk.call(url=url) for url in addresses_of_strangers] == [404] * 5
    assert desk.provider.asked == []
    assert desk.attempt.state is S.UNKNOWN


async def test_an_unsigned_old_or_huge_callback_is_refused(desk: Desk) -> None:
    desk.answered(Unknown("read timed out"))
    assert await desk.call(headers={"webhook-signature": "v3," + "0" * 64}) == 401
    assert await desk.call(headers={"webhook-timestamp": str(int(NOW) - 400)}) == 401
    assert await desk.call(body=b"x" * (BODY_LIMIT + 1)) == 413
    assert desk.provider.asked == []
    assert desk.attempt.state is S.UNKNOWN


async def test_another_attempts_job_is_not_taken_over(desk: Desk) -> None:
    desk.answered(Unknown("read timed out"))
    decide(desk.ledger, [a_request("other")], Decision("monday"))
    claimed = claim_next(desk.ledger, "wavespeed", PostTerms(Limits(), 30))
    assert isinstance(claimed, Submission)
    outcomes.record_outcome(desk.ledger, claimed, Accepted("job-1", None, {}))
    assert await desk.call() == 200
    assert desk.attempt.state is S.UNKNOWN
    assert desk.owners() == {"job-1": claimed.attempt.id}


# bounds before a request is complete


@contextlib.contextmanager
def listening(**how: Any) -> Iterator[int]:
    """The server as it is served, with an application that accepts everything; yields its port."""
    import uvicorn

    async def take(_: Any) -> PlainTextResponse:
        return PlainTextResponse("taken")

    app = Starlette(routes=[Route("/{path:path}", take, methods=["POST"])])
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(bounded(app, **how))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)


def said(port: int, *pieces: bytes) -> bytes:
    """The answer to pieces that are sent until the server accepts no more."""
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
        answer = b""
        with contextlib.suppress(OSError):
            while piece := connection.recv(65536):
                answer += piece
                if b"taken" in answer:
                    break
        return answer


POST = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n"


def test_a_head_of_any_size_is_refused_and_not_kept() -> None:
    with listening() as port:
        assert b"taken" in said(port, POST + b"A: " + b"b" * 4_000 + b"\r\n\r\n")
        tracemalloc.start()
        try:
            for head in ([POST, b"A: "], [POST], [b"POST /"]):
                filler = b"b" * 60_000 if head != [POST] else b"A: b\r\n" * 10_000
                answer = said(port, *head, *[filler] * 1_000)
                assert b"taken" not in answer
            grown = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert grown < 5_000_000
        assert b"taken" in said(port, POST + b"\r\n")


def test_a_connection_that_never_ends_its_head_is_closed() -> None:
    with listening(head_seconds=2) as port:
        began = time.monotonic()
        assert said(port, POST + b"A: b") == b""
        assert said(port) == b""
        assert time.monotonic() - began < 120
        assert b"taken" in said(port, POST + b"\r\n")


async def test_a_slow_body_is_given_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.answered(Unknown("read timed out"))
    monkeypatch.setattr(receiver, "BODY_SECONDS", 0.05)

    async def drips() -> Any:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    async with httpx.AsyncClient(transport=desk.transport) as client:
        assert (await client.post(desk.address, content=drips())).status_code == 408
    assert desk.attempt.state is S.UNKNOWN


@pytest.mark.slow
async def test_a_job_that_the_sandbox_hides_is_found_by_its_callback_alone(tmp_path: Path) -> None:
    """Everything is real: the sandbox signs and calls, the receiver confirms, and the engine continues."""
    import uvicorn

    listener = socket.create_server(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with (
        running_sandbox(SandboxSettings(job_seconds=0.2)) as sandbox,
        Ledger(f"sqlite:///{tmp_path}/l.db", budget=Budget()) as ledger,
    ):
        when = {"provider": "wavespeed", "operation": "submit"}
        effects = [{"do": "lose_answer"}, {"do": "unlisted", "seconds": 9_999}]
        rules = [{"name": str(n), "when": when, "then": then} for n, then in enumerate(effects)]
        sandbox.app.state.workshop.faults.rules.extend(FaultScript.model_validate({"faults": rules}).faults)
        asks = WaveSpeed(Connection("wavespeed", sandbox.url, "sandbox"))
        app = Receiver(ledger, {"wavespeed": Caller(asks, SignedCallbacks(asks.webhook_secret))}).app()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        buys = WaveSpeed(
            Connection("wavespeed", sandbox.url, "sandbox", webhook_url=addresses(ledger, "wavespeed", base))
        )
        engine = Engine(ledger, {"wavespeed": Account(buys)})
        try:
            decide(ledger, [a_request()], Decision("monday"))
            async with asyncio.timeout(300):
                while ledger.latest(["city-sunset"])["city-sunset"].state is not S.SUCCEEDED:
                    await engine.submitter.submit_queue(engine.accounts["wavespeed"])
                    await engine.poll_due("wavespeed")
                    await asyncio.sleep(0.05)
        finally:
            server.should_exit = True
            await asyncio.to_thread(thread.join, 60)
            await engine.aclose()
        (job,) = sandbox.app.state.workshop.books.jobs("wavespeed")
        assert ledger.latest(["city-sunset"])["city-sunset"].job_id == job.id
