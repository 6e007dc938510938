"""The providers' callbacks: one signed POST per finished job, repeated if it is not accepted.

One task sleeps until the next job with a webhook ends; there is no task per job. Only addresses of this machine are called, so
that a sandbox never talks to the outside.
"""

import asyncio
import math
from contextlib import suppress
from urllib.parse import urlsplit

import httpx

from resources.sandbox.books import Job
from resources.sandbox.front_registry import fronts
from resources.sandbox.workshop import Workshop

_TRIES = 4  # the first and three more
_PAUSE = 0.5  # seconds, doubled each time
_LOOK_AGAIN = 0.25  # seconds until the sleeping courier notices a new job


class Courier:
    """Delivers webhooks while the app runs."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Start if there may be something to deliver."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def stop(self) -> None:
        """Stop; the rest is delivered after a restart."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def _waiting(self) -> list[Job]:
        """The jobs that end and are to be reported, the next one first."""
        return [job for job in self._workshop.books.unreported() if math.isfinite(job.ends_at)]

    async def _work(self) -> None:
        if not self._waiting():
            # a client reads the certificates that it trusts, which takes longer than the whole answer to a POST
            return
        async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
            while waiting := self._waiting():
                job = waiting[0]
                if (left := job.ends_at - self._workshop.clock()) > 0:
                    await asyncio.sleep(min(left, _LOOK_AGAIN))
                    continue
                await self._deliver(client, job)
                self._workshop.books.mark_reported(job)

    async def _deliver(self, client: httpx.AsyncClient, job: Job) -> None:
        make = fronts()[job.provider].report
        if make is None or urlsplit(job.webhook or "").hostname not in {"127.0.0.1", "localhost", "::1"}:
            return
        for attempt in range(_TRIES):
            report = make(job, self._workshop.clock(), self._workshop.key(job.account))
            with suppress(httpx.HTTPError):
                answer = await client.post(str(job.webhook), content=report.body, headers=report.headers)
                if answer.is_success:
                    return
            await asyncio.sleep(_PAUSE * 2**attempt)
