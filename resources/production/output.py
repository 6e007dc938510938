"""The output of a finished generation: it is fetched into the bucket, from a fresh address if the old one has expired."""

import asyncio
import functools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from resources.errors import DailiesError
from resources.ledger import deliveries
from resources.ledger.records import Attempt
from resources.production.engine import Engine
from resources.providers.base import JobStatus, PollFailed
from resources.retry import retry_free_call
from resources.storage.download_policy import DownloadError, DownloadPolicy
from resources.storage.layout import quarantined, video_key
from resources.storage.objects import ObjectStore
from resources.storage.transfer import MP4, Destination, Transferred, transfer

T = TypeVar("T")

DOWNLOAD_TRIES = 3
ENDING_SECONDS = 5.0
"""How long a cancelled transfer may take to stop."""


class DeliveryError(DailiesError):
    """A finished generation could not be delivered now; its output is still at the provider and is fetched again."""


class NoLongerThereError(DeliveryError):
    """The provider seems to have deleted a paid output. After minutes of such answers, the output counts as lost."""


class Fetcher:
    """Moves outputs from their provider into the bucket.

    Args:
        engine: The engine, for its ledger and for fresh addresses from providers.
        policy: The rules for addresses and sizes of downloads.
    """

    def __init__(self, engine: Engine, store: ObjectStore, policy: DownloadPolicy) -> None:
        self._engine = engine
        self._store = store
        self._policy = policy

    async def fetch(
        self, attempt: Attempt, path: Path, decide: Callable[[Path], str], stop: threading.Event
    ) -> Transferred:
        """Fetch a finished generation into the bucket; a temporary failure is tried again.

        Args:
            attempt: The attempt of the output.
            path: A local file for the output.
            decide: Inspects the file and returns its key.
            stop: Ends the transfer when set.

        Raises:
            DeliveryError: The output cannot be fetched now.
            NoLongerThereError: The provider does not have the output any more.
        """
        url = self._url(attempt)
        account = self._engine.accounts.get(attempt.account)
        key = None if account is None else account.output_key
        policy = self._policy if key is None else replace(self._policy, key=key)
        expired: DownloadError | None = None
        renewed = False

        async def download() -> Transferred:
            nonlocal url, expired, renewed
            if expired is not None:
                url, expired = await self._fresh_url(attempt, expired), None
                renewed = True
            work = functools.partial(
                transfer,
                url,
                path,
                Destination(self._store, video_key(attempt.clip, attempt.id), decide),
                policy=policy,
                stop=stop,
            )
            try:
                return await _in_a_thread(stop, work)
            except DownloadError as error:
                expired = error if error.expired else None
                raise

        def passes(error: Exception) -> bool | float:
            if not isinstance(error, DownloadError) or stop.is_set():
                return False
            # an expired address is renewed at once the first time, then with pauses
            return 0.0 if error.expired and not renewed else error.expired or error.retryable

        try:
            return await retry_free_call(download, on=passes, tries=DOWNLOAD_TRIES)
        except DownloadError as error:
            if error.expired and not stop.is_set():
                raise self._out_of_reach(attempt, f"{error}, as often as it was renewed") from error
            raise DeliveryError(f"the finished clip could not be fetched: {error}") from error

    async def recover(
        self, attempt: Attempt, path: Path, decide: Callable[[Path], str]
    ) -> Transferred | None:
        """The video that is already in the bucket, inspected again. It is whole, because S3 stores no partial objects."""
        key = video_key(attempt.clip, attempt.id)
        for place in (key, quarantined(key)):
            fetched = await asyncio.to_thread(self._store.get_file, place, path)
            if fetched is None or fetched.sha256 is None:
                continue
            belongs = await asyncio.to_thread(decide, path)
            if belongs != place:
                await asyncio.to_thread(
                    self._store.put_file, belongs, path, sha256=fetched.sha256, content_type=MP4
                )
            return Transferred(belongs, fetched.size, fetched.sha256, streamed=False)
        return None

    @staticmethod
    def _url(attempt: Attempt) -> str:
        if not attempt.outputs:
            raise DeliveryError("the job is finished and names no output; look at it at the provider")
        return attempt.outputs[0]

    async def _fresh_url(self, attempt: Attempt, error: DownloadError) -> str:
        """Ask the provider once for the output's present address."""
        engine = self._engine
        account = engine.accounts.get(attempt.account)
        if account is None:
            raise DeliveryError(
                f"{error}; a fresh address needs the account {attempt.account}, which cannot be used here"
            )
        age = attempt.age(engine.ledger.clock())
        answer = await account.provider.poll(attempt.job_id or "", age_seconds=age)
        if isinstance(answer, PollFailed):
            raise DeliveryError(f"{error}; a fresh address could not be fetched: {answer.cause}")
        if answer.status is JobStatus.GONE:
            raise NoLongerThereError(
                f"{error}, and {attempt.account} no longer knows the job {attempt.job_id}"
            )
        if not answer.outputs:
            raise self._out_of_reach(attempt, f"{error}; {attempt.account} names no output any more")
        await engine.ledger.run(deliveries.update_outputs, attempt.id, list(answer.outputs))
        return answer.outputs[0]

    def _out_of_reach(self, attempt: Attempt, why: str) -> DeliveryError:
        """The error for an output that cannot be fetched although the provider knows its job. It is tried again while the provider keeps it."""
        if self._engine.ledger.clock() < attempt.kept_until:
            return DeliveryError(f"{why}; it is tried again later")
        return NoLongerThereError(f"{why}, and the provider keeps it no longer")


async def _in_a_thread(stop: threading.Event, work: Callable[[], T]) -> T:
    """Run blocking work in a thread. When the caller is cancelled, set `stop` and wait for the work's end."""
    working = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait({working}, timeout=ENDING_SECONDS)
        raise
