"""The clients against the sandbox behind a real socket: what they say is compared with what its books hold."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from resources.errors import ConfigurationError
from resources.providers.aimlapi.client import AimlApi
from resources.providers.base import Accepted, Candidate, FailureKind, JobState, JobStatus, Rejected, Unknown
from resources.providers.wavespeed.client import WaveSpeed
from resources.sandbox import RunningSandbox, SandboxSettings, running_sandbox

ENDPOINTS = {"wavespeed": "openai/sora-2/text-to-video", "aimlapi": "openai/sora-2-t2v"}
BODIES: dict[str, dict[str, Any]] = {
    "wavespeed": {"prompt": "a hill", "size": "1280*720", "duration": 4},
    "aimlapi": {"prompt": "a hill", "resolution": "720p", "aspect_ratio": "16:9", "duration": 4},
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with running_sandbox(SandboxSettings(job_seconds=0)) as running:
        yield running


class Account:
    """One provider of a sandbox: its client, and what the sandbox's own books say."""

    def __init__(self, sandbox: RunningSandbox, name: str) -> None:
        self.url, self.name, self.endpoint = sandbox.url, name, ENDPOINTS[name]
        kinds: dict[str, Any] = {"wavespeed": WaveSpeed, "aimlapi": AimlApi}
        self.client = kinds[name](sandbox.url, "sandbox")
        self.known = len(self.jobs())

    def jobs(self) -> list[str]:
        books = httpx.get(f"{self.url}/admin/books").json()
        return [job["id"] for job in books["jobs"] if job["provider"] == self.name]

    def new_jobs(self) -> list[str]:
        return self.jobs()[self.known :]

    def inject(self, **effect: Any) -> None:
        rule = {
            "name": "test",
            "when": {"provider": self.name, "operation": "submit", "times": 1},
            "then": effect,
        }
        answer = httpx.post(f"{self.url}/admin/faults", json={"faults": [rule]})
        assert answer.status_code == 200, answer.text

    async def submit(self, submission_id: str = "s-1", **changes: Any) -> Any:
        body = {**BODIES[self.name], **changes}
        return await self.client.submit(self.endpoint, body, submission_id=submission_id, deadline_seconds=60)

    async def listed(self) -> list[Candidate]:
        now = datetime.now(UTC)
        found: list[Candidate] = await self.client.list_jobs(
            after=now - timedelta(minutes=5), before=now + timedelta(minutes=1)
        )
        return [job for job in found if job.model == self.endpoint]


@pytest.fixture(params=["wavespeed", "aimlapi"])
async def account(sandbox: RunningSandbox, request: pytest.FixtureRequest) -> Any:
    async with httpx.AsyncClient() as admin:
        await admin.delete(f"{sandbox.url}/admin/faults")
    opened = Account(sandbox, request.param)
    yield opened
    await opened.client.aclose()


async def test_a_clip_is_bought_and_finished(account: Account) -> None:
    await account.client.check()
    accepted = await account.submit()
    assert isinstance(accepted, Accepted), accepted
    assert account.new_jobs() == [accepted.job_id]
    state = await account.client.poll(accepted.job_id, age_seconds=1)
    assert isinstance(state, JobState)
    assert (state.status, len(state.outputs)) == (JobStatus.SUCCEEDED, 1)
    assert state.outputs[0].startswith(f"{account.url}/cdn/")
    assert state.cost_micros == (400_000 if account.name == "aimlapi" else None)


@pytest.mark.parametrize(
    "effect",
    [{"do": "lose_answer"}, {"do": "error_after", "status": 502}, {"do": "garbage"}],
    ids=lambda effect: effect["do"],
)
async def test_a_lost_answer_is_unknown_or_named_and_the_job_is_listed(account: Account, effect: Any) -> None:
    account.inject(**effect)
    outcome = await account.submit(f"lost-{effect['do']}")
    [job_id] = account.new_jobs()
    assert isinstance(outcome, Unknown) or (isinstance(outcome, Accepted) and outcome.job_id == job_id), (
        outcome
    )
    [candidate] = [job for job in await account.listed() if job.job_id == job_id]
    assert candidate.submission_id == (f"lost-{effect['do']}" if account.name == "aimlapi" else None)
    assert candidate.model == account.endpoint


async def test_a_refusal_creates_nothing(account: Account) -> None:
    refused = await account.submit(duration=5)
    assert isinstance(refused, Rejected)
    assert refused.kind is FailureKind.INVALID
    account.inject(do="throttle")
    throttled = await account.submit()
    assert isinstance(throttled, Rejected)
    assert throttled.kind is FailureKind.THROTTLED
    assert account.new_jobs() == []


async def test_an_empty_account_is_told_apart(account: Account) -> None:
    with running_sandbox(SandboxSettings(balance_usd=0)) as poor:  # type: ignore[arg-type]
        other = Account(poor, account.name)
        refused = await other.submit()
        assert isinstance(refused, Rejected)
        assert refused.kind is FailureKind.INSUFFICIENT_FUNDS
        assert await other.client.balance() == 0
        await other.client.aclose()


async def test_a_wrong_key_is_found_before_money_moves(sandbox: RunningSandbox) -> None:
    for client in (WaveSpeed(sandbox.url, "wrong-key"), AimlApi(sandbox.url, "wrong-key")):
        with pytest.raises(ConfigurationError, match="refuses the API key"):
            await client.check()
        await client.aclose()
