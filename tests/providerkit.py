"""The provider that all fakes derive from, so that one that is no `Provider` any more fails `make check`."""

from collections.abc import Collection
from datetime import datetime
from typing import Any, NoReturn

from resources.providers.base import (
    Candidate,
    Charge,
    ClockOffset,
    JobState,
    PollFailed,
    SubmitOutcome,
    Uploaded,
    UploadFailed,
)
from resources.providers.live_models import LiveModel
from resources.providers.provider import Capabilities, Provider
from resources.providers.rows import Rows


class BareProvider(Provider):
    """A provider at which every request fails the test; a subclass answers the requests that its tests expect."""

    name = "wavespeed"
    capabilities = Capabilities(echoes_submission_id=True, output_seconds=7 * 86_400, settle_seconds=60)

    @property
    def clock_offset(self) -> ClockOffset | None:
        return None

    async def submit(
        self, endpoint: str, body: dict[str, Any], *, submission_id: str, deadline_seconds: float
    ) -> SubmitOutcome:
        unexpected("submit")

    async def poll(self, job_id: str, *, age_seconds: float) -> JobState | PollFailed:
        unexpected("poll")

    async def list_jobs(
        self, *, after: datetime, before: datetime, endpoints: Collection[str]
    ) -> Rows[Candidate]:
        unexpected("list_jobs")

    async def charges(self, *, after: datetime, before: datetime) -> Rows[Charge]:
        unexpected("charges")

    async def check(self) -> None:
        unexpected("check")

    async def balance(self) -> int | None:
        unexpected("balance")

    async def quote(self, endpoint: str, body: dict[str, Any]) -> int | None:
        unexpected("quote")

    async def models(self) -> list[LiveModel]:
        unexpected("models")

    async def upload(self, name: str, content_type: str, data: bytes) -> Uploaded | UploadFailed:
        unexpected("upload")

    async def aclose(self) -> None: ...


def unexpected(request: str) -> NoReturn:
    """Fail the test.

    Raises:
        AssertionError: Always.
    """
    raise AssertionError(f"this provider expects no {request}")
