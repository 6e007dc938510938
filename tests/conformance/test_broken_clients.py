"""Broken variants of a good client: each fails exactly the check of the promise that it breaks."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

import httpx
import pytest
from acme_video import CAPABILITIES, AcmeCallbacks, spec_with
from acme_video.client import Acme

from resources.conformance.kit import ORDER, Result, examine
from resources.errors import UnavailableError
from resources.providers import answers
from resources.providers.base import (
    Candidate,
    Charge,
    FailureKind,
    JobState,
    JobStatus,
    NotSent,
    PollFailed,
    SubmitOutcome,
    Unknown,
)
from resources.providers.callbacks import VerifiedCallback
from resources.providers.http import Answer
from resources.providers.listing import Page
from resources.providers.rows import Rows, SetAside
from resources.providers.spec import Connection, ProviderSpec

JOBS_OF_TWO_PAGES = 30
"""More than a page of this client's front has; the kit's default is more than any provider's page."""
QUICK = set(ORDER) - {"listings", "bills", "answers", "histories"}
"""The subjects whose checks buy few jobs."""


class RepeatsThePost(Acme):
    async def submit(self, *args: Any, **how: Any) -> SubmitOutcome:
        outcome = await super().submit(*args, **how)
        return await super().submit(*args, **how) if isinstance(outcome, Unknown) else outcome


class TakesATimeOutForNotSent(Acme):
    async def submit(self, *args: Any, **how: Any) -> SubmitOutcome:
        outcome = await super().submit(*args, **how)
        late = isinstance(outcome, Unknown) and "ReadTimeout" in outcome.cause
        return NotSent("it took too long") if late else outcome


class TakesAGatewaysPageForARefusal(Acme):
    def refusal(self, answer: Answer) -> FailureKind | None:
        return FailureKind.INVALID if answer.status == 404 else super().refusal(answer)


class MakesANewKeyForARepetition(Acme):
    sent = 0

    def key_headers(self, submission_id: str) -> dict[str, str]:
        self.sent += 1
        again = f"-{self.sent}" if submission_id == "keyed" else ""
        return {"Idempotency-Key": submission_id + again}


class TakesAServersErrorForTheEnd(Acme):
    def silence(self, answer: Answer) -> JobState | PollFailed:
        if answer.status >= 500:
            return JobState(JobStatus.FAILED, "failed", error="oops", failure=FailureKind.PROVIDER)
        return super().silence(answer)


class TakesANewWordForAFailure(Acme):
    def state(self, answer: Answer) -> JobState:
        if answers.normal_status(answer.fields.get("state"), answers.STATUS_WORDS) is None:
            return JobState(JobStatus.FAILED, "?", failure=FailureKind.PROVIDER)
        return super().state(answer)


class TakesAYoungJobForGone(Acme):
    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        return await super().poll(job_id, age_seconds=age_seconds + 1e6)


class BelievesAnAnswerAboutAnotherJob(Acme):
    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        answer = await self._http.ask("GET", f"/acme/videos/{job_id}")
        if isinstance(answer, Answer) and answer.ok and "state" in answer.fields:
            return self.state(answer)
        return await super().poll(job_id, age_seconds=age_seconds)


class _ReadsOtherwise(Acme):
    """Reads the listing in another way, and the bill correctly."""

    def _pages(self, what: str, parse: Any, after: datetime, before: datetime) -> Any:
        read = super()._pages(what, parse, after, before)
        if what != "videos":
            return read

        async def other(number: int, rows: int) -> Page[Any]:
            return await self.page(read, number, rows)

        return other

    async def page(self, read: Any, number: int, rows: int) -> Page[Any]:
        raise NotImplementedError


class ReadsTheFirstPageOnly(_ReadsOtherwise):
    async def page(self, read: Any, number: int, rows: int) -> Page[Any]:
        return dataclasses.replace(await read(number, rows), more=False)


class TakesABrokenPageForTheLast(_ReadsOtherwise):
    async def page(self, read: Any, number: int, rows: int) -> Page[Any]:
        try:
            page: Page[Any] = await read(number, rows)
        except UnavailableError:
            return Page([], False)
        return page


class LetsOneRowSpoilAll(_ReadsOtherwise):
    async def page(self, read: Any, number: int, rows: int) -> Page[Any]:
        page: Page[Any] = await read(number, rows)
        if any(isinstance(row, SetAside) for row in page.rows):
            raise UnavailableError("a row cannot be read")
        return page


class ListsUnderAnotherName(Acme):
    async def list_jobs(self, **window: Any) -> Rows[Candidate]:
        rows = await super().list_jobs(**window)
        return Rows((dataclasses.replace(row, submission_id=None) for row in rows), rows.aside)


