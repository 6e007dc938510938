"""The uploader: it uploads the files of clips before they are bought, once per content and account.

Uploads come before the claim of a purchase and cost nothing. A file that cannot be uploaded fails only its own clip.
"""

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from resources.catalogue.files import LocalFile
from resources.declared.problems import ProblemsError
from resources.errors import UnavailableError
from resources.file_references import FileReference
from resources.ledger import stops, uploads
from resources.orders import ClipRequest
from resources.production.ledger_thread import LedgerThread
from resources.production.request_files import RequestFiles
from resources.providers.base import FailureKind, NotSent, Rejected, Uploaded, UploadFailed
from resources.providers.provider import Provider
from resources.retry import FIRST_PAUSE_SECONDS, retry_free_call
from resources.unforeseen import UnforeseenError, as_unforeseen

logger = logging.getLogger("dailies")

CLIPS_AHEAD = 32
"""How many clips of the queue have their files uploaded together."""
AT_ONCE = 4
TRIES = 3
LONGEST_PAUSE_SECONDS = 10.0
"""The longest time that a batch waits for one file, even if the provider asks for a longer pause."""
FAILED_SECONDS = 60.0
"""How long to wait before a failed upload is tried again."""
LOOK_SECONDS = 0.5
"""How often to check whether another process's upload of the same content has ended."""


class _UploadError(Exception):
    """One upload failed."""

    def __init__(self, failed: UploadFailed) -> None:
        super().__init__(f"a file was not uploaded: {failed.cause}")
        self.failed = failed


def _passes(error: Exception) -> bool | float:
    """Whether an upload may be tried again, or the pause in seconds that the provider asks for."""
    if not isinstance(error, _UploadError) or error.failed.kind in {FailureKind.INVALID, FailureKind.AUTH}:
        return False
    seconds = error.failed.retry_after
    return True if seconds is None else min(max(seconds, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


class Uploader:
    """Uploads the files of one engine's clips.

    Args:
        files: Reads the files; None if no clip may name one.
        sleep: `asyncio.sleep`, or a test's fake.
    """

    def __init__(
        self,
        ledger: LedgerThread,
        files: RequestFiles | None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._ledger = ledger
        self._files = files
        self._sleep = sleep
        self._failed: dict[tuple[str, str], tuple[float, UploadFailed]] = {}

    async def upload_files(self, provider: Provider) -> None:
        """Upload the files of the next clips in an account's queue that have no valid upload.

        A failure raises nothing here; `resolve_body` refuses the clip that needs the file.
        """
        if provider.capabilities.upload_seconds is None or self._files is None:
            return
        if await self._ledger.run(stops.stop_of, provider.name) is not None:
            return
        files = await self._ledger.run(uploads.needed, provider.name, limit=CLIPS_AHEAD)
        slots = asyncio.Semaphore(AT_ONCE)

        async def one(reference: FileReference) -> None:
            async with slots:
                await self._upload_once(provider, reference)

        await asyncio.gather(*(one(r) for r in files if self._failure(provider, r) is None))

    async def resolve_body(
        self, provider: Provider, body: dict[str, Any]
    ) -> dict[str, Any] | NotSent | Rejected:
        """The body of a POST with the address of each local file, or its content if the provider takes files in the body.

        Returns:
            The body, `Rejected` if the clip cannot be bought, or `NotSent` if its file is not uploaded yet.
        """
        texts: dict[str, str] = {}
        references = FileReference.of(body)
        if references and self._files is None:
            cause = "it names a local file, and no data folder is known here; nothing was sent"
            return Rejected(FailureKind.INVALID, cause, 0)
        for reference in references:
            if provider.capabilities.upload_seconds is None:
                try:
                    failure = await self._inside(reference, texts)
                except UnavailableError as error:
                    # only for a picture in a bucket that does not answer now; the clip stays queued
                    return NotSent(f"{reference.path} cannot be read now: {error}; nothing was sent")
            else:
                url = await self._ledger.run(uploads.address, provider.name, reference.sha256)
                failure = None if url is not None else self._failure(provider, reference)
                if url is None and failure is None:
                    return NotSent(f"the file {reference.path} is uploaded first; nothing was sent")
                texts[reference.sha256] = url or ""
            if failure is not None:
                # a refused key stops the account; a refused file fails this clip
                status = 401 if failure.kind is FailureKind.AUTH else 0
                cause = (
                    f"the file {reference.path} could not be uploaded: {failure.cause}. Nothing was bought."
                )
                return Rejected(failure.kind, cause, status)
        return FileReference.replaced(body, lambda reference: texts[reference.sha256])

    async def forget_uploads(self, account: str, request: ClipRequest) -> None:
        """Forget the uploads of a refused request, since the provider may have deleted them; the next request uploads them again."""
        contents = [reference.sha256 for reference in FileReference.of(request.body)]
        if contents:
            await self._ledger.run(uploads.forget, account, contents)

    async def _inside(self, reference: FileReference, texts: dict[str, str]) -> UploadFailed | None:
        read = await self._read(reference)
        if isinstance(read, UploadFailed):
            return read
        file, data = read
        encoded = base64.b64encode(data).decode()
        texts[reference.sha256] = f"data:{file.is_a.content_type};base64,{encoded}"
        return None

    async def _upload_once(self, provider: Provider, reference: FileReference) -> None:
        claim = await self._ledger.run(uploads.claim, provider.name, reference.sha256)
        while claim.url is None and not claim.mine:
            # another process is uploading it; if that process has died, its claim expires and becomes ours
            await self._sleep(LOOK_SECONDS)
            claim = await self._ledger.run(uploads.claim, provider.name, reference.sha256)
        if claim.url is not None:
            return
        url: str | None = None
        try:
            outcome = await self._upload_or_fail(provider, reference)
            if isinstance(outcome, Uploaded):
                url = outcome.url
            elif outcome is not None:
                self._failed[provider.name, reference.sha256] = self._ledger.clock(), outcome
                logger.warning("%s could not be uploaded: %s", reference.path, outcome.cause)
        finally:
            lives = provider.capabilities.upload_seconds or 0.0
            await self._ledger.run(uploads.record, provider.name, reference.sha256, url, lives_seconds=lives)

    async def _read(self, reference: FileReference) -> tuple[LocalFile, bytes] | UploadFailed:
        files = self._files
        if files is None:
            return UploadFailed("no data folder is known here", FailureKind.INVALID)
        try:
            # not in the ledger's thread, because fetching a folder from the bucket would delay the outcomes of POSTs
            read = await asyncio.to_thread(files.read, reference)
        except ProblemsError as error:
            return UploadFailed(str(error), FailureKind.INVALID)
        return read

    async def _upload_or_fail(
        self, provider: Provider, reference: FileReference
    ) -> Uploaded | UploadFailed | None:
        """Upload a file; None if the bucket does not answer, so that its clip stays queued."""
        try:
            with as_unforeseen("uploading it"):
                return await self._upload(provider, reference)
        except UnavailableError as error:
            logger.warning("%s cannot be read now: %s", reference.path, error)
            return None
        except UnforeseenError as error:
            return UploadFailed(str(error), FailureKind.PROVIDER)

    async def _upload(self, provider: Provider, reference: FileReference) -> Uploaded | UploadFailed:
        read = await self._read(reference)
        if isinstance(read, UploadFailed):
            return read
        file, data = read

        async def upload() -> Uploaded:
            outcome = await provider.upload(file.upload_name, file.is_a.content_type, data)
            if isinstance(outcome, UploadFailed):
                raise _UploadError(outcome)
            return outcome

        try:
            return await retry_free_call(upload, on=_passes, tries=TRIES)
        except _UploadError as error:
            failed = error.failed
            # a throttled upload says nothing about purchases, so the account is not paused
            throttled = failed.kind is FailureKind.THROTTLED
            return replace(failed, kind=FailureKind.PROVIDER) if throttled else failed

    def _failure(self, provider: Provider, reference: FileReference) -> UploadFailed | None:
        key = provider.name, reference.sha256
        since, failure = self._failed.get(key, (0.0, None))
        if failure is not None and self._ledger.clock() - since > FAILED_SECONDS:
            del self._failed[key]
            return None
        return failure