class TakesARefundForACharge(Acme):
    async def charges(self, **window: Any) -> Rows[Charge]:
        rows = await super().charges(**window)
        return Rows((dataclasses.replace(row, kind="charge") for row in rows), rows.aside)


class MeasuresNoClock(Acme):
    @property
    def clock_offset(self) -> None:
        return None


class ShowsTheKey(Acme):
    def _said(self, answer: Answer) -> str:
        return f"{super()._said(answer)} (sent with {self.key})"


class ReadsForEver(Acme):
    async def balance(self) -> int | None:
        transport = self._connection.transport
        async with httpx.AsyncClient(transport=transport, base_url=self._connection.base_url) as client:
            headers = {"Authorization": f"Bearer {self.key}"}
            try:
                answer = await client.get("/acme/account", headers=headers)
            except httpx.HTTPError as error:
                raise UnavailableError("Acme does not answer") from error
        del answer
        return await super().balance()


SHOWS_REQUESTS = dataclasses.replace(CAPABILITIES, echoes_input=True)


class SaysThatItsListShowsRequests(Acme):
    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.capabilities = SHOWS_REQUESTS


class _BelievesAnything(AcmeCallbacks):
    async def read(
        self, headers: Mapping[str, str], body: bytes, *, endpoint: str | None, now: float
    ) -> VerifiedCallback:
        document = answers.Scrubber("no key").document(body)
        return VerifiedCallback("id", document["id"])


def of(client: type[Acme]) -> ProviderSpec:
    build: Callable[[Any], Any] = client
    return spec_with(build)


VARIANTS = {
    "posts once": of(RepeatsThePost),
    "posts lost": of(TakesATimeOutForNotSent),
    "posts gateway": of(TakesAGatewaysPageForARefusal),
    "posts idempotency": of(MakesANewKeyForARepetition),
    "polls silence": of(TakesAServersErrorForTheEnd),
    "polls new-word": of(TakesANewWordForAFailure),
    "polls not-known": of(TakesAYoungJobForGone),
    "polls other-job": of(BelievesAnAnswerAboutAnotherJob),
    "listings all": of(ReadsTheFirstPageOnly),
    "listings breaks": of(TakesABrokenPageForTheLast),
    "listings rows": of(LetsOneRowSpoilAll),
    "listings fields": of(ListsUnderAnotherName),
    "listings request": spec_with(SaysThatItsListShowsRequests, capabilities=SHOWS_REQUESTS),
    "bills sums": of(TakesARefundForACharge),
    "clocks offset": of(MeasuresNoClock),
    "callbacks verified": spec_with(callbacks=lambda client: _BelievesAnything(client.key)),
}


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each mistake shows at every answer, so a few are enough; at night the other tests of this folder try as many as the command."""
    monkeypatch.setattr("resources.conformance.rows.MANY", JOBS_OF_TWO_PAGES)
    monkeypatch.setattr("resources.conformance.hostile_answers.RANDOM_ANSWERS", 8)
    monkeypatch.setattr("resources.conformance.hostile_answers.VALUES_A_PATH", 1)


async def failed(spec: ProviderSpec, about: Collection[str]) -> list[str]:
    findings = await examine(spec, about=about)
    return [f"{one.about} {one.check}" for one in findings if one.result is Result.FAILED]


@pytest.mark.slow
@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("check", VARIANTS)
async def test_a_broken_client_fails_the_check_that_is_about_it(check: str) -> None:
    about = check.split(" ", maxsplit=1)[0]
    assert await failed(VARIANTS[check], QUICK | {about}) == [check]


@pytest.mark.slow
@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("client", "check"), [(ShowsTheKey, "answers secrets"), (ReadsForEver, "answers endless")]
)
async def test_a_client_with_a_careless_reader_is_caught(client: type[Acme], check: str) -> None:
    assert await failed(of(client), ("answers",)) == [check]


@pytest.mark.slow
@pytest.mark.usefixtures("acme")
async def test_no_history_runs_with_a_client_that_has_failed() -> None:
    findings = await examine(VARIANTS["posts lost"], about=("posts", "histories"))
    assert [one.check for one in findings if one.result is Result.FAILED] == ["lost"]
    assert {one.result for one in findings if one.about == "histories"} == {Result.NOT_RUN}


@pytest.mark.slow
@pytest.mark.usefixtures("acme")
async def test_a_history_finds_a_client_that_buys_twice() -> None:
    class Twice(MakesANewKeyForARepetition):
        def key_headers(self, submission_id: str) -> dict[str, str]:
            self.sent += 1
            return {"Idempotency-Key": f"{submission_id}-{self.sent}"}

    findings = await examine(of(Twice), about=("histories",))
    said = {one.check: one.did for one in findings if one.result is Result.FAILED}
    assert "clips were bought more than once" in said["lost-answer"]
